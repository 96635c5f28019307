//! Which metrics, with which statistics, at which period: one `[[metrics]]` table.

use std::ops::Range;
use std::sync::Arc;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use toml::Spanned;

use super::accounts::printable;
use super::file::{FileConfig, Metrics, OneOrMany, PeriodText};
use super::problem::Problem;
use super::publication::publication_delay;
use crate::model::{Period, Statistic};

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
    /// What to ask of every metric found.
    pub asks: Arc<Asks>,
    /// How the metrics are found.
    pub source: Source,
    /// Seconds after a period's end until its point can be expected.
    pub publication_delay: i64,
}

impl Selection {
    /// Everything that decides what a unit holds, as one line of text: two selections with the same text export the same.
    pub(super) fn fingerprint(&self) -> String {
        let rules = |rules: &[(String, ValueRule)]| {
            rules
                .iter()
                .map(|(name, rule)| format!("{name:?}={:?}", rule.texts))
                .collect::<Vec<_>>()
                .join(",")
        };
        let statistics: Vec<&str> = self.asks.statistics.iter().map(Statistic::as_str).collect();
        let source = match &self.source {
            Source::List => "list".to_owned(),
            Source::Ec2(filter) => format!("ec2 {} {:?}", rules(&filter.tags), filter.states),
        };
        format!(
            "{:?} {:?} {} {:?} {statistics:?} {:?} {:?} {source}",
            self.namespace,
            self.names.texts,
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

/// Metric names: exact ones and globs.
#[derive(Clone, Debug)]
pub struct NameRule {
    texts: Vec<String>,
    globs: GlobSet,
}

impl NameRule {
    /// Whether the name is wanted.
    pub fn matches(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }

    /// The names, when none of them is a glob.
    pub fn exact(&self) -> Option<&[String]> {
        (!self.texts.iter().any(|t| is_glob(t))).then_some(&self.texts)
    }
}

/// Allowed values of one dimension or tag: exact ones and globs.
#[derive(Clone, Debug)]
pub struct ValueRule {
    texts: Vec<String>,
    globs: GlobSet,
}

impl ValueRule {
    /// Whether the value is allowed.
    pub fn matches(&self, value: &str) -> bool {
        self.globs.is_match(value)
    }

    /// The value, when exactly one is allowed and it is not a glob.
    pub fn exact(&self) -> Option<&str> {
        match self.texts.as_slice() {
            [one] if !is_glob(one) => Some(one),
            _ => None,
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// `*` also crosses `/` and `.`: names and values are not paths.
fn glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
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

/// Resolves every `[[metrics]]`, collecting what is wrong.
pub(super) fn resolve(file: &FileConfig, problems: &mut Vec<Problem>) -> Vec<Selection> {
    if file.metrics.is_empty() {
        problems.push(Problem::whole("no metrics are selected").remedy(
            "add a [[metrics]] table, for example namespace = \"AWS/EC2\", metrics = [\"CPUUtilization\"], statistics = [\"Average\"], period = 300",
        ));
    }
    file.metrics
        .iter()
        .filter_map(|entry| one(entry.get_ref(), problems))
        .collect()
}

fn one(entry: &Metrics, problems: &mut Vec<Problem>) -> Option<Selection> {
    let before = problems.len();
    let namespace = entry.namespace.get_ref();
    let namespace_chars = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    if namespace.is_empty() || namespace.len() > 255 || !namespace.chars().all(namespace_chars) {
        problems.push(
            Problem::at(
                entry.namespace.span(),
                format!("'{}' is not a namespace", printable(namespace)),
            )
            .remedy("one namespace a table, spelled as AWS spells it, such as \"AWS/EC2\""),
        );
    }
    let names = names(entry, problems);
    let required = rules(&entry.dimensions, "dimension", problems);
    if required.len() > MAX_DIMENSIONS {
        problems.push(Problem::at(
            entry.namespace.span(),
            format!("a metric has at most {MAX_DIMENSIONS} dimensions"),
        ));
    }
    for name in &entry.without_dimensions {
        if entry
            .dimensions
            .keys()
            .any(|k| k.get_ref() == name.get_ref())
        {
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
    let asks = asks(entry, problems);
    let source = source(entry, names.as_ref(), problems);
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
        asks: Arc::new(asks?),
        source: source?,
        publication_delay: delay(entry, problems),
    })
}

fn delay(entry: &Metrics, problems: &mut Vec<Problem>) -> i64 {
    let Some(given) = &entry.publication_delay_secs else {
        return publication_delay(entry.namespace.get_ref());
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

fn names(entry: &Metrics, problems: &mut Vec<Problem>) -> Option<NameRule> {
    let list = entry.metrics.get_ref();
    if list.is_empty() {
        problems.push(
            Problem::at(entry.metrics.span(), "the list of metrics is empty")
                .remedy("name metrics or globs, or [\"*\"] for all of the namespace"),
        );
        return None;
    }
    for name in list {
        if name.get_ref().is_empty() || name.get_ref().len() > 255 {
            problems.push(Problem::at(
                name.span(),
                "a metric name has 1 to 255 characters",
            ));
            return None;
        }
    }
    let globs = glob_set(list, &entry.metrics.span(), problems)?;
    let texts = list.iter().map(|n| n.get_ref().clone()).collect();
    Some(NameRule { texts, globs })
}

fn glob_set(
    texts: &[Spanned<String>],
    place: &Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for text in texts {
        globs.add(checked_glob(text, problems)?);
    }
    match globs.build() {
        Ok(set) => Some(set),
        Err(_) => {
            problems.push(
                Problem::at(
                    place.clone(),
                    "these globs are too large to be matched together",
                )
                .remedy("use fewer or shorter globs, or several [[metrics]] tables"),
            );
            None
        }
    }
}

fn checked_glob(text: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<Glob> {
    match glob(text.get_ref()) {
        Ok(glob) => Some(glob),
        Err(e) => {
            problems.push(
                Problem::at(text.span(), format!("'{}' is not a glob: {}", printable(text.get_ref()), e.kind()))
                    .remedy("* stands for any text, ? for one character, {a,b} for either, [ab] for a set; \\ takes a sign literally"),
            );
            None
        }
    }
}

fn rules(
    table: &std::collections::BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(String, ValueRule)> {
    let mut rules = Vec::new();
    for (name, values) in table {
        let texts = values.get_ref().as_slice();
        if name.get_ref().is_empty() || texts.is_empty() || texts.iter().any(String::is_empty) {
            problems.push(
                Problem::at(
                    values.span(),
                    format!(
                        "{what} '{}' has an empty name or value",
                        printable(name.get_ref())
                    ),
                )
                .remedy("\"*\" allows every value"),
            );
            continue;
        }
        let texts: Vec<_> = texts
            .iter()
            .map(|t| Spanned::new(values.span(), t.clone()))
            .collect();
        if let Some(globs) = glob_set(&texts, &values.span(), problems) {
            let texts = texts.into_iter().map(Spanned::into_inner).collect();
            rules.push((name.get_ref().clone(), ValueRule { texts, globs }));
        }
    }
    rules
}

fn asks(entry: &Metrics, problems: &mut Vec<Problem>) -> Option<Asks> {
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
    let period = period(&entry.period, &entry.namespace, problems);
    let unit = entry.unit.as_ref().map(|u| u.get_ref().clone());
    if let Some(unit) = &entry.unit
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
    entry: &Metrics,
    names: Option<&NameRule>,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    let tags = rules(&entry.instance_tags, "tag", problems);
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
        "ec2" => {
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
                        entry.metrics.span(),
                        "EC2-driven discovery needs exact metric names, not globs",
                    )
                    .remedy("name each metric, or use discover = \"list\""),
                );
            }
            if !entry.dimensions.is_empty() || !entry.without_dimensions.is_empty() {
                problems.push(
                    Problem::at(span, "EC2-driven discovery asks for InstanceId alone; dimension rules have no place")
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
