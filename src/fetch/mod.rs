//! Asking for points: pages followed and merged, batches sent ahead and consumed in order.
//!
//! In: the batches of a [`LanePlan`](crate::plan::LanePlan). Out: one [`Fetched`] a batch, in plan order.

mod get_metric_data;
mod merge;
mod ordered;

pub use get_metric_data::{BatchStats, Fetched, fetch_batch};
pub use merge::{Merge, Merged, PointsError};
pub use ordered::{InFlight, InOrder};
