//! One lane's discovery, from listings and instances to sorted series.

use std::collections::BTreeMap;

#[cfg(feature = "ec2")]
use super::filter::excludes;
use super::filter::{list_requests, matching, matching_known};
use super::list_metrics::{Reach, list};
use crate::aws::{CallStats, LaneClient};
use crate::config::{Selection, Source};
#[cfg(feature = "ec2")]
use crate::model::Dimension;
use crate::model::{AccountId, Cause, CauseKind, Lane, MetricId, Series};

/// Series with the selections that want them.
///
/// # Shape
/// Sorted by metric, each once, each with its selections (indices, ascending, at least one).
pub type Found = Vec<(Series, Vec<usize>)>;

/// Lists every namespace once and every instance once, adds what is `known` from earlier runs, and keeps what the selections want.
/// `stats` counts the calls, also of a discovery that fails.
///
/// # Errors
/// The cause of the first listing that could not be finished.
pub async fn discover(
    client: &LaneClient,
    selections: &[Selection],
    known: Vec<MetricId>,
    stats: &mut CallStats,
) -> Result<Found, Cause> {
    let mut wanted = Wanted::new();
    for request in list_requests(selections) {
        list(client, &request, Reach::Own, stats, |metric, _| {
            let by = matching(selections, &metric);
            if !by.is_empty() {
                wanted.insert(metric, by);
            }
            bounded(wanted.len(), client)
        })
        .await?;
    }
    #[cfg(feature = "ec2")]
    add_instances(client, selections, stats, &mut wanted).await?;
    add_known(selections, known, &mut wanted);
    Ok(found(client.lane(), wanted))
}

/// What a monitoring account sees of the accounts linked to it, by account; its own metrics are left out. Only what some selection wants.
///
/// # Errors
/// The cause of the first listing that could not be finished.
///
/// # Source
/// CloudWatch user guide, "CloudWatch cross-account observability": links are of one region.
pub async fn discover_linked(
    client: &LaneClient,
    selections: &[Selection],
    stats: &mut CallStats,
) -> Result<BTreeMap<AccountId, Vec<MetricId>>, Cause> {
    let own = &client.lane().account;
    let mut linked: BTreeMap<AccountId, Vec<MetricId>> = BTreeMap::new();
    let mut count = 0;
    for mut request in list_requests(&as_listed(selections)) {
        // The windows of the linked accounts are their own, and not known here.
        request.recently_active = false;
        list(client, &request, Reach::Linked, stats, |metric, owner| {
            if let Some(owner) = owner.filter(|owner| owner != own)
                && !matching_known(selections, &metric).is_empty()
            {
                linked.entry(owner).or_default().push(metric);
                count += 1;
            }
            bounded(count, client)
        })
        .await
        .map_err(|cause| match cause.kind {
            CauseKind::AccessDenied => cause.with_hint(format!(
                "linked_accounts = true: the role in account {own} must be allowed cloudwatch:ListMetrics on linked accounts (a monitoring \
                 account's role, cwlake iam prints its policy), or set linked_accounts = false"
            )),
            _ => cause,
        })?;
    }
    Ok(linked)
}

/// The series of a linked account: what was listed of it and what is `known` from earlier runs, as far as the selections want it.
pub fn linked_series(
    lane: &Lane,
    selections: &[Selection],
    listed: Vec<MetricId>,
    known: Vec<MetricId>,
) -> Found {
    let mut wanted = Wanted::new();
    add_known(selections, listed, &mut wanted);
    add_known(selections, known, &mut wanted);
    found(lane, wanted)
}

/// Instances of a linked account cannot be described from here: their metrics are listed instead.
fn as_listed(selections: &[Selection]) -> Vec<Selection> {
    let mut selections = selections.to_vec();
    selections.iter_mut().for_each(|s| s.source = Source::List);
    selections
}

/// Memory grows with the series of a lane: more than is allowed are refused by name rather than by the system.
fn bounded(series: usize, client: &LaneClient) -> Result<(), Cause> {
    let most = client.most_series();
    if series <= most {
        return Ok(());
    }
    let text = format!("ListMetrics: more than {most} series are selected");
    Err(Cause::new(CauseKind::Protocol, text).with_hint(
        "select fewer, or raise limits.series_per_lane (about half a KiB of memory each)",
    ))
}

type Wanted = BTreeMap<MetricId, Vec<usize>>;

fn add_known(selections: &[Selection], known: Vec<MetricId>, wanted: &mut Wanted) {
    for metric in known {
        let by = matching_known(selections, &metric);
        if !by.is_empty() {
            let there = wanted.entry(metric).or_default();
            there.extend(by);
            there.sort_unstable();
            there.dedup();
        }
    }
}

fn found(lane: &Lane, wanted: Wanted) -> Found {
    wanted
        .into_iter()
        .map(|(metric, by)| (Series::new(lane, metric), by))
        .collect()
}

/// The EC2-driven way: every wanted name of every wanted instance, whether `ListMetrics` knows it or not.
#[cfg(feature = "ec2")]
async fn add_instances(
    client: &LaneClient,
    selections: &[Selection],
    stats: &mut CallStats,
    wanted: &mut Wanted,
) -> Result<(), Cause> {
    let driven: Vec<_> = (0..)
        .zip(selections)
        .filter_map(|(i, s)| match &s.source {
            Source::Ec2(filter) => Some((i, s, filter)),
            Source::List => None,
        })
        .collect();
    if driven.is_empty() {
        return Ok(());
    }
    // One description serves all: narrowed to their states when each names some.
    let mut states: Vec<String> = driven
        .iter()
        .flat_map(|(_, _, f)| f.states.clone())
        .collect();
    if driven.iter().any(|(_, _, f)| f.states.is_empty()) {
        states.clear();
    }
    states.sort();
    states.dedup();
    for instance in super::ec2::instances(client, &states, stats).await? {
        for (index, selection, _) in driven.iter().filter(|(_, _, f)| f.wants(&instance)) {
            for name in selection.names.exact().unwrap_or_default() {
                let dimensions = vec![Dimension::new("InstanceId", instance.id.clone())];
                let metric = MetricId::new(selection.namespace.as_str(), name.as_str(), dimensions);
                if excludes(selection, &metric) {
                    continue;
                }
                let by = wanted.entry(metric).or_default();
                if !by.contains(index) {
                    by.push(*index);
                    by.sort_unstable();
                }
            }
        }
    }
    Ok(())
}
