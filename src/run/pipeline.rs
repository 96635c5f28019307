//! The whole run, stage by stage. Stages do not know each other; they are joined here.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::catalog::{Known, chosen, known_beside, read_catalog};
use super::choice::LaneChoice;
use super::day::unread_units;
use super::lane::{LaneJob, export_lane};
use super::place::Place;
use super::scope::{DayMode, LaneScope, lane_scope};
use crate::accounts::{BaseSession, CallStats, Entered, LaneClient, Origin, Reader, enter};
use crate::commit::{Attempt, Lake, LakeError, LaneRecords};
use crate::config::{AccountConfig, Asks, ExportConfig, Range, RegionChoice, Selection, point};
use crate::discover::{Found, discover};
use crate::fetch::{BatchStats, Budget, Spool, sweep_spool};
use crate::model::{
    AccountId, Cause, CauseKind, Day, Lane, Region, TimeWindow, UnitOutcome, iso_seconds,
};
use crate::plan::{Cost, LanePlan, Scope, edges, plan_lane_as_of};
use crate::report::{AccountReport, LaneReport, RunReport, Totals, UnitReport};
use crate::telemetry::Progress;
use crate::write::{Store, StoreError, layout};

/// What a run is given besides its configuration.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// What to do.
    pub config: Arc<ExportConfig>,
    /// With whose credentials.
    pub origin: Origin,
    /// For which time.
    pub range: Range,
    /// Only these lanes, each for its own time; all when none is named.
    pub lanes: Option<LaneChoice>,
    /// The clock, read once: seconds since the epoch.
    pub now: i64,
    /// Replace better units with worse ones.
    pub force: bool,
    /// Where progress is shown.
    pub progress: Progress,
    /// Cancelled by a signal: no new work, nothing half-done is published.
    pub stop: CancellationToken,
}

impl RunContext {
    /// For which time a lane is asked.
    pub(super) fn range_of(&self, lane: &Lane) -> Range {
        let chosen = self.lanes.as_ref().and_then(|lanes| lanes.window(lane));
        chosen.map_or(self.range, Range::Window)
    }

    /// The days of a lane that was not read.
    pub(super) fn days_of(&self, lane: &Lane) -> Vec<Day> {
        match self.range_of(lane) {
            Range::Window(window) => window.touched_days().collect(),
            // What it would have been is in a manifest that was not read either.
            Range::SinceLast { .. } => vec![Day::containing(self.now)],
        }
    }

    fn wants_account(&self, account: &AccountId) -> bool {
        self.lanes.as_ref().is_none_or(|l| l.has_account(account))
    }

    fn wants(&self, lane: &Lane) -> bool {
        let region = |only: &[Region]| only.is_empty() || only.contains(&lane.region);
        region(&self.config.only_regions)
            && self.lanes.as_ref().is_none_or(|l| l.window(lane).is_some())
    }
}

/// A run that could not come to a report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The destination cannot be used; nothing was called.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// No usable base credentials.
    #[error("{0}")]
    Credentials(Cause),
    /// The plan costs more than allowed; nothing was spent.
    #[error("the plan costs ${dollars:.5}, more than the ${cap:.5} allowed")]
    OverBudget {
        /// What it costs.
        dollars: f64,
        /// What is allowed.
        cap: f64,
    },
    /// The report could not be written; the data is in place.
    #[error("writing the run report: {0}")]
    Report(StoreError),
    /// A signal came before the destination was ours.
    #[error("stopped by {0} before anything was asked")]
    Stopped(&'static str),
    /// What the lake knows about itself could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everything that is known before the first paid call.
#[derive(Debug)]
pub struct Planned {
    /// What it costs.
    pub cost: Cost,
    /// Every account of the configuration.
    pub accounts: Vec<AccountReport>,
    /// Every lane of the accounts that could be entered.
    pub lanes: Vec<PlannedLane>,
    /// The lake's root.
    destination: String,
}

/// A lane that can be asked.
#[derive(Debug)]
pub struct ReadyLane {
    client: LaneClient,
    scope: LaneScope,
    /// What it will be asked.
    pub plan: Arc<LanePlan>,
}

/// One lane, planned.
#[derive(Debug)]
pub struct PlannedLane {
    /// Which.
    pub lane: Lane,
    /// Alias of its account.
    pub account_name: Option<Arc<str>>,
    /// What finding its series took.
    pub discovery: CallStats,
    /// Its client and plan, or why there is none.
    pub ready: Result<ReadyLane, Cause>,
    /// The region was found by itself: when it is disabled it is skipped, not failed.
    pub region_by_itself: bool,
}

/// Enters every account, discovers and plans every lane. Spends nothing but free calls, writes nothing.
///
/// # Errors
/// [`RunError::Credentials`]; anything that concerns one account or lane is in its entry.
pub async fn plan(context: &RunContext) -> Result<Planned, RunError> {
    let place = Place::of(context).await?;
    let base = place.session(context).await?;
    plan_with(context, &base, &place).await
}

async fn plan_with(
    context: &RunContext,
    base: &BaseSession,
    place: &Place,
) -> Result<Planned, RunError> {
    let config = &context.config;
    let accounts: Vec<AccountConfig> = config
        .accounts
        .iter()
        .filter(|a| context.wants_account(&a.id))
        .cloned()
        .collect();
    context
        .progress
        .stage(&format!("entering {} accounts", accounts.len()));
    let entered = enter_all(base, accounts, config).await;
    if let Some(cause) = all_without_credentials(&entered) {
        return Err(RunError::Credentials(cause));
    }
    let (accounts, mut lanes) = lanes_of(entered, config).await;
    lanes.retain(|lane| context.wants(&lane.lane()));
    context
        .progress
        .stage(&format!("discovering metrics in {} lanes", lanes.len()));
    let lanes: Vec<PlannedLane> = stream::iter(lanes)
        .map(|lane| plan_one(lane, place, context))
        .buffered(config.run.concurrency as usize)
        .collect()
        .await;
    let plans = lanes
        .iter()
        .filter_map(|l| l.ready.as_ref().ok())
        .map(|ready| &*ready.plan);
    let cost = Cost::of(plans, &config.limits, context.now);
    Ok(Planned {
        cost,
        accounts,
        lanes,
        destination: place.store.describe(),
    })
}

/// The main job: everything [`plan`] does, then fetch, normalize, write and publish every lane, and the report.
///
/// # Errors
/// [`RunError`] when there is nothing to report on. A denied account, a failed lane or a refused query is in the report and in
/// [`RunReport::exit_code`].
///
/// # Cancel safety
/// Cancel by `context.stop`: what is finished stays, the rest is reported as interrupted. Dropping the future publishes nothing
/// half-done either, but writes no report.
pub async fn export(context: &RunContext) -> Result<RunReport, RunError> {
    let started = Instant::now();
    let run_id = run_id(context.now);
    let place = Place::of(context).await?;
    let opening = Lake::open(Arc::clone(&place.store), place.scratch.clone(), &run_id);
    let lake = tokio::select! {
        lake = opening => Arc::new(lake?),
        // A lease that was just taken is free for whoever comes: this process ends.
        () = context.stop.cancelled() => return Err(RunError::Stopped(crate::telemetry::stop_signal())),
    };
    let result = export_into(context, &place, &lake, started, run_id).await;
    // Every lane has ended; a task that broke down may still hold the lake, then the lock ends with the process.
    if let Some(lake) = Arc::into_inner(lake) {
        lake.close().await;
    }
    result
}

async fn export_into(
    context: &RunContext,
    place: &Place,
    lake: &Arc<Lake>,
    started: Instant,
    run_id: String,
) -> Result<RunReport, RunError> {
    if let Err(error) = sweep_spool(&lake.spool()) {
        tracing::warn!(%error, "removing abandoned answers");
    }
    let planning = async {
        let base = place.session(context).await?;
        plan_with(context, &base, place).await
    };
    let planned = tokio::select! {
        planned = planning => planned?,
        // Discovery reports its own end; what comes before it has nothing to report but that.
        () = stopped_for_good(&context.stop) => Planned::stopped(context, &place.store),
    };
    context.progress.plan(&planned.report(context));
    let cap = context.config.run.max_spend_usd;
    // A cap copied from a plan is not missed by rounding.
    if let Some(cap) = cap.filter(|cap| planned.cost.dollars > *cap * (1.0 + 1e-9)) {
        return Err(RunError::OverBudget {
            dollars: planned.cost.dollars,
            cap,
        });
    }
    let mut report = RunReport {
        run_id,
        lanes: Vec::new(),
        ..planned.report(context)
    };
    for account in &report.accounts {
        let Some(cause) = &account.cause else {
            continue;
        };
        for lane in lanes_of_account(account, context) {
            note_unread(lake, context, &lane, cause).await;
            let units = unread_units(&lane, cause.unit_outcome(), cause, context);
            report.units.extend(units);
        }
    }
    export_lanes(context, lake, planned.lanes, started, &mut report).await;
    report.units.sort_by(|a, b| {
        (&a.date, &a.account_id, &a.region).cmp(&(&b.date, &b.account_id, &b.region))
    });
    report.seconds = started.elapsed().as_secs_f64();
    report.stopped_by = context
        .stop
        .is_cancelled()
        .then(crate::telemetry::stop_signal);
    report.total();
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    lake.write_report(json).await.map_err(RunError::Report)?;
    Ok(report)
}

impl PlannedLane {
    /// Its region was found by itself and turned out to be disabled: nobody asked for it by name.
    fn is_skipped(&self) -> bool {
        let disabled = |cause: &Cause| cause.kind == CauseKind::RegionDisabled;
        self.region_by_itself && self.ready.as_ref().err().is_some_and(disabled)
    }

    /// The report of a lane that has not asked for any point: its plan and its discovery, or why there is no plan.
    fn report(&self, context: &RunContext) -> LaneReport {
        let plan = self.ready.as_ref().ok().map(|ready| &ready.plan);
        LaneReport {
            account_id: self.lane.account.to_string(),
            region: self.lane.region.to_string(),
            planned: plan.map(|p| p.cost()).unwrap_or_default(),
            namespaces: plan
                .map(|p| p.cost_by_namespace(&context.config.limits, context.now))
                .unwrap_or_default(),
            get_metric_data: BatchStats::default(),
            discovery: self.discovery,
            overruled: plan.map_or(0, |p| p.overruled),
            seconds: 0.0,
            skipped: self.is_skipped(),
            cause: self.ready.as_ref().err().cloned(),
        }
    }
}

impl Planned {
    /// Nothing is known: a signal came before any account was entered.
    fn stopped(context: &RunContext, store: &Arc<dyn Store>) -> Self {
        let account = |config: &AccountConfig| AccountReport {
            account_id: config.id.to_string(),
            account_name: config.name.clone(),
            regions: match &config.regions {
                RegionChoice::Named(named) => named.iter().map(ToString::to_string).collect(),
                RegionChoice::Auto => Vec::new(),
            },
            cause: Some(Cause::new(CauseKind::Interrupted, "stopped by a signal")),
        };
        Self {
            cost: Cost::default(),
            accounts: context.config.accounts.iter().map(account).collect(),
            lanes: Vec::new(),
            destination: store.describe(),
        }
    }

    /// Everything from the first second asked of any lane to the last.
    fn hull(&self) -> Option<TimeWindow> {
        let windows = self.lanes.iter().filter_map(|l| l.ready.as_ref().ok());
        windows
            .map(|ready| ready.scope.hull())
            .reduce(|a, b| a.hull(b))
    }

    /// The report of a run that has not begun: its plan, and what already went wrong.
    pub fn report(&self, context: &RunContext) -> RunReport {
        let asked = match context.range {
            Range::Window(window) => window,
            Range::SinceLast { .. } => self.hull().unwrap_or(context.range.window()),
        };
        RunReport {
            report_version: 1,
            cwlake_version: env!("CARGO_PKG_VERSION"),
            run_id: String::new(),
            from: point(asked.start),
            to: point(asked.end),
            since_last: matches!(context.range, Range::SinceLast { .. }),
            destination: self.destination.clone(),
            started_at: iso_seconds(context.now),
            seconds: 0.0,
            stopped_by: None,
            planned: self.cost,
            totals: Totals::default(),
            accounts: self.accounts.clone(),
            lanes: self.lanes.iter().map(|l| l.report(context)).collect(),
            units: Vec::new(),
        }
    }
}

/// A moment after the signal, so that lanes under discovery can say that they were stopped.
async fn stopped_for_good(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

/// Start of the run and process: two runs never share a name.
fn run_id(now: i64) -> String {
    format!(
        "{}-{}",
        iso_seconds(now).replace(':', "-"),
        std::process::id()
    )
}

async fn enter_all(
    base: &BaseSession,
    accounts: Vec<AccountConfig>,
    config: &ExportConfig,
) -> Vec<Entered> {
    stream::iter(accounts)
        .map(|account| enter(base, account, config.run.sts_region.as_ref()))
        .buffered(config.run.concurrency as usize)
        .collect()
        .await
}

/// When no account can be entered because the base credentials are refused, the run has no subject.
fn all_without_credentials(entered: &[Entered]) -> Option<Cause> {
    let refused = |e: &Entered| {
        e.reader
            .as_ref()
            .err()
            .filter(|c| c.kind == CauseKind::NoCredentials)
            .cloned()
    };
    let causes: Vec<Cause> = entered.iter().filter_map(refused).collect();
    if causes.len() == entered.len() {
        causes.into_iter().next()
    } else {
        None
    }
}

struct UnplannedLane {
    reader: Reader,
    region: Region,
    by_itself: bool,
}

impl UnplannedLane {
    fn lane(&self) -> Lane {
        Lane {
            account: self.reader.config().id.clone(),
            region: self.region.clone(),
        }
    }
}

async fn lanes_of(
    entered: Vec<Entered>,
    config: &ExportConfig,
) -> (Vec<AccountReport>, Vec<UnplannedLane>) {
    let mut accounts = Vec::new();
    let mut lanes = Vec::new();
    let resolved = stream::iter(entered)
        .map(|entered| async {
            let regions = match &entered.reader {
                Ok(reader) => regions_of(reader, config).await,
                Err(cause) => Err(cause.clone()),
            };
            (entered, regions)
        })
        .buffered(config.run.concurrency as usize)
        .collect::<Vec<_>>()
        .await;
    for (entered, regions) in resolved {
        let named = match &entered.config.regions {
            RegionChoice::Named(named) => named.clone(),
            RegionChoice::Auto => regions.clone().unwrap_or_default(),
        };
        accounts.push(AccountReport {
            account_id: entered.config.id.to_string(),
            account_name: entered.config.name.clone(),
            regions: named.iter().map(ToString::to_string).collect(),
            cause: regions.as_ref().err().cloned(),
        });
        if let (Ok(reader), Ok(regions)) = (entered.reader, regions) {
            let by_itself = entered.config.regions == RegionChoice::Auto;
            lanes.extend(regions.into_iter().map(|region| UnplannedLane {
                reader: reader.clone(),
                region,
                by_itself,
            }));
        }
    }
    (accounts, lanes)
}

#[cfg_attr(
    not(feature = "ec2"),
    expect(clippy::unused_async, reason = "with EC2 it calls")
)]
async fn regions_of(reader: &Reader, config: &ExportConfig) -> Result<Vec<Region>, Cause> {
    match &reader.config().regions {
        RegionChoice::Named(regions) => Ok(regions.clone()),
        #[cfg(feature = "ec2")]
        RegionChoice::Auto => {
            let client = reader.lane(reader.home_region(), &config.limits);
            crate::accounts::enabled_regions(&client, &mut CallStats::default()).await
        }
        #[cfg(not(feature = "ec2"))]
        RegionChoice::Auto => {
            let _ = config;
            Err(Cause::new(
                CauseKind::Other,
                "this build cannot find regions by itself",
            ))
        }
    }
}

async fn plan_one(lane: UnplannedLane, place: &Place, context: &RunContext) -> PlannedLane {
    let UnplannedLane {
        reader,
        region,
        by_itself,
    } = lane;
    let config = &context.config;
    let client = reader.lane(region, &config.limits);
    let account_name: Option<Arc<str>> = reader.config().name.as_deref().map(Arc::from);
    let mut stats = CallStats::default();
    let limit = config.limits.unit_timeout;
    let lane = client.lane().clone();
    let ready = tokio::select! {
        ready = ready_lane(client, account_name.as_deref(), place, context, &mut stats) => ready,
        () = tokio::time::sleep(limit) => Err(
            Cause::new(CauseKind::TimeLimit, format!("discovery is not finished within {} s", limit.as_secs()))
                .with_hint("raise limits.unit_timeout_secs, or select less"),
        ),
        () = context.stop.cancelled() => Err(Cause::new(CauseKind::Interrupted, "stopped before discovery ended")),
    };
    PlannedLane {
        lane,
        account_name,
        discovery: stats,
        ready,
        region_by_itself: by_itself,
    }
}

/// What is there, what is missing of it, which series there are, and how they are asked.
async fn ready_lane(
    client: LaneClient,
    account_name: Option<&str>,
    place: &Place,
    context: &RunContext,
    stats: &mut CallStats,
) -> Result<ReadyLane, Cause> {
    let (config, store) = (&context.config, &*place.store);
    let lane = client.lane().clone();
    let spool = Spool::of_lane(&place.scratch.spool(), &lane);
    let resuming = !spool.is_empty();
    let scope = lane_scope(context, store, &lane, account_name, resuming).await?;
    // A namespace of which nothing is asked is not listed either.
    let asked = |s: &Selection| {
        let window = scope.windows.get(&s.namespace);
        window.is_some_and(|(w, _)| !w.is_empty())
    };
    let selections: Vec<Selection> = config
        .selections
        .iter()
        .filter(|s| asked(s))
        .cloned()
        .collect();
    let series = if scope.hull().is_empty() {
        // Everything is there: nothing is listed either.
        Vec::new()
    } else {
        let known = known_beside(scope.hull(), &selections, context.now);
        let known = if known == Known::None {
            Vec::new()
        } else {
            chosen(read_catalog(store, &lane).await?.0, known)
        };
        discover(&client, &selections, known, stats).await?
    };
    let asks: Vec<_> = selections.iter().map(|s| Arc::clone(&s.asks)).collect();
    let as_of = as_of(&spool, &lane, &series, &asks, &scope.windows, context.now);
    let plan = plan_lane_as_of(&lane, series, &asks, &scope.windows, context.now, &as_of);
    Ok(ReadyLane {
        client,
        scope,
        plan: Arc::new(plan),
    })
}

/// Runs that are resumed at once, at most: each plan is tried.
const RESUMED_PLANS: usize = 4;

/// For which time each series' windows are cut: for now, unless an interrupted run's answers to all of a series' queries are at hand. Its
/// windows were cut by the age of the data then, and are kept for that series.
fn as_of(
    spool: &Spool,
    lane: &Lane,
    series: &Found,
    asks: &[Arc<Asks>],
    windows: &Scope,
    now: i64,
) -> Vec<i64> {
    let mut as_of = vec![now; series.len()];
    let mut tried = vec![edges(now)];
    for planned_at in spool.planned_at().rev() {
        // What has happened since is asked for as well.
        let over = windows.values().all(|(window, _)| window.end <= planned_at);
        if !over || tried.len() > RESUMED_PLANS || tried.contains(&edges(planned_at)) {
            continue;
        }
        tried.push(edges(planned_at));
        let times = vec![planned_at; series.len()];
        let then = plan_lane_as_of(lane, series.clone(), asks, windows, now, &times);
        for (at, answered) in as_of.iter_mut().zip(spool.answered(&then)) {
            if answered && *at == now {
                *at = planned_at;
            }
        }
    }
    as_of
}

/// Days being filled over all lanes: each is at most an open file and a row group of rows at 16 bytes, two megabytes. A lane with more
/// days has the run to itself.
const OPEN_DAYS: u32 = 512;

/// Lanes side by side: as many at work as requests may be in flight and days may be open.
async fn export_lanes(
    context: &RunContext,
    lake: &Arc<Lake>,
    lanes: Vec<PlannedLane>,
    planned: Instant,
    report: &mut RunReport,
) {
    let concurrency = context.config.run.concurrency as usize;
    let bound = Arc::new(Semaphore::new(concurrency));
    let encoders = Arc::new(Semaphore::new(
        std::thread::available_parallelism().map_or(2, usize::from),
    ));
    let budget = Arc::new(Budget::of_dollars(context.config.run.max_spend_usd));
    let open_days = Arc::new(Semaphore::new(OPEN_DAYS as usize));
    context.progress.lanes(lanes.len());
    let mut results = stream::iter(lanes)
        .map(|planned_lane| {
            let (lake, bound) = (Arc::clone(lake), Arc::clone(&bound));
            let (encoders, budget) = (Arc::clone(&encoders), Arc::clone(&budget));
            let open_days = Arc::clone(&open_days);
            let context = context.clone();
            async move {
                let report = planned_lane.report(&context);
                let lane = planned_lane.lane;
                let ReadyLane {
                    client,
                    scope,
                    plan,
                } = match planned_lane.ready {
                    Ok(ready) => ready,
                    Err(cause) => {
                        if !report.skipped {
                            note_unread(&lake, &context, &lane, &cause).await;
                        }
                        return unread_lane(report, &lane, &context);
                    }
                };
                // A day that is added to has its old file open as well.
                let added = scope.days.iter().filter(|(_, m)| *m == DayMode::Merge);
                let days = u32::try_from(scope.days.len() + added.count())
                    .unwrap_or(OPEN_DAYS)
                    .clamp(1, OPEN_DAYS);
                let _days = open_days
                    .acquire_many(days)
                    .await
                    .expect("the bound on days is never closed");
                let job = LaneJob {
                    client,
                    plan,
                    scope,
                    account_name: planned_lane.account_name,
                    lake,
                    bound,
                    encoders,
                    budget,
                    context: context.clone(),
                    planned,
                };
                if let Ok(done) = tokio::spawn(export_lane(job)).await {
                    let report = LaneReport {
                        get_metric_data: done.get_metric_data,
                        seconds: done.seconds,
                        cause: done.cause,
                        ..report
                    };
                    (report, done.units)
                } else {
                    let cause = Cause::new(CauseKind::Other, "a worker of this lane broke down")
                        .with_hint(
                            "this is a bug: run with RUST_BACKTRACE=1 and report what stderr says",
                        );
                    let report = LaneReport {
                        cause: Some(cause),
                        ..report
                    };
                    unread_lane(report, &lane, &context)
                }
            }
        })
        .buffer_unordered(concurrency);
    while let Some((lane, units)) = results.next().await {
        context.progress.lane_done(&lane, &units);
        report.lanes.push(lane);
        report.units.extend(units);
    }
    report
        .lanes
        .sort_by(|a, b| (&a.account_id, &a.region).cmp(&(&b.account_id, &b.region)));
    context.progress.finish();
}

/// Notes in the manifest why the units of a lane were not read; what is in place stays. A manifest that cannot be written is in the report
/// of the units that need one.
async fn note_unread(lake: &Lake, context: &RunContext, lane: &Lane, cause: &Cause) {
    if lake.lost().is_cancelled()
        || matches!(cause.kind, CauseKind::Interrupted | CauseKind::Destination)
    {
        return;
    }
    let mut records = LaneRecords::new(layout::METRICS, lane.clone());
    let days = context.days_of(lane);
    let noted = async {
        records.read(&**lake.store(), days.iter().copied()).await?;
        for day in days {
            let attempt = Attempt {
                outcome: cause.unit_outcome(),
                cause: cause.clone(),
            };
            records.attempt(day, attempt);
        }
        records.write(&**lake.store()).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(%lane, %error, "noting why the lane was not read");
    }
}

/// A lane that was not read, with a unit a day that says why.
fn unread_lane(
    report: LaneReport,
    lane: &Lane,
    context: &RunContext,
) -> (LaneReport, Vec<UnitReport>) {
    let units = match &report.cause {
        Some(cause) => {
            let outcome = if report.skipped {
                UnitOutcome::Skipped
            } else {
                cause.unit_outcome()
            };
            unread_units(lane, outcome, cause, context)
        }
        None => Vec::new(),
    };
    (report, units)
}

/// The lanes of an account that could not be entered, as far as its regions are known.
fn lanes_of_account(account: &AccountReport, context: &RunContext) -> Vec<Lane> {
    let Some(id) = AccountId::parse(&account.account_id) else {
        return Vec::new();
    };
    let lane = |region: &String| {
        Some(Lane {
            account: id.clone(),
            region: Region::parse(region)?,
        })
    };
    let lanes = account.regions.iter().filter_map(lane);
    lanes.filter(|lane| context.wants(lane)).collect()
}
