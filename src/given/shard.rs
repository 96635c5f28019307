//! Which share of a run is this process's.

use std::sync::Arc;

use crate::commit::Group;
use crate::config::{ExportConfig, RegionChoice};
use crate::model::{AccountId, Lane, Member};
use crate::plan::{Share, Split, Together};
use crate::report::ShardReport;

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
}

impl OwnShard {
    pub(crate) fn new(member: Member, group: Group, config: &ExportConfig) -> Self {
        Self {
            split: split_of(&group, config),
            member,
            group,
        }
    }

    pub(crate) fn has(&self, lane: &Lane) -> bool {
        self.split.owner(lane) == self.member.shard.index
    }

    /// What its report says of it.
    pub(crate) fn report(&self) -> ShardReport {
        ShardReport {
            member: self.member.clone(),
            generation: self.group.generation.clone(),
        }
    }

    /// Whether a region of an account whose regions are found out may be this shard's.
    pub(crate) fn may_have(&self, account: &AccountId) -> bool {
        self.split.may_have(self.member.shard.index, account)
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
                Self::Own(Arc::new(OwnShard::new(member, group, config)))
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

/// The regions in which monitoring accounts see others.
pub(crate) fn together(config: &ExportConfig) -> Together {
    let mut regions = std::collections::BTreeSet::new();
    for account in config.accounts.iter().filter(|a| a.linked_accounts) {
        match &account.regions {
            RegionChoice::Named(named) => regions.extend(named.iter().cloned()),
            RegionChoice::Auto => return Together::All,
        }
    }
    Together::Regions(regions)
}
