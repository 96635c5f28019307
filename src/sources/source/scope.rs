//! What one lane is asked about, and what becomes of each of its days: decided from the manifest before anything is asked.

use crate::given::context::RunContext;
use crate::lake::table::SCHEMA_VERSION;
use crate::lake::table::{METRICS, Table};
use crate::lake::{UnitId, layout};
use crate::plan::DayMode;
use crate::plan::{KnownDay, day_mode, since_last, wanted};
use std::collections::{BTreeMap, BTreeSet};

use crate::commit::{Committed, LaneRecords, is_as_recorded};
use crate::config::{ExportConfig, OLDEST_SECONDS, PeriodChoice, Range};
use crate::model::{DAY_SECONDS, Day, Lane, Period, Spans, TimeWindow};
use crate::plan::Scope;
use crate::store::{Store, StoreError};

/// How far back `--since last` looks for days that are not whole.
const LOOK_BACK_DAYS: i64 = 15;

/// What a table asks of its lanes.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    /// The table.
    pub(crate) table: &'static Table,
    /// What a unit of the lane is meant to hold.
    pub(crate) plan_hash: String,
    /// Every part of a unit that is covered by itself, with its publication delay in seconds: the namespaces of metrics.
    pub(crate) delays: &'a BTreeMap<String, i64>,
    /// The parts that are asked, each with its periods in seconds.
    pub(crate) asked: BTreeMap<&'a str, BTreeSet<i64>>,
}

impl<'a> Subject<'a> {
    /// Metrics.
    pub(crate) fn metrics(config: &'a ExportConfig, account_name: Option<&str>) -> Self {
        let mut asked: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for selection in &config.selections {
            let period = match selection.asks.period {
                PeriodChoice::AtLeast(period) => period,
                PeriodChoice::Auto => Period::MINUTE,
            };
            let periods = asked.entry(&selection.namespace).or_default();
            periods.insert(i64::from(period.seconds()));
        }
        Self {
            table: &METRICS,
            plan_hash: config.plan_hash(account_name, SCHEMA_VERSION),
            delays: &config.namespaces,
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
}

impl LaneScope {
    /// Everything from the first second asked to the last.
    pub(crate) fn hull(&self) -> TimeWindow {
        let nothing = TimeWindow { start: 0, end: 0 };
        self.windows
            .values()
            .fold(nothing, |hull, (w, _)| hull.hull(*w))
    }

    /// The time of a day in which something was refused before, and that is not asked now.
    pub(crate) fn still_refused(&self, day: Day) -> BTreeMap<String, Spans> {
        let before = self.records.committed(day).into_iter();
        let beside = |(part, spans): (&String, &Spans)| {
            let left = match self.windows.get(part) {
                Some((asked, _)) => spans.without(*asked),
                None => spans.clone(),
            };
            (!left.is_empty()).then(|| (part.clone(), left))
        };
        before.flat_map(|c| &c.refused).filter_map(beside).collect()
    }

    /// Whether nothing of what is there was refused, as far as it stays; `old` says so of its file.
    pub(crate) fn was_complete(&self, day: Day, mode: DayMode, old: bool) -> bool {
        let before = self.records.committed(day);
        match mode {
            DayMode::Merge if before.is_some_and(|c| !c.refused.is_empty()) => {
                self.still_refused(day).is_empty()
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
    subject: &Subject<'_>,
    resuming: bool,
) -> Result<LaneScope, StoreError> {
    let mut scope = LaneScope {
        table: subject.table,
        delays: subject.delays.clone(),
        windows: Scope::new(),
        days: Vec::new(),
        records: LaneRecords::new(subject.table, lane.clone()),
        plan_hash: subject.plan_hash.clone(),
    };
    match context.range_of(subject.table.dataset, lane) {
        Range::Window(range) => {
            scope.records.read(store, range.touched_days()).await?;
            let held = held_days(context, store, lane, &scope, range).await?;
            let every_day = range.touched_days().count() == held.len();
            // The answers an interrupted run left are to the requests for the whole range: the same are planned again.
            let wanted = if resuming && !every_day {
                range
            } else {
                wanted(range, &held)
            };
            for part in subject.asked.keys() {
                let delay = subject.delays[*part];
                scope.windows.insert((*part).to_owned(), (wanted, delay));
            }
            scope.days = range
                .touched_days()
                .map(|day| {
                    let mode = if held.contains(&day) {
                        DayMode::Held
                    } else {
                        mode(context, &scope, day)
                    };
                    (day, mode)
                })
                .collect();
        }
        Range::SinceLast { fresh } => {
            let recent = TimeWindow {
                start: context.now - LOOK_BACK_DAYS * DAY_SECONDS,
                end: context.now,
            };
            let now = context.now;
            let first = first_known(store, &mut scope.records, recent, now).await?;
            let since_first = TimeWindow {
                start: first.map_or(fresh.start, Day::start),
                end: now,
            };
            // A day more for the overlap.
            let days = Day::containing(since_first.start).plus(-1);
            let days = std::iter::once(days).chain(since_first.touched_days());
            scope.records.read(store, days).await?;
            let committed = scope.records.all();
            let committed = committed.filter_map(|(day, r)| Some((day, r.committed.as_ref()?)));
            let known: BTreeMap<Day, KnownDay> = committed
                .map(|(day, c)| (day, known_day(c, &scope.plan_hash)))
                .collect();
            for (part, periods) in &subject.asked {
                let delay = subject.delays[*part];
                let window = match first {
                    Some(first) => since_last(part, (periods, delay), &known, first, now),
                    None => Some(fresh),
                };
                if let Some(window) = window {
                    scope.windows.insert((*part).to_owned(), (window, delay));
                }
            }
            scope.days = scope
                .hull()
                .touched_days()
                .map(|day| (day, mode(context, &scope, day)))
                .collect();
        }
    }
    Ok(scope)
}

/// Days of the range that are settled, were meant to hold the same, and whose file is there as it was recorded.
async fn held_days(
    context: &RunContext,
    store: &dyn Store,
    lane: &Lane,
    scope: &LaneScope,
    range: TimeWindow,
) -> Result<Vec<Day>, StoreError> {
    let mut held = Vec::new();
    if context.force {
        return Ok(held);
    }
    for day in range.touched_days() {
        let Some(committed) = scope.records.committed(day) else {
            continue;
        };
        if !committed.settled || committed.plan_hash != scope.plan_hash {
            continue;
        }
        let key = layout::unit(&UnitId::new(scope.table, day, lane));
        if is_as_recorded(store, &key, committed).await? {
            held.push(day);
        }
    }
    Ok(held)
}

/// What is known of a day, for those who decide.
fn known_day(committed: &Committed, plan_hash: &str) -> KnownDay {
    KnownDay {
        covered: committed.covered.clone(),
        refused: committed.refused.clone(),
        refused_at: committed.refused_at.map(jiff::Timestamp::as_second),
        has_others: !committed.files.is_empty()
            && (committed.joined || committed.plan_hash != plan_hash),
    }
}

fn mode(context: &RunContext, scope: &LaneScope, day: Day) -> DayMode {
    let known = scope.records.committed(day).filter(|_| !context.force);
    let known = known.map(|c| known_day(c, &scope.plan_hash));
    let parts = scope.delays.keys();
    day_mode(day, &scope.windows, parts, known.as_ref(), context.now)
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
