//! One unit while it is made: its rows, its file and its books, until it is published or not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::pipeline::RunContext;
use crate::commit::{Kept, Lake, Published, publish};
use crate::fetch::BatchStats;
use crate::model::{
    Cause, CauseKind, Day, Lane, ServiceMessage, TimeWindow, UnitOutcome, iso_seconds,
};
use crate::normalize::{METRICS_SORT, MetricRows, RunIdentity, SCHEMA_VERSION, metrics_schema};
use crate::report::{LISTED_REFUSALS, MessageReport, RefusedQuery, UnitReport};
use crate::write::{ROW_GROUP_ROWS, Staged, UnitFile, WriteError, layout};

/// The table all of this is about.
pub(super) const DATASET: &str = "metrics";

/// Rows turned into Arrow at once: the texts of a batch are repeated for every row.
const BATCH_ROWS: usize = 8_192;

/// One unit while it is made.
pub(super) struct DayBook {
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

impl DayBook {
    /// Nothing gathered yet; `asked` says whether the plan covers the day at all.
    pub(super) fn new(day: Day, asked: bool, rows: MetricRows) -> Self {
        Self {
            day,
            asked,
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

    /// Whether a window holds any second of the day.
    pub(super) fn is_touched_by(&self, span: TimeWindow) -> bool {
        self.day.start() < span.end && span.start < self.day.end()
    }

    /// The day of the unit.
    pub(super) fn day(&self) -> Day {
        self.day
    }

    /// Whether its file can still be made.
    pub(super) fn is_open(&self) -> bool {
        self.asked && self.failure.is_none()
    }

    /// Whether enough rows wait for a row group.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= ROW_GROUP_ROWS
    }

    /// Counts a request whose window touches the day, and what CloudWatch remarked about it as a whole: the unit is then not complete.
    pub(super) fn account(&mut self, stats: BatchStats, messages: &[ServiceMessage]) {
        self.requests.add(stats);
        for message in messages {
            self.request_messages = true;
            self.messages.entry(message.clone()).or_default().0 += 1;
        }
    }

    /// Notes what CloudWatch remarked about one query.
    pub(super) fn remark(&mut self, messages: &[ServiceMessage], series: &str) {
        for message in messages {
            let entry = self.messages.entry(message.clone()).or_default();
            entry.0 += 1;
            entry.1.get_or_insert_with(|| series.to_owned());
        }
    }

    pub(super) fn fail(&mut self, cause: &Cause) {
        if self.failure.is_none() {
            self.failure = Some(cause.clone());
            self.file = None;
        }
    }

    pub(super) fn refuse(&mut self, refused: &RefusedQuery) {
        self.refused_queries += 1;
        if self.refused.len() < LISTED_REFUSALS {
            self.refused.push(refused.clone());
        }
    }

    pub(super) fn push(
        &mut self,
        series: usize,
        identity: &RunIdentity,
        timestamps: &[i64],
        values: &[f64],
    ) {
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

    pub(super) fn flush(&mut self, path: &Path) {
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

    pub(super) fn finish(
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
