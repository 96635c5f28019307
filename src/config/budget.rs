//! What an account, a group of accounts or all of them may spend: one `[[budget]]` table.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::file::FileConfig;
use super::problem::{Problem, printable};
use super::spanned::Spanned;
use super::tables::BudgetTable;
use crate::model::AccountId;

/// Whose charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetScope {
    /// Of every account together.
    All,
    /// Of these together.
    Group(BTreeSet<AccountId>),
    /// Of every account by itself, but those that have a budget of their own; all when empty.
    Each(BTreeSet<AccountId>),
}

/// Thresholds. Amounts are dollars; none is negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// For people.
    pub name: String,
    /// Whose charges.
    pub scope: BudgetScope,
    /// Of a day.
    pub daily: Option<f64>,
    /// Of the month so far.
    pub month: Option<f64>,
    /// Of the whole month, projected.
    pub projected: Option<f64>,
    /// Of a day above the trailing mean.
    pub change: Option<f64>,
    /// The same in per cent of the mean.
    pub change_percent: Option<f64>,
    /// Days of the trailing mean.
    pub trailing_days: u32,
    pub(super) account_spans: BTreeMap<AccountId, Range<usize>>,
}

impl Budget {
    /// The accounts it names; none for one of all.
    pub fn named_accounts(&self) -> impl Iterator<Item = &AccountId> {
        match &self.scope {
            BudgetScope::All => None,
            BudgetScope::Group(ids) | BudgetScope::Each(ids) => Some(ids.iter()),
        }
        .into_iter()
        .flatten()
    }
}

const DEFAULT_TRAILING_DAYS: i64 = 7;

/// Resolves every `[[budget]]`, collecting what is wrong.
pub(super) fn resolve(file: &FileConfig, problems: &mut Vec<Problem>) -> Vec<Budget> {
    let mut budgets: Vec<Budget> = Vec::new();
    for entry in &file.budget {
        let before = problems.len();
        if file.spend.is_none() {
            problems.push(
                Problem::at(entry.span(), "a budget needs charges to compare with")
                    .remedy("add spend = {} to the file"),
            );
        }
        let budget = one(entry, problems);
        if let Some(twin) = budgets.iter().find(|b| b.scope == budget.scope) {
            let what = match &budget.scope {
                BudgetScope::Group(ids) if ids.len() == 1 => "for one account",
                _ => "for the same accounts",
            };
            problems.push(
                Problem::at(
                    entry.span(),
                    format!(
                        "two budgets {what}: this one and '{}'",
                        printable(&twin.name)
                    ),
                )
                .remedy("put all thresholds into one [[budget]] table"),
            );
        }
        if budgets.iter().any(|b| b.name == budget.name) && problems.len() == before {
            problems.push(
                Problem::at(
                    entry.span(),
                    format!("two budgets are called '{}'", printable(&budget.name)),
                )
                .remedy("give each a name of its own"),
            );
        }
        budgets.push(budget);
    }
    budgets
}

fn one(entry: &Spanned<BudgetTable>, problems: &mut Vec<Problem>) -> Budget {
    let table = entry.get_ref();
    let account_spans = account_spans(table, problems);
    let ids: BTreeSet<AccountId> = account_spans.keys().cloned().collect();
    let each = table.each.as_ref().is_some_and(|e| *e.get_ref());
    let scope = match (each, ids.is_empty()) {
        (true, _) => BudgetScope::Each(ids),
        (false, true) => BudgetScope::All,
        (false, false) => BudgetScope::Group(ids),
    };
    let given = [
        &table.daily_usd,
        &table.month_usd,
        &table.projected_usd,
        &table.daily_change_usd,
        &table.daily_change_percent,
    ];
    for threshold in given.into_iter().flatten() {
        let amount = *threshold.get_ref();
        if !amount.is_finite() || amount < 0.0 {
            problems.push(
                Problem::at(threshold.span(), format!("{amount} is not a threshold"))
                    .remedy("an amount that is not negative, for example 500.0"),
            );
        }
    }
    if given.iter().all(|t| t.is_none()) {
        problems.push(
            Problem::at(entry.span(), "a budget without a threshold").remedy(
                "daily_usd, month_usd, projected_usd, daily_change_usd or daily_change_percent",
            ),
        );
    }
    let trailing = table.trailing_days.as_ref();
    if let Some(days) = trailing.filter(|d| !(1..=28).contains(d.get_ref())) {
        problems.push(
            Problem::at(
                days.span(),
                format!("trailing_days = {} is out of range", days.get_ref()),
            )
            .remedy("1 to 28"),
        );
    }
    if let Some(name) = table.name.as_ref().filter(|n| {
        n.get_ref().trim().is_empty()
            || n.get_ref().len() > 100
            || n.get_ref().contains(char::is_control)
    }) {
        problems.push(
            Problem::at(
                name.span(),
                "a budget's name has 1 to 100 characters on one line",
            )
            .remedy("shorten it or leave it out"),
        );
    }
    let value = |given: &Option<Spanned<f64>>| given.as_ref().map(|t| *t.get_ref());
    let days = trailing.map_or(DEFAULT_TRAILING_DAYS, |d| *d.get_ref());
    Budget {
        name: match &table.name {
            Some(name) => name.get_ref().clone(),
            None => default_name(&scope),
        },
        scope,
        daily: value(&table.daily_usd),
        month: value(&table.month_usd),
        projected: value(&table.projected_usd),
        change: value(&table.daily_change_usd),
        change_percent: value(&table.daily_change_percent),
        trailing_days: u32::try_from(days).unwrap_or(1),
        account_spans,
    }
}

/// Its accounts, each with its place in the file.
fn account_spans(
    table: &BudgetTable,
    problems: &mut Vec<Problem>,
) -> BTreeMap<AccountId, std::ops::Range<usize>> {
    let mut account_spans = BTreeMap::new();
    for id in table
        .accounts
        .iter()
        .flat_map(super::spanned::Spanned::get_ref)
    {
        let Some(account) = AccountId::parse(id.get_ref()) else {
            problems.push(
                Problem::at(
                    id.span(),
                    format!("'{}' is not an account id", printable(id.get_ref())),
                )
                .remedy("twelve digits in quotes, leading zeros kept"),
            );
            continue;
        };
        if account_spans.insert(account, id.span()).is_some() {
            problems.push(
                Problem::at(id.span(), "this account is listed twice").remedy("list it once"),
            );
        }
    }
    if let Some(list) = table.accounts.as_ref().filter(|l| l.get_ref().is_empty()) {
        problems.push(
            Problem::at(list.span(), "the list of accounts is empty")
                .remedy("name at least one, or leave it out for all"),
        );
    }
    account_spans
}

fn default_name(scope: &BudgetScope) -> String {
    let list = |ids: &BTreeSet<AccountId>| {
        let first: Vec<&str> = ids.iter().take(3).map(AccountId::as_str).collect();
        let more = ids.len().saturating_sub(3);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", first.join(", "))
    };
    match scope {
        BudgetScope::All => "all accounts".to_owned(),
        BudgetScope::Group(ids) => list(ids),
        BudgetScope::Each(ids) if ids.is_empty() => "each account".to_owned(),
        BudgetScope::Each(ids) => format!("each of {}", list(ids)),
    }
}
