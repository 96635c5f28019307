//! One unit while it is made: its rows, its file and its books, until it is sealed for publishing.

use crate::lake::table::{METRICS, SCHEMA_VERSION};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::fetch::BatchStats;
use crate::normalize::schema_of;
use crate::plan::DayMode;
use crate::sources::source::unit::NewUnit;

use crate::model::{
    Cause, Day, Lane, MetricId, ServiceMessage, Spans, TimeWindow, Timestamps, UnitOutcome,
    iso_seconds,
};
use crate::normalize::{DecodedRun, MetricRows, RunIdentity, overlay};
use crate::report::{LISTED_REFUSALS, MessageReport, RefusedQuery, UnitReport};
use crate::sources::metrics::old::{OldError, OldRuns, RunKey, key_of};
use crate::write::{FooterKeys, ROW_GROUP_ROWS, RunFile, Staged, WriteError};

/// One unit while it is made.
#[derive(Debug)]
pub(crate) struct DayBook {
    day: Day,
    mode: DayMode,
    plan_hash: Arc<str>,
    staged_path: PathBuf,
    rows: MetricRows,
    file: Option<RunFile>,
    /// What is there, when this run adds to it.
    old: Option<OldRuns>,
    /// New runs of the series and statistic that is under way, when there is something to merge them with.
    pending: Vec<DecodedRun>,
    last_run: Option<Arc<RunIdentity>>,
    last_metric: Option<MetricId>,
    series_returned: u64,
    first_ts: Option<i64>,
    last_ts: Option<i64>,
    requests: BatchStats,
    refused: Vec<RefusedQuery>,
    refused_queries: u64,
    /// The time in which something was refused, by namespace.
    refused_time: BTreeMap<String, Spans>,
    /// Nothing of what is there and stays was refused.
    old_complete: bool,
    messages: BTreeMap<ServiceMessage, (u64, Option<String>)>,
    request_messages: bool,
    failure: Option<Cause>,
}

/// What all days of a lane share when they are sealed.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    /// What was asked and answered, by namespace.
    pub(crate) covered: &'a BTreeMap<String, Spans>,
    /// When the oldest answer was read.
    pub(crate) read_at: i64,
    /// The run's clock.
    pub(crate) now: i64,
    /// When the lane began.
    pub(crate) started: Instant,
}

impl DayBook {
    /// Nothing gathered yet. `old` is what the unit has, when this run adds to it.
    pub(crate) fn new(
        day: Day,
        mode: DayMode,
        plan_hash: &Arc<str>,
        staged_path: PathBuf,
        rows: MetricRows,
        (old, old_complete): (Option<OldRuns>, bool),
    ) -> Self {
        Self {
            day,
            mode,
            plan_hash: Arc::clone(plan_hash),
            staged_path,
            rows,
            file: None,
            old,
            pending: Vec::new(),
            last_run: None,
            last_metric: None,
            series_returned: 0,
            first_ts: None,
            last_ts: None,
            requests: BatchStats::default(),
            refused: Vec::new(),
            refused_queries: 0,
            refused_time: BTreeMap::new(),
            old_complete,
            messages: BTreeMap::new(),
            request_messages: false,
            failure: None,
        }
    }

    /// Whether a window holds any second of the day.
    pub(crate) fn is_touched_by(&self, span: TimeWindow) -> bool {
        self.day.start() < span.end && span.start < self.day.end()
    }

    /// Whether the run asks for it.
    pub(crate) fn is_asked(&self) -> bool {
        self.mode.is_asked()
    }

    /// The day of the unit.
    pub(crate) fn day(&self) -> Day {
        self.day
    }

    /// Whether its file can still be made.
    pub(crate) fn is_open(&self) -> bool {
        self.mode.is_asked() && self.failure.is_none()
    }

    /// Counts a request whose window touches the day, and what CloudWatch remarked about it as a whole: the unit is then not complete.
    pub(crate) fn account(&mut self, stats: BatchStats, messages: &[ServiceMessage]) {
        self.requests.add(stats);
        for message in messages {
            self.request_messages = true;
            self.messages.entry(message.clone()).or_default().0 += 1;
        }
    }

    /// Notes what CloudWatch remarked about one query.
    pub(crate) fn remark(&mut self, messages: &[ServiceMessage], series: &str) {
        for message in messages {
            let entry = self.messages.entry(message.clone()).or_default();
            entry.0 += 1;
            entry.1.get_or_insert_with(|| series.to_owned());
        }
    }

    /// Marks the day as lost; one that is not asked has nothing to lose.
    pub(crate) fn fail(&mut self, cause: &Cause) {
        if self.is_open() {
            self.failure = Some(cause.clone());
            self.file = None;
            self.old = None;
            self.pending.clear();
        }
    }

    /// Notes a query of a namespace that was refused by itself, for a window.
    pub(crate) fn refuse(&mut self, namespace: &str, span: TimeWindow, refused: &RefusedQuery) {
        if !self.mode.is_asked() {
            return;
        }
        let time = span.intersection(self.day.window());
        let own = self.refused_time.entry(namespace.to_owned());
        own.or_default().add(time);
        self.refused_queries += 1;
        if self.refused.len() < LISTED_REFUSALS {
            self.refused.push(refused.clone());
        }
    }

    /// Adds a run of new points; runs come in the table's sort order.
    pub(crate) fn push(
        &mut self,
        identity: &Arc<RunIdentity>,
        timestamps: Timestamps,
        values: &[f64],
    ) {
        if !self.is_open() || timestamps.is_empty() {
            return;
        }
        let result = if self.old.is_none() {
            self.emit(identity, timestamps, values)
                .map_err(|e| Cause::of_destination(&e))
        } else {
            let run = DecodedRun {
                identity: RunIdentity::clone(identity),
                timestamps: timestamps.iter().collect(),
                values: values.to_vec(),
            };
            self.merge(run).map_err(|e| Cause::of_destination(&e))
        };
        if let Err(cause) = result {
            self.fail(&cause);
        }
    }

    fn merge(&mut self, run: DecodedRun) -> Result<(), OldError> {
        if self
            .pending
            .first()
            .is_some_and(|p| key_of(p) != key_of(&run))
        {
            self.settle_pending()?;
        }
        self.pending.push(run);
        Ok(())
    }

    /// Writes what is there before the pending runs, then these, merged with what is there of the same series and statistic.
    fn settle_pending(&mut self) -> Result<(), OldError> {
        let pending = std::mem::take(&mut self.pending);
        let Some(wanted) = pending.first().map(key_of) else {
            return Ok(());
        };
        self.emit_old(|there| *there < wanted)?;
        let mut same = Vec::new();
        if let Some(old) = &mut self.old {
            while old.peek()?.is_some_and(|there| there == wanted) {
                same.extend(old.take()?);
            }
        }
        for run in overlay(same, pending) {
            self.emit(
                &Arc::new(run.identity),
                run.timestamps[..].into(),
                &run.values,
            )?;
        }
        Ok(())
    }

    /// Writes what is there as long as `wanted` says so.
    fn emit_old(&mut self, wanted: impl Fn(&RunKey) -> bool) -> Result<(), OldError> {
        while let Some(old) = &mut self.old {
            if !old.peek()?.is_some_and(|there| wanted(&there)) {
                break;
            }
            let Some(run) = old.take()? else { break };
            self.emit(
                &Arc::new(run.identity),
                run.timestamps[..].into(),
                &run.values,
            )?;
        }
        Ok(())
    }

    /// Adds rows to the file. A row group ends between two runs, when enough rows wait: the same rows then give the same groups however
    /// they came.
    fn emit(
        &mut self,
        identity: &Arc<RunIdentity>,
        timestamps: Timestamps,
        values: &[f64],
    ) -> Result<(), WriteError> {
        if self.last_run.as_ref() != Some(identity) {
            if self.rows.len() >= ROW_GROUP_ROWS {
                self.flush()?;
            }
            self.last_run = Some(Arc::clone(identity));
        }
        if self.last_metric.as_ref() != Some(&identity.series.metric) {
            self.last_metric = Some(identity.series.metric.clone());
            self.series_returned += 1;
        }
        if let (Some(first), Some(last)) = (timestamps.first(), timestamps.last()) {
            self.first_ts = Some(self.first_ts.map_or(first, |t| t.min(first)));
            self.last_ts = Some(self.last_ts.map_or(last, |t| t.max(last)));
        }
        self.rows.push(Arc::clone(identity), timestamps, values);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(RunFile::create(
                &self.staged_path,
                &schema_of(&METRICS),
                METRICS.sort,
                FooterKeys {
                    schema_version: SCHEMA_VERSION,
                    plan_hash: Some(&self.plan_hash),
                },
            )?),
        };
        let rows = self.rows.take().map_err(|e| WriteError::Parquet {
            path: self.staged_path.clone(),
            source: e.into(),
        })?;
        file.write(&rows)
    }

    fn complete(&self) -> bool {
        self.failure.is_none() && self.refused_queries == 0 && !self.request_messages
    }

    fn finish_file(&mut self, complete: bool) -> Result<Option<Staged>, OldError> {
        self.settle_pending()?;
        self.emit_old(|_| true)?;
        self.flush()?;
        Ok(match self.file.take() {
            Some(file) => Some(file.finish(complete)?),
            None => None,
        })
    }

    /// Closes and verifies the file.
    pub(crate) fn seal(
        mut self,
        lane: &Lane,
        series_asked: u64,
        answered: &Answered<'_>,
    ) -> NewUnit {
        let old_complete = self.old_complete;
        let mut staged = None;
        if self.is_open() {
            let complete = self.complete() && old_complete;
            match self.finish_file(complete) {
                Ok(file) => staged = file,
                Err(error) => self.fail(&Cause::of_destination(&error)),
            }
        }
        // A half-written file of a failed unit: nobody looks there, and the next run would remove it.
        if staged.is_none() {
            let _ = std::fs::remove_file(&self.staged_path);
        }
        let day = self.day.window();
        let inside = |(namespace, spans): (&String, &Spans)| (namespace.clone(), spans.inside(day));
        let complete = self.complete() && old_complete;
        let mut report = self.report(lane, series_asked, staged.is_some(), answered.now);
        report.complete &= old_complete;
        report.seconds = answered.started.elapsed().as_secs_f64();
        NewUnit {
            day: self.day,
            mode: self.mode,
            staged,
            complete,
            ask_again: self.request_messages,
            covered: answered.covered.iter().map(inside).collect(),
            refused: self.refused_time,
            read_at: answered.read_at,
            report,
        }
    }

    fn report(&mut self, lane: &Lane, series_asked: u64, has_rows: bool, now: i64) -> UnitReport {
        let ts = |t: i64| iso_seconds(t.div_euclid(1_000_000));
        let (outcome, cause) = match &self.failure {
            Some(cause) => (cause.unit_outcome(), Some(cause.clone())),
            None => self.outcome(has_rows),
        };
        UnitReport {
            outcome,
            complete: self.complete(),
            series_asked,
            series_returned: self.series_returned,
            first_ts: self.first_ts.map(ts),
            last_ts: self.last_ts.map(ts),
            requests: self.requests,
            cause,
            refused: std::mem::take(&mut self.refused),
            refused_queries: self.refused_queries,
            messages: std::mem::take(&mut self.messages)
                .into_iter()
                .map(|(m, (queries, example))| MessageReport {
                    code: m.code,
                    text: m.text,
                    queries,
                    example,
                })
                .collect(),
            ..UnitReport::of(&METRICS, self.day, lane, now)
        }
    }

    /// How a unit that did not fail ends, as far as that is known before publishing.
    fn outcome(&self, has_rows: bool) -> (UnitOutcome, Option<Cause>) {
        if has_rows {
            (UnitOutcome::Written, None)
        } else if self.refused_queries > 0 {
            // Nothing there because everything was refused is not "empty".
            let cause = self.refused.first().map(|r| r.cause.clone());
            let outcome = cause
                .as_ref()
                .map_or(UnitOutcome::Failed, Cause::unit_outcome);
            (outcome, cause)
        } else {
            (UnitOutcome::Empty, None)
        }
    }
}
