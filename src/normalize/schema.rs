//! The schema of every table, whole from day one: readers that take the first file's schema lose columns added later.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Written to every file's footer; raised when a column is appended.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns the `metrics` table is sorted by inside a file.
pub const METRICS_SORT: [&str; 5] = ["namespace", "metric_name", "dimensions_key", "stat", "ts"];

/// The `metrics` table, long form: one row per series, statistic and period start.
///
/// # Source
/// README, "The metrics table". Microseconds UTC: nanoseconds and INT96 are read differently by every engine.
pub fn metrics_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        text("account_id", false),
        text("account_name", true),
        text("region", false),
        text("namespace", false),
        text("metric_name", false),
        Field::new(
            "dimensions",
            DataType::Map(Arc::new(dimensions_entry()), true),
            false,
        ),
        text("dimensions_key", false),
        Field::new("series_id", DataType::Int64, false),
        text("stat", false),
        Field::new("period", DataType::Int32, false),
        text("unit", true),
        Field::new("value", DataType::Float64, false),
    ]))
}

/// Columns the `series` table is sorted by inside a file.
pub const SERIES_SORT: [&str; 3] = ["namespace", "metric_name", "dimensions_key"];

/// The `series` table: one row per series a run has seen.
///
/// # Source
/// README, "The series table".
pub fn series_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let time = |name: &str| {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Field::new(name, micros, true)
    };
    Arc::new(Schema::new(vec![
        text("account_id", false),
        text("account_name", true),
        text("region", false),
        text("namespace", false),
        text("metric_name", false),
        Field::new(
            "dimensions",
            DataType::Map(Arc::new(dimensions_entry()), true),
            false,
        ),
        text("dimensions_key", false),
        Field::new("series_id", DataType::Int64, false),
        time("first_seen"),
        time("last_seen"),
    ]))
}

/// What a column holds, for those who describe the tables to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// Microseconds UTC.
    Instant,
    /// 32 bits.
    Integer,
    /// 64 bits.
    BigInteger,
    /// 64 bits, floating.
    Double,
    /// Text to text.
    TextMap,
}

/// Name and kind of every column, in order.
///
/// # Panics
/// For a type no table of ours has.
pub fn columns(schema: &Schema) -> Vec<(String, ColumnKind)> {
    let kind = |field: &Field| match field.data_type() {
        DataType::Utf8 => ColumnKind::Text,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => ColumnKind::Instant,
        DataType::Int32 => ColumnKind::Integer,
        DataType::Int64 => ColumnKind::BigInteger,
        DataType::Float64 => ColumnKind::Double,
        DataType::Map(..) => ColumnKind::TextMap,
        other => panic!("no table has a column of type {other}"),
    };
    let fields = schema.fields().iter();
    fields.map(|f| (f.name().clone(), kind(f))).collect()
}

/// The spec's own names, so that every reader sees a MAP and not a list of structs.
pub(super) fn dimensions_entry() -> Field {
    Field::new("key_value", DataType::Struct(dimension_fields()), false)
}

pub(super) fn dimension_fields() -> Fields {
    vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]
    .into()
}
