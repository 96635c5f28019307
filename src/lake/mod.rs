//! What a lake is: its tables, where things are in it, and what is known of its units. Pure: no I/O, no async, no clock.

pub mod answers;
mod column;
pub mod compaction;
pub mod format;
pub mod layout;
pub mod table;
mod unit;

pub use unit::UnitId;
