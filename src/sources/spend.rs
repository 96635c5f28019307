//! Estimated charges of an account: read from the first of the month on, whatever days are asked for, since a metric is billed by the request
//! and not by the day; and kept twice, as published and by day.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::aws::{CallStats, LaneClient};
use crate::commit::{LaneRecords, is_as_recorded};
use crate::config::{Asks, ExportConfig, Range, billing_selections};
use crate::discover::discover;
use crate::fetch::{Asker, Fetched, Spool};
use crate::given::context::RunContext;
use crate::lake::table::{SPEND, SPEND_INTRADAY, Table, tables_of};
use crate::lake::{UnitId, layout};
use crate::model::{
    Cause, ChargeKey, ChargePoint, DAY_SECONDS, Dataset, Day, Dimension, Lane, MetricId, Partition,
    QueryOutcome, Region, Spans, TimeWindow, iso_seconds,
};
use crate::normalize::{
    Charges, Owner, decode_intraday, intraday_batch, join_charges, month_charges, spend_batch,
};
use crate::plan::{
    self, DayMode, KnownMonth, LanePlan, Scope, end_of, is_final, month_mode, month_window,
    plan_lane, window_of,
};
use crate::report::{Forecast, UnitReport};
use crate::sources::source::scope::LaneScope;
use crate::sources::source::stage::{each_batch, stage};
use crate::sources::source::unit::{NewUnit, read_unit};
use crate::sources::source::{Job, Looking, Reading, Source};
use crate::store::Store;

/// Where `AWS/Billing` is published, for all regions.
///
/// # Source
/// `CloudWatch` user guide, "Create a billing alarm".
const BILLING_REGION: &str = "us-east-1";

const NAMESPACE: &str = "AWS/Billing";

/// Charges of a day can be expected a day later.
///
/// # Source
/// As for the namespace in `config/publication.rs`.
const DELAY_SECONDS: i64 = DAY_SECONDS;

/// Part of a record that says how far a month was asked for, whatever was published of it by then.
const ASKED: &str = "asked";

/// The region of an account's charges; none outside AWS's commercial partition, where the metric is not published.
pub(crate) fn billing_region(any: &Region) -> Option<Region> {
    (any.partition() == Partition::Aws)
        .then(|| Region::parse(BILLING_REGION))
        .flatten()
}

/// Estimated charges.
pub(crate) struct Spend;

#[async_trait]
impl Source for Spend {
    fn dataset(&self) -> Dataset {
        Dataset::Spend
    }

    fn is_regional(&self) -> bool {
        false
    }

    fn read_in(&self, any: &Region) -> Option<Region> {
        billing_region(any)
    }

    fn parts(&self, _: &ExportConfig) -> BTreeMap<String, i64> {
        BTreeMap::from([(NAMESPACE.to_owned(), DELAY_SECONDS)])
    }

    fn units(&self, context: &RunContext, lane: &Lane) -> Vec<(&'static Table, Vec<Day>)> {
        let months = months(context, lane);
        let tables = tables_of(Dataset::Spend);
        tables.map(|table| (table, months.clone())).collect()
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        Ok(Box::new(SpendJob::plan(looking, stats).await?))
    }
}

/// Charges of an account, planned.
#[derive(Debug)]
struct SpendJob {
    client: LaneClient,
    plan: Arc<LanePlan>,
    /// What is there of them.
    before: Charges,
    /// Months that are written, oldest first.
    daily: LaneScope,
    /// The same months.
    intraday: LaneScope,
    window: TimeWindow,
}

/// The months that a run reads of an account.
fn months(context: &RunContext, lane: &Lane) -> Vec<Day> {
    plan::months(&context.days_of(Dataset::Spend, lane), context.now)
}

impl SpendJob {
    /// Finds the series of charges and plans the requests for them.
    async fn plan(looking: &Looking, stats: &mut CallStats) -> Result<Self, Cause> {
        let (client, context) = (&looking.client, &looking.context);
        let (lane, store, now) = (client.lane(), &*looking.place.store, context.now);
        let firsts = months(context, lane);
        let mut records = LaneRecords::new(&SPEND, lane.clone());
        let mut intraday_records = LaneRecords::new(&SPEND_INTRADAY, lane.clone());
        records.read(store, firsts.iter().copied()).await?;
        intraday_records.read(store, firsts.iter().copied()).await?;
        let goes_on = matches!(
            context.range_of(Dataset::Spend, lane),
            Range::SinceLast { .. }
        );
        let mut months = Vec::new();
        let mut before = Charges::new();
        for first in firsts {
            let known = KnownMonth {
                // Looked at where it decides: files of a month that goes on are read anyway.
                is_whole: !context.force
                    && is_final(first, now)
                    && is_held(store, lane, &records, &SPEND, first).await?
                    && is_held(store, lane, &intraday_records, &SPEND_INTRADAY, first).await?,
                asked_until: asked_until(&records, first),
            };
            let mode = month_mode(first, known, now, context.force, goes_on);
            months.push((first, mode));
            if mode == DayMode::Merge && !context.force {
                let key = layout::unit(&UnitId::new(&SPEND_INTRADAY, first, lane));
                let hint = "--force reads the month anew";
                each_batch(store, &key, hint, |batch| {
                    decode_intraday(batch, &mut before)
                })
                .await?;
            }
        }
        let window = window_of(&months, now);
        let selections = billing_selections();
        let series = if window.is_empty() {
            Vec::new()
        } else {
            // ListMetrics knows two weeks: what an earlier run has seen of these months is asked for as well.
            let known = before.keys().map(metric_of).collect();
            discover(client, &selections, known, stats).await?
        };
        let asked = Scope::from([(NAMESPACE.to_owned(), (window, DELAY_SECONDS))]);
        let asks: Vec<Arc<Asks>> = selections.iter().map(|s| Arc::clone(&s.asks)).collect();
        let plan = plan_lane(lane, series, &asks, &asked, now);
        let scope = |table, records| LaneScope {
            table,
            delays: Spend.parts(&context.config),
            windows: Scope::new(),
            days: months.clone(),
            records,
            plan_hash: "spend".to_owned(),
            questions: BTreeMap::new(),
        };
        Ok(Self {
            client: client.clone(),
            plan: Arc::new(plan),
            before,
            daily: scope(&SPEND, records),
            intraday: scope(&SPEND_INTRADAY, intraday_records),
            window,
        })
    }

    /// Sends every request of the plan, one after the other: there are few.
    async fn ask(&self, reading: &Reading) -> Result<Read, Cause> {
        let now = reading.context.now;
        let asker = Asker {
            client: self.client.clone(),
            plan: Arc::clone(&self.plan),
            budget: reading.budget.clone(),
            // Few answers: they are not kept for a run that resumes, and go with what is staged.
            spool: Spool::of_lane(&reading.lake.staging(), self.client.lane()),
            planned_at: now,
        };
        let mut read = Read::default();
        for n in 0..self.plan.batches.len() {
            if reading.context.stop.is_cancelled() {
                return Err(Cause::stopped());
            }
            asker.admit(n, now).await;
            let turn = reading.bounds.requests.turn().await;
            let fetched = asker.under(&turn).fetch(n, reading.now()).await;
            reading.note(|taken| taken.get_metric_data.add(fetched.stats));
            read.take(&self.plan, n, fetched)?;
        }
        Ok(read)
    }
}

#[async_trait]
impl Job for SpendJob {
    fn forecast(&self, _: &RunContext) -> Forecast {
        let mut months = self.daily.days.iter();
        Forecast {
            planned: self.plan.cost(),
            matched: !self.plan.series.is_empty() || months.all(|(_, m)| *m == DayMode::Held),
            ..Forecast::default()
        }
    }

    fn billed(&self) -> Option<&LanePlan> {
        Some(&self.plan)
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.daily, &self.intraday]
    }

    async fn read(mut self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        let now = reading.context.now;
        let read = self.ask(&reading).await?;
        let charges = join_charges(std::mem::take(&mut self.before), read.charges);
        let charges = Arc::new(charges);
        let (mut days, mut points) = (Vec::new(), Vec::new());
        for (first, mode) in &self.daily.days {
            if *mode != DayMode::Merge {
                continue;
            }
            let first = *first;
            let covered = known_of(first, self.window, now);
            let asked = Spans::of(month_window(first).intersection(self.window));
            let made = make(&reading, (&self.daily, &self.intraday), first, &charges).await;
            let (mut daily, mut intraday) = made.unwrap_or_else(|cause| {
                let unit = (first, &reading.lane);
                let failed = |table| NewUnit::failed(table, unit, *mode, cause.clone(), now);
                (failed(&SPEND), failed(&SPEND_INTRADAY))
            });
            for unit in [&mut daily, &mut intraday] {
                unit.covered = BTreeMap::from([
                    (NAMESPACE.to_owned(), covered.clone()),
                    (ASKED.to_owned(), asked.clone()),
                ]);
                unit.complete &= read.refused.is_none();
                unit.report.complete = unit.complete;
                unit.report.series_asked = self.plan.series.len() as u64;
                unit.report.cause = unit.report.cause.take().or_else(|| read.refused.clone());
            }
            days.push(daily);
            points.push(intraday);
        }
        // What was published first: the charges by day are made of it.
        reading.give(points).await;
        reading.give(days).await;
        Ok(())
    }
}

/// What was answered.
#[derive(Default)]
struct Read {
    charges: Charges,
    /// Why some series are not in it.
    refused: Option<Cause>,
}

impl Read {
    fn take(&mut self, plan: &LanePlan, n: usize, fetched: Fetched) -> Result<(), Cause> {
        for (query, outcome) in plan.batches[n].queries.iter().zip(fetched.outcomes) {
            let metric = &plan.series[query.series as usize].series.metric;
            match outcome {
                QueryOutcome::Complete { points, .. } => {
                    let Some(key) = charge_key(metric) else {
                        continue;
                    };
                    let period = i32::try_from(query.period.seconds()).unwrap_or(i32::MAX);
                    let series = self.charges.entry(key).or_default();
                    let times = points.timestamps.iter();
                    series.extend(times.zip(&points.values).map(|(ts, value)| ChargePoint {
                        ts: ts.div_euclid(1_000_000),
                        period,
                        month_to_date: *value,
                    }));
                }
                QueryOutcome::Refused(cause) => self.refused = Some(cause),
                QueryOutcome::Failed(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// What a series of charges is about; `None` for dimensions that no series of charges has.
fn charge_key(metric: &MetricId) -> Option<ChargeKey> {
    let mut key = ChargeKey {
        currency: String::new(),
        linked_account: None,
        service: None,
    };
    for dimension in metric.dimensions() {
        match dimension.name.as_str() {
            "Currency" => key.currency.clone_from(&dimension.value),
            "LinkedAccount" => key.linked_account = Some(dimension.value.clone()),
            "ServiceName" => key.service = Some(dimension.value.clone()),
            _ => return None,
        }
    }
    (!key.currency.is_empty()).then_some(key)
}

fn metric_of(key: &ChargeKey) -> MetricId {
    let mut dimensions = vec![Dimension::new("Currency", key.currency.as_str())];
    let optional = [
        ("LinkedAccount", &key.linked_account),
        ("ServiceName", &key.service),
    ];
    for (name, value) in optional {
        dimensions.extend(value.as_ref().map(|v| Dimension::new(name, v.as_str())));
    }
    MetricId::new(NAMESPACE, "EstimatedCharges", dimensions)
}

/// The time of a month that is known: what was asked for and is old enough to be published.
fn known_of(first: Day, window: TimeWindow, now: i64) -> Spans {
    let published = TimeWindow {
        start: i64::MIN,
        end: now - DELAY_SECONDS,
    };
    let known = month_window(first)
        .intersection(window)
        .intersection(published);
    if known.is_empty() {
        Spans::default()
    } else {
        Spans::of(known)
    }
}

/// Until when a month was asked for.
fn asked_until(records: &LaneRecords, first: Day) -> Option<i64> {
    let asked = records.committed(first)?.answers.covered.get(ASKED)?;
    asked.windows().last().map(|w| w.end)
}

/// Whether a month is in the lake, whole, as it was recorded.
async fn is_held(
    store: &dyn Store,
    lane: &Lane,
    records: &LaneRecords,
    table: &'static Table,
    first: Day,
) -> Result<bool, Cause> {
    let Some(committed) = records.committed(first).filter(|c| c.complete) else {
        return Ok(false);
    };
    let whole = committed
        .answers
        .covered
        .get(NAMESPACE)
        .is_some_and(|s| s.covers(month_window(first)));
    let key = layout::unit(&UnitId::new(table, first, lane));
    Ok(whole && is_as_recorded(store, &key, committed).await?)
}

/// The two files of a month, on their way.
async fn make(
    reading: &Reading,
    (daily, intraday): (&LaneScope, &LaneScope),
    first: Day,
    charges: &Arc<Charges>,
) -> Result<(NewUnit, NewUnit), Cause> {
    let (unit, now) = ((first, &reading.lane), reading.context.now);
    let (end, read_until) = (end_of(first, now), month_window(first).end.min(now));
    let name = reading.account_name.clone();
    let (all, of_lane) = (Arc::clone(charges), reading.lane.clone());
    let days = stage(reading, daily, unit, move || {
        let rows = month_charges(&all, first, end.max(last_known(&all, first)), read_until);
        let owner = Owner {
            lane: &of_lane,
            account_name: name.as_deref(),
        };
        spend_batch(owner, &rows)
    })
    .await?;
    let name = reading.account_name.clone();
    let (all, of_lane) = (Arc::clone(charges), reading.lane.clone());
    let points = stage(reading, intraday, unit, move || {
        let owner = Owner {
            lane: &of_lane,
            account_name: name.as_deref(),
        };
        intraday_batch(owner, &of_month(&all, first))
    })
    .await?;
    let new = |table, staged| NewUnit {
        day: first,
        mode: DayMode::Merge,
        complete: true,
        ask_again: false,
        covered: BTreeMap::new(),
        refused: BTreeMap::new(),
        read_at: now,
        // A month's report spans its days.
        report: UnitReport {
            first_ts: Some(iso_seconds(first.start())),
            last_ts: Some(iso_seconds(end - 1)),
            ..read_unit(table, unit, Option::as_ref(&staged), now)
        },
        staged,
    };
    Ok((new(&SPEND, days), new(&SPEND_INTRADAY, points)))
}

/// What was published in a month.
fn of_month(charges: &Charges, first: Day) -> Charges {
    let month = month_window(first);
    let mut of_month = Charges::new();
    for (key, points) in charges {
        let own = points
            .iter()
            .filter(|p| (month.start..month.end).contains(&p.ts));
        let own: Vec<ChargePoint> = own.copied().collect();
        if !own.is_empty() {
            of_month.insert(key.clone(), own);
        }
    }
    of_month
}

/// The end of the last day of a month that has a value: today has a row when something was published.
fn last_known(charges: &Charges, first: Day) -> i64 {
    let month = month_window(first);
    let own = |p: &&ChargePoint| (month.start..month.end).contains(&p.ts);
    let last = charges.values().flatten().filter(own).map(|p| p.ts).max();
    last.map_or(month.start, |ts| Day::containing(ts).end())
}
