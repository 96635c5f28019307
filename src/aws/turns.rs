//! How many requests of a run may be in flight, and what a request does with its turn while it waits to be tried again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

/// The run's bound on requests in flight and on answers that nobody has taken yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Turns {
    requests: Arc<Semaphore>,
    /// One more, for a request that somebody waits for while all turns are held by answers that come after its own.
    passage: Arc<Semaphore>,
}

impl Turns {
    /// So many at once.
    pub fn new(requests: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            passage: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for a turn; it is given back when the last clone of it is dropped.
    pub async fn turn(&self) -> Turn {
        let permit = granted(&self.requests).await;
        Turn(Arc::new(Inner {
            turns: self.clone(),
            permit: Mutex::new(Some(permit)),
            wanted: SetOnce::new(),
        }))
    }

    /// Turns that nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.requests.available_permits()
    }
}

async fn granted(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    permit.expect("the bound is never closed")
}

/// A request's turn.
///
/// While the request waits to be tried again it holds no answer, and others may go: an account that is throttled slows no other. Answers of its
/// lane that came meanwhile keep theirs until it has come as well; so that these can never keep it waiting, whoever is waited for may go
/// without a turn, one at a time.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    turns: Turns,
    /// None while the request waits.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    wanted: SetOnce<()>,
}

impl Turn {
    /// The request's answer is the next that its lane needs.
    pub(crate) fn want(&self) {
        // Wanted twice is wanted.
        let _ = self.0.wanted.set(());
    }

    /// Lets others go.
    pub(super) fn rest(&self) {
        *self.permit() = None;
    }

    /// Waits for a turn anew.
    pub(super) async fn resume(&self) {
        if self.permit().is_some() {
            return;
        }
        let passage = async {
            self.0.wanted.wait().await;
            granted(&self.0.turns.passage).await
        };
        let permit = tokio::select! {
            biased;
            permit = granted(&self.0.turns.requests) => permit,
            permit = passage => permit,
        };
        *self.permit() = Some(permit);
    }

    fn permit(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.0.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_rests_lets_others_go_and_waits_its_turn() {
        let turns = Turns::new(1);
        let one = turns.turn().await;
        one.resume().await;
        assert_eq!(turns.free(), 0, "it never rested");
        one.rest();
        let other = turns.turn().await;
        let waited = tokio::time::timeout(std::time::Duration::from_hours(1), one.resume());
        assert!(waited.await.is_err(), "nobody waits for it");
        drop(other);
        one.resume().await;
        drop(one);
        assert_eq!(turns.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_waited_for_goes_though_all_turns_are_held() {
        let turns = Turns::new(1);
        let (one, two) = (turns.turn().await, turns.clone());
        one.rest();
        let two = two.turn().await;
        two.rest();
        let held = turns.turn().await;
        one.want();
        two.want();
        one.resume().await;
        let waited = tokio::time::timeout(std::time::Duration::from_hours(1), two.resume());
        assert!(waited.await.is_err(), "one at a time");
        drop(one);
        two.resume().await;
        drop((two, held));
        assert_eq!(turns.free(), 1);
    }
}
