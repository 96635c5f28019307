//! One lane: fetch → normalize → write, in the plan's order.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::aws::Turn;
use crate::fetch::{Asker, Fetched, InFlight, InOrder};
use crate::given::bounds::{blocking, stopped};
use crate::lake::table::METRICS;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Day};
use crate::normalize::Catalog;
use crate::plan::Group;
use crate::sources::metrics::MetricsJob;
use crate::sources::metrics::catalog::widen_catalog;
use crate::sources::metrics::scatter::LaneSink;
use crate::sources::source::Reading;
use crate::store::StoreError;

/// Time that requests under way have after a signal: their answers are kept for the run that resumes.
const GRACE: Duration = Duration::from_secs(4);

/// Reads one lane. A day that fails by itself is given with its cause.
///
/// # Errors
/// What kept all days from being made.
pub(super) async fn read(job: MetricsJob, reading: Reading) -> Result<(), Cause> {
    let started = Instant::now();
    let old = old_units(&job, &reading).await?;
    let sink = LaneSink::new(&job, &reading, &old);
    let sink = Arc::new(Mutex::new(sink));
    let last = fetch_and_write(&job, &reading, &sink).await;
    let whole = last.is_ok();
    // The last group is encoded in one go with closing the files: a lane that waits for its turn has none open if it can help it.
    let mut sealed = {
        let (sink, reading) = (Arc::clone(&sink), reading.clone());
        let encoders = Arc::clone(&reading.bounds.encoders);
        blocking(&encoders, move || {
            let mut sink = locked(&sink);
            match last {
                Ok(Some(last)) => {
                    sink.take_group(&last.group, last.fetched, &reading);
                }
                Ok(None) => {}
                Err(cause) => sink.fail_all(&cause),
            }
            sink.seal(started)
        })
        .await
    };
    if whole {
        // Before the days: one that its manifest calls settled is not read again, and its series would never be noted.
        let widened = widen(&job, &reading, &sink).await;
        if widened.is_err() {
            sealed.iter_mut().for_each(|unit| unit.ask_again = true);
        }
        reading.note(|taken| {
            taken.kept = widened.is_ok().then_some((job.spool, job.plan));
            taken.cause = widened.err();
        });
    }
    reading.give(sealed).await;
    Ok(())
}

/// The catalog of the lane's series; a broken one keeps nothing else from being recorded.
async fn widen(job: &MetricsJob, reading: &Reading, sink: &Mutex<LaneSink>) -> Result<(), Cause> {
    if job.plan.series.is_empty() || reading.lake.lost().is_cancelled() {
        return Ok(());
    }
    let name = reading.account_name.as_deref();
    let note = |catalog: &mut Catalog| locked(sink).note_series(catalog);
    widen_catalog(&reading.lake, &job.plan.lane, name, note).await
}

/// Local copies of the units that are added to.
async fn old_units(
    job: &MetricsJob,
    reading: &Reading,
) -> Result<HashMap<Day, PathBuf>, StoreError> {
    let mut old = HashMap::new();
    for (day, mode) in &job.scope.days {
        if mode.adds() {
            let key = layout::unit(&UnitId::new(&METRICS, *day, &job.plan.lane));
            let scratch = reading.lake.staging();
            if let Some(path) = reading.lake.store().open(&key, &scratch).await? {
                old.insert(*day, path);
            }
        }
    }
    Ok(old)
}

fn locked(sink: &Mutex<LaneSink>) -> MutexGuard<'_, LaneSink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group whose batches are all in, with the turn of its last one.
struct FetchedGroup {
    group: Group,
    fetched: Vec<Fetched>,
    _turn: Option<Turn>,
}

/// Requests run ahead of the writer by `read_ahead`; a group is written when its last batch is in. The last group is left to the
/// caller; none is left when there was none, or when no day can be completed any more. After a signal, what is under way is kept.
async fn fetch_and_write(
    job: &MetricsJob,
    reading: &Reading,
    sink: &Arc<Mutex<LaneSink>>,
) -> Result<Option<FetchedGroup>, Cause> {
    let (plan, context) = (&job.plan, &reading.context);
    let now = context.now;
    if context.stop.is_cancelled() || reading.lake.lost().is_cancelled() {
        return Err(stopped(context, &reading.lake).await);
    }
    let asker = Asker {
        client: job.client.clone(),
        plan: Arc::clone(plan),
        budget: reading.budget.clone(),
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
        let reading = reading.clone();
        move |n: usize, turn: Turn| asker.under(&turn).fetch(n, reading.now())
    };
    let read_ahead = context.config.run.read_ahead as usize;
    let mut batches = InOrder::start(
        plan.batches.len(),
        read_ahead,
        &reading.bounds.requests,
        admit,
        start,
    );
    for (index, group) in plan.groups.iter().enumerate() {
        // The last one's turn is held until the group is written: its page counts against the run's bound. The others give
        // theirs back at once, or lanes with several windows a group would wait for each other for ever.
        let mut fetched: Vec<Fetched> = Vec::with_capacity(group.batches.len());
        let mut last_turn = None;
        for _ in group.batches.clone() {
            drop(last_turn.take());
            let next = tokio::select! {
                next = batches.next() => next,
                cause = stopped(context, &reading.lake) => {
                    batches.drain(GRACE).await;
                    return Err(cause);
                }
            };
            if let Some(InFlight { value, turn }) = next {
                context
                    .progress
                    .answered(value.stats.pages.max(1), value.stats.points_received);
                fetched.push(value);
                last_turn = Some(turn);
            }
        }
        let whole = FetchedGroup {
            group: group.clone(),
            fetched,
            _turn: last_turn,
        };
        if index + 1 == plan.groups.len() {
            return Ok(Some(whole));
        }
        let (sink, of_lane) = (Arc::clone(sink), reading.clone());
        let any_day_left = blocking(&reading.bounds.encoders, move || {
            locked(&sink).take_group(&whole.group, whole.fetched, &of_lane)
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
