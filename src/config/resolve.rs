//! From what was read to what is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::accounts::{self, AccountConfig, AccountTemplate, RegionChoice, printable};
use super::destination::{self, Destination};
use super::external_ids::{self, ExternalIds};
use super::file::{FileConfig, LimitOverrides, Run};
use super::limits::Limits;
use super::organization::{self, OrganizationConfig};
use super::problem::{ConfigError, ConfigSource, Problem};
use super::regions::known_region;
use super::selection::{self, Selection};
use super::spanned::Spanned;
use crate::model::{AccountId, Lane, Partition, Region};

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
        let text = format!("{}\n{account_name:?}\n{schema_version}", self.fingerprint);
        Sha256::digest(text)
            .iter()
            .take(8)
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
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
        let listed = self.accounts.iter().find(|a| a.id == lane.account);
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

/// How a run behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOptions {
    /// Days before yesterday that a run without dates reads again.
    pub lookback_days: u32,
    /// Refuse to start when the plan costs more, US dollars.
    pub max_spend_usd: Option<f64>,
    /// Requests in flight over all lanes; memory and lanes at work go with it.
    pub concurrency: u32,
    /// Batches a lane may hold before the oldest is written.
    pub read_ahead: u32,
    /// Regions newer than this version.
    pub extra_regions: Vec<Region>,
    /// Region of the STS endpoint; `None` takes the base region or the account's first.
    pub sts_region: Option<Region>,
    /// Absolute path of the folder for files on their way and answers not yet written; `None` takes the destination's own.
    pub spool_dir: Option<PathBuf>,
}

const DEFAULT_LOOKBACK_DAYS: u32 = 2;
const DEFAULT_CONCURRENCY: u32 = 32;
const DEFAULT_READ_AHEAD: u32 = 4;
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
    let run = run_options(path, &file.run, overrides, &extra, &mut problems);
    let limits = limits(&file.limits, &mut problems);
    let fingerprint = fingerprint(&selections);
    let namespaces = namespaces(&selections);
    let only_regions = only_regions(overrides, &extra, &mut problems);
    // Whose accounts are not known yet is asked for them later.
    let accounts = match &organization {
        Some(_) => accounts,
        None => only_accounts(accounts, &overrides.accounts, &only_regions, &mut problems),
    };
    let selections = only_namespaces(selections, overrides, &mut problems);
    match destination {
        Some(destination) if problems.is_empty() => Ok(ExportConfig {
            destination,
            accounts,
            organization,
            selections,
            run,
            limits,
            namespaces,
            only_regions,
            only_accounts: overrides.accounts.clone(),
            partition: template.partition(),
            external_ids: template.external_ids.clone(),
            excluded_accounts: BTreeSet::new(),
            external_ids_file: file
                .defaults
                .external_ids
                .as_ref()
                .map(|given| external_ids::path_of(path, given.get_ref())),
            source: Arc::new(ConfigSource::new(path, body)),
            fingerprint,
        }),
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

fn extra_regions(run: &Run, problems: &mut Vec<Problem>) -> Vec<Region> {
    let mut extra = Vec::new();
    for code in &run.extra_regions {
        match Region::parse(code.get_ref()) {
            Some(region) => extra.push(region),
            None => problems.push(
                Problem::at(
                    code.span(),
                    format!("'{}' is not a region code", printable(code.get_ref())),
                )
                .remedy("a code such as eu-west-1"),
            ),
        }
    }
    extra
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

/// The accounts named by flag, each with the regions named by flag. An account that reads none of those regions is left out.
pub(super) fn only_accounts(
    accounts: Vec<AccountConfig>,
    only: &[String],
    regions: &[Region],
    problems: &mut Vec<Problem>,
) -> Vec<AccountConfig> {
    let is_known = |id: &str| accounts.iter().any(|a| a.id.as_str() == id);
    // One that is not configured may be behind a link: the monitoring accounts are entered, and tell.
    let links = accounts.iter().any(|a| a.linked_accounts);
    let through_links = links && only.iter().any(|id| !is_known(id));
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
    let mut left: Vec<AccountConfig> = accounts
        .into_iter()
        .filter(|a| {
            let is_named = only.iter().any(|id| a.id.as_str() == id);
            only.is_empty() || is_named || through_links && a.linked_accounts
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

fn run_options(
    path: &Path,
    run: &Run,
    overrides: &Overrides,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> RunOptions {
    let lookback = whole(
        run.lookback_days.as_ref(),
        "lookback_days",
        0..=454,
        problems,
    );
    let concurrency = whole(run.concurrency.as_ref(), "concurrency", 1..=1_024, problems);
    let read_ahead = whole(run.read_ahead.as_ref(), "read_ahead", 1..=64, problems);
    if let Some(n) = overrides.concurrency.filter(|n| !(1..=1_024).contains(n)) {
        problems.push(
            Problem::whole(format!("--concurrency: {n} is not between 1 and 1024"))
                .remedy("32 is the default"),
        );
    }
    if let Some(n) = overrides.lookback_days.filter(|n| *n > 454) {
        problems.push(
            Problem::whole(format!(
                "--lookback-days: {n} is more than CloudWatch keeps"
            ))
            .remedy("at most 454"),
        );
    }
    let spend_ok = |usd: f64| usd.is_finite() && usd >= 0.0;
    if let Some(usd) = overrides.max_spend_usd.filter(|usd| !spend_ok(*usd)) {
        problems.push(
            Problem::whole(format!("--max-spend: {usd} is not an amount of dollars"))
                .remedy("for example 5.0"),
        );
    }
    if let Some(usd) = run
        .max_spend_usd
        .as_ref()
        .filter(|usd| !spend_ok(*usd.get_ref()))
    {
        problems.push(
            Problem::at(
                usd.span(),
                format!("{} is not an amount of dollars", usd.get_ref()),
            )
            .remedy("for example 5.0"),
        );
    }
    let sts_region =
        run.sts_region
            .as_ref()
            .and_then(|code| match known_region(code.get_ref(), extra) {
                Ok(region) => Some(region),
                Err(remedy) => {
                    problems.push(
                        Problem::at(
                            code.span(),
                            format!("'{}' is not a known region", printable(code.get_ref())),
                        )
                        .remedy(remedy),
                    );
                    None
                }
            });
    RunOptions {
        lookback_days: overrides
            .lookback_days
            .or(lookback)
            .unwrap_or(DEFAULT_LOOKBACK_DAYS),
        max_spend_usd: overrides
            .max_spend_usd
            .or(run.max_spend_usd.as_ref().map(|u| *u.get_ref())),
        concurrency: overrides
            .concurrency
            .or(concurrency)
            .unwrap_or(DEFAULT_CONCURRENCY),
        read_ahead: read_ahead.unwrap_or(DEFAULT_READ_AHEAD),
        extra_regions: extra.to_vec(),
        sts_region,
        spool_dir: run.spool_dir.as_ref().and_then(|given| {
            let base = path.parent().unwrap_or(Path::new("."));
            let absolute = std::path::absolute(base.join(given.get_ref())).ok();
            if given.get_ref().is_empty() || absolute.is_none() {
                problems.push(
                    Problem::at(given.span(), "spool_dir is no folder")
                        .remedy("a local folder, relative to this file"),
                );
            }
            absolute
        }),
    }
}

fn whole(
    given: Option<&Spanned<i64>>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let given = given?;
    if !range.contains(given.get_ref()) {
        problems.push(
            Problem::at(
                given.span(),
                format!("{key} = {} is out of range", given.get_ref()),
            )
            .remedy(format!("{} to {}", range.start(), range.end())),
        );
    }
    u32::try_from(*given.get_ref()).ok()
}

fn limits(given: &LimitOverrides, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits::default();
    let mut speed = |value: &Option<Spanned<f64>>, key: &str, low: f64, target: &mut f64| {
        if let Some(value) = value {
            let number = *value.get_ref();
            if (low..=1e12).contains(&number) {
                *target = number;
            } else {
                problems.push(
                    Problem::at(value.span(), format!("{key} = {number} is out of range"))
                        .remedy(format!("{low} to 1e12; leave it out for the default")),
                );
            }
        }
    };
    speed(
        &given.calls_per_second,
        "calls_per_second",
        0.1,
        &mut limits.calls_per_second,
    );
    speed(
        &given.points_per_second,
        "points_per_second",
        1_000.0,
        &mut limits.points_per_second,
    );
    speed(
        &given.recent_points_per_second,
        "recent_points_per_second",
        1_000.0,
        &mut limits.recent_points_per_second,
    );
    speed(
        &given.list_metrics_per_second,
        "list_metrics_per_second",
        0.1,
        &mut limits.list_metrics_per_second,
    );
    speed(
        &given.ec2_calls_per_second,
        "ec2_calls_per_second",
        0.1,
        &mut limits.ec2_calls_per_second,
    );
    let mut timeout = |value: &Option<Spanned<f64>>, key: &str, target: &mut Duration| {
        let mut seconds = target.as_secs_f64();
        speed(value, key, 0.001, &mut seconds);
        *target = Duration::from_secs_f64(seconds.min(31_536_000.0));
    };
    timeout(
        &given.connect_timeout_secs,
        "connect_timeout_secs",
        &mut limits.connect_timeout,
    );
    timeout(
        &given.read_timeout_secs,
        "read_timeout_secs",
        &mut limits.read_timeout,
    );
    timeout(
        &given.attempt_timeout_secs,
        "attempt_timeout_secs",
        &mut limits.attempt_timeout,
    );
    timeout(
        &given.unit_timeout_secs,
        "unit_timeout_secs",
        &mut limits.unit_timeout,
    );
    if let Some(attempts) = whole(given.attempts.as_ref(), "attempts", 1..=100, problems) {
        limits.attempts = attempts;
    }
    limits
}
