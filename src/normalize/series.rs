//! The `series` table: every series of a lane that a run has ever seen, with the span of its points.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::metrics::map_array;
use super::schema::series_schema;
use crate::model::{Lane, MetricId, Series};

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
pub fn series_batch(
    lane: &Lane,
    account_name: Option<&str>,
    catalog: &Catalog,
) -> Result<RecordBatch, ArrowError> {
    let rows = catalog.len();
    let text = |get: fn(&MetricId) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(catalog.keys().map(get)))
    };
    let constant = |value: Option<&str>| -> ArrayRef {
        Arc::new(std::iter::repeat_n(value, rows).collect::<StringArray>())
    };
    let time = |get: fn((i64, i64)) -> i64| -> ArrayRef {
        let times = catalog.values().map(|seen| seen.map(get));
        Arc::new(
            times
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        )
    };
    let ids = catalog.keys().map(|m| Series::new(lane, m.clone()).id);
    let columns: Vec<ArrayRef> = vec![
        constant(Some(lane.account.as_str())),
        constant(account_name),
        constant(Some(lane.region.as_str())),
        text(MetricId::namespace),
        text(MetricId::metric_name),
        Arc::new(map_array(
            &catalog.keys().map(MetricId::dimensions).collect::<Vec<_>>(),
        )?),
        text(MetricId::dimensions_key),
        Arc::new(Int64Array::from_iter_values(ids)),
        time(|seen| seen.0),
        time(|seen| seen.1),
    ];
    RecordBatch::try_new(series_schema(), columns)
}

/// Adds the series of a batch to `catalog`.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_series(batch: &RecordBatch, catalog: &mut Catalog) -> Result<(), DecodeError> {
    if batch.schema().fields() != series_schema().fields() {
        return Err(DecodeError::new("it has another schema"));
    }
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| DecodeError::missing(name))
    };
    let namespace = column("namespace")?;
    let name = column("metric_name")?;
    let dimensions = column("dimensions")?;
    let ids = column("series_id")?;
    let (first, last) = (column("first_seen")?, column("last_seen")?);
    let time = |column: &ArrayRef, row: usize| {
        let column = column.as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row))
    };
    if ids.as_primitive::<Int64Type>().null_count() > 0 {
        return Err(DecodeError::missing("series_id"));
    }
    for row in 0..batch.num_rows() {
        let metric = MetricId::new(
            namespace.as_string::<i32>().value(row),
            name.as_string::<i32>().value(row),
            super::decode::dimensions_of(dimensions.as_map().value(row).columns())?,
        );
        merge_seen(catalog, metric, time(&first, row).zip(time(&last, row)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Dimension, Region};

    #[test]
    fn a_catalog_round_trips_and_only_grows() {
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let metric =
            |n: &str| MetricId::new("AWS/EC2", "CPU", vec![Dimension::new("InstanceId", n)]);
        let mut catalog = Catalog::new();
        merge_seen(&mut catalog, metric("b"), Some((10, 20)));
        merge_seen(&mut catalog, metric("a"), None);
        merge_seen(&mut catalog, metric("b"), None);
        merge_seen(&mut catalog, metric("b"), Some((5, 15)));
        let batch = series_batch(&lane, Some("prod"), &catalog).expect("built");
        let mut back = Catalog::new();
        decode_series(&batch, &mut back).expect("decoded");
        assert_eq!(back, catalog);
        assert_eq!(back[&metric("b")], Some((5, 20)));
        assert_eq!(back[&metric("a")], None);
        assert_eq!(
            series_batch(&lane, Some("prod"), &back).expect("built"),
            batch
        );
    }
}
