//! Points to Arrow and back: the tables' schemas and the record batches that fill them.
//!
//! Pure: no I/O, no async, no clock. In: runs of points, each with its identity. Out: [`arrow_array::RecordBatch`].

mod alarms;
mod charges;
mod check;
mod decode;
mod instances;
mod logs;
mod metrics;
mod overlay;
mod rows;
mod schema;
mod series;
mod spend;

pub use alarms::{alarm_history_batch, alarms_batch, decode_alarm_history, decode_alarms};
/// What rows are made of, for those who only hand them on.
pub use arrow_array::RecordBatch;
/// Why rows could not be made.
pub use arrow_schema::{ArrowError, SchemaRef};
pub use charges::{ChargeState, Charges, DayCharge, join_charges, month_charges};
pub use check::TableCheck;
pub use decode::{DecodeError, DecodedRun, OwnedRun, decode_runs};
pub use instances::{decode_instances, instances_batch};
pub use logs::{decode_logs, logs_batch};
pub use metrics::{MetricRows, RunIdentity, RunOwner, plain_rows};
pub use overlay::overlay;
pub use rows::{Cell, Owner, Rows, batch_of, rows_by_lane, with_added};
pub use schema::schema_of;
pub use series::{Catalog, Seen, decode_series, merge_seen, series_batch};
pub use spend::{decode_intraday, decode_spend, intraday_batch, spend_batch};
