//! The pipeline: one call per stage, in order.

mod catalog;
mod choice;
mod day;
mod fleet;
mod lane;
mod old;
mod pipeline;
mod place;
mod prepare;
mod scope;
mod sink;
mod status;
mod unit;
mod verify;

pub use choice::{ChoiceError, LaneChoice};
pub use pipeline::{Planned, PlannedLane, ReadyLane, RunContext, RunError, export, plan};
pub use status::{AccountStatus, ShortUnit, StatusReport, status};
pub use verify::{Fault, Gap, VerifyReport, verify};
