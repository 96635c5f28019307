//! What a lake knows about its units: one small file a lane and month, rewritten after the data it speaks of is visible.
//!
//! A manifest holds nothing that the data could contradict for long: whether a file may be replaced is decided by the file's own footer,
//! and a unit without a record is asked for again.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lake::table::Table;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Day, Lane, Spans, UnitOutcome};
use crate::store::{Store, StoreError, StoreErrorKind};

/// Version of the manifest's shape.
const VERSION: u32 = 1;

/// Age of a day from which its points no longer change: AWS promises late points within two days.
///
/// # Source
/// botocore `PutMetricData`: points older than a day "can take at least 48 hours to become available".
const SETTLED_SECONDS: i64 = 48 * 3_600;

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
    /// The time that was asked and answered, by namespace.
    pub covered: BTreeMap<String, Spans>,
    /// The part of it in which something was refused by itself, by namespace: a hole that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Spans>,
    /// When that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<jiff::Timestamp>,
    /// It was read whole, so long after the day that nothing more will come.
    pub settled: bool,
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

/// What `status` says about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Everything of the day is there, or is known not to exist.
    Complete,
    /// What can be there is there; the day is not over, or not everything of it is published yet.
    Provisional,
    /// Something is there, and something is missing that could be.
    Partial,
    /// Nothing was committed.
    Missing,
}

impl UnitState {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Provisional => "provisional",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

impl Committed {
    /// Whether the whole day is covered in each of these namespaces.
    pub fn covers_day<'a>(&self, day: Day, mut namespaces: impl Iterator<Item = &'a str>) -> bool {
        let whole = |n: &str| self.covered.get(n).is_some_and(|s| s.covers(day.window()));
        namespaces.all(whole)
    }

    /// Whether it is final, when read at `now`.
    pub fn is_settled<'a>(
        &self,
        day: Day,
        now: i64,
        namespaces: impl Iterator<Item = &'a str>,
    ) -> bool {
        self.complete && now >= day.end() + SETTLED_SECONDS && self.covers_day(day, namespaces)
    }

    /// What it is at `now`; `delays` are the configured namespaces with their publication delays in seconds.
    ///
    /// A gap at the end of the day is provisional as long as the next nightly run can fill it; any other gap makes the unit partial.
    pub fn state(&self, day: Day, now: i64, delays: &BTreeMap<String, i64>) -> UnitState {
        const UNTIL_NEXT_RUN: i64 = 26 * 3_600;
        if !self.complete {
            return UnitState::Partial;
        }
        // What was not asked for then is asked from then on: its time before is no hole.
        let knows = |namespace: &&String| self.covered.contains_key(namespace.as_str());
        let knows_any = delays.keys().any(|n| knows(&n));
        let asked = || delays.iter().filter(|(n, _)| !knows_any || knows(n));
        if self.covers_day(day, asked().map(|(n, _)| n.as_str())) {
            return UnitState::Complete;
        }
        let may_still_come = |(namespace, delay): (&String, &i64)| {
            let missing = self.covered.get(namespace).map_or(day.start(), |spans| {
                let day_spans = spans.inside(day.window());
                match day_spans.windows() {
                    [] => day.start(),
                    [one] if one.start == day.start() => one.end,
                    // A hole: it was passed over.
                    _ => i64::MIN,
                }
            });
            missing >= day.end() || missing != i64::MIN && now < day.end() + delay + UNTIL_NEXT_RUN
        };
        if asked().all(may_still_come) {
            UnitState::Provisional
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
    changed: std::collections::BTreeSet<String>,
}

impl LaneRecords {
    /// None known yet.
    pub fn new(table: &'static Table, lane: Lane) -> Self {
        Self {
            table,
            lane,
            months: BTreeMap::new(),
            changed: std::collections::BTreeSet::new(),
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

    fn set(&mut self, day: Day, record: UnitRecord) {
        if self.get(day) == Some(&record) {
            return;
        }
        let month = day.month();
        self.months
            .entry(month.clone())
            .or_default()
            .insert(day, record);
        self.changed.insert(month);
    }

    /// Writes the months that changed.
    ///
    /// # Errors
    /// The store's; what was not written is written by the next run.
    pub async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        while let Some(month) = self.changed.first().cloned() {
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
            self.changed.remove(&month);
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
    use crate::model::{AccountId, DAY_SECONDS, Region, TimeWindow};
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
            covered: spans,
            refused: BTreeMap::new(),
            refused_at: None,
            settled: false,
            joined: false,
            plan_hash: "x".to_owned(),
            schema_version: 1,
        }
    }

    #[test]
    fn states_follow_what_is_covered_and_when() {
        let delays = BTreeMap::from([("A".to_owned(), 900), ("S3".to_owned(), 2 * DAY_SECONDS)]);
        let soon = day().end() + 2 * 3_600;
        let late = day().end() + 5 * DAY_SECONDS;
        let state =
            |covered: &[(&str, i64, i64)], now| committed(covered).state(day(), now, &delays);
        let whole = [("A", 0, 24), ("S3", 0, 24)];
        assert_eq!(state(&whole, soon), UnitState::Complete);
        assert_eq!(
            state(&[("A", 0, 24)], late),
            UnitState::Complete,
            "S3 was not asked for then"
        );
        let unpublished = [("A", 0, 24), ("S3", 0, 0)];
        assert_eq!(state(&unpublished, soon), UnitState::Provisional);
        assert_eq!(state(&unpublished, late), UnitState::Partial);
        assert_eq!(
            state(&[("A", 0, 12), ("S3", 0, 24)], soon),
            UnitState::Provisional
        );
        assert_eq!(
            state(&[("A", 3, 24), ("S3", 0, 24)], soon),
            UnitState::Partial,
            "a hole"
        );
        let refused = Committed {
            complete: false,
            ..committed(&whole)
        };
        assert_eq!(refused.state(day(), soon, &delays), UnitState::Partial);
        let names = || ["A", "S3"].into_iter();
        assert!(!committed(&whole).is_settled(day(), soon, names()));
        assert!(committed(&whole).is_settled(day(), late, names()));
        assert!(!committed(&whole[..1]).is_settled(day(), late, names()));
    }

    #[tokio::test]
    async fn records_round_trip_and_unchanged_months_are_not_written() {
        let store = MemoryStore::new();
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
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
    async fn what_is_no_manifest_is_an_error_and_not_an_empty_one() {
        let store = MemoryStore::new();
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let key = layout::manifest(&METRICS, "2026-11", &lane);
        store
            .put(&key, Bytes::from_static(b"{"))
            .await
            .expect("put");
        let mut records = LaneRecords::new(&METRICS, lane);
        assert!(records.read(&store, [day()].into_iter()).await.is_err());
    }
}
