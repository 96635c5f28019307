//! Units of which nothing was read.

use crate::fetch::BatchStats;
use crate::lake::table::{METRICS, Table};
use crate::model::{Cause, Day, Lane, UnitOutcome};
use crate::report::UnitReport;
use crate::run::given::context::RunContext;

/// The units of a lane that could not be read at all.
pub(crate) fn unread_units(
    lane: &Lane,
    outcome: UnitOutcome,
    cause: &Cause,
    context: &RunContext,
) -> Vec<UnitReport> {
    let unit = |day: Day| UnitReport {
        outcome,
        cause: Some(cause.clone()),
        ..UnitReport::of(day, lane, context.now)
    };
    context.days_of(lane).into_iter().map(unit).collect()
}

impl UnitReport {
    /// A unit of metrics of which nothing is known yet.
    pub(crate) fn of(day: Day, lane: &Lane, now: i64) -> Self {
        Self::of_table(&METRICS, day, lane, now)
    }

    /// The same of any table.
    pub(crate) fn of_table(table: &'static Table, day: Day, lane: &Lane, now: i64) -> Self {
        Self {
            table,
            date: day.to_string(),
            account_id: lane.account.to_string(),
            region: lane.region.to_string(),
            outcome: UnitOutcome::Failed,
            complete: false,
            provisional: now < day.end(),
            unchanged: false,
            rows: 0,
            series_asked: 0,
            series_returned: 0,
            file: None,
            bytes: 0,
            sha256: None,
            first_ts: None,
            last_ts: None,
            requests: BatchStats::default(),
            seconds: 0.0,
            cause: None,
            refused: Vec::new(),
            refused_queries: 0,
            messages: Vec::new(),
        }
    }
}
