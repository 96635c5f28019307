//! Where a lake lives: a local folder, a bucket, or memory, behind one trait.
//!
//! Keys are relative to the lake's root, use `/`, and come from [`layout`](crate::lake::layout) alone. What all stores promise is written at
//! [`Store`] and proved by one suite run over all three (`tests/it/store.rs`).

mod lease;
mod local;
mod local_lock;
mod memory;
mod s3;
mod s3_lock;
mod s3_seen;
mod s3_upload;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::write::Staged;
use std::path::{Path, PathBuf};

pub use lease::{Holder, LeaseTimes};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use s3::S3Store;

use crate::model::{Cause, CauseKind, Claim};

/// Objects under keys, as a lake needs them.
///
/// # Semantics
/// - A reader sees an object whole, old or new, never a mixture and never half of one.
/// - What was put is durable when the call returns.
/// - A missing object is `None` or no error, never a failure; a failure is never "missing".
/// - An object is written and removed only as this process saw it last: what somebody else wrote since is refused as
///   [`StoreErrorKind::Changed`]. An object that was never looked at is written whatever is there. (In memory there is no other process.)
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The root as a person would write it.
    fn describe(&self) -> String;

    /// Writes a small object, replacing what is there.
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// Makes a staged file the object at `key`, replacing what is there; the staged file is gone afterwards.
    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError>;

    /// Reads a whole small object.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Reads the last `bytes` bytes of an object, all of it when it is shorter, and its size.
    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError>;

    /// A local file with the object's content: the object itself where it is one, else a copy in `scratch`.
    async fn open(&self, key: &str, scratch: &Path) -> Result<Option<PathBuf>, StoreError>;

    /// Every object whose key starts with `prefix`, a folder with its `/`, in key order.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Proves that a file of `table` could be published, without leaving anything a reader would see.
    async fn prove_writable(&self, table: &str) -> Result<(), StoreError>;

    /// Removes what dead runs left behind that is no object: temporary files, unfinished uploads. Of a bucket only where
    /// nobody else holds a lock: an upload does not tell whose it is.
    async fn sweep(&self, held: &dyn Held) -> Result<(), StoreError>;

    /// Takes what a run claims of the lake: refused where another has some of it.
    async fn acquire(&self, holder: &Holder, claim: &Claim) -> Result<Box<dyn Held>, AcquireError>;
}

/// A taken lock. Dropped without [`release`](Held::release) it ends with the process, or after its time.
#[async_trait]
pub trait Held: fmt::Debug + Send + Sync {
    /// Cancelled when the lock was lost: nothing may be published any more.
    fn lost(&self) -> CancellationToken;

    /// Whether the lock is still ours. It is looked at where that was last certain a while ago, by a clock that goes on while the machine sleeps, or
    /// always when it is `doubted`.
    async fn is_held(&self, doubted: bool) -> bool;

    /// Whether nobody else has a lock now.
    async fn is_alone(&self) -> Result<bool, StoreError>;

    /// What others had claimed when it was taken.
    fn beside(&self) -> Vec<Claim>;

    /// Claims more; `claim` is all that is then claimed.
    ///
    /// # Errors
    /// Another run has some of it: what was claimed before still is.
    async fn widen(&self, claim: &Claim) -> Result<(), AcquireError>;

    /// Gives the lock back.
    async fn release(self: Box<Self>);
}

/// The end of an object.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Size of the whole object.
    pub size: u64,
    /// Its last bytes.
    pub bytes: Bytes,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Another where the content is another: an `ETag`, or the time of the last change.
    pub stamp: String,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Another run has it.
    #[error("another run is writing to {root}{}", if holder.is_empty() { String::new() } else { format!(" ({holder})") })]
    Taken {
        /// The lake's root.
        root: String,
        /// What the other run wrote about itself.
        holder: String,
    },
    /// The store did not let us find out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether another try can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The destination says no and will go on saying it: permissions, a missing bucket, a read-only folder.
    Refused,
    /// The same, for want of a permission that an Allow gives.
    NotAllowed,
    /// Somebody else wrote the object since it was looked at.
    Changed,
    /// Full, out of reach or overloaded: later may be better.
    Temporary,
}

/// A destination did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {message}")]
pub struct StoreError {
    /// Whether it may be different later.
    pub kind: StoreErrorKind,
    /// What was being done, with the object.
    pub doing: String,
    /// What the destination answered.
    pub message: String,
    /// The remedy, where it is known.
    pub hint: Option<String>,
}

impl StoreError {
    /// The file system's error.
    pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (kind, hint) = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (
                StoreErrorKind::Temporary,
                Some("make room and run again: what is finished stays".to_owned()),
            ),
            ErrorKind::InvalidInput => (
                StoreErrorKind::Refused,
                Some("move it away: a lake has ordinary files alone".to_owned()),
            ),
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::NotFound => (StoreErrorKind::Refused, None),
            _ => (StoreErrorKind::Temporary, None),
        };
        Self {
            kind,
            doing: format!("{doing} {}", path.display()),
            message: error.to_string(),
            hint,
        }
    }
}

impl StoreError {
    /// The code of a cause that is [`StoreErrorKind::Changed`].
    pub const CHANGED: &str = "Changed";

    /// Somebody else wrote an object since it was seen; `doing` names it.
    pub(crate) fn changed(doing: impl Into<String>) -> Self {
        Self {
            kind: StoreErrorKind::Changed,
            doing: doing.into(),
            message: "somebody else wrote it since this run looked at it".to_owned(),
            hint: Some("run again when no other run is under way".to_owned()),
        }
    }
}

impl From<StoreError> for Cause {
    fn from(error: StoreError) -> Self {
        let cause = Self::new(CauseKind::Destination, error.to_string());
        let cause = match error.kind {
            StoreErrorKind::Changed => cause.with_code(StoreError::CHANGED),
            _ => cause,
        };
        match error.hint {
            Some(hint) => cause.with_hint(hint),
            None => cause,
        }
    }
}
