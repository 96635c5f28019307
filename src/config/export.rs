//! What is meant: the whole configuration, validated and immutable. Only this goes past `config`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::accounts::AccountConfig;
use super::alert::AlertConfig;
use super::budget::Budget;
use super::compact::CompactConfig;
use super::destination::Destination;
use super::external_ids::ExternalIds;
use super::limits::Limits;
use super::logs::{LogSelection, SpendConfig};
use super::network::Network;
use super::notify::NotifyConfig;
use super::organization::{OrganizationConfig, Rule};
use super::problem::ConfigSource;
use super::regions::RegionChoice;
use super::run_options::RunOptions;
use super::selection::Selection;
use crate::lake::table::{TABLES, Table};
use crate::model::{AccountId, Dataset, Lane, Partition, Region};

/// What is meant: validated and immutable.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// Where the lake is.
    pub destination: Destination,
    /// Accounts in the order of their ids.
    pub accounts: Vec<AccountConfig>,
    /// Whose accounts are still to be added, see [`ExportConfig::with_organization`].
    pub organization: Option<OrganizationConfig>,
    /// Selections in file order: where two match one series, the first decides.
    pub selections: Vec<Selection>,
    /// The EC2 inventory is exported.
    pub instances: bool,
    /// Alarms and the changes of their states are exported.
    pub alarms: bool,
    /// Log events, in file order.
    pub logs: Vec<LogSelection>,
    /// Estimated charges are exported.
    pub spend: Option<SpendConfig>,
    /// Thresholds, in file order.
    pub budgets: Vec<Budget>,
    /// What is to be said of it although nothing is wrong.
    pub remarks: Vec<String>,
    /// Where alerts go.
    pub alert: Option<AlertConfig>,
    /// Word when a run fails.
    pub notify: Option<NotifyConfig>,
    /// What a run is asked for: all that is configured, unless `--dataset` or `--namespace` says less.
    pub datasets: BTreeSet<Dataset>,
    pub(super) has_dataset_flag: bool,
    /// How the run behaves.
    pub run: RunOptions,
    /// When and how settled days are compacted.
    pub compact: CompactConfig,
    /// Speeds and time limits.
    pub limits: Limits,
    /// How AWS is reached.
    pub network: Network,
    /// Every namespace of the file with its publication delay in seconds, also those left out by `--namespace`.
    pub namespaces: BTreeMap<String, i64>,
    /// Only these regions, by `--region`; all when empty.
    pub only_regions: Vec<Region>,
    /// Only these accounts, by `--account`; all when empty.
    pub(super) only_accounts: Vec<String>,
    /// That of the first region that is listed, else of the session's region; none when neither is known.
    pub(super) known_partition: Option<Partition>,
    /// What the file of external ids says.
    pub(super) external_ids: ExternalIds,
    /// The accounts as they are configured, whatever the flags leave of them.
    pub(super) configured: Vec<AccountConfig>,
    /// Accounts that are not to be read by whatever way.
    pub(super) excluded_accounts: BTreeSet<AccountId>,
    /// The file of external ids, when the configuration names one.
    pub external_ids_file: Option<PathBuf>,
    /// The file, to show places in it.
    pub(super) source: Arc<ConfigSource>,
    /// What all `[[metrics]]` of the file ask for, see [`ExportConfig::plan_hash`].
    pub(super) fingerprint: String,
}

impl ExportConfig {
    /// The partition of the accounts; the commercial one where nothing tells.
    pub fn partition(&self) -> Partition {
        self.known_partition.unwrap_or(Partition::Aws)
    }

    /// Whether that is a guess: no region is listed, and none of the session known.
    pub fn partition_is_guessed(&self) -> bool {
        self.known_partition.is_none()
    }

    /// Whether a lake of it has a dataset, whatever the flags ask for.
    pub fn configures(&self, dataset: Dataset) -> bool {
        match dataset {
            Dataset::Metrics => !self.namespaces.is_empty(),
            Dataset::Instances => self.instances,
            Dataset::Logs => !self.logs.is_empty(),
            Dataset::Spend => self.spend.is_some(),
            Dataset::Alarms | Dataset::AlarmHistory => self.alarms,
        }
    }

    /// Names what a unit of this account is meant to hold: it changes with the selections, the account's alias and the schema.
    pub fn plan_hash(&self, account_name: Option<&str>, schema_version: u32) -> String {
        short_hash(&format!(
            "{}\n{account_name:?}\n{schema_version}",
            self.fingerprint
        ))
    }

    /// Names what a run is meant to read: it changes with the datasets, what is selected of them, and of which accounts and regions.
    pub fn question_of_all(&self) -> String {
        let names: Vec<&str> = self.datasets.iter().map(|d| d.name()).collect();
        let logs = self.logs_plan_hash(None, 0);
        let account = |a: &AccountConfig| format!("{} {:?} {}", a.id, a.regions, a.linked_accounts);
        let accounts: Vec<String> = self.accounts.iter().map(account).collect();
        let flags = (self.flagged_accounts(), &self.only_regions);
        // By their texts: where they stand in the file asks for nothing.
        let texts = |rules: &[Rule]| rules.iter().map(|r| r.text.clone()).collect::<Vec<_>>();
        let organization = self.organization.as_ref().map(|o| {
            let units = (texts(&o.include_ous), texts(&o.exclude_ous));
            (
                units,
                texts(&o.include_accounts),
                texts(&o.exclude_accounts),
            )
        });
        short_hash(&format!(
            "{}\n{logs}\n{}\n{}\n{:?}\n{flags:?}",
            self.fingerprint,
            names.join(","),
            accounts.join(","),
            organization
        ))
    }

    /// The same of one namespace: it changes with what is asked of that alone.
    pub fn question(
        &self,
        namespace: &str,
        account_name: Option<&str>,
        schema_version: u32,
    ) -> String {
        let own = self.selections.iter().filter(|s| s.namespace == namespace);
        let own: Vec<String> = own.map(Selection::fingerprint).collect();
        short_hash(&format!(
            "{}\n{account_name:?}\n{schema_version}",
            own.join("\n")
        ))
    }

    /// Every account of the configuration, whatever flags leave of them.
    pub fn all_accounts(&self) -> &[AccountConfig] {
        &self.configured
    }

    /// Whether some tables are named by flag.
    pub fn has_dataset_flag(&self) -> bool {
        self.has_dataset_flag
    }

    /// Whether a run is asked for this table.
    pub fn exports(&self, dataset: Dataset) -> bool {
        self.datasets.contains(&dataset)
    }

    /// The tables that a run writes.
    pub fn tables_to_write(&self) -> Vec<&'static Table> {
        let tables = TABLES.into_iter();
        tables.filter(|t| self.exports(t.dataset)).collect()
    }

    /// Names what a unit of logs is meant to hold: it changes with the selections, the account's alias and the schema.
    pub fn logs_plan_hash(&self, account_name: Option<&str>, schema_version: u32) -> String {
        let logs: Vec<String> = self.logs.iter().map(LogSelection::fingerprint).collect();
        short_hash(&format!(
            "{}\n{account_name:?}\n{schema_version}",
            logs.join("\n")
        ))
    }

    /// Whether `--account` leaves this account in.
    pub fn is_about(&self, account: &AccountId) -> bool {
        let only = &self.only_accounts;
        only.is_empty() || only.iter().any(|id| id == account.as_str())
    }

    /// The accounts named by flag.
    pub fn flagged_accounts(&self) -> Vec<AccountId> {
        let flags = self.only_accounts.iter();
        flags.filter_map(|id| AccountId::parse(id)).collect()
    }

    /// Whether some accounts are named by flag.
    pub fn has_account_flag(&self) -> bool {
        !self.only_accounts.is_empty()
    }

    /// Whether an account that is linked to a monitoring account is wanted in a region: not one that is excluded, nor one that is configured to
    /// be read elsewhere.
    pub fn wants_linked(&self, lane: &Lane) -> bool {
        let listed = self.configured.iter().find(|a| a.id == lane.account);
        let elsewhere = listed.is_some_and(|a| match &a.regions {
            RegionChoice::Auto => false,
            RegionChoice::Named(named) => !named.contains(&lane.region),
        });
        !elsewhere && !self.excluded_accounts.contains(&lane.account)
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

    /// Whether `--region` leaves this region in.
    pub fn reads(&self, region: &Region) -> bool {
        self.only_regions.is_empty() || self.only_regions.contains(region)
    }
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
