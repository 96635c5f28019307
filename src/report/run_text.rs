//! The report of a run as text, and why something is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::alert::AlertReport;
use super::fleet::{AccountReport, lane_notes, of_lane};
use super::lane::LaneReport;
use super::look::Look;
use super::remarks::{Remarks, Subject, Told};
use super::run::{RunReport, UnitReport};
use super::shard::ShardTimes;
use super::words::{counted, dollars, grouped, size};
use crate::model::{CauseKind, Dataset, UnitOutcome};

/// `1 retry`, `12 retries`.
fn retries(n: u64) -> String {
    format!(
        "{} {}",
        grouped(n),
        if n == 1 { "retry" } else { "retries" }
    )
}

/// What is said of units that fell.
pub(crate) const FELL: &str = "less than half of what the day before had";

impl RunReport {
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
            "{} to {} (exclusive): {} written{}, {} empty, {} skipped, {} forbidden, {} failed",
            self.from,
            self.to,
            counted(t.written, "unit"),
            if t.unchanged > 0 {
                format!(" ({} of them as they were)", grouped(t.unchanged))
            } else {
                String::new()
            },
            grouped(t.empty),
            grouped(t.skipped),
            grouped(t.forbidden),
            grouped(t.failed)
        );
        if self.is_settled() {
            out += "nothing was due: every day asked for is in the lake, whole and settled; --force reads them again\n";
            return out;
        }
        let _ = writeln!(
            out,
            "{}, {} in {:.1} s; {} ({}, {} throttled), {} billed, about {}",
            counted(t.rows, "row"),
            size(t.bytes),
            self.seconds,
            counted(t.get_metric_data.calls.calls, "GetMetricData call"),
            retries(t.get_metric_data.calls.retries),
            grouped(t.get_metric_data.calls.throttles),
            counted(t.get_metric_data.billed_metrics, "metric"),
            dollars(t.dollars)
        );
        if t.log_events.calls > 0 {
            let _ = writeln!(
                out,
                "{} for log events ({}, {} throttled)",
                counted(t.log_events.calls, "call"),
                retries(t.log_events.retries),
                grouped(t.log_events.throttles)
            );
        }
        out += &self
            .shards
            .as_ref()
            .map(ShardTimes::text)
            .unwrap_or_default();
        self.all_remarks(look.all).write(&mut out);
        if let Some(compaction) = &self.compaction {
            out += &compaction.text();
        }
        if let Some(alerts) = &self.alerts {
            out += &alerts.text();
        }
        if let Some(notices) = &self.notices {
            out += &notices.text();
        }
        for hint in self.hints() {
            let _ = writeln!(out, "  hint: {hint}");
        }
        out
    }

    /// What is not plainly well with anything.
    fn all_remarks(&self, all: bool) -> Remarks {
        let mut remarks = self.remarks(all);
        self.unit_notes(&mut remarks);
        if let Some(cause) = &self.not_stored {
            let report = Subject {
                part: "this report",
                ..Subject::default()
            };
            remarks.add("not kept in the lake", &report, cause);
        }
        remarks
    }

    /// Why something is missing, each cause once.
    pub(crate) fn causes(&self) -> Vec<Told> {
        let told = self.all_remarks(false);
        let is_missing = |t: &Told| !matches!(t.word.as_str(), "note" | "warning" | "skipped");
        told.told().filter(is_missing).collect()
    }

    /// Units of which far less came than on the day before: table, day, and of which lanes.
    pub(crate) fn fallen(&self) -> BTreeMap<(&str, &str), Vec<&UnitReport>> {
        let mut fallen: BTreeMap<_, Vec<&UnitReport>> = BTreeMap::new();
        for unit in self.units.iter().filter(|u| u.fell_from.is_some()) {
            let of_day = fallen.entry((unit.table.name, unit.date.as_str()));
            of_day.or_default().push(unit);
        }
        fallen
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
                "what is missing alone is asked again by cwlake export --only-failed {}",
                self.run_id
            ));
        }
        hints
    }

    /// Whether somebody was to be told something of it, and was not.
    pub fn is_unheard(&self) -> bool {
        let alerts = self.alerts.as_ref().is_some_and(AlertReport::is_short);
        let notices = self.notices.as_ref();
        alerts || notices.is_some_and(|notices| !notices.failed.is_empty())
    }

    /// Whether a run has found all that it was asked for in place, with nothing else to tell.
    fn is_settled(&self) -> bool {
        let has_units = self.settled_units > 0 || !self.units.is_empty();
        let held = |u: &UnitReport| u.outcome == UnitOutcome::Skipped && u.complete;
        has_units
            && self.units.iter().all(held)
            && self.exit_code() == 0
            && self.alerts.is_none()
            && self.notices.is_none()
            && self.compaction.is_none()
            && self.not_stored.is_none()
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
            if unit.fell_from.is_some() {
                let hint = "cwlake discover shows what there is now; an agent that stopped, or a role that sees less, looks like this";
                remarks.tell("warning", &subject, FELL, Some(hint));
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
