//! One lane: fetch → normalize → write → publish, in the plan's order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::pipeline::RunContext;
use super::sink::LaneSink;
use crate::accounts::{Api, LaneClient};
use crate::commit::Lake;
use crate::fetch::{Fetched, InFlight, InOrder, fetch_batch};
use crate::model::{Cause, CauseKind};
use crate::plan::LanePlan;
use crate::report::{LaneReport, UnitReport};

/// What a lane needs.
pub(super) struct LaneJob {
    pub(super) client: LaneClient,
    pub(super) plan: Arc<LanePlan>,
    pub(super) account_name: Option<Arc<str>>,
    pub(super) lake: Arc<Lake>,
    pub(super) bound: Arc<Semaphore>,
    pub(super) encoders: Arc<Semaphore>,
    pub(super) context: RunContext,
}

/// Exports one lane. Whatever goes wrong is in the units.
pub(super) async fn export_lane(job: LaneJob) -> (LaneReport, Vec<UnitReport>) {
    let started = Instant::now();
    let sink = LaneSink::new(
        &job.plan,
        job.account_name.as_ref(),
        &job.lake,
        &job.context,
    );
    let sink = Arc::new(Mutex::new(sink));
    let limit = job.context.config.limits.unit_timeout;
    let broken = tokio::select! {
        () = fetch_and_write(&job, &sink) => None,
        () = job.context.stop.cancelled() => Some(Cause::new(CauseKind::Interrupted, "stopped by a signal")),
        () = tokio::time::sleep(limit) => Some(
            Cause::new(CauseKind::TimeLimit, format!("not finished within {} s", limit.as_secs()))
                .with_hint("raise limits.unit_timeout_secs, or export fewer days or metrics at once"),
        ),
    };
    let force = job.context.force;
    let lake = Arc::clone(&job.lake);
    let units = blocking(&job.encoders, move || {
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = broken {
            sink.fail_all(&cause);
        }
        (sink.stats(), sink.finish(&lake, force))
    })
    .await;
    let (get_metric_data, units) = units;
    let lane = job.client.lane();
    let report = LaneReport {
        account_id: lane.account.to_string(),
        region: lane.region.to_string(),
        planned: crate::plan::LaneCost::default(),
        get_metric_data,
        discovery: crate::accounts::CallStats::default(),
        seconds: started.elapsed().as_secs_f64(),
        cause: None,
    };
    (report, units)
}

/// Requests run ahead of the writer by `read_ahead`; a group is written when its last batch is in.
async fn fetch_and_write(job: &LaneJob, sink: &Arc<Mutex<LaneSink>>) {
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
        move |n: usize| fetch_batch(client.clone(), Arc::clone(&plan), n, now)
    };
    let read_ahead = context.config.run.read_ahead as usize;
    let mut batches = InOrder::start(plan.batches.len(), read_ahead, bound, admit, start);
    for group in &plan.groups {
        // The last one's permit is held until the group is written: its page counts against the run's bound. The others give
        // theirs back at once, or lanes with several windows a group would wait for each other for ever.
        let mut fetched: Vec<Fetched> = Vec::with_capacity(group.batches.len());
        let mut permit = None;
        for _ in group.batches.clone() {
            drop(permit.take());
            if let Some(InFlight {
                value,
                permit: held,
            }) = batches.next().await
            {
                fetched.push(value);
                permit = Some(held);
            }
        }
        let (sink, whole) = (Arc::clone(sink), group.clone());
        let any_day_left = blocking(&job.encoders, move || {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            sink.take_group(&whole, fetched)
        })
        .await;
        drop(permit);
        if !any_day_left {
            tracing::info!(lane = %client.lane(), "no day of this lane can be completed: asking no further");
            return;
        }
    }
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
