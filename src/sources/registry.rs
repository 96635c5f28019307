//! The source of every dataset.

use std::collections::BTreeSet;

use crate::model::{AccountId, Dataset, Lane, Region};
use crate::sources::alarms::{AlarmHistory, Alarms};
use crate::sources::instances::Instances;
use crate::sources::logs::Logs;
use crate::sources::metrics::Metrics;
use crate::sources::source::Source;
use crate::sources::spend::Spend;

/// The source of a dataset.
pub(crate) fn source(dataset: Dataset) -> &'static dyn Source {
    match dataset {
        Dataset::Metrics => &Metrics,
        Dataset::Instances => &Instances,
        Dataset::Logs => &Logs,
        Dataset::Spend => &Spend,
        Dataset::Alarms => &Alarms,
        Dataset::AlarmHistory => &AlarmHistory,
    }
}

/// Where a dataset of an account is read, as far as its regions are known.
pub(crate) fn lanes_read(dataset: Dataset, account: &AccountId, regions: &[Region]) -> Vec<Lane> {
    let source = source(dataset);
    // Where nothing is known of an account, it is one of the commercial partition.
    let first = Region::parse("us-east-1");
    let nothing_known = regions.is_empty() && !source.is_regional();
    let known = regions.iter().chain(first.iter().filter(|_| nothing_known));
    let read: BTreeSet<Region> = known.filter_map(|r| source.read_in(r)).collect();
    let lane = |region| Lane {
        account: account.clone(),
        region,
    };
    read.into_iter().map(lane).collect()
}
