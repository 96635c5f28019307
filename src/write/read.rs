//! Parquet files read back: footers, of a whole file or of its end, and rows.

use std::fs::File;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::FOOTER_SIZE;
use std::path::{Path, PathBuf};

use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::error::{COMPLETE_KEY, PLAN_KEY, WriteError, refused};

/// What a file's footer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Its rows.
    pub rows: u64,
    /// Whether everything asked for is in it.
    pub complete: bool,
    /// What it was meant to hold, see `ExportConfig::plan_hash`.
    pub plan_hash: Option<String>,
}

/// Reads a file's footer.
///
/// # Errors
/// [`WriteError`] when it is missing, cut short or not Parquet.
pub fn read_facts(path: &Path) -> Result<FileFacts, WriteError> {
    let file = open(path)?;
    let reader = SerializedFileReader::new(file).map_err(|source| refused(path, source))?;
    Ok(facts(reader.metadata()))
}

/// What the end of a file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailFacts {
    /// Its footer.
    Facts(FileFacts),
    /// So many bytes of its end are needed to tell.
    Need(u64),
    /// It is no whole Parquet file.
    Broken,
}

/// Reads a footer from the end of a file of `size` bytes.
pub fn tail_facts(size: u64, tail: &[u8]) -> TailFacts {
    let Some(last) = tail.last_chunk::<FOOTER_SIZE>() else {
        return TailFacts::Broken;
    };
    let Ok(footer) = FooterTail::try_new(last) else {
        return TailFacts::Broken;
    };
    let length = footer.metadata_length();
    let needed = (length + FOOTER_SIZE) as u64;
    if needed > size {
        return TailFacts::Broken;
    }
    let Some(from) = tail.len().checked_sub(length + FOOTER_SIZE) else {
        return TailFacts::Need(needed);
    };
    match ParquetMetaDataReader::decode_metadata(&tail[from..tail.len() - FOOTER_SIZE]) {
        Ok(metadata) => TailFacts::Facts(facts(&metadata)),
        Err(_) => TailFacts::Broken,
    }
}

fn facts(metadata: &ParquetMetaData) -> FileFacts {
    let metadata = metadata.file_metadata();
    let value = |key: &str| {
        let pairs = metadata.key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.clone()
    };
    FileFacts {
        rows: u64::try_from(metadata.num_rows()).unwrap_or(0),
        complete: value(COMPLETE_KEY).as_deref() == Some("true"),
        plan_hash: value(PLAN_KEY),
    }
}

/// Reads a file's rows, a thousand at a time: hundreds of files are open at once when a long range is added to.
///
/// # Errors
/// [`WriteError`] when it is missing, cut short or not Parquet; of a batch, when its pages are broken.
pub fn read_rows(
    path: &Path,
) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + Send + use<>, WriteError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(open(path)?)
        .and_then(|builder| builder.with_batch_size(1_024).build())
        .map_err(|source| refused(path, source))?;
    let path = path.to_owned();
    Ok(reader.map(move |batch| batch.map_err(|e| refused(&path, e.into()))))
}

/// The same of a file that is in memory.
///
/// # Errors
/// As [`read_rows`].
pub fn read_rows_of(
    bytes: bytes::Bytes,
) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + Send + use<>, WriteError> {
    let path = PathBuf::from("memory");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|source| refused(&path, source))?;
    Ok(reader.map(move |batch| batch.map_err(|e| refused(&path, e.into()))))
}

pub(super) fn open(path: &Path) -> Result<File, WriteError> {
    File::open(path).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })
}
