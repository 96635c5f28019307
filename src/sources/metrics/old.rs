//! The rows a unit has before the run, read run by run beside the new ones.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;

use crate::model::{MetricId, Statistic};
use crate::normalize::{DecodedRun, OwnedRun, RecordBatch, decode_runs};
use crate::write::{FileFacts, WriteError, read_points};

/// Why what is there cannot be merged with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OldError {
    /// It cannot be read, or the new file not written.
    #[error(transparent)]
    File(#[from] WriteError),
    /// It is not one of ours.
    #[error("the unit that is there cannot be merged with: {0}")]
    Decode(#[from] crate::normalize::DecodeError),
}

/// The runs of a file, in order, each whole.
pub(crate) struct OldRuns {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, WriteError>> + Send>,
    next: VecDeque<OwnedRun>,
    facts: FileFacts,
}

impl fmt::Debug for OldRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldRuns").finish_non_exhaustive()
    }
}

/// What rows are sorted by, above their time.
pub(crate) type RunKey = (MetricId, Statistic);

pub(crate) fn key_of(run: &DecodedRun) -> RunKey {
    (
        run.identity.series.metric.clone(),
        run.identity.statistic.clone(),
    )
}

impl OldRuns {
    /// Opens a unit's file.
    pub(crate) fn open(path: &Path) -> Result<Self, OldError> {
        let (facts, points) = read_points(path)?;
        Ok(Self {
            facts,
            batches: Box::new(points),
            next: VecDeque::new(),
        })
    }

    /// Whether everything that was asked for is in it.
    pub(crate) fn is_complete(&self) -> bool {
        self.facts.complete
    }

    /// The next run with its key, left where it is.
    pub(crate) fn peek(&mut self) -> Result<Option<RunKey>, OldError> {
        self.fill()?;
        Ok(self.next.front().map(|(_, run)| key_of(run)))
    }

    /// Takes the next run.
    pub(crate) fn take(&mut self) -> Result<Option<DecodedRun>, OldError> {
        Ok(self.take_owned()?.map(|(_, run)| run))
    }

    /// Takes the next run with whose it is.
    pub(crate) fn take_owned(&mut self) -> Result<Option<OwnedRun>, OldError> {
        self.fill()?;
        Ok(self.next.pop_front())
    }

    /// Reads on until the first run is known to be whole: one that reaches the end of a batch may go on in the next.
    fn fill(&mut self) -> Result<(), OldError> {
        while self.next.len() < 2 {
            let Some(batch) = self.batches.next() else {
                return Ok(());
            };
            for (owner, run) in decode_runs(&batch?)? {
                match self.next.back_mut() {
                    Some((whose, last)) if last.identity == run.identity && *whose == owner => {
                        last.timestamps.extend(run.timestamps);
                        last.values.extend(run.values);
                    }
                    _ => self.next.push_back((owner, run)),
                }
            }
        }
        Ok(())
    }
}
