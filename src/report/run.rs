//! The report of a run: what became of every account, lane and unit, as JSON and as text.

use serde::{Deserialize, Serialize};

use super::alert::{AlertReport, NoticeReport};
use super::compact::CompactReport;
use super::fleet::FleetReport;
use super::lane::LaneReport;
use super::shard::{ShardReport, ShardTimes};
use crate::aws::CallStats;
use crate::fetch::BatchStats;
use crate::lake::table::Table;
use crate::model::{Cause, Dataset, Day, Lane, UnitOutcome};
use crate::plan::Cost;

/// Everything a run did. Written to `_cwlake/runs/<run_id>.json.gz`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of this shape.
    pub report_version: u32,
    /// Version of the program.
    pub cwlake_version: String,
    /// Name of the run: its start.
    pub run_id: String,
    /// First day, `YYYY-MM-DD`.
    pub from: String,
    /// First day after.
    pub to: String,
    /// It was asked from where each lane's last run ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub since_last: bool,
    /// The lake's root.
    pub destination: String,
    /// The shard whose report it is; none when it is about all of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardReport>,
    /// The shards it was brought together from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardTimes>,
    /// Start, RFC 3339 UTC.
    pub started_at: String,
    /// Duration.
    pub seconds: f64,
    /// The signal that stopped the run, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// What the plan said it would cost.
    pub planned: Cost,
    /// Sums over all units and lanes.
    pub totals: Totals,
    /// Its accounts, and what is to be said of them.
    #[serde(flatten)]
    pub fleet: FleetReport,
    /// Lanes of which nothing was to be asked, where there are too many to list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle_lanes: u64,
    /// Units that are left as they are, since all of them is known, where there are too many to list: counted as skipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settled_units: u64,
    /// Every other lane of metrics that was entered.
    pub lanes: Vec<LaneReport>,
    /// Every other dataset, in each of its lanes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<LaneReport>,
    /// What was compacted at its end, where that is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<CompactReport>,
    /// What became of the alerts about its charges; they never change how the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<AlertReport>,
    /// What became of the word about it, where somebody is to be told; it never changes how the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<NoticeReport>,
    /// Why the report is not kept beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<Cause>,
    /// Every other unit of the run.
    pub units: Vec<UnitReport>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Units by outcome.
    pub written: u64,
    /// See [`UnitOutcome::Empty`].
    pub empty: u64,
    /// See [`UnitOutcome::Skipped`].
    pub skipped: u64,
    /// See [`UnitOutcome::Forbidden`].
    pub forbidden: u64,
    /// See [`UnitOutcome::Failed`].
    pub failed: u64,
    /// Units written with some series refused by CloudWatch.
    pub incomplete: u64,
    /// Units that came out as the bytes that were there.
    pub unchanged: u64,
    /// Rows written.
    pub rows: u64,
    /// Bytes written.
    pub bytes: u64,
    /// `GetMetricData` over all lanes.
    pub get_metric_data: BatchStats,
    /// Discovery calls over all lanes.
    pub discovery: CallStats,
    /// Calls for log events.
    pub log_events: CallStats,
    /// US dollars for the metrics billed, outside the free tier.
    pub dollars: f64,
}

impl Totals {
    /// Every call of the run.
    pub fn calls(&self) -> CallStats {
        let mut calls = self.get_metric_data.calls;
        calls.add(self.discovery);
        calls.add(self.log_events);
        calls
    }
}

/// What became of one unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitReport {
    /// `metrics`, `instances`, `logs`, `spend` or `spend_intraday`.
    #[serde(rename = "dataset")]
    pub table: &'static Table,
    /// UTC day.
    pub date: String,
    /// Account.
    pub account_id: String,
    /// Region.
    pub region: String,
    /// How it ended.
    pub outcome: UnitOutcome,
    /// Everything that was asked was answered.
    pub complete: bool,
    /// The day is not over, or not all of it is published yet: more will come.
    pub provisional: bool,
    /// It came out as the bytes that were there: nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
    /// Rows in the file.
    pub rows: u64,
    /// Series asked.
    pub series_asked: u64,
    /// Series with at least one point.
    pub series_returned: u64,
    /// Path below the lake's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Size of the file.
    pub bytes: u64,
    /// Its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// First timestamp, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ts: Option<String>,
    /// Last timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ts: Option<String>,
    /// The requests whose window touches the day. A request over several days counts in each: lanes hold the exact sums.
    pub requests: BatchStats,
    /// Time from the first request of its lane until its end.
    pub seconds: f64,
    /// What the day before had, series of metrics or rows of other tables, when the unit has less than half of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_from: Option<u64>,
    /// Why it ended so, when that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Queries CloudWatch refused for good; the first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedQuery>,
    /// How many there were.
    pub refused_queries: u64,
    /// What CloudWatch remarked, by code and text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageReport>,
}

/// A query CloudWatch refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedQuery {
    /// The metric.
    pub series: String,
    /// The statistic.
    pub statistic: String,
    /// What CloudWatch said.
    pub cause: Cause,
}

/// A remark of CloudWatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReport {
    /// For example `MultipleUnits`.
    pub code: String,
    /// CloudWatch's text.
    pub text: String,
    /// Queries it was made about.
    pub queries: u64,
    /// One of their metrics; none when it is about a request as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// Lanes and units without anything to tell that a report lists; of more it tells their number.
const LISTED_IDLE: usize = 200;

/// Refused queries listed for a unit; more are only counted.
pub const LISTED_REFUSALS: usize = 1_000;

impl UnitReport {
    /// A unit of which nothing is known yet.
    pub(crate) fn of(table: &'static Table, day: Day, lane: &Lane, now: i64) -> Self {
        Self {
            table,
            date: day.to_string(),
            account_id: lane.account.to_string(),
            region: lane.region.to_string(),
            outcome: UnitOutcome::Failed,
            complete: false,
            provisional: now < day.end(),
            unchanged: false,
            rows: 0,
            series_asked: 0,
            series_returned: 0,
            file: None,
            bytes: 0,
            sha256: None,
            first_ts: None,
            last_ts: None,
            requests: BatchStats::default(),
            seconds: 0.0,
            fell_from: None,
            cause: None,
            refused: Vec::new(),
            refused_queries: 0,
            messages: Vec::new(),
        }
    }

    /// Whether nothing of it was asked, since all of it is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.outcome == UnitOutcome::Skipped && self.complete && self.series_asked == 0
    }

    /// Whether something of it is missing that was asked for: it failed, was denied, or is not complete.
    pub fn is_short(&self) -> bool {
        is_short(
            self.outcome,
            self.complete,
            self.series_asked,
            self.refused_queries,
        )
    }
}

/// The same, from a report that was read back.
pub(crate) fn is_short(
    outcome: UnitOutcome,
    complete: bool,
    series_asked: u64,
    refused_queries: u64,
) -> bool {
    let skipped = outcome == UnitOutcome::Skipped && series_asked == 0;
    matches!(outcome, UnitOutcome::Failed | UnitOutcome::Forbidden)
        || !complete && !skipped
        || refused_queries > 0
}

impl RunReport {
    /// Adds what a dataset took in a lane.
    pub(crate) fn add(&mut self, lane: LaneReport) {
        match lane.dataset {
            Dataset::Metrics => self.lanes.push(lane),
            _ => self.tables.push(lane),
        }
    }

    /// Takes what there is nothing to tell of out of the lists, where it is too much: of fifteen thousand lanes that are as they were, or units that are
    /// known, nobody reads. They are only counted.
    pub(crate) fn leave_out_idle(&mut self) {
        let is_idle = |lanes: &[LaneReport]| lanes.iter().filter(|l| l.is_idle()).count();
        if is_idle(&self.lanes) + is_idle(&self.tables) > LISTED_IDLE {
            let all = self.lanes.len() + self.tables.len();
            self.lanes.retain(|lane| !lane.is_idle());
            self.tables.retain(|lane| !lane.is_idle());
            self.idle_lanes += (all - self.lanes.len() - self.tables.len()) as u64;
        }
        if self.units.iter().filter(|u| u.is_settled()).count() > LISTED_IDLE {
            let all = self.units.len();
            self.units.retain(|unit| !unit.is_settled());
            self.settled_units += (all - self.units.len()) as u64;
        }
    }

    /// Sorts the units, and sums them and the lanes.
    pub fn total(&mut self) {
        self.units.sort_by(|a, b| {
            let lane = |u: &UnitReport| (u.account_id.clone(), u.region.clone());
            let by_lane = || lane(a).cmp(&lane(b));
            let days = a.date.cmp(&b.date);
            days.then_with(by_lane).then_with(|| a.table.cmp(b.table))
        });
        let mut totals = Totals {
            skipped: self.settled_units,
            ..Totals::default()
        };
        for unit in &self.units {
            match unit.outcome {
                UnitOutcome::Written => totals.written += 1,
                UnitOutcome::Empty => totals.empty += 1,
                UnitOutcome::Skipped => totals.skipped += 1,
                UnitOutcome::Forbidden => totals.forbidden += 1,
                UnitOutcome::Failed => totals.failed += 1,
            }
            if unit.outcome == UnitOutcome::Written {
                totals.rows += unit.rows;
                totals.bytes += unit.bytes;
                totals.incomplete += u64::from(!unit.complete);
                totals.unchanged += u64::from(unit.unchanged);
            }
        }
        for lane in &self.lanes {
            totals.get_metric_data.add(lane.get_metric_data);
            totals.discovery.add(lane.discovery);
        }
        for table in &self.tables {
            totals.get_metric_data.add(table.get_metric_data);
            totals.discovery.add(table.discovery);
            if table.dataset == Dataset::Logs {
                totals.log_events.add(table.calls);
            }
        }
        totals.dollars =
            totals.get_metric_data.billed_metrics as f64 * crate::config::DOLLARS_PER_METRIC;
        self.totals = totals;
    }
}
