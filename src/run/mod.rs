//! The pipeline: one call per stage, in order.

mod day;
mod lane;
mod pipeline;
mod sink;

pub use pipeline::{Planned, PlannedLane, RunContext, RunError, export, plan};
