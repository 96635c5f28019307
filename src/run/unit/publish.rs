//! A sealed unit's way into the lake: decided, published, recorded.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::lake::table::SCHEMA_VERSION;
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::run::given::context::RunContext;
use crate::run::unit::old::OldRuns;
use crate::run::unit::scope::LaneScope;
use crate::run::unit::sealed::SealedDay;
use crate::store::StoreError;
use crate::write::checksum;

use crate::lake::{UnitId, layout};

use crate::commit::{
    Attempt, Committed, Decision, FileRecord, Kept, Lake, OldFile, OldRecord, decide, old_file,
};
use crate::model::{Cause, CauseKind, Lane, Spans, UnitOutcome, iso_seconds};

/// What a unit's end changes in the manifest.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is in place.
    Commit(Committed),
    /// It is not.
    Attempt(Attempt),
    /// Nothing.
    None,
}

/// Time that a file on its way has after a signal.
const GRACE: Duration = Duration::from_secs(4);

/// Publishes one unit, or does not, and says what is to be recorded.
pub(crate) async fn publish_unit(
    lake: &Lake,
    context: &RunContext,
    scope: &LaneScope,
    lane: &Lane,
    sealed: SealedDay,
) -> (UnitReport, Change) {
    let mut unit = sealed.report.clone();
    let before = scope.records.committed(sealed.day);
    match sealed.mode {
        DayMode::Held => {
            let file = before.and_then(|c| c.files.first());
            unit.complete = true;
            unit.rows = file.map_or(0, |f| f.rows);
            unit.file = file.map(|f| f.name.clone());
            return (unit, Change::None);
        }
        DayMode::Gone => {
            unit.complete = false;
            return (unit, Change::None);
        }
        DayMode::Replace | DayMode::Merge | DayMode::Join => {}
    }
    // What is there stays, whatever was forced, when the run was refused or failed: only a file or a true nothing may take its place.
    if sealed.staged.is_none() && unit.outcome != UnitOutcome::Empty {
        let change = attempt(&unit);
        return (unit, change);
    }
    match place(lake, context, scope, lane, &sealed, &mut unit).await {
        Ok(change) => (unit, change),
        Err(cause) => {
            (unit.outcome, unit.complete, unit.rows) = (cause.unit_outcome(), false, 0);
            (unit.file, unit.sha256, unit.bytes) = (None, None, 0);
            unit.cause = Some(cause);
            let change = attempt(&unit);
            (unit, change)
        }
    }
}

/// A run that was only interrupted has nothing to say about the unit.
fn attempt(unit: &UnitReport) -> Change {
    match &unit.cause {
        Some(cause) if !matches!(cause.kind, CauseKind::Interrupted | CauseKind::Budget) => {
            Change::Attempt(Attempt {
                outcome: unit.outcome,
                cause: cause.clone(),
            })
        }
        _ => Change::None,
    }
}

async fn place(
    lake: &Lake,
    context: &RunContext,
    scope: &LaneScope,
    lane: &Lane,
    sealed: &SealedDay,
    unit: &mut UnitReport,
) -> Result<Change, Cause> {
    let store = lake.store();
    let key = layout::unit(&UnitId::new(scope.table, sealed.day, lane));
    let before = scope.records.committed(sealed.day);
    let old = old_file(&**store, &key).await?;
    let same_plan = before.filter(|c| c.plan_hash == scope.plan_hash);
    let record = same_plan.and_then(|c| {
        let covers = |(namespace, new): (&String, &Spans)| {
            let there = c.covered.get(namespace);
            new.windows()
                .iter()
                .all(|w| there.is_some_and(|t| t.covers(*w)))
        };
        Some(OldRecord {
            sha256: &c.files.iter().find(|f| f.name == key)?.sha256,
            series: c.series_returned,
            covers_new: sealed.covered.iter().all(covers),
        })
    });
    let adds = sealed.mode.adds();
    let decision = decide(old.as_ref(), record, sealed.new_file(), adds, context.force);
    match decision {
        Decision::Keep(kept) => {
            let other_plan = old
                .as_ref()
                .and_then(|o| o.facts.plan_hash.as_deref())
                .is_some_and(|hash| hash != scope.plan_hash);
            keep(unit, &kept, other_plan, key.clone());
            if other_plan {
                // What was asked for now is not in the lake: that is for somebody to decide.
                unit.complete = false;
            }
            if let Some(staged) = &sealed.staged {
                let _ = tokio::fs::remove_file(&staged.path).await;
            }
            // A file that no record speaks of is adopted, so that it is verified and counted.
            return match (before, &old) {
                (None, Some(old)) if sealed.staged.is_some() || old.facts.rows > 0 => {
                    Ok(Change::Commit(adopt(lake, lane, sealed, old, &key).await?))
                }
                _ => Ok(attempt(unit)),
            };
        }
        Decision::Unchanged => {
            if let Some(staged) = &sealed.staged {
                let _ = tokio::fs::remove_file(&staged.path).await;
            }
            unit.unchanged = true;
        }
        Decision::Publish => {
            let work = async {
                match &sealed.staged {
                    Some(staged) => store.publish(&key, staged).await,
                    None if old.is_some() => store.delete(&key).await,
                    None => Ok(()),
                }
            };
            guarded(work, lake, &context.stop).await?;
        }
    }
    let record = new_record(scope, sealed, &key, unit);
    // Surplus files go last: until then the unit's rows are there twice rather than not at all.
    for file in before.into_iter().flat_map(|c| &c.files) {
        if !lake.lost().is_cancelled()
            && file.name != key
            && layout::parse_unit(scope.table, &file.name).is_some()
        {
            store.delete(&file.name).await?;
        }
    }
    unit.complete &= record.complete;
    unit.provisional = !record.covers_day(sealed.day, scope.delays.keys().map(String::as_str));
    if let (Some(file), Some(_)) = (record.files.first(), &sealed.staged) {
        unit.outcome = UnitOutcome::Written;
        unit.rows = file.rows;
        unit.bytes = file.bytes;
        unit.sha256 = Some(file.sha256.clone());
        unit.file = Some(file.name.clone());
    }
    Ok(Change::Commit(record))
}

/// Publishing goes on for a moment after a signal, and stops when the lock is lost.
async fn guarded(
    work: impl Future<Output = Result<(), StoreError>>,
    lake: &Lake,
    stop: &CancellationToken,
) -> Result<(), Cause> {
    if lake.lost().is_cancelled() {
        return Err(Cause::lock_lost());
    }
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        done = work => Ok(done?),
        () = lake.lost().cancelled() => Err(Cause::lock_lost()),
        () = late => Err(Cause::stopped()),
    }
}

fn new_record(scope: &LaneScope, sealed: &SealedDay, key: &str, unit: &UnitReport) -> Committed {
    let before = scope.records.committed(sealed.day);
    let same_plan = before.is_none_or(|c| c.plan_hash == scope.plan_hash);
    let adds = sealed.mode.adds() || unit.unchanged;
    let mut covered = sealed.covered.clone();
    let mut refused = unit.refused_queries;
    if let (true, Some(before)) = (adds, before) {
        for (namespace, spans) in &before.covered {
            covered.entry(namespace.clone()).or_default().add_all(spans);
        }
    }
    if let (DayMode::Merge, Some(before)) = (sealed.mode, before) {
        refused += before.refused_queries;
    }
    // What was not asked this time is known not to be answered.
    for part in scope.delays.keys() {
        covered.entry(part.clone()).or_default();
    }
    let mut refused_time = scope.still_refused(sealed.day);
    for (part, spans) in &sealed.refused {
        refused_time.entry(part.clone()).or_default().add_all(spans);
    }
    let refused_at = if sealed.refused.is_empty() {
        before.and_then(|c| c.refused_at)
    } else {
        jiff::Timestamp::from_second(sealed.read_at).ok()
    };
    if refused_time.is_empty() {
        refused = unit.refused_queries;
    }
    let file = sealed.staged.as_ref().map(|staged| FileRecord {
        name: key.to_owned(),
        rows: staged.rows,
        bytes: staged.bytes,
        sha256: staged.sha256.clone(),
        first_ts: unit.first_ts.clone().unwrap_or_default(),
        last_ts: unit.last_ts.clone().unwrap_or_default(),
    });
    let mut record = Committed {
        outcome: if file.is_some() {
            UnitOutcome::Written
        } else {
            UnitOutcome::Empty
        },
        files: file.into_iter().collect(),
        series_asked: unit.series_asked,
        series_returned: unit.series_returned,
        refused_queries: refused,
        complete: sealed.complete && refused_time.is_empty(),
        covered,
        refused_at: refused_at.filter(|_| !refused_time.is_empty()),
        refused: refused_time,
        settled: false,
        joined: adds && before.is_some_and(|c| !c.files.is_empty() && (c.joined || !same_plan)),
        plan_hash: scope.plan_hash.clone(),
        schema_version: SCHEMA_VERSION,
    };
    let parts = scope.delays.keys().map(String::as_str);
    // A day that was added to piece by piece was settled only if each piece was: a whole reading says so.
    record.settled =
        sealed.mode != DayMode::Merge && record.is_settled(sealed.day, sealed.read_at, parts);
    record
}

/// The record of a file that is there and was never recorded: a run was killed between the two, or the manifest was lost.
async fn adopt(
    lake: &Lake,
    lane: &Lane,
    sealed: &SealedDay,
    old: &OldFile,
    key: &str,
) -> Result<Committed, Cause> {
    let scratch = lake.staging();
    let path = lake.store().open(key, &scratch).await?;
    let path = path.ok_or_else(|| Cause::new(CauseKind::Destination, format!("{key} vanished")))?;
    let facts = old.facts.clone();
    let day = sealed.day;
    let is_metrics = sealed.report.table.is_points();
    let read = tokio::task::spawn_blocking(move || {
        let (bytes, sha256) = checksum(&path)?;
        if !is_metrics {
            let (first, last) = (day.start() * 1_000_000, (day.end() - 1) * 1_000_000);
            return Ok((bytes, sha256, first, last, 0));
        }
        let mut runs = OldRuns::open(&path)?;
        let (mut first, mut last, mut series) = (i64::MAX, i64::MIN, 0);
        let mut metric = None;
        while let Some(run) = runs.take()? {
            first = first.min(run.timestamps.first().copied().unwrap_or(first));
            last = last.max(run.timestamps.last().copied().unwrap_or(last));
            series += u64::from(metric.as_ref() != Some(&run.identity.series.metric));
            metric = Some(run.identity.series.metric);
        }
        Ok((bytes, sha256, first, last, series))
    });
    let read: Result<_, super::old::OldError> = match read.await {
        Ok(read) => read,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let (bytes, sha256, first, last, series) = read.map_err(|e| Cause::of_destination(&e))?;
    tracing::info!(%lane, day = %sealed.day, "a file without a record is recorded");
    Ok(Committed {
        outcome: UnitOutcome::Written,
        files: vec![FileRecord {
            name: key.to_owned(),
            rows: facts.rows,
            bytes,
            sha256,
            first_ts: iso_seconds(first.div_euclid(1_000_000)),
            last_ts: iso_seconds(last.div_euclid(1_000_000)),
        }],
        series_asked: 0,
        series_returned: series,
        refused_queries: 0,
        complete: facts.complete,
        covered: std::collections::BTreeMap::new(),
        refused: std::collections::BTreeMap::new(),
        refused_at: None,
        settled: false,
        joined: false,
        plan_hash: facts.plan_hash.unwrap_or_default(),
        schema_version: SCHEMA_VERSION,
    })
}

fn keep(unit: &mut UnitReport, kept: &Kept, other_plan: bool, file: String) {
    let found = kept
        .new_rows
        .map_or("nothing".to_owned(), |n| format!("{n} rows"));
    let why = match kept.fewer_series {
        0 if kept.new_is_incomplete => ", not all of them".to_owned(),
        0 => String::new(),
        n => format!(", without {n} of the series that are there"),
    };
    let plan = if other_plan {
        "; it was written with another configuration"
    } else {
        ""
    };
    unit.outcome = UnitOutcome::Skipped;
    unit.rows = kept.rows;
    unit.file = Some(file);
    unit.cause = Some(
        Cause::new(
            CauseKind::Other,
            format!(
                "kept the unit of {} rows; this run found {found}{why}{plan}",
                kept.rows
            ),
        )
        .with_hint("--force replaces it"),
    );
}
