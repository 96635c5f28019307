//! Series to requests: billing units, groups of series that travel together, and batches in the order they are sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::load::{Load, query_bytes};
use super::windows::{Window, kept, windows};
use crate::config::{Asks, PeriodChoice};
use crate::model::{
    Lane, MAX_STATISTICS_PER_BILLED_METRIC, Period, Series, Spans, Statistic, TimeWindow,
};

/// One statistic asked of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The statistic.
    pub statistic: Statistic,
    /// The period asked for.
    pub period: PeriodChoice,
    /// Only points of this unit.
    pub unit: Option<Arc<str>>,
}

/// A series with everything asked of it.
#[derive(Clone, Debug)]
pub struct PlannedSeries {
    /// The series.
    pub series: Series,
    /// Sorted by statistic; shared by all series that are asked the same.
    pub asks: Arc<[Ask]>,
}

/// One `MetricDataQuery`: positions in the plan rather than copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchQuery {
    /// Index into [`LanePlan::series`].
    pub series: u32,
    /// Index into that series' asks.
    pub ask: u16,
    /// The period to ask with.
    pub period: Period,
}

/// One `GetMetricData` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `StartTime` and `EndTime`.
    pub span: TimeWindow,
    /// At most 500, whole billing units, at most 100,800 points by CloudWatch's estimate, and no body that is too large.
    pub queries: Vec<BatchQuery>,
    /// Metrics the request is billed for.
    pub billed_metrics: u64,
    /// Points by CloudWatch's estimate: range ÷ period, summed over the queries.
    pub points: u64,
}

/// Consecutive series whose windows are the same, with all their batches: what is merged and written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Indices into [`LanePlan::series`].
    pub series: Range<usize>,
    /// Indices into [`LanePlan::batches`]; windows oldest first.
    pub batches: Range<usize>,
}

/// Everything one lane will ask.
#[derive(Clone, Debug)]
pub struct LanePlan {
    /// Whose plan it is.
    pub lane: Lane,
    /// Sorted by metric, each once.
    pub series: Vec<PlannedSeries>,
    /// (Series, statistic) pairs that a later selection asks for at another period or unit: the first one decides.
    pub overruled: u64,
    /// In series order; together they hold every series once.
    pub groups: Vec<Group>,
    /// In the order they are sent.
    pub batches: Vec<Batch>,
    /// What will be known, by namespace, when all of it is answered: the time that is asked of every series and old enough to be
    /// published.
    pub covered: BTreeMap<String, Spans>,
}

/// What is asked of each namespace of a lane, and how long after its end a period is published, in seconds.
pub type Scope = BTreeMap<String, (TimeWindow, i64)>;

/// A set of asks, cut into billing units with their windows.
struct Profile {
    asks: Arc<[Ask]>,
    overruled: u64,
    units: Vec<Unit>,
    /// Distinct spans over all units, oldest first: series with equal spans can share requests.
    spans: Vec<TimeWindow>,
}

/// At most five statistics of one metric at one period: what CloudWatch bills as one metric.
struct Unit {
    asks: Vec<u16>,
    windows: Vec<Window>,
}

/// Plans one lane.
///
/// `found` is sorted by metric, each series once, with the selections (indices into `asks`) that matched it; where two ask for
/// the same statistic, the first listed decides its period and unit.
///
/// # Shape
/// Every (series, statistic, window) is asked exactly once. Order: groups by series; inside a group, windows oldest first.
pub fn plan_lane(
    lane: &Lane,
    found: Vec<(Series, Vec<usize>)>,
    asks: &[Arc<Asks>],
    scope: &Scope,
    now: i64,
) -> LanePlan {
    let as_of = vec![now; found.len()];
    plan_lane_as_of(lane, found, asks, scope, now, &as_of)
}

/// The same, with the time each series' windows are cut for: answers of an interrupted run are to the windows of its time.
///
/// # Panics
/// When `as_of` is shorter than `found`.
pub fn plan_lane_as_of(
    lane: &Lane,
    found: Vec<(Series, Vec<usize>)>,
    asks: &[Arc<Asks>],
    scope: &Scope,
    now: i64,
    as_of: &[i64],
) -> LanePlan {
    let mut profiles: Vec<Profile> = Vec::new();
    let mut asked: BTreeMap<String, TimeWindow> = BTreeMap::new();
    let mut by_selections: HashMap<(Vec<usize>, i64), usize> = HashMap::new();
    let mut series = Vec::with_capacity(found.len());
    let mut profile_of = Vec::with_capacity(found.len());
    for ((one, selections), &at) in found.into_iter().zip(as_of) {
        let index =
            *by_selections
                .entry((selections, at))
                .or_insert_with_key(|(selections, at)| {
                    // Selections that match one series are all of its namespace.
                    let namespace = one.metric.namespace();
                    let nothing = TimeWindow { start: 0, end: 0 };
                    let range = scope.get(namespace).map_or(nothing, |(window, _)| *window);
                    let profile = Profile::new(selections.iter().map(|&i| &*asks[i]), range, *at);
                    for window in profile.covered() {
                        asked
                            .entry(namespace.to_owned())
                            .and_modify(|all| *all = all.intersection(window))
                            .or_insert(window);
                    }
                    profiles.push(profile);
                    profiles.len() - 1
                });
        series.push(PlannedSeries {
            series: one,
            asks: Arc::clone(&profiles[index].asks),
        });
        profile_of.push(index);
    }
    let mut plan = LanePlan {
        lane: lane.clone(),
        series,
        overruled: profile_of.iter().map(|&p| profiles[p].overruled).sum(),
        groups: Vec::new(),
        batches: Vec::new(),
        covered: scope
            .iter()
            .map(|(namespace, (window, delay))| {
                // Where there is no series, the listing was the answer.
                let asked = asked.get(namespace).copied();
                let published = TimeWindow {
                    start: i64::MIN,
                    end: now - delay,
                };
                let known = asked.unwrap_or_else(|| kept(*window, now));
                (namespace.clone(), Spans::of(known.intersection(published)))
            })
            .collect(),
    };
    let mut start = 0;
    while start < profile_of.len() {
        let end = group_end(start, &plan.series, &profile_of, &profiles);
        push_group(&mut plan, start..end, &profile_of, &profiles);
        start = end;
    }
    plan
}

impl Profile {
    fn new<'a>(asks: impl Iterator<Item = &'a Asks>, range: TimeWindow, now: i64) -> Self {
        let mut merged: Vec<Ask> = Vec::new();
        let mut overruled = 0;
        for ask in asks {
            for statistic in &ask.statistics {
                let before = merged.iter().find(|m| m.statistic == *statistic);
                if let Some(first) = before {
                    let same =
                        first.period == ask.period && first.unit.as_deref() == ask.unit.as_deref();
                    overruled += u64::from(!same);
                } else {
                    merged.push(Ask {
                        statistic: statistic.clone(),
                        period: ask.period,
                        unit: ask.unit.as_deref().map(Arc::from),
                    });
                }
            }
        }
        merged.sort_by(|a, b| a.statistic.cmp(&b.statistic));
        let periods: BTreeSet<PeriodChoice> = merged.iter().map(|a| a.period).collect();
        let mut units = Vec::new();
        for period in periods {
            let same: Vec<u16> = (0_u16..)
                .zip(&merged)
                .filter(|(_, a)| a.period == period)
                .map(|(i, _)| i)
                .collect();
            for chunk in same.chunks(MAX_STATISTICS_PER_BILLED_METRIC) {
                units.push(Unit {
                    asks: chunk.to_vec(),
                    windows: windows(range, period, chunk.len(), now),
                });
            }
        }
        let spans: BTreeSet<TimeWindow> = units
            .iter()
            .flat_map(|u| u.windows.iter().map(|w| w.span))
            .collect();
        Self {
            asks: merged.into(),
            overruled,
            units,
            spans: spans.into_iter().collect(),
        }
    }

    /// The time each unit asks for; windows of a unit follow one another without a gap.
    fn covered(&self) -> impl Iterator<Item = TimeWindow> {
        let nothing = TimeWindow { start: 0, end: 0 };
        self.units.iter().map(move |unit| {
            unit.windows
                .iter()
                .fold(nothing, |hull, w| hull.hull(w.span))
        })
    }

    /// What one series adds to the request over `span`; `bytes` is the size of one of its queries.
    fn load(&self, span: TimeWindow, bytes: usize) -> Load {
        let units = self.units_in(span);
        units.fold(Load::default(), |load, (unit, window)| {
            load.plus(unit.load(window, bytes))
        })
    }

    fn units_in(&self, span: TimeWindow) -> impl Iterator<Item = (&Unit, Window)> {
        self.units
            .iter()
            .filter_map(move |u| u.windows.iter().find(|w| w.span == span).map(|w| (u, *w)))
    }
}

impl Unit {
    fn load(&self, window: Window, bytes: usize) -> Load {
        let queries = self.asks.len();
        Load {
            queries,
            points: window.span.points(window.period) * queries as u64,
            bytes: bytes * queries,
        }
    }
}

/// As many series as fit one request in their widest window; at least one.
fn group_end(
    start: usize,
    series: &[PlannedSeries],
    profile_of: &[usize],
    profiles: &[Profile],
) -> usize {
    let spans = &profiles[profile_of[start]].spans;
    let mut loads = vec![Load::default(); spans.len()];
    for (index, &profile) in profile_of.iter().enumerate().skip(start) {
        if profiles[profile].spans != *spans {
            return index;
        }
        let bytes = query_bytes(&series[index].series.metric);
        for (load, span) in loads.iter_mut().zip(spans) {
            *load = load.plus(profiles[profile].load(*span, bytes));
            if index > start && !load.fits() {
                return index;
            }
        }
    }
    profile_of.len()
}

/// One batch a window; more only where a single series exceeds a request by itself.
fn push_group(
    plan: &mut LanePlan,
    series: Range<usize>,
    profile_of: &[usize],
    profiles: &[Profile],
) {
    let first = plan.batches.len();
    for &span in &profiles[profile_of[series.start]].spans {
        let empty = || Batch {
            span,
            queries: Vec::new(),
            billed_metrics: 0,
            points: 0,
        };
        let mut batch = empty();
        let mut load = Load::default();
        for index in series.clone() {
            let bytes = query_bytes(&plan.series[index].series.metric);
            for (unit, window) in profiles[profile_of[index]].units_in(span) {
                let more = unit.load(window, bytes);
                if !batch.queries.is_empty() && !load.plus(more).fits() {
                    let full = std::mem::replace(&mut batch, empty());
                    plan.batches.push(full);
                    load = Load::default();
                }
                load = load.plus(more);
                let position = u32::try_from(index)
                    .expect("a lane has fewer than four thousand million series");
                batch
                    .queries
                    .extend(unit.asks.iter().map(|&ask| BatchQuery {
                        series: position,
                        ask,
                        period: window.period,
                    }));
                batch.billed_metrics += 1;
                batch.points += more.points;
            }
        }
        if !batch.queries.is_empty() {
            plan.batches.push(batch);
        }
    }
    plan.groups.push(Group {
        series,
        batches: first..plan.batches.len(),
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::{MAX_POINTS_PER_REQUEST, MAX_QUERIES_PER_REQUEST};
    use crate::model::{DAY_SECONDS, Day, Dimension, MetricId};
    use proptest::prelude::*;

    const NOW: i64 = 1_795_226_400; // 2026-11-21T02:00:00Z

    fn found(n: usize, selections: impl Fn(usize) -> Vec<usize>) -> Vec<(Series, Vec<usize>)> {
        (0..n)
            .map(|i| {
                let metric = MetricId::new(
                    "AWS/EC2",
                    "CPUUtilization",
                    vec![Dimension::new("InstanceId", format!("i-{i:06}"))],
                );
                (Series::new(&Lane::example(), metric), selections(i))
            })
            .collect()
    }

    fn asks(statistics: &[&str], period: u32) -> Arc<Asks> {
        let mut statistics: Vec<Statistic> = statistics
            .iter()
            .map(|s| Statistic::parse(s).expect("statistic"))
            .collect();
        statistics.sort();
        let period = PeriodChoice::AtLeast(Period::new(period).expect("period"));
        Arc::new(Asks {
            statistics,
            period,
            unit: None,
        })
    }

    fn days(from: i64, to: i64) -> TimeWindow {
        let today = Day::containing(NOW);
        TimeWindow::days(today.plus(from), today.plus(to))
    }

    fn scope(range: TimeWindow) -> Scope {
        Scope::from([("AWS/EC2".to_owned(), (range, 900))])
    }

    fn plan(n: usize, statistics: &[&str], period: u32, range: TimeWindow) -> LanePlan {
        plan_lane(
            &Lane::example(),
            found(n, |_| vec![0]),
            &[asks(statistics, period)],
            &scope(range),
            NOW,
        )
    }

    #[test]
    fn a_request_is_as_wide_as_a_page_allows() {
        let widths = |n, statistics: &[&str], period, from| {
            plan(n, statistics, period, days(from, 0))
                .batches
                .iter()
                .map(|b| b.queries.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(widths(1_000, &["Sum"], 3600, -1), [500, 500]);
        assert_eq!(widths(700, &["Sum"], 300, -1), [350, 350]);
        assert_eq!(widths(140, &["Sum"], 60, -1), [70, 70]);
        assert_eq!(widths(2, &["Sum", "Average", "p99"], 300, -1), [6]);
    }

    #[test]
    fn five_statistics_are_billed_once_and_never_split() {
        let plan = plan(
            101,
            &["Average", "Maximum", "Minimum", "SampleCount", "Sum"],
            3600,
            days(-1, 0),
        );
        assert_eq!(
            plan.batches
                .iter()
                .map(|b| (b.queries.len(), b.billed_metrics))
                .collect::<Vec<_>>(),
            [(500, 100), (5, 1)]
        );
    }

    #[test]
    fn a_sixth_statistic_is_another_metric_on_the_bill() {
        let plan = plan(
            1,
            &["Average", "Maximum", "Minimum", "SampleCount", "Sum", "p99"],
            3600,
            days(-1, 0),
        );
        assert_eq!(plan.cost().billed_metrics, 2);
    }

    #[test]
    fn a_long_backfill_asks_each_metric_once_per_age() {
        let hourly = plan(1_000, &["Average"], 3600, days(-454, 0));
        assert_eq!(
            hourly.cost().billed_metrics,
            1_000,
            "one window holds 454 days of hours"
        );
        let auto = plan_lane(
            &Lane::example(),
            found(100, |_| vec![0]),
            &[Arc::new(Asks {
                statistics: vec![Statistic::parse("Sum").expect("s")],
                period: PeriodChoice::Auto,
                unit: None,
            })],
            &scope(days(-454, 0)),
            NOW,
        );
        assert_eq!(auto.cost().billed_metrics, 300, "three ages");
    }

    #[test]
    fn overlapping_selections_ask_once_and_the_first_decides() {
        let selections = [
            asks(&["Average", "Sum"], 300),
            asks(&["Average", "Maximum"], 3600),
        ];
        let plan = plan_lane(
            &Lane::example(),
            found(1, |_| vec![0, 1]),
            &selections,
            &scope(days(-1, 0)),
            NOW,
        );
        let asked: Vec<(String, u32)> = plan.batches[0]
            .queries
            .iter()
            .map(|q| {
                (
                    plan.series[0].asks[q.ask as usize].statistic.to_string(),
                    q.period.seconds(),
                )
            })
            .collect();
        assert_eq!(
            asked,
            [
                ("Average".to_owned(), 300),
                ("Sum".to_owned(), 300),
                ("Maximum".to_owned(), 3600)
            ]
        );
        assert_eq!((plan.cost().billed_metrics, plan.overruled), (2, 1));
    }

    #[test]
    fn no_series_make_no_batches() {
        let plan = plan(0, &["Sum"], 60, days(-1, 0));
        assert!(plan.batches.is_empty() && plan.groups.is_empty());
    }

    #[test]
    fn what_is_covered_is_asked_whole_and_old_enough() {
        let covered = |range: TimeWindow, period, now| {
            let plan = plan_lane(
                &Lane::example(),
                found(1, |_| vec![0]),
                &[asks(&["Sum"], period)],
                &scope(range),
                now,
            );
            let windows = plan.covered["AWS/EC2"].windows().to_vec();
            windows
                .iter()
                .map(|w| (w.start - days(0, 1).start, w.end - days(0, 1).start))
                .collect::<Vec<_>>()
        };
        assert_eq!(covered(days(-1, 0), 300, NOW), [(-86_400, 0)]);
        // 02:00 less a delay of 15 minutes; an hourly point of 01:00 is not whole before 02:00.
        assert_eq!(covered(days(0, 1), 300, NOW), [(0, 6_300)]);
        assert_eq!(covered(days(0, 1), 3_600, NOW), [(0, 6_300)]);
        assert_eq!(covered(days(0, 1), 3_600, NOW - 60), [(0, 3_600)]);
        // 00:07 to 00:59 has the periods it begins and ends in.
        let inside = TimeWindow {
            start: days(0, 1).start + 420,
            end: days(0, 1).start + 3_540,
        };
        assert_eq!(covered(inside, 300, NOW), [(300, 3_600)]);
        assert_eq!(covered(inside, 3_600, NOW), [(0, 3_600)]);
        let plan = plan(1, &["Sum"], 300, inside);
        assert_eq!(plan.batches[0].span.start, days(0, 1).start + 300);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn every_point_is_asked_once_within_the_limits(
            n in 0_usize..600,
            statistics in 1_usize..13,
            first in prop::sample::select(vec![60_u32, 300, 3600]),
            second in prop::sample::select(vec![60_u32, 3600, 86_400]),
            mix in 1_usize..4,
            from in -460_i64..-1, length in 1_i64..460,
        ) {
            let names: Vec<String> = (0..statistics).map(|i| format!("p{i}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let selections = [asks(&names, first), asks(&["Sum", "p1"], second)];
            let range = days(from, (from + length).min(0));
            let which = |i: usize| if i.is_multiple_of(mix) { vec![0, 1] } else { vec![0] };
            let plan = plan_lane(&Lane::example(), found(n, which), &selections, &scope(range), NOW);
            let mut seen = HashSet::new();
            let mut seconds = HashMap::new();
            for batch in &plan.batches {
                prop_assert!(batch.queries.len() <= MAX_QUERIES_PER_REQUEST);
                prop_assert!(batch.points <= MAX_POINTS_PER_REQUEST);
                prop_assert_eq!(batch.points, batch.queries.iter().map(|q| batch.span.points(q.period)).sum::<u64>());
                for query in &batch.queries {
                    prop_assert!(seen.insert((query.series, query.ask, batch.span)), "asked twice");
                    *seconds.entry((query.series, query.ask)).or_insert(0) += batch.span.seconds();
                }
            }
            let kept = crate::plan::kept(range, NOW);
            for (index, series) in plan.series.iter().enumerate() {
                for ask in 0..series.asks.len() {
                    let covered = seconds.get(&(u32::try_from(index).expect("few"), u16::try_from(ask).expect("few"))).copied().unwrap_or(0);
                    prop_assert!((kept.seconds() - covered) < DAY_SECONDS || kept.is_empty(), "{} of {}", covered, kept.seconds());
                }
            }
            let mut next = 0;
            let mut batches = 0;
            for group in &plan.groups {
                prop_assert_eq!((group.series.start, group.batches.start), (next, batches), "groups follow one another");
                (next, batches) = (group.series.end, group.batches.end);
                for batch in &plan.batches[group.batches.clone()] {
                    prop_assert!(batch.queries.iter().all(|q| group.series.contains(&(q.series as usize))));
                }
            }
            prop_assert_eq!((next, batches), (plan.series.len(), plan.batches.len()));
        }
    }
}
