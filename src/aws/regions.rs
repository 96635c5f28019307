//! Which regions an account has enabled. Follows EC2 `DescribeRegions`.

use super::api::{Api, CallStats};
use super::lane::LaneClient;
use super::whole::listed;
use crate::model::{Cause, CauseKind, Region};

/// The regions of an account, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRegions {
    /// Those that can be read.
    pub enabled: Vec<Region>,
    /// Those the account has not opted into.
    pub disabled: Vec<Region>,
}

/// The enabled regions, and those that are not.
///
/// # Errors
/// The call's cause; a denied one hints at listing the regions by hand.
///
/// # Source
/// EC2 API reference, `DescribeRegions`: with `AllRegions` also those not enabled, whose `OptInStatus` is `not-opted-in`.
pub async fn enabled_regions(
    client: &LaneClient,
    stats: &mut CallStats,
) -> Result<AccountRegions, Cause> {
    let answer = client
        .call(Api::DescribeRegions, 0.0, false, stats, async || {
            let answer = client
                .ec2()
                .describe_regions()
                .all_regions(true)
                .send()
                .await?;
            let has_list = answer.regions.is_some();
            listed(answer, has_list)
        })
        .await
        .map_err(|cause| match cause.kind {
            CauseKind::AccessDenied => {
                cause.with_hint("allow ec2:DescribeRegions, or list the account's regions")
            }
            _ => cause,
        })?;
    let mut regions = AccountRegions::default();
    for region in answer.regions() {
        let Some(code) = region.region_name().and_then(Region::parse) else {
            continue;
        };
        if region.opt_in_status() == Some("not-opted-in") {
            regions.disabled.push(code);
        } else {
            regions.enabled.push(code);
        }
    }
    regions.enabled.sort();
    regions.disabled.sort();
    if regions.enabled.is_empty() {
        return Err(Cause::new(
            CauseKind::Protocol,
            "DescribeRegions: the answer names no enabled region",
        ));
    }
    Ok(regions)
}
