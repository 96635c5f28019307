//! What a run is given: its configuration and range, its destination, its bounds, and how it may fail.

pub(crate) mod bounds;
pub(crate) mod choice;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod place;
pub(crate) mod pruned;
pub(crate) mod remarks;
pub(crate) mod shard;
