//! What `compact` did, as JSON and as text.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::words::{counted, grouped, printable, size};
use crate::lake::compaction::{CompactedUnit, Compaction};
use crate::lake::table::Table;
use crate::model::Cause;

/// What was compacted, and what is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompactReport {
    /// The lake's root.
    pub destination: String,
    /// Duration.
    pub seconds: f64,
    /// The signal that stopped it, if one did: what was compacted until then is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Every table of which something is compacted.
    pub tables: Vec<TableCompaction>,
    /// Why it did not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Cause>,
}

/// A table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableCompaction {
    /// Its name.
    pub table: &'static Table,
    /// Days or months compacted now.
    pub compacted: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes of the units' own files.
    pub bytes_before: u64,
    /// Bytes of the compacted files.
    pub bytes: u64,
    /// Objects removed.
    pub pruned: u64,
    /// Days or months that could not be compacted, with the reason: their units are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedCompaction>,
    /// What is compacted of it in all.
    pub all: CompactedTable,
}

/// A day or month that could not be compacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedCompaction {
    /// As its folder names it.
    pub unit: String,
    /// Why.
    pub cause: Cause,
}

/// What is compacted of a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CompactedTable {
    /// Days or months.
    pub units: u64,
    /// The first, as its folder names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Files that are read.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
}

impl CompactedTable {
    /// What a record says.
    pub fn of(record: &Compaction) -> Self {
        let span = record.span();
        Self {
            units: record.units.len() as u64,
            first: span.as_ref().map(|s| s.first.clone()),
            last: span.map(|s| s.last),
            files: record.files().count() as u64,
            rows: record.files().map(|f| f.rows).sum(),
            bytes: record.files().map(|f| f.bytes).sum(),
        }
    }

    /// `2026-11-01 to 2026-11-20, 20 units in 20 files`.
    pub fn text(&self) -> String {
        let span = match (&self.first, &self.last) {
            (Some(first), Some(last)) if first != last => format!("{first} to {last}, "),
            (Some(first), _) if first != "all" => format!("{first}, "),
            _ => String::new(),
        };
        format!(
            "{span}{} in {}, {} rows, {}",
            counted(self.units, "unit"),
            counted(self.files, "file"),
            grouped(self.rows),
            size(self.bytes)
        )
    }
}

impl TableCompaction {
    pub(crate) fn of(table: &'static Table) -> Self {
        Self {
            table,
            compacted: 0,
            rows: 0,
            bytes_before: 0,
            bytes: 0,
            pruned: 0,
            failed: Vec::new(),
            all: CompactedTable::default(),
        }
    }

    pub(crate) fn compacted(&mut self, unit: &CompactedUnit, bytes_before: u64) {
        self.compacted += 1;
        self.rows += unit.files.iter().map(|f| f.rows).sum::<u64>();
        self.bytes += unit.files.iter().map(|f| f.bytes).sum::<u64>();
        self.bytes_before += bytes_before;
    }

    pub(crate) fn fail(&mut self, unit: &str, cause: Cause) {
        self.failed.push(FailedCompaction {
            unit: unit.to_owned(),
            cause,
        });
    }

    pub(crate) fn tell(&mut self, record: &Compaction) {
        self.all = CompactedTable::of(record);
    }
}

impl CompactReport {
    pub(crate) fn add(&mut self, table: TableCompaction) {
        if table.all.units > 0 || !table.failed.is_empty() {
            self.tables.push(table);
        }
    }

    /// Whether something is left that should have been compacted.
    pub fn is_short(&self) -> bool {
        self.failure.is_some() || self.tables.iter().any(|t| !t.failed.is_empty())
    }

    /// A line a table, and what failed.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            let now = if table.compacted == 0 {
                "nothing new".to_owned()
            } else {
                format!(
                    "{} compacted, {} rows, {} of {}",
                    counted(table.compacted, "unit"),
                    grouped(table.rows),
                    size(table.bytes),
                    size(table.bytes_before)
                )
            };
            let _ = writeln!(out, "{}: {now}; all: {}", table.table, table.all.text());
            if table.pruned > 0 {
                let _ = writeln!(out, "  {} removed", counted(table.pruned, "object"));
            }
            for failed in &table.failed {
                let _ = writeln!(
                    out,
                    "  {} is not compacted: {}",
                    failed.unit,
                    printable(&failed.cause.message)
                );
                if let Some(hint) = &failed.cause.hint {
                    let _ = writeln!(out, "    = {}", printable(hint));
                }
            }
        }
        if let Some(cause) = &self.failure {
            let _ = writeln!(out, "not all was compacted: {}", printable(&cause.message));
        } else if self.tables.is_empty() {
            let _ = writeln!(out, "nothing is settled yet");
        }
        out
    }
}
