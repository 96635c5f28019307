//! Where a lane's points end: cut at midnights and given to the books of their days.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::day::{DATASET, DayBook};
use super::pipeline::RunContext;
use crate::commit::Lake;
use crate::fetch::{BatchStats, Fetched};
use crate::model::{Cause, Day, QueryOutcome, QueryPoints, ServiceMessage, TimeWindow};
use crate::normalize::{MetricRows, RunIdentity};
use crate::plan::{Group, LanePlan, kept};
use crate::report::{RefusedQuery, UnitReport};
use crate::write::layout;

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
        let kept = kept(range.window(), context.now);
        let book = |day: Day| {
            let asked = day.start() >= kept.start && day.start() < context.now;
            DayBook::new(
                day,
                asked,
                MetricRows::new(plan.lane.clone(), account_name.cloned()),
            )
        };
        Self {
            plan: Arc::clone(plan),
            root: lake.root().to_owned(),
            run_id: lake.run_id().to_owned(),
            first: range.first,
            days: range.window().touched_days().map(book).collect(),
            stats: BatchStats::default(),
            now: context.now,
        }
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
        self.days.iter().any(DayBook::is_open)
    }

    fn account(&mut self, span: TimeWindow, fetched: &Fetched) {
        self.stats.add(fetched.stats);
        self.touched(span, |book| book.account(fetched.stats, &fetched.messages));
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
            if days.is_empty() || days.contains(&book.day()) {
                book.remark(messages, series);
            }
        });
    }

    fn touched(&mut self, span: TimeWindow, mut act: impl FnMut(&mut DayBook)) {
        for book in &mut self.days {
            if book.is_touched_by(span) {
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
                if book.is_full() {
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
