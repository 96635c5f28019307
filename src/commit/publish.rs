//! One file's way to its final name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::write::{FileFacts, Staged, WriteError, read_facts};

/// What publishing came to.
#[derive(Debug)]
pub enum Published {
    /// The new file is at its place.
    New(PathBuf),
    /// The one that was there is better and stays.
    Kept(Kept),
}

/// Why the file that was there stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Rows it has.
    pub rows: u64,
    /// Rows the new one has; `None` when the run found nothing at all.
    pub new_rows: Option<u64>,
    /// Whether it is complete and the new one is not.
    pub new_is_incomplete: bool,
}

/// Decides whether a file with `new` facts may replace the one at `path`; `None`: it may.
///
/// Never worse over better: fewer rows do not replace more, an incomplete unit does not replace a complete one, and nothing replaces
/// something, unless forced. A file that is no whole Parquet file is worth nothing; one that cannot be opened may be worth everything.
fn kept(path: &Path, new: Option<FileFacts>, force: bool) -> io::Result<Option<Kept>> {
    if force {
        return Ok(None);
    }
    let old = match read_facts(path) {
        Ok(facts) => facts,
        Err(WriteError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(WriteError::Io { source, .. }) => return Err(source),
        Err(_) => FileFacts {
            rows: 0,
            complete: false,
        },
    };
    let new_is_incomplete = old.complete && !new.is_none_or(|n| n.complete);
    let fewer = new.is_none_or(|n| n.rows < old.rows);
    Ok((fewer || new_is_incomplete).then_some(Kept {
        rows: old.rows,
        new_rows: new.map(|n| n.rows),
        new_is_incomplete,
    }))
}

/// Renames a staged, synced file into place and syncs the folder; or removes the staged one when the one that is there is better.
/// With `staged` none, the unit came out empty: what is there stays, unless forced.
///
/// # Errors
/// The file system's; what was there is then still there.
pub fn publish(path: &Path, staged: Option<(&Staged, bool)>, force: bool) -> io::Result<Published> {
    let facts = staged.map(|(s, complete)| FileFacts {
        rows: s.rows,
        complete,
    });
    if let Some(kept) = kept(path, facts, force)? {
        if let Some((staged, _)) = staged {
            fs::remove_file(&staged.path)?;
        }
        return Ok(Published::Kept(kept));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    match staged {
        Some((staged, _)) => {
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                if let Some(table) = folder.parent() {
                    File::open(table)?.sync_all()?;
                }
            }
            fs::rename(&staged.path, path)?;
            File::open(folder)?.sync_all()?;
        }
        None => match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        },
    }
    Ok(Published::New(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_replaces_something_only_when_forced() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("unit.parquet");
        fs::write(&path, "not parquet, but something").expect("written");
        assert!(matches!(
            publish(&path, None, false),
            Ok(Published::Kept(_))
        ));
        assert!(path.exists());
        assert!(matches!(publish(&path, None, true), Ok(Published::New(_))));
        assert!(!path.exists());
        assert!(
            matches!(publish(&path, None, false), Ok(Published::New(_))),
            "nothing over nothing"
        );
    }

    #[test]
    fn what_cannot_be_opened_is_not_judged() {
        let dir = tempfile::tempdir().expect("temp dir");
        // A folder in the file's place opens and cannot be read: an error that is not "not found".
        let path = dir.path().join("unit.parquet");
        fs::create_dir(&path).expect("made");
        assert!(publish(&path, None, false).is_err());
    }
}
