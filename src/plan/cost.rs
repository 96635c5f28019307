//! What a plan costs, before it is spent.

use std::collections::BTreeMap;

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
            cost.sum.series += lane.series;
            cost.sum.queries += lane.queries;
            cost.sum.billed_metrics += lane.billed_metrics;
            cost.sum.calls += lane.calls;
            cost.sum.points += lane.points;
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
        self.sum.series += other.sum.series;
        self.sum.queries += other.sum.queries;
        self.sum.billed_metrics += other.sum.billed_metrics;
        self.sum.calls += other.sum.calls;
        self.sum.points += other.sum.points;
        self.seconds_at_quota = self.seconds_at_quota.max(other.seconds_at_quota);
        self.dollars = self.sum.billed_metrics as f64 * DOLLARS_PER_METRIC;
        self
    }
}
