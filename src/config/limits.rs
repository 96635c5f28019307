//! AWS's quotas and prices, each with its source, and the ones a configuration may override.

use std::time::Duration;

use crate::model::Region;

/// Queries in one `GetMetricData` request.
///
/// # Source
/// botocore `data/cloudwatch/2010-08-01/service-2.json`, read November 2026.
pub const MAX_QUERIES_PER_REQUEST: usize = 500;

/// Points on one `GetMetricData` page (default and largest `MaxDatapoints`).
///
/// # Source
/// As [`MAX_QUERIES_PER_REQUEST`].
pub const MAX_POINTS_PER_REQUEST: u64 = 100_800;

/// Price of one metric in one `GetMetricData` request, US dollars: 0.01 per thousand.
///
/// # Source
/// CloudWatch user guide, `cloudwatch_billing.md` (usage type `GMD-Metrics`).
pub const DOLLARS_PER_METRIC: f64 = 0.01 / 1_000.0;

/// `GetMetricData` calls per second in one account and region. Adjustable by request; accounts that were given less exist.
///
/// # Source
/// AWS General Reference, "CloudWatch endpoints and quotas" (quota L-5E141212), read November 2026. Older pages say 50.
const GET_METRIC_DATA_CALLS_PER_SECOND: f64 = 500.0;

/// Estimated points per second when the window starts more than three hours ago. Not adjustable.
///
/// # Source
/// As [`GET_METRIC_DATA_CALLS_PER_SECOND`].
const POINTS_PER_SECOND: f64 = 396_000.0;

/// Estimated points per second when the window starts within the last three hours. Not adjustable.
const RECENT_POINTS_PER_SECOND: f64 = 180_000.0;

/// Age of a window's start up to which [`Limits::recent_points_per_second`] applies.
pub const RECENT_SECONDS: i64 = 3 * 3_600;

/// Age beyond which CloudWatch keeps nothing.
///
/// # Source
/// botocore `GetMetricData`: points of 3,600 s are kept for 455 days.
pub const OLDEST_SECONDS: i64 = 455 * 86_400;

/// `ListMetrics` calls per second in one account and region.
///
/// # Source
/// CloudWatch user guide, `cloudwatch_limits.md`; adjustable by request.
const LIST_METRICS_CALLS_PER_SECOND: f64 = 25.0;

/// `DescribeInstances` and `DescribeRegions`: the sustained refill of EC2's unfiltered-call bucket.
///
/// # Source
/// EC2 API reference, "Request throttling": non-mutating unfiltered calls refill at 10 tokens per second.
const EC2_CALLS_PER_SECOND: f64 = 10.0;

/// `DescribeLogGroups` calls per second in one account and region. Adjustable by request.
///
/// # Source
/// `CloudWatch` Logs user guide, "CloudWatch Logs service quotas", read November 2026.
pub const DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND: f64 = 10.0;

/// `FilterLogEvents` calls per second in one account and region.
///
/// # Source
/// As [`DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND`].
pub fn filter_log_events_per_second(region: &Region) -> f64 {
    match region.as_str() {
        "us-east-1" => 25.0,
        "ap-northeast-3" | "ap-southeast-3" | "ca-west-1" | "eu-central-1" | "il-central-1" => 5.0,
        _ => 10.0,
    }
}

/// `GetLogEvents` calls per second in one account and region.
///
/// # Source
/// As [`DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND`].
pub fn get_log_events_per_second(region: &Region) -> f64 {
    match region.as_str() {
        "eu-west-3" => 30.0,
        "us-west-2" | "eu-west-1" | "eu-central-1" | "ap-northeast-3" | "ap-southeast-3"
        | "ca-west-1" | "il-central-1" => 10.0,
        _ => 25.0,
    }
}

/// `DescribeAlarms` calls per second in one account and region; `DescribeAlarmHistory` has at least as many. Adjustable by request.
///
/// # Source
/// `CloudWatch` user guide, `cloudwatch_limits.md`.
const ALARM_CALLS_PER_SECOND: f64 = 9.0;

/// Series that may be selected in one account and region: half a gigabyte of memory.
const SERIES_PER_LANE: u32 = 1_000_000;

/// Tries of one call, the first included.
const ATTEMPTS: u32 = 10;

/// Speeds, time limits and tries, after overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `GetMetricData` calls per second and lane.
    pub calls_per_second: f64,
    /// Estimated points per second and lane, windows that start more than three hours ago.
    pub points_per_second: f64,
    /// The same for windows that start within the last three hours.
    pub recent_points_per_second: f64,
    /// `ListMetrics` calls per second and lane.
    pub list_metrics_per_second: f64,
    /// EC2 calls per second and lane.
    pub ec2_calls_per_second: f64,
    /// `FilterLogEvents` calls per second and lane, and as many of `DescribeLogGroups`; none for the region's quotas.
    pub logs_calls_per_second: Option<f64>,
    /// `GetLogEvents` calls per second and lane; none for the region's quota.
    pub log_stream_calls_per_second: Option<f64>,
    /// `DescribeAlarms` calls per second and lane, and `DescribeAlarmHistory`.
    pub alarm_calls_per_second: f64,
    /// Series that may be selected in one lane.
    pub series_per_lane: u32,
    /// Tries of one call, the first included.
    pub attempts: u32,
    /// Time to open a connection.
    pub connect_timeout: Duration,
    /// Time to the first byte of an answer.
    pub read_timeout: Duration,
    /// Time of one try, body included.
    pub attempt_timeout: Duration,
    /// Time of one lane, discovery to last file.
    pub unit_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: GET_METRIC_DATA_CALLS_PER_SECOND,
            points_per_second: POINTS_PER_SECOND,
            recent_points_per_second: RECENT_POINTS_PER_SECOND,
            list_metrics_per_second: LIST_METRICS_CALLS_PER_SECOND,
            ec2_calls_per_second: EC2_CALLS_PER_SECOND,
            logs_calls_per_second: None,
            log_stream_calls_per_second: None,
            alarm_calls_per_second: ALARM_CALLS_PER_SECOND,
            series_per_lane: SERIES_PER_LANE,
            attempts: ATTEMPTS,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_mins(1),
            unit_timeout: Duration::from_hours(6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_quotas_are_the_regions() {
        for (code, filter, get) in [
            ("us-east-1", 25.0, 25.0),
            ("eu-central-1", 5.0, 10.0),
            ("il-central-1", 5.0, 10.0),
            ("eu-west-1", 10.0, 10.0),
            ("eu-west-3", 10.0, 30.0),
            ("us-west-2", 10.0, 10.0),
            ("ap-southeast-2", 10.0, 25.0),
        ] {
            let region = Region::parse(code).expect(code);
            assert_eq!(filter_log_events_per_second(&region), filter, "{code}");
            assert_eq!(get_log_events_per_second(&region), get, "{code}");
        }
    }
}
