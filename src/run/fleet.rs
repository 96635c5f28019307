//! All lanes side by side, within the run's bounds; and what is noted of those that could not be read.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::commit::Lake;
use crate::fetch::LaneBudget;
use crate::lake::table::METRICS;
use crate::run::given::bounds::Bounds;
use crate::run::given::context::RunContext;
use crate::run::metrics::planned::PlannedLane;
use crate::run::tables::publish::note_unread_units;
use crate::run::unit::unread::unread_units;
use crate::write::ROW_GROUP_ROWS;

use crate::plan::{Holding, OPEN_FILES};

use futures_util::{StreamExt, stream};

use crate::model::{AccountId, Cause, CauseKind, Lane, Region, UnitOutcome};
use crate::report::{AccountReport, LaneReport, UnitReport};
use crate::run::metrics::read::{LaneJob, export_lane};

/// Lanes at work for each request that may be in flight: with the quota as the limit a lane mostly waits, and as many as there are should
/// wait side by side.
const LANES_A_REQUEST: usize = 8;

/// Memory of rows that wait for their row group to be full, for each request that may be in flight: `run.concurrency` is the one measure of
/// what a run holds. A lane that needs more than all of it has the run to itself.
const WAITING_KIB_A_REQUEST: u32 = 12 << 10;

/// What became of all lanes of metrics.
#[derive(Default)]
pub(crate) struct LanesDone {
    pub(crate) reports: Vec<LaneReport>,
    pub(crate) units: Vec<UnitReport>,
}

/// Lanes side by side, within the bounds on requests in flight and on rows that wait. `lanes` come with the plan's reports of them.
pub(crate) async fn export_lanes(
    context: &RunContext,
    lake: &Arc<Lake>,
    bounds: &Bounds,
    lanes: Vec<(PlannedLane, LaneReport)>,
    planned: Instant,
) -> LanesDone {
    let concurrency = context.config.run.concurrency;
    let most_kib = concurrency * WAITING_KIB_A_REQUEST;
    let run = Fleet {
        context,
        lake,
        bounds,
        planned,
        most_kib,
        waiting: Semaphore::new(most_kib as usize),
        files: Semaphore::new(OPEN_FILES as usize),
    };
    let mut results = stream::iter(lanes)
        .map(|(lane, report)| run.export(lane, report))
        .buffer_unordered(concurrency as usize * LANES_A_REQUEST);
    let mut done = LanesDone::default();
    while let Some((lane, units)) = results.next().await {
        context.progress.lane_done(&lane, &units);
        done.reports.push(lane);
        done.units.extend(units);
    }
    done.reports
        .sort_by(|a, b| (&a.account_id, &a.region).cmp(&(&b.account_id, &b.region)));
    done
}

/// What all lanes of a run share.
struct Fleet<'a> {
    context: &'a RunContext,
    lake: &'a Arc<Lake>,
    bounds: &'a Bounds,
    planned: Instant,
    most_kib: u32,
    waiting: Semaphore,
    files: Semaphore,
}

impl Fleet<'_> {
    /// One lane, when there is room for what it holds. It runs by itself: one that breaks down takes no other with it.
    async fn export(
        &self,
        planned_lane: PlannedLane,
        report: LaneReport,
    ) -> (LaneReport, Vec<UnitReport>) {
        let context = self.context;
        let lane = planned_lane.lane;
        let ready = match planned_lane.ready {
            Ok(ready) => ready,
            Err(cause) => {
                if !report.skipped {
                    note_unread(self.lake, context, &lane, &cause).await;
                }
                return unread_lane(report, &lane, context);
            }
        };
        let holding = Holding::of(&ready.plan, &ready.scope.days, ROW_GROUP_ROWS as u64);
        let closed = "the bounds of a run are never closed";
        let _files = self.files.acquire_many(holding.files).await.expect(closed);
        let kib = holding.kib.min(self.most_kib);
        let _rows = self.waiting.acquire_many(kib).await.expect(closed);
        let spent = LaneBudget::new(&self.bounds.budget);
        let job = LaneJob {
            client: ready.client,
            plan: ready.plan,
            scope: ready.scope,
            spool: ready.spool,
            account_name: planned_lane.account_name,
            lake: Arc::clone(self.lake),
            bound: Arc::clone(&self.bounds.requests),
            encoders: Arc::clone(&self.bounds.encoders),
            budget: spent.clone(),
            context: context.clone(),
            planned: self.planned,
        };
        if let Ok(done) = tokio::spawn(export_lane(job)).await {
            let report = LaneReport {
                get_metric_data: done.get_metric_data,
                seconds: done.seconds,
                cause: done.cause,
                ..report
            };
            return (report, done.units);
        }
        let cause = Cause::new(CauseKind::Other, "a worker of this lane broke down")
            .with_hint("this is a bug: run with RUST_BACKTRACE=1 and report what stderr says");
        let mut report = LaneReport {
            cause: Some(cause),
            ..report
        };
        report.get_metric_data.billed_metrics = spent.spent();
        report.get_metric_data.calls.calls = spent.requests();
        unread_lane(report, &lane, context)
    }
}

/// Notes in the manifest why the units of a lane were not read; what is in place stays. A manifest that cannot be written is in the report
/// of the units that need one.
pub(crate) async fn note_unread(lake: &Lake, context: &RunContext, lane: &Lane, cause: &Cause) {
    note_unread_units(lake, &METRICS, lane, &context.days_of(lane), cause).await;
}

/// A lane that was not read, with a unit a day that says why.
fn unread_lane(
    report: LaneReport,
    lane: &Lane,
    context: &RunContext,
) -> (LaneReport, Vec<UnitReport>) {
    let units = match &report.cause {
        Some(cause) => {
            let outcome = if report.skipped {
                UnitOutcome::Skipped
            } else {
                cause.unit_outcome()
            };
            unread_units(lane, outcome, cause, context)
        }
        None => Vec::new(),
    };
    (report, units)
}

/// The lanes of an account that could not be entered, as far as its regions are known.
pub(crate) fn lanes_of_account(account: &AccountReport, context: &RunContext) -> Vec<Lane> {
    let Some(id) = AccountId::parse(&account.account_id) else {
        return Vec::new();
    };
    let lane = |region: &String| {
        Some(Lane {
            account: id.clone(),
            region: Region::parse(region)?,
        })
    };
    let lanes = account.regions.iter().filter_map(lane);
    lanes.filter(|lane| context.is_asked(lane)).collect()
}
