//! Estimated charges of an account: read from the first of the month on, whatever days are asked for, since a metric is billed by the request
//! and not by the day; and kept twice, as published and by day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::discover::discover;
use crate::plan;
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::run::given::context::RunContext;
use crate::run::given::place::Place;
use crate::run::unit::scope::LaneScope;
use crate::store::Store;

use crate::lake::table::{SPEND, SPEND_INTRADAY, Table};
use crate::lake::{UnitId, layout};
use crate::plan::{KnownMonth, Month, end_of, is_final, month_mode, month_window, window_of};

use crate::aws::{CallStats, LaneClient};
use crate::commit::{LaneRecords, is_as_recorded};
use crate::config::{Asks, Range, billing_selections};
use crate::fetch::{Asker, BatchStats, Fetched, LaneBudget, Spool};
use crate::model::{
    Cause, CauseKind, ChargeKey, ChargePoint, DAY_SECONDS, Dataset, Day, Lane, MetricId, Partition,
    QueryOutcome, Region, Spans, TimeWindow,
};
use crate::normalize::{
    Charges, Owner, decode_intraday, intraday_batch, join_charges, month_charges, spend_batch,
};
use crate::plan::{LanePlan, Scope, plan_lane};
use crate::run::tables::publish::{NewUnit, each_batch, publish_all, read_unit, stage};
use crate::run::tables::{Surroundings, TableDone};

/// Where `AWS/Billing` is published, for all regions.
///
/// # Source
/// `CloudWatch` user guide, "Create a billing alarm".
pub(crate) const BILLING_REGION: &str = "us-east-1";

const NAMESPACE: &str = "AWS/Billing";

/// Charges of a day can be expected a day later.
///
/// # Source
/// As for the namespace in `config/publication.rs`.
const DELAY_SECONDS: i64 = DAY_SECONDS;

pub(crate) fn parts() -> BTreeMap<String, i64> {
    BTreeMap::from([(NAMESPACE.to_owned(), DELAY_SECONDS)])
}

/// Part of a record that says how far a month was asked for, whatever was published of it by then.
const ASKED: &str = "asked";

/// The region of an account's charges; none outside AWS's commercial partition, where the metric is not published.
pub(crate) fn billing_region(any: &Region) -> Option<Region> {
    (any.partition() == Partition::Aws)
        .then(|| Region::parse(BILLING_REGION))
        .flatten()
}

/// Charges of an account, planned.
#[derive(Debug)]
pub(crate) struct SpendJob {
    client: LaneClient,
    plan: Arc<LanePlan>,
    /// Months that are written, oldest first.
    months: Vec<Month>,
    /// What is there of them.
    before: Charges,
    records: LaneRecords,
    intraday_records: LaneRecords,
    window: TimeWindow,
    planned: Instant,
}

/// The months that a run reads of an account.
pub(crate) fn months(context: &RunContext, lane: &Lane) -> Vec<Day> {
    plan::months(&context.table_days(Dataset::Spend, lane), context.now)
}

impl SpendJob {
    /// Finds the series of charges and plans the requests for them.
    pub(crate) async fn plan(
        client: LaneClient,
        place: &Place,
        context: &RunContext,
        stats: &mut CallStats,
    ) -> Result<Self, Cause> {
        let (lane, store, now) = (client.lane().clone(), &*place.store, context.now);
        let firsts = months(context, &lane);
        let mut records = LaneRecords::new(&SPEND, lane.clone());
        let mut intraday_records = LaneRecords::new(&SPEND_INTRADAY, lane.clone());
        records.read(store, firsts.iter().copied()).await?;
        intraday_records.read(store, firsts.iter().copied()).await?;
        let goes_on = matches!(
            context.table_range(Dataset::Spend, &lane),
            Range::SinceLast { .. }
        );
        let mut months = Vec::new();
        let mut before = Charges::new();
        for first in firsts {
            let known = KnownMonth {
                // Looked at where it decides: files of a month that goes on are read anyway.
                is_whole: !context.force
                    && is_final(first, now)
                    && is_held(store, &lane, &records, &SPEND, first).await?
                    && is_held(store, &lane, &intraday_records, &SPEND_INTRADAY, first).await?,
                asked_until: asked_until(&records, first),
            };
            let mode = month_mode(first, known, now, context.force, goes_on);
            months.push(Month { first, mode });
            if mode == DayMode::Merge && !context.force {
                let key = layout::unit(&UnitId::new(&SPEND_INTRADAY, first, &lane));
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
            discover(&client, &selections, known, stats).await?
        };
        let scope = Scope::from([(NAMESPACE.to_owned(), (window, DELAY_SECONDS))]);
        let asks: Vec<Arc<Asks>> = selections.iter().map(|s| Arc::clone(&s.asks)).collect();
        let plan = plan_lane(&lane, series, &asks, &scope, now);
        Ok(Self {
            client,
            plan: Arc::new(plan),
            months,
            before,
            records,
            intraday_records,
            window,
            planned: Instant::now(),
        })
    }

    pub(crate) fn plan_of(&self) -> &LanePlan {
        &self.plan
    }

    pub(crate) fn has_matched(&self) -> bool {
        !self.plan.series.is_empty() || self.months.iter().all(|m| m.mode == DayMode::Held)
    }

    pub(crate) async fn export(self, around: &Surroundings, lane: &Lane) -> TableDone {
        let (now_read, stats) = self.read(around).await;
        let context = &around.context;
        let delays = parts();
        let scope = |table, records| LaneScope {
            table,
            delays: delays.clone(),
            windows: Scope::new(),
            days: Vec::new(),
            records,
            plan_hash: "spend".to_owned(),
        };
        let mut daily = scope(&SPEND, self.records);
        let mut intraday = scope(&SPEND_INTRADAY, self.intraday_records);
        let (mut days, mut points) = (Vec::new(), Vec::new());
        let all = now_read.map(|read| {
            let complete = read.refused.is_none();
            (
                Arc::new(join_charges(self.before, read.charges)),
                complete,
                read.refused,
            )
        });
        for month in &self.months {
            let unit = (month.first, lane);
            let made = match (&all, month.mode) {
                (Ok((charges, complete, refused)), DayMode::Merge) => {
                    let end = end_of(month.first, context.now);
                    let covered = known_of(month.first, self.window, context.now);
                    let asked = Spans::of(month_window(month.first).intersection(self.window));
                    let made = make(around, (&daily, &intraday), unit, charges, end).await;
                    made.map(|(mut a, mut b)| {
                        for unit in [&mut a, &mut b] {
                            unit.covered = BTreeMap::from([
                                (NAMESPACE.to_owned(), covered.clone()),
                                (ASKED.to_owned(), asked.clone()),
                            ]);
                            unit.complete = *complete;
                            unit.report.complete = *complete;
                            unit.report.series_asked = self.plan.series.len() as u64;
                            unit.report.cause =
                                unit.report.cause.take().or_else(|| refused.clone());
                        }
                        (a, b)
                    })
                }
                (Err(cause), DayMode::Merge) => Err(cause.clone()),
                (_, mode) => Ok((
                    unread(&SPEND, unit, mode, context.now),
                    unread(&SPEND_INTRADAY, unit, mode, context.now),
                )),
            };
            let (day, point) = made.unwrap_or_else(|cause| {
                let failed = |table| {
                    NewUnit::failed(table, unit, DayMode::Merge, cause.clone(), context.now)
                };
                (failed(&SPEND), failed(&SPEND_INTRADAY))
            });
            days.push(day);
            points.push(point);
        }
        // What was published first: the charges by day are made of it.
        let (mut units, first) = publish_all(around, &mut intraday, lane, points).await;
        let (more, second) = publish_all(around, &mut daily, lane, days).await;
        units.extend(more);
        TableDone {
            units,
            calls: CallStats::default(),
            get_metric_data: stats,
            cause: first.or(second),
        }
    }

    /// Sends every request of the plan, one after the other: there are few.
    async fn read(&self, around: &Surroundings) -> (Result<Read, Cause>, BatchStats) {
        let now = around.context.now;
        let budget = LaneBudget::new(&around.bounds.budget);
        let asker = Asker {
            client: self.client.clone(),
            plan: Arc::clone(&self.plan),
            budget,
            // Few answers: they are not kept for a run that resumes, and go with what is staged.
            spool: Spool::of_lane(&around.lake.staging(), self.client.lane()),
            planned_at: now,
        };
        let mut read = Read::default();
        let mut stats = BatchStats::default();
        for n in 0..self.plan.batches.len() {
            if around.context.stop.is_cancelled() {
                let cause = Cause::stopped();
                return (Err(cause), stats);
            }
            asker.admit(n, now).await;
            let requests = &around.bounds.requests;
            let _permit = requests
                .acquire()
                .await
                .expect("the run's bound is never closed");
            let elapsed = self.planned.elapsed().as_secs().cast_signed();
            let fetched = asker.clone().fetch(n, now + elapsed).await;
            stats.add(fetched.stats);
            if let Err(cause) = read.take(&self.plan, n, fetched) {
                return (Err(cause), stats);
            }
        }
        (Ok(read), stats)
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
    use crate::model::Dimension;
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
    let asked = records.committed(first)?.covered.get(ASKED)?;
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
        .covered
        .get(NAMESPACE)
        .is_some_and(|s| s.covers(month_window(first)));
    let key = layout::unit(&UnitId::new(table, first, lane));
    Ok(whole && is_as_recorded(store, &key, committed).await?)
}

/// The two files of a month, on their way.
async fn make(
    around: &Surroundings,
    (daily, intraday): (&LaneScope, &LaneScope),
    unit: (Day, &Lane),
    charges: &Arc<Charges>,
    end: i64,
) -> Result<(NewUnit, NewUnit), Cause> {
    let (first, lane) = unit;
    let name = around.account_name.clone();
    let (all, of_lane) = (Arc::clone(charges), lane.clone());
    let days = stage(around, daily, unit, move || {
        let rows = month_charges(&all, first, end.max(last_known(&all, first)));
        let owner = Owner {
            lane: &of_lane,
            account_name: name.as_deref(),
        };
        spend_batch(owner, &rows)
    })
    .await?;
    let name = around.account_name.clone();
    let (all, of_lane) = (Arc::clone(charges), lane.clone());
    let points = stage(around, intraday, unit, move || {
        let month = month_window(first);
        let mut of_month = Charges::new();
        for (key, points) in &*all {
            let own = points
                .iter()
                .filter(|p| (month.start..month.end).contains(&p.ts));
            let own: Vec<ChargePoint> = own.copied().collect();
            if !own.is_empty() {
                of_month.insert(key.clone(), own);
            }
        }
        let owner = Owner {
            lane: &of_lane,
            account_name: name.as_deref(),
        };
        intraday_batch(owner, &of_month)
    })
    .await?;
    let now = around.context.now;
    let new = |scope: &LaneScope, staged| NewUnit {
        day: first,
        mode: DayMode::Merge,
        complete: true,
        covered: BTreeMap::new(),
        refused: BTreeMap::new(),
        report: of_month(
            read_unit(scope, unit, Option::as_ref(&staged), now),
            first,
            end,
        ),
        staged,
    };
    Ok((new(daily, days), new(intraday, points)))
}

/// The end of the last day of a month that has a value: today has a row when something was published.
fn last_known(charges: &Charges, first: Day) -> i64 {
    let month = month_window(first);
    let own = |p: &&ChargePoint| (month.start..month.end).contains(&p.ts);
    let last = charges.values().flatten().filter(own).map(|p| p.ts).max();
    last.map_or(month.start, |ts| Day::containing(ts).end())
}

/// A month's report spans its days.
fn of_month(report: UnitReport, first: Day, end: i64) -> UnitReport {
    UnitReport {
        first_ts: Some(crate::model::iso_seconds(first.start())),
        last_ts: Some(crate::model::iso_seconds(end - 1)),
        ..report
    }
}

/// A month that is not asked for: it is there, or no longer kept.
fn unread(table: &'static Table, unit: (Day, &Lane), mode: DayMode, now: i64) -> NewUnit {
    let cause = (mode == DayMode::Gone)
        .then(|| Cause::new(CauseKind::Other, "CloudWatch no longer keeps the month"));
    let report = UnitReport {
        outcome: crate::model::UnitOutcome::Skipped,
        cause,
        ..UnitReport::of_table(table, unit.0, unit.1, now)
    };
    NewUnit::unread(unit.0, mode, report)
}
