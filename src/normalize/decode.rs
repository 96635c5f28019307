//! Record batches of the `metrics` table back to runs of points: what a unit that grows is merged with.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use super::metrics::{RunIdentity, RunOwner};
use crate::model::{
    AccountId, Dimension, Lane, MetricId, Period, Region, Series, Statistic, parse_dimensions_key,
};

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

/// A run with whose it is.
pub type OwnedRun = (Arc<RunOwner>, DecodedRun);

/// The runs of one batch, in order; a run cut by the end of a batch comes in two.
///
/// # Shape
/// The columns of [`METRICS`](crate::lake::table::METRICS) but `dimensions`, which `dimensions_key` says as well, and those without a value; texts stand in dictionaries.
///
/// # Errors
/// [`DecodeError`] for another schema, or a cell that cwlake never writes.
pub fn decode_runs(batch: &RecordBatch) -> Result<Vec<OwnedRun>, DecodeError> {
    let columns = Columns::of(batch)?;
    let mut runs: Vec<OwnedRun> = Vec::new();
    for rows in columns.runs() {
        let last = runs.last();
        let owner = columns.owner(rows.start, last.map(|(owner, _)| owner))?;
        let identity = columns.identity(rows.start, last.map(|(_, run)| &run.identity))?;
        let (ts, values) = (
            &columns.ts.values()[rows.clone()],
            &columns.values.values()[rows],
        );
        runs.push((
            owner,
            DecodedRun {
                identity,
                timestamps: ts.to_vec(),
                values: values.to_vec(),
            },
        ));
    }
    Ok(runs)
}

/// A column of texts in a dictionary.
struct Texts<'a>(Option<(&'a Int32Array, &'a StringArray)>);

impl<'a> Texts<'a> {
    fn get(&self, row: usize) -> Option<&'a str> {
        let (keys, texts) = self.0?;
        let place = keys.is_valid(row).then(|| keys.value(row))?;
        Some(texts.value(usize::try_from(place).ok()?))
    }

    fn must(&self, row: usize) -> &'a str {
        self.get(row).unwrap_or_default()
    }

    /// Notes the rows that differ from the one before: where places are the same, texts are.
    fn note_changes(&self, changes: &mut [bool]) {
        if let Some((keys, _)) = self.0 {
            note_changes(keys.values(), changes);
            if let Some(nulls) = keys.nulls() {
                let valid: Vec<bool> = nulls.iter().collect();
                note_changes(&valid, changes);
            }
        }
    }
}

fn note_changes<T: PartialEq>(values: &[T], changes: &mut [bool]) {
    let pairs = values.windows(2).zip(&mut changes[1..]);
    pairs.for_each(|(pair, change)| *change |= pair[0] != pair[1]);
}

struct Columns<'a> {
    account: Texts<'a>,
    account_name: Texts<'a>,
    region: Texts<'a>,
    namespace: Texts<'a>,
    metric: Texts<'a>,
    key: Texts<'a>,
    stat: Texts<'a>,
    unit: Texts<'a>,
    ids: &'a Int64Array,
    periods: &'a Int32Array,
    ts: &'a TimestampMicrosecondArray,
    values: &'a Float64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, DecodeError> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            let column = column.filter(|c| c.null_count() == 0);
            column.ok_or_else(|| DecodeError::missing(name))
        };
        let other = || DecodeError("it has another schema".to_owned());
        let dictionary = |column: &'a ArrayRef| {
            let texts = column.as_dictionary_opt::<Int32Type>();
            let texts = texts.ok_or_else(other)?;
            let values = texts.values().as_string_opt::<i32>();
            Ok(Texts(Some((texts.keys(), values.ok_or_else(other)?))))
        };
        let text = |name: &str| dictionary(column(name)?);
        let optional = |name: &str| {
            let column = batch.column_by_name(name);
            column.map_or(Ok(Texts(None)), dictionary)
        };
        let ids = column("series_id")?.as_primitive_opt::<Int64Type>();
        let periods = column("period")?.as_primitive_opt::<Int32Type>();
        let ts = column("ts")?.as_primitive_opt::<TimestampMicrosecondType>();
        let values = column("value")?.as_primitive_opt::<Float64Type>();
        Ok(Self {
            account: text("account_id")?,
            account_name: optional("account_name")?,
            region: text("region")?,
            namespace: text("namespace")?,
            metric: text("metric_name")?,
            key: text("dimensions_key")?,
            stat: text("stat")?,
            unit: optional("unit")?,
            ids: ids.ok_or_else(other)?,
            periods: periods.ok_or_else(other)?,
            ts: ts.ok_or_else(other)?,
            values: values.ok_or_else(other)?,
        })
    }

    /// Ranges of rows that are of one run.
    fn runs(&self) -> Vec<Range<usize>> {
        let rows = self.ids.len();
        if rows == 0 {
            return Vec::new();
        }
        let mut changes = vec![false; rows];
        for texts in [
            &self.account,
            &self.account_name,
            &self.region,
            &self.namespace,
            &self.metric,
            &self.key,
            &self.stat,
            &self.unit,
        ] {
            texts.note_changes(&mut changes);
        }
        note_changes(self.ids.values(), &mut changes);
        note_changes(self.periods.values(), &mut changes);
        let starts = (0..rows).filter(|row| *row == 0 || changes[*row]);
        let starts: Vec<usize> = starts.collect();
        let ends = starts.iter().skip(1).copied().chain([rows]);
        starts
            .iter()
            .copied()
            .zip(ends)
            .map(|(a, b)| a..b)
            .collect()
    }

    fn owner(
        &self,
        row: usize,
        last: Option<&Arc<RunOwner>>,
    ) -> Result<Arc<RunOwner>, DecodeError> {
        let (account, region) = (self.account.must(row), self.region.must(row));
        let name = self.account_name.get(row);
        let is_same = |last: &&Arc<RunOwner>| {
            last.lane.account.as_str() == account
                && last.lane.region.as_str() == region
                && last.account_name.as_deref() == name
        };
        if let Some(last) = last.filter(is_same) {
            return Ok(Arc::clone(last));
        }
        let lane = AccountId::parse(account).zip(Region::parse(region));
        let (account, region) =
            lane.ok_or_else(|| DecodeError::new("a row is of no account and region"))?;
        Ok(Arc::new(RunOwner {
            lane: Lane { account, region },
            account_name: name.map(Arc::from),
        }))
    }

    fn identity(&self, row: usize, last: Option<&RunIdentity>) -> Result<RunIdentity, DecodeError> {
        let (namespace, metric) = (self.namespace.must(row), self.metric.must(row));
        let key = self.key.must(row);
        let is_same = |last: &&RunIdentity| {
            let metric_id = &last.series.metric;
            metric_id.dimensions_key() == key
                && metric_id.metric_name() == metric
                && metric_id.namespace() == namespace
        };
        let metric = match last.filter(is_same) {
            Some(last) => last.series.metric.clone(),
            None => {
                let dimensions = parse_dimensions_key(key)
                    .ok_or_else(|| DecodeError(format!("'{key}' names no dimensions")))?;
                MetricId::new(namespace, metric, dimensions)
            }
        };
        let (stat, seconds) = (self.stat.must(row), self.periods.value(row));
        let period = u32::try_from(seconds).ok().and_then(Period::new);
        Ok(RunIdentity {
            series: Series {
                metric,
                id: self.ids.value(row),
            },
            statistic: Statistic::parse(stat)
                .map_err(|_| DecodeError(format!("'{stat}' is no statistic")))?,
            period: period.ok_or_else(|| DecodeError(format!("{seconds} s is no period")))?,
            unit: self.unit.get(row).map(Arc::from),
        })
    }
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
    use crate::lake::table::METRICS;
    use crate::normalize::{MetricRows, schema_of};
    use crate::write::{FooterKeys, RunFile, read_points};
    use proptest::prelude::*;

    /// Through a file, as they always come.
    fn read_back(rows: &RecordBatch) -> Vec<OwnedRun> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("points");
        let footer = FooterKeys {
            schema_version: 1,
            plan_hash: None,
        };
        let file = RunFile::create(&path, &schema_of(&METRICS), METRICS.sort, footer);
        let mut file = file.expect("created");
        file.write(rows).expect("written");
        file.finish(true).expect("finished");
        let (_, batches) = read_points(&path).expect("opened");
        batches
            .flat_map(|batch| decode_runs(&batch.expect("read")).expect("decoded"))
            .collect()
    }

    #[test]
    fn every_run_is_its_owners() {
        let owner = |account: &str, region: &str, name: Option<&str>| {
            Arc::new(RunOwner {
                lane: Lane {
                    account: AccountId::parse(account).expect("id"),
                    region: Region::parse(region).expect("region"),
                },
                account_name: name.map(Arc::from),
            })
        };
        let owners = [
            owner("111122223333", "us-east-1", None),
            owner("111122223333", "us-west-2", None),
            owner("222233334444", "us-west-2", None),
            owner("222233334444", "us-west-2", Some("prod")),
        ];
        let mut rows = MetricRows::of(Arc::clone(&owners[0]));
        for owner in &owners {
            rows.set_owner(owner);
            rows.set_owner(owner);
            for stat in ["Average", "Sum"] {
                let identity = RunIdentity {
                    series: Series::new(&owner.lane, MetricId::new("N", "m", Vec::new())),
                    statistic: Statistic::parse(stat).expect("statistic"),
                    period: Period::MINUTE,
                    unit: None,
                };
                rows.push(Arc::new(identity), [0, 60][..].into(), &[1.0, 2.0]);
            }
        }
        let whose = |runs: Vec<OwnedRun>| -> Vec<Arc<RunOwner>> {
            runs.into_iter().map(|(owner, _)| owner).collect()
        };
        let expected: Vec<_> = owners
            .iter()
            .flat_map(|o| [Arc::clone(o), Arc::clone(o)])
            .collect();
        assert_eq!(whose(read_back(&rows.take().expect("built"))), expected);
        // What comes after is still the last one's.
        let series = Series::new(&owners[3].lane, MetricId::new("N", "m", Vec::new()));
        let identity = RunIdentity {
            series,
            statistic: Statistic::parse("Sum").expect("statistic"),
            period: Period::MINUTE,
            unit: None,
        };
        rows.push(Arc::new(identity), [0][..].into(), &[1.0]);
        assert_eq!(
            whose(read_back(&rows.take().expect("built"))),
            expected[7..]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn runs_come_back_as_they_went(
            runs in prop::collection::vec((0_usize..3, prop::sample::select(vec![60_u32, 300]), any::<bool>(), 1_usize..7), 1..8),
        ) {
            let lane = Lane::example();
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
            for (owner, run) in read_back(&rows.take().expect("built")) {
                prop_assert_eq!(&owner.lane, &lane);
                back.push((run.identity.series.metric.to_string(), run.identity.period, run.identity.unit.clone(), run.timestamps, run.values));
            }
            prop_assert_eq!(back, pushed);
        }
    }

    #[test]
    fn metrics_that_differ_by_one_name_are_told_apart() {
        let lane = Lane::example();
        let mut rows = MetricRows::new(lane.clone(), None);
        let dimensions = |value: &str| vec![Dimension::new("n", value)];
        let metrics = [
            MetricId::new("N", "a", dimensions("1")),
            MetricId::new("N", "b", dimensions("1")),
            MetricId::new("O", "b", dimensions("1")),
            MetricId::new("O", "b", dimensions("2")),
            MetricId::new("O", "b", dimensions("2")),
        ];
        for (n, metric) in metrics.iter().enumerate() {
            let identity = RunIdentity {
                series: Series::new(&lane, metric.clone()),
                statistic: Statistic::parse(if n == 4 { "Sum" } else { "Average" }).expect("one"),
                period: Period::MINUTE,
                unit: None,
            };
            rows.push(Arc::new(identity), [0, 60][..].into(), &[1.0, 2.0]);
        }
        let runs = read_back(&rows.take().expect("built"));
        let read: Vec<MetricId> = runs
            .into_iter()
            .map(|(_, run)| run.identity.series.metric)
            .collect();
        assert_eq!(read, metrics);
    }
}
