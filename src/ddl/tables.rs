//! The tables.

use super::engine::Engine;
use super::{Names, Statement};
use crate::config::ExportConfig;
use crate::lake::layout;
use crate::normalize::{
    ColumnKind, SchemaRef, columns, instances_schema, logs_schema, metrics_schema, series_schema,
    spend_intraday_schema, spend_schema,
};

/// A table of the lake.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(String, ColumnKind)>,
    /// What its files lie in folders of.
    pub(super) folders: Folders,
}

/// What the files of a table lie in folders of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Folders {
    /// None.
    None,
    /// Days: `dt=2026-11-20`.
    Days,
    /// Months: `month=2026-11`.
    Months,
}

impl Folders {
    /// The key and the form of its values, as Java spells it.
    pub(super) fn key(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::None => None,
            Self::Days => Some(("dt", "yyyy-MM-dd")),
            Self::Months => Some(("month", "yyyy-MM")),
        }
    }

    fn unit(self) -> &'static str {
        if self == Self::Months {
            "MONTHS"
        } else {
            "DAYS"
        }
    }

    /// The first value that is looked for.
    fn first(self, names: &Names) -> String {
        match self {
            Self::Months => names.first_day.month(),
            _ => names.first_day.to_string(),
        }
    }
}

/// Every table that the lake of a configuration has.
pub(super) fn tables(config: &ExportConfig) -> Vec<Table> {
    let table = |name, schema: SchemaRef, folders| Table {
        name,
        columns: columns(&schema),
        folders,
    };
    let mut tables = Vec::new();
    if !config.namespaces.is_empty() {
        tables.push(table(layout::METRICS, metrics_schema(), Folders::Days));
        tables.push(table(layout::SERIES, series_schema(), Folders::None));
    }
    if config.instances {
        tables.push(table(layout::INSTANCES, instances_schema(), Folders::Days));
    }
    if !config.logs.is_empty() {
        tables.push(table(layout::LOGS, logs_schema(), Folders::Days));
    }
    if config.spend.is_some() {
        tables.push(table(layout::SPEND, spend_schema(), Folders::Months));
        let schema = spend_intraday_schema();
        tables.push(table(layout::SPEND_INTRADAY, schema, Folders::Months));
    }
    tables
}

pub(super) fn statements(
    config: &ExportConfig,
    engine: Engine,
    names: &Names,
    root: &str,
) -> Vec<Statement> {
    let mut all = vec![schema(engine, names, root)];
    for table in tables(config) {
        all.push(Statement {
            name: table.name.to_owned(),
            sql: match engine {
                Engine::Athena | Engine::Glue => athena(&table, names, root),
                Engine::Trino => trino(&table, names, root),
                Engine::Spark => spark(&table, names, root),
                Engine::Duckdb => duckdb(&table, names, root),
            },
        });
        if table.folders.key().is_some() && engine == Engine::Spark {
            all.push(Statement {
                name: format!("{} partitions", table.name),
                sql: format!("MSCK REPAIR TABLE {}", engine.qualified(names, table.name)),
            });
        }
    }
    all
}

fn schema(engine: Engine, names: &Names, root: &str) -> Statement {
    let database = &names.database;
    Statement {
        name: database.clone(),
        sql: match engine {
            Engine::Trino => format!(
                "CREATE SCHEMA IF NOT EXISTS {}.{database} WITH (location = '{}')",
                names.catalog,
                quoted(root)
            ),
            Engine::Duckdb => format!("CREATE SCHEMA IF NOT EXISTS {database}"),
            _ => format!("CREATE DATABASE IF NOT EXISTS {database}"),
        },
    }
}

fn list(engine: Engine, table: &Table) -> String {
    let column =
        |(name, kind): &(String, ColumnKind)| format!("  {name} {}", engine.type_of(*kind));
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    columns.join(",\n")
}

/// # Source
/// Athena user guide, "CREATE TABLE" and "Supported types for partition projection": a date key of type string.
fn athena(table: &Table, names: &Names, root: &str) -> String {
    let location = format!("{}/{}/", quoted(root), table.name);
    let mut sql = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n{}\n)\n",
        Engine::Athena.qualified(names, table.name),
        list(Engine::Athena, table)
    );
    if let Some((key, _)) = table.folders.key() {
        sql += &format!("PARTITIONED BY ({key} string)\n");
    }
    sql += &format!("STORED AS PARQUET\nLOCATION '{location}'\n");
    if table.folders.key().is_some() {
        let properties: Vec<String> = projection(table.folders, names, &location)
            .iter()
            .map(|(key, value)| format!("  '{key}' = '{value}'"))
            .collect();
        sql += &format!("TBLPROPERTIES (\n{}\n)", properties.join(",\n"));
    }
    sql.trim_end().to_owned()
}

/// Partition projection: no partition has to be registered, and none is listed that a query does not ask for.
pub(super) fn projection(folders: Folders, names: &Names, location: &str) -> Vec<(String, String)> {
    let Some((key, format)) = folders.key() else {
        return Vec::new();
    };
    let of = |what: &str| format!("projection.{key}.{what}");
    vec![
        ("projection.enabled".to_owned(), "true".to_owned()),
        (of("type"), "date".to_owned()),
        (of("format"), format.to_owned()),
        (of("range"), format!("{},NOW", folders.first(names))),
        (of("interval"), "1".to_owned()),
        (of("interval.unit"), folders.unit().to_owned()),
        (
            "storage.location.template".to_owned(),
            format!("{location}{key}=${{{key}}}/"),
        ),
    ]
}

/// # Source
/// Trino documentation, "Hive connector", table and column properties.
fn trino(table: &Table, names: &Names, root: &str) -> String {
    let mut columns = list(Engine::Trino, table);
    let location = format!("{}/{}/", quoted(root), table.name);
    let mut properties = format!("  format = 'PARQUET',\n  external_location = '{location}'");
    let mut remark = "";
    if let Some((key, format)) = table.folders.key() {
        // Without that setting Trino refuses the properties of projection.
        remark = "-- The catalog needs hive.partition-projection-enabled=true\n";
        columns += &format!(
            ",\n  {key} varchar WITH (\n    partition_projection_type = 'DATE',\n    partition_projection_format = '{format}',\n    \
             partition_projection_range = ARRAY['{}', 'NOW'],\n    partition_projection_interval = 1,\n    \
             partition_projection_interval_unit = '{}'\n  )",
            table.folders.first(names),
            table.folders.unit()
        );
        properties += &format!(
            ",\n  partitioned_by = ARRAY['{key}'],\n  partition_projection_enabled = true,\n  \
             partition_projection_location_template = '{location}{key}=${{{key}}}/'"
        );
    }
    format!(
        "{remark}CREATE TABLE IF NOT EXISTS {} (\n{columns}\n)\nWITH (\n{properties}\n)",
        Engine::Trino.qualified(names, table.name),
    )
}

fn spark(table: &Table, names: &Names, root: &str) -> String {
    let mut columns = list(Engine::Spark, table);
    let mut partitioned = String::new();
    if let Some((key, _)) = table.folders.key() {
        columns += &format!(",\n  {key} STRING");
        partitioned = format!("PARTITIONED BY ({key})\n");
    }
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{columns}\n)\nUSING PARQUET\n{partitioned}LOCATION '{}/{}'",
        Engine::Spark.qualified(names, table.name),
        quoted(root),
        table.name
    )
}

/// The columns are named and typed, so that a lake without a file of some kind reads as well as any.
fn duckdb(table: &Table, names: &Names, root: &str) -> String {
    let column = |(name, kind): &(String, ColumnKind)| {
        format!("  {name}::{} AS {name}", Engine::Duckdb.type_of(*kind))
    };
    let mut columns: Vec<String> = table.columns.iter().map(column).collect();
    let mut partitions = "";
    match table.folders {
        Folders::None => {}
        Folders::Days => {
            columns.push("  dt::DATE AS dt".to_owned());
            partitions = ", hive_partitioning = true, hive_types = {'dt': DATE}";
        }
        Folders::Months => {
            columns.push("  month::VARCHAR AS month".to_owned());
            partitions = ", hive_partitioning = true, hive_types = {'month': VARCHAR}";
        }
    }
    let below = if table.folders == Folders::None {
        "*"
    } else {
        "**/*"
    };
    format!(
        "CREATE OR REPLACE VIEW {} AS\nSELECT\n{}\nFROM read_parquet('{}/{}/{below}.parquet', union_by_name = true{partitions})",
        Engine::Duckdb.qualified(names, table.name),
        columns.join(",\n"),
        quoted(&no_glob(root)),
        table.name
    )
}

/// The root is a name, whatever signs it has.
fn no_glob(root: &str) -> String {
    let sign = |c: char| match c {
        '[' | '*' | '?' => format!("[{c}]"),
        plain => plain.to_string(),
    };
    root.chars().map(sign).collect()
}

/// Inside a SQL text.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}
