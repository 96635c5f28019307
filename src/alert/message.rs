//! What is told: a subject, a text, an HTML page and an event. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ending::{Ending, Notice};
use super::page::{Note, Page};
use crate::report::{Look, printable};
use crate::spend::{BudgetCheck, SpendReport, amount, change, spend_text};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Budgets that are breached.
    Breach,
    /// A week's charges.
    Week,
    /// A run that failed or misses something.
    Run,
}

impl Kind {
    /// The `detail-type` of its event, by which rules choose.
    pub fn detail_type(self) -> &'static str {
        match self {
            Self::Breach => "cwlake Budget Breach",
            Self::Week => "cwlake Spend Digest",
            Self::Run => "cwlake Run Notice",
        }
    }
}

/// A message on its way to every channel.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// One line of ASCII, at most 100 characters: what SNS takes.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// For mail clients.
    pub html: String,
    /// The detail of an event.
    pub event: Value,
    /// Two messages that tell the same have the same.
    pub id: String,
}

/// Breaches that an event lists: it may have 256 KB.
///
/// # Source
/// `EventBridge` user guide, "Calculating `PutEvents` entry size".
pub(super) const LISTED: usize = 100;

/// Characters of a subject.
///
/// # Source
/// SNS API reference, `Publish`: fewer than 100, ASCII, no control characters.
const LONGEST_SUBJECT: usize = 99;

/// A subject that every channel takes.
pub(super) fn subject(text: &str) -> String {
    let sign = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    printable(text)
        .chars()
        .map(sign)
        .take(LONGEST_SUBJECT)
        .collect()
}

/// What stays the same for the same things told.
pub(super) fn id_of<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hash.finalize();
    let hex = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
    hex.collect()
}

impl Message {
    /// The alert about `news`, breaches of a report that nobody was told of; with those of the month that go on.
    pub fn of(report: &SpendReport, news: &[&BudgetCheck], going_on: &[&BudgetCheck]) -> Self {
        let first = news.first().map_or(String::new(), |b| b.subject());
        let budgets: BTreeSet<_> = news.iter().map(|b| b.budget_key()).collect();
        let (short, headline) = match budgets.len() {
            0 | 1 => {
                let name: String = first.chars().take(40).collect();
                let short = format!("cwlake: {name} is above its budget on {}", report.date);
                (short, format!("{} is above its budget", printable(&first)))
            }
            n => {
                let name: String = first.chars().take(40).collect();
                let short = format!(
                    "cwlake: {n} budgets breached on {}, {name} first",
                    report.date
                );
                (short, format!("{n} budgets are breached"))
            }
        };
        let subject = subject(&short);
        let mut text = format!("{subject}\n\n{}\n", sums(report));
        let lines = news.iter().map(|b| ("*", b));
        for (sign, breach) in lines.chain(going_on.iter().map(|b| ("* still", b))) {
            let line = breach.sentence(&report.date);
            text += &format!("{sign} {}: {line}\n", printable(&breach.subject()));
        }
        text += &format!("\n{}", spend_text(report, &Look::default()));
        let page = Page {
            subject: subject.clone(),
            headline,
            ..Page::of_breaches(report, news, going_on)
        };
        let mut event = event(report);
        event["breaches"] = json!(news.iter().take(LISTED).collect::<Vec<_>>());
        event["breached"] = json!(news.len());
        let keys: Vec<String> = news.iter().map(|b| b.key()).collect();
        let parts = keys
            .iter()
            .map(String::as_str)
            .chain([report.date.as_str()]);
        Self {
            kind: Kind::Breach,
            html: page.html(),
            event,
            subject,
            text,
            id: id_of(parts),
        }
    }

    /// The digest of the seven days up to a report's.
    pub fn of_week(report: &SpendReport) -> Self {
        let (week, before) = report.total.weeks();
        let spent = week.map_or("an unknown sum".to_owned(), amount);
        let changed = week.zip(before).map(|(week, before)| change(week, before));
        let changed = changed.map_or(String::new(), |c| format!(", {c} against the week before"));
        let headline = format!("{spent} in seven days{changed}");
        let subject = subject(&format!("cwlake: {headline}, up to {}", report.date));
        let page = Page {
            subject: subject.clone(),
            headline,
            ..Page::of_week(report)
        };
        Self {
            kind: Kind::Week,
            html: page.html(),
            event: event(report),
            text: format!(
                "{subject}\n\n{}\n\n{}",
                sums(report),
                spend_text(report, &Look::default())
            ),
            id: id_of(["week", report.date.as_str()].into_iter()),
            subject,
        }
    }
}

impl Message {
    /// Word about a run: `news` of its notices, that this channel was not told.
    pub(super) fn of_run(ending: &Ending, news: &[&Notice], lake: &str) -> Self {
        let subject = subject(&format!(
            "cwlake: {} (exit code {})",
            ending.headline, ending.exit_code
        ));
        let mut text = format!("{subject}\n{}\n\n", printable(lake));
        for notice in news {
            text += &format!(
                "* {}: {}\n",
                printable(&notice.subject),
                printable(&notice.text)
            );
            if let Some(remedy) = &notice.remedy {
                text += &format!("  = {}\n", printable(remedy));
            }
        }
        let hint = if ending.has_report {
            "cwlake report --run last shows the whole run, cwlake status how whole the lake is."
        } else {
            "It left no report. cwlake doctor tries everything a run needs."
        };
        text += &format!("\n{hint}\n");
        let notes = news.iter().map(|notice| Note {
            subject: printable(&notice.subject),
            text: printable(&notice.text),
            remedy: notice.remedy.as_deref().map(printable),
            is_new: true,
        });
        let page = Page {
            subject: subject.clone(),
            period: format!("{}, {}", ending.started_at, printable(lake)),
            headline: ending.headline.clone(),
            under: vec![hint.to_owned()],
            ..Page::default()
        }
        .with_notes(notes.collect());
        let listed = news.iter().take(LISTED);
        let listed =
            listed.map(|n| json!({ "subject": n.subject, "text": n.text, "remedy": n.remedy }));
        let keys = news.iter().flat_map(|n| n.keys.iter().map(String::as_str));
        Self {
            kind: Kind::Run,
            html: page.html(),
            event: json!({
                "destination": lake,
                "headline": ending.headline,
                "started_at": ending.started_at,
                "exit_code": ending.exit_code,
                "notices": listed.collect::<Vec<_>>(),
                "noticed": news.len(),
            }),
            id: id_of(keys.chain([ending.started_at.as_str()])),
            subject,
            text,
        }
    }
}

/// `all accounts: 1,234.50 on 2026-11-20, +3.1 % against the same day last week; month 30,000.00, projected 45,000.00`.
fn sums(report: &SpendReport) -> String {
    let total = &report.total;
    let shown = |value: Option<f64>| value.map_or("not known".to_owned(), amount);
    let same_day = total.week_ago();
    let changed = total
        .spend
        .zip(same_day)
        .map(|(now, before)| change(now, before));
    let (week, before) = total.weeks();
    let of_week = week.zip(before).map(|(week, before)| change(week, before));
    format!(
        "all accounts: {} on {}{}; {} in seven days{}; month {}, projected {}",
        shown(total.spend),
        report.date,
        changed.map_or(String::new(), |c| format!(
            ", {c} against the same day last week"
        )),
        shown(week),
        of_week.map_or(String::new(), |c| format!(", {c} against the seven before")),
        shown(total.month_to_date),
        shown(total.projected)
    )
}

fn event(report: &SpendReport) -> Value {
    let (week, week_before) = report.total.weeks();
    let sums = json!({
        "spend": report.total.spend,
        "seven_days": week,
        "seven_days_before": week_before,
        "month_to_date": report.total.month_to_date,
        "projected": report.total.projected,
        "currency": report.total.currency,
    });
    json!({
        "date": report.date,
        "destination": report.destination,
        "total": sums,
        "missing_accounts": report.missing.len(),
    })
}
