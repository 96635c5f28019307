//! Lanes dealt out to shards by what their plans weigh, before the shards begin.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::commit::{Group, GroupError, GroupPlan, LakeError, read_group, write_group};
use crate::config::DOLLARS_PER_METRIC;
use crate::given::context::{RunContext, run_id};
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::given::shard::together;
use crate::lake::layout;
use crate::model::{Dataset, GroupName};
use crate::plan::{Share, Split, deal, imbalance, loads};
use crate::report::{Columns, Look, counted, grouped};
use crate::run::claims::claim_of;
use crate::run::enter::share::question_of;
use crate::run::pipeline::Planned;
use crate::run::planning::PlannedLane;
use crate::store::{AcquireError, Holder, Store, StoreError};

/// What a lane takes that has next to nothing to read, in points: entering and listing it.
const LANE_WEIGHT: u64 = 10_000;

/// Lanes that no shard can take a part of: the largest are named.
const NAMED: usize = 3;

/// Shards that are shown one by one; of more, the most and the least laden ones.
const SHOWN: usize = 32;

/// How the lanes of a plan are dealt out.
#[derive(Clone, Debug, Serialize)]
pub struct Dealt {
    /// The group.
    pub group: GroupName,
    /// What each shard has, from the first.
    pub shards: Vec<DealtShard>,
    /// The most laden shard over the mean; 1 is even.
    pub imbalance: Option<f64>,
    /// What is larger than an even part, and can be had by one shard alone.
    pub oversized: Vec<String>,
    #[serde(skip)]
    plan: GroupPlan,
}

/// What one shard has.
#[derive(Clone, Debug, Serialize)]
pub struct DealtShard {
    /// Which, from 1.
    pub shard: u32,
    /// Accounts in regions; where monitoring accounts see others, whole regions.
    pub shares: usize,
    /// Points that are asked, and as much for rows of what is no metric.
    pub weight: u64,
    /// US dollars.
    pub dollars: f64,
}

/// Deals the lanes of a plan out to `of` shards: the heaviest first, each to the shard that has least.
pub fn deal_lanes(context: &RunContext, planned: &Planned, group: &GroupName, of: u32) -> Dealt {
    let split = Split::new(of, together(&context.config));
    let mut weights: BTreeMap<Share, u64> = BTreeMap::new();
    let mut dollars: BTreeMap<Share, f64> = BTreeMap::new();
    for lane in planned.lanes() {
        let share = split.share(&lane.lane);
        *weights.entry(share.clone()).or_default() += weight(lane);
        *dollars.entry(share).or_default() += dollars_of(lane);
    }
    let dealt = deal(&weights, of);
    let loads = loads(
        dealt.iter().map(|(share, shard)| (*shard, weights[share])),
        of,
    );
    let mut plan = GroupPlan {
        shares: vec![Vec::new(); of as usize],
        dollars: vec![0.0; of as usize],
    };
    for (share, shard) in &dealt {
        let at = *shard as usize - 1;
        plan.shares[at].push(share.to_string());
        plan.dollars[at] += dollars[share];
    }
    let mean = loads.iter().sum::<u64>() / u64::from(of);
    let mut oversized: Vec<(u64, &Share)> = weights.iter().map(|(s, w)| (*w, s)).collect();
    oversized.retain(|(weight, _)| of > 1 && *weight > mean + mean / 5);
    oversized.sort_by(|a, b| b.cmp(a));
    let shards = (1..=of)
        .zip(&loads)
        .zip(plan.shares.iter().zip(&plan.dollars));
    let shards = shards.map(|((shard, weight), (shares, dollars))| DealtShard {
        shard,
        shares: shares.len(),
        weight: *weight,
        dollars: *dollars,
    });
    Dealt {
        group: group.clone(),
        shards: shards.collect(),
        imbalance: imbalance(&loads),
        oversized: oversized.into_iter().map(|(_, s)| s.to_string()).collect(),
        plan,
    }
}

/// Points that a lane is asked for; of what is no metric, the rows of the last day that is there for each day that is asked.
fn weight(lane: &PlannedLane) -> u64 {
    let Ok(job) = &lane.ready else {
        return LANE_WEIGHT;
    };
    let points = job.billed().map_or(0, |plan| plan.cost().points);
    if lane.dataset == Dataset::Metrics {
        return LANE_WEIGHT + points;
    }
    let rows = job.scopes().into_iter().map(|scope| {
        let committed = scope
            .records
            .all()
            .filter_map(|(_, r)| r.committed.as_ref());
        let last = committed.last().into_iter().flat_map(|c| &c.files);
        let asked = scope
            .days
            .iter()
            .filter(|(_, mode)| mode.is_asked())
            .count();
        last.map(|f| f.rows).sum::<u64>() * asked as u64
    });
    LANE_WEIGHT + points + rows.sum::<u64>()
}

fn dollars_of(lane: &PlannedLane) -> f64 {
    let job = lane.ready.as_ref().ok();
    let plan = job.and_then(|job| job.billed());
    plan.map_or(0.0, |plan| {
        plan.cost().billed_metrics as f64 * DOLLARS_PER_METRIC
    })
}

impl Dealt {
    /// Keeps it in the lake, for the shards of the group to follow.
    ///
    /// # Errors
    /// The store's, or [`RunError::Lake`] while a shard of it runs.
    pub async fn keep(&self, context: &RunContext) -> Result<(), RunError> {
        let place = Place::of(context).await?;
        let store = &*place.store;
        let holder = Holder::of_this_process(&run_id(context.now));
        let held = match store.acquire(&holder, &claim_of(context)).await {
            Ok(held) => held,
            Err(AcquireError::Store(error)) => return Err(RunError::Store(error)),
            Err(taken) => return Err(LakeError::Locked(taken).into()),
        };
        let question = question_of(context, true);
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let group = Group {
            plan: Some(self.plan.clone()),
            ..Group::new(shards, &question, context.now)
        };
        let kept = async {
            // What is there is replaced as it is now.
            if let Some(there) = read_group(store, &self.group).await?
                && there.gathered_as.is_none()
                && let Some(shard) = self.done_shard(store).await?
            {
                let group = self.group.clone();
                return Err(GroupError::Begun { group, shard });
            }
            Ok(write_group(store, &self.group, &group).await?)
        };
        let kept = kept.await;
        held.release().await;
        Ok(kept?)
    }

    /// A shard of the group that has left a report.
    async fn done_shard(&self, store: &dyn Store) -> Result<Option<u32>, StoreError> {
        let entries = store.list(&layout::group_folder(&self.group)).await?;
        let mut shards = entries
            .iter()
            .filter_map(|e| layout::parse_shard_report(&self.group, &e.key));
        Ok(shards.next())
    }

    /// As text: the shards, how even they are, and what to do next.
    pub fn text(&self, is_kept: bool) -> String {
        let numbers = ["shard", "lanes", "points and rows", "dollars"];
        let mut table = Columns::new(&Look::default(), &[], &numbers);
        let mut shown: Vec<&DealtShard> = self.shards.iter().collect();
        if shown.len() > SHOWN {
            shown.sort_by_key(|s| std::cmp::Reverse(s.weight));
            let least = shown.split_off(shown.len() - SHOWN / 2);
            shown.truncate(SHOWN / 2);
            shown.extend(least);
        }
        for DealtShard {
            shard,
            shares,
            weight,
            dollars,
        } in shown
        {
            let numbers = [shard.to_string(), grouped(*shares as u64), grouped(*weight)];
            let dollars = [format!("{dollars:.4}")];
            table.row(&[], &[&numbers[..], &dollars[..]].concat());
        }
        let mut out = table.text();
        if self.shards.len() > SHOWN {
            let _ = writeln!(
                out,
                "… the most and the least laden of {}; --json has all",
                counted(self.shards.len(), "shard")
            );
        }
        match self.imbalance {
            Some(uneven) => {
                let _ = writeln!(out, "the most laden shard has {uneven:.2} times the mean");
            }
            None => out += "nothing is asked\n",
        }
        let named: Vec<&str> = self
            .oversized
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        if !named.is_empty() {
            let more = if self.oversized.len() > NAMED {
                " and others"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "larger than an even part, and for one shard alone: {}{more}",
                named.join(", ")
            );
        }
        let of = self.shards.len();
        let next = if is_kept {
            format!(
                "kept as group {}: cwlake export --shard 1/{of} --group {0} … {of}/{of}, then cwlake gather --group {0}",
                self.group
            )
        } else {
            "--write keeps it for the shards".to_owned()
        };
        let _ = writeln!(out, "{next}");
        out
    }
}
