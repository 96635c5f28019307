//! Work sent ahead, consumed in order: the bound on memory of a lane and of the run.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// A result with the permit it was fetched under: another request may start once the permit is dropped.
///
/// A caller must not wait for the next result while it holds the permit of an earlier one.
#[derive(Debug)]
pub struct InFlight<T> {
    /// The result.
    pub value: T,
    /// Its share of the run's bound.
    pub permit: OwnedSemaphorePermit,
}

/// Work numbered 0 to `count - 1`, started in order, at most `read_ahead` of it unconsumed, each under one permit of the run's bound.
///
/// `admit(n)` is awaited before the permit is taken, so that waiting for a quota blocks no other lane. A lane's oldest request
/// always holds its permit before a younger one asks for one, so lanes cannot block each other.
#[derive(Debug)]
pub struct InOrder<T, A, S> {
    count: usize,
    read_ahead: usize,
    bound: Arc<Semaphore>,
    admit: A,
    start: S,
    started: usize,
    ahead: VecDeque<AbortOnDrop<InFlight<T>>>,
}

impl<T, A, AF, S, SF> InOrder<T, A, S>
where
    T: Send + 'static,
    A: Fn(usize) -> AF,
    AF: Future<Output = ()>,
    S: Fn(usize) -> SF,
    SF: Future<Output = T> + Send + 'static,
{
    /// Nothing is started yet.
    pub fn new(
        count: usize,
        read_ahead: usize,
        bound: &Arc<Semaphore>,
        admit: A,
        start: S,
    ) -> Self {
        let read_ahead = read_ahead.max(1);
        Self {
            count,
            read_ahead,
            bound: Arc::clone(bound),
            admit,
            start,
            started: 0,
            ahead: VecDeque::with_capacity(read_ahead),
        }
    }

    /// The next result in order, or none after the last.
    ///
    /// # Panics
    /// Passes on the panic of the work.
    ///
    /// # Cancel safety
    /// Dropping the value aborts what is under way; a dropped `next` may lose the oldest result.
    pub async fn next(&mut self) -> Option<InFlight<T>> {
        while self.started < self.count && self.ahead.len() < self.read_ahead {
            (self.admit)(self.started).await;
            let permit = Arc::clone(&self.bound)
                .acquire_owned()
                .await
                .expect("the run's semaphore is never closed");
            let work = (self.start)(self.started);
            let task = async move {
                InFlight {
                    value: work.await,
                    permit,
                }
            };
            self.ahead.push_back(AbortOnDrop(tokio::spawn(task)));
            self.started += 1;
        }
        let mut oldest = self.ahead.pop_front()?;
        match (&mut oldest.0).await {
            Ok(result) => Some(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
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
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_arrive_in_order_whatever_the_speed() {
        let bound = Arc::new(Semaphore::new(8));
        let start = |n: usize| async move {
            tokio::time::sleep(Duration::from_millis(100 - (n as u64 * 37) % 100)).await;
            n
        };
        let mut work = InOrder::new(20, 4, &bound, |_| async {}, start);
        let mut got = Vec::new();
        while let Some(result) = work.next().await {
            got.push(result.value);
        }
        assert_eq!(got, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_read_ahead_and_the_bound_allow() {
        let bound = Arc::new(Semaphore::new(3));
        let held = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let lanes = (0..5).map(|_| {
            let (bound, held, most) = (Arc::clone(&bound), Arc::clone(&held), Arc::clone(&most));
            async move {
                let start = |_| {
                    let (held, most) = (Arc::clone(&held), Arc::clone(&most));
                    async move {
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                let mut work = InOrder::new(10, 2, &bound, |_| async {}, start);
                while let Some(result) = work.next().await {
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(result);
                }
            }
        });
        futures_util::future::join_all(lanes).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_stops_what_is_under_way() {
        let bound = Arc::new(Semaphore::new(8));
        let slow = |_| tokio::time::sleep(Duration::from_secs(3_600));
        let mut work = InOrder::new(100, 4, &bound, |_| async {}, slow);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), work.next())
                .await
                .is_err()
        );
        drop(work);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(bound.available_permits(), 8, "every permit is back");
    }
}
