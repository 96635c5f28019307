//! Metrics of a lane: discovered, planned, fetched in order, cut at midnights, written.

pub(crate) mod catalog;
pub(crate) mod day;
pub(crate) mod linked;
pub(crate) mod plan;
pub(crate) mod planned;
pub(crate) mod read;
pub(crate) mod scatter;
