//! Folders for files on their way: each belongs to one process, and what a process that died has left is removed by the next one.
//!
//! They lie side by side below `<base>/staging`, each locked for as long as its process lives. Whoever makes or removes one holds
//! `<base>/lock-staging` meanwhile, so that a folder is never found between its making and its locking.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{create_folder, lock_for_a_moment, open_to_lock, try_lock};

/// A folder of this process, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    base: PathBuf,
    path: PathBuf,
    _lock: File,
}

/// The lock of a folder, inside it.
const LOCK: &str = "lock";

fn staging(base: &Path) -> PathBuf {
    base.join("staging")
}

/// Keeps others from making and removing folders for a moment.
fn enter(base: &Path) -> io::Result<File> {
    create_folder(base)?;
    let entrance = open_to_lock(&base.join("lock-staging"))?;
    lock_for_a_moment(&entrance)?;
    Ok(entrance)
}

impl OwnFolder {
    /// Makes a folder below `base`.
    ///
    /// # Errors
    /// The file system's, or [`io::ErrorKind::AlreadyExists`] for one of another process.
    pub(crate) fn create(base: &Path, name: &str) -> io::Result<Self> {
        let _entrance = enter(base)?;
        let path = staging(base).join(name);
        create_folder(&path)?;
        let lock = open_to_lock(&path.join(LOCK))?;
        if !try_lock(&lock)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self {
            base: base.to_owned(),
            path,
            _lock: lock,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        let _entrance = enter(&self.base);
        let _ = fs::remove_dir_all(&self.path);
        // Others may be at work in theirs.
        let _ = fs::remove_dir(staging(&self.base));
    }
}

/// Removes the folders below `base` whose processes are gone.
///
/// # Errors
/// The file system's.
pub(crate) fn remove_dead(base: &Path) -> io::Result<()> {
    let is_missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    if !staging(base).is_dir() {
        return Ok(());
    }
    let _entrance = enter(base)?;
    let folders = match fs::read_dir(staging(base)) {
        Err(e) if is_missing(&e) => return Ok(()),
        folders => folders?,
    };
    for entry in folders {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            fs::remove_file(&path)?;
            continue;
        }
        let lock = open_to_lock(&path.join(LOCK))?;
        if try_lock(&lock)? {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_go_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path();
        let own = OwnFolder::create(base, "own").expect("made");
        fs::write(own.path().join("x.part"), "half").expect("written");
        let dead = staging(base).join("dead");
        fs::create_dir(&dead).expect("made");
        fs::write(dead.join("y.part"), "half").expect("written");
        fs::write(staging(base).join("stray.part"), "half").expect("written");
        remove_dead(base).expect("removed");
        assert!(own.path().join("x.part").exists() && !dead.exists());
        assert!(!staging(base).join("stray.part").exists());
        assert!(OwnFolder::create(base, "own").is_err(), "it is taken");
        let other = OwnFolder::create(base, "other").expect("made");
        drop(own);
        assert!(other.path().exists());
        drop(other);
        assert!(!staging(base).exists());
    }
}
