//! What is to be told of parts of a fleet, by cause: hundreds of accounts with one wrong role are one remark.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::words::{counted, grouped, printable};
use crate::lake::table::METRICS;
use crate::model::{Cause, Day};

/// What something is told of. What is empty is not told apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// The table, where it is not the one of metrics.
    pub(crate) table: &'a str,
    /// Account id.
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    /// UTC day.
    pub(crate) date: &'a str,
    /// What of it, such as one query.
    pub(crate) part: &'a str,
}

impl Subject<'_> {
    fn pattern(&self, text: &str) -> String {
        pattern(text, &[self.account, self.region, self.date, self.part])
    }
}

/// A text without what it says of its own subject alone: what is left is the same for others.
pub(crate) fn pattern(text: &str, own: &[&str]) -> String {
    let own = own.iter().filter(|own| !own.is_empty());
    own.fold(text.to_owned(), |text, own| text.replace(own, "\u{0}"))
}

/// Remarks, in the order in which their causes came.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    /// One for each subject.
    each: bool,
    /// Aliases of accounts.
    names: HashMap<String, String>,
    causes: Vec<Remark>,
    places: HashMap<(String, String, String), usize>,
}

/// One cause.
#[derive(Debug)]
struct Remark {
    word: String,
    key: String,
    message: String,
    hint: Option<String>,
    count: usize,
    /// Of some the table is not told apart: that of metrics.
    is_plain: bool,
    tables: BTreeSet<String>,
    accounts: BTreeSet<String>,
    regions: BTreeSet<String>,
    days: BTreeSet<String>,
    part: String,
}

/// One cause as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How what it befell ended.
    pub(crate) word: String,
    /// The same for the same cause, whomever it befell.
    pub(crate) key: String,
    /// Whom it befell.
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// How many it befell.
    pub(crate) count: usize,
    /// The accounts among them.
    pub(crate) accounts: BTreeSet<String>,
}

/// Accounts, regions or stretches of days that are named, of those that have one cause.
const NAMED: usize = 3;

impl Remarks {
    /// `each` tells of every subject by itself; `names` are accounts with their aliases.
    pub(crate) fn new<'a>(each: bool, names: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self {
            each,
            names: names
                .map(|(id, name)| (id.to_owned(), name.to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// Adds what is to be told of a subject. `word` is how it ended.
    pub(crate) fn add(&mut self, word: &str, subject: &Subject<'_>, cause: &Cause) {
        self.tell(word, subject, &cause.message, cause.hint.as_deref());
    }

    /// The same with a text.
    pub(crate) fn tell(
        &mut self,
        word: &str,
        subject: &Subject<'_>,
        message: &str,
        hint: Option<&str>,
    ) {
        let pattern = subject.pattern(message);
        let key = (
            word.to_owned(),
            pattern.clone(),
            subject.pattern(hint.unwrap_or("")),
        );
        let next = self.causes.len();
        let place = if self.each {
            next
        } else {
            *self.places.entry(key).or_insert(next)
        };
        if place == next {
            self.causes.push(Remark {
                word: word.to_owned(),
                key: format!("{word}: {pattern}"),
                message: message.to_owned(),
                hint: hint.map(str::to_owned),
                count: 0,
                is_plain: false,
                tables: BTreeSet::new(),
                accounts: BTreeSet::new(),
                regions: BTreeSet::new(),
                days: BTreeSet::new(),
                part: subject.part.to_owned(),
            });
        }
        let remark = &mut self.causes[place];
        remark.count += 1;
        remark.is_plain |= subject.table.is_empty();
        for (all, own) in [
            (&mut remark.tables, subject.table),
            (&mut remark.accounts, subject.account),
            (&mut remark.regions, subject.region),
            (&mut remark.days, subject.date),
        ] {
            if !own.is_empty() && !all.contains(own) {
                all.insert(own.to_owned());
            }
        }
    }

    /// Each cause.
    pub(crate) fn told(&self) -> impl Iterator<Item = Told> {
        self.causes.iter().map(|remark| Told {
            word: remark.word.clone(),
            key: remark.key.clone(),
            subject: remark.subject(&self.names),
            message: remark.message.clone(),
            hint: remark.hint(),
            count: remark.count,
            accounts: remark.accounts.clone(),
        })
    }

    /// A line for each cause, and one for what helps.
    pub(crate) fn write(&self, out: &mut String) {
        for remark in &self.causes {
            let subject = remark.subject(&self.names);
            let head = joined([&remark.word, &subject], " ");
            let line = format!("{head}: {}", remark.message);
            let _ = writeln!(out, "  {}", printable(&line));
            if let Some(hint) = remark.hint() {
                let _ = writeln!(out, "    = {}", printable(&hint));
            }
        }
    }
}

impl Remark {
    /// What helps; where it names one account of several, it is said that the others need the same.
    fn hint(&self) -> Option<String> {
        let hint = self.hint.as_ref()?;
        let names_one = self.accounts.iter().any(|a| hint.contains(a.as_str()));
        let others = if self.accounts.len() > 1 && names_one {
            "; and so for the others"
        } else {
            ""
        };
        Some(format!("{hint}{others}"))
    }

    fn subject(&self, names: &HashMap<String, String>) -> String {
        let mut tables = self.tables.clone();
        if self.is_plain && !tables.is_empty() {
            tables.insert(METRICS.name.to_owned());
        }
        let table = listed(&tables);
        let lane = self.lane(names);
        // One unit by its name, as everywhere; several by whose they are, and when.
        if let (1, Some(day)) = (self.days.len(), self.days.first())
            && self.count == 1
        {
            return joined([&table, day, &lane, &self.part], " ");
        }
        let part = match self.count {
            1 => self.part.clone(),
            _ if self.part.is_empty() => String::new(),
            many => format!("{} and {} more", self.part, grouped(many as u64 - 1)),
        };
        let days = stretches(&self.days);
        let of = joined([&table, &lane], " ");
        if self.days.is_empty() {
            joined([&of, &part], " ")
        } else {
            joined([&of, &days, &part], ", ")
        }
    }

    /// Accounts and regions.
    fn lane(&self, names: &HashMap<String, String>) -> String {
        let regions = listed(&self.regions);
        let mut accounts = self.accounts.iter();
        match (self.accounts.len(), accounts.next()) {
            (_, None) => regions,
            (1, Some(account)) => {
                let name = names.get(account);
                let name = name.map_or(String::new(), |n| format!(" ({n})"));
                match self.regions.len() {
                    0 => format!("account {account}{name}"),
                    1 => format!("{account}/{regions}{name}"),
                    _ => format!("account {account}{name} in {regions}"),
                }
            }
            (many, _) => {
                let place = if regions.is_empty() {
                    String::new()
                } else {
                    format!(" in {regions}")
                };
                let accounts = counted(many, "account");
                format!("{accounts}{place} ({})", listed(&self.accounts))
            }
        }
    }
}

fn joined<const N: usize>(words: [&String; N], between: &str) -> String {
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    words.join(between)
}

/// The first few by name, and how many more.
fn listed(names: &BTreeSet<String>) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {} more", named.join(", "), grouped(more as u64)),
    }
}

/// `2026-11-18 to 2026-11-20, 2026-11-22`: days that follow one another in one.
pub(crate) fn stretches(days: &BTreeSet<String>) -> String {
    let mut stretches: Vec<(&str, &str)> = Vec::new();
    for day in days {
        let follows = |last: &str| {
            let last = Day::parse(last).map(|d| d.plus(1).to_string());
            last.as_deref() == Some(day)
        };
        match stretches.last_mut() {
            Some((_, last)) if follows(last) => *last = day,
            _ => stretches.push((day, day)),
        }
    }
    let hidden = stretches.len().saturating_sub(NAMED);
    let named = stretches.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|(first, last)| {
            if first == last {
                (*first).to_owned()
            } else {
                format!("{first} to {last}")
            }
        })
        .collect();
    let more = match days.last() {
        Some(last) if hidden > 0 => format!(" and others up to {last}"),
        _ => String::new(),
    };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CauseKind;

    fn told(each: bool) -> String {
        let mut remarks = Remarks::new(each, [("100000000007", "web")].into_iter());
        for account in [
            "100000000007",
            "100000000008",
            "100000000009",
            "100000000010",
        ] {
            let text = format!("assuming role arn:aws:iam::{account}:role/Reader: AccessDenied");
            let cause = Cause::new(CauseKind::AccessDenied, text);
            let cause = cause.with_hint(format!("let {account} trust this caller"));
            let of_account = Subject {
                account,
                ..Subject::default()
            };
            remarks.add("forbidden", &of_account, &cause);
        }
        for date in ["2026-11-18", "2026-11-19", "2026-11-21"] {
            let unit = Subject {
                table: "logs",
                account: "100000000007",
                region: "eu-west-1",
                date,
                part: "",
            };
            let cause = Cause::new(CauseKind::Other, "the disk is full");
            remarks.add("failed", &unit, &cause);
        }
        let mut out = String::new();
        remarks.write(&mut out);
        out
    }

    #[test]
    fn one_cause_is_told_once() {
        assert_eq!(
            told(false),
            "  forbidden 4 accounts (100000000007, 100000000008, 100000000009 and 1 more): \
             assuming role arn:aws:iam::100000000007:role/Reader: AccessDenied\n    \
             = let 100000000007 trust this caller; and so for the others\n  \
             failed logs 100000000007/eu-west-1 (web), 2026-11-18 to 2026-11-19, 2026-11-21: the disk is full\n"
        );
    }

    #[test]
    fn metrics_are_named_beside_other_tables() {
        let mut remarks = Remarks::new(false, [].into_iter());
        for table in ["", "logs"] {
            let unit = Subject {
                table,
                account: "100000000007",
                region: "eu-west-1",
                date: "2026-11-18",
                part: "",
            };
            remarks.tell("missing", &unit, "no run has asked for it", None);
        }
        let mut out = String::new();
        remarks.write(&mut out);
        let told =
            "  missing logs, metrics 100000000007/eu-west-1, 2026-11-18: no run has asked for it\n";
        assert_eq!(out, told);
    }

    #[test]
    fn of_each_where_all_are_asked_for() {
        let all = told(true);
        assert_eq!(all.lines().count(), 4 * 2 + 3);
        assert!(all.contains("failed logs 2026-11-21 100000000007/eu-west-1 (web): the disk"));
        assert!(all.contains("forbidden account 100000000007 (web): assuming"));
    }
}
