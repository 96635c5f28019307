//! Which metrics and instances a selection wants, and what the server can filter for us. Pure.

use std::collections::BTreeMap;

use crate::config::{InstanceFilter, Selection, Source};
use crate::model::MetricId;

/// One `ListMetrics` listing: a namespace with the filters that lose nothing any selection wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Exact namespace.
    pub namespace: String,
    /// Set when every selection of the namespace wants this one name.
    pub metric_name: Option<String>,
    /// Dimensions every selection of the namespace requires; with the value when all want the same one.
    pub dimensions: Vec<(String, Option<String>)>,
    /// Only metrics with a point in the last three hours: every selection of the namespace says so.
    pub recently_active: bool,
}

/// Dimension filters in one `ListMetrics` request.
///
/// # Source
/// botocore `data/cloudwatch/2010-08-01/service-2.json`, `DimensionFilters`.
const MAX_DIMENSION_FILTERS: usize = 10;

/// One listing a namespace, in the order of the namespaces.
pub fn list_requests(selections: &[Selection]) -> Vec<ListRequest> {
    let mut by_namespace: BTreeMap<&str, Vec<&Selection>> = BTreeMap::new();
    for selection in selections
        .iter()
        .filter(|s| matches!(s.source, Source::List))
    {
        by_namespace
            .entry(&selection.namespace)
            .or_default()
            .push(selection);
    }
    by_namespace
        .into_iter()
        .map(|(namespace, selections)| ListRequest {
            namespace: namespace.to_owned(),
            metric_name: common(selections.iter().map(|s| match s.names.exact() {
                Some([one]) => Some(one.as_str()),
                _ => None,
            })),
            dimensions: common_dimensions(&selections),
            recently_active: selections.iter().all(|s| s.recently_active),
        })
        .collect()
}

/// The value all agree on; none when one has none or they differ.
fn common<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let first = values.next()??;
    values.all(|v| v == Some(first)).then(|| first.to_owned())
}

fn common_dimensions(selections: &[&Selection]) -> Vec<(String, Option<String>)> {
    let Some((first, rest)) = selections.split_first() else {
        return Vec::new();
    };
    let rule = |s: &Selection, name: &str| {
        s.required
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, r)| r.clone())
    };
    first
        .required
        .iter()
        .filter(|(name, _)| rest.iter().all(|s| rule(s, name).is_some()))
        .map(|(name, _)| {
            let rules: Vec<_> = selections.iter().filter_map(|s| rule(s, name)).collect();
            (name.clone(), common(rules.iter().map(|r| r.exact())))
        })
        .take(MAX_DIMENSION_FILTERS)
        .collect()
}

/// The selections (indices) that want this metric from a listing.
pub fn matching(selections: &[Selection], metric: &MetricId) -> Vec<usize> {
    (0..)
        .zip(selections)
        .filter(|(_, s)| matches!(s.source, Source::List) && wants(s, metric))
        .map(|(i, _)| i)
        .collect()
}

/// The selections (indices) that want this metric, known from an earlier run. A selection of instances wants every instance's, unless it
/// asks for tags or states: those of a terminated one are no longer known.
pub(super) fn matching_known(selections: &[Selection], metric: &MetricId) -> Vec<usize> {
    let wanted = |s: &Selection| match &s.source {
        Source::List => true,
        Source::Ec2(filter) => {
            let dimensions = metric.dimensions();
            filter.tags.is_empty()
                && filter.states.is_empty()
                && matches!(dimensions, [one] if one.name == "InstanceId")
        }
    };
    (0..)
        .zip(selections)
        .filter(|(_, s)| wanted(s) && wants(s, metric))
        .map(|(i, _)| i)
        .collect()
}

fn wants(selection: &Selection, metric: &MetricId) -> bool {
    selection.namespace == metric.namespace()
        && selection.names.matches(metric.metric_name())
        && selection
            .required
            .iter()
            .all(|(name, rule)| metric.dimension(name).is_some_and(|v| rule.matches(v)))
        && !selection
            .forbidden
            .iter()
            .any(|name| metric.dimension(name).is_some())
        && !excludes(selection, metric)
}

/// Whether the selection leaves the metric out by name or by the value of a dimension.
pub(super) fn excludes(selection: &Selection, metric: &MetricId) -> bool {
    let names = selection.excluded_names.as_ref();
    let by_value = |(name, rule): &(String, crate::config::ValueRule)| {
        metric.dimension(name).is_some_and(|v| rule.matches(v))
    };
    names.is_some_and(|names| names.matches(metric.metric_name()))
        || selection.excluded_values.iter().any(by_value)
}

/// What selections may ask about an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `running`, `stopped`, …
    pub state: String,
    /// Tag keys and values.
    pub tags: Vec<(String, String)>,
}

impl InstanceFilter {
    /// Whether the instance is wanted: an allowed state, and every tag there with an allowed value.
    pub fn wants(&self, instance: &Instance) -> bool {
        (self.states.is_empty() || self.states.contains(&instance.state))
            && self.tags.iter().all(|(key, rule)| {
                instance
                    .tags
                    .iter()
                    .any(|(k, value)| k == key && rule.matches(value))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Overrides, load};
    use crate::model::Dimension;

    fn selections(tables: &str) -> Vec<Selection> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("c.toml");
        let text = format!(
            "version = 1\n[destination]\nurl = \"lake\"\n[[account]]\nid = \"111122223333\"\nregions = [\"us-east-1\"]\n{tables}"
        );
        std::fs::write(&path, text).expect("written");
        load(
            Path::new(&path),
            &Overrides::default(),
            &Environment::default(),
        )
        .expect("valid")
        .selections
    }

    fn table(body: &str) -> String {
        format!("[[metrics]]\nstatistics = [\"Sum\"]\nperiod = 300\n{body}\n")
    }

    type Dimensions = &'static [(&'static str, &'static str)];

    fn metric(name: &str, dimensions: &[(&str, &str)]) -> MetricId {
        MetricId::new(
            "AWS/EC2",
            name,
            dimensions
                .iter()
                .map(|(n, v)| Dimension::new(*n, *v))
                .collect(),
        )
    }

    #[test]
    fn globs_and_dimension_rules_decide() {
        let rules = selections(&table(
            "namespace = \"AWS/EC2\"\nmetrics = [\"CPU*\", \"NetworkIn\"]\ndimensions = { InstanceId = [\"i-1*\", \"i-2\"] }\nwithout_dimensions = [\"ImageId\"]",
        ));
        let cases: [(&str, Dimensions, bool); 7] = [
            ("CPUUtilization", &[("InstanceId", "i-1abc")], true),
            ("NetworkIn", &[("InstanceId", "i-2")], true),
            ("NetworkOut", &[("InstanceId", "i-2")], false),
            ("CPUUtilization", &[("InstanceId", "i-22")], false),
            ("CPUUtilization", &[], false),
            (
                "CPUUtilization",
                &[("ImageId", "ami-1"), ("InstanceId", "i-2")],
                false,
            ),
            (
                "CPUUtilization",
                &[("InstanceId", "i-2"), ("Other", "x")],
                true,
            ),
        ];
        for (name, dimensions, wanted) in cases {
            assert_eq!(
                !matching(&rules, &metric(name, dimensions)).is_empty(),
                wanted,
                "{name} {dimensions:?}"
            );
        }
    }

    #[test]
    fn the_server_filters_only_what_all_selections_agree_on() {
        let one = table(
            "namespace = \"AWS/EC2\"\nmetrics = [\"CPUUtilization\"]\ndimensions = { InstanceId = \"i-1\" }",
        );
        let request = &list_requests(&selections(&one))[0];
        assert_eq!(request.metric_name.as_deref(), Some("CPUUtilization"));
        assert_eq!(
            request.dimensions,
            [("InstanceId".to_owned(), Some("i-1".to_owned()))]
        );

        let two = one.clone()
            + &table(
                "namespace = \"AWS/EC2\"\nmetrics = [\"Network*\"]\ndimensions = { InstanceId = \"*\" }",
            );
        let request = &list_requests(&selections(&two))[0];
        assert_eq!(
            (request.metric_name.clone(), request.dimensions.clone()),
            (None, vec![("InstanceId".to_owned(), None)])
        );

        let three = two
            + &table("namespace = \"AWS/EC2\"\nmetrics = [\"*\"]")
            + &table("namespace = \"AWS/EBS\"\nmetrics = [\"*\"]");
        let requests = list_requests(&selections(&three));
        assert_eq!(
            requests
                .iter()
                .map(|r| r.namespace.as_str())
                .collect::<Vec<_>>(),
            ["AWS/EBS", "AWS/EC2"]
        );
        assert!(requests[1].dimensions.is_empty());
    }

    #[cfg(feature = "ec2")]
    #[test]
    fn instances_are_filtered_by_state_and_tag() {
        let rules = selections(&table(
            "namespace = \"AWS/EC2\"\nmetrics = [\"CPUUtilization\"]\ndiscover = \"ec2\"\ninstance_states = [\"running\"]\ninstance_tags = { Team = \"pay*\" }",
        ));
        let Source::Ec2(filter) = &rules[0].source else {
            panic!("ec2 source")
        };
        let instance = |state: &str, tags: &[(&str, &str)]| Instance {
            id: "i-1".to_owned(),
            state: state.to_owned(),
            tags: tags
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        assert!(filter.wants(&instance("running", &[("Name", "x"), ("Team", "payments")])));
        assert!(!filter.wants(&instance("stopped", &[("Team", "payments")])));
        assert!(!filter.wants(&instance("running", &[("Team", "search")])));
        assert!(!filter.wants(&instance("running", &[])));
    }
}
