//! The tables as the Glue catalog holds them.
//!
//! # Source
//! Glue API reference, `TableInput`; Athena reads partition projection from the table's parameters.

use serde::Serialize;
use std::collections::BTreeMap;

use super::engine::Engine;
use super::tables::{projection, tables};
use super::{DdlError, Names, location};
use crate::config::ExportConfig;
use crate::lake::table::Table;

/// A column, or a partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GlueColumn {
    /// Its name.
    pub name: String,
    /// Its Hive type.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// A table, ready for `CreateTable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlueTable {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<GlueColumn>,
    /// `dt`, for a table by days.
    pub partition_keys: Vec<GlueColumn>,
    /// Where its files lie.
    pub location: String,
    /// Classification and partition projection.
    pub parameters: BTreeMap<String, String>,
}

impl GlueTable {
    /// Hive's reader of Parquet.
    pub const INPUT_FORMAT: &'static str =
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
    /// Hive's writer of Parquet.
    pub const OUTPUT_FORMAT: &'static str =
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
    /// Hive's serializer of Parquet.
    pub const SERDE: &'static str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";

    /// As `aws glue create-table --cli-input-json` takes it.
    pub fn json(&self, database: &str) -> serde_json::Value {
        serde_json::json!({
            "DatabaseName": database,
            "TableInput": {
                "Name": self.name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": self.parameters,
                "PartitionKeys": self.partition_keys,
                "StorageDescriptor": {
                    "Columns": self.columns,
                    "Location": self.location,
                    "InputFormat": Self::INPUT_FORMAT,
                    "OutputFormat": Self::OUTPUT_FORMAT,
                    "SerdeInfo": { "SerializationLibrary": Self::SERDE },
                },
            },
        })
    }
}

/// Every table of the lake.
///
/// # Errors
/// [`DdlError::LocalDestination`].
pub fn glue_tables(config: &ExportConfig, names: &Names) -> Result<Vec<GlueTable>, DdlError> {
    let root = location(&config.destination, Engine::Glue)?;
    let column = |name: &str, kind: &str| GlueColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
    };
    let table = |table: &'static Table| {
        let location = format!("{root}/{}/", table.name);
        let mut parameters = BTreeMap::from([
            ("EXTERNAL".to_owned(), "TRUE".to_owned()),
            ("classification".to_owned(), "parquet".to_owned()),
        ]);
        let mut partition_keys = Vec::new();
        if let Some(key) = table.partition.key() {
            partition_keys.push(column(key, "string"));
            parameters.extend(projection(table.partition, names, &location));
        }
        GlueTable {
            name: table.name.to_owned(),
            columns: table
                .columns
                .iter()
                .map(|c| column(c.name, Engine::Glue.type_of(c.kind)))
                .collect(),
            partition_keys,
            location,
            parameters,
        }
    };
    Ok(tables(config).map(table).collect())
}
