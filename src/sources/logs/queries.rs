//! What is asked of log groups, and of whom a refusal speaks.

use std::sync::Arc;

use crate::config::LogSelection;
use crate::fetch::LogQuery;

use crate::model::{Cause, CauseKind};

/// What all wanted names begin with: fewer groups are listed.
pub(super) fn prefix(selections: &[LogSelection]) -> String {
    let stem = |text: &String| {
        // A name in full is looked for among its neighbours: one that is mistyped is then told with the one that is meant.
        let end = text.find(['*', '?', '[', '{', '\\']);
        let end = end.unwrap_or_else(|| text.rfind('/').map_or(0, |slash| slash + 1));
        text[..end].to_owned()
    };
    let mut stems = selections.iter().flat_map(|s| s.groups.texts()).map(stem);
    let first = stems.next().unwrap_or_default();
    stems.fold(first, |common, stem| {
        let same = common.bytes().zip(stem.bytes()).take_while(|(a, b)| a == b);
        let length = same.count();
        // Names of groups are ASCII.
        common.get(..length).unwrap_or_default().to_owned()
    })
}

pub(super) fn queries_of(selection: &LogSelection) -> Vec<LogQuery> {
    let streams = selection.streams.iter();
    if selection.reads_streams() {
        return streams
            .map(|s| LogQuery::Stream(Arc::from(s.as_str())))
            .collect();
    }
    let filter = |streams: Vec<String>| LogQuery::Filter {
        stream_prefix: selection.stream_prefix.clone(),
        streams,
        pattern: selection.filter_pattern.clone(),
    };
    if selection.streams.is_empty() {
        return vec![filter(Vec::new())];
    }
    // One by one: a request that names a stream the group does not have is refused whole.
    streams.map(|s| filter(vec![s.clone()])).collect()
}

/// The stream that a query names.
pub(super) fn stream_of(query: &LogQuery) -> Option<&str> {
    match query {
        LogQuery::Stream(stream) => Some(stream),
        LogQuery::Filter { streams, .. } => streams.first().map(String::as_str),
    }
}

/// Whether a refusal speaks of one group among others, and not of the lane: its policy, its key, its class, or a fault that stays.
pub(super) fn is_of_one_group(cause: &Cause) -> bool {
    let of_its_own = [CauseKind::Validation, CauseKind::Protocol];
    // What the service did not say is of the way to it.
    let is_answered = cause.kind == CauseKind::Other && cause.code.is_some();
    cause.kind.is_denial() || of_its_own.contains(&cause.kind) || is_answered
}
