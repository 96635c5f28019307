//! A lake in a local folder: staged file → fsync → rename → fsync of the folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::files::{check_ordinary, open_ordinary};
use crate::lake::layout;
use crate::write::Staged;

use super::{AcquireError, Entry, Held, Holder, Store, StoreError, StoreErrorKind, Tail};

/// A folder. Staged files must lie on the same file system, as those below [`layout::local_scratch`] do.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    temporary: AtomicU64,
}

impl LocalStore {
    /// The lake below `root`, which need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            temporary: AtomicU64::new(0),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// A name nobody else uses, on the lake's file system and outside its tables.
    fn temporary(&self) -> PathBuf {
        let n = self.temporary.fetch_add(1, Ordering::Relaxed);
        layout::local_scratch(&self.root)
            .join("staging")
            .join(format!("put-{}-{n}.part", std::process::id()))
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
    let folder = to.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    fs::rename(from, to)?;
    File::open(folder)?.sync_all()
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
        let (path, part) = (self.path(key), self.temporary());
        blocking(move || {
            write_synced(&part, &body)
                .and_then(|()| rename_into_place(&part, &path))
                .map_err(|e| {
                    let _ = fs::remove_file(&part);
                    StoreError::io("writing", &path, &e)
                })
        })
        .await
    }

    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let (path, from) = (self.path(key), staged.path.clone());
        blocking(move || {
            rename_into_place(&from, &path).map_err(|e| StoreError::io("publishing", &path, &e))
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(key);
        let read = |path: &Path| {
            let mut body = Vec::new();
            open_ordinary(path)?.read_to_end(&mut body)?;
            Ok::<_, io::Error>(body)
        };
        blocking(move || match read(&path) {
            Ok(body) => Ok(Some(body.into())),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(StoreError::io("reading", &path, &e)),
        })
        .await
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError> {
        let path = self.path(key);
        blocking(move || {
            let read = || {
                let mut file = open_ordinary(&path)?;
                let size = file.metadata()?.len();
                file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
                let mut end = Vec::new();
                file.read_to_end(&mut end)?;
                Ok(Tail {
                    size,
                    bytes: end.into(),
                })
            };
            match read() {
                Ok(tail) => Ok(Some(tail)),
                Err(e) if is_missing(&e) => Ok(None),
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
        blocking(move || match fs::remove_file(&path) {
            Err(e) if !is_missing(&e) => Err(StoreError::io("removing", &path, &e)),
            _ => Ok(()),
        })
        .await
    }

    /// Writes, syncs, renames and removes a probe on the way that files will take.
    async fn prove_writable(&self, table: &str) -> Result<(), StoreError> {
        let (folder, part) = (self.path(table), self.temporary());
        blocking(move || {
            let probe = folder.join(".probe");
            write_synced(&part, b"cwlake")
                .and_then(|()| rename_into_place(&part, &probe))
                .and_then(|()| fs::remove_file(&probe))
                .map_err(|e| StoreError::io("writing a probe to", &folder, &e))
        })
        .await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let staging = layout::local_scratch(&self.root).join("staging");
        blocking(move || match fs::remove_dir_all(&staging) {
            Err(e) if !is_missing(&e) => Err(StoreError::io("removing", &staging, &e)),
            _ => Ok(()),
        })
        .await
    }

    /// A file lock: it goes with the process, however that ends.
    async fn acquire(&self, holder: &Holder) -> Result<Box<dyn Held>, AcquireError> {
        let path = self.path(layout::LOCK);
        let refused = |e: io::Error| StoreError::io("locking", &path, &e);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| StoreError::io("creating", folder, &e))?;
        }
        match check_ordinary(&path) {
            Err(e) if !is_missing(&e) => return Err(refused(e).into()),
            _ => {}
        }
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AcquireError::Taken {
                    root: self.describe(),
                    holder: holder_of(&path).await,
                });
            }
            Err(TryLockError::Error(e)) => return Err(refused(e).into()),
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{holder}"))
            .map_err(refused)?;
        Ok(Box::new(FileLock { _file: lock }))
    }
}

/// What the holder wrote about itself; it may have the lock for a moment before it has.
async fn holder_of(lock: &Path) -> String {
    for _ in 0..20 {
        let text = fs::read_to_string(lock).unwrap_or_default();
        if !text.trim().is_empty() {
            return text.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    String::new()
}

#[derive(Debug)]
struct FileLock {
    _file: File,
}

#[async_trait]
impl Held for FileLock {
    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }

    async fn is_held(&self, _: bool) -> bool {
        true
    }

    async fn release(self: Box<Self>) {}
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
