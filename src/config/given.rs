//! What a configuration is read with: the environment, and what was typed.

use std::collections::BTreeMap;

use crate::model::Region;

/// The flags of `compact`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactFlags {
    /// `--older-than`.
    pub older_than_days: Option<u32>,
    /// `--target-size`.
    pub target_size_mb: Option<u32>,
    /// `--prune`.
    pub prune: bool,
}

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

    /// Every variable whose name begins with `prefix`, with its value.
    pub(super) fn beginning_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a String)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
    }

    /// The region of the session: of a variable, else the one it was [told of](Self::with_region).
    ///
    /// # Source
    /// AWS SDKs reference guide, "AWS Region".
    pub fn region(&self) -> Option<Region> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| Region::parse(&self.get(name)?))
    }

    /// The same with the region of a profile or an instance, which no variable names.
    #[must_use]
    pub fn with_region(mut self, region: &Region) -> Self {
        self.0
            .insert("AWS_REGION".to_owned(), region.as_str().to_owned());
        self
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
    /// The flags of `compact`.
    pub compact: CompactFlags,
    /// The file of external ids is about to be written.
    pub external_ids_may_be_missing: bool,
}

/// What is said where something else than a name follows `env:`. It may be a secret: it is not repeated.
pub(super) const NO_VARIABLE: &str = "the name of a variable follows env:";

/// Whether a text can be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
