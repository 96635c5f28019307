//! Asking for points: pages followed and merged, batches sent ahead and consumed in order, answers kept until they are in the lake.
//!
//! In: the batches of a [`LanePlan`](crate::plan::LanePlan). Out: one [`Fetched`] a batch, in plan order.

mod alarms;
mod budget;
mod get_metric_data;
#[cfg(feature = "ec2")]
mod instances;
mod logs;
mod merge;
mod ordered;
mod page;
mod queries;
mod spool;
mod spool_file;

pub use alarms::{ALARM_KINDS, alarm_history, alarms};
pub use budget::{Budget, LaneBudget};
pub use get_metric_data::{Asker, BatchStats, Fetched};
#[cfg(feature = "ec2")]
pub use instances::inventory;
#[cfg(any(test, fuzzing))]
pub(crate) use logs::decode_events;
pub use logs::{LogGroup, LogQuery, log_groups, read_events, try_pattern, try_stream};
pub use merge::{Merge, Merged, PointsError};
pub use ordered::{InFlight, InOrder};
pub use page::{Page, PageError, PageResult};
pub use spool::{KEPT_SECONDS, KeptAnswer, KeptFile, Spool, SpoolCopies, sweep as sweep_spool};
#[cfg(any(test, fuzzing))]
pub(crate) use spool_file::decode as decode_kept;
pub use spool_file::is_whole;
