//! What a lake knows about its units: one small file a lane and month, rewritten after the data it speaks of is visible.
//!
//! A manifest holds nothing that the data could contradict for long: whether a file may be replaced is decided by the file's own footer,
//! and a unit without a record is asked for again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lake::answers::{Answers, UnitState};
use crate::lake::table::Table;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Day, Lane, UnitOutcome};
use crate::store::{Store, StoreError, StoreErrorKind};

/// Version of the manifest's shape.
const VERSION: u32 = 1;

/// What is known of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// What is in place: `written`, or `empty`. `None` when no run has finished the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
    /// How the last run ended that did not commit: forbidden, failed or kept, with its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// A unit that is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// `written` or `empty`.
    pub outcome: UnitOutcome,
    /// Its files; none when it is empty.
    pub files: Vec<FileRecord>,
    /// Series asked by the run that wrote it.
    pub series_asked: u64,
    /// Series with at least one point in it.
    pub series_returned: u64,
    /// Queries CloudWatch refused for good: what they asked for is not in it.
    pub refused_queries: u64,
    /// Nothing was refused and nothing was remarked that leaves something out.
    pub complete: bool,
    /// What was answered.
    #[serde(flatten)]
    pub answers: Answers,
    /// It has rows that an earlier configuration asked for and this one does not.
    #[serde(default)]
    pub joined: bool,
    /// What the unit was meant to hold, see `ExportConfig::plan_hash`.
    pub plan_hash: String,
    /// Version of the table's schema.
    pub schema_version: u32,
}

/// One data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Key below the lake's root.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// First timestamp in it, RFC 3339.
    pub first_ts: String,
    /// Last timestamp in it.
    pub last_ts: String,
}

/// A run that did not commit the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How it ended.
    pub outcome: UnitOutcome,
    /// Why.
    pub cause: Cause,
}

impl Committed {
    /// What it is at `now`, see [`Answers::state`].
    pub fn state(&self, day: Day, now: i64, delays: &BTreeMap<String, i64>) -> UnitState {
        if self.complete {
            self.answers.state(day, now, delays)
        } else {
            UnitState::Partial
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct MonthFile {
    manifest_version: u32,
    dataset: String,
    account_id: String,
    region: String,
    month: String,
    /// By day, `YYYY-MM-DD`.
    units: BTreeMap<String, UnitRecord>,
}

/// The records of one lane, by day; read and written a month at a time.
#[derive(Clone, Debug)]
pub struct LaneRecords {
    table: &'static Table,
    lane: Lane,
    months: BTreeMap<String, BTreeMap<Day, UnitRecord>>,
    changed: BTreeSet<Day>,
}

impl LaneRecords {
    /// None known yet.
    pub fn new(table: &'static Table, lane: Lane) -> Self {
        Self {
            table,
            lane,
            months: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Makes sure that the months of `days` are read.
    ///
    /// # Errors
    /// The store's, or a file that is no manifest.
    pub async fn read(
        &mut self,
        store: &dyn Store,
        days: impl Iterator<Item = Day>,
    ) -> Result<(), StoreError> {
        for day in days {
            let month = day.month();
            if self.months.contains_key(&month) {
                continue;
            }
            let key = layout::manifest(self.table, &month, &self.lane);
            let units = match store.get(&key).await? {
                None => BTreeMap::new(),
                Some(body) => parse(self.table, &month, &self.lane, &body)?,
            };
            self.months.insert(month, units);
        }
        Ok(())
    }

    /// The record of a day whose month was read.
    pub fn get(&self, day: Day) -> Option<&UnitRecord> {
        self.months.get(&day.month())?.get(&day)
    }

    /// What is in place on a day whose month was read.
    pub fn committed(&self, day: Day) -> Option<&Committed> {
        self.get(day)?.committed.as_ref()
    }

    /// Every known record, by day.
    pub fn all(&self) -> impl Iterator<Item = (Day, &UnitRecord)> {
        self.months.values().flatten().map(|(d, r)| (*d, r))
    }

    /// Notes what is in place now.
    pub fn commit(&mut self, day: Day, committed: Committed) {
        let record = UnitRecord {
            committed: Some(committed),
            attempt: None,
        };
        self.set(day, record);
    }

    /// Notes a run that did not commit; what was in place stays.
    pub fn attempt(&mut self, day: Day, attempt: Attempt) {
        let record = UnitRecord {
            committed: self.committed(day).cloned(),
            attempt: Some(attempt),
        };
        self.set(day, record);
    }

    /// What is in the store of a day is not what is known here: it is written even if nothing changes.
    pub fn write_again(&mut self, day: Day) {
        self.changed.insert(day);
    }

    fn set(&mut self, day: Day, record: UnitRecord) {
        if self.get(day) == Some(&record) {
            return;
        }
        let month = self.months.entry(day.month()).or_default();
        month.insert(day, record);
        self.changed.insert(day);
    }

    /// Writes the months that changed.
    ///
    /// # Errors
    /// The store's; what was not written is written by the next run.
    pub async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        while let Some(month) = self.changed.first().map(|day| day.month()) {
            let units = self.months.get(&month).into_iter().flatten();
            let file = MonthFile {
                manifest_version: VERSION,
                dataset: self.table.name.to_owned(),
                account_id: self.lane.account.to_string(),
                region: self.lane.region.to_string(),
                month: month.clone(),
                units: units.map(|(d, r)| (d.to_string(), r.clone())).collect(),
            };
            let key = layout::manifest(self.table, &month, &self.lane);
            let json = serde_json::to_vec_pretty(&file).unwrap_or_default();
            store.put(&key, Bytes::from(json)).await?;
            self.changed.retain(|day| day.month() != month);
        }
        Ok(())
    }

    /// Reads the months again that are to be written, and puts the changes over what is there now.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_again(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut there = Self::new(self.table, self.lane.clone());
        there.read(store, self.changed.iter().copied()).await?;
        for (month, units) in there.months {
            let ours = self.months.insert(month, units).unwrap_or_default();
            let changed = ours.into_iter().filter(|(d, _)| self.changed.contains(d));
            for (day, mut record) in changed {
                let there = self.months.entry(day.month()).or_default();
                // A run that did not commit says nothing about what is in place.
                if record.attempt.is_some() {
                    record.committed = there.get(&day).and_then(|r| r.committed.clone());
                }
                there.insert(day, record);
            }
        }
        Ok(())
    }
}

/// Reads a month's file and makes sure that it speaks of this lane and month alone: files are removed by its word.
fn parse(
    table: &'static Table,
    month: &str,
    lane: &Lane,
    body: &[u8],
) -> Result<BTreeMap<Day, UnitRecord>, StoreError> {
    let refuse = |message: String| StoreError {
        kind: StoreErrorKind::Refused,
        doing: format!("reading {}", layout::manifest(table, month, lane)),
        message,
        hint: Some("move the file away: its units are then read from CloudWatch again".to_owned()),
    };
    let file: MonthFile =
        serde_json::from_slice(body).map_err(|e| refuse(format!("it is no manifest: {e}")))?;
    if file.manifest_version > VERSION {
        return Err(refuse(format!(
            "it was written by a newer cwlake (manifest version {})",
            file.manifest_version
        )));
    }
    let (account, region) = (lane.account.as_str(), lane.region.as_str());
    if (
        &*file.dataset,
        &*file.account_id,
        &*file.region,
        &*file.month,
    ) != (table.name, account, region, month)
    {
        return Err(refuse("it is the manifest of something else".to_owned()));
    }
    let mut units = BTreeMap::new();
    for (text, record) in file.units {
        let day = Day::parse(&text).filter(|day| day.month() == month);
        let day =
            day.ok_or_else(|| refuse(format!("'{}' is no day of it", text.escape_debug())))?;
        let ours = |f: &FileRecord| {
            layout::parse_unit(table, &f.name) == Some(UnitId::new(table, day, lane))
        };
        if let Some(file) = record
            .committed
            .iter()
            .flat_map(|c| &c.files)
            .find(|f| !ours(f))
        {
            return Err(refuse(format!(
                "'{}' is no file of {day}",
                file.name.escape_debug()
            )));
        }
        units.insert(day, record);
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::METRICS;
    use crate::model::{Spans, TimeWindow};
    use crate::store::MemoryStore;

    fn day() -> Day {
        Day::parse("2026-11-20").expect("a day")
    }

    fn committed(covered: &[(&str, i64, i64)]) -> Committed {
        let mut spans: BTreeMap<String, Spans> = BTreeMap::new();
        for (namespace, from, to) in covered {
            spans
                .entry((*namespace).to_owned())
                .or_default()
                .add(TimeWindow {
                    start: day().start() + from * 3_600,
                    end: day().start() + to * 3_600,
                });
        }
        Committed {
            outcome: UnitOutcome::Empty,
            files: Vec::new(),
            series_asked: 1,
            series_returned: 0,
            refused_queries: 0,
            complete: true,
            answers: Answers {
                covered: spans,
                ..Answers::default()
            },
            joined: false,
            plan_hash: "x".to_owned(),
            schema_version: 1,
        }
    }

    #[tokio::test]
    async fn records_round_trip_and_unchanged_months_are_not_written() {
        let store = MemoryStore::new();
        let lane = Lane::example();
        let mut records = LaneRecords::new(&METRICS, lane.clone());
        let days = || [day(), day().plus(30)].into_iter();
        records.read(&store, days()).await.expect("read");
        records.commit(day(), committed(&[("A", 0, 24)]));
        let cause = Cause::new(crate::model::CauseKind::AccessDenied, "no");
        let attempt = Attempt {
            outcome: UnitOutcome::Forbidden,
            cause,
        };
        records.attempt(day(), attempt.clone());
        records.write(&store).await.expect("written");
        let keys: Vec<String> = store
            .list("")
            .await
            .expect("listed")
            .into_iter()
            .map(|e| e.key)
            .collect();
        assert_eq!(
            keys,
            ["_cwlake/manifest/metrics/2026-11/111122223333_us-east-1.json"]
        );
        let mut again = LaneRecords::new(&METRICS, lane);
        again.read(&store, days()).await.expect("read");
        assert_eq!(again.committed(day()), Some(&committed(&[("A", 0, 24)])));
        assert_eq!(
            again.get(day()).and_then(|r| r.attempt.clone()),
            Some(attempt)
        );
        again.commit(day().plus(30), committed(&[]));
        assert!(again.get(day().plus(30)).is_some());
    }

    #[tokio::test]
    async fn what_is_no_manifest_or_a_newer_one_is_an_error_and_not_an_empty_one() {
        let store = MemoryStore::new();
        let lane = Lane::example();
        let key = layout::manifest(&METRICS, "2026-11", &lane);
        let of_version = |version: u32| {
            let json = serde_json::json!({
                "manifest_version": version, "dataset": "metrics", "account_id": "111122223333",
                "region": "us-east-1", "month": "2026-11", "units": {},
            });
            json.to_string()
        };
        for (body, is_read) in [
            ("{".to_owned(), false),
            (of_version(VERSION), true),
            (of_version(VERSION + 1), false),
        ] {
            store.put(&key, body.clone().into()).await.expect("put");
            let mut records = LaneRecords::new(&METRICS, lane.clone());
            let read = records.read(&store, [day()].into_iter()).await;
            assert_eq!(read.is_ok(), is_read, "{body}: {read:?}");
        }
    }
}
