//! Budgets against charges.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::account::AccountSpend;
use crate::config::{Budget, BudgetScope};
use crate::model::{AccountId, Day};

/// Which threshold of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Of a day.
    Daily,
    /// Of the month so far.
    Month,
    /// Of the whole month, projected.
    Projected,
    /// Of a day above the mean of the days before.
    Change,
    /// The same in per cent of the mean.
    ChangePercent,
}

impl Threshold {
    /// Whether it is about the charges of a day.
    pub(super) fn is_of_day(self) -> bool {
        matches!(self, Self::Daily | Self::Month | Self::Projected)
    }

    /// Whether it is about a month: passed once, it stays so on the days after.
    pub(crate) fn is_of_month(self) -> bool {
        matches!(self, Self::Month | Self::Projected)
    }

    /// As it stands in the record of what was sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Month => "month",
            Self::Projected => "projected",
            Self::Change => "change",
            Self::ChangePercent => "change_percent",
        }
    }
}

/// How a threshold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetState {
    /// It is kept.
    Ok,
    /// It is passed.
    Breach,
    /// Not all charges are known, and what is known does not pass it.
    Unknown,
}

/// One threshold of one budget, and what stands against it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetCheck {
    /// The budget's name.
    pub budget: String,
    /// The account, of a budget that holds each by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Its alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Which.
    pub threshold: Threshold,
    /// What is allowed.
    pub limit: f64,
    /// What there is; a sum of what is known, when not all is.
    pub actual: Option<f64>,
    /// Some of its accounts' charges are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Days of the mean, of thresholds that compare with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailing_days: Option<u32>,
    /// How it stands.
    pub state: BudgetState,
    /// By how much it is passed, an amount of money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<f64>,
    /// Accounts it is about.
    #[serde(skip)]
    pub accounts: BTreeSet<String>,
    /// It is about every account together.
    #[serde(skip)]
    pub is_of_all: bool,
}

impl BudgetCheck {
    /// Whether it is passed.
    pub fn is_breached(&self) -> bool {
        self.state == BudgetState::Breach
    }

    /// What it is called where it must not be taken for another.
    pub fn key(&self) -> String {
        let account = self.account_id.as_deref().unwrap_or("");
        let key = format!("{}|{account}|{}", self.budget, self.threshold.as_str());
        // Told once in a month: another limit is another threshold.
        if self.threshold.is_of_month() {
            format!("{key}|{}", self.limit)
        } else {
            key
        }
    }

    /// Its budget among all: each account of one that holds each is a budget by itself.
    pub fn budget_key(&self) -> (&str, Option<&str>) {
        (&self.budget, self.account_id.as_deref())
    }

    /// The budget, with the account it is about.
    pub fn subject(&self) -> String {
        match (&self.account_id, &self.account_name) {
            (Some(id), Some(name)) => format!("{name} ({id})"),
            (Some(id), None) => id.clone(),
            _ => self.budget.clone(),
        }
    }
}

/// Every threshold of every budget on a day.
pub(super) fn check_budgets(
    budgets: &[Budget],
    accounts: &[AccountSpend],
    day: Day,
) -> Vec<BudgetCheck> {
    let by_id: BTreeMap<&str, &AccountSpend> = accounts
        .iter()
        .map(|a| (a.account_id.as_str(), a))
        .collect();
    // An account with a budget of its own is not held to one for each.
    let own: BTreeSet<&AccountId> = budgets
        .iter()
        .filter_map(|b| match &b.scope {
            BudgetScope::Group(ids) if ids.len() == 1 => ids.first(),
            _ => None,
        })
        .collect();
    let mut checks = Vec::new();
    for budget in budgets {
        let subjects: Vec<(Option<&AccountSpend>, Vec<Option<&AccountSpend>>)> = match &budget.scope
        {
            BudgetScope::All => vec![(None, accounts.iter().map(Some).collect())],
            BudgetScope::Group(ids) => {
                let of = |id: &AccountId| by_id.get(id.as_str()).copied();
                vec![(None, ids.iter().map(of).collect())]
            }
            BudgetScope::Each(ids) => accounts
                .iter()
                .filter(|a| {
                    let id = AccountId::parse(&a.account_id);
                    id.is_some_and(|id| !own.contains(&id) && (ids.is_empty() || ids.contains(&id)))
                })
                .map(|a| (Some(a), vec![Some(a)]))
                .collect(),
        };
        for (account, members) in subjects {
            checks.extend(check(budget, account, &members, day));
        }
    }
    checks
}

/// A sum with whether all of it is known.
#[derive(Clone, Copy)]
struct Sum {
    known: Option<f64>,
    partial: bool,
}

fn sum(members: &[Option<&AccountSpend>], get: impl Fn(&AccountSpend) -> Option<f64>) -> Sum {
    let values: Vec<Option<f64>> = members.iter().map(|m| m.and_then(&get)).collect();
    let known = values.iter().flatten().copied();
    Sum {
        known: values.iter().any(Option::is_some).then(|| known.sum()),
        partial: values.iter().any(Option::is_none),
    }
}

impl Sum {
    /// Whether it is above a limit, as far as it is known.
    fn against(&self, limit: f64) -> BudgetState {
        match self.known {
            Some(actual) if actual > limit => BudgetState::Breach,
            Some(_) if !self.partial => BudgetState::Ok,
            _ => BudgetState::Unknown,
        }
    }
}

/// An amount of money; a percentage is one of the mean.
fn excess(threshold: Threshold, above: f64, mean: Sum) -> f64 {
    match (threshold, mean.known) {
        (Threshold::ChangePercent, Some(mean)) => above / 100.0 * mean,
        _ => above,
    }
}

fn check(
    budget: &Budget,
    account: Option<&AccountSpend>,
    members: &[Option<&AccountSpend>],
    day: Day,
) -> Vec<BudgetCheck> {
    let trailing = i64::from(budget.trailing_days);
    // After days without a value, a day's share of what came since.
    let daily = sum(members, |a| {
        Some(a.spend? / f64::from(a.days.unwrap_or(1).max(1)))
    });
    // A mean of fewer days than are asked for would be another.
    let before = sum(members, |a| {
        let (mean, days) = a.rows.mean(day.plus(-trailing), day.plus(-1))?;
        (days >= trailing as f64).then_some(mean)
    });
    // A month so far that is not known to its end is known to be no less.
    let of_month = |get: fn(&AccountSpend) -> Option<f64>| Sum {
        partial: daily.partial,
        ..sum(members, get)
    };
    let (month, projected) = (of_month(|a| a.month_to_date), of_month(|a| a.projected));
    // Compared with a mean that is not known whole, a change would say nothing.
    let change = |of: fn(f64, f64) -> Option<f64>| Sum {
        known: match (daily.known, before.known) {
            (Some(day), Some(mean)) if !daily.partial && !before.partial => of(day, mean),
            _ => None,
        },
        partial: daily.partial || before.partial,
    };
    let percent = |day: f64, mean: f64| (mean > 0.0).then(|| (day / mean - 1.0) * 100.0);
    let thresholds = [
        (Threshold::Daily, budget.daily, daily),
        (Threshold::Month, budget.month, month),
        (Threshold::Projected, budget.projected, projected),
        (
            Threshold::Change,
            budget.change,
            change(|day, mean| Some(day - mean)),
        ),
        (
            Threshold::ChangePercent,
            budget.change_percent,
            change(percent),
        ),
    ];
    thresholds
        .into_iter()
        .filter_map(|(threshold, limit, sum)| {
            let limit = limit?;
            let is_change = matches!(threshold, Threshold::Change | Threshold::ChangePercent);
            let state = sum.against(limit);
            let excess = sum
                .known
                .map(|actual| excess(threshold, actual - limit, before));
            Some(BudgetCheck {
                budget: budget.name.clone(),
                account_id: account.map(|a| a.account_id.clone()),
                account_name: account.and_then(|a| a.account_name.clone()),
                threshold,
                limit,
                actual: sum.known,
                partial: sum.partial,
                trailing_days: is_change.then_some(budget.trailing_days),
                state,
                excess: excess.filter(|_| state == BudgetState::Breach),
                is_of_all: budget.scope == BudgetScope::All,
                accounts: members
                    .iter()
                    .flatten()
                    .map(|a| a.account_id.clone())
                    .collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{day, id, rows};
    use super::super::{account_rows, spend_report};
    use super::*;
    use crate::config::{Environment, ExportConfig, Overrides, load};
    use crate::model::{Lane, Region};

    fn config(budgets: &str) -> ExportConfig {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("c.toml");
        let text = format!(
            "destination = {{ url = \"lake\" }}\nspend = {{}}\n[[account]]\nid = \"111122223333\"\n[[account]]\nid = \"222233334444\"\n{budgets}"
        );
        std::fs::write(&path, text).expect("written");
        load(&path, &Overrides::default(), &Environment::default())
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn told(budgets: &str, a: &str, b: &str) -> Vec<(String, BudgetState)> {
        let config = config(budgets);
        let lane = |account: &str| Lane {
            account: id(account),
            region: Region::parse("us-east-1").expect("region"),
        };
        let all = account_rows(vec![
            (lane("111122223333"), rows(None, "2026-11-12", a)),
            (lane("222233334444"), rows(None, "2026-11-12", b)),
        ]);
        let wanted = config
            .accounts
            .iter()
            .map(|a| (a.id.clone(), None))
            .collect();
        let report = spend_report(
            day("2026-11-20"),
            day("2026-11-30").start(),
            String::new(),
            &wanted,
            &all,
            &config.budgets,
        );
        let one = |c: &BudgetCheck| {
            let actual = c.actual.map_or("-".to_owned(), |a| format!("{a:.1}"));
            (
                format!("{} {} {actual}", c.subject(), c.threshold.as_str()),
                c.state,
            )
        };
        report.budgets.iter().map(one).collect()
    }

    const STEADY: &str = "10 10 10 10 10 10 10 10 10";
    const RISEN: &str = "10 10 10 10 10 10 10 10 30";

    #[test]
    fn accounts_groups_and_all_are_held_to_each_of_their_thresholds() {
        use BudgetState::{Breach, Ok};
        let all = "[[budget]]\nname = \"all\"\ndaily_usd = 39.0\nmonth_usd = 200.0\nprojected_usd = 250.0\n\
                   [[budget]]\nname = \"b\"\naccounts = [\"222233334444\"]\ndaily_change_usd = 19.0\ndaily_change_percent = 250.0\n\
                   [[budget]]\neach = true\ndaily_usd = 5.0\n";
        let told = told(all, STEADY, RISEN);
        assert_eq!(
            told,
            [
                ("all daily 40.0".to_owned(), Breach),
                ("all month 200.0".to_owned(), Ok),
                ("all projected 428.6".to_owned(), Breach),
                ("b change 20.0".to_owned(), Breach),
                ("b change_percent 200.0".to_owned(), Ok),
                // The other has a budget of its own.
                ("111122223333 daily 10.0".to_owned(), Breach),
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_neither_kept_nor_passed_but_what_is_known_may_be_enough() {
        use BudgetState::{Breach, Unknown};
        let all = "[[budget]]\nname = \"low\"\ndaily_usd = 9.0\n[[budget]]\naccounts = [\"111122223333\", \"222233334444\"]\nname = \"high\"\ndaily_usd = 30.0\ndaily_change_usd = 1.0\n";
        let told = told(all, STEADY, "10 10 10 10 10 10 10 10 -");
        assert_eq!(
            told,
            [
                ("low daily 10.0".to_owned(), Breach),
                ("high daily 10.0".to_owned(), Unknown),
                ("high change -".to_owned(), Unknown),
            ]
        );
    }
}
