//! Alarms and their changes of state, as CloudWatch describes them.

use super::metric::{Dimension, MetricId};

/// An alarm, as it was described. Texts are CloudWatch's own words; an empty one is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alarm {
    /// Its ARN: who it is.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// `MetricAlarm`, `CompositeAlarm` or `LogAlarm`.
    pub kind: String,
    /// Why it is there.
    pub description: Option<String>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: Option<String>,
    /// Why.
    pub state_reason: Option<String>,
    /// Since when it is in that state, µs since the epoch.
    pub state_changed_at: Option<i64>,
    /// When it was configured last, µs since the epoch.
    pub configured_at: Option<i64>,
    /// Whether a change of state does anything.
    pub actions_enabled: Option<bool>,
    /// ARNs, joined by commas.
    pub alarm_actions: Option<String>,
    /// The same for `OK`.
    pub ok_actions: Option<String>,
    /// The same for `INSUFFICIENT_DATA`.
    pub insufficient_data_actions: Option<String>,
    /// The one metric it watches; none where it watches an expression, other alarms or logs.
    pub metric: Option<AlarmMetric>,
    /// What it watches otherwise: metric math, the rule of a composite alarm, or a query.
    pub expression: Option<String>,
    /// `GreaterThanThreshold` …
    pub comparison: Option<String>,
    /// What is compared with.
    pub threshold: Option<f64>,
    /// Periods that are looked at.
    pub evaluation_periods: Option<i64>,
    /// Of them so many must breach.
    pub datapoints_to_alarm: Option<i64>,
    /// `breaching`, `notBreaching`, `ignore` or `missing`.
    pub treat_missing_data: Option<String>,
}

/// The metric that an alarm watches.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmMetric {
    /// Which.
    pub metric: MetricId,
    /// The account it is in, where that is not the alarm's own.
    pub account: Option<String>,
    /// `Average`, `p99` …
    pub statistic: Option<String>,
    /// Seconds.
    pub period: Option<i64>,
    /// The unit asked for.
    pub unit: Option<String>,
}

/// A change of an alarm's state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmChange {
    /// Whose.
    pub name: String,
    /// `MetricAlarm`, `CompositeAlarm` or `LogAlarm`.
    pub kind: String,
    /// When, µs since the epoch.
    pub ts: i64,
    /// The state before; none where CloudWatch does not tell in a form that is known.
    pub old_state: Option<String>,
    /// The state from then on.
    pub new_state: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// CloudWatch's summary.
    pub summary: Option<String>,
    /// Everything that CloudWatch tells of it, JSON.
    pub data: Option<String>,
}

impl Alarm {
    /// The dimensions of its metric; none where it has none.
    pub fn dimensions(&self) -> &[Dimension] {
        self.metric.as_ref().map_or(&[], |m| m.metric.dimensions())
    }
}
