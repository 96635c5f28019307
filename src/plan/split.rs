//! How the lanes of a run are shared out among its shards: pure, and the same on every machine.
//!
//! Without a plan each lane goes to the shard for which a hash of both is highest (rendezvous hashing): nobody has to know of the others, and
//! of another number of shards only the lanes of those that are gone move. With a plan the heaviest go first, each to the shard that has least.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{AccountId, Lane, Region};

/// What one shard reads as a whole: a lane, or more where what becomes of one lane is decided by others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// An account in a region.
    Lane(Lane),
    /// An account whose regions are found out: a closed one is left out beside open ones, and missed where all are closed.
    Account(AccountId),
    /// All accounts in a region in which a monitoring account sees others: which of two ways each is read is decided for all together.
    Region(Region),
    /// All accounts and regions of these two kinds, where there are both.
    Bound,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(lane) => lane.fmt(f),
            Self::Account(account) => account.fmt(f),
            Self::Region(region) => region.fmt(f),
            Self::Bound => f.write_str(BOUND),
        }
    }
}

const BOUND: &str = "all that belongs together";

impl Share {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text == BOUND => Some(Self::Bound),
            None => AccountId::parse(text)
                .map(Self::Account)
                .or_else(|| Region::parse(text).map(Self::Region)),
            Some((account, region)) => Some(Self::Lane(Lane {
                account: AccountId::parse(account)?,
                region: Region::parse(region)?,
            })),
        }
    }
}

/// What stays together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// Accounts whose regions are found out.
    pub accounts: BTreeSet<AccountId>,
    /// Regions in which monitoring accounts see others.
    pub regions: BTreeSet<Region>,
    /// A monitoring account's regions are found out: they may be any.
    pub all_regions: bool,
}

/// Lanes shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Number of shards.
    of: u32,
    together: Together,
    /// The shard of each share that a plan speaks of.
    frozen: BTreeMap<Share, u32>,
}

impl Split {
    /// By hash alone.
    pub fn new(of: u32, together: Together) -> Self {
        Self {
            of,
            together,
            frozen: BTreeMap::new(),
        }
    }

    /// By a plan; what is not in it goes by hash.
    pub fn frozen(of: u32, together: Together, frozen: BTreeMap<Share, u32>) -> Self {
        Self {
            of,
            together,
            frozen,
        }
    }

    /// What a lane is read with.
    pub fn share(&self, lane: &Lane) -> Share {
        let Together {
            accounts,
            regions,
            all_regions,
        } = &self.together;
        let of_account = accounts.contains(&lane.account);
        let of_region = *all_regions || regions.contains(&lane.region);
        let are_bound = !accounts.is_empty() && (*all_regions || !regions.is_empty());
        match (of_account, of_region) {
            (false, false) => Share::Lane(lane.clone()),
            _ if are_bound => Share::Bound,
            (true, _) => Share::Account(lane.account.clone()),
            (false, true) => Share::Region(lane.region.clone()),
        }
    }

    /// The shard of a lane, from 1.
    pub fn owner(&self, lane: &Lane) -> u32 {
        let share = self.share(lane);
        let frozen = self.frozen.get(&share).copied();
        frozen.unwrap_or_else(|| highest(&share.to_string(), self.of))
    }
}

/// Shares weighed and dealt out: the heaviest first, each to the shard that has least.
pub fn deal(weights: &BTreeMap<Share, u64>, of: u32) -> BTreeMap<Share, u32> {
    let mut heaviest: Vec<(&Share, u64)> = weights.iter().map(|(s, w)| (s, *w)).collect();
    heaviest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let mut loads: BTreeSet<(u64, u32)> = (1..=of).map(|shard| (0, shard)).collect();
    let mut dealt = BTreeMap::new();
    for (share, weight) in heaviest {
        if let Some((load, shard)) = loads.pop_first() {
            loads.insert((load + weight, shard));
            dealt.insert(share.clone(), shard);
        }
    }
    dealt
}

/// What each shard has to carry, from the first.
///
/// # Examples
/// ```
/// use cwlake::plan::loads;
/// assert_eq!(loads([(1, 10), (2, 5), (1, 1)].into_iter(), 3), [11, 5, 0]);
/// ```
pub fn loads<'a>(shares: impl Iterator<Item = (u32, u64)> + 'a, of: u32) -> Vec<u64> {
    let mut loads = vec![0; of as usize];
    for (shard, weight) in shares {
        if let Some(load) = loads.get_mut(shard as usize - 1) {
            *load += weight;
        }
    }
    loads
}

/// The heaviest of some loads over their mean: 1 is even. None without any load.
///
/// # Examples
/// ```
/// use cwlake::plan::imbalance;
/// assert_eq!(imbalance(&[2, 2, 2]), Some(1.0));
/// assert_eq!(imbalance(&[6, 0, 0]), Some(3.0));
/// assert_eq!(imbalance(&[0, 0]), None);
/// ```
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
pub fn imbalance(loads: &[u64]) -> Option<f64> {
    let sum: u64 = loads.iter().sum();
    let most = *loads.iter().max()?;
    (sum > 0).then(|| most as f64 * loads.len() as f64 / sum as f64)
}

/// The shard for which the hash of text and shard is highest.
fn highest(text: &str, of: u32) -> u32 {
    let of_text = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let weight = |shard: &u32| (mix(of_text ^ mix(u64::from(*shard))), *shard);
    (1..=of).max_by_key(weight).unwrap_or(1)
}

/// Spreads a number over all bits.
///
/// # Source
/// The finalizer of `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). The text is hashed by FNV-1a.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(account: u64, region: &str) -> Lane {
        Lane {
            account: AccountId::parse(&format!("{account:012}")).expect("id"),
            region: Region::parse(region).expect("region"),
        }
    }

    fn none_together() -> Together {
        Together::default()
    }

    #[test]
    fn lanes_keep_their_shard_for_ever() {
        // Frozen: another answer would let two versions read a lane twice, or never.
        let split = Split::new(16, none_together());
        let owners = ["us-east-1", "eu-west-1", "ap-south-1"]
            .map(|r| split.owner(&lane(111_122_223_333, r)));
        assert_eq!(owners, [2, 6, 8]);
    }

    #[test]
    fn hashes_spread_lanes_evenly_and_move_few_when_a_shard_is_added() {
        let regions: Vec<String> = (1..=17).map(|n| format!("eu-west-{n}")).collect();
        let lanes: Vec<Lane> = (0..1_000)
            .flat_map(|a| regions.iter().map(move |r| lane(a, r)))
            .collect();
        let (sixteen, seventeen) = (
            Split::new(16, none_together()),
            Split::new(17, none_together()),
        );
        let shares = lanes.iter().map(|l| (sixteen.owner(l), 1));
        let uneven = imbalance(&loads(shares, 16)).expect("loaded");
        assert!(uneven < 1.1, "{uneven}");
        let moved = lanes
            .iter()
            .filter(|l| sixteen.owner(l) != seventeen.owner(l));
        let (moved, to_the_new) = moved.fold((0_usize, 0_usize), |(n, new), l| {
            (n + 1, new + usize::from(seventeen.owner(l) == 17))
        });
        assert!(moved == to_the_new && moved < lanes.len() / 12, "{moved}");
    }

    #[test]
    fn a_region_with_links_stays_whole_and_a_plan_decides_first() {
        let region = |text: &str| Region::parse(text).expect("region");
        let together = Together {
            regions: [region("us-east-1")].into(),
            ..Together::default()
        };
        let split = Split::new(7, together.clone());
        let owners: BTreeSet<u32> = (0..100)
            .map(|a| split.owner(&lane(a, "us-east-1")))
            .collect();
        assert_eq!(owners.len(), 1);
        let frozen = BTreeMap::from([
            (Share::Lane(lane(1, "eu-west-1")), 3),
            (Share::Lane(lane(1, "eu-west-2")), 4),
            (Share::Region(region("us-east-1")), 5),
        ]);
        let split = Split::frozen(7, together, frozen);
        assert_eq!(split.owner(&lane(1, "eu-west-2")), 4);
        assert_eq!(split.owner(&lane(9, "us-east-1")), 5);
        let new = lane(9, "eu-west-3");
        assert_eq!(
            split.owner(&new),
            Split::new(7, none_together()).owner(&new)
        );
    }

    #[test]
    fn an_account_whose_regions_are_found_out_stays_whole() {
        let id = |n| lane(n, "us-east-1").account;
        let owners = |split: &Split, account| {
            let regions = (1..30).map(|n| lane(account, &format!("eu-west-{n}")));
            regions.map(|l| split.owner(&l)).collect::<BTreeSet<u32>>()
        };
        let auto = Together {
            accounts: [id(1), id(2)].into(),
            ..Together::default()
        };
        let split = Split::new(16, auto.clone());
        assert_eq!(owners(&split, 1).len(), 1);
        assert!(owners(&split, 3).len() > 5);
        // Bound to a region with links, all of them are one.
        let both = Together {
            regions: [lane(1, "us-east-1").region].into(),
            ..auto
        };
        let split = Split::new(16, both);
        let of_links = split.owner(&lane(9, "us-east-1"));
        assert_eq!(owners(&split, 1), [of_links].into());
        assert_eq!(owners(&split, 2), [of_links].into());
        assert!(owners(&split, 3).len() > 5);
    }

    #[test]
    fn weights_are_dealt_out_evenly_unless_one_is_larger_than_a_share() {
        let weights = |heavy: u64| -> BTreeMap<Share, u64> {
            let others = (0..500).map(|n| (Share::Lane(lane(n, "us-east-1")), 50 + n * 7 % 900));
            others
                .chain([(Share::Lane(lane(999, "us-east-1")), heavy)])
                .collect()
        };
        let uneven = |weights: &BTreeMap<Share, u64>| {
            let dealt = deal(weights, 16);
            assert_eq!(dealt.len(), weights.len());
            imbalance(&loads(
                dealt.iter().map(|(s, shard)| (*shard, weights[s])),
                16,
            ))
            .expect("loaded")
        };
        assert!(uneven(&weights(2_000)) < 1.01);
        assert!(uneven(&weights(1_000_000)) > 10.0, "told, not hidden");
        assert_eq!(imbalance(&[0, 0]), None);
        assert!(deal(&BTreeMap::new(), 4).is_empty());
    }

    proptest! {
        #[test]
        fn every_lane_has_one_shard(account in 0_u64..1_000_000_000_000, of in 1_u32..40) {
            let split = Split::new(of, none_together());
            let owner = split.owner(&lane(account, "us-east-1"));
            prop_assert!((1..=of).contains(&owner));
        }

        #[test]
        fn shares_are_read_as_they_are_written(account in 0_u64..1_000_000_000_000) {
            let lane = lane(account, "us-gov-west-1");
            for share in [
                Share::Region(lane.region.clone()),
                Share::Account(lane.account.clone()),
                Share::Lane(lane),
                Share::Bound,
            ] {
                prop_assert_eq!(Share::parse(&share.to_string()), Some(share));
            }
        }
    }
}
