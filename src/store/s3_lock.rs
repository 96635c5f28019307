//! The locks of a lake in a bucket: leases that are written conditionally, renewed by a task, and given back or lost.
//!
//! A run announces its lease, then looks at all others: of two that come at once at least one sees the other, and whoever sees another that
//! conflicts withdraws. A run's lease is kept when it is given back, and used again; a shard's is removed, by itself or by whoever finds it later, where
//! the writer may delete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::aws::ServiceTime;
use crate::lake::layout;
use crate::model::Claim;

use super::lease::{Certain, Finding, Lease, boot_seconds, judge};
use super::s3::{S3Store, Version, stored};
use super::s3_seen::is_changed;
use super::{AcquireError, Held, Holder, LeaseTimes, Store, StoreError, StoreErrorKind};

/// How often a run looks again: others may come and go meanwhile.
const ROUNDS: u32 = 8;

/// Leases that are read at once.
const READS_AT_ONCE: usize = 16;

/// A lease that is there.
#[derive(Debug)]
struct Found {
    key: String,
    lease: Lease,
    version: Version,
}

/// The leases of a lake.
#[derive(Debug, Default)]
struct Leases {
    /// Those that were read.
    found: Vec<Found>,
    /// Of those that were not, because they cannot conflict, how many there are.
    unread: usize,
}

/// What the leases that are there leave of a lake.
enum Room {
    /// Nobody has what is wanted. Of those who died some are to be ended.
    Free,
    /// They may be dead: not renewed for their time. Their keys and versions.
    Doubtful(BTreeMap<String, String>),
    /// Somebody has it.
    Taken(Taken),
}

/// Who has what is wanted.
#[derive(Debug, Default)]
struct Taken {
    holder: String,
    /// It has only announced it, and perhaps withdraws.
    is_new: bool,
}

impl S3Store {
    /// Writes a lease if it is still as it was seen: absent, or of that version. `Ok(None)`: somebody else was quicker.
    async fn write_lease(
        &self,
        key: &str,
        lease: &Lease,
        seen: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let doing = self.doing("writing the lock", key);
        let body: Bytes = serde_json::to_vec_pretty(lease).unwrap_or_default().into();
        let answer = self
            .client
            .call(&doing, async || {
                let put = self.put_request(key, body.clone());
                let put = match seen {
                    None => put.if_none_match("*"),
                    Some(etag) => put.if_match(etag),
                };
                let there = Box::pin(async {
                    let (there, version) = self.read_lease(key).await.ok()??;
                    (there == *lease).then_some(version.etag)
                });
                stored(put.send().await?, there).await
            })
            .await;
        match answer {
            Ok(answer) => Ok(answer.e_tag),
            Err((cause, error)) => {
                // The answer to an earlier try may have been lost, so what stands there decides.
                if !is_changed(&error) {
                    return Err(self.error(&doing, cause));
                }
                let Some((there, version)) = self.read_lease(key).await? else {
                    return Ok(None);
                };
                if there == *lease {
                    return Ok(Some(version.etag));
                }
                // An earlier renewal of ours, whose answer was lost.
                let is_ours = there.holder == lease.holder && !there.released;
                if is_ours && seen.is_some() && seen != Some(&*version.etag) {
                    return Box::pin(self.write_lease(key, lease, Some(&version.etag))).await;
                }
                Ok(None)
            }
        }
    }

    async fn read_lease(&self, key: &str) -> Result<Option<(Lease, Version)>, StoreError> {
        let Some((body, version)) = self.read(key, None).await? else {
            return Ok(None);
        };
        let doing = self.doing("reading the lock", key);
        let lease = serde_json::from_slice(&body).map_err(|e| StoreError {
            kind: StoreErrorKind::Refused,
            doing,
            message: format!("it is not a lock of cwlake: {e}"),
            hint: Some("remove the object if no run is under way".to_owned()),
        })?;
        Ok(Some((lease, version)))
    }

    /// Reads all leases but `own` and those of other shards of the same group, which do not conflict.
    async fn leases(&self, claim: &Claim, own: Option<&str>) -> Result<Leases, StoreError> {
        let listed = self.list(layout::LOCK).await?;
        let is_lock = |key: &str| key == layout::LOCK || key.starts_with(layout::LOCKS);
        let is_beside = |key: &str| {
            let member = layout::parse_shard_lock(key);
            member.is_some_and(|member| claim.is_beside(&member))
        };
        let keys = listed.into_iter().map(|e| e.key);
        let others = keys.filter(|key| is_lock(key) && own != Some(key));
        let (beside, others): (Vec<String>, Vec<String>) = others.partition(|key| is_beside(key));
        Ok(Leases {
            found: self.read_leases(others).await?,
            unread: beside.len(),
        })
    }

    async fn read_leases(&self, keys: Vec<String>) -> Result<Vec<Found>, StoreError> {
        let read = stream::iter(keys).map(|key| async move {
            let read = self.read_lease(&key).await?;
            Ok::<_, StoreError>(read.map(|(lease, version)| Found {
                key,
                lease,
                version,
            }))
        });
        let read: Vec<Option<Found>> = read.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// By the clock that also dates the leases: two hosts' clocks may differ by more than a lease's life.
    fn now(&self) -> i64 {
        let ours = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |d| d.as_secs().cast_signed())
        };
        self.client.time().map_or_else(ours, ServiceTime::now)
    }

    fn age(&self, found: &Found) -> i64 {
        self.now() - found.version.modified
    }

    fn is_live(&self, found: &Found) -> bool {
        judge(&found.lease, self.age(found)) == Finding::Live
    }

    /// Given back, or not renewed for so long that nothing is left to be minded.
    fn is_over(&self, found: &Found) -> bool {
        let life = i64::try_from(found.lease.seconds).unwrap_or(i64::MAX);
        let age = self.age(found);
        age > life.saturating_mul(10) || judge(&found.lease, age) == Finding::Free
    }

    /// What others claim who live.
    fn claims(&self, leases: &Leases) -> Vec<Claim> {
        let live = leases.found.iter().filter(|f| self.is_live(f));
        live.map(|f| f.lease.claim.clone()).collect()
    }

    /// Removes the leases of shards that are over: nobody takes their places. A writer that may not delete leaves them.
    async fn remove_over(&self, leases: &mut Leases) {
        let is_left = |f: &Found| f.lease.claim.member.is_some() && self.is_over(f);
        let (over, others) = std::mem::take(&mut leases.found)
            .into_iter()
            .partition(is_left);
        leases.found = others;
        let over: Vec<Found> = over;
        let mut over = over.into_iter();
        for found in over.by_ref() {
            self.seen.saw(&found.key, Some(&found.version.etag));
            if let Err(error) = self.delete(&found.key).await {
                tracing::debug!(%error, "removing the lock of a shard that is over");
                leases.found.push(found);
                break;
            }
        }
        leases.found.extend(over);
    }

    /// The others' leases where they leave room for `claim`, else who has some of it. Those that may be dead are watched, and ended.
    async fn room_beside(
        &self,
        claim: &Claim,
        own: Option<&str>,
        times: LeaseTimes,
    ) -> Result<Result<Leases, Taken>, StoreError> {
        let mut watched = BTreeMap::new();
        for _ in 0..ROUNDS {
            let mut there = self.leases(claim, own).await?;
            match self.room(&there, claim, &watched) {
                Room::Taken(taken) => return Ok(Err(taken)),
                Room::Doubtful(doubtful) => {
                    watched.extend(doubtful);
                    tokio::time::sleep(times.renewal() * 2).await;
                }
                Room::Free if self.end_dead(&mut there, claim).await? => return Ok(Ok(there)),
                Room::Free => {}
            }
        }
        Ok(Err(Taken::default()))
    }

    /// What is left beside those who hold leases. `watched` are versions that were not renewed while somebody watched.
    fn room(&self, leases: &Leases, claim: &Claim, watched: &BTreeMap<String, String>) -> Room {
        let mut doubtful = BTreeMap::new();
        let conflicting = leases
            .found
            .iter()
            .filter(|f| f.lease.claim.conflicts(claim));
        for found in conflicting {
            match judge(&found.lease, self.age(found)) {
                Finding::Free => {}
                Finding::Watch if watched.get(&found.key) == Some(&found.version.etag) => {}
                Finding::Watch if !watched.contains_key(&found.key) => {
                    doubtful.insert(found.key.clone(), found.version.etag.clone());
                }
                // It lives, or was renewed while it was watched.
                Finding::Live | Finding::Watch => {
                    return Room::Taken(Taken {
                        holder: found.lease.to_string(),
                        is_new: found.lease.renewals == 0,
                    });
                }
            }
        }
        if doubtful.is_empty() {
            Room::Free
        } else {
            Room::Doubtful(doubtful)
        }
    }

    /// Marks the leases of the dead as given back: one that only slept finds that it lost its own. `false`: one was renewed meanwhile.
    async fn end_dead(&self, leases: &mut Leases, claim: &Claim) -> Result<bool, StoreError> {
        let is_left = |f: &&mut Found| !f.lease.released && f.lease.claim.conflicts(claim);
        for dead in leases.found.iter_mut().filter(is_left) {
            dead.lease.released = true;
            let seen = Some(dead.version.etag.as_str());
            match self.write_lease(&dead.key, &dead.lease, seen).await? {
                Some(etag) => dead.version.etag = etag,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Announces what is claimed, and takes it when nobody has any of it, or says who has.
    pub(super) async fn take_lease(
        &self,
        holder: &Holder,
        claim: &Claim,
    ) -> Result<Box<dyn Held>, AcquireError> {
        let times = LeaseTimes {
            life: self.settings.lease,
        };
        let mut lease = Lease {
            holder: holder.clone(),
            released: false,
            renewals: 0,
            seconds: times.life.as_secs(),
            claim: claim.clone(),
        };
        let mut taken = Taken::default();
        for round in 1..=ROUNDS {
            let mut there = match self.room_beside(claim, None, times).await? {
                Ok(there) => there,
                Err(by) => {
                    taken = by;
                    if !taken.is_new || round == ROUNDS {
                        break;
                    }
                    pause().await;
                    continue;
                }
            };
            self.remove_over(&mut there).await;
            let (key, seen) = slot(&there, claim);
            (lease.released, lease.renewals) = (false, 0);
            let Some(etag) = self.write_lease(&key, &lease, seen.as_deref()).await? else {
                continue;
            };
            match self.room_beside(claim, Some(&key), times).await? {
                Ok(others) => {
                    // A store that ignores conditions would let two in: what stands there now decides.
                    let there = self.read_lease(&key).await?;
                    if there.is_none_or(|(there, _)| there != lease) {
                        continue;
                    }
                    // Whoever comes now need not wait for us to withdraw.
                    lease.renewals = 1;
                    if let Some(etag) = self.write_lease(&key, &lease, Some(&etag)).await? {
                        let beside = self.claims(&others);
                        let own = Own { key, lease, etag };
                        return Ok(Box::new(S3Lock::start(self.clone(), own, times, beside)));
                    }
                }
                Err(by) => {
                    taken = by;
                    lease.released = true;
                    self.write_lease(&key, &lease, Some(&etag)).await?;
                    pause().await;
                }
            }
        }
        Err(AcquireError::Taken {
            root: self.describe(),
            holder: taken.holder,
        })
    }
}

/// Two that came at once are to come again one after the other.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(50..600))).await;
}

/// Where a lease is written: a shard's has a place of its own, others take the first that is free. And what is there now.
fn slot(leases: &Leases, claim: &Claim) -> (String, Option<String>) {
    let at = |key: &str| leases.found.iter().find(|f| f.key == key);
    let seen = |found: Option<&Found>| found.map(|f| f.version.etag.clone());
    if let Some(member) = &claim.member {
        let key = layout::shard_lock(member);
        let there = seen(at(&key));
        return (key, there);
    }
    let mut number = 0_u32;
    loop {
        // The first is the one that an earlier version knows.
        let key = match number {
            0 => layout::LOCK.to_owned(),
            number => layout::run_lock(&number.to_string()),
        };
        match at(&key) {
            Some(found) if !found.lease.released => number += 1,
            there => {
                let there = seen(there);
                return (key, there);
            }
        }
    }
}

/// Our lease as it was written last.
#[derive(Debug)]
struct Own {
    key: String,
    lease: Lease,
    etag: String,
}

/// A held lease: renewed by a task until it is given back or lost.
#[derive(Debug)]
struct S3Lock {
    store: S3Store,
    key: String,
    holder: Holder,
    own: Arc<tokio::sync::Mutex<Own>>,
    beside: Vec<Claim>,
    times: LeaseTimes,
    certain: Certain,
    stop: CancellationToken,
    lost: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl S3Lock {
    fn start(store: S3Store, own: Own, times: LeaseTimes, beside: Vec<Claim>) -> Self {
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let (key, holder) = (own.key.clone(), own.lease.holder.clone());
        let (own, certain) = (Arc::new(tokio::sync::Mutex::new(own)), Certain::now());
        let keeping = Keeping {
            store: store.clone(),
            own: Arc::clone(&own),
            times,
            certain: certain.clone(),
            lost: lost.clone(),
        };
        let task = tokio::spawn(keeping.keep(stop.clone()));
        Self {
            store,
            key,
            holder,
            own,
            beside,
            times,
            certain,
            stop,
            lost,
            task,
        }
    }

    /// What stands in the bucket decides. One that cannot be read is ours for as long as nobody else may take it.
    async fn look(&self) -> bool {
        let asked = boot_seconds();
        let is_ours = match self.store.read_lease(&self.key).await {
            Ok(Some((there, _))) if there.holder == self.holder && !there.released => {
                self.certain.at(asked);
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "looking at the lock");
                self.certain.since() < self.times.life.as_secs_f64() * 4.0 / 5.0
            }
        };
        if !is_ours {
            tracing::error!("the lock is not certainly ours: nothing more is published");
            self.lost.cancel();
        }
        is_ours
    }

    /// Writes the lease with another claim. `false`: it is not ours any more.
    async fn write_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        let mut own = self.own.lock().await;
        let next = Lease {
            claim: claim.clone(),
            renewals: own.lease.renewals + 1,
            ..own.lease.clone()
        };
        let asked = boot_seconds();
        let written = self.store.write_lease(&own.key, &next, Some(&own.etag));
        match written.await? {
            Some(etag) => {
                (own.lease, own.etag) = (next, etag);
                self.certain.at(asked);
                Ok(true)
            }
            None => {
                self.lost.cancel();
                Ok(false)
            }
        }
    }
}

#[async_trait]
impl Held for S3Lock {
    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn is_alone(&self) -> Result<bool, StoreError> {
        let claim = self.own.lock().await.lease.claim.clone();
        let others = self.store.leases(&claim, Some(&self.key)).await?;
        Ok(others.unread == 0 && others.found.iter().all(|f| self.store.is_over(f)))
    }

    fn beside(&self) -> Vec<Claim> {
        self.beside.clone()
    }

    async fn is_held(&self, doubted: bool) -> bool {
        if self.lost.is_cancelled() {
            return false;
        }
        let is_certain = self.certain.since() <= self.times.renewal().as_secs_f64();
        is_certain && !doubted || self.look().await
    }

    /// Announced as at the start: whoever sees a conflict withdraws.
    async fn widen(&self, claim: &Claim) -> Result<(), AcquireError> {
        let before = self.own.lock().await.lease.claim.clone();
        let mut taken = Taken::default();
        for _ in 0..ROUNDS {
            if !self.write_claim(claim).await? {
                break;
            }
            match self
                .store
                .room_beside(claim, Some(&self.key), self.times)
                .await?
            {
                Ok(_) => return Ok(()),
                Err(by) => taken = by,
            }
            self.write_claim(&before).await?;
            if !taken.is_new {
                break;
            }
            pause().await;
        }
        Err(AcquireError::Taken {
            root: self.store.describe(),
            holder: taken.holder,
        })
    }

    async fn release(mut self: Box<Self>) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the lock ends with its time");
        }
        // Nobody takes a shard's place for another: it would lie there for ever. A writer that may not delete leaves it, marked as given back.
        let own = self.own.lock().await;
        if own.lease.claim.member.is_some() && own.lease.released && !self.lost.is_cancelled() {
            self.store.seen.saw(&own.key, Some(&own.etag));
            if let Err(error) = self.store.delete(&own.key).await {
                tracing::debug!(%error, "removing the lock of a shard");
            }
        }
    }
}

impl Drop for S3Lock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task that renews a lease.
struct Keeping {
    store: S3Store,
    own: Arc<tokio::sync::Mutex<Own>>,
    times: LeaseTimes,
    certain: Certain,
    lost: CancellationToken,
}

impl Keeping {
    /// Renews the lease; marks it free at the end. It is lost when somebody else wrote it, or when no renewal came through for nearly its life.
    async fn keep(self, stop: CancellationToken) {
        let mut renewed = tokio::time::Instant::now();
        while !self.lost.is_cancelled() {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(self.times.renewal()) => false,
            };
            let nearly = self.times.life * 4 / 5;
            let left = nearly.saturating_sub(renewed.elapsed());
            let asked = boot_seconds();
            let writing = async {
                let mut own = self.own.lock().await;
                own.lease.renewals += 1;
                own.lease.released = stopping;
                let seen = Some(own.etag.as_str());
                let written = self.store.write_lease(&own.key, &own.lease, seen).await?;
                let is_written = written.is_some();
                own.etag = written.unwrap_or_else(|| std::mem::take(&mut own.etag));
                Ok::<_, StoreError>(is_written)
            };
            match tokio::time::timeout(left, writing).await {
                Ok(Ok(true)) => {
                    renewed = tokio::time::Instant::now();
                    self.certain.at(asked);
                }
                // At the end nothing is published any more; and what stands there is another's.
                Ok(Ok(false)) if stopping => self.lost.cancel(),
                Ok(Ok(false)) => {
                    tracing::error!("another run took the lock: nothing more is published");
                    self.lost.cancel();
                }
                Ok(Err(error)) if renewed.elapsed() < nearly => {
                    tracing::warn!(%error, "renewing the lock");
                    if stopping {
                        self.lost.cancel();
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::error!("the lock could not be renewed: nothing more is published");
                    self.lost.cancel();
                }
            }
            if stopping {
                return;
            }
        }
    }
}
