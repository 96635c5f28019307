//! The pipeline: one call per stage, in order.

mod catalog;
mod choice;
mod day;
mod inspect;
mod lane;
mod old;
mod pipeline;
mod place;
mod scope;
mod sink;
mod unit;

pub use choice::{ChoiceError, LaneChoice};
pub use inspect::{
    AccountStatus, Fault, Gap, ShortUnit, StatusReport, VerifyReport, status, verify,
};
pub use pipeline::{Planned, PlannedLane, ReadyLane, RunContext, RunError, export, plan};
