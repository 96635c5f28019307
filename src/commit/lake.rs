//! The destination of a run: a local folder that was proved writable and is ours until the run ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::write::layout;

/// The destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// It cannot be written to.
    #[error("the destination {} is not writable", path.display())]
    NotWritable {
        /// The folder or file that refused.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another run holds it.
    #[error("another run is writing to {}{}", root.display(), if holder.is_empty() { String::new() } else { format!(" ({holder})") })]
    Locked {
        /// The lake's root.
        root: PathBuf,
        /// What the other run wrote about itself.
        holder: String,
    },
}

/// An open, locked destination. The lock ends with the value, and with the process however it ends.
#[derive(Debug)]
pub struct Lake {
    root: PathBuf,
    run_id: String,
    _lock: File,
}

impl Lake {
    /// Creates the root if needed, proves it writable, takes the lock and removes what dead runs left in staging.
    ///
    /// # Errors
    /// [`LakeError`]; nothing was called or written but `_cwlake/`.
    pub fn open(root: &Path, run_id: &str) -> Result<Self, LakeError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| LakeError::NotWritable { path, source }
        };
        let lock_path = layout::lock(root);
        let control = root.join(layout::CONTROL_FOLDER);
        fs::create_dir_all(&control).map_err(refused(&control))?;
        let table = layout::table(root, "metrics");
        fs::create_dir_all(&table).map_err(refused(&table))?;
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(refused(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock_path)
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                return Err(LakeError::Locked {
                    root: root.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(refused(&lock_path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "run {run_id}, process {}", std::process::id()))
            .map_err(refused(&lock_path))?;
        let lake = Self {
            root: root.to_owned(),
            run_id: run_id.to_owned(),
            _lock: lock,
        };
        lake.sweep().map_err(refused(&layout::staging(root)))?;
        lake.prove_writable(&table)?;
        Ok(lake)
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of this run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Staging holds only what a run had not published; whoever has the lock may remove it.
    fn sweep(&self) -> io::Result<()> {
        match fs::remove_dir_all(layout::staging(&self.root)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Writes, syncs, renames and removes a probe on the way that files will take.
    fn prove_writable(&self, table: &Path) -> Result<(), LakeError> {
        let staging = layout::staging(&self.root).join(&self.run_id);
        let (from, to) = (staging.join("probe.part"), table.join(".probe"));
        let attempt = || {
            fs::create_dir_all(&staging)?;
            let mut file = File::create(&from)?;
            file.write_all(b"cwlake")?;
            file.sync_all()?;
            fs::rename(&from, &to)?;
            fs::remove_file(&to)
        };
        attempt().map_err(|source| LakeError::NotWritable {
            path: self.root.clone(),
            source,
        })
    }

    /// Writes the run's report, whole or not at all.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_report(&self, json: &str) -> io::Result<PathBuf> {
        let path = layout::report(&self.root, &self.run_id);
        let part = layout::staging(&self.root)
            .join(&self.run_id)
            .join("report.part");
        for folder in [path.parent(), part.parent()].into_iter().flatten() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&part)?;
        file.write_all(json.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        Ok(path)
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        // What is left belongs to units that were not finished; the next run would remove it as well.
        let _ = self.sweep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_lake() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = Lake::open(dir.path(), "one").expect("opened");
        let error = Lake::open(dir.path(), "two").expect_err("locked");
        assert!(
            matches!(&error, LakeError::Locked { holder, .. } if holder.contains("run one")),
            "{error}"
        );
        drop(first);
        Lake::open(dir.path(), "three").expect("free again");
    }

    #[test]
    fn staging_of_a_dead_run_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let left = layout::staging(dir.path()).join("dead").join("x.part");
        fs::create_dir_all(left.parent().expect("folder")).expect("made");
        fs::write(&left, "half").expect("written");
        let lake = Lake::open(dir.path(), "run").expect("opened");
        assert!(!left.exists());
        assert_eq!(lake.run_id(), "run");
    }

    #[test]
    fn a_file_in_the_way_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("lake");
        fs::write(&path, "not a folder").expect("written");
        assert!(matches!(
            Lake::open(&path, "run"),
            Err(LakeError::NotWritable { .. })
        ));
    }
}
