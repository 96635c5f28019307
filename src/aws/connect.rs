//! Entering accounts: every role assumed once, before any lane starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::base::BaseSession;
use super::credentials::{AccountCredentials, check_identity};
use super::lane::LaneClient;
use crate::config::{AccountConfig, Limits, RegionChoice, RoleConfig};
use crate::model::{Cause, Lane, Region};

/// An account that can be read.
#[derive(Clone, Debug)]
pub struct Reader {
    config: AccountConfig,
    base: BaseSession,
    credentials: Arc<AccountCredentials>,
    lanes: Arc<Mutex<HashMap<Region, LaneClient>>>,
}

/// How entering one account ended.
#[derive(Debug)]
pub struct Entered {
    /// The account as configured.
    pub config: AccountConfig,
    /// Its reader, or why there is none.
    pub reader: Result<Reader, Cause>,
}

/// Enters one account: assumes its role, or checks whose the base credentials are.
///
/// At most two STS calls for an account that is refused.
pub async fn enter(
    base: &BaseSession,
    config: AccountConfig,
    sts_region: Option<&Region>,
) -> Entered {
    let region = sts_region_for(base, &config, sts_region);
    let sts = base.sts(&region);
    let (credentials, entered) = match &config.role {
        Some(role) => {
            let (account, role) = (config.id.clone(), role.clone());
            let credentials = base.role_credentials(account, sts, role);
            let entered = credentials.get().await.map(|_| ());
            (credentials, entered)
        }
        None => (
            Arc::clone(base.credentials()),
            check_identity((&sts, base.credentials()), &config.id, base.attempts()).await,
        ),
    };
    let reader = entered.map(|()| Reader {
        config: config.clone(),
        base: base.clone(),
        credentials,
        lanes: Arc::default(),
    });
    Entered { config, reader }
}

impl Reader {
    /// The account as configured.
    pub fn config(&self) -> &AccountConfig {
        &self.config
    }

    /// The account's session.
    pub(super) fn credentials(&self) -> &AccountCredentials {
        &self.credentials
    }

    /// Clients, limiters and retries for one region: the same ones whoever asks, since a quota belongs to the account that is called.
    pub fn lane(&self, region: Region, limits: &Limits) -> LaneClient {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let made = lanes.entry(region.clone()).or_insert_with(|| {
            let sdk = self.base.sdk(&region, &self.credentials);
            let lane = Lane {
                account: self.config.id.clone(),
                region,
            };
            LaneClient::new(lane, &sdk, Arc::clone(&self.credentials), limits)
        });
        made.clone()
    }

    /// The region whose endpoint answers for the account as a whole.
    pub fn home_region(&self) -> Region {
        sts_region_for(&self.base, &self.config, None)
    }
}

/// Regional endpoint: tokens of the global one are not valid in opt-in regions. Set by hand, else the base region when it is in
/// the account's partition, else the account's first region.
fn sts_region_for(base: &BaseSession, config: &AccountConfig, set: Option<&Region>) -> Region {
    if let Some(region) = set {
        return region.clone();
    }
    let (partition, first) = match &config.regions {
        RegionChoice::Named(regions) => (regions[0].partition(), Some(regions[0].clone())),
        RegionChoice::Auto => {
            let of_role = config.role.as_ref().and_then(RoleConfig::partition);
            (of_role.unwrap_or(base.home_region().partition()), None)
        }
    };
    base.region()
        .filter(|r| r.partition() == partition)
        .cloned()
        .or(first)
        .unwrap_or_else(|| partition.main_region())
}
