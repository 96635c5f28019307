//! The pipeline: one call per stage, in order.

mod claims;
mod deal;
pub(crate) mod enter;
mod fleet;
mod gather;
mod lines;
pub(crate) mod linked;
mod notify;
mod pipeline;
pub(crate) mod planning;
mod publish;
mod spend;

pub use crate::alert::breaches::alert_as_file;
pub use crate::given::choice::{ChoiceError, LaneChoice};
pub use crate::given::context::RunContext;
pub use crate::given::error::RunError;
pub use crate::given::pruned::PrunedUnits;
pub use crate::given::shard::{ShardRequest, Sharing};
pub use deal::{Dealt, DealtShard, deal_lanes};
pub use gather::{gather, group_of};
pub use notify::tell_of_failure;
pub use pipeline::{Planned, export, plan};
pub use spend::{spend, spend_with_alerts};
