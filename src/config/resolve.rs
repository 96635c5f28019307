//! From what was read to what is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::accounts::{self, AccountConfig};
use super::alert;
use super::budget;
use super::compact;
use super::destination;
use super::export::ExportConfig;
use super::external_ids::{self, is_world_writable};
use super::file::FileConfig;
use super::given::{Environment, Overrides};
use super::joined::{all_are_known, only_accounts};
use super::logs;
use super::network;
use super::notify;
use super::organization;
use super::problem::{ConfigError, ConfigSource, Problem, printable};
use super::regions::{RegionChoice, known_region};
use super::run_options::{extra_regions, limits, run_options};
use super::selection::{self, Selection};
use super::template::AccountTemplate;
use crate::model::{AccountId, Dataset, Partition, Region};

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
    load_text(path, &FileConfig::read_text(path)?, overrides, env)
}

/// The same of a text that was read: a pipe gives it once.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    path: &Path,
    text: &str,
    overrides: &Overrides,
    env: &Environment,
) -> Result<ExportConfig, ConfigError> {
    let mut problems = Vec::new();
    // toml takes a byte order mark as part of the first key; editors on Windows write one.
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let shift = text.len() - body.len();
    let refuse = |problems| ConfigError::new(path, text, shifted(problems, shift));
    let file = FileConfig::parse(body).map_err(|problem| refuse(vec![problem]))?;
    check_version(&file, &mut problems);
    check_secrets(path, &file, body, &mut problems);
    let network = network::resolve(env, &mut problems);
    let extra = extra_regions(&file.run, &mut problems);
    let url = &file.destination;
    let destination = destination::resolve(path, url, overrides, &extra, env, &mut problems);
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
    let notify = notify::resolve(&file, env, &mut problems);
    let datasets = datasets(&file, overrides, &mut problems);
    let run = run_options(path, &file.run, overrides, &extra, &mut problems);
    let compact = compact::resolve(&file, overrides, run.lookback_days, &mut problems);
    let limits = limits(&file.limits, &mut problems);
    let fingerprint = fingerprint(&selections);
    let namespaces = namespaces(&selections);
    let only_regions = only_regions(overrides, &extra, &mut problems);
    let configured = accounts.clone();
    // Whose accounts are not known yet is asked for them later.
    let accounts = if organization.is_some() {
        accounts
    } else {
        let only = &overrides.accounts;
        all_are_known(only, &accounts, |_| false, &mut problems);
        only_accounts(accounts, only, &only_regions, &mut problems)
    };
    let selections = only_namespaces(selections, overrides, &mut problems);
    match destination {
        Some(destination) if problems.is_empty() => spenders_are_known(ExportConfig {
            destination,
            accounts,
            organization,
            selections,
            instances: file.instances.is_some(),
            alarms: file.alarms.is_some(),
            logs,
            spend,
            budgets,
            remarks: Vec::new(),
            alert,
            notify,
            datasets,
            has_dataset_flag: !overrides.datasets.is_empty(),
            run,
            compact,
            limits,
            network,
            namespaces,
            only_regions,
            only_accounts: overrides.accounts.clone(),
            known_partition: known_partition(&configured, &template),
            external_ids: template.external_ids.clone(),
            configured,
            excluded_accounts: BTreeSet::new(),
            external_ids_file: external_ids_file(path, &file),
            source: Arc::new(ConfigSource::new(path, body)),
            fingerprint,
        }),
        _ => Err(refuse(problems)),
    }
}

/// Of the regions that are listed, by the defaults or by an account; else of the session's.
fn known_partition(accounts: &[AccountConfig], template: &AccountTemplate) -> Option<Partition> {
    let listed = accounts.iter().find_map(|a| match &a.regions {
        RegionChoice::Named(regions) => Some(regions[0].partition()),
        RegionChoice::Auto => None,
    });
    listed.or_else(|| template.known_partition())
}

/// Places in the text behind a mark to places in the file.
fn shifted(mut problems: Vec<Problem>, shift: usize) -> Vec<Problem> {
    for problem in &mut problems {
        problem.span = problem.span.take().map(|s| s.start + shift..s.end + shift);
    }
    problems
}

fn external_ids_file(path: &Path, file: &FileConfig) -> Option<std::path::PathBuf> {
    let given = file.defaults.external_ids.as_ref()?;
    Some(external_ids::path_of(path, given.get_ref()))
}

/// Refuses charges and budgets of accounts that nobody knows. Those of an organization are known when it is listed.
fn spenders_are_known(config: ExportConfig) -> Result<ExportConfig, ConfigError> {
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
            .chain(
                file.notify
                    .iter()
                    .filter_map(|n| n.get_ref().heartbeat_url.as_ref()),
            )
    };
    if let Some(secret) = secrets().find(|s| !s.get_ref().0.starts_with("env:"))
        && is_world_writable(path)
    {
        problems.push(
            Problem::at(
                secret.span(),
                "a file that everyone may write holds a secret",
            )
            .remedy("chmod o-w the file, or name a variable: \"env:NAME\""),
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

/// What a run is asked for.
fn datasets(
    file: &FileConfig,
    overrides: &Overrides,
    problems: &mut Vec<Problem>,
) -> BTreeSet<Dataset> {
    let all = Dataset::ALL.into_iter();
    let configured: BTreeSet<Dataset> = all.filter(|d| file.selects(*d)).collect();
    if let (false, Some(entry)) = (cfg!(feature = "ec2"), &file.instances) {
        let text = "this build cannot describe instances (feature 'ec2' is off)";
        let problem = Problem::at(entry.span(), text);
        problems.push(problem.remedy("build with default features, or leave instances out"));
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
                    None => Dataset::names(),
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
        Dataset::Alarms | Dataset::AlarmHistory => "alarms = {}",
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
