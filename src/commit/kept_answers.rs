//! Copies of kept answers in the lake itself: a shard that died is tried again on any machine, and finds there what was paid for.
//!
//! A file has the name it has in the spool, below the folder of its lane. Copies are never what a run relies on: one that cannot be written or
//! read is a request more, as a file of the spool is that is cut short.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use crate::files::{create_folder, create_own};
use crate::lake::layout;
use crate::model::Lane;
use crate::store::{Store, StoreError};

/// Copies that are brought or removed at once, of one lane.
const AT_ONCE: usize = 8;

/// What a copy may take: the answer waits for it.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Copies that fail in a row, after which a run makes no more.
const MOST_FAILURES: u32 = 3;

/// The copies of a lake, as they were when it was listed.
#[derive(Debug)]
pub struct KeptAnswers {
    store: Arc<dyn Store>,
    /// Names of files by the folder of their lane.
    listed: BTreeMap<String, Vec<String>>,
    failures: AtomicU32,
}

impl KeptAnswers {
    /// Lists them, once for all lanes.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in store.list(layout::SPOOL).await? {
            let rest = entry.key.strip_prefix(layout::SPOOL).unwrap_or_default();
            if let Some((lane, name)) = rest.split_once('/')
                && layout::parse_kept_answer(name).is_some()
            {
                let of_lane = listed.entry(lane.to_owned()).or_default();
                of_lane.push(name.to_owned());
            }
        }
        Ok(Self {
            store,
            listed,
            failures: AtomicU32::new(0),
        })
    }

    /// Removes those of runs that were planned before `oldest`: nobody came back for them.
    pub async fn sweep(&self, oldest: i64) {
        let is_old = |name: &str| layout::parse_kept_answer(name).is_some_and(|at| at < oldest);
        let all = self.listed.iter();
        let all = all.flat_map(|(lane, names)| names.iter().map(move |name| (lane, name)));
        let old = all.filter(|(_, name)| is_old(name));
        let keys: Vec<String> = old
            .map(|(lane, name)| format!("{}{lane}/{name}", layout::SPOOL))
            .collect();
        self.remove(keys).await;
    }

    /// Brings those of a lane to its folder of the spool, where `is_whole` says that they are not there yet. Returns what was brought.
    pub async fn bring(
        &self,
        lane: &Lane,
        folder: &Path,
        is_whole: fn(&Path) -> bool,
    ) -> Vec<PathBuf> {
        let names = self.listed.get(&layout::spool_folder(lane));
        let places = names.into_iter().flatten();
        let places = places.map(|name| (key(lane, name), folder.join(name)));
        let wanted: Vec<(String, PathBuf)> = places.filter(|(_, path)| !is_whole(path)).collect();
        let mut brought = Vec::new();
        for some in wanted.chunks(AT_ONCE) {
            let all = some.iter().map(|(key, path)| self.bring_one(key, path));
            let all = futures::future::join_all(all).await;
            for ((_, path), result) in some.iter().zip(all) {
                match result {
                    Ok(()) => brought.push(path.clone()),
                    Err(error) => {
                        tracing::warn!(%error, "an answer that was kept in the lake is not used");
                    }
                }
            }
        }
        brought
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

    /// Makes a copy. When several fail in a row, there will be no more of this run: answers do not wait for a store that does not take them.
    pub async fn keep(&self, lane: &Lane, name: &str, bytes: Bytes) {
        if self.failures.load(Ordering::Relaxed) >= MOST_FAILURES {
            return;
        }
        let key = key(lane, name);
        let kept = tokio::time::timeout(TIME_LIMIT, self.store.put(&key, bytes)).await;
        let error = match kept {
            Ok(Ok(())) => return self.failures.store(0, Ordering::Relaxed),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("writing {key}: it took longer than {TIME_LIMIT:?}"),
        };
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == MOST_FAILURES {
            tracing::warn!(%error, "answers are no longer kept in the lake: a run on another machine would ask for them again");
        }
    }

    /// Removes copies of a lane by their names.
    pub async fn forget(&self, lane: &Lane, names: &[String]) {
        self.remove(names.iter().map(|name| key(lane, name)).collect())
            .await;
    }

    async fn remove(&self, keys: Vec<String>) {
        futures::stream::iter(keys)
            .for_each_concurrent(AT_ONCE, async |key| {
                if let Err(error) = self.store.delete(&key).await {
                    tracing::warn!(%error, "removing a kept answer");
                }
            })
            .await;
    }
}

fn key(lane: &Lane, name: &str) -> String {
    format!("{}{}/{name}", layout::SPOOL, layout::spool_folder(lane))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Region};
    use crate::store::{MemoryStore, StoreErrorKind};

    fn lane() -> Lane {
        Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("eu-west-1").expect("region"),
        }
    }

    #[tokio::test]
    async fn copies_are_found_elsewhere_and_swept_by_their_age() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (lane, dir) = (lane(), tempfile::tempdir().expect("a folder"));
        let here = KeptAnswers::list(Arc::clone(&store)).await.expect("listed");
        let names = [900, 5_000].map(|at| layout::kept_answer(at, 7));
        for name in &names {
            here.keep(&lane, name, Bytes::from_static(b"answer")).await;
        }
        store
            .put("_cwlake/spool/x/other", Bytes::new())
            .await
            .expect("put");
        let there = KeptAnswers::list(Arc::clone(&store)).await.expect("listed");
        let is_there: fn(&Path) -> bool = |path| path.to_string_lossy().contains("5000-");
        let brought = there.bring(&lane, dir.path(), is_there).await;
        assert_eq!(brought, [dir.path().join(&names[0])]);
        assert_eq!(std::fs::read(&brought[0]).expect("there"), b"answer");
        there.sweep(1_000).await;
        let left = async || store.list(layout::SPOOL).await.expect("listed").len();
        assert_eq!(left().await, 2, "the newer one, and what is not ours");
        there.forget(&lane, &names).await;
        assert_eq!(left().await, 1);
    }

    #[tokio::test]
    async fn what_is_exactly_old_enough_stays() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let kept = KeptAnswers::list(Arc::clone(&store)).await.expect("listed");
        for at in [999, 1_000] {
            let name = layout::kept_answer(at, 7);
            kept.keep(&lane(), &name, Bytes::new()).await;
        }
        let listed = KeptAnswers::list(Arc::clone(&store)).await.expect("listed");
        listed.sweep(1_000).await;
        let left = store.list(layout::SPOOL).await.expect("listed");
        assert!(
            left.len() == 1 && left[0].key.contains("/1000-"),
            "{left:?}"
        );
    }

    #[tokio::test]
    async fn a_store_that_takes_no_answers_is_asked_no_more_in_this_run() {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let kept = KeptAnswers::list(Arc::clone(&store)).await.expect("listed");
        let keep = async |at| {
            let name = layout::kept_answer(at, 7);
            kept.keep(&lane(), &name, Bytes::new()).await;
        };
        let count = async || store.list(layout::SPOOL).await.expect("listed").len();
        let most = MOST_FAILURES as usize;
        memory.fail_writes(StoreErrorKind::Temporary, most - 1);
        for at in 0..MOST_FAILURES {
            keep(i64::from(at)).await;
        }
        assert_eq!(
            count().await,
            1,
            "one came through, and the count begins anew"
        );
        memory.fail_writes(StoreErrorKind::Temporary, most);
        for at in 0..=MOST_FAILURES {
            keep(100 + i64::from(at)).await;
        }
        assert_eq!(count().await, 1, "it is not even tried");
    }
}
