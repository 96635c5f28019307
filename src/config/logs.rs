//! Which log events: one `[[logs]]` table; and the switches of the tables that have no more to say.

use std::ops::Range;

use super::file::FileConfig;
use super::problem::{Problem, line_of, printable};
use super::rules::{LONGEST_GROUP_NAME, NameRule, name_rule};
use super::spanned::Spanned;
use super::tables::Logs;
use crate::model::AccountId;

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
    pub(super) group_spans: Vec<Range<usize>>,
    pub(super) pattern_span: Range<usize>,
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

fn check_names(table: &Logs, problems: &mut Vec<Problem>) {
    for group in table.groups.get_ref().iter().chain(&table.exclude) {
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
    check_names(table, problems);
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
        name_rule(list, LONGEST_GROUP_NAME, &entry.span(), problems)
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
