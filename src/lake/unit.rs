//! The unit of commit.

use std::fmt;

use super::table::Table;
use crate::model::{Day, Lane, TimeWindow};

/// What is wholly visible to a reader or wholly absent: one table, one UTC day or month, one account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitId {
    /// The table.
    pub table: &'static Table,
    /// The day, or the first day of the month.
    pub unit: Day,
    /// Account and region.
    pub lane: Lane,
}

impl UnitId {
    /// The unit of a table that is named by `unit`.
    pub fn new(table: &'static Table, unit: Day, lane: &Lane) -> Self {
        Self {
            table,
            unit,
            lane: lane.clone(),
        }
    }

    /// The time it spans.
    pub fn window(&self) -> TimeWindow {
        self.table.partition.window(self.unit)
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.table, self.unit, self.lane)
    }
}
