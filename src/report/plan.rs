//! A plan as text.

use std::fmt::Write as _;

use std::collections::HashMap;

use super::columns::Columns;
use super::lane::LaneReport;
use super::look::Look;
use super::run::RunReport;
use super::words::{counted, dollars, grouped, size};
use crate::model::Dataset;
use crate::plan::{BYTES_PER_POINT, NamespaceCost};

/// Columns of a screen on which every number of a plan has room.
const WIDE: usize = 110;

/// A plan as text: what it costs in all, by account, region and namespace, and what could not be planned. `most` lines of the table are
/// shown, the dearest first; all in their order when it is `None`.
pub fn plan_text(report: &RunReport, most: Option<usize>, look: &Look) -> String {
    let mut out = String::new();
    let cost = &report.planned;
    let lines: Vec<(&LaneReport, &str, &NamespaceCost)> = report
        .lanes
        .iter()
        .flat_map(|lane| {
            lane.forecast
                .namespaces
                .iter()
                .map(move |(n, c)| (lane, n.as_str(), c))
        })
        .collect();
    out += &cost_table(report, lines, most, look);
    table_lines(&mut out, report, most, look);
    let _ = writeln!(
        out,
        "{} to {} (exclusive){}: about {} outside the free tier, {:.0} s or more at quota speed",
        report.from,
        report.to,
        lanes_asked(report),
        dollars(cost.dollars),
        cost.seconds_at_quota.ceil()
    );
    report.remarks(false).write(&mut out);
    out
}

/// How many lanes have metrics to ask for; nothing where there is no lane: the remarks below name what could not be entered.
fn lanes_asked(report: &RunReport) -> String {
    if report.lanes.is_empty() {
        return String::new();
    }
    let readable = report.lanes.iter().filter(|l| l.cause.is_none());
    let asked = readable.filter(|l| l.forecast.planned.series > 0).count();
    let lanes = counted(report.lanes.len(), "lane");
    let asked = grouped(asked as u64);
    format!(", {lanes}, {asked} of them with something to ask")
}

/// What is asked, a line each account, region and namespace.
fn cost_table(
    report: &RunReport,
    mut lines: Vec<(&LaneReport, &str, &NamespaceCost)>,
    most: Option<usize>,
    look: &Look,
) -> String {
    let all = lines.len();
    let names: HashMap<&str, &str> = report.fleet.names().collect();
    let mut rest = NamespaceCost::default();
    if let Some(most) = most.filter(|most| *most < all) {
        lines.sort_by_key(|(_, _, c)| std::cmp::Reverse(c.billed_metrics));
        lines.drain(most..).for_each(|(_, _, c)| rest.add(c));
    }
    let is_narrow = look.width.is_some_and(|width| width < WIDE);
    let mut table = Columns::new(
        look,
        &["account", "region", "namespace"],
        if is_narrow {
            &["series", "calls", "points", "dollars"]
        } else {
            &["series", "billed", "calls", "points", "size", "dollars"]
        },
    );
    let numbers = |c: &NamespaceCost| {
        let dollars = format!("{:.4}", c.dollars());
        let (series, calls, points) = (grouped(c.series), grouped(c.calls), grouped(c.points));
        if is_narrow {
            return vec![series, calls, points, dollars];
        }
        let size = size(c.points * BYTES_PER_POINT);
        vec![
            series,
            grouped(c.billed_metrics),
            calls,
            points,
            size,
            dollars,
        ]
    };
    for (lane, namespace, cost) in &lines {
        let id = lane.account_id.as_str();
        let account = names.get(id).map_or(id.to_owned(), |n| format!("{id} {n}"));
        table.row(&[&account, &lane.region, namespace], &numbers(cost));
    }
    if lines.len() < all {
        let more = format!("{} more", grouped((all - lines.len()) as u64));
        table.row(&[&more, "", ""], &numbers(&rest));
    }
    let charges = charges(report);
    if charges.billed_metrics > 0 {
        table.row(&["charges", "", "AWS/Billing"], &numbers(&charges));
    }
    let cost = &report.planned;
    let sum = NamespaceCost {
        series: cost.sum.series,
        billed_metrics: cost.sum.billed_metrics,
        calls: cost.sum.calls,
        points: cost.sum.points,
        seconds_at_quota: cost.seconds_at_quota,
    };
    table.row(&["total", "", ""], &numbers(&sum));
    match (all, charges.billed_metrics, lines.len() < all) {
        (0, 0, _) => String::new(),
        (_, _, true) => table.text() + "cwlake plan shows every line\n",
        (_, _, false) => table.text(),
    }
}

/// What the charges of all accounts cost to read.
fn charges(report: &RunReport) -> NamespaceCost {
    let own = report.tables.iter();
    let own = own.filter(|t| t.dataset == Dataset::Spend && t.cause.is_none());
    let mut all = NamespaceCost::default();
    for planned in own.map(|t| t.forecast.planned) {
        all.add(&NamespaceCost {
            series: planned.series,
            billed_metrics: planned.billed_metrics,
            calls: planned.calls,
            points: planned.points,
            seconds_at_quota: 0.0,
        });
    }
    all
}

/// What is read of other datasets: of logs the largest first.
fn table_lines(out: &mut String, report: &RunReport, most: Option<usize>, look: &Look) {
    for dataset in Dataset::ALL {
        let own = report.tables.iter();
        let own = own.filter(|t| t.dataset == dataset && t.cause.is_none());
        let own: Vec<&LaneReport> = own.collect();
        if !report.tables.iter().any(|t| t.dataset == dataset) {
            continue;
        }
        match dataset {
            Dataset::Logs => log_lines(out, own, most, look),
            Dataset::Instances | Dataset::Alarms => {
                let name = dataset.name();
                let found = own.iter().map(|t| t.forecast.found(name)).sum();
                let lanes = counted(own.len(), "lane");
                let _ = writeln!(out, "{} {name} in {lanes}", grouped(found));
            }
            // Their lines are above.
            Dataset::Spend | Dataset::Metrics => {}
            Dataset::AlarmHistory => {
                let calls = own.iter().map(|t| t.forecast.planned.calls).sum();
                let calls = grouped(calls);
                let _ = writeln!(
                    out,
                    "changes of alarms in {}, {calls} calls at least",
                    counted(own.len(), "lane")
                );
            }
        }
    }
}

fn log_lines(out: &mut String, mut logs: Vec<&LaneReport>, most: Option<usize>, look: &Look) {
    let bytes = |t: &LaneReport| t.forecast.found("estimated_bytes");
    logs.retain(|t| t.forecast.found("log_groups") > 0);
    logs.sort_by_key(|t| std::cmp::Reverse(bytes(t)));
    let shown = most.unwrap_or(logs.len()).min(logs.len());
    let mut table = Columns::new(
        look,
        &["logs of account", "region"],
        &["groups", "calls at least", "text stored"],
    );
    for lane in &logs[..shown] {
        let numbers = [
            grouped(lane.forecast.found("log_groups")),
            grouped(lane.forecast.planned.calls),
            size(bytes(lane)),
        ];
        table.row(&[&lane.account_id, &lane.region], &numbers);
    }
    if shown > 0 {
        *out += &table.text();
    }
    if logs.len() > shown {
        let rest = &logs[shown..];
        let _ = writeln!(
            out,
            "… and {} lanes more with logs, about {}",
            rest.len(),
            size(rest.iter().map(|t| bytes(t)).sum())
        );
    }
}
