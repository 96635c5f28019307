//! What was read: the TOML file's shape, with the place of every value that is checked later.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::problem::{ConfigError, Problem};

/// The configuration file, as written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the keys are documented in the README's configuration reference"
)]
pub struct FileConfig {
    pub version: Spanned<i64>,
    pub destination: Destination,
    #[serde(default)]
    pub run: Run,
    #[serde(default)]
    pub limits: LimitOverrides,
    #[serde(default)]
    pub defaults: Defaults,
    #[serde(default)]
    pub account: Vec<Spanned<Account>>,
    #[serde(default)]
    pub metrics: Vec<Spanned<Metrics>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub url: Spanned<String>,
    pub region: Option<Spanned<String>>,
    pub endpoint_url: Option<Spanned<String>>,
    pub path_style: Option<Spanned<bool>>,
    pub expected_bucket_owner: Option<Spanned<String>>,
    pub sse: Option<Spanned<String>>,
    pub kms_key_id: Option<Spanned<String>>,
    pub storage_class: Option<Spanned<String>>,
    pub acl: Option<Spanned<String>>,
    pub checksums: Option<Spanned<bool>>,
    pub lease_secs: Option<Spanned<i64>>,
    pub role_arn: Option<Spanned<String>>,
    pub external_id: Option<Spanned<Secret>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub lookback_days: Option<Spanned<i64>>,
    pub max_spend_usd: Option<Spanned<f64>>,
    pub concurrency: Option<Spanned<i64>>,
    pub read_ahead: Option<Spanned<i64>>,
    pub sts_region: Option<Spanned<String>>,
    pub spool_dir: Option<Spanned<String>>,
    #[serde(default)]
    pub extra_regions: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOverrides {
    pub calls_per_second: Option<Spanned<f64>>,
    pub points_per_second: Option<Spanned<f64>>,
    pub recent_points_per_second: Option<Spanned<f64>>,
    pub list_metrics_per_second: Option<Spanned<f64>>,
    pub ec2_calls_per_second: Option<Spanned<f64>>,
    pub attempts: Option<Spanned<i64>>,
    pub connect_timeout_secs: Option<Spanned<f64>>,
    pub read_timeout_secs: Option<Spanned<f64>>,
    pub attempt_timeout_secs: Option<Spanned<f64>>,
    pub unit_timeout_secs: Option<Spanned<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    pub role_name: Option<Spanned<String>>,
    pub external_id: Option<Spanned<Secret>>,
    pub session_name: Option<Spanned<String>>,
    pub session_duration_secs: Option<Spanned<i64>>,
    pub regions: Option<Spanned<Regions>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub id: Spanned<String>,
    pub name: Option<Spanned<String>>,
    pub role_arn: Option<Spanned<String>>,
    pub role_name: Option<Spanned<String>>,
    pub base_credentials: Option<Spanned<bool>>,
    pub external_id: Option<Spanned<Secret>>,
    pub session_name: Option<Spanned<String>>,
    pub session_duration_secs: Option<Spanned<i64>>,
    pub regions: Option<Spanned<Regions>>,
}

/// Text that never shows in Debug.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// `"auto"` or a list of region codes.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "\"auto\" or a list of region codes such as [\"us-east-1\"]"
)]
pub enum Regions {
    Word(String),
    List(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the key is called metrics in the file"
)]
pub struct Metrics {
    pub namespace: Spanned<String>,
    pub metrics: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub dimensions: BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    #[serde(default)]
    pub without_dimensions: Vec<Spanned<String>>,
    pub statistics: Spanned<Vec<Spanned<String>>>,
    pub period: Spanned<PeriodText>,
    pub unit: Option<Spanned<String>>,
    pub discover: Option<Spanned<String>>,
    pub publication_delay_secs: Option<Spanned<i64>>,
    #[serde(default)]
    pub instance_tags: BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    #[serde(default)]
    pub instance_states: Vec<Spanned<String>>,
}

/// One glob or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts, one or several.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Seconds, or `"auto"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a whole number of seconds such as 300, or \"auto\""
)]
pub enum PeriodText {
    Seconds(i64),
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
                "name the file with --config, or see sample-data/cwlake.toml",
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

/// serde says: unknown field `x`, expected one of `a`, `b`.
fn explain(message: &str) -> (String, Option<String>) {
    let mut quoted = message.split('`').skip(1).step_by(2);
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
                "add '{key}'; sample-data/cwlake.toml shows every key"
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
