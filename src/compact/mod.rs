//! Settled units of a table merged over all lanes into few sorted files: what a reader of many lanes and days opens in place of thousands.
//!
//! Units stay the truth: a unit that is written anew is compacted anew, and no reader ever sees a unit twice or not at all, since views read the files that
//! the record names, and the units' own where it names none.

mod due;
mod merge;
mod output;
mod restore;
mod spill;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::commit::{Lake, LakeError, read_compaction, write_compaction};
use crate::config::Range;
use crate::given::context::{RunContext, run_id};
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::compaction::{Compaction, OwnFiles, ReplacedFile};
use crate::lake::layout;
use crate::lake::table::{Partition, TABLES, Table};
use crate::model::{Cause, CauseKind, Claim, DAY_SECONDS, Day};
use crate::report::{CompactReport, TableCompaction};
use crate::store::{Store, StoreError};

use due::{Due, MonthUnits, months_of};
pub(crate) use restore::restore;
use unit::UnitCompaction;

/// Compacts what is settled of every table and not compacted yet, or written anew since. Reads and writes the lake alone.
///
/// # Errors
/// [`RunError::Lake`] while another run compacts the same lake, [`RunError::Store`] when the lake cannot be listed. What concerns one unit is in the
/// report.
pub async fn compact(context: &RunContext) -> Result<CompactReport, RunError> {
    let place = Place::of(context).await?;
    compact_in(context, &place, &run_id(context.now)).await
}

/// What is compacted of every table, as the lake says.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn compacted(
    context: &RunContext,
) -> Result<Vec<(&'static Table, Compaction)>, RunError> {
    let place = Place::of(context).await?;
    let mut all = Vec::new();
    for table in TABLES {
        all.push((table, read_compaction(&*place.store, table).await?));
    }
    Ok(all)
}

/// Compacts at the end of a run, where that is configured and the run was about whole days: every few minutes would be too often to look for what is
/// settled. None while another run does.
pub(crate) async fn compact_after(
    context: &RunContext,
    place: &Place,
    run_id: &str,
) -> Option<CompactReport> {
    let is_of_days = matches!(context.range, Range::Window(_));
    if !context.config.compact.is_configured || !is_of_days {
        return None;
    }
    let failure = match Box::pin(compact_in(context, place, run_id)).await {
        Ok(report) => return Some(report),
        Err(RunError::Lake(LakeError::Locked(taken))) => {
            tracing::info!(%taken, "nothing is compacted");
            return None;
        }
        Err(error) => Cause::of_destination(&error),
    };
    Some(CompactReport {
        failure: Some(failure),
        ..CompactReport::default()
    })
}

/// The same in a lake that is known.
async fn compact_in(
    context: &RunContext,
    place: &Place,
    run_id: &str,
) -> Result<CompactReport, RunError> {
    let started = std::time::Instant::now();
    let always = Day::containing(0);
    let claim = Claim::nothing().and(layout::COMPACTING, always, always);
    let (store, scratch) = (Arc::clone(&place.store), place.scratch.clone());
    let lake = Lake::open(store, scratch, run_id, claim, &[]).await?;
    let mut report = CompactReport {
        destination: place.store.describe(),
        ..CompactReport::default()
    };
    let mut result = Ok(());
    let config = &context.config;
    let asked =
        |table: &&Table| !config.has_dataset_flag() || config.datasets.contains(&table.dataset);
    for table in TABLES.into_iter().filter(asked) {
        let compacting = Compacting {
            context,
            lake: &lake,
            table,
        };
        result = Box::pin(compacting.table(&mut report)).await;
        if result.is_err() {
            break;
        }
    }
    lake.close().await;
    result?;
    report.seconds = started.elapsed().as_secs_f64();
    let is_stopped = context.stop.is_cancelled();
    report.stopped_by = is_stopped.then(|| crate::telemetry::stop_signal().to_owned());
    Ok(report)
}

/// One table on its way.
struct Compacting<'a> {
    context: &'a RunContext,
    lake: &'a Lake,
    table: &'static Table,
}

impl Compacting<'_> {
    fn store(&self) -> &dyn Store {
        &**self.lake.store()
    }

    /// The first day that is not settled yet.
    fn cutoff(&self) -> Day {
        let days = i64::from(self.context.config.compact.older_than_days);
        Day::containing(self.context.now).plus(1 - days)
    }

    async fn table(&self, report: &mut CompactReport) -> Result<(), StoreError> {
        let mut record = read_compaction(self.store(), self.table).await?;
        let mut done = TableCompaction::of(self.table);
        if self.table.partition == Partition::None {
            self.catalogue(&mut record, &mut done).await?;
        } else {
            for month in months_of(self.store(), self.table, self.cutoff()).await? {
                if record.months.get(&month.name) == Some(&month.stamp) {
                    continue;
                }
                self.month(&month, &mut record, &mut done).await?;
                if self.context.stop.is_cancelled() {
                    break;
                }
            }
        }
        if let Some(days) = self.context.config.compact.prune_after_days {
            self.prune(&mut record, days, &mut done).await?;
        }
        done.tell(&record);
        report.add(done);
        Ok(())
    }

    /// Every settled unit of a month.
    async fn month(
        &self,
        month: &due::Month,
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<(), StoreError> {
        let units = match MonthUnits::read(self.store(), self.table, month).await? {
            Ok(units) => units,
            Err(fault) => {
                done.fail(&month.name, fault);
                return Ok(());
            }
        };
        let partition = self.table.partition;
        let mut is_whole = true;
        for unit in units
            .units()
            .filter(|u| partition.window(*u).end <= self.cutoff().start())
        {
            let due = units.due(unit);
            if record
                .unit(partition, unit)
                .is_some_and(|old| old.made_of == due.made_of)
            {
                continue;
            }
            if self.context.stop.is_cancelled() {
                return Ok(());
            }
            is_whole &= self.unit(unit, &due, record, done).await?;
        }
        if is_whole {
            record
                .months
                .insert(month.name.clone(), month.stamp.clone());
            write_compaction(self.store(), self.table, record).await?;
        }
        Ok(())
    }

    /// One unit. Returns whether it is compacted now.
    async fn unit(
        &self,
        unit: Day,
        due: &Due,
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<bool, StoreError> {
        let name = self.table.partition.folder_of(unit);
        self.context
            .progress
            .stage(&format!("compacting {} {name}", self.table));
        let compaction = UnitCompaction {
            context: self.context,
            lake: self.lake,
            table: self.table,
            unit,
        };
        let old = record.unit(self.table.partition, unit);
        match compaction.run(due, old).await {
            Ok(new) => {
                done.compacted(&new, due.bytes());
                record.set(self.table.partition, unit, new);
                write_compaction(self.store(), self.table, record).await?;
                Ok(true)
            }
            Err(cause) => {
                done.fail(&name, cause);
                Ok(false)
            }
        }
    }

    /// The catalog of series, as it is now: it has no units and is never settled.
    async fn catalogue(
        &self,
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<(), StoreError> {
        let due = Due::of_catalogue(self.store(), self.table).await?;
        let all = Day::containing(0);
        let old = record.unit(Partition::None, all);
        if due.is_empty() || old.is_some_and(|old| old.made_of == due.made_of) {
            return Ok(());
        }
        self.unit(all, &due, record, done).await?;
        Ok(())
    }

    /// Removes the units' own files that have been compacted for some days, and compacted files that others took the place of. The record is written
    /// first: whoever misses a unit's own file then knows where its rows are.
    async fn prune(
        &self,
        record: &mut Compaction,
        days: u32,
        done: &mut TableCompaction,
    ) -> Result<(), StoreError> {
        let before = self.context.now - i64::from(days) * DAY_SECONDS;
        let mut gone = self.unrecorded(record).await?;
        for unit in record.units.values_mut() {
            let (old, kept) = unit.replaced.drain(..).partition(|f| f.since < before);
            let old: Vec<ReplacedFile> = old;
            unit.replaced = kept;
            gone.extend(old.into_iter().map(|f| f.name));
        }
        if !gone.is_empty() {
            write_compaction(self.store(), self.table, record).await?;
            done.pruned += unit::remove_all(self.store(), gone).await?;
        }
        let mut months: BTreeMap<String, Vec<Day>> = BTreeMap::new();
        for (name, there) in &record.units {
            let has_own = there.own_files != OwnFiles::Gone && there.lanes > 0;
            let unit = self.table.partition.unit_in(name);
            // What cwlake reads itself, charges and the catalog of series, is small, and stays.
            let is_daily = self.table.partition == Partition::Day;
            if let Some(unit) = unit.filter(|_| is_daily && has_own && there.at < before) {
                months.entry(unit.month()).or_default().push(unit);
            }
        }
        for (month, units) in months {
            if self.context.stop.is_cancelled() {
                break;
            }
            self.prune_month(&month, &units, record, done).await?;
        }
        Ok(())
    }

    /// Compacted files of which no record speaks: whoever made them died before. Nobody else compacts now.
    async fn unrecorded(&self, record: &Compaction) -> Result<Vec<String>, StoreError> {
        let known: BTreeSet<&String> = record.names().collect();
        let folder = format!("{}{}/", layout::COMPACTED, self.table);
        let entries = self.store().list(&folder).await?.into_iter();
        let ours = |key: &String| layout::parse_compacted(self.table, key).is_some();
        let keys = entries
            .map(|e| e.key)
            .filter(|key| ours(key) && !known.contains(key));
        Ok(keys.collect())
    }

    async fn prune_month(
        &self,
        name: &str,
        units: &[Day],
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (units.first(), units.last()) else {
            return Ok(());
        };
        // Nobody may write them meanwhile: what is removed is what was compacted.
        if let Err(cause) = self.lake.reserve(&[(self.table, *first, *last)]).await {
            done.fail(name, cause);
            return Ok(());
        }
        let months = months_of(self.store(), self.table, self.cutoff()).await?;
        let Some(month) = months.into_iter().find(|m| m.name == name) else {
            return Ok(());
        };
        let Ok(there) = MonthUnits::read(self.store(), self.table, &month).await? else {
            return Ok(());
        };
        let partition = self.table.partition;
        for unit in units {
            let due = there.due(*unit);
            let folder = partition.folder_of(*unit);
            let Some(own) = record
                .units
                .get_mut(&folder)
                .filter(|u| u.made_of == due.made_of)
            else {
                continue;
            };
            own.own_files = OwnFiles::Going;
            write_compaction(self.store(), self.table, record).await?;
            let keys = due.parts.into_iter().map(|part| part.key).collect();
            done.pruned += unit::remove_all(self.store(), keys).await?;
            if let Some(own) = record.units.get_mut(&folder) {
                own.own_files = OwnFiles::Gone;
            }
            write_compaction(self.store(), self.table, record).await?;
        }
        Ok(())
    }
}

/// Why a unit is left for another time.
fn changed(what: &str) -> Cause {
    Cause::new(CauseKind::Destination, what.to_owned())
        .with_hint("compact again: what is compacted of it stays as it is until then")
}
