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
        instant("ts", false),
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
        instant("first_seen", true),
        instant("last_seen", true),
    ]))
}

/// Columns the `instances` table is sorted by inside a file.
pub const INSTANCES_SORT: [&str; 1] = ["instance_id"];

/// The `instances` table: one row per EC2 instance that a day's runs have seen.
///
/// # Source
/// README, "The instances table".
pub fn instances_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("account_id", false),
        text("account_name", true),
        text("region", false),
        text("instance_id", false),
        text("instance_type", true),
        text("state", true),
        text("availability_zone", true),
        text("vpc_id", true),
        text("subnet_id", true),
        text("image_id", true),
        text("platform", true),
        text("architecture", true),
        instant("launch_time", true),
        text("private_ip", true),
        text("public_ip", true),
        text("iam_profile", true),
        Field::new(
            "tags",
            DataType::Map(Arc::new(dimensions_entry()), true),
            false,
        ),
    ]))
}

/// Columns the `logs` table is sorted by inside a file.
pub const LOGS_SORT: [&str; 3] = ["log_group", "ts", "log_stream"];

/// The `logs` table: one row per event.
///
/// # Source
/// README, "The logs table".
pub fn logs_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        instant("ts", false),
        instant("ingested_at", false),
        text("account_id", false),
        text("account_name", true),
        text("region", false),
        text("log_group", false),
        text("log_stream", false),
        text("event_id", true),
        text("message", false),
    ]))
}

/// Columns the `spend` table is sorted by inside a file.
pub const SPEND_SORT: [&str; 5] = [
    "scope",
    "linked_account_id",
    "service_name",
    "currency",
    "day",
];

/// The `spend` table: one row per series of charges and day.
///
/// # Source
/// README, "The spend tables".
pub fn spend_schema() -> SchemaRef {
    let mut fields = vec![Field::new("day", DataType::Date32, false)];
    fields.extend(charge_fields());
    fields.extend([
        Field::new("month_to_date", DataType::Float64, true),
        Field::new("spend", DataType::Float64, true),
        Field::new("days", DataType::Int32, true),
        Field::new("state", DataType::Utf8, false),
        instant("last_ts", true),
    ]);
    Arc::new(Schema::new(fields))
}

/// Columns the `spend_intraday` table is sorted by inside a file.
pub const SPEND_INTRADAY_SORT: [&str; 5] = [
    "scope",
    "linked_account_id",
    "service_name",
    "currency",
    "ts",
];

/// The `spend_intraday` table: one row per series of charges and value that was published.
///
/// # Source
/// README, "The spend tables".
pub fn spend_intraday_schema() -> SchemaRef {
    let mut fields = vec![instant("ts", false)];
    fields.extend(charge_fields());
    fields.extend([
        Field::new("period", DataType::Int32, false),
        Field::new("month_to_date", DataType::Float64, false),
    ]);
    Arc::new(Schema::new(fields))
}

fn charge_fields() -> Vec<Field> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    vec![
        text("account_id", false),
        text("account_name", true),
        text("region", false),
        text("scope", false),
        text("linked_account_id", true),
        text("service_name", true),
        text("currency", false),
    ]
}

fn instant(name: &str, nullable: bool) -> Field {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Field::new(name, micros, nullable)
}

/// What a column holds, for those who describe the tables to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// Microseconds UTC.
    Instant,
    /// A UTC day.
    Date,
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
        DataType::Date32 => ColumnKind::Date,
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
