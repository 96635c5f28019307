//! Parts of the policies: names, external ids, what a writer may do in a bucket.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::Statement;
use crate::config::{Encryption, S3Destination};
use crate::model::{AccountId, Partition};

/// Accounts whose external ids one mapping holds.
pub(super) const MOST_IDS: usize = 200;
/// The account's id in names and external ids.
pub(super) const ACCOUNT: &str = "{account_id}";

/// Why one template does not fit all accounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// No account is read by a role.
    #[error("no account of the configuration is read by a role: there is nothing to create")]
    NoRole,
    /// One template makes one role.
    #[error("the accounts' roles have different names ({0}): print them one by one with --account")]
    DifferentRoles(String),
    /// A template asks all accounts for an external id alike, or each for its own.
    #[error(
        "some accounts send an external id of their own and others one of a common form, or none: give each its own (defaults.external_ids, \
         cwlake init --missing-ids), or print them one by one with --account"
    )]
    MixedIds,
    /// A file lists the ids, and not this account's.
    #[error(
        "account {0} has no external id, and a file lists them: cwlake init --missing-ids adds it"
    )]
    WithoutId(AccountId),
    /// The organization's names are not known here.
    #[error(
        "role_name uses {{name}}, and the names of the organization's accounts are not known here: use {{account_id}}"
    )]
    UnknownNames,
    /// A CloudFormation mapping is full.
    #[error(
        "{0} external ids are more than the {most} of a CloudFormation mapping: print some accounts at a time with --account, or use an \
         external id with {{account_id}} in it, or --format terraform",
        most = MOST_IDS
    )]
    TooManyIds(usize),
    /// The destination is a folder.
    #[error("the destination is a folder: writing to it needs no policy")]
    LocalDestination,
    /// Nobody is named who assumes the roles.
    #[error(
        "who assumes the roles is not said: --principal arn:aws:iam::999900001111:role/cwlake, or an account's twelve digits"
    )]
    NoPrincipal,
}

/// External ids of the accounts of one template. Shared secrets: shown only where they are asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum ExternalIds {
    /// None is asked for.
    None,
    /// The same form for every account, with `{account_id}` where the account's id stands.
    Form(String),
    /// One an account.
    ByAccount(BTreeMap<AccountId, String>),
}

impl std::fmt::Debug for ExternalIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Form(_) => "Form",
            Self::ByAccount(_) => "ByAccount",
        })
    }
}

/// The role's path and name in its ARN.
pub(super) fn name_in(arn: &str) -> &str {
    arn.split_once(":role/").map_or("", |(_, name)| name)
}

/// A glob of log groups as IAM spells it, which knows `*` and `?` alone.
pub(super) fn wildcard(glob: &str) -> String {
    let mut out = String::new();
    let mut signs = glob.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '[' => {
                signs.by_ref().find(|c| *c == ']');
                out.push('?');
            }
            '{' => {
                signs.by_ref().find(|c| *c == '}');
                out.push('*');
            }
            '\\' => out.extend(signs.next()),
            plain => out.push(plain),
        }
    }
    out
}

/// Accounts of the organization that are not known here.
pub(super) enum Others {
    /// All are known.
    Nobody,
    /// They send this form of an external id, or none.
    Send(Option<String>),
}

/// One form for all, or one an account.
pub(super) fn external_ids(
    ids: BTreeMap<AccountId, Option<String>>,
    others: &Others,
) -> Result<ExternalIds, GrantsError> {
    let form_of = |(account, id): (&AccountId, &Option<String>)| {
        id.as_ref().map(|id| id.replace(account.as_str(), ACCOUNT))
    };
    let mut forms: BTreeSet<Option<String>> = ids.iter().map(form_of).collect();
    let all_known = matches!(others, Others::Nobody);
    if let Others::Send(form) = others {
        forms.insert(form.clone());
    }
    match (forms.len(), forms.first()) {
        (0, _) | (1, Some(None)) => return Ok(ExternalIds::None),
        // A single account's id is shown as what it is.
        (1, Some(Some(one))) if !all_known || ids.len() > 1 => {
            return Ok(ExternalIds::Form(one.clone()));
        }
        _ => {}
    }
    // Accounts that are still to come and have no id of their own would get none, or another than the run sends.
    let by_account: Option<BTreeMap<AccountId, String>> = ids
        .into_iter()
        .map(|(account, id)| Some((account, id?)))
        .collect();
    match by_account {
        Some(by_account) if all_known => Ok(ExternalIds::ByAccount(by_account)),
        _ => Err(GrantsError::MixedIds),
    }
}

/// # Source
/// Service authorization reference, "Actions defined by Amazon S3": object actions on objects, listing on the bucket. KMS developer guide,
/// "Use IAM policies with AWS KMS": uploads in parts decrypt as well.
pub(super) fn writer_statements(
    s3: &S3Destination,
    usual: Partition,
    removes: &[String],
) -> Vec<Statement> {
    let partition = s3
        .region
        .as_ref()
        .map_or(usual, crate::model::Region::partition);
    let bucket = format!("arn:{}:s3:::{}", partition.as_str(), s3.bucket);
    let below = |rest: &str| {
        if s3.prefix.is_empty() {
            format!("{bucket}/{rest}")
        } else {
            format!("{bucket}/{}/{rest}", s3.prefix)
        }
    };
    let mut objects = vec!["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"];
    if s3.bucket_owner_full_control {
        objects.push("s3:PutObjectAcl");
    }
    let list = Statement::allow("CwlakeList", &["s3:ListBucket"], vec![bucket.clone()]);
    // Listing is by prefix, so that the rest of the bucket stays unseen.
    let list = if s3.prefix.is_empty() {
        list
    } else {
        list.when("StringLike", "s3:prefix", format!("{}/*", s3.prefix))
    };
    let mut statements = vec![
        Statement::allow("CwlakeWrite", &objects, vec![below("*")]),
        Statement::allow(
            "CwlakeReplace",
            &["s3:DeleteObject"],
            removes.iter().map(|folder| below(folder)).collect(),
        ),
        list,
        Statement::allow(
            "CwlakeUploads",
            &["s3:ListBucketMultipartUploads"],
            vec![bucket],
        ),
    ];
    if let Some(Encryption::Kms { key }) = &s3.encryption {
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        let any = format!("arn:{}:kms:*:*:key/*", partition.as_str());
        statements.push(match key {
            Some(arn) if arn.contains(":key/") => {
                Statement::allow("CwlakeKey", &actions, vec![arn.clone()])
            }
            Some(alias) if alias.contains("alias/") => {
                let name = alias
                    .rsplit_once(":alias/")
                    .map_or(alias.clone(), |(_, n)| format!("alias/{n}"));
                Statement::allow("CwlakeKey", &actions, vec![any]).when(
                    "ForAnyValue:StringEquals",
                    "kms:ResourceAliases",
                    name,
                )
            }
            Some(id) => {
                let arn = format!("arn:{}:kms:*:*:key/{id}", partition.as_str());
                Statement::allow("CwlakeKey", &actions, vec![arn])
            }
            // The bucket's own key, known to S3 alone.
            None => Statement::allow("CwlakeKey", &actions, vec![any]).when(
                "StringLike",
                "kms:ViaService",
                "s3.*.amazonaws.com",
            ),
        });
    }
    statements
}
