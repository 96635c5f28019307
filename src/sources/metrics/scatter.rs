//! Where a lane's points end: cut at midnights and given to the books of their days.

use std::sync::Arc;
use std::time::Instant;

use crate::lake::table::METRICS;
use crate::report::RefusedQuery;
use crate::sources::metrics::MetricsJob;
use crate::sources::metrics::old::OldRuns;
use crate::sources::source::Reading;
use crate::sources::source::unit::NewUnit;

use crate::lake::{UnitId, layout};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::fetch::Fetched;
use crate::model::{
    Cause, DAY_SECONDS, Day, QueryOutcome, QueryPoints, ServiceMessage, Spans, TimeWindow,
};
use crate::normalize::{Catalog, MetricRows, RunIdentity, Seen, merge_seen};
use crate::plan::{Group, LanePlan};
use crate::sources::metrics::day::{Answered, DayBook};

/// The days of one lane.
#[derive(Debug)]
pub(crate) struct LaneSink {
    plan: Arc<LanePlan>,
    days: Vec<DayBook>,
    /// By series of the plan: the span of the points received.
    seen: Vec<Seen>,
    now: i64,
    /// When the oldest answer was read: an interrupted run's may be of another day.
    read_at: i64,
    /// Publication delays by namespace.
    delays: BTreeMap<String, i64>,
}

/// Points of one (series, statistic): a piece a window, oldest first.
type Pieces = Vec<(crate::model::Period, QueryPoints)>;

impl LaneSink {
    /// A book for every day of the scope. `old` holds, by day, local copies of the units that are added to.
    pub(crate) fn new(job: &MetricsJob, reading: &Reading, old: &HashMap<Day, PathBuf>) -> Self {
        let (plan, scope, context) = (&job.plan, &job.scope, &reading.context);
        let staging = reading.lake.staging();
        let plan_hash: Arc<str> = Arc::from(scope.plan_hash.as_str());
        let book = |(day, mode): &(Day, _)| {
            let staged = layout::staged(&staging, &UnitId::new(&METRICS, *day, &plan.lane));
            let rows = MetricRows::new(plan.lane.clone(), reading.account_name.clone());
            let (runs, failure) = match old.get(day).map(|path| OldRuns::open(path)).transpose() {
                Ok(runs) => (runs, None),
                Err(error) => (None, Some(Cause::of_destination(&error))),
            };
            let old_complete = runs.as_ref().is_none_or(OldRuns::is_complete);
            let complete = scope.was_complete(*day, *mode, old_complete);
            let old = (runs, complete);
            let mut book = DayBook::new(*day, *mode, &plan_hash, staged, rows, old);
            if let Some(cause) = failure {
                book.fail(&cause);
            }
            book
        };
        Self {
            plan: Arc::clone(plan),
            days: scope.days.iter().map(book).collect(),
            seen: vec![None; plan.series.len()],
            now: context.now,
            read_at: context.now,
            delays: scope
                .windows
                .iter()
                .map(|(namespace, (_, delay))| (namespace.clone(), *delay))
                .collect(),
        }
    }

    /// Marks every day that is not yet lost.
    pub(crate) fn fail_all(&mut self, cause: &Cause) {
        for book in &mut self.days {
            book.fail(cause);
        }
    }

    /// Takes all batches of a group, in plan order. Returns whether any day can still be completed.
    pub(crate) fn take_group(
        &mut self,
        group: &Group,
        fetched: Vec<Fetched>,
        reading: &Reading,
    ) -> bool {
        let plan = Arc::clone(&self.plan);
        let mut table: Vec<Vec<Pieces>> = plan.series[group.series.clone()]
            .iter()
            .map(|s| vec![Pieces::new(); s.asks.len()])
            .collect();
        for (batch, fetched) in plan.batches[group.batches.clone()].iter().zip(fetched) {
            self.read_at = self.read_at.min(fetched.read_at);
            reading.note(|taken| taken.get_metric_data.add(fetched.stats));
            self.touched(batch.span, |book| {
                book.account(fetched.stats, &fetched.messages);
            });
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
                        let namespace = plan.series[series].series.metric.namespace();
                        self.touched(batch.span, |book| {
                            book.refuse(namespace, batch.span, &refused);
                        });
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
                    let ends = points.timestamps.first().zip(points.timestamps.last());
                    if let Some((first, last)) = ends {
                        let seen = &mut self.seen[index];
                        *seen =
                            Some(seen.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
                    }
                    let identity = Arc::new(RunIdentity {
                        series: series.series.clone(),
                        statistic: ask.statistic.clone(),
                        period,
                        unit: ask.unit.clone(),
                    });
                    self.scatter(&identity, &points);
                }
            }
        }
        self.days.iter().any(DayBook::is_open)
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
            .map(|t| Day::containing(t.div_euclid(1_000_000)))
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
    fn scatter(&mut self, identity: &Arc<RunIdentity>, points: &QueryPoints) {
        let Some(first) = self.days.first().map(DayBook::day) else {
            return;
        };
        let mut from = 0;
        while let Some(first_left) = points.timestamps.get(from) {
            let day = Day::containing(first_left.div_euclid(1_000_000));
            let to = points.timestamps.before(day.end() * 1_000_000);
            // Days of a scope follow one another without a gap.
            let index = usize::try_from((day.start() - first.start()) / DAY_SECONDS);
            if let Some(book) = index.ok().and_then(|i| self.days.get_mut(i)) {
                let timestamps = points.timestamps.slice(from..to);
                book.push(identity, timestamps, &points.values[from..to]);
            }
            from = to;
        }
    }

    /// Adds every series of the plan, with what was seen of it, to `catalog`.
    pub(crate) fn note_series(&self, catalog: &mut Catalog) {
        for (planned, seen) in self.plan.series.iter().zip(&self.seen) {
            merge_seen(catalog, planned.series.metric.clone(), *seen);
        }
    }

    /// Closes and verifies every day.
    pub(crate) fn seal(&mut self, started: Instant) -> Vec<NewUnit> {
        let asked = self.plan.series.len() as u64;
        let plan = Arc::clone(&self.plan);
        // What was not published when the oldest answer was read is not known.
        let known = |(namespace, spans): (&String, &Spans)| {
            let delay = self.delays.get(namespace).copied().unwrap_or(0);
            let published = TimeWindow {
                start: i64::MIN,
                end: self.read_at - delay,
            };
            (namespace.clone(), spans.inside(published))
        };
        let covered: BTreeMap<String, Spans> = plan.covered.iter().map(known).collect();
        let answered = Answered {
            covered: &covered,
            read_at: self.read_at,
            now: self.now,
            started,
        };
        // Days that are not asked have no book to seal.
        std::mem::take(&mut self.days)
            .into_iter()
            .filter(DayBook::is_asked)
            .map(|book| book.seal(&plan.lane, asked, &answered))
            .collect()
    }
}
