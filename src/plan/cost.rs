//! What a plan costs, before it is spent.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::batches::LanePlan;
use crate::config::{DOLLARS_PER_METRIC, Limits, RECENT_SECONDS};
use crate::model::MAX_STATISTICS_PER_BILLED_METRIC;

/// Cost of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCost {
    /// Series asked.
    pub series: u64,
    /// Queries over all requests.
    pub queries: u64,
    /// Metrics billed: up to five statistics of a metric in one request count once.
    pub billed_metrics: u64,
    /// `GetMetricData` requests, one page each by estimate.
    pub calls: u64,
    /// Points by CloudWatch's estimate; what is returned is at most this.
    pub points: u64,
}

impl LaneCost {
    /// Sums a plan.
    pub fn of(plan: &LanePlan) -> Self {
        let mut cost = Self {
            series: plan.series.len() as u64,
            calls: plan.batches.len() as u64,
            ..Self::default()
        };
        for batch in &plan.batches {
            cost.queries += batch.queries.len() as u64;
            cost.billed_metrics += batch.billed_metrics;
            cost.points += batch.points;
        }
        cost
    }

    /// Seconds the lane takes at AWS's quota, whichever of calls and points is the tighter.
    pub fn seconds_at_quota(&self, limits: &Limits, oldest_start: i64, now: i64) -> f64 {
        let points_per_second = points_per_second(limits, oldest_start, now);
        (self.calls as f64 / limits.calls_per_second).max(self.points as f64 / points_per_second)
    }
}

impl AddAssign for LaneCost {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.queries += other.queries;
        self.billed_metrics += other.billed_metrics;
        self.calls += other.calls;
        self.points += other.points;
    }
}

impl LanePlan {
    /// What the lane will cost.
    pub fn cost(&self) -> LaneCost {
        LaneCost::of(self)
    }

    /// What each namespace of the lane will cost.
    pub fn cost_by_namespace(&self, limits: &Limits, now: i64) -> BTreeMap<String, NamespaceCost> {
        by_namespace(self, limits, now)
    }
}

/// Share of one namespace in a lane's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceCost {
    /// Series asked.
    pub series: u64,
    /// Metrics billed.
    pub billed_metrics: u64,
    /// Requests that ask for it first; one at the border of two namespaces asks for the second as well.
    pub calls: u64,
    /// Points by CloudWatch's estimate.
    pub points: u64,
    /// Seconds it takes of its lane at quota speed.
    pub seconds_at_quota: f64,
}

impl NamespaceCost {
    /// US dollars outside the free tier.
    pub fn dollars(&self) -> f64 {
        self.billed_metrics as f64 * DOLLARS_PER_METRIC
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.series += other.series;
        self.billed_metrics += other.billed_metrics;
        self.calls += other.calls;
        self.points += other.points;
        self.seconds_at_quota += other.seconds_at_quota;
    }
}

/// Bytes of a file a point takes, for estimates.
///
/// # Source
/// Measured on the demo's mix of noisy, counting, zero and constant metrics (zstd 1): 1.9 to 4.2.
pub const BYTES_PER_POINT: u64 = 3;

fn by_namespace(plan: &LanePlan, limits: &Limits, now: i64) -> BTreeMap<String, NamespaceCost> {
    let mut costs: BTreeMap<&str, NamespaceCost> = BTreeMap::new();
    for series in &plan.series {
        costs
            .entry(series.series.metric.namespace())
            .or_default()
            .series += 1;
    }
    for batch in &plan.batches {
        let mut is_first = true;
        for queries in batch
            .queries
            .chunk_by(|a, b| (a.series, a.period) == (b.series, b.period))
        {
            let first = queries[0];
            let namespace = plan.series[first.series as usize].series.metric.namespace();
            let cost = costs.entry(namespace).or_default();
            cost.billed_metrics += queries.len().div_ceil(MAX_STATISTICS_PER_BILLED_METRIC) as u64;
            let points = batch.span.points(first.period) * queries.len() as u64;
            cost.points += points;
            let share = queries.len() as f64 / batch.queries.len() as f64;
            let by_calls = share / limits.calls_per_second;
            let by_points = points as f64 / points_per_second(limits, batch.span.start, now);
            cost.seconds_at_quota += by_calls.max(by_points);
            cost.calls += u64::from(std::mem::take(&mut is_first));
        }
    }
    costs
        .into_iter()
        .map(|(namespace, cost)| (namespace.to_owned(), cost))
        .collect()
}

/// The quota for a window that starts at `start`.
fn points_per_second(limits: &Limits, start: i64, now: i64) -> f64 {
    if now - start <= RECENT_SECONDS {
        limits.recent_points_per_second
    } else {
        limits.points_per_second
    }
}

/// Cost of a run: the sum over its lanes, which run side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Lanes that have something to ask.
    pub lanes: u64,
    /// Sums over the lanes.
    #[serde(flatten)]
    pub sum: LaneCost,
    /// US dollars for the billed metrics, outside the free tier.
    pub dollars: f64,
    /// Seconds of the slowest lane at quota speed: the run takes at least this.
    pub seconds_at_quota: f64,
}

impl Cost {
    /// Sums the plans of a run.
    pub fn of<'a>(plans: impl Iterator<Item = &'a LanePlan>, limits: &Limits, now: i64) -> Self {
        let mut cost = Self::default();
        for plan in plans {
            let lane = plan.cost();
            let oldest = plan
                .batches
                .iter()
                .map(|b| b.span.start)
                .min()
                .unwrap_or(now);
            cost.lanes += u64::from(!plan.batches.is_empty());
            cost.sum += lane;
            cost.seconds_at_quota = cost
                .seconds_at_quota
                .max(lane.seconds_at_quota(limits, oldest, now));
        }
        cost.dollars = cost.sum.billed_metrics as f64 * DOLLARS_PER_METRIC;
        cost
    }

    /// With another's.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.lanes += other.lanes;
        self.sum += other.sum;
        self.seconds_at_quota = self.seconds_at_quota.max(other.seconds_at_quota);
        self.dollars = self.sum.billed_metrics as f64 * DOLLARS_PER_METRIC;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Asks, PeriodChoice};
    use crate::model::{Day, Dimension, Lane, MetricId, Period, Series, Statistic, TimeWindow};
    use crate::plan::batches::{Scope, plan_lane};

    const NOW: i64 = 1_795_226_400; // 2026-11-21T02:00:00Z

    /// Three series of `App` with a statistic each hour, two of `Web` with six each five minutes, over yesterday: one request.
    fn plan() -> LanePlan {
        let lane = Lane::example();
        let asks = |period, statistics: &[&str]| {
            let statistics = statistics.iter().map(|s| Statistic::parse(s).expect("one"));
            Arc::new(Asks {
                statistics: statistics.collect(),
                period: PeriodChoice::AtLeast(Period::new(period).expect("period")),
                unit: None,
            })
        };
        let all = ["Average", "Maximum", "Minimum", "SampleCount", "Sum", "p90"];
        let asks = [asks(3_600, &["Sum"]), asks(300, &all)];
        let series = |namespace: &str, n: usize| {
            let dimensions = vec![Dimension::new("n", n.to_string())];
            Series::new(&lane, MetricId::new(namespace, "m", dimensions))
        };
        let of_app = (0..3).map(|n| (series("App", n), vec![0]));
        let found = of_app.chain((0..2).map(|n| (series("Web", n), vec![1])));
        let yesterday = TimeWindow::days(Day::containing(NOW).plus(-1), Day::containing(NOW));
        let window = |name: &str| (name.to_owned(), (yesterday, 900));
        let scope = Scope::from([window("App"), window("Web")]);
        plan_lane(&lane, found.collect(), &asks, &scope, NOW)
    }

    fn limits(calls_per_second: f64, points_per_second: f64) -> Limits {
        Limits {
            calls_per_second,
            points_per_second,
            recent_points_per_second: 7.0,
            ..Limits::default()
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn five_statistics_of_a_series_are_billed_once() {
        let expected = LaneCost {
            series: 5,
            queries: 3 + 2 * 6,
            billed_metrics: 3 + 2 * 2,
            calls: 1,
            points: 3 * 24 + 2 * 6 * 288,
        };
        assert_eq!(plan().cost(), expected);
    }

    #[test]
    fn a_lane_takes_as_long_as_the_tighter_quota_asks() {
        let cost = plan().cost();
        let recent = NOW - RECENT_SECONDS;
        for (calls, points, start, seconds) in [
            (0.25, 100_000.0, recent - 1, 4.0),
            (50.0, 1_764.0, recent - 1, 2.0),
            (50.0, 1_764.0, recent, 504.0),
        ] {
            let took = cost.seconds_at_quota(&limits(calls, points), start, NOW);
            assert!(near(took, seconds), "{took}, not {seconds}");
        }
    }

    #[test]
    fn the_costs_of_namespaces_are_shares_of_the_lanes() {
        let costs = plan().cost_by_namespace(&limits(50.0, 100_000.0), NOW);
        let names: Vec<&String> = costs.keys().collect();
        assert_eq!(names, ["App", "Web"]);
        let figures = |c: &NamespaceCost| (c.series, c.billed_metrics, c.calls, c.points);
        let (app, web) = (costs["App"], costs["Web"]);
        assert_eq!(figures(&app), (3, 3, 1, 72));
        assert_eq!(figures(&web), (2, 4, 0, 3_456));
        // A fifteenth of a request each; what is asked of `Web` takes longer by its points.
        assert!(near(app.seconds_at_quota, 3.0 / 15.0 / 50.0), "{app:?}");
        assert!(near(web.seconds_at_quota, 0.034_56), "{web:?}");
        assert!(near(web.dollars(), 0.000_04));
        let mut both = app;
        both.add(&web);
        assert_eq!(figures(&both), (5, 7, 1, 3_528));
        assert!(near(both.seconds_at_quota, 0.004 + 0.034_56));
        let mut turned = web;
        turned.add(&app);
        assert_eq!(figures(&turned), figures(&both));
    }

    #[test]
    fn a_run_costs_what_its_lanes_do_and_takes_as_long_as_the_slowest() {
        let idle = LanePlan {
            batches: Vec::new(),
            ..plan()
        };
        let limits = limits(0.25, 1_764.0);
        let one = Cost::of([plan(), idle.clone(), idle].iter(), &limits, NOW);
        let sum = LaneCost {
            series: 15,
            ..plan().cost()
        };
        assert_eq!((one.lanes, one.sum), (1, sum));
        assert!(near(one.dollars, 0.000_07) && near(one.seconds_at_quota, 4.0));
        let both = one.and(Cost {
            seconds_at_quota: 9.0,
            ..one
        });
        let mut twice = sum;
        twice += sum;
        assert_eq!(twice.points, 2 * sum.points);
        assert_eq!((both.lanes, both.sum), (2, twice));
        assert!(near(both.dollars, 0.000_14) && near(both.seconds_at_quota, 9.0));
    }
}
