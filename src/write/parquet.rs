//! One unit's Parquet file: fixed settings, so that the same rows give the same bytes.

use std::fs::File;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::columns;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sha2::{Digest, Sha256};

use crate::files::{create_file, create_folder};

use super::error::{COMPLETE_KEY, PLAN_KEY, WriteError, refused};
use super::read::{open, read_facts};

/// Rows after which a row group is ended: small enough that one series is found by reading little and that the rows of many days can
/// wait in memory, large enough that values compress. A group ends with the run that reaches it.
pub const ROW_GROUP_ROWS: usize = 131_072;

/// Rows of a page of what the library encodes.
const PAGE_ROWS: usize = 20_000;

const SCHEMA_KEY: &str = "cwlake.schema_version";
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

/// What stands in the footer beside Parquet's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterKeys<'a> {
    /// Version of the table's schema.
    pub schema_version: u32,
    /// What the file is meant to hold, for tables that have plans.
    pub plan_hash: Option<&'a str>,
}

impl UnitFile {
    /// Creates the file and its folder. `sort` names the columns the rows are sorted by.
    ///
    /// # Errors
    /// [`WriteError`] from the file system or for a schema Parquet cannot express.
    pub fn create(
        path: &Path,
        schema: SchemaRef,
        sort: &[&str],
        footer: FooterKeys<'_>,
    ) -> Result<Self, WriteError> {
        let file = create(path)?;
        let properties = properties(&schema, sort, footer);
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .map_err(|source| refused(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            rows: 0,
        })
    }

    /// Bytes of rows whose row group is not ended.
    pub fn waiting_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// Bytes of the row groups that are ended.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Ends the row group: what was written is no longer held in memory.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless.
    pub fn end_group(&mut self) -> Result<(), WriteError> {
        let ended = self.writer.flush();
        ended.map_err(|source| refused(&self.path, source))
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

    /// Writes the footer, syncs, and reads the footer back.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless and is left for the caller to remove.
    pub fn finish(mut self, complete: bool) -> Result<Staged, WriteError> {
        let path = self.path;
        self.writer
            .append_key_value_metadata(completeness(complete));
        let file = self.writer.into_inner();
        seal(path, file, self.rows)
    }
}

/// A file whose rows come in runs; each batch is a row group.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    writer: SerializedFileWriter<Hashing<File>>,
    rows: u64,
}

impl RunFile {
    /// Creates the file and its folder. `schema` is the table's, with nothing run-end encoded; `sort` names the columns the rows are
    /// sorted by.
    ///
    /// # Errors
    /// [`WriteError`] from the file system or for a schema Parquet cannot express.
    pub fn create(
        path: &Path,
        schema: &SchemaRef,
        sort: &[&str],
        footer: FooterKeys<'_>,
    ) -> Result<Self, WriteError> {
        let file = create(path)?;
        let mut properties = properties(schema, sort, footer);
        // Readers of Arrow find the time zone and the names of the map's fields there.
        add_encoded_arrow_schema_to_metadata(schema, &mut properties);
        let writer = ArrowSchemaConverter::new()
            .convert(schema)
            .and_then(|parquet| {
                SerializedFileWriter::new(file, parquet.root_schema_ptr(), Arc::new(properties))
            })
            .map_err(|source| refused(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            rows: 0,
        })
    }

    /// Bytes of the row groups.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Appends a row group; its rows follow those before in the sort order.
    ///
    /// # Shape
    /// The table's columns. Text, integer and map columns are run-end encoded with 32-bit ends; the others are microsecond timestamps and
    /// doubles without nulls.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), WriteError> {
        self.rows += rows.num_rows() as u64;
        self.write_group(rows)
            .map_err(|source| refused(&self.path, source))
    }

    fn write_group(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        let chunks = columns::encode(self.writer.schema_descr(), rows)?;
        let mut group = self.writer.next_row_group()?;
        for (bytes, close) in chunks {
            group.append_column(&bytes, close)?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes the footer, syncs, and reads the footer back.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then useless and is left for the caller to remove.
    pub fn finish(mut self, complete: bool) -> Result<Staged, WriteError> {
        self.writer
            .append_key_value_metadata(completeness(complete));
        let file = self.writer.into_inner();
        seal(self.path, file, self.rows)
    }
}

fn create(path: &Path) -> Result<Hashing<File>, WriteError> {
    let io = |source| WriteError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        create_folder(folder).map_err(io)?;
    }
    Ok(Hashing::new(create_file(path).map_err(io)?))
}

fn completeness(complete: bool) -> KeyValue {
    KeyValue::new(COMPLETE_KEY.to_owned(), complete.to_string())
}

/// Syncs a file that has its footer, and reads that back.
fn seal(
    path: PathBuf,
    file: Result<Hashing<File>, ParquetError>,
    rows: u64,
) -> Result<Staged, WriteError> {
    let Hashing { inner, hash, bytes } = file.map_err(|source| refused(&path, source))?;
    inner.sync_all().map_err(|source| WriteError::Io {
        path: path.clone(),
        source,
    })?;
    drop(inner);
    let found = read_facts(&path)?.rows;
    if found != rows {
        return Err(WriteError::Verify {
            path,
            written: rows,
            found,
        });
    }
    Ok(Staged {
        path,
        rows,
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// Hashes a file: its size and SHA-256 in hex.
///
/// # Errors
/// The file system's.
pub fn checksum(path: &Path) -> Result<(u64, String), WriteError> {
    let mut hashing = Hashing::new(io::sink());
    io::copy(&mut open(path)?, &mut hashing).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok((hashing.bytes, hex(&hashing.hash.finalize())))
}

/// No clock, version or host: the same rows give the same bytes.
///
/// Encodings are the ones every reader takes: dictionary indices and plain values, in this order inside a chunk.
fn properties(schema: &SchemaRef, sort: &[&str], footer: FooterKeys<'_>) -> WriterProperties {
    let parquet = ArrowSchemaConverter::new().convert(schema);
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
    let mut builder = WriterProperties::builder();
    // What seldom repeats: a dictionary of it makes times larger, and saves nothing on texts (docs/explanation/file-format.md, "Logs").
    for rare in ["ts", "ingested_at", "event_id", "message"].map(ColumnPath::from) {
        builder = builder.set_column_dictionary_enabled(rare, false);
    }
    builder
        .set_created_by("cwlake".to_owned())
        .set_compression(columns::compression())
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(
            std::iter::once((SCHEMA_KEY, footer.schema_version.to_string()))
                .chain(footer.plan_hash.map(|hash| (PLAN_KEY, hash.to_owned())))
                .map(|(key, value)| KeyValue::new(key.to_owned(), value))
                .collect(),
        ))
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
    use crate::lake::table::METRICS;
    use crate::model::{Dimension, Lane, MetricId, Period, Series, Statistic};
    use crate::normalize::{MetricRows, RunIdentity, schema_of};
    use crate::write::{FileFacts, TailFacts, read_rows, tail_facts};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    const FOOTER: FooterKeys<'static> = FooterKeys {
        schema_version: 1,
        plan_hash: Some("abc"),
    };

    fn batch(series: usize) -> RecordBatch {
        let lane = Lane::example();
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
            rows.push(identity.into(), timestamps[..].into(), &values);
        }
        rows.take().expect("built")
    }

    fn write(dir: &Path, name: &str, complete: bool) -> Staged {
        let mut file = RunFile::create(&dir.join(name), &schema_of(&METRICS), METRICS.sort, FOOTER)
            .expect("created");
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
                complete: false,
                plan_hash: Some("abc".to_owned()),
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
        assert_eq!(sorted, METRICS.sort);
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

    #[test]
    fn the_end_of_a_file_tells_what_the_file_does() {
        let dir = tempfile::tempdir().expect("temp dir");
        let staged = write(dir.path(), "a", true);
        let bytes = std::fs::read(&staged.path).expect("read");
        let facts = read_facts(&staged.path).expect("facts");
        let tail = |n: usize| tail_facts(staged.bytes, &bytes[bytes.len() - n..]);
        let TailFacts::Need(needed) = tail(100) else {
            panic!("a footer is longer than that")
        };
        let needed = usize::try_from(needed).expect("small");
        assert_eq!(tail(needed), TailFacts::Facts(facts.clone()));
        assert_eq!(tail(needed + 1_000), TailFacts::Facts(facts));
        assert_eq!(tail_facts(6, b"PAR1xx"), TailFacts::Broken);
        assert_eq!(tail_facts(20, &bytes[..20]), TailFacts::Broken);
        assert_eq!(
            checksum(&staged.path).expect("read"),
            (staged.bytes, staged.sha256.clone())
        );
        let rows: usize = read_rows(&staged.path)
            .expect("opened")
            .map(|b| b.expect("read").num_rows())
            .sum();
        assert_eq!(rows, 14_400);
    }
}
