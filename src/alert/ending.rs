//! How a run ended, as far as somebody is to be told. Pure.

use std::collections::BTreeSet;

use crate::model::iso_seconds;
use crate::report::{FELL, RunReport, UnitReport, grouped};

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The same for the same cause and account: a cause that befalls another account is news.
    pub(super) keys: BTreeSet<String>,
    /// It may last for weeks: told once, it is not told again while it lasts. Others are told again the next day.
    pub(super) lasts: bool,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub text: String,
    /// What helps.
    pub remedy: Option<String>,
}

/// How a run ended, as far as somebody is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// In one line.
    pub headline: String,
    /// When it began, RFC 3339 UTC.
    pub started_at: String,
    /// Its exit code.
    pub exit_code: u8,
    /// It has left a report.
    pub has_report: bool,
    /// What there is to tell; nothing when all is well.
    pub notices: Vec<Notice>,
}

impl Ending {
    /// Of a run that came to its report. A signal is told by whoever sent it.
    pub(crate) fn of(report: &RunReport) -> Self {
        let exit_code = report.exit_code();
        let mut notices: Vec<Notice> = match exit_code {
            0 => Vec::new(),
            _ if report.stopped_by.is_some() => Vec::new(),
            code => causes(report, code),
        };
        if report.stopped_by.is_none() {
            notices.extend(fallen(report));
        }
        let what = match exit_code {
            0 => "found far less than the day before",
            3 => "misses something",
            _ => "failed",
        };
        Self {
            started_at: report.started_at.clone(),
            headline: format!("the export of {} to {} {what}", report.from, report.to),
            exit_code,
            has_report: true,
            notices,
        }
    }

    /// Of a run that ended without a report.
    pub(crate) fn of_failure(now: i64, error: &str, remedy: Option<String>, exit_code: u8) -> Self {
        Self {
            started_at: iso_seconds(now),
            headline: "an export failed".to_owned(),
            exit_code,
            has_report: false,
            notices: vec![Notice {
                keys: one(format!("failed: {}", without_numbers(error))),
                lasts: false,
                subject: format!("exit code {exit_code}"),
                text: error.to_owned(),
                remedy,
            }],
        }
    }
}

fn one(key: String) -> BTreeSet<String> {
    BTreeSet::from([key])
}

fn causes(report: &RunReport, code: u8) -> Vec<Notice> {
    let told = report.causes().into_iter().map(|told| Notice {
        keys: {
            let cause = format!("{code} {}", without_numbers(&told.key));
            let of_account = |id: &String| format!("{cause} | {id}");
            let each: BTreeSet<String> = told.accounts.iter().map(of_account).collect();
            if each.is_empty() { one(cause) } else { each }
        },
        lasts: code == 3,
        subject: format!("{} {}", told.word, told.subject),
        text: told.message,
        remedy: told.hint,
    });
    let mut told: Vec<Notice> = told.collect();
    if told.is_empty() {
        told.push(Notice {
            keys: one(format!("{code}")),
            lasts: code == 3,
            subject: format!("exit code {code}"),
            text: match code {
                4 => "nothing matched what is configured".to_owned(),
                _ => "cwlake report --run last shows what happened".to_owned(),
            },
            remedy: None,
        });
    }
    told
}

fn fallen(report: &RunReport) -> Vec<Notice> {
    let of_day = |((table, date), units): ((&str, &str), Vec<&UnitReport>)| {
        let first = units.first().map_or(String::new(), |u| {
            let before = u.fell_from.unwrap_or(0);
            let now = if u.table.is_points() {
                u.series_returned
            } else {
                u.rows
            };
            format!(
                ", such as {}/{} with {now} after {before}",
                u.account_id, u.region
            )
        });
        Notice {
            keys: one(format!("fell {table} {date}")),
            lasts: true,
            subject: format!("{table} of {date}"),
            text: format!(
                "{FELL}, in {} of its accounts and regions{first}",
                grouped(units.len() as u64)
            ),
            remedy: Some("cwlake discover shows what there is now".to_owned()),
        }
    };
    report.fallen().into_iter().map(of_day).collect()
}

/// A text without its numbers: times, attempts and request ids change, the cause stays.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(' ') {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        // Ids of accounts and requests, instants: mostly digits and hex.
        let word = if digits * 3 >= word.len() && digits > 0 {
            "#"
        } else {
            word
        };
        out += word;
        out.push(' ');
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_the_same_whatever_its_numbers_are() {
        let a =
            without_numbers("reading 111122223333: timed out after 30.5 s (request 7f3e1a22-9911)");
        let b =
            without_numbers("reading 222233334444: timed out after 31 s (request 0f3e1a22-9912)");
        assert_eq!(a, b);
        assert_ne!(a, without_numbers("reading 111122223333: access denied"));
    }
}
