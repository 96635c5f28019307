//! Parquet files read back: footers, of a whole file or of its end, and rows.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use std::path::{Path, PathBuf};

use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::file::statistics::Statistics;

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

/// Reads the points of a file of metrics, a few thousand at a time: texts stand in dictionaries, as they do in the file, so that neighbours are compared
/// by their places. Its footer comes as well. The map of dimensions is left out, since `dimensions_key` says the same, and so is a column without a value.
///
/// # Errors
/// As [`read_rows`].
pub fn read_points(
    path: &Path,
) -> Result<
    (
        FileFacts,
        impl Iterator<Item = Result<RecordBatch, WriteError>> + Send + use<>,
    ),
    WriteError,
> {
    let points = PointsReader::open(open(path)?).map_err(|source| refused(path, source))?;
    let facts = facts(points.metadata.metadata());
    let path = path.to_owned();
    Ok((
        facts,
        points.map(move |batch| batch.map_err(|e| refused(&path, e))),
    ))
}

/// Reads row group by row group: where a batch reaches into the next, every text of it would be looked up in a new dictionary, which takes longer than
/// all other reading together. So would a column of nulls.
struct PointsReader {
    content: Content,
    metadata: ArrowReaderMetadata,
    next_group: usize,
    group: Option<ParquetRecordBatchReader>,
}

impl PointsReader {
    /// Rows of a batch.
    const ROWS: usize = 4_096;

    fn open(file: File) -> Result<Self, ParquetError> {
        let content = Content::of(file)?;
        let metadata = ArrowReaderMetadata::load(
            &content,
            ArrowReaderOptions::new().with_skip_arrow_metadata(true),
        )?;
        let in_dictionary = |field: &Arc<Field>| match field.data_type() {
            DataType::Utf8 => {
                let text =
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                Arc::new(Field::new(field.name(), text, field.is_nullable()))
            }
            _ => Arc::clone(field),
        };
        let fields: Vec<_> = metadata
            .schema()
            .fields()
            .iter()
            .map(in_dictionary)
            .collect();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
        Ok(Self {
            content,
            metadata,
            next_group: 0,
            group: None,
        })
    }

    fn open_group(&self, group: usize) -> Result<ParquetRecordBatchReader, ParquetError> {
        let (schema, row_group) = (
            self.metadata.parquet_schema(),
            self.metadata.metadata().row_group(group),
        );
        let leaves = (0..schema.num_columns()).filter(|leaf| {
            let column = row_group.column(*leaf);
            let nulls = column.statistics().and_then(Statistics::null_count_opt);
            let is_empty = nulls == u64::try_from(column.num_values()).ok();
            schema.column(*leaf).path().parts().len() == 1 && !is_empty
        });
        let mask = ProjectionMask::leaves(schema, leaves);
        let content = self.content.clone();
        ParquetRecordBatchReaderBuilder::new_with_metadata(content, self.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_batch_size(Self::ROWS)
            .build()
    }
}

impl Iterator for PointsReader {
    type Item = Result<RecordBatch, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.group.as_mut().and_then(Iterator::next) {
                return Some(batch.map_err(ParquetError::from));
            }
            self.group = None;
            if self.next_group == self.metadata.metadata().num_row_groups() {
                return None;
            }
            match self.open_group(self.next_group) {
                Ok(group) => self.group = Some(group),
                Err(error) => return Some(Err(error)),
            }
            self.next_group += 1;
        }
    }
}

/// A file that is read in many places, by many columns, through one descriptor; a small one is read at once.
#[derive(Clone)]
enum Content {
    Memory(Bytes),
    File(Arc<Mutex<File>>, u64),
}

impl Content {
    /// What is read at once: thousands of small files are merged, and none of them is worth a call for each column.
    const SMALL: u64 = 256 << 10;

    fn of(mut file: File) -> Result<Self, ParquetError> {
        let length = file.metadata()?.len();
        if length > Self::SMALL {
            return Ok(Self::File(Arc::new(Mutex::new(file)), length));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self::Memory(bytes.into()))
    }
}

impl Length for Content {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

impl ChunkReader for Content {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(bytes.get_read(start)?)),
            Self::File(file, _) => Ok(Box::new(BufReader::new(At {
                file: Arc::clone(file),
                at: start,
            }))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::Memory(bytes) => bytes.get_bytes(start, length),
            Self::File(file, _) => {
                let mut bytes = vec![0; length];
                let mut place = At {
                    file: Arc::clone(file),
                    at: start,
                };
                place.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// A place in a file.
struct At {
    file: Arc<Mutex<File>>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(out)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The rows of a file that is in memory.
///
/// # Errors
/// As [`read_rows`].
pub fn read_rows_of(
    bytes: Bytes,
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
