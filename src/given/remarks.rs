//! What is to be said of a configuration in a report.

use std::collections::BTreeMap;

use crate::config::{ExportConfig, PresetTable, Selection, presets};
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
    let mut by_table: BTreeMap<(usize, String), (u64, &Selection)> = BTreeMap::new();
    for (index, series) in matched {
        let selection = &config.selections[index];
        let origin = &selection.origin;
        let text = match origin.preset {
            Some(_) => origin.to_string(),
            None => format!("{origin} ({}", selection.namespace),
        };
        let sum = by_table
            .entry((origin.line, text))
            .or_insert((0, selection));
        sum.0 += series;
    }
    let none = by_table.into_iter().filter(|(_, (series, _))| *series == 0);
    // What was meant is looked for in the presets, which takes its time: once a table, not once a lane.
    none.map(|((_, text), (_, selection))| {
        if selection.origin.preset.is_some() {
            return text;
        }
        let near = nearest(selection).map_or(String::new(), |n| format!("; did you mean {n}?"));
        format!("{text}{near})")
    })
    .collect()
}

/// What may have been meant by a namespace, or by the names of a table, that nobody has: of those that the presets know.
fn nearest(selection: &Selection) -> Option<String> {
    let tables: Vec<PresetTable> = presets().into_iter().flat_map(|p| p.tables).collect();
    let namespaces = tables.iter().map(|t| t.namespace.as_str());
    let of_namespace = || tables.iter().filter(|t| t.namespace == selection.namespace);
    if of_namespace().next().is_none() {
        let near = near(&selection.namespace, namespaces)?;
        return Some(format!("namespace {near}"));
    }
    let known: Vec<&str> = of_namespace()
        .flat_map(|t| &t.metrics)
        .map(String::as_str)
        .filter(|name| !name.contains(['*', '?']))
        .collect();
    let near: Vec<&str> = selection
        .names
        .exact()?
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .filter_map(|name| near(name, known.iter().copied()))
        .collect();
    (!near.is_empty()).then(|| near.join(", "))
}

/// The known text that differs least, if by little.
fn near<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |known: &str| strsim::damerau_levenshtein(&given.to_lowercase(), &known.to_lowercase());
    known
        .map(|k| (distance(k), k))
        .min()
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 4))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn a_typo_is_near_and_another_word_is_not() {
        let known = || ["CPUUtilization", "NetworkIn", "NetworkOut"].into_iter();
        assert_eq!(near("CPUUtilizaton", known()), Some("CPUUtilization"));
        assert_eq!(near("networkin", known()), Some("NetworkIn"));
        assert_eq!(near("Latency", known()), None);
    }
}
