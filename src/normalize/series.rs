//! The `series` table: every series of a lane that a run has ever seen, with the span of its points.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::rows::{Cell, Owner, Rows, batch_of};
use crate::lake::table::SERIES;
use crate::model::{MetricId, Series};

/// First and last timestamp of a series' points, in µs since the epoch; `None` when no export has found a point.
pub type Seen = Option<(i64, i64)>;

/// The series of one lane, by metric.
pub type Catalog = BTreeMap<MetricId, Seen>;

/// Widens `catalog` by what a run saw.
pub fn merge_seen(catalog: &mut Catalog, metric: MetricId, seen: Seen) {
    let there = catalog.entry(metric).or_default();
    *there = match (*there, seen) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    };
}

/// The catalog as one batch.
///
/// # Shape
/// One row a series, sorted by namespace, metric name and dimensions key.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn series_batch(owner: Owner<'_>, catalog: &Catalog) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<(&MetricId, i64, Seen)> = catalog
        .iter()
        .map(|(metric, seen)| (metric, Series::new(owner.lane, metric.clone()).id, *seen))
        .collect();
    batch_of(
        &SERIES,
        owner,
        &rows,
        |(metric, id, seen), column| match column {
            "namespace" => Cell::Text(metric.namespace()),
            "metric_name" => Cell::Text(metric.metric_name()),
            "dimensions" => Cell::Map(metric.dimensions()),
            "dimensions_key" => Cell::Text(metric.dimensions_key()),
            "series_id" => Cell::Number(*id),
            "first_seen" => Cell::number(seen.map(|s| s.0)),
            "last_seen" => Cell::number(seen.map(|s| s.1)),
            _ => Cell::Null,
        },
    )
}

/// Adds the series of a batch to `catalog`.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_series(batch: &RecordBatch, catalog: &mut Catalog) -> Result<(), DecodeError> {
    let rows = Rows::of(&SERIES, batch)?;
    for row in 0..rows.len() {
        let metric = MetricId::new(
            rows.must("namespace", row)?,
            rows.must("metric_name", row)?,
            rows.map("dimensions", row)?,
        );
        let seen = (rows.number("first_seen", row)).zip(rows.number("last_seen", row));
        merge_seen(catalog, metric, seen);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dimension, Lane};

    #[test]
    fn a_catalog_round_trips_and_only_grows() {
        let lane = Lane::example();
        let owner = Owner {
            lane: &lane,
            account_name: Some("prod"),
        };
        let metric =
            |n: &str| MetricId::new("AWS/EC2", "CPU", vec![Dimension::new("InstanceId", n)]);
        let mut catalog = Catalog::new();
        merge_seen(&mut catalog, metric("b"), Some((10, 20)));
        merge_seen(&mut catalog, metric("a"), None);
        merge_seen(&mut catalog, metric("b"), None);
        merge_seen(&mut catalog, metric("b"), Some((5, 15)));
        let batch = series_batch(owner, &catalog).expect("built");
        let mut back = Catalog::new();
        decode_series(&batch, &mut back).expect("decoded");
        assert_eq!(back, catalog);
        assert_eq!(back[&metric("b")], Some((5, 20)));
        assert_eq!(back[&metric("a")], None);
        assert_eq!(series_batch(owner, &back).expect("built"), batch);
    }
}
