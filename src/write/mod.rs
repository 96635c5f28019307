//! Record batches to Parquet files in a staging folder, verified before anyone may see them; and the stores that make them visible.
//!
//! In: record batches of one unit, in order. Out: a [`Staged`] file whose footer was read back, for a [`Store`] to publish.

mod columns;
mod events;
pub mod layout;
mod parquet;
mod store;

pub use self::events::{EventSorter, SortedEvents, Spill};
pub use self::parquet::{
    FileFacts, FooterKeys, ROW_GROUP_ROWS, RunFile, Staged, TailFacts, UnitFile, WriteError,
    checksum, read_facts, read_rows, read_rows_of, tail_facts,
};
pub use self::store::{
    AcquireError, Entry, Held, Holder, LeaseTimes, LocalStore, MemoryStore, S3Store, Store,
    StoreError, StoreErrorKind, Tail,
};
