//! A message as a page for mail clients.

use askama::Template;

use crate::report::{counted, printable};
use crate::spend::{AccountSpend, BudgetCheck, SpendReport, Threshold, amount, change, sparkline};

/// Accounts in the table: a page for hundreds would be cut off by mail clients.
///
/// # Source
/// Gmail clips messages above 102 KB.
const MOST_ROWS: usize = 40;

/// Notes above the table.
const MOST_NOTES: usize = 12;

/// What the page shows, from top to bottom.
#[derive(Debug, Default, Template)]
#[template(path = "alert/mail.html", config = "src/askama.toml")]
pub(super) struct Page {
    /// Title of the page.
    pub(super) subject: String,
    /// What time it is about.
    pub(super) period: String,
    pub(super) headline: String,
    pub(super) figures: Vec<Figure>,
    pub(super) notes: Vec<Note>,
    pub(super) more_notes: Option<String>,
    pub(super) chart: Option<Chart>,
    pub(super) table: Option<Table>,
    /// Lines below everything.
    pub(super) under: Vec<String>,
}

/// A number that is seen first.
#[derive(Debug)]
pub(super) struct Figure {
    label: &'static str,
    value: String,
    change: Option<String>,
}

/// What somebody has to know of.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) remedy: Option<String>,
    /// Nobody was told before.
    pub(super) is_new: bool,
}

#[derive(Debug)]
pub(super) struct Chart {
    label: String,
    text: String,
    bars: Vec<Bar>,
}

/// Pixels.
#[derive(Debug)]
struct Bar {
    x: usize,
    y: String,
    width: usize,
    height: String,
    label: String,
    is_last: bool,
}

#[derive(Debug)]
pub(super) struct Table {
    head: [String; 3],
    rows: Vec<Row>,
    more: Option<String>,
}

#[derive(Debug)]
struct Row {
    name: String,
    under: String,
    numbers: [String; 2],
    is_hot: bool,
    is_sum: bool,
}

impl Page {
    /// Breaches that nobody was told of before, and those of the month that go on.
    pub(super) fn of_breaches(
        report: &SpendReport,
        news: &[&BudgetCheck],
        going_on: &[&BudgetCheck],
    ) -> Self {
        let note = |check: &&BudgetCheck, is_new: bool| Note {
            subject: printable(&check.subject()),
            text: check.sentence(&report.date),
            remedy: None,
            is_new,
        };
        let told = news.iter().map(|c| note(c, true));
        let told = told.chain(going_on.iter().map(|c| note(c, false)));
        let hot: Vec<&BudgetCheck> = news.iter().chain(going_on).copied().collect();
        Self {
            period: format!("Spend of {}", report.date),
            figures: figures(report),
            chart: chart(report),
            table: Some(table_of_day(report, &hot)),
            under: under(report),
            ..Self::default()
        }
        .with_notes(told.collect())
    }

    /// A week's charges against those of the week before.
    pub(super) fn of_week(report: &SpendReport) -> Self {
        let breaches = report.breaches();
        let notes = breaches.iter().map(|check| Note {
            subject: printable(&check.subject()),
            text: check.sentence(&report.date),
            remedy: None,
            is_new: false,
        });
        Self {
            period: format!("The seven days up to {}", report.date),
            figures: figures(report),
            chart: chart(report),
            table: Some(table_of_week(report)),
            under: under(report),
            ..Self::default()
        }
        .with_notes(notes.collect())
    }

    /// The first notes, and how many more there are.
    pub(super) fn with_notes(mut self, mut notes: Vec<Note>) -> Self {
        let more = notes.len().saturating_sub(MOST_NOTES);
        notes.truncate(MOST_NOTES);
        self.more_notes = (more > 0).then(|| format!("and {more} more"));
        self.notes = notes;
        self
    }

    /// The whole page.
    pub(super) fn html(&self) -> String {
        self.render().expect("a text takes what is written to it")
    }
}

/// The sums over all accounts, with what has changed since last week.
fn figures(report: &SpendReport) -> Vec<Figure> {
    let total = &report.total;
    let shown = |value: Option<f64>| value.map_or("–".to_owned(), amount);
    let (week, week_before) = total.weeks();
    let same_day = total.week_ago();
    let against = |now: Option<f64>, before: Option<f64>, what: &str| {
        Some(format!("{} against {what}", change(now?, before?)))
    };
    let of = |threshold| {
        report
            .limit_of_all(threshold)
            .map(|l| format!("of {}", amount(l)))
    };
    let month = of(Threshold::Month);
    let projected = of(Threshold::Projected).or_else(|| month.clone());
    vec![
        Figure {
            label: "On the day",
            value: shown(total.spend),
            change: against(total.spend, same_day, "the same day last week"),
        },
        Figure {
            label: "Seven days",
            value: shown(week),
            change: against(week, week_before, "the seven before"),
        },
        Figure {
            label: "Month to date",
            value: shown(total.month_to_date),
            change: month,
        },
        Figure {
            label: "Month projected",
            value: shown(total.projected),
            change: projected,
        },
    ]
}

/// Width of a day and height of the chart, pixels.
const STEP: usize = 24;
const HEIGHT: f64 = 72.0;

/// Bars of the last days over all accounts. What is not known is a gap, not a low bar.
fn chart(report: &SpendReport) -> Option<Chart> {
    let values = &report.total.recent;
    let known = || values.iter().flatten().copied();
    let most = known().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let low = known().fold(f64::INFINITY, f64::min);
    let days = values.len();
    let bar = |(n, value): (usize, &Option<f64>)| {
        let height = ((*value)?.max(0.0) / most * HEIGHT).max(1.0);
        Some(Bar {
            x: n * STEP,
            y: format!("{:.1}", HEIGHT - height),
            width: STEP - 6,
            height: format!("{height:.1}"),
            label: value.map(amount)?,
            is_last: n + 1 == days,
        })
    };
    let last = values.last().copied().flatten();
    Some(Chart {
        label: format!("Daily spend of the last {days} days"),
        text: format!(
            "{days} days, all accounts: {} from {} to {} a day{}",
            sparkline(values),
            amount(low),
            amount(most),
            last.map_or(String::new(), |l| format!(", {} on the last", amount(l)))
        ),
        bars: values.iter().enumerate().filter_map(bar).collect(),
    })
}

/// Id, when it is not the name, and what is known of the month.
fn under_name(account: &AccountSpend) -> String {
    let id = account
        .account_name
        .as_ref()
        .map(|_| account.account_id.clone());
    let month = account
        .month_to_date
        .map(|m| format!("month {}", amount(m)));
    let projected = account
        .projected
        .map(|p| format!("projected {}", amount(p)));
    let parts = [id, month, projected].into_iter().flatten();
    let parts = parts.chain([sparkline(&account.recent)]);
    parts.collect::<Vec<_>>().join(" · ")
}

/// The dearest accounts, those with a breach first, and the sum.
fn table_of_day(report: &SpendReport, hot: &[&BudgetCheck]) -> Table {
    let is_own = |b: &BudgetCheck, a: &AccountSpend| {
        b.accounts.len() == 1 && b.accounts.contains(&a.account_id)
    };
    let is_hot = |a: &AccountSpend| hot.iter().any(|b| is_own(b, a));
    let mut accounts: Vec<&AccountSpend> = report.accounts.iter().collect();
    // They are the dearest first.
    accounts.sort_by_key(|a| !is_hot(a));
    let row = |a: &AccountSpend| Row {
        name: printable(a.shown()),
        under: under_name(a),
        numbers: [a.spend.map_or("–".to_owned(), amount), report.limit_of(a)],
        is_hot: is_hot(a),
        is_sum: false,
    };
    let head = [
        "Account".to_owned(),
        format!("On the day, {}", report.currency()),
        "Limit".to_owned(),
    ];
    with_sum(head, &accounts, row, report)
}

/// The accounts that cost most in the week, and the sum.
fn table_of_week(report: &SpendReport) -> Table {
    let mut accounts: Vec<&AccountSpend> = report.accounts.iter().collect();
    let week = |a: &AccountSpend| a.weeks().0.unwrap_or(f64::NEG_INFINITY);
    accounts.sort_by(|a, b| week(b).total_cmp(&week(a)));
    let row = |a: &AccountSpend| {
        let (now, before) = a.weeks();
        let changed = now.zip(before).map(|(now, before)| change(now, before));
        Row {
            name: printable(a.shown()),
            under: under_name(a),
            numbers: [
                now.map_or("–".to_owned(), amount),
                changed.unwrap_or("–".to_owned()),
            ],
            is_hot: false,
            is_sum: false,
        }
    };
    let head = [
        "Account".to_owned(),
        format!("Seven days, {}", report.currency()),
        "Change".to_owned(),
    ];
    with_sum(head, &accounts, row, report)
}

fn with_sum(
    head: [String; 3],
    accounts: &[&AccountSpend],
    row: impl Fn(&AccountSpend) -> Row,
    report: &SpendReport,
) -> Table {
    let more = accounts.len().saturating_sub(MOST_ROWS);
    let mut rows: Vec<Row> = Vec::new();
    if accounts.len() > 1 {
        rows.push(Row {
            name: "All accounts".to_owned(),
            is_sum: true,
            ..row(&report.total)
        });
    }
    rows.extend(accounts.iter().take(MOST_ROWS).map(|a| row(a)));
    Table {
        head,
        rows,
        more: (more > 0)
            .then(|| format!("and {} more, each below these", counted(more, "account"))),
    }
}

fn under(report: &SpendReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.missing.is_empty() {
        lines.push(format!(
            "{} of {} have no charges of this day yet: sums are of what is known.",
            report.missing.len(),
            counted(report.accounts.len(), "account")
        ));
    }
    lines.push(format!(
        "From AWS/Billing estimated charges in {}. Projected: the month so far, and for the days to come the mean of the last seven. \
         cwlake spend --date {} shows the same.",
        printable(&report.destination),
        report.date
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_a_tag_and_of_many_notes_the_rest_is_counted() {
        let note = |n: usize| Note {
            subject: format!("<img src=x onerror='a'>&\"{n}"),
            text: String::new(),
            remedy: None,
            is_new: true,
        };
        let page = Page::default().with_notes((0..MOST_NOTES + 3).map(note).collect());
        let html = page.html();
        assert!(
            !html.contains("<img") && html.contains("&#60;img"),
            "{html}"
        );
        assert!(html.contains("and 3 more"), "{html}");
        assert_eq!(html.matches("class=\"alarm\"").count(), MOST_NOTES);
    }
}
