//! The whole run, stage by stage. Stages do not know each other; they are joined here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::alert::breaches::alert_after_export;
use crate::commit::{Lake, remove_reports};
use crate::compact::compact_after;
use crate::config::{AccountConfig, Range, RegionChoice, point};
use crate::fetch::{KEPT_SECONDS, sweep_spool};
use crate::given::bounds::Bounds;
use crate::given::context::{RunContext, run_id};
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::given::remarks::{remarks, unmatched};
use crate::lake::layout;
use crate::model::{AccountId, Cause, Dataset, Day, Lane, Region, TimeWindow, iso_seconds};
use crate::plan::Cost;
use crate::report::{
    AccountReport, Detour, FleetReport, RunReport, ShardReport, Totals, close_accounts,
};
use crate::run::claims::claim_of;
use crate::run::enter::accounts::entered_accounts_by;
use crate::run::enter::share::{less_spent, note_spent, with_share};
use crate::run::fleet::{Fleet, unread};
use crate::run::linked::{follow_links, monitoring};
use crate::run::notify::tell;
use crate::run::planning::{PlannedLane, Planning, wanted};
use crate::sources::logs::unknown_streams;
use crate::sources::registry::{lanes_read, source};
use crate::sources::source::Job;
use crate::sources::source::scope::LaneScope;
use crate::store::Store;

/// Everything that is known before the first paid call.
#[derive(Debug)]
pub struct Planned {
    /// What it costs.
    pub cost: Cost,
    /// Its accounts, and what is to be said of them.
    pub fleet: FleetReport,
    /// Every dataset in every lane of the accounts that could be entered, and of those linked to them.
    lanes: Vec<PlannedLane>,
    /// What is still looked at.
    late: Planning,
    /// The lake's root.
    destination: String,
}

/// How long an export waits for lanes whose discovery does not end, before it reads the others. Theirs is planned, counted and read later.
const WAIT_FOR_PLANS: Duration = Duration::from_mins(1);

/// Enters every account, discovers and plans every lane. Spends nothing but free calls, writes nothing. Returns the plan with the run it is
/// for: its accounts are then all known.
///
/// # Errors
/// [`RunError::Credentials`], [`RunError::Organization`]; anything that concerns one account or lane is in its entry.
pub async fn plan(context: &RunContext) -> Result<(RunContext, Planned), RunError> {
    let place = Arc::new(Place::of(context).await?);
    let context = with_share(context, &*place.store, false).await?;
    let context = &less_spent(context, &*place.store).await?;
    Box::pin(plan_with(context, &place, None)).await
}

/// `wait` is the time that lanes have for their discovery until the plan is made without them.
async fn plan_with(
    context: &RunContext,
    place: &Arc<Place>,
    wait: Option<Duration>,
) -> Result<(RunContext, Planned), RunError> {
    let base = place.session(context).await?;
    let (context, left_out, mut accounts, entered) = entered_accounts_by(context, &base).await?;
    let config = &context.config;
    let mut planning = Planning::new(place, &context);
    planning.begin_all(wanted(&entered, &context));
    let mut lanes = planning.wait(wait).await;
    let own = own_lanes(&lanes, &planning.late());
    let links = follow_links(monitoring(&entered, &context), own, &context).await;
    let through = links
        .lanes
        .iter()
        .map(|l| (l.lane.clone(), l.through.clone()));
    let through: BTreeMap<Lane, AccountId> = through.collect();
    planning.begin_linked(links.lanes);
    lanes.extend(planning.wait(wait).await);
    let late = planning.late();
    let unmatched_names = check_names(&lanes, &late, &context).await?;
    keep_half_open(&mut lanes);
    close(&mut accounts, &mut lanes, &late);
    let detours = detours(&mut lanes, &through, &accounts);
    for (dataset, lane) in &late {
        tracing::warn!(%lane, dataset = dataset.name(), "what there is is not known yet: the run goes on, and reads it when it is");
    }
    let ready = lanes.iter().filter_map(|l| l.ready.as_ref().ok());
    let billed = ready.filter_map(|job| job.billed());
    let cost = Cost::of(billed, &config.limits, context.now);
    let mut fleet = FleetReport {
        accounts,
        detours,
        unmatched: unmatched_names,
        ..links.fleet
    };
    fleet.remarks.extend(remarks(config));
    fleet.leave_out(left_out);
    let planned = Planned {
        cost,
        fleet,
        lanes,
        late: planning,
        destination: place.store.describe(),
    };
    Ok((context, planned))
}

/// What is named in the configuration and is in no lane.
async fn check_names(
    lanes: &[PlannedLane],
    late: &[(Dataset, Lane)],
    context: &RunContext,
) -> Result<Vec<String>, RunError> {
    let mut none = Vec::new();
    for dataset in Dataset::ALL {
        let own = || lanes.iter().filter(|l| l.dataset == dataset);
        let ready = own().filter_map(|l| l.ready.as_deref().ok());
        let jobs: Vec<&dyn Job> = ready.collect();
        // In a lane that is still looked at any name may be.
        if late.iter().any(|(of, _)| *of == dataset) {
            continue;
        }
        // Where a lane could not be listed, a name may be there.
        let all_listed = own().all(|l| l.ready.is_ok() || l.leave_out);
        none.extend(source(dataset).check(&jobs, all_listed, context).await?);
    }
    Ok(none)
}

/// An account of which no region can be read is told of as an account. One that is still looked at may have some.
fn close(accounts: &mut [AccountReport], lanes: &mut [PlannedLane], late: &[(Dataset, Lane)]) {
    let is_late = |account: &AccountId| late.iter().any(|(_, lane)| lane.account == *account);
    let ended = lanes
        .iter_mut()
        .filter(|l| l.is_of_region() && l.through.is_none() && !is_late(&l.lane.account));
    let ended = ended.map(|l| {
        let account = l.lane.account.as_str();
        (account, &mut l.leave_out, l.ready.as_ref().err())
    });
    close_accounts(accounts, ended);
}

/// The lanes whose metrics are asked without a link, and whether each can be read; of one that is still looked at it is supposed.
fn own_lanes(lanes: &[PlannedLane], late: &[(Dataset, Lane)]) -> BTreeMap<Lane, bool> {
    let known = lanes.iter().filter(|l| l.dataset == Dataset::Metrics);
    let known = known.map(|l| (l.lane.clone(), l.ready.is_ok()));
    let late = late.iter().filter(|(of, _)| *of == Dataset::Metrics);
    known
        .chain(late.map(|(_, lane)| (lane.clone(), true)))
        .collect()
}

/// A region of which something can be read is not closed: what cannot be read of it is missed.
fn keep_half_open(lanes: &mut [PlannedLane]) {
    let open = lanes.iter().filter(|l| l.is_open());
    let open: BTreeSet<Lane> = open.map(|l| l.lane.clone()).collect();
    for lane in lanes {
        lane.leave_out &= !open.contains(&lane.lane);
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
    let place = Arc::new(Place::of(context).await?);
    let context = &with_share(context, &*place.store, true).await?;
    let tables = context.config.tables_to_write();
    let opening = Lake::open(
        Arc::clone(&place.store),
        place.scratch.clone(),
        &run_id,
        claim_of(context),
        &tables,
    );
    let lake = tokio::select! {
        lake = opening => Arc::new(lake?),
        // A lease that was just taken is free for whoever comes: this process ends.
        () = context.stop.cancelled() => return Err(RunError::Stopped(crate::telemetry::stop_signal())),
    };
    let run = async {
        let context = RunContext {
            beside: lake.beside().into(),
            ..context.clone()
        };
        let context = less_spent(context, &*place.store).await?;
        place.share_spool(&context).await;
        export_into(&context, &place, &lake, started, run_id).await
    };
    let result = Box::pin(run).await;
    // Every lane has ended; a task that broke down may still hold the lake, then the lock ends with the process.
    if let Some(lake) = Arc::into_inner(lake) {
        lake.close().await;
    }
    let (context, mut report) = result?;
    // After the report and the lock: an alert that hangs keeps neither from anybody. Of all shards together `gather` tells, once.
    let is_whole = report.shard.is_none() && report.stopped_by.is_none();
    if context.config.exports(Dataset::Spend) && is_whole {
        let alerting = alert_after_export(&context, &*place.store, &report.run_id);
        report.alerts = Box::pin(alerting).await;
    }
    if is_whole {
        report.compaction = compact_after(&context, &place, &report.run_id).await;
    }
    report.notices = tell(&context, &*place.store, &report).await;
    if report.alerts.is_some() || report.compaction.is_some() || report.notices.is_some() {
        store(&*place.store, &mut report).await;
    }
    Ok(report)
}

async fn export_into(
    context: &RunContext,
    place: &Arc<Place>,
    lake: &Arc<Lake>,
    started: Instant,
    run_id: String,
) -> Result<(RunContext, RunReport), RunError> {
    let (context, mut planned) = tokio::select! {
        planned = Box::pin(plan_with(context, place, Some(WAIT_FOR_PLANS))) => planned?,
        // Discovery reports its own end; what comes before it has nothing to report but that.
        () = stopped_for_good(&context.stop) => (context.clone(), Planned::stopped(context, place)),
    };
    let context = &context;
    // By the service's time: a clock that is off must not throw away what was paid for.
    if let Err(error) = sweep_spool(&lake.spool(), context.now) {
        tracing::warn!(%error, "removing abandoned answers");
    }
    if let Some(kept) = place.kept_answers.get() {
        kept.sweep(context.now - KEPT_SECONDS).await;
    }
    let mut report = RunReport {
        run_id,
        ..planned.report(context)
    };
    context.progress.plan(&report);
    planned.within_cap(context)?;
    // Those of the plan: each lane is told of when it is done.
    (report.lanes, report.tables, report.idle_lanes) = (Vec::new(), Vec::new(), 0);
    let bounds = Bounds::of(&context.config);
    note_unentered(context, lake, &planned, &mut report).await;
    note_unlisted(context, place, lake, &planned, &mut report).await;
    let lanes = std::mem::take(&mut planned.lanes);
    context.progress.lanes(
        lanes.len() + planned.late.late().len(),
        planned.cost.sum.calls,
    );
    let fleet = Fleet::new((context, lake, &bounds), started, planned.cost);
    let done = fleet.export(lanes, planned.late).await;
    note_spent(context, &*place.store, &bounds.budget).await;
    context.progress.finish();
    report.planned = fleet.cost();
    let names_unmatched = std::mem::take(&mut planned.fleet.unmatched);
    let mut names = BTreeSet::new();
    for lane in done {
        report.add(lane.report);
        report.units.extend(lane.units);
        names.extend(lane.names);
    }
    // What came late may have what no other has.
    report.fleet.unmatched = unmatched_selections(&report, context);
    report.fleet.unmatched.extend(names_unmatched);
    let unknown = unknown_streams(context, &report.units, &names);
    report.fleet.unmatched.extend(unknown);
    report.seconds = started.elapsed().as_secs_f64();
    report.stopped_by = context
        .stop
        .is_cancelled()
        .then(|| crate::telemetry::stop_signal().to_owned());
    report.leave_out_idle();
    report.total();
    // A shard that lost its lease has a successor, whose report it is.
    if report.shard.is_none() || lake.is_ours(false).await {
        store(&*place.store, &mut report).await;
    }
    let is_of_days = matches!(context.range, Range::Window(_)) && report.shard.is_none();
    if is_of_days && report.stopped_by.is_none() {
        remove_old_reports(context, &*place.store).await;
    }
    Ok((context.clone(), report))
}

/// Removes reports that are older than they are kept. Every few minutes would be too often to look for them.
pub(super) async fn remove_old_reports(context: &RunContext, store: &dyn Store) {
    let today = Day::containing(context.now);
    let days = i64::from(context.config.run.keep_reports_days);
    match remove_reports(store, today.plus(-days)).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "old reports are removed"),
        // A writer need not be allowed to.
        Err(error) => tracing::warn!(%error, "removing old reports"),
    }
}

/// Keeps the report beside the data. Where that fails it is told all the same, with the reason: who is at the terminal needs it most.
pub(super) async fn store(store: &dyn Store, report: &mut RunReport) {
    let key = match &report.shard {
        Some(ShardReport { member, .. }) => layout::shard_report(&member.group, member.shard.index),
        None => layout::report(&report.run_id),
    };
    let stored = store.put(&key, report.packed().into()).await;
    report.not_stored = stored.err().map(Cause::from);
}

/// The units of accounts that could not be entered, and are not read through a link all the same.
async fn note_unentered(
    context: &RunContext,
    lake: &Lake,
    planned: &Planned,
    report: &mut RunReport,
) {
    let is_planned = planned.datasets();
    for account in &report.fleet.accounts {
        let (Some(cause), Some(id)) = (&account.cause, AccountId::parse(&account.account_id))
        else {
            continue;
        };
        let regions = account.regions.iter().filter_map(|r| Region::parse(r));
        let regions: Vec<Region> = regions.collect();
        let lanes = |dataset| lanes_read(dataset, &id, &regions).into_iter();
        let datasets = Dataset::ALL.into_iter();
        for (dataset, lane) in datasets.flat_map(|d| lanes(d).map(move |l| (d, l))) {
            let is_wanted = context.wants(dataset, &lane);
            let of_lane = (dataset, lane);
            if is_wanted && !is_planned.contains(&of_lane) {
                let (of_lane, outcome) = ((dataset, &of_lane.1), cause.unit_outcome());
                let units = unread(lake, context, of_lane, outcome, cause).await;
                report.units.extend(units);
            }
        }
    }
}

/// Takes out the lanes of metrics that are read through a link because they cannot be read directly: a unit has one outcome. `through` says by
/// which account each is read.
fn detours(
    lanes: &mut Vec<PlannedLane>,
    through: &BTreeMap<Lane, AccountId>,
    accounts: &[AccountReport],
) -> Vec<Detour> {
    let detour = |lane: &Lane, through: &AccountId, cause: &Cause| Detour {
        account_id: lane.account.to_string(),
        region: lane.region.to_string(),
        through: through.to_string(),
        cause: cause.clone(),
    };
    let mut detours = Vec::new();
    lanes.retain(|own| {
        let is_direct = own.dataset == Dataset::Metrics && own.through.is_none();
        let Some(by) = through.get(&own.lane).filter(|_| is_direct) else {
            return true;
        };
        // A region that is left out is nobody's fault.
        if let (Err(cause), false) = (&own.ready, own.leave_out) {
            detours.push(detour(&own.lane, by, cause));
        }
        false
    });
    // Accounts that could not be entered.
    for (lane, by) in through {
        let mut own = accounts
            .iter()
            .filter(|a| a.account_id == lane.account.as_str());
        if let Some(cause) = own.find_map(|a| a.cause.as_ref()) {
            detours.push(detour(lane, by, cause));
        }
    }
    detours
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
    let metrics = planned.datasets().into_iter();
    let metrics = metrics.filter(|(of, _)| *of == Dataset::Metrics);
    let is_planned: BTreeSet<Lane> = metrics.map(|(_, lane)| lane).collect();
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
        let is_missed = |l: &&Lane| {
            !configured(l) && !is_planned.contains(l) && context.wants(Dataset::Metrics, l)
        };
        for lane in behind.filter(is_missed) {
            let (of_lane, outcome) = ((Dataset::Metrics, lane), link.cause.unit_outcome());
            let units = unread(lake, context, of_lane, outcome, &link.cause).await;
            report.units.extend(units);
        }
    }
}

impl Planned {
    /// Nothing is known: a signal came before any account was entered.
    fn stopped(context: &RunContext, place: &Arc<Place>) -> Self {
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
            late: Planning::new(place, context),
            destination: place.store.describe(),
        }
    }

    /// What it is about, planned already or not.
    fn datasets(&self) -> BTreeSet<(Dataset, Lane)> {
        let planned = self.lanes.iter().map(|l| (l.dataset, l.lane.clone()));
        planned.chain(self.late.late()).collect()
    }

    /// Its lanes.
    pub(super) fn lanes(&self) -> &[PlannedLane] {
        &self.lanes
    }

    /// # Errors
    /// [`RunError::OverBudget`] when it costs more than allowed.
    fn within_cap(&self, context: &RunContext) -> Result<(), RunError> {
        let (run, dollars) = (&context.config.run, self.cost.dollars);
        match run.max_spend_usd {
            Some(cap) if run.is_over_cap(dollars) => Err(RunError::OverBudget { dollars, cap }),
            _ => Ok(()),
        }
    }

    /// Everything from the first second asked of any lane to the last.
    fn hull(&self) -> Option<TimeWindow> {
        let jobs = self.lanes.iter().filter_map(|l| l.ready.as_ref().ok());
        let windows = jobs.flat_map(|job| job.scopes()).map(LaneScope::hull);
        windows.filter(|w| !w.is_empty()).reduce(|a, b| a.hull(b))
    }

    /// The report of a run that has not begun: its plan, and what already went wrong.
    pub fn report(&self, context: &RunContext) -> RunReport {
        let asked = match context.range {
            Range::Window(window) => window,
            Range::SinceLast { .. } => self.hull().unwrap_or(context.range.window()),
        };
        let mut report = RunReport {
            report_version: 1,
            cwlake_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: String::new(),
            from: point(asked.start),
            to: point(asked.end),
            since_last: matches!(context.range, Range::SinceLast { .. }),
            destination: self.destination.clone(),
            shards: None,
            shard: context.sharing.own().map(|own| own.report()),
            started_at: iso_seconds(context.now),
            seconds: 0.0,
            stopped_by: None,
            planned: self.cost,
            totals: Totals::default(),
            fleet: self.fleet.clone(),
            idle_lanes: 0,
            settled_units: 0,
            lanes: Vec::new(),
            tables: Vec::new(),
            compaction: None,
            alerts: None,
            notices: None,
            not_stored: None,
            units: Vec::new(),
        };
        for lane in &self.lanes {
            report.add(lane.report(context));
        }
        report.leave_out_idle();
        let mut none = unmatched_selections(&report, context);
        none.append(&mut report.fleet.unmatched);
        report.fleet.unmatched = none;
        report
    }
}

/// Selections of metrics that were looked for and have no series in any lane.
fn unmatched_selections(report: &RunReport, context: &RunContext) -> Vec<String> {
    let matched = report.lanes.iter().flat_map(|l| &l.forecast.selections);
    unmatched(&context.config, matched.map(|(i, n)| (*i, *n)))
}

/// A moment after the signal, so that lanes under discovery can say that they were stopped.
async fn stopped_for_good(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::CallStats;
    use crate::model::CauseKind;

    #[test]
    fn only_metrics_take_a_detour_and_only_where_a_link_leads() {
        let lane = |region: &str| Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse(region).expect("region"),
        };
        let hub = AccountId::parse("222233334444").expect("id");
        let planned = |dataset, region: &str, through: Option<&AccountId>| PlannedLane {
            dataset,
            lane: lane(region),
            account_name: None,
            through: through.cloned(),
            discovery: CallStats::default(),
            ready: Err(Cause::new(CauseKind::AccessDenied, "no")),
            leave_out: false,
        };
        let mut lanes = vec![
            planned(Dataset::Metrics, "us-east-1", None),
            planned(Dataset::Metrics, "eu-west-1", None),
            planned(Dataset::Instances, "us-east-1", None),
            planned(Dataset::Logs, "us-east-1", None),
            planned(Dataset::Metrics, "us-east-1", Some(&hub)),
        ];
        let through = BTreeMap::from([(lane("us-east-1"), hub.clone())]);
        let told = detours(&mut lanes, &through, &[]);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (&*told[0].region, &told[0].through),
            ("us-east-1", &hub.to_string())
        );
        let left: Vec<_> = lanes
            .iter()
            .map(|l| (l.dataset, l.through.is_some()))
            .collect();
        let expected = [
            (Dataset::Metrics, false),
            (Dataset::Instances, false),
            (Dataset::Logs, false),
            (Dataset::Metrics, true),
        ];
        assert_eq!(left, expected);
    }
}
