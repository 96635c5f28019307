//! Raw points that were put or loaded, and how they are found.

use std::collections::BTreeMap;

/// Identity inside one lane: namespace, name, sorted dimensions.
pub(super) type MetricKey = (String, String, Vec<(String, String)>);

/// What one raw point carries.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    /// Single values, each with how often it was seen.
    Values(Vec<(f64, f64)>),
    /// A statistic set: the single values are not known.
    Set {
        count: f64,
        sum: f64,
        min: f64,
        max: f64,
    },
}

/// One raw point: its second, unit and content.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) second: i64,
    pub(super) unit: String,
    pub(super) datum: Datum,
}

/// Stored metrics of one lane.
#[derive(Debug, Default)]
pub(super) struct LaneStore {
    metrics: BTreeMap<MetricKey, Vec<Raw>>,
}

impl LaneStore {
    /// Adds a point; points stay sorted by second, equal seconds in order of arrival.
    pub(super) fn put(&mut self, key: MetricKey, raw: Raw) {
        let points = self.metrics.entry(key).or_default();
        let at = points.partition_point(|p| p.second <= raw.second);
        points.insert(at, raw);
    }

    /// Points of a metric in `[start, end)`.
    pub(super) fn range(&self, key: &MetricKey, start: i64, end: i64) -> Option<&[Raw]> {
        let points = self.metrics.get(key)?;
        let from = points.partition_point(|p| p.second < start);
        let to = points.partition_point(|p| p.second < end);
        Some(&points[from..to.max(from)])
    }

    /// Metrics with a point after `since`.
    pub(super) fn active(&self, since: i64) -> impl Iterator<Item = &MetricKey> {
        let recent = move |points: &Vec<Raw>| points.last().is_some_and(|p| p.second >= since);
        let metrics = self.metrics.iter();
        metrics
            .filter(move |(_, points)| recent(points))
            .map(|(key, _)| key)
    }
}

/// A single value, as `--load` stores it.
pub(super) fn single(value: f64) -> Datum {
    Datum::Values(vec![(value, 1.0)])
}
