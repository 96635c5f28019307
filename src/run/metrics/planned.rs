//! A lane of metrics, planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::LanePlan;
use crate::report::LaneReport;
use crate::run::given::context::RunContext;
use crate::run::unit::scope::LaneScope;

use crate::aws::{CallStats, LaneClient};
use crate::fetch::{BatchStats, Spool};
use crate::model::{AccountId, Cause, Lane};

/// One lane, planned.
#[derive(Debug)]
pub struct PlannedLane {
    /// Which.
    pub lane: Lane,
    /// Alias of its account.
    pub account_name: Option<Arc<str>>,
    /// The monitoring account it is read through.
    pub through: Option<AccountId>,
    /// What finding its series took.
    pub discovery: CallStats,
    /// Its client and plan, or why there is none.
    pub ready: Result<ReadyLane, Cause>,
    /// Nobody named its region, and it is closed to us: skipped, not failed.
    pub leave_out: bool,
}

/// A lane that can be asked.
#[derive(Debug)]
pub struct ReadyLane {
    pub(crate) client: LaneClient,
    pub(crate) scope: LaneScope,
    pub(crate) spool: Spool,
    /// What it will be asked.
    pub plan: Arc<LanePlan>,
    /// Series that each selection wants of it, by the selection's place; those that were not listed are not here.
    pub matched: BTreeMap<usize, u64>,
}

impl PlannedLane {
    /// The report of a lane that has not asked for any point: its plan and its discovery, or why there is no plan.
    pub(crate) fn report(&self, context: &RunContext) -> LaneReport {
        let plan = self.ready.as_ref().ok().map(|ready| &ready.plan);
        LaneReport {
            account_id: self.lane.account.to_string(),
            region: self.lane.region.to_string(),
            through: self.through.as_ref().map(ToString::to_string),
            planned: plan.map(|p| p.cost()).unwrap_or_default(),
            namespaces: plan
                .map(|p| p.cost_by_namespace(&context.config.limits, context.now))
                .unwrap_or_default(),
            get_metric_data: BatchStats::default(),
            discovery: self.discovery,
            overruled: plan.map_or(0, |p| p.overruled),
            seconds: 0.0,
            skipped: self.leave_out,
            cause: self.ready.as_ref().err().cloned(),
        }
    }
}
