//! Log events of a lane: which groups there are, which windows they are read in, and their way through a sort on disk into each day's file.

mod days;
mod queries;

use crate::lake::table::{LOGS, SCHEMA_VERSION};
use crate::lake::{UnitId, layout};

use crate::config::point;
use crate::normalize::decode_logs;
use crate::plan::DayMode;
use crate::plan::{PlannedGroup, Task, bytes_a_day, rounds, tasks};
use crate::run::given::context::RunContext;
use crate::run::given::place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use self::days::{DayFile, DayWriter};
use self::queries::{is_of_one_group, prefix, queries_of, stream_of};
use crate::aws::{CallStats, LaneClient};
use crate::fetch::{LogQuery, log_groups, read_events};
use crate::model::{
    Cause, CauseKind, DAY_SECONDS, Day, Lane, LogEvent, Spans, TimeWindow, UnitOutcome, iso_seconds,
};
use crate::report::{LISTED_REFUSALS, MessageReport, RefusedQuery, UnitReport};
use crate::run::given::bounds::{blocking, stopped};
use crate::run::tables::publish::{NewUnit, publish_all, read_unit};
use crate::run::tables::{Surroundings, TableDone};
use crate::run::unit::scope::{LaneScope, Subject, lane_scope};
use crate::write::{EventSorter, WriteError, read_rows};

/// The one part of a unit of logs: all groups are read for the same time.
const PART: &str = "logs";

/// How long after it happened an event can be expected.
///
/// # Source
/// CloudWatch Logs user guide: events are searchable within seconds to a few minutes; agents send in batches.
const DELAY_SECONDS: i64 = 300;

pub(crate) fn parts() -> BTreeMap<String, i64> {
    BTreeMap::from([(PART.to_owned(), DELAY_SECONDS)])
}

/// Windows of a lane that are read side by side: enough for its quota.
const WINDOWS_AT_ONCE: usize = 4;

/// Log events of a lane, planned.
#[derive(Debug)]
pub(crate) struct LogsJob {
    pub(super) client: LaneClient,
    scope: LaneScope,
    groups: Vec<PlannedGroup<LogQuery>>,
    /// Names of groups that exist in the lane, for whoever is told that one does not.
    pub(crate) known: Vec<String>,
    /// Groups that are selected, and whose class keeps their events from being read.
    pub(super) unreadable: BTreeSet<String>,
    /// By table: the first group it wants here.
    pub(crate) first_of_table: BTreeMap<usize, String>,
    now: i64,
}

impl LogsJob {
    /// Lists the groups of a lane and decides which days are read.
    pub(crate) async fn plan(
        client: LaneClient,
        account_name: Option<&str>,
        place: &Place,
        context: &RunContext,
        stats: &mut CallStats,
    ) -> Result<Self, Cause> {
        let config = &context.config;
        let lane = client.lane().clone();
        let delays = parts();
        let subject = Subject {
            table: &LOGS,
            plan_hash: config.logs_plan_hash(account_name, SCHEMA_VERSION),
            delays: &delays,
            asked: BTreeMap::from([(PART, BTreeSet::from([60]))]),
        };
        let scope = lane_scope(context, &*place.store, &lane, &subject, false).await?;
        let listed = log_groups(&client, &prefix(&config.logs), stats).await?;
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
            client,
            scope,
            groups,
            known: listed.into_iter().map(|g| g.name).collect(),
            unreadable,
            first_of_table,
            now: context.now,
        })
    }

    pub(crate) fn has_matched(&self) -> bool {
        !self.groups.is_empty()
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
    pub(crate) fn estimate(&self) -> (u64, u64) {
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
    pub(crate) fn least_calls(&self) -> u64 {
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

    pub(crate) async fn export(mut self, around: &Surroundings, lane: &Lane) -> TableDone {
        let mut calls = CallStats::default();
        let mut units: Vec<UnitReport> = Vec::new();
        let mut first_cause = None;
        let rounds = self.rounds();
        let mut left: Vec<(Day, DayMode)> = self.scope.days.clone();
        for round in rounds {
            let (days, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|(day, mode)| {
                mode.is_asked() && !day.window().intersection(round).is_empty()
            });
            left = later;
            let limit = around.context.config.limits.unit_timeout;
            let reading = self.round(around, lane, round, &days, &mut calls);
            let read = match tokio::time::timeout(limit, reading).await {
                Ok(read) => read,
                Err(_) => {
                    let cause = Cause::time_limit(
                        limit,
                        "raise limits.unit_timeout_secs, or select fewer groups",
                    );
                    let mut failed = Round::default();
                    failed.fail_all(&days, &cause);
                    failed
                }
            };
            let made = self.units_of(lane, round, days, read);
            let (done, cause) = publish_all(around, &mut self.scope, lane, made).await;
            units.extend(done);
            first_cause = first_cause.or(cause);
        }
        // Days that are not read, for their reasons.
        let now = around.context.now;
        let rest = left
            .into_iter()
            .map(|(day, mode)| unread((day, lane), mode, now));
        let rest: Vec<NewUnit> = rest.collect();
        let (done, cause) = publish_all(around, &mut self.scope, lane, rest).await;
        units.extend(done);
        TableDone {
            cause: first_cause.or(cause),
            ..TableDone::of(units, calls)
        }
    }

    /// Reads a round, sorts it and writes its days to files on their way.
    async fn round(
        &self,
        around: &Surroundings,
        lane: &Lane,
        round: TimeWindow,
        days: &[(Day, DayMode)],
        calls: &mut CallStats,
    ) -> Round {
        let folder = around.lake.staging().join(format!(
            "logs_{}_{}_{}",
            lane.account, lane.region, round.start
        ));
        let mut made = Round::default();
        let mut sorter = EventSorter::new(&folder);
        for (day, mode) in days {
            match self.old_events(around, lane, (*day, *mode)).await {
                Ok(Some(old)) => sorter.add_old(old),
                Ok(None) => {}
                Err(cause) => {
                    made.failed.insert(*day, cause);
                }
            }
        }
        let sorter = Arc::new(Mutex::new(sorter));
        for (task, ended) in self.read(around, round, &sorter, calls).await {
            made.take(&task, ended);
        }
        for group in std::mem::take(&mut made.without_stream) {
            if self.has_vanished(&group, calls).await {
                made.vanished.push((round, group));
            }
        }
        let Some(sorter) = Arc::into_inner(sorter) else {
            let cause = Cause::new(CauseKind::Other, "a reader of log events did not end");
            made.fail_all(days, &cause);
            return made;
        };
        let sorter = sorter.into_inner().unwrap_or_else(PoisonError::into_inner);
        let writer = DayWriter {
            staging: around.lake.staging(),
            lane: lane.clone(),
            account_name: around.account_name.clone(),
            plan_hash: self.scope.plan_hash.clone(),
            wanted: days
                .iter()
                .map(|(day, _)| *day)
                .filter(|day| !made.failed.contains_key(day))
                .collect(),
            incomplete: made
                .refused
                .iter()
                .flat_map(|(window, _)| window.touched_days())
                .collect(),
        };
        let written = blocking(&around.bounds.encoders, move || {
            let sorted = sorter.finish().map_err(|source| WriteError::Io {
                path: folder,
                source,
            })?;
            writer.write(sorted)
        });
        match written.await {
            Ok(files) => made.files = files,
            Err(error) => made.fail_all(days, &Cause::of_destination(&error)),
        }
        made
    }

    /// The events that are there stay, unless forced: a group that was deleted, or keeps its events for a short time, no longer gives what an
    /// earlier run has read, and what is no longer asked for stays where it is.
    async fn old_events(
        &self,
        around: &Surroundings,
        lane: &Lane,
        (day, mode): (Day, DayMode),
    ) -> Result<Option<OldEvents>, Cause> {
        let is_whole = mode != DayMode::Merge;
        if is_whole && around.context.force {
            return Ok(None);
        }
        let key = layout::unit(&UnitId::new(&LOGS, day, lane));
        let scratch = around.lake.staging();
        let Some(path) = around.lake.store().open(&key, &scratch).await? else {
            return Ok(None);
        };
        let rows = match read_rows(&path) {
            // What is broken is replaced by a whole day.
            Err(_) if is_whole => return Ok(None),
            rows => rows.map_err(|e| Cause::of_destination(&e))?,
        };
        let events = rows.flat_map(|batch| {
            let decoded = batch
                .map_err(std::io::Error::other)
                .and_then(|batch| decode_logs(&batch).map_err(std::io::Error::other));
            match decoded {
                Ok(events) => events.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            }
        });
        Ok(Some(Box::new(events)))
    }

    /// Reads every window of a round into `sorter`, and says how each ended, in the order of the windows.
    async fn read(
        &self,
        around: &Surroundings,
        round: TimeWindow,
        sorter: &Arc<Mutex<EventSorter>>,
        calls: &mut CallStats,
    ) -> Vec<(Task<LogQuery>, Result<(), Cause>)> {
        let results: Vec<(Task<LogQuery>, Result<(), Cause>, CallStats)> =
            stream::iter(tasks(&self.groups, round))
                .map(|task| {
                    let sorter = Arc::clone(sorter);
                    async move {
                        let mut stats = CallStats::default();
                        let read = self.read_window(around, &task, &sorter, &mut stats);
                        let read = tokio::select! {
                            read = read => read,
                            cause = stopped(&around.context, &around.lake) => Err(cause),
                        };
                        (task, read, stats)
                    }
                })
                .buffer_unordered(WINDOWS_AT_ONCE)
                .collect()
                .await;
        let mut ended = Vec::new();
        for (task, read, stats) in results {
            calls.add(stats);
            ended.push((task, read));
        }
        // Whichever came first: the same is told of a day, whatever the order they ended in.
        ended.sort_by(|(a, _), (b, _)| (a.window.start, &a.group).cmp(&(b.window.start, &b.group)));
        ended
    }

    /// Whether a group is gone: that a stream is not found is answered in the same words.
    async fn has_vanished(&self, group: &Arc<str>, calls: &mut CallStats) -> bool {
        let listed = log_groups(&self.client, group, calls).await;
        listed.is_ok_and(|groups| groups.iter().all(|g| g.name != **group))
    }

    async fn read_window(
        &self,
        around: &Surroundings,
        task: &Task<LogQuery>,
        sorter: &Mutex<EventSorter>,
        stats: &mut CallStats,
    ) -> Result<(), Cause> {
        let take = |events: Vec<LogEvent>| async move {
            let spill = sorter
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(events);
            let Some(spill) = spill else {
                return Ok(());
            };
            let written = blocking(&around.bounds.encoders, move || spill.write()).await;
            written.map_err(|source| {
                let path = around.lake.staging();
                Cause::of_destination(&WriteError::Io { path, source })
            })
        };
        let requests = &around.bounds.requests;
        let read = read_events(
            &self.client,
            &task.group,
            &task.query,
            task.window,
            requests,
            stats,
            take,
        );
        read.await.map_err(|cause| Cause {
            message: format!("{} ({})", cause.message, task.group),
            ..cause
        })?;
        if let Some(stream) = stream_of(&task.query) {
            let mut found = around
                .streams
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            found.insert(stream.to_owned());
        }
        Ok(())
    }

    /// Why a day is not whole: a group no longer keeps all of it, and no run has read it while it did.
    fn gone(&self, day: Day, outcome: UnitOutcome) -> Option<Cause> {
        let before = self.scope.records.committed(day);
        let was_whole = before.is_some_and(|c| {
            c.complete
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
        lane: &Lane,
        round: TimeWindow,
        days: Vec<(Day, DayMode)>,
        mut read: Round,
    ) -> Vec<NewUnit> {
        // What came after the newest event that can be expected is not known.
        let known = TimeWindow {
            start: round.start,
            end: round.end.min(self.now - DELAY_SECONDS),
        };
        let covered = BTreeMap::from([(PART.to_owned(), Spans::of(known))]);
        let unit = |(day, mode): (Day, DayMode)| {
            let file = read.files.remove(&day);
            match read.failed.remove(&day) {
                Some(cause) => NewUnit::failed(&LOGS, (day, lane), mode, cause, self.now),
                None => {
                    let span = file.as_ref().map(|f| (f.first, f.last));
                    let staged = file.map(|f| f.staged);
                    let mut report = read_unit(&self.scope, (day, lane), staged.as_ref(), self.now);
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
                        covered: covered.clone(),
                        refused: read.refused_time(day),
                        report,
                    }
                }
            }
        };
        days.into_iter().map(unit).collect()
    }
}

/// What a round has made.
#[derive(Default)]
struct Round {
    files: BTreeMap<Day, DayFile>,
    failed: BTreeMap<Day, Cause>,
    /// Groups that were refused by themselves, each for its window.
    refused: Vec<(TimeWindow, RefusedQuery)>,
    /// Groups that do not have a stream that is named: it is in others of the groups, or in none, which is told when no group has it.
    without_stream: BTreeSet<Arc<str>>,
    /// Groups that are gone since they were listed, each for its window.
    vanished: Vec<(TimeWindow, Arc<str>)>,
}

impl Round {
    /// What the end of one chain of requests means for the others.
    fn take(&mut self, task: &Task<LogQuery>, ended: Result<(), Cause>) {
        let Err(cause) = ended else { return };
        let is_missing = cause.is("ResourceNotFoundException");
        if is_missing && stream_of(&task.query).is_some() {
            self.without_stream.insert(Arc::clone(&task.group));
        } else if is_missing {
            self.vanished.push((task.window, Arc::clone(&task.group)));
        } else if is_of_one_group(&cause) {
            let refused = RefusedQuery {
                series: task.group.to_string(),
                statistic: "events of".to_owned(),
                cause,
            };
            self.refused.push((task.window, refused));
        } else {
            for day in task.window.touched_days() {
                self.failed.entry(day).or_insert_with(|| cause.clone());
            }
        }
    }

    /// The time of a day in which some group was refused.
    fn refused_time(&self, day: Day) -> BTreeMap<String, Spans> {
        let mut spans = Spans::default();
        for (window, _) in &self.refused {
            spans.add(window.intersection(day.window()));
        }
        let part = (!spans.is_empty()).then(|| (PART.to_owned(), spans));
        part.into_iter().collect()
    }

    /// Adds to the report of a day what some of its groups did not answer.
    fn tell(&self, day: Day, report: &mut UnitReport) {
        let touches = |w: TimeWindow| !w.intersection(day.window()).is_empty();
        let vanished: BTreeSet<&str> = self
            .vanished
            .iter()
            .filter(|(w, _)| touches(*w))
            .map(|(_, group)| &**group)
            .collect();
        report
            .messages
            .extend(vanished.into_iter().map(|group| MessageReport {
                code: "ResourceNotFoundException".to_owned(),
                text: "the log group was deleted after it was listed".to_owned(),
                queries: 1,
                example: Some(group.to_owned()),
            }));
        for (window, refused) in &self.refused {
            let is_told = |r: &RefusedQuery| r.series == refused.series;
            if !touches(*window) || report.refused.iter().any(is_told) {
                continue;
            }
            report.refused_queries += 1;
            if report.refused.len() < LISTED_REFUSALS {
                report.refused.push(refused.clone());
            }
        }
        // Nothing there because everything was refused is not "empty".
        if let (UnitOutcome::Empty, Some(refused)) = (report.outcome, report.refused.first()) {
            report.outcome = refused.cause.unit_outcome();
            report.cause = Some(refused.cause.clone());
        }
    }

    fn fail_all(&mut self, days: &[(Day, DayMode)], cause: &Cause) {
        for (day, _) in days {
            self.failed.entry(*day).or_insert_with(|| cause.clone());
        }
    }
}

/// Events of a unit that is there.
type OldEvents = Box<dyn Iterator<Item = std::io::Result<LogEvent>> + Send>;

/// A day that is not asked for.
fn unread((day, lane): (Day, &Lane), mode: DayMode, now: i64) -> NewUnit {
    let mut report = UnitReport::of_table(&LOGS, day, lane, now);
    (report.outcome, report.cause) = match mode {
        DayMode::Held => (UnitOutcome::Skipped, None),
        _ => {
            let text = if day.start() >= now {
                "the day has not begun".to_owned()
            } else {
                format!("nothing of the day is asked for ({})", point(day.start()))
            };
            (
                UnitOutcome::Skipped,
                Some(Cause::new(CauseKind::Other, text)),
            )
        }
    };
    NewUnit::unread(day, mode, report)
}
