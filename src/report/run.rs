//! The report of a run: what became of every account, lane and unit, as JSON and as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::alert::AlertReport;
use super::compact::CompactReport;
use super::fleet::{AccountReport, FleetReport, lane_notes, of_lane};
use super::lane::LaneReport;
use super::look::Look;
use super::remarks::{Remarks, Subject};
use super::shard::{ShardReport, ShardTimes};
use super::words::{grouped, size};
use crate::aws::CallStats;
use crate::fetch::BatchStats;
use crate::lake::table::Table;
use crate::model::{Cause, CauseKind, Dataset, Day, Lane, UnitOutcome};
use crate::plan::Cost;

/// Everything a run did. Written to `_cwlake/runs/<run_id>.json`.
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

    /// The report as text: sums first, then whatever is not plainly well, each cause once with what it befell and its remedy.
    pub fn text(&self) -> String {
        self.text_for(&Look::default())
    }

    /// The same as it is asked for: `all` tells of each account, region and day by itself.
    pub fn text_for(&self, look: &Look) -> String {
        let t = &self.totals;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} to {} (exclusive): {} units written{}, {} empty, {} skipped, {} forbidden, {} failed",
            self.from,
            self.to,
            t.written,
            if t.unchanged > 0 {
                format!(" ({} of them as they were)", grouped(t.unchanged))
            } else {
                String::new()
            },
            t.empty,
            t.skipped,
            t.forbidden,
            t.failed
        );
        let _ = writeln!(
            out,
            "{} rows, {} in {:.1} s; {} GetMetricData calls ({} retries, {} throttled), {} metrics billed, about ${:.2}",
            grouped(t.rows),
            size(t.bytes),
            self.seconds,
            grouped(t.get_metric_data.calls.calls),
            grouped(t.get_metric_data.calls.retries),
            grouped(t.get_metric_data.calls.throttles),
            grouped(t.get_metric_data.billed_metrics),
            t.dollars
        );
        if t.log_events.calls > 0 {
            let _ = writeln!(
                out,
                "{} calls for log events ({} retries, {} throttled)",
                grouped(t.log_events.calls),
                grouped(t.log_events.retries),
                grouped(t.log_events.throttles)
            );
        }
        out += &self
            .shards
            .as_ref()
            .map(ShardTimes::text)
            .unwrap_or_default();
        let mut remarks = self.remarks(look.all);
        self.unit_notes(&mut remarks);
        if let Some(cause) = &self.not_stored {
            let report = Subject {
                part: "this report",
                ..Subject::default()
            };
            remarks.add("not kept in the lake", &report, cause);
        }
        remarks.write(&mut out);
        if let Some(compaction) = &self.compaction {
            out += &compaction.text();
        }
        if let Some(alerts) = &self.alerts {
            out += &alerts.text();
        }
        for hint in self.hints() {
            let _ = writeln!(out, "  hint: {hint}");
        }
        out
    }

    /// What would have helped, or helps now: the flag or the setting by its name.
    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        let causes = || {
            let accounts = self.fleet.accounts.iter().filter_map(|a| a.cause.as_ref());
            let lanes = self.lanes.iter().filter(|l| !l.skipped);
            let tables = self.tables.iter().filter(|t| !t.skipped);
            let units = self
                .units
                .iter()
                .filter(|u| u.outcome != UnitOutcome::Skipped);
            accounts
                .chain(lanes.filter_map(|l| l.cause.as_ref()))
                .chain(tables.filter_map(|t| t.cause.as_ref()))
                .chain(units.filter_map(|u| u.cause.as_ref()))
        };
        let any = |kinds: &[CauseKind]| causes().any(|c| kinds.contains(&c.kind));
        let denied = [
            CauseKind::AccessDenied,
            CauseKind::Barred,
            CauseKind::WrongAccount,
        ];
        if any(&denied) {
            hints.push("cwlake doctor tries every role and permission, and prints the statement that is missing; cwlake iam prints all of them".to_owned());
        }
        if any(&[CauseKind::Budget]) {
            hints.push("--max-spend or run.max_spend_usd raises the cap; the same command goes on where it stopped".to_owned());
        }
        if any(&[CauseKind::TimeLimit]) {
            hints.push("limits.unit_timeout_secs gives an account and region more time; --account and --region ask for a part".to_owned());
        }
        let calls = self.totals.get_metric_data.calls;
        if calls.throttles * 10 > calls.calls {
            hints.push("a tenth of the calls was throttled: limits.points_per_second and limits.calls_per_second leave room for whoever shares the quota".to_owned());
        }
        let has_units = |a: &AccountReport| self.units.iter().any(|u| u.account_id == a.account_id);
        let unknown =
            |a: &AccountReport| a.cause.is_some() && a.regions.is_empty() && !has_units(a);
        let is_short = self.units.iter().any(UnitReport::is_short)
            || self.fleet.accounts.iter().any(unknown)
            || !self.fleet.unlisted_links.is_empty();
        if is_short && !self.run_id.is_empty() {
            hints.push(format!(
                "what is missing alone is asked again by cwlake export --only-failed {}/_cwlake/runs/{}.json",
                self.destination, self.run_id
            ));
        }
        let held = |u: &UnitReport| u.outcome == UnitOutcome::Skipped && u.complete;
        if !self.units.is_empty() && self.units.iter().all(held) {
            hints.push(
                "every day asked for is in the lake, whole and settled: --force reads them again"
                    .to_owned(),
            );
        }
        hints
    }

    /// What is not plainly well with accounts and lanes.
    pub(super) fn remarks(&self, all: bool) -> Remarks {
        let mut remarks = Remarks::new(all, self.fleet.names());
        self.fleet.account_notes(&mut remarks);
        let overruled: u64 = self.lanes.iter().map(|l| l.forecast.overruled).sum();
        if overruled > 0 {
            let text = format!(
                "{} statistics of series are asked for by two [[metrics]] tables at different periods or units; the first table decided",
                grouped(overruled)
            );
            remarks.tell("note", &Subject::default(), &text, None);
        }
        // What one shard does not find another may have.
        self.fleet
            .selection_notes(&mut remarks, self.shard.is_none());
        let unread = self
            .lanes
            .iter()
            .filter_map(|l| Some((&*l.account_id, &*l.region, l.cause.as_ref()?, l.skipped)));
        lane_notes(&mut remarks, unread);
        self.table_notes(&mut remarks);
        remarks
    }

    /// Other datasets that could not be read. What is closed is told of the lanes of metrics, if there are any.
    fn table_notes(&self, remarks: &mut Remarks) {
        if self.lanes.is_empty() {
            let skipped = self.tables.iter().filter(|t| t.skipped);
            let unread =
                skipped.filter_map(|t| Some((&*t.account_id, &*t.region, t.cause.as_ref()?, true)));
            lane_notes(remarks, unread);
        }
        for table in self.tables.iter().filter(|t| !t.skipped) {
            if let Some(cause) = &table.cause {
                let lane = Subject {
                    table: table.dataset.name(),
                    ..of_lane(&table.account_id, &table.region)
                };
                remarks.add(cause.kind_word(), &lane, cause);
            }
        }
        let without = |t: &&LaneReport| {
            t.dataset == Dataset::Spend
                && t.cause.is_none()
                && !t.forecast.matched
                && t.discovery.calls > 0
        };
        let without: Vec<&str> = self
            .tables
            .iter()
            .filter(without)
            .map(|t| t.account_id.as_str())
            .collect();
        for account in without {
            let of = Subject {
                account,
                ..Subject::default()
            };
            let hint = "turn on billing alerts in the account that pays (Billing preferences); first values come within a day";
            remarks.tell("warning", &of, "no estimated charges", Some(hint));
        }
    }

    fn unit_notes(&self, remarks: &mut Remarks) {
        let accounts = self.fleet.accounts.iter().filter(|a| a.cause.is_some());
        let accounts: BTreeSet<&str> = accounts.map(|a| &*a.account_id).collect();
        let lanes = self.lanes.iter().filter(|l| l.cause.is_some());
        let lanes: BTreeSet<(&str, &str)> = lanes.map(|l| (&*l.account_id, &*l.region)).collect();
        let tables = self.tables.iter().filter(|t| t.cause.is_some());
        let tables: BTreeSet<(&str, &str, &str)> = tables
            .map(|t| (t.dataset.name(), &*t.account_id, &*t.region))
            .collect();
        let whole_lane = |u: &UnitReport| {
            let (account, region) = (&*u.account_id, &*u.region);
            let table = u.table.dataset.name();
            accounts.contains(account)
                || u.table.is_points() && lanes.contains(&(account, region))
                || tables.contains(&(table, account, region))
        };
        for unit in self.units.iter().filter(|u| !whole_lane(u)) {
            let subject = Subject {
                table: if unit.table.is_points() {
                    ""
                } else {
                    unit.table.name
                },
                date: &unit.date,
                ..of_lane(&unit.account_id, &unit.region)
            };
            if let Some(cause) = &unit.cause {
                remarks.add(unit.outcome.as_str(), &subject, cause);
            }
            for refused in &unit.refused {
                let part = format!("{} {}", refused.statistic, refused.series);
                let of_query = Subject {
                    part: &part,
                    ..subject
                };
                remarks.add("refused", &of_query, &refused.cause);
            }
            let hidden = unit
                .refused_queries
                .saturating_sub(unit.refused.len() as u64);
            if hidden > 0 {
                let text = format!("{} more queries were refused", grouped(hidden));
                remarks.tell("note", &subject, &text, None);
            }
            for message in &unit.messages {
                let part = message.example.as_deref().unwrap_or("");
                let text = format!("CloudWatch says {}: {}", message.code, message.text);
                let of_query = Subject { part, ..subject };
                remarks.tell("note", &of_query, &text, None);
            }
        }
    }
}
