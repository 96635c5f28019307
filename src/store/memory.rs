//! A lake in memory: the reference of the conformance suite, and for tests of what is built on a store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::model::Claim;
use crate::write::Staged;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AcquireError, Entry, Held, Holder, Store, StoreError, StoreErrorKind, Tail};

/// Objects in a map. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Who has locked what, by a number of its own.
    holders: Arc<Mutex<BTreeMap<u64, (String, Claim)>>>,
    /// How the next writes fail, one each.
    failing: Arc<Mutex<Vec<StoreErrorKind>>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next writes of small objects fail, `count` of them.
    pub fn fail_writes(&self, kind: StoreErrorKind, count: usize) {
        *self.failing() = vec![kind; count];
    }

    /// Takes every lock from its holder, who learns of it when it looks.
    #[cfg(test)]
    pub(crate) fn take_over(&self) {
        self.holders().clear();
    }

    fn failing(&self) -> MutexGuard<'_, Vec<StoreErrorKind>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holders(&self) -> MutexGuard<'_, BTreeMap<u64, (String, Claim)>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, number: u64, holder: String, claim: &Claim) -> Result<(), AcquireError> {
        let mut holders = self.holders();
        let mut others = holders.iter().filter(|(n, _)| **n != number);
        if let Some((_, (other, _))) = others.find(|(_, (_, theirs))| theirs.conflicts(claim)) {
            return Err(AcquireError::Taken {
                root: self.describe(),
                holder: other.clone(),
            });
        }
        holders.insert(number, (holder, claim.clone()));
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        if let Some(kind) = self.failing().pop() {
            return Err(StoreError {
                kind,
                doing: format!("writing {key}"),
                message: "it was to fail".to_owned(),
                hint: None,
            });
        }
        self.objects().insert(key.to_owned(), body);
        Ok(())
    }

    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let io = |e| StoreError::io("reading", &staged.path, &e);
        let body = std::fs::read(&staged.path).map_err(io)?;
        self.objects().insert(key.to_owned(), body.into());
        std::fs::remove_file(&staged.path).map_err(io)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.objects().get(key).cloned())
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError> {
        Ok(self.objects().get(key).map(|body| {
            let from = body
                .len()
                .saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
            Tail {
                size: body.len() as u64,
                bytes: body.slice(from..),
            }
        }))
    }

    async fn open(&self, key: &str, scratch: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Some(body) = self.get(key).await? else {
            return Ok(None);
        };
        let path = scratch.join(key.replace('/', "_"));
        std::fs::create_dir_all(scratch)
            .and_then(|()| std::fs::write(&path, body))
            .map_err(|e| StoreError::io("writing", &path, &e))?;
        Ok(Some(path))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(self
            .objects()
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, body)| Entry {
                key: key.clone(),
                bytes: body.len() as u64,
                stamp: format!("{:?}", Sha256::digest(body)),
            })
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn prove_writable(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sweep(&self, _: &dyn Held) -> Result<(), StoreError> {
        Ok(())
    }

    async fn acquire(&self, holder: &Holder, claim: &Claim) -> Result<Box<dyn Held>, AcquireError> {
        let number = fastrand::u64(..);
        let lock = MemoryLock {
            number,
            beside: self.holders().values().map(|(_, c)| c.clone()).collect(),
            store: self.clone(),
        };
        self.claim(number, holder.to_string(), claim)?;
        Ok(Box::new(lock))
    }
}

#[derive(Debug)]
struct MemoryLock {
    number: u64,
    beside: Vec<Claim>,
    store: MemoryStore,
}

#[async_trait]
impl Held for MemoryLock {
    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }

    async fn is_alone(&self) -> Result<bool, StoreError> {
        Ok(self.store.holders().len() == 1)
    }

    fn beside(&self) -> Vec<Claim> {
        self.beside.clone()
    }

    async fn is_held(&self, doubted: bool) -> bool {
        !doubted || self.store.holders().contains_key(&self.number)
    }

    async fn widen(&self, claim: &Claim) -> Result<(), AcquireError> {
        let holder = self.store.holders()[&self.number].0.clone();
        self.store.claim(self.number, holder, claim)
    }

    async fn release(self: Box<Self>) {}
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.store.holders().remove(&self.number);
    }
}
