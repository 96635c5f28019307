//! CloudFormation templates, as YAML.
//!
//! # Source
//! CloudFormation template reference, `AWS::IAM::Role`, `AWS::IAM::ManagedPolicy`; quotas: 200 attributes a mapping.

use serde_json::{Map, Value, json};

use super::billing_alarm::BillingAlarm;
use super::grants::{Grants, ReaderRole};
use super::parts::{ACCOUNT, ExternalIds, GrantsError, MOST_IDS};
use super::policy::Policy;
use super::principal::{OrgId, Principal};

/// The template of a stack set that creates the role in every account.
///
/// # Errors
/// [`GrantsError::TooManyIds`].
pub fn reader_template(
    role: &ReaderRole,
    principal: &Principal,
    organization: Option<&OrgId>,
    alarm: Option<&BillingAlarm>,
) -> Result<String, GrantsError> {
    let mut template = Map::new();
    let mut add = |key: &str, value: Value| template.insert(key.to_owned(), value);
    add("AWSTemplateFormatVersion", json!("2010-09-09"));
    add(
        "Description",
        json!(
            "cwlake: the role that reads CloudWatch in this account. Deploy in one region of each account."
        ),
    );
    let mut mappings = Map::new();
    let trust = Grants::trust_policy(principal, Some("-"), organization);
    let mut trust = trust.json();
    let equals = &mut trust["Statement"][0]["Condition"]["StringEquals"];
    match &role.external_ids {
        ExternalIds::None => {
            trust = Grants::trust_policy(principal, None, organization).json();
        }
        ExternalIds::Form(form) => equals["sts:ExternalId"] = by_account(form),
        ExternalIds::ByAccount(ids) if ids.len() > MOST_IDS => {
            return Err(GrantsError::TooManyIds(ids.len()));
        }
        ExternalIds::ByAccount(ids) => {
            let ids: Map<String, Value> = ids
                .iter()
                .map(|(account, id)| (account.to_string(), json!({ "Id": id })))
                .collect();
            mappings.insert("ExternalIds".to_owned(), Value::Object(ids));
            equals["sts:ExternalId"] =
                json!({ "Fn::FindInMap": ["ExternalIds", { "Ref": "AWS::AccountId" }, "Id"] });
        }
    }
    let thresholds = alarm.and_then(BillingAlarm::mapping);
    mappings.extend(thresholds.map(|t| ("Thresholds".to_owned(), t)));
    if !mappings.is_empty() {
        add("Mappings", Value::Object(mappings));
    }
    let mut resources = json!({
        "CwlakeReader": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": by_account(&role.name),
                "Path": role.path,
                "AssumeRolePolicyDocument": trust,
                "Policies": [{ "PolicyName": "cwlake", "PolicyDocument": role.policy.json() }],
            },
        },
    });
    if let Some(alarm) = alarm {
        add("Conditions", BillingAlarm::conditions());
        alarm.add_to(&mut resources);
    }
    add("Resources", resources);
    add(
        "Outputs",
        json!({ "RoleArn": { "Value": { "Fn::GetAtt": ["CwlakeReader", "Arn"] } } }),
    );
    Ok(yaml(&Value::Object(template)))
}

/// The template of the policy that writes to the bucket.
pub fn writer_template(policy: &Policy) -> String {
    yaml(&json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "cwlake: the policy of whoever writes the lake. Attach it to the role or user that runs cwlake.",
        "Resources": {
            "CwlakeWriter": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": { "Description": "Write the cwlake lake", "PolicyDocument": policy.json() },
            },
        },
        "Outputs": { "PolicyArn": { "Value": { "Ref": "CwlakeWriter" } } },
    }))
}

/// A text with the account's id in it.
fn by_account(form: &str) -> Value {
    if form.contains(ACCOUNT) {
        json!({ "Fn::Sub": form.replace(ACCOUNT, "${AWS::AccountId}") })
    } else {
        json!(form)
    }
}

/// Block style; every text in double quotes, whose escapes JSON and YAML share.
///
/// # Source
/// YAML 1.2.2, chapter 5.7: JSON texts are YAML flow scalars.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric())
                    && key.starts_with(|c: char| c.is_ascii_alphabetic());
                let key = if plain {
                    key.clone()
                } else {
                    json!(key).to_string()
                };
                out.push_str(&format!("{pad}{key}:"));
                nested(value, depth, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                out.push_str(&format!("{pad}-"));
                nested(item, depth, out);
            }
        }
        scalar => out.push_str(&format!("{pad}{scalar}\n")),
    }
}

/// A value behind its key or dash.
fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, depth + 1, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, depth + 1, out);
        }
        scalar => out.push_str(&format!(" {scalar}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_written_in_blocks_with_quoted_texts() {
        let value = json!({"A": {"b:c": ["x", {"d": 1}], "e": {}}, "F": "2010-09-09: \"y\""});
        assert_eq!(
            yaml(&value),
            "A:\n  \"b:c\":\n    - \"x\"\n    -\n      d: 1\n  e: {}\nF: \"2010-09-09: \\\"y\\\"\"\n"
        );
    }
}
