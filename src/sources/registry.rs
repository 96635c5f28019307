//! The source of every dataset.

use crate::model::Dataset;
use crate::sources::alarms::{AlarmHistory, Alarms};
use crate::sources::instances::Instances;
use crate::sources::logs::Logs;
use crate::sources::metrics::Metrics;
use crate::sources::source::Source;
use crate::sources::spend::Spend;

/// The source of a dataset.
pub(crate) fn source(dataset: Dataset) -> &'static dyn Source {
    match dataset {
        Dataset::Metrics => &Metrics,
        Dataset::Instances => &Instances,
        Dataset::Logs => &Logs,
        Dataset::Spend => &Spend,
        Dataset::Alarms => &Alarms,
        Dataset::AlarmHistory => &AlarmHistory,
    }
}
