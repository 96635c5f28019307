//! What AWS would have counted: calls, metrics billed and points, per account and region.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counters of every lane.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bill {
    /// `account/region` to its counters.
    pub lanes: BTreeMap<String, LaneBill>,
}

/// Counters of one lane.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LaneBill {
    /// Operation to requests received, refused ones included.
    pub calls: BTreeMap<String, u64>,
    /// Operation to requests answered with an error.
    pub errors: BTreeMap<String, u64>,
    /// Metrics billed by `GetMetricData`: up to five statistics of a metric in one request count once.
    pub billed_metrics: u64,
    /// Points returned by `GetMetricData`.
    pub points: u64,
}

impl Bill {
    /// The counters of one lane.
    pub(super) fn lane(&mut self, account: &str, region: &str) -> &mut LaneBill {
        self.lanes.entry(format!("{account}/{region}")).or_default()
    }

    /// Requests of one operation over all lanes.
    pub fn calls(&self, operation: &str) -> u64 {
        self.lanes
            .values()
            .filter_map(|l| l.calls.get(operation))
            .sum()
    }

    /// Requests of one operation that were answered with an error.
    pub fn errors(&self, operation: &str) -> u64 {
        self.lanes
            .values()
            .filter_map(|l| l.errors.get(operation))
            .sum()
    }

    /// Metrics billed over all lanes.
    pub fn billed_metrics(&self) -> u64 {
        self.lanes.values().map(|l| l.billed_metrics).sum()
    }

    /// Points returned over all lanes.
    pub fn points(&self) -> u64 {
        self.lanes.values().map(|l| l.points).sum()
    }
}
