//! From what was read to what is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::accounts::{self, AccountConfig, AccountTemplate, RegionChoice, printable};
use super::alert::{self, AlertConfig};
use super::budget::{self, Budget};
use super::destination::{self, Destination};
use super::external_ids::{self, ExternalIds};
use super::file::FileConfig;
use super::limits::Limits;
use super::logs::{self, LogSelection, SpendConfig};
use super::organization::{self, OrganizationConfig};
use super::problem::{ConfigError, ConfigSource, Problem};
use super::regions::known_region;
use super::run_options::{RunOptions, extra_regions, limits, run_options};
use super::selection::{self, Selection};
use crate::model::{AccountId, Dataset, Lane, Partition, Region};

/// The environment variables a configuration may name, as a value so that tests need no process state.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own, non-UTF-8 ones left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Values from flags or environment variables; each wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--destination`.
    pub destination: Option<String>,
    /// `--max-spend`.
    pub max_spend_usd: Option<f64>,
    /// `--concurrency`.
    pub concurrency: Option<u32>,
    /// `--lookback-days`.
    pub lookback_days: Option<u32>,
    /// `--account`: only these.
    pub accounts: Vec<String>,
    /// `--region`: only these.
    pub regions: Vec<String>,
    /// `--namespace`: only these.
    pub namespaces: Vec<String>,
    /// `--dataset`: only these.
    pub datasets: Vec<String>,
    /// The file of external ids is about to be written.
    pub external_ids_may_be_missing: bool,
}

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
    /// Log events, in file order.
    pub logs: Vec<LogSelection>,
    /// Estimated charges are exported.
    pub spend: Option<SpendConfig>,
    /// Thresholds, in file order.
    pub budgets: Vec<Budget>,
    /// Where alerts go.
    pub alert: Option<AlertConfig>,
    /// What a run is asked for: all that is configured, unless `--dataset` or `--namespace` says less.
    pub datasets: BTreeSet<Dataset>,
    has_dataset_flag: bool,
    /// How the run behaves.
    pub run: RunOptions,
    /// Speeds and time limits.
    pub limits: Limits,
    /// Every namespace of the file with its publication delay in seconds, also those left out by `--namespace`.
    pub namespaces: BTreeMap<String, i64>,
    /// Only these regions, by `--region`; all when empty.
    pub only_regions: Vec<Region>,
    /// Only these accounts, by `--account`; all when empty.
    pub(super) only_accounts: Vec<String>,
    /// The partition of the accounts: that of the first region that is listed, else of the region the environment names.
    pub partition: Partition,
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
    fingerprint: String,
}

impl ExportConfig {
    /// Names what a unit of this account is meant to hold: it changes with the selections, the account's alias and the schema.
    pub fn plan_hash(&self, account_name: Option<&str>, schema_version: u32) -> String {
        short_hash(&format!(
            "{}\n{account_name:?}\n{schema_version}",
            self.fingerprint
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

const SUPPORTED_VERSION: i64 = 1;

/// Reads and validates a configuration file. No network call is made.
///
/// # Errors
/// [`ConfigError`] with every problem found, each with its place and remedy.
pub fn load(
    path: &Path,
    overrides: &Overrides,
    env: &Environment,
) -> Result<ExportConfig, ConfigError> {
    let text = FileConfig::read_text(path)?;
    let fail = |problems| ConfigError::new(path, text.clone(), problems);
    // toml takes a byte order mark as part of the first key; editors on Windows write one.
    let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let shift = text.len() - body.len();
    let file = FileConfig::parse(body).map_err(|mut problem| {
        problem.span = problem.span.map(|s| s.start + shift..s.end + shift);
        fail(vec![problem])
    })?;
    let mut problems = Vec::new();
    check_version(&file, &mut problems);
    check_secrets(path, &file, body, &mut problems);
    check_endpoints(env, &mut problems);
    let extra = extra_regions(&file.run, &mut problems);
    let destination = destination::resolve(
        path,
        &file.destination,
        overrides,
        &extra,
        env,
        &mut problems,
    );
    let missing_allowed = overrides.external_ids_may_be_missing;
    let ids = external_ids::read(path, &file.defaults, missing_allowed, &mut problems);
    let template = AccountTemplate::of(&file, env, &extra, ids);
    let accounts = accounts::resolve(&file, &template, &mut problems);
    let organization = organization::resolve(&file, &template, env, &mut problems);
    let selections = selection::resolve(&file, body, &mut problems);
    let logs = logs::resolve(&file, body, &mut problems);
    let spend = logs::resolve_spend(&file, &mut problems);
    let budgets = budget::resolve(&file, &mut problems);
    let alert = alert::resolve(&file, env, &extra, &mut problems);
    let datasets = datasets(&file, overrides, &mut problems);
    let run = run_options(path, &file.run, overrides, &extra, &mut problems);
    let limits = limits(&file.limits, &mut problems);
    let fingerprint = fingerprint(&selections);
    let namespaces = namespaces(&selections);
    let only_regions = only_regions(overrides, &extra, &mut problems);
    let configured = accounts.clone();
    // Whose accounts are not known yet is asked for them later.
    let accounts = match &organization {
        Some(_) => accounts,
        None => {
            let only = &overrides.accounts;
            all_are_known(only, &accounts, |_| false, &mut problems);
            only_accounts(accounts, only, &only_regions, &mut problems)
        }
    };
    let selections = only_namespaces(selections, overrides, &mut problems);
    match destination {
        Some(destination) if problems.is_empty() => {
            let config = ExportConfig {
                destination,
                accounts,
                organization,
                selections,
                instances: file.instances.is_some(),
                logs,
                spend,
                budgets,
                alert,
                datasets,
                has_dataset_flag: !overrides.datasets.is_empty(),
                run,
                limits,
                namespaces,
                only_regions,
                only_accounts: overrides.accounts.clone(),
                partition: template.partition(),
                external_ids: template.external_ids.clone(),
                configured,
                excluded_accounts: BTreeSet::new(),
                external_ids_file: file
                    .defaults
                    .external_ids
                    .as_ref()
                    .map(|given| external_ids::path_of(path, given.get_ref())),
                source: Arc::new(ConfigSource::new(path, body)),
                fingerprint,
            };
            // Those of an organization are known when it is listed.
            let is_known = |id: &AccountId| {
                config.organization.is_some() || config.configured.iter().any(|a| a.id == *id)
            };
            let unknown = config.unknown_spenders(is_known);
            if unknown.is_empty() {
                Ok(config)
            } else {
                Err(config.source.refuse(unknown))
            }
        }
        _ => {
            for problem in &mut problems {
                problem.span = problem.span.take().map(|s| s.start + shift..s.end + shift);
            }
            Err(fail(problems))
        }
    }
}

fn check_version(file: &FileConfig, problems: &mut Vec<Problem>) {
    // A file that does not say is of the first version.
    let Some(given) = &file.version else {
        return;
    };
    let version = *given.get_ref();
    if version != SUPPORTED_VERSION {
        let remedy = if version > SUPPORTED_VERSION {
            "this file was written for a newer cwlake: update cwlake".to_owned()
        } else {
            format!("write version = {SUPPORTED_VERSION}")
        };
        problems.push(
            Problem::at(
                given.span(),
                format!("configuration version {version} is not supported"),
            )
            .remedy(remedy),
        );
    }
}

/// An access key in the text, or a literal external id in a file that anyone may write.
fn check_secrets(path: &Path, file: &FileConfig, text: &str, problems: &mut Vec<Problem>) {
    if let Some(at) = find_access_key(text) {
        problems.push(
            Problem::at(at..at + 20, "this looks like an AWS access key").remedy(
                "credentials never stand in this file: use the AWS credential chain (profile, environment, role), and rotate this key",
            ),
        );
    }
    let secrets = || {
        file.account
            .iter()
            .filter_map(|a| a.get_ref().external_id.as_ref())
            .chain(&file.defaults.external_id)
            .chain(&file.destination.external_id)
            .chain(
                file.organization
                    .iter()
                    .filter_map(|o| o.get_ref().external_id.as_ref()),
            )
            .chain(file.alert.iter().flat_map(|a| a.get_ref().external_ids()))
    };
    if let Some(secret) = secrets().find(|s| !s.get_ref().0.starts_with("env:"))
        && is_world_writable(path)
    {
        problems.push(
            Problem::at(
                secret.span(),
                "a file that everyone may write holds an external id",
            )
            .remedy("chmod o-w the file, or use external_id = \"env:NAME\""),
        );
    }
}

fn find_access_key(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    ["AKIA", "ASIA"]
        .iter()
        .flat_map(|prefix| text.match_indices(prefix))
        .map(|(at, _)| at)
        .find(|&at| {
            let alnum = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
            let run = bytes[at..].iter().take_while(|b| alnum(b)).count();
            run == 20 && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric())
        })
}

#[cfg(unix)]
pub(super) fn is_world_writable(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o002 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_world_writable(_: &Path) -> bool {
    false
}

/// The SDK only logs a wrong endpoint and then calls AWS; a typo here must not reach the real service.
fn check_endpoints(env: &Environment, problems: &mut Vec<Problem>) {
    for (name, value) in env
        .0
        .iter()
        .filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"))
    {
        let ok = value.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|h| !h.is_empty())
        });
        if !ok {
            problems.push(
                Problem::whole(format!("environment variable {name} is not a URL"))
                    .remedy("write http://host:port or https://host, or unset it"),
            );
        }
    }
}

/// In file order: where two tables match one series, the first decides.
fn fingerprint(selections: &[Selection]) -> String {
    selections
        .iter()
        .map(Selection::fingerprint)
        .collect::<Vec<_>>()
        .join("\n")
}

fn namespaces(selections: &[Selection]) -> BTreeMap<String, i64> {
    let mut delays = BTreeMap::new();
    for selection in selections {
        let delay = delays.entry(selection.namespace.clone()).or_insert(0);
        *delay = selection.publication_delay.max(*delay);
    }
    delays
}

fn only_regions(
    overrides: &Overrides,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> Vec<Region> {
    let mut regions = Vec::new();
    for code in &overrides.regions {
        match known_region(code, extra) {
            Ok(region) => regions.push(region),
            Err(remedy) => problems.push(
                Problem::whole(format!(
                    "--region: '{}' is not a known region",
                    printable(code)
                ))
                .remedy(remedy),
            ),
        }
    }
    regions
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

/// What a run is asked for.
fn datasets(
    file: &FileConfig,
    overrides: &Overrides,
    problems: &mut Vec<Problem>,
) -> BTreeSet<Dataset> {
    let mut configured = BTreeSet::new();
    for (dataset, is_there) in [
        (Dataset::Metrics, !file.metrics.is_empty()),
        (Dataset::Instances, file.instances.is_some()),
        (Dataset::Logs, !file.logs.is_empty()),
        (Dataset::Spend, file.spend.is_some()),
    ] {
        if is_there {
            configured.insert(dataset);
        }
    }
    let mut wanted = BTreeSet::new();
    for name in &overrides.datasets {
        match Dataset::parse(name) {
            Some(dataset) if configured.contains(&dataset) => {
                wanted.insert(dataset);
            }
            known => {
                let remedy = match known {
                    Some(dataset) => format!("add {} to the file", how_to_select(dataset)),
                    None => "metrics, instances, logs or spend".to_owned(),
                };
                let text = format!(
                    "--dataset: '{}' is not in the configuration",
                    printable(name)
                );
                problems.push(Problem::whole(text).remedy(remedy));
            }
        }
    }
    if !overrides.namespaces.is_empty() && wanted.iter().any(|d| *d != Dataset::Metrics) {
        problems.push(
            Problem::whole("--namespace is about metrics alone, and --dataset asks for others")
                .remedy("give one of the two"),
        );
    }
    match (
        overrides.datasets.is_empty(),
        overrides.namespaces.is_empty(),
    ) {
        (true, true) => configured,
        (true, false) => BTreeSet::from([Dataset::Metrics]),
        (false, _) => wanted,
    }
}

fn how_to_select(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Metrics => "a [[metrics]] table",
        Dataset::Instances => "instances = {}",
        Dataset::Logs => "a [[logs]] table",
        Dataset::Spend => "spend = {}",
    }
}

fn only_namespaces(
    selections: Vec<Selection>,
    overrides: &Overrides,
    problems: &mut Vec<Problem>,
) -> Vec<Selection> {
    for namespace in &overrides.namespaces {
        if !selections.iter().any(|s| s.namespace == *namespace) {
            problems.push(
                Problem::whole(format!(
                    "--namespace: '{}' is not in the configuration",
                    printable(namespace)
                ))
                .remedy("the namespace of a [[metrics]] table, such as \"AWS/EC2\""),
            );
        }
    }
    selections
        .into_iter()
        .filter(|s| overrides.namespaces.is_empty() || overrides.namespaces.contains(&s.namespace))
        .collect()
}
