//! A lane's job: what is there looked up, series discovered, requests planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aws::CallStats;
use crate::config::{Asks, ExportConfig, Selection};
use crate::discover::{Found, discover, linked_series};
use crate::fetch::{Spool, is_whole};
use crate::given::place::Place;
use crate::lake::layout::spool_folder;
use crate::model::{Cause, Lane, MetricId};
use crate::plan::{Scope, edges, plan_lane_as_of};
use crate::sources::metrics::MetricsJob;
use crate::sources::metrics::catalog::{Known, chosen, known_beside, read_catalog};
use crate::sources::source::Looking;
use crate::sources::source::scope::{LaneScope, Subject, lane_scope};

/// Where the series of a lane come from.
pub(crate) enum Listing {
    /// Its own account lists them.
    Own,
    /// A monitoring account listed them of another lane.
    Linked(Lane, Vec<MetricId>),
}

/// What is there, what is missing of it, which series there are, and how they are asked.
///
/// # Errors
/// What kept the lake or the series from being read.
pub(crate) async fn job(
    looking: &Looking,
    listing: Listing,
    stats: &mut CallStats,
) -> Result<MetricsJob, Cause> {
    let (client, place, context) = (&looking.client, &looking.place, &looking.context);
    let (config, store) = (&context.config, &*place.store);
    let lane = match &listing {
        Listing::Own => client.lane().clone(),
        Listing::Linked(lane, _) => lane.clone(),
    };
    let lane = &lane;
    let spool = if context.is_backfill {
        spool_of(place, lane).await
    } else {
        Spool::none()
    };
    let resuming = !spool.is_empty();
    let subject = Subject::metrics(config, looking.account_name.as_deref());
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
            Listing::Own => discover(client, &selections, known, stats).await?,
            Listing::Linked(_, listed) => linked_series(lane, &selections, listed, known),
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
    Ok(MetricsJob {
        client: client.clone(),
        scope,
        spool,
        plan: Arc::new(plan),
        matched,
    })
}

/// The answers that are kept of a lane, here and in the lake.
async fn spool_of(place: &Place, lane: &Lane) -> Spool {
    let root = place.scratch.spool();
    let Some(kept) = place.kept_answers.get() else {
        return Spool::of_lane(&root, lane);
    };
    let folder = root.join(spool_folder(lane));
    let brought = kept.bring(lane, &folder, is_whole).await;
    Spool::of_lane(&root, lane).with_copies(Arc::clone(kept) as _, brought)
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
