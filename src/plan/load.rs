//! What one `GetMetricData` request may carry: queries, points on a page, bytes of its body.

use crate::config::{MAX_POINTS_PER_REQUEST, MAX_QUERIES_PER_REQUEST};
use crate::model::MetricId;

/// Bytes of a body that are planned for.
///
/// # Source
/// telegraf#10842: a body above 614,400 bytes is refused with 413 `RequestEntityTooLarge`. Sizes here are upper bounds; what is left of the limit
/// covers the request's own fields.
const MAX_BYTES: usize = 600_000;

/// Names and lengths of one query's fields in CBOR, its texts left out: an upper bound.
const QUERY_BYTES: usize = 160;

/// The same of a dimension.
const DIMENSION_BYTES: usize = 18;

/// What a request carries, or a series adds to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) queries: usize,
    pub(super) points: u64,
    pub(super) bytes: usize,
}

impl Load {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            queries: self.queries + other.queries,
            points: self.points + other.points,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Whether one request can carry it.
    pub(super) fn fits(self) -> bool {
        self.queries <= MAX_QUERIES_PER_REQUEST
            && self.points <= MAX_POINTS_PER_REQUEST
            && self.bytes <= MAX_BYTES
    }
}

/// Bytes that one query of a metric takes in a request's body, at most.
///
/// # Units
/// Bytes of CBOR, the statistic and unit included at their longest.
pub(super) fn query_bytes(metric: &MetricId) -> usize {
    const LONGEST_STATISTIC: usize = 32;
    let dimensions = metric.dimensions().iter();
    let dimensions = dimensions.map(|d| DIMENSION_BYTES + d.name.len() + d.value.len());
    let names = metric.namespace().len() + metric.metric_name().len();
    QUERY_BYTES + LONGEST_STATISTIC + names + dimensions.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Asks, PeriodChoice};
    use crate::model::{Day, Dimension, Lane, Period, Series, Statistic, TimeWindow};
    use crate::plan::batches::{Batch, BatchQuery, Scope, plan_lane};

    #[test]
    fn a_request_is_full_by_whichever_limit_comes_first() {
        let fits = |queries, points, bytes| {
            let load = Load {
                queries,
                points,
                bytes,
            };
            load.fits()
        };
        assert!(fits(500, 100_800, 600_000));
        assert!(!fits(501, 1, 1) && !fits(1, 100_801, 1) && !fits(1, 1, 600_001));
    }

    #[test]
    fn a_query_is_as_long_as_its_names() {
        let bytes = |names: usize, dimensions: usize| {
            let dimension = |n: usize| Dimension::new(n.to_string(), "v".repeat(names));
            let dimensions = (0..dimensions).map(dimension).collect();
            query_bytes(&MetricId::new(
                "N".repeat(names),
                "m".repeat(names),
                dimensions,
            ))
        };
        let bare = bytes(1, 0);
        assert!(bare > QUERY_BYTES + 32, "{bare}");
        assert_eq!(bytes(101, 0), bare + 200);
        assert_eq!(bytes(1, 1), bare + DIMENSION_BYTES + 2);
        assert_eq!(bytes(1, 3), bare + 3 * (DIMENSION_BYTES + 2));
        assert_eq!(bytes(11, 1), bare + 20 + DIMENSION_BYTES + 1 + 11);
    }

    #[test]
    fn five_hundred_queries_with_long_dimensions_do_not_fit() {
        let dimensions = (0..12).map(|n| Dimension::new(format!("name-{n}"), "v".repeat(90)));
        let metric = MetricId::new("App", "m", dimensions.collect());
        let bytes = query_bytes(&metric) * 500;
        assert!(bytes > MAX_BYTES, "{bytes}");
        let short = MetricId::new(
            "AWS/EC2",
            "CPUUtilization",
            vec![Dimension::new("InstanceId", "i-0a1b2c3d4e5f60718")],
        );
        assert!(query_bytes(&short) * 500 < MAX_BYTES / 2);
    }

    #[test]
    fn a_lane_of_long_names_is_asked_in_bodies_that_are_taken() {
        const REFUSED_ABOVE: usize = 614_400;
        let lane = Lane::example();
        let series = |n: usize| {
            let dimensions =
                (0..12).map(|d| Dimension::new(format!("name-{d}"), format!("{n:090}")));
            Series::new(&lane, MetricId::new("App", "m", dimensions.collect()))
        };
        let found: Vec<_> = (0..600).map(|n| (series(n), vec![0])).collect();
        let asks = Arc::new(Asks {
            statistics: ["Maximum", "Sum"]
                .map(|s| Statistic::parse(s).expect("statistic"))
                .to_vec(),
            period: PeriodChoice::AtLeast(Period::new(3_600).expect("period")),
            unit: None,
        });
        let now = 1_795_226_400;
        let today = Day::containing(now);
        let window = TimeWindow::days(today.plus(-1), today);
        let scope = Scope::from([("App".to_owned(), (window, 900))]);
        let plan = plan_lane(&lane, found, &[asks], &scope, now);
        let bytes = |batch: &Batch| -> usize {
            let metric = |q: &BatchQuery| &plan.series[q.series as usize].series.metric;
            batch.queries.iter().map(|q| query_bytes(metric(q))).sum()
        };
        assert!(plan.batches.len() > 1);
        assert!(plan.batches.iter().all(|b| bytes(b) < REFUSED_ABOVE));
        let asked: usize = plan.batches.iter().map(|b| b.queries.len()).sum();
        assert_eq!(asked, 1_200);
        // No group is larger than its requests: each is one.
        assert_eq!(plan.groups.len(), plan.batches.len());
        let bytes = plan.batches.iter().map(bytes);
        let all: usize = bytes.clone().sum();
        assert_eq!(
            plan.batches.len(),
            all.div_ceil(MAX_BYTES),
            "as few as can be"
        );
    }
}
