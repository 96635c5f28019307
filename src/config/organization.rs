//! Which accounts of an AWS organization, and how they join those that the file lists.

use std::collections::BTreeMap;
use std::ops::Range;

use secrecy::ExposeSecret;

use super::accounts::{AccountConfig, AccountTemplate, RegionChoice, printable};
use super::file::{self, FileConfig};
use super::problem::{ConfigError, Problem};
use super::resolve::{Environment, ExportConfig, all_are_known, only_accounts};
use super::roles::{RoleConfig, named_role};
use super::spanned::Spanned;
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
    include_accounts: Vec<Rule>,
    exclude_accounts: Vec<Rule>,
    template: AccountTemplate,
}

/// An organizational unit or an account as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// An id, or a path of names.
    pub text: String,
    span: Range<usize>,
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

impl ExportConfig {
    /// The same configuration with the accounts of the organization that it asks for. What the file lists goes over what Organizations
    /// says; an alias that the file does not give is the organization's.
    ///
    /// # Errors
    /// [`ConfigError`] for an account the file or a flag names and neither has.
    pub fn with_organization(
        &self,
        found: Vec<OrganizationAccount>,
    ) -> Result<(Self, Vec<LeftOut>), ConfigError> {
        let mut config = self.clone();
        let Some(organization) = config.organization.take() else {
            return Ok((config, Vec::new()));
        };
        self.all_known(&organization, &found)?;
        let unknown = self.unknown_spenders(|id| {
            let listed = self.configured.iter().any(|a| a.id == *id);
            listed || found.iter().any(|a| a.id == *id)
        });
        if !unknown.is_empty() {
            return Err(self.source.refuse(unknown));
        }
        let excluded = organization.exclude_accounts.iter();
        config.excluded_accounts = excluded.filter_map(|r| AccountId::parse(&r.text)).collect();
        let mut left_out = Vec::new();
        for account in found {
            if let Some(listed) = config.accounts.iter_mut().find(|a| a.id == account.id) {
                listed.name = listed.name.take().or(account.name);
                continue;
            }
            let named = |rules: &[Rule]| rules.iter().any(|r| r.text == account.id.as_str());
            let wanted =
                organization.include_accounts.is_empty() || named(&organization.include_accounts);
            if !wanted || named(&organization.exclude_accounts) {
                continue;
            }
            let (why, is_failure) = if account.is_active() {
                match organization
                    .template
                    .of_organization(&account.id, account.name.as_deref())
                {
                    Ok(made) => {
                        config.accounts.push(made);
                        continue;
                    }
                    Err(why) => (why, true),
                }
            } else {
                (format!("its state is {}", account.state), false)
            };
            left_out.push(LeftOut {
                account,
                why,
                is_failure,
            });
        }
        config.accounts.sort_by(|a, b| a.id.cmp(&b.id));
        config.configured.clone_from(&config.accounts);
        left_out.retain(|l| self.is_about(&l.account.id));
        let mut problems = Vec::new();
        let only = &self.only_accounts;
        // One that cannot be read is known all the same.
        let is_left_out = |id: &str| left_out.iter().any(|l| l.account.id.as_str() == id);
        all_are_known(only, &config.accounts, is_left_out, &mut problems);
        config.accounts = only_accounts(config.accounts, only, &self.only_regions, &mut problems);
        for excluded in self
            .flagged_accounts()
            .iter()
            .filter(|id| config.excluded_accounts.contains(id))
        {
            let text =
                format!("--account: {excluded} is excluded by organization.exclude_accounts");
            problems.push(Problem::whole(text).remedy("take it out of the one or of the other"));
        }
        if problems.is_empty() {
            Ok((config, left_out))
        } else {
            Err(self.source.refuse(problems))
        }
    }

    fn all_known(
        &self,
        organization: &OrganizationConfig,
        found: &[OrganizationAccount],
    ) -> Result<(), ConfigError> {
        let missing = |rule: &&Rule| {
            let listed = self.accounts.iter().any(|a| a.id.as_str() == rule.text);
            !listed && !found.iter().any(|a| a.id.as_str() == rule.text)
        };
        let problems: Vec<Problem> = organization
            .include_accounts
            .iter()
            .filter(missing)
            .map(|rule| {
                let text = format!(
                    "account {} is not in the organization, or not below its included units",
                    rule.text
                );
                Problem::at(rule.span.clone(), text)
                    .remedy("cwlake accounts shows what is found without this line")
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(self.source.refuse(problems))
        }
    }

    /// Accounts that are read by a role without an external id, although a file lists the ids.
    pub fn accounts_without_id(&self) -> Vec<AccountId> {
        if self.external_ids_file.is_none() {
            return Vec::new();
        }
        let lacking = |a: &&AccountConfig| a.role.as_ref().is_some_and(|r| r.external_id.is_none());
        let accounts = self.accounts.iter().filter(lacking);
        accounts.map(|a| a.id.clone()).collect()
    }

    /// Whether the account's own table gives its external id.
    pub fn has_own_external_id(&self, account: &AccountId) -> bool {
        let listed = self.accounts.iter().find(|a| a.id == *account);
        let role = listed.and_then(|a| a.role.as_ref());
        role.is_some_and(|r| r.external_id.is_some()) && !self.external_ids.contains_key(account)
    }

    /// The error for organizational units that do not exist, at their place in the file. `known` are paths of names of those that do.
    pub fn unknown_units(&self, rules: &[Rule], known: &[String]) -> ConfigError {
        let organization = self.organization.as_ref();
        let span_of = |rule: &Rule| {
            let all = organization
                .iter()
                .flat_map(|o| o.include_ous.iter().chain(&o.exclude_ous));
            all.filter(|r| r.text == rule.text)
                .map(|r| r.span.clone())
                .next()
        };
        let problem = |rule: &Rule| {
            let near = known
                .iter()
                .min_by_key(|path| strsim::damerau_levenshtein(path, rule.text.trim_matches('/')));
            let remedy = match near {
                Some(near) if !is_unit_id(&rule.text) => {
                    format!("did you mean '{}'?", printable(near))
                }
                _ => "an id of this organization, or a path of names below its root such as Workloads/Prod"
                    .to_owned(),
            };
            let text = format!("no organizational unit '{}'", printable(&rule.text));
            Problem::at(span_of(rule).unwrap_or_default(), text).remedy(remedy)
        };
        self.source.refuse(rules.iter().map(problem).collect())
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

/// The accounts of a configuration as one reads them.
impl AccountConfig {
    /// An account that is read through a monitoring account alone.
    pub(crate) fn linked(id: AccountId) -> Self {
        Self {
            id,
            name: None,
            role: None,
            regions: RegionChoice::Auto,
            linked_accounts: false,
        }
    }

    /// How its credentials are got, in one word or by the role's ARN.
    pub fn access(&self) -> &str {
        self.role
            .as_ref()
            .map_or("base credentials", |r| r.arn.as_str())
    }
}
