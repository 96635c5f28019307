//! Terraform configurations: applied with the provider of each account.
//!
//! # Source
//! Terraform language documentation: object constructors take JSON's syntax, and `${…}` in a text is an expression.

use serde_json::Value;

use super::policy::Policy;

use super::grants::{Grants, ReaderRole};
use super::parts::{ACCOUNT, ExternalIds};
use super::principal::{OrgId, Principal};

/// The role that reads an account.
pub fn reader_module(
    role: &ReaderRole,
    principal: &Principal,
    organization: Option<&OrgId>,
) -> String {
    const OWN: &str = "${data.aws_caller_identity.cwlake.account_id}";
    let external_id = match &role.external_ids {
        ExternalIds::None => None,
        ExternalIds::Form(form) => Some(form.replace(ACCOUNT, OWN)),
        ExternalIds::ByAccount(_) => Some(
            "${local.cwlake_external_ids[data.aws_caller_identity.cwlake.account_id]}".to_owned(),
        ),
    };
    let trust = Grants::trust_policy(principal, external_id.as_deref(), organization);
    let mut out = String::from(
        "# cwlake: the role that reads CloudWatch in this account. Apply with the provider of each account.\n\
         data \"aws_caller_identity\" \"cwlake\" {}\n\n",
    );
    if let ExternalIds::ByAccount(ids) = &role.external_ids {
        out.push_str("locals {\n  cwlake_external_ids = {\n");
        for (account, id) in ids {
            out.push_str(&format!("    \"{account}\" = \"{id}\"\n"));
        }
        out.push_str("  }\n}\n\n");
    }
    out.push_str(&format!(
        "resource \"aws_iam_role\" \"cwlake_reader\" {{\n  name               = \"{}\"\n  path               = \"{}\"\n  \
         assume_role_policy = jsonencode({})\n}}\n\n",
        role.name.replace(ACCOUNT, OWN),
        role.path,
        indented(&trust.json())
    ));
    out.push_str(&format!(
        "resource \"aws_iam_role_policy\" \"cwlake_reader\" {{\n  name   = \"cwlake\"\n  role   = \
         aws_iam_role.cwlake_reader.id\n  policy = jsonencode({})\n}}\n\noutput \"role_arn\" {{\n  value = \
         aws_iam_role.cwlake_reader.arn\n}}\n",
        indented(&role.policy.json())
    ));
    out
}

/// The policy of whoever writes to the bucket.
pub fn writer_module(policy: &Policy) -> String {
    format!(
        "# cwlake: the policy of whoever writes the lake. Attach it to the role or user that runs cwlake.\n\
         resource \"aws_iam_policy\" \"cwlake_writer\" {{\n  name   = \"cwlake-writer\"\n  policy = jsonencode({})\n}}\n\n\
         output \"policy_arn\" {{\n  value = aws_iam_policy.cwlake_writer.arn\n}}\n",
        indented(&policy.json())
    )
}

fn indented(value: &Value) -> String {
    format!("{value:#}").replace('\n', "\n  ")
}
