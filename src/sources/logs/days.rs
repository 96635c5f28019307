//! Sorted log events to a file a day.

use std::path::PathBuf;
use std::sync::Arc;

use crate::normalize::schema_of;

use crate::lake::table::{LOGS, SCHEMA_VERSION};
use crate::lake::{UnitId, layout};
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Day, Lane, LogEvent};
use crate::normalize::{Owner, logs_batch};
use crate::sources::source::Reading;
use crate::write::{FooterKeys, ROW_GROUP_ROWS, Staged, UnitFile, WriteError};

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
    owner: DayOwner,
    wanted: BTreeSet<Day>,
    files: BTreeMap<Day, OpenDay>,
}

/// Whose days they are.
struct DayOwner {
    staging: PathBuf,
    lane: Lane,
    account_name: Option<Arc<str>>,
    plan_hash: String,
}

/// A day's file while events are added.
struct OpenDay {
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
    /// Events of other days than `wanted` are left out.
    pub(crate) fn new(reading: &Reading, plan_hash: &str, wanted: BTreeSet<Day>) -> Self {
        Self {
            owner: DayOwner {
                staging: reading.lake.staging(),
                lane: reading.lane.clone(),
                account_name: reading.account_name.clone(),
                plan_hash: plan_hash.to_owned(),
            },
            wanted,
            files: BTreeMap::new(),
        }
    }

    /// Adds an event that follows the one before.
    pub(crate) fn add(&mut self, event: LogEvent) -> Result<(), WriteError> {
        let day = event.day();
        if let Some(open) = self.files.get_mut(&day) {
            return open.add(&self.owner, event);
        }
        if !self.wanted.contains(&day) {
            return Ok(());
        }
        // The days before are over: no rows of theirs are held back.
        if let Some(mut before) = self.files.last_entry() {
            before.get_mut().end_group(&self.owner)?;
        }
        let mut open = OpenDay::create(&self.owner, day, event.ts)?;
        open.add(&self.owner, event)?;
        self.files.insert(day, open);
        Ok(())
    }

    /// Ends the files: those of `failed` days are thrown away, those of `incomplete` ones say so.
    pub(crate) fn finish(
        self,
        failed: &BTreeSet<Day>,
        incomplete: &BTreeSet<Day>,
    ) -> Result<BTreeMap<Day, DayFile>, WriteError> {
        let mut finished = BTreeMap::new();
        for (day, mut open) in self.files {
            if failed.contains(&day) {
                // What is left is swept with the staging folder.
                let _ = std::fs::remove_file(&open.path);
                continue;
            }
            open.flush(&self.owner)?;
            let file = DayFile {
                staged: open.file.finish(!incomplete.contains(&day))?,
                first: open.first,
                last: open.last,
            };
            finished.insert(day, file);
        }
        Ok(finished)
    }
}

impl OpenDay {
    fn create(owner: &DayOwner, day: Day, first: i64) -> Result<Self, WriteError> {
        let path = layout::staged(&owner.staging, &UnitId::new(&LOGS, day, &owner.lane));
        let footer = FooterKeys {
            schema_version: SCHEMA_VERSION,
            plan_hash: Some(&owner.plan_hash),
        };
        Ok(Self {
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

    fn add(&mut self, owner: &DayOwner, event: LogEvent) -> Result<(), WriteError> {
        self.first = self.first.min(event.ts);
        self.last = self.last.max(event.ts);
        self.waiting_bytes += event.bytes();
        self.waiting.push(event);
        if self.waiting_bytes >= BATCH_BYTES || self.waiting.len() >= BATCH_ROWS {
            self.flush(owner)?;
        }
        Ok(())
    }

    fn flush(&mut self, owner: &DayOwner) -> Result<(), WriteError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let owner = Owner {
            lane: &owner.lane,
            account_name: owner.account_name.as_deref(),
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

    fn end_group(&mut self, owner: &DayOwner) -> Result<(), WriteError> {
        self.flush(owner)?;
        (self.group_bytes, self.group_rows) = (0, 0);
        self.file.end_group()
    }
}
