//! Plain data that the stages hand to one another.
//!
//! A leaf: no I/O, no clock, and no AWS, Arrow or clap type. Every other module may use it; it uses none of them.

mod account;
mod alarm;
mod claim;
mod dataset;
mod instance;
mod log;
mod metric;
mod outcome;
mod points;
mod shard;
mod spans;
mod spend;
mod statistic;
mod time;

pub use account::{AccountId, Lane, Partition, Region};
pub use alarm::{Alarm, AlarmChange, AlarmMetric};
pub use claim::Claim;
pub use dataset::Dataset;
pub use instance::Instance;
pub use log::LogEvent;
pub use metric::{Dimension, MetricId, Series, dimensions_key, parse_dimensions_key, series_id};
pub use outcome::{Cause, CauseKind, UnitOutcome};
pub use points::{QueryOutcome, QueryPoints, ServiceMessage, Timestamps};
pub use shard::{GroupName, Member, Shard};
pub use spans::Spans;
pub use spend::{ChargeKey, ChargePoint};
pub use statistic::{MAX_STATISTICS_PER_BILLED_METRIC, Statistic, StatisticError};
pub use time::{DAY_SECONDS, Day, Period, TimeWindow, iso_seconds};
