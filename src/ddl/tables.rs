//! The tables.

use super::compacted::{Over, over, view};
use super::engine::Engine;
use super::{Names, Statement};
use crate::config::ExportConfig;
use crate::lake::table::{Column, Partition, TABLES, Table};
use crate::model::Day;

/// The last month that is looked for. Months are listed one by one: Trino has no unit for them, and fails in a table that asks for one.
///
/// # Source
/// Trino 476: `partition_projection_interval_unit` is one of days, hours, minutes and seconds.
const LAST_MONTH: &str = "2039-12";

/// Every month that is looked for.
fn months(names: &Names) -> Vec<String> {
    let last = Day::parse(&format!("{LAST_MONTH}-01")).expect("a day");
    let mut month = names.first_day.month_start();
    let mut all = Vec::new();
    while month <= last {
        all.push(month.month());
        month = month.next_month();
    }
    all
}

/// Every table that the lake of a configuration has.
pub(super) fn tables(config: &ExportConfig) -> impl Iterator<Item = &'static Table> {
    TABLES.into_iter().filter(|t| config.configures(t.dataset))
}

pub(super) fn statements(
    config: &ExportConfig,
    engine: Engine,
    names: &Names,
    root: &str,
) -> Vec<Statement> {
    let mut all = vec![schema(engine, names, root)];
    for table in tables(config).filter(|t| !names.leaves_out(engine, t)) {
        for over in over(table, names) {
            all.extend(of_folder(&over, engine, names, root));
        }
        all.extend(view(table, engine, names));
    }
    all
}

/// A table over a folder, and what makes its partitions known.
fn of_folder(over: &Over, engine: Engine, names: &Names, root: &str) -> Vec<Statement> {
    let mut all = vec![Statement {
        name: over.name.clone(),
        sql: match engine {
            Engine::Trino => trino(over, names, root),
            Engine::Spark => spark(over, names, root),
            Engine::Duckdb => duckdb(over, names, root),
            Engine::Athena | Engine::Glue => athena(over, names, root),
        },
    }];
    if over.table.partition.key().is_some() && engine == Engine::Spark {
        all.push(Statement {
            name: format!("{} partitions", over.name),
            sql: format!(
                "-- Days that are new are seen after this is run again\nMSCK REPAIR TABLE {}",
                engine.qualified(names, &over.name)
            ),
        });
    }
    all
}

fn schema(engine: Engine, names: &Names, root: &str) -> Statement {
    let database = &names.database;
    Statement {
        name: database.clone(),
        sql: match engine {
            Engine::Trino => format!(
                "{}{}CREATE SCHEMA IF NOT EXISTS {}.{database} WITH (location = '{}')",
                trino_settings(root),
                left_out(names),
                names.catalog,
                quoted(root)
            ),
            Engine::Duckdb => format!("CREATE SCHEMA IF NOT EXISTS {database}"),
            _ => format!("CREATE DATABASE IF NOT EXISTS {database}"),
        },
    }
}

/// What the catalog must say for Trino to read the lake right.
///
/// # Source
/// Trino documentation, "Hive connector"; each was left out and tried with Trino 476 (`tests/py/test_trino.py`).
fn trino_settings(root: &str) -> String {
    let mut lines = vec![
        "hive.parquet.time-zone=UTC (in another zone of the JVM instants are shifted, and filters lose rows)",
        "hive.partition-projection-enabled=true and hive.timestamp-precision=MILLISECONDS, as they are by default",
    ];
    if root.starts_with("file:") {
        lines.push("fs.hadoop.enabled=true (with fs.native-local.enabled a file:// location has no rows, and no error)");
        lines.push("hive.ignore-absent-partitions=true (days without a folder)");
    } else {
        lines.push("fs.native-s3.enabled=true");
    }
    let said = lines.iter().map(|line| format!("--   {line}\n"));
    format!("-- The catalog needs\n{}", said.collect::<String>())
}

/// Trino makes no table over a folder that is not there.
fn left_out(names: &Names) -> String {
    let tables = names.without_files.iter().map(|t| t.name);
    match &tables.collect::<Vec<_>>()[..] {
        [] => String::new(),
        some => format!(
            "-- Left out, with their views, until there is a file of them: {}\n",
            some.join(", ")
        ),
    }
}

fn list(engine: Engine, table: &Table) -> String {
    let column = |c: &Column| format!("  {} {}", c.name, engine.type_of(c.kind));
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    columns.join(",\n")
}

/// # Source
/// Athena user guide, "CREATE TABLE" and "Supported types for partition projection": a date key of type string.
fn athena(over: &Over, names: &Names, root: &str) -> String {
    let table = over.table;
    let location = format!("{}/{}/", quoted(root), over.folder);
    let mut sql = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n{}\n)\n",
        Engine::Athena.qualified(names, &over.name),
        list(Engine::Athena, table)
    );
    if let Some(key) = table.partition.key() {
        sql += &format!("PARTITIONED BY ({key} string)\n");
    }
    sql += &format!("STORED AS PARQUET\nLOCATION '{location}'\n");
    if table.partition.key().is_some() {
        let properties: Vec<String> = projection(table.partition, names, &location)
            .iter()
            .map(|(key, value)| format!("  '{key}' = '{value}'"))
            .collect();
        sql += &format!("TBLPROPERTIES (\n{}\n)", properties.join(",\n"));
    }
    sql.trim_end().to_owned()
}

/// Partition projection: no partition has to be registered, and none is listed that a query does not ask for.
pub(super) fn projection(
    partition: Partition,
    names: &Names,
    location: &str,
) -> Vec<(String, String)> {
    let Some(key) = partition.key() else {
        return Vec::new();
    };
    let of = |what: &str| format!("projection.{key}.{what}");
    let mut properties = vec![("projection.enabled".to_owned(), "true".to_owned())];
    properties.extend(match partition {
        Partition::Month => vec![
            (of("type"), "enum".to_owned()),
            (of("values"), months(names).join(",")),
        ],
        Partition::None | Partition::Day => vec![
            (of("type"), "date".to_owned()),
            (of("format"), "yyyy-MM-dd".to_owned()),
            (of("range"), format!("{},NOW", names.first_day)),
            (of("interval"), "1".to_owned()),
            (of("interval.unit"), "DAYS".to_owned()),
        ],
    });
    properties.push((
        "storage.location.template".to_owned(),
        format!("{location}{key}=${{{key}}}/"),
    ));
    properties
}

/// # Source
/// Trino documentation, "Hive connector", table and column properties.
fn trino(over: &Over, names: &Names, root: &str) -> String {
    let table = over.table;
    let mut columns = list(Engine::Trino, table);
    let location = format!("{}/{}/", quoted(root), over.folder);
    let mut properties = format!("  format = 'PARQUET',\n  external_location = '{location}'");
    let mut remark = String::new();
    if let Some(key) = table.partition.key() {
        let projected = match table.partition {
            Partition::Month => {
                remark = format!("-- Months until {LAST_MONTH}\n");
                let months: Vec<String> = months(names).iter().map(|m| format!("'{m}'")).collect();
                format!(
                    "partition_projection_type = 'ENUM',\n    partition_projection_values = ARRAY[{}]",
                    months.join(", ")
                )
            }
            Partition::None | Partition::Day => format!(
                "partition_projection_type = 'DATE',\n    partition_projection_format = 'yyyy-MM-dd',\n    \
                 partition_projection_range = ARRAY['{}', 'NOW'],\n    partition_projection_interval = 1,\n    \
                 partition_projection_interval_unit = 'DAYS'",
                names.first_day
            ),
        };
        columns += &format!(",\n  {key} varchar WITH (\n    {projected}\n  )");
        properties += &format!(
            ",\n  partitioned_by = ARRAY['{key}'],\n  partition_projection_enabled = true,\n  \
             partition_projection_location_template = '{location}{key}=${{{key}}}/'"
        );
    }
    format!(
        "{remark}CREATE TABLE IF NOT EXISTS {} (\n{columns}\n)\nWITH (\n{properties}\n)",
        Engine::Trino.qualified(names, &over.name),
    )
}

fn spark(over: &Over, names: &Names, root: &str) -> String {
    let table = over.table;
    let mut columns = list(Engine::Spark, table);
    let mut partitioned = String::new();
    if let Some(key) = table.partition.key() {
        columns += &format!(",\n  {key} STRING");
        partitioned = format!("PARTITIONED BY ({key})\n");
    }
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{columns}\n)\nUSING PARQUET\n{partitioned}LOCATION '{}/{}'",
        Engine::Spark.qualified(names, &over.name),
        quoted(root),
        over.folder
    )
}

/// The columns are named and typed, so that a lake without a file of some kind reads as well as any. Compacted files are named one by one: nothing has
/// to be listed to find them.
fn duckdb(over: &Over, names: &Names, root: &str) -> String {
    let table = over.table;
    let column = |c: &Column| {
        let (name, kind) = (c.name, Engine::Duckdb.type_of(c.kind));
        format!("  {name}::{kind} AS {name}")
    };
    let mut columns: Vec<String> = table.columns.iter().map(column).collect();
    let partitions = match table.partition {
        Partition::None => "",
        Partition::Day => {
            columns.push("  dt::DATE AS dt".to_owned());
            ", hive_partitioning = true, hive_types = {'dt': DATE}"
        }
        Partition::Month => {
            columns.push("  month::VARCHAR AS month".to_owned());
            ", hive_partitioning = true, hive_types = {'month': VARCHAR}"
        }
    };
    // It opens every file: only where some may lack a column.
    let by_name = if table.has_added_columns() {
        ", union_by_name = true"
    } else {
        ""
    };
    let root = quoted(&no_glob(root));
    let files = match &over.files {
        Some(files) => {
            let named = files.iter().map(|key| format!("\n  '{root}/{key}'"));
            format!("[{}\n]", named.collect::<Vec<_>>().join(","))
        }
        None if !names.has_units(table) => return empty_view(table, names),
        None => {
            let below = table
                .partition
                .key()
                .map_or(String::new(), |key| format!("{key}=*/"));
            format!("'{root}/{}/{below}*.parquet'", over.folder)
        }
    };
    format!(
        "CREATE OR REPLACE VIEW {} AS\nSELECT\n{}\nFROM read_parquet({files}{partitions}{by_name})",
        Engine::Duckdb.qualified(names, &over.name),
        columns.join(",\n")
    )
}

/// What a table without files holds.
fn empty_view(table: &Table, names: &Names) -> String {
    let mut columns: Vec<String> = Vec::new();
    let mut column = |name: &str, kind: &str| columns.push(format!("  NULL::{kind} AS {name}"));
    for c in table.columns {
        column(c.name, Engine::Duckdb.type_of(c.kind));
    }
    match table.partition {
        Partition::None => {}
        Partition::Day => column("dt", "DATE"),
        Partition::Month => column("month", "VARCHAR"),
    }
    format!(
        "-- No file of it yet: run these statements again when there is one\nCREATE OR REPLACE VIEW {} AS\nSELECT\n{}\nWHERE false",
        Engine::Duckdb.qualified(names, table.name),
        columns.join(",\n")
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
