//! Runs of points to record batches of the `metrics` table.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, MapArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, SchemaRef};

use super::schema::{dimension_fields, dimensions_entry, metrics_schema};
use crate::model::{Dimension, Lane, Period, Series, Statistic};

/// What all points of a run share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The series.
    pub series: Series,
    /// The statistic.
    pub statistic: Statistic,
    /// The period used.
    pub period: Period,
    /// The unit asked for.
    pub unit: Option<Arc<str>>,
}

/// Rows of one lane, gathered run by run, taken as record batches.
///
/// # Shape
/// Rows keep the order in which they are pushed. The caller pushes in the table's sort order.
#[derive(Debug)]
pub struct MetricRows {
    lane: Lane,
    account_name: Option<Arc<str>>,
    schema: SchemaRef,
    runs: Vec<(RunIdentity, usize)>,
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl MetricRows {
    /// No rows yet.
    pub fn new(lane: Lane, account_name: Option<Arc<str>>) -> Self {
        Self {
            lane,
            account_name,
            schema: metrics_schema(),
            runs: Vec::new(),
            timestamps: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Rows gathered and not yet taken.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds a run.
    ///
    /// # Units
    /// `timestamps` in µs since the epoch, ascending, as many as `values`.
    ///
    /// # Panics
    /// When the columns have different lengths.
    pub fn push(&mut self, identity: RunIdentity, timestamps: &[i64], values: &[f64]) {
        assert_eq!(timestamps.len(), values.len(), "points come in pairs");
        if values.is_empty() {
            return;
        }
        self.runs.push((identity, values.len()));
        self.timestamps.extend_from_slice(timestamps);
        self.values.extend_from_slice(values);
    }

    /// The rows gathered so far as record batches of at most `most` rows; none are left.
    ///
    /// # Shape
    /// In the order of the rows; all batches but the last have `most` rows. The texts of one batch at a time are repeated a row: the
    /// rows themselves take 16 bytes each until then.
    ///
    /// # Errors
    /// A batch is an [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
    pub fn take_batches(
        &mut self,
        most: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<> {
        let rows = Self {
            lane: self.lane.clone(),
            account_name: self.account_name.clone(),
            schema: Arc::clone(&self.schema),
            runs: std::mem::take(&mut self.runs),
            timestamps: std::mem::take(&mut self.timestamps),
            values: std::mem::take(&mut self.values),
        };
        let (mut at, mut run, mut used) = (0, 0, 0);
        std::iter::from_fn(move || {
            let end = rows.len().min(at + most.max(1));
            if at == end {
                return None;
            }
            let mut runs = Vec::new();
            let mut missing = end - at;
            while missing > 0 {
                let (identity, length) = &rows.runs[run];
                let taken = missing.min(length - used);
                runs.push((identity.clone(), taken));
                (missing, used) = (missing - taken, used + taken);
                if used == *length {
                    (run, used) = (run + 1, 0);
                }
            }
            let batch = rows.batch(&runs, &rows.timestamps[at..end], &rows.values[at..end]);
            at = end;
            Some(batch)
        })
    }

    fn batch(
        &self,
        runs: &[(RunIdentity, usize)],
        timestamps: &[i64],
        values: &[f64],
    ) -> Result<RecordBatch, ArrowError> {
        let rows = values.len();
        let metric =
            |get: fn(&RunIdentity) -> &str| repeated(runs.iter().map(|(run, n)| (get(run), *n)));
        let constant = |text: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                text, rows,
            )))
        };
        let account_name: ArrayRef = match self.account_name.as_deref() {
            Some(name) => constant(name),
            None => Arc::new(StringArray::new_null(rows)),
        };
        let series_ids = runs
            .iter()
            .flat_map(|(run, n)| std::iter::repeat_n(run.series.id, *n));
        let periods = runs.iter().flat_map(|(run, n)| {
            std::iter::repeat_n(i32::try_from(run.period.seconds()).unwrap_or(i32::MAX), *n)
        });
        let units = runs
            .iter()
            .flat_map(|(run, n)| std::iter::repeat_n(run.unit.as_deref(), *n));
        let timestamps = TimestampMicrosecondArray::from(timestamps.to_vec()).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(timestamps),
            constant(self.lane.account.as_str()),
            account_name,
            constant(self.lane.region.as_str()),
            metric(|run| run.series.metric.namespace()),
            metric(|run| run.series.metric.metric_name()),
            Arc::new(map_array(
                runs.iter()
                    .map(|(run, n)| (run.series.metric.dimensions(), *n)),
            )?),
            metric(|run| run.series.metric.dimensions_key()),
            Arc::new(Int64Array::from_iter_values(series_ids)),
            metric(|run| run.statistic.as_str()),
            Arc::new(Int32Array::from_iter_values(periods)),
            Arc::new(units.collect::<StringArray>()),
            Arc::new(Float64Array::from(values.to_vec())),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

fn repeated<'a>(runs: impl Iterator<Item = (&'a str, usize)>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(
        runs.flat_map(|(text, n)| std::iter::repeat_n(text, n)),
    ))
}

/// A map a row, sorted by key; empty, never null. In: dimensions, each with its number of rows.
pub(super) fn map_array<'a>(
    runs: impl Iterator<Item = (&'a [Dimension], usize)> + Clone,
) -> Result<MapArray, ArrowError> {
    let rows = move || runs.clone().flat_map(|(d, n)| std::iter::repeat_n(d, n));
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows().flatten().map(|d| d.name.as_str()),
    ));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows().flatten().map(|d| d.value.as_str()),
    ));
    let mut offsets = vec![0_i32];
    let mut total = 0_usize;
    for dimensions in rows() {
        total += dimensions.len();
        offsets.push(i32::try_from(total).map_err(|_| ArrowError::OffsetOverflowError(total))?);
    }
    let entries = StructArray::try_new(dimension_fields(), vec![keys, values], None)?;
    MapArray::try_new(
        Arc::new(dimensions_entry()),
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        entries,
        None,
        true,
    )
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};

    use super::*;
    use crate::model::{AccountId, MetricId, Region};

    fn lane() -> Lane {
        Lane {
            account: AccountId::parse("000122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        }
    }

    fn identity(dimensions: &[(&str, &str)], unit: Option<&str>) -> RunIdentity {
        let dimensions = dimensions
            .iter()
            .map(|(n, v)| Dimension::new(*n, *v))
            .collect();
        RunIdentity {
            series: Series::new(
                &lane(),
                MetricId::new("AWS/EC2", "CPUUtilization", dimensions),
            ),
            statistic: Statistic::parse("Average").expect("statistic"),
            period: Period::MINUTE,
            unit: unit.map(Arc::from),
        }
    }

    fn all(rows: &mut MetricRows) -> RecordBatch {
        rows.take_batches(1_000)
            .next()
            .expect("rows")
            .expect("built")
    }

    #[test]
    fn batches_cut_runs_and_lose_nothing() {
        let mut rows = MetricRows::new(lane(), None);
        for (n, length) in [3_usize, 1, 7, 4].into_iter().enumerate() {
            let timestamps: Vec<i64> = (0..).take(length).collect();
            let name = n.to_string();
            rows.push(
                identity(&[("n", name.as_str())], None),
                &timestamps,
                &vec![1.0; length],
            );
        }
        let pieces: Vec<RecordBatch> = rows.take_batches(4).map(|b| b.expect("built")).collect();
        assert_eq!(
            pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
            [4, 4, 4, 3]
        );
        let keys: Vec<String> = pieces
            .iter()
            .flat_map(|b| {
                let keys = b
                    .column_by_name("dimensions_key")
                    .expect("key")
                    .as_string::<i32>()
                    .clone();
                (0..keys.len())
                    .map(|i| keys.value(i).to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        let expected: Vec<String> = [3, 1, 7, 4]
            .into_iter()
            .enumerate()
            .flat_map(|(n, l)| vec![format!("n={n}"); l])
            .collect();
        assert_eq!(keys, expected);
    }

    #[test]
    fn runs_become_rows_with_the_fixed_schema() {
        let mut rows = MetricRows::new(lane(), Some("prod".into()));
        rows.push(
            identity(&[("b", "2"), ("a", "1")], None),
            &[0, 60_000_000],
            &[1.5, f64::NEG_INFINITY],
        );
        rows.push(identity(&[], Some("Percent")), &[0], &[-0.0]);
        assert_eq!(rows.len(), 3);
        let batch = all(&mut rows);
        assert!(rows.is_empty());
        assert_eq!(batch.schema(), metrics_schema());
        let text = |name: &str| -> Vec<Option<String>> {
            let column = batch
                .column_by_name(name)
                .expect("column")
                .as_string::<i32>()
                .clone();
            column.iter().map(|v| v.map(str::to_owned)).collect()
        };
        assert_eq!(text("account_id"), vec![Some("000122223333".to_owned()); 3]);
        assert_eq!(
            text("dimensions_key"),
            [Some("a=1,b=2"), Some("a=1,b=2"), Some("")].map(|t| t.map(str::to_owned))
        );
        assert_eq!(text("unit"), [None, None, Some("Percent".to_owned())]);
        let ts = batch
            .column_by_name("ts")
            .expect("ts")
            .as_primitive::<TimestampMicrosecondType>();
        assert_eq!(ts.values().to_vec(), [0, 60_000_000, 0]);
        let values = batch
            .column_by_name("value")
            .expect("value")
            .as_primitive::<Float64Type>();
        assert_eq!(
            values
                .values()
                .iter()
                .map(|v| v.to_bits())
                .collect::<Vec<_>>(),
            [1.5, f64::NEG_INFINITY, -0.0].map(f64::to_bits)
        );
        let ids = batch
            .column_by_name("series_id")
            .expect("id")
            .as_primitive::<Int64Type>();
        assert_eq!(ids.value(0), ids.value(1));
        assert_ne!(ids.value(0), ids.value(2));
        let map = batch.column_by_name("dimensions").expect("map").as_map();
        assert_eq!(
            (map.value(0).len(), map.value(2).len(), map.null_count()),
            (2, 0, 0)
        );
    }

    #[test]
    fn an_account_without_a_name_has_null() {
        let mut rows = MetricRows::new(lane(), None);
        rows.push(identity(&[], None), &[0], &[1.0]);
        let batch = all(&mut rows);
        assert_eq!(
            batch
                .column_by_name("account_name")
                .expect("name")
                .null_count(),
            1
        );
    }

    #[test]
    fn no_rows_make_no_batch() {
        let mut rows = MetricRows::new(lane(), None);
        rows.push(identity(&[], None), &[], &[]);
        assert!(rows.take_batches(10).next().is_none());
    }
}
