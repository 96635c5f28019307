//! The charges of each account on a day, and what they come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::account::{AccountRows, AccountSpend};
use super::budgets::{BudgetCheck, BudgetState, Threshold, check_budgets};
use crate::config::Budget;
use crate::model::{AccountId, Day, Lane, iso_seconds};
use crate::normalize::{ChargeState, DayCharge};
use crate::report::printable;

/// What all accounts together are called.
pub(super) const ALL: &str = "all";

/// Days of the small chart.
const RECENT_DAYS: i64 = 14;

/// Days whose mean is taken for the days to come.
const RATE_DAYS: i64 = 7;

/// Which rows of the `spend` table are whose. A payer's total is everybody's: its own charges are those of the series by account. What an
/// account says of itself goes over what its payer says.
pub fn account_rows(lanes: Vec<(Lane, Vec<DayCharge>)>) -> BTreeMap<AccountId, AccountRows> {
    // By day: where an account's own word of a day is missing, its payer's stands.
    let mut own: BTreeMap<AccountId, AccountRows> = BTreeMap::new();
    let mut linked: BTreeMap<AccountId, AccountRows> = BTreeMap::new();
    let mut payers = BTreeSet::new();
    for (lane, rows) in lanes {
        for row in rows {
            let (all, account) = match (&row.key.linked_account, &row.key.service) {
                (None, None) => (&mut own, lane.account.clone()),
                (Some(member), None) => {
                    payers.insert(lane.account.clone());
                    match AccountId::parse(member) {
                        Some(member) => (&mut linked, member),
                        None => continue,
                    }
                }
                _ => continue,
            };
            let entry = all.entry(account).or_default();
            // Of several currencies the first stands: amounts of different ones are not added.
            if entry.currency.is_empty() {
                entry.currency.clone_from(&row.key.currency);
            }
            if entry.currency == row.key.currency {
                entry.days.insert(row.day, row);
            }
        }
    }
    own.retain(|account, _| !payers.contains(account));
    for (account, rows) in linked {
        let entry = own.entry(account).or_default();
        if entry.currency.is_empty() {
            entry.currency.clone_from(&rows.currency);
        }
        if entry.currency != rows.currency {
            continue;
        }
        for (day, row) in rows.days {
            let there = entry.days.get(&day);
            if there.is_none_or(|t| t.month_to_date.is_none()) {
                entry.days.insert(day, row);
            }
        }
    }
    own
}

/// What all accounts have spent, and which budgets are breached.
#[derive(Clone, Debug, Serialize)]
pub struct SpendReport {
    /// The day.
    pub date: String,
    /// The lake's root.
    pub destination: String,
    /// Every account that charges are expected of, the dearest first.
    pub accounts: Vec<AccountSpend>,
    /// The sums over all accounts, as far as they are known.
    pub total: AccountSpend,
    /// Every threshold of every budget.
    pub budgets: Vec<BudgetCheck>,
    /// Accounts whose charges of the day are not known.
    pub missing: Vec<String>,
}

impl SpendReport {
    /// Thresholds that are passed, the largest excess first.
    pub fn breaches(&self) -> Vec<&BudgetCheck> {
        let passed = self.budgets.iter().filter(|b| b.is_breached());
        let mut passed: Vec<&BudgetCheck> = passed.collect();
        passed.sort_by(|a, b| {
            let excess = |c: &BudgetCheck| c.excess.unwrap_or(0.0);
            excess(b).total_cmp(&excess(a))
        });
        passed
    }

    /// What its amounts are in; US dollars where nothing is known.
    pub(crate) fn currency(&self) -> String {
        match self.total.currency.as_str() {
            "" => "USD".to_owned(),
            currency => printable(currency),
        }
    }

    /// What all accounts together are held to.
    pub(crate) fn limit_of_all(&self, threshold: Threshold) -> Option<f64> {
        let own = self
            .budgets
            .iter()
            .filter(|b| b.is_of_all && b.threshold == threshold);
        own.map(|b| b.limit).reduce(f64::min)
    }

    /// Whether some threshold cannot be told because charges of the day are not known.
    fn has_unknown(&self) -> bool {
        let of_day = |b: &&BudgetCheck| b.threshold.is_of_day();
        let mut unknown = self.budgets.iter().filter(of_day);
        unknown.any(|b| b.state == BudgetState::Unknown)
    }

    /// Only the accounts that are looked at; what was said of budgets was said of all.
    #[must_use]
    pub fn about(mut self, is_about: impl Fn(&AccountId) -> bool) -> Self {
        let shown = |id: &str| AccountId::parse(id).is_some_and(|id| is_about(&id));
        self.accounts.retain(|a| shown(&a.account_id));
        self.missing.retain(|id| shown(id));
        self.budgets
            .retain(|b| b.account_id.as_deref().is_none_or(shown));
        self.total = total(&self.accounts);
        self
    }

    /// 0; 3 when charges are missing, 8 when a budget is breached and that is asked for.
    pub fn exit_code(&self, fail_on_breach: bool) -> u8 {
        if fail_on_breach && !self.breaches().is_empty() {
            8
        } else if self.missing.is_empty() && !self.has_unknown() {
            0
        } else {
            3
        }
    }
}

/// Charges of a day can be expected so long after its end.
///
/// # Source
/// As for `AWS/Billing` in `config/publication.rs`.
const PUBLISHED_SECONDS: i64 = 86_400;

/// Whether nothing more of a day can come: all of it is published, and was so when it was read last, as the row of the next day tells. The first day
/// of the next month lies in another unit.
fn is_final(rows: &AccountRows, day: Day, now: i64) -> bool {
    let next = day.plus(1);
    let was_read_since = rows.days.get(&next).is_some_and(|row| !row.provisional);
    let ends_its_month = next == next.month_start();
    now >= day.end() + PUBLISHED_SECONDS && (was_read_since || ends_its_month)
}

/// The report of a day. `wanted` are the accounts that charges are expected of, with their aliases.
pub fn spend_report(
    day: Day,
    now: i64,
    destination: String,
    wanted: &BTreeMap<AccountId, Option<String>>,
    rows: &BTreeMap<AccountId, AccountRows>,
    budgets: &[Budget],
) -> SpendReport {
    let nothing = AccountRows::default();
    let mut accounts: Vec<AccountSpend> = wanted
        .iter()
        .map(|(id, name)| account_spend(id, name.clone(), day, rows.get(id).unwrap_or(&nothing)))
        .map(|account| AccountSpend {
            provisional: account.spend.is_some() && !is_final(&account.rows, day, now),
            ..account
        })
        .collect();
    accounts.sort_by(|a, b| {
        let known = |amount: Option<f64>| amount.unwrap_or(f64::NEG_INFINITY);
        known(b.spend)
            .total_cmp(&known(a.spend))
            .then_with(|| known(b.month_to_date).total_cmp(&known(a.month_to_date)))
            .then_with(|| a.shown().cmp(b.shown()))
    });
    let unknown = accounts.iter().filter(|a| a.spend.is_none());
    let missing = unknown.map(|a| a.account_id.clone()).collect();
    SpendReport {
        date: day.to_string(),
        destination,
        budgets: check_budgets(budgets, &accounts, day),
        total: total(&accounts),
        accounts,
        missing,
    }
}

fn account_spend(
    id: &AccountId,
    name: Option<String>,
    day: Day,
    rows: &AccountRows,
) -> AccountSpend {
    let of_day = rows.days.get(&day);
    let month = rows.days.range(day.month_start()..=day);
    let known = month.filter(|(_, r)| r.state != ChargeState::CarriedOver);
    let last = known
        .filter_map(|(day, r)| Some((*day, r.month_to_date?)))
        .next_back();
    let month_to_date = last.map(|(_, so_far)| so_far);
    let rate = rows.mean(day.plus(1 - RATE_DAYS), day).map(|mean| mean.0);
    // Days after the last that is known, whether or not they are over.
    let since = last.map_or(day, |(day, _)| day).end();
    let left = (day.next_month().start() - since) / crate::model::DAY_SECONDS;
    let recent = (1 - RECENT_DAYS..=0).map(|n| rows.days.get(&day.plus(n)).and_then(|r| r.spend));
    let recent: Vec<Option<f64>> = recent.collect();
    let since_first: Vec<_> = recent.iter().skip_while(|spend| spend.is_none()).collect();
    AccountSpend {
        is_whole: !since_first.is_empty() && since_first.iter().all(|spend| spend.is_some()),
        account_id: id.to_string(),
        account_name: name,
        currency: rows.currency.clone(),
        spend: of_day.and_then(|r| r.spend),
        days: of_day.and_then(|r| r.days),
        month_to_date,
        projected: month_to_date
            .zip(rate)
            .map(|(so_far, rate)| so_far + rate * left as f64),
        recent,
        state: of_day.map_or(ChargeState::Missing, |r| r.state).as_str(),
        as_of: of_day.and_then(|r| r.last_ts).map(iso_seconds),
        provisional: false,
        rows: rows.clone(),
    }
}

/// The sum of what is known.
fn total(accounts: &[AccountSpend]) -> AccountSpend {
    let sum = |get: fn(&AccountSpend) -> Option<f64>| {
        let mut known = accounts.iter().filter_map(get).peekable();
        known.peek().is_some().then(|| known.sum())
    };
    let recent = (0..usize::try_from(RECENT_DAYS).unwrap_or(0)).map(|n| {
        let of_day = accounts
            .iter()
            .filter_map(|a| a.recent.get(n).copied().flatten());
        let mut of_day = of_day.peekable();
        of_day.peek().is_some().then(|| of_day.sum())
    });
    AccountSpend {
        is_whole: accounts.iter().all(|a| a.is_whole),
        account_id: ALL.to_owned(),
        account_name: None,
        currency: accounts
            .iter()
            .map(|a| a.currency.clone())
            .find(|c| !c.is_empty())
            .unwrap_or_default(),
        spend: sum(|a| a.spend),
        days: None,
        month_to_date: sum(|a| a.month_to_date),
        projected: sum(|a| a.projected),
        recent: recent.collect(),
        state: if accounts.iter().any(|a| a.spend.is_none()) {
            "missing"
        } else {
            "ok"
        },
        as_of: None,
        provisional: accounts.iter().any(|a| a.provisional),
        rows: AccountRows::default(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{ChargeKey, Region};

    pub(in crate::spend) fn id(text: &str) -> AccountId {
        AccountId::parse(text).expect("id")
    }

    pub(in crate::spend) fn day(text: &str) -> Day {
        Day::parse(text).expect("a day")
    }

    /// Rows of consecutive days; a dash is a missing day.
    pub(in crate::spend) fn rows(
        linked: Option<&str>,
        first: &str,
        spends: &str,
    ) -> Vec<DayCharge> {
        let (mut so_far, mut open) = (0.0, 1);
        let mut rows = Vec::new();
        for (n, text) in (0..).zip(spends.split(' ')) {
            let of_day = day(first).plus(n);
            if of_day == of_day.month_start() {
                so_far = 0.0;
            }
            let spend: Option<f64> = text.parse().ok();
            so_far += spend.unwrap_or(0.0);
            rows.push(DayCharge {
                provisional: false,
                key: ChargeKey {
                    currency: "USD".to_owned(),
                    linked_account: linked.map(str::to_owned),
                    service: None,
                },
                day: of_day,
                month_to_date: spend.map(|_| so_far),
                spend,
                days: spend.map(|_| open),
                state: if spend.is_some() {
                    ChargeState::Ok
                } else {
                    ChargeState::Missing
                },
                last_ts: None,
            });
            open = if spend.is_some() { 1 } else { open + 1 };
        }
        rows
    }

    fn lane(account: &str) -> Lane {
        Lane {
            account: id(account),
            region: Region::parse("us-east-1").expect("region"),
        }
    }

    const A: &str = "111122223333";
    const B: &str = "222233334444";
    const PAYER: &str = "999900001111";

    #[test]
    fn a_payers_total_is_nobodys_own_and_an_accounts_own_word_goes_first() {
        let first = "2026-11-19";
        let mut of_payer = rows(None, first, "100 100");
        of_payer.extend(rows(Some(A), first, "40 41"));
        of_payer.extend(rows(Some(B), first, "50 51"));
        of_payer.extend(rows(Some(PAYER), first, "10 11"));
        let all = account_rows(vec![
            (lane(PAYER), of_payer),
            (lane(A), rows(None, first, "42 43")),
        ]);
        let spend = |account: &str| all[&id(account)].days[&day("2026-11-20")].spend;
        assert_eq!(
            (spend(A), spend(B), spend(PAYER)),
            (Some(43.0), Some(51.0), Some(11.0))
        );
    }

    #[test]
    fn a_day_is_final_when_it_was_read_after_it_was_published() {
        let final_of = |spends: &str, of: &str, now: &str, reads_half: bool| {
            let mut rows = rows(None, "2026-11-19", spends);
            if let Some(last) = rows.last_mut() {
                last.provisional = reads_half;
            }
            let all = account_rows(vec![(lane(A), rows)]);
            is_final(&all[&id(A)], day(of), day(now).start())
        };
        // Read in the night after, and not since: whatever the clock says.
        assert!(!final_of("1 2 3", "2026-11-20", "2026-11-25", true));
        assert!(!final_of("1 2", "2026-11-20", "2026-11-25", false));
        assert!(final_of("1 2 3", "2026-11-20", "2026-11-22", false));
        assert!(!final_of("1 2 3", "2026-11-20", "2026-11-21", false));
        // The next day is in the next month's unit.
        let last = "1 1 1 1 1 1 1 1 1 1 1 1";
        assert!(final_of(last, "2026-11-30", "2026-12-02", false));
    }

    #[test]
    fn a_day_is_told_with_its_month_its_projection_and_what_is_missing() {
        let lanes = vec![
            (
                lane(A),
                rows(None, "2026-10-30", "70 70 10 10 10 10 10 10 10"),
            ),
            (lane(B), rows(None, "2026-11-01", "5 5 5 - - 5 -")),
        ];
        let all = account_rows(lanes);
        let wanted = BTreeMap::from([
            (id(A), Some("shop".to_owned())),
            (id(B), None),
            (id(PAYER), None),
        ]);
        let report = spend_report(
            day("2026-11-07"),
            day("2026-11-30").start(),
            "lake".to_owned(),
            &wanted,
            &all,
            &[],
        );
        let of = |n: usize| {
            let a = &report.accounts[n];
            (a.spend, a.month_to_date, a.projected, a.state)
        };
        // The rate is that of seven days, none of them of the month before.
        assert_eq!(
            of(0),
            (Some(10.0), Some(70.0), Some(70.0 + 10.0 * 23.0), "ok")
        );
        assert_eq!(of(1).0, None);
        assert_eq!((of(1).1, of(1).3), (Some(20.0), "missing"));
        assert_eq!(of(2), (None, None, None, "missing"));
        assert_eq!(report.missing, [B, PAYER]);
        assert_eq!(report.total.month_to_date, Some(90.0));
        assert_eq!((report.exit_code(false), report.exit_code(true)), (3, 3));
        assert_eq!(report.accounts[0].recent.len(), 14);
    }
}
