//! A lake in a local folder: staged file → fsync → rename → fsync of the folder.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::files::{check_ordinary, lock_for_a_moment, open_ordinary, open_to_lock};
use crate::lake::layout;
use crate::model::Claim;
use crate::staging::{OwnFolder, remove_dead};
use crate::write::Staged;

use super::local_lock::take_lock;
use super::{AcquireError, Entry, Held, Holder, Store, StoreError, StoreErrorKind, Tail};

/// A folder. Staged files must lie on the same file system, as those below [`layout::local_scratch`] do.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    temporary: AtomicU64,
    /// Where its own files are while they are written; none until there is one.
    own: Mutex<Option<OwnFolder>>,
    seen: Arc<SeenFiles>,
}

/// Which content of each file was seen last, so that a write replaces that and nothing newer: another run may have written it since.
#[derive(Debug, Default)]
struct SeenFiles(Mutex<HashMap<PathBuf, Option<Stamp>>>);

/// Tells one content of a file from another: every write makes a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            bytes: file.len(),
            modified: file.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(file),
            #[cfg(not(unix))]
            inode: 0,
        }
    }

    /// Of what is there now.
    fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(file) => Ok(Some(Self::of(&file))),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl SeenFiles {
    fn saw(&self, path: &Path, stamp: Option<Stamp>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(path.to_owned(), stamp);
    }

    /// Puts a file in the place of another, as [`replace`](Self::replace) does. Its folder is synced after that: others have their turn meanwhile.
    fn put(&self, root: &Path, (from, to): (&Path, &Path), doing: &str) -> Result<(), StoreError> {
        let io = |e: io::Error| StoreError::io(doing, to, &e);
        create_folder(folder_of(to)).map_err(io)?;
        self.replace(root, to, doing, || fs::rename(from, to))?;
        sync_folder(to).map_err(io)
    }

    /// Replaces or removes a file by `change`, unless somebody else did since it was seen. Two programs look and write one after the other.
    fn replace(
        &self,
        root: &Path,
        path: &Path,
        doing: &str,
        change: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let io = |e: io::Error| StoreError::io(doing, path, &e);
        let seen = {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(path).copied()
        };
        let Some(seen) = seen else {
            return change().map_err(io);
        };
        let turn = root.join(layout::TURN);
        crate::files::create_folder(turn.parent().unwrap_or(root)).map_err(io)?;
        let turn = open_to_lock(&turn).map_err(io)?;
        lock_for_a_moment(&turn).map_err(io)?;
        if Stamp::at(path).map_err(io)? != seen {
            return Err(StoreError::changed(format!("{doing} {}", path.display())));
        }
        change().map_err(io)?;
        self.saw(path, Stamp::at(path).map_err(io)?);
        Ok(())
    }
}

impl LocalStore {
    /// The lake below `root`, which need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            temporary: AtomicU64::new(0),
            own: Mutex::default(),
            seen: Arc::default(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// A name nobody else uses, on the lake's file system and outside its tables.
    fn temporary(&self) -> Result<PathBuf, StoreError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let n = self.temporary.fetch_add(1, Ordering::Relaxed);
        let folder = match &mut *own {
            Some(folder) => folder,
            none => {
                let base = layout::local_scratch(&self.root);
                let made = OwnFolder::create(&base, &format!("put-{:016x}", fastrand::u64(..)));
                none.insert(made.map_err(|e| StoreError::io("writing to", &base, &e))?)
            }
        };
        Ok(folder.path().join(format!("{n}.part")))
    }
}

/// Creates a folder with those above it, each synced into its parent: a rename into it survives a power cut.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
                return Err(e);
            }
            _ => {}
        }
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn rename_into_place(from: &Path, to: &Path) -> io::Result<()> {
    create_folder(folder_of(to))?;
    fs::rename(from, to)?;
    sync_folder(to)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// What was renamed into its place stays there through a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(path)?;
    file.write_all(body)?;
    file.sync_all()
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// When a file was changed last, as the file system says.
fn changed_at(meta: &fs::Metadata) -> String {
    let time = meta.modified().ok();
    let time = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{:?}", time.unwrap_or_default())
}

fn walk(folder: &Path, root: &Path, entries: &mut Vec<Entry>) -> io::Result<()> {
    let listing = match fs::read_dir(folder) {
        Err(e) if is_missing(&e) => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, root, entries)?;
        } else if let (Ok(key), Ok(meta)) = (path.strip_prefix(root), entry.metadata()) {
            entries.push(Entry {
                key: key.to_string_lossy().replace('\\', "/"),
                bytes: meta.len(),
                stamp: changed_at(&meta),
            });
        }
    }
    Ok(())
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let (path, part) = (self.path(key), self.temporary()?);
        let (root, seen) = (self.root.clone(), Arc::clone(&self.seen));
        blocking(move || {
            let written = write_synced(&part, &body)
                .map_err(|e| StoreError::io("writing", &path, &e))
                .and_then(|()| seen.put(&root, (&part, &path), "writing"));
            if written.is_err() {
                let _ = fs::remove_file(&part);
            }
            written
        })
        .await
    }

    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let (path, from) = (self.path(key), staged.path.clone());
        let (root, seen) = (self.root.clone(), Arc::clone(&self.seen));
        blocking(move || seen.put(&root, (&from, &path), "publishing")).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (path, seen) = (self.path(key), Arc::clone(&self.seen));
        let read = |path: &Path| {
            let mut body = Vec::new();
            let mut file = open_ordinary(path)?;
            file.read_to_end(&mut body)?;
            Ok::<_, io::Error>((body, Stamp::of(&file.metadata()?)))
        };
        blocking(move || match read(&path) {
            Ok((body, stamp)) => {
                seen.saw(&path, Some(stamp));
                Ok(Some(body.into()))
            }
            Err(e) if is_missing(&e) => {
                seen.saw(&path, None);
                Ok(None)
            }
            Err(e) => Err(StoreError::io("reading", &path, &e)),
        })
        .await
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError> {
        let (path, seen) = (self.path(key), Arc::clone(&self.seen));
        blocking(move || {
            let read = || {
                let mut file = open_ordinary(&path)?;
                let stamp = Stamp::of(&file.metadata()?);
                let size = stamp.bytes;
                file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
                let mut end = Vec::new();
                file.read_to_end(&mut end)?;
                seen.saw(&path, Some(stamp));
                Ok(Tail {
                    size,
                    bytes: end.into(),
                })
            };
            match read() {
                Ok(tail) => Ok(Some(tail)),
                Err(e) if is_missing(&e) => {
                    seen.saw(&path, None);
                    Ok(None)
                }
                Err(e) => Err(StoreError::io("reading", &path, &e)),
            }
        })
        .await
    }

    async fn open(&self, key: &str, _: &Path) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path(key);
        match check_ordinary(&path) {
            Ok(()) => Ok(Some(path)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(StoreError::io("reading", &path, &e)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let (root, folder) = (self.root.clone(), self.path(prefix));
        blocking(move || {
            let mut entries = Vec::new();
            walk(&folder, &root, &mut entries)
                .map_err(|e| StoreError::io("listing", &folder, &e))?;
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(entries)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key);
        let (root, seen) = (self.root.clone(), Arc::clone(&self.seen));
        blocking(move || {
            seen.replace(&root, &path, "removing", || match fs::remove_file(&path) {
                Err(e) if !is_missing(&e) => Err(e),
                _ => Ok(()),
            })
        })
        .await
    }

    /// Writes, syncs, renames and removes a probe on the way that files will take.
    async fn prove_writable(&self, table: &str) -> Result<(), StoreError> {
        let (folder, part) = (self.path(table), self.temporary()?);
        blocking(move || {
            let probe = folder.join(".probe");
            write_synced(&part, b"cwlake")
                .and_then(|()| rename_into_place(&part, &probe))
                .and_then(|()| match fs::remove_file(&probe) {
                    // Another program proves the same.
                    Err(e) if !is_missing(&e) => Err(e),
                    _ => Ok(()),
                })
                .map_err(|e| StoreError::io("writing a probe to", &folder, &e))
        })
        .await
    }

    async fn sweep(&self, _: &dyn Held) -> Result<(), StoreError> {
        let base = layout::local_scratch(&self.root);
        blocking(move || remove_dead(&base).map_err(|e| StoreError::io("emptying", &base, &e)))
            .await
    }

    async fn acquire(&self, holder: &Holder, claim: &Claim) -> Result<Box<dyn Held>, AcquireError> {
        take_lock(&self.root, holder, claim).await
    }
}

/// File systems block: they get a thread of their own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError {
            kind: StoreErrorKind::Temporary,
            doing: "using the destination".to_owned(),
            message: "the program is ending".to_owned(),
            hint: None,
        }),
    }
}
