//! Record batches to Parquet files in a staging folder, verified before anyone may see them.
//!
//! In: record batches of one unit, in order. Out: a [`Staged`] file whose footer was read back, for a [`Store`](crate::store::Store) to publish.

mod columns;
mod error;
mod event_runs;
mod events;
mod parquet;
mod read;

pub use self::error::WriteError;
pub use self::events::{EventMerge, EventPlace, OldEvents, TakenEvents, WaitingEvents};
pub use self::parquet::{FooterKeys, ROW_GROUP_ROWS, RunFile, Staged, UnitFile, checksum};
pub use self::read::{
    FileFacts, TailFacts, read_facts, read_points, read_rows, read_rows_of, tail_facts,
};
