//! What a report says of shards.

use serde::{Deserialize, Serialize};

use crate::model::Member;

/// Which part of a run a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    /// The shard.
    #[serde(flatten)]
    pub member: Member,
    /// This use of the group's name.
    pub generation: String,
}

/// How long the shards of a run took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardTimes {
    /// How many there were.
    pub shards: usize,
    /// Seconds of the slowest.
    pub slowest_seconds: f64,
    /// Seconds of all over their number.
    pub mean_seconds: f64,
}

impl ShardTimes {
    /// As a line: what an even split would have saved.
    pub(super) fn text(&self) -> String {
        let Self {
            shards,
            slowest_seconds,
            mean_seconds,
        } = *self;
        let times = if mean_seconds > 0.0 {
            slowest_seconds / mean_seconds
        } else {
            1.0
        };
        format!(
            "{shards} shards: the slowest took {slowest_seconds:.1} s, {times:.2} times the mean\n"
        )
    }
}
