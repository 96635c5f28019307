//! The locks of a lake in a folder: file locks, which end with their process.
//!
//! Each run and shard locks a file of its own that says what it claims. Whoever comes or goes holds `_cwlake/lock` for that moment, so that
//! those who come at once see each other.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::files::{create_folder, open_ordinary, open_to_lock, try_lock};
use crate::lake::layout;
use crate::model::Claim;

use super::lease::Lease;
use super::{AcquireError, Held, Holder, StoreError};

/// How often, and after what pauses, the lock of a moment is tried for. An earlier version's run holds it for as long as it runs.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// A held lock: the file, open and locked.
#[derive(Debug)]
struct LocalLock {
    root: PathBuf,
    path: PathBuf,
    lease: Lease,
    file: File,
    beside: Vec<Claim>,
}

/// What others hold of a lake.
struct Others {
    claims: Vec<Claim>,
    /// Who holds some of what is wanted.
    conflict: Option<String>,
}

/// Takes what is claimed of the lake below `root`.
pub(super) async fn take_lock(
    root: &Path,
    holder: &Holder,
    claim: &Claim,
) -> Result<Box<dyn Held>, AcquireError> {
    let path = root.join(match &claim.member {
        Some(member) => layout::shard_lock(member),
        None => layout::run_lock(&holder.run_id),
    });
    let lease = Lease {
        holder: holder.clone(),
        released: false,
        renewals: 0,
        seconds: 0,
        claim: claim.clone(),
    };
    let locks = root.join(layout::LOCKS);
    create_folder(&locks).map_err(|e| StoreError::io("creating", &locks, &e))?;
    let entrance = enter(root).await?;
    let others = others(root, &path, claim)?;
    if let Some(holder) = others.conflict {
        return Err(taken(root, holder));
    }
    let locking = || {
        let mut file = open_to_lock(&path)?;
        if !try_lock(&file)? {
            return Ok(Err(described(&path)));
        }
        write(&mut file, &lease)?;
        Ok(Ok(file))
    };
    let file = match locking().map_err(|e: io::Error| StoreError::io("locking", &path, &e))? {
        Ok(file) => file,
        // The same shard, started twice.
        Err(holder) => return Err(taken(root, holder)),
    };
    drop(entrance);
    Ok(Box::new(LocalLock {
        root: root.to_owned(),
        path,
        lease,
        file,
        beside: others.claims,
    }))
}

fn taken(root: &Path, holder: String) -> AcquireError {
    AcquireError::Taken {
        root: root.display().to_string(),
        holder,
    }
}

/// Locks `_cwlake/lock` for a moment.
async fn enter(root: &Path) -> Result<File, AcquireError> {
    let path = root.join(layout::LOCK);
    let refused = |e: io::Error| StoreError::io("locking", &path, &e);
    let entrance = open_to_lock(&path).map_err(refused)?;
    for _ in 0..TRIES {
        if try_lock(&entrance).map_err(refused)? {
            return Ok(entrance);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let holder = fs::read_to_string(&path).unwrap_or_default();
    Err(taken(root, holder.trim().to_owned()))
}

/// Looks at all locks but our own, and removes those that nobody holds. Only for whoever is in the entrance.
fn others(root: &Path, own: &Path, claim: &Claim) -> Result<Others, StoreError> {
    let folder = root.join(layout::LOCKS);
    let looked = |path: &Path, e: io::Error| StoreError::io("looking at", path, &e);
    let mut others = Others {
        claims: Vec::new(),
        conflict: None,
    };
    for entry in fs::read_dir(&folder).map_err(|e| looked(&folder, e))? {
        let path = entry.map_err(|e| looked(&folder, e))?.path();
        if path == own {
            continue;
        }
        let looking = || {
            let mut file = open_ordinary(&path)?;
            if try_lock(&file)? {
                fs::remove_file(&path)?;
                return Ok::<_, io::Error>(None);
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Some(serde_json::from_str::<Lease>(&text)))
        };
        match looking() {
            // It was given back meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(looked(&path, e)),
            Ok(None) => {}
            Ok(Some(lease)) => {
                // Whoever cannot be understood may have anything.
                let theirs = lease.map_or_else(|_| Claim::everything(), |l| l.claim);
                let conflicts = theirs.conflicts(claim);
                others.claims.push(theirs);
                if conflicts && others.conflict.is_none() {
                    others.conflict = Some(described(&path));
                }
            }
        }
    }
    Ok(others)
}

/// Who holds a lock, as its file says.
fn described(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str::<Lease>(&text).map_or(String::new(), |l| l.to_string())
}

fn write(file: &mut File, lease: &Lease) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec_pretty(lease)?)
}

#[async_trait]
impl Held for LocalLock {
    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }

    async fn is_alone(&self) -> Result<bool, StoreError> {
        match enter(&self.root).await {
            Ok(_entrance) => Ok(others(&self.root, &self.path, &self.lease.claim)?
                .claims
                .is_empty()),
            Err(AcquireError::Store(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn beside(&self) -> Vec<Claim> {
        self.beside.clone()
    }

    async fn is_held(&self, _: bool) -> bool {
        true
    }

    async fn widen(&self, claim: &Claim) -> Result<(), AcquireError> {
        let _entrance = enter(&self.root).await?;
        if let Some(holder) = others(&self.root, &self.path, claim)?.conflict {
            return Err(taken(&self.root, holder));
        }
        let lease = Lease {
            claim: claim.clone(),
            ..self.lease.clone()
        };
        let written = self
            .file
            .try_clone()
            .and_then(|mut f| write(&mut f, &lease));
        Ok(written.map_err(|e| StoreError::io("writing", &self.path, &e))?)
    }

    async fn release(self: Box<Self>) {
        // Whoever looks meanwhile must not take the file for one that is still to be locked.
        let entrance = enter(&self.root).await;
        if entrance.is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
