//! What will be asked, decided before anything is: windows, billing units, batches, months, stretches of log events, memory, and their cost.
//!
//! Pure: no I/O, no async, no clock; "now" is an argument. In: the series one lane's discovery found and what is asked of
//! each. Out: a [`LanePlan`], whose batches are sent in order.

mod batches;
mod cost;
mod days;
mod load;
mod log_windows;
mod memory;
mod mode;
mod months;
#[cfg(test)]
mod sequences;
mod split;
mod windows;

pub use batches::{
    Ask, Batch, BatchQuery, Group, LanePlan, PlannedSeries, Scope, plan_lane, plan_lane_as_of,
};
pub use cost::{BYTES_PER_POINT, Cost, LaneCost, NamespaceCost};
pub use days::{
    AskedDays, AskedPart, KnownDay, OVERLAP_OF_EVENTS, OVERLAP_OF_POINTS, Question, hull,
};
pub use log_windows::{PlannedGroup, Task, bytes_a_day, rounds, tasks};
pub use memory::{Holding, OPEN_FILES};
pub use mode::DayMode;
pub use months::{
    Known as KnownMonth, end_of, is_final, mode as month_mode, month_window, months, window_of,
};
pub use split::{Share, Split, Together, deal, imbalance, loads};
pub use windows::{Window, edges, is_legal, kept, windows};
