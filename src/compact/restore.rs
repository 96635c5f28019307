//! A lane's own file of a unit that was pruned, made of the compacted ones again: a run that writes the unit anew adds to what is there.

use std::collections::BTreeSet;

use crate::commit::{Committed, Lake, read_compaction};
use crate::lake::{UnitId, layout};
use crate::model::Cause;
use crate::store::Store;
use crate::write::Staged;

use super::changed;
use super::merge::{Source, merge};
use super::output::{PointsOutput, RowsOutput, Target};
use super::unit::{Trouble, blocking, push_lanes};
use crate::sources::metrics::old::OldError;

/// Writes the lane's own file again where it is missed.
///
/// # Errors
/// The store's; or that the compacted files do not have the rows that were recorded.
pub(crate) async fn restore(lake: &Lake, id: &UnitId, committed: &Committed) -> Result<(), Cause> {
    let store = &**lake.store();
    let key = layout::unit(id);
    let Some(recorded) = committed.files.first() else {
        return Ok(());
    };
    if store.tail(&key, 1).await?.is_some() {
        return Ok(());
    }
    tracing::info!(%id, "restoring the unit from its compacted files");
    let folder = lake.staging().join(format!(
        "restore-{}-{}-{}-{}",
        id.table, id.unit, id.lane.account, id.lane.region
    ));
    let staged = extract(store, id, committed, &folder).await;
    let result = match staged {
        Ok(staged) if staged.rows == recorded.rows => {
            let published = store.publish(&key, &staged).await;
            published.map_err(Cause::from)
        }
        Ok(staged) => Err(changed(&format!(
            "the compacted files have {} rows of {id}, {} were recorded",
            staged.rows, recorded.rows
        ))),
        Err(cause) => Err(cause),
    };
    let _ = std::fs::remove_dir_all(&folder);
    result
}

async fn extract(
    store: &dyn Store,
    id: &UnitId,
    committed: &Committed,
    folder: &std::path::Path,
) -> Result<Staged, Cause> {
    let record = read_compaction(store, id.table).await?;
    let files = record.unit(id.table.partition, id.unit);
    let files = files.into_iter().flat_map(|unit| &unit.files);
    let mut paths = Vec::new();
    for file in files {
        let path = store.open(&file.name, folder).await?;
        paths.push(path.ok_or_else(|| changed(&format!("{} is missing", file.name)))?);
    }
    let target = Target {
        folder: folder.join("own"),
        bytes: u64::MAX,
        sort: id.table.sort.to_vec(),
        plan_hash: Some(committed.plan_hash.clone()),
        complete: committed.complete,
    };
    let (table, lanes) = (id.table, BTreeSet::from([id.lane.clone()]));
    let staged = blocking(move || {
        if table.is_points() {
            let mut sources = Vec::new();
            for path in &paths {
                sources.push(Source::open(path, Some(lanes.clone()))?);
            }
            let mut out = PointsOutput::new(target);
            merge(sources, |run| out.push(run))?;
            return Ok(out.finish()?);
        }
        let mut out = RowsOutput::new(table, target);
        for path in &paths {
            push_lanes(table, path, &lanes, |_, rows| {
                out.push(&rows)
                    .map_err(|e| Trouble::File(OldError::from(e)))
            })?;
        }
        Ok(out.finish().map_err(OldError::from)?)
    });
    let staged = staged.await?.into_iter().next();
    staged.ok_or_else(|| changed(&format!("the compacted files have no rows of {id}")))
}
