//! The pipeline: one call per stage, in order.

mod accounts;
mod bounds;
mod catalog;
mod choice;
mod day;
mod discovery;
mod doctor;
mod fleet;
mod lane;
mod linked;
mod old;
mod pipeline;
mod place;
mod prepare;
mod scope;
mod sink;
mod spend;
mod status;
mod tables;
mod unit;
mod verify;

pub use accounts::{AccountList, ListedAccount, accounts};
pub use choice::{ChoiceError, LaneChoice};
pub use discovery::{DiscoverReport, DiscoveredLane, DiscoveredMetric, discover};
pub use doctor::{Check, CheckState, DoctorReport, StatementToAdd, doctor};
pub use pipeline::{Planned, PlannedLane, ReadyLane, RunContext, RunError, export, plan};
pub use spend::{alert_as_file, spend, spend_with_alerts};
pub use status::{AccountStatus, ShortUnit, StatusReport, status};
pub use tables::PlannedTable;
pub use verify::{Fault, Gap, VerifyReport, verify};
