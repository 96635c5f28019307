//! What is to be compacted: the units that the manifests of a month speak of.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::commit::LaneRecords;
use crate::lake::compaction::fingerprint;
use crate::lake::layout;
use crate::lake::table::Table;
use crate::model::{Cause, Day, Lane};
use crate::store::{Store, StoreError, StoreErrorKind};

/// Manifests that are read side by side.
const AT_ONCE: usize = 32;

/// The manifests of a month.
pub(super) struct Month {
    /// `2026-11`.
    pub(super) name: String,
    /// Another when any of them was written since, or more of the month is settled.
    pub(super) stamp: String,
    lanes: Vec<Lane>,
}

/// The months of which something may be settled, oldest first.
pub(super) async fn months_of(
    store: &dyn Store,
    table: &'static Table,
    cutoff: Day,
) -> Result<Vec<Month>, StoreError> {
    let mut months: BTreeMap<String, (Vec<Lane>, Sha256)> = BTreeMap::new();
    for entry in store.list(&layout::manifests(table)).await? {
        if let Some((month, lane)) = layout::parse_manifest(table, &entry.key) {
            let (lanes, hash) = months.entry(month).or_default();
            hash.update(format!("{} {} {}\n", entry.key, entry.bytes, entry.stamp));
            lanes.push(lane);
        }
    }
    let settled = months.into_iter().filter(|(name, _)| {
        let first = Day::parse(&format!("{name}-01"));
        first.is_some_and(|first| first < cutoff)
    });
    let month = |(name, (mut lanes, hash)): (String, (Vec<Lane>, Sha256))| {
        lanes.sort();
        let until =
            Day::parse(&format!("{name}-01")).map_or(cutoff, |d| cutoff.min(d.next_month()));
        Month {
            stamp: format!("{} until {until}", hex(&hash.finalize()[..16])),
            name,
            lanes,
        }
    };
    Ok(settled.map(month).collect())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// A unit's file as its manifest has it: kept small, there are half a million in a month of 17,000 lanes.
struct UnitFile {
    /// Its place in the month's lanes.
    lane: u32,
    sha256: [u8; 32],
    rows: u64,
    bytes: u64,
}

/// The units of a month that have a record.
pub(super) struct MonthUnits {
    table: &'static Table,
    lanes: Vec<Lane>,
    units: BTreeMap<Day, UnitFiles>,
}

/// What the manifests say of a unit.
#[derive(Default)]
struct UnitFiles {
    files: Vec<UnitFile>,
    /// Lanes whose unit is known to be empty, by their place.
    empty: Vec<u32>,
    /// Something of it was refused or left out, and is asked again.
    has_holes: bool,
}

impl MonthUnits {
    /// Reads the manifests of a month. A manifest that cannot be read is the inner error: without it, nothing of the month is known whole.
    pub(super) async fn read(
        store: &dyn Store,
        table: &'static Table,
        month: &Month,
    ) -> Result<Result<Self, Cause>, StoreError> {
        let mut all = Self {
            table,
            lanes: month.lanes.clone(),
            units: BTreeMap::new(),
        };
        let first = Day::parse(&format!("{}-01", month.name));
        let read = stream::iter((0_u32..).zip(&month.lanes)).map(|(place, lane)| async move {
            let mut records = LaneRecords::new(table, lane.clone());
            let read = records.read(store, first.into_iter()).await;
            read.map(|()| (place, records))
        });
        let mut read = std::pin::pin!(read.buffered(AT_ONCE));
        while let Some(records) = read.next().await {
            match records {
                Ok((place, records)) => all.add(place, &records),
                Err(error) if error.kind == StoreErrorKind::Refused => {
                    return Ok(Err(error.into()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(all))
    }

    fn add(&mut self, lane: u32, records: &LaneRecords) {
        for (day, record) in records.all() {
            let Some(committed) = &record.committed else {
                continue;
            };
            let unit = self.units.entry(day).or_default();
            unit.has_holes |= !committed.complete || !committed.answers.refused.is_empty();
            if committed.files.is_empty() {
                unit.empty.push(lane);
            }
            for file in &committed.files {
                unit.files.push(UnitFile {
                    lane,
                    sha256: bytes_of(&file.sha256),
                    rows: file.rows,
                    bytes: file.bytes,
                });
            }
        }
    }

    /// Every unit that a run has written, if only as empty.
    pub(super) fn units(&self) -> impl Iterator<Item = Day> {
        self.units.keys().copied()
    }

    /// What a unit is to be made of.
    pub(super) fn due(&self, unit: Day) -> Due {
        let known = self.units.get(&unit);
        let files = known.into_iter().flat_map(|unit| &unit.files);
        let part = |file: &UnitFile| Part {
            lane: self.lanes[file.lane as usize].clone(),
            key: layout::unit(&crate::lake::UnitId::new(
                self.table,
                unit,
                &self.lanes[file.lane as usize],
            )),
            sha256: Some(hex(&file.sha256)),
            rows: Some(file.rows),
            bytes: file.bytes,
        };
        let empty = known.into_iter().flat_map(|unit| &unit.empty);
        let empty = empty.map(|lane| self.lanes[*lane as usize].clone());
        Due {
            empty: empty.collect(),
            is_whole: known.is_some_and(|unit| !unit.has_holes),
            ..Due::new(files.map(part).collect())
        }
    }
}

/// The bytes of a checksum; of what is none, bytes that no file has.
fn bytes_of(hex: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = hex.get(at * 2..at * 2 + 2);
        *byte = digits
            .and_then(|d| u8::from_str_radix(d, 16).ok())
            .unwrap_or(0);
    }
    bytes
}

/// One lane's part of a unit.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) lane: Lane,
    /// Of its own file.
    pub(super) key: String,
    /// As recorded; the catalog of series has no record.
    pub(super) sha256: Option<String>,
    pub(super) rows: Option<u64>,
    pub(super) bytes: u64,
}

/// What a unit is to be made of, by lane.
pub(super) struct Due {
    pub(super) made_of: String,
    pub(super) parts: Vec<Part>,
    /// Lanes that are known to have no rows.
    pub(super) empty: BTreeSet<Lane>,
    /// Nothing of it is asked again.
    pub(super) is_whole: bool,
}

impl Due {
    fn new(parts: Vec<Part>) -> Self {
        let named = parts
            .iter()
            .map(|p| (&p.lane, p.sha256.as_deref().unwrap_or_default()));
        Self {
            made_of: fingerprint(named),
            parts,
            empty: BTreeSet::new(),
            is_whole: false,
        }
    }

    /// The catalog of series, told by what its files are now.
    pub(super) async fn of_catalogue(
        store: &dyn Store,
        table: &'static Table,
    ) -> Result<Self, StoreError> {
        let (mut parts, mut stamps) = (Vec::new(), Vec::new());
        for entry in store.list(&format!("{table}/")).await? {
            if let Some(lane) = layout::parse_lane_file(table, &entry.key) {
                stamps.push(format!("{} {}", entry.bytes, entry.stamp));
                parts.push(Part {
                    lane,
                    key: entry.key,
                    sha256: None,
                    rows: None,
                    bytes: entry.bytes,
                });
            }
        }
        let named = parts
            .iter()
            .zip(&stamps)
            .map(|(part, stamp)| (&part.lane, &**stamp));
        Ok(Self {
            made_of: fingerprint(named),
            parts,
            empty: BTreeSet::new(),
            is_whole: false,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of all parts' own files.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Rows of all parts, where they are recorded.
    pub(super) fn rows(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.rows).sum()
    }
}
