//! Who said no: AWS's texts of refusal name the kind of policy, and the remedy depends on it. An Allow is never proposed against a Deny.
//!
//! In: code and text of an answer. Out: what kind of trouble it is, and what to do about it. Pure; every row of the table is tested below.
//!
//! # Source
//! IAM user guide, "Troubleshoot access denied error messages"; EC2 API reference, "Common client error codes"; S3 API reference, "List of
//! error codes"; KMS API reference, "Common errors". Read November 2026.

use crate::model::CauseKind;

/// What a refusal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The class of trouble.
    pub(super) kind: CauseKind,
    /// The remedy. None where it is an Allow in the caller's own policy: whoever called knows its name.
    pub(super) hint: Option<String>,
}

/// A policy as AWS's texts call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Identity,
    Resource,
    Trust,
    Boundary,
    Session,
    ServiceControl,
    ResourceControl,
    Endpoint,
}

/// How the texts name it. Older ones write blanks where newer ones write hyphens.
const POLICIES: [(&str, Policy); 8] = [
    ("identity-based policy", Policy::Identity),
    ("resource-based policy", Policy::Resource),
    ("role trust policy", Policy::Trust),
    ("permissions boundary", Policy::Boundary),
    ("session policy", Policy::Session),
    ("service control policy", Policy::ServiceControl),
    ("resource control policy", Policy::ResourceControl),
    ("vpc endpoint policy", Policy::Endpoint),
];

/// Codes that no policy is behind.
///
/// # Source
/// As for the module; `PendingVerification` and `OptInRequired` are EC2's, `KMS.…` come through S3 and Logs.
const STATES: [(&[&str], CauseKind, &str); 8] = [
    (
        &["PendingVerification"],
        CauseKind::Barred,
        "AWS is still verifying the account for this region, which takes up to some hours: run again later, or write to AWS Support",
    ),
    (
        &["SubscriptionRequiredException", "NotSignedUp"],
        CauseKind::Barred,
        "the account has not finished signing up with AWS, or not for this service: finish it in the account, or leave the account out",
    ),
    (
        &[
            "AccountProblem",
            "AllAccessDisabled",
            "AccountSuspended",
            "Blocked",
        ],
        CauseKind::Barred,
        "AWS has disabled the account or the bucket (payment, abuse, closing): write to AWS Support, or leave the account out",
    ),
    (
        &["InvalidAccessKeyId"],
        CauseKind::NoCredentials,
        "the access key is unknown, deleted or disabled: renew the base credentials",
    ),
    (
        &["KMS.DisabledException", "DisabledException"],
        CauseKind::Barred,
        "the KMS key is disabled: enable it, or name another key",
    ),
    (
        &[
            "KMS.KMSInvalidStateException",
            "KMSInvalidStateException",
            "KMS.InvalidStateException",
        ],
        CauseKind::Barred,
        "the KMS key is about to be deleted or not ready: cancel its deletion, or name another key",
    ),
    (
        &["KMS.NotFoundException"],
        CauseKind::Barred,
        "there is no such KMS key in the bucket's region: correct the key's name, account and region",
    ),
    (
        &["KMS.AccessDeniedException", "KMSAccessDeniedException"],
        CauseKind::AccessDenied,
        "the KMS key's own policy must let this caller use it (kms:GenerateDataKey to write, kms:Decrypt to read), and so must the caller's",
    ),
];

/// What a refused answer says of who refused. None where it is no refusal that is known here.
pub(super) fn refusal(code: &str, message: &str) -> Option<Refusal> {
    let state = STATES.iter().find(|(codes, ..)| codes.contains(&code));
    if let Some((_, kind, hint)) = state {
        return Some(refused(*kind, *hint));
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("multifactorauth") || lower.contains("mfa") && lower.contains("authenticat") {
        return Some(refused(
            CauseKind::Barred,
            "it wants a session with MFA, and nobody is there to type a code at night: use a role without that condition, or a session made before \
             (aws sts get-session-token)",
        ));
    }
    if lower.contains("being verified") {
        return Some(refused(CauseKind::Barred, STATES[0].2));
    }
    let action = word_after(message, "not authorized to perform: ");
    let resource = word_after(message, "on resource: ");
    let what = action.unwrap_or("this action");
    let is_explicit = lower.contains("explicit deny");
    let policy = POLICIES.iter().find(|(name, _)| lower.contains(name));
    let policy = policy.map(|(_, policy)| *policy);
    if action.is_none() && !is_explicit && policy.is_none() {
        return None;
    }
    let on = resource.map_or(String::new(), |resource| format!(" of {resource}"));
    Some(if is_explicit {
        of_a_deny(policy, what, &on)
    } else {
        of_no_allow(policy, what, &on)
    })
}

/// What no Allow overrules: whatever is not the caller's own policy, and every Deny.
fn of_other_policies(policy: Option<Policy>, what: &str) -> Option<Refusal> {
    let (kind, hint) = match policy? {
        Policy::ServiceControl | Policy::ResourceControl => (
            CauseKind::PolicyDenied,
            format!(
                "a policy of the organization refuses {what}, whatever the role may do: only who manages the organization can change that"
            ),
        ),
        Policy::Boundary => (
            CauseKind::Barred,
            format!(
                "the permissions boundary of the caller keeps it from {what}: the boundary must be widened"
            ),
        ),
        Policy::Session => (
            CauseKind::Barred,
            format!(
                "the session policy that these credentials were made with leaves out {what}: whoever makes them (a broker, a permission set, a web identity) must widen it"
            ),
        ),
        Policy::Endpoint => (
            CauseKind::Barred,
            format!(
                "the policy of the VPC endpoint on the way keeps this caller from {what}: it must be changed there, or the call take another way"
            ),
        ),
        Policy::Identity | Policy::Resource | Policy::Trust => return None,
    };
    Some(refused(kind, hint))
}

fn of_a_deny(policy: Option<Policy>, what: &str, on: &str) -> Refusal {
    if let Some(refusal) = of_other_policies(policy, what) {
        return refusal;
    }
    let hint = match policy {
        Some(Policy::Identity) => format!(
            "a Deny in the caller's own policies covers {what}, often under a condition (source address, region, MFA, tags): that Deny must go or be \
             narrowed"
        ),
        Some(Policy::Trust) => {
            "a Deny in the role's trust policy covers this caller: that Deny must go or be narrowed"
                .to_owned()
        }
        _ if what == "s3:PutObject" => {
            "a Deny in the bucket's policy covers this PUT: it may demand an encryption header (destination.sse, destination.kms_key_id), an ACL \
             (destination.acl), a VPC endpoint, or another caller"
                .to_owned()
        }
        Some(_) => format!(
            "a Deny in the policy{on} covers this caller and {what}: that Deny must go or be narrowed"
        ),
        None => format!("a Deny covers {what}: that Deny must be found, and go or be narrowed"),
    };
    refused(CauseKind::Barred, hint)
}

fn of_no_allow(policy: Option<Policy>, what: &str, on: &str) -> Refusal {
    if let Some(refusal) = of_other_policies(policy, what) {
        return refusal;
    }
    let hint = match policy {
        Some(Policy::Trust) => Some(
            "the role's trust policy does not let this caller in: it must name the caller as principal, and its sts:ExternalId must equal external_id here \
             (cwlake iam --part trust prints it)"
                .to_owned(),
        ),
        _ if what.starts_with("kms:") => Some(format!(
            "allow {what} on the KMS key, in the caller's policy and in the key's own (cwlake iam --part writer prints the first)"
        )),
        Some(Policy::Resource) => Some(format!(
            "the policy{on} must let this caller do {what}: the owner of the resource adds it, another account's Allow is not enough"
        )),
        _ => None,
    };
    Refusal {
        kind: CauseKind::AccessDenied,
        hint,
    }
}

fn refused(kind: CauseKind, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind,
        hint: Some(hint.into()),
    }
}

/// The word that follows, without quotes.
fn word_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    let word = rest.split_whitespace().next()?;
    Some(word.trim_matches(['"', '\'', '.', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str =
        "User: arn:aws:sts::111122223333:assumed-role/Reader/cwlake is not authorized to perform: ";

    use CauseKind::{AccessDenied, Barred, PolicyDenied};

    /// Action and resource, the reason, the kind, and what the remedy speaks of; none where the caller of this adds an Allow.
    const POLICY_CASES: &[(&str, &str, CauseKind, Option<&str>)] = &[
        (
            "cloudwatch:ListMetrics",
            "because no identity-based policy allows the cloudwatch:ListMetrics action",
            AccessDenied,
            None,
        ),
        ("cloudwatch:ListMetrics", "", AccessDenied, None),
        (
            "cloudwatch:ListMetrics",
            "with an explicit deny in an identity-based policy",
            Barred,
            Some("own policies"),
        ),
        (
            "cloudwatch:ListMetrics",
            "with an explicit deny",
            Barred,
            Some("a Deny covers cloudwatch:ListMetrics"),
        ),
        (
            "cloudwatch:ListMetrics",
            "because no permissions boundary allows the cloudwatch:ListMetrics action",
            Barred,
            Some("boundary"),
        ),
        (
            "cloudwatch:ListMetrics",
            "with an explicit deny in a permissions boundary",
            Barred,
            Some("boundary"),
        ),
        (
            "cloudwatch:ListMetrics",
            "because no session policy allows the cloudwatch:ListMetrics action",
            Barred,
            Some("session"),
        ),
        (
            "cloudwatch:ListMetrics",
            "with an explicit deny in a session policy",
            Barred,
            Some("session"),
        ),
        (
            "logs:FilterLogEvents",
            "because no VPC endpoint policy allows the logs:FilterLogEvents action",
            Barred,
            Some("VPC endpoint"),
        ),
        (
            "logs:FilterLogEvents",
            "with an explicit deny in a VPC endpoint policy",
            Barred,
            Some("VPC endpoint"),
        ),
        (
            "ec2:DescribeInstances",
            "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
            PolicyDenied,
            Some("organization"),
        ),
        (
            "ec2:DescribeInstances",
            "because no service control policy allows the ec2:DescribeInstances action",
            PolicyDenied,
            Some("organization"),
        ),
        (
            "sts:AssumeRole",
            "with an explicit deny in a resource control policy",
            PolicyDenied,
            Some("organization"),
        ),
        (
            "sts:AssumeRole",
            "because no role trust policy allows the sts:AssumeRole action",
            AccessDenied,
            Some("trust policy"),
        ),
        (
            "sts:AssumeRole",
            "with an explicit deny in a role trust policy",
            Barred,
            Some("Deny in the role's trust policy"),
        ),
        (
            "sts:AssumeRole",
            "on resource: arn:aws:iam::111122223333:role/Reader",
            AccessDenied,
            None,
        ),
        (
            "sns:Publish",
            "on resource: arn:aws:sns:us-east-1:111122223333:t because no resource-based policy allows the sns:Publish action",
            AccessDenied,
            Some("arn:aws:sns:us-east-1:111122223333:t"),
        ),
        (
            "s3:GetObject",
            "on resource: \"arn:aws:s3:::lake/x\" with an explicit deny in a resource-based policy",
            Barred,
            Some("arn:aws:s3:::lake/x"),
        ),
        (
            "s3:PutObject",
            "on resource: \"arn:aws:s3:::lake/x\" with an explicit deny in a resource-based policy",
            Barred,
            Some("destination.sse"),
        ),
        (
            "s3:PutObject",
            "on resource: \"arn:aws:s3:::lake/x\" because no resource-based policy allows the s3:PutObject action",
            AccessDenied,
            Some("owner of the resource"),
        ),
        (
            "kms:GenerateDataKey",
            "on resource: arn:aws:kms:us-east-1:1:key/k because no identity-based policy allows the kms:GenerateDataKey action",
            AccessDenied,
            Some("KMS key"),
        ),
        (
            "kms:GenerateDataKey",
            "on resource: arn:aws:kms:us-east-1:1:key/k because no resource-based policy allows the kms:GenerateDataKey action",
            AccessDenied,
            Some("KMS key"),
        ),
        (
            "kms:Decrypt",
            "on resource: arn:aws:kms:us-east-1:1:key/k with an explicit deny in a resource-based policy",
            Barred,
            Some("Deny in the policy of arn:aws:kms"),
        ),
    ];

    #[test]
    fn every_kind_of_policy_has_its_own_remedy() {
        for (asked, reason, kind, remedy) in POLICY_CASES {
            let message = format!("{USER}{asked} {reason}");
            let refusal = refusal("AccessDenied", &message).expect(&message);
            assert_eq!(refusal.kind, *kind, "{message}");
            match (&refusal.hint, remedy) {
                (None, None) => {}
                (Some(hint), Some(remedy)) => assert!(hint.contains(remedy), "{message}: {hint}"),
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_allow_is_never_proposed_against_a_deny() {
        for (_, policy) in POLICIES.iter().map(|(name, policy)| (policy, name)) {
            let message = format!("{USER}s3:PutObject with an explicit deny in a {policy}");
            let refusal = refusal("AccessDenied", &message).expect(&message);
            assert_ne!(refusal.kind, CauseKind::AccessDenied, "{message}");
            let hint = refusal.hint.expect(&message).to_ascii_lowercase();
            assert!(!hint.contains("allow"), "{message}: {hint}");
        }
    }

    #[test]
    fn states_of_keys_and_accounts_are_told_from_policies() {
        for (code, message, kind, remedy) in [
            (
                "PendingVerification",
                "Your request for accessing resources in this region is being validated",
                CauseKind::Barred,
                "verifying",
            ),
            (
                "UnauthorizedOperation",
                "Your account is currently being verified. Verification normally takes less than 2 hours.",
                CauseKind::Barred,
                "verifying",
            ),
            (
                "SubscriptionRequiredException",
                "The AWS Access Key Id needs a subscription for the service",
                CauseKind::Barred,
                "signing up",
            ),
            (
                "AccountProblem",
                "There is a problem with your AWS account",
                CauseKind::Barred,
                "disabled",
            ),
            (
                "AllAccessDisabled",
                "All access to this object has been disabled",
                CauseKind::Barred,
                "disabled",
            ),
            (
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
                CauseKind::NoCredentials,
                "renew",
            ),
            (
                "KMS.DisabledException",
                "arn:aws:kms:us-east-1:1:key/k is disabled.",
                CauseKind::Barred,
                "enable it",
            ),
            (
                "KMS.KMSInvalidStateException",
                "arn:aws:kms:us-east-1:1:key/k is pending deletion.",
                CauseKind::Barred,
                "deletion",
            ),
            (
                "KMS.NotFoundException",
                "Invalid keyId k",
                CauseKind::Barred,
                "region",
            ),
            (
                "AccessDenied",
                "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.",
                CauseKind::Barred,
                "MFA",
            ),
        ] {
            let refusal = refusal(code, message).expect(code);
            assert_eq!(refusal.kind, kind, "{code}");
            let hint = refusal.hint.expect(code);
            assert!(hint.contains(remedy), "{code}: {hint}");
        }
        for (code, message) in [
            ("AccessDenied", "Access Denied"),
            (
                "AccessDeniedException",
                "You don't have permissions to access this resource.",
            ),
            ("OptInRequired", "You are not subscribed to this service."),
            ("ValidationError", "1 validation error detected"),
        ] {
            assert_eq!(refusal(code, message), None, "{code}");
        }
    }
}
