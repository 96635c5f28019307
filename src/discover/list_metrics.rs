//! Listing one namespace. Follows CloudWatch `ListMetrics`.
//!
//! # Source
//! CloudWatch API reference, `ListMetrics`: `OwningAccounts` has one entry a metric, in the order of `Metrics`, when linked accounts are
//! included; `RecentlyActive` takes `PT3H` alone.

use aws_sdk_cloudwatch::types::{DimensionFilter, RecentlyActive};

use super::filter::ListRequest;
use super::page::ListPage;
use crate::aws::{Api, CallStats, LaneClient, Pages, list_metrics, listed};
use crate::model::{AccountId, Cause, CauseKind, MetricId};

/// Pages of one listing: fifty million metrics, far above what an account has.
const MAX_PAGES: usize = 100_000;

/// Whose metrics are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The account's own.
    Own,
    /// Those of the accounts linked to a monitoring account as well.
    Linked,
}

/// Calls `take` with every metric of every page, in the server's order, and with its account where linked ones are listed; a metric may come
/// twice.
///
/// # Errors
/// The cause of the page that failed, a token that repeats, a token refused twice, or what `take` refuses: what was taken is then incomplete.
pub(super) async fn list(
    client: &LaneClient,
    request: &ListRequest,
    reach: Reach,
    stats: &mut CallStats,
    mut take: impl FnMut(MetricId, Option<AccountId>) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let filters: Vec<DimensionFilter> = request
        .dimensions
        .iter()
        .map(|(name, value)| {
            DimensionFilter::builder()
                .name(name)
                .set_value(value.clone())
                .build()
        })
        .collect();
    let mut pages = Pages::at_most(MAX_PAGES, "ListMetrics");
    let mut is_told = false;
    loop {
        let page = client
            .call(Api::ListMetrics, 0.0, false, stats, async || {
                let request = client
                    .cloudwatch()
                    .list_metrics()
                    .namespace(&request.namespace)
                    .set_metric_name(request.metric_name.clone())
                    .set_dimensions((!filters.is_empty()).then(|| filters.clone()))
                    .set_recently_active(request.recently_active.then_some(RecentlyActive::Pt3H))
                    .set_include_linked_accounts((reach == Reach::Linked).then_some(true))
                    .set_next_token(pages.token());
                let page = list_metrics(request, |body| Ok(ListPage::decode(body)?)).await?;
                let has_list = page.metrics.is_some();
                listed(page, has_list)
            })
            .await;
        let page = match page {
            Ok(page) => page,
            Err(cause) if pages.restarts_after(&cause) => continue,
            Err(cause) => return Err(cause),
        };
        let (owners, metrics) = (page.owning_accounts, page.metrics.unwrap_or_default());
        if reach == Reach::Linked && owners.len() != metrics.len() {
            return Err(Cause::new(
                CauseKind::Protocol,
                "ListMetrics: not every metric has an owning account",
            ));
        }
        if page.is_nameless {
            return Err(Cause::new(
                CauseKind::Protocol,
                "ListMetrics: an entry has no namespace or name",
            ));
        }
        for (n, listed) in metrics.into_iter().enumerate() {
            let owner = owners.get(n).and_then(|id| AccountId::parse(id));
            let metric = listed.metric;
            if let Some(name) = listed
                .repeated
                .filter(|_| !std::mem::replace(&mut is_told, true))
            {
                tracing::warn!(lane = %client.lane(), %metric, dimension = name, "a metric names a dimension twice: the first value is kept");
            }
            take(metric, owner)?;
        }
        if !pages.follow(page.next_token)? {
            return Ok(());
        }
    }
}
