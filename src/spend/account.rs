//! What one account has spent.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Day;
use crate::normalize::DayCharge;

/// The charges of one account by day: its own total, or what its payer says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountRows {
    /// Currency of the amounts.
    pub currency: String,
    /// By day.
    pub days: BTreeMap<Day, DayCharge>,
}

impl AccountRows {
    /// The mean of the days from `first` to `last`, as far as they are known, and of how many days it is: a value after a gap counts for all the
    /// days it covers.
    pub(super) fn mean(&self, first: Day, last: Day) -> Option<(f64, f64)> {
        let mut sum = 0.0;
        let mut days = 0.0;
        for row in self.days.range(first..=last).map(|(_, row)| row) {
            if let (Some(spend), Some(n)) = (row.spend, row.days) {
                sum += spend;
                days += f64::from(n);
            }
        }
        (days > 0.0).then(|| (sum / days, days))
    }
}

impl AccountSpend {
    /// Its alias, or its id.
    pub fn shown(&self) -> &str {
        self.account_name.as_deref().unwrap_or(&self.account_id)
    }

    /// Its alias with its id, or its id.
    pub fn named(&self) -> String {
        match &self.account_name {
            Some(name) => format!("{name} ({})", self.account_id),
            None => self.account_id.clone(),
        }
    }

    /// Charges of the last seven days that are shown, as far as they are known; and of the seven before them, where all of both is known: a part
    /// compared with a whole would say nothing.
    pub fn weeks(&self) -> (Option<f64>, Option<f64>) {
        let sum = |days: &[Option<f64>]| {
            let known = days.iter().flatten();
            (known.clone().count() > 0).then(|| known.sum())
        };
        let (before, last) = self.recent.split_at(self.recent.len().saturating_sub(7));
        (sum(last), sum(before).filter(|_| self.is_whole))
    }

    /// Charges of the same day last week, where all days since are known.
    pub fn week_ago(&self) -> Option<f64> {
        let day = self.recent.iter().rev().nth(7).copied().flatten();
        day.filter(|_| self.is_whole)
    }
}

/// What an account has spent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountSpend {
    /// Its id.
    pub account_id: String,
    /// Its alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Currency of the amounts.
    pub currency: String,
    /// Charges of the day; none when they are not known.
    pub spend: Option<f64>,
    /// Days that `spend` covers: more than one after days without a value.
    pub days: Option<i32>,
    /// Charges of the month up to the end of the day, or as far as they are known.
    pub month_to_date: Option<f64>,
    /// Charges of the whole month, when the days to come are like the last seven.
    pub projected: Option<f64>,
    /// Charges of the last fourteen days, oldest first.
    pub recent: Vec<Option<f64>>,
    /// `ok`, `fell`, `missing` or `carried_over`.
    pub state: &'static str,
    /// When the last value was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// More may still be published of the day.
    pub provisional: bool,
    /// Every day of the recent ones is known, from the account's first.
    #[serde(skip)]
    pub(super) is_whole: bool,
    #[serde(skip)]
    pub(super) rows: AccountRows,
}
