//! Where a lane's points end: one open file a day, each unit's books beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::pipeline::RunContext;
use crate::commit::{Kept, Lake, Published, publish};
use crate::fetch::{BatchStats, Fetched};
use crate::model::{
    Cause, CauseKind, Day, Lane, QueryOutcome, QueryPoints, ServiceMessage, TimeWindow,
    UnitOutcome, iso_seconds,
};
use crate::normalize::{METRICS_SORT, MetricRows, RunIdentity, SCHEMA_VERSION, metrics_schema};
use crate::plan::{Group, LanePlan, kept};
use crate::report::{LISTED_REFUSALS, MessageReport, RefusedQuery, UnitReport};
use crate::write::{ROW_GROUP_ROWS, Staged, UnitFile, WriteError, layout};

const DATASET: &str = "metrics";

/// Rows turned into Arrow at once: the texts of a batch are repeated for every row.
const BATCH_ROWS: usize = 8_192;

/// The days of one lane.
pub(super) struct LaneSink {
    plan: Arc<LanePlan>,
    root: PathBuf,
    run_id: String,
    first: Day,
    days: Vec<DayBook>,
    stats: BatchStats,
    now: i64,
}

/// One unit while it is made.
struct DayBook {
    day: Day,
    asked: bool,
    rows: MetricRows,
    file: Option<UnitFile>,
    written: u64,
    series_returned: u64,
    last_series: Option<usize>,
    first_ts: Option<i64>,
    last_ts: Option<i64>,
    requests: BatchStats,
    refused: Vec<RefusedQuery>,
    refused_queries: u64,
    messages: BTreeMap<ServiceMessage, (u64, Option<String>)>,
    request_messages: bool,
    failure: Option<Cause>,
}

/// Points of one (series, statistic): a piece a window, oldest first.
type Pieces = Vec<(crate::model::Period, QueryPoints)>;

impl LaneSink {
    pub(super) fn new(
        plan: &Arc<LanePlan>,
        account_name: Option<&Arc<str>>,
        lake: &Lake,
        context: &RunContext,
    ) -> Self {
        let range = context.range;
        let days: Vec<DayBook> = range
            .window()
            .touched_days()
            .map(|day| {
                DayBook::new(
                    day,
                    MetricRows::new(plan.lane.clone(), account_name.cloned()),
                )
            })
            .collect();
        let mut sink = Self {
            plan: Arc::clone(plan),
            root: lake.root().to_owned(),
            run_id: lake.run_id().to_owned(),
            first: range.first,
            days,
            stats: BatchStats::default(),
            now: context.now,
        };
        let kept = kept(range.window(), context.now);
        for book in &mut sink.days {
            book.asked = book.day.start() >= kept.start && book.day.start() < context.now;
        }
        sink
    }

    /// What the lane's requests took.
    pub(super) fn stats(&self) -> BatchStats {
        self.stats
    }

    /// Marks every day that is not yet lost.
    pub(super) fn fail_all(&mut self, cause: &Cause) {
        for book in &mut self.days {
            book.fail(cause);
        }
    }

    /// Takes all batches of a group, in plan order. Returns whether any day can still be completed.
    pub(super) fn take_group(&mut self, group: &Group, fetched: Vec<Fetched>) -> bool {
        let plan = Arc::clone(&self.plan);
        let mut table: Vec<Vec<Pieces>> = plan.series[group.series.clone()]
            .iter()
            .map(|s| vec![Pieces::new(); s.asks.len()])
            .collect();
        for (batch, fetched) in plan.batches[group.batches.clone()].iter().zip(fetched) {
            self.account(batch.span, &fetched);
            for (query, outcome) in batch.queries.iter().zip(fetched.outcomes) {
                let series = query.series as usize;
                let ask = usize::from(query.ask);
                match outcome {
                    QueryOutcome::Complete { points, messages } => {
                        if !messages.is_empty() {
                            self.remark(
                                batch.span,
                                &messages,
                                &plan.series[series].series.metric.to_string(),
                                &points,
                            );
                        }
                        table[series - group.series.start][ask].push((query.period, points));
                    }
                    QueryOutcome::Refused(cause) => {
                        let refused = RefusedQuery {
                            series: plan.series[series].series.metric.to_string(),
                            statistic: plan.series[series].asks[ask].statistic.to_string(),
                            cause,
                        };
                        self.touched(batch.span, |book| book.refuse(&refused));
                    }
                    QueryOutcome::Failed(cause) => {
                        self.touched(batch.span, |book| book.fail(&cause));
                    }
                }
            }
        }
        for (offset, asks) in table.into_iter().enumerate() {
            let index = group.series.start + offset;
            let series = &plan.series[index];
            for (ask, pieces) in series.asks.iter().zip(asks) {
                for (period, points) in pieces {
                    let identity = RunIdentity {
                        series: series.series.clone(),
                        statistic: ask.statistic.clone(),
                        period,
                        unit: ask.unit.clone(),
                    };
                    self.scatter(index, &identity, &points);
                }
            }
        }
        self.days
            .iter()
            .any(|book| book.asked && book.failure.is_none())
    }

    fn account(&mut self, span: TimeWindow, fetched: &Fetched) {
        self.stats.add(fetched.stats);
        self.touched(span, |book| {
            book.requests.add(fetched.stats);
            for message in &fetched.messages {
                book.request_messages = true;
                book.messages.entry(message.clone()).or_default().0 += 1;
            }
        });
    }

    /// Notes a remark on the days it is about: those with points, or all of the window when there are none.
    fn remark(
        &mut self,
        span: TimeWindow,
        messages: &[ServiceMessage],
        series: &str,
        points: &QueryPoints,
    ) {
        let mut days: Vec<Day> = points
            .timestamps
            .iter()
            .map(|t| Day::containing(t / 1_000_000))
            .collect();
        days.dedup();
        self.touched(span, |book| {
            if days.is_empty() || days.contains(&book.day) {
                for message in messages {
                    let entry = book.messages.entry(message.clone()).or_default();
                    entry.0 += 1;
                    entry.1.get_or_insert_with(|| series.to_owned());
                }
            }
        });
    }

    fn touched(&mut self, span: TimeWindow, mut act: impl FnMut(&mut DayBook)) {
        for book in &mut self.days {
            if book.day.start() < span.end && span.start < book.day.end() {
                act(book);
            }
        }
    }

    /// Cuts ascending points at midnights and gives each day its run.
    fn scatter(&mut self, series: usize, identity: &RunIdentity, points: &QueryPoints) {
        let mut from = 0;
        while from < points.timestamps.len() {
            let day = Day::containing(points.timestamps[from].div_euclid(1_000_000));
            let end = day.end() * 1_000_000;
            let to = from + points.timestamps[from..].partition_point(|t| *t < end);
            let index =
                usize::try_from((day.start() - self.first.start()) / crate::model::DAY_SECONDS);
            if let Some(book) = index.ok().and_then(|i| self.days.get_mut(i)) {
                book.push(
                    series,
                    identity,
                    &points.timestamps[from..to],
                    &points.values[from..to],
                );
                if book.rows.len() >= ROW_GROUP_ROWS {
                    let path = layout::staged_file(
                        &self.root,
                        &self.run_id,
                        DATASET,
                        day,
                        &self.plan.lane,
                    );
                    book.flush(&path);
                }
            }
            from = to;
        }
    }

    /// Closes, verifies and publishes every day.
    pub(super) fn finish(&mut self, lake: &Lake, force: bool, started: Instant) -> Vec<UnitReport> {
        let asked = self.plan.series.len() as u64;
        let (lane, now) = (self.plan.lane.clone(), self.now);
        let days = std::mem::take(&mut self.days);
        days.into_iter()
            .map(|book| book.finish(lake, &lane, asked, now, force, started))
            .collect()
    }
}

impl DayBook {
    fn new(day: Day, rows: MetricRows) -> Self {
        Self {
            day,
            asked: false,
            rows,
            file: None,
            written: 0,
            series_returned: 0,
            last_series: None,
            first_ts: None,
            last_ts: None,
            requests: BatchStats::default(),
            refused: Vec::new(),
            refused_queries: 0,
            messages: BTreeMap::new(),
            request_messages: false,
            failure: None,
        }
    }

    fn fail(&mut self, cause: &Cause) {
        if self.failure.is_none() {
            self.failure = Some(cause.clone());
            self.file = None;
        }
    }

    fn refuse(&mut self, refused: &RefusedQuery) {
        self.refused_queries += 1;
        if self.refused.len() < LISTED_REFUSALS {
            self.refused.push(refused.clone());
        }
    }

    fn push(&mut self, series: usize, identity: &RunIdentity, timestamps: &[i64], values: &[f64]) {
        if self.failure.is_some() {
            return;
        }
        if self.last_series != Some(series) {
            self.last_series = Some(series);
            self.series_returned += 1;
        }
        if let (Some(&first), Some(&last)) = (timestamps.first(), timestamps.last()) {
            self.first_ts = Some(self.first_ts.map_or(first, |t| t.min(first)));
            self.last_ts = Some(self.last_ts.map_or(last, |t| t.max(last)));
        }
        self.rows.push(identity.clone(), timestamps, values);
    }

    fn flush(&mut self, path: &Path) {
        if self.failure.is_none()
            && let Err(error) = self.try_flush(path)
        {
            self.fail(&destination(&error));
        }
    }

    fn try_flush(&mut self, path: &Path) -> Result<(), WriteError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(UnitFile::create(
                path,
                metrics_schema(),
                &METRICS_SORT,
                SCHEMA_VERSION,
            )?),
        };
        for batch in self.rows.take_batches(BATCH_ROWS) {
            let batch = batch.map_err(|e| WriteError::Parquet {
                path: path.to_owned(),
                source: e.into(),
            })?;
            self.written += batch.num_rows() as u64;
            file.write(&batch)?;
        }
        file.end_row_group()
    }

    fn complete(&self) -> bool {
        self.failure.is_none() && self.refused_queries == 0 && !self.request_messages
    }

    fn finish(
        mut self,
        lake: &Lake,
        lane: &Lane,
        series_asked: u64,
        now: i64,
        force: bool,
        started: Instant,
    ) -> UnitReport {
        let staged_path = layout::staged_file(lake.root(), lake.run_id(), DATASET, self.day, lane);
        self.flush(&staged_path);
        let final_path = layout::unit_file(lake.root(), DATASET, self.day, lane);
        let complete = self.complete();
        let staged = match self.file.take() {
            Some(file) if self.failure.is_none() => match file.finish(complete) {
                Ok(staged) => Some(staged),
                Err(error) => {
                    self.fail(&destination(&error));
                    None
                }
            },
            _ => None,
        };
        let mut unit = self.report(lane, series_asked, now);
        // What is there stays, whatever was forced, when the run was refused or failed: only a file or a true nothing may take its place.
        if self.asked && (staged.is_some() || unit.outcome == UnitOutcome::Empty) {
            let published = publish(&final_path, staged.as_ref().map(|s| (s, complete)), force);
            let relative = final_path
                .strip_prefix(lake.root())
                .unwrap_or(&final_path)
                .display()
                .to_string();
            match (published, staged) {
                (Ok(Published::New(_)), Some(staged)) => written(&mut unit, staged, relative),
                (Ok(Published::New(_)), None) => {}
                (Ok(Published::Kept(kept)), _) => keep(&mut unit, kept, relative),
                (Err(source), _) => {
                    let cause = destination(&WriteError::Io {
                        path: final_path,
                        source,
                    });
                    (unit.outcome, unit.complete, unit.rows) = (UnitOutcome::Failed, false, 0);
                    unit.cause = Some(cause);
                }
            }
        }
        unit.seconds = started.elapsed().as_secs_f64();
        // A half-written file of a failed unit: nobody looks there, and the next run would remove it.
        let _ = std::fs::remove_file(staged_path);
        unit
    }

    fn report(&mut self, lane: &Lane, series_asked: u64, now: i64) -> UnitReport {
        let ts = |t: i64| iso_seconds(t.div_euclid(1_000_000));
        let (outcome, cause) = match &self.failure {
            Some(cause) => (cause.unit_outcome(), Some(cause.clone())),
            None if !self.asked => (
                UnitOutcome::Skipped,
                Some(Cause::new(
                    CauseKind::Other,
                    "CloudWatch no longer has all of this day (455 days), or it has not begun",
                )),
            ),
            // Nothing there because everything was refused is not "empty".
            None if self.refused_queries > 0 && self.written == 0 => {
                let cause = self.refused.first().map(|r| r.cause.clone());
                (
                    cause
                        .as_ref()
                        .map_or(UnitOutcome::Failed, Cause::unit_outcome),
                    cause,
                )
            }
            None => (UnitOutcome::Empty, None),
        };
        UnitReport {
            dataset: DATASET,
            date: self.day.to_string(),
            account_id: lane.account.to_string(),
            region: lane.region.to_string(),
            outcome,
            complete: self.complete() && self.asked,
            provisional: now < self.day.end(),
            rows: 0,
            series_asked: if self.asked { series_asked } else { 0 },
            series_returned: self.series_returned,
            file: None,
            bytes: 0,
            sha256: None,
            first_ts: self.first_ts.map(ts),
            last_ts: self.last_ts.map(ts),
            requests: self.requests,
            seconds: 0.0,
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
        }
    }
}

fn written(unit: &mut UnitReport, staged: Staged, file: String) {
    unit.outcome = UnitOutcome::Written;
    unit.rows = staged.rows;
    unit.bytes = staged.bytes;
    unit.sha256 = Some(staged.sha256);
    unit.file = Some(file);
}

fn keep(unit: &mut UnitReport, kept: Kept, file: String) {
    let found = kept
        .new_rows
        .map_or("nothing".to_owned(), |n| format!("{n} rows"));
    let why = if kept.new_is_incomplete {
        ", not all of them"
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
                "kept the unit of {} rows; this run found {found}{why}",
                kept.rows
            ),
        )
        .with_hint("--force replaces it"),
    );
}

fn destination(error: &WriteError) -> Cause {
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    Cause::new(CauseKind::Destination, message)
}

/// The units of a lane that could not be read at all.
pub(super) fn unread_units(
    account_id: &str,
    region: &str,
    outcome: UnitOutcome,
    cause: &Cause,
    context: &RunContext,
) -> Vec<UnitReport> {
    let unit = |day: Day| UnitReport {
        dataset: DATASET,
        date: day.to_string(),
        account_id: account_id.to_owned(),
        region: region.to_owned(),
        outcome,
        complete: false,
        provisional: context.now < day.end(),
        rows: 0,
        series_asked: 0,
        series_returned: 0,
        file: None,
        bytes: 0,
        sha256: None,
        first_ts: None,
        last_ts: None,
        requests: BatchStats::default(),
        seconds: 0.0,
        cause: Some(cause.clone()),
        refused: Vec::new(),
        refused_queries: 0,
        messages: Vec::new(),
    };
    context.range.window().touched_days().map(unit).collect()
}
