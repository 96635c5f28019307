//! What one lane is asked about, and what becomes of each of its days: decided from the manifest before anything is asked.

use std::collections::BTreeMap;

use super::pipeline::RunContext;
use crate::commit::{Committed, LaneRecords, old_file};
use crate::config::Range;
use crate::model::{DAY_SECONDS, Day, Lane, TimeWindow};
use crate::normalize::SCHEMA_VERSION;
use crate::plan::{Scope, kept};
use crate::write::{Store, StoreError, layout};

/// How far `--since last` reaches back behind what is covered: points that came a little late. It costs no dollars, since metrics are
/// billed by request, and covers every period up to itself.
const OVERLAP: i64 = 3_600;

/// How far back `--since last` looks for days that are not whole.
const LOOK_BACK_DAYS: i64 = 15;

/// What is asked of a lane.
#[derive(Clone, Debug)]
pub(super) struct LaneScope {
    /// By namespace.
    pub(super) windows: Scope,
    /// Every day that is asked or stands in the range, in order.
    pub(super) days: Vec<(Day, DayMode)>,
    /// What is known of the lane's units.
    pub(super) records: LaneRecords,
    /// What a unit of the lane is meant to hold.
    pub(super) plan_hash: String,
}

/// What becomes of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayMode {
    /// All of it is asked: a new file takes the old one's place.
    Replace,
    /// A part of it is asked, and joins what is there.
    Merge,
    /// It is in the lake, whole and settled: nothing is asked.
    Held,
    /// A part of it is asked, and what is there was written with another configuration.
    OtherPlan,
    /// CloudWatch no longer has all of it, or it has not begun.
    Gone,
}

impl DayMode {
    /// Whether points of the day are wanted.
    pub(super) fn is_asked(self) -> bool {
        matches!(self, Self::Replace | Self::Merge)
    }
}

impl LaneScope {
    /// Everything from the first second asked to the last.
    pub(super) fn hull(&self) -> TimeWindow {
        let nothing = TimeWindow { start: 0, end: 0 };
        self.windows
            .values()
            .fold(nothing, |hull, (w, _)| hull.hull(*w))
    }
}

/// Decides for one lane. Reads manifests, and the footers of units that would be left alone. `resuming` says that answers of an
/// interrupted run are at hand.
///
/// # Errors
/// The store's: without the manifest it is not known what is there.
pub(super) async fn lane_scope(
    context: &RunContext,
    store: &dyn Store,
    lane: &Lane,
    account_name: Option<&str>,
    resuming: bool,
) -> Result<LaneScope, StoreError> {
    let config = &context.config;
    let mut scope = LaneScope {
        windows: Scope::new(),
        days: Vec::new(),
        records: LaneRecords::new(layout::METRICS, lane.clone()),
        plan_hash: config.plan_hash(account_name, SCHEMA_VERSION),
    };
    let selected = || config.selections.iter().map(|s| s.namespace.as_str());
    match context.range_of(lane) {
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
            for namespace in selected() {
                let delay = config.namespaces[namespace];
                scope.windows.insert(namespace.to_owned(), (wanted, delay));
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
            let days = || recent.touched_days().chain(fresh.touched_days());
            scope.records.read(store, days()).await?;
            for namespace in selected() {
                let window = TimeWindow {
                    start: since(&scope, namespace, recent, fresh.start),
                    end: context.now,
                };
                let delay = config.namespaces[namespace];
                scope.windows.insert(namespace.to_owned(), (window, delay));
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
        let there = old_file(store, &layout::unit(layout::METRICS, day, lane)).await?;
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
    if context.config.namespaces.keys().all(whole) {
        return DayMode::Replace;
    }
    let other = |c: &Committed| c.plan_hash != scope.plan_hash && !c.files.is_empty();
    if !context.force && scope.records.committed(day).is_some_and(other) {
        DayMode::OtherPlan
    } else {
        DayMode::Merge
    }
}

/// From where `--since last` asks: the first second after the last whole day that is not covered, less the overlap. A lane without
/// records begins at `fresh`; one whose last unit was meant to hold something else begins with that unit's day.
fn since(scope: &LaneScope, namespace: &str, recent: TimeWindow, fresh: i64) -> i64 {
    let committed: BTreeMap<Day, &Committed> = scope
        .records
        .all()
        .filter(|(day, _)| recent.contains(day.start()))
        .filter_map(|(day, record)| Some((day, record.committed.as_ref()?)))
        .collect();
    let Some((&last, newest)) = committed.last_key_value() else {
        return fresh;
    };
    if newest.plan_hash != scope.plan_hash {
        return last.start();
    }
    let missing = |day: Day, c: &Committed| {
        c.covered
            .get(namespace)
            .map_or(day.start(), |spans| spans.first_missing(day.start()))
            .min(day.end())
    };
    let mut start = missing(last, newest);
    let mut day = last;
    while let Some(before) = committed.get(&day.plus(-1)) {
        day = day.plus(-1);
        let gap = missing(day, before);
        if before.plan_hash != scope.plan_hash || gap >= day.end() {
            break;
        }
        start = gap;
    }
    // Not into a day that no run has begun.
    let back = start - OVERLAP;
    if committed.contains_key(&Day::containing(back)) {
        back
    } else {
        Day::containing(start).start().max(back)
    }
}
