//! The EC2 inventory of a lane, as of the day of the run.
//!
//! A unit holds every instance that any run of its day has seen, each as it was described last: what is terminated in the evening was there
//! in the morning.

use std::collections::BTreeMap;

use crate::commit::LaneRecords;
use crate::lake::table::INSTANCES;
use crate::run::given::context::RunContext;
use crate::run::given::place::Place;
use crate::run::unit::scope::LaneScope;

use crate::plan::{DayMode, Scope};

use crate::lake::{UnitId, layout};

use crate::aws::{CallStats, LaneClient};
use crate::model::{Cause, Day, Instance, Lane};
use crate::normalize::{Owner, decode_instances, instances_batch};
use crate::run::tables::publish::{NewUnit, each_batch, publish_all, read_unit, stage};
use crate::run::tables::{Surroundings, TableDone};

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
    lane: &Lane,
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

/// The inventory, found and not yet written.
#[derive(Debug)]
pub(crate) struct InstancesJob {
    found: Vec<Instance>,
}

impl InstancesJob {
    /// Describes the instances of a lane. Where every instance has lost all its tags at once, that is asked again, and what is known of them
    /// stays: EC2 leaves tags out at times, and nobody takes all of them off.
    #[cfg(feature = "ec2")]
    pub(crate) async fn plan(
        client: LaneClient,
        place: &Place,
        context: &RunContext,
        stats: &mut CallStats,
    ) -> Result<Self, Cause> {
        let mut found = crate::fetch::inventory(&client, stats).await?;
        let has_tags = |all: &[Instance]| all.iter().any(|i| !i.tags.is_empty());
        if found.is_empty() || has_tags(&found) || context.force {
            return Ok(Self { found });
        }
        let known = known_tags(&*place.store, client.lane(), Day::containing(context.now)).await?;
        let lost = |all: &[Instance]| {
            let is_known = |i: &Instance| known.contains_key(&i.id);
            !has_tags(all) && all.iter().any(is_known)
        };
        for _ in 0..ASK_AGAIN {
            if !lost(&found) {
                return Ok(Self { found });
            }
            tokio::time::sleep(PAUSE).await;
            found = crate::fetch::inventory(&client, stats).await?;
        }
        if lost(&found) {
            tracing::warn!(lane = %client.lane(), "every instance came without tags: the known ones are kept");
            for instance in &mut found {
                if let Some(tags) = known.get(&instance.id) {
                    instance.tags.clone_from(tags);
                }
            }
        }
        Ok(Self { found })
    }

    /// This build cannot.
    #[cfg(not(feature = "ec2"))]
    #[expect(clippy::unused_async, reason = "with EC2 it calls")]
    pub(crate) async fn plan(
        _: LaneClient,
        _: &Place,
        _: &RunContext,
        _: &mut CallStats,
    ) -> Result<Self, Cause> {
        let text = "this build cannot describe instances (feature 'ec2' is off)";
        Err(Cause::new(crate::model::CauseKind::Other, text))
    }

    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }

    pub(crate) async fn export(self, around: &Surroundings, lane: &Lane) -> TableDone {
        let day = Day::containing(around.context.now);
        let mut scope = LaneScope {
            table: &INSTANCES,
            delays: BTreeMap::new(),
            windows: Scope::new(),
            days: vec![(day, DayMode::Merge)],
            records: LaneRecords::new(&INSTANCES, lane.clone()),
            plan_hash: "instances".to_owned(),
        };
        let made = self.make(around, &mut scope, (day, lane)).await;
        let unit = made.unwrap_or_else(|cause| {
            let now = around.context.now;
            NewUnit::failed(&INSTANCES, (day, lane), DayMode::Merge, cause, now)
        });
        let (units, cause) = publish_all(around, &mut scope, lane, vec![unit]).await;
        TableDone {
            cause,
            ..TableDone::of(units, CallStats::default())
        }
    }

    async fn make(
        self,
        around: &Surroundings,
        scope: &mut LaneScope,
        (day, lane): (Day, &Lane),
    ) -> Result<NewUnit, Cause> {
        let store = &**around.lake.store();
        scope.records.read(store, std::iter::once(day)).await?;
        let mut all: BTreeMap<String, Instance> =
            self.found.into_iter().map(|i| (i.id.clone(), i)).collect();
        if !around.context.force {
            let key = layout::unit(&UnitId::new(&INSTANCES, day, lane));
            each_batch(store, &key, BROKEN, |batch| {
                decode_instances(batch, &mut all)
            })
            .await?;
        }
        let (of_lane, name) = (lane.clone(), around.account_name.clone());
        let staged = stage(around, scope, (day, lane), move || {
            let instances: Vec<Instance> = all.into_values().collect();
            let owner = Owner {
                lane: &of_lane,
                account_name: name.as_deref(),
            };
            instances_batch(owner, &instances)
        })
        .await?;
        Ok(NewUnit {
            day,
            mode: DayMode::Merge,
            complete: true,
            covered: BTreeMap::new(),
            refused: BTreeMap::new(),
            report: read_unit(scope, (day, lane), staged.as_ref(), around.context.now),
            staged,
        })
    }
}
