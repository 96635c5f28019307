//! Alarms: as they are on the day of the run, and every change of their states by the day it happened.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::aws::{CallStats, LaneClient};
use crate::config::ExportConfig;
use crate::fetch::{ALARM_KINDS, alarm_history, alarms};
use crate::given::bounds::stopped;
use crate::given::context::RunContext;
use crate::lake::table::{ALARM_HISTORY, ALARMS};
use crate::lake::{UnitId, layout};
use crate::model::{
    Alarm, AlarmChange, Cause, CauseKind, DAY_SECONDS, Dataset, Day, Spans, TimeWindow, iso_seconds,
};
use crate::normalize::{
    Owner, alarm_history_batch, alarms_batch, decode_alarm_history, decode_alarms,
};
use crate::plan::{DayMode, LaneCost};
use crate::report::{Forecast, RefusedQuery};
use crate::sources::source::scope::{LaneScope, Subject, lane_scope};
use crate::sources::source::stage::{each_batch, stage};
use crate::sources::source::unit::{NewUnit, read_unit};
use crate::sources::source::{Job, Looking, Reading, Source};

/// What to do about a file that cannot be read.
const BROKEN: &str = "--force replaces the day with what is there now";

/// Kinds of alarms that the caller may not see, each with the reason. Whoever may see none of any kind is told of the lane.
type Unseen = Vec<(&'static str, Cause)>;

/// Takes what one kind of alarms answered. Composite alarms need a permission of their own: without it the others are read all the same.
fn take<T>(
    kind: &'static str,
    answer: Result<Vec<T>, Cause>,
    found: &mut Vec<T>,
    unseen: &mut Unseen,
) -> Result<(), Cause> {
    match answer {
        Ok(of_kind) => found.extend(of_kind),
        Err(cause) if kind != ALARM_KINDS[0] && cause.kind.is_denial() => {
            unseen.push((kind, cause));
        }
        Err(cause) => return Err(cause),
    }
    Ok(())
}

/// What of it is told in a unit's report.
fn refused(unseen: &Unseen, what: &str) -> Vec<RefusedQuery> {
    let told = |(kind, cause): &(&'static str, Cause)| RefusedQuery {
        series: (*kind).to_owned(),
        statistic: what.to_owned(),
        cause: cause.clone(),
    };
    unseen.iter().map(told).collect()
}

/// Alarms, as they are described on the day of the run.
pub(crate) struct Alarms;

#[async_trait]
impl Source for Alarms {
    fn dataset(&self) -> Dataset {
        Dataset::Alarms
    }

    fn is_snapshot(&self) -> bool {
        true
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        let (lane, store) = (looking.client.lane(), &*looking.place.store);
        let scope = LaneScope::of_snapshot(&ALARMS, &looking.context, store, lane).await?;
        let (mut found, mut unseen) = (Vec::new(), Unseen::new());
        for kind in ALARM_KINDS {
            let answer = alarms(&looking.client, kind, stats).await;
            take(kind, answer, &mut found, &mut unseen)?;
        }
        Ok(Box::new(AlarmsJob {
            found,
            unseen,
            scope,
        }))
    }
}

/// The alarms of a lane, found and not yet written.
#[derive(Debug)]
struct AlarmsJob {
    found: Vec<Alarm>,
    unseen: Unseen,
    scope: LaneScope,
}

#[async_trait]
impl Job for AlarmsJob {
    fn forecast(&self, _: &RunContext) -> Forecast {
        Forecast {
            found: BTreeMap::from([("alarms".to_owned(), self.found.len() as u64)]),
            // All alarms are asked for: there being none is an answer.
            matched: true,
            ..Forecast::default()
        }
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.scope]
    }

    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        let now = reading.context.now;
        let unit = (Day::containing(now), &reading.lane);
        // What an earlier run of the day has seen was there on the day.
        let mut all = BTreeMap::new();
        if !reading.context.force {
            let key = layout::unit(&UnitId::new(&ALARMS, unit.0, unit.1));
            let store = &**reading.lake.store();
            each_batch(store, &key, BROKEN, |batch| decode_alarms(batch, &mut all)).await?;
        }
        all.extend(self.found.into_iter().map(|a| (a.arn.clone(), a)));
        let (of_lane, name) = (reading.lane.clone(), reading.account_name.clone());
        let staged = stage(&reading, &self.scope, unit, move || {
            let owner = Owner {
                lane: &of_lane,
                account_name: name.as_deref(),
            };
            alarms_batch(owner, &all.into_values().collect::<Vec<_>>())
        })
        .await?;
        let mut report = read_unit(&ALARMS, unit, staged.as_ref(), now);
        report.refused = refused(&self.unseen, "DescribeAlarms");
        report.refused_queries = report.refused.len() as u64;
        report.complete = report.refused.is_empty();
        let made = NewUnit {
            day: unit.0,
            mode: DayMode::Merge,
            complete: report.complete,
            ask_again: false,
            covered: BTreeMap::new(),
            refused: BTreeMap::new(),
            read_at: now,
            report,
            staged,
        };
        reading.give(vec![made]).await;
        Ok(())
    }
}

/// The one part of a unit of changes.
const PART: &str = "alarm_history";

/// How long after it a change can be expected in the history.
const DELAY_SECONDS: i64 = 300;

/// For so long CloudWatch keeps the history for certain.
///
/// # Source
/// botocore said two weeks for years, the console's help says 30 days.
const KEPT_SECONDS: i64 = 14 * DAY_SECONDS;

/// Changes of alarms' states.
pub(crate) struct AlarmHistory;

#[async_trait]
impl Source for AlarmHistory {
    fn dataset(&self) -> Dataset {
        Dataset::AlarmHistory
    }

    fn parts(&self, _: &ExportConfig) -> BTreeMap<String, i64> {
        BTreeMap::from([(PART.to_owned(), DELAY_SECONDS)])
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        let (client, context) = (&looking.client, &looking.context);
        let parts = self.parts(&context.config);
        let subject = Subject::of_one_part(&ALARM_HISTORY, parts, PART.to_owned());
        let store = &*looking.place.store;
        let scope = lane_scope(context, store, client.lane(), &subject, false).await?;
        if !scope.hull().is_empty() {
            // A region that is closed says so now, as it does of everything else.
            let now = context.now;
            let last = TimeWindow {
                start: now - 60,
                end: now,
            };
            alarm_history(client, ALARM_KINDS[0], last, stats).await?;
        }
        Ok(Box::new(HistoryJob {
            client: client.clone(),
            scope,
        }))
    }
}

/// Changes of a lane's alarms, planned.
#[derive(Debug)]
struct HistoryJob {
    client: LaneClient,
    scope: LaneScope,
}

#[async_trait]
impl Job for HistoryJob {
    fn forecast(&self, _: &RunContext) -> Forecast {
        let asked = self.scope.days.iter().filter(|(_, mode)| mode.is_asked());
        Forecast {
            planned: LaneCost {
                calls: (asked.count() * ALARM_KINDS.len()) as u64,
                ..LaneCost::default()
            },
            matched: true,
            ..Forecast::default()
        }
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.scope]
    }

    /// Day by day: what is finished stays.
    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        for (day, mode) in &self.scope.days {
            if mode.is_asked() {
                let made = match self.day(&reading, *day, *mode).await {
                    // What is wrong with the file of a day is wrong with that day.
                    Err(cause) if cause.kind == CauseKind::Destination => {
                        let (unit, now) = ((*day, &reading.lane), reading.context.now);
                        NewUnit::failed(&ALARM_HISTORY, unit, *mode, cause, now)
                    }
                    made => made?,
                };
                reading.give(vec![made]).await;
            }
        }
        Ok(())
    }
}

impl HistoryJob {
    async fn day(&self, reading: &Reading, day: Day, mode: DayMode) -> Result<NewUnit, Cause> {
        let now = reading.context.now;
        let asked = TimeWindow {
            end: self.scope.hull().end.min(now),
            ..self.scope.hull()
        };
        let window = day.window().intersection(asked);
        let (mut changes, unseen) = self.changes(reading, window).await?;
        // What is there stays: CloudWatch forgets after some weeks. Forced, a whole day that is certainly kept is as it is now.
        let unit = (day, &reading.lane);
        let is_kept = day.start() >= now - KEPT_SECONDS;
        let stays = mode == DayMode::Merge || !reading.context.force || !is_kept;
        if stays {
            let key = layout::unit(&UnitId::new(&ALARM_HISTORY, unit.0, unit.1));
            let store = &**reading.lake.store();
            each_batch(store, &key, BROKEN, |batch| {
                decode_alarm_history(batch, &mut changes)
            })
            .await?;
        }
        let (of_lane, name) = (reading.lane.clone(), reading.account_name.clone());
        let staged = stage(reading, &self.scope, unit, move || {
            let owner = Owner {
                lane: &of_lane,
                account_name: name.as_deref(),
            };
            alarm_history_batch(owner, &changes)
        })
        .await?;
        let mut report = read_unit(&ALARM_HISTORY, unit, staged.as_ref(), now);
        report.refused = refused(&unseen, "DescribeAlarmHistory");
        report.refused_queries = report.refused.len() as u64;
        let covered = self.covered((day, window), now, stays);
        let is_whole = covered.covers(day.window().intersection(window));
        report.cause = (!is_whole && !is_kept).then(|| gone(now));
        report.complete = report.cause.is_none() && report.refused.is_empty();
        let refused = if unseen.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(PART.to_owned(), Spans::of(window))])
        };
        Ok(NewUnit {
            day,
            mode,
            complete: report.complete,
            ask_again: report.cause.is_some(),
            covered: BTreeMap::from([(PART.to_owned(), covered)]),
            refused,
            read_at: now,
            report,
            staged,
        })
    }

    /// The time of a day that is known after a window of it was read: what CloudWatch certainly keeps, up to the newest change that can be
    /// expected; and what was known before, whose rows stay.
    fn covered(&self, (day, window): (Day, TimeWindow), now: i64, stays: bool) -> Spans {
        let kept = TimeWindow {
            start: now - KEPT_SECONDS,
            end: now - DELAY_SECONDS,
        };
        let mut covered = Spans::of(window.intersection(kept));
        let before = self.scope.records.committed(day);
        if let (true, Some(before)) = (stays, before)
            && let Some(spans) = before.answers.covered.get(PART)
        {
            covered.add_all(spans);
        }
        covered
    }

    /// The changes of a window, of every kind of alarms.
    async fn changes(
        &self,
        reading: &Reading,
        window: TimeWindow,
    ) -> Result<(BTreeSet<AlarmChange>, Unseen), Cause> {
        let (mut found, mut unseen) = (Vec::new(), Unseen::new());
        let turn = reading.bounds.requests.turn().await;
        let client = self.client.under(&turn);
        for kind in ALARM_KINDS {
            let mut stats = CallStats::default();
            let answer = tokio::select! {
                answer = alarm_history(&client, kind, window, &mut stats) => answer,
                cause = stopped(&reading.context, &reading.lake) => Err(cause),
            };
            reading.note(|taken| taken.calls.add(stats));
            take(kind, answer, &mut found, &mut unseen)?;
        }
        Ok((found.into_iter().collect(), unseen))
    }
}

/// Why a day is not whole: CloudWatch may have forgotten some of it, and no run has read it before.
fn gone(now: i64) -> Cause {
    let text = format!(
        "CloudWatch keeps the history of alarms for two to four weeks: what was before {} may be gone",
        iso_seconds(now - KEPT_SECONDS)
    );
    Cause::new(CauseKind::Other, text).with_hint("read it more often (--since last)")
}
