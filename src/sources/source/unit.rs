//! A unit whose rows are all in.

use std::collections::BTreeMap;

use crate::commit::NewFile;
use crate::lake::table::Table;
use crate::model::{Cause, Day, Lane, Spans, UnitOutcome, iso_seconds};
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::write::Staged;

/// A unit whose rows are all in, with its verified file if it has rows.
#[derive(Debug)]
pub(crate) struct NewUnit {
    pub(crate) day: Day,
    pub(crate) mode: DayMode,
    pub(crate) staged: Option<Staged>,
    /// Everything asked for is in the file.
    pub(crate) complete: bool,
    /// It was answered and is not final: something was remarked about a request as a whole, or is known to be gone, or its series are not in
    /// the catalog.
    pub(crate) ask_again: bool,
    /// What was asked and answered, by part.
    pub(crate) covered: BTreeMap<String, Spans>,
    /// The part of that in which something was refused by itself.
    pub(crate) refused: BTreeMap<String, Spans>,
    /// When the oldest answer in it was read.
    pub(crate) read_at: i64,
    /// As far as it is known before publishing.
    pub(crate) report: UnitReport,
}

impl NewUnit {
    /// Whether it may take the place of what is there: a file or a true nothing.
    pub(crate) fn may_replace(&self) -> bool {
        self.mode.is_asked() && (self.staged.is_some() || self.report.outcome == UnitOutcome::Empty)
    }

    /// A unit that could not be read.
    pub(crate) fn failed(
        table: &'static Table,
        (day, lane): (Day, &Lane),
        mode: DayMode,
        cause: Cause,
        now: i64,
    ) -> Self {
        let report = UnitReport {
            outcome: cause.unit_outcome(),
            cause: Some(cause),
            ..UnitReport::of(table, day, lane, now)
        };
        Self {
            day,
            mode,
            staged: None,
            complete: false,
            ask_again: false,
            covered: BTreeMap::new(),
            refused: BTreeMap::new(),
            read_at: now,
            report,
        }
    }

    /// The file for the decision whether it may be published.
    pub(crate) fn new_file(&self) -> Option<NewFile<'_>> {
        self.staged.as_ref().map(|staged| NewFile {
            staged,
            complete: self.complete,
            series: self.report.series_returned,
        })
    }
}

/// The report of a unit that was read: written if it has rows, else empty.
pub(crate) fn read_unit(
    table: &'static Table,
    (day, lane): (Day, &Lane),
    staged: Option<&Staged>,
    now: i64,
) -> UnitReport {
    UnitReport {
        outcome: if staged.is_some() {
            UnitOutcome::Written
        } else {
            UnitOutcome::Empty
        },
        complete: true,
        rows: staged.map_or(0, |s| s.rows),
        first_ts: Some(iso_seconds(day.start())),
        last_ts: Some(iso_seconds(day.end() - 1)),
        ..UnitReport::of(table, day, lane, now)
    }
}
