//! Why a file could not be written or read, and the keys of a footer.

use std::io;

use parquet::errors::ParquetError;
use std::path::{Path, PathBuf};

pub(super) const COMPLETE_KEY: &str = "cwlake.complete";
pub(super) const PLAN_KEY: &str = "cwlake.plan";

/// A file could not be written, or reads back differently.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("writing {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The encoder refused.
    #[error("encoding {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// The footer read back does not hold what was written.
    #[error("{} has {found} rows in its footer, {written} were written", path.display())]
    Verify {
        /// The file.
        path: PathBuf,
        /// Rows written.
        written: u64,
        /// Rows found.
        found: u64,
    },
}

/// A full disk arrives inside the encoder's error; it is the file system's.
pub(super) fn refused(path: &Path, source: ParquetError) -> WriteError {
    let path = path.to_owned();
    match source {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(source) => WriteError::Io {
                path,
                source: *source,
            },
            Err(inner) => WriteError::Parquet {
                path,
                source: ParquetError::External(inner),
            },
        },
        source => WriteError::Parquet { path, source },
    }
}
