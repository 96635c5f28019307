//! Which log events: one `[[logs]]` table; and the switches of the tables that have no more to say.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use super::accounts::printable;
use super::file::FileConfig;
use super::problem::{ConfigError, Problem, line_of};
use super::resolve::ExportConfig;
use super::rules::{NameRule, name_rule};
use super::spanned::Spanned;
use crate::model::AccountId;

/// Log events to export.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Names of log groups, and globs.
    pub groups: Spanned<Vec<Spanned<String>>>,
    /// Names and globs of groups that are left out.
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
    /// Only streams whose name begins so.
    pub stream_prefix: Option<Spanned<String>>,
    /// Only these streams; read one by one when there is no filter pattern.
    #[serde(default)]
    pub streams: Vec<Spanned<String>>,
    /// Only events that match, in CloudWatch's filter pattern syntax.
    pub filter_pattern: Option<Spanned<String>>,
}

/// The EC2 inventory. `{}` turns it on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table; {} takes every instance")]
pub struct Instances {}

/// Estimated charges. `{}` reads those of every account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table; {} reads the charges of every account"
)]
pub struct Spend {
    /// Read only these accounts' charges; of a payer they hold those of its members.
    #[serde(default)]
    pub accounts: Vec<Spanned<String>>,
}

/// `[spend]`, validated.
#[derive(Clone, Debug)]
pub struct SpendConfig {
    /// Only these accounts' charges are read; all when empty.
    pub(super) accounts: Vec<(AccountId, Range<usize>)>,
}

impl SpendConfig {
    /// Whether an account's charges are read.
    pub fn reads(&self, account: &AccountId) -> bool {
        self.accounts.is_empty() || self.accounts.iter().any(|(id, _)| id == account)
    }
}

/// Resolves `[spend]`.
pub(super) fn resolve_spend(file: &FileConfig, problems: &mut Vec<Problem>) -> Option<SpendConfig> {
    let given = file.spend.as_ref()?;
    let mut accounts = Vec::new();
    for id in &given.get_ref().accounts {
        match AccountId::parse(id.get_ref()) {
            Some(account) => accounts.push((account, id.span())),
            None => problems.push(
                Problem::at(
                    id.span(),
                    format!("'{}' is not an account id", printable(id.get_ref())),
                )
                .remedy("twelve digits in quotes, leading zeros kept"),
            ),
        }
    }
    Some(SpendConfig { accounts })
}

/// One `[[logs]]` table, validated.
#[derive(Clone, Debug)]
pub struct LogSelection {
    /// Wanted groups.
    pub groups: NameRule,
    /// Groups that are left out.
    pub excluded: Option<NameRule>,
    /// Only streams whose name begins so.
    pub stream_prefix: Option<String>,
    /// Only these streams; all when empty.
    pub streams: Vec<String>,
    /// Only events that match.
    pub filter_pattern: Option<String>,
    /// Line of its table, from 1.
    pub line: usize,
    group_spans: Vec<Range<usize>>,
    pattern_span: Range<usize>,
}

impl LogSelection {
    /// Whether events of this group are wanted.
    pub fn wants(&self, group: &str) -> bool {
        self.groups.matches(group) && !self.excluded.as_ref().is_some_and(|e| e.matches(group))
    }

    /// Groups that are named in full.
    pub fn named_groups(&self) -> impl Iterator<Item = &str> {
        self.groups.names()
    }

    /// Its streams are read one by one: `GetLogEvents` knows no pattern.
    pub fn reads_streams(&self) -> bool {
        !self.streams.is_empty() && self.filter_pattern.is_none()
    }

    pub(super) fn fingerprint(&self) -> String {
        format!(
            "{:?} but {:?} {:?} {:?} {:?}",
            self.groups.texts(),
            self.excluded.as_ref().map(NameRule::texts),
            self.stream_prefix,
            self.streams,
            self.filter_pattern
        )
    }
}

/// # Source
/// CloudWatch Logs API reference, `FilterLogEvents`: names of groups and streams, patterns of 1,024 characters, 100 streams.
const MOST_STREAMS: usize = 100;
const LONGEST_PATTERN: usize = 1_024;
const LONGEST_STREAM: usize = 512;

/// Resolves every `[[logs]]`, collecting what is wrong.
pub(super) fn resolve(
    file: &FileConfig,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Vec<LogSelection> {
    let tables = file.logs.iter();
    tables
        .filter_map(|entry| one(entry, line_of(text, entry.span().start), problems))
        .collect()
}

fn one(entry: &Spanned<Logs>, line: usize, problems: &mut Vec<Problem>) -> Option<LogSelection> {
    let before = problems.len();
    let table = entry.get_ref();
    let groups = table.groups.get_ref();
    if groups.is_empty() {
        problems.push(
            Problem::at(table.groups.span(), "no log group is named")
                .remedy("groups = [\"/aws/lambda/*\"]; \"*\" takes all"),
        );
    }
    for group in groups.iter().chain(&table.exclude) {
        let sign = |c: char| c.is_ascii_alphanumeric() || ".-_/#*?[]{}!,\\".contains(c);
        if !group.get_ref().chars().all(sign) {
            problems.push(
                Problem::at(
                    group.span(),
                    format!(
                        "'{}' is not the name of a log group",
                        printable(group.get_ref())
                    ),
                )
                .remedy("letters, digits and . - _ / #, or a glob of them; not an ARN"),
            );
        }
    }
    for stream in table.streams.iter().chain(&table.stream_prefix) {
        let name = stream.get_ref();
        if name.is_empty() || name.len() > LONGEST_STREAM || name.contains([':', '*']) {
            problems.push(
                Problem::at(
                    stream.span(),
                    format!("'{}' is not the name of a log stream", printable(name)),
                )
                .remedy("1 to 512 characters without ':' and '*'; streams are named in full, stream_prefix takes a beginning"),
            );
        }
    }
    if table.streams.len() > MOST_STREAMS {
        problems.push(
            Problem::at(
                table.streams[MOST_STREAMS].span(),
                format!("more than {MOST_STREAMS} streams"),
            )
            .remedy("use stream_prefix, or several [[logs]] tables"),
        );
    }
    if let (Some(prefix), false) = (&table.stream_prefix, table.streams.is_empty()) {
        problems.push(
            Problem::at(prefix.span(), "stream_prefix and streams are both given")
                .remedy("keep one of the two"),
        );
    }
    if let Some(pattern) = &table.filter_pattern
        && (pattern.get_ref().trim().is_empty() || pattern.get_ref().len() > LONGEST_PATTERN)
    {
        problems.push(
            Problem::at(
                pattern.span(),
                format!("a filter pattern has 1 to {LONGEST_PATTERN} characters"),
            )
            .remedy("leave it out to export every event"),
        );
    }
    let rule = |list: &[Spanned<String>], problems: &mut Vec<Problem>| {
        name_rule(list, &entry.span(), problems)
    };
    let wanted = rule(groups, problems);
    let excluded = if table.exclude.is_empty() {
        None
    } else {
        rule(&table.exclude, problems)
    };
    if problems.len() > before {
        return None;
    }
    let text = |given: &Option<Spanned<String>>| given.as_ref().map(|t| t.get_ref().clone());
    Some(LogSelection {
        groups: wanted?,
        excluded,
        stream_prefix: text(&table.stream_prefix),
        streams: table.streams.iter().map(|s| s.get_ref().clone()).collect(),
        filter_pattern: text(&table.filter_pattern),
        line,
        group_spans: groups.iter().map(Spanned::span).collect(),
        pattern_span: table.filter_pattern.as_ref().map_or(0..0, Spanned::span),
    })
}

impl ExportConfig {
    /// The error for log groups that are named in full and are in no account: each by its table's place among all and its name. `known` are
    /// groups that exist.
    pub fn unknown_groups(&self, missing: &[(usize, String)], known: &[String]) -> ConfigError {
        let problem = |(table, name): &(usize, String)| {
            let selection = &self.logs[*table];
            let texts = selection.groups.texts().iter();
            let span = texts
                .zip(&selection.group_spans)
                .find(|(text, _)| *text == name)
                .map_or(0..0, |(_, span)| span.clone());
            let near = known
                .iter()
                .map(|k| (strsim::damerau_levenshtein(name, k), k))
                .min()
                .filter(|(distance, _)| *distance <= 2.max(name.len() / 3));
            let remedy = match near {
                Some((_, near)) => format!("did you mean '{}'?", printable(near)),
                None => "a group that exists in one of the accounts and regions, or a glob, which may match nothing".to_owned(),
            };
            let text = format!("no account has a log group '{}'", printable(name));
            Problem::at(span, text).remedy(remedy)
        };
        self.source.refuse(missing.iter().map(problem).collect())
    }

    /// The error for a filter pattern that CloudWatch refuses.
    pub fn refused_pattern(&self, table: usize, message: &str) -> ConfigError {
        let selection = &self.logs[table];
        let problem = Problem::at(
            selection.pattern_span.clone(),
            format!("CloudWatch Logs refuses this filter pattern: {message}"),
        );
        self.source.refuse(vec![problem.remedy(
            "see \"Filter pattern syntax\" in the CloudWatch Logs user guide; aws logs test-metric-filter tries one",
        )])
    }
}
