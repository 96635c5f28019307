//! What differs from engine to engine.

use super::Names;
use crate::lake::table::ColumnKind;

/// Who reads the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Amazon Athena, engine version 3.
    Athena,
    /// Trino with the Hive connector.
    Trino,
    /// Spark SQL.
    Spark,
    /// `DuckDB`: views over the files.
    Duckdb,
    /// Definitions for the Glue catalog, as JSON.
    Glue,
}

impl Engine {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Athena => "athena",
            Self::Trino => "trino",
            Self::Spark => "spark",
            Self::Duckdb => "duckdb",
            Self::Glue => "glue",
        }
    }

    /// # Source
    /// Athena user guide, "Data types in Athena"; Trino documentation, "Hive connector" (timestamps have the precision the connector is
    /// set to, milliseconds unless told otherwise; ours are whole seconds); Spark SQL reference, "Data Types".
    pub(super) fn type_of(self, kind: ColumnKind) -> &'static str {
        match (self, kind) {
            (Self::Athena | Self::Glue, ColumnKind::Text) => "string",
            (Self::Athena | Self::Glue, ColumnKind::Instant) => "timestamp",
            (Self::Athena | Self::Glue | Self::Trino, ColumnKind::Date) => "date",
            (Self::Spark | Self::Duckdb, ColumnKind::Date) => "DATE",
            (Self::Athena | Self::Glue, ColumnKind::Integer) => "int",
            (Self::Athena | Self::Glue, ColumnKind::BigInteger) => "bigint",
            (Self::Athena | Self::Glue, ColumnKind::Double) => "double",
            (Self::Athena | Self::Glue | Self::Trino, ColumnKind::Boolean) => "boolean",
            (Self::Spark | Self::Duckdb, ColumnKind::Boolean) => "BOOLEAN",
            (Self::Athena | Self::Glue, ColumnKind::TextMap) => "map<string,string>",
            (Self::Trino, ColumnKind::Text) => "varchar",
            (Self::Trino, ColumnKind::Instant) => "timestamp(3)",
            (Self::Trino, ColumnKind::Integer) => "integer",
            (Self::Trino, ColumnKind::TextMap) => "map(varchar, varchar)",
            (Self::Spark, ColumnKind::Text) => "STRING",
            (Self::Spark, ColumnKind::Instant) => "TIMESTAMP",
            (Self::Spark, ColumnKind::Integer) => "INT",
            (Self::Spark, ColumnKind::TextMap) => "MAP<STRING, STRING>",
            (Self::Duckdb, ColumnKind::Text) => "VARCHAR",
            (Self::Duckdb, ColumnKind::Instant) => "TIMESTAMPTZ",
            (Self::Duckdb, ColumnKind::Integer) => "INTEGER",
            (Self::Duckdb, ColumnKind::TextMap) => "MAP(VARCHAR, VARCHAR)",
            (Self::Trino | Self::Spark | Self::Duckdb, ColumnKind::BigInteger) => "BIGINT",
            (Self::Trino | Self::Spark | Self::Duckdb, ColumnKind::Double) => "DOUBLE",
        }
    }

    /// A table or view with all that stands before its name.
    pub(super) fn qualified(self, names: &Names, table: &str) -> String {
        match self {
            Self::Trino => format!("{}.{}.{table}", names.catalog, names.database),
            _ => format!("{}.{table}", names.database),
        }
    }

    /// The name of the file that a row is in, without its folders; none where a table names the files that it reads.
    ///
    /// # Source
    /// Trino documentation, "Hive connector", metadata columns; Athena user guide, "Show the file locations for source data"; Spark SQL guide, "File
    /// metadata column".
    pub(super) fn file_name(self) -> Option<&'static str> {
        match self {
            Self::Athena | Self::Trino | Self::Glue => {
                Some(r#"element_at(split("$path", '/'), -1)"#)
            }
            Self::Spark => Some("_metadata.file_name"),
            Self::Duckdb => None,
        }
    }

    /// One value of a group, whichever.
    pub(super) fn any_of(self, column: &str) -> String {
        match self {
            Self::Athena | Self::Trino | Self::Glue => format!("arbitrary({column})"),
            Self::Spark | Self::Duckdb => format!("any_value({column})"),
        }
    }

    /// Seconds since the epoch of an instant.
    ///
    /// # Source
    /// Trino documentation, "Date and time functions"; Spark SQL reference, `unix_micros`; `DuckDB` documentation, `epoch`.
    pub(super) fn seconds(self, instant: &str) -> String {
        match self {
            // Without a zone an instant is taken to be in the session's.
            Self::Athena | Self::Trino | Self::Glue => {
                format!("to_unixtime(with_timezone({instant}, 'UTC'))")
            }
            Self::Spark => format!("CAST(unix_micros({instant}) AS DOUBLE) / 1000000"),
            Self::Duckdb => format!("epoch({instant})"),
        }
    }

    /// Days since the epoch of a value of `dt`.
    pub(super) fn day_number(self, dt: &str) -> String {
        match self {
            Self::Athena | Self::Trino | Self::Glue => {
                format!("date_diff('day', DATE '1970-01-01', CAST({dt} AS date))")
            }
            Self::Spark => format!("datediff(CAST({dt} AS DATE), DATE '1970-01-01')"),
            Self::Duckdb => format!("date_diff('day', DATE '1970-01-01', {dt})"),
        }
    }

    /// The date of a number of days since the epoch.
    pub(super) fn date_of(self, number: &str) -> String {
        match self {
            Self::Athena | Self::Trino | Self::Glue => {
                format!("date_add('day', {number}, DATE '1970-01-01')")
            }
            Self::Spark => format!("date_add(DATE '1970-01-01', CAST({number} AS INT))"),
            Self::Duckdb => format!("DATE '1970-01-01' + CAST({number} AS INTEGER)"),
        }
    }

    /// A table of one column, `n`: the numbers of all UTC days that are over, as many as there are kept.
    pub(super) fn days_over(self, kept: u32) -> String {
        match self {
            Self::Athena | Self::Trino | Self::Glue => {
                let today = "CAST(floor(to_unixtime(now()) / 86400) AS bigint)";
                format!(
                    "SELECT n FROM UNNEST(sequence({today} - {kept}, {today} - 1)) AS over_days(n)"
                )
            }
            Self::Spark => {
                let today = "CAST(floor(unix_micros(now()) / 86400000000) AS BIGINT)";
                format!("SELECT explode(sequence({today} - {kept}, {today} - 1)) AS n")
            }
            Self::Duckdb => {
                let today = "CAST(floor(epoch(now()) / 86400) AS BIGINT)";
                format!("SELECT unnest(range({today} - {kept}, {today})) AS n")
            }
        }
    }

    /// The UTC day so many days ago, of the type that `dt` has: an engine's own current day is that of its session's zone.
    pub(super) fn days_ago(self, days: u32) -> String {
        match self {
            Self::Athena | Self::Trino | Self::Glue => format!(
                "CAST(CAST(current_timestamp AT TIME ZONE 'UTC' AS date) - INTERVAL '{days}' DAY AS varchar)"
            ),
            Self::Spark => format!(
                "CAST(date_sub(to_utc_timestamp(current_timestamp(), current_timezone()), {days}) AS STRING)"
            ),
            Self::Duckdb => format!("CAST(now() AT TIME ZONE 'UTC' AS DATE) - {days}"),
        }
    }
}
