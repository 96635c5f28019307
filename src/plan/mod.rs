//! What will be asked, decided before anything is: windows, billing units, batches and their cost.
//!
//! Pure: no I/O, no async, no clock; "now" is an argument. In: the series one lane's discovery found and what is asked of
//! each. Out: a [`LanePlan`], whose batches are sent in order.

mod batches;
mod cost;
mod windows;

pub use batches::{
    Ask, Batch, BatchQuery, Group, LanePlan, PlannedSeries, Scope, plan_lane, plan_lane_as_of,
};
pub use cost::{BYTES_PER_POINT, Cost, LaneCost, NamespaceCost};
pub use windows::{Window, edges, is_legal, kept, windows};
