//! Which regions an account has enabled. Follows EC2 `DescribeRegions`.

use super::calls::{Api, CallStats};
use super::lane::LaneClient;
use crate::model::{Cause, CauseKind, Region};

/// The enabled regions, sorted.
///
/// # Errors
/// The call's cause; a denied one hints at listing the regions by hand.
///
/// # Source
/// EC2 API reference, `DescribeRegions`: without `AllRegions` only regions enabled for the account are returned.
pub async fn enabled_regions(
    client: &LaneClient,
    stats: &mut CallStats,
) -> Result<Vec<Region>, Cause> {
    let answer = client
        .call(Api::DescribeRegions, 0.0, false, stats, || {
            client.ec2().describe_regions().send()
        })
        .await
        .map_err(|cause| match cause.kind {
            CauseKind::AccessDenied => {
                cause.with_hint("allow ec2:DescribeRegions, or list the account's regions")
            }
            _ => cause,
        })?;
    let mut regions: Vec<Region> = answer
        .regions()
        .iter()
        .filter_map(|r| Region::parse(r.region_name()?))
        .collect();
    regions.sort();
    if regions.is_empty() {
        return Err(Cause::new(
            CauseKind::Protocol,
            "DescribeRegions: the answer names no region",
        ));
    }
    Ok(regions)
}
