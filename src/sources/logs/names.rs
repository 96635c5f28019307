//! What `[[logs]]` names and no lane has.

use std::collections::BTreeSet;

use crate::aws::CallStats;
use crate::config::ExportConfig;
use crate::fetch::try_pattern;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::lake::table::LOGS;
use crate::model::{CauseKind, UnitOutcome};
use crate::report::UnitReport;
use crate::sources::logs::LogsJob;

/// Looks for groups that are named in full and exist nowhere, and tries every filter pattern once. Returns what is to be said of tables that
/// match nothing.
///
/// # Errors
/// [`RunError::Config`] for a log group that is named in full and exists nowhere, or a filter pattern that `CloudWatch` refuses.
pub(super) async fn check_logs(
    jobs: &[&LogsJob],
    all_listed: bool,
    context: &RunContext,
) -> Result<Vec<String>, RunError> {
    let config = &context.config;
    let is_narrowed = context.lanes.is_some()
        || config.has_account_flag()
        || !config.only_regions.is_empty()
        || config.accounts.is_empty()
        || context.sharing.own().is_some();
    let known: BTreeSet<&String> = jobs.iter().flat_map(|job| &job.known).collect();
    let missing: Vec<(usize, String)> = config
        .logs
        .iter()
        .enumerate()
        .flat_map(|(n, s)| s.named_groups().map(move |name| (n, name.to_owned())))
        .filter(|(_, name)| !known.contains(name))
        .collect();
    if !missing.is_empty() && all_listed && !is_narrowed && !jobs.is_empty() {
        let known: Vec<String> = known.into_iter().cloned().collect();
        return Err(RunError::Config(config.unknown_groups(&missing, &known)));
    }
    try_patterns(jobs, config, context.now).await?;
    // What no shard finds is told when all are brought together.
    let is_told = !jobs.is_empty() || context.sharing.own().is_some();
    let mut none = if is_told {
        unmatched(jobs, config)
    } else {
        Vec::new()
    };
    let unreadable: BTreeSet<&String> = jobs.iter().flat_map(|job| &job.unreadable).collect();
    none.extend(unreadable.into_iter().map(|name| {
        format!("log group {name} (its class is Infrequent Access, which only Logs Insights reads)")
    }));
    if is_told {
        let name = |(table, name): (usize, String)| {
            format!(
                "log group {name} of [[logs]] in line {}",
                config.logs[table].line
            )
        };
        none.extend(missing.into_iter().map(name));
    }
    Ok(none)
}

async fn try_patterns(jobs: &[&LogsJob], config: &ExportConfig, now: i64) -> Result<(), RunError> {
    for (table, selection) in config.logs.iter().enumerate() {
        let Some(pattern) = &selection.filter_pattern else {
            continue;
        };
        let places = jobs
            .iter()
            .filter_map(|job| Some((&job.client, job.first_of_table.get(&table)?)));
        let mut refused = None;
        for (client, group) in places.take(PLACES) {
            let mut stats = CallStats::default();
            match try_pattern(client, group, pattern, now, &mut stats).await {
                Err(cause) if cause.kind == CauseKind::Validation => refused = Some(cause),
                // It is good; or whatever else is wrong, which is told of the lane it is wrong in.
                _ => {
                    refused = None;
                    break;
                }
            }
        }
        if let Some(cause) = refused {
            return Err(RunError::Config(
                config.refused_pattern(table, &cause.message),
            ));
        }
    }
    Ok(())
}

/// Lanes in which a pattern is tried before it is taken for wrong: one group may be refused for another reason in the same words.
const PLACES: usize = 3;

/// Streams that are named and that no group has; none where something failed, or nothing was read: a stream may be there.
pub(crate) fn unknown_streams(
    context: &RunContext,
    units: &[UnitReport],
    found: &BTreeSet<String>,
) -> Vec<String> {
    let of_logs = || units.iter().filter(|u| *u.table == LOGS);
    let is_read =
        of_logs().any(|u| u.complete) && of_logs().any(|u| u.outcome != UnitOutcome::Skipped);
    // A shard without logs has none of them either.
    let has_none = context.sharing.own().is_some() && of_logs().next().is_none();
    if !has_none && (!is_read || of_logs().any(UnitReport::is_short)) {
        return Vec::new();
    }
    let logs = &context.config.logs;
    let named = logs
        .iter()
        .flat_map(|s| s.streams.iter().map(move |name| (s.line, name)));
    let unknown = named.filter(|(_, name)| !found.contains(*name));
    unknown
        .map(|(line, name)| format!("log stream {name} of [[logs]] in line {line}"))
        .collect()
}

fn unmatched(jobs: &[&LogsJob], config: &ExportConfig) -> Vec<String> {
    let named_alone = |n: usize| {
        let selection = &config.logs[n];
        selection.named_groups().count() == selection.groups.texts().len()
    };
    let is_matched = |n: &usize| jobs.iter().any(|job| job.first_of_table.contains_key(n));
    let tables = config.logs.iter().enumerate();
    tables
        // Those of names alone are told name by name.
        .filter(|(n, _)| !is_matched(n) && !named_alone(*n))
        .map(|(_, s)| {
            format!(
                "[[logs]] in line {} ({})",
                s.line,
                s.groups.texts().join(", ")
            )
        })
        .collect()
}
