//! Settled units of a table merged over all lanes into few sorted files: what a reader of many lanes and days opens in place of thousands.
//!
//! Units stay the truth: a unit that is written anew is compacted anew, and no reader ever sees a unit twice or not at all, since views read the files that
//! the record names, and the units' own where it names none.

mod due;
mod merge;
mod output;
mod spill;
mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::commit::{Lake, LakeError, read_compaction, write_compaction};
use crate::config::Range;
use crate::given::context::{RunContext, run_id};
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::compaction::{CompactedUnit, Compaction, OwnFiles, ReplacedFile};
use crate::lake::layout;
use crate::lake::table::{Partition, TABLES, Table};
use crate::model::{Cause, CauseKind, Claim, DAY_SECONDS, Day};
use crate::report::{CompactReport, TableCompaction};
use crate::store::{Store, StoreError, StoreErrorKind};

use due::{Due, MonthUnits, months_of};
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
    // A folder of its own: a task of the run that is still about to end may hold the run's.
    let own = format!("{run_id}-compact");
    let failure = match Box::pin(compact_in(context, place, &own)).await {
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
    if !lake.is_ours(false).await {
        report.failure = Some(Cause::lock_lost());
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

    /// The first day that is not settled: the days before it ended as many days ago as it takes.
    fn cutoff(&self) -> Day {
        let days = i64::from(self.context.config.compact.older_than_days);
        Day::containing(self.context.now).plus(-days)
    }

    async fn table(&self, report: &mut CompactReport) -> Result<(), StoreError> {
        let mut done = TableCompaction::of(self.table);
        let mut record = match read_compaction(self.store(), self.table).await {
            Ok(record) => record,
            // It keeps nobody from the other tables.
            Err(error) if error.kind == StoreErrorKind::Refused => {
                done.fail("all of it", error.into());
                report.add(done);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.look_at_files(&mut record, &mut done).await?;
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
            self.write(record).await?;
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
        let old = record.unit(self.table.partition, unit);
        match self.of_unit(unit).run(due, old).await {
            Ok(new) => {
                done.compacted(&new, due.bytes());
                record.set(self.table.partition, unit, new);
                self.write(record).await
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
        let mut gone = Vec::new();
        for unit in record.units.values_mut() {
            let (old, kept) = unit.replaced.drain(..).partition(|f| f.since < before);
            let old: Vec<ReplacedFile> = old;
            unit.replaced = kept;
            gone.extend(old.into_iter().map(|f| f.name));
        }
        if !gone.is_empty() && self.write(record).await? {
            done.pruned += self.remove_all(&gone).await?;
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
            tracing::info!(%cause, table = self.table.name, month = name, "nothing is pruned now");
            return Ok(());
        }
        let months = months_of(self.store(), self.table, self.cutoff()).await?;
        let Some(month) = months.into_iter().find(|m| m.name == name) else {
            return Ok(());
        };
        let Ok(there) = MonthUnits::read(self.store(), self.table, &month).await? else {
            return Ok(());
        };
        for unit in units {
            let due = there.due(*unit);
            // What has a hole is asked again, and that takes its own file.
            if due.is_whole && !self.prune_unit(*unit, due, record, done).await? {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the lake is still ours.
    async fn prune_unit(
        &self,
        unit: Day,
        due: Due,
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<bool, StoreError> {
        let folder = self.table.partition.folder_of(unit);
        let Some(there) = record
            .units
            .get(&folder)
            .filter(|u| u.made_of == due.made_of)
        else {
            return Ok(true);
        };
        let compaction = self.of_unit(unit);
        if let Err(cause) = compaction.check_compacted(there).await {
            done.fail(&folder, cause);
            return Ok(true);
        }
        for (own_files, keys) in [
            (
                OwnFiles::Going,
                due.parts.into_iter().map(|part| part.key).collect(),
            ),
            (OwnFiles::Gone, Vec::new()),
        ] {
            if let Some(there) = record.units.get_mut(&folder) {
                there.own_files = own_files;
            }
            if !self.write(record).await? {
                return Ok(false);
            }
            let removed = self.remove_all(&keys).await?;
            done.pruned += removed;
            if removed < keys.len() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn of_unit(&self, unit: Day) -> UnitCompaction<'_> {
        UnitCompaction {
            context: self.context,
            lake: self.lake,
            table: self.table,
            unit,
        }
    }

    /// Writes the record while the lake is ours; returns whether it is.
    async fn write(&self, record: &Compaction) -> Result<bool, StoreError> {
        let is_ours = self.lake.is_ours(false).await;
        if is_ours {
            write_compaction(self.store(), self.table, record).await?;
        }
        Ok(is_ours)
    }

    /// Removes objects while the lake is ours; returns how many.
    async fn remove_all(&self, keys: &[String]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for some in keys.chunks(unit::AT_ONCE) {
            if !self.lake.is_ours(false).await {
                break;
            }
            let store = self.store();
            let all = some.iter().map(|key| store.delete(key));
            futures::future::try_join_all(all).await?;
            removed += some.len() as u64;
        }
        Ok(removed)
    }

    /// Compacted files that are missing, or of another size than recorded: their units are compacted anew while they have their own files.
    async fn look_at_files(
        &self,
        record: &mut Compaction,
        done: &mut TableCompaction,
    ) -> Result<(), StoreError> {
        let folder = format!("{}{}/", layout::COMPACTED, self.table);
        let entries = self.store().list(&folder).await?.into_iter();
        let there: BTreeMap<String, u64> = entries.map(|e| (e.key, e.bytes)).collect();
        let is_broken = |unit: &CompactedUnit| {
            let mut files = unit.files.iter();
            files
                .find(|f| there.get(&f.name) != Some(&f.bytes))
                .map(|f| f.name.clone())
        };
        let broken = record.units.iter();
        let broken = broken.filter_map(|(name, unit)| Some((name.clone(), is_broken(unit)?)));
        for (name, file) in broken.collect::<Vec<_>>() {
            let own = record.units.get(&name).map(|unit| unit.own_files);
            if own == Some(OwnFiles::There) {
                record.units.remove(&name);
                record.months.clear();
            } else {
                let what = format!(
                    "{file} is missing or not as long as recorded, and the units' own files were removed"
                );
                let cause = Cause::new(CauseKind::Destination, what);
                done.fail(
                    &name,
                    cause.with_hint("put it back from a copy: its name says its content"),
                );
            }
        }
        Ok(())
    }
}

/// Why a unit is left for another time.
fn changed(what: &str) -> Cause {
    Cause::new(CauseKind::Destination, what.to_owned())
        .with_hint("compact again: what is compacted of it stays as it is until then")
}
