//! Copies of kept answers in the lake itself: a shard that died is tried again on any machine, and finds there what was paid for.
//!
//! A file has the name it has in the spool, below the folder of its lane. Copies are never what a run relies on: one that cannot be written or
//! read is a request more, as a file of the spool is that is cut short.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::spool::{is_kept, lane_folder, planned_at_of};
use crate::files::{create_folder, create_own};
use crate::lake::layout::SPOOL;
use crate::model::Lane;
use crate::store::{Store, StoreError};

/// Copies that are brought at once, of one lane.
const AT_ONCE: usize = 4;

/// The copies of a lake, as they were when it was listed.
#[derive(Debug)]
pub struct SpoolCopies {
    store: Arc<dyn Store>,
    /// Names and sizes of files by the folder of their lane.
    listed: BTreeMap<String, Vec<(String, u64)>>,
}

impl SpoolCopies {
    /// Lists them, once for all lanes; those that no run came back for in two weeks are removed.
    ///
    /// # Errors
    /// The store's, of the listing.
    pub async fn list(store: Arc<dyn Store>, now: i64) -> Result<Self, StoreError> {
        let mut listed: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for entry in store.list(SPOOL).await? {
            let rest = entry.key.strip_prefix(SPOOL).unwrap_or_default();
            let Some((lane, name)) = rest.split_once('/') else {
                continue;
            };
            match planned_at_of(name) {
                Some(planned_at) if is_kept(planned_at, now) => {
                    let of_lane = listed.entry(lane.to_owned()).or_default();
                    of_lane.push((name.to_owned(), entry.bytes));
                }
                Some(_) => remove(&*store, &entry.key).await,
                None => {}
            }
        }
        Ok(Self { store, listed })
    }

    /// Brings those of a lane to its folder of the spool, where they are not there whole already.
    pub(super) async fn bring(&self, lane: &Lane, folder: &Path) {
        let files = self.listed.get(&lane_folder(lane)).into_iter().flatten();
        let has = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len());
        let wanted = files.filter(|(name, bytes)| has(name) != *bytes);
        futures_util::stream::iter(wanted)
            .for_each_concurrent(AT_ONCE, async |(name, _)| {
                if let Err(error) = self.bring_one(&key(lane, name), &folder.join(name)).await {
                    tracing::warn!(%error, "an answer that was kept in the lake is not used");
                }
            })
            .await;
    }

    async fn bring_one(&self, key: &str, path: &Path) -> Result<(), StoreError> {
        let Some(bytes) = self.store.get(key).await? else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(path);
        create_folder(folder)
            .and_then(|()| std::io::Write::write_all(&mut create_own(path)?, &bytes))
            .map_err(|e| StoreError::io("writing", path, &e))
    }

    pub(super) async fn keep(&self, lane: &Lane, name: &str, bytes: Bytes) {
        if let Err(error) = self.store.put(&key(lane, name), bytes).await {
            tracing::warn!(%error, "an answer is not kept in the lake: a run on another machine would ask for it again");
        }
    }

    pub(super) async fn forget(&self, lane: &Lane, names: &[String]) {
        futures_util::stream::iter(names)
            .for_each_concurrent(AT_ONCE, async |name| {
                remove(&*self.store, &key(lane, name)).await
            })
            .await;
    }
}

async fn remove(store: &dyn Store, key: &str) {
    if let Err(error) = store.delete(key).await {
        tracing::warn!(%error, "removing a kept answer");
    }
}

fn key(lane: &Lane, name: &str) -> String {
    format!("{SPOOL}{}/{name}", lane_folder(lane))
}
