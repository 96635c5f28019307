//! The operations of AWS that a lane calls, and what calls of them took.

use serde::{Deserialize, Serialize};

/// What quota a call spends, and what it is called in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// CloudWatch `GetMetricData`.
    GetMetricData,
    /// CloudWatch `ListMetrics`.
    ListMetrics,
    /// EC2 `DescribeInstances`.
    DescribeInstances,
    /// EC2 `DescribeRegions`.
    DescribeRegions,
    /// `CloudWatch` Logs `DescribeLogGroups`.
    DescribeLogGroups,
    /// `CloudWatch` Logs `FilterLogEvents`.
    FilterLogEvents,
    /// `CloudWatch` Logs `GetLogEvents`.
    GetLogEvents,
    /// CloudWatch `DescribeAlarms`.
    DescribeAlarms,
    /// CloudWatch `DescribeAlarmHistory`.
    DescribeAlarmHistory,
}

impl Api {
    /// The operation's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetMetricData => "GetMetricData",
            Self::ListMetrics => "ListMetrics",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribeRegions => "DescribeRegions",
            Self::DescribeLogGroups => "DescribeLogGroups",
            Self::FilterLogEvents => "FilterLogEvents",
            Self::GetLogEvents => "GetLogEvents",
            Self::DescribeAlarms => "DescribeAlarms",
            Self::DescribeAlarmHistory => "DescribeAlarmHistory",
        }
    }

    /// The IAM action that allows it.
    pub fn iam_action(self) -> &'static str {
        match self {
            Self::GetMetricData => "cloudwatch:GetMetricData",
            Self::ListMetrics => "cloudwatch:ListMetrics",
            Self::DescribeInstances => "ec2:DescribeInstances",
            Self::DescribeRegions => "ec2:DescribeRegions",
            Self::DescribeLogGroups => "logs:DescribeLogGroups",
            Self::FilterLogEvents => "logs:FilterLogEvents",
            Self::GetLogEvents => "logs:GetLogEvents",
            Self::DescribeAlarms => "cloudwatch:DescribeAlarms",
            Self::DescribeAlarmHistory => "cloudwatch:DescribeAlarmHistory",
        }
    }
}

/// What calls took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStats {
    /// Requests sent, every try counted.
    pub calls: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Answers that asked to slow down.
    pub throttles: u64,
    /// Tries whose answer broke off or never came; what they asked for may have been billed.
    pub unanswered: u64,
}

impl CallStats {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.retries += other.retries;
        self.throttles += other.throttles;
        self.unanswered += other.unanswered;
    }
}
