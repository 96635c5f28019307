//! The lock of a lake in a bucket: a lease that is written conditionally, renewed by a task, and given back or lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::aws::ServiceTime;
use crate::lake::layout;

use super::lease::{Finding, Lease, boot_seconds, judge};
use super::s3::{S3Store, Version};
use super::{AcquireError, Held, Holder, LeaseTimes, Store, StoreError, StoreErrorKind};

impl S3Store {
    /// Writes the lock if it is still as it was seen: absent, or of that version. `Ok(None)`: somebody else was quicker.
    async fn write_lease(
        &self,
        lease: &Lease,
        seen: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let doing = self.doing("writing the lock", layout::LOCK);
        let body: Bytes = serde_json::to_vec_pretty(lease).unwrap_or_default().into();
        let answer = self
            .client
            .call(&doing, || {
                let put = self.put_request(layout::LOCK, body.clone());
                match seen {
                    None => put.if_none_match("*"),
                    Some(etag) => put.if_match(etag),
                }
                .send()
            })
            .await;
        match answer {
            Ok(answer) => Ok(answer.e_tag),
            Err((cause, error)) => {
                let status = error.raw_response().map_or(0, |r| r.status().as_u16());
                // 412: it changed. 409: it is being changed. 404: it vanished. The answer to an earlier try may have been lost, so
                // what stands there decides.
                if !matches!(status, 404 | 409 | 412)
                    || error.as_service_error().and_then(|e| e.code()) == Some("NoSuchBucket")
                {
                    return Err(self.error(&doing, cause));
                }
                match self.read_lease().await? {
                    Some((there, version)) if there == *lease => Ok(Some(version.etag)),
                    _ => Ok(None),
                }
            }
        }
    }

    async fn read_lease(&self) -> Result<Option<(Lease, Version)>, StoreError> {
        let Some((body, version)) = self.read(layout::LOCK, None).await? else {
            return Ok(None);
        };
        let doing = self.doing("reading the lock", layout::LOCK);
        let lease = serde_json::from_slice(&body).map_err(|e| StoreError {
            kind: StoreErrorKind::Refused,
            doing,
            message: format!("it is not a lock of cwlake: {e}"),
            hint: Some("remove the object if no run is under way".to_owned()),
        })?;
        Ok(Some((lease, version)))
    }

    /// By the clock that also dates the lock: two hosts' clocks may differ by more than its life.
    fn now(&self) -> i64 {
        let ours = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |d| d.as_secs().cast_signed())
        };
        self.client.time().map_or_else(ours, ServiceTime::now)
    }

    /// Takes the lease, or says who has it.
    pub(super) async fn take_lease(&self, holder: &Holder) -> Result<Box<dyn Held>, AcquireError> {
        let times = LeaseTimes {
            life: self.settings.lease,
        };
        let lease = Lease {
            holder: holder.clone(),
            released: false,
            renewals: 0,
            seconds: times.life.as_secs(),
        };
        let mut watched: Option<String> = None;
        // A few rounds: others may come and go while we look.
        for _ in 0..8 {
            let there = self.read_lease().await?;
            let seen = match &there {
                None => None,
                Some((other, version)) => {
                    let age = self.now() - version.modified;
                    match judge(other, age) {
                        Finding::Free => {}
                        Finding::Watch if watched.as_ref() == Some(&version.etag) => {}
                        Finding::Watch if watched.is_none() => {
                            watched = Some(version.etag.clone());
                            tokio::time::sleep(times.renewal() * 2).await;
                            continue;
                        }
                        // It lives, or was renewed while we watched.
                        Finding::Live | Finding::Watch => {
                            return Err(AcquireError::Taken {
                                root: self.describe(),
                                holder: other.holder.to_string(),
                            });
                        }
                    }
                    Some(version.etag.as_str())
                }
            };
            let Some(etag) = self.write_lease(&lease, seen).await? else {
                continue;
            };
            // A store that ignores conditions would let two in: what stands there now decides.
            match self.read_lease().await? {
                Some((there, _)) if there == lease => {
                    return Ok(Box::new(S3Lock::start(self.clone(), lease, etag, times)));
                }
                _ => {}
            }
        }
        let holder = self
            .read_lease()
            .await?
            .map_or(String::new(), |(l, _)| l.holder.to_string());
        Err(AcquireError::Taken {
            root: self.describe(),
            holder,
        })
    }
}

/// A held lease: renewed by a task until it is given back or lost.
#[derive(Debug)]
struct S3Lock {
    store: S3Store,
    holder: Holder,
    times: LeaseTimes,
    certain: Certain,
    stop: CancellationToken,
    lost: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// When the lease was last certainly ours, in [`boot_seconds`].
#[derive(Clone, Debug)]
struct Certain(Arc<Mutex<f64>>);

impl Certain {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(boot_seconds())))
    }

    fn since(&self) -> f64 {
        boot_seconds() - *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was when the answer that says so was asked for.
    fn at(&self, boot_seconds: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = boot_seconds;
    }
}

impl S3Lock {
    fn start(store: S3Store, lease: Lease, etag: String, times: LeaseTimes) -> Self {
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let (holder, certain) = (lease.holder.clone(), Certain::now());
        let keeping = Keeping {
            store: store.clone(),
            lease,
            etag,
            times,
            certain: certain.clone(),
            lost: lost.clone(),
        };
        let task = tokio::spawn(keeping.keep(stop.clone()));
        Self {
            store,
            holder,
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
        let is_ours = match self.store.read_lease().await {
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
}

#[async_trait]
impl Held for S3Lock {
    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn is_held(&self, doubted: bool) -> bool {
        if self.lost.is_cancelled() {
            return false;
        }
        let is_certain = self.certain.since() <= self.times.renewal().as_secs_f64();
        is_certain && !doubted || self.look().await
    }

    async fn release(mut self: Box<Self>) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the lock ends with its time");
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
    lease: Lease,
    etag: String,
    times: LeaseTimes,
    certain: Certain,
    lost: CancellationToken,
}

impl Keeping {
    /// Renews the lease; marks it free at the end. It is lost when somebody else wrote it, or when no renewal came through for nearly its life.
    async fn keep(mut self, stop: CancellationToken) {
        let mut renewed = tokio::time::Instant::now();
        while !self.lost.is_cancelled() {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(self.times.renewal()) => false,
            };
            self.lease.renewals += 1;
            self.lease.released = stopping;
            let nearly = self.times.life * 4 / 5;
            let left = nearly.saturating_sub(renewed.elapsed());
            let asked = boot_seconds();
            let writing = self.store.write_lease(&self.lease, Some(&self.etag));
            match tokio::time::timeout(left, writing).await {
                Ok(Ok(Some(next))) => {
                    self.etag = next;
                    renewed = tokio::time::Instant::now();
                    self.certain.at(asked);
                }
                Ok(Ok(None)) if stopping => {}
                Ok(Ok(None)) => {
                    tracing::error!("another run took the lock: nothing more is published");
                    self.lost.cancel();
                }
                Ok(Err(error)) if renewed.elapsed() < nearly => {
                    tracing::warn!(%error, "renewing the lock");
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
