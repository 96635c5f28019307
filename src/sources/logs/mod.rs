//! Log events of a lane: which groups there are, which windows they are read in, and their way in order into each day's file.

mod days;
mod gathering;
mod names;
mod queries;
mod round;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::aws::{CallStats, LaneClient};
use crate::config::ExportConfig;
use crate::fetch::{LogQuery, log_groups};
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::lake::table::{LOGS, SCHEMA_VERSION};
use crate::model::{
    Cause, CauseKind, DAY_SECONDS, Dataset, Day, TimeWindow, UnitOutcome, iso_seconds,
};
use crate::plan::{DayMode, Holding, LaneCost, PlannedGroup, bytes_a_day, rounds, tasks};
use crate::report::Forecast;
use crate::sources::logs::names::check_logs;
use crate::sources::logs::queries::{prefix, queries_of};
use crate::sources::logs::round::Round;
use crate::sources::source::scope::{LaneScope, Subject, lane_scope};
use crate::sources::source::unit::{NewUnit, read_unit};
use crate::sources::source::{Job, Looking, Reading, Source};

pub(crate) use crate::sources::logs::names::unknown_streams;

/// The one part of a unit of logs: all groups are read for the same time.
const PART: &str = "logs";

/// How long after it happened an event can be expected.
///
/// # Source
/// CloudWatch Logs user guide: events are searchable within seconds to a few minutes; agents send in batches.
const DELAY_SECONDS: i64 = 300;

/// Events of `CloudWatch` Logs.
pub(crate) struct Logs;

#[async_trait]
impl Source for Logs {
    fn dataset(&self) -> Dataset {
        Dataset::Logs
    }

    fn parts(&self, _: &ExportConfig) -> BTreeMap<String, i64> {
        BTreeMap::from([(PART.to_owned(), DELAY_SECONDS)])
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        Ok(Box::new(LogsJob::plan(looking, stats).await?))
    }

    async fn check(
        &self,
        jobs: &[&dyn Job],
        all_listed: bool,
        context: &RunContext,
    ) -> Result<Vec<String>, RunError> {
        let of_logs = jobs
            .iter()
            .filter_map(|job| (*job as &dyn Any).downcast_ref());
        let of_logs: Vec<&LogsJob> = of_logs.collect();
        check_logs(&of_logs, all_listed, context).await
    }
}

/// Log events of a lane, planned.
#[derive(Debug)]
struct LogsJob {
    client: LaneClient,
    scope: LaneScope,
    groups: Vec<PlannedGroup<LogQuery>>,
    /// Names of groups that exist in the lane, for whoever is told that one does not.
    known: Vec<String>,
    /// Groups that are selected, and whose class keeps their events from being read.
    unreadable: BTreeSet<String>,
    /// By table: the first group it wants here.
    first_of_table: BTreeMap<usize, String>,
    now: i64,
}

impl LogsJob {
    /// Lists the groups of a lane and decides which days are read.
    async fn plan(looking: &Looking, stats: &mut CallStats) -> Result<Self, Cause> {
        let (client, context) = (&looking.client, &looking.context);
        let (config, lane) = (&context.config, client.lane());
        let question = config.logs_plan_hash(looking.account_name.as_deref(), SCHEMA_VERSION);
        let subject = Subject::of_one_part(&LOGS, Logs.parts(config), question);
        let scope = lane_scope(context, &*looking.place.store, lane, &subject, false).await?;
        let listed = log_groups(client, &prefix(&config.logs), stats).await?;
        let mut first_of_table = BTreeMap::new();
        let mut groups = Vec::new();
        let mut unreadable = BTreeSet::new();
        for group in &listed {
            let mut queries = Vec::new();
            for (table, selection) in config.logs.iter().enumerate() {
                if selection.wants(&group.name) && !group.is_readable {
                    unreadable.insert(group.name.clone());
                } else if selection.wants(&group.name) {
                    first_of_table
                        .entry(table)
                        .or_insert_with(|| group.name.clone());
                    for query in queries_of(selection) {
                        if !queries.contains(&query) {
                            queries.push(query);
                        }
                    }
                }
            }
            if !queries.is_empty() {
                groups.push(PlannedGroup {
                    name: Arc::from(group.name.as_str()),
                    queries,
                    bytes_a_day: bytes_a_day(
                        group.stored_bytes,
                        group.created,
                        group.retention_days,
                        context.now,
                    ),
                    kept_since: group
                        .retention_days
                        .map(|days| (context.now - i64::from(days) * DAY_SECONDS, days))
                        .filter(|(edge, _)| *edge > group.created),
                });
            }
        }
        Ok(Self {
            client: client.clone(),
            scope,
            groups,
            known: listed.into_iter().map(|g| g.name).collect(),
            unreadable,
            first_of_table,
            now: context.now,
        })
    }

    fn asked_days(&self) -> Vec<Day> {
        let asked = self.scope.days.iter().filter(|(_, mode)| mode.is_asked());
        asked.map(|(day, _)| *day).collect()
    }

    /// The time that is read; empty when everything is there.
    fn window(&self) -> TimeWindow {
        let hull = self.scope.hull();
        TimeWindow {
            start: hull.start,
            end: hull.end.min(self.now),
        }
    }

    /// Groups that are read, and bytes they are expected to have in the time that is read, from what they store and for how long.
    fn estimate(&self) -> (u64, u64) {
        let seconds = u64::try_from(self.window().seconds().max(0)).unwrap_or(0);
        let bytes = self.bytes_a_day();
        let bytes = bytes as f64 * seconds as f64 / DAY_SECONDS as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate of bytes, far below 2^63"
        )]
        let bytes = bytes as u64;
        (self.groups.len() as u64, bytes)
    }

    /// Requests that are sent at least.
    fn least_calls(&self) -> u64 {
        let rounds = self.rounds();
        let tasks: usize = rounds
            .iter()
            .map(|round| tasks(&self.groups, *round).len())
            .sum();
        tasks as u64
    }

    fn bytes_a_day(&self) -> u64 {
        self.groups.iter().map(|g| g.bytes_a_day).sum()
    }

    fn rounds(&self) -> Vec<TimeWindow> {
        rounds(&self.asked_days(), self.window(), self.bytes_a_day())
    }

    /// Why a day is not whole: a group no longer keeps all of it, and no run has read it while it did.
    fn gone(&self, day: Day, outcome: UnitOutcome) -> Option<Cause> {
        let before = self.scope.records.committed(day);
        let was_whole = before.is_some_and(|c| {
            c.complete
                && c.answers.covers_day(day, self.scope.delays.keys())
                && c.plan_hash == self.scope.plan_hash
                && (outcome == UnitOutcome::Written || c.files.is_empty())
        });
        let cut =
            |g: &&PlannedGroup<LogQuery>| g.kept_since.is_some_and(|(edge, _)| edge > day.start());
        let group = self.groups.iter().find(cut).filter(|_| !was_whole)?;
        let (edge, days) = group.kept_since?;
        let text = format!(
            "log group {} keeps its events for {days} days: what was before {} is gone",
            group.name,
            iso_seconds(edge)
        );
        Some(Cause::new(CauseKind::Other, text).with_hint(
            "read it more often (--since last), keep its events longer, or leave it out by exclude",
        ))
    }

    fn units_of(
        &self,
        reading: &Reading,
        round: TimeWindow,
        days: Vec<(Day, DayMode)>,
        mut read: Round,
    ) -> Vec<NewUnit> {
        let lane = &reading.lane;
        // What came after the newest event that can be expected is not known.
        let known = TimeWindow {
            start: round.start,
            end: round.end.min(self.now - DELAY_SECONDS),
        };
        let covered = read.answered_time(known);
        let unit = |(day, mode): (Day, DayMode)| {
            let file = read.files.remove(&day);
            match read.failed.remove(&day) {
                Some(cause) => NewUnit::failed(&LOGS, (day, lane), mode, cause, self.now),
                None => {
                    let span = file.as_ref().map(|f| (f.first, f.last));
                    let staged = file.map(|f| f.staged);
                    let mut report = read_unit(&LOGS, (day, lane), staged.as_ref(), self.now);
                    report.first_ts = span.map(|(first, _)| iso_seconds(first.div_euclid(1_000)));
                    report.last_ts = span.map(|(_, last)| iso_seconds(last.div_euclid(1_000)));
                    report.series_asked = self.groups.len() as u64;
                    report.cause = self.gone(day, report.outcome);
                    read.tell(day, &mut report);
                    report.complete = report.cause.is_none() && report.refused_queries == 0;
                    NewUnit {
                        day,
                        mode,
                        staged,
                        complete: report.complete,
                        ask_again: report.cause.is_some(),
                        covered: covered.clone(),
                        refused: read.refused_time(day),
                        read_at: self.now,
                        report,
                    }
                }
            }
        };
        days.into_iter().map(unit).collect()
    }
}

#[async_trait]
impl Job for LogsJob {
    fn forecast(&self, _: &RunContext) -> Forecast {
        let (groups, bytes) = self.estimate();
        Forecast {
            planned: LaneCost {
                calls: self.least_calls(),
                ..LaneCost::default()
            },
            found: BTreeMap::from([
                ("log_groups".to_owned(), groups),
                ("estimated_bytes".to_owned(), bytes),
            ]),
            matched: groups > 0,
            ..Forecast::default()
        }
    }

    fn holding(&self) -> Holding {
        Holding {
            sorts: true,
            ..Holding::default()
        }
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.scope]
    }

    /// Round by round: what is finished stays, and a round that takes too long keeps no other from being read.
    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        for round in self.rounds() {
            let asked = self.scope.days.iter().filter(|(day, mode)| {
                mode.is_asked() && !day.window().intersection(round).is_empty()
            });
            let days: Vec<(Day, DayMode)> = asked.copied().collect();
            let limit = reading.context.config.limits.unit_timeout;
            let read = tokio::time::timeout(limit, self.round(&reading, round, &days));
            let read = read.await.unwrap_or_else(|_| {
                let hint = "raise limits.unit_timeout_secs, or select fewer groups";
                Round::failed(&days, &Cause::time_limit(limit, hint))
            });
            reading
                .give(self.units_of(&reading, round, days, read))
                .await;
        }
        Ok(())
    }
}
