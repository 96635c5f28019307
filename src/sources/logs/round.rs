//! One round of a lane's log events: its windows read side by side and written to a file a day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::aws::CallStats;
use crate::fetch::{LogQuery, log_groups, read_events};
use crate::given::bounds::stopped;
use crate::lake::table::LOGS;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Day, Spans, TimeWindow, UnitOutcome};
use crate::normalize::decode_logs;
use crate::plan::{DayMode, Task, tasks};
use crate::report::{LISTED_REFUSALS, MessageReport, RefusedQuery, UnitReport};
use crate::sources::logs::days::{DayFile, DayWriter};
use crate::sources::logs::gathering::Gathering;
use crate::sources::logs::queries::{is_of_one_group, stream_of};
use crate::sources::logs::{LogsJob, PART};
use crate::sources::source::Reading;
use crate::write::{EventPlace, OldEvents, read_rows};

/// Windows of a lane that are read side by side: enough for its quota.
const WINDOWS_AT_ONCE: usize = 4;

impl LogsJob {
    /// Reads a round, sorts it and writes its days to files on their way.
    pub(super) async fn round(
        &self,
        reading: &Reading,
        round: TimeWindow,
        days: &[(Day, DayMode)],
    ) -> Round {
        let mut made = Round::default();
        let mut old = Vec::new();
        for (day, mode) in days {
            match self.old_events(reading, (*day, *mode)).await {
                Ok(events) => old.extend(events),
                Err(cause) => {
                    made.failed.insert(*day, cause);
                }
            }
        }
        let writer = DayWriter::new(
            reading,
            &self.scope.plan_hash,
            days.iter()
                .map(|(day, _)| *day)
                .filter(|day| !made.failed.contains_key(day))
                .collect(),
        );
        let mut tasks = tasks(&self.groups, round);
        let place = |task: &Task<LogQuery>| {
            EventPlace::new(Arc::clone(&task.group), task.window.start * 1_000)
        };
        tasks.sort_by_cached_key(place);
        let places = tasks.iter().map(place).collect();
        let gathering = Gathering::new(reading, round, places, writer, old);
        let ended = self.windows(reading, tasks, &gathering).await;
        // Forced, what is missing would take the place of what is there.
        let lane_answers = !reading.context.force && ended.iter().any(|(_, ended)| ended.is_ok());
        for (task, ended) in ended {
            made.take(&task, ended, lane_answers);
        }
        for group in std::mem::take(&mut made.without_stream) {
            if self.has_vanished(reading, &group).await {
                made.vanished.push((round, group));
            }
        }
        let failed = made.failed.keys().copied().collect();
        let incomplete = made
            .refused
            .iter()
            .chain(&made.unanswered)
            .flat_map(|(window, _)| window.touched_days())
            .collect();
        match gathering.finish(failed, incomplete).await {
            Ok(files) => made.files = files,
            Err(error) => made.fail_all(days, &Cause::of_destination(&error)),
        }
        made
    }

    /// The events that are there stay, unless forced: a group that was deleted, or keeps its events for a short time, no longer gives what an
    /// earlier run has read, and what is no longer asked for stays where it is.
    async fn old_events(
        &self,
        reading: &Reading,
        (day, mode): (Day, DayMode),
    ) -> Result<Option<OldEvents>, Cause> {
        let is_whole = mode != DayMode::Merge;
        if is_whole && reading.context.force {
            return Ok(None);
        }
        let key = layout::unit(&UnitId::new(&LOGS, day, &reading.lane));
        let scratch = reading.lake.staging();
        let Some(path) = reading.lake.store().open(&key, &scratch).await? else {
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

    /// Reads the windows of a round, in their order, and says how each ended.
    async fn windows(
        &self,
        reading: &Reading,
        tasks: Vec<Task<LogQuery>>,
        gathering: &Gathering<'_>,
    ) -> Vec<(Task<LogQuery>, Result<(), Cause>)> {
        let read = |(place, task): (usize, Task<LogQuery>)| async move {
            let mut stats = CallStats::default();
            let read = self.read_window(reading, &task, gathering, &mut stats);
            let read = tokio::select! {
                read = read => read,
                cause = stopped(&reading.context, &reading.lake) => Err(cause),
            };
            reading.note(|taken| taken.calls.add(stats));
            gathering.ended(place).await;
            (task, read)
        };
        stream::iter(tasks.into_iter().enumerate())
            .map(read)
            .buffered(WINDOWS_AT_ONCE)
            .collect()
            .await
    }

    /// Whether a group is gone: that a stream is not found is answered in the same words.
    async fn has_vanished(&self, reading: &Reading, group: &Arc<str>) -> bool {
        let mut stats = CallStats::default();
        let listed = log_groups(&self.client, group, &mut stats).await;
        reading.note(|taken| taken.calls.add(stats));
        listed.is_ok_and(|groups| groups.iter().all(|g| g.name != **group))
    }

    async fn read_window(
        &self,
        reading: &Reading,
        task: &Task<LogQuery>,
        gathering: &Gathering<'_>,
        stats: &mut CallStats,
    ) -> Result<(), Cause> {
        let requests = &reading.bounds.requests;
        let read = read_events(
            &self.client,
            &task.group,
            &task.query,
            task.window,
            requests,
            stats,
            |events| gathering.take(events),
        );
        read.await.map_err(|cause| Cause {
            message: format!("{} ({})", cause.message, task.group),
            ..cause
        })?;
        if let Some(stream) = stream_of(&task.query) {
            reading.note(|taken| {
                taken.names.insert(stream.to_owned());
            });
        }
        Ok(())
    }
}

/// What a round has made.
#[derive(Default)]
pub(super) struct Round {
    pub(super) files: BTreeMap<Day, DayFile>,
    pub(super) failed: BTreeMap<Day, Cause>,
    /// Groups that were refused by themselves, each for its window.
    refused: Vec<(TimeWindow, RefusedQuery)>,
    /// Groups that did not answer for now, each for its window: the next run asks for that time again.
    unanswered: Vec<(TimeWindow, RefusedQuery)>,
    /// Groups that do not have a stream that is named: it is in others of the groups, or in none, which is told when no group has it.
    without_stream: BTreeSet<Arc<str>>,
    /// Groups that are gone since they were listed, each for its window.
    vanished: Vec<(TimeWindow, Arc<str>)>,
}

impl Round {
    /// A round of which no day could be read.
    pub(super) fn failed(days: &[(Day, DayMode)], cause: &Cause) -> Self {
        let mut round = Self::default();
        round.fail_all(days, cause);
        round
    }

    /// What the end of one chain of requests means for the others. `lane_answers` says that some came to their end: trouble that passes is then
    /// one group's, and else the lane's.
    fn take(&mut self, task: &Task<LogQuery>, ended: Result<(), Cause>, lane_answers: bool) {
        let Err(cause) = ended else { return };
        let is_missing = cause.is("ResourceNotFoundException");
        if is_missing && stream_of(&task.query).is_some() {
            self.without_stream.insert(Arc::clone(&task.group));
        } else if is_missing {
            self.vanished.push((task.window, Arc::clone(&task.group)));
        } else if is_of_one_group(&cause) {
            self.refused.push((task.window, events_of(task, cause)));
        } else if lane_answers && cause.kind.is_retryable() {
            self.unanswered.push((task.window, events_of(task, cause)));
        } else {
            for day in task.window.touched_days() {
                self.failed.entry(day).or_insert_with(|| cause.clone());
            }
        }
    }

    /// The time of a day in which some group was refused.
    pub(super) fn refused_time(&self, day: Day) -> BTreeMap<String, Spans> {
        let mut spans = Spans::default();
        for (window, _) in &self.refused {
            spans.add(window.intersection(day.window()));
        }
        let part = (!spans.is_empty()).then(|| (PART.to_owned(), spans));
        part.into_iter().collect()
    }

    /// The time of a day that every group answered.
    pub(super) fn answered_time(&self, known: TimeWindow) -> BTreeMap<String, Spans> {
        let mut spans = Spans::of(known);
        for (window, _) in &self.unanswered {
            spans = spans.without(*window);
        }
        BTreeMap::from([(PART.to_owned(), spans)])
    }

    /// Adds to the report of a day what some of its groups did not answer.
    pub(super) fn tell(&self, day: Day, report: &mut UnitReport) {
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
        for (window, refused) in self.refused.iter().chain(&self.unanswered) {
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

/// What is told of a group whose events are missing.
fn events_of(task: &Task<LogQuery>, cause: Cause) -> RefusedQuery {
    let group = &task.group;
    RefusedQuery {
        series: match stream_of(&task.query) {
            Some(stream) => format!("{group} {stream}"),
            None => group.to_string(),
        },
        statistic: "events of".to_owned(),
        cause,
    }
}
