//! The pipeline: one call per stage, in order.

pub(crate) mod enter;
mod fleet;
pub(crate) mod given;
pub(crate) mod metrics;
mod pipeline;
mod spend;
pub(crate) mod tables;
pub(crate) mod unit;

pub use given::choice::{ChoiceError, LaneChoice};
pub use given::context::RunContext;
pub use given::error::RunError;
pub use metrics::planned::{PlannedLane, ReadyLane};
pub use pipeline::{Planned, export, plan};
pub use spend::{alert_as_file, spend, spend_with_alerts};
pub use tables::PlannedTable;
