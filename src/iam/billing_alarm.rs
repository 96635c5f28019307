//! A CloudWatch alarm on a member account's charges, and its way to the bus of the account that pays.
//!
//! # Source
//! CloudFormation template reference, `AWS::CloudWatch::Alarm`, `AWS::Events::Rule`; EventBridge user guide, "Sending and receiving events
//! between accounts": the sending side needs a role, the receiving bus a policy. `AWS/Billing` is published in us-east-1 alone.

use serde_json::{Value, json};

use super::policy::{Policy, Statement};
use super::principal::OrgId;
use crate::model::AccountId;

/// An alarm and where its changes of state go.
#[derive(Clone, Debug, PartialEq)]
pub struct BillingAlarm {
    /// US dollars in the month so far.
    pub threshold: f64,
    /// ARN of the event bus.
    pub bus: String,
}

impl BillingAlarm {
    /// Reads a threshold and the ARN of a bus in us-east-1.
    ///
    /// # Errors
    /// What is wrong, by flag.
    pub fn new(threshold: f64, bus: &str) -> Result<Self, String> {
        if !(threshold.is_finite() && threshold > 0.0) {
            return Err(format!(
                "--with-billing-alarm: {threshold} is not an amount of dollars above zero"
            ));
        }
        let fields: Vec<&str> = bus.splitn(6, ':').collect();
        let ok = matches!(fields.as_slice(), ["arn", _, "events", _, account, resource]
            if AccountId::parse(account).is_some()
                && resource.strip_prefix("event-bus/").is_some_and(|name| !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))));
        if !ok {
            return Err(format!(
                "--event-bus: '{}' is not the ARN of an event bus, such as arn:aws:events:us-east-1:999900001111:event-bus/billing",
                bus.escape_debug()
            ));
        }
        Ok(Self {
            threshold,
            bus: bus.to_owned(),
        })
    }

    /// Billing metrics are in one region; the stack may be deployed in another.
    pub(super) fn conditions() -> Value {
        json!({ "HasBilling": { "Fn::Equals": [{ "Ref": "AWS::Region" }, "us-east-1"] } })
    }

    pub(super) fn add_to(&self, resources: &mut Value) {
        resources["CwlakeBillingAlarm"] = json!({
            "Type": "AWS::CloudWatch::Alarm",
            "Condition": "HasBilling",
            "Properties": {
                "AlarmDescription": "Charges of the month so far are above the threshold",
                "Namespace": "AWS/Billing",
                "MetricName": "EstimatedCharges",
                "Dimensions": [{ "Name": "Currency", "Value": "USD" }],
                "Statistic": "Maximum",
                "Period": 21_600,
                "EvaluationPeriods": 1,
                "Threshold": self.threshold,
                "ComparisonOperator": "GreaterThanThreshold",
                "TreatMissingData": "notBreaching",
            },
        });
        resources["CwlakeAlarmForwarder"] = json!({
            "Type": "AWS::IAM::Role",
            "Condition": "HasBilling",
            "Properties": {
                "AssumeRolePolicyDocument": Policy::of(vec![
                    Statement::allow("CwlakeForward", &["sts:AssumeRole"], Vec::new()).to("Service", "events.amazonaws.com"),
                ]).json(),
                "Policies": [{
                    "PolicyName": "forward",
                    "PolicyDocument": Policy::of(vec![
                        Statement::allow("CwlakeForward", &["events:PutEvents"], vec![self.bus.clone()]),
                    ]).json(),
                }],
            },
        });
        resources["CwlakeAlarmRule"] = json!({
            "Type": "AWS::Events::Rule",
            "Condition": "HasBilling",
            "Properties": {
                "Description": "Sends changes of the billing alarm to the account that pays",
                "State": "ENABLED",
                "EventPattern": {
                    "source": ["aws.cloudwatch"],
                    "detail-type": ["CloudWatch Alarm State Change"],
                    "resources": [{ "Fn::GetAtt": ["CwlakeBillingAlarm", "Arn"] }],
                },
                "Targets": [{
                    "Id": "BillingAccount",
                    "Arn": self.bus,
                    "RoleArn": { "Fn::GetAtt": ["CwlakeAlarmForwarder", "Arn"] },
                }],
            },
        });
    }

    /// The policy of the receiving bus: the organization's accounts may send, or those named.
    pub fn bus_policy(&self, organization: Option<&OrgId>, accounts: &[AccountId]) -> Value {
        let statement =
            |sid: &str| Statement::allow(sid, &["events:PutEvents"], vec![self.bus.clone()]);
        let partition = self.bus.split(':').nth(1).unwrap_or("aws");
        let policy = match organization {
            Some(organization) => Policy::of(vec![statement("CwlakeAlarms").to("AWS", "*").when(
                "StringEquals",
                "aws:PrincipalOrgID",
                organization.as_str(),
            )]),
            None => Policy::of(
                accounts
                    .iter()
                    .map(|id| {
                        statement(&format!("CwlakeAlarms{id}"))
                            .to("AWS", format!("arn:{partition}:iam::{id}:root"))
                    })
                    .collect(),
            ),
        };
        policy.json()
    }
}
