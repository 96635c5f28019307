//! The lake as tables and views of an engine: its own statements, or the definitions for a Glue catalog. Pure: nothing is read or called.

mod compacted;
mod engine;
mod glue;
mod reserved;
mod tables;
mod views;

use crate::config::{Destination, ExportConfig};
use crate::lake::table::Table;
use crate::model::Day;

use reserved::is_reserved;

pub use compacted::CompactedFiles;
pub use engine::Engine;
pub use glue::{GlueColumn, GlueTable, glue_tables};
pub use views::statistic_columns;

/// What the tables are called, and from when their partitions are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Database or schema.
    pub database: String,
    /// Catalog, for Trino.
    pub catalog: String,
    /// First day that a projected partition may have.
    pub first_day: Day,
    /// Tables that are known to have no file yet: `DuckDB` makes no view over nothing, and Trino no table.
    pub without_files: Vec<&'static Table>,
    /// What is read from compacted files.
    pub compacted: Vec<CompactedFiles>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Statement {
    /// What it makes.
    pub name: String,
    /// Without a semicolon.
    pub sql: String,
}

/// Why there are no statements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DdlError {
    /// A name that an engine would have to quote.
    #[error(
        "--{flag}: '{name}' is no safe name: lower case letters, digits and '_', a letter first, 64 at most, and no word that an engine reserves"
    )]
    Name {
        /// The flag it came by.
        flag: &'static str,
        /// The name.
        name: String,
    },
    /// An engine that reads buckets alone.
    #[error(
        "{0} reads s3:// alone, and the destination is a folder: use duckdb, spark or trino, or --destination s3://…"
    )]
    LocalDestination(&'static str),
}

impl Names {
    /// Whether an engine gets no statement about a table, because it would refuse it.
    fn leaves_out(&self, engine: Engine, table: &'static Table) -> bool {
        engine == Engine::Trino && !self.has_units(table) && self.compacted(table).is_none()
    }

    fn has_units(&self, table: &'static Table) -> bool {
        !self.without_files.contains(&table)
    }

    fn compacted(&self, table: &'static Table) -> Option<&CompactedFiles> {
        self.compacted.iter().find(|files| files.table == table)
    }

    /// Names every engine takes without quotes.
    ///
    /// # Errors
    /// [`DdlError::Name`].
    pub fn new(database: &str, catalog: &str, first_day: Day) -> Result<Self, DdlError> {
        for (flag, name) in [("database", database), ("catalog", catalog)] {
            if !is_safe(name) {
                return Err(DdlError::Name {
                    flag,
                    name: name.escape_debug().to_string(),
                });
            }
        }
        Ok(Self {
            database: database.to_owned(),
            catalog: catalog.to_owned(),
            first_day,
            without_files: Vec::new(),
            compacted: Vec::new(),
        })
    }
}

fn is_safe(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=64).contains(&name.len())
        && !is_reserved(name)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(plain)
}

/// The statements that make the tables and views of a configuration's lake, in the order they are to be run. They can be run again.
///
/// # Errors
/// [`DdlError::LocalDestination`], or a name that this engine alone reserves.
pub fn statements(
    config: &ExportConfig,
    engine: Engine,
    names: &Names,
) -> Result<Vec<Statement>, DdlError> {
    if engine == Engine::Duckdb && names.database == "default" {
        return Err(DdlError::Name {
            flag: "database",
            name: names.database.clone(),
        });
    }
    let location = location(&config.destination, engine)?;
    let mut all = tables::statements(config, engine, names, &location);
    all.extend(views::statements(config, engine, names));
    Ok(all)
}

/// The lake's root as the engine spells it, without a slash at its end.
fn location(destination: &Destination, engine: Engine) -> Result<String, DdlError> {
    match destination {
        Destination::S3(_) => Ok(destination.to_string()),
        Destination::Local(root) => match engine {
            Engine::Athena | Engine::Glue => Err(DdlError::LocalDestination(engine.name())),
            Engine::Duckdb => Ok(root.display().to_string()),
            Engine::Trino | Engine::Spark => Ok(format!("file://{}", root.display())),
        },
    }
}
