//! Which series a lane has: `ListMetrics` and `DescribeInstances`, filtered by our rules, sorted once.
//!
//! In: the selections. Out: [`Found`], every series once with the selections that want it. A listing that breaks off is an
//! error of the lane, never a short list.

#[cfg(feature = "ec2")]
mod ec2;
mod filter;
mod lane;
mod list_metrics;
mod page;

pub use filter::{Instance, ListRequest, list_requests, matching};
pub use lane::{Found, discover, discover_linked, linked_series};
pub use page::{ListPage, ListPageError, Listed};
