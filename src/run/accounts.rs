//! Which accounts a run is about: those of the file, and those of the organization.

use std::sync::Arc;

use serde::Serialize;

use super::pipeline::{RunContext, RunError};
use super::place::Place;
use super::prepare::{UnplannedLane, all_without_credentials, enter_all, lanes_of};
use crate::aws::{BaseSession, OrganizationError, ServiceTime, organization_accounts};
use crate::config::{AccountConfig, ExportConfig, LeftOut, OrganizationAccount, RegionChoice};
use crate::report::{AccountReport, LeftOutAccount, printable};

/// The same run with every account of its configuration, and the accounts of the organization that are left out.
///
/// # Errors
/// [`RunError::Organization`], [`RunError::Config`] for a unit or account that does not exist, no credentials.
pub(super) async fn with_accounts(
    context: &RunContext,
    place: &Place,
) -> Result<(RunContext, Vec<LeftOut>), RunError> {
    if context.config.organization.is_none() {
        return Ok((context.clone(), Vec::new()));
    }
    let base = place.session(context).await?;
    let found = found_in(&base, &context.config).await?;
    joined(context, found)
}

/// Enters every account of the configuration and finds its regions.
pub(super) type EnteredAccounts = (
    RunContext,
    Vec<LeftOut>,
    Vec<AccountReport>,
    Vec<UnplannedLane>,
);

/// Loads the base credentials, and goes on as [`entered_accounts_by`].
pub(super) async fn entered_accounts(context: &RunContext) -> Result<EnteredAccounts, RunError> {
    let base = base_session(context).await?;
    entered_accounts_by(context, &base).await
}

/// # Errors
/// No credentials, or an organization that cannot be listed; what concerns one account is in its report.
pub(super) async fn entered_accounts_by(
    context: &RunContext,
    base: &BaseSession,
) -> Result<EnteredAccounts, RunError> {
    let found = found_in(base, &context.config).await?;
    let (context, left_out) = joined(context, found)?;
    let config = Arc::clone(&context.config);
    let config = &config;
    let accounts = config.accounts.iter().filter(|a| context.wants_account(a));
    let accounts: Vec<AccountConfig> = accounts.cloned().collect();
    context
        .progress
        .stage(&format!("entering {} accounts", accounts.len()));
    let entered = enter_all(base, accounts, config).await;
    if let Some(cause) = all_without_credentials(&entered) {
        return Err(RunError::Credentials(cause));
    }
    let context = by_service_time(context, base.service_time())?;
    let (mut accounts, lanes) = lanes_of(entered, config).await;
    // A monitoring account that was not asked for is told of when it stands in the way of one that was.
    let flagged = config.flagged_accounts();
    let behind = flagged
        .iter()
        .any(|id| !config.accounts.iter().any(|a| a.id == *id));
    accounts.retain(|account| {
        let asked =
            flagged.is_empty() || flagged.iter().any(|id| id.as_str() == account.account_id);
        asked || behind && account.cause.is_some()
    });
    Ok((context, left_out, accounts, lanes))
}

/// A clock further off than this is refused: days would be called whole that are not over.
const CLOCK_TOLERANCE: i64 = 300;

/// The same run by the service's clock, where ours is ahead of it: nothing is known beyond that.
///
/// # Errors
/// [`RunError::Clock`] when ours is far off. Without a date in its answers nothing can be said.
fn by_service_time(
    context: RunContext,
    service: Option<ServiceTime>,
) -> Result<RunContext, RunError> {
    let Some(service) = service else {
        return Ok(context);
    };
    let (at_least, at_most) = context.ahead_of(service);
    if at_least > CLOCK_TOLERANCE || at_most < -CLOCK_TOLERANCE {
        let seconds = if at_least > 0 { at_least } else { at_most };
        return Err(RunError::Clock { seconds });
    }
    Ok(RunContext {
        now: context.now.min(service.date),
        ..context
    })
}

pub(super) async fn base_session(context: &RunContext) -> Result<BaseSession, RunError> {
    BaseSession::load(&context.origin, &context.config.limits)
        .await
        .map_err(RunError::Credentials)
}

pub(super) async fn found_in(
    base: &BaseSession,
    config: &ExportConfig,
) -> Result<Vec<OrganizationAccount>, RunError> {
    let Some(organization) = &config.organization else {
        return Ok(Vec::new());
    };
    organization_accounts(base, organization, &config.limits)
        .await
        .map_err(|error| match error {
            OrganizationError::Cause(cause) => RunError::Organization(cause),
            OrganizationError::UnknownUnits { rules, known } => {
                RunError::Config(config.unknown_units(&rules, &known))
            }
        })
}

pub(super) fn joined(
    context: &RunContext,
    found: Vec<OrganizationAccount>,
) -> Result<(RunContext, Vec<LeftOut>), RunError> {
    let (config, left_out) = context.config.with_organization(found)?;
    let context = RunContext {
        config: config.into(),
        ..context.clone()
    };
    Ok((context, left_out))
}

/// Every account a configuration stands for.
#[derive(Clone, Debug, Serialize)]
pub struct AccountList {
    /// Those that are read, in the order of their ids.
    pub accounts: Vec<ListedAccount>,
    /// Those of the organization that are not.
    pub left_out: Vec<LeftOutAccount>,
}

/// An account that is read.
#[derive(Clone, Debug, Serialize)]
pub struct ListedAccount {
    /// Its id.
    pub account_id: String,
    /// Its alias.
    pub account_name: Option<String>,
    /// `file` or `organization`.
    pub from: &'static str,
    /// Names of its organizational units below the root; none where they were not looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// The role's ARN, or `base credentials`.
    pub access: String,
    /// An external id is sent.
    pub external_id: bool,
    /// `auto`, or the regions.
    pub regions: String,
    /// What is linked to it is read through it.
    pub linked_accounts: bool,
}

/// Resolves the accounts; calls nothing but Organizations, and that only when the configuration asks for it.
///
/// # Errors
/// As for a run.
pub async fn accounts(context: &RunContext) -> Result<AccountList, RunError> {
    let found = if context.config.organization.is_some() {
        let base = base_session(context).await?;
        found_in(&base, &context.config).await?
    } else {
        Vec::new()
    };
    let units = |id: &str| {
        let account = found.iter().find(|a| a.id.as_str() == id)?;
        (!account.path.is_empty()).then(|| account.path.join("/"))
    };
    let (all, left_out) = joined(context, found.clone())?;
    let in_file = |id| context.config.accounts.iter().any(|a| a.id == id);
    let about = all
        .config
        .accounts
        .iter()
        .filter(|a| all.config.is_about(&a.id));
    let accounts = about.map(|account| ListedAccount {
        account_id: account.id.to_string(),
        account_name: account.name.clone(),
        from: if in_file(account.id.clone()) {
            "file"
        } else {
            "organization"
        },
        units: units(account.id.as_str()),
        access: account.access().to_owned(),
        external_id: account
            .role
            .as_ref()
            .is_some_and(|r| r.external_id.is_some()),
        regions: match &account.regions {
            RegionChoice::Auto => "auto".to_owned(),
            RegionChoice::Named(named) => {
                let codes: Vec<&str> = named.iter().map(crate::model::Region::as_str).collect();
                codes.join(",")
            }
        },
        linked_accounts: account.linked_accounts,
    });
    Ok(AccountList {
        accounts: accounts.collect(),
        left_out: left_out.into_iter().map(LeftOutAccount::from).collect(),
    })
}

impl AccountList {
    /// 0; 3 when an account that is wanted cannot be read, 4 when there is none.
    pub fn exit_code(&self) -> u8 {
        if self.left_out.iter().any(|l| l.is_failure) {
            3
        } else if self.accounts.is_empty() {
            4
        } else {
            0
        }
    }

    /// A line an account.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let width = |name: &Option<String>| name.as_deref().map_or(0, |n| n.chars().count());
        let widest = self.accounts.iter().map(|a| width(&a.account_name)).max();
        let widest = widest.unwrap_or(0).clamp(4, 40);
        let _ = writeln!(
            out,
            "{:<12} {:<widest$} {:<12} regions  access",
            "account", "name", "from"
        );
        for account in &self.accounts {
            let name = account.account_name.as_deref().unwrap_or("");
            let id = if account.external_id {
                ", external id"
            } else {
                ""
            };
            let linked = if account.linked_accounts {
                ", linked accounts"
            } else {
                ""
            };
            let units = account
                .units
                .as_ref()
                .map_or(String::new(), |u| format!(" in {}", printable(u)));
            let _ = writeln!(
                out,
                "{} {:<widest$} {:<12} {}  {}{id}{linked}{units}",
                account.account_id,
                printable(name),
                account.from,
                account.regions,
                account.access,
            );
        }
        for left_out in &self.left_out {
            let name = left_out.account_name.as_deref().unwrap_or("");
            let word = if left_out.is_failure {
                "failed"
            } else {
                "skipped"
            };
            let _ = writeln!(
                out,
                "  {word} {} {}: {}",
                left_out.account_id,
                printable(name),
                printable(&left_out.why)
            );
        }
        let _ = writeln!(
            out,
            "{} accounts, {} left out",
            self.accounts.len(),
            self.left_out.len()
        );
        out
    }
}
