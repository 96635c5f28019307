//! Keeping within a quota by spending it evenly, so that throttling is the exception.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// One quota of one lane: so much a second.
///
/// Each spender is given the next free moment, which then moves on by cost ÷ rate. Unlike a bucket there is no burst to bump
/// into AWS's own; the first spender never waits.
#[derive(Debug)]
pub struct Pacer {
    per_second: f64,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// A quota of `per_second` units.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            next: Mutex::new(None),
        }
    }

    /// Waits until `cost` units may be spent.
    ///
    /// # Cancel safety
    /// The units stay spent when the wait is dropped.
    pub async fn spend(&self, cost: f64) {
        let at = self.reserve(Duration::from_secs_f64(cost / self.per_second));
        tokio::time::sleep_until(at).await;
    }

    /// Moves the next free moment at least this far away: the service said it is too much.
    pub fn hold(&self, pause: Duration) {
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let until = Instant::now() + pause;
        *next = Some(next.map_or(until, |at| at.max(until)));
    }

    fn reserve(&self, length: Duration) -> Instant {
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let at = next.map_or(now, |at| at.max(now));
        *next = Some(at + length);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn spends_evenly_and_never_above_the_rate() {
        let pacer = Pacer::new(10.0);
        let start = Instant::now();
        for _ in 0..21 {
            pacer.spend(1.0).await;
        }
        let elapsed = start.elapsed().as_secs_f64();
        assert!(
            (elapsed - 2.0).abs() < 0.05,
            "21 spends at 10/s took {elapsed}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn time_not_used_is_not_saved_up() {
        let pacer = Pacer::new(1.0);
        pacer.spend(1.0).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        pacer.spend(1.0).await;
        pacer.spend(1.0).await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_delays_everyone() {
        let pacer = Pacer::new(1_000.0);
        pacer.hold(Duration::from_secs(5));
        let start = Instant::now();
        pacer.spend(1.0).await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
