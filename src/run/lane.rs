//! One lane: fetch → normalize → write → publish, in the plan's order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pipeline::RunContext;
use super::sink::LaneSink;
use crate::accounts::{Api, LaneClient};
use crate::commit::Lake;
use crate::fetch::{BatchStats, Fetched, InFlight, InOrder, fetch_batch};
use crate::model::{Cause, CauseKind};
use crate::plan::{Group, LanePlan};
use crate::report::UnitReport;

/// What a lane needs.
pub(super) struct LaneJob {
    pub(super) client: LaneClient,
    pub(super) plan: Arc<LanePlan>,
    pub(super) account_name: Option<Arc<str>>,
    pub(super) lake: Arc<Lake>,
    pub(super) bound: Arc<Semaphore>,
    pub(super) encoders: Arc<Semaphore>,
    pub(super) context: RunContext,
    /// When the clock read `context.now`.
    pub(super) planned: Instant,
}

/// What a lane took and left.
pub(super) struct LaneDone {
    pub(super) get_metric_data: BatchStats,
    pub(super) seconds: f64,
    pub(super) units: Vec<UnitReport>,
}

/// Exports one lane. Whatever goes wrong is in the units.
pub(super) async fn export_lane(job: LaneJob) -> LaneDone {
    let started = Instant::now();
    let sink = LaneSink::new(
        &job.plan,
        job.account_name.as_ref(),
        &job.lake,
        &job.context,
    );
    let sink = Arc::new(Mutex::new(sink));
    let limit = job.context.config.limits.unit_timeout;
    let ended = tokio::select! {
        last = fetch_and_write(&job, &sink) => Ok(last),
        () = job.context.stop.cancelled() => Err(Cause::new(CauseKind::Interrupted, "stopped by a signal")),
        () = tokio::time::sleep(limit) => Err(
            Cause::new(CauseKind::TimeLimit, format!("not finished within {} s", limit.as_secs()))
                .with_hint("raise limits.unit_timeout_secs, or export fewer days or metrics at once"),
        ),
    };
    let force = job.context.force;
    let lake = Arc::clone(&job.lake);
    // The last group is encoded in one go with closing the files: a lane that waits for its turn has none open if it can help it.
    let (get_metric_data, units) = blocking(&job.encoders, move || {
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(Some(last)) => {
                sink.take_group(&last.group, last.fetched);
            }
            Ok(None) => {}
            Err(cause) => sink.fail_all(&cause),
        }
        (sink.stats(), sink.finish(&lake, force, started))
    })
    .await;
    LaneDone {
        get_metric_data,
        seconds: started.elapsed().as_secs_f64(),
        units,
    }
}

/// A group whose batches are all in, with the permit of its last one.
struct FetchedGroup {
    group: Group,
    fetched: Vec<Fetched>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Requests run ahead of the writer by `read_ahead`; a group is written when its last batch is in. The last group is left to the
/// caller; none is left when there was none, or when no day can be completed any more.
async fn fetch_and_write(job: &LaneJob, sink: &Arc<Mutex<LaneSink>>) -> Option<FetchedGroup> {
    let LaneJob {
        client,
        plan,
        bound,
        context,
        ..
    } = job;
    let now = context.now;
    let admit = {
        let (client, plan) = (client.clone(), Arc::clone(plan));
        move |n: usize| {
            let (client, batch) = (client.clone(), &plan.batches[n]);
            let cost = client.point_cost(batch.points, batch.span.start, now);
            async move { client.pace(Api::GetMetricData, cost).await }
        }
    };
    let start = {
        let (client, plan) = (client.clone(), Arc::clone(plan));
        let planned = job.planned;
        move |n: usize| {
            let elapsed = planned.elapsed().as_secs().cast_signed();
            fetch_batch(client.clone(), Arc::clone(&plan), n, now + elapsed)
        }
    };
    let read_ahead = context.config.run.read_ahead as usize;
    let mut batches = InOrder::start(plan.batches.len(), read_ahead, bound, admit, start);
    for (index, group) in plan.groups.iter().enumerate() {
        // The last one's permit is held until the group is written: its page counts against the run's bound. The others give
        // theirs back at once, or lanes with several windows a group would wait for each other for ever.
        let mut fetched: Vec<Fetched> = Vec::with_capacity(group.batches.len());
        let mut last_permit = None;
        for _ in group.batches.clone() {
            drop(last_permit.take());
            if let Some(InFlight { value, permit }) = batches.next().await {
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
            return Some(whole);
        }
        let sink = Arc::clone(sink);
        let any_day_left = blocking(&job.encoders, move || {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            sink.take_group(&whole.group, whole.fetched)
        })
        .await;
        if !any_day_left {
            tracing::info!(lane = %client.lane(), "no day of this lane can be completed: asking no further");
            return None;
        }
    }
    None
}

/// Encoding and files stay off the threads that serve the network, no more at once than there are cores: more would only hold more
/// rows in memory.
async fn blocking<T: Send + 'static>(
    encoders: &Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let _one = encoders
        .acquire()
        .await
        .expect("the encoders' bound is never closed");
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
