//! Which accounts of an AWS organization, and how they join those that the file lists.

use std::collections::BTreeMap;
use std::ops::Range;

use secrecy::ExposeSecret;

use super::file::{self, FileConfig};
use super::given::Environment;
use super::problem::{Problem, printable};
use super::roles::{RoleConfig, named_role};
use super::spanned::Spanned;
use super::template::AccountTemplate;
use crate::model::AccountId;

/// `[organization]`, validated.
#[derive(Clone, Debug)]
pub struct OrganizationConfig {
    /// The role to list with; `None` lists with the base credentials.
    pub role: Option<RoleConfig>,
    /// Organizational units to look below; all when empty.
    pub include_ous: Vec<Rule>,
    /// Organizational units to leave out.
    pub exclude_ous: Vec<Rule>,
    pub(super) include_accounts: Vec<Rule>,
    pub(super) exclude_accounts: Vec<Rule>,
    pub(super) template: AccountTemplate,
}

/// An organizational unit or an account as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// An id, or a path of names.
    pub text: String,
    pub(super) span: Range<usize>,
}

impl Rule {
    /// A rule without a place in the file.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            span: 0..0,
        }
    }
}

/// An account as Organizations knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationAccount {
    /// Its id.
    pub id: AccountId,
    /// Its name there.
    pub name: Option<String>,
    /// Names of the organizational units it is in, from the root; empty where they were not looked up.
    pub path: Vec<String>,
    /// `ACTIVE`, `SUSPENDED`, `PENDING_CLOSURE` …
    pub state: String,
}

impl OrganizationAccount {
    /// Whether roles in it can be assumed.
    pub fn is_active(&self) -> bool {
        self.state == "ACTIVE"
    }
}

/// An account of the organization that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub account: OrganizationAccount,
    /// Why not.
    pub why: String,
    /// It was wanted: something is missing without it.
    pub is_failure: bool,
}

pub(super) fn resolve(
    file: &FileConfig,
    template: &AccountTemplate,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<OrganizationConfig> {
    let organization = file.organization.as_ref()?.get_ref();
    let role = named_role(
        "organization",
        organization.role_arn.as_ref(),
        organization.external_id.as_ref(),
        env,
        problems,
    );
    let accounts = |list: &[Spanned<String>], problems: &mut Vec<Problem>| {
        for id in list {
            if AccountId::parse(id.get_ref()).is_none() {
                let text = format!("'{}' is not an account id", printable(id.get_ref()));
                problems.push(
                    Problem::at(id.span(), text)
                        .remedy("twelve digits in quotes, leading zeros kept"),
                );
            }
        }
        rules(list)
    };
    let include_accounts = accounts(&organization.include_accounts, problems);
    let exclude_accounts = accounts(&organization.exclude_accounts, problems);
    for unit in organization
        .include_ous
        .iter()
        .chain(&organization.exclude_ous)
    {
        if unit.get_ref().trim_matches('/').is_empty() {
            problems.push(
                Problem::at(unit.span(), "an organizational unit without a name").remedy(
                    "an id such as ou-ab12-cd34ef56, or a path of names such as Workloads/Prod",
                ),
            );
        }
    }
    contradictions(file, organization, problems);
    // Whatever is wrong with the defaults is wrong for every account: it is said before any call.
    let sample = AccountId::parse("111122223333").expect("twelve digits");
    if problems.is_empty()
        && let Err(message) = template.of_organization(&sample, Some("sample"))
    {
        problems.push(Problem::whole(format!("[defaults]: {message}")));
    }
    Some(OrganizationConfig {
        role,
        include_ous: rules(&organization.include_ous),
        exclude_ous: rules(&organization.exclude_ous),
        include_accounts,
        exclude_accounts,
        template: template.clone(),
    })
}

fn rules(list: &[Spanned<String>]) -> Vec<Rule> {
    list.iter()
        .map(|given| Rule {
            text: given.get_ref().clone(),
            span: given.span(),
        })
        .collect()
}

fn contradictions(
    file: &FileConfig,
    organization: &file::Organization,
    problems: &mut Vec<Problem>,
) {
    for excluded in &organization.exclude_accounts {
        let is = |id: &Spanned<String>| id.get_ref() == excluded.get_ref();
        if organization.include_accounts.iter().any(is) {
            problems.push(
                Problem::at(
                    excluded.span(),
                    "this account is both included and excluded",
                )
                .remedy("keep one of the two"),
            );
        }
        if file.account.iter().any(|a| is(&a.get_ref().id)) {
            problems.push(
                Problem::at(
                    excluded.span(),
                    "this account is excluded, and has an [[account]] table",
                )
                .remedy("keep one of the two"),
            );
        }
    }
}

impl OrganizationConfig {
    /// The ARN of the accounts' role, with `account` and `name` for what differs.
    pub fn role_pattern(&self, account: &str, name: &str) -> String {
        self.template.role_pattern(account, name)
    }

    /// The external id of accounts that have none of their own, with `{account_id}` where it stands.
    pub fn external_id_form(&self) -> Option<String> {
        self.template.external_id_form()
    }

    /// External ids by account, from the file that lists them.
    pub fn external_ids(&self) -> BTreeMap<AccountId, String> {
        let ids = self.template.external_ids.iter();
        ids.map(|(account, id)| (account.clone(), id.expose_secret().to_owned()))
            .collect()
    }

    /// Whether units are named: the organization is then walked from the root, and not listed as a whole.
    pub fn has_units(&self) -> bool {
        !(self.include_ous.is_empty() && self.exclude_ous.is_empty())
    }

    /// Whether the regions of its accounts are found by themselves.
    pub fn finds_regions(&self) -> bool {
        self.template.finds_regions()
    }
}

/// `ou-ab12-cd34ef56` or `r-ab12`, and no path of names.
///
/// # Source
/// Organizations API reference: `^(r-[0-9a-z]{4,32})|(ou-[0-9a-z]{4,32}-[a-z0-9]{8,32})$`.
pub fn is_unit_id(text: &str) -> bool {
    let plain = |part: &str, least: usize| {
        (least..=32).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        ["r", root] => plain(root, 4),
        ["ou", root, unit] => plain(root, 4) && plain(unit, 8),
        _ => false,
    }
}
