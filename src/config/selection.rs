//! Which metrics, with which statistics, at which period: one `[[metrics]]` table.

use std::ops::Range;
use std::sync::Arc;

use super::file::{FileConfig, Metrics, PeriodText};
use super::presets::expand;
use super::problem::printable;
use super::problem::{Problem, line_of};
use super::publication::publication_delay;
use super::rules::{LONGEST_METRIC_NAME, NameRule, ValueRule, name_rule, value_rules};
use super::spanned::Spanned;
use crate::model::{Dataset, Period, Statistic};

/// One `[[metrics]]` table, validated.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Exact namespace.
    pub namespace: String,
    /// Wanted metric names.
    pub names: NameRule,
    /// Dimensions that must be there, each with the values allowed.
    pub required: Vec<(String, ValueRule)>,
    /// Dimensions that must not be there.
    pub forbidden: Vec<String>,
    /// Names that are left out.
    pub excluded_names: Option<NameRule>,
    /// Values of dimensions that leave a metric out.
    pub excluded_values: Vec<(String, ValueRule)>,
    /// What to ask of every metric found.
    pub asks: Arc<Asks>,
    /// How the metrics are found.
    pub source: Source,
    /// Seconds after a period's end until its point can be expected.
    pub publication_delay: i64,
    /// What had no point in the last three hours need not be listed, where the window allows it.
    pub recently_active: bool,
    /// Where it stands in the configuration, for messages.
    pub origin: Origin,
}

/// Where a selection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Line of its table, from 1.
    pub line: usize,
    /// The preset it is a part of.
    pub preset: Option<String>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.preset {
            Some(preset) => write!(f, "preset {preset} in line {}", self.line),
            None => write!(f, "[[metrics]] in line {}", self.line),
        }
    }
}

impl Selection {
    /// Everything that decides what a unit holds, as one line of text: two selections with the same text export the same.
    pub(super) fn fingerprint(&self) -> String {
        let rules = |rules: &[(String, ValueRule)]| {
            rules
                .iter()
                .map(|(name, rule)| format!("{name:?}={:?}", rule.texts()))
                .collect::<Vec<_>>()
                .join(",")
        };
        let statistics: Vec<&str> = self.asks.statistics.iter().map(Statistic::as_str).collect();
        let source = match &self.source {
            Source::List => "list".to_owned(),
            Source::Ec2(filter) => format!("ec2 {} {:?}", rules(&filter.tags), filter.states),
        };
        let mut excluded = String::new();
        if let Some(names) = &self.excluded_names {
            excluded += &format!(" but {:?}", names.texts());
        }
        if !self.excluded_values.is_empty() {
            excluded += &format!(" but {}", rules(&self.excluded_values));
        }
        format!(
            "{:?} {:?} {} {:?} {statistics:?} {:?} {:?} {source}{excluded}",
            self.namespace,
            self.names.texts(),
            rules(&self.required),
            self.forbidden,
            self.asks.period,
            self.asks.unit
        )
    }
}

/// What is asked of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asks {
    /// Sorted, without duplicates.
    pub statistics: Vec<Statistic>,
    /// Asked period.
    pub period: PeriodChoice,
    /// Only points reported in this unit; `None` leaves it to CloudWatch.
    pub unit: Option<String>,
}

/// A fixed period, or the finest that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeriodChoice {
    /// At least this long; longer where only longer points are kept.
    AtLeast(Period),
    /// The finest available at the data's age, one minute at best.
    Auto,
}

/// How metrics are found.
#[derive(Clone, Debug)]
pub enum Source {
    /// `ListMetrics`.
    List,
    /// `DescribeInstances`, then every wanted name of every instance.
    Ec2(InstanceFilter),
}

/// Which instances.
#[derive(Clone, Debug, Default)]
pub struct InstanceFilter {
    /// Tags that must be there, each with the values allowed.
    pub tags: Vec<(String, ValueRule)>,
    /// Allowed states; empty allows all.
    pub states: Vec<String>,
}

/// # Source
/// CloudWatch API reference, `StandardUnit`.
const UNITS: &[&str] = &[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// # Source
/// EC2 API reference, `InstanceState`.
const INSTANCE_STATES: &[&str] = &[
    "pending",
    "running",
    "shutting-down",
    "terminated",
    "stopping",
    "stopped",
];

/// Dimensions of one metric.
///
/// # Source
/// CloudWatch user guide, `cloudwatch_limits.md`.
const MAX_DIMENSIONS: usize = 30;

/// Far more than anybody looks at, few enough to count in 16 bits over all tables.
const MAX_STATISTICS: usize = 100;

/// A `[[metrics]]` table with everything it cannot do without.
struct Table<'a> {
    namespace: &'a Spanned<String>,
    metrics: &'a Spanned<Vec<Spanned<String>>>,
    statistics: &'a Spanned<Vec<Spanned<String>>>,
    period: &'a Spanned<PeriodText>,
    rest: &'a Metrics,
}

/// Resolves every `[[metrics]]`, collecting what is wrong. `text` is the file's, for the lines of the tables.
pub(super) fn resolve(
    file: &FileConfig,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Selection> {
    if !Dataset::ALL
        .into_iter()
        .any(|dataset| file.selects(dataset))
    {
        let text = format!("nothing is selected: none of {}", Dataset::names());
        problems.push(Problem::whole(text).remedy(
            "add a [[metrics]] table, for example preset = \"ec2\"; or namespace = \"AWS/EC2\", metrics = [\"CPUUtilization\"], statistics = [\"Average\"], period = 300",
        ));
    }
    let mut selections = Vec::new();
    for entry in &file.metrics {
        let preset = entry.get_ref().preset.as_ref();
        let origin = Origin {
            line: line_of(text, entry.span().start),
            preset: preset.map(|p| p.get_ref().clone()),
        };
        for table in expand(entry.get_ref(), problems) {
            selections.extend(one(&table, &entry.span(), origin.clone(), problems));
        }
    }
    selections
}

/// What the `spend` tables ask for: the total, by service, and by linked account; every value that was published in the last 63 days, by five
/// minutes. By service and linked account together is left out: it multiplies the two.
///
/// # Panics
/// Never: its text is a constant.
pub fn billing_selections() -> Vec<Selection> {
    const TEXT: &str = r#"
        destination = { url = "." }
        [[metrics]]
        namespace = "AWS/Billing"
        metrics = ["EstimatedCharges"]
        dimensions = { Currency = "*" }
        without_dimensions = ["LinkedAccount"]
        statistics = ["Maximum"]
        period = 300
        [[metrics]]
        namespace = "AWS/Billing"
        metrics = ["EstimatedCharges"]
        dimensions = { Currency = "*" }
        without_dimensions = ["ServiceName"]
        statistics = ["Maximum"]
        period = 300
    "#;
    let file = FileConfig::parse(TEXT).expect("a constant text");
    resolve(&file, TEXT, &mut Vec::new())
}

fn required<'a>(
    entry: &'a Metrics,
    place: &Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<Table<'a>> {
    let given = [
        ("namespace", entry.namespace.is_some()),
        ("metrics", entry.metrics.is_some()),
        ("statistics", entry.statistics.is_some()),
        ("period", entry.period.is_some()),
    ];
    for (key, _) in given.iter().filter(|(_, given)| !given) {
        problems.push(
            Problem::at(place.clone(), format!("missing key '{key}'")).remedy(format!(
                "add '{key}', or name a preset; sample-data/cwlake.toml shows every key"
            )),
        );
    }
    Some(Table {
        namespace: entry.namespace.as_ref()?,
        metrics: entry.metrics.as_ref()?,
        statistics: entry.statistics.as_ref()?,
        period: entry.period.as_ref()?,
        rest: entry,
    })
}

fn one(
    entry: &Metrics,
    place: &Range<usize>,
    origin: Origin,
    problems: &mut Vec<Problem>,
) -> Option<Selection> {
    let before = problems.len();
    let table = required(entry, place, problems)?;
    let namespace = table.namespace.get_ref();
    check_namespace(table.namespace, problems);
    let names = names(table.metrics, problems);
    let required = value_rules(&entry.dimensions, "dimension", problems);
    check_dimensions(&table, required.len(), problems);
    let excluded_names = if entry.exclude.is_empty() {
        None
    } else {
        let place = entry.exclude[0].span();
        name_rule(&entry.exclude, LONGEST_METRIC_NAME, &place, problems)
    };
    let excluded_values = value_rules(&entry.exclude_dimensions, "dimension", problems);
    let asks = asks(&table, problems);
    let source = source(&table, names.as_ref(), problems);
    let publication_delay = delay(&table, problems);
    if problems.len() > before {
        return None;
    }
    Some(Selection {
        namespace: namespace.clone(),
        names: names?,
        required,
        forbidden: entry
            .without_dimensions
            .iter()
            .map(|n| n.get_ref().clone())
            .collect(),
        excluded_names,
        excluded_values,
        asks: Arc::new(asks?),
        source: source?,
        publication_delay,
        recently_active: entry.recently_active.as_ref().is_some_and(|r| *r.get_ref()),
        origin,
    })
}

fn check_namespace(namespace: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = namespace.get_ref();
    let namespace_chars = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(namespace_chars) {
        problems.push(
            Problem::at(
                namespace.span(),
                format!("'{}' is not a namespace", printable(text)),
            )
            .remedy("one namespace a table, spelled as AWS spells it, such as \"AWS/EC2\""),
        );
    }
}

fn check_dimensions(table: &Table<'_>, required: usize, problems: &mut Vec<Problem>) {
    if required > MAX_DIMENSIONS {
        problems.push(Problem::at(
            table.namespace.span(),
            format!("a metric has at most {MAX_DIMENSIONS} dimensions"),
        ));
    }
    let wanted = &table.rest.dimensions;
    for name in &table.rest.without_dimensions {
        if wanted.keys().any(|k| k.get_ref() == name.get_ref()) {
            problems.push(
                Problem::at(
                    name.span(),
                    format!(
                        "dimension '{}' is both required and forbidden",
                        printable(name.get_ref())
                    ),
                )
                .remedy("nothing can match: keep one of the two"),
            );
        }
    }
}

fn delay(table: &Table<'_>, problems: &mut Vec<Problem>) -> i64 {
    let Some(given) = &table.rest.publication_delay_secs else {
        return publication_delay(table.namespace.get_ref());
    };
    if !(0..=604_800).contains(given.get_ref()) {
        problems.push(
            Problem::at(
                given.span(),
                format!(
                    "publication_delay_secs = {} is out of range",
                    given.get_ref()
                ),
            )
            .remedy("0 to 604800; leave it out for the namespace's own"),
        );
    }
    *given.get_ref()
}

fn names(list: &Spanned<Vec<Spanned<String>>>, problems: &mut Vec<Problem>) -> Option<NameRule> {
    if list.get_ref().is_empty() {
        problems.push(
            Problem::at(list.span(), "the list of metrics is empty")
                .remedy("name metrics or globs, or [\"*\"] for all of the namespace"),
        );
        return None;
    }
    name_rule(list.get_ref(), LONGEST_METRIC_NAME, &list.span(), problems)
}

fn asks(entry: &Table<'_>, problems: &mut Vec<Problem>) -> Option<Asks> {
    let mut statistics = Vec::new();
    if entry.statistics.get_ref().is_empty() {
        problems.push(
            Problem::at(entry.statistics.span(), "the list of statistics is empty")
                .remedy("for example [\"Average\", \"p99\"]"),
        );
        return None;
    }
    for text in entry.statistics.get_ref() {
        match Statistic::parse(text.get_ref()) {
            Ok(statistic) => statistics.push(statistic),
            Err(e) => problems.push(
                Problem::at(
                    text.span(),
                    format!("'{}' is not a CloudWatch statistic", printable(&e.given)),
                )
                .remedy(e.why),
            ),
        }
    }
    if entry.statistics.get_ref().len() > MAX_STATISTICS {
        let text = format!(
            "{} statistics are more than the {MAX_STATISTICS} a table may have",
            entry.statistics.get_ref().len()
        );
        problems.push(
            Problem::at(entry.statistics.span(), text)
                .remedy("every five are billed as one metric: ask for fewer"),
        );
    }
    statistics.sort();
    statistics.dedup();
    let period = period(entry.period, entry.namespace, problems);
    let unit = entry.rest.unit.as_ref().map(|u| u.get_ref().clone());
    if let Some(unit) = &entry.rest.unit
        && !UNITS.contains(&unit.get_ref().as_str())
    {
        let near = UNITS
            .iter()
            .min_by_key(|u| strsim::damerau_levenshtein(unit.get_ref(), u))
            .unwrap_or(&"None");
        problems.push(
            Problem::at(
                unit.span(),
                format!("'{}' is not a CloudWatch unit", printable(unit.get_ref())),
            )
            .remedy(format!(
                "did you mean '{near}'? leave the key out to take any unit"
            )),
        );
    }
    Some(Asks {
        statistics,
        period: period?,
        unit,
    })
}

fn period(
    given: &Spanned<PeriodText>,
    namespace: &Spanned<String>,
    problems: &mut Vec<Problem>,
) -> Option<PeriodChoice> {
    let refuse =
        |message: String, remedy: String| Problem::at(given.span(), message).remedy(remedy);
    let seconds = match given.get_ref() {
        PeriodText::Word(word) if word == "auto" => return Some(PeriodChoice::Auto),
        PeriodText::Word(word) => {
            problems.push(refuse(
                format!("'{}' is not a period", printable(word)),
                "whole seconds such as 300, or \"auto\"".to_owned(),
            ));
            return None;
        }
        PeriodText::Seconds(seconds) => *seconds,
    };
    let Some(period) = u32::try_from(seconds).ok().and_then(Period::new) else {
        let near = Period::nearest(u32::try_from(seconds.clamp(0, 86_400)).unwrap_or(0)).seconds();
        problems.push(refuse(
            format!("{seconds} s is not a period CloudWatch keeps that divides a day"),
            format!("the nearest is {near}"),
        ));
        return None;
    };
    if period < Period::MINUTE && namespace.get_ref().starts_with("AWS/") {
        problems.push(refuse(
            format!("{period} is finer than AWS's own metrics are published"),
            "60 is the finest period in an AWS/ namespace".to_owned(),
        ));
        return None;
    }
    Some(PeriodChoice::AtLeast(period))
}

fn source(
    table: &Table<'_>,
    names: Option<&NameRule>,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    let entry = table.rest;
    let tags = value_rules(&entry.instance_tags, "tag", problems);
    let listed = entry
        .discover
        .as_ref()
        .map_or("list", |d| d.get_ref().as_str());
    match listed {
        "list" => {
            if let Some(span) = entry
                .instance_tags
                .keys()
                .map(Spanned::span)
                .chain(entry.instance_states.iter().map(Spanned::span))
                .next()
            {
                problems.push(
                    Problem::at(
                        span,
                        "instance_tags and instance_states belong to EC2-driven discovery",
                    )
                    .remedy("add discover = \"ec2\" to this table"),
                );
                return None;
            }
            Some(Source::List)
        }
        "ec2" => by_instances(table, names, tags, problems),
        other => {
            let span = entry.discover.as_ref().map_or(0..0, Spanned::span);
            problems.push(
                Problem::at(
                    span,
                    format!("'{}' is no way to discover metrics", printable(other)),
                )
                .remedy("\"list\" (ListMetrics) or \"ec2\" (DescribeInstances)"),
            );
            None
        }
    }
}

/// Which instances' metrics are asked for.
fn by_instances(
    table: &Table<'_>,
    names: Option<&NameRule>,
    tags: Vec<(String, ValueRule)>,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    let entry = table.rest;
    let span = entry.discover.as_ref().map_or(0..0, Spanned::span);
    if !cfg!(feature = "ec2") {
        problems.push(
            Problem::at(
                span,
                "this build cannot describe instances (feature 'ec2' is off)",
            )
            .remedy("use discover = \"list\""),
        );
        return None;
    }
    if names.is_some_and(|n| n.exact().is_none()) {
        problems.push(
            Problem::at(
                table.metrics.span(),
                "EC2-driven discovery needs exact metric names, not globs",
            )
            .remedy("name each metric, or use discover = \"list\""),
        );
    }
    if !entry.dimensions.is_empty() || !entry.without_dimensions.is_empty() {
        problems.push(
            Problem::at(
                span,
                "EC2-driven discovery asks for InstanceId alone; dimension rules have no place",
            )
            .remedy("use instance_tags and instance_states, or discover = \"list\""),
        );
    }
    for state in &entry.instance_states {
        if !INSTANCE_STATES.contains(&state.get_ref().as_str()) {
            problems.push(
                Problem::at(
                    state.span(),
                    format!("'{}' is not an instance state", printable(state.get_ref())),
                )
                .remedy(INSTANCE_STATES.join(", ")),
            );
        }
    }
    let states = entry
        .instance_states
        .iter()
        .map(|s| s.get_ref().clone())
        .collect();
    Some(Source::Ec2(InstanceFilter { tags, states }))
}
