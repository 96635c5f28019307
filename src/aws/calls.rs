//! Calls of a lane: within its quotas, counted, paid for, with its session.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::api::{Api, CallStats};
use super::lane::LaneClient;
use super::retry::{Tries, retry};
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

/// The tries of a lane's call.
struct LaneTries<'a, T: Toll> {
    client: &'a LaneClient,
    api: Api,
    points: f64,
    /// The quota for the first try was spent by the caller.
    paced: bool,
    stats: &'a mut CallStats,
    toll: &'a T,
    /// Of the session that the try is signed with.
    generation: u64,
}

impl<T: Toll> Tries for LaneTries<'_, T> {
    async fn before(&mut self, attempt: u32) -> Result<(), Cause> {
        if attempt > 1 || !self.paced {
            self.client.pace(self.api, self.points).await;
        }
        if let Some(turn) = self.client.turn() {
            turn.resume().await;
        }
        self.toll.before_try()?;
        self.stats.calls += 1;
        self.stats.retries += u64::from(attempt > 1);
        self.generation = self.client.credentials().generation();
        Ok(())
    }

    fn failed(&mut self, cause: &Cause, is_answered: bool) {
        self.stats.throttles += u64::from(cause.kind == CauseKind::Throttled);
        // An answer that broke off or never came may have been made, and billed.
        if is_answered {
            self.toll.refused();
        } else {
            self.stats.unanswered += 1;
        }
    }

    fn refresh(&mut self) -> bool {
        self.client.credentials().invalidate(self.generation);
        true
    }

    fn pausing(&mut self, cause: &Cause, pause: Duration) {
        if cause.kind == CauseKind::Throttled {
            self.client.hold(self.api, pause);
        }
        if let Some(turn) = self.client.turn() {
            turn.rest();
        }
    }
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
        let mut tries = LaneTries {
            client: self,
            api,
            points,
            paced,
            stats,
            toll,
            generation: 0,
        };
        let answer = retry(api.name(), self.attempts(), &mut tries, send).await;
        answer.map_err(|(cause, _)| self.with_hint(api, cause))
    }

    fn with_hint(&self, api: Api, cause: Cause) -> Cause {
        match cause.kind {
            CauseKind::AccessDenied if cause.hint.is_none() => cause.with_hint(format!(
                "allow {} in the policy of the role read in account {}: cwlake iam prints it",
                api.iam_action(),
                self.lane().account
            )),
            CauseKind::PolicyDenied => cause.with_hint(format!(
                "a policy of the organization denies it in region {}, whatever the role may do: leave the region out of account {}'s regions (regions = \"auto\" does so by itself)",
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
                    Api::DescribeAlarms | Api::DescribeAlarmHistory =>
                        "limits.alarm_calls_per_second",
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
