//! The reports of a run's shards as one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::fleet::{AccountReport, FleetReport};
use super::run::RunReport;
use super::shard::ShardTimes;

impl RunReport {
    /// The report of all shards of a run, as if it had been one; `None` without any.
    pub(crate) fn of_shards(shards: Vec<Self>, run_id: String) -> Option<Self> {
        // What is in no lane of one shard may be in one of another: only what all of them miss is missed.
        let unmatched = |report: &Self| report.fleet.unmatched.iter().cloned().collect();
        let unmatched: Option<BTreeSet<String>> = shards
            .iter()
            .map(unmatched)
            .reduce(|all: BTreeSet<String>, own| all.intersection(&own).cloned().collect());
        let times = times_of(&shards);
        let mut shards = shards.into_iter();
        let mut whole = shards.next()?;
        for shard in shards {
            whole.add_shard(shard);
        }
        whole.run_id = run_id;
        (whole.shard, whole.shards) = (None, Some(times));
        whole.fleet.close();
        whole.fleet.unmatched = unmatched.unwrap_or_default().into_iter().collect();
        whole.leave_out_idle();
        whole.total();
        Some(whole)
    }

    fn add_shard(&mut self, other: Self) {
        self.from = self.from.clone().min(other.from);
        self.to = self.to.clone().max(other.to);
        self.started_at = self.started_at.clone().min(other.started_at);
        self.seconds = self.seconds.max(other.seconds);
        self.stopped_by = self.stopped_by.take().or(other.stopped_by);
        self.not_stored = self.not_stored.take().or(other.not_stored);
        self.planned = self.planned.and(other.planned);
        self.idle_lanes += other.idle_lanes;
        self.settled_units += other.settled_units;
        self.lanes.extend(other.lanes);
        self.tables.extend(other.tables);
        self.units.extend(other.units);
        let FleetReport {
            accounts,
            left_out,
            shared,
            unlisted_links,
            detours,
            remarks,
            unmatched: _,
        } = other.fleet;
        self.fleet.accounts.extend(accounts);
        self.fleet.left_out.extend(left_out);
        self.fleet.shared.extend(shared);
        self.fleet.unlisted_links.extend(unlisted_links);
        self.fleet.detours.extend(detours);
        self.fleet.remarks.extend(remarks);
    }
}

#[expect(clippy::cast_precision_loss, reason = "shards are thousands at most")]
fn times_of(shards: &[RunReport]) -> ShardTimes {
    let seconds = || shards.iter().map(|report| report.seconds);
    ShardTimes {
        shards: shards.len(),
        slowest_seconds: seconds().fold(0.0, f64::max),
        mean_seconds: seconds().sum::<f64>() / shards.len().max(1) as f64,
    }
}

impl FleetReport {
    /// Says once what several shards have said.
    fn close(&mut self) {
        let mut accounts: BTreeMap<String, AccountReport> = BTreeMap::new();
        for account in std::mem::take(&mut self.accounts) {
            match accounts.get_mut(&account.account_id) {
                None => {
                    accounts.insert(account.account_id.clone(), account);
                }
                Some(known) => known.add(account),
            }
        }
        self.accounts = accounts.into_values().collect();
        let mut told = BTreeSet::new();
        self.left_out.retain(|a| told.insert(a.account_id.clone()));
        let mut told = BTreeSet::new();
        self.remarks.retain(|remark| told.insert(remark.clone()));
    }
}

impl AccountReport {
    /// The same account as another shard saw it.
    fn add(&mut self, other: Self) {
        let mut regions: BTreeSet<String> = self.regions.drain(..).collect();
        regions.extend(other.regions);
        self.regions = regions.into_iter().collect();
        let mut disabled: BTreeSet<String> = self.disabled_regions.drain(..).collect();
        disabled.extend(other.disabled_regions);
        self.disabled_regions = disabled.into_iter().collect();
        self.regions_guessed = self.regions_guessed.take().or(other.regions_guessed);
        self.cause = self.cause.take().or(other.cause);
    }
}
