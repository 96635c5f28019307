//! The Arrow schema of a table.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::lake::table::{Column, ColumnKind, Table};

/// The schema of a table's files.
pub fn schema_of(table: &Table) -> SchemaRef {
    let fields: Vec<Field> = table.columns.iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

fn field(column: &Column) -> Field {
    let kind = match column.kind {
        ColumnKind::Text => DataType::Utf8,
        ColumnKind::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ColumnKind::Date => DataType::Date32,
        ColumnKind::Integer => DataType::Int32,
        ColumnKind::BigInteger => DataType::Int64,
        ColumnKind::Double => DataType::Float64,
        ColumnKind::Boolean => DataType::Boolean,
        ColumnKind::TextMap => DataType::Map(Arc::new(map_entry()), true),
    };
    Field::new(column.name, kind, column.nullable)
}

/// The spec's own names, so that every reader sees a MAP and not a list of structs.
pub(super) fn map_entry() -> Field {
    Field::new("key_value", DataType::Struct(map_fields()), false)
}

pub(super) fn map_fields() -> Fields {
    vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]
    .into()
}
