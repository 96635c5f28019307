//! Which accounts, by which role, in which regions.

use std::collections::BTreeMap;

use super::file::{Account, FileConfig};
use super::problem::{Problem, printable};
use super::regions::{RegionChoice, region_choice};
use super::roles::RoleConfig;
use super::template::AccountTemplate;
use crate::model::AccountId;

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

impl AccountTemplate {
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
