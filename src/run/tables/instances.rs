//! The EC2 inventory of a lane, as of the day of the run.
//!
//! A unit holds every instance that any run of its day has seen, each as it was described last: what is terminated in the evening was there
//! in the morning.

use std::collections::BTreeMap;

use super::publish::{NewUnit, Table, each_batch, publish_all, read_unit, stage};
use super::{Surroundings, TableDone};
use crate::aws::{CallStats, LaneClient};
use crate::commit::LaneRecords;
use crate::lake::layout;
use crate::model::{Cause, Day, Instance, Lane};
use crate::normalize::{INSTANCES_SORT, decode_instances, instances_batch, instances_schema};
use crate::plan::Scope;
use crate::run::scope::{DayMode, LaneScope};

const TABLE: Table = Table {
    schema: instances_schema,
    sort: &INSTANCES_SORT,
};

/// The inventory, found and not yet written.
#[derive(Debug)]
pub(in crate::run) struct InstancesJob {
    found: Vec<Instance>,
}

impl InstancesJob {
    /// Describes the instances of a lane.
    #[cfg(feature = "ec2")]
    pub(super) async fn plan(client: LaneClient, stats: &mut CallStats) -> Result<Self, Cause> {
        let found = crate::fetch::inventory(&client, stats).await?;
        Ok(Self { found })
    }

    /// This build cannot.
    #[cfg(not(feature = "ec2"))]
    #[expect(clippy::unused_async, reason = "with EC2 it calls")]
    pub(super) async fn plan(_: LaneClient, _: &mut CallStats) -> Result<Self, Cause> {
        let text = "this build cannot describe instances (feature 'ec2' is off)";
        Err(Cause::new(crate::model::CauseKind::Other, text))
    }

    pub(super) fn found(&self) -> usize {
        self.found.len()
    }

    pub(super) async fn export(self, around: &Surroundings, lane: &Lane) -> TableDone {
        let day = Day::containing(around.context.now);
        let mut scope = LaneScope {
            dataset: layout::INSTANCES,
            delays: BTreeMap::new(),
            windows: Scope::new(),
            days: vec![(day, DayMode::Merge)],
            records: LaneRecords::new(layout::INSTANCES, lane.clone()),
            plan_hash: "instances".to_owned(),
        };
        let made = self.make(around, &mut scope, (day, lane)).await;
        let unit = made.unwrap_or_else(|cause| {
            let now = around.context.now;
            NewUnit::failed(layout::INSTANCES, (day, lane), DayMode::Merge, cause, now)
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
            let key = layout::unit(layout::INSTANCES, day, lane);
            let hint = "--force replaces the day's inventory with what is there now";
            each_batch(store, &key, hint, |batch| decode_instances(batch, &mut all)).await?;
        }
        let (of_lane, name) = (lane.clone(), around.account_name.clone());
        let staged = stage(around, scope, (day, lane), &TABLE, move || {
            let instances: Vec<Instance> = all.into_values().collect();
            instances_batch(&of_lane, name.as_deref(), &instances)
        })
        .await?;
        Ok(NewUnit {
            day,
            mode: DayMode::Merge,
            complete: true,
            covered: BTreeMap::new(),
            report: read_unit(scope, (day, lane), staged.as_ref(), around.context.now),
            staged,
        })
    }
}
