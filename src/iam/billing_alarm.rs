//! A CloudWatch alarm on a member account's charges, and its way to the bus of the account that pays.
//!
//! # Source
//! CloudFormation template reference, `AWS::CloudWatch::Alarm`, `AWS::Events::Rule`; EventBridge user guide, "Sending and receiving events
//! between accounts": the sending side needs a role, the receiving bus a policy. `AWS/Billing` is published in us-east-1 alone.

use std::collections::BTreeMap;

use super::parts::MOST_IDS;
use super::principal::OrgId;
use crate::model::AccountId;

use serde_json::{Value, json};

use super::policy::{Policy, Statement};
use crate::config::{Budget, BudgetScope, ExportConfig};

/// An alarm and where its changes of state go.
#[derive(Clone, Debug, PartialEq)]
pub struct BillingAlarm {
    /// US dollars in the month so far.
    pub threshold: AlarmThreshold,
    /// ARN of the event bus.
    pub bus: String,
}

/// Above which charges an alarm goes off.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmThreshold {
    /// The same in every account.
    One(f64),
    /// One an account: `month_usd` of its budget.
    ByAccount(BTreeMap<AccountId, f64>),
}

impl AlarmThreshold {
    /// What the budgets of a configuration say of each account's month.
    ///
    /// # Errors
    /// Accounts without a `month_usd`, or whose threshold is not known here.
    pub fn of_budgets(config: &ExportConfig) -> Result<Self, String> {
        let month_of = |id: Option<&AccountId>| {
            let of_scope = |budget: &&Budget| match (&budget.scope, id) {
                (BudgetScope::Group(ids), Some(id)) => ids.len() == 1 && ids.contains(id),
                _ => false,
            };
            let of_each = |budget: &&Budget| match (&budget.scope, id) {
                (BudgetScope::Each(ids), _) if ids.is_empty() => true,
                (BudgetScope::Each(ids), Some(id)) => ids.contains(id),
                _ => false,
            };
            let own = config.budgets.iter().find(of_scope);
            let each = config.budgets.iter().find(of_each);
            own.and_then(|b| b.month).or(each.and_then(|b| b.month))
        };
        let asked = config.accounts.iter().filter(|a| config.is_about(&a.id));
        let mut by_account = BTreeMap::new();
        let mut without = Vec::new();
        for account in asked {
            match month_of(Some(&account.id)) {
                Some(month) => {
                    by_account.insert(account.id.clone(), month);
                }
                None => without.push(account.id.as_str()),
            }
        }
        if let Some(first) = without.first() {
            return Err(format!(
                "--with-billing-alarm: account {first} has no budget of its own with month_usd, nor one for each: add it, or give the amount"
            ));
        }
        let others = config.organization.is_some() && !config.has_account_flag();
        let usual = month_of(None);
        if others && usual.is_none() {
            return Err(
                "--with-billing-alarm: accounts of the organization are not known here: add a [[budget]] with each = true and month_usd, or give the amount"
                    .to_owned(),
            );
        }
        let mut amounts: Vec<f64> = by_account.values().copied().collect();
        amounts.extend(usual.filter(|_| others));
        amounts.dedup();
        match (amounts.as_slice(), others) {
            ([], _) => Err("--with-billing-alarm: no account is configured".to_owned()),
            ([one], _) => Ok(Self::One(*one)),
            (_, false) if by_account.len() <= MOST_IDS => Ok(Self::ByAccount(by_account)),
            (_, false) => Err(format!(
                "--with-billing-alarm: a CloudFormation mapping holds {MOST_IDS} accounts: print some at a time with --account"
            )),
            (_, true) => Err(
                "--with-billing-alarm: some accounts have a threshold of their own, and those of the organization another: print the first with --account, or give the amount"
                    .to_owned(),
            ),
        }
    }
}

impl BillingAlarm {
    /// Reads a threshold and the ARN of a bus in us-east-1.
    ///
    /// # Errors
    /// What is wrong, by flag.
    pub fn new(threshold: AlarmThreshold, bus: &str) -> Result<Self, String> {
        let amounts = match &threshold {
            AlarmThreshold::One(one) => vec![*one],
            AlarmThreshold::ByAccount(all) => all.values().copied().collect(),
        };
        if let Some(bad) = amounts.iter().find(|t| !(t.is_finite() && **t > 0.0)) {
            return Err(format!(
                "--with-billing-alarm: {bad} is not an amount of dollars above zero"
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

    /// The mapping its threshold is looked up in, where accounts have one of their own.
    pub(super) fn mapping(&self) -> Option<Value> {
        let AlarmThreshold::ByAccount(all) = &self.threshold else {
            return None;
        };
        let of = |(id, usd): (&AccountId, &f64)| (id.to_string(), json!({ "Usd": usd }));
        Some(Value::Object(all.iter().map(of).collect()))
    }

    pub(super) fn add_to(&self, resources: &mut Value) {
        let threshold = match &self.threshold {
            AlarmThreshold::One(usd) => json!(usd),
            AlarmThreshold::ByAccount(_) => {
                json!({ "Fn::FindInMap": ["Thresholds", { "Ref": "AWS::AccountId" }, "Usd"] })
            }
        };
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
                "Threshold": threshold,
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
