//! The tables of a lake that are written by day or month.

use serde::{Deserialize, Serialize};

/// What a run can be asked for, one by one or all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Points of `CloudWatch` metrics.
    Metrics,
    /// The EC2 inventory, once a day.
    Instances,
    /// Events of `CloudWatch` Logs.
    Logs,
    /// Estimated charges, by day and as they were published.
    Spend,
    /// Alarms, once a day.
    Alarms,
    /// Changes of alarms' states.
    AlarmHistory,
}

impl Dataset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Metrics,
        Self::Instances,
        Self::Logs,
        Self::Spend,
        Self::Alarms,
        Self::AlarmHistory,
    ];

    /// Its name: in configurations, reports and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Instances => "instances",
            Self::Logs => "logs",
            Self::Spend => "spend",
            Self::Alarms => "alarms",
            Self::AlarmHistory => "alarm_history",
        }
    }

    /// All names, for people.
    pub fn names() -> String {
        let names = Self::ALL.map(Self::name);
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        format!("{} or {last}", others.join(", "))
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == text)
    }
}
