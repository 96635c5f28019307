//! Sorted files of points merged to one order: metric by metric, and of each metric lane by lane. A metric of a lane stands together in every file, so
//! whole blocks are taken one after the other, and no rows are compared.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::Lane;
use crate::sources::metrics::old::{OldError, OldRuns};
use crate::write::WriteError;

use super::spill::{Run, SpillReader};

/// What is merged.
pub(super) struct Source {
    from: From,
    next: Option<Run>,
}

enum From {
    /// A unit's file, or a compacted one of which some lanes are taken.
    File(OldRuns, Option<Wanted>),
    /// What an earlier merge has left.
    Spill(SpillReader),
}

impl Source {
    /// A file whose rows are sorted as those of a unit, or of a compacted one.
    pub(super) fn open(path: &Path, lanes: Option<Wanted>) -> Result<Self, OldError> {
        Self::of(From::File(OldRuns::open(path)?, lanes))
    }

    /// What an earlier merge has left.
    pub(super) fn open_spill(path: &Path) -> Result<Self, OldError> {
        let spill = SpillReader::open(path).map_err(|e| io_error(path, e))?;
        Self::of(From::Spill(spill))
    }

    fn of(from: From) -> Result<Self, OldError> {
        let mut source = Self { from, next: None };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<Option<Run>, OldError> {
        let next = match &mut self.from {
            From::Spill(spill) => spill
                .next()
                .map_err(|e| io_error(Path::new("a merge"), e))?,
            From::File(runs, lanes) => loop {
                let Some((owner, run)) = runs.take_owned()? else {
                    break None;
                };
                let is_wanted = match lanes {
                    Some(lanes) => lanes.takes(&owner.lane)?,
                    None => true,
                };
                if is_wanted {
                    break Some(Run {
                        owner,
                        identity: Arc::new(run.identity),
                        timestamps: run.timestamps[..].into(),
                        values: run.values,
                    });
                }
            },
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// Which lanes of a compacted file are taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// These are.
    pub(super) taken: Arc<BTreeSet<Lane>>,
    /// These have their own file now, or none: they are passed over. Any other lane is one whose manifest is missing.
    pub(super) passed: Arc<BTreeSet<Lane>>,
}

impl Wanted {
    /// Whether a lane is taken.
    pub(super) fn takes(&self, lane: &Lane) -> Result<bool, OldError> {
        if self.taken.contains(lane) || self.passed.contains(lane) {
            return Ok(self.taken.contains(lane));
        }
        let what = format!(
            "it has rows of {lane}, of which no manifest speaks: put that back from a copy"
        );
        Err(io_error(
            Path::new("a compacted file"),
            io::Error::other(what),
        ))
    }
}

/// The file system's error.
pub(super) fn io_error(path: &Path, source: io::Error) -> OldError {
    OldError::File(WriteError::Io {
        path: path.to_owned(),
        source,
    })
}

/// A metric of a lane, in the order of compacted rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    namespace: String,
    metric: String,
    lane: Lane,
}

impl Block {
    fn of(run: &Run) -> Self {
        let metric = &run.identity.series.metric;
        Self {
            namespace: metric.namespace().to_owned(),
            metric: metric.metric_name().to_owned(),
            lane: run.owner.lane.clone(),
        }
    }

    fn has(&self, run: &Run) -> bool {
        let metric = &run.identity.series.metric;
        metric.metric_name() == self.metric
            && metric.namespace() == self.namespace
            && run.owner.lane == self.lane
    }
}

/// Merges files into one order.
pub(super) fn merge(
    mut sources: Vec<Source>,
    mut take: impl FnMut(Run) -> Result<(), OldError>,
) -> Result<(), OldError> {
    let block = |source: &Source| source.next.as_ref().map(Block::of);
    let mut next = BinaryHeap::new();
    for (place, source) in sources.iter().enumerate() {
        next.extend(block(source).map(|block| Reverse((block, place))));
    }
    while let Some(Reverse((current, place))) = next.pop() {
        let source = &mut sources[place];
        while source.next.as_ref().is_some_and(|run| current.has(run)) {
            if let Some(run) = source.advance()? {
                take(run)?;
            }
        }
        next.extend(block(source).map(|block| Reverse((block, place))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::spill::SpillWriter;
    use crate::model::{AccountId, MetricId, Period, Region, Series, Statistic};
    use crate::normalize::{RunIdentity, RunOwner};
    use proptest::prelude::*;

    fn run(account: u64, metric: &str, stat: &str, n: i64) -> Run {
        let lane = Lane {
            account: AccountId::parse(&format!("{account:012}")).expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let dimensions = vec![crate::model::Dimension::new("d,", format!("{n}="))];
        let series = Series::new(&lane, MetricId::new("N", metric, dimensions));
        let identity = RunIdentity {
            series,
            statistic: Statistic::parse(stat).expect("statistic"),
            period: Period::MINUTE,
            unit: (n % 2 == 0).then(|| Arc::from("Count")),
        };
        let timestamps: Vec<i64> = (0..n).map(|i| i * i).collect();
        Run {
            owner: Arc::new(RunOwner {
                lane,
                account_name: account.is_multiple_of(2).then(|| Arc::from("prod")),
            }),
            identity: Arc::new(identity),
            values: timestamps.iter().map(|t| *t as f64 / 3.0).collect(),
            timestamps: timestamps[..].into(),
        }
    }

    fn key(run: &Run) -> (String, Lane, String, String, Vec<i64>) {
        let metric = &run.identity.series.metric;
        (
            metric.metric_name().to_owned(),
            run.owner.lane.clone(),
            metric.dimensions_key().to_owned(),
            run.identity.statistic.as_str().to_owned(),
            run.timestamps.iter().collect(),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_run_comes_once_and_in_order(
            lanes in prop::collection::vec(prop::collection::btree_set((prop::sample::select(vec!["a", "b", "c"]), 1_i64..6, prop::sample::select(vec!["Average", "Sum"])), 0..8), 0..6),
        ) {
            let dir = tempfile::tempdir().expect("temp dir");
            let mut expected = Vec::new();
            let mut sources = Vec::new();
            for (account, runs) in lanes.into_iter().enumerate() {
                let path = dir.path().join(account.to_string());
                let mut spill = SpillWriter::create(&path).expect("created");
                for (metric, n, stat) in runs {
                    let run = run(account as u64, metric, stat, n);
                    spill.write(&run).expect("written");
                    expected.push(run);
                }
                sources.push(Source::open_spill(&spill.finish().expect("written")).expect("opened"));
            }
            expected.sort_by_key(key);
            let mut found = Vec::new();
            merge(sources, |run| { found.push(run); Ok(()) }).expect("merged");
            let told = |runs: &[Run]| -> Vec<_> {
                runs.iter().map(|r| (key(r), r.owner.clone(), r.identity.clone(), r.values.clone())).collect()
            };
            prop_assert_eq!(told(&found), told(&expected));
        }
    }
}
