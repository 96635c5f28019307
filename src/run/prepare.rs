//! From accounts to planned lanes: entered, their regions found, what is there looked up, series discovered, requests planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::catalog::{Known, chosen, known_beside, read_catalog};
use super::pipeline::{PlannedLane, ReadyLane, RunContext};
use super::place::Place;
use super::scope::{LaneScope, Subject, lane_scope};
use crate::aws::{BaseSession, CallStats, Entered, LaneClient, Reader, enter};
use crate::config::{AccountConfig, Asks, ExportConfig, RegionChoice, Selection, known_regions};
use crate::discover::{Found, discover, linked_series};
use crate::fetch::Spool;
use crate::model::{Cause, CauseKind, Lane, MetricId, Region};
use crate::plan::{Scope, edges, plan_lane_as_of};
use crate::report::AccountReport;

pub(super) async fn enter_all(
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
pub(super) fn all_without_credentials(entered: &[Entered]) -> Option<Cause> {
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

/// A region of an account that was entered.
#[derive(Clone)]
pub(super) struct UnplannedLane {
    reader: Reader,
    region: Region,
    by_itself: bool,
    /// AWS itself says that the account has the region enabled.
    is_enabled: bool,
}

impl UnplannedLane {
    pub(super) fn lane(&self) -> Lane {
        Lane {
            account: self.reader.config().id.clone(),
            region: self.region.clone(),
        }
    }

    /// Alias of its account.
    pub(super) fn account_name(&self) -> Option<Arc<str>> {
        self.reader.config().name.as_deref().map(Arc::from)
    }

    /// The same account in another region.
    pub(super) fn in_region(&self, region: Region) -> Self {
        Self {
            region,
            ..self.clone()
        }
    }

    /// Whether nobody named its region, and it is closed to us.
    pub(super) async fn may_be_left_out(&self, cause: &Cause, lane: &Lane, place: &Place) -> bool {
        self.is_left_out_for(Some(cause)) && is_new_to_the_lake(lane, place).await
    }

    /// What is linked to its account is read through it.
    pub(super) fn is_monitoring(&self) -> bool {
        self.reader.config().linked_accounts
    }

    /// Nobody named its region, and all of it is closed to us.
    pub(super) fn is_left_out_for(&self, cause: Option<&Cause>) -> bool {
        self.by_itself
            && cause.is_some_and(|c| match c.kind {
                // A session that a region refuses although it is enabled is no closed region.
                CauseKind::RegionDisabled => !self.is_enabled,
                kind => kind.is_about_a_region(),
            })
    }

    pub(super) fn client(&self, config: &ExportConfig) -> LaneClient {
        self.reader.lane(self.region.clone(), &config.limits)
    }
}

/// The regions of an account.
#[derive(Clone, Default)]
pub(super) struct Regions {
    pub(super) read: Vec<Region>,
    pub(super) disabled: Vec<Region>,
    /// Why every region of the partition is tried instead of the enabled ones.
    pub(super) guessed: Option<Cause>,
}

pub(super) async fn lanes_of(
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
        let cause = regions.as_ref().err().cloned();
        let mut regions = regions.unwrap_or_default();
        if let (RegionChoice::Named(named), true) = (&entered.config.regions, cause.is_some()) {
            regions.read.clone_from(named);
        }
        let codes = |list: &[Region]| list.iter().map(ToString::to_string).collect();
        accounts.push(AccountReport {
            account_id: entered.config.id.to_string(),
            account_name: entered.config.name.clone(),
            regions: codes(&regions.read),
            disabled_regions: codes(&regions.disabled),
            regions_guessed: regions.guessed,
            cause: cause.clone(),
        });
        if let (Ok(reader), None) = (entered.reader, cause) {
            let by_itself = entered.config.regions == RegionChoice::Auto;
            let is_enabled = by_itself
                && accounts
                    .last()
                    .is_some_and(|a: &AccountReport| a.regions_guessed.is_none());
            lanes.extend(regions.read.into_iter().map(|region| UnplannedLane {
                reader: reader.clone(),
                region,
                by_itself,
                is_enabled,
            }));
        }
    }
    (accounts, lanes)
}

pub(super) async fn regions_of(reader: &Reader, config: &ExportConfig) -> Result<Regions, Cause> {
    if let RegionChoice::Named(regions) = &reader.config().regions {
        return Ok(Regions {
            read: regions.clone(),
            ..Regions::default()
        });
    }
    match enabled(reader, config).await {
        // Who may not ask is told by each region itself.
        Err(cause)
            if matches!(
                cause.kind,
                CauseKind::AccessDenied | CauseKind::PolicyDenied
            ) =>
        {
            let partition = reader.home_region().partition();
            let read = known_regions(partition, &config.run.extra_regions);
            if read.is_empty() {
                return Err(cause.with_hint(
                    "list the account's regions: no region of its partition is known here",
                ));
            }
            Ok(Regions {
                read,
                disabled: Vec::new(),
                guessed: Some(cause),
            })
        }
        answer => answer,
    }
}

#[cfg(feature = "ec2")]
async fn enabled(reader: &Reader, config: &ExportConfig) -> Result<Regions, Cause> {
    let client = reader.lane(reader.home_region(), &config.limits);
    let found = crate::aws::enabled_regions(&client, &mut CallStats::default()).await?;
    Ok(Regions {
        read: found.enabled,
        disabled: found.disabled,
        guessed: None,
    })
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "with EC2 it calls")]
async fn enabled(_: &Reader, _: &ExportConfig) -> Result<Regions, Cause> {
    Err(Cause::new(
        CauseKind::AccessDenied,
        "this build cannot ask which regions are enabled (feature 'ec2' is off)",
    ))
}

/// Where the series of a lane come from.
pub(super) enum Listing {
    /// Its own account lists them.
    Own,
    /// A monitoring account listed them.
    Linked(Vec<MetricId>),
}

pub(super) async fn plan_one(
    lane: UnplannedLane,
    place: &Place,
    context: &RunContext,
) -> PlannedLane {
    let client = lane.client(&context.config);
    let account_name: Option<Arc<str>> = lane.reader.config().name.as_deref().map(Arc::from);
    let mut stats = CallStats::default();
    let (unplanned, lane) = (lane.clone(), lane.lane());
    let listing = Listing::Own;
    let name = account_name.as_deref();
    let planning = ready_lane(&lane, client, name, listing, place, context, &mut stats);
    let ready = within_limits(context, planning).await;
    let leave_out = match &ready {
        Err(cause) => unplanned.may_be_left_out(cause, &lane, place).await,
        _ => false,
    };
    PlannedLane {
        lane,
        account_name,
        through: None,
        discovery: stats,
        ready,
        leave_out,
    }
}

/// A region that was read before and is closed today is missed, whatever closed it.
async fn is_new_to_the_lake(lane: &Lane, place: &Place) -> bool {
    let known = place.known_lanes().await;
    known.is_ok_and(|known| !known.contains(lane))
}

pub(super) async fn within_limits<T>(
    context: &RunContext,
    planning: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let limit = context.config.limits.unit_timeout;
    tokio::select! {
        ready = planning => ready,
        () = tokio::time::sleep(limit) => Err(
            Cause::new(CauseKind::TimeLimit, format!("discovery is not finished within {} s", limit.as_secs()))
                .with_hint("raise limits.unit_timeout_secs, or select less"),
        ),
        () = context.stop.cancelled() => Err(Cause::new(CauseKind::Interrupted, "stopped before discovery ended")),
    }
}

/// What is there, what is missing of it, which series there are, and how they are asked.
pub(super) async fn ready_lane(
    lane: &Lane,
    client: LaneClient,
    account_name: Option<&str>,
    listing: Listing,
    place: &Place,
    context: &RunContext,
    stats: &mut CallStats,
) -> Result<ReadyLane, Cause> {
    let (config, store) = (&context.config, &*place.store);
    let spool = if context.is_backfill {
        Spool::of_lane(&place.scratch.spool(), lane)
    } else {
        Spool::none()
    };
    let resuming = !spool.is_empty();
    let subject = Subject::metrics(config, account_name);
    let scope = lane_scope(context, store, lane, &subject, resuming).await?;
    // A namespace of which nothing is asked is not listed either.
    let (asked, selections) = asked(config, &scope, context.now);
    let everything_is_there = scope.hull().is_empty();
    let series = if everything_is_there {
        Vec::new()
    } else {
        let known = known_beside(scope.hull(), &selections, context.now);
        let known = if known == Known::None {
            Vec::new()
        } else {
            chosen(read_catalog(store, lane).await?.0, known)
        };
        match listing {
            Listing::Own => discover(&client, &selections, known, stats).await?,
            Listing::Linked(listed) => linked_series(lane, &selections, listed, known),
        }
    };
    let mut matched = BTreeMap::new();
    if !everything_is_there {
        matched.extend(asked.iter().map(|index| (*index, 0)));
        for index in series.iter().flat_map(|(_, by)| by) {
            *matched.entry(asked[*index]).or_default() += 1;
        }
    }
    let asks: Vec<_> = selections.iter().map(|s| Arc::clone(&s.asks)).collect();
    let as_of = as_of(&spool, lane, &series, &asks, &scope.windows, context.now);
    let plan = plan_lane_as_of(lane, series, &asks, &scope.windows, context.now, &as_of);
    Ok(ReadyLane {
        client,
        scope,
        spool,
        plan: Arc::new(plan),
        matched,
    })
}

/// How far back a window may reach for which only recently active metrics are listed: `RecentlyActive` knows three hours, and a listing
/// takes its time.
const RECENTLY_ACTIVE_SECONDS: i64 = 2 * 3_600 + 1_800;

/// The selections of which something is asked, with their places among all.
fn asked(config: &ExportConfig, scope: &LaneScope, now: i64) -> (Vec<usize>, Vec<Selection>) {
    let window = |s: &Selection| scope.windows.get(&s.namespace).map(|(w, _)| *w);
    config
        .selections
        .iter()
        .enumerate()
        .filter_map(|(index, selection)| {
            let window = window(selection).filter(|w| !w.is_empty())?;
            let mut selection = selection.clone();
            selection.recently_active &= window.start >= now - RECENTLY_ACTIVE_SECONDS;
            Some((index, selection))
        })
        .unzip()
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
