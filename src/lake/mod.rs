//! What a lake is: where things are in it, and what its manifests say. Pure: no I/O, no async, no clock.

pub mod format;
pub mod layout;
pub mod table;
mod unit;

pub use unit::UnitId;
