//! CloudWatch: `ListMetrics` and `PutMetricData`, and what its operations share.
//!
//! # Source
//! botocore `data/cloudwatch/2010-08-01/service-2.json`; `ListMetrics` shows metrics with data in the past two weeks, 500 a page.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::answer::Refusal;
use super::fleet::{
    BALANCER_METRICS, Generated, INSTANCE_METRICS, Kind, Shape, VOLUME_METRICS, balancers,
    instances, seed_of, volumes,
};
use super::store::{Datum, LaneStore, MetricKey, Raw};
use super::tables::Tables;
use super::wire::{Value, whole};
use super::world::{AccountSpec, ChargeSpec, World};

const PAGE_SIZE: usize = 500;
const ACTIVE_SECONDS: i64 = 14 * 86_400;

/// Everything CloudWatch knows, lane by lane.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    lanes: RwLock<BTreeMap<(String, String), LaneMetrics>>,
}

#[derive(Debug, Default)]
pub(super) struct LaneMetrics {
    generated: BTreeMap<MetricKey, Generated>,
    /// Of a world that is precomputed.
    pub(super) tables: Option<Arc<Tables>>,
    pub(super) stored: LaneStore,
}

/// The lanes of one region.
pub(super) struct RegionLanes<'a> {
    lanes: &'a BTreeMap<(String, String), LaneMetrics>,
    account: &'a str,
    region: &'a str,
    empty: LaneMetrics,
}

impl RegionLanes<'_> {
    /// The lane of an account that is linked, or of the one that reads.
    pub(super) fn of(&self, owner: Option<&str>) -> &LaneMetrics {
        let account = owner.unwrap_or(self.account);
        let key = (account.to_owned(), self.region.to_owned());
        self.lanes.get(&key).unwrap_or(&self.empty)
    }
}

impl LaneMetrics {
    /// How to compute a metric, if it is generated.
    pub(super) fn generated(&self, key: &MetricKey) -> Option<Generated> {
        self.generated.get(key).copied()
    }
}

impl Metrics {
    /// The fleets of a world.
    pub(super) fn of(world: &World) -> Self {
        let mut lanes: BTreeMap<(String, String), LaneMetrics> = BTreeMap::new();
        let tables = world.precomputed.then(Arc::<Tables>::default);
        for account in &world.accounts {
            for region in &account.regions {
                let lane = lanes
                    .entry((account.id.clone(), region.clone()))
                    .or_default();
                lane.tables.clone_from(&tables);
                add_fleet(world.seed, account, region, lane);
                if region == BILLING_REGION {
                    add_charges(world, account, lane);
                }
            }
        }
        Self {
            lanes: RwLock::new(lanes),
        }
    }

    /// Adds a point.
    pub(super) fn put(&self, account: &str, region: &str, key: MetricKey, raw: Raw) {
        let mut lanes = self
            .lanes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes
            .entry((account.to_owned(), region.to_owned()))
            .or_default()
            .stored
            .put(key, raw);
    }

    /// Reads the lanes of a region as one account sees them.
    pub(super) fn read_region<T>(
        &self,
        account: &str,
        region: &str,
        read: impl FnOnce(&RegionLanes<'_>) -> T,
    ) -> T {
        let lanes = self
            .lanes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        read(&RegionLanes {
            lanes: &lanes,
            account,
            region,
            empty: LaneMetrics::default(),
        })
    }
}

/// Where charges are published.
const BILLING_REGION: &str = "us-east-1";

/// Charges in total and by service; of a payer over all accounts, and by account.
fn add_charges(world: &World, account: &AccountSpec, lane: &mut LaneMetrics) {
    let mut add = |more: &[(&str, &str)], cents: u32| {
        let mut dimensions = vec![("Currency".to_owned(), "USD".to_owned())];
        dimensions.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        dimensions.sort();
        let key = (
            "AWS/Billing".to_owned(),
            "EstimatedCharges".to_owned(),
            dimensions,
        );
        let generated = Generated {
            shape: Shape::Charges(cents),
            seed: seed_of(world.seed, &["charges"]),
            unit: "None",
            every: 1,
        };
        lane.generated.insert(key, generated);
    };
    let billed: Vec<&AccountSpec> = if account.payer {
        world.accounts.iter().collect()
    } else {
        vec![account]
    };
    let mut services: BTreeMap<&str, u32> = BTreeMap::new();
    for charge in billed.iter().flat_map(|a| &a.charges) {
        *services.entry(&charge.service).or_default() += charge.cents();
    }
    if services.is_empty() {
        return;
    }
    add(&[], services.values().sum());
    for (service, cents) in services {
        add(&[("ServiceName", service)], cents);
    }
    if account.payer {
        for member in billed.iter().filter(|a| !a.charges.is_empty()) {
            let cents = member.charges.iter().map(ChargeSpec::cents).sum();
            add(&[("LinkedAccount", &member.id)], cents);
        }
    }
}

fn add_fleet(seed: u64, account: &AccountSpec, region: &str, lane: &mut LaneMetrics) {
    let mut add = |kind: &Kind, resource: &str| {
        let key = (
            kind.namespace.to_owned(),
            kind.name.to_owned(),
            vec![(kind.dimension.to_owned(), resource.to_owned())],
        );
        let seed = seed_of(seed, &[&account.id, region, kind.name, resource]);
        lane.generated.insert(
            key,
            Generated {
                shape: kind.shape,
                seed,
                unit: kind.unit,
                every: if account.basic_monitoring { 5 } else { 1 },
            },
        );
    };
    for instance in instances(seed, &account.id, region, account.instances) {
        if instance.state == "running" {
            INSTANCE_METRICS
                .iter()
                .for_each(|kind| add(kind, &instance.id));
        }
    }
    for balancer in balancers(seed, &account.id, region, account.load_balancers) {
        BALANCER_METRICS
            .iter()
            .for_each(|kind| add(kind, &balancer));
    }
    for volume in volumes(seed, &account.id, region, account.volumes) {
        VOLUME_METRICS.iter().for_each(|kind| add(kind, &volume));
    }
}

/// Name-sorted dimensions of a `Metric` or `MetricDatum`.
pub(super) fn dimensions(given: &Value) -> Result<Vec<(String, String)>, Refusal> {
    let mut dimensions = Vec::new();
    for dimension in given.list("Dimensions") {
        let (name, value) = (
            dimension.str("Name").unwrap_or(""),
            dimension.str("Value").unwrap_or(""),
        );
        if name.is_empty() || value.is_empty() {
            return Err(Refusal::validation(
                "The parameter Dimensions.member.1.Value must be a non-empty string.",
            ));
        }
        dimensions.push((name.to_owned(), value.to_owned()));
    }
    if dimensions.len() > 30 {
        return Err(Refusal::validation(
            "The collection Dimensions must not have a size greater than 30.",
        ));
    }
    dimensions.sort();
    Ok(dimensions)
}

pub(super) fn list_metrics(
    metrics: &Metrics,
    (account, linked): (&str, &[String]),
    region: &str,
    now: i64,
    input: &Value,
) -> Result<Value, Refusal> {
    let namespace = input.str("Namespace");
    let name = input.str("MetricName");
    let filters: Vec<(&str, Option<&str>)> = input
        .list("Dimensions")
        .iter()
        .map(|f| (f.str("Name").unwrap_or(""), f.str("Value")))
        .collect();
    if filters.len() > 10 {
        return Err(Refusal::validation(
            "The collection Dimensions must not have a size greater than 10.",
        ));
    }
    match input.str("RecentlyActive") {
        None | Some("PT3H") => {}
        Some(other) => {
            return Err(Refusal::validation(format!(
                "{other} is not a valid RecentlyActive"
            )));
        }
    }
    let since = now
        - if input.get("RecentlyActive").is_some() {
            3 * 3_600
        } else {
            ACTIVE_SECONDS
        };
    let wanted = |key: &&MetricKey| {
        namespace.is_none_or(|n| n == key.0)
            && name.is_none_or(|n| n == key.1)
            && filters.iter().all(|(n, v)| {
                key.2
                    .iter()
                    .any(|(dn, dv)| dn == n && v.is_none_or(|v| v == dv))
            })
    };
    let include_linked = input.get("IncludeLinkedAccounts") == Some(&Value::Bool(true));
    let owners = std::iter::once(account).chain(linked.iter().map(String::as_str));
    let owners = owners.take(if include_linked { usize::MAX } else { 1 });
    let from = place_of(input.str("NextToken"))?;
    // By reference: a lane may have 200,000 metrics, and is asked for each of its pages.
    Ok(metrics.read_region(account, region, |lanes| {
        let mut matched: Vec<(&MetricKey, &str)> = Vec::new();
        for owner in owners {
            let lane = lanes.of(Some(owner));
            let of_lane = lane.stored.active(since).chain(lane.generated.keys());
            matched.extend(of_lane.filter(wanted).map(|key| (key, owner)));
        }
        matched.sort();
        matched.dedup();
        page_of(&matched, from, include_linked)
    }))
}

/// The metrics of a page, with their accounts where linked ones are asked for.
fn page_of(matched: &[(&MetricKey, &str)], from: usize, with_owners: bool) -> Value {
    let page = || matched.iter().skip(from).take(PAGE_SIZE);
    let metrics = page().map(|(key, _)| metric(key)).collect();
    let mut answer = vec![("Metrics".to_owned(), Value::List(metrics))];
    if with_owners {
        let owners = page().map(|(_, owner)| Value::text(*owner)).collect();
        answer.push(("OwningAccounts".to_owned(), Value::List(owners)));
    }
    if from + PAGE_SIZE < matched.len() {
        let next = format!("list-{}", from + PAGE_SIZE);
        answer.push(("NextToken".to_owned(), Value::text(next)));
    }
    Value::Map(answer)
}

/// Where a page begins.
fn place_of(token: Option<&str>) -> Result<usize, Refusal> {
    let Some(token) = token else { return Ok(0) };
    let place = token.strip_prefix("list-").and_then(|n| n.parse().ok());
    place.ok_or_else(|| Refusal {
        status: 400,
        code: "InvalidParameterValue",
        message: "Invalid nextToken".to_owned(),
    })
}

fn metric((namespace, name, dimensions): &MetricKey) -> Value {
    let pair = |(n, v): &(String, String)| {
        Value::Map(vec![
            ("Name".to_owned(), Value::text(n)),
            ("Value".to_owned(), Value::text(v)),
        ])
    };
    Value::Map(vec![
        ("Namespace".to_owned(), Value::text(namespace)),
        ("MetricName".to_owned(), Value::text(name)),
        (
            "Dimensions".to_owned(),
            Value::List(dimensions.iter().map(pair).collect()),
        ),
    ])
}

/// # Source
/// botocore `PutMetricData`: up to 1,000 metrics and 150 values each; timestamps two weeks back to two hours ahead.
pub(super) fn put_metric_data(
    metrics: &Metrics,
    account: &str,
    region: &str,
    now: i64,
    input: &Value,
) -> Result<Value, Refusal> {
    let namespace = input.str("Namespace").unwrap_or("");
    if namespace.is_empty() || namespace.starts_with("AWS/") {
        return Err(Refusal {
            status: 400,
            code: "InvalidParameterValue",
            message: "The value for parameter Namespace must be non-empty and not begin with AWS/."
                .to_owned(),
        });
    }
    let data = input.list("MetricData");
    if data.len() > 1_000 {
        return Err(Refusal::validation(
            "The collection MetricData must not have a size greater than 1000.",
        ));
    }
    let mut points = Vec::new();
    for datum in data {
        let name = datum.str("MetricName").filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| {
            Refusal::validation("The parameter MetricData.member.1.MetricName is required.")
        })?;
        let second = datum.number("Timestamp").map_or(now, whole);
        if second < now - 14 * 86_400 || second > now + 2 * 3_600 {
            return Err(Refusal {
                status: 400,
                code: "InvalidParameterValue",
                message: "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.".to_owned(),
            });
        }
        let unit = datum.str("Unit").unwrap_or("None").to_owned();
        let key = (namespace.to_owned(), name.to_owned(), dimensions(datum)?);
        points.push((
            key,
            Raw {
                second,
                unit,
                datum: content(datum)?,
            },
        ));
    }
    for (key, raw) in points {
        metrics.put(account, region, key, raw);
    }
    Ok(Value::Map(Vec::new()))
}

fn content(datum: &Value) -> Result<Datum, Refusal> {
    if let Some(set) = datum.get("StatisticValues") {
        let number = |key| set.number(key).unwrap_or(0.0);
        return Ok(Datum::Set {
            count: number("SampleCount"),
            sum: number("Sum"),
            min: number("Minimum"),
            max: number("Maximum"),
        });
    }
    if let Some(value) = datum.number("Value") {
        return Ok(Datum::Values(vec![(value, 1.0)]));
    }
    let numbers = |key| {
        datum.list(key).iter().filter_map(|v| {
            if let Value::Number(n) = v {
                Some(*n)
            } else {
                None
            }
        })
    };
    let values: Vec<f64> = numbers("Values").collect();
    let counts: Vec<f64> = numbers("Counts").collect();
    if values.is_empty()
        || values.len() > 150
        || !(counts.is_empty() || counts.len() == values.len())
    {
        return Err(Refusal::validation(
            "A datum has a Value, StatisticValues, or up to 150 Values with as many Counts.",
        ));
    }
    Ok(Datum::Values(
        values
            .iter()
            .enumerate()
            .map(|(i, v)| (*v, counts.get(i).copied().unwrap_or(1.0)))
            .collect(),
    ))
}
