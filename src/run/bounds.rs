//! What a run may do at once and spend, shared by all its lanes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::ExportConfig;
use crate::fetch::Budget;

/// The bounds of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Requests in flight.
    pub(super) requests: Arc<Semaphore>,
    /// Files that are encoded at once: one a core.
    pub(super) encoders: Arc<Semaphore>,
    /// Dollars.
    pub(super) budget: Arc<Budget>,
}

impl Bounds {
    /// What a configuration allows.
    pub(super) fn of(config: &ExportConfig) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            requests: Arc::new(Semaphore::new(config.run.concurrency as usize)),
            encoders: Arc::new(Semaphore::new(cores)),
            budget: Arc::new(Budget::of_dollars(config.run.max_spend_usd)),
        }
    }
}
