//! The catalog of series, verified: every file can be read, and every lane with metrics has one.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::LaneRecords;
use crate::given::context::RunContext;
use crate::inspect::fault::{AT_ONCE, Fault, unreadable_for_good, wanted};
use crate::lake::table::{METRICS, SERIES};
use crate::lake::{UnitId, layout};
use crate::model::{Day, Lane};
use crate::sources::metrics::catalog::read_catalog;
use crate::store::{Store, StoreError};

/// The catalog of series has no units: every file of it must be one, and every lane with metrics must have one.
pub(super) async fn verify_series(
    context: &RunContext,
    store: &dyn Store,
    faults: &mut Vec<Fault>,
) -> Result<(), StoreError> {
    let config = &context.config;
    if config.has_dataset_flag() && !config.datasets.contains(&SERIES.dataset) {
        return Ok(());
    }
    let mut found = BTreeSet::new();
    let entries = store.list(&format!("{SERIES}/")).await?.into_iter();
    let of_lane = entries.map(|entry| (layout::parse_lane_file(&SERIES, &entry.key), entry.key));
    let ours = of_lane.filter(|(lane, _)| lane.as_ref().is_none_or(|l| wanted(context, l)));
    let looked = stream::iter(ours).map(|(lane, key)| async move {
        let what = match &lane {
            Some(lane) => series_fault(store, lane, &key).await?,
            None => {
                Some("it is not cwlake's: readers will take it for a part of the table".to_owned())
            }
        };
        Ok::<_, StoreError>((lane, key, what))
    });
    let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
    while let Some((lane, file, what)) = looked.try_next().await? {
        faults.extend(what.map(|what| Fault { file, what }));
        found.extend(lane);
    }
    for entry in store.list(&layout::manifests(&METRICS)).await? {
        let lane = layout::parse_manifest(&METRICS, &entry.key).map(|(_, lane)| lane);
        let Some(lane) = lane.filter(|lane| wanted(context, lane) && !found.contains(lane)) else {
            continue;
        };
        if has_rows(store, &entry.key, &lane).await? {
            faults.push(Fault {
                file: layout::unit(&UnitId::new(&SERIES, Day::containing(0), &lane)),
                what: "it is missing: the next export of metrics writes it".to_owned(),
            });
            found.insert(lane);
        }
    }
    Ok(())
}

/// What is wrong with the catalog of a lane.
async fn series_fault(
    store: &dyn Store,
    lane: &Lane,
    key: &str,
) -> Result<Option<String>, StoreError> {
    let Err(cause) = read_catalog(store, lane).await else {
        return Ok(None);
    };
    // A store that does not answer says nothing of the file.
    if let Err(error) = store.tail(key, 1).await {
        unreadable_for_good(error)?;
    }
    Ok(Some(cause.message))
}

/// Whether a manifest of metrics speaks of rows.
async fn has_rows(store: &dyn Store, key: &str, lane: &Lane) -> Result<bool, StoreError> {
    let month = layout::parse_manifest(&METRICS, key).map(|(month, _)| month);
    let first = month.and_then(|month| Day::parse(&format!("{month}-01")));
    let mut records = LaneRecords::new(&METRICS, lane.clone());
    if let Err(error) = records.read(store, first.into_iter()).await {
        // It was told of with its table.
        unreadable_for_good(error)?;
    }
    let has_files = records
        .all()
        .filter_map(|(_, record)| record.committed.as_ref())
        .any(|committed| !committed.files.is_empty());
    Ok(has_files)
}
