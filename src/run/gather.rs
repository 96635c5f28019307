//! The shards of a group brought together: one report, one ending, the alerts once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::alert::breaches::alert_after_export;
use crate::commit::{Group, GroupError, Lake, LaneRecords, read_group, write_group};
use crate::compact::compact_after;
use crate::config::{Range, RangeError};
use crate::given::context::{RunContext, run_id};
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::layout;
use crate::lake::table::Table;
use crate::model::{AccountId, Claim, Dataset, Day, GroupName, Lane, Member, Region, Shard};
use crate::report::{RunReport, ShardReport, unpacked};
use crate::run::enter::accounts::with_accounts;
use crate::run::notify::tell;
use crate::run::pipeline::{remove_old_reports, store};
use crate::store::{Store, StoreError};

/// Objects that are read at once.
const READS_AT_ONCE: usize = 32;

/// The name of a group that nobody named: the days that are asked.
///
/// # Errors
/// [`RangeError`] when each lane is asked from where its last run ended: then every run would be the same group.
pub fn group_of(range: Range) -> Result<GroupName, RangeError> {
    let refused = |message: &str| RangeError {
        flag: "--group",
        message: message.to_owned(),
    };
    let Range::Window(window) = range else {
        return Err(refused(
            "--since last needs a name that is new for each time the shards are started",
        ));
    };
    let name = |seconds: i64| {
        let day = Day::containing(seconds);
        if day.start() == seconds {
            day.to_string()
        } else {
            crate::model::iso_seconds(seconds).replace(':', "-")
        }
    };
    let name = format!("{}_{}", name(window.start), name(window.end));
    GroupName::parse(&name).ok_or_else(|| refused("these days cannot name a group"))
}

/// Brings the reports of all shards of a group together, tells of breaches, and keeps the whole as the report of one run. Takes what the group
/// claimed: a shard that is still under way is told of.
///
/// # Errors
/// [`RunError::Group`] when there is no such group, [`RunError::Incomplete`] when the report of a shard is missing, or does not speak of what is in
/// the lake; [`RunError::Lake`] while a shard runs.
pub async fn gather(context: &RunContext, name: &GroupName) -> Result<RunReport, RunError> {
    let place = Arc::new(Place::of(context).await?);
    let destination = &*place.store;
    let there = read_group(destination, name)
        .await
        .map_err(RunError::Store)?;
    let group = there.ok_or_else(|| GroupError::None {
        group: name.clone(),
        root: destination.describe(),
    })?;
    let (mut context, _) = with_accounts(context, &place).await?;
    if let Some(window) = group.window() {
        context.range = Range::Window(window);
    }
    let run_id = run_id(context.now);
    // Whatever days its shards are about: none of them may run.
    let claim = Claim {
        member: Some(Member {
            group: name.clone(),
            shard: Shard::ALL,
        }),
        ..Claim::nothing()
    };
    let (lake_store, scratch) = (Arc::clone(&place.store), place.scratch.clone());
    let lake = Lake::open(lake_store, scratch, &run_id, claim, &[]).await?;
    let gathered = gather_into(&context, &lake, name, group, run_id).await;
    lake.close().await;
    let mut report = gathered?;
    if report.stopped_by.is_none() {
        report.compaction = compact_after(&context, &place, &report.run_id).await;
        report.notices = tell(&context, &*place.store, &report).await;
        if report.compaction.is_some() || report.notices.is_some() {
            store(&*place.store, &mut report).await;
        }
    }
    Ok(report)
}

async fn gather_into(
    context: &RunContext,
    lake: &Lake,
    name: &GroupName,
    mut group: Group,
    run_id: String,
) -> Result<RunReport, RunError> {
    let destination = &**lake.store();
    let shards = reports(destination, name, &group).await?;
    check_counts(destination, name, &shards).await?;
    let whole = RunReport::of_shards(shards, run_id);
    let mut report = whole.ok_or_else(|| incomplete(name, BTreeMap::new()))?;
    if context.config.exports(Dataset::Spend) && report.stopped_by.is_none() {
        report.alerts = Box::pin(alert_after_export(context, destination, &report.run_id)).await;
    }
    store(destination, &mut report).await;
    remove_old_reports(context, destination).await;
    group.gathered_as = Some(report.run_id.clone());
    write_group(destination, name, &group)
        .await
        .map_err(RunError::Store)?;
    Ok(report)
}

/// The report of every shard, in order.
async fn reports(
    store: &dyn Store,
    name: &GroupName,
    group: &Group,
) -> Result<Vec<RunReport>, RunError> {
    let read = stream::iter(1..=group.shards).map(|index| async move {
        let key = layout::shard_report(name, index);
        let Some(body) = store.get(&key).await? else {
            return Ok((index, None));
        };
        let report: Option<RunReport> = unpacked(&body)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok::<_, StoreError>((index, report))
    });
    let read: Vec<(u32, Option<RunReport>)> = read
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await
        .map_err(RunError::Store)?;
    let mut reports = Vec::new();
    let mut missing = BTreeMap::new();
    for (index, report) in read {
        let shard = Shard {
            index,
            of: group.shards,
        };
        let is_of_group =
            |own: &ShardReport| own.generation == group.generation && own.member.shard == shard;
        match report {
            Some(report) if !report.shard.as_ref().is_some_and(is_of_group) => {
                missing.insert(
                    shard,
                    "did not run yet; its report is of an earlier run".to_owned(),
                );
            }
            Some(RunReport {
                stopped_by: Some(signal),
                ..
            }) => {
                missing.insert(shard, format!("was stopped by {signal}"));
            }
            Some(report) => reports.push(report),
            None => {
                missing.insert(shard, "left no report".to_owned());
            }
        }
    }
    if missing.is_empty() {
        Ok(reports)
    } else {
        Err(incomplete(name, missing))
    }
}

fn incomplete(group: &GroupName, missing: BTreeMap<Shard, String>) -> RunError {
    /// Shards that are named; more are only counted.
    const NAMED: usize = 8;
    let all = missing.len();
    let named = missing.into_iter().take(NAMED);
    let mut text: Vec<String> = named
        .map(|(shard, why)| format!("shard {shard} {why}"))
        .collect();
    if all > NAMED {
        text.push(format!("and {} more", all - NAMED));
    }
    RunError::Incomplete {
        group: group.clone(),
        why: text.join("; "),
    }
}

/// The shard that wrote a unit, its day, checksum and rows.
type WrittenUnit<'a> = (Shard, Day, (&'a str, u64));

/// What a shard says it wrote is what the lake has.
async fn check_counts(
    store: &dyn Store,
    name: &GroupName,
    shards: &[RunReport],
) -> Result<(), RunError> {
    let mut units: BTreeMap<(&'static Table, Lane), Vec<WrittenUnit>> = BTreeMap::new();
    for report in shards {
        let Some(shard) = report.shard.as_ref().map(|own| own.member.shard) else {
            continue;
        };
        for unit in &report.units {
            let lane = AccountId::parse(&unit.account_id).zip(Region::parse(&unit.region));
            let written = unit.sha256.as_deref().map(|sha256| (sha256, unit.rows));
            let parts = (lane, Day::parse(&unit.date), written);
            if let (Some((account, region)), Some(day), Some(written)) = parts {
                let of_lane = units.entry((unit.table, Lane { account, region }));
                of_lane.or_default().push((shard, day, written));
            }
        }
    }
    let checked = stream::iter(units).map(|((table, lane), units)| async move {
        let mut records = LaneRecords::new(table, lane.clone());
        records
            .read(store, units.iter().map(|(_, day, _)| *day))
            .await?;
        let differs = units.into_iter().find(|(_, day, (sha256, rows))| {
            let files = records.committed(*day).into_iter().flat_map(|c| &c.files);
            // A run after the shard may have added late points.
            !files
                .into_iter()
                .any(|f| f.sha256 == *sha256 || f.rows > *rows)
        });
        let named = |(shard, day, _): WrittenUnit| {
            (
                shard,
                format!("speaks of {table} of {lane} on {day}, which the lake has otherwise"),
            )
        };
        Ok::<_, StoreError>(differs.map(named))
    });
    let differing: Vec<Option<(Shard, String)>> = checked
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await
        .map_err(RunError::Store)?;
    let differing: BTreeMap<Shard, String> = differing.into_iter().flatten().collect();
    if differing.is_empty() {
        Ok(())
    } else {
        Err(incomplete(name, differing))
    }
}
