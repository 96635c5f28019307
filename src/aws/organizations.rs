//! The accounts of an AWS organization. Follows Organizations `ListAccounts`, `ListRoots`, `ListOrganizationalUnitsForParent` and
//! `ListAccountsForParent`.
//!
//! # Source
//! Organizations API reference, read November 2026: callable from the management account and from delegated administrators; pages may be
//! empty before the token ends; `State` takes the place of `Status`.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;

use aws_sdk_organizations::Client;
use aws_sdk_organizations::types::{Account, AccountState, AccountStatus};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::{StreamExt, TryStreamExt, stream};

use super::base::BaseSession;
use super::pages::Pages;
use super::retry::retried;
use super::whole::listed;
use crate::config::{
    Limits, OrganizationAccount, OrganizationConfig, RoleConfig, Rule, is_unit_id,
};
use crate::model::{AccountId, Cause, CauseKind};

/// Calls side by side: the quotas of Organizations are a few calls a second.
const CALLS_AT_ONCE: usize = 4;

/// Depth of the tree; AWS allows five levels below the root.
const MAX_DEPTH: usize = 16;

/// The organization cannot be listed.
#[derive(Debug)]
pub enum OrganizationError {
    /// A call failed.
    Cause(Cause),
    /// Some units do not exist.
    UnknownUnits {
        /// As the configuration names them.
        rules: Vec<Rule>,
        /// Paths of names of those that were seen.
        known: Vec<String>,
    },
}

impl From<Cause> for OrganizationError {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

/// Every account of the organization that is below the units asked for, whatever its state, in the order of the ids.
///
/// # Errors
/// The cause of the first call that failed for good: a list is whole or it is none. A unit that does not exist.
pub async fn organization_accounts(
    base: &BaseSession,
    organization: &OrganizationConfig,
    limits: &Limits,
) -> Result<Vec<OrganizationAccount>, OrganizationError> {
    let walk = Walk {
        client: client(base, organization),
        attempts: limits.attempts,
    };
    let found = if organization.has_units() {
        walk.below(organization).await?
    } else {
        walk.all().await.map_err(hinted)?
    };
    Ok(found.into_values().collect())
}

fn client(base: &BaseSession, organization: &OrganizationConfig) -> Client {
    let of_role = organization.role.as_ref().and_then(RoleConfig::partition);
    let partition = of_role.unwrap_or(base.home_region().partition());
    // One endpoint a partition, in a region of its own.
    let region = partition.main_region();
    let credentials = base.credentials_of(organization.role.as_ref(), &region);
    Client::new(&base.sdk(&region, &credentials))
}

struct Walk {
    client: Client,
    attempts: u32,
}

type Found = BTreeMap<AccountId, OrganizationAccount>;

/// An organizational unit, or the root.
#[derive(Clone, Debug)]
struct Unit {
    id: String,
    /// Names below the root.
    path: Vec<String>,
    included: bool,
    excluded: bool,
}

impl Unit {
    fn is(&self, rule: &Rule) -> bool {
        if is_unit_id(&rule.text) {
            return self.id == rule.text;
        }
        rule.text.trim_matches('/') == self.path.join("/")
    }

    /// Whether what the rule names may lie below.
    fn may_hold(&self, rule: &Rule) -> bool {
        let path = self.path.join("/");
        is_unit_id(&rule.text)
            || rule
                .text
                .trim_matches('/')
                .strip_prefix(&path)
                .is_some_and(|rest| path.is_empty() || rest.starts_with('/'))
    }
}

impl Walk {
    async fn all(&self) -> Result<Found, Cause> {
        let ask = |token| async move {
            let page = self.client.list_accounts().set_next_token(token).send();
            page.await.map(|page| (page.accounts, page.next_token))
        };
        let mut found = Found::new();
        take(&self.pages("ListAccounts", ask).await?, &[], &mut found)?;
        Ok(found)
    }

    /// Level by level, no deeper than something wanted may lie.
    async fn below(&self, organization: &OrganizationConfig) -> Result<Found, OrganizationError> {
        let (include, exclude) = (&organization.include_ous, &organization.exclude_ous);
        let by_id = include.iter().all(|r| is_unit_id(&r.text));
        // What is excluded higher up is seen from the root alone.
        let mut level = if by_id && !include.is_empty() && exclude.is_empty() {
            // Their own subtrees hold all that is wanted.
            include
                .iter()
                .map(|rule| Unit {
                    id: rule.text.clone(),
                    path: vec![rule.text.clone()],
                    included: true,
                    excluded: false,
                })
                .collect()
        } else {
            self.roots().await.map_err(hinted)?
        };
        let mut unmatched: Vec<Rule> = include.iter().chain(exclude).cloned().collect();
        let (mut found, mut known, mut seen) = (Found::new(), Vec::new(), HashSet::new());
        for _ in 0..MAX_DEPTH {
            level.retain(|unit| seen.insert(unit.id.clone()));
            for unit in &mut level {
                unit.included |= include.is_empty() || include.iter().any(|r| unit.is(r));
                unit.excluded |= exclude.iter().any(|r| unit.is(r));
                unmatched.retain(|rule| !unit.is(rule));
                known.push(unit.path.join("/"));
            }
            let wanted = |unit: &Unit| unit.included && !unit.excluded;
            for (unit, accounts) in self.each(&level, wanted, |u| self.accounts_in(u)).await? {
                take(&accounts, &unit.path, &mut found)?;
            }
            let worth = |unit: &Unit| wanted(unit) || unmatched.iter().any(|r| unit.may_hold(r));
            let below = self.each(&level, worth, |u| self.units_in(u)).await?;
            level = below.into_iter().flat_map(|(_, units)| units).collect();
            if level.is_empty() {
                break;
            }
        }
        if unmatched.is_empty() {
            Ok(found)
        } else {
            known.retain(|path| !path.is_empty());
            Err(OrganizationError::UnknownUnits {
                rules: unmatched,
                known,
            })
        }
    }

    /// Asks about some units of a level, in their order. A unit that does not exist has nothing: its rule was the only word of it.
    async fn each<'a, T, F>(
        &self,
        level: &'a [Unit],
        wanted: impl Fn(&Unit) -> bool,
        ask: impl Fn(&'a Unit) -> F,
    ) -> Result<Vec<(&'a Unit, T)>, OrganizationError>
    where
        F: Future<Output = Result<T, Cause>>,
    {
        let asked = level.iter().filter(|unit| wanted(unit)).map(|unit| {
            let asking = ask(unit);
            async move {
                match asking.await {
                    Ok(answer) => Ok((unit, answer)),
                    Err(cause) if cause.is("ParentNotFoundException") => {
                        Err(OrganizationError::UnknownUnits {
                            rules: vec![Rule::new(&unit.id)],
                            known: Vec::new(),
                        })
                    }
                    Err(cause) => Err(OrganizationError::Cause(hinted(cause))),
                }
            }
        });
        stream::iter(asked.collect::<Vec<_>>())
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn roots(&self) -> Result<Vec<Unit>, Cause> {
        let answer = retried("ListRoots", self.attempts, || {
            self.client.list_roots().send()
        })
        .await?;
        let unit = |id: &str| Unit {
            id: id.to_owned(),
            path: Vec::new(),
            included: false,
            excluded: false,
        };
        let roots: Vec<Unit> = answer
            .roots()
            .iter()
            .filter_map(|r| r.id())
            .map(unit)
            .collect();
        if roots.is_empty() {
            return Err(Cause::new(
                CauseKind::Protocol,
                "ListRoots: the answer names no root",
            ));
        }
        Ok(roots)
    }

    async fn units_in(&self, parent: &Unit) -> Result<Vec<Unit>, Cause> {
        const DOING: &str = "ListOrganizationalUnitsForParent";
        let ask = |token| async move {
            let list = self.client.list_organizational_units_for_parent();
            let page = list.parent_id(&parent.id).set_next_token(token).send();
            page.await
                .map(|page| (page.organizational_units, page.next_token))
        };
        let mut units = Vec::new();
        for unit in self.pages(DOING, ask).await? {
            let (Some(id), Some(name)) = (unit.id, unit.name) else {
                let text = format!("{DOING}: a unit has no id or name");
                return Err(Cause::new(CauseKind::Protocol, text));
            };
            let mut path = parent.path.clone();
            path.push(name);
            units.push(Unit {
                id,
                path,
                included: parent.included,
                excluded: parent.excluded,
            });
        }
        Ok(units)
    }

    async fn accounts_in(&self, parent: &Unit) -> Result<Vec<Account>, Cause> {
        let ask = |token| async move {
            let list = self.client.list_accounts_for_parent();
            let page = list.parent_id(&parent.id).set_next_token(token).send();
            page.await.map(|page| (page.accounts, page.next_token))
        };
        self.pages("ListAccountsForParent", ask).await
    }

    /// All pages of a list. A token that repeats is an error, not the end; a page without a list is asked for again: an empty answer is not an
    /// empty organization.
    async fn pages<T, E, F>(
        &self,
        doing: &'static str,
        ask: impl Fn(Option<String>) -> F,
    ) -> Result<Vec<T>, Cause>
    where
        F: Future<Output = Result<Page<T>, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let mut all = Vec::new();
        let mut pages = Pages::of(doing);
        loop {
            let page = retried(doing, self.attempts, async || {
                let page = ask(pages.token()).await?;
                let has_list = page.0.is_some();
                listed(page, has_list)
            });
            let (list, next) = page.await?;
            all.extend(list.into_iter().flatten());
            if !pages.follow(next)? {
                return Ok(all);
            }
        }
    }
}

/// What a page holds, and the token of the next.
type Page<T> = (Option<Vec<T>>, Option<String>);

fn take(accounts: &[Account], path: &[String], found: &mut Found) -> Result<(), Cause> {
    for account in accounts {
        let Some(id) = account.id().and_then(AccountId::parse) else {
            let text = "ListAccounts: an account has no id of twelve digits";
            return Err(Cause::new(CauseKind::Protocol, text));
        };
        // Emulators and older partitions send the older field alone.
        let status = account.status().map(AccountStatus::as_str);
        let state = account.state().map(AccountState::as_str).or(status);
        found.insert(
            id.clone(),
            OrganizationAccount {
                id,
                name: account.name().map(str::to_owned),
                path: path.to_vec(),
                state: state.unwrap_or("ACTIVE").to_owned(),
            },
        );
    }
    Ok(())
}

fn hinted(cause: Cause) -> Cause {
    if cause.hint.is_some() {
        return cause;
    }
    let elsewhere = "list from the management account or a delegated administrator: run there, or set organization.role_arn to a role of it";
    match cause.kind {
        CauseKind::AccessDenied => cause.with_hint(format!(
            "allow organizations:ListAccounts (and the three other list calls, with organizational units: cwlake iam), and {elsewhere}"
        )),
        CauseKind::Other if cause.is("AWSOrganizationsNotInUseException") => {
            cause.with_hint(format!(
                "the calling account is in no organization: {elsewhere}"
            ))
        }
        // One region of a partition answers: it is the key that is refused.
        CauseKind::RegionDisabled | CauseKind::NoCredentials | CauseKind::ExpiredToken => Cause {
            kind: CauseKind::NoCredentials,
            ..cause
        }
        .with_hint("the base credentials are refused: renew them"),
        CauseKind::Throttled => cause.with_hint(
            "something else lists this organization: try again later, or list the accounts in the configuration",
        ),
        CauseKind::Transient | CauseKind::Unreachable => cause.with_hint(
            "is Organizations' endpoint open from here (network, AWS_ENDPOINT_URL)? it has one region a partition",
        ),
        _ => cause,
    }
}
