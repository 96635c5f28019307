//! Ready selections for the namespaces people ask for first. The lists are data: one TOML file each, in the form of the configuration's
//! own `[[metrics]]` tables, with the pages of AWS's documentation they were taken from.

use serde::{Deserialize, Serialize};

use super::file::Metrics;
use super::problem::{Problem, printable};
use super::spanned::{OneOrMany, Spanned};

/// Name and file of every preset, by name.
const FILES: &[(&str, &str)] = &[
    ("alb", include_str!("presets/alb.toml")),
    ("apigateway", include_str!("presets/apigateway.toml")),
    ("billing", include_str!("presets/billing.toml")),
    ("dynamodb", include_str!("presets/dynamodb.toml")),
    ("ebs", include_str!("presets/ebs.toml")),
    ("ec2", include_str!("presets/ec2.toml")),
    ("ecs", include_str!("presets/ecs.toml")),
    ("elb", include_str!("presets/elb.toml")),
    ("lambda", include_str!("presets/lambda.toml")),
    ("natgateway", include_str!("presets/natgateway.toml")),
    ("nlb", include_str!("presets/nlb.toml")),
    ("rds", include_str!("presets/rds.toml")),
    ("s3", include_str!("presets/s3.toml")),
    ("sqs", include_str!("presets/sqs.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetFile {
    description: String,
    sources: Vec<String>,
    metrics: Vec<Metrics>,
}

/// A preset, for those who look for one.
#[derive(Clone, Debug, Serialize)]
pub struct Preset {
    /// What a configuration calls it by.
    pub name: &'static str,
    /// What one gets.
    pub description: String,
    /// Documentation the lists were taken from.
    pub sources: Vec<String>,
    /// Its tables.
    pub tables: Vec<PresetTable>,
}

/// One `[[metrics]]` table of a preset.
#[derive(Clone, Debug, Serialize)]
pub struct PresetTable {
    /// Exact namespace.
    pub namespace: String,
    /// Names and globs.
    pub metrics: Vec<String>,
    /// What is asked of each.
    pub statistics: Vec<String>,
}

/// What presets are called.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Every preset, by name.
pub fn presets() -> Vec<Preset> {
    FILES
        .iter()
        .map(|(name, text)| {
            let file = read(text);
            let texts = |list: Option<Spanned<Vec<Spanned<String>>>>| {
                let list = list.map(Spanned::into_inner).unwrap_or_default();
                list.into_iter().map(Spanned::into_inner).collect()
            };
            let table = |table: Metrics| PresetTable {
                namespace: table.namespace.map(Spanned::into_inner).unwrap_or_default(),
                metrics: texts(table.metrics),
                statistics: texts(table.statistics),
            };
            Preset {
                name,
                description: file.description,
                sources: file.sources,
                tables: file.metrics.into_iter().map(table).collect(),
            }
        })
        .collect()
}

fn read(text: &str) -> PresetFile {
    toml::from_str(text).expect("a test reads every preset")
}

/// Which preset may have been meant by a name that none has.
fn nearest_preset(given: &str) -> String {
    let near = preset_names()
        .map(|known| (strsim::damerau_levenshtein(given, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let names: Vec<&str> = preset_names().collect();
    let all = format!("the presets are {}", names.join(", "));
    near.map_or(all.clone(), |(_, near)| {
        format!("did you mean '{near}'? {all}")
    })
}

/// The tables an entry stands for: itself, or those of its preset with what the entry says over them.
pub(super) fn expand(entry: &Metrics, problems: &mut Vec<Problem>) -> Vec<Metrics> {
    let Some(name) = &entry.preset else {
        return vec![entry.clone()];
    };
    let Some((_, text)) = FILES.iter().find(|(known, _)| known == name.get_ref()) else {
        let given = name.get_ref();
        problems.push(
            Problem::at(
                name.span(),
                format!("'{}' is not a preset", printable(given)),
            )
            .remedy(nearest_preset(given)),
        );
        return Vec::new();
    };
    let fixed = [
        ("namespace", entry.namespace.as_ref().map(Spanned::span)),
        ("metrics", entry.metrics.as_ref().map(Spanned::span)),
        ("unit", entry.unit.as_ref().map(Spanned::span)),
    ];
    for (key, span) in fixed {
        if let Some(span) = span {
            problems.push(
                Problem::at(span, format!("'{key}' cannot stand beside a preset")).remedy(
                    "a preset names its metrics: leave some out with exclude, or write a table without preset",
                ),
            );
        }
    }
    read(text)
        .metrics
        .into_iter()
        .map(|table| over(table, entry))
        .collect()
}

/// A table of a preset, narrowed and overridden by what the configuration says.
fn over(mut table: Metrics, entry: &Metrics) -> Metrics {
    let by_instances = entry
        .discover
        .as_ref()
        .is_some_and(|d| d.get_ref() == "ec2");
    if by_instances && is_every_instance(&table) {
        table.dimensions.clear();
        table.without_dimensions.clear();
    }
    table.dimensions.extend(entry.dimensions.clone());
    table
        .without_dimensions
        .extend(entry.without_dimensions.iter().cloned());
    Metrics {
        preset: None,
        exclude: entry.exclude.clone(),
        exclude_dimensions: entry.exclude_dimensions.clone(),
        statistics: entry.statistics.clone().or(table.statistics),
        period: entry.period.clone().or(table.period),
        discover: entry.discover.clone(),
        recently_active: entry.recently_active.clone(),
        publication_delay_secs: entry
            .publication_delay_secs
            .clone()
            .or(table.publication_delay_secs),
        instance_tags: entry.instance_tags.clone(),
        instance_states: entry.instance_states.clone(),
        ..table
    }
}

/// Its only rule is that there is an `InstanceId`: what EC2-driven discovery asks for by itself.
fn is_every_instance(table: &Metrics) -> bool {
    let any = |values: &OneOrMany| matches!(values.as_slice(), [one] if one == "*");
    let mut rules = table.dimensions.iter();
    match (rules.next(), rules.next()) {
        (Some((name, values)), None) => name.get_ref() == "InstanceId" && any(values.get_ref()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::FileConfig;

    #[test]
    fn every_preset_is_a_valid_selection() {
        for (name, _) in FILES {
            let text = format!("[destination]\nurl = \"lake\"\n[[metrics]]\npreset = \"{name}\"\n");
            let file = FileConfig::parse(&text).expect("shape");
            let mut problems = Vec::new();
            let selections = crate::config::selection::resolve(&file, &text, &mut problems);
            assert_eq!(problems, [], "{name}");
            assert!(!selections.is_empty(), "{name}");
            for selection in &selections {
                assert!(selection.asks.statistics.len() <= 5, "{name}: billed twice");
                assert_eq!(
                    selection.origin.to_string(),
                    format!("preset {name} in line 3")
                );
            }
        }
        assert!(FILES.is_sorted());
    }

    #[test]
    fn every_preset_says_what_it_is_and_where_it_was_read() {
        for preset in presets() {
            assert!(!preset.description.is_empty(), "{}", preset.name);
            let from_aws = |s: &String| s.starts_with("https://docs.aws.amazon.com/");
            assert!(!preset.sources.is_empty() && preset.sources.iter().all(from_aws));
        }
    }

    #[test]
    fn what_the_configuration_says_goes_over_the_preset() {
        let text = "[destination]\nurl = \"lake\"\n[[metrics]]\npreset = \"ec2\"\nperiod = 3600\nstatistics = [\"p99\"]\nexclude = [\"Network*\"]\n";
        let file = FileConfig::parse(text).expect("shape");
        let mut problems = Vec::new();
        let selections = crate::config::selection::resolve(&file, text, &mut problems);
        assert_eq!(problems, []);
        for selection in &selections {
            assert_eq!(selection.asks.statistics[0].as_str(), "p99");
            let excluded = selection.excluded_names.as_ref().expect("a rule");
            assert!(excluded.matches("NetworkIn"));
        }
    }
}
