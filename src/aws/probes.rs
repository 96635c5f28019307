//! One cheap call for each permission, to find out whether it is given. None of them is billed.

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{AlarmType, MetricDataQuery, OTelEnrichmentStatus};

use super::api::{Api, CallStats};
use super::connect::Reader;
use super::lane::LaneClient;
use super::retry::retried;
use crate::model::Cause;

/// A permission of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `cloudwatch:ListMetrics`.
    ListMetrics,
    /// The same with the metrics of linked accounts.
    LinkedMetrics,
    /// `cloudwatch:GetMetricData`.
    GetMetricData,
    /// `ec2:DescribeInstances`.
    DescribeInstances,
    /// `ec2:DescribeRegions`.
    DescribeRegions,
    /// `logs:DescribeLogGroups`.
    DescribeLogGroups,
    /// `cloudwatch:DescribeAlarms`, of composite alarms: those need it on `*`.
    DescribeAlarms,
    /// `cloudwatch:DescribeAlarmHistory`, of composite alarms.
    DescribeAlarmHistory,
}

impl Probe {
    /// The call it is about.
    fn api(self) -> Api {
        match self {
            Self::ListMetrics | Self::LinkedMetrics => Api::ListMetrics,
            Self::GetMetricData => Api::GetMetricData,
            Self::DescribeInstances => Api::DescribeInstances,
            Self::DescribeRegions => Api::DescribeRegions,
            Self::DescribeLogGroups => Api::DescribeLogGroups,
            Self::DescribeAlarms => Api::DescribeAlarms,
            Self::DescribeAlarmHistory => Api::DescribeAlarmHistory,
        }
    }

    /// The IAM action.
    pub fn action(self) -> &'static str {
        self.api().iam_action()
    }

    /// What is asked, for a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkedMetrics => "cloudwatch:ListMetrics of linked accounts",
            other => other.action(),
        }
    }
}

impl Reader {
    /// When the account's session ends, seconds since the epoch; none for credentials that do not end.
    pub async fn session_end(&self) -> Option<i64> {
        let session = self.credentials().get().await.ok()?;
        let end = session
            .expiry()?
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        Some(end.as_secs().cast_signed())
    }
}

impl LaneClient {
    /// Whether the account has `OpenTelemetry` metrics in the region, which `GetMetricData` does not answer; none where it does not tell.
    ///
    /// # Source
    /// CloudWatch API reference, `GetOTelEnrichment` and `GetDataset`; both are free.
    pub async fn has_otel_metrics(&self) -> Option<bool> {
        const TRIES: u32 = 2;
        let enrichment = retried("GetOTelEnrichment", TRIES, || {
            self.cloudwatch().get_o_tel_enrichment().send()
        });
        let enriches = enrichment
            .await
            .ok()
            .map(|answer| answer.status() == Some(&OTelEnrichmentStatus::Running));
        if enriches == Some(true) {
            return enriches;
        }
        let dataset = retried("GetDataset", TRIES, || {
            let request = self.cloudwatch().get_dataset();
            request.dataset_identifier("default").send()
        });
        match dataset.await {
            Ok(answer) => Some(answer.dataset_id().is_some()),
            Err(cause) if cause.is("ResourceNotFoundException") => Some(false),
            Err(_) => enriches,
        }
    }

    /// Tries one permission.
    ///
    /// # Errors
    /// The cause why the call was refused or did not come about.
    ///
    /// # Source
    /// CloudWatch pricing: `GetMetricData` is billed by the metrics it requests; a constant expression requests none.
    pub async fn try_permission(&self, probe: Probe) -> Result<(), Cause> {
        let stats = &mut CallStats::default();
        let api = probe.api();
        match probe {
            Probe::ListMetrics | Probe::LinkedMetrics => {
                let linked = (probe == Probe::LinkedMetrics).then_some(true);
                let call = self.call(api, 0.0, false, stats, || {
                    self.cloudwatch()
                        .list_metrics()
                        .namespace("AWS/EC2")
                        .metric_name("CPUUtilization")
                        .set_include_linked_accounts(linked)
                        .send()
                });
                call.await.map(|_| ())
            }
            Probe::GetMetricData => {
                let query = MetricDataQuery::builder()
                    .id("probe")
                    .expression("TIME_SERIES(0)")
                    .period(300)
                    .build();
                let now = std::time::SystemTime::now();
                let seconds = now
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs());
                let end = seconds.cast_signed() / 300 * 300;
                let call = self.call(api, 1.0, false, stats, || {
                    self.cloudwatch()
                        .get_metric_data()
                        .metric_data_queries(query.clone())
                        .start_time(DateTime::from_secs(end - 300))
                        .end_time(DateTime::from_secs(end))
                        .send()
                });
                call.await.map(|_| ())
            }
            Probe::DescribeLogGroups => {
                let call = self.call(api, 0.0, false, stats, || {
                    self.logs().describe_log_groups().limit(1).send()
                });
                call.await.map(|_| ())
            }
            Probe::DescribeAlarms => {
                let call = self.call(api, 0.0, false, stats, || {
                    let request = self.cloudwatch().describe_alarms();
                    let request = request.alarm_types(AlarmType::CompositeAlarm);
                    request.max_records(1).send()
                });
                call.await.map(|_| ())
            }
            Probe::DescribeAlarmHistory => {
                let call = self.call(api, 0.0, false, stats, || {
                    let request = self.cloudwatch().describe_alarm_history();
                    let request = request.alarm_types(AlarmType::CompositeAlarm);
                    request.max_records(1).send()
                });
                call.await.map(|_| ())
            }
            #[cfg(feature = "ec2")]
            Probe::DescribeInstances => {
                let call = self.call(api, 0.0, false, stats, || {
                    self.ec2().describe_instances().max_results(5).send()
                });
                call.await.map(|_| ())
            }
            #[cfg(feature = "ec2")]
            Probe::DescribeRegions => {
                let call = self.call(api, 0.0, false, stats, || {
                    self.ec2().describe_regions().send()
                });
                call.await.map(|_| ())
            }
            #[cfg(not(feature = "ec2"))]
            Probe::DescribeInstances | Probe::DescribeRegions => Ok(()),
        }
    }
}
