//! One lane: fetch → normalize → write → publish → record, in the plan's order.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::commit::Lake;
use crate::lake::table::METRICS;
use crate::normalize::Catalog;
use crate::report::UnitReport;
use crate::run::given::context::RunContext;
use crate::run::metrics::catalog::widen_catalog;
use crate::run::metrics::scatter::LaneSink;
use crate::run::unit::scope::LaneScope;
use crate::store::StoreError;

use crate::lake::{UnitId, layout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::aws::{CallStats, LaneClient};
use crate::fetch::{Asker, BatchStats, Fetched, InFlight, InOrder, LaneBudget, Spool};
use crate::model::{Cause, Day, UnitOutcome};
use crate::plan::{Group, LanePlan};
use crate::run::given::bounds::{blocking, stopped};
use crate::run::unit::publish::{Change, publish_unit};

/// What a lane needs.
pub(crate) struct LaneJob {
    pub(crate) client: LaneClient,
    pub(crate) plan: Arc<LanePlan>,
    pub(crate) scope: LaneScope,
    /// Answers of an interrupted run, and where this one's are kept.
    pub(crate) spool: Spool,
    pub(crate) account_name: Option<Arc<str>>,
    pub(crate) lake: Arc<Lake>,
    pub(crate) bound: Arc<Semaphore>,
    pub(crate) encoders: Arc<Semaphore>,
    pub(crate) budget: LaneBudget,
    pub(crate) context: RunContext,
    /// When the clock read `context.now`.
    pub(crate) planned: Instant,
}

/// What a lane took and left.
pub(crate) struct LaneDone {
    pub(crate) get_metric_data: BatchStats,
    pub(crate) seconds: f64,
    pub(crate) units: Vec<UnitReport>,
    /// What went wrong that is about the lane and no unit of it.
    pub(crate) cause: Option<Cause>,
}

/// Units of a lane on their way into the lake at once; the store bounds them over all lanes.
const UNITS_AT_ONCE: usize = 4;

/// Time that requests under way have after a signal: their answers are kept for the run that resumes.
const GRACE: Duration = Duration::from_secs(4);

/// Exports one lane. Whatever goes wrong is in the units.
pub(crate) async fn export_lane(mut job: LaneJob) -> LaneDone {
    let started = Instant::now();
    let (old, broken) = match old_units(&job).await {
        Ok(old) => (old, None),
        Err(error) => (HashMap::new(), Some(Cause::from(error))),
    };
    let sink = LaneSink::new(
        &job.plan,
        &job.scope,
        job.account_name.as_ref(),
        &job.lake.staging(),
        &old,
        &job.context,
    );
    let sink = Arc::new(Mutex::new(sink));
    let limit = job.context.config.limits.unit_timeout;
    let ended = match broken {
        Some(cause) => Err(cause),
        None => tokio::select! {
            last = fetch_and_write(&job, &sink) => last,
            () = tokio::time::sleep(limit) => Err(
                Cause::time_limit(limit, "raise limits.unit_timeout_secs, or export fewer days or metrics at once"),
            ),
        },
    };
    let whole = ended.is_ok();
    // The last group is encoded in one go with closing the files: a lane that waits for its turn has none open if it can help it.
    let (get_metric_data, sealed) = {
        let sink = Arc::clone(&sink);
        blocking(&job.encoders, move || {
            let mut sink = locked(&sink);
            match ended {
                Ok(Some(last)) => {
                    sink.take_group(&last.group, last.fetched);
                }
                Ok(None) => {}
                Err(cause) => sink.fail_all(&cause),
            }
            (sink.stats(), sink.seal(started))
        })
        .await
    };
    let lane = job.plan.lane.clone();
    let changes: Vec<(Day, UnitReport, Change)> = stream::iter(sealed)
        .map(|day| {
            let (job, lane) = (&job, &lane);
            async move {
                let date = day.day;
                let (unit, change) =
                    publish_unit(&job.lake, &job.context, &job.scope, lane, day).await;
                (date, unit, change)
            }
        })
        .buffered(UNITS_AT_ONCE)
        .collect()
        .await;
    let mut units = Vec::with_capacity(changes.len());
    for (day, unit, change) in changes {
        match change {
            Change::Commit(committed) => job.scope.records.commit(day, committed),
            Change::Attempt(attempt) => job.scope.records.attempt(day, attempt),
            Change::None => {}
        }
        units.push(unit);
    }
    let cause = record(&mut job, &sink, whole, &units).await.err();
    LaneDone {
        // Requests that were dropped while under way are in the lane's books, and in no batch's.
        get_metric_data: BatchStats {
            billed_metrics: job.budget.spent(),
            calls: CallStats {
                calls: job.budget.requests(),
                ..get_metric_data.calls
            },
            ..get_metric_data
        },
        seconds: started.elapsed().as_secs_f64(),
        units,
        cause,
    }
}

/// Local copies of the units that are added to.
async fn old_units(job: &LaneJob) -> Result<HashMap<Day, PathBuf>, StoreError> {
    let mut old = HashMap::new();
    for (day, mode) in &job.scope.days {
        if mode.adds() {
            let key = layout::unit(&UnitId::new(&METRICS, *day, &job.plan.lane));
            let scratch = job.lake.staging();
            if let Some(path) = job.lake.store().open(&key, &scratch).await? {
                old.insert(*day, path);
            }
        }
    }
    Ok(old)
}

/// The catalog and the manifest, after the data; then, when every unit is in its place, the kept answers go.
async fn record(
    job: &mut LaneJob,
    sink: &Arc<Mutex<LaneSink>>,
    whole: bool,
    units: &[UnitReport],
) -> Result<(), Cause> {
    let (lake, lane) = (Arc::clone(&job.lake), job.plan.lane.clone());
    // The catalog first: a day that the manifest calls settled is not read again. A broken one keeps nothing else from being recorded.
    let mut catalog = Ok(());
    if whole && !job.plan.series.is_empty() && !lake.lost().is_cancelled() {
        let name = job.account_name.as_deref();
        let note = |catalog: &mut Catalog| locked(sink).note_series(catalog);
        catalog = widen_catalog(&lake, &lane, name, note).await;
    }
    if !lake.lost().is_cancelled() {
        job.scope.records.write(&**lake.store()).await?;
    }
    // Where something was refused, the next run asks for all of the day again, and pays for what was refused alone.
    let finished = |u: &UnitReport| {
        !matches!(u.outcome, UnitOutcome::Failed | UnitOutcome::Forbidden) && u.refused_queries == 0
    };
    if whole
        && units.iter().all(finished)
        && let Err(error) = job.spool.forget(&job.plan)
    {
        tracing::warn!(%error, "removing kept answers");
    }
    catalog
}

fn locked(sink: &Mutex<LaneSink>) -> MutexGuard<'_, LaneSink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group whose batches are all in, with the permit of its last one.
struct FetchedGroup {
    group: Group,
    fetched: Vec<Fetched>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Requests run ahead of the writer by `read_ahead`; a group is written when its last batch is in. The last group is left to the
/// caller; none is left when there was none, or when no day can be completed any more. After a signal, what is under way is kept.
async fn fetch_and_write(
    job: &LaneJob,
    sink: &Arc<Mutex<LaneSink>>,
) -> Result<Option<FetchedGroup>, Cause> {
    let (plan, context) = (&job.plan, &job.context);
    let now = context.now;
    if context.stop.is_cancelled() || job.lake.lost().is_cancelled() {
        return Err(stopped(&job.context, &job.lake).await);
    }
    let asker = Asker {
        client: job.client.clone(),
        plan: Arc::clone(plan),
        budget: job.budget.clone(),
        spool: job.spool.clone(),
        planned_at: now,
    };
    let admit = {
        let asker = asker.clone();
        move |n: usize| {
            let asker = asker.clone();
            async move { asker.admit(n, now).await }
        }
    };
    let start = {
        let planned = job.planned;
        move |n: usize| {
            let elapsed = planned.elapsed().as_secs().cast_signed();
            asker.clone().fetch(n, now + elapsed)
        }
    };
    let read_ahead = context.config.run.read_ahead as usize;
    let mut batches = InOrder::start(plan.batches.len(), read_ahead, &job.bound, admit, start);
    for (index, group) in plan.groups.iter().enumerate() {
        // The last one's permit is held until the group is written: its page counts against the run's bound. The others give
        // theirs back at once, or lanes with several windows a group would wait for each other for ever.
        let mut fetched: Vec<Fetched> = Vec::with_capacity(group.batches.len());
        let mut last_permit = None;
        for _ in group.batches.clone() {
            drop(last_permit.take());
            let next = tokio::select! {
                next = batches.next() => next,
                cause = stopped(&job.context, &job.lake) => {
                    batches.drain(GRACE).await;
                    return Err(cause);
                }
            };
            if let Some(InFlight { value, permit }) = next {
                fetched.push(value);
                last_permit = Some(permit);
            }
        }
        let whole = FetchedGroup {
            group: group.clone(),
            fetched,
            _permit: last_permit,
        };
        if index + 1 == plan.groups.len() {
            return Ok(Some(whole));
        }
        let sink = Arc::clone(sink);
        let any_day_left = blocking(&job.encoders, move || {
            locked(&sink).take_group(&whole.group, whole.fetched)
        })
        .await;
        if !any_day_left {
            tracing::info!(lane = %job.plan.lane, "no day of this lane can be completed: asking no further");
            // What is under way is paid for: its answers are kept for the run that resumes.
            batches.drain(GRACE).await;
            return Ok(None);
        }
    }
    Ok(None)
}
