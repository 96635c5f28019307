//! The report of a lane: what one dataset was to take there, and took.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::CallStats;
use crate::fetch::BatchStats;
use crate::model::{Cause, Dataset};
use crate::plan::{LaneCost, NamespaceCost};

/// What one dataset took in one lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneReport {
    /// `metrics`, `instances`, `logs` or `spend`.
    pub dataset: Dataset,
    /// Its account.
    pub account_id: String,
    /// Its region.
    pub region: String,
    /// The monitoring account it is read through; none when it is read directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// What its plan said.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// Calls that found out what there is.
    pub discovery: CallStats,
    /// Calls for what is no metric.
    pub calls: CallStats,
    /// `GetMetricData`, exact.
    pub get_metric_data: BatchStats,
    /// Rows of its units.
    pub rows: u64,
    /// Time from the first request to the last file.
    pub seconds: f64,
    /// It was found by itself and is not enabled: left out, not failed.
    pub skipped: bool,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// What reading a dataset in a lane will find and cost, as far as free calls tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// `GetMetricData`; of what is no metric the least number of calls.
    pub planned: LaneCost,
    /// The same by namespace.
    pub namespaces: BTreeMap<String, NamespaceCost>,
    /// (Series, statistic) pairs that a later `[[metrics]]` table asks for at another period or unit: the first table decided.
    pub overruled: u64,
    /// What there is: `instances`; `log_groups` and the `estimated_bytes` of their events.
    #[serde(flatten)]
    pub found: BTreeMap<String, u64>,
    /// There is something of what was selected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matched: bool,
    /// Series that each selection of metrics wants, by the selection's place.
    #[serde(skip)]
    pub selections: BTreeMap<usize, u64>,
}

impl LaneReport {
    /// Nothing of it was looked for, asked or missed.
    pub(super) fn is_idle(&self) -> bool {
        let calls = [self.discovery, self.calls, self.get_metric_data.calls];
        calls.iter().all(|c| c.calls == 0)
            && self.cause.is_none()
            && !self.forecast.matched
            && self.forecast.planned.calls == 0
    }
}

impl Forecast {
    /// How many of something there are.
    pub fn found(&self, what: &str) -> u64 {
        self.found.get(what).copied().unwrap_or(0)
    }
}
