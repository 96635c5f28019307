//! All lanes side by side, within the run's bounds; and what is noted of those that could not be read.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::commit::Lake;
use crate::fetch::LaneBudget;
use crate::lake::table::METRICS;
use crate::plan::{Holding, OPEN_FILES};
use crate::run::given::bounds::Bounds;
use crate::run::given::context::RunContext;
use crate::run::tables::publish::note_unread_units;
use crate::run::unit::unread::unread_units;
use crate::write::ROW_GROUP_ROWS;

use futures_util::{StreamExt, stream};

use crate::model::{AccountId, Cause, CauseKind, Lane, Region, UnitOutcome};
use crate::report::{AccountReport, LaneReport, RunReport, UnitReport};
use crate::run::metrics::planned::{PlannedLane, ReadyLane};
use crate::run::metrics::read::{LaneJob, export_lane};

/// Lanes at work for each request that may be in flight: with the quota as the limit a lane mostly waits, and as many as there are should
/// wait side by side.
const LANES_A_REQUEST: usize = 8;

/// Memory of rows that wait for their row group to be full, for each request that may be in flight: `run.concurrency` is the one measure of
/// what a run holds. A lane that needs more than all of it has the run to itself.
const WAITING_KIB_A_REQUEST: u32 = 12 << 10;

/// Lanes side by side, within the bounds on requests in flight and on rows that wait.
pub(crate) async fn export_lanes(
    context: &RunContext,
    lake: &Arc<Lake>,
    bounds: &Bounds,
    lanes: Vec<PlannedLane>,
    planned: Instant,
    report: &mut RunReport,
) {
    let concurrency = context.config.run.concurrency;
    let most_kib = concurrency * WAITING_KIB_A_REQUEST;
    let waiting = Arc::new(Semaphore::new(most_kib as usize));
    let files = Arc::new(Semaphore::new(OPEN_FILES as usize));
    // The plan's reports of these lanes, in their order.
    let reports = std::mem::take(&mut report.lanes);
    let mut results = stream::iter(lanes.into_iter().zip(reports))
        .map(|(planned_lane, report)| {
            let (lake, bound) = (Arc::clone(lake), Arc::clone(&bounds.requests));
            let encoders = Arc::clone(&bounds.encoders);
            let budget = LaneBudget::new(&bounds.budget);
            let (waiting, files) = (Arc::clone(&waiting), Arc::clone(&files));
            let context = context.clone();
            async move {
                let lane = planned_lane.lane;
                let ReadyLane {
                    client,
                    scope,
                    spool,
                    plan,
                    matched: _,
                } = match planned_lane.ready {
                    Ok(ready) => ready,
                    Err(cause) => {
                        if !report.skipped {
                            note_unread(&lake, &context, &lane, &cause).await;
                        }
                        return unread_lane(report, &lane, &context);
                    }
                };
                let holding = Holding::of(&plan, &scope.days, ROW_GROUP_ROWS as u64);
                let closed = "the bounds of a run are never closed";
                let _files = files.acquire_many(holding.files).await.expect(closed);
                let _rows = waiting
                    .acquire_many(holding.kib.min(most_kib))
                    .await
                    .expect(closed);
                let job = LaneJob {
                    client,
                    plan,
                    scope,
                    spool,
                    account_name: planned_lane.account_name,
                    lake,
                    bound,
                    encoders,
                    budget,
                    context: context.clone(),
                    planned,
                };
                let spent = job.budget.clone();
                if let Ok(done) = tokio::spawn(export_lane(job)).await {
                    let report = LaneReport {
                        get_metric_data: done.get_metric_data,
                        seconds: done.seconds,
                        cause: done.cause,
                        ..report
                    };
                    (report, done.units)
                } else {
                    let cause = Cause::new(CauseKind::Other, "a worker of this lane broke down")
                        .with_hint(
                            "this is a bug: run with RUST_BACKTRACE=1 and report what stderr says",
                        );
                    let mut report = LaneReport {
                        cause: Some(cause),
                        ..report
                    };
                    report.get_metric_data.billed_metrics = spent.spent();
                    report.get_metric_data.calls.calls = spent.requests();
                    unread_lane(report, &lane, &context)
                }
            }
        })
        .buffer_unordered(concurrency as usize * LANES_A_REQUEST);
    while let Some((lane, units)) = results.next().await {
        context.progress.lane_done(&lane, &units);
        report.lanes.push(lane);
        report.units.extend(units);
    }
    report
        .lanes
        .sort_by(|a, b| (&a.account_id, &a.region).cmp(&(&b.account_id, &b.region)));
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
