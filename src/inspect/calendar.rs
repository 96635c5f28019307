//! How whole a lake is, to be read: a calendar of accounts and days, and each cause of what is missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::status::{ShortUnit, StatusReport};
use crate::lake::answers::UnitState;
use crate::model::{Dataset, Day, TimeWindow};
use crate::report::{Look, Paint, Remarks, Subject, counted, grouped, printable};

/// Rows of accounts that are alike are one, from so many accounts on.
const MOST_ACCOUNTS: usize = 12;

/// Columns of an account's name.
const MOST_NAME: usize = 32;

impl StatusReport {
    /// A calendar of each table, and what is missing, each cause once.
    pub fn text(&self) -> String {
        self.text_for(&Look::default())
    }

    /// The same as it is asked for: `all` tells of each account and unit by itself.
    pub fn text_for(&self, look: &Look) -> String {
        let mut out = String::new();
        if self.is_new {
            let _ = writeln!(
                out,
                "{} has no day of these tables yet: cwlake export writes the first",
                printable(&self.destination)
            );
        }
        let _ = writeln!(
            out,
            "{} to {} (exclusive): C complete  p provisional  / partial  - missing",
            self.from, self.to
        );
        let days = self.days();
        let mut datasets: Vec<Dataset> = Vec::new();
        for account in &self.accounts {
            datasets.extend(account.tables.keys());
        }
        datasets.sort();
        datasets.dedup();
        for dataset in &datasets {
            if datasets.len() > 1 {
                let _ = writeln!(out, "{}", dataset.name());
            }
            self.calendar(&mut out, *dataset, &days, look);
        }
        self.causes(look.all).write(&mut out);
        let totals: Vec<String> = self
            .totals
            .iter()
            .map(|(state, n)| format!("{} {state}", grouped(*n)))
            .collect();
        let count = usize::try_from(self.totals.values().sum::<u64>()).unwrap_or(usize::MAX);
        let _ = writeln!(out, "{}: {}", counted(count, "unit"), totals.join(", "));
        if let Some((first, last)) = self.holes() {
            let end = Day::parse(last).map_or_else(|| last.to_owned(), |d| d.plus(1).to_string());
            let _ = writeln!(
                out,
                "holes are filled by cwlake export --from {first} --to {end}: what is there is not asked again"
            );
        }
        for (table, compacted) in &self.compacted {
            let _ = writeln!(out, "compacted {table}: {}", compacted.text());
        }
        out
    }

    /// The days it is about.
    pub fn days(&self) -> Vec<String> {
        let day = |text: &str| text.get(..10).and_then(Day::parse);
        let (Some(first), Some(end)) = (day(&self.from), day(&self.to)) else {
            return Vec::new();
        };
        let end = end.plus(i64::from(self.to.len() > 10));
        let days = TimeWindow::days(first, end).touched_days();
        days.map(|day| day.to_string()).collect()
    }

    /// A row an account; accounts whose days are alike share one where there are many.
    fn calendar(&self, out: &mut String, dataset: Dataset, days: &[String], look: &Look) {
        let own = self
            .accounts
            .iter()
            .filter_map(|a| Some((a, a.tables.get(&dataset)?)));
        let own: Vec<_> = own.collect();
        let alike = own.len() > MOST_ACCOUNTS && !look.all;
        let mut rows: Vec<(Vec<Option<UnitState>>, Vec<String>)> = Vec::new();
        let mut places: BTreeMap<Vec<Option<UnitState>>, usize> = BTreeMap::new();
        for (account, states) in own {
            let cells: Vec<Option<UnitState>> =
                days.iter().map(|day| states.get(day).copied()).collect();
            let name = match &account.account_name {
                Some(name) => format!("{} {}", account.account_id, printable(name)),
                None => account.account_id.clone(),
            };
            let next = rows.len();
            let place = if alike {
                *places.entry(cells.clone()).or_insert(next)
            } else {
                next
            };
            if place == next {
                rows.push((cells, Vec::new()));
            }
            rows[place].1.push(name);
        }
        let label = |names: &[String]| match names {
            [one] => cut(one, MOST_NAME),
            many => format!("{} accounts", grouped(many.len() as u64)),
        };
        let labels: Vec<String> = rows.iter().map(|(_, names)| label(names)).collect();
        let widest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        let room = look
            .width
            .map_or(days.len(), |w| w.saturating_sub(widest + 1).max(7));
        let hidden = days.len().saturating_sub(room);
        let _ = writeln!(out, "{:widest$} {}", "", header(&days[hidden..]).trim_end());
        for ((cells, _), label) in rows.iter().zip(&labels) {
            let _ = writeln!(
                out,
                "{label:<widest$} {}",
                signs(&cells[hidden..], look).trim_end()
            );
        }
        if hidden > 0 {
            let before = counted(hidden, "day");
            let _ = writeln!(
                out,
                "{before} before {} are not shown: the screen is too narrow",
                days[hidden]
            );
        }
    }

    /// Why units are short; `all` tells of each by itself.
    pub(crate) fn causes(&self, all: bool) -> Remarks {
        let names = self.accounts.iter();
        let names = names.filter_map(|a| Some((&*a.account_id, a.account_name.as_deref()?)));
        let mut remarks = Remarks::new(all, names);
        for account in &self.accounts {
            for short in &account.short {
                if short.state <= UnitState::Provisional {
                    continue;
                }
                let table = match short.dataset {
                    Dataset::Metrics => "",
                    other => other.name(),
                };
                let subject = Subject {
                    table,
                    account: &account.account_id,
                    region: &short.region,
                    date: &short.date,
                    part: "",
                };
                let (message, hint) = short.why();
                remarks.tell(short.state.as_str(), &subject, &message, hint);
            }
        }
        remarks
    }

    /// The first and the last day of which something is partial or missing.
    pub(crate) fn holes(&self) -> Option<(&str, &str)> {
        let short = self.accounts.iter().flat_map(|a| &a.short);
        let dates = short
            .filter(|s| s.state > UnitState::Provisional)
            .map(|s| s.date.as_str());
        Some((dates.clone().min()?, dates.max()?))
    }
}

impl ShortUnit {
    /// Why it is not complete, and what helps.
    pub(crate) fn why(&self) -> (String, Option<&str>) {
        match &self.attempt {
            Some(a) => (
                format!("last {}: {}", a.outcome.as_str(), a.cause.message),
                a.cause.hint.as_deref(),
            ),
            None if self.refused_queries > 0 => ("queries were refused".to_owned(), None),
            None if self.state == UnitState::Missing => {
                ("no run has asked for it".to_owned(), None)
            }
            None => ("not all of it was asked for".to_owned(), None),
        }
    }
}

/// The dates above the cells: of the first, of Mondays and of the first of a month.
fn header(days: &[String]) -> String {
    let mut line = String::new();
    for (n, day) in days.iter().enumerate() {
        let is_named = n == 0 || Day::parse(day).is_some_and(is_monday) || day.ends_with("-01");
        if is_named && line.chars().count() <= n && (n + 5 <= days.len() || n == 0) {
            line.extend(std::iter::repeat_n(' ', n - line.chars().count()));
            line.push_str(day.get(5..).unwrap_or(day));
            line.push(' ');
        }
    }
    line
}

fn is_monday(day: Day) -> bool {
    day.weekday() == jiff::civil::Weekday::Monday
}

/// A sign a day; a blank where a table has none.
fn signs(cells: &[Option<UnitState>], look: &Look) -> String {
    let alike = cells.chunk_by(|a, b| a == b);
    let painted = alike.map(|run| {
        let (sign, paint) = match run[0] {
            None => return " ".repeat(run.len()),
            Some(UnitState::Complete) => ("C", Paint::Green),
            Some(UnitState::Provisional) => ("p", Paint::Cyan),
            Some(UnitState::Partial) => ("/", Paint::Yellow),
            Some(UnitState::Missing) => ("-", Paint::Red),
        };
        look.painted(paint, &sign.repeat(run.len()))
    });
    painted.collect()
}

/// As much of a text as fits.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most - 1).collect();
    format!("{start}…")
}
