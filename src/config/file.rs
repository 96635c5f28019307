//! What was read: the TOML file's shape, with the place of every value that is checked later.
//!
//! The comments on the fields are what an editor shows: they are the descriptions of `cwlake schema`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::{ConfigError, Problem};
use super::spanned::{OneOrMany, Secret, Spanned};
use super::tables::{Alarms, Alert, BudgetTable, Compact, Instances, Logs, Notify, Spend};
use crate::model::Dataset;

/// The configuration of cwlake.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "cwlake.toml")]
pub struct FileConfig {
    /// Version of this file's format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: Option<Spanned<i64>>,
    /// Where the lake is.
    pub destination: Destination,
    /// How a run behaves.
    #[serde(default)]
    pub run: Run,
    /// Settled days merged over all accounts into few files; `{}` does so at the end of runs without dates, of backfills and of `gather`.
    pub compact: Option<Spanned<Compact>>,
    /// Speeds and time limits, per account and region; AWS's own quotas when left out.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// For every account that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// Accounts from AWS Organizations, beside those listed.
    pub organization: Option<Spanned<Organization>>,
    /// One account to read; over what Organizations and the defaults say.
    #[serde(default)]
    pub account: Vec<Spanned<Account>>,
    /// Which metrics, with which statistics, at which period.
    #[serde(default)]
    pub metrics: Vec<Spanned<Metrics>>,
    /// The EC2 inventory with its tags, once a day.
    pub instances: Option<Spanned<Instances>>,
    /// Alarms once a day, and every change of their states.
    pub alarms: Option<Spanned<Alarms>>,
    /// Which events of CloudWatch Logs.
    #[serde(default)]
    pub logs: Vec<Spanned<Logs>>,
    /// Estimated charges (AWS/Billing).
    pub spend: Option<Spanned<Spend>>,
    /// Thresholds for charges.
    #[serde(default)]
    pub budget: Vec<Spanned<BudgetTable>>,
    /// Where alerts go.
    pub alert: Option<Spanned<Alert>>,
    /// Word when a run fails, by the channels of `[alert]`; and a heartbeat.
    pub notify: Option<Spanned<Notify>>,
}

impl FileConfig {
    /// Whether it asks for a dataset.
    pub(super) fn selects(&self, dataset: Dataset) -> bool {
        match dataset {
            Dataset::Metrics => !self.metrics.is_empty(),
            Dataset::Instances => self.instances.is_some(),
            Dataset::Logs => !self.logs.is_empty(),
            Dataset::Spend => self.spend.is_some(),
            Dataset::Alarms | Dataset::AlarmHistory => self.alarms.is_some(),
        }
    }
}

/// Where the lake is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { url = \"./lake\" }"
)]
pub struct Destination {
    /// A local folder, relative to this file, or `s3://bucket/prefix`.
    pub url: Spanned<String>,
    /// The bucket's region; else the base region.
    pub region: Option<Spanned<String>>,
    /// An S3-compatible store (AWS).
    pub endpoint_url: Option<Spanned<String>>,
    /// The bucket in the path and not in the host name, for S3-compatible stores (false).
    pub path_style: Option<Spanned<bool>>,
    /// Refuse any bucket that is not this account's.
    pub expected_bucket_owner: Option<Spanned<String>>,
    /// `AES256` or `aws:kms`; left to the bucket when left out.
    pub sse: Option<Spanned<String>>,
    /// With `aws:kms`; the bucket's default key when left out.
    pub kms_key_id: Option<Spanned<String>>,
    /// Storage class of the tables' objects (`STANDARD`).
    pub storage_class: Option<Spanned<String>>,
    /// `bucket-owner-full-control`, for a bucket of another account with ACLs.
    pub acl: Option<Spanned<String>>,
    /// SHA-256 and CRC32 with every object; false for stores that refuse them (true).
    pub checksums: Option<Spanned<bool>>,
    /// Life of the bucket's lock when its run dies elsewhere, seconds (60).
    pub lease_secs: Option<Spanned<i64>>,
    /// A role to write with; else the base credentials.
    pub role_arn: Option<Spanned<String>>,
    /// External id of that role: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
}

/// How a run behaves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// A run without dates reads yesterday and these days before it, since metrics arrive late (2).
    pub lookback_days: Option<Spanned<i64>>,
    /// Refuse to start when the plan costs more US dollars, stop before the call that would pass it.
    pub max_spend_usd: Option<Spanned<f64>>,
    /// Days that the reports of runs are kept, and groups of shards that were brought together (30): a run of whole days, or a gather, removes older ones.
    pub keep_reports_days: Option<Spanned<i64>>,
    /// Requests in flight over the whole run, and the measure of what it holds in memory (32).
    pub concurrency: Option<Spanned<i64>>,
    /// Batches of one account and region not yet written (4).
    pub read_ahead: Option<Spanned<i64>>,
    /// Region of the STS endpoint; else `AWS_REGION`, else the account's first.
    pub sts_region: Option<Spanned<String>>,
    /// For a bucket: folder of files on their way and of answers of an interrupted run, a folder for each lake in it (`~/.cache/cwlake`). A local lake
    /// keeps them in `_cwlake/`.
    pub spool_dir: Option<Spanned<String>>,
    /// For a bucket: keep the answers of a backfill there as well, so that it can be resumed on another machine; a PUT, a GET and a
    /// DELETE for each request that costs $0.005 (false). Runs with it remove what nobody came back for in two weeks.
    pub spool_in_bucket: Option<bool>,
    /// Region codes newer than this version of cwlake.
    #[serde(default)]
    pub extra_regions: Vec<Spanned<String>>,
}

/// Speeds and time limits, per account and region.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitOverrides {
    /// `GetMetricData` (500).
    pub calls_per_second: Option<Spanned<f64>>,
    /// Estimated points, windows that start more than three hours ago (396000).
    pub points_per_second: Option<Spanned<f64>>,
    /// The same for windows within the last three hours (180000).
    pub recent_points_per_second: Option<Spanned<f64>>,
    /// `ListMetrics` (25).
    pub list_metrics_per_second: Option<Spanned<f64>>,
    /// `DescribeInstances` and `DescribeRegions` (10).
    pub ec2_calls_per_second: Option<Spanned<f64>>,
    /// `FilterLogEvents`, and as many of `DescribeLogGroups` (the region's quotas, and 10).
    pub logs_calls_per_second: Option<Spanned<f64>>,
    /// `GetLogEvents` (the region's quota).
    pub log_stream_calls_per_second: Option<Spanned<f64>>,
    /// `DescribeAlarms` and `DescribeAlarmHistory` (9).
    pub alarm_calls_per_second: Option<Spanned<f64>>,
    /// Series that may be selected (1000000), more are refused by name: memory grows with them.
    pub series_per_lane: Option<Spanned<i64>>,
    /// Tries of one call, with jittered back-off (10).
    pub attempts: Option<Spanned<i64>>,
    /// Seconds to open a connection (5).
    pub connect_timeout_secs: Option<Spanned<f64>>,
    /// Seconds to the first byte of an answer (30).
    pub read_timeout_secs: Option<Spanned<f64>>,
    /// Seconds of one try, body included (60).
    pub attempt_timeout_secs: Option<Spanned<f64>>,
    /// Seconds of one account and region until its next unit is whole (21600).
    pub unit_timeout_secs: Option<Spanned<f64>>,
}

/// For every account that does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Role to assume, with its path if it has one; `{account_id}` and `{name}` are filled in. With an organization `CWLakeReader`, else the base credentials are used.
    pub role_name: Option<Spanned<String>>,
    /// External id: the text, or `env:NAME`; `{account_id}` is filled in.
    pub external_id: Option<Spanned<Secret>>,
    /// A TOML file of account ids and external ids, relative to this file; it wins over `external_id`.
    pub external_ids: Option<Spanned<String>>,
    /// Name of the sessions in CloudTrail (`cwlake`).
    pub session_name: Option<Spanned<String>>,
    /// 900 to 43200; AWS allows 3600 through another role (3600).
    pub session_duration_secs: Option<Spanned<i64>>,
    /// A list of regions, or `auto`: every enabled one (`auto`).
    pub regions: Option<Spanned<Regions>>,
}

/// Accounts from AWS Organizations: every active one, or those of some organizational units. `{}` takes all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table; {} takes every account")]
pub struct Organization {
    /// A role of the management account or of a delegated administrator, to list with; else the base credentials.
    pub role_arn: Option<Spanned<String>>,
    /// External id of that role: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
    /// Only accounts below these: an id (`ou-ab12-cd34ef56`, `r-ab12`) or a path of names below the root (`Workloads/Prod`).
    #[serde(default)]
    pub include_ous: Vec<Spanned<String>>,
    /// None of the accounts below these.
    #[serde(default)]
    pub exclude_ous: Vec<Spanned<String>>,
    /// Only these accounts.
    #[serde(default)]
    pub include_accounts: Vec<Spanned<String>>,
    /// None of these accounts.
    #[serde(default)]
    pub exclude_accounts: Vec<Spanned<String>>,
}

/// One account to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits, leading zeros kept.
    pub id: Spanned<String>,
    /// Alias, for the `account_name` column; the organization's when left out.
    pub name: Option<Spanned<String>>,
    /// The role to assume, in full.
    pub role_arn: Option<Spanned<String>>,
    /// The role to assume by name; `{account_id}` and `{name}` are filled in.
    pub role_name: Option<Spanned<String>>,
    /// Read with the caller's own credentials although `defaults` names a role.
    pub base_credentials: Option<Spanned<bool>>,
    /// External id: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
    /// Name of the session in CloudTrail (`cwlake`).
    pub session_name: Option<Spanned<String>>,
    /// 900 to 43200; AWS allows 3600 through another role (3600).
    pub session_duration_secs: Option<Spanned<i64>>,
    /// A list of regions, or `auto`: every enabled one (`auto`).
    pub regions: Option<Spanned<Regions>>,
    /// A monitoring account of CloudWatch cross-account observability: read what is linked to it as well.
    pub linked_accounts: Option<Spanned<bool>>,
}

impl Account {
    /// An account that says nothing but its id and alias.
    pub fn plain(id: &str, name: Option<String>) -> Self {
        let nowhere = |text: String| Spanned::new(0..0, text);
        Self {
            id: nowhere(id.to_owned()),
            name: name.map(nowhere),
            role_arn: None,
            role_name: None,
            base_credentials: None,
            external_id: None,
            session_name: None,
            session_duration_secs: None,
            regions: None,
            linked_accounts: None,
        }
    }
}

/// `"auto"` or a list of region codes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(
    untagged,
    expecting = "\"auto\" or a list of region codes such as [\"us-east-1\"]"
)]
pub enum Regions {
    /// `auto`: every enabled region.
    Word(String),
    /// Region codes, each a failure when it cannot be read.
    List(Vec<String>),
}

/// Which metrics, with which statistics, at which period; or a preset, with what is to differ from it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the key is called metrics in the file"
)]
pub struct Metrics {
    /// A ready selection, such as `ec2`; `cwlake presets` lists them. The other keys narrow or override all of it.
    pub preset: Option<Spanned<String>>,
    /// One namespace, as AWS spells it; required without a preset.
    pub namespace: Option<Spanned<String>>,
    /// Names and globs; required without a preset.
    pub metrics: Option<Spanned<Vec<Spanned<String>>>>,
    /// Names and globs that are left out.
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
    /// Dimensions that must be there, each with a value glob or several.
    #[serde(default)]
    pub dimensions: BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    /// Dimensions that must not be there.
    #[serde(default)]
    pub without_dimensions: Vec<Spanned<String>>,
    /// Dimension values, by name, that leave a metric out.
    #[serde(default)]
    pub exclude_dimensions: BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    /// `SampleCount` `Sum` `Average` `Minimum` `Maximum`, `pNN.N`, `tmNN` `wmNN` `tcNN` `tsNN`, `IQM`, `TM` `WM` `TC` `TS` `PR` with a range. Up to five cost as much as one. Required without a preset.
    pub statistics: Option<Spanned<Vec<Spanned<String>>>>,
    /// Seconds, or `auto` for the finest that is kept; required without a preset.
    pub period: Option<Spanned<PeriodText>>,
    /// Only points reported in this unit.
    pub unit: Option<Spanned<String>>,
    /// `list`: `ListMetrics`, which knows the past two weeks. `ec2`: `DescribeInstances`, then each name for each instance (`list`).
    pub discover: Option<Spanned<String>>,
    /// List only what had a point in the last three hours, in runs that look back no further than two and a half.
    pub recently_active: Option<Spanned<bool>>,
    /// Seconds after a period's end until its point can be expected; by namespace when left out.
    pub publication_delay_secs: Option<Spanned<i64>>,
    /// With `discover = "ec2"`: tags that must be there, each with a value glob or several.
    #[serde(default)]
    pub instance_tags: BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    /// With `discover = "ec2"`: states that are allowed.
    #[serde(default)]
    pub instance_states: Vec<Spanned<String>>,
}

/// Seconds, or `"auto"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(
    untagged,
    expecting = "a whole number of seconds such as 300, or \"auto\""
)]
pub enum PeriodText {
    /// Seconds.
    Seconds(i64),
    /// `auto`.
    Word(String),
}

/// Larger files are refused: a configuration this long is a mistake, such as a data file given by name.
const MAX_BYTES: u64 = 1 << 20;

impl FileConfig {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`ConfigError`] when it is missing, a folder, too large or not UTF-8.
    pub fn read_text(path: &Path) -> Result<String, ConfigError> {
        let fail = |message: String, remedy: &str| {
            ConfigError::new(path, "", vec![Problem::whole(message).remedy(remedy)])
        };
        let meta = std::fs::metadata(path).map_err(|e| {
            fail(
                format!("the configuration cannot be read: {e}"),
                "name the file with --config, or let cwlake init write one",
            )
        })?;
        if meta.is_dir() {
            return Err(fail(
                "this is a folder, not a configuration file".to_owned(),
                "name the TOML file inside it",
            ));
        }
        if meta.len() > MAX_BYTES {
            return Err(fail(
                format!(
                    "{} bytes is more than the {MAX_BYTES} a configuration may have",
                    meta.len()
                ),
                "is this the right file?",
            ));
        }
        // A device has no length of its own: what is read is bounded too.
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|e| {
                fail(
                    format!("the configuration cannot be read: {e}"),
                    "check the file's permissions",
                )
            })?;
        String::from_utf8(bytes).map_err(|e| {
            let valid = e.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
            ConfigError::new(
                path,
                text,
                vec![Problem::at(valid..valid, "not valid UTF-8").remedy("save the file as UTF-8")],
            )
        })
    }

    /// Reads the file's text into its shape.
    ///
    /// # Errors
    /// The first syntax error, unknown key, missing key or wrong type, with its place and the nearest known key.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            let message = error.message().trim().replace('\n', "; ");
            let problem = match error.span() {
                Some(span) => Problem::at(span, ""),
                None => Problem::whole(""),
            };
            let (message, remedy) = explain(&message);
            let problem = Problem { message, ..problem };
            match remedy {
                Some(remedy) => problem.remedy(remedy),
                None => problem,
            }
        })
    }
}

/// Keys of the whole file.
const TOP: &[&str] = &[
    "version",
    "destination",
    "run",
    "compact",
    "limits",
    "defaults",
    "organization",
    "instances",
    "alarms",
    "spend",
    "alert",
    "notify",
];

/// serde says: unknown field `x`, expected one of `a`, `b`.
fn explain(message: &str) -> (String, Option<String>) {
    let mut quoted = message.split('`').skip(1).step_by(2);
    // A text where a table belongs may be a secret: it is not repeated.
    if let Some((head, tail)) = message.split_once("string \"")
        && let Some((_, expected)) = tail.rsplit_once("\", expected")
        && head == "invalid type: "
    {
        return (format!("invalid type: a text, expected{expected}"), None);
    }
    if message.starts_with("unknown field") {
        let given = quoted.next().unwrap_or("");
        let known: Vec<&str> = quoted.collect();
        let text = format!("unknown key '{given}'");
        if is_credential_key(given) {
            return (
                text,
                Some("credentials never stand in this file: use the AWS credential chain (profile, environment, role)".to_owned()),
            );
        }
        let nearest = known
            .iter()
            .map(|k| (strsim::damerau_levenshtein(given, k), *k))
            .min()
            .filter(|(distance, k)| *distance <= 2.max(k.len() / 3));
        let remedy = match nearest {
            // A key of the whole file after the head of a table is taken for one of that table's.
            _ if TOP.contains(&given) => {
                format!(
                    "'{given}' belongs at the top of the file, before the first [table], or is a table of its own: [{given}]"
                )
            }
            Some((_, key)) => format!("did you mean '{key}'?"),
            None => format!("known keys here: {}", known.join(", ")),
        };
        return (text, Some(remedy));
    }
    if message.starts_with("missing field") {
        let key = quoted.next().unwrap_or("").to_owned();
        return (
            format!("missing key '{key}'"),
            Some(format!(
                "add '{key}'; cwlake init writes an example, cwlake schema has every key"
            )),
        );
    }
    (message.to_owned(), None)
}

fn is_credential_key(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    ["access_key", "secret", "session_token", "password"]
        .iter()
        .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_the_nearest() {
        let problem = FileConfig::parse(
            "version = 1\n[destination]\nurl = \"x\"\n[defaults]\nregoins = []\n",
        )
        .expect_err("refused");
        assert_eq!(problem.message, "unknown key 'regoins'");
        assert_eq!(problem.remedy.as_deref(), Some("did you mean 'regions'?"));
        assert_eq!(problem.span.map(|s| s.start), Some(47));
    }

    #[test]
    fn credentials_are_refused_by_name() {
        let problem =
            FileConfig::parse("version = 1\naws_secret_access_key = \"x\"\n").expect_err("refused");
        assert!(
            problem
                .remedy
                .is_some_and(|r| r.contains("never stand in this file"))
        );
    }
}
