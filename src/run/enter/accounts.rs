//! Which accounts a run is about: those of the file, and those of the organization.

use std::sync::Arc;

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::report::AccountReport;

use crate::aws::{BaseSession, OrganizationError, ServiceTime, organization_accounts};
use crate::config::{AccountConfig, ExportConfig, LeftOut, OrganizationAccount, RegionChoice};
use crate::given::place::{Place, base_session};
use crate::model::{Dataset, Region};
use crate::run::enter::regions::{UnplannedLane, all_without_credentials, enter_all, lanes_of};
use crate::sources::registry::lanes_read;

/// The same run with every account of its configuration, and the accounts of the organization that are left out.
///
/// # Errors
/// [`RunError::Organization`], [`RunError::Config`] for a unit or account that does not exist, no credentials.
pub(crate) async fn with_accounts(
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
pub(crate) type EnteredAccounts = (
    RunContext,
    Vec<LeftOut>,
    Vec<AccountReport>,
    Vec<UnplannedLane>,
);

/// Loads the base credentials, and goes on as [`entered_accounts_by`].
pub(crate) async fn entered_accounts(context: &RunContext) -> Result<EnteredAccounts, RunError> {
    let base = base_session(context).await?;
    entered_accounts_by(context, &base).await
}

/// # Errors
/// No credentials, or an organization that cannot be listed; what concerns one account is in its report.
pub(crate) async fn entered_accounts_by(
    context: &RunContext,
    base: &BaseSession,
) -> Result<EnteredAccounts, RunError> {
    let found = found_in(base, &context.config).await?;
    let (context, left_out) = joined(context, found)?;
    let config = Arc::clone(&context.config);
    let config = &config;
    let accounts = config
        .accounts
        .iter()
        .filter(|a| context.wants_account(a) && may_have(&context, a));
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

/// Whether a lane of an account may be this shard's.
fn may_have(context: &RunContext, account: &AccountConfig) -> bool {
    let Some(own) = context.sharing.own() else {
        return true;
    };
    let regions = match &account.regions {
        RegionChoice::Named(regions) => regions.clone(),
        // Whoever has one of them has all.
        RegionChoice::Auto => Region::parse("us-east-1").into_iter().collect(),
    };
    let datasets = Dataset::ALL
        .into_iter()
        .filter(|d| context.config.exports(*d));
    let mut lanes = datasets.flat_map(|dataset| lanes_read(dataset, &account.id, &regions));
    lanes.any(|lane| own.has(&lane))
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

pub(crate) async fn found_in(
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

pub(crate) fn joined(
    context: &RunContext,
    found: Vec<OrganizationAccount>,
) -> Result<(RunContext, Vec<LeftOut>), RunError> {
    let (config, left_out) = context.config.with_organization(found)?;
    let context = RunContext {
        sharing: context.sharing.among(&config),
        config: config.into(),
        ..context.clone()
    };
    Ok((context, left_out))
}
