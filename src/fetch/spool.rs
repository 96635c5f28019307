//! Answers kept on local disk until their lane is in the lake: an interrupted run resumes without asking, or paying, for them again.
//!
//! One file a request, and an answer is found by its query: series that came or went since then change how queries are packed into
//! requests, and not what is known. A file that is cut short is not used; it is never an error, only a request more. No fsync: after a
//! power cut the checksum tells.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, fs, io};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::spool_file::{Head, QueryKey, decode, encode, head_of};
use crate::files::{create_folder, create_own};
use crate::lake::layout::{kept_answer, spool_folder};
use crate::model::{DAY_SECONDS, Lane, QueryOutcome};
use crate::plan::{Batch, BatchQuery, LanePlan};

/// Age up to which an answer is used. An old answer is as true as a new one about the time until it was read, and what is covered ends
/// there; after this it is swept.
pub const KEPT_SECONDS: i64 = 14 * DAY_SECONDS;

/// A clock that was set back a little does no harm; one that was far ahead says nothing about when an answer was read.
const CLOCK_TOLERANCE: i64 = 6 * 3_600;

/// A kept answer to one query.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    /// The answer.
    pub outcome: QueryOutcome,
    /// When it was read, seconds since the epoch.
    pub read_at: i64,
}

/// The kept answers of one lane, as they were when it was opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
    found: Arc<HashMap<QueryKey, (Arc<Path>, u32)>>,
    planned: Arc<BTreeSet<i64>>,
    /// Files of this run.
    written: Arc<Mutex<Vec<PathBuf>>>,
    copies: Option<Arc<dyn SpoolCopies>>,
    /// Files that came from there.
    brought: Arc<[PathBuf]>,
}

/// A file that was written.
#[derive(Debug)]
pub struct KeptFile {
    name: String,
    bytes: Bytes,
}

/// Where files are copied to as well. None of it can fail: a copy that is missing is a request more.
#[async_trait]
pub trait SpoolCopies: fmt::Debug + Send + Sync {
    /// Makes a copy.
    async fn keep(&self, lane: &Lane, name: &str, bytes: Bytes);

    /// Removes copies.
    async fn forget(&self, lane: &Lane, names: &[String]);
}

impl Spool {
    /// Below `root`, for one lane. Nothing is created yet; files that cannot be read hold nothing.
    pub fn of_lane(root: &Path, lane: &Lane) -> Self {
        let folder = root.join(spool_folder(lane));
        let (mut found, mut planned) = (HashMap::new(), BTreeSet::new());
        for path in files(&folder) {
            let path: Arc<Path> = Arc::from(path);
            let Some(head) = head_of(&path) else { continue };
            planned.insert(head.planned_at);
            for (key, n) in head.keys.into_iter().zip(0..) {
                found.insert(key, (Arc::clone(&path), n));
            }
        }
        Self {
            folder,
            found: Arc::new(found),
            planned: Arc::new(planned),
            written: Arc::default(),
            copies: None,
            brought: Arc::default(),
        }
    }

    /// The same with copies elsewhere, of which these files were brought before.
    #[must_use]
    pub fn with_copies(self, copies: Arc<dyn SpoolCopies>, brought: Vec<PathBuf>) -> Self {
        Self {
            copies: Some(copies),
            brought: brought.into(),
            ..self
        }
    }

    /// Keeps nothing and knows nothing: for a run that asks another time when it is run again.
    pub fn none() -> Self {
        Self {
            folder: PathBuf::new(),
            found: Arc::default(),
            planned: Arc::default(),
            written: Arc::default(),
            copies: None,
            brought: Arc::default(),
        }
    }

    /// When the runs that left answers here were planned: their windows were cut for those times.
    pub fn planned_at(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.planned.iter().copied()
    }

    /// The series of a plan, by position, whose queries all have an answer here.
    pub fn answered(&self, plan: &LanePlan) -> Vec<bool> {
        let mut counts = vec![(0_u32, 0_u32); plan.series.len()];
        for batch in &plan.batches {
            for query in &batch.queries {
                let (asked, held) = &mut counts[query.series as usize];
                *asked += 1;
                *held += u32::from(self.may_hold(plan, batch, query));
            }
        }
        let all = |(asked, held): (u32, u32)| asked > 0 && asked == held;
        counts.into_iter().map(all).collect()
    }

    /// Whether answers are kept here at all.
    pub fn keeps(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// Whether an interrupted run left no answers here.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there is a kept answer to a query of a batch; it may still turn out unusable.
    pub fn may_hold(&self, plan: &LanePlan, batch: &Batch, query: &BatchQuery) -> bool {
        !self.is_empty() && self.found.contains_key(&key(plan, batch, query))
    }

    /// The kept answers to a batch that are used at `now`: one for each query, or none.
    pub fn take(&self, plan: &LanePlan, batch: &Batch, now: i64) -> Vec<Option<KeptAnswer>> {
        let mut taken: Vec<Option<KeptAnswer>> = vec![None; batch.queries.len()];
        let mut wanted: BTreeMap<&Path, Vec<(usize, u32)>> = BTreeMap::new();
        if !self.is_empty() {
            for (position, query) in batch.queries.iter().enumerate() {
                if let Some((path, n)) = self.found.get(&key(plan, batch, query)) {
                    wanted.entry(path).or_default().push((position, *n));
                }
            }
        }
        for (path, places) in wanted {
            let Some((read_at, outcomes)) = fs::read(path).ok().and_then(|b| decode(&b)) else {
                continue;
            };
            if !(-CLOCK_TOLERANCE..=KEPT_SECONDS).contains(&(now - read_at)) {
                continue;
            }
            for (position, n) in places {
                taken[position] = outcomes.get(n as usize).map(|outcome| KeptAnswer {
                    outcome: outcome.clone(),
                    read_at,
                });
            }
        }
        taken
    }

    /// Keeps `answers`, each with its position in the batch, read at `now` by a run planned at `planned_at`. Only whole answers are kept. Comes
    /// back with what is to be [copied](Self::copy).
    ///
    /// # Errors
    /// The file system's. What was kept so far is not harmed.
    pub fn keep(
        &self,
        plan: &LanePlan,
        batch: &Batch,
        answers: &[(usize, &QueryOutcome)],
        (planned_at, now): (i64, i64),
    ) -> io::Result<Option<KeptFile>> {
        let whole: Vec<(QueryKey, &QueryOutcome)> = answers
            .iter()
            .filter(|(_, o)| matches!(o, QueryOutcome::Complete { .. }))
            .map(|(position, o)| (key(plan, batch, &batch.queries[*position]), *o))
            .collect();
        if whole.is_empty() || !self.keeps() {
            return Ok(None);
        }
        create_folder(&self.folder)?;
        let (bytes, checksum) = encode(&whole, planned_at, now)?;
        let name = kept_answer(planned_at, checksum);
        let path = self.folder.join(&name);
        create_own(&path)?.write_all(&bytes)?;
        self.written().push(path);
        let bytes = bytes.into();
        Ok(self.copies.is_some().then_some(KeptFile { name, bytes }))
    }

    /// Copies what was kept to the lake, where that is wanted.
    pub async fn copy(&self, lane: &Lane, file: KeptFile) {
        if let Some(copies) = &self.copies {
            copies.keep(lane, &file.name, file.bytes).await;
        }
    }

    fn written(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is in the lake now: every file of answers to this plan, and its copy. Those of another run's plan stay.
    ///
    /// # Errors
    /// The file system's.
    pub async fn forget(&self, plan: &LanePlan) -> io::Result<()> {
        let mut removed = Vec::new();
        let result = self.remove_files(plan, &mut removed);
        if let Some(copies) = &self.copies {
            let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
            let names: Vec<String> = removed.iter().filter_map(name).collect();
            copies.forget(&plan.lane, &names).await;
        }
        // Those of another run's plan stay where they came from.
        for path in &*self.brought {
            let _ = fs::remove_file(path);
        }
        // Only an empty folder goes.
        let _ = fs::remove_dir(&self.folder);
        result
    }

    fn remove_files(&self, plan: &LanePlan, removed: &mut Vec<PathBuf>) -> io::Result<()> {
        if !self.keeps() {
            return Ok(());
        }
        for path in self.written().drain(..) {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => removed.push(path),
            }
        }
        let left = files(&self.folder);
        let mut ours = HashSet::new();
        if !left.is_empty() {
            for batch in &plan.batches {
                ours.extend(batch.queries.iter().map(|query| key(plan, batch, query)));
            }
        }
        for path in left {
            // One that says nothing of itself may be under way: it is swept another time.
            let is_ours = |head: Head| head.keys.iter().all(|key| ours.contains(key));
            if head_of(&path).is_some_and(is_ours) {
                fs::remove_file(&path)?;
                removed.push(path);
            }
        }
        Ok(())
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Removes what no run came back for in two weeks, by the run's clock, and files that say nothing of themselves.
///
/// # Errors
/// The file system's.
pub fn sweep(root: &Path, now: i64) -> io::Result<()> {
    let lanes = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        lanes => lanes?,
    };
    for lane in lanes {
        let folder = lane?.path();
        if !folder.is_dir() {
            continue;
        }
        for path in files(&folder) {
            let is_kept = head_of(&path).is_some_and(|head| now - head.planned_at <= KEPT_SECONDS);
            if !is_kept {
                fs::remove_file(path)?;
            }
        }
        // Only an empty folder goes.
        let _ = fs::remove_dir(&folder);
    }
    Ok(())
}

fn key(plan: &LanePlan, batch: &Batch, query: &BatchQuery) -> QueryKey {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let series = &plan.series[query.series as usize];
    let ask = &series.asks[query.ask as usize];
    field(plan.lane.account.as_str().as_bytes());
    field(plan.lane.region.as_str().as_bytes());
    field(&batch.span.start.to_le_bytes());
    field(&batch.span.end.to_le_bytes());
    field(&series.series.id.to_le_bytes());
    field(ask.statistic.as_str().as_bytes());
    field(&query.period.seconds().to_le_bytes());
    field(ask.unit.as_deref().unwrap_or("").as_bytes());
    let mut key = QueryKey::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{QueryPoints, ServiceMessage};
    use proptest::prelude::*;

    fn outcome(timestamps: &[i64], values: Vec<f64>) -> QueryOutcome {
        QueryOutcome::Complete {
            points: QueryPoints {
                timestamps: timestamps.into(),
                values,
            },
            messages: vec![ServiceMessage {
                code: "MultipleUnits".to_owned(),
                text: "é".to_owned(),
            }],
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_bit_for_bit(
            columns in prop::collection::vec(prop::collection::vec((any::<i64>(), any::<u64>()), 0..20), 0..5),
            start in any::<i32>(), step in 1_i64..1_000, n in 0_i64..50, read_at in any::<i64>(),
        ) {
            let mut outcomes: Vec<QueryOutcome> = columns
                .into_iter()
                .map(|c| outcome(&c.iter().map(|p| p.0).collect::<Vec<_>>(), c.iter().map(|p| f64::from_bits(p.1)).collect()))
                .collect();
            let regular: Vec<i64> = (0..n).map(|i| i64::from(start) + i * step).collect();
            outcomes.push(outcome(&regular, (0..n).map(|i| i as f64).collect()));
            let keyed: Vec<(QueryKey, &QueryOutcome)> = outcomes.iter().map(|o| ([7; 16], o)).collect();
            let (bytes, _) = encode(&keyed, 5, read_at).expect("encoded");
            let (at, back) = decode(&bytes).expect("decoded");
            prop_assert_eq!(at, read_at);
            let bits = |outcomes: &[QueryOutcome]| -> Vec<(Vec<i64>, Vec<u64>)> {
                outcomes
                    .iter()
                    .map(|o| match o {
                        QueryOutcome::Complete { points, .. } => {
                            (points.timestamps.iter().collect(), points.values.iter().map(|v| v.to_bits()).collect())
                        }
                        _ => (Vec::new(), Vec::new()),
                    })
                    .collect()
            };
            prop_assert_eq!(bits(&back), bits(&outcomes));
        }

        #[test]
        fn a_damaged_file_is_not_used(cut in 0_usize..200, flip in 0_usize..200) {
            let whole = outcome(&(0..30).collect::<Vec<_>>(), vec![0.5; 30]);
            let (bytes, _) = encode(&[([7; 16], &whole)], 5, 7).expect("encoded");
            prop_assert!(decode(&bytes[..cut.min(bytes.len() - 1)]).is_none());
            let mut flipped = bytes.clone();
            let at = flip % flipped.len();
            flipped[at] ^= 1;
            prop_assert!(decode(&flipped).is_none());
        }
    }

    /// A plan of hourly queries for these series, in requests of at most `width`.
    fn plan(series: &[u32], width: usize) -> LanePlan {
        use crate::model::{MetricId, Period, Series, Statistic, TimeWindow};
        use crate::plan::{Ask, PlannedSeries};
        let lane = Lane::example();
        let period = Period::new(3_600).expect("legal");
        let asks: Arc<[Ask]> = Arc::from([Ask {
            statistic: Statistic::parse("Sum").expect("statistic"),
            period: crate::config::PeriodChoice::AtLeast(period),
            unit: None,
        }]);
        let span = TimeWindow {
            start: 0,
            end: DAY_SECONDS,
        };
        let queries: Vec<BatchQuery> = (0..)
            .zip(series)
            .map(|(n, _)| BatchQuery {
                series: n,
                ask: 0,
                period,
            })
            .collect();
        LanePlan {
            series: series
                .iter()
                .map(|n| PlannedSeries {
                    series: Series::new(&lane, MetricId::new("N", format!("m{n}"), Vec::new())),
                    asks: Arc::clone(&asks),
                })
                .collect(),
            lane,
            overruled: 0,
            groups: Vec::new(),
            batches: queries
                .chunks(width)
                .map(|queries| Batch {
                    span,
                    queries: queries.to_vec(),
                    billed_metrics: 1,
                    points: 24,
                })
                .collect(),
            covered: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn answers_are_found_by_query_however_requests_are_packed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let before = plan(&[1, 2, 3, 5, 6], 2);
        let lane = before.lane.clone();
        let spool = Spool::of_lane(dir.path(), &lane);
        for batch in &before.batches {
            let answers: Vec<QueryOutcome> = batch
                .queries
                .iter()
                .map(|q| outcome(&[i64::from(q.series)], vec![1.0]))
                .collect();
            let keyed: Vec<(usize, &QueryOutcome)> = answers.iter().enumerate().collect();
            spool
                .keep(&before, batch, &keyed, (900, 1_000))
                .expect("kept");
        }
        // A series came, one went, and requests are wider.
        let after = plan(&[1, 2, 4, 5, 6], 3);
        let spool = Spool::of_lane(dir.path(), &lane);
        let found = |now: i64| -> Vec<bool> {
            let taken = after
                .batches
                .iter()
                .flat_map(|b| spool.take(&after, b, now));
            taken
                .map(|kept| kept.is_some_and(|k| k.read_at == 1_000))
                .collect()
        };
        assert_eq!(found(2_000), [true, true, false, true, true]);
        assert_eq!(spool.answered(&after), [true, true, false, true, true]);
        assert_eq!(spool.planned_at().collect::<Vec<_>>(), [900]);
        assert_eq!(
            found(990),
            found(2_000),
            "a clock that was set back a little"
        );
        assert_eq!(found(1_001 + KEPT_SECONDS), [false; 5], "too old");
        // Another plan's answers stay when this one is done.
        let forgotten = spool.forget(&plan(&[1, 2], 2)).await;
        forgotten.expect("forgotten");
        let left = Spool::of_lane(dir.path(), &lane);
        assert!(
            left.take(&before, &before.batches[0], 2_000)
                .iter()
                .all(Option::is_none)
        );
        assert!(
            left.take(&before, &before.batches[1], 2_000)
                .iter()
                .all(Option::is_some)
        );
        left.forget(&before).await.expect("forgotten");
        assert!(Spool::of_lane(dir.path(), &lane).is_empty());
        assert!(files(dir.path()).is_empty());
    }
}
