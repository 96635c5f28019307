//! Runs of points to record batches of the `metrics` table.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, MapArray, RecordBatch, RunArray,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::schema::{map_entry, map_fields, schema_of};
use crate::lake::table::METRICS;
use crate::model::{Dimension, Lane, Period, Series, Statistic, Timestamps};

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

/// Whose points they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOwner {
    /// Account and region.
    pub lane: Lane,
    /// Alias of the account.
    pub account_name: Option<Arc<str>>,
}

/// Values wait in pieces of so many rows. One vector that grows would hold up to a megabyte for nothing in every day of a long range, and
/// leave holes of every size behind.
const PIECE_ROWS: usize = 8_192;
const GROWTH_RUNS: usize = 4_096;

/// Rows gathered run by run, taken as a record batch.
///
/// # Shape
/// Rows keep the order in which they are pushed. The caller pushes in the table's sort order. A row that waits takes eight bytes when its
/// run has a point every so many seconds, sixteen when it has gaps; a run takes forty more.
#[derive(Debug)]
pub struct MetricRows {
    /// Each with the first run that is its own.
    owners: Vec<(usize, Arc<RunOwner>)>,
    runs: Vec<Run>,
    rows: usize,
    values: Vec<Vec<f64>>,
}

#[derive(Debug)]
struct Run {
    identity: Arc<RunIdentity>,
    timestamps: Timestamps,
}

impl MetricRows {
    /// No rows yet; those to come are of one lane.
    pub fn new(lane: Lane, account_name: Option<Arc<str>>) -> Self {
        Self::of(Arc::new(RunOwner { lane, account_name }))
    }

    /// The same.
    pub fn of(owner: Arc<RunOwner>) -> Self {
        Self {
            owners: vec![(0, owner)],
            runs: Vec::new(),
            rows: 0,
            values: Vec::new(),
        }
    }

    /// The runs that follow are of this owner.
    pub fn set_owner(&mut self, owner: &Arc<RunOwner>) {
        let is_same = |last: &(usize, Arc<RunOwner>)| last.1 == *owner;
        if !self.owners.last().is_some_and(is_same) {
            self.owners.push((self.runs.len(), Arc::clone(owner)));
        }
    }

    /// Rows gathered and not yet taken.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a run.
    ///
    /// # Units
    /// `timestamps` ascending, as many as `values`.
    ///
    /// # Panics
    /// When the columns have different lengths.
    pub fn push(&mut self, identity: Arc<RunIdentity>, timestamps: Timestamps, values: &[f64]) {
        assert_eq!(timestamps.len(), values.len(), "points come in pairs");
        if values.is_empty() {
            return;
        }
        if self.runs.capacity() == self.runs.len() {
            let more = self.runs.len().clamp(1, GROWTH_RUNS);
            self.runs.reserve_exact(more);
        }
        self.runs.push(Run {
            identity,
            timestamps,
        });
        self.rows += values.len();
        let mut rest = values;
        while !rest.is_empty() {
            let is_full = |piece: &Vec<f64>| piece.len() == PIECE_ROWS;
            if self.values.last().is_none_or(is_full) {
                // The first grows as it is filled: there are days of a few rows.
                let room = if self.values.is_empty() {
                    0
                } else {
                    PIECE_ROWS
                };
                self.values.push(Vec::with_capacity(room));
            }
            if let Some(piece) = self.values.last_mut() {
                let (now, later) = rest.split_at(rest.len().min(PIECE_ROWS - piece.len()));
                piece.extend_from_slice(now);
                rest = later;
            }
        }
    }

    /// The rows gathered so far; none are left.
    ///
    /// # Shape
    /// The columns of [`METRICS`], in the order of the rows. Timestamps and values are plain; what a run shares is run-end encoded:
    /// its texts stand once. [`plain_rows`] repeats them.
    ///
    /// # Errors
    /// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let runs = std::mem::take(&mut self.runs);
        self.rows = 0;
        let values = std::mem::take(&mut self.values).concat();
        let last = self.owners.last().map(|(_, owner)| (0, Arc::clone(owner)));
        let owners = std::mem::replace(&mut self.owners, last.into_iter().collect());
        let owned = rows_of_owners(&owners, &runs);
        let timestamps = timestamps(&runs);
        let text = |get: fn(&RunIdentity) -> &str| {
            run_ends(
                runs.iter()
                    .map(|run| (get(&run.identity), run.timestamps.len())),
                |texts| Ok(Arc::new(StringArray::from_iter_values(texts)) as ArrayRef),
            )
        };
        let optional = |runs: &mut dyn Iterator<Item = (Option<&str>, usize)>| {
            run_ends(runs, |texts| {
                Ok(Arc::new(texts.into_iter().collect::<StringArray>()))
            })
        };
        let of_owner = |get: fn(&RunOwner) -> Option<&str>| {
            optional(&mut owned.iter().map(|(owner, rows)| (get(owner), *rows)))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(timestamps),
            of_owner(|owner| Some(owner.lane.account.as_str()))?,
            of_owner(|owner| owner.account_name.as_deref())?,
            of_owner(|owner| Some(owner.lane.region.as_str()))?,
            text(|run| run.series.metric.namespace())?,
            text(|run| run.series.metric.metric_name())?,
            run_ends(
                runs.iter().map(|run| {
                    (
                        run.identity.series.metric.dimensions(),
                        run.timestamps.len(),
                    )
                }),
                |maps| Ok(Arc::new(map_array(&maps)?)),
            )?,
            text(|run| run.series.metric.dimensions_key())?,
            run_ends(
                runs.iter()
                    .map(|run| (run.identity.series.id, run.timestamps.len())),
                |ids| Ok(Arc::new(Int64Array::from(ids))),
            )?,
            text(|run| run.statistic.as_str())?,
            run_ends(
                runs.iter().map(|run| {
                    let seconds = run.identity.period.seconds();
                    (
                        i32::try_from(seconds).unwrap_or(i32::MAX),
                        run.timestamps.len(),
                    )
                }),
                |periods| Ok(Arc::new(Int32Array::from(periods))),
            )?,
            optional(
                &mut runs
                    .iter()
                    .map(|run| (run.identity.unit.as_deref(), run.timestamps.len())),
            )?,
            Arc::new(Float64Array::from(values)),
        ];
        let fields = schema_of(&METRICS);
        let fields = fields.fields().iter().zip(&columns).map(|(field, column)| {
            Field::new(
                field.name(),
                column.data_type().clone(),
                field.is_nullable(),
            )
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns)
    }
}

/// Each owner with the rows that are its own.
fn rows_of_owners<'a>(
    owners: &'a [(usize, Arc<RunOwner>)],
    runs: &[Run],
) -> Vec<(&'a RunOwner, usize)> {
    let ends = owners.iter().skip(1).map(|(first, _)| *first);
    let spans = owners.iter().zip(ends.chain([runs.len()]));
    let rows = |runs: &[Run]| runs.iter().map(|run| run.timestamps.len()).sum();
    spans
        .map(|((first, owner), end)| (&**owner, rows(&runs[*first..end])))
        .collect()
}

fn timestamps(runs: &[Run]) -> TimestampMicrosecondArray {
    let mut all = Vec::with_capacity(runs.iter().map(|run| run.timestamps.len()).sum());
    for run in runs {
        match &run.timestamps {
            Timestamps::Every { first, step, count } => {
                let times = std::iter::successors(Some(*first), |at| Some(at.wrapping_add(*step)));
                all.extend(times.take(*count));
            }
            Timestamps::Listed(times) => all.extend_from_slice(times),
        }
    }
    TimestampMicrosecondArray::from(all).with_timezone("UTC")
}

/// A run-end encoded column: neighbours of one value become one run.
fn run_ends<T: PartialEq>(
    runs: impl IntoIterator<Item = (T, usize)>,
    array: impl FnOnce(Vec<T>) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let (mut values, mut ends) = (Vec::new(), Vec::<i32>::new());
    let mut at = 0_usize;
    for (value, length) in runs.into_iter().filter(|(_, length)| *length > 0) {
        at += length;
        let end = i32::try_from(at).map_err(|_| ArrowError::OffsetOverflowError(at))?;
        match ends.last_mut() {
            Some(last) if values.last() == Some(&value) => *last = end,
            _ => {
                values.push(value);
                ends.push(end);
            }
        }
    }
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(ends), &array(values)?)?;
    Ok(Arc::new(runs))
}

/// The same rows with what runs share repeated for every row, as [`METRICS`] has it and readers see it.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn plain_rows(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::RunEndEncoded(..) => {
            let runs = column
                .as_any()
                .downcast_ref::<RunArray<Int32Type>>()
                .ok_or_else(|| ArrowError::SchemaError("run ends of 32 bits".to_owned()))?;
            let places = (0..runs.len()).map(|row| runs.get_physical_index(row) as u64);
            let places = arrow_array::UInt64Array::from_iter_values(places);
            arrow_select::take::take(runs.values(), &places, None)
        }
        _ => Ok(Arc::clone(column)),
    };
    let columns = batch
        .columns()
        .iter()
        .map(plain)
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema_of(&METRICS), columns)
}

/// A map for each set of dimensions, sorted by key; empty, never null.
pub(super) fn map_array(maps: &[&[Dimension]]) -> Result<MapArray, ArrowError> {
    let all = || maps.iter().copied().flatten();
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(all().map(|d| &d.name)));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(all().map(|d| &d.value)));
    let mut offsets = vec![0_i32];
    let mut total = 0_usize;
    for dimensions in maps {
        total += dimensions.len();
        offsets.push(i32::try_from(total).map_err(|_| ArrowError::OffsetOverflowError(total))?);
    }
    let entries = StructArray::try_new(map_fields(), vec![keys, values], None)?;
    MapArray::try_new(
        Arc::new(map_entry()),
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

    fn push(rows: &mut MetricRows, identity: RunIdentity, timestamps: &[i64], values: &[f64]) {
        rows.push(Arc::new(identity), timestamps.into(), values);
    }

    fn all(rows: &mut MetricRows) -> RecordBatch {
        plain_rows(&rows.take().expect("built")).expect("repeated")
    }

    #[test]
    fn what_a_run_shares_stands_once_and_gaps_are_kept() {
        let mut rows = MetricRows::new(lane(), None);
        push(
            &mut rows,
            identity(&[("n", "0")], None),
            &[0, 60, 120],
            &[1.0; 3],
        );
        push(
            &mut rows,
            identity(&[("n", "1")], None),
            &[0, 60, 180],
            &[2.0; 3],
        );
        push(
            &mut rows,
            identity(&[("n", "1")], Some("Count")),
            &[240],
            &[3.0],
        );
        let batch = rows.take().expect("built");
        let values = |name: &str| {
            let column = batch.column_by_name(name).expect("column");
            let runs = column.as_any().downcast_ref::<RunArray<Int32Type>>();
            runs.expect("runs").values().len()
        };
        let names = [
            "account_id",
            "metric_name",
            "dimensions",
            "dimensions_key",
            "series_id",
            "unit",
        ];
        assert_eq!(names.map(values), [1, 1, 2, 2, 2, 2]);
        let ts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(ts.values().to_vec(), [0, 60, 120, 0, 60, 180, 240]);
    }

    #[test]
    fn runs_become_rows_with_the_fixed_schema() {
        let mut rows = MetricRows::new(lane(), Some("prod".into()));
        push(
            &mut rows,
            identity(&[("b", "2"), ("a", "1")], None),
            &[0, 60_000_000],
            &[1.5, f64::NEG_INFINITY],
        );
        push(&mut rows, identity(&[], Some("Percent")), &[0], &[-0.0]);
        assert_eq!(rows.len(), 3);
        let batch = all(&mut rows);
        assert!(rows.is_empty());
        assert_eq!(batch.schema(), schema_of(&METRICS));
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
        push(&mut rows, identity(&[], None), &[0], &[1.0]);
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
    fn no_rows_make_an_empty_batch() {
        let mut rows = MetricRows::new(lane(), None);
        push(&mut rows, identity(&[], None), &[], &[]);
        assert!(rows.is_empty());
        assert_eq!(rows.take().expect("built").num_rows(), 0);
    }
}
