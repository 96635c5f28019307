//! A unit whose rows are all in.

use std::collections::BTreeMap;

use crate::commit::NewFile;
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::write::Staged;

use crate::model::{Day, Spans};

/// A unit whose rows are all in, with its verified file if it has rows.
#[derive(Debug)]
pub(crate) struct SealedDay {
    pub(crate) day: Day,
    pub(crate) mode: DayMode,
    pub(crate) staged: Option<Staged>,
    /// Everything asked for is in the file.
    pub(crate) complete: bool,
    /// What was asked and answered, by namespace.
    pub(crate) covered: BTreeMap<String, Spans>,
    /// The part of that in which something was refused by itself.
    pub(crate) refused: BTreeMap<String, Spans>,
    /// When the oldest answer in it was read.
    pub(crate) read_at: i64,
    /// As far as it is known before publishing.
    pub(crate) report: UnitReport,
}

impl SealedDay {
    /// The file for the decision whether it may be published.
    pub(crate) fn new_file(&self) -> Option<NewFile<'_>> {
        self.staged.as_ref().map(|staged| NewFile {
            staged,
            complete: self.complete,
            series: self.report.series_returned,
        })
    }
}
