//! The tables of a lake that are written by day or month.

use serde::{Deserialize, Serialize};

/// What a run can be asked for, one by one or all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// Points of `CloudWatch` metrics.
    Metrics,
    /// The EC2 inventory, once a day.
    Instances,
    /// Events of `CloudWatch` Logs.
    Logs,
    /// Estimated charges, by day and as they were published.
    Spend,
}

impl Dataset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Instances, Self::Logs, Self::Spend];

    /// Its name: in configurations, reports and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Instances => "instances",
            Self::Logs => "logs",
            Self::Spend => "spend",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == text)
    }
}
