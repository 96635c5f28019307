//! Record batches to Parquet files in a staging folder, verified before anyone may see them.
//!
//! In: record batches of one unit, in order. Out: a [`Staged`] file whose footer was read back.

pub mod layout;
mod parquet;

pub use self::parquet::{FileFacts, ROW_GROUP_ROWS, Staged, UnitFile, WriteError, read_facts};
