//! What a run may do at once and spend, shared by all its lanes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::aws::Turns;
use crate::commit::Lake;
use crate::config::ExportConfig;
use crate::fetch::Budget;
use crate::given::context::RunContext;

use crate::model::{Cause, CauseKind};

/// The bounds of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Requests in flight.
    pub(crate) requests: Turns,
    /// Files that are encoded at once: one a core.
    pub(crate) encoders: Arc<Semaphore>,
    /// Dollars.
    pub(crate) budget: Arc<Budget>,
}

impl Bounds {
    /// What a configuration allows.
    pub(crate) fn of(config: &ExportConfig) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            requests: Turns::new(config.run.concurrency as usize),
            encoders: Arc::new(Semaphore::new(cores)),
            budget: Arc::new(Budget::of_dollars(config.run.max_spend_usd)),
        }
    }
}

/// A signal, or the loss of the lock.
pub(crate) async fn stopped(context: &RunContext, lake: &Lake) -> Cause {
    tokio::select! {
        () = context.stop.cancelled() => Cause::stopped(),
        () = lake.lost().cancelled() => Cause::lock_lost(),
    }
}

/// Encoding and files stay off the threads that serve the network, no more at once than there are cores: more would only hold more
/// rows in memory.
pub(crate) async fn blocking<T: Send + 'static>(
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

pub(crate) async fn within_limits<T>(
    context: &RunContext,
    planning: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let limit = context.config.limits.unit_timeout;
    tokio::select! {
        ready = planning => ready,
        () = tokio::time::sleep(limit) => Err(
            Cause::new(CauseKind::TimeLimit, format!("discovery is not finished within {} s", limit.as_secs()))
                .with_hint("raise limits.unit_timeout_secs, or select less"),
        ),
        () = context.stop.cancelled() => Err(Cause::new(CauseKind::Interrupted, "stopped before discovery ended")),
    }
}
