//! Record batches of the `metrics` table back to runs of points: what a unit that grows is merged with.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch, StringArray};

use super::metrics::RunIdentity;
use super::schema::schema_of;
use crate::lake::table::METRICS;
use crate::model::{Dimension, MetricId, Period, Series, Statistic};

/// A file that is not one of the `metrics` table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    pub(super) fn new(message: &str) -> Self {
        Self(message.to_owned())
    }

    pub(super) fn missing(column: &str) -> Self {
        Self(format!("it has no column {column}"))
    }
}

/// Consecutive rows of one series, statistic, period and unit.
#[derive(Clone, Debug)]
pub struct DecodedRun {
    /// What they share.
    pub identity: RunIdentity,
    /// In µs since the epoch.
    pub timestamps: Vec<i64>,
    /// As many.
    pub values: Vec<f64>,
}

/// The runs of one batch, in order; a run cut by the end of a batch comes in two.
///
/// # Errors
/// [`DecodeError`] for another schema, or a cell that cwlake never writes.
pub fn decode_runs(batch: &RecordBatch) -> Result<Vec<DecodedRun>, DecodeError> {
    if batch.schema().fields() != schema_of(&METRICS).fields() {
        return Err(DecodeError("it has another schema".to_owned()));
    }
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| DecodeError::missing(name))
    };
    let text = |name: &str| column(name).map(|c| c.as_string::<i32>().clone());
    let (namespace, metric, key, stat) = (
        text("namespace")?,
        text("metric_name")?,
        text("dimensions_key")?,
        text("stat")?,
    );
    let unit = text("unit")?;
    let ids = column("series_id")?.as_primitive::<Int64Type>().clone();
    let periods = column("period")?.as_primitive::<Int32Type>().clone();
    let ts = column("ts")?
        .as_primitive::<TimestampMicrosecondType>()
        .clone();
    let values = column("value")?.as_primitive::<Float64Type>().clone();
    let dimensions = column("dimensions")?;
    let same = |a: usize, b: usize| {
        ids.value(a) == ids.value(b)
            && stat.value(a) == stat.value(b)
            && periods.value(a) == periods.value(b)
            && optional(&unit, a) == optional(&unit, b)
            && key.value(a) == key.value(b)
            && metric.value(a) == metric.value(b)
            && namespace.value(a) == namespace.value(b)
    };
    let mut runs = Vec::new();
    for rows in equal_rows(batch.num_rows(), same) {
        let at = rows.start;
        let metric = MetricId::new(
            namespace.value(at),
            metric.value(at),
            dimensions_of(dimensions.as_map().value(at).columns())?,
        );
        let period = u32::try_from(periods.value(at)).ok().and_then(Period::new);
        let identity = RunIdentity {
            series: Series {
                metric,
                id: ids.value(at),
            },
            statistic: Statistic::parse(stat.value(at))
                .map_err(|_| DecodeError(format!("'{}' is no statistic", stat.value(at))))?,
            period: period
                .ok_or_else(|| DecodeError(format!("{} s is no period", periods.value(at))))?,
            unit: optional(&unit, at).map(Arc::from),
        };
        runs.push(DecodedRun {
            identity,
            timestamps: ts.values()[rows.clone()].to_vec(),
            values: values.values()[rows].to_vec(),
        });
    }
    Ok(runs)
}

fn optional(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// Ranges of rows of which neighbours are the same.
fn equal_rows(rows: usize, same: impl Fn(usize, usize) -> bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for row in 1..=rows {
        if row == rows || !same(row - 1, row) {
            ranges.push(start..row);
            start = row;
        }
    }
    if rows == 0 { Vec::new() } else { ranges }
}

pub(super) fn dimensions_of(
    entry: &[arrow_array::ArrayRef],
) -> Result<Vec<Dimension>, DecodeError> {
    let [keys, values] = entry else {
        return Err(DecodeError::missing("dimensions"));
    };
    let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
    Ok((0..keys.len())
        .map(|i| Dimension::new(keys.value(i), values.value(i)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Lane, Region};
    use crate::normalize::{MetricRows, plain_rows};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn runs_come_back_as_they_went(
            runs in prop::collection::vec((0_usize..3, prop::sample::select(vec![60_u32, 300]), any::<bool>(), 1_usize..7), 1..8),
        ) {
            let lane = Lane { account: AccountId::parse("111122223333").expect("id"), region: Region::parse("us-east-1").expect("region") };
            let mut rows = MetricRows::new(lane.clone(), None);
            let mut pushed = Vec::new();
            for (n, (dimensions, period, unit, length)) in runs.into_iter().enumerate() {
                let dimensions = (0..dimensions).map(|d| Dimension::new(format!("d{d}"), format!("=,{n}"))).collect();
                let identity = RunIdentity {
                    series: Series::new(&lane, MetricId::new("N", format!("m{n}"), dimensions)),
                    statistic: Statistic::parse("Average").expect("statistic"),
                    period: Period::new(period).expect("period"),
                    unit: unit.then(|| Arc::from("Count")),
                };
                let timestamps: Vec<i64> = (0..).take(length).collect();
                let values: Vec<f64> = timestamps.iter().map(|t| *t as f64 * 0.1).collect();
                rows.push(Arc::new(identity.clone()), timestamps[..].into(), &values);
                pushed.push((identity.series.metric.to_string(), identity.period, identity.unit.clone(), timestamps, values));
            }
            let mut back = Vec::new();
            let batch = plain_rows(&rows.take().expect("built")).expect("repeated");
            for run in decode_runs(&batch).expect("decoded") {
                back.push((run.identity.series.metric.to_string(), run.identity.period, run.identity.unit.clone(), run.timestamps, run.values));
            }
            prop_assert_eq!(back, pushed);
        }
    }
}
