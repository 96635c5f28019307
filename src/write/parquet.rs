//! One unit's Parquet file: fixed settings, so that the same rows give the same bytes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

/// Rows after which a row group is ended: small enough that one series is found by reading little and that the rows of many days can
/// wait in memory, large enough that values compress. A group ends with the run that reaches it.
pub const ROW_GROUP_ROWS: usize = 131_072;

/// Rows of a page: the page index then narrows a search to one page a column.
const PAGE_ROWS: usize = 20_000;

const COMPLETE_KEY: &str = "cwlake.complete";
const SCHEMA_KEY: &str = "cwlake.schema_version";

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

/// A file while rows are added.
#[derive(Debug)]
pub struct UnitFile {
    path: PathBuf,
    writer: ArrowWriter<Hashing<File>>,
    rows: u64,
}

/// A finished, verified and synced file, not yet visible to readers.
#[derive(Debug)]
pub struct Staged {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// What a file's footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its rows.
    pub rows: u64,
    /// Whether everything asked for is in it.
    pub complete: bool,
}

impl UnitFile {
    /// Creates the file and its folder. `sort` names the columns the rows are sorted by; `schema_version` goes to the footer.
    ///
    /// # Errors
    /// [`WriteError`] from the file system or for a schema Parquet cannot express.
    pub fn create(
        path: &Path,
        schema: SchemaRef,
        sort: &[&str],
        schema_version: u32,
    ) -> Result<Self, WriteError> {
        let io = |source| WriteError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let file = File::create(path).map_err(io)?;
        let properties = properties(&schema, sort, schema_version);
        let writer = ArrowWriter::try_new(Hashing::new(file), schema, Some(properties)).map_err(
            |source| WriteError::Parquet {
                path: path.to_owned(),
                source,
            },
        )?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            rows: 0,
        })
    }

    /// Appends rows; they follow those before in the sort order.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.rows += batch.num_rows() as u64;
        self.writer
            .write(batch)
            .map_err(|source| refused(&self.path, source))
    }

    /// Ends the row group: nothing is held in memory until the next rows.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless.
    pub fn end_row_group(&mut self) -> Result<(), WriteError> {
        self.writer
            .flush()
            .map_err(|source| refused(&self.path, source))
    }

    /// Writes the footer, syncs, and reads the footer back.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless and is left for the caller to remove.
    pub fn finish(mut self, complete: bool) -> Result<Staged, WriteError> {
        let path = self.path;
        self.writer.append_key_value_metadata(KeyValue::new(
            COMPLETE_KEY.to_owned(),
            complete.to_string(),
        ));
        let Hashing {
            inner: file,
            hash,
            bytes,
        } = self
            .writer
            .into_inner()
            .map_err(|source| refused(&path, source))?;
        file.sync_all().map_err(|source| WriteError::Io {
            path: path.clone(),
            source,
        })?;
        drop(file);
        let found = read_facts(&path)?.rows;
        if found != self.rows {
            return Err(WriteError::Verify {
                path,
                written: self.rows,
                found,
            });
        }
        let sha256 = hex(&hash.finalize());
        Ok(Staged {
            path,
            rows: self.rows,
            bytes,
            sha256,
        })
    }
}

/// A full disk arrives inside the encoder's error; it is the file system's.
fn refused(path: &Path, source: ParquetError) -> WriteError {
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

/// Reads a file's footer.
///
/// # Errors
/// [`WriteError`] when it is missing, cut short or not Parquet.
pub fn read_facts(path: &Path) -> Result<FileFacts, WriteError> {
    let file = File::open(path).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })?;
    let reader = SerializedFileReader::new(file).map_err(|source| refused(path, source))?;
    let metadata = reader.metadata().file_metadata();
    let complete = metadata
        .key_value_metadata()
        .into_iter()
        .flatten()
        .any(|pair| pair.key == COMPLETE_KEY && pair.value.as_deref() == Some("true"));
    Ok(FileFacts {
        rows: u64::try_from(metadata.num_rows()).unwrap_or(0),
        complete,
    })
}

/// No clock, version or host: the same rows give the same bytes.
///
/// Encodings are the ones every reader named in the README takes: dictionary indices, `DELTA_BINARY_PACKED` timestamps, and for
/// values a dictionary that gives way to plain. zstd 1: level 3 saves one per cent for a fifth more time.
fn properties(schema: &SchemaRef, sort: &[&str], schema_version: u32) -> WriterProperties {
    let parquet = parquet::arrow::ArrowSchemaConverter::new().convert(schema);
    let leaf = |name: &str| {
        let columns = parquet.as_ref().ok()?.columns();
        i32::try_from(columns.iter().position(|c| c.path().parts() == [name])?).ok()
    };
    let sorting = sort
        .iter()
        .filter_map(|name| {
            Some(SortingColumn {
                column_idx: leaf(name)?,
                descending: false,
                nulls_first: false,
            })
        })
        .collect();
    let ts = ColumnPath::from("ts");
    WriterProperties::builder()
        .set_created_by("cwlake".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting))
        .set_column_dictionary_enabled(ts.clone(), false)
        .set_column_encoding(ts, Encoding::DELTA_BINARY_PACKED)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            SCHEMA_KEY.to_owned(),
            schema_version.to_string(),
        )]))
        .build()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            // A String takes every character.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Counts and hashes what passes through.
#[derive(Debug)]
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(data)?;
        self.hash.update(&data[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Dimension, Lane, MetricId, Period, Region, Series, Statistic};
    use crate::normalize::{METRICS_SORT, MetricRows, RunIdentity, metrics_schema};

    fn batch(series: usize) -> RecordBatch {
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let mut rows = MetricRows::new(lane.clone(), None);
        for n in 0..series {
            let metric = MetricId::new(
                "AWS/EC2",
                "CPUUtilization",
                vec![Dimension::new("InstanceId", format!("i-{n:04}"))],
            );
            let identity = RunIdentity {
                series: Series::new(&lane, metric),
                statistic: Statistic::parse("Average").expect("statistic"),
                period: Period::MINUTE,
                unit: None,
            };
            let timestamps: Vec<i64> = (0..1440).map(|m| m * 60_000_000).collect();
            let values: Vec<f64> = (0..1440).map(|m| f64::from(m) * 0.37).collect();
            rows.push(identity, &timestamps, &values);
        }
        rows.take_batches(100_000)
            .next()
            .expect("rows")
            .expect("built")
    }

    fn write(dir: &Path, name: &str, complete: bool) -> Staged {
        let mut file =
            UnitFile::create(&dir.join(name), metrics_schema(), &METRICS_SORT, 1).expect("created");
        file.write(&batch(10)).expect("written");
        file.finish(complete).expect("finished")
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (a, b) = (write(dir.path(), "a", true), write(dir.path(), "b", true));
        assert_eq!((a.rows, &a.sha256, a.bytes), (14_400, &b.sha256, b.bytes));
        let bytes = std::fs::read(&a.path).expect("read");
        assert_eq!(bytes, std::fs::read(&b.path).expect("read"));
        assert_eq!(bytes.len() as u64, a.bytes);
    }

    #[test]
    fn the_footer_says_rows_completeness_and_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        let staged = write(dir.path(), "a", false);
        assert_eq!(
            read_facts(&staged.path).expect("facts"),
            FileFacts {
                rows: 14_400,
                complete: false
            }
        );
        let reader =
            SerializedFileReader::new(File::open(&staged.path).expect("open")).expect("parquet");
        let group = reader.metadata().row_group(0);
        let sorted: Vec<String> = group
            .sorting_columns()
            .expect("declared")
            .iter()
            .map(|c| {
                group
                    .column(usize::try_from(c.column_idx).expect("an index"))
                    .column_path()
                    .string()
            })
            .collect();
        assert_eq!(sorted, METRICS_SORT);
        assert!(
            reader
                .metadata()
                .row_group(0)
                .column(0)
                .statistics()
                .is_some()
        );
        assert!(
            reader
                .metadata()
                .row_group(0)
                .column(0)
                .offset_index_offset()
                .is_some(),
            "page index"
        );
        insta::assert_snapshot!(schema_text(&reader));
    }

    fn schema_text(reader: &SerializedFileReader<File>) -> String {
        let mut out = Vec::new();
        parquet::schema::printer::print_schema(
            &mut out,
            reader.metadata().file_metadata().schema(),
        );
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_cut_file_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let staged = write(dir.path(), "a", true);
        let bytes = std::fs::read(&staged.path).expect("read");
        std::fs::write(&staged.path, &bytes[..bytes.len() - 10]).expect("cut");
        assert!(read_facts(&staged.path).is_err());
    }
}
