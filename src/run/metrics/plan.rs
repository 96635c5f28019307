//! From accounts to planned lanes: entered, their regions found, what is there looked up, series discovered, requests planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fetch::Spool;
use crate::run::enter::regions::UnplannedLane;
use crate::run::given::bounds::within_limits;
use crate::run::given::context::RunContext;
use crate::run::given::place::Place;

use crate::aws::{CallStats, LaneClient};
use crate::config::{Asks, ExportConfig, Selection};
use crate::discover::{Found, discover, linked_series};
use crate::model::{Cause, Lane, MetricId};
use crate::plan::{Scope, edges, plan_lane_as_of};
use crate::run::metrics::catalog::{Known, chosen, known_beside, read_catalog};
use crate::run::metrics::planned::{PlannedLane, ReadyLane};
use crate::run::unit::scope::{LaneScope, Subject, lane_scope};

/// Where the series of a lane come from.
pub(crate) enum Listing {
    /// Its own account lists them.
    Own,
    /// A monitoring account listed them.
    Linked(Vec<MetricId>),
}

pub(crate) async fn plan_one(
    lane: UnplannedLane,
    place: &Place,
    context: &RunContext,
) -> PlannedLane {
    let client = lane.client(&context.config);
    let account_name = lane.account_name();
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

/// What is there, what is missing of it, which series there are, and how they are asked.
pub(crate) async fn ready_lane(
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
