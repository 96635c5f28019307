//! The EC2 inventory of a lane, as of the day of the run.
//!
//! A unit holds every instance that any run of its day has seen, each as it was described last: what is terminated in the evening was there
//! in the morning.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::aws::CallStats;
use crate::given::context::RunContext;
use crate::lake::table::INSTANCES;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Dataset, Day, Instance};
use crate::normalize::{Owner, decode_instances, instances_batch};
use crate::plan::DayMode;
use crate::report::Forecast;
use crate::sources::source::scope::LaneScope;
use crate::sources::source::stage::{each_batch, stage};
use crate::sources::source::unit::{NewUnit, read_unit};
use crate::sources::source::{Job, Looking, Reading, Source};

#[cfg(feature = "ec2")]
use crate::store::Store;

/// Askings after the first when every instance came without tags.
#[cfg(feature = "ec2")]
const ASK_AGAIN: u32 = 2;

/// Time before each of them.
#[cfg(feature = "ec2")]
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Days before today that are looked at for tags.
#[cfg(feature = "ec2")]
const KNOWN_DAYS: i64 = 7;

/// The tags of instances by id, from the last day of which an inventory has any.
#[cfg(feature = "ec2")]
async fn known_tags(
    store: &dyn Store,
    lane: &crate::model::Lane,
    today: Day,
) -> Result<BTreeMap<String, Vec<crate::model::Dimension>>, Cause> {
    for back in 0..=KNOWN_DAYS {
        let key = layout::unit(&UnitId::new(&INSTANCES, today.plus(-back), lane));
        let mut known = BTreeMap::new();
        each_batch(store, &key, BROKEN, |batch| {
            decode_instances(batch, &mut known)
        })
        .await?;
        let tagged = known
            .into_values()
            .filter(|i: &Instance| !i.tags.is_empty());
        let tags: BTreeMap<_, _> = tagged.map(|i| (i.id, i.tags)).collect();
        if !tags.is_empty() {
            return Ok(tags);
        }
    }
    Ok(BTreeMap::new())
}

/// What to do about an inventory that cannot be read.
const BROKEN: &str = "--force replaces the day's inventory with what is there now";

/// The EC2 inventory.
pub(crate) struct Instances;

#[async_trait]
impl Source for Instances {
    fn dataset(&self) -> Dataset {
        Dataset::Instances
    }

    fn is_snapshot(&self) -> bool {
        true
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        let (lane, store) = (looking.client.lane(), &*looking.place.store);
        let scope = LaneScope::of_snapshot(&INSTANCES, &looking.context, store, lane).await?;
        Ok(Box::new(InstancesJob {
            found: found(looking, stats).await?,
            scope,
        }))
    }
}

/// The instances of a lane. Where every instance has lost all its tags at once, that is asked again, and what is known of them stays: EC2
/// leaves tags out at times, and nobody takes all of them off.
#[cfg(feature = "ec2")]
async fn found(looking: &Looking, stats: &mut CallStats) -> Result<Vec<Instance>, Cause> {
    let (client, context) = (&looking.client, &looking.context);
    let mut found = crate::fetch::inventory(client, stats).await?;
    let has_tags = |all: &[Instance]| all.iter().any(|i| !i.tags.is_empty());
    if found.is_empty() || has_tags(&found) || context.force {
        return Ok(found);
    }
    let today = Day::containing(context.now);
    let known = known_tags(&*looking.place.store, client.lane(), today).await?;
    let lost = |all: &[Instance]| {
        let is_known = |i: &Instance| known.contains_key(&i.id);
        !has_tags(all) && all.iter().any(is_known)
    };
    for _ in 0..ASK_AGAIN {
        if !lost(&found) {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
        found = crate::fetch::inventory(client, stats).await?;
    }
    if lost(&found) {
        tracing::warn!(lane = %client.lane(), "every instance came without tags: the known ones are kept");
        for instance in &mut found {
            if let Some(tags) = known.get(&instance.id) {
                instance.tags.clone_from(tags);
            }
        }
    }
    Ok(found)
}

/// This build cannot.
#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "with EC2 it calls")]
async fn found(_: &Looking, _: &mut CallStats) -> Result<Vec<Instance>, Cause> {
    let text = "this build cannot describe instances (feature 'ec2' is off)";
    Err(Cause::new(crate::model::CauseKind::Other, text))
}

/// The inventory, found and not yet written.
#[derive(Debug)]
struct InstancesJob {
    found: Vec<Instance>,
    scope: LaneScope,
}

#[async_trait]
impl Job for InstancesJob {
    fn forecast(&self, _: &RunContext) -> Forecast {
        Forecast {
            found: BTreeMap::from([("instances".to_owned(), self.found.len() as u64)]),
            // All instances are asked for: there being none is an answer.
            matched: true,
            ..Forecast::default()
        }
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.scope]
    }

    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        let now = reading.context.now;
        let unit = (Day::containing(now), &reading.lane);
        // What an earlier run of the day has seen was there on the day; what is found now is described anew.
        let mut all: BTreeMap<String, Instance> = BTreeMap::new();
        if !reading.context.force {
            let key = layout::unit(&UnitId::new(&INSTANCES, unit.0, unit.1));
            each_batch(&**reading.lake.store(), &key, BROKEN, |batch| {
                decode_instances(batch, &mut all)
            })
            .await?;
        }
        all.extend(self.found.into_iter().map(|i| (i.id.clone(), i)));
        let (of_lane, name) = (reading.lane.clone(), reading.account_name.clone());
        let staged = stage(&reading, &self.scope, unit, move || {
            let instances: Vec<Instance> = all.into_values().collect();
            let owner = Owner {
                lane: &of_lane,
                account_name: name.as_deref(),
            };
            instances_batch(owner, &instances)
        })
        .await?;
        let made = NewUnit {
            day: unit.0,
            mode: DayMode::Merge,
            complete: true,
            ask_again: false,
            covered: BTreeMap::new(),
            refused: BTreeMap::new(),
            read_at: now,
            report: read_unit(&INSTANCES, unit, staged.as_ref(), now),
            staged,
        };
        reading.give(vec![made]).await;
        Ok(())
    }
}
