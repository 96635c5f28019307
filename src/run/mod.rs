//! The pipeline: one call per stage, in order.

mod claims;
pub(crate) mod enter;
mod fleet;
pub(crate) mod linked;
mod pipeline;
pub(crate) mod planning;
mod publish;
mod spend;

pub use crate::alert::breaches::alert_as_file;
pub use crate::given::choice::{ChoiceError, LaneChoice};
pub use crate::given::context::RunContext;
pub use crate::given::error::RunError;
pub use pipeline::{Planned, export, plan};
pub use spend::{spend, spend_with_alerts};
