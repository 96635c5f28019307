//! A lake in memory that many processes share, each of which may die or fall asleep at any of its requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use cwlake::model::Claim;
use cwlake::store::{AcquireError, Entry, Held, Holder, Store, StoreError, StoreErrorKind, Tail};
use cwlake::write::Staged;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// An object, and a number that is another whenever it is written.
type Objects = BTreeMap<String, (u64, Bytes)>;

/// What all processes share.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    objects: Mutex<Objects>,
    writes: AtomicU64,
    locks: Mutex<BTreeMap<u64, Lock>>,
}

/// A lock that somebody took.
#[derive(Clone, Debug)]
struct Lock {
    holder: String,
    claim: Claim,
    /// Whoever took it is dead or asleep for longer than its lease: it can be taken over.
    is_left: bool,
}

impl Bucket {
    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("nobody broke down")
    }

    /// Whether a process has a lock, as far as nobody has taken it over.
    pub(crate) fn has_lock_of(&self, process: &Process) -> bool {
        self.locks().contains_key(&process.0.number)
    }

    /// The number of the last write.
    pub(crate) fn last_write(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    fn locks(&self) -> MutexGuard<'_, BTreeMap<u64, Lock>> {
        self.locks.lock().expect("nobody broke down")
    }
}

/// What becomes of a process at one of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    None,
    /// It dies before that request is carried out.
    DiesBefore(u32),
    /// It dies after it, before it is answered.
    DiesAfter(u32),
    /// The request is on its way for longer than the lease lives, and is then carried out.
    SleepsAt(u32),
}

/// One process's view: what it saw of each object last, as a bucket's conditional requests have it.
#[derive(Clone, Debug)]
pub(crate) struct Process(Arc<ProcessState>);

#[derive(Debug)]
struct ProcessState {
    bucket: Arc<Bucket>,
    number: u64,
    trouble: Trouble,
    requests: AtomicU64,
    seen: Mutex<BTreeMap<String, Option<u64>>>,
    dead: CancellationToken,
    asleep: Notify,
    awake: Notify,
}

impl Process {
    pub(crate) fn new(bucket: &Arc<Bucket>, number: u64, trouble: Trouble) -> Self {
        Self(Arc::new(ProcessState {
            bucket: Arc::clone(bucket),
            number,
            trouble,
            requests: AtomicU64::new(0),
            seen: Mutex::default(),
            dead: CancellationToken::new(),
            asleep: Notify::new(),
            awake: Notify::new(),
        }))
    }

    fn gone(&self) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Temporary,
            doing: "reaching the store".to_owned(),
            message: format!("process {} is dead", self.0.number),
            hint: None,
        }
    }

    /// Comes to its end when the process falls asleep.
    pub(crate) async fn fell_asleep(&self) {
        self.0.asleep.notified().await;
    }

    /// Lets it go on.
    pub(crate) fn wake(&self) {
        self.0.awake.notify_one();
    }

    /// It is dead, or asleep for longer than its lease.
    pub(crate) fn leave_lock(&self) {
        if let Some(lock) = self.0.bucket.locks().get_mut(&self.0.number) {
            lock.is_left = true;
        }
    }

    /// A request: `carry_out` is what the store does.
    async fn request<T>(
        &self,
        carry_out: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.0.dead.is_cancelled() {
            return Err(self.gone());
        }
        let nth = self.0.requests.fetch_add(1, Ordering::SeqCst);
        match self.0.trouble {
            Trouble::DiesBefore(at) if nth == u64::from(at) => {
                self.0.dead.cancel();
                self.leave_lock();
                return Err(self.gone());
            }
            Trouble::DiesAfter(at) if nth == u64::from(at) => {
                let _ = carry_out(self);
                self.0.dead.cancel();
                self.leave_lock();
                return Err(self.gone());
            }
            Trouble::SleepsAt(at) if nth == u64::from(at) => {
                self.leave_lock();
                self.0.asleep.notify_one();
                self.0.awake.notified().await;
            }
            _ => tokio::task::yield_now().await,
        }
        carry_out(self)
    }

    fn write(&self, key: &str, body: Option<Bytes>) -> Result<(), StoreError> {
        let mut objects = self.0.bucket.objects();
        let mut seen = self.0.seen.lock().expect("nobody broke down");
        let there = objects.get(key).map(|(version, _)| *version);
        if seen.get(key).is_some_and(|seen| *seen != there) {
            return Err(StoreError {
                kind: StoreErrorKind::Changed,
                doing: format!("writing {key}"),
                message: "somebody else wrote it".to_owned(),
                hint: None,
            });
        }
        let version = self.0.bucket.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let now = body.map(|body| {
            objects.insert(key.to_owned(), (version, body));
            version
        });
        if now.is_none() {
            objects.remove(key);
        }
        seen.insert(key.to_owned(), now);
        Ok(())
    }

    fn read(&self, key: &str) -> Option<Bytes> {
        let found = self.0.bucket.objects().get(key).cloned();
        let mut seen = self.0.seen.lock().expect("nobody broke down");
        seen.insert(key.to_owned(), found.as_ref().map(|(version, _)| *version));
        found.map(|(_, body)| body)
    }
}

#[async_trait]
impl Store for Process {
    fn describe(&self) -> String {
        "a model".to_owned()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.request(|it| it.write(key, Some(body))).await
    }

    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let body = std::fs::read(&staged.path).map_err(|_| self.gone())?;
        let written = self.request(|it| it.write(key, Some(body.into()))).await;
        written.and_then(|()| std::fs::remove_file(&staged.path).map_err(|_| self.gone()))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.request(|it| Ok(it.read(key))).await
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError> {
        let body = self.request(|it| Ok(it.read(key))).await?;
        Ok(body.map(|body| {
            let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
            Tail {
                size: body.len() as u64,
                bytes: body.slice(body.len().saturating_sub(wanted)..),
            }
        }))
    }

    async fn open(&self, key: &str, scratch: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Some(body) = self.request(|it| Ok(it.read(key))).await? else {
            return Ok(None);
        };
        let path = scratch.join(key.replace('/', "_"));
        let made = std::fs::create_dir_all(scratch).and_then(|()| std::fs::write(&path, body));
        made.map_err(|_| self.gone())?;
        Ok(Some(path))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let entry = |(key, (version, body)): (&String, &(u64, Bytes))| Entry {
            key: key.clone(),
            bytes: body.len() as u64,
            stamp: version.to_string(),
        };
        let found = |it: &Self| {
            let objects = it.0.bucket.objects();
            let below = objects.iter().filter(|(key, _)| key.starts_with(prefix));
            Ok(below.map(entry).collect())
        };
        self.request(found).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.request(|it| it.write(key, None)).await
    }

    async fn prove_writable(&self, _: &str) -> Result<(), StoreError> {
        self.request(|_| Ok(())).await
    }

    async fn sweep(&self, _: &dyn Held) -> Result<(), StoreError> {
        Ok(())
    }

    async fn acquire(&self, holder: &Holder, claim: &Claim) -> Result<Box<dyn Held>, AcquireError> {
        self.request(|_| Ok(())).await?;
        let beside = take(self, &holder.to_string(), claim)?;
        let process = self.clone();
        Ok(Box::new(ModelLock { process, beside }))
    }
}

/// Takes what is claimed, from whoever left it; what others claim who live.
fn take(process: &Process, holder: &str, claim: &Claim) -> Result<Vec<Claim>, AcquireError> {
    let mut locks = process.0.bucket.locks();
    let own = process.0.number;
    let in_the_way = |lock: &Lock| lock.claim.conflicts(claim);
    let others = locks.iter().filter(|(number, _)| **number != own);
    if let Some((_, lock)) = others.clone().find(|(_, l)| in_the_way(l) && !l.is_left) {
        return Err(AcquireError::Taken {
            root: "a model".to_owned(),
            holder: lock.holder.clone(),
        });
    }
    let beside = others
        .filter(|(_, l)| !l.is_left)
        .map(|(_, l)| l.claim.clone());
    let beside = beside.collect();
    locks.retain(|number, lock| *number == own || !in_the_way(lock));
    let lock = Lock {
        holder: holder.to_owned(),
        claim: claim.clone(),
        is_left: false,
    };
    locks.insert(own, lock);
    Ok(beside)
}

#[derive(Debug)]
struct ModelLock {
    process: Process,
    beside: Vec<Claim>,
}

#[async_trait]
impl Held for ModelLock {
    fn lost(&self) -> CancellationToken {
        // Known when it is asked about: a process that slept is told late.
        CancellationToken::new()
    }

    async fn is_held(&self, _: bool) -> bool {
        let number = self.process.0.number;
        !self.process.0.dead.is_cancelled() && self.process.0.bucket.locks().contains_key(&number)
    }

    async fn is_alone(&self) -> Result<bool, StoreError> {
        Ok(self.process.0.bucket.locks().len() == 1)
    }

    fn beside(&self) -> Vec<Claim> {
        self.beside.clone()
    }

    async fn widen(&self, claim: &Claim) -> Result<(), AcquireError> {
        self.process.request(|_| Ok(())).await?;
        if !self.is_held(true).await {
            return Err(AcquireError::Taken {
                root: "a model".to_owned(),
                holder: "whoever took the lock over".to_owned(),
            });
        }
        take(&self.process, "wider", claim).map(drop)
    }

    async fn release(self: Box<Self>) {
        if !self.process.0.dead.is_cancelled() {
            self.process.0.bucket.locks().remove(&self.process.0.number);
        }
    }
}
