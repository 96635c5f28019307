//! Rows on their way into few files: row groups of one size, and another file when one is large enough.

use std::path::PathBuf;
use std::sync::Arc;

use crate::lake::table::{METRICS, SCHEMA_VERSION, Table};
use crate::normalize::{MetricRows, RecordBatch, schema_of, with_added};
use crate::sources::metrics::old::OldError;
use crate::write::{FooterKeys, ROW_GROUP_ROWS, RunFile, Staged, UnitFile, WriteError};

use super::spill::Run;

const FOOTER: FooterKeys<'static> = FooterKeys {
    schema_version: SCHEMA_VERSION,
    plan_hash: None,
};

/// Bytes of rows that wait for the end of their row group: of long texts, fewer rows fill one.
const GROUP_BYTES: usize = 64 << 20;

/// Where files are written, and how large one becomes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
    /// Columns that rows are sorted by.
    pub(super) sort: Vec<&'static str>,
}

impl Target {
    /// Compacted files of a table.
    pub(super) fn compacted(table: &Table, folder: PathBuf, bytes: u64) -> Self {
        Self {
            folder,
            bytes,
            sort: table.compacted_sort(),
        }
    }

    fn path(&self, n: usize) -> PathBuf {
        self.folder.join(format!("{n}.part"))
    }
}

/// Points, run by run.
pub(super) struct PointsOutput {
    target: Target,
    rows: Option<MetricRows>,
    file: Option<RunFile>,
    done: Vec<Staged>,
}

impl PointsOutput {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            rows: None,
            file: None,
            done: Vec::new(),
        }
    }

    /// Appends a run; it follows those before in the order of compacted rows.
    pub(super) fn push(&mut self, run: Run) -> Result<(), OldError> {
        let rows = self
            .rows
            .get_or_insert_with(|| MetricRows::of(Arc::clone(&run.owner)));
        rows.set_owner(&run.owner);
        rows.push(run.identity, run.timestamps, &run.values);
        if rows.len() >= ROW_GROUP_ROWS {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), OldError> {
        let Some(rows) = self.rows.as_mut().filter(|rows| !rows.is_empty()) else {
            return Ok(());
        };
        let path = self.target.path(self.done.len());
        let batch = rows.take().map_err(|e| WriteError::Parquet {
            path: path.clone(),
            source: e.into(),
        })?;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (schema, target) = (schema_of(&METRICS), &self.target);
                let file = RunFile::create(&path, &schema, &target.sort, FOOTER);
                none.insert(file?)
            }
        };
        file.write(&batch)?;
        if file.bytes() >= self.target.bytes {
            self.end_file()?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), OldError> {
        if let Some(file) = self.file.take() {
            self.done.push(file.finish(true)?);
        }
        Ok(())
    }

    /// The files, in the order of their rows.
    pub(super) fn finish(mut self) -> Result<Vec<Staged>, OldError> {
        self.end_group()?;
        self.end_file()?;
        Ok(self.done)
    }
}

/// Rows of another table, batch by batch.
pub(super) struct RowsOutput {
    table: &'static Table,
    target: Target,
    file: Option<UnitFile>,
    /// Rows of the row group that is not ended.
    waiting: usize,
    done: Vec<Staged>,
}

impl RowsOutput {
    pub(super) fn new(table: &'static Table, target: Target) -> Self {
        Self {
            table,
            target,
            file: None,
            waiting: 0,
            done: Vec::new(),
        }
    }

    /// Appends rows; they follow those before in the order of compacted rows.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let path = self.target.path(self.done.len());
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (schema, target) = (schema_of(self.table), &self.target);
                none.insert(UnitFile::create(&path, schema, &target.sort, FOOTER)?)
            }
        };
        let whole = with_added(self.table, batch).map_err(|e| WriteError::Parquet {
            path: path.clone(),
            source: e.into(),
        })?;
        file.write(&whole)?;
        self.waiting += batch.num_rows();
        if self.waiting < ROW_GROUP_ROWS && file.waiting_bytes() < GROUP_BYTES {
            return Ok(());
        }
        file.end_group()?;
        self.waiting = 0;
        if file.bytes() >= self.target.bytes {
            self.end_file()?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), WriteError> {
        if let Some(file) = self.file.take() {
            self.done.push(file.finish(true)?);
        }
        Ok(())
    }

    /// The files, in the order of their rows.
    pub(super) fn finish(mut self) -> Result<Vec<Staged>, WriteError> {
        self.end_file()?;
        Ok(self.done)
    }
}
