//! A whole unit's way into the lake: decided, published, recorded.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::commit::{
    Attempt, Committed, Decision, FileRecord, Kept, Lake, LaneRecords, OldFile, OldRecord, decide,
    old_file,
};
use crate::given::context::RunContext;
use crate::lake::answers::{Answers, Heard};
use crate::lake::table::LOGS;
use crate::lake::table::{ALARMS, INSTANCES, METRICS, SCHEMA_VERSION, Table};
use crate::lake::{UnitId, layout};
use crate::model::{Cause, CauseKind, Day, Lane, UnitOutcome, iso_seconds};
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::sources::metrics::old::{OldError, OldRuns};
use crate::sources::source::scope::LaneScope;
use crate::sources::source::unit::NewUnit;
use crate::store::StoreError;
use crate::write::checksum;

/// Units of a lane on their way into the lake at once; the store bounds them over all lanes.
const UNITS_AT_ONCE: usize = 4;

/// Publishes and records the units of one dataset in one lane.
pub(crate) struct Publisher {
    pub(crate) lake: Arc<Lake>,
    pub(crate) context: RunContext,
    pub(crate) lane: Lane,
    /// Its tables.
    pub(crate) scopes: Vec<LaneScope>,
    /// What became of the units so far.
    pub(crate) units: Vec<UnitReport>,
    /// Why they could not be recorded.
    pub(crate) cause: Option<Cause>,
}

impl Publisher {
    /// Publishes units, then records them: until then a unit may be there that no record speaks of, which is adopted or asked again.
    pub(crate) async fn publish(&mut self, units: Vec<NewUnit>) {
        self.unsettle(&units).await;
        let ended: Vec<(Day, UnitReport, Change)> = stream::iter(units)
            .map(|unit| self.publish_one(unit))
            .buffered(UNITS_AT_ONCE)
            .collect()
            .await;
        for (day, report, change) in ended {
            if let Some(scope) = self.scopes.iter_mut().find(|s| *s.table == *report.table) {
                match change {
                    Change::Commit(committed) => scope.records.commit(day, committed),
                    Change::Attempt(attempt) => scope.records.attempt(day, attempt),
                    Change::None => {}
                }
            }
            self.units.push(report);
        }
        for scope in &mut self.scopes {
            let written = self.lake.record(&mut scope.records).await;
            if self.lake.lost().is_cancelled() {
                return;
            }
            self.cause = self.cause.take().or(written.err());
        }
    }

    /// Settled units are not looked at again, so a record that speaks of the file before would stand for ever if the run died between the file
    /// and the new record. Until that is there the old one says that the unit is to be asked.
    async fn unsettle(&mut self, units: &[NewUnit]) {
        for scope in &mut self.scopes {
            let of_table = units.iter().filter(|u| *u.report.table == *scope.table);
            let replaced = of_table.filter(|u| u.may_replace()).map(|u| u.day);
            let committed = replaced.filter_map(|day| Some((day, scope.records.committed(day)?)));
            let settled = committed.filter(|(_, c)| !c.answers.settled.is_empty());
            let settled: Vec<(Day, Committed)> = settled.map(|(d, c)| (d, c.clone())).collect();
            if settled.is_empty() {
                continue;
            }
            let mut unsettled = scope.records.clone();
            for (day, mut committed) in settled {
                committed.answers.settled.clear();
                unsettled.commit(day, committed);
                scope.records.write_again(day);
            }
            let written = self.lake.record(&mut unsettled).await;
            self.cause = self.cause.take().or(written.err());
        }
    }

    /// Whether the manifests say what was published.
    pub(crate) fn is_recorded(&self) -> bool {
        self.cause.is_none() && !self.lake.lost().is_cancelled()
    }

    async fn publish_one(&self, unit: NewUnit) -> (Day, UnitReport, Change) {
        let day = unit.day;
        let scope = self.scopes.iter().find(|s| *s.table == *unit.report.table);
        let Some(scope) = scope else {
            return (day, unit.report, Change::None);
        };
        let (lake, context) = (&self.lake, &self.context);
        let (report, change) = publish_unit(lake, context, scope, &self.lane, unit).await;
        (day, report, change)
    }

    /// Ends what was not published: a unit that is asked fails for `cause`, the others are told with theirs.
    pub(crate) async fn finish(&mut self, cause: &Cause) {
        let mut left = Vec::new();
        let now = self.context.now;
        for scope in &self.scopes {
            for (day, mode) in &scope.days {
                let date = day.to_string();
                let is_done = |u: &UnitReport| *u.table == *scope.table && u.date == date;
                if self.units.iter().any(is_done) {
                    continue;
                }
                let unit = (*day, &self.lane);
                let cause = if mode.is_asked() {
                    cause.clone()
                } else {
                    mode.why_not_asked()
                };
                let mut failed = NewUnit::failed(scope.table, unit, *mode, cause, now);
                if !mode.is_asked() {
                    failed.report.outcome = UnitOutcome::Skipped;
                }
                left.push(failed);
            }
        }
        self.publish(left).await;
    }
}

/// Notes in the manifests why units were not read; what is in place stays.
pub(crate) async fn note_unread(
    lake: &Lake,
    lane: &Lane,
    units: &[(&'static Table, Vec<Day>)],
    cause: &Cause,
) {
    if lake.lost().is_cancelled()
        || matches!(cause.kind, CauseKind::Interrupted | CauseKind::Destination)
    {
        return;
    }
    for (table, days) in units {
        let mut records = LaneRecords::new(table, lane.clone());
        let noted = async {
            let read = records.read(&**lake.store(), days.iter().copied());
            read.await.map_err(Cause::from)?;
            for day in days {
                let attempt = Attempt {
                    outcome: cause.unit_outcome(),
                    cause: cause.clone(),
                };
                records.attempt(*day, attempt);
            }
            lake.record(&mut records).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%lane, %table, %error, "noting why the table was not read");
        }
    }
}

/// What a unit's end changes in the manifest.
#[derive(Debug)]
enum Change {
    /// It is in place.
    Commit(Committed),
    /// It is not.
    Attempt(Attempt),
    /// Nothing.
    None,
}

/// Time that a file on its way has after a signal.
const GRACE: Duration = Duration::from_secs(4);

/// How often a unit is published again because somebody else wrote it meanwhile.
const LATE_WRITES: u32 = 3;

/// Publishes one unit, or does not, and says what is to be recorded.
async fn publish_unit(
    lake: &Lake,
    context: &RunContext,
    scope: &LaneScope,
    lane: &Lane,
    sealed: NewUnit,
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
    if !sealed.may_replace() {
        let change = attempt(&unit);
        return (unit, change);
    }
    let mut done = put(lake, context, scope, lane, &sealed, &mut unit).await;
    // A late request of the lock's last holder: what it wrote is judged as any other file that is there.
    for _ in 0..LATE_WRITES {
        let is_changed = |cause: &Cause| cause.is(StoreError::CHANGED);
        // Rows that were added to are those of the file that was there.
        let has_old_rows = sealed.mode.adds() || *scope.table == LOGS && !context.force;
        if has_old_rows || !done.as_ref().is_err_and(is_changed) {
            break;
        }
        done = if lake.is_ours(true).await {
            put(lake, context, scope, lane, &sealed, &mut unit).await
        } else {
            Err(Cause::lock_lost())
        };
    }
    match done {
        Ok(change) => {
            unit.fell_from = fell_from(scope, sealed.day, &unit);
            (unit, change)
        }
        Err(cause) => {
            (unit.outcome, unit.complete, unit.rows) = (cause.unit_outcome(), false, 0);
            (unit.file, unit.sha256, unit.bytes) = (None, None, 0);
            unit.cause = Some(cause);
            let change = attempt(&unit);
            (unit, change)
        }
    }
}

/// What the day before had, where a whole day has less than half of it: series of metrics, rows of other tables. Few are no measure.
fn fell_from(scope: &LaneScope, day: Day, unit: &UnitReport) -> Option<u64> {
    let is_whole = matches!(unit.outcome, UnitOutcome::Written | UnitOutcome::Empty)
        && unit.complete
        && !unit.provisional
        && INVENTORIES.contains(&unit.table);
    let before = scope.records.committed(day.plus(-1)).filter(|_| is_whole)?;
    let rows = |c: &Committed| c.files.iter().map(|f| f.rows).sum();
    let (had, has) = if unit.table.is_points() {
        (before.series_returned, unit.series_returned)
    } else {
        (rows(before), unit.rows)
    };
    (had >= LEAST && has * 2 < had).then_some(had)
}

/// Tables of which a day has about as much as the one before. Events come as they come.
const INVENTORIES: [&Table; 3] = [&METRICS, &INSTANCES, &ALARMS];

/// So few that half of them is no news.
const LEAST: u64 = 4;

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

async fn put(
    lake: &Lake,
    context: &RunContext,
    scope: &LaneScope,
    lane: &Lane,
    sealed: &NewUnit,
    unit: &mut UnitReport,
) -> Result<Change, Cause> {
    let store = lake.store();
    let key = layout::unit(&UnitId::new(scope.table, sealed.day, lane));
    let before = scope.records.committed(sealed.day);
    let old = old_file(&**store, &key).await?;
    // Of a file that says otherwise the record does not speak: a run with another configuration died before it could be recorded.
    let in_file = old.as_ref().and_then(|o| o.facts.plan_hash.as_deref());
    let is_meant = |c: &&Committed| {
        c.plan_hash == scope.plan_hash && in_file.is_none_or(|hash| hash == c.plan_hash)
    };
    let same_plan = before.filter(is_meant);
    let record = same_plan.and_then(|c| {
        Some(OldRecord {
            sha256: &c.files.iter().find(|f| f.name == key)?.sha256,
            series: c.series_returned,
            covers_new: c.answers.covers(&sealed.covered),
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
    // Last: until then the unit's rows are there twice rather than not at all.
    remove_surplus(lake, scope.table, before, &key).await?;
    unit.complete &= record.complete;
    unit.provisional = !record.answers.covers_day(sealed.day, scope.delays.keys());
    if let (Some(file), Some(_)) = (record.files.first(), &sealed.staged) {
        unit.outcome = UnitOutcome::Written;
        unit.rows = file.rows;
        unit.bytes = file.bytes;
        unit.sha256 = Some(file.sha256.clone());
        unit.file = Some(file.name.clone());
    }
    Ok(Change::Commit(record))
}

/// Files that a unit had under other names.
async fn remove_surplus(
    lake: &Lake,
    table: &'static Table,
    before: Option<&Committed>,
    key: &str,
) -> Result<(), Cause> {
    for file in before.into_iter().flat_map(|c| &c.files) {
        if lake.is_ours(false).await
            && file.name != key
            && layout::parse_unit(table, &file.name).is_some()
        {
            lake.store().delete(&file.name).await?;
        }
    }
    Ok(())
}

/// Publishing goes on for a moment after a signal, and stops when the lock is lost.
async fn guarded(
    work: impl Future<Output = Result<(), StoreError>>,
    lake: &Lake,
    stop: &CancellationToken,
) -> Result<(), Cause> {
    if !lake.is_ours(false).await {
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

fn new_record(scope: &LaneScope, sealed: &NewUnit, key: &str, unit: &UnitReport) -> Committed {
    let before = scope.records.committed(sealed.day);
    let same_plan = before.is_none_or(|c| c.plan_hash == scope.plan_hash);
    let adds = sealed.mode.adds() || unit.unchanged;
    let heard = Heard {
        day: sealed.day,
        asked: &scope.windows,
        covered: &sealed.covered,
        refused: &sealed.refused,
        questions: &scope.questions,
        read_at: sealed.read_at,
        ask_again: sealed.ask_again,
        keeps: adds,
    };
    let answers = Answers::after(before.map(|c| &c.answers), &heard, scope.delays.keys());
    let mut refused = unit.refused_queries;
    if let (DayMode::Merge, Some(before)) = (sealed.mode, before)
        && !answers.refused.is_empty()
    {
        refused += before.refused_queries;
    }
    let file = sealed.staged.as_ref().map(|staged| FileRecord {
        name: key.to_owned(),
        rows: staged.rows,
        bytes: staged.bytes,
        sha256: staged.sha256.clone(),
        first_ts: unit.first_ts.clone().unwrap_or_default(),
        last_ts: unit.last_ts.clone().unwrap_or_default(),
    });
    Committed {
        outcome: if file.is_some() {
            UnitOutcome::Written
        } else {
            UnitOutcome::Empty
        },
        files: file.into_iter().collect(),
        series_asked: unit.series_asked,
        series_returned: unit.series_returned,
        refused_queries: refused,
        complete: sealed.complete && answers.refused.is_empty(),
        answers,
        joined: adds && before.is_some_and(|c| !c.files.is_empty() && (c.joined || !same_plan)),
        plan_hash: scope.plan_hash.clone(),
        schema_version: SCHEMA_VERSION,
    }
}

/// The record of a file that is there and was never recorded: a run was killed between the two, or the manifest was lost.
async fn adopt(
    lake: &Lake,
    lane: &Lane,
    sealed: &NewUnit,
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
    let read: Result<_, OldError> = match read.await {
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
        answers: Answers::default(),
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
