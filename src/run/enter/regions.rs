//! Accounts entered, and the regions that are read of each.

use std::sync::Arc;

use crate::given::place::Place;
use crate::report::AccountReport;

use futures::{StreamExt, stream};

use crate::aws::{BaseSession, Entered, LaneClient, Reader, enter};
use crate::config::{AccountConfig, ExportConfig, RegionChoice, known_regions};
use crate::model::{Cause, CauseKind, Lane, Region};

pub(crate) async fn enter_all(
    base: &BaseSession,
    accounts: Vec<AccountConfig>,
    config: &ExportConfig,
) -> Vec<Entered> {
    stream::iter(accounts)
        .map(|account| enter(base, account, config.run.sts_region.as_ref()))
        .buffered(config.run.concurrency as usize)
        .collect()
        .await
}

/// When no account can be entered because the base credentials are refused, the run has no subject.
pub(crate) fn all_without_credentials(entered: &[Entered]) -> Option<Cause> {
    let refused = |e: &Entered| {
        e.reader
            .as_ref()
            .err()
            .filter(|c| c.kind == CauseKind::NoCredentials)
            .cloned()
    };
    let causes: Vec<Cause> = entered.iter().filter_map(refused).collect();
    if causes.len() == entered.len() {
        causes.into_iter().next()
    } else {
        None
    }
}

/// A region of an account that was entered.
#[derive(Clone)]
pub(crate) struct UnplannedLane {
    reader: Reader,
    region: Region,
    by_itself: bool,
    /// AWS itself says that the account has the region enabled.
    is_enabled: bool,
}

impl UnplannedLane {
    pub(crate) fn lane(&self) -> Lane {
        Lane {
            account: self.reader.config().id.clone(),
            region: self.region.clone(),
        }
    }

    /// Alias of its account.
    pub(crate) fn account_name(&self) -> Option<Arc<str>> {
        self.reader.config().name.as_deref().map(Arc::from)
    }

    /// The same account in another region.
    pub(crate) fn in_region(&self, region: Region) -> Self {
        Self {
            region,
            ..self.clone()
        }
    }

    /// Whether nobody named its region, and it is closed to us.
    pub(crate) async fn may_be_left_out(&self, cause: &Cause, lane: &Lane, place: &Place) -> bool {
        self.is_left_out_for(Some(cause)) && is_new_to_the_lake(lane, place).await
    }

    /// What is linked to its account is read through it.
    pub(crate) fn is_monitoring(&self) -> bool {
        self.reader.config().linked_accounts
    }

    /// Nobody named its region, and all of it is closed to us.
    pub(crate) fn is_left_out_for(&self, cause: Option<&Cause>) -> bool {
        self.by_itself
            && cause.is_some_and(|c| match c.kind {
                // A session that a region refuses although it is enabled is no closed region.
                CauseKind::RegionDisabled => !self.is_enabled,
                kind => kind.is_about_a_region(),
            })
    }

    pub(crate) fn client(&self, config: &ExportConfig) -> LaneClient {
        self.reader.lane(self.region.clone(), &config.limits)
    }
}

/// The regions of an account.
#[derive(Clone, Default)]
pub(crate) struct Regions {
    pub(crate) read: Vec<Region>,
    pub(crate) disabled: Vec<Region>,
    /// Why every region of the partition is tried instead of the enabled ones.
    pub(crate) guessed: Option<Cause>,
}

pub(crate) async fn lanes_of(
    entered: Vec<Entered>,
    config: &ExportConfig,
) -> (Vec<AccountReport>, Vec<UnplannedLane>) {
    let mut accounts = Vec::new();
    let mut lanes = Vec::new();
    let resolved = stream::iter(entered)
        .map(|entered| async {
            let regions = match &entered.reader {
                Ok(reader) => regions_of(reader, config).await,
                Err(cause) => Err(cause.clone()),
            };
            (entered, regions)
        })
        .buffered(config.run.concurrency as usize)
        .collect::<Vec<_>>()
        .await;
    for (entered, regions) in resolved {
        let cause = regions.as_ref().err().cloned();
        let mut regions = regions.unwrap_or_default();
        if let (RegionChoice::Named(named), true) = (&entered.config.regions, cause.is_some()) {
            regions.read.clone_from(named);
        }
        let codes = |list: &[Region]| list.iter().map(ToString::to_string).collect();
        accounts.push(AccountReport {
            account_id: entered.config.id.to_string(),
            account_name: entered.config.name.clone(),
            regions: codes(&regions.read),
            disabled_regions: codes(&regions.disabled),
            regions_guessed: regions.guessed,
            cause: cause.clone(),
        });
        if let (Ok(reader), None) = (entered.reader, cause) {
            let by_itself = entered.config.regions == RegionChoice::Auto;
            let is_enabled = by_itself
                && accounts
                    .last()
                    .is_some_and(|a: &AccountReport| a.regions_guessed.is_none());
            lanes.extend(regions.read.into_iter().map(|region| UnplannedLane {
                reader: reader.clone(),
                region,
                by_itself,
                is_enabled,
            }));
        }
    }
    (accounts, lanes)
}

pub(crate) async fn regions_of(reader: &Reader, config: &ExportConfig) -> Result<Regions, Cause> {
    if let RegionChoice::Named(regions) = &reader.config().regions {
        return Ok(Regions {
            read: regions.clone(),
            ..Regions::default()
        });
    }
    match enabled(reader, config).await {
        // Who may not ask is told by each region itself.
        Err(cause) if cause.kind.is_denial() => {
            let partition = reader.home_region().partition();
            let read = known_regions(partition, &config.run.extra_regions);
            if read.is_empty() {
                return Err(cause.with_hint(
                    "list the account's regions: no region of its partition is known here",
                ));
            }
            Ok(Regions {
                read,
                disabled: Vec::new(),
                guessed: Some(cause),
            })
        }
        answer => answer,
    }
}

#[cfg(feature = "ec2")]
async fn enabled(reader: &Reader, config: &ExportConfig) -> Result<Regions, Cause> {
    let client = reader.lane(reader.home_region(), &config.limits);
    let found = crate::aws::enabled_regions(&client, &mut crate::aws::CallStats::default()).await?;
    Ok(Regions {
        read: found.enabled,
        disabled: found.disabled,
        guessed: None,
    })
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "with EC2 it calls")]
async fn enabled(_: &Reader, _: &ExportConfig) -> Result<Regions, Cause> {
    Err(Cause::new(
        CauseKind::AccessDenied,
        "this build cannot ask which regions are enabled (feature 'ec2' is off)",
    ))
}

/// A region that was read before and is closed today is missed, whatever closed it.
async fn is_new_to_the_lake(lane: &Lane, place: &Place) -> bool {
    let known = place.known_lanes().await;
    known.is_ok_and(|known| !known.contains(lane))
}
