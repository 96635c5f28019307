//! How a run that came to its end ends: its exit code.

use super::compact::CompactReport;
use super::lane::LaneReport;
use super::run::{RunReport, UnitReport};
use crate::model::CauseKind;

/// The exit code of what a signal stopped.
fn stopped_code(signal: &str) -> u8 {
    if signal == "SIGTERM" { 143 } else { 130 }
}

impl RunReport {
    /// Exit code of a run that came to its end: 0 done, 3 when something is missing, 4 when nothing matched, 5 when nothing was within reach or no
    /// lane's part of the lake could be read, 8 when the budget ended it, 130 or 143 when a signal did.
    pub fn exit_code(&self) -> u8 {
        // What the lake holds could not be read for any lane.
        let unreachable = |l: &LaneReport| {
            let kind = l.cause.as_ref().map(|c| c.kind);
            let is_asked = l.get_metric_data.calls.calls > 0;
            kind == Some(CauseKind::Destination) && self.totals.written == 0 && !is_asked
        };
        // Everything is there: nothing was even listed.
        let nothing_to_look_for = (self.idle_lanes > 0 || !self.lanes.is_empty())
            && self.lanes.iter().all(|l| l.discovery.calls == 0);
        let has_tables = self.tables.iter().any(|t| t.forecast.matched);
        let over_budget = |u: &UnitReport| {
            let kind = u.cause.as_ref().map(|c| c.kind);
            kind == Some(CauseKind::Budget)
        };
        match self.stopped_by.as_deref() {
            Some(signal) => stopped_code(signal),
            None if self.units.iter().any(over_budget) => 8,
            None if self.is_out_of_reach() => 5,
            None if self.idle_lanes == 0
                && !self.lanes.is_empty()
                && self.lanes.iter().all(unreachable) =>
            {
                5
            }
            None if self.units.iter().any(UnitReport::is_short)
                || self.fleet.is_short()
                || self.not_stored.is_some()
                || self
                    .compaction
                    .as_ref()
                    .is_some_and(CompactReport::is_short)
                || self.lanes.iter().any(|l| l.cause.is_some() && !l.skipped)
                || self.tables.iter().any(|t| t.cause.is_some() && !t.skipped) =>
            {
                3
            }
            // Whether a run matched anything is known of all its shards together.
            None if self.shard.is_some() => 0,
            None if self.planned.sum.series == 0 && !nothing_to_look_for && !has_tables => 4,
            None => 0,
        }
    }

    /// Nothing could be read for want of a connection: to the accounts, or to any of their lanes.
    fn is_out_of_reach(&self) -> bool {
        let lanes = || self.lanes.iter().chain(&self.tables);
        let accounts = self.fleet.accounts.iter();
        let mut causes = accounts
            .filter_map(|a| a.cause.as_ref())
            .chain(lanes().filter_map(|l| l.cause.as_ref()))
            .peekable();
        self.idle_lanes == 0
            && causes.peek().is_some()
            && causes.all(|c| c.kind == CauseKind::Unreachable)
            && lanes().all(|l| l.cause.is_some())
    }
}

impl CompactReport {
    /// 0, 3 when something could not be compacted, 4 when there is nothing to compact, 130 or 143 when it was stopped.
    pub fn exit_code(&self) -> u8 {
        if let Some(signal) = &self.stopped_by {
            return stopped_code(signal);
        }
        match (self.is_short(), self.tables.is_empty()) {
            (true, _) => 3,
            (false, true) => 4,
            (false, false) => 0,
        }
    }
}
