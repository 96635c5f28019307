//! What of a fleet a run is about, when it is not all of it: the lanes that failed in an earlier run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::lake::table::{METRICS, unit_tables};
use crate::report::is_short;

use crate::model::{AccountId, Dataset, Day, Lane, Region, TimeWindow, UnitOutcome};

/// Lanes, each with the time it is asked for, by dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneChoice {
    lanes: BTreeMap<(Dataset, Lane), TimeWindow>,
    /// Accounts of which not even the regions are known.
    accounts: BTreeMap<AccountId, TimeWindow>,
    /// Monitoring accounts whose links could not be listed: whatever is behind them.
    links: BTreeMap<Lane, TimeWindow>,
}

/// Why a report does not say what failed.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// It is not a run report.
    #[error("it is not a run report of cwlake")]
    Shape(#[source] serde_json::Error),
    /// A value in it is not what it should be.
    #[error("it has a value that no run report has: '{0}'")]
    Value(String),
}

#[derive(Deserialize)]
struct Report {
    from: String,
    to: String,
    accounts: Vec<Account>,
    #[serde(default)]
    lanes: Vec<LaneEntry>,
    #[serde(default)]
    unlisted_links: Vec<Link>,
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct LaneEntry {
    #[serde(rename = "account_id")]
    account: String,
    region: String,
    #[serde(default)]
    skipped: bool,
    cause: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Link {
    account_id: String,
    region: String,
}

#[derive(Deserialize)]
struct Account {
    #[serde(rename = "account_id")]
    id: String,
    regions: Vec<String>,
    cause: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Unit {
    #[serde(rename = "dataset", default = "metrics")]
    table: String,
    date: String,
    account_id: String,
    region: String,
    outcome: UnitOutcome,
    complete: bool,
    #[serde(default)]
    series_asked: u64,
    #[serde(default)]
    refused_queries: u64,
}

fn metrics() -> String {
    METRICS.name.to_owned()
}

impl LaneChoice {
    /// The lanes of a run report with units that failed, were denied, or are not complete, each from its first such day to its last.
    ///
    /// # Errors
    /// [`ChoiceError`] for a text that is no run report.
    pub fn failed_in(report: &str) -> Result<Self, ChoiceError> {
        let report: Report = serde_json::from_str(report).map_err(ChoiceError::Shape)?;
        let value = |text: &str| ChoiceError::Value(text.escape_debug().to_string());
        let mut choice = Self::default();
        let failed = report
            .lanes
            .iter()
            .filter(|l| l.cause.is_some() && !l.skipped);
        let failed: BTreeSet<_> = failed.map(|l| (&l.account, &l.region)).collect();
        let lane_failed = |unit: &Unit| {
            unit.table == METRICS.name && failed.contains(&(&unit.account_id, &unit.region))
        };
        for unit in &report.units {
            let asked = (unit.series_asked, unit.refused_queries);
            if !is_short(unit.outcome, unit.complete, asked.0, asked.1) && !lane_failed(unit) {
                continue;
            }
            let day = Day::parse(&unit.date).ok_or_else(|| value(&unit.date))?;
            let lane = Lane {
                account: AccountId::parse(&unit.account_id)
                    .ok_or_else(|| value(&unit.account_id))?,
                region: Region::parse(&unit.region).ok_or_else(|| value(&unit.region))?,
            };
            // Tables of one dataset are written together.
            let table = unit_tables().find(|t| t.name == unit.table);
            let dataset = table.ok_or_else(|| value(&unit.table))?.dataset;
            let chosen = choice.lanes.entry((dataset, lane));
            let window = chosen.or_insert(day.window());
            *window = window.hull(day.window());
        }
        let days = |text: &str| {
            text.get(..10)
                .and_then(Day::parse)
                .ok_or_else(|| value(text))
        };
        let all_days = || {
            let (first, end) = (days(&report.from)?, days(&report.to)?);
            // An end inside a day means that day as well.
            let end = end.plus(i64::from(report.to.len() > 10));
            Ok(TimeWindow::days(first, end.max(first.plus(1))))
        };
        for account in &report.accounts {
            // What is read through a link all the same is not missed.
            let is_read = || report.units.iter().any(|u| u.account_id == account.id);
            if account.cause.is_some() && account.regions.is_empty() && !is_read() {
                let id = AccountId::parse(&account.id).ok_or_else(|| value(&account.id))?;
                choice.accounts.insert(id, all_days()?);
            }
        }
        for link in &report.unlisted_links {
            let account = AccountId::parse(&link.account_id);
            let lane = Lane {
                account: account.ok_or_else(|| value(&link.account_id))?,
                region: Region::parse(&link.region).ok_or_else(|| value(&link.region))?,
            };
            choice.links.insert(lane, all_days()?);
        }
        Ok(choice)
    }

    /// Only what lies in `window`: what CloudWatch still has.
    pub fn clip(&mut self, window: TimeWindow) {
        let clip = |w: &mut TimeWindow| {
            *w = w.intersection(window);
            !w.is_empty()
        };
        self.lanes.retain(|_, w| clip(w));
        self.accounts.retain(|_, w| clip(w));
        self.links.retain(|_, w| clip(w));
    }

    /// Whether nothing failed.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.accounts.is_empty() && self.links.is_empty()
    }

    /// Everything from the first day of any lane to the last.
    pub fn hull(&self) -> TimeWindow {
        let nothing = TimeWindow { start: 0, end: 0 };
        let windows = self.lanes.values().chain(self.accounts.values());
        let windows = windows.chain(self.links.values());
        windows.fold(nothing, |hull, w| hull.hull(*w))
    }

    /// For which time a dataset is asked in a lane, if it is.
    pub(crate) fn window(&self, dataset: Dataset, lane: &Lane) -> Option<TimeWindow> {
        let account = || self.accounts.get(&lane.account);
        let chosen = self.lanes.get(&(dataset, lane.clone()));
        chosen.or_else(account).copied()
    }

    /// Whether everything behind a monitoring account's links in this region is wanted.
    pub(crate) fn has_links_of(&self, monitoring: &Lane) -> bool {
        self.links.contains_key(monitoring)
    }

    pub(crate) fn has_account(&self, account: &AccountId) -> bool {
        let mut lanes = self.lanes.keys();
        self.accounts.contains_key(account) || lanes.any(|(_, lane)| lane.account == *account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_is_chosen_from_its_first_day_to_its_last() {
        let report = r#"{"from": "2026-11-18", "to": "2026-11-21", "lanes": [],
            "accounts": [{"account_id": "111122223333", "regions": ["us-east-1"]},
                         {"account_id": "333344445555", "regions": [], "cause": {"kind": "access_denied", "message": "no"}}],
            "units": [
              {"date": "2026-11-18", "account_id": "111122223333", "region": "us-east-1", "outcome": "failed", "complete": false},
              {"date": "2026-11-19", "account_id": "111122223333", "region": "us-east-1", "outcome": "written", "complete": true},
              {"date": "2026-11-20", "account_id": "111122223333", "region": "us-east-1", "outcome": "written", "complete": false},
              {"date": "2026-11-20", "account_id": "111122223333", "region": "eu-west-1", "outcome": "empty", "complete": true}]}"#;
        let choice = LaneChoice::failed_in(report).expect("read");
        let lane = |account: &str, region: &str| Lane {
            account: AccountId::parse(account).expect("id"),
            region: Region::parse(region).expect("region"),
        };
        let days = |from: &str, to: &str| {
            TimeWindow::days(Day::parse(from).expect("day"), Day::parse(to).expect("day"))
        };
        assert_eq!(
            choice.window(Dataset::Metrics, &lane("111122223333", "us-east-1")),
            Some(days("2026-11-18", "2026-11-21"))
        );
        assert_eq!(
            choice.window(Dataset::Metrics, &lane("111122223333", "eu-west-1")),
            None
        );
        assert_eq!(
            choice.window(Dataset::Metrics, &lane("333344445555", "ap-south-1")),
            Some(days("2026-11-18", "2026-11-21"))
        );
        assert!(LaneChoice::failed_in("{}").is_err());
        let none =
            LaneChoice::failed_in(r#"{"from": "x", "to": "y", "accounts": [], "units": []}"#);
        assert!(none.expect("read").is_empty());
    }
}
