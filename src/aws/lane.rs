//! One lane's clients, its quotas and its number of tries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;

use super::api::Api;
use super::credentials::AccountCredentials;
use super::limiter::Pacer;
use super::turns::Turn;
#[cfg(feature = "ec2")]
use super::whole::WholeXml;
use crate::config::{
    DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND, Limits, RECENT_SECONDS, filter_log_events_per_second,
    get_log_events_per_second,
};
use crate::model::Lane;

/// Everything needed to call AWS in one account and region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LaneClient(Arc<Inner>, Option<Turn>);

#[derive(Debug)]
struct Inner {
    lane: Lane,
    /// Made when they are first used, and dropped while the lane waits: each takes some twenty kilobytes.
    made: Mutex<Clients>,
    sdk: SdkConfig,
    credentials: Arc<AccountCredentials>,
    attempts: u32,
    most_series: usize,
    get_metric_data: Pacer,
    points: Pacer,
    recent_factor: f64,
    list_metrics: Pacer,
    ec2_calls: Pacer,
    describe_log_groups: Pacer,
    filter_log_events: Pacer,
    get_log_events: Pacer,
    describe_alarms: Pacer,
    describe_alarm_history: Pacer,
}

/// The clients of a lane's services.
#[derive(Debug, Default)]
struct Clients {
    cloudwatch: Option<aws_sdk_cloudwatch::Client>,
    #[cfg(feature = "ec2")]
    ec2: Option<aws_sdk_ec2::Client>,
    logs: Option<aws_sdk_cloudwatchlogs::Client>,
}

impl LaneClient {
    /// `sdk` is for the lane's region and calls with `credentials`.
    pub(super) fn new(
        lane: Lane,
        sdk: &SdkConfig,
        credentials: Arc<AccountCredentials>,
        limits: &Limits,
    ) -> Self {
        let inner = Inner {
            made: Mutex::default(),
            sdk: sdk.clone(),
            credentials,
            attempts: limits.attempts,
            most_series: limits.series_per_lane as usize,
            get_metric_data: Pacer::new(limits.calls_per_second),
            points: Pacer::new(limits.points_per_second),
            recent_factor: limits.points_per_second / limits.recent_points_per_second,
            list_metrics: Pacer::new(limits.list_metrics_per_second),
            ec2_calls: Pacer::new(limits.ec2_calls_per_second),
            describe_log_groups: Pacer::new(
                limits
                    .logs_calls_per_second
                    .unwrap_or(DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND),
            ),
            filter_log_events: Pacer::new(
                limits
                    .logs_calls_per_second
                    .unwrap_or_else(|| filter_log_events_per_second(&lane.region)),
            ),
            get_log_events: Pacer::new(
                limits
                    .log_stream_calls_per_second
                    .unwrap_or_else(|| get_log_events_per_second(&lane.region)),
            ),
            describe_alarms: Pacer::new(limits.alarm_calls_per_second),
            describe_alarm_history: Pacer::new(limits.alarm_calls_per_second),
            lane,
        };
        Self(Arc::new(inner), None)
    }

    /// The same, for a request that has a turn: while a call waits to be tried again, others may go.
    #[must_use]
    pub fn under(&self, turn: &Turn) -> Self {
        Self(Arc::clone(&self.0), Some(turn.clone()))
    }

    /// The turn of the request that the client is for.
    pub(super) fn turn(&self) -> Option<&Turn> {
        self.1.as_ref()
    }

    /// Which lane this is.
    pub fn lane(&self) -> &Lane {
        &self.0.lane
    }

    fn made(&self) -> MutexGuard<'_, Clients> {
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The CloudWatch client.
    pub fn cloudwatch(&self) -> aws_sdk_cloudwatch::Client {
        let make = || aws_sdk_cloudwatch::Client::new(&self.0.sdk);
        self.made().cloudwatch.get_or_insert_with(make).clone()
    }

    /// The EC2 client.
    #[cfg(feature = "ec2")]
    pub fn ec2(&self) -> aws_sdk_ec2::Client {
        let make = || {
            let config = aws_sdk_ec2::config::Builder::from(&self.0.sdk);
            aws_sdk_ec2::Client::from_conf(config.interceptor(WholeXml).build())
        };
        self.made().ec2.get_or_insert_with(make).clone()
    }

    /// The client of `CloudWatch` Logs.
    pub fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        let make = || aws_sdk_cloudwatchlogs::Client::new(&self.0.sdk);
        self.made().logs.get_or_insert_with(make).clone()
    }

    /// The lane is not called for a while: its clients are made again when it is.
    pub(crate) fn rest(&self) {
        *self.made() = Clients::default();
    }

    /// The account's session.
    pub(super) fn credentials(&self) -> &AccountCredentials {
        &self.0.credentials
    }

    /// Tries of one call.
    pub(super) fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Series that may be selected in the lane.
    pub fn most_series(&self) -> usize {
        self.0.most_series
    }

    /// What `points` estimated points cost of the quota: more when the window starts within the last three hours, whose quota
    /// is smaller.
    pub fn point_cost(&self, points: u64, start: i64, now: i64) -> f64 {
        let recent = now - start <= RECENT_SECONDS;
        points as f64 * if recent { self.0.recent_factor } else { 1.0 }
    }

    /// Waits until the quota allows the call.
    pub async fn pace(&self, api: Api, points: f64) {
        match api {
            Api::GetMetricData => {
                self.0.get_metric_data.spend(1.0).await;
                self.0.points.spend(points).await;
            }
            other => self.pacer(other).spend(1.0).await,
        }
    }

    /// Keeps the whole lane from calling for a while.
    pub(super) fn hold(&self, api: Api, pause: Duration) {
        self.pacer(api).hold(pause);
    }

    /// What a call that was too much has spent too much of.
    fn pacer(&self, api: Api) -> &Pacer {
        match api {
            Api::GetMetricData => &self.0.points,
            Api::ListMetrics => &self.0.list_metrics,
            Api::DescribeInstances | Api::DescribeRegions => &self.0.ec2_calls,
            Api::DescribeLogGroups => &self.0.describe_log_groups,
            Api::FilterLogEvents => &self.0.filter_log_events,
            Api::GetLogEvents => &self.0.get_log_events,
            Api::DescribeAlarms => &self.0.describe_alarms,
            Api::DescribeAlarmHistory => &self.0.describe_alarm_history,
        }
    }
}
