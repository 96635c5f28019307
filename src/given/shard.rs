//! Which share of a run is this process's.

use std::sync::Arc;

use crate::commit::Group;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::{DOLLARS_PER_METRIC, ExportConfig, RegionChoice};
use crate::lake::layout;
use crate::model::{Lane, Member};
use crate::plan::{Share, Split, Together};
use crate::report::ShardReport;
use crate::store::{Store, StoreError};

/// What a run has of its lanes.
#[derive(Clone, Debug, Default)]
pub enum Sharing {
    /// All of them.
    #[default]
    Whole,
    /// A shard's, whose group is not known yet.
    Asked(ShardRequest),
    /// A shard's.
    Own(Arc<OwnShard>),
}

/// A shard as it was asked for.
#[derive(Clone, Debug)]
pub struct ShardRequest {
    /// Which.
    pub member: Member,
    /// Whether days were typed: without, after midnight the others of its group mean other days.
    pub is_dated: bool,
}

/// A shard whose group is known.
#[derive(Debug)]
pub struct OwnShard {
    pub(crate) member: Member,
    group: Group,
    split: Split,
    spending: Arc<Mutex<Spending>>,
}

/// Metrics that a shard was billed, as far as that is noted in the lake.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    /// By earlier tries.
    before: u64,
    /// By this one.
    own: u64,
}

/// The same as it stands in the lake.
#[derive(Debug, Serialize, Deserialize)]
struct SpendingFile {
    generation: String,
    billed_metrics: u64,
}

impl OwnShard {
    pub(crate) fn new(
        member: Member,
        group: Group,
        spending: Arc<Mutex<Spending>>,
        config: &ExportConfig,
    ) -> Self {
        Self {
            split: split_of(&group, config),
            member,
            group,
            spending,
        }
    }

    pub(crate) fn has(&self, lane: &Lane) -> bool {
        self.split.owner(lane) == self.member.shard.index
    }

    fn spending_key(&self) -> String {
        layout::shard_spending(&self.member.group, self.member.shard.index)
    }

    /// Reads what earlier tries have spent, in dollars.
    pub(crate) async fn read_spent(&self, store: &dyn Store) -> Result<f64, StoreError> {
        let body = store.get(&self.spending_key()).await?;
        let file = body.and_then(|b| serde_json::from_slice::<SpendingFile>(&b).ok());
        let file = file.filter(|f| f.generation == self.group.generation);
        let before = file.map_or(0, |f| f.billed_metrics);
        self.spending.lock().await.before = before;
        Ok(before as f64 * DOLLARS_PER_METRIC)
    }

    /// Notes in the lake what is spent so far, so that a cap holds over all tries of the shard.
    pub(crate) async fn note_spent(&self, store: &dyn Store, spent: u64) {
        let mut spending = self.spending.lock().await;
        if spending.own >= spent {
            return;
        }
        let file = SpendingFile {
            generation: self.group.generation.clone(),
            billed_metrics: spending.before + spent,
        };
        let json = serde_json::to_vec(&file).unwrap_or_default();
        match store.put(&self.spending_key(), json.into()).await {
            Ok(()) => spending.own = spent,
            Err(error) => tracing::warn!(%error, "noting what the shard has spent"),
        }
    }

    /// What its report says of it.
    pub(crate) fn report(&self) -> ShardReport {
        ShardReport {
            member: self.member.clone(),
            generation: self.group.generation.clone(),
        }
    }
}

impl Sharing {
    /// The shard's part, if it is one whose group is known.
    pub(crate) fn own(&self) -> Option<&Arc<OwnShard>> {
        match self {
            Self::Own(own) => Some(own),
            Self::Whole | Self::Asked(_) => None,
        }
    }

    pub(crate) fn has(&self, lane: &Lane) -> bool {
        self.own().is_none_or(|own| own.has(lane))
    }

    /// The same when all accounts of the run are known.
    pub(crate) fn among(&self, config: &ExportConfig) -> Self {
        match self {
            Self::Own(own) => {
                let (member, group) = (own.member.clone(), own.group.clone());
                let spending = Arc::clone(&own.spending);
                Self::Own(Arc::new(OwnShard::new(member, group, spending, config)))
            }
            other => other.clone(),
        }
    }
}

/// How a group's lanes are shared out among accounts that are known.
fn split_of(group: &Group, config: &ExportConfig) -> Split {
    let together = together(config);
    let Some(plan) = &group.plan else {
        return Split::new(group.shards, together);
    };
    let shares = plan.shares.iter().zip(1..).flat_map(|(shares, shard)| {
        let known = shares.iter().filter_map(|text| Share::parse(text));
        known.map(move |share| (share, shard))
    });
    Split::frozen(group.shards, together, shares.collect())
}

/// What stays together of a configuration's lanes.
pub(crate) fn together(config: &ExportConfig) -> Together {
    let mut together = Together::default();
    for account in &config.accounts {
        match &account.regions {
            RegionChoice::Named(named) if account.linked_accounts => {
                together.regions.extend(named.iter().cloned());
            }
            RegionChoice::Named(_) => {}
            RegionChoice::Auto => {
                together.accounts.insert(account.id.clone());
                together.all_regions |= account.linked_accounts;
            }
        }
    }
    together
}
