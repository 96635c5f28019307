//! Points to Arrow and back: the tables' schemas and the record batches that fill them.
//!
//! Pure: no I/O, no async, no clock. In: runs of points, each with its identity. Out: [`arrow_array::RecordBatch`].

mod decode;
mod metrics;
mod overlay;
mod schema;
mod series;

pub use decode::{DecodeError, DecodedRun, decode_runs};
pub use metrics::{MetricRows, RunIdentity, plain_rows};
pub use overlay::overlay;
pub use schema::{
    ColumnKind, METRICS_SORT, SCHEMA_VERSION, SERIES_SORT, columns, metrics_schema, series_schema,
};
pub use series::{Catalog, Seen, decode_series, merge_seen, series_batch};
