//! The accounts of an organization joined with those that the file lists, and what flags leave of them.

use super::accounts::AccountConfig;
use super::export::ExportConfig;
use super::organization::{LeftOut, OrganizationAccount, OrganizationConfig, Rule};
use super::problem::{ConfigError, Problem, printable};
use super::regions::RegionChoice;
use crate::model::{AccountId, Region};

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
        // One that left the organization stops nothing: what is asked of it is not known.
        config
            .remarks
            .extend(unknown.into_iter().map(|p| p.message));
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
}

/// Accounts named by flag are in the configuration, or left out of it for a reason that is told elsewhere.
pub(super) fn all_are_known(
    only: &[String],
    accounts: &[AccountConfig],
    is_left_out: impl Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) {
    let is_known = |id: &str| accounts.iter().any(|a| a.id.as_str() == id) || is_left_out(id);
    // One that is not configured may be behind a link: the monitoring accounts are entered, and tell.
    let links = accounts.iter().any(|a| a.linked_accounts);
    for id in only {
        let may_be_linked = links && AccountId::parse(id).is_some();
        if !is_known(id) && !may_be_linked {
            problems.push(
                Problem::whole(format!(
                    "--account: {} is not in the configuration",
                    printable(id)
                ))
                .remedy("an id of an [[account]] table or of the organization, twelve digits"),
            );
        }
    }
}

/// The accounts named by flag, each with the regions named by flag. An account that reads none of those regions is left out.
pub(super) fn only_accounts(
    accounts: Vec<AccountConfig>,
    only: &[String],
    regions: &[Region],
    problems: &mut Vec<Problem>,
) -> Vec<AccountConfig> {
    let mut left: Vec<AccountConfig> = accounts
        .into_iter()
        .filter(|a| {
            let is_named = only.iter().any(|id| a.id.as_str() == id);
            only.is_empty() || is_named || a.linked_accounts
        })
        .collect();
    if regions.is_empty() {
        return left;
    }
    let before = left.len();
    left.retain_mut(|account| match &mut account.regions {
        RegionChoice::Auto => true,
        RegionChoice::Named(named) => {
            named.retain(|region| regions.contains(region));
            !named.is_empty()
        }
    });
    if left.is_empty() && before > 0 {
        problems.push(
            Problem::whole("--region: no account reads any of these regions")
                .remedy("a region listed under [defaults] or an [[account]]"),
        );
    }
    left
}
