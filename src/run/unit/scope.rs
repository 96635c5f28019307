//! What one lane is asked about, and what becomes of each of its days: decided from the manifest before anything is asked.

use crate::lake::table::SCHEMA_VERSION;
use crate::lake::table::{METRICS, Table};
use crate::lake::{UnitId, layout};
use crate::plan::DayMode;
use crate::run::given::context::RunContext;
use std::collections::{BTreeMap, BTreeSet};

use crate::commit::{Committed, LaneRecords, old_file};
use crate::config::{ExportConfig, OLDEST_SECONDS, PeriodChoice, Range};
use crate::model::{DAY_SECONDS, Dataset, Day, Lane, Period, Spans, TimeWindow};
use crate::plan::{Scope, kept};
use crate::store::{Store, StoreError};

/// How far `--since last` reaches back behind what is covered: points that came a little late. It costs no dollars, since metrics are
/// billed by request, and covers every period up to itself.
const OVERLAP: i64 = 3_600;

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
    fn range(&self, context: &RunContext, lane: &Lane) -> Range {
        match self.table.dataset {
            Dataset::Metrics => context.range_of(lane),
            dataset => context.table_range(dataset, lane),
        }
    }

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
    match subject.range(context, lane) {
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
            for (part, periods) in &subject.asked {
                let start = first.map(|first| since(&scope, part, first, now));
                let delay = subject.delays[*part];
                let window = match start {
                    // Asked again, it would be billed again for what is there.
                    Some(start) if !has_news(periods, now - delay, start.gap) => continue,
                    Some(start) => TimeWindow {
                        start: start.back,
                        end: now,
                    },
                    None => fresh,
                };
                scope.windows.insert((*part).to_owned(), (window, delay));
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
        let there = old_file(store, &layout::unit(&UnitId::new(scope.table, day, lane))).await?;
        let recorded = committed.files.first();
        let same = match (&there, recorded) {
            (None, None) => true,
            (Some(there), Some(recorded)) => {
                there.bytes == recorded.bytes && there.facts.rows == recorded.rows
            }
            _ => false,
        };
        if same {
            held.push(day);
        }
    }
    Ok(held)
}

/// The shortest window that holds every day that is still wanted. Days held in between are asked again: a metric is billed by the
/// request, not by the day.
fn wanted(range: TimeWindow, held: &[Day]) -> TimeWindow {
    let nothing = TimeWindow { start: 0, end: 0 };
    range
        .touched_days()
        .filter(|day| !held.contains(day))
        .map(|day| day.window().intersection(range))
        .fold(nothing, |hull, w| hull.hull(w))
}

fn mode(context: &RunContext, scope: &LaneScope, day: Day) -> DayMode {
    let nothing = (TimeWindow { start: 0, end: 0 }, 0);
    let asked = |namespace: &str| scope.windows.get(namespace).unwrap_or(&nothing).0;
    let touched = scope
        .windows
        .values()
        .any(|(w, _)| !kept(*w, context.now).intersection(day.window()).is_empty());
    // Whole days are kept, or nothing of them.
    let gone = kept(day.window(), context.now).start > day.start();
    if gone || !touched || day.start() >= context.now {
        return DayMode::Gone;
    }
    let known = TimeWindow {
        start: day.start(),
        end: day.end().min(context.now),
    };
    let whole = |namespace: &String| asked(namespace).intersection(known) == known;
    if !scope.delays.keys().all(whole) {
        return DayMode::Merge;
    }
    // What is no longer asked for stays where it is.
    let has_others =
        |c: &Committed| !c.files.is_empty() && (c.joined || c.plan_hash != scope.plan_hash);
    let before = scope.records.committed(day).filter(|_| !context.force);
    if before.is_some_and(has_others) {
        DayMode::Join
    } else {
        DayMode::Replace
    }
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

/// From where `--since last` asks in a namespace: the first second from day `first` on that is not covered, less the overlap. What no run has
/// asked for yet is asked from today on.
fn since(scope: &LaneScope, namespace: &str, first: Day, now: i64) -> Since {
    let covered = |day: Day| scope.records.committed(day).map(|c| &c.covered);
    let days = TimeWindow {
        start: first.start(),
        end: now.max(first.end()),
    };
    let known = || days.touched_days().filter_map(covered);
    let is_new = known().any(|c| !c.is_empty()) && !known().any(|c| c.contains_key(namespace));
    if is_new {
        let today = Day::containing(now).start();
        return Since {
            gap: today,
            back: today,
        };
    }
    let begins = |day: &Day| covered(*day).is_some_and(|c| c.contains_key(namespace));
    let begun = days.touched_days().find(begins).unwrap_or(first);
    let gap_of = |day: Day| {
        let spans = covered(day).and_then(|c| c.get(namespace));
        let gap = spans.map_or(day.start(), |s| s.first_missing(day.start()));
        let record = scope.records.committed(day);
        let refused = record.and_then(|c| c.refused_since(namespace, now));
        gap.min(refused.unwrap_or(gap)).min(day.end())
    };
    let start = days
        .touched_days()
        .filter(|day| *day >= begun)
        .map(|day| (gap_of(day), day.end()))
        .find_map(|(gap, end)| (gap < end).then_some(gap))
        .unwrap_or(days.end);
    // Not into a day that no run has begun.
    let back = start - OVERLAP;
    if covered(Day::containing(back)).is_some_and(|c| c.contains_key(namespace)) {
        Since { gap: start, back }
    } else {
        let back = Day::containing(start).start().max(back);
        Since { gap: start, back }
    }
}

/// Where `--since last` begins.
#[derive(Clone, Copy, Debug)]
struct Since {
    /// The first second that is not covered.
    gap: i64,
    /// From where it asks.
    back: i64,
}

/// Whether anything can have come since `gap`: a whole period that is published by now.
fn has_news(periods: &BTreeSet<i64>, published: i64, gap: i64) -> bool {
    periods
        .iter()
        .any(|period| published.div_euclid(*period) * period > gap)
}
