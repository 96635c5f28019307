//! Roles, and the external ids they are assumed with.

use std::ops::Range;
use std::time::Duration;

use secrecy::SecretString;

use super::external_ids::{is_external_id, text_of};
use super::file::Account;
use super::given::Environment;
use super::problem::{Problem, printable};
use super::regions::RegionChoice;
use super::spanned::{Secret, Spanned};
use super::template::AccountTemplate;
use crate::model::{AccountId, Partition};

/// A role and how it is assumed.
#[derive(Clone, Debug)]
pub struct RoleConfig {
    /// Full ARN.
    pub arn: String,
    /// Shared secret of the trust policy; shown nowhere.
    pub external_id: Option<SecretString>,
    /// Name of the session in `CloudTrail`.
    pub session_name: String,
    /// Asked length of the session.
    pub session_duration: Duration,
}

impl RoleConfig {
    /// The account the role is in.
    pub fn account(&self) -> Option<AccountId> {
        self.arn.split(':').nth(4).and_then(AccountId::parse)
    }

    /// The partition it is in.
    pub fn partition(&self) -> Option<Partition> {
        self.arn.split(':').nth(1).and_then(Partition::parse)
    }
}

const DEFAULT_SESSION_NAME: &str = "cwlake";
const DEFAULT_SESSION_SECONDS: i64 = 3_600;

impl AccountTemplate {
    pub(super) fn role(
        &self,
        account: &Account,
        id: &AccountId,
        regions: &RegionChoice,
        problems: &mut Vec<Problem>,
    ) -> Option<RoleConfig> {
        let defaults = &self.defaults;
        let base = account
            .base_credentials
            .as_ref()
            .is_some_and(|b| *b.get_ref());
        if base {
            if let Some(span) = account
                .role_arn
                .as_ref()
                .or(account.role_name.as_ref())
                .map(Spanned::span)
            {
                problems.push(
                    Problem::at(
                        span,
                        "a role is named, and base_credentials = true asks for none",
                    )
                    .remedy("keep one of the two"),
                );
            }
            return None;
        }
        if let (Some(_), Some(name)) = (&account.role_arn, &account.role_name) {
            problems.push(
                Problem::at(name.span(), "role_arn and role_name are both given")
                    .remedy("keep one of the two"),
            );
        }
        let (arn, span) = match (
            &account.role_arn,
            account.role_name.as_ref().or(defaults.role_name.as_ref()),
        ) {
            (Some(arn), _) => (arn.get_ref().clone(), arn.span()),
            (None, Some(template)) => (
                self.role_arn_from(template, account, id, regions, problems)?,
                template.span(),
            ),
            (None, None) => return None,
        };
        let partition = match regions {
            RegionChoice::Named(list) => Some(list[0].partition()),
            // Found by themselves they are of the session's, which reaches no other.
            RegionChoice::Auto => self.env.region().map(|region| region.partition()),
        };
        check_arn(&arn, span, id, partition, problems);
        let (session_name, session_duration) = self.session(account, problems);
        // One of its own, one by the account's id, one for all.
        let external_id = match (&account.external_id, self.external_ids.get(id)) {
            (Some(own), _) => external_id_of(own, Some(id), &self.env, problems),
            (None, Some(listed)) => Some(listed.clone()),
            (None, None) => {
                let usual = defaults.external_id.as_ref();
                usual.and_then(|given| external_id_of(given, Some(id), &self.env, problems))
            }
        };
        Some(RoleConfig {
            arn,
            external_id,
            session_name,
            session_duration,
        })
    }

    /// Name and length of the sessions.
    fn session(&self, account: &Account, problems: &mut Vec<Problem>) -> (String, Duration) {
        let defaults = &self.defaults;
        let session_name = account
            .session_name
            .as_ref()
            .or(defaults.session_name.as_ref());
        if let Some(name) = session_name
            && !(text_of(name.get_ref(), 2..=64, "_+=,.@-"))
        {
            problems.push(
                Problem::at(
                    name.span(),
                    "a session name has 2 to 64 letters, digits or _+=,.@-",
                )
                .remedy("for example session_name = \"cwlake\""),
            );
        }
        let duration = account
            .session_duration_secs
            .as_ref()
            .or(defaults.session_duration_secs.as_ref());
        if let Some(seconds) = duration
            && !(900..=43_200).contains(seconds.get_ref())
        {
            problems.push(
            Problem::at(seconds.span(), format!("{} is not a session length", seconds.get_ref()))
                .remedy("900 to 43200 seconds; through another role (role chaining) AWS allows 3600 at most"),
        );
        }
        let seconds = duration.map_or(DEFAULT_SESSION_SECONDS, |d| *d.get_ref());
        let name = session_name.map_or(DEFAULT_SESSION_NAME, |n| n.get_ref());
        let length = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        (name.to_owned(), length)
    }

    fn role_arn_from(
        &self,
        template: &Spanned<String>,
        account: &Account,
        id: &AccountId,
        regions: &RegionChoice,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let mut name = template.get_ref().replace("{account_id}", id.as_str());
        if name.contains("{name}") {
            let Some(alias) = &account.name else {
                problems.push(
                    Problem::at(
                        template.span(),
                        format!("the role name uses {{name}}, and account {id} has none"),
                    )
                    .remedy("give the account a name, or use {account_id}"),
                );
                return None;
            };
            name = name.replace("{name}", alias.get_ref());
        }
        if !text_of(&name, 1..=512, "_+=,.@/-") || name.starts_with('/') || name.starts_with("arn:")
        {
            problems.push(
            Problem::at(template.span(), format!("'{}' is not a role name", printable(&name)))
                .remedy("a name or path/name such as \"CWLakeReader\"; {account_id} and {name} are filled in; a full ARN goes in role_arn"),
        );
            return None;
        }
        let partition = match regions {
            RegionChoice::Named(list) => list[0].partition(),
            RegionChoice::Auto => self.usual_partition(),
        };
        Some(format!("arn:{}:iam::{id}:role/{name}", partition.as_str()))
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`, in the account and the partition of the entry.
fn check_arn(
    arn: &str,
    span: Range<usize>,
    id: &AccountId,
    wanted: Option<Partition>,
    problems: &mut Vec<Problem>,
) {
    let example = format!("for example arn:aws:iam::{id}:role/CWLakeReader");
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let (partition, account, resource) = if let ["arn", partition, "iam", "", account, resource] =
        fields.as_slice()
    {
        (*partition, *account, *resource)
    } else {
        problems.push(
            Problem::at(span, format!("'{}' is not a role ARN", printable(arn))).remedy(example),
        );
        return;
    };
    let Some(name) = resource.strip_prefix("role/") else {
        problems.push(
            Problem::at(
                span,
                format!("'{}' is not the ARN of a role", printable(arn)),
            )
            .remedy(format!("users and groups cannot be assumed; {example}")),
        );
        return;
    };
    if !text_of(name, 1..=512, "_+=,.@/-") {
        problems.push(
            Problem::at(span, format!("'{}' is not a role name", printable(name))).remedy(example),
        );
    } else if account != id.as_str() {
        problems.push(
            Problem::at(
                span,
                format!(
                    "the role is in account {}, the entry is {id}",
                    printable(account)
                ),
            )
            .remedy("one of the two is wrong: data would be recorded under the wrong account"),
        );
    } else {
        let given = Partition::parse(partition);
        let wanted = wanted.or(given);
        if given.is_none() || given != wanted {
            problems.push(
                Problem::at(
                    span,
                    format!(
                        "partition '{}' does not fit the account's regions",
                        printable(partition)
                    ),
                )
                .remedy(format!(
                    "the regions are in '{}'",
                    wanted.map_or("aws", Partition::as_str)
                )),
            );
        }
    }
}

/// The role that another `table` names, to write a bucket or to list an organization with: an ARN of any account.
pub(super) fn named_role(
    table: &str,
    arn: Option<&Spanned<String>>,
    external_id: Option<&Spanned<Secret>>,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<RoleConfig> {
    let Some(arn) = arn else {
        if let Some(id) = external_id {
            problems.push(
                Problem::at(id.span(), "an external id is given, and no role_arn")
                    .remedy(format!("add {table}.role_arn, or remove it")),
            );
        }
        return None;
    };
    let fields: Vec<&str> = arn.get_ref().splitn(6, ':').collect();
    let ok = matches!(fields.as_slice(), ["arn", partition, "iam", "", account, resource]
        if Partition::parse(partition).is_some() && AccountId::parse(account).is_some()
            && resource.strip_prefix("role/").is_some_and(|name| text_of(name, 1..=512, "_+=,.@/-")));
    if !ok {
        problems.push(
            Problem::at(
                arn.span(),
                format!("'{}' is not a role ARN", printable(arn.get_ref())),
            )
            .remedy("for example arn:aws:iam::111122223333:role/CWLakeWriter"),
        );
        return None;
    }
    Some(RoleConfig {
        arn: arn.get_ref().clone(),
        external_id: external_id.and_then(|given| external_id_of(given, None, env, problems)),
        session_name: DEFAULT_SESSION_NAME.to_owned(),
        session_duration: Duration::from_secs(DEFAULT_SESSION_SECONDS.cast_unsigned()),
    })
}

/// `env:NAME` or the literal text, with the account's id filled in.
fn external_id_of(
    given: &Spanned<Secret>,
    account: Option<&AccountId>,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<SecretString> {
    let text = &given.get_ref().0;
    let value = match text.strip_prefix("env:") {
        None => text.clone(),
        Some(name) => match env.get(name) {
            Some(value) if !value.is_empty() => value,
            _ => {
                let problem = Problem::at(
                    given.span(),
                    format!("environment variable {} is not set", printable(name)),
                )
                .remedy(format!(
                    "export {}=…, or write the external id here",
                    printable(name)
                ));
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
                return None;
            }
        },
    };
    let value = match account {
        Some(id) => value.replace("{account_id}", id.as_str()),
        None => value,
    };
    if is_external_id(&value) {
        return Some(SecretString::from(value));
    }
    let problem = Problem::at(
        given.span(),
        "an external id has 2 to 1,224 letters, digits or _+=,.@:/-",
    )
    .remedy("use the one in the role's trust policy");
    if !problems.contains(&problem) {
        problems.push(problem);
    }
    None
}
