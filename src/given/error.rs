//! Why a run does not come to a report.

use crate::commit::{GroupError, LakeError};
use crate::config::ConfigError;
use crate::model::{Cause, GroupName};
use crate::store::StoreError;

/// A run that could not come to a report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The destination cannot be used; nothing was called.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// No usable base credentials.
    #[error("{0}")]
    Credentials(Cause),
    /// This machine's clock is not the service's; nothing was asked.
    #[error("this machine's clock is {} s {} of AWS's", seconds.unsigned_abs(), if *seconds > 0 { "ahead" } else { "behind" })]
    Clock {
        /// Seconds it is ahead.
        seconds: i64,
    },
    /// The plan costs more than allowed; nothing was spent.
    #[error("the plan costs ${dollars:.5}, more than the ${cap:.5} allowed")]
    OverBudget {
        /// What it costs.
        dollars: f64,
        /// What is allowed.
        cap: f64,
    },
    /// The shards of the run do not belong together; nothing was asked.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Shards of a group are missing; nothing was brought together.
    #[error("group {group} is not complete: {why}")]
    Incomplete {
        /// Its name.
        group: GroupName,
        /// Which shards, and why.
        why: String,
    },
    /// A signal came before the destination was ours.
    #[error("stopped by {0} before anything was asked")]
    Stopped(&'static str),
    /// What the lake knows about itself could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the lake has cannot be read.
    #[error("{0}")]
    Unreadable(Cause),
    /// The accounts of the organization are not known.
    #[error("{0}")]
    Organization(Cause),
    /// The configuration names what does not exist.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
