//! Who assumes the roles.

use crate::model::{AccountId, Partition};

/// A role, a user or a whole account, as a trust policy names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(String);

/// Why a text is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {message}")]
pub struct PrincipalError {
    flag: &'static str,
    message: String,
}

/// How the roles that SSO makes are called; they lie below a path that a session does not tell.
///
/// # Source
/// IAM Identity Center user guide, "Referencing permission sets in resource policies".
const SSO_ROLE: &str = "AWSReservedSSO_";

fn of_sso(partition: &str, account: &str, role: &str) -> String {
    format!(
        "this is a role of SSO, whose ARN has a path: write arn:{partition}:iam::{account}:role/aws-reserved/sso.amazonaws.com/REGION/{role}, as \
         aws iam list-roles --path-prefix /aws-reserved/sso.amazonaws.com/ shows it"
    )
}

impl Principal {
    /// Reads the ARN of a role, a user or an account's root; twelve digits stand for an account of `partition`.
    ///
    /// # Errors
    /// What it is instead, and what to write.
    pub fn parse(text: &str, partition: Partition) -> Result<Self, PrincipalError> {
        let refuse = |message: String| PrincipalError {
            flag: "principal",
            message,
        };
        if let Some(id) = AccountId::parse(text) {
            return Ok(Self(format!("arn:{}:iam::{id}:root", partition.as_str())));
        }
        let example = "write arn:aws:iam::999900001111:role/cwlake, the ARN of a user, or twelve digits for a whole account";
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, resource] = fields.as_slice() else {
            return Err(refuse(format!(
                "'{}' is no ARN: {example}",
                text.escape_debug()
            )));
        };
        if Partition::parse(partition).is_none() || AccountId::parse(account).is_none() {
            return Err(refuse(format!(
                "'{}' is no ARN: {example}",
                text.escape_debug()
            )));
        }
        if let (&"sts", Some(session)) = (service, resource.strip_prefix("assumed-role/")) {
            let role = session.split('/').next().unwrap_or_default();
            if role.starts_with(SSO_ROLE) {
                return Err(refuse(of_sso(partition, account, role)));
            }
            return Err(refuse(format!(
                "this is a session, which ends: write its role, arn:{partition}:iam::{account}:role/{role} (with the role's path, if it has one)"
            )));
        }
        if resource
            .strip_prefix("role/")
            .is_some_and(|role| role.starts_with(SSO_ROLE))
        {
            let role = resource.trim_start_matches("role/");
            return Err(refuse(of_sso(partition, account, role)));
        }
        let named = |kind: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@/-".contains(c);
            resource
                .strip_prefix(kind)
                .is_some_and(|name| !name.is_empty() && name.chars().all(plain))
        };
        if *service != "iam" || !(*resource == "root" || named("role/") || named("user/")) {
            return Err(refuse(format!(
                "'{}' cannot assume a role: {example}",
                text.escape_debug()
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.0
    }
}

/// The id of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgId(String);

impl OrgId {
    /// Reads an id such as `o-a1b2c3d4e5`.
    ///
    /// # Errors
    /// When it has another form.
    ///
    /// # Source
    /// Organizations API reference: `^o-[a-z0-9]{10,32}$`.
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        let plain = |rest: &str| {
            (10..=32).contains(&rest.len())
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if text.strip_prefix("o-").is_some_and(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(PrincipalError {
            flag: "org-id",
            message: format!(
                "'{}' is not the id of an organization, such as o-a1b2c3d4e5",
                text.escape_debug()
            ),
        })
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_users_and_accounts_are_principals() {
        let arn = |text: &str| {
            Principal::parse(text, Partition::Aws)
                .map(|p| p.0)
                .map_err(|e| e.message)
        };
        assert_eq!(
            arn("999900001111").as_deref(),
            Ok("arn:aws:iam::999900001111:root")
        );
        for ok in [
            "arn:aws:iam::999900001111:role/ops/cwlake",
            "arn:aws-cn:iam::999900001111:user/ci",
            "arn:aws:iam::999900001111:root",
        ] {
            assert_eq!(arn(ok).as_deref(), Ok(ok));
        }
        let session = arn("arn:aws:sts::999900001111:assumed-role/cwlake/nightly");
        assert!(session.is_err_and(|e| e.contains("arn:aws:iam::999900001111:role/cwlake")));
        for bad in [
            "*",
            "cwlake",
            "arn:aws:iam::1:role/x",
            "arn:aws:s3:::bucket",
            "arn:aws:iam::999900001111:role/",
            "arn:aws:iam::999900001111:role/a\"b",
        ] {
            assert!(arn(bad).is_err(), "{bad}");
        }
    }
}
