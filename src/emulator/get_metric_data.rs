//! `GetMetricData`: validation, age rules, aggregation, pages.
//!
//! # Source
//! botocore `data/cloudwatch/2010-08-01/service-2.json` (limits, rounding of `StartTime`, legal periods, retention); answers recorded
//! from AWS for labels, several units and empty results.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::aggregate::{Bin, Stat};

use super::answer::Refusal;
use super::cloudwatch::{LaneMetrics, RegionLanes, dimensions};
use super::faults::{Fault, FaultKind, mix};
use super::fleet::{Generated, raw};
use super::store::{MetricKey, Raw};
use super::wire::{Value, whole};

const MAX_QUERIES: usize = 500;
const MAX_POINTS: usize = 100_800;
const DAY: i64 = 86_400;

/// One validated query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    id: String,
    pub(super) key: MetricKey,
    /// The linked account that owns the metric; the calling account's own when none.
    pub(super) account: Option<String>,
    stat: Stat,
    stat_text: String,
    period: i64,
    unit: Option<String>,
    label: Option<String>,
    returned: bool,
}

/// A validated request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) queries: Vec<Query>,
    start: i64,
    end: i64,
    descending: bool,
    page: usize,
    from: (usize, usize),
    fingerprint: u64,
}

/// An answer with what it counts for.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Value,
    pub(super) points: u64,
    pub(super) billed_metrics: u64,
}

impl Query {
    /// Gathers stored points that begin before `end` and can be seen before `published`; of several units the first, with a remark.
    fn bin_stored(
        &self,
        all: &[Raw],
        (end, published): (i64, i64),
        bins: &mut BTreeMap<i64, Bin>,
    ) -> Option<Value> {
        let keep = self.stat.needs_values();
        let mut multiple = None;
        let inside = || {
            all.iter()
                .filter(|r| r.second.div_euclid(self.period) * self.period < end)
                .filter(|r| r.second < published)
        };
        let units: BTreeSet<&str> = inside().map(|r| r.unit.as_str()).collect();
        let unit = match &self.unit {
            Some(unit) => Some(unit.as_str()),
            None => units.first().copied(),
        };
        if self.unit.is_none() && units.len() > 1 {
            let list: Vec<&str> = units.iter().copied().collect();
            multiple = Some(message(
                "MultipleUnits",
                &format!("Multiple units returned: '[{}]'", list.join(", ")),
            ));
        }
        for point in inside().filter(|r| Some(r.unit.as_str()) == unit) {
            let bin = point.second.div_euclid(self.period) * self.period;
            bins.entry(bin).or_default().add(&point.datum, keep);
        }
        multiple
    }
}

impl Request {
    /// Reads and validates a request.
    pub(super) fn parse(input: &Value) -> Result<Self, Refusal> {
        let (Some(start), Some(end)) = (input.number("StartTime"), input.number("EndTime")) else {
            return Err(Refusal::validation(
                "The parameters StartTime and EndTime are required.",
            ));
        };
        if start >= end {
            return Err(Refusal::validation(
                "The parameter EndTime must be greater than StartTime.",
            ));
        }
        let given = input.list("MetricDataQueries");
        if given.is_empty() || given.len() > MAX_QUERIES {
            return Err(Refusal::validation(format!(
                "The collection MetricDataQueries must not have a size of {}; 1 to {MAX_QUERIES} are allowed.",
                given.len()
            )));
        }
        let queries = given.iter().map(query).collect::<Result<Vec<_>, _>>()?;
        let ids: HashSet<&str> = queries.iter().map(|q| q.id.as_str()).collect();
        if ids.len() != queries.len() {
            return Err(Refusal::validation(
                "The values for parameter id in MetricDataQueries are not unique.",
            ));
        }
        let page = input
            .number("MaxDatapoints")
            .map_or(MAX_POINTS, |n| usize::try_from(whole(n)).unwrap_or(0));
        if page == 0 || page > MAX_POINTS {
            return Err(Refusal::validation(format!(
                "The parameter MaxDatapoints must be 1 to {MAX_POINTS}."
            )));
        }
        let descending = match input.str("ScanBy") {
            None | Some("TimestampDescending") => true,
            Some("TimestampAscending") => false,
            Some(other) => {
                return Err(Refusal::validation(format!(
                    "{other} is not a valid ScanBy."
                )));
            }
        };
        let mut request = Self {
            queries,
            start: whole(start),
            end: whole(end),
            descending,
            page,
            from: (0, 0),
            fingerprint: 0,
        };
        request.fingerprint = request.hash();
        if let Some(token) = input.str("NextToken") {
            request.from = request.position(token)?;
        }
        Ok(request)
    }

    /// Estimated points: range ÷ period, what the quota counts.
    pub(super) fn estimate(&self) -> f64 {
        self.queries
            .iter()
            .map(|q| ((self.end - self.start).max(0) / q.period) as f64)
            .sum()
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    fn hash(&self) -> u64 {
        let seed = mix(self.start.cast_unsigned()) ^ mix(self.end.cast_unsigned().rotate_left(7));
        self.queries
            .iter()
            .flat_map(|q| q.id.bytes().chain(q.key.1.bytes()))
            .fold(seed, |h, b| mix(h ^ u64::from(b)))
    }

    fn token(&self, at: (usize, usize)) -> String {
        format!("gmd-{:016x}-{}-{}", self.fingerprint, at.0, at.1)
    }

    /// A token belongs to the request it was given for.
    fn position(&self, token: &str) -> Result<(usize, usize), Refusal> {
        let parts: Vec<&str> = token.split('-').collect();
        let read = || match parts.as_slice() {
            ["gmd", hash, query, point] if *hash == format!("{:016x}", self.fingerprint) => {
                Some((query.parse().ok()?, point.parse().ok()?))
            }
            _ => None,
        };
        read().ok_or(Refusal {
            status: 400,
            code: "InvalidNextToken",
            message: "The next token specified is invalid.".to_owned(),
        })
    }

    /// Answers the page the request asks for. `published` is the time until which values can be seen, at or before `now`.
    pub(super) fn answer(
        &self,
        lanes: &RegionLanes<'_>,
        (now, published): (i64, i64),
        faults: &[Fault],
    ) -> Page {
        let labels = self.labels();
        let mut results = Vec::new();
        let small = faults
            .iter()
            .filter(|f| f.kind == FaultKind::SmallPages)
            .map(|f| f.points);
        let mut room = small.fold(self.page, usize::min);
        let mut next = None;
        let mut points = 0;
        for (index, query) in self.queries.iter().enumerate().skip(self.from.0) {
            if !query.returned {
                continue;
            }
            if room == 0 {
                next = Some((index, 0));
                break;
            }
            let lane = lanes.of(query.account.as_deref());
            let (mut times, mut values, messages) = self.points(query, lane, now, published);
            let skip = if index == self.from.0 {
                self.from.1.min(times.len())
            } else {
                0
            };
            let take = room.min(times.len() - skip);
            room -= take;
            points += take as u64;
            let cut = skip + take < times.len();
            if skip > 0 || cut {
                times = times[skip..skip + take].to_vec();
                values = values[skip..skip + take].to_vec();
            }
            let mut result = Entry {
                id: query.id.clone(),
                label: query.label.clone().unwrap_or_else(|| labels[index].clone()),
                times,
                values,
                status: if cut { "PartialData" } else { "Complete" },
                messages,
            };
            if result.spoil(faults, &query.key.1) {
                results.push(result.value());
            }
            if cut {
                next = Some((index, skip + take));
                break;
            }
        }
        self.disturb(&mut results, faults);
        let global = faults
            .iter()
            .filter(|f| f.kind == FaultKind::Message)
            .map(|_| {
                message(
                    "MaxMetricsExceeded",
                    "Maximum number of allowed metrics exceeded",
                )
            });
        let mut body = vec![
            ("MetricDataResults".to_owned(), Value::List(results)),
            ("Messages".to_owned(), Value::List(global.collect())),
        ];
        let token = if faults.iter().any(|f| f.kind == FaultKind::RepeatToken) {
            Some(self.token((0, 0)))
        } else {
            next.map(|at| self.token(at))
        };
        body.extend(token.map(|t| ("NextToken".to_owned(), Value::Text(t))));
        Page {
            body: Value::Map(body),
            points,
            billed_metrics: self.billed(),
        }
    }

    /// Answers under wrong ids.
    fn disturb(&self, results: &mut Vec<Value>, faults: &[Fault]) {
        if let [Value::Map(first), Value::Map(second), ..] = &mut results[..]
            && faults.iter().any(|f| f.kind == FaultKind::Twice)
        {
            second[0].clone_from(&first[0]);
        }
        if faults.iter().any(|f| f.kind == FaultKind::UnknownId) {
            let stranger = Entry {
                id: "stranger".to_owned(),
                label: String::new(),
                times: vec![self.start],
                values: vec![1.0],
                status: "Complete",
                messages: Vec::new(),
            };
            results.push(stranger.value());
        }
    }

    /// Up to five statistics of a metric count once.
    fn billed(&self) -> u64 {
        let mut metrics: BTreeMap<(Option<&str>, &MetricKey, i64), u64> = BTreeMap::new();
        for query in &self.queries {
            let metric = (query.account.as_deref(), &query.key, query.period);
            *metrics.entry(metric).or_default() += 1;
        }
        metrics
            .values()
            .map(|statistics| statistics.div_ceil(5))
            .sum()
    }

    /// The metric's name, with statistic and period where the queries differ in them.
    fn labels(&self) -> Vec<String> {
        let stats: BTreeSet<&str> = self.queries.iter().map(|q| q.stat_text.as_str()).collect();
        let periods: BTreeSet<i64> = self.queries.iter().map(|q| q.period).collect();
        let label = |q: &Query| {
            let mut label = q.key.1.clone();
            if stats.len() > 1 {
                label = format!("{label} {}", q.stat_text);
            }
            if periods.len() > 1 {
                label = format!("{label} {}", q.period);
            }
            label
        };
        self.queries.iter().map(label).collect()
    }

    /// All points of one query, in the asked order, with CloudWatch's remarks.
    fn points(
        &self,
        query: &Query,
        lane: &LaneMetrics,
        now: i64,
        published: i64,
    ) -> (Vec<i64>, Vec<f64>, Vec<Value>) {
        let age = now - self.start;
        let (step, rounding) = match age {
            _ if age <= 3 * 3_600 => (1, query.period.min(60)),
            _ if age <= 15 * DAY => (60, 60),
            _ if age <= 63 * DAY => (300, 300),
            _ => (3_600, 3_600),
        };
        // An illegal period for the age gives nothing, without a word.
        if query.period % step != 0 {
            return (Vec::new(), Vec::new(), Vec::new());
        }
        let start = self.start.div_euclid(rounding) * rounding;
        let oldest = now - 455 * DAY;
        let bins_start = -(-start.max(oldest)).div_euclid(query.period) * query.period;
        let end = self.end;
        let mut bins: BTreeMap<i64, Bin> = BTreeMap::new();
        let keep = query.stat.needs_values();
        let mut messages = Vec::new();
        if let Some(generated) = lane.generated(&query.key) {
            if query.unit.as_deref().is_none_or(|u| u == generated.unit) {
                let drawn = lane.tables.as_ref().and_then(|tables| {
                    tables.points(
                        generated,
                        (query.stat, &query.stat_text),
                        query.period,
                        (bins_start, end.min(published)),
                    )
                });
                if let Some((mut times, mut values)) = drawn {
                    if self.descending {
                        times.reverse();
                        values.reverse();
                    }
                    return (times, values, Vec::new());
                }
                return self.generated_points(
                    query,
                    generated,
                    bins_start,
                    end.min(published),
                    keep,
                );
            }
        } else if let Some(all) = lane
            .stored
            .range(&query.key, bins_start, end + query.period)
        {
            messages.extend(query.bin_stored(all, (end, published), &mut bins));
        }
        let mut points: Vec<(i64, f64)> = bins
            .into_iter()
            .filter_map(|(t, mut bin)| bin.statistic(query.stat).map(|v| (t, v)))
            .collect();
        if self.descending {
            points.reverse();
        }
        let (times, values) = points.into_iter().unzip();
        (times, values, messages)
    }

    fn generated_points(
        &self,
        query: &Query,
        generated: Generated,
        start: i64,
        end: i64,
        keep: bool,
    ) -> (Vec<i64>, Vec<f64>, Vec<Value>) {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut at = start;
        while at < end {
            let mut bin = Bin::default();
            let mut any = false;
            // Raw values stand on whole minutes.
            let mut minute = -(-at).div_euclid(60);
            while minute * 60 < at + query.period && minute * 60 < end {
                if let Some(value) = raw(generated.shape, generated.every, generated.seed, minute) {
                    bin.add_value(value, 1.0, keep);
                    any = true;
                }
                minute += 1;
            }
            if any && let Some(value) = bin.statistic(query.stat) {
                times.push(at);
                values.push(value);
            }
            at += query.period;
        }
        if self.descending {
            times.reverse();
            values.reverse();
        }
        (times, values, Vec::new())
    }
}

struct Entry {
    id: String,
    label: String,
    times: Vec<i64>,
    values: Vec<f64>,
    status: &'static str,
    messages: Vec<Value>,
}

impl Entry {
    /// Applies the faults of results; false leaves the entry out.
    fn spoil(&mut self, faults: &[Fault], metric_name: &str) -> bool {
        for fault in faults
            .iter()
            .filter(|f| f.metric_name.as_deref().is_none_or(|m| m == metric_name))
        {
            match fault.kind {
                FaultKind::PartialData => {
                    self.status = "PartialData";
                    self.times.truncate(self.times.len() / 2);
                    self.values.truncate(self.times.len());
                }
                FaultKind::InternalError => {
                    self.status = "InternalError";
                    self.times.clear();
                    self.values.clear();
                }
                FaultKind::Forbidden => {
                    self.status = "Forbidden";
                    self.times.clear();
                    self.values.clear();
                }
                FaultKind::Omit => return false,
                FaultKind::Unequal => {
                    self.times.pop();
                }
                FaultKind::Shuffle => self.shuffle(),
                _ => {}
            }
        }
        true
    }

    /// Every point twice, first with a wrong value, newest and oldest taking turns.
    fn shuffle(&mut self) {
        let n = self.times.len();
        let order: Vec<usize> = (0..n)
            .map(|i| if i % 2 == 0 { n - 1 - i / 2 } else { i / 2 })
            .collect();
        let wrong = order.iter().map(|&i| (self.times[i], self.values[i] + 1.0));
        let right = order.iter().map(|&i| (self.times[i], self.values[i]));
        (self.times, self.values) = wrong.chain(right).unzip();
    }

    fn value(self) -> Value {
        Value::Map(vec![
            ("Id".to_owned(), Value::Text(self.id)),
            ("Label".to_owned(), Value::Text(self.label)),
            ("Timestamps".to_owned(), Value::Times(self.times)),
            ("Values".to_owned(), Value::Doubles(self.values)),
            ("StatusCode".to_owned(), Value::text(self.status)),
            ("Messages".to_owned(), Value::List(self.messages)),
        ])
    }
}

fn message(code: &str, text: &str) -> Value {
    Value::Map(vec![
        ("Code".to_owned(), Value::text(code)),
        ("Value".to_owned(), Value::text(text)),
    ])
}

/// The answer to a request of nothing but `TIME_SERIES(number)`: no metric is requested, and none is billed.
pub(super) fn constants(input: &Value) -> Option<Value> {
    let queries = input.list("MetricDataQueries");
    let is_constant = |q: &Value| {
        let number = |e: &str| {
            e.strip_prefix("TIME_SERIES(")?
                .strip_suffix(')')?
                .parse::<f64>()
                .ok()
        };
        q.str("Expression").and_then(number).is_some()
    };
    if queries.is_empty() || !queries.iter().all(is_constant) {
        return None;
    }
    let result = |q: &Value| {
        Entry {
            id: q.str("Id").unwrap_or_default().to_owned(),
            label: String::new(),
            times: Vec::new(),
            values: Vec::new(),
            status: "Complete",
            messages: Vec::new(),
        }
        .value()
    };
    let results = queries.iter().map(result).collect();
    Some(Value::Map(vec![(
        "MetricDataResults".to_owned(),
        Value::List(results),
    )]))
}

fn query(given: &Value) -> Result<Query, Refusal> {
    let id = given.str("Id").unwrap_or("");
    let mut characters = id.chars();
    let valid = characters.next().is_some_and(|c| c.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && id.len() <= 255;
    if !valid {
        return Err(Refusal::validation(format!(
            "The value {id} for parameter MetricDataQueries.member.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
        )));
    }
    let Some(metric_stat) = given.get("MetricStat") else {
        return Err(Refusal::validation(
            "Expressions are not emulated: give a MetricStat.",
        ));
    };
    let metric = metric_stat
        .get("Metric")
        .ok_or_else(|| Refusal::validation("MetricStat.Metric is required."))?;
    let (Some(namespace), Some(name)) = (metric.str("Namespace"), metric.str("MetricName")) else {
        return Err(Refusal::validation(
            "The parameters Namespace and MetricName are required.",
        ));
    };
    let period = whole(metric_stat.number("Period").unwrap_or(0.0));
    let legal = matches!(period, 1 | 5 | 10 | 20 | 30) || (period > 0 && period % 60 == 0);
    if !legal {
        return Err(Refusal::validation(format!(
            "The parameter MetricDataQueries.member.1.MetricStat.Period must be a multiple of 60, or 1, 5, 10, 20 or 30; it is {period}."
        )));
    }
    let stat_text = metric_stat.str("Stat").unwrap_or("").to_owned();
    let stat = Stat::parse(&stat_text).ok_or_else(|| {
        Refusal::validation(format!("The value {stat_text} for parameter MetricDataQueries.member.1.MetricStat.Stat is not supported."))
    })?;
    Ok(Query {
        id: id.to_owned(),
        key: (namespace.to_owned(), name.to_owned(), dimensions(metric)?),
        account: given.str("AccountId").map(str::to_owned),
        stat,
        stat_text,
        period,
        unit: metric_stat.str("Unit").map(str::to_owned),
        label: given
            .str("Label")
            .filter(|l| !l.is_empty())
            .map(str::to_owned),
        returned: !matches!(given.get("ReturnData"), Some(Value::Bool(false))),
    })
}
