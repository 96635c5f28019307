//! How much may still be spent: checked before every request, not after.

use std::sync::Arc;

use crate::config::DOLLARS_PER_METRIC;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Cause, CauseKind};

/// Metrics that may be billed over a whole run.
#[derive(Debug)]
pub struct Budget {
    most: Option<u64>,
    spent: AtomicU64,
}

impl Budget {
    /// At most so many US dollars; `None` has no end.
    pub fn of_dollars(cap: Option<f64>) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cap is finite and not negative; a larger one than fits is no cap"
        )]
        // A hair more than the quotient, so that a cap equal to the plan's price is not missed by rounding.
        let most = cap.map(|dollars| (dollars / DOLLARS_PER_METRIC + 1e-6) as u64);
        Self {
            most,
            spent: AtomicU64::new(0),
        }
    }

    /// Sets `metrics` aside for a request that is about to leave.
    ///
    /// # Errors
    /// [`CauseKind::Budget`] when it would pass the cap: the request must not be sent.
    pub fn reserve(&self, metrics: u64) -> Result<(), Cause> {
        let before = self.spent.fetch_add(metrics, Ordering::Relaxed);
        match self.most {
            Some(most) if before + metrics > most => {
                self.refund(metrics);
                let text = format!(
                    "the next request would pass the ${:.2} allowed",
                    most as f64 * DOLLARS_PER_METRIC
                );
                Err(Cause::new(CauseKind::Budget, text).with_hint(
                    "run again with a higher --max-spend: what was answered is kept and not asked again",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Metrics that were set aside so far.
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Gives back what was set aside for a request that was not answered.
    pub fn refund(&self, metrics: u64) {
        self.spent.fetch_sub(metrics, Ordering::Relaxed);
    }
}

/// What one lane spends of the run's budget. Requests that were dropped while under way are in it, as they may be billed. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct LaneBudget {
    run: Arc<Budget>,
    spent: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl LaneBudget {
    /// A lane that has spent nothing.
    pub fn new(run: &Arc<Budget>) -> Self {
        Self {
            run: Arc::clone(run),
            spent: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// Metrics billed, and those of requests whose answer broke off, never came or was not waited for.
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Requests that left, every try counted, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// [`Budget::reserve`], for one request.
    ///
    /// # Errors
    /// The same.
    pub fn reserve(&self, metrics: u64) -> Result<(), Cause> {
        self.run.reserve(metrics)?;
        self.spent.fetch_add(metrics, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// [`Budget::refund`].
    pub fn refund(&self, metrics: u64) {
        self.run.refund(metrics);
        self.spent.fetch_sub(metrics, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cent_may_be_spent_and_no_more() {
        let budget = Budget::of_dollars(Some(0.01));
        assert!(budget.reserve(600).is_ok());
        assert_eq!(
            budget.reserve(401).map_err(|c| c.kind),
            Err(CauseKind::Budget)
        );
        assert!(budget.reserve(400).is_ok());
        assert!(budget.reserve(1).is_err());
        budget.refund(1);
        assert!(budget.reserve(1).is_ok());
        assert!(Budget::of_dollars(None).reserve(u64::MAX / 2).is_ok());
    }
}
