//! The whole run, stage by stage. Stages do not know each other; they are joined here.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::commit::Lake;
use crate::fetch::sweep_spool;
use crate::plan::Cost;
use crate::run::enter::accounts::entered_accounts_by;
use crate::run::given::bounds::Bounds;
use crate::run::given::context::RunContext;
use crate::run::given::error::RunError;
use crate::run::given::place::Place;
use crate::run::metrics::plan::plan_one;
use crate::run::metrics::planned::PlannedLane;
use crate::run::spend::alert_after_export;
use crate::run::unit::unread::unread_units;
use crate::store::Store;

use crate::run::tables::log_names::{check_logs, unknown_streams};

use futures_util::{StreamExt, stream};

use crate::config::{AccountConfig, Range, RegionChoice, point};
use crate::model::{AccountId, Cause, Dataset, Lane, TimeWindow, iso_seconds};
use crate::report::{AccountReport, Detour, FleetReport, RunReport, Totals, close_accounts};
use crate::run::fleet::{export_lanes, lanes_of_account, note_unread};
use crate::run::given::remarks::{remarks, unmatched};
use crate::run::metrics::linked::{follow_links, plan_linked, wanted_and_monitoring};
use crate::run::tables::{
    PlannedTable, Surroundings, export_tables, plan_tables, tables_of_account, unread_tables,
};

/// Everything that is known before the first paid call.
#[derive(Debug)]
pub struct Planned {
    /// What it costs.
    pub cost: Cost,
    /// Its accounts, and what is to be said of them.
    pub fleet: FleetReport,
    /// Every lane of the accounts that could be entered, and of those linked to them.
    pub lanes: Vec<PlannedLane>,
    /// Every table beside metrics, in each of its lanes.
    pub tables: Vec<PlannedTable>,
    /// The lake's root.
    destination: String,
}

/// Enters every account, discovers and plans every lane. Spends nothing but free calls, writes nothing. Returns the plan with the run it is
/// for: its accounts are then all known.
///
/// # Errors
/// [`RunError::Credentials`], [`RunError::Organization`]; anything that concerns one account or lane is in its entry.
pub async fn plan(context: &RunContext) -> Result<(RunContext, Planned), RunError> {
    let place = Place::of(context).await?;
    Box::pin(plan_with(context, &place)).await
}

async fn plan_with(context: &RunContext, place: &Place) -> Result<(RunContext, Planned), RunError> {
    let base = place.session(context).await?;
    let (context, left_out, mut accounts, lanes) = entered_accounts_by(context, &base).await?;
    let config = &context.config;
    let (wanted, monitoring) = wanted_and_monitoring(lanes.clone(), &context);
    let planning: stream::Collect<_, Vec<PlannedLane>> = stream::iter(wanted)
        .map(|lane| plan_one(lane, place, &context))
        .buffered(config.run.concurrency as usize)
        .collect();
    let (mut tables, mut lanes) = tokio::join!(plan_tables(&lanes, place, &context), planning);
    let unmatched_logs = check_logs(&tables, &context).await?;
    keep_half_open(&mut lanes, &mut tables);
    let ended = lanes.iter_mut().map(|l| {
        let account = l.lane.account.as_str();
        (account, &mut l.leave_out, l.ready.as_ref().err())
    });
    // Charges are no sign of an open region: they are in one, whatever regions are read.
    let of_regions = tables.iter_mut().filter(|t| t.dataset != Dataset::Spend);
    let ended_tables = of_regions.map(|t| {
        let account = t.lane.account.as_str();
        (account, &mut t.leave_out, t.ready.as_ref().err())
    });
    close_accounts(&mut accounts, ended.chain(ended_tables));
    let own = lanes.iter().map(|l| (l.lane.clone(), l.ready.is_ok()));
    let links = follow_links(monitoring, own.collect(), &context).await;
    let linked = plan_linked(links.lanes, place, &context).await;
    let mut detours = detours(&mut lanes, &linked);
    detours.extend(
        linked
            .iter()
            .filter_map(|lane| account_detour(lane, &accounts)),
    );
    lanes.extend(linked);
    let plans = lanes
        .iter()
        .filter_map(|l| l.ready.as_ref().ok())
        .map(|ready| &*ready.plan);
    let charges = tables
        .iter()
        .filter_map(|t| t.ready.as_ref().ok()?.billed());
    let cost = Cost::of(plans.chain(charges), &config.limits, context.now);
    let mut fleet = FleetReport {
        accounts,
        detours,
        ..links.fleet
    };
    fleet.remarks.extend(remarks(config));
    fleet.unmatched = unmatched_logs;
    fleet.leave_out(left_out);
    let planned = Planned {
        cost,
        fleet,
        lanes,
        tables,
        destination: place.store.describe(),
    };
    Ok((context, planned))
}

/// A region of which something can be read is not closed: what cannot be read of it is missed.
fn keep_half_open(lanes: &mut [PlannedLane], tables: &mut [PlannedTable]) {
    let of_regions = |t: &&PlannedTable| t.dataset != Dataset::Spend;
    let ready_lanes = lanes
        .iter()
        .filter(|l| l.ready.is_ok() && l.discovery.calls > 0);
    let ready_tables = tables.iter().filter(of_regions);
    let ready_tables = ready_tables.filter(|t| t.ready.is_ok() && t.discovery.calls > 0);
    let open: BTreeSet<Lane> = ready_lanes
        .map(|l| l.lane.clone())
        .chain(ready_tables.map(|t| t.lane.clone()))
        .collect();
    for lane in lanes {
        lane.leave_out &= !open.contains(&lane.lane);
    }
    for table in tables {
        table.leave_out &= !open.contains(&table.lane);
    }
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
    let result = Box::pin(export_into(context, &place, &lake, started, run_id)).await;
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
    let (context, planned) = tokio::select! {
        planned = Box::pin(plan_with(context, place)) => planned?,
        // Discovery reports its own end; what comes before it has nothing to report but that.
        () = stopped_for_good(&context.stop) => (context.clone(), Planned::stopped(context, &place.store)),
    };
    let context = &context;
    // By the service's time: a clock that is off must not throw away what was paid for.
    if let Err(error) = sweep_spool(&lake.spool(), context.now) {
        tracing::warn!(%error, "removing abandoned answers");
    }
    let mut report = RunReport {
        run_id,
        ..planned.report(context)
    };
    context.progress.plan(&report);
    let cap = context.config.run.max_spend_usd;
    // A cap copied from a plan is not missed by rounding.
    if let Some(cap) = cap.filter(|cap| planned.cost.dollars > *cap * (1.0 + 1e-9)) {
        return Err(RunError::OverBudget {
            dollars: planned.cost.dollars,
            cap,
        });
    }
    let bounds = Bounds::of(&context.config);
    note_unentered(context, lake, &bounds, &planned, &mut report).await;
    note_unlisted(context, place, lake, &planned, &mut report).await;
    let parts = planned.lanes.len() + planned.tables.len();
    context.progress.lanes(parts);
    // Tables run beside metrics: what they share is the bound on requests in flight.
    let lanes = planned
        .lanes
        .into_iter()
        .zip(std::mem::take(&mut report.lanes));
    let tables = planned
        .tables
        .into_iter()
        .zip(std::mem::take(&mut report.tables));
    let (lanes, tables) = tokio::join!(
        export_lanes(context, lake, &bounds, lanes.collect(), started),
        export_tables(context, lake, &bounds, tables.collect()),
    );
    context.progress.finish();
    (report.lanes, report.tables) = (lanes.reports, tables.reports);
    report
        .units
        .extend(lanes.units.into_iter().chain(tables.units));
    let unknown = unknown_streams(&context.config, &report.units, &tables.streams);
    report.fleet.unmatched.extend(unknown);
    report.units.sort_by(|a, b| {
        (&a.date, &a.account_id, &a.region, a.table).cmp(&(
            &b.date,
            &b.account_id,
            &b.region,
            b.table,
        ))
    });
    report.seconds = started.elapsed().as_secs_f64();
    report.stopped_by = context
        .stop
        .is_cancelled()
        .then(crate::telemetry::stop_signal);
    report.total();
    let json = |report: &RunReport| serde_json::to_string_pretty(report).unwrap_or_default();
    // The report first: an alert that does not go out costs nobody the word of what was done.
    lake.write_report(json(&report))
        .await
        .map_err(RunError::Report)?;
    if context.config.exports(Dataset::Spend) && report.stopped_by.is_none() {
        report.alerts = alert_after_export(context, &*place.store).await;
        if report.alerts.is_some() {
            lake.write_report(json(&report))
                .await
                .map_err(RunError::Report)?;
        }
    }
    Ok(report)
}

/// The units of accounts that could not be entered, and are not read through a link all the same.
async fn note_unentered(
    context: &RunContext,
    lake: &Arc<Lake>,
    bounds: &Bounds,
    planned: &Planned,
    report: &mut RunReport,
) {
    let is_planned: BTreeSet<&Lane> = planned.lanes.iter().map(|l| &l.lane).collect();
    let tables = planned.tables.iter().map(|t| (t.dataset, &t.lane));
    let is_planned_table: BTreeSet<(Dataset, &Lane)> = tables.collect();
    let around = Surroundings {
        lake: Arc::clone(lake),
        bounds: bounds.clone(),
        context: context.clone(),
        account_name: None,
        streams: Arc::default(),
    };
    for account in &report.fleet.accounts {
        let Some(cause) = &account.cause else {
            continue;
        };
        let lanes = lanes_of_account(account, context);
        let unread = lanes
            .iter()
            .filter(|l| context.wants(l) && !is_planned.contains(l));
        for lane in unread {
            note_unread(lake, context, lane, cause).await;
            let units = unread_units(lane, cause.unit_outcome(), cause, context);
            report.units.extend(units);
        }
        for (dataset, lane) in tables_of_account(&account.account_id, lanes) {
            let wanted = context.wants_table(dataset, &lane);
            if wanted && !is_planned_table.contains(&(dataset, &lane)) {
                let outcome = cause.unit_outcome();
                let units = unread_tables(&around, dataset, &lane, outcome, cause).await;
                report.units.extend(units);
            }
        }
    }
}

/// Takes out the lanes that are read through a link because they cannot be read directly: a unit has one outcome.
fn detours(lanes: &mut Vec<PlannedLane>, linked: &[PlannedLane]) -> Vec<Detour> {
    let linked = linked.iter().map(|l| (&l.lane, &l.through));
    let linked: BTreeMap<&Lane, &Option<AccountId>> = linked.collect();
    let mut detours = Vec::new();
    lanes.retain(|lane| {
        let Some(through) = linked.get(&lane.lane) else {
            return true;
        };
        // A region that is left out is nobody's fault.
        if let (Err(cause), false) = (&lane.ready, lane.leave_out) {
            let through = through.as_ref().map(ToString::to_string);
            detours.push(Detour {
                account_id: lane.lane.account.to_string(),
                region: lane.lane.region.to_string(),
                through: through.unwrap_or_default(),
                cause: cause.clone(),
            });
        }
        false
    });
    detours
}

/// An account that could not be entered, and is read through a link all the same.
fn account_detour(linked: &PlannedLane, accounts: &[AccountReport]) -> Option<Detour> {
    let own = accounts
        .iter()
        .find(|a| a.account_id == linked.lane.account.as_str())?;
    Some(Detour {
        account_id: own.account_id.clone(),
        region: linked.lane.region.to_string(),
        through: linked.through.as_ref()?.to_string(),
        cause: own.cause.clone()?,
    })
}

/// Links that could not be listed lead to accounts the lake may know: their days are missed by name.
async fn note_unlisted(
    context: &RunContext,
    place: &Place,
    lake: &Lake,
    planned: &Planned,
    report: &mut RunReport,
) {
    if report.fleet.unlisted_links.is_empty() {
        return;
    }
    let is_planned: BTreeSet<&Lane> = planned.lanes.iter().map(|l| &l.lane).collect();
    let known = match place.known_lanes().await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!(%error, "listing what the lake has of linked accounts");
            return;
        }
    };
    let configured = |lane: &Lane| {
        let own = context.config.accounts.iter().any(|a| a.id == lane.account);
        own || !context.config.wants_linked(lane)
    };
    for link in &report.fleet.unlisted_links {
        let behind = known.iter().filter(|l| l.region.as_str() == link.region);
        for lane in behind.filter(|l| !configured(l) && !is_planned.contains(l) && context.wants(l))
        {
            note_unread(lake, context, lane, &link.cause).await;
            let outcome = link.cause.unit_outcome();
            report
                .units
                .extend(unread_units(lane, outcome, &link.cause, context));
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
            disabled_regions: Vec::new(),
            regions_guessed: None,
            cause: Some(Cause::stopped()),
        };
        Self {
            cost: Cost::default(),
            fleet: FleetReport {
                accounts: context.config.accounts.iter().map(account).collect(),
                ..FleetReport::default()
            },
            lanes: Vec::new(),
            tables: Vec::new(),
            destination: store.describe(),
        }
    }

    fn unmatched(&self, context: &RunContext) -> Vec<String> {
        let ready = self.lanes.iter().filter_map(|l| l.ready.as_ref().ok());
        let matched = ready.flat_map(|ready| ready.matched.iter().map(|(i, n)| (*i, *n)));
        let mut none = unmatched(&context.config, matched);
        none.extend(self.fleet.unmatched.iter().cloned());
        none
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
            fleet: FleetReport {
                unmatched: self.unmatched(context),
                ..self.fleet.clone()
            },
            lanes: self.lanes.iter().map(|l| l.report(context)).collect(),
            tables: self.tables.iter().map(PlannedTable::report).collect(),
            alerts: None,
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
