//! Accounts linked to a monitoring account (CloudWatch cross-account observability): which there are, and by which way each is read.
//!
//! A linked account in a region is a lane like any other, with files and a manifest of its own; its calls go to the monitoring account and
//! spend that account's quota.

use std::collections::BTreeMap;

use crate::discover::discover_linked;
use crate::given::context::RunContext;
use crate::run::enter::regions::UnplannedLane;

use futures::{StreamExt, stream};

use crate::aws::{CallStats, LaneClient};
use crate::config::{ExportConfig, Selection, Source};
use crate::model::{AccountId, Cause, CauseKind, Dataset, Lane, MetricId};
use crate::report::{FleetReport, LinkReport, SharedSeries};

/// What the links of monitoring accounts lead to.
#[derive(Default)]
pub(crate) struct Links {
    /// The accounts behind them, each once in a region.
    pub(crate) lanes: Vec<LinkedLane>,
    /// What is to be said of them.
    pub(crate) fleet: FleetReport,
}

/// A linked account in one region.
pub(crate) struct LinkedLane {
    pub(crate) lane: Lane,
    /// The monitoring account.
    pub(crate) through: AccountId,
    pub(crate) client: LaneClient,
    pub(crate) metrics: Vec<MetricId>,
    /// What listing took, of the first lane that a link leads to.
    pub(crate) stats: CallStats,
}

/// The lanes whose links are followed.
pub(crate) fn monitoring(lanes: &[UnplannedLane], context: &RunContext) -> Vec<UnplannedLane> {
    let exports = context.config.exports(Dataset::Metrics);
    let in_region = |unplanned: &&UnplannedLane| {
        let lane = unplanned.lane();
        exports && context.config.reads(&lane.region) && context.sharing.has(&lane)
    };
    let monitoring = lanes.iter().filter(|l| l.is_monitoring()).filter(in_region);
    monitoring.cloned().collect()
}

/// Lists what is linked to monitoring accounts: each account once, through the first that sees it, and not at all where it is read directly.
/// `own` are the lanes that were asked without a link, and whether each can be read.
pub(crate) async fn follow_links(
    monitoring: Vec<UnplannedLane>,
    own: BTreeMap<Lane, bool>,
    context: &RunContext,
) -> Links {
    // Where a monitoring account is closed itself, that is told of its lane.
    let open = monitoring
        .into_iter()
        .filter(|l| own.get(&l.lane()) != Some(&false));
    let listed: Vec<Listed> = stream::iter(open)
        .map(|lane| list(lane, context))
        .buffered(context.config.run.concurrency as usize)
        .collect()
        .await;
    let mut routes = Routes {
        own,
        taken: BTreeMap::new(),
    };
    let mut links = Links::default();
    if !listed.is_empty() {
        links.fleet.remarks = remarks(&context.config);
    }
    for Listed {
        through,
        client,
        found,
        leave_out,
        stats,
    } in listed
    {
        if leave_out {
            continue;
        }
        let found = found.unwrap_or_else(|cause| {
            links.fleet.unlisted_links.push(LinkReport {
                account_id: through.account.to_string(),
                region: through.region.to_string(),
                cause,
            });
            BTreeMap::new()
        });
        // Its calls are told once: with the first account it finds.
        let mut stats = Some(stats);
        for (account, metrics) in found {
            let lane = Lane {
                account,
                region: through.region.clone(),
            };
            if let Some(read) = routes.other(&lane) {
                links.fleet.shared.push(SharedSeries {
                    account_id: lane.account.to_string(),
                    region: lane.region.to_string(),
                    series: metrics.len() as u64,
                    read,
                    also_through: through.account.to_string(),
                });
            } else if context.wants_linked(&lane, &through) {
                let through = &through.account;
                routes.taken.insert(lane.clone(), through.clone());
                links.lanes.push(LinkedLane {
                    lane,
                    through: through.clone(),
                    client: client.clone(),
                    metrics,
                    stats: stats.take().unwrap_or_default(),
                });
            }
        }
    }
    let unknown = unknown_flags(&context.config, &links.lanes);
    links.fleet.remarks.extend(unknown);
    links
}

/// Accounts named by flag that neither the configuration nor a link knows.
fn unknown_flags(config: &ExportConfig, linked: &[LinkedLane]) -> Vec<String> {
    let behind = |id: &AccountId| linked.iter().any(|l| l.lane.account == *id);
    let configured = |id: &AccountId| config.accounts.iter().any(|a| a.id == *id);
    let flagged = config.flagged_accounts().into_iter();
    flagged
        .filter(|id| !configured(id) && !behind(id))
        .map(|id| {
            format!("--account: {id} is neither configured nor linked to a monitoring account")
        })
        .collect()
}

/// Tags and states are known to the account alone that has the instances.
fn remarks(config: &ExportConfig) -> Vec<String> {
    let by_tags = |s: &&Selection| match &s.source {
        Source::Ec2(filter) => !(filter.tags.is_empty() && filter.states.is_empty()),
        Source::List => false,
    };
    let selections = config.selections.iter().filter(by_tags);
    let mut remarks: Vec<String> = selections
        .map(|s| format!("{} asks for tags or states of instances, which are not known of linked accounts: they are not read by it", s.origin))
        .collect();
    remarks.dedup();
    remarks
}

/// How the lanes of a run are read.
struct Routes {
    /// Those that were asked directly, and whether they can be read.
    own: BTreeMap<Lane, bool>,
    /// Through which account.
    taken: BTreeMap<Lane, AccountId>,
}

impl Routes {
    /// How a lane is read already.
    fn other(&self, lane: &Lane) -> Option<String> {
        if self.own.get(lane) == Some(&true) {
            return Some("directly".to_owned());
        }
        let through = self.taken.get(lane)?;
        Some(format!("through account {through}"))
    }
}

/// What a monitoring account sees of others in one region.
struct Listed {
    /// Through whom.
    through: Lane,
    client: LaneClient,
    /// By account, or why nothing is seen.
    found: Result<BTreeMap<AccountId, Vec<MetricId>>, Cause>,
    /// Nobody named the region, and it is closed to us.
    leave_out: bool,
    stats: CallStats,
}

async fn list(lane: UnplannedLane, context: &RunContext) -> Listed {
    let client = lane.client(&context.config);
    let mut stats = CallStats::default();
    let found = tokio::select! {
        found = discover_linked(&client, &context.config.selections, &mut stats) => found,
        () = context.stop.cancelled() => Err(Cause::new(CauseKind::Interrupted, "stopped before discovery ended")),
    };
    Listed {
        leave_out: lane.is_left_out_for(found.as_ref().err()),
        through: lane.lane(),
        client,
        found,
        stats,
    }
}
