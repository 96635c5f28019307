//! The tables of a lake, each declared once: its columns, how its rows are sorted, what its files lie in, and which dataset fills it. Schemas,
//! statements for engines, checks, layout and documentation are made from this.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use super::column::{Column, ColumnKind};
use super::column::{column, maybe, text};
use crate::model::{Dataset, Day, TimeWindow};

/// Version of all tables; raised when files of before cannot be read beside new ones. It is part of what every unit was asked for.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns that files of earlier versions do not have. Each is its table's last.
pub const ADDED_COLUMNS: [&str; 1] = ["provisional"];

/// A table. Compared by its name.
#[derive(Debug)]
pub struct Table {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// What a row is.
    pub row: &'static str,
    /// Its columns, in order: whole from day one, since readers that take the first file's schema lose columns added later.
    pub columns: &'static [Column],
    /// Columns that rows are sorted by inside a file.
    pub sort: &'static [&'static str],
    /// What its files lie in.
    pub partition: Partition,
    /// The dataset that fills it.
    pub dataset: Dataset,
}

/// What the files of a table lie in folders of, and what one unit of it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// No folders: one file a lane, which is no unit of any day.
    None,
    /// Days: `dt=2026-11-20`.
    Day,
    /// Months: `month=2026-11`. A unit is named by the first day.
    Month,
}

impl Partition {
    /// The name of the folders' key.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Day => Some("dt"),
            Self::Month => Some("month"),
        }
    }

    /// A unit as its folder names it, without the key: `2026-11-20`, `2026-11`; `all` where there are no folders.
    ///
    /// # Examples
    /// ```
    /// use cwlake::lake::table::Partition;
    /// use cwlake::model::Day;
    /// let day = Day::parse("2026-11-20").expect("a day");
    /// assert_eq!(Partition::Day.folder_of(day), "2026-11-20");
    /// assert_eq!(Partition::Month.folder_of(day), "2026-11");
    /// ```
    pub fn folder_of(self, unit: Day) -> String {
        match self {
            Self::None => "all".to_owned(),
            Self::Day => unit.to_string(),
            Self::Month => unit.month(),
        }
    }

    /// The unit of a folder's name.
    pub fn unit_in(self, name: &str) -> Option<Day> {
        match self {
            Self::None => (name == "all").then(|| Day::containing(0)),
            Self::Day => Day::parse(name),
            Self::Month => Day::parse(&format!("{name}-01")),
        }
    }

    /// The unit that holds a day.
    pub fn unit_of(self, day: Day) -> Day {
        match self {
            Self::Month => day.month_start(),
            Self::None | Self::Day => day,
        }
    }

    /// The time that a unit spans.
    pub fn window(self, unit: Day) -> TimeWindow {
        match self {
            Self::Month => TimeWindow::days(unit, unit.next_month()),
            Self::None | Self::Day => unit.window(),
        }
    }
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether a column was added since files were first written, which older ones lack.
    pub fn has_added_columns(&self) -> bool {
        self.columns.iter().any(|c| ADDED_COLUMNS.contains(&c.name))
    }

    /// The column that says when a row was, of a table whose rows belong to their unit's time.
    pub fn time(&self) -> Option<&'static Column> {
        let columns = self.columns.iter();
        columns.clone().find(|c| matches!(c.name, "day" | "ts"))
    }

    /// Columns that its rows are sorted by once they are compacted, over all lanes.
    ///
    /// # Examples
    /// ```
    /// use cwlake::lake::table::{METRICS, SPEND};
    /// // One metric of all accounts stands together; of other tables, one account.
    /// assert_eq!(METRICS.compacted_sort()[..4], ["namespace", "metric_name", "account_id", "region"]);
    /// assert_eq!(SPEND.compacted_sort()[..2], ["account_id", "region"]);
    /// ```
    pub fn compacted_sort(&self) -> Vec<&'static str> {
        let (of_lane, own) = (["account_id", "region"], self.sort);
        if self.is_points() {
            // One metric of all lanes stands together.
            let (metric, rest) = own.split_at(2);
            return [metric, &of_lane, rest].concat();
        }
        [&of_lane, own].concat()
    }

    /// Whether its rows are the points of metrics, which are written and read run by run.
    pub fn is_points(&self) -> bool {
        self.dataset == Dataset::Metrics && self.partition == Partition::Day
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Table {}

impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Table {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = TABLES.into_iter().find(|t| t.name == name);
        known.ok_or_else(|| D::Error::custom(format!("'{}' is no table", name.escape_debug())))
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// Every table, in the order in which they are described to people and engines.
pub static TABLES: [&Table; 8] = [
    &METRICS,
    &SERIES,
    &INSTANCES,
    &LOGS,
    &SPEND,
    &SPEND_INTRADAY,
    &ALARMS,
    &ALARM_HISTORY,
];

/// The tables whose units are recorded in manifests.
pub fn unit_tables() -> impl Iterator<Item = &'static Table> {
    let tables = TABLES.iter().copied();
    tables.filter(|t| t.partition != Partition::None)
}

/// The tables of a dataset whose units are recorded; the first is the one that people read.
pub fn tables_of(dataset: Dataset) -> impl Iterator<Item = &'static Table> {
    unit_tables().filter(move |t| t.dataset == dataset)
}

const ACCOUNT_ID: Column = text("account_id", "12 digits, zeros kept");
const ACCOUNT_NAME: Column = maybe("account_name", "`name` of the account in the configuration");
const REGION: Column = text("region", "");
const NAMESPACE: Column = text("namespace", "`AWS/EC2`, as AWS spells it");
const METRIC_NAME: Column = text("metric_name", "");
const DIMENSIONS: Column = column(
    "dimensions",
    ColumnKind::TextMap,
    false,
    "sorted by key; empty map, never null",
);
const DIMENSIONS_KEY: Column = text(
    "dimensions_key",
    "`name=value` joined by commas, sorted; `\\` before `\\`, `,` and `=`. Quicker to filter by than the map",
);
const SERIES_ID: Column = column(
    "series_id",
    ColumnKind::BigInteger,
    false,
    "first 8 bytes, big-endian, of SHA-256 over account, region, namespace, metric_name, dimensions_key joined by NUL",
);

/// Points of metrics, long form.
pub static METRICS: Table = Table {
    name: "metrics",
    row: "a series × statistic × period start",
    columns: &[
        column("ts", ColumnKind::Instant, false, "start of the period"),
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        NAMESPACE,
        METRIC_NAME,
        DIMENSIONS,
        DIMENSIONS_KEY,
        SERIES_ID,
        text("stat", "`Average`, `Sum`, `p99`, `TM(10%:90%)` … as asked"),
        column(
            "period",
            ColumnKind::Integer,
            false,
            "seconds; the period used",
        ),
        maybe("unit", "the unit asked for; null when none was"),
        column(
            "value",
            ColumnKind::Double,
            false,
            "bit-exact as received, NaN, ±Inf and −0 included",
        ),
    ],
    sort: &["namespace", "metric_name", "dimensions_key", "stat", "ts"],
    partition: Partition::Day,
    dataset: Dataset::Metrics,
};

/// Every series a run has seen.
pub static SERIES: Table = Table {
    name: "series",
    row: "a series of an account and region that any run has seen",
    columns: &[
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        NAMESPACE,
        METRIC_NAME,
        DIMENSIONS,
        DIMENSIONS_KEY,
        SERIES_ID,
        column(
            "first_seen",
            ColumnKind::Instant,
            true,
            "first timestamp of its points in this lake; null while no export has found one",
        ),
        column(
            "last_seen",
            ColumnKind::Instant,
            true,
            "last timestamp of its points in this lake",
        ),
    ],
    sort: &["namespace", "metric_name", "dimensions_key"],
    partition: Partition::None,
    dataset: Dataset::Metrics,
};

/// The EC2 inventory.
pub static INSTANCES: Table = Table {
    name: "instances",
    row: "an EC2 instance that a day's runs have seen",
    columns: &[
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        text("instance_id", ""),
        maybe("instance_type", ""),
        maybe("state", "`running`, `stopped` … when it was described last"),
        maybe("availability_zone", ""),
        maybe("vpc_id", ""),
        maybe("subnet_id", ""),
        maybe("image_id", ""),
        maybe("platform", "`Linux/UNIX`, `Windows` …"),
        maybe("architecture", ""),
        column("launch_time", ColumnKind::Instant, true, ""),
        maybe("private_ip", ""),
        maybe("public_ip", ""),
        maybe("iam_profile", "ARN of the instance profile"),
        column("tags", ColumnKind::TextMap, false, "empty map, never null"),
    ],
    sort: &["instance_id"],
    partition: Partition::Day,
    dataset: Dataset::Instances,
};

/// Events of `CloudWatch` Logs.
pub static LOGS: Table = Table {
    name: "logs",
    row: "a log event",
    columns: &[
        column("ts", ColumnKind::Instant, false, "when it happened"),
        column(
            "ingested_at",
            ColumnKind::Instant,
            false,
            "when CloudWatch took it in",
        ),
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        text("log_group", ""),
        text("log_stream", ""),
        maybe(
            "event_id",
            "CloudWatch's id; null of a stream that is read by name",
        ),
        text("message", ""),
    ],
    sort: &["log_group", "ts", "log_stream"],
    partition: Partition::Day,
    dataset: Dataset::Logs,
};

const SCOPE: Column = text(
    "scope",
    "`total`, `service`, `linked_account` or `linked_account_service`; never to be added up with each other",
);
const LINKED_ACCOUNT: Column = maybe("linked_account_id", "the member, of a payer's series");
const SERVICE: Column = maybe("service_name", "");
const CURRENCY: Column = text("currency", "");

/// Charges as they were published.
pub static SPEND_INTRADAY: Table = Table {
    name: "spend_intraday",
    row: "a value of a series of charges that was published",
    columns: &[
        column("ts", ColumnKind::Instant, false, "start of the period"),
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        SCOPE,
        LINKED_ACCOUNT,
        SERVICE,
        CURRENCY,
        column("period", ColumnKind::Integer, false, "seconds"),
        column(
            "month_to_date",
            ColumnKind::Double,
            false,
            "charges of the month so far",
        ),
    ],
    sort: &[
        "scope",
        "linked_account_id",
        "service_name",
        "currency",
        "ts",
    ],
    partition: Partition::Month,
    dataset: Dataset::Spend,
};

/// Charges by day.
pub static SPEND: Table = Table {
    name: "spend",
    row: "a series of charges and day",
    columns: &[
        column("day", ColumnKind::Date, false, ""),
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        SCOPE,
        LINKED_ACCOUNT,
        SERVICE,
        CURRENCY,
        column(
            "month_to_date",
            ColumnKind::Double,
            true,
            "the last value published on the day",
        ),
        column(
            "spend",
            ColumnKind::Double,
            true,
            "what came since the last known day",
        ),
        column(
            "days",
            ColumnKind::Integer,
            true,
            "days that `spend` covers",
        ),
        text(
            "state",
            "`ok`, `fell`, `missing`, `vanished` or `carried_over`",
        ),
        column(
            "last_ts",
            ColumnKind::Instant,
            true,
            "when the last value was published",
        ),
        column(
            "provisional",
            ColumnKind::Boolean,
            false,
            "the day was not over when its charges were read",
        ),
    ],
    sort: &[
        "scope",
        "linked_account_id",
        "service_name",
        "currency",
        "day",
    ],
    partition: Partition::Month,
    dataset: Dataset::Spend,
};

const ALARM_NAME: Column = text("alarm_name", "");
const ALARM_TYPE: Column = text(
    "alarm_type",
    "`MetricAlarm`, `CompositeAlarm` or `LogAlarm`",
);

/// Alarms.
pub static ALARMS: Table = Table {
    name: "alarms",
    row: "an alarm that a day's runs have seen",
    columns: &[
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        ALARM_NAME,
        ALARM_TYPE,
        text("alarm_arn", ""),
        maybe("description", ""),
        maybe(
            "state",
            "`OK`, `ALARM` or `INSUFFICIENT_DATA` when it was described last",
        ),
        maybe("state_reason", ""),
        column(
            "state_changed_at",
            ColumnKind::Instant,
            true,
            "since when it is in that state",
        ),
        column(
            "configured_at",
            ColumnKind::Instant,
            true,
            "when it was configured last",
        ),
        maybe(
            "namespace",
            "of the one metric it watches; null where it watches something else, as the next ones",
        ),
        maybe("metric_name", ""),
        DIMENSIONS,
        maybe("dimensions_key", "as in `metrics`"),
        column(
            "series_id",
            ColumnKind::BigInteger,
            true,
            "as in `metrics`: joins an alarm to its points",
        ),
        maybe(
            "metric_account_id",
            "the account of the metric, where it is not the alarm's own",
        ),
        maybe("stat", "as in `metrics`"),
        column("period", ColumnKind::Integer, true, "seconds"),
        maybe("unit", ""),
        maybe(
            "expression",
            "what it watches instead of one metric: metric math, the rule of a composite alarm, a query",
        ),
        maybe("comparison", "`GreaterThanThreshold` …"),
        column("threshold", ColumnKind::Double, true, ""),
        column("evaluation_periods", ColumnKind::Integer, true, ""),
        column("datapoints_to_alarm", ColumnKind::Integer, true, ""),
        maybe("treat_missing_data", ""),
        column(
            "actions_enabled",
            ColumnKind::Boolean,
            true,
            "whether a change of state does anything",
        ),
        maybe("alarm_actions", "ARNs, joined by commas"),
        maybe("ok_actions", "the same"),
        maybe("insufficient_data_actions", "the same"),
    ],
    sort: &["alarm_name", "alarm_arn"],
    partition: Partition::Day,
    dataset: Dataset::Alarms,
};

/// Changes of alarms' states.
pub static ALARM_HISTORY: Table = Table {
    name: "alarm_history",
    row: "a change of an alarm's state",
    columns: &[
        column(
            "ts",
            ColumnKind::Instant,
            false,
            "when it changed, to a millisecond more or less",
        ),
        ACCOUNT_ID,
        ACCOUNT_NAME,
        REGION,
        ALARM_NAME,
        ALARM_TYPE,
        maybe(
            "old_state",
            "the state before; null where CloudWatch tells it in no form that is known",
        ),
        maybe("new_state", "the state from then on"),
        maybe("reason", ""),
        maybe("summary", "CloudWatch's own"),
        maybe("data", "everything CloudWatch tells of it, JSON"),
    ],
    sort: &["alarm_name", "alarm_type", "ts"],
    partition: Partition::Day,
    dataset: Dataset::AlarmHistory,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_sorted_by_columns_it_has_and_says_whose_its_rows_are() {
        for table in TABLES {
            for name in table.sort.iter().chain(&["account_id", "region"]) {
                assert!(table.column(name).is_some(), "{table}: {name}");
            }
            let mut names: Vec<&str> = table.columns.iter().map(|c| c.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.columns.len(), "{table}");
        }
    }

    #[test]
    fn tables_are_told_apart_by_their_names() {
        let points: Vec<&str> = TABLES
            .iter()
            .filter(|t| t.is_points())
            .map(|t| t.name)
            .collect();
        assert_eq!(points, ["metrics"]);
        let read = |name: &str| serde_json::from_str::<&'static Table>(&format!("\"{name}\""));
        for table in TABLES {
            assert_eq!(read(table.name).ok(), Some(table));
        }
        assert!(read("metric").is_err() && METRICS.column("t").is_none());
        assert!(METRICS < SPEND && METRICS != SPEND);
        assert!(SPEND.has_added_columns() && !METRICS.has_added_columns());
    }
}
