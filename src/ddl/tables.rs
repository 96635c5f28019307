//! The tables.

use super::engine::Engine;
use super::{Names, Statement};
use crate::normalize::{ColumnKind, columns, metrics_schema, series_schema};
use crate::write::layout;

/// A table of the lake.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(String, ColumnKind)>,
    /// Its files lie in folders of days.
    pub(super) by_day: bool,
}

/// Every table of the lake.
pub(super) fn tables() -> Vec<Table> {
    vec![
        Table {
            name: layout::METRICS,
            columns: columns(&metrics_schema()),
            by_day: true,
        },
        Table {
            name: layout::SERIES,
            columns: columns(&series_schema()),
            by_day: false,
        },
    ]
}

pub(super) fn statements(engine: Engine, names: &Names, root: &str) -> Vec<Statement> {
    let mut all = vec![schema(engine, names, root)];
    for table in tables() {
        all.push(Statement {
            name: table.name.to_owned(),
            sql: match engine {
                Engine::Athena | Engine::Glue => athena(&table, names, root),
                Engine::Trino => trino(&table, names, root),
                Engine::Spark => spark(&table, names, root),
                Engine::Duckdb => duckdb(&table, names, root),
            },
        });
        if table.by_day && engine == Engine::Spark {
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
    if table.by_day {
        sql += "PARTITIONED BY (dt string)\n";
    }
    sql += &format!("STORED AS PARQUET\nLOCATION '{location}'\n");
    if table.by_day {
        let properties: Vec<String> = projection(names, &location)
            .iter()
            .map(|(key, value)| format!("  '{key}' = '{value}'"))
            .collect();
        sql += &format!("TBLPROPERTIES (\n{}\n)", properties.join(",\n"));
    }
    sql.trim_end().to_owned()
}

/// Partition projection: no partition has to be registered, and none is listed that a query does not ask for.
pub(super) fn projection(names: &Names, location: &str) -> Vec<(&'static str, String)> {
    vec![
        ("projection.enabled", "true".to_owned()),
        ("projection.dt.type", "date".to_owned()),
        ("projection.dt.format", "yyyy-MM-dd".to_owned()),
        ("projection.dt.range", format!("{},NOW", names.first_day)),
        ("projection.dt.interval", "1".to_owned()),
        ("projection.dt.interval.unit", "DAYS".to_owned()),
        (
            "storage.location.template",
            format!("{location}dt=${{dt}}/"),
        ),
    ]
}

/// # Source
/// Trino documentation, "Hive connector", table and column properties.
fn trino(table: &Table, names: &Names, root: &str) -> String {
    let mut columns = list(Engine::Trino, table);
    let location = format!("{}/{}/", quoted(root), table.name);
    let mut properties = format!("  format = 'PARQUET',\n  external_location = '{location}'");
    if table.by_day {
        columns += &format!(
            ",\n  dt varchar WITH (\n    partition_projection_type = 'DATE',\n    partition_projection_format = 'yyyy-MM-dd',\n    \
             partition_projection_range = ARRAY['{}', 'NOW'],\n    partition_projection_interval = 1,\n    \
             partition_projection_interval_unit = 'DAYS'\n  )",
            names.first_day
        );
        properties += &format!(
            ",\n  partitioned_by = ARRAY['dt'],\n  partition_projection_enabled = true,\n  \
             partition_projection_location_template = '{location}dt=${{dt}}/'"
        );
    }
    // Without that setting Trino refuses the properties of projection.
    let remark = if table.by_day {
        "-- The catalog needs hive.partition-projection-enabled=true\n"
    } else {
        ""
    };
    format!(
        "{remark}CREATE TABLE IF NOT EXISTS {} (\n{columns}\n)\nWITH (\n{properties}\n)",
        Engine::Trino.qualified(names, table.name),
    )
}

fn spark(table: &Table, names: &Names, root: &str) -> String {
    let mut columns = list(Engine::Spark, table);
    let mut partitioned = "";
    if table.by_day {
        columns += ",\n  dt STRING";
        partitioned = "PARTITIONED BY (dt)\n";
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
    if table.by_day {
        columns.push("  dt::DATE AS dt".to_owned());
        partitions = ", hive_partitioning = true, hive_types = {'dt': DATE}";
    }
    let below = if table.by_day { "**/*" } else { "*" };
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
