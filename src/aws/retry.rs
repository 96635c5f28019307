//! The one retry loop: every call to AWS goes through here.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::classify::cause_of;
use crate::model::{Cause, CauseKind};

/// First pause; it doubles with every try, up to the longest, and the real pause is random below it ("full jitter").
///
/// # Source
/// AWS architecture blog, "Exponential Backoff And Jitter".
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const FIRST_THROTTLE_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What surrounds the tries of a call.
pub(super) trait Tries {
    /// Before a try, 1 for the first: waits for a quota, pays.
    ///
    /// # Errors
    /// When it may not be made.
    async fn before(&mut self, _attempt: u32) -> Result<(), Cause> {
        Ok(())
    }

    /// After one that failed. `is_answered` says that the service refused it, and so did not bill it.
    fn failed(&mut self, _cause: &Cause, _is_answered: bool) {}

    /// The session was refused: throws it away, and says whether there can be another.
    fn refresh(&mut self) -> bool {
        false
    }

    /// Before the pause that follows.
    fn pausing(&mut self, _cause: &Cause, _pause: Duration) {}
}

/// A call that neither pays nor has a session of its own.
struct Plain;

impl Tries for Plain {}

/// A call that failed for good: its cause, and the SDK's error for those who look for a code of their own.
pub(super) type Failure<E> = (Cause, Box<SdkError<E, HttpResponse>>);

/// Sends a call until it succeeds, is refused for good, or its tries are used up. A session that is refused, as expired or as unknown, is got
/// anew once; a second refusal is final.
///
/// # Errors
/// The classified cause of the last try.
pub(super) async fn retry<T, E, F>(
    doing: &str,
    attempts: u32,
    tries: &mut impl Tries,
    send: impl Fn() -> F,
) -> Result<T, Failure<E>>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let mut refreshed = false;
    let mut attempt = 1;
    loop {
        if let Err(cause) = tries.before(attempt).await {
            let error = SdkError::construction_failure(cause.clone());
            return Err((cause, Box::new(error)));
        }
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let cause = cause_of(doing, &error);
        tries.failed(&cause, matches!(error, SdkError::ServiceError(_)));
        let again = match cause.kind {
            CauseKind::ExpiredToken | CauseKind::RegionDisabled => {
                !std::mem::replace(&mut refreshed, true) && tries.refresh()
            }
            kind => kind.is_retryable(),
        };
        if !again || attempt >= attempts {
            return Err((cause, Box::new(error)));
        }
        let pause = pause(cause.kind, attempt, fastrand::f64());
        tracing::debug!(doing, attempt, ?pause, %cause, "trying again");
        tries.pausing(&cause, pause);
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// The same for a call of no lane.
///
/// # Errors
/// As [`retry`].
pub(super) async fn retried<T, E, F>(
    doing: &str,
    attempts: u32,
    send: impl Fn() -> F,
) -> Result<T, Cause>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let answer = retry(doing, attempts, &mut Plain, send).await;
    answer.map_err(|(cause, _)| cause)
}

/// Between 0 and 1 of the pause that `attempt` (1 for the first) allows.
pub(super) fn pause(kind: CauseKind, attempt: u32, random: f64) -> Duration {
    let first = if kind == CauseKind::Throttled {
        FIRST_THROTTLE_PAUSE
    } else {
        FIRST_PAUSE
    };
    let longest = first
        .saturating_mul(1 << (attempt - 1).min(16))
        .min(LONGEST_PAUSE);
    longest.mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::super::classify::tests::refused;
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_jittered() {
        assert_eq!(
            pause(CauseKind::Transient, 1, 1.0),
            Duration::from_millis(100)
        );
        assert_eq!(
            pause(CauseKind::Throttled, 3, 1.0),
            Duration::from_millis(1_600)
        );
        assert_eq!(pause(CauseKind::Transient, 60, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(CauseKind::Transient, 5, 0.0), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_call_without_a_session_of_its_own_does_not_try_an_ended_one_again() {
        for (code, calls) in [
            ("ExpiredToken", 1),
            ("AccessDenied", 1),
            ("InternalFailure", 3),
        ] {
            let sent = std::cell::Cell::new(0);
            let send = || {
                sent.set(sent.get() + 1);
                std::future::ready(Err::<(), _>(refused(code, None, 400)))
            };
            assert!(retried("calling", 3, send).await.is_err());
            assert_eq!(sent.get(), calls, "{code}");
        }
    }
}
