//! Units whose own files are gone: their rows are in compacted files.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::Mutex;

use crate::commit::read_compaction;
use crate::lake::compaction::OwnFiles;
use crate::lake::table::{Partition, Table};
use crate::model::Day;
use crate::store::{Store, StoreError};

/// What was pruned of a lake, read once a table, and only where a file is missed.
#[derive(Debug, Default)]
pub struct PrunedUnits(Mutex<BTreeMap<&'static str, BTreeSet<Day>>>);

impl PrunedUnits {
    /// Whether the own files of a unit's lanes were removed after it was compacted.
    ///
    /// # Errors
    /// The store's, or a record that cannot be read.
    pub(crate) async fn has(
        &self,
        store: &dyn Store,
        table: &'static Table,
        unit: Day,
    ) -> Result<bool, StoreError> {
        if table.partition != Partition::Day {
            return Ok(false);
        }
        let mut known = self.0.lock().await;
        if let Some(units) = known.get(table.name) {
            return Ok(units.contains(&unit));
        }
        let record = read_compaction(store, table).await?;
        let pruned = record.units.iter();
        let pruned = pruned.filter(|(_, there)| there.own_files != OwnFiles::There);
        let units: BTreeSet<Day> = pruned
            .filter_map(|(name, _)| table.partition.unit_in(name))
            .collect();
        let has = units.contains(&unit);
        known.insert(table.name, units);
        Ok(has)
    }
}
