//! The days of accounts as cells: how high a cell is tells the same as its colour.

use std::collections::BTreeMap;

use crate::inspect::{AccountStatus, StatusReport};
use crate::lake::answers::UnitState;
use crate::model::Dataset;
use crate::report::{counted, grouped, printable};

/// The calendar of one table.
#[derive(Debug)]
pub(super) struct Heat {
    pub(super) table: &'static str,
    /// Days, which is the width of each row.
    pub(super) days: usize,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) rows: Vec<Row>,
}

/// An account, or several whose days are alike.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// Every account of the row.
    pub(super) members: String,
    /// The row in words: `28 complete, 2 missing`.
    pub(super) counts: String,
    pub(super) shapes: Vec<Shape>,
}

/// All cells of a row that are alike, and for one cause.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) class: &'static str,
    pub(super) path: String,
    pub(super) title: String,
}

/// Accounts of which each has a row; of more those share one whose days, and causes, are alike.
const MOST_ACCOUNTS: usize = 12;

/// What a cell is: its state, and why.
type Cell = Option<(UnitState, Option<String>)>;

/// The calendar of each table that there is.
pub(super) fn heats(status: &StatusReport) -> Vec<Heat> {
    let days = status.days();
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Vec::new();
    };
    let has = |dataset: &Dataset| {
        status
            .accounts
            .iter()
            .any(|a| a.tables.contains_key(dataset))
    };
    let heat = |dataset: Dataset| Heat {
        table: dataset.name(),
        days: days.len(),
        first: first.clone(),
        last: last.clone(),
        rows: rows(status, dataset, &days),
    };
    Dataset::ALL.into_iter().filter(has).map(heat).collect()
}

fn rows(status: &StatusReport, dataset: Dataset, days: &[String]) -> Vec<Row> {
    let own = status
        .accounts
        .iter()
        .filter(|a| a.tables.contains_key(&dataset));
    let own: Vec<&AccountStatus> = own.collect();
    let alike = own.len() > MOST_ACCOUNTS;
    let mut rows: Vec<(Vec<Cell>, Vec<&AccountStatus>)> = Vec::new();
    let mut places: BTreeMap<Vec<Cell>, usize> = BTreeMap::new();
    for account in own {
        let cells = cells(account, dataset, days);
        let next = rows.len();
        let place = if alike {
            *places.entry(cells.clone()).or_insert(next)
        } else {
            next
        };
        if place == next {
            rows.push((cells, Vec::new()));
        }
        rows[place].1.push(account);
    }
    rows.iter()
        .map(|(cells, accounts)| row(cells, accounts, days))
        .collect()
}

/// The worst state over the regions of each day, and why it is short.
fn cells(account: &AccountStatus, dataset: Dataset, days: &[String]) -> Vec<Cell> {
    let states = account.tables.get(&dataset);
    let mut causes: BTreeMap<(&str, UnitState), String> = BTreeMap::new();
    for short in account
        .short
        .iter()
        .filter(|s| s.dataset == dataset && s.state > UnitState::Provisional)
    {
        let (why, _) = short.why();
        let all = causes
            .entry((short.date.as_str(), short.state))
            .or_default();
        // What is the same in every region is told once.
        if !all.contains(&why) {
            let between = if all.is_empty() { "" } else { "; " };
            *all += &format!("{between}{why}");
        }
    }
    let cell = |day: &String| {
        let state = *states?.get(day)?;
        let why = causes
            .get(&(day.as_str(), state))
            .map(|why| why.replace(&account.account_id, "the account"));
        Some((state, why))
    };
    days.iter().map(cell).collect()
}

/// Cells that are alike: their shape, and the first and last day of each stretch.
#[derive(Default)]
struct Stretches {
    path: String,
    spans: Vec<(usize, usize)>,
}

fn row(cells: &[Cell], accounts: &[&AccountStatus], days: &[String]) -> Row {
    let named = |account: &AccountStatus| match &account.account_name {
        Some(name) => format!("{} {}", printable(name), account.account_id),
        None => account.account_id.clone(),
    };
    let members: Vec<String> = accounts.iter().map(|account| named(account)).collect();
    let members = members.join(", ");
    let name = match accounts {
        [_] => members.clone(),
        many => counted(many.len(), "account"),
    };
    let mut counts: BTreeMap<UnitState, u64> = BTreeMap::new();
    let mut shapes: BTreeMap<(UnitState, &Option<String>), Stretches> = BTreeMap::new();
    let mut at = 0;
    for run in cells.chunk_by(|a, b| a == b) {
        if let Some((state, why)) = &run[0] {
            *counts.entry(*state).or_default() += run.len() as u64;
            let stretches = shapes.entry((*state, why)).or_default();
            stretches.path += &rectangle(*state, at, run.len());
            stretches.spans.push((at, at + run.len() - 1));
        }
        at += run.len();
    }
    let shapes = shapes.into_iter().map(|((state, why), own)| Shape {
        class: class(state),
        path: own.path,
        title: title(state, why.as_deref(), &own.spans, days),
    });
    let counts = counts
        .into_iter()
        .map(|(state, n)| format!("{} {}", grouped(n), state.as_str()));
    Row {
        name,
        members,
        counts: counts.collect::<Vec<_>>().join(", "),
        shapes: shapes.collect(),
    }
}

/// Days side by side as one shape, in rows of ten units; what is missing is low, so that it is seen without colours.
fn rectangle(state: UnitState, at: usize, len: usize) -> String {
    let top = match state {
        UnitState::Complete => 0,
        UnitState::Provisional => 2,
        UnitState::Partial => 5,
        UnitState::Missing => 8,
    };
    format!("M{at} {top}h{len}v{}h-{len}z", 10 - top)
}

fn class(state: UnitState) -> &'static str {
    match state {
        UnitState::Complete => "c",
        UnitState::Provisional => "p",
        UnitState::Partial => "q",
        UnitState::Missing => "m",
    }
}

/// Stretches that a title names.
const NAMED: usize = 4;

fn title(state: UnitState, why: Option<&str>, spans: &[(usize, usize)], days: &[String]) -> String {
    let named = spans.iter().take(NAMED).map(|(first, last)| {
        if first == last {
            days[*first].clone()
        } else {
            format!("{} to {}", days[*first], days[*last])
        }
    });
    let mut text = format!(
        "{}: {}",
        state.as_str(),
        named.collect::<Vec<_>>().join(", ")
    );
    if spans.len() > NAMED {
        text += " and others";
    }
    if let Some(why) = why {
        text += &format!(": {}", printable(why));
    }
    text
}
