//! Which accounts, by which role, in which regions.

use std::collections::BTreeMap;

use super::external_ids::ExternalIds;
use super::file::{Account, Defaults, FileConfig, Regions};
use super::problem::Problem;
use super::regions::known_region;
use super::resolve::Environment;
use super::roles::RoleConfig;
use super::spanned::Spanned;
use crate::model::{AccountId, Partition, Region};

/// One account to read.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// The account's id.
    pub id: AccountId,
    /// Its alias, for the `account_name` column.
    pub name: Option<String>,
    /// The role to assume; `None` reads with the base credentials.
    pub role: Option<RoleConfig>,
    /// The regions to read.
    pub regions: RegionChoice,
    /// It is a monitoring account: what is linked to it is read through it.
    pub linked_accounts: bool,
}

/// Which regions of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionChoice {
    /// Every region enabled for the account (`DescribeRegions`).
    Auto,
    /// These, each a failure when it cannot be read.
    Named(Vec<Region>),
}

/// Role of a configuration with an organization that names none: the one `cwlake iam` prints.
pub(super) const DEFAULT_ROLE_NAME: &str = "CWLakeReader";

/// What accounts are made from: the defaults, and whatever they refer to.
#[derive(Clone)]
pub(super) struct AccountTemplate {
    pub(super) defaults: Defaults,
    pub(super) env: Environment,
    extra: Vec<Region>,
    pub(super) external_ids: ExternalIds,
}

impl std::fmt::Debug for AccountTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountTemplate")
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

impl AccountTemplate {
    pub(super) fn of(
        file: &FileConfig,
        env: &Environment,
        extra: &[Region],
        external_ids: ExternalIds,
    ) -> Self {
        let mut defaults = file.defaults.clone();
        if file.organization.is_some() && defaults.role_name.is_none() {
            // The caller's own credentials are one account's: hundreds of others need a role.
            defaults.role_name = Some(Spanned::new(0..0, DEFAULT_ROLE_NAME.to_owned()));
        }
        Self {
            defaults,
            env: env.clone(),
            extra: extra.to_vec(),
            external_ids,
        }
    }

    /// An account that Organizations knows and the file does not list.
    ///
    /// # Errors
    /// Why it cannot be made, such as a name that makes no role.
    pub(super) fn of_organization(
        &self,
        id: &AccountId,
        name: Option<&str>,
    ) -> Result<AccountConfig, String> {
        let mut problems = Vec::new();
        let entry = Account::plain(id.as_str(), name.map(str::to_owned));
        match (self.account(&entry, &mut problems), problems.first()) {
            (Some(account), None) => Ok(account),
            (_, Some(problem)) => Err(match &problem.remedy {
                Some(remedy) => format!("{}: {remedy}", problem.message),
                None => problem.message.clone(),
            }),
            (None, None) => Err("it cannot be read".to_owned()),
        }
    }

    fn account(&self, account: &Account, problems: &mut Vec<Problem>) -> Option<AccountConfig> {
        let Some(id) = AccountId::parse(account.id.get_ref()) else {
            problems.push(
                Problem::at(
                    account.id.span(),
                    format!("'{}' is not an account id", printable(account.id.get_ref())),
                )
                .remedy("twelve digits in quotes, leading zeros kept: id = \"012345678901\""),
            );
            return None;
        };
        let given = account.regions.as_ref().or(self.defaults.regions.as_ref());
        let regions = match given {
            Some(given) => region_choice(given, &self.extra, problems)?,
            None => RegionChoice::Auto,
        };
        let role = self.role(account, &id, &regions, problems);
        if let Some(name) = &account.name
            && (name.get_ref().is_empty() || name.get_ref().len() > 256)
        {
            problems.push(
                Problem::at(name.span(), "an account name has 1 to 256 bytes")
                    .remedy("shorten it or leave it out"),
            );
        }
        Some(AccountConfig {
            id,
            name: account.name.as_ref().map(|n| n.get_ref().clone()),
            role,
            regions,
            linked_accounts: account
                .linked_accounts
                .as_ref()
                .is_some_and(|l| *l.get_ref()),
        })
    }

    pub(super) fn finds_regions(&self) -> bool {
        !matches!(self.regions(), Some(RegionChoice::Named(_)))
    }

    pub(super) fn regions(&self) -> Option<RegionChoice> {
        region_choice(
            self.defaults.regions.as_ref()?,
            &self.extra,
            &mut Vec::new(),
        )
    }

    /// The partition of accounts whose regions are found later: that of the region the environment names.
    pub(super) fn usual_partition(&self) -> Partition {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| Region::parse(&self.env.get(name)?))
            .map_or(Partition::Aws, |region| region.partition())
    }
}

/// Resolves every `[[account]]`, collecting what is wrong.
pub(super) fn resolve(
    file: &FileConfig,
    template: &AccountTemplate,
    problems: &mut Vec<Problem>,
) -> Vec<AccountConfig> {
    if file.account.is_empty() && file.organization.is_none() {
        problems.push(Problem::whole("no account is listed").remedy(
            "add an [[account]] table with id = \"111122223333\", or organization = {} for all accounts of AWS Organizations",
        ));
    }
    let mut seen: BTreeMap<AccountId, Option<String>> = BTreeMap::new();
    let mut accounts = Vec::new();
    for entry in &file.account {
        let before = problems.len();
        let Some(account) = template.account(entry.get_ref(), problems) else {
            continue;
        };
        let role = account.role.as_ref().map(|r| r.arn.clone());
        if let Some(other) = seen.get(&account.id) {
            let roles = if *other == role {
                ""
            } else {
                ", with different roles"
            };
            problems.push(
                Problem::at(
                    entry.get_ref().id.span(),
                    format!("account {} is listed twice{roles}", account.id),
                )
                .remedy("keep one [[account]] per id and list all its regions there"),
            );
        }
        seen.insert(account.id.clone(), role);
        if problems.len() == before {
            accounts.push(account);
        }
    }
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    accounts
}

fn region_choice(
    given: &Spanned<Regions>,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> Option<RegionChoice> {
    let list = match given.get_ref() {
        Regions::Word(word) if word == "auto" => return Some(RegionChoice::Auto),
        Regions::Word(word) => {
            problems.push(
                Problem::at(
                    given.span(),
                    format!("'{}' is not a list of regions", printable(word)),
                )
                .remedy("write [\"us-east-1\"], or \"auto\" for every enabled region"),
            );
            return None;
        }
        Regions::List(list) => list,
    };
    if list.is_empty() {
        problems.push(
            Problem::at(given.span(), "the list of regions is empty")
                .remedy("name at least one region, or write \"auto\""),
        );
        return None;
    }
    let mut regions = Vec::new();
    for code in list {
        if code == "auto" || code == "*" {
            problems.push(
                Problem::at(given.span(), format!("'{code}' cannot stand in a list"))
                    .remedy("write regions = \"auto\" alone"),
            );
            return None;
        }
        match known_region(code, extra) {
            Ok(region) => regions.push(region),
            Err(remedy) => {
                problems.push(
                    Problem::at(
                        given.span(),
                        format!("'{}' is not a known region", printable(code)),
                    )
                    .remedy(remedy),
                );
                return None;
            }
        }
    }
    regions.sort();
    regions.dedup();
    let first = regions[0].partition();
    if let Some(other) = regions.iter().find(|r| r.partition() != first) {
        problems.push(
            Problem::at(
                given.span(),
                format!("{} and {other} belong to different partitions", regions[0]),
            )
            .remedy("an account lives in one partition: split the entry"),
        );
        return None;
    }
    Some(RegionChoice::Named(regions))
}

/// At most 60 characters and no control character, for error messages.
pub(super) fn printable(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    match clean.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &clean[..cut]),
        None => clean,
    }
}
