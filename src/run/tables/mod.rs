//! The tables beside metrics: the EC2 inventory, log events, charges. Planned with the same accounts and lanes, and published by the same rules.

pub(crate) mod instances;
pub(crate) mod log_names;
pub(crate) mod logs;
pub(crate) mod publish;
pub(crate) mod spend;

use std::time::Instant;

use self::instances::InstancesJob;
use self::logs::LogsJob;
use self::spend::SpendJob;
use crate::aws::CallStats;
use crate::commit::Lake;
use crate::fetch::BatchStats;
use crate::lake::table::Table;
use crate::plan::LanePlan;
use crate::run::enter::regions::UnplannedLane;
use crate::run::given::context::RunContext;
use crate::run::given::place::Place;

use crate::lake::table::{INSTANCES, LOGS, METRICS, SPEND, SPEND_INTRADAY};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use crate::model::{AccountId, Cause, CauseKind, Dataset, Day, Lane, Region, UnitOutcome};
use crate::report::{TableReport, UnitReport};
use crate::run::given::bounds::{Bounds, within_limits};

/// One table of one lane, planned.
#[derive(Debug)]
pub struct PlannedTable {
    /// Which lane.
    pub lane: Lane,
    /// Which table.
    pub dataset: Dataset,
    /// Alias of its account.
    pub account_name: Option<Arc<str>>,
    /// What finding out took.
    pub discovery: CallStats,
    /// What is to be done, or why it cannot be.
    pub(crate) ready: Result<ReadyTable, Cause>,
    /// Nobody named its region, and it is closed to us: skipped, not failed.
    pub(crate) leave_out: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum ReadyTable {
    Instances(InstancesJob),
    Logs(Box<LogsJob>),
    Spend(Box<SpendJob>),
}

impl ReadyTable {
    /// The requests that are billed.
    pub(crate) fn billed(&self) -> Option<&LanePlan> {
        match self {
            Self::Spend(job) => Some(job.plan_of()),
            Self::Instances(_) | Self::Logs(_) => None,
        }
    }

    pub(crate) fn logs(&self) -> Option<&LogsJob> {
        match self {
            Self::Logs(job) => Some(job),
            _ => None,
        }
    }

    /// Whether there is anything of what was selected.
    fn has_matched(&self) -> bool {
        match self {
            // All instances are asked for: there being none is an answer.
            Self::Instances(_) => true,
            Self::Logs(job) => job.has_matched(),
            Self::Spend(job) => job.has_matched(),
        }
    }
}

/// Plans every table beside metrics: the inventory and the log groups are listed, the series of charges found.
pub(crate) async fn plan_tables(
    lanes: &[UnplannedLane],
    place: &Place,
    context: &RunContext,
) -> Vec<PlannedTable> {
    let config = &context.config;
    let mut work: Vec<(Dataset, UnplannedLane)> = Vec::new();
    for dataset in [Dataset::Instances, Dataset::Logs] {
        let of_dataset = lanes
            .iter()
            .filter(|l| context.wants_table(dataset, &l.lane()));
        work.extend(of_dataset.map(|l| (dataset, l.clone())));
    }
    // Charges are an account's, published in one region.
    let mut accounts: BTreeMap<AccountId, &UnplannedLane> = BTreeMap::new();
    for lane in lanes {
        accounts.entry(lane.lane().account).or_insert(lane);
    }
    for lane in accounts.into_values() {
        if let Some(billing) = spend::billing_region(&lane.lane().region) {
            let lane = lane.in_region(billing);
            if context.wants_table(Dataset::Spend, &lane.lane()) {
                work.push((Dataset::Spend, lane));
            }
        }
    }
    if !work.is_empty() {
        let what = crate::report::counted(work.len(), "table");
        context
            .progress
            .stage(&format!("planning {what} beside metrics"));
    }
    stream::iter(work)
        .map(|(dataset, lane)| plan_table(dataset, lane, place, context))
        .buffered(config.run.concurrency as usize)
        .collect()
        .await
}

async fn plan_table(
    dataset: Dataset,
    unplanned: UnplannedLane,
    place: &Place,
    context: &RunContext,
) -> PlannedTable {
    let client = unplanned.client(&context.config);
    let account_name = unplanned.account_name();
    let lane = unplanned.lane();
    let mut stats = CallStats::default();
    let name = account_name.as_deref();
    let planning = async {
        Ok(match dataset {
            Dataset::Instances => {
                ReadyTable::Instances(InstancesJob::plan(client, place, context, &mut stats).await?)
            }
            Dataset::Logs => {
                let job = LogsJob::plan(client, name, place, context, &mut stats).await?;
                ReadyTable::Logs(Box::new(job))
            }
            Dataset::Spend | Dataset::Metrics => {
                let job = SpendJob::plan(client, place, context, &mut stats).await?;
                ReadyTable::Spend(Box::new(job))
            }
        })
    };
    let ready = within_limits(context, planning).await;
    // Charges are in one region, whatever regions an account is read in.
    let leave_out = match &ready {
        Err(cause) if dataset != Dataset::Spend => {
            unplanned.may_be_left_out(cause, &lane, place).await
        }
        _ => false,
    };
    PlannedTable {
        lane,
        dataset,
        account_name,
        discovery: stats,
        ready,
        leave_out,
    }
}

/// How a table of a lane ended.
pub(crate) struct TableDone {
    pub(crate) units: Vec<UnitReport>,
    pub(crate) calls: CallStats,
    pub(crate) get_metric_data: BatchStats,
    pub(crate) cause: Option<Cause>,
}

impl TableDone {
    pub(crate) fn of(units: Vec<UnitReport>, calls: CallStats) -> Self {
        Self {
            units,
            calls,
            get_metric_data: BatchStats::default(),
            cause: None,
        }
    }
}

/// Everything a table's job is given beside its plan.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) lake: Arc<Lake>,
    pub(crate) bounds: Bounds,
    pub(crate) context: RunContext,
    pub(crate) account_name: Option<Arc<str>>,
    /// Log streams that were named and are there.
    pub(crate) streams: Arc<Mutex<BTreeSet<String>>>,
}

/// Lanes whose logs are read at once: each holds events that wait to be sorted.
const LOG_LANES: usize = 6;

/// What became of all tables beside metrics.
#[derive(Default)]
pub(crate) struct TablesDone {
    pub(crate) reports: Vec<TableReport>,
    pub(crate) units: Vec<UnitReport>,
    /// Log streams that were named and are there.
    pub(crate) streams: BTreeSet<String>,
}

/// Exports every table, side by side. `tables` come with the plan's reports of them.
pub(crate) async fn export_tables(
    context: &RunContext,
    lake: &Arc<Lake>,
    bounds: &Bounds,
    tables: Vec<(PlannedTable, TableReport)>,
) -> TablesDone {
    let streams = Arc::new(Mutex::new(BTreeSet::new()));
    let (logs, others): (Vec<_>, Vec<_>) = tables
        .into_iter()
        .partition(|(table, _)| table.dataset == Dataset::Logs);
    let export = |(table, report): (PlannedTable, TableReport)| {
        let around = Surroundings {
            lake: Arc::clone(lake),
            bounds: bounds.clone(),
            context: context.clone(),
            account_name: table.account_name.clone(),
            streams: Arc::clone(&streams),
        };
        export_table(table, report, around)
    };
    let at_once = context.config.run.concurrency as usize;
    let others = stream::iter(others).map(export).buffer_unordered(at_once);
    let logs = stream::iter(logs).map(export).buffer_unordered(LOG_LANES);
    let mut results = Box::pin(stream::select(others, logs));
    let mut done = TablesDone::default();
    while let Some((table, units)) = results.next().await {
        context.progress.table_done(&table, &units);
        done.reports.push(table);
        done.units.extend(units);
    }
    done.reports.sort_by(|a, b| {
        (a.dataset, &a.account_id, &a.region).cmp(&(b.dataset, &b.account_id, &b.region))
    });
    drop(results);
    let mut found = streams.lock().unwrap_or_else(PoisonError::into_inner);
    done.streams = std::mem::take(&mut *found);
    done
}

async fn export_table(
    table: PlannedTable,
    report: TableReport,
    around: Surroundings,
) -> (TableReport, Vec<UnitReport>) {
    let started = Instant::now();
    let PlannedTable { lane, dataset, .. } = table;
    let ready = match table.ready {
        Ok(ready) => ready,
        Err(cause) => {
            let outcome = if table.leave_out {
                UnitOutcome::Skipped
            } else {
                cause.unit_outcome()
            };
            let units = unread_tables(&around, dataset, &lane, outcome, &cause).await;
            return (report, units);
        }
    };
    let context = around.context.clone();
    // Logs keep to their limit stretch by stretch: what is finished stays.
    let limit = match dataset {
        Dataset::Logs => std::time::Duration::from_secs(u64::from(u32::MAX)),
        _ => context.config.limits.unit_timeout,
    };
    let (job_around, job_lane) = (around.clone(), lane.clone());
    let job = tokio::spawn(async move {
        match ready {
            ReadyTable::Instances(job) => job.export(&job_around, &job_lane).await,
            ReadyTable::Logs(job) => job.export(&job_around, &job_lane).await,
            ReadyTable::Spend(job) => job.export(&job_around, &job_lane).await,
        }
    });
    let abort = job.abort_handle();
    let broken = tokio::select! {
        done = job => match done {
            Ok(done) => {
                let report = TableReport {
                    calls: done.calls,
                    get_metric_data: done.get_metric_data,
                    rows: done.units.iter().map(|u| u.rows).sum(),
                    seconds: started.elapsed().as_secs_f64(),
                    cause: done.cause,
                    ..report
                };
                return (report, done.units);
            }
            Err(_) => Cause::new(CauseKind::Other, "a worker of this table broke down")
                .with_hint("this is a bug: run with RUST_BACKTRACE=1 and report what stderr says"),
        },
        () = tokio::time::sleep(limit) => Cause::time_limit(limit, "raise limits.unit_timeout_secs, or export fewer days at once"),
    };
    abort.abort();
    let units = unread_tables(&around, dataset, &lane, broken.unit_outcome(), &broken).await;
    let report = TableReport {
        seconds: started.elapsed().as_secs_f64(),
        cause: Some(broken),
        ..report
    };
    (report, units)
}

/// The units of a table that was not read, noted in its manifest and told of in the report.
pub(crate) async fn unread_tables(
    around: &Surroundings,
    dataset: Dataset,
    lane: &Lane,
    outcome: UnitOutcome,
    cause: &Cause,
) -> Vec<UnitReport> {
    let mut units = Vec::new();
    for (table, days) in units_of(&around.context, dataset, lane) {
        if outcome != UnitOutcome::Skipped {
            publish::note_unread_units(&around.lake, table, lane, &days, cause).await;
        }
        units.extend(days.into_iter().map(|day| UnitReport {
            outcome,
            cause: Some(cause.clone()),
            ..UnitReport::of_table(table, day, lane, around.context.now)
        }));
    }
    units
}

/// The parts of a table's units, each with its publication delay in seconds. An inventory has none: it is whole when it is there.
pub(crate) fn parts_of(dataset: Dataset) -> BTreeMap<String, i64> {
    match dataset {
        Dataset::Logs => logs::parts(),
        Dataset::Spend => spend::parts(),
        Dataset::Metrics | Dataset::Instances => BTreeMap::new(),
    }
}

/// The units that a run would write of a table in a lane.
pub(crate) fn units_of(
    context: &RunContext,
    dataset: Dataset,
    lane: &Lane,
) -> Vec<(&'static Table, Vec<Day>)> {
    let days = || context.table_days(dataset, lane);
    match dataset {
        Dataset::Metrics => vec![(&METRICS, days())],
        Dataset::Logs => vec![(&LOGS, days())],
        Dataset::Instances => vec![(&INSTANCES, vec![Day::containing(context.now)])],
        Dataset::Spend => {
            let months = spend::months(context, lane);
            vec![(&SPEND, months.clone()), (&SPEND_INTRADAY, months)]
        }
    }
}

/// The tables of an account that could not be entered, in its regions as far as they are known.
pub(crate) fn tables_of_account(account_id: &str, lanes: Vec<Lane>) -> Vec<(Dataset, Lane)> {
    let mut tables = Vec::new();
    let billing = AccountId::parse(account_id).zip(Region::parse(spend::BILLING_REGION));
    tables.extend(billing.map(|(account, region)| (Dataset::Spend, Lane { account, region })));
    for lane in lanes {
        tables.push((Dataset::Instances, lane.clone()));
        tables.push((Dataset::Logs, lane));
    }
    tables
}

impl PlannedTable {
    /// The report of a table that has not been read: its plan, or why there is none.
    pub(crate) fn report(&self) -> TableReport {
        let mut report = TableReport {
            dataset: self.dataset,
            account_id: self.lane.account.to_string(),
            region: self.lane.region.to_string(),
            planned: crate::plan::LaneCost::default(),
            log_groups: 0,
            estimated_bytes: 0,
            instances: 0,
            matched: false,
            discovery: self.discovery,
            calls: CallStats::default(),
            get_metric_data: BatchStats::default(),
            rows: 0,
            seconds: 0.0,
            skipped: self.leave_out,
            cause: self.ready.as_ref().err().cloned(),
        };
        if let Ok(ready) = &self.ready {
            report.matched = ready.has_matched();
            match ready {
                ReadyTable::Instances(job) => report.instances = job.found() as u64,
                ReadyTable::Logs(job) => {
                    (report.log_groups, report.estimated_bytes) = job.estimate();
                    report.planned.calls = job.least_calls();
                }
                ReadyTable::Spend(job) => report.planned = job.plan_of().cost(),
            }
        }
        report
    }
}
