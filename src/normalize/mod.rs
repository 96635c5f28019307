//! Points to Arrow: the tables' schemas and the record batches that fill them.
//!
//! Pure: no I/O, no async, no clock. In: runs of points, each with its identity. Out: [`arrow_array::RecordBatch`].

mod metrics;
mod schema;

pub use metrics::{MetricRows, RunIdentity};
pub use schema::{METRICS_SORT, SCHEMA_VERSION, metrics_schema};
