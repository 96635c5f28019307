//! Sorted log events to a file a day.

use std::path::PathBuf;
use std::sync::Arc;

use crate::normalize::schema_of;

use crate::lake::table::{LOGS, SCHEMA_VERSION};
use crate::lake::{UnitId, layout};
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Day, Lane, LogEvent};
use crate::normalize::{Owner, logs_batch};
use crate::write::{FooterKeys, ROW_GROUP_ROWS, SortedEvents, Staged, UnitFile, WriteError};

/// Text of a row group, about: what the encoder holds.
const GROUP_BYTES: usize = 32 << 20;

/// Text and rows that are handed to the encoder at once.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 8_192;

/// The finished file of a day, with its first and last event, ms since the epoch.
pub(crate) struct DayFile {
    pub(crate) staged: Staged,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Writes sorted events to a file a day.
pub(crate) struct DayWriter {
    pub(crate) staging: PathBuf,
    pub(crate) lane: Lane,
    pub(crate) account_name: Option<Arc<str>>,
    pub(crate) plan_hash: String,
    pub(crate) wanted: BTreeSet<Day>,
    /// Days of which some group was refused.
    pub(crate) incomplete: BTreeSet<Day>,
}

/// A day's file while events are added.
struct OpenDay {
    day: Day,
    path: PathBuf,
    file: UnitFile,
    waiting: Vec<LogEvent>,
    waiting_bytes: usize,
    group_bytes: usize,
    group_rows: usize,
    first: i64,
    last: i64,
}

impl DayWriter {
    pub(crate) fn write(&self, sorted: SortedEvents) -> Result<BTreeMap<Day, DayFile>, WriteError> {
        let mut files = BTreeMap::new();
        let mut open: Option<OpenDay> = None;
        for event in sorted {
            let event = event.map_err(|source| WriteError::Io {
                path: self.staging.clone(),
                source,
            })?;
            let day = Day::containing(event.ts.div_euclid(1_000));
            if !self.wanted.contains(&day) {
                continue;
            }
            let mut current = match open.take() {
                Some(current) if current.day == day => current,
                other => {
                    self.close(other, &mut files)?;
                    self.open(day, event.ts)?
                }
            };
            current.add(self, event)?;
            open = Some(current);
        }
        self.close(open, &mut files)?;
        Ok(files)
    }

    fn open(&self, day: Day, first: i64) -> Result<OpenDay, WriteError> {
        let path = layout::staged(&self.staging, &UnitId::new(&LOGS, day, &self.lane));
        let footer = FooterKeys {
            schema_version: SCHEMA_VERSION,
            plan_hash: Some(&self.plan_hash),
        };
        Ok(OpenDay {
            day,
            file: UnitFile::create(&path, schema_of(&LOGS), LOGS.sort, footer)?,
            path,
            waiting: Vec::new(),
            waiting_bytes: 0,
            group_bytes: 0,
            group_rows: 0,
            first,
            last: first,
        })
    }

    fn close(
        &self,
        open: Option<OpenDay>,
        files: &mut BTreeMap<Day, DayFile>,
    ) -> Result<(), WriteError> {
        if let Some(mut open) = open {
            open.flush(self)?;
            let file = DayFile {
                staged: open.file.finish(!self.incomplete.contains(&open.day))?,
                first: open.first,
                last: open.last,
            };
            files.insert(open.day, file);
        }
        Ok(())
    }
}

impl OpenDay {
    fn add(&mut self, writer: &DayWriter, event: LogEvent) -> Result<(), WriteError> {
        self.first = self.first.min(event.ts);
        self.last = self.last.max(event.ts);
        self.waiting_bytes += event.bytes();
        self.waiting.push(event);
        if self.waiting_bytes >= BATCH_BYTES || self.waiting.len() >= BATCH_ROWS {
            self.flush(writer)?;
        }
        Ok(())
    }

    fn flush(&mut self, writer: &DayWriter) -> Result<(), WriteError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let owner = Owner {
            lane: &writer.lane,
            account_name: writer.account_name.as_deref(),
        };
        let batch = logs_batch(owner, &self.waiting).map_err(|source| WriteError::Parquet {
            path: self.path.clone(),
            source: source.into(),
        })?;
        self.file.write(&batch)?;
        self.group_bytes += std::mem::take(&mut self.waiting_bytes);
        self.group_rows += self.waiting.len();
        self.waiting.clear();
        if self.group_bytes >= GROUP_BYTES || self.group_rows >= ROW_GROUP_ROWS {
            self.file.end_group()?;
            (self.group_bytes, self.group_rows) = (0, 0);
        }
        Ok(())
    }
}
