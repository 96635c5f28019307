//! From accounts to planned lanes: entered, their regions found, what is there looked up, series discovered, requests planned.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::catalog::{Known, chosen, known_beside, read_catalog};
use super::pipeline::{PlannedLane, ReadyLane, RunContext};
use super::place::Place;
use super::scope::lane_scope;
use crate::accounts::{BaseSession, CallStats, Entered, LaneClient, Reader, enter};
use crate::config::{AccountConfig, Asks, ExportConfig, RegionChoice, Selection};
use crate::discover::{Found, discover};
use crate::fetch::Spool;
use crate::model::{Cause, CauseKind, Lane, Region};
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

pub(super) struct UnplannedLane {
    reader: Reader,
    region: Region,
    by_itself: bool,
}

impl UnplannedLane {
    pub(super) fn lane(&self) -> Lane {
        Lane {
            account: self.reader.config().id.clone(),
            region: self.region.clone(),
        }
    }
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

pub(super) async fn plan_one(
    lane: UnplannedLane,
    place: &Place,
    context: &RunContext,
) -> PlannedLane {
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
        spool,
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
