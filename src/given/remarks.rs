//! What is to be said of a configuration in a report.

use std::collections::BTreeMap;

use crate::config::ExportConfig;
use crate::report::counted;

/// What is to be said of the configuration as a whole.
pub(crate) fn remarks(config: &ExportConfig) -> Vec<String> {
    let mut remarks = config.remarks.clone();
    if config.accounts.is_empty() {
        remarks.push(
            "no account is read: see the rules of [organization] with cwlake accounts".to_owned(),
        );
    }
    let lacking = config.accounts_without_id();
    if let Some(first) = lacking.first() {
        remarks.push(format!(
            "{}, {first} for one, without an external id although a file lists the ids: cwlake init --missing-ids adds them",
            counted(lacking.len(), "account")
        ));
    }
    remarks
}

/// Selections that were looked for and have no series anywhere; of a preset it is told when all of it has none. `matched` are series by the
/// place of their selection.
pub(crate) fn unmatched(
    config: &ExportConfig,
    matched: impl Iterator<Item = (usize, u64)>,
) -> Vec<String> {
    let mut by_table: BTreeMap<(usize, String), u64> = BTreeMap::new();
    for (index, series) in matched {
        let selection = &config.selections[index];
        let text = match selection.origin.preset {
            Some(_) => selection.origin.to_string(),
            None => format!("{} ({})", selection.origin, selection.namespace),
        };
        *by_table.entry((selection.origin.line, text)).or_default() += series;
    }
    let none = by_table.into_iter().filter(|(_, series)| *series == 0);
    none.map(|((_, text), _)| text).collect()
}
