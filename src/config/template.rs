//! What accounts are made from: the defaults, and whatever they refer to.

use super::external_ids::ExternalIds;
use super::file::{Defaults, FileConfig};
use super::given::Environment;
use super::regions::{RegionChoice, region_choice};
use super::spanned::Spanned;
use crate::model::{Partition, Region};

/// Role of a configuration with an organization that names none: the one `cwlake iam` prints.
pub(super) const DEFAULT_ROLE_NAME: &str = "CWLakeReader";

/// What accounts are made from: the defaults, and whatever they refer to.
#[derive(Clone)]
pub(super) struct AccountTemplate {
    pub(super) defaults: Defaults,
    pub(super) env: Environment,
    pub(super) extra: Vec<Region>,
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

    /// The partition of accounts whose regions are found later: that of the session's region.
    pub(super) fn usual_partition(&self) -> Partition {
        let region = self.env.region();
        region.map_or(Partition::Aws, |region| region.partition())
    }

    /// The partition of the default regions, else of the session's region, as far as either is known.
    pub(super) fn known_partition(&self) -> Option<Partition> {
        match self.regions() {
            Some(RegionChoice::Named(list)) => Some(list[0].partition()),
            _ => self.env.region().map(|region| region.partition()),
        }
    }

    pub(super) fn role_pattern(&self, account: &str, name: &str) -> String {
        let given = self.defaults.role_name.as_ref();
        let role = given.map_or(DEFAULT_ROLE_NAME, |r| r.get_ref());
        let role = role
            .replace("{account_id}", account)
            .replace("{name}", name);
        format!(
            "arn:{}:iam::{account}:role/{role}",
            self.known_partition().unwrap_or(Partition::Aws).as_str()
        )
    }

    pub(super) fn external_id_form(&self) -> Option<String> {
        let given = &self.defaults.external_id.as_ref()?.get_ref().0;
        match given.strip_prefix("env:") {
            Some(name) => self.env.get(name),
            None => Some(given.clone()),
        }
    }
}
