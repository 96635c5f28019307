//! Files and folders of this machine: ordinary ones alone, and as private as what they lie in.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// What of a mode is for the group and others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Opens a file to read it. A link may lead anywhere, and a pipe keeps its reader waiting for ever: both are refused.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::InvalidInput`] for what is no ordinary file.
pub(crate) fn open_ordinary(path: &Path) -> io::Result<File> {
    check_ordinary(path)?;
    File::open(path)
}

/// The same of a file that nobody but us has written.
///
/// # Errors
/// As [`open_ordinary`], or [`io::ErrorKind::PermissionDenied`] for a file of another user, or one that others may write to.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    check_ordinary(path)?;
    #[cfg(unix)]
    check_own(path, &fs::symlink_metadata(path)?)?;
    File::open(path)
}

/// The same without opening it; what is not there is an error as well.
///
/// # Errors
/// As [`open_ordinary`].
pub(crate) fn check_ordinary(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_file() {
        Ok(())
    } else {
        let text = "it is no ordinary file, but a link, a pipe or a folder";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// Opens a file that is there to be locked, or makes it.
///
/// # Errors
/// As [`open_ordinary`].
pub(crate) fn open_to_lock(path: &Path) -> io::Result<File> {
    match check_ordinary(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.create(true).read(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode_above(path) & 0o666);
    options.open(path)
}

/// Locks a file, if nobody holds it.
///
/// # Errors
/// The file system's.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Locks a file that nobody holds for long.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::TimedOut`] where somebody holds it all the same: a program that was suspended.
pub(crate) fn lock_for_a_moment(file: &File) -> io::Result<()> {
    const TRIES: u32 = 100;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    for _ in 0..TRIES {
        if try_lock(file)? {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    let text = "another program holds it, and was perhaps suspended";
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Makes or empties a file, with the permissions that its folder gives.
///
/// # Errors
/// The file system's.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    let mode = mode_above(path) & 0o666;
    #[cfg(not(unix))]
    let mode = 0o666;
    create(path, mode)
}

/// The same of a file that is for nobody but us, see [`open_own`].
///
/// # Errors
/// The file system's.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    create(path, 0o600)
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "there are no modes"))]
fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options.open(path)
}

/// Makes a folder with those above it, with the permissions of the nearest one that is there.
///
/// # Errors
/// The file system's.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(mode_above(path) & 0o777);
    }
    builder.create(path)
}

#[cfg(unix)]
fn mode_above(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    let above = path.ancestors().skip(1);
    let mut there = above.filter_map(|folder| folder.metadata().ok());
    there.next().map_or(0o777, |folder| folder.mode())
}

/// Makes a folder for private ones, or makes sure that nobody else could put one there in their place: it is ours or the system's, and others may
/// write to it only where, as in `/tmp`, they cannot take away what is not theirs. It is left as it is.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::PermissionDenied`].
pub(crate) fn folder_for_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        const STICKY: u32 = 0o1000;
        const SYSTEM: u32 = 0;
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path)?;
        let there = fs::metadata(path)?;
        if there.uid() == SYSTEM && there.mode() & WRITABLE_BY_OTHERS == 0
            || there.mode() & STICKY != 0
        {
            return Ok(());
        }
        check_own(path, &there)
    }
    #[cfg(not(unix))]
    fs::create_dir_all(path)
}

/// Makes a folder that nobody else may enter, or makes it one: what lies in it is taken for our own.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::PermissionDenied`] for a link, a folder of another user, or one that others may write to.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path)?;
        check_own(path, &fs::symlink_metadata(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    }
    #[cfg(not(unix))]
    fs::create_dir_all(path)
}

/// Refuses what others can change.
#[cfg(unix)]
fn check_own(path: &Path, there: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    // Whoever runs this owns its entry there.
    let us = fs::metadata("/proc/self").map_or(there.uid(), |own| own.uid());
    let why = if there.is_symlink() {
        "is a link"
    } else if there.uid() != us {
        "belongs to another user"
    } else if there.mode() & WRITABLE_BY_OTHERS != 0 {
        "may be written to by others"
    } else {
        return Ok(());
    };
    let text = format!("{} {why}", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn what_lies_in_a_private_folder_is_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let private = dir.path().join("a/b");
        private_folder(&private).expect("made");
        create_folder(&private.join("c/d")).expect("made");
        create_file(&private.join("c/d/file")).expect("made");
        let modes = ["", "c", "c/d", "c/d/file"].map(|at| mode(&private.join(at)));
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o600]);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        for bits in [0o777, 0o770, 0o722] {
            fs::set_permissions(&open, fs::Permissions::from_mode(bits)).expect("set");
            let error = private_folder(&open).expect_err("refused");
            assert!(error.to_string().contains("by others"), "{error}");
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("set");
        private_folder(&open).expect("ours");
        assert_eq!(mode(&open), 0o700);
        let link = dir.path().join("link");
        symlink(&open, &link).expect("linked");
        assert!(private_folder(&link).is_err());
    }

    #[test]
    fn the_folder_above_is_taken_as_it_is_where_nobody_can_exchange_what_is_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let above = dir.path().join("above");
        fs::create_dir(&above).expect("made");
        for (bits, is_taken) in [
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o775, false),
        ] {
            fs::set_permissions(&above, fs::Permissions::from_mode(bits)).expect("set");
            assert_eq!(folder_for_private(&above).is_ok(), is_taken, "{bits:o}");
            assert_eq!(mode(&above), bits & 0o777);
        }
        fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).expect("set");
        let link = dir.path().join("link");
        symlink(&above, &link).expect("linked");
        folder_for_private(&link).expect("a link of ours");
        private_folder(&link.join("own")).expect("made");
        assert_eq!(mode(&above.join("own")), 0o700);
    }

    #[test]
    fn links_and_folders_are_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "x").expect("written");
        symlink(&file, &link).expect("linked");
        assert!(open_ordinary(&file).is_ok());
        for other in [&link, &dir.path().to_owned()] {
            let error = open_ordinary(other).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
