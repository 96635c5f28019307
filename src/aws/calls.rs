//! The one retry layer: every AWS call of a lane goes through here.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::api::{Api, CallStats};
use super::classify::cause_of;
use super::credentials::AccountCredentials;
use super::lane::LaneClient;
use crate::model::{Cause, CauseKind};

/// What a try of a call costs.
pub trait Toll {
    /// Pays for a try that is about to be made.
    ///
    /// # Errors
    /// When it may not be made.
    fn before_try(&self) -> Result<(), Cause>;

    /// The last try was answered with an error: nothing was billed for it.
    fn refused(&self);
}

/// A call that costs nothing.
struct Free;

impl Toll for Free {
    fn before_try(&self) -> Result<(), Cause> {
        Ok(())
    }

    fn refused(&self) {}
}

/// First pause; it doubles with every try, up to the longest, and the real pause is random below it ("full jitter").
///
/// # Source
/// AWS architecture blog, "Exponential Backoff And Jitter".
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const FIRST_THROTTLE_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

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

/// Whether another try can help. A session that is refused, as expired or as unknown, is got anew once; a second refusal is final.
pub(super) fn may_try_again(
    cause: &Cause,
    credentials: &AccountCredentials,
    generation: u64,
    refreshed: &mut bool,
) -> bool {
    if !matches!(
        cause.kind,
        CauseKind::ExpiredToken | CauseKind::RegionDisabled
    ) {
        return cause.kind.is_retryable();
    }
    credentials.invalidate(generation);
    !std::mem::replace(refreshed, true)
}

impl LaneClient {
    /// Sends a call until it succeeds, is refused for good, or its tries are used up.
    ///
    /// `points` is what `GetMetricData` spends of the points quota. `paced` says that the caller already spent the quota for
    /// the first try. An expired token is refreshed once; a second one is final.
    ///
    /// # Errors
    /// The classified [`Cause`] of the last try, with a hint for a denied action.
    pub async fn call<T, E, F>(
        &self,
        api: Api,
        points: f64,
        paced: bool,
        stats: &mut CallStats,
        send: impl Fn() -> F,
    ) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.call_paid(api, points, paced, stats, &Free, send).await
    }

    /// The same for a call that costs: `toll` is asked before every try, and told of every one that was refused unbilled.
    ///
    /// # Errors
    /// As [`call`](Self::call), or the toll's.
    pub async fn call_paid<T, E, F>(
        &self,
        api: Api,
        points: f64,
        paced: bool,
        stats: &mut CallStats,
        toll: &impl Toll,
        send: impl Fn() -> F,
    ) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let mut refreshed = false;
        let mut attempt = 1;
        loop {
            if attempt > 1 || !paced {
                self.pace(api, points).await;
            }
            toll.before_try()?;
            stats.calls += 1;
            let generation = self.credentials().generation();
            let error = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let cause = cause_of(api.name(), &error);
            if cause.kind == CauseKind::Throttled {
                stats.throttles += 1;
            }
            // An answer that broke off or never came may have been made, and billed.
            if matches!(error, SdkError::ServiceError(_)) {
                toll.refused();
            } else {
                stats.unanswered += 1;
            }
            let again = may_try_again(&cause, self.credentials(), generation, &mut refreshed);
            if !again || attempt >= self.attempts() {
                return Err(self.with_hint(api, cause));
            }
            let pause = pause(cause.kind, attempt, fastrand::f64());
            tracing::debug!(lane = %self.lane(), api = api.name(), attempt, ?pause, %cause, "trying again");
            if cause.kind == CauseKind::Throttled {
                self.hold(api, pause);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
            stats.retries += 1;
        }
    }

    fn with_hint(&self, api: Api, cause: Cause) -> Cause {
        match cause.kind {
            CauseKind::AccessDenied if cause.hint.is_none() => cause.with_hint(format!(
                "allow {} in the policy of the role read in account {}: cwlake iam prints it",
                api.iam_action(),
                self.lane().account
            )),
            CauseKind::PolicyDenied if cause.hint.is_none() => cause.with_hint(format!(
                "a policy of the organization denies it in region {}: leave the region out of account {}'s regions (regions = \"auto\" does so by itself)",
                self.lane().region,
                self.lane().account
            )),
            CauseKind::RegionDisabled => cause.with_hint(format!(
                "enable region {} for account {}, or leave it out of its regions",
                self.lane().region,
                self.lane().account
            )),
            CauseKind::Throttled => cause.with_hint(format!(
                "something else spends this account's quota: lower {}",
                match api {
                    Api::GetMetricData => "limits.points_per_second and limits.calls_per_second",
                    Api::ListMetrics => "limits.list_metrics_per_second",
                    Api::DescribeInstances | Api::DescribeRegions => "limits.ec2_calls_per_second",
                    Api::DescribeLogGroups | Api::FilterLogEvents => "limits.logs_calls_per_second",
                    Api::GetLogEvents => "limits.log_stream_calls_per_second",
                }
            )),
            CauseKind::Unreachable => cause.with_hint(format!(
                "is the endpoint of region {} open from here (network, AWS_ENDPOINT_URL)?",
                self.lane().region
            )),
            _ => cause,
        }
    }
}

#[cfg(test)]
mod tests {
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
}
