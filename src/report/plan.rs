//! A plan as text.

use std::fmt::Write as _;

use super::lane::LaneReport;
use super::run::RunReport;
use super::words::{grouped, printable, size};
use crate::model::Dataset;
use crate::plan::{BYTES_PER_POINT, LaneCost, NamespaceCost};

/// A plan as text: what it costs in all, by account, region and namespace, and what could not be planned. `most` lines of the table are
/// shown, the dearest first; all in their order when it is `None`.
pub fn plan_text(report: &RunReport, most: Option<usize>) -> String {
    let mut out = String::new();
    let cost = &report.planned;
    let mut lines: Vec<(&LaneReport, &str, &NamespaceCost)> = report
        .lanes
        .iter()
        .flat_map(|lane| {
            lane.forecast
                .namespaces
                .iter()
                .map(move |(n, c)| (lane, n.as_str(), c))
        })
        .collect();
    let all = lines.len();
    if let Some(most) = most.filter(|most| *most < all) {
        lines.sort_by_key(|(_, _, c)| std::cmp::Reverse(c.billed_metrics));
        lines.truncate(most);
    }
    let _ = writeln!(
        out,
        "{:<12} {:<16} {:<20} {:>9} {:>14} {:>7} {:>14} {:>10} {:>9} {:>9}",
        "account",
        "region",
        "namespace",
        "series",
        "billed metrics",
        "calls",
        "points at most",
        "size about",
        "at quota",
        "dollars"
    );
    let mut line = |account: &str, region: &str, namespace: &str, c: NamespaceCost| {
        let _ = writeln!(
            out,
            "{account:<12} {region:<16} {:<20} {:>9} {:>14} {:>7} {:>14} {:>10} {:>9} {:>9.4}",
            printable(namespace),
            grouped(c.series),
            grouped(c.billed_metrics),
            grouped(c.calls),
            grouped(c.points),
            size(c.points * BYTES_PER_POINT),
            format!("{:.1} s", c.seconds_at_quota),
            c.dollars()
        );
    };
    for (lane, namespace, cost) in &lines {
        line(&lane.account_id, &lane.region, namespace, **cost);
    }
    let sum = NamespaceCost {
        series: cost.sum.series,
        billed_metrics: cost.sum.billed_metrics,
        calls: cost.sum.calls,
        points: cost.sum.points,
        seconds_at_quota: cost.seconds_at_quota,
    };
    line("total", "", "", sum);
    if lines.len() < all {
        let _ = writeln!(
            out,
            "… and {} lines more: cwlake plan shows all",
            all - lines.len()
        );
    }
    let lanes = report.lanes.iter().filter(|l| l.cause.is_none());
    let series_lanes = lanes.filter(|l| l.forecast.planned.series > 0).count();
    table_lines(&mut out, report, most);
    let _ = writeln!(
        out,
        "{} to {} (exclusive), {} lanes, {} of them with something to ask: about ${:.2} outside the free tier, {:.0} s or more at quota speed",
        report.from,
        report.to,
        report.lanes.len(),
        series_lanes,
        cost.dollars,
        cost.seconds_at_quota.ceil()
    );
    report.notes(&mut out);
    out
}

/// What is read of other datasets: of logs the largest first.
fn table_lines(out: &mut String, report: &RunReport, most: Option<usize>) {
    for dataset in Dataset::ALL {
        let own = report.tables.iter();
        let own = own.filter(|t| t.dataset == dataset && t.cause.is_none());
        let own: Vec<&LaneReport> = own.collect();
        if !report.tables.iter().any(|t| t.dataset == dataset) {
            continue;
        }
        match dataset {
            Dataset::Logs => log_lines(out, own, most),
            Dataset::Instances | Dataset::Alarms => {
                let name = dataset.name();
                let found = own.iter().map(|t| t.forecast.found(name)).sum();
                let _ = writeln!(out, "{} {name} in {} lanes", grouped(found), own.len());
            }
            Dataset::Spend => {
                let sum = |get: fn(&LaneCost) -> u64| {
                    own.iter().map(|t| get(&t.forecast.planned)).sum::<u64>()
                };
                let _ = writeln!(
                    out,
                    "charges: {} series of {} accounts, {} metrics billed in {} calls (in the total above)",
                    grouped(sum(|c| c.series)),
                    own.len(),
                    grouped(sum(|c| c.billed_metrics)),
                    grouped(sum(|c| c.calls))
                );
            }
            Dataset::AlarmHistory => {
                let calls = own.iter().map(|t| t.forecast.planned.calls).sum();
                let calls = grouped(calls);
                let _ = writeln!(
                    out,
                    "changes of alarms in {} lanes, {calls} calls at least",
                    own.len()
                );
            }
            // Their lines are above.
            Dataset::Metrics => {}
        }
    }
}

fn log_lines(out: &mut String, mut logs: Vec<&LaneReport>, most: Option<usize>) {
    let bytes = |t: &LaneReport| t.forecast.found("estimated_bytes");
    logs.retain(|t| t.forecast.found("log_groups") > 0);
    logs.sort_by_key(|t| std::cmp::Reverse(bytes(t)));
    let shown = most.unwrap_or(logs.len()).min(logs.len());
    for table in &logs[..shown] {
        let _ = writeln!(
            out,
            "{:<12} {:<16} {:<20} {:>9} groups, {} calls at least, about {} of text by what they store",
            table.account_id,
            table.region,
            "logs",
            grouped(table.forecast.found("log_groups")),
            grouped(table.forecast.planned.calls),
            size(bytes(table))
        );
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
