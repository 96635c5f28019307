//! What one lane is asked about, and what becomes of each of its days: decided from the manifest before anything is asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::{Committed, LaneRecords, is_as_recorded};
use crate::config::{ExportConfig, OLDEST_SECONDS, PeriodChoice, Range};
use crate::given::context::RunContext;
use crate::lake::table::{METRICS, SCHEMA_VERSION, Table};
use crate::lake::{UnitId, layout};
use crate::model::{DAY_SECONDS, Day, Lane, Period, TimeWindow};
use crate::plan::{
    AskedPart, DayMode, KnownDay, OVERLAP_OF_EVENTS, OVERLAP_OF_POINTS, Question, Scope, hull,
};
use crate::store::{Store, StoreError};

/// How far back `--since last` looks for days that are not whole.
const LOOK_BACK_DAYS: i64 = 15;

/// What a table asks of its lanes.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The table.
    pub(crate) table: &'static Table,
    /// What a unit of the lane is meant to hold.
    pub(crate) plan_hash: String,
    /// Every part of a unit that is covered by itself, with its publication delay in seconds: the namespaces of metrics.
    pub(crate) delays: BTreeMap<String, i64>,
    /// The parts that are asked.
    pub(crate) asked: BTreeMap<String, AskedPart>,
}

impl Subject {
    /// Of a table of events, whose units have one part.
    pub(crate) fn of_one_part(
        table: &'static Table,
        delays: BTreeMap<String, i64>,
        question: String,
    ) -> Self {
        let asked = |(part, delay): (&String, &i64)| {
            let asked = AskedPart {
                delay: *delay,
                overlap: OVERLAP_OF_EVENTS,
                periods: BTreeSet::from([60]),
                question: question.clone(),
            };
            (part.clone(), asked)
        };
        Self {
            table,
            asked: delays.iter().map(asked).collect(),
            delays,
            plan_hash: question,
        }
    }

    /// Metrics.
    pub(crate) fn metrics(config: &ExportConfig, account_name: Option<&str>) -> Self {
        let mut asked: BTreeMap<String, AskedPart> = BTreeMap::new();
        for selection in &config.selections {
            let period = match selection.asks.period {
                PeriodChoice::AtLeast(period) => period,
                PeriodChoice::Auto => Period::MINUTE,
            };
            let namespace = &selection.namespace;
            let part = asked.entry(namespace.clone()).or_insert_with(|| AskedPart {
                delay: config.namespaces[namespace],
                overlap: OVERLAP_OF_POINTS,
                periods: BTreeSet::new(),
                question: config.question(namespace, account_name, SCHEMA_VERSION),
            });
            part.periods.insert(i64::from(period.seconds()));
        }
        Self {
            table: &METRICS,
            plan_hash: config.plan_hash(account_name, SCHEMA_VERSION),
            delays: config.namespaces.clone(),
            asked,
        }
    }
}

/// What is asked of a lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneScope {
    /// The table.
    pub(crate) table: &'static Table,
    /// The parts of a unit, with their publication delays.
    pub(crate) delays: BTreeMap<String, i64>,
    /// By namespace.
    pub(crate) windows: Scope,
    /// Every day that is asked or stands in the range, in order.
    pub(crate) days: Vec<(Day, DayMode)>,
    /// What is known of the lane's units.
    pub(crate) records: LaneRecords,
    /// What a unit of the lane is meant to hold.
    pub(crate) plan_hash: String,
    /// The same of each of its parts.
    pub(crate) questions: BTreeMap<String, String>,
}

impl LaneScope {
    /// Of a table whose unit is what is there on the day of the run: what any run of the day has seen stays.
    pub(crate) async fn of_snapshot(
        table: &'static Table,
        context: &RunContext,
        store: &dyn Store,
        lane: &Lane,
    ) -> Result<Self, StoreError> {
        let today = Day::containing(context.now);
        let mut records = LaneRecords::new(table, lane.clone());
        records.read(store, std::iter::once(today)).await?;
        Ok(Self {
            table,
            delays: BTreeMap::new(),
            windows: Scope::new(),
            days: vec![(today, DayMode::Merge)],
            records,
            plan_hash: table.name.to_owned(),
            questions: BTreeMap::new(),
        })
    }

    /// Everything from the first second asked to the last.
    pub(crate) fn hull(&self) -> TimeWindow {
        hull(&self.windows)
    }

    /// Whether nothing of what is there was refused, as far as it stays; `old` says so of its file.
    pub(crate) fn was_complete(&self, day: Day, mode: DayMode, old: bool) -> bool {
        let before = self.records.committed(day);
        match mode {
            DayMode::Merge if before.is_some_and(|c| !c.answers.refused.is_empty()) => {
                before.is_some_and(|c| c.answers.refused_beside(&self.windows).is_empty())
            }
            DayMode::Merge => old,
            // A whole reading says by itself whether the day is complete.
            _ => true,
        }
    }
}

/// Decides for one lane. Reads manifests, and the footers of units that would be left alone. `resuming` says that answers of an
/// interrupted run are at hand.
///
/// # Errors
/// The store's: without the manifest it is not known what is there.
pub(crate) async fn lane_scope(
    context: &RunContext,
    store: &dyn Store,
    lane: &Lane,
    subject: &Subject,
    resuming: bool,
) -> Result<LaneScope, StoreError> {
    let mut records = LaneRecords::new(subject.table, lane.clone());
    let question = Question {
        parts: &subject.delays,
        asked: &subject.asked,
        force: context.force,
        resuming,
        now: context.now,
        left_to_others: context.left_to_others(subject.table.name),
    };
    let asked = match context.range_of(subject.table.dataset, lane) {
        Range::Window(range) => {
            records.read(store, range.touched_days()).await?;
            let mut known = known_days(&records, subject);
            // Looked at where it decides.
            for day in range.touched_days() {
                let Some((known, committed)) = known.get_mut(&day).zip(records.committed(day))
                else {
                    continue;
                };
                let parts = subject.asked.iter();
                let held = parts.filter(|(part, a)| known.answers.holds(part, &a.question));
                if held.count() > 0 && !context.force {
                    let key = layout::unit(&UnitId::new(subject.table, day, lane));
                    known.is_there = is_as_recorded(store, &key, committed).await?
                        || is_pruned(context, store, (subject.table, day), &key).await?;
                }
            }
            question.of_range(range, &known)
        }
        Range::SinceLast { fresh } => {
            let recent = TimeWindow {
                start: context.now - LOOK_BACK_DAYS * DAY_SECONDS,
                end: context.now,
            };
            let first = first_known(store, &mut records, recent, context.now).await?;
            let since_first = TimeWindow {
                start: first.map_or(fresh.start, Day::start),
                end: context.now,
            };
            // A day more for the overlap.
            let days = Day::containing(since_first.start).plus(-1);
            let days = std::iter::once(days).chain(since_first.touched_days());
            records.read(store, days).await?;
            question.since_last(first, fresh, &known_days(&records, subject))
        }
    };
    let questions = subject.asked.iter();
    Ok(LaneScope {
        table: subject.table,
        delays: subject.delays.clone(),
        windows: asked.windows,
        days: asked.days,
        records,
        plan_hash: subject.plan_hash.clone(),
        questions: questions
            .map(|(part, asked)| (part.clone(), asked.question.clone()))
            .collect(),
    })
}

/// Whether a unit's own file is missed because its rows are in compacted files.
async fn is_pruned(
    context: &RunContext,
    store: &dyn Store,
    (table, day): (&'static Table, Day),
    key: &str,
) -> Result<bool, StoreError> {
    Ok(context.pruned.has(store, table, day).await? && store.tail(key, 1).await?.is_none())
}

/// What is known of every day, for those who decide.
fn known_days(records: &LaneRecords, subject: &Subject) -> BTreeMap<Day, KnownDay> {
    let committed = records.all();
    let committed = committed.filter_map(|(day, r)| Some((day, r.committed.as_ref()?)));
    let known = |(day, c): (Day, &Committed)| {
        let is_other = c.joined || c.plan_hash != subject.plan_hash;
        let known = KnownDay {
            answers: c.answers.clone(),
            has_others: !c.files.is_empty() && is_other,
            is_there: true,
        };
        (day, known)
    };
    committed.map(known).collect()
}

/// The day from which `--since last` looks for gaps: fifteen days back, or the last day with a unit when that is longer ago.
async fn first_known(
    store: &dyn Store,
    records: &mut LaneRecords,
    recent: TimeWindow,
    now: i64,
) -> Result<Option<Day>, StoreError> {
    records.read(store, recent.touched_days()).await?;
    let committed = |records: &LaneRecords, from: i64| {
        records
            .all()
            .filter(|(_, record)| record.committed.is_some())
            .map(|(day, _)| day)
            .filter(|day| day.start() >= from)
            .collect::<BTreeSet<Day>>()
    };
    if let Some(first) = committed(records, recent.start).first() {
        return Ok(Some(*first));
    }
    let mut day = Day::containing(recent.start);
    while day.start() > now - OLDEST_SECONDS {
        records.read(store, std::iter::once(day)).await?;
        if let Some(last) = committed(records, i64::MIN).last() {
            return Ok(Some(*last));
        }
        day = day.plus(-28);
    }
    Ok(None)
}
