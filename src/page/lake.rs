//! What the page of a lake shows.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::chart::{Chart, Series, chart};
use super::heat::{Heat, heats};
use crate::inspect::{Overview, RunFigures, StatusReport};
use crate::model::{Day, TimeWindow};
use crate::report::{counted, dollars, grouped, printable, size};
use crate::spend::{
    AccountSpend, BudgetCheck, BudgetState, SpendReport, Threshold, amount, change,
};

/// The page's own style: the policy names it by its hash, so that no other is taken.
const STYLE: &str = include_str!("style.css");

/// Rows of a table of causes, accounts or runs; of more the rest is counted.
const MOST_CAUSES: usize = 100;
const MOST_ACCOUNTS: usize = 300;
const MOST_BUDGETS: usize = 100;
const MOST_RUNS: usize = 60;
const MOST_CHANGES: usize = 10;

#[derive(Template)]
#[template(path = "page/lake.html", config = "src/askama.toml")]
struct LakePage {
    style_hash: String,
    style: &'static str,
    title: String,
    period: String,
    made_at: String,
    figures: Vec<Figure>,
    causes: Vec<CauseRow>,
    more_causes: Option<String>,
    fill: Option<String>,
    heats: Vec<Heat>,
    charts: Vec<Chart>,
    spend: Option<SpendPart>,
    runs: Vec<RunRow>,
    more_runs: Option<String>,
    version: &'static str,
    destination: String,
}

struct Figure {
    label: String,
    value: String,
    under: String,
    /// `bad` for what needs somebody.
    class: &'static str,
}

struct CauseRow {
    class: &'static str,
    state: String,
    subject: String,
    why: String,
    remedy: Option<String>,
    units: String,
}

struct RunRow {
    id: String,
    class: &'static str,
    ended: String,
    written: String,
    missed: String,
    rows: String,
    seconds: String,
    calls: String,
    dollars: String,
}

struct SpendPart {
    date: String,
    currency: String,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
    budgets: Vec<BudgetRow>,
    more_budgets: Option<String>,
    /// Account, seven days, the seven before, change.
    changes: Vec<[String; 4]>,
    days: Vec<String>,
    accounts: Vec<SpendRow>,
    more_accounts: Option<String>,
}

struct BudgetRow {
    subject: String,
    class: &'static str,
    state: &'static str,
    sentence: String,
}

struct SpendRow {
    name: String,
    day: String,
    limit: String,
    month: String,
    projected: String,
    recent: String,
    path: String,
    by_day: Vec<String>,
}

/// The page of a lake, as HTML.
///
/// # Errors
/// When the template cannot be filled.
pub fn lake_page(overview: &Overview) -> Result<String, askama::Error> {
    let status = &overview.status;
    let destination = printable(&status.destination);
    let (causes, more_causes) = causes(status);
    let (runs, more_runs) = runs(overview);
    let page = LakePage {
        style_hash: format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE))),
        style: STYLE,
        title: format!("The lake in {destination}"),
        period: format!(
            "{} to {} (exclusive), UTC",
            day(&status.from),
            day(&status.to)
        ),
        made_at: overview.made_at.clone(),
        figures: figures(overview),
        causes,
        more_causes,
        fill: status.holes().map(|(first, last)| {
            let end = Day::parse(last).map_or_else(|| last.to_owned(), |d| d.plus(1).to_string());
            format!("cwlake export --from {first} --to {end}")
        }),
        heats: heats(status),
        charts: charts(overview),
        spend: overview.spend.as_ref().map(spend_part),
        runs,
        more_runs,
        version: env!("CARGO_PKG_VERSION"),
        destination,
    };
    page.render()
}

/// The day of an instant.
fn day(instant: &str) -> &str {
    instant.get(..10).unwrap_or(instant)
}

/// How whole the lake is, how fresh, and how large.
fn figures(overview: &Overview) -> Vec<Figure> {
    let status = &overview.status;
    let units: u64 = status.totals.values().sum();
    let short = |word: &str| status.totals.get(word).copied().unwrap_or(0);
    let missing = short("missing") + short("partial");
    let whole = units - missing;
    let share = if units == 0 {
        "–".to_owned()
    } else if missing == 0 {
        "100 %".to_owned()
    } else {
        // Never rounded up to what it is not.
        format!(
            "{:.1} %",
            (whole as f64 / units as f64 * 1_000.0).floor() / 10.0
        )
    };
    let mut figures = vec![Figure {
        label: "Whole".to_owned(),
        value: share,
        under: match missing {
            0 => format!("all of {}", counted(units, "unit")),
            _ => format!(
                "{} of {} missing or partial",
                grouped(missing),
                counted(units, "unit")
            ),
        },
        class: if missing > 0 { "bad" } else { "" },
    }];
    figures.push(Figure {
        label: "Accounts".to_owned(),
        value: grouped(status.accounts.len() as u64),
        under: counted(status.days().len(), "day"),
        class: "",
    });
    for (dataset, table) in &status.tables {
        if let Some(newest) = &table.newest {
            figures.push(Figure {
                label: format!("Newest {}", dataset.name()),
                value: age(newest, &overview.made_at),
                under: newest.clone(),
                class: "",
            });
        }
    }
    let all = || status.tables.values().flat_map(|t| t.days.values());
    figures.push(Figure {
        label: "Rows".to_owned(),
        value: short_number(all().map(|d| d.rows).sum::<u64>() as f64),
        under: format!(
            "{} in {}",
            size(all().map(|d| d.bytes).sum()),
            counted(all().map(|d| d.files).sum::<u64>(), "file")
        ),
        class: "",
    });
    let spent: f64 = overview.runs.iter().map(|r| r.totals.dollars).sum();
    figures.push(Figure {
        label: "Cost of CloudWatch".to_owned(),
        value: dollars(spent),
        under: format!(
            "of {}, outside the free tier",
            counted(overview.runs.len(), "run")
        ),
        class: "",
    });
    figures
}

/// `2 h old`.
fn age(instant: &str, now: &str) -> String {
    let parsed = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (Some(instant), Some(now)) = (parsed(instant), parsed(now)) else {
        return "–".to_owned();
    };
    match (now.as_second() - instant.as_second()).max(0) {
        seconds @ 0..7_200 => format!("{} min old", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h old", seconds / 3_600),
        seconds => format!("{} days old", seconds / 86_400),
    }
}

/// `1.2 M`.
fn short_number(value: f64) -> String {
    for (least, power, letter) in [(1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")] {
        if value >= least {
            let shown = value / power;
            let digits = usize::from(shown < 100.0);
            return format!("{shown:.digits$}{letter}");
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, never negative, below ten thousand"
    )]
    grouped(value.round() as u64)
}

fn causes(status: &StatusReport) -> (Vec<CauseRow>, Option<String>) {
    let remarks = status.causes(false);
    let mut told: Vec<_> = remarks.told().collect();
    told.sort_by_key(|t| std::cmp::Reverse(t.count));
    let more = told.len().saturating_sub(MOST_CAUSES);
    told.truncate(MOST_CAUSES);
    let row = |told: crate::report::Told| CauseRow {
        class: if told.word == "missing" { "m" } else { "q" },
        state: told.word,
        subject: printable(&told.subject),
        why: printable(&told.message),
        remedy: told.hint.as_deref().map(printable),
        units: grouped(told.count as u64),
    };
    let more = (more > 0).then(|| {
        format!(
            "and {} more; cwlake status --all has each",
            counted(more, "cause")
        )
    });
    (told.into_iter().map(row).collect(), more)
}

/// Rows, bytes and dollars of each day, and the lake's growth.
fn charts(overview: &Overview) -> Vec<Chart> {
    let status = &overview.status;
    let days = status.days();
    let of_day = |text: &str, get: &dyn Fn(&crate::inspect::DayFigures) -> u64| {
        let day = Day::parse(text)?;
        let mut own = status
            .tables
            .values()
            .filter_map(|t| t.days.get(&day))
            .peekable();
        own.peek()?;
        Some(own.map(get).sum::<u64>() as f64)
    };
    let all = |get: &dyn Fn(&crate::inspect::DayFigures) -> u64| -> Vec<(String, Option<f64>)> {
        days.iter()
            .map(|day| (day.clone(), of_day(day, get)))
            .collect()
    };
    let bytes = all(&|d| d.bytes);
    let mut sum = 0.0;
    let grown = bytes.iter().map(|(day, bytes)| {
        sum += bytes.unwrap_or(0.0);
        (day.clone(), Some(sum))
    });
    let grown: Vec<_> = grown.collect();
    let in_bytes = |v: f64| bytes_text(v);
    let series = [
        Series {
            title: "Rows of each day",
            told: &short_number,
            values: all(&|d| d.rows),
            limit: None,
            base: 1_000.0,
        },
        Series {
            title: "Size of each day",
            told: &in_bytes,
            values: bytes,
            limit: None,
            base: 1_024.0,
        },
        Series {
            title: "Size of all these days",
            told: &in_bytes,
            values: grown,
            limit: None,
            base: 1_024.0,
        },
        Series {
            title: "Dollars for CloudWatch, by day of the run",
            told: &dollars,
            values: dollars_of_days(&overview.runs),
            limit: None,
            base: 1_000.0,
        },
    ];
    series.iter().filter_map(chart).collect()
}

fn bytes_text(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size, never negative, far below 2^64"
    )]
    let bytes = value.round() as u64;
    size(bytes)
}

/// What the runs of each day cost.
fn dollars_of_days(runs: &[RunFigures]) -> Vec<(String, Option<f64>)> {
    let mut days: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
    for run in runs {
        *days.entry(day(&run.started_at).to_owned()).or_default() += run.totals.dollars;
    }
    let first = days.keys().next().and_then(|day| Day::parse(day));
    let last = days.keys().next_back().and_then(|day| Day::parse(day));
    let Some((first, last)) = first.zip(last) else {
        return Vec::new();
    };
    // A day without a run is a gap.
    let all = TimeWindow::days(first, last.plus(1)).touched_days();
    all.map(|day| (day.to_string(), days.get(&day.to_string()).copied()))
        .collect()
}

fn runs(overview: &Overview) -> (Vec<RunRow>, Option<String>) {
    let row = |run: &RunFigures| {
        let totals = &run.totals;
        let missed = totals.failed + totals.forbidden;
        let (class, ended) = match &run.stopped_by {
            Some(signal) => ("q", format!("stopped by {}", printable(signal))),
            None if missed + totals.incomplete > 0 => ("m", "short".to_owned()),
            None => ("c", "whole".to_owned()),
        };
        let calls = totals.calls();
        RunRow {
            id: printable(&run.run_id),
            class,
            ended,
            written: grouped(totals.written),
            missed: format!("{}, {}", grouped(totals.failed), grouped(totals.forbidden)),
            rows: grouped(totals.rows),
            seconds: format!("{:.1}", run.seconds),
            calls: format!("{}, {}", grouped(calls.calls), grouped(calls.throttles)),
            dollars: dollars(totals.dollars),
        }
    };
    // The last first.
    let rows = overview
        .runs
        .iter()
        .rev()
        .take(MOST_RUNS)
        .map(row)
        .collect();
    let older = overview.runs.len().saturating_sub(MOST_RUNS) + overview.runs_left_out;
    let before = (older > 0).then(|| format!("and {} before", counted(older, "run")));
    let broken = overview.runs_unreadable;
    let broken = (broken > 0).then(|| format!("{} cannot be read", counted(broken, "report")));
    let more: Vec<String> = before.into_iter().chain(broken).collect();
    (rows, (!more.is_empty()).then(|| more.join("; ")))
}

fn spend_part(report: &SpendReport) -> SpendPart {
    let total = &report.total;
    let dates = recent_days(report);
    let values = dates.iter().cloned();
    let values = values.zip(total.recent.iter().copied()).collect();
    let bars = Series {
        title: "Charges of each day, all accounts",
        told: &|v| amount(v),
        values,
        limit: report.limit_of_all(Threshold::Daily),
        base: 1_000.0,
    };
    let (budgets, more_budgets) = budgets(report);
    let shown = report.accounts.iter().take(MOST_ACCOUNTS);
    let more = report.accounts.len().saturating_sub(MOST_ACCOUNTS);
    SpendPart {
        date: report.date.clone(),
        currency: report.currency(),
        figures: spend_figures(report),
        charts: chart(&bars).into_iter().collect(),
        budgets,
        more_budgets,
        changes: changes(report),
        days: dates
            .iter()
            .map(|d| d.get(5..).unwrap_or(d).to_owned())
            .collect(),
        accounts: shown.map(|a| spend_row(report, a)).collect(),
        more_accounts: (more > 0).then(|| {
            let more = counted(more, "account");
            format!("and {more} more; cwlake spend --csv has each")
        }),
    }
}

/// The sums over all accounts, against what they may come to.
fn spend_figures(report: &SpendReport) -> Vec<Figure> {
    let total = &report.total;
    let (week, before) = total.weeks();
    let changed = week
        .zip(before)
        .map(|(now, then)| format!("{} against the seven days before", change(now, then)));
    let month = report.limit_of_all(Threshold::Month);
    let projected = report.limit_of_all(Threshold::Projected).or(month);
    let figure = |label: &str, value: Option<f64>, under: String| Figure {
        label: label.to_owned(),
        value: value.map_or("–".to_owned(), amount),
        under,
        class: "",
    };
    let limited = |label: &str, value: Option<f64>, limit: Option<f64>| {
        let is_above = value.zip(limit).is_some_and(|(value, limit)| value > limit);
        let under = limit.map(|limit| format!("of {} allowed", amount(limit)));
        Figure {
            class: if is_above { "bad" } else { "" },
            ..figure(label, value, under.unwrap_or_default())
        }
    };
    let missing = match report.missing.len() {
        0 => format!("of {}", counted(report.accounts.len(), "account")),
        n => format!("without {}", counted(n, "account")),
    };
    vec![
        figure("On the day", total.spend, missing),
        figure("Seven days", week, changed.unwrap_or_default()),
        limited("Month to date", total.month_to_date, month),
        limited("Month projected", total.projected, projected),
    ]
}

/// The days of the accounts' recent charges.
fn recent_days(report: &SpendReport) -> Vec<String> {
    let last = Day::parse(&report.date);
    let count = i64::try_from(report.total.recent.len()).unwrap_or(0);
    let days = last
        .into_iter()
        .flat_map(|last| (1 - count..=0).map(move |n| last.plus(n)));
    days.map(|day| day.to_string()).collect()
}

/// Those that are passed first, then what is not known, then what is kept.
fn budgets(report: &SpendReport) -> (Vec<BudgetRow>, Option<String>) {
    let of = |state: BudgetState| report.budgets.iter().filter(move |b| b.state == state);
    let all: Vec<&BudgetCheck> = report
        .breaches()
        .into_iter()
        .chain(of(BudgetState::Unknown))
        .chain(of(BudgetState::Ok))
        .collect();
    let more = all.len().saturating_sub(MOST_BUDGETS);
    let row = |check: &&BudgetCheck| {
        let (class, state) = match check.state {
            BudgetState::Ok => ("c", "kept"),
            BudgetState::Breach => ("m", "breached"),
            BudgetState::Unknown => ("q", "unknown"),
        };
        BudgetRow {
            subject: printable(&check.subject()),
            class,
            state,
            sentence: check.sentence(&report.date),
        }
    };
    let rows = all.iter().take(MOST_BUDGETS).map(row).collect();
    (
        rows,
        (more > 0).then(|| format!("and {}", counted(more, "threshold") + " more")),
    )
}

/// Accounts whose week differs most from the one before.
fn changes(report: &SpendReport) -> Vec<[String; 4]> {
    let mut changed: Vec<(&AccountSpend, f64, f64)> = report
        .accounts
        .iter()
        .filter_map(|a| {
            let (week, before) = a.weeks();
            Some((a, week?, before?))
        })
        .filter(|(_, week, before)| (week - before).abs() >= 0.005)
        .collect();
    changed.sort_by(|a, b| (b.1 - b.2).abs().total_cmp(&(a.1 - a.2).abs()));
    let row = |(account, week, before): (&AccountSpend, f64, f64)| {
        [
            printable(&account.named()),
            amount(week),
            amount(before),
            change(week, before),
        ]
    };
    changed.into_iter().take(MOST_CHANGES).map(row).collect()
}

fn spend_row(report: &SpendReport, account: &AccountSpend) -> SpendRow {
    let optional = |value: Option<f64>| value.map_or("–".to_owned(), amount);
    let most = account.recent.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |(n, value): (usize, &Option<f64>)| {
        let height = ((*value)?.max(0.0) / most.max(f64::MIN_POSITIVE) * 10.0).max(0.4);
        Some(format!("M{n} 10v-{height:.1}h.8v{height:.1}z"))
    };
    let known = account.recent.iter().flatten().copied();
    SpendRow {
        name: printable(&account.named()),
        day: optional(account.spend),
        limit: report.limit_of(account),
        month: optional(account.month_to_date),
        projected: optional(account.projected),
        recent: known
            .reduce(f64::min)
            .map_or("nothing is known".to_owned(), |least| {
                format!("from {} to {} a day", amount(least), amount(most))
            }),
        path: account.recent.iter().enumerate().filter_map(bar).collect(),
        by_day: account.recent.iter().map(|v| optional(*v)).collect(),
    }
}
