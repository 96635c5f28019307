//! Work sent ahead, consumed in order: the bound on memory of a lane and of the run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::aws::{Turn, Turns};

/// A result with the turn it was fetched in: another request may start once the turn is dropped.
///
/// A caller must not wait for the next result while it holds the turn of an earlier one.
#[derive(Debug)]
pub struct InFlight<T> {
    /// The result.
    pub value: T,
    /// Its share of the run's bound.
    pub turn: Turn,
}

/// Work numbered 0 to `count - 1`, started in order, at most `read_ahead` of it unconsumed, each in a turn of the run's.
///
/// A feeder of its own admits and starts the work, so that waiting for a turn or a quota never keeps the consumer from a result
/// that is there. `admit(n)` is awaited before the turn is taken: waiting for a quota blocks no other lane. Turns are taken in
/// order, so a lane's oldest request always has one or, when it gave it up to wait, can have one: lanes cannot block each other.
#[derive(Debug)]
pub struct InOrder<T> {
    feeder: AbortOnDrop<()>,
    started: mpsc::UnboundedReceiver<Started<T>>,
    /// Taken from `started` and not yet consumed.
    oldest: Option<Started<T>>,
}

#[derive(Debug)]
struct Started<T> {
    task: AbortOnDrop<InFlight<T>>,
    turn: Turn,
    _slot: OwnedSemaphorePermit,
}

impl<T: Send + 'static> InOrder<T> {
    /// Starts the feeder.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<A, S>(
        count: usize,
        read_ahead: usize,
        turns: &Turns,
        admit: impl Fn(usize) -> A + Send + 'static,
        start: impl Fn(usize, Turn) -> S + Send + 'static,
    ) -> Self
    where
        A: Future<Output = ()> + Send,
        S: Future<Output = T> + Send + 'static,
    {
        let turns = turns.clone();
        let slots = Arc::new(Semaphore::new(read_ahead.max(1)));
        // Unbounded in type only: the slots bound it.
        let (sender, started) = mpsc::unbounded_channel();
        let feeder = tokio::spawn(async move {
            for n in 0..count {
                let slot = Arc::clone(&slots)
                    .acquire_owned()
                    .await
                    .expect("the slots are never closed");
                admit(n).await;
                let turn = turns.turn().await;
                let (work, of_result) = (start(n, turn.clone()), turn.clone());
                let task = tokio::spawn(async move {
                    InFlight {
                        value: work.await,
                        turn: of_result,
                    }
                });
                if sender
                    .send(Started {
                        task: AbortOnDrop(task),
                        turn,
                        _slot: slot,
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            feeder: AbortOnDrop(feeder),
            started,
            oldest: None,
        }
    }

    /// The next result in order, or none after the last.
    ///
    /// # Panics
    /// Passes on the panic of the work or of the feeder.
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing. Dropping the value aborts what is under way.
    pub async fn next(&mut self) -> Option<InFlight<T>> {
        if self.oldest.is_none() {
            self.oldest = self.started.recv().await;
        }
        let Some(oldest) = &mut self.oldest else {
            // The feeder is gone: at its end, or broken down.
            let ended = (&mut self.feeder.0).await;
            return ended.map_or_else(
                |error| std::panic::resume_unwind(error.into_panic()),
                |()| None,
            );
        };
        oldest.turn.want();
        let ended = (&mut oldest.task.0).await;
        self.oldest = None;
        match ended {
            Ok(result) => Some(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Starts nothing more, and lets what is under way come to its end, at most for `limit`. The results are dropped: this is for work
    /// whose effect is wanted.
    pub async fn drain(mut self, limit: Duration) {
        self.feeder.0.abort();
        let under_way = async {
            if let Some(mut oldest) = self.oldest.take() {
                // How it ended no longer matters.
                let _ = (&mut oldest.task.0).await;
            }
            while let Some(mut one) = self.started.recv().await {
                let _ = (&mut one.task.0).await;
            }
        };
        let _ = tokio::time::timeout(limit, under_way).await;
    }
}

#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_arrive_in_order_whatever_the_speed() {
        let turns = Turns::new(8);
        let start = |n: usize, _| async move {
            tokio::time::sleep(Duration::from_millis(100 - (n as u64 * 37) % 100)).await;
            n
        };
        let mut work = InOrder::start(20, 4, &turns, |_| async {}, start);
        let mut got = Vec::new();
        while let Some(result) = work.next().await {
            got.push(result.value);
        }
        assert_eq!(got, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_read_ahead_and_the_bound_allow() {
        let turns = Turns::new(3);
        let held = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let lanes = (0..5).map(|_| {
            let (turns, held, most) = (turns.clone(), Arc::clone(&held), Arc::clone(&most));
            async move {
                let counted = (Arc::clone(&held), Arc::clone(&most));
                let start = move |_, _| {
                    let (held, most) = (Arc::clone(&counted.0), Arc::clone(&counted.1));
                    async move {
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                let mut work = InOrder::start(10, 2, &turns, |_| async {}, start);
                while let Some(result) = work.next().await {
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(result);
                }
            }
        });
        futures::future::join_all(lanes).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_that_share_too_few_turns_all_come_to_an_end() {
        let turns = Turns::new(1);
        let lanes = (0..4).map(|_| {
            let turns = turns.clone();
            async move {
                let mut work = InOrder::start(9, 4, &turns, |_| async {}, |n, _| async move { n });
                let mut seen = 0;
                // A slow consumer that keeps the last turn while it works.
                while let Some(result) = work.next().await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    seen += 1;
                    drop(result);
                }
                seen
            }
        });
        assert_eq!(futures::future::join_all(lanes).await, [9; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_stops_what_is_under_way() {
        let turns = Turns::new(8);
        let slow = |_, _| tokio::time::sleep(Duration::from_hours(1));
        let mut work = InOrder::start(100, 4, &turns, |_| async {}, slow);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), work.next())
                .await
                .is_err()
        );
        drop(work);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(turns.free(), 8, "every turn is back");
    }
}
