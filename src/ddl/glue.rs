//! The tables as the Glue catalog holds them.
//!
//! # Source
//! Glue API reference, `TableInput`; Athena reads partition projection from the table's parameters.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use std::collections::BTreeMap;

use super::compacted::{Over, body, over};
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
    /// Where its files lie; nowhere, of a view.
    pub location: String,
    /// Classification and partition projection.
    pub parameters: BTreeMap<String, String>,
    /// Its statement as Athena keeps it, of a view.
    pub view: Option<String>,
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

    /// What kind of table it is to Glue.
    pub fn table_type(&self) -> &'static str {
        if self.view.is_some() {
            "VIRTUAL_VIEW"
        } else {
            "EXTERNAL_TABLE"
        }
    }

    /// The text beside the statement of a view, for those who read only that.
    pub const EXPANDED_VIEW: &'static str = "/* Presto View */";

    /// As `aws glue create-table --cli-input-json` takes it.
    pub fn json(&self, database: &str) -> serde_json::Value {
        if let Some(view) = &self.view {
            return serde_json::json!({
                "DatabaseName": database,
                "TableInput": {
                    "Name": self.name,
                    "TableType": self.table_type(),
                    "Parameters": self.parameters,
                    "PartitionKeys": [],
                    "ViewOriginalText": view,
                    "ViewExpandedText": Self::EXPANDED_VIEW,
                    "StorageDescriptor": { "Columns": self.columns, "Location": "" },
                },
            });
        }
        serde_json::json!({
            "DatabaseName": database,
            "TableInput": {
                "Name": self.name,
                "TableType": self.table_type(),
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
    let table = |over: Over| {
        let table = over.table;
        let location = format!("{root}/{}/", over.folder);
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
            name: over.name,
            columns: columns_of(table, Engine::Glue),
            partition_keys,
            location,
            parameters,
            view: None,
        }
    };
    let mut all = Vec::new();
    for of_lake in tables(config) {
        all.extend(over(of_lake, names).into_iter().map(&table));
        all.extend(view(of_lake, names));
    }
    Ok(all)
}

fn column(name: &str, kind: &str) -> GlueColumn {
    GlueColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
    }
}

fn columns_of(table: &Table, engine: Engine) -> Vec<GlueColumn> {
    let columns = table.columns.iter();
    columns
        .map(|c| column(c.name, engine.type_of(c.kind)))
        .collect()
}

/// The view over units and compacted files, as Athena keeps its own: a table without a place, and its statement in a comment.
///
/// # Source
/// Trino, `ViewReaderUtil`: `/* Presto View: <base64 of JSON> */`; Athena reads and writes the same.
fn view(table: &'static Table, names: &Names) -> Option<GlueTable> {
    let sql = body(table, Engine::Athena, names)?;
    let key = table.partition.key();
    let all = |engine: Engine, text: &str| {
        let mut columns = columns_of(table, engine);
        columns.extend(key.map(|key| column(key, text)));
        columns
    };
    let presto: Vec<_> = all(Engine::Trino, "varchar")
        .into_iter()
        .map(|c| serde_json::json!({ "name": c.name, "type": c.kind.replace(' ', "").to_lowercase() }))
        .collect();
    let stored = serde_json::json!({
        "originalSql": sql,
        "catalog": "awsdatacatalog",
        "schema": names.database,
        "columns": presto,
    });
    let parameters = [("presto_view", "true"), ("comment", "Presto View")];
    Some(GlueTable {
        name: table.name.to_owned(),
        columns: all(Engine::Glue, "string"),
        partition_keys: Vec::new(),
        location: String::new(),
        parameters: parameters
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        view: Some(format!(
            "/* Presto View: {} */",
            BASE64_STANDARD.encode(stored.to_string())
        )),
    })
}
