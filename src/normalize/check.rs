//! Whether the rows of a file are where they belong, and in the order they declare.

use std::ops::Range;

use arrow_array::RecordBatch;

use super::decode::DecodeError;
use super::rows::Rows;
use crate::lake::table::{ColumnKind, Table};
use crate::model::{DAY_SECONDS, Day, Lane};

/// Looks at the rows of one file, batch by batch.
#[derive(Debug)]
pub struct TableCheck {
    table: &'static Table,
    lane: Lane,
    /// Days of its unit since the epoch; none of a table whose rows have no time, or of none of its own.
    days: Option<Range<i64>>,
    rows: u64,
    last: Option<Vec<Key>>,
    unsorted: u64,
    strange: u64,
    outside: u64,
}

/// A value that rows are sorted by. Nothing sorts last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(String),
    Nothing,
}

impl TableCheck {
    /// For a file of `table` that holds a unit; of a table without units its `unit` is of no meaning.
    pub fn new(table: &'static Table, unit: Day, lane: &Lane) -> Self {
        let window = table.partition.window(unit);
        let days = window.start / DAY_SECONDS..window.end / DAY_SECONDS;
        Self {
            table,
            lane: lane.clone(),
            days: table.time().map(|_| days),
            rows: 0,
            last: None,
            unsorted: 0,
            strange: 0,
            outside: 0,
        }
    }

    /// Looks at rows that follow those before.
    ///
    /// # Errors
    /// [`DecodeError`] for another schema.
    pub fn take(&mut self, batch: &RecordBatch) -> Result<(), DecodeError> {
        let rows = Rows::of(self.table, batch)?;
        for row in 0..rows.len() {
            self.rows += 1;
            let own = rows.text("account_id", row) == Some(self.lane.account.as_str())
                && rows.text("region", row) == Some(self.lane.region.as_str());
            self.strange += u64::from(!own);
            if let (Some(days), Some(day)) = (&self.days, self.day_of(&rows, row)) {
                self.outside += u64::from(!days.contains(&day));
            }
            let key: Vec<Key> = self.table.sort.iter().map(|n| key(&rows, n, row)).collect();
            self.unsorted += u64::from(self.last.as_ref().is_some_and(|last| *last > key));
            self.last = Some(key);
        }
        Ok(())
    }

    /// The day a row belongs to, since the epoch.
    fn day_of(&self, rows: &Rows<'_>, row: usize) -> Option<i64> {
        let time = self.table.time()?;
        let value = rows.number(time.name, row)?;
        Some(match time.kind {
            ColumnKind::Instant => value.div_euclid(DAY_SECONDS * 1_000_000),
            _ => value,
        })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What is wrong with them.
    pub fn faults(&self) -> Vec<String> {
        let counts = [
            (self.unsorted, "rows are not in the order the file declares"),
            (self.strange, "rows are of another account or region"),
            (self.outside, "rows are of another day"),
        ];
        let wrong = counts.iter().filter(|(n, _)| *n > 0);
        wrong.map(|(n, what)| format!("{n} {what}")).collect()
    }
}

fn key(rows: &Rows<'_>, name: &str, row: usize) -> Key {
    let text = || rows.text(name, row).map(|t| Key::Text(t.to_owned()));
    let number = || rows.number(name, row).map(Key::Number);
    text().or_else(number).unwrap_or(Key::Nothing)
}
