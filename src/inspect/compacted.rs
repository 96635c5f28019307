//! Compacted files, verified: each is as it was recorded, and has the rows that the units' records say, of every lane.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::{FileRecord, read_compaction};
use crate::given::context::RunContext;
use crate::inspect::fault::{AT_ONCE, Fault, unreadable_for_good, wanted};
use crate::lake::compaction::{CompactedFile, CompactedUnit, Compaction, OwnFiles, fingerprint};
use crate::lake::layout;
use crate::lake::table::{Partition, Table};
use crate::model::{Cause, Day, Lane, TimeWindow};
use crate::normalize::rows_by_lane;
use crate::sources::metrics::old::{OldError, OldRuns};
use crate::store::{Store, StoreError};
use crate::write::{checksum, read_rows};

/// What the records of a table say, as far as files are compared with it once all were read.
#[derive(Default)]
pub(super) struct Recorded {
    /// Rows and checksum of each lane's file of the units that are compacted.
    pub(super) compacted: BTreeMap<Day, BTreeMap<Lane, (u64, String)>>,
    /// Month and lane of manifests that cannot be read.
    pub(super) unreadable: BTreeSet<(String, Lane)>,
}

/// What is compacted of a table, for who verifies it.
pub(super) struct CompactedTable {
    table: &'static Table,
    record: Compaction,
    /// What is wrong with the record itself.
    pub(super) fault: Option<Fault>,
}

impl CompactedTable {
    pub(super) async fn read(store: &dyn Store, table: &'static Table) -> Result<Self, StoreError> {
        let (record, fault) = match read_compaction(store, table).await {
            Ok(record) => (record, None),
            Err(error) => {
                let fault = Fault {
                    file: layout::compaction(table),
                    what: unreadable_for_good(error)?,
                };
                (Compaction::none(table), Some(fault))
            }
        };
        Ok(Self {
            table,
            record,
            fault,
        })
    }

    /// Notes what a lane's records say of a unit that is compacted.
    pub(super) fn note(&self, recorded: &mut Recorded, unit: Day, lane: &Lane, file: &FileRecord) {
        if self.record.unit(self.table.partition, unit).is_some() {
            let of_unit = recorded.compacted.entry(unit).or_default();
            of_unit.insert(lane.clone(), (file.rows, file.sha256.clone()));
        }
    }

    /// Whether a unit's own file may be missing: its rows are in compacted files.
    pub(super) fn has_instead(&self, unit: Day) -> bool {
        let compacted = self.record.unit(self.table.partition, unit);
        compacted.is_some_and(|unit| unit.own_files != OwnFiles::There)
    }

    /// Looks at every compacted unit in `range`; `recorded` is of the lanes that are asked for.
    pub(super) async fn verify(
        &self,
        context: &RunContext,
        store: &dyn Store,
        (range, scratch): (Option<TimeWindow>, &Path),
        recorded: &Recorded,
    ) -> Result<CheckedUnits, StoreError> {
        let config = &context.config;
        let is_all = config.only_regions.is_empty() && !config.has_account_flag();
        let mut all = CheckedUnits::default();
        let nothing = BTreeMap::new();
        let units = self.record.units.iter().filter_map(|(name, compacted)| {
            let unit = self.table.partition.unit_in(name)?;
            let window = self.table.partition.window(unit);
            let inside = range.is_none_or(|r| !r.intersection(window).is_empty());
            inside.then_some((unit, compacted))
        });
        for (unit, compacted) in units {
            let is_known = !recorded
                .unreadable
                .iter()
                .any(|(month, _)| *month == unit.month());
            let has_records = self.table.partition != Partition::None;
            if !has_records || !is_known {
                self.look(store, compacted, scratch, &mut all).await?;
                continue;
            }
            let expected = recorded.compacted.get(&unit).unwrap_or(&nothing);
            let named = expected.iter().map(|(lane, (_, sha256))| (lane, &**sha256));
            let found = self.look(store, compacted, scratch, &mut all).await?;
            if is_all && fingerprint(named) != compacted.made_of {
                all.faults.push(Fault {
                    file: layout::compacted_folder(self.table, unit),
                    what: "units of it were written since: readers of compacted files see what was before, until `cwlake compact` is run".to_owned(),
                });
                continue;
            }
            let rows_of = |lane: &Lane| expected.get(lane).map(|(rows, _)| *rows);
            let of_others = |lane: &Lane| !wanted(context, lane);
            let differs = found
                .iter()
                .find(|(lane, rows)| !of_others(lane) && rows_of(lane).unwrap_or(0) != **rows);
            let differs = differs.map(|(lane, _)| lane);
            let mut lanes = expected.iter();
            let missing = lanes.find(|(lane, (rows, _))| *rows > 0 && !found.contains_key(*lane));
            let missing = missing.map(|(lane, _)| lane);
            let was_read = compacted.files.len() as u64 == all.files_of_unit;
            if let Some(lane) = differs.or(missing).filter(|_| was_read) {
                let (has, recorded) = (found.get(lane), rows_of(lane));
                all.faults.push(Fault {
                    file: layout::compacted_folder(self.table, unit),
                    what: format!(
                        "it has {} rows of {lane}, {} were recorded",
                        has.unwrap_or(&0),
                        recorded.unwrap_or(0)
                    ),
                });
            }
        }
        if range.is_none() {
            all.faults.extend(self.strangers(store).await?);
        }
        Ok(all)
    }

    /// Every file of a unit: as recorded, and in order. Returns its rows by lane.
    async fn look(
        &self,
        store: &dyn Store,
        compacted: &CompactedUnit,
        scratch: &Path,
        all: &mut CheckedUnits,
    ) -> Result<BTreeMap<Lane, u64>, StoreError> {
        let looked = stream::iter(&compacted.files).map(|file| self.look_at(store, file, scratch));
        let looked: Vec<(&CompactedFile, Looked)> = looked.buffered(AT_ONCE).try_collect().await?;
        let mut found = BTreeMap::new();
        all.files_of_unit = 0;
        for (file, looked) in looked {
            match looked {
                Ok(lanes) => {
                    all.files_of_unit += 1;
                    all.files += 1;
                    for (lane, rows) in lanes {
                        *found.entry(lane).or_default() += rows;
                    }
                }
                Err(what) => all.faults.push(Fault {
                    file: file.name.clone(),
                    what,
                }),
            }
        }
        Ok(found)
    }

    async fn look_at<'f>(
        &self,
        store: &dyn Store,
        file: &'f CompactedFile,
        scratch: &Path,
    ) -> Result<(&'f CompactedFile, Looked), StoreError> {
        let path = match store.open(&file.name, scratch).await {
            Ok(Some(path)) => path,
            Ok(None) => return Ok((file, Err("it is missing".to_owned()))),
            Err(error) => return Ok((file, Err(unreadable_for_good(error)?))),
        };
        let (table, recorded, is_copy) = (self.table, file.clone(), path.starts_with(scratch));
        let checked = tokio::task::spawn_blocking(move || {
            let checked = check(table, &path, &recorded);
            if is_copy {
                let _ = std::fs::remove_file(&path);
            }
            checked
        });
        let checked = checked
            .await
            .unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let told = checked.unwrap_or_else(|error| Err(Cause::of_destination(&error).message));
        Ok((file, told))
    }

    /// Files that no record names.
    async fn strangers(&self, store: &dyn Store) -> Result<Vec<Fault>, StoreError> {
        let known: BTreeSet<&String> = self.record.names().collect();
        let folder = format!("{}{}/", layout::COMPACTED, self.table);
        let entries = store.list(&folder).await?.into_iter();
        let stranger = |key: String| {
            Fault {
            what: if layout::parse_compacted(self.table, &key).is_some() {
                "no record names it, and no view reads it: a compaction ended before it was recorded, or its record is another one"
            } else {
                "it is not cwlake's"
            }
            .to_owned(),
            file: key,
        }
        };
        // What begins so is passed over by every reader: the log of a table format may lie there.
        let is_read = |key: &String| !key.contains("/_") && !key.contains("/.");
        let strangers = entries.map(|e| e.key).filter(|key| !known.contains(key));
        Ok(strangers.filter(is_read).map(stranger).collect())
    }
}

/// Rows of a file by lane, or what is wrong with it.
type Looked = Result<BTreeMap<Lane, u64>, String>;

/// What was looked at.
#[derive(Default)]
pub(super) struct CheckedUnits {
    pub(super) files: u64,
    pub(super) faults: Vec<Fault>,
    files_of_unit: u64,
}

/// Compares a file with its record, and its rows with their order. Its rows by lane, or what is wrong with it.
fn check(table: &'static Table, path: &Path, file: &CompactedFile) -> Result<Looked, OldError> {
    let (bytes, sha256) = checksum(path)?;
    if (bytes, &sha256) != (file.bytes, &file.sha256) {
        return Ok(Err(
            "its checksum is not the one that was recorded".to_owned()
        ));
    }
    let mut lanes: BTreeMap<Lane, u64> = BTreeMap::new();
    if !table.is_points() {
        for batch in read_rows(path)? {
            for (lane, rows) in rows_by_lane(table, &batch?)? {
                *lanes.entry(lane).or_default() += rows.num_rows() as u64;
            }
        }
        return Ok(Ok(lanes));
    }
    let mut runs = OldRuns::open(path)?;
    let mut last: Option<(String, String, Lane, String, String, i64)> = None;
    while let Some((owner, run)) = runs.take_owned()? {
        let metric = &run.identity.series.metric;
        for ts in run.timestamps.first().iter().chain(&run.timestamps.last()) {
            let at = (
                metric.namespace().to_owned(),
                metric.metric_name().to_owned(),
                owner.lane.clone(),
                metric.dimensions_key().to_owned(),
                run.identity.statistic.as_str().to_owned(),
                **ts,
            );
            if last.as_ref().is_some_and(|last| *last > at) {
                return Ok(Err("its rows are not in the declared order".to_owned()));
            }
            last = Some(at);
        }
        *lanes.entry(owner.lane.clone()).or_default() += run.timestamps.len() as u64;
    }
    Ok(Ok(lanes))
}
