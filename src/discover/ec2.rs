//! The instances of a lane. Follows EC2 `DescribeInstances`.

use std::collections::HashSet;

use super::filter::Instance;
use crate::accounts::{Api, CallStats, LaneClient};
use crate::model::{Cause, CauseKind};

/// Instances on one page.
///
/// # Source
/// EC2 API reference, `DescribeInstances`: `MaxResults` 5 to 1,000.
const PAGE_SIZE: i32 = 1_000;

/// Every instance of the lane, or those in `states` when it is not empty.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub(super) async fn instances(
    client: &LaneClient,
    states: &[String],
    stats: &mut CallStats,
) -> Result<Vec<Instance>, Cause> {
    let filter = (!states.is_empty()).then(|| {
        let values = Some(states.to_vec());
        vec![
            aws_sdk_ec2::types::Filter::builder()
                .name("instance-state-name")
                .set_values(values)
                .build(),
        ]
    });
    let mut instances = Vec::new();
    let mut token: Option<String> = None;
    let mut seen = HashSet::new();
    loop {
        let page = client
            .call(Api::DescribeInstances, 0.0, false, stats, || {
                client
                    .ec2()
                    .describe_instances()
                    .max_results(PAGE_SIZE)
                    .set_filters(filter.clone())
                    .set_next_token(token.clone())
                    .send()
            })
            .await?;
        instances.extend(
            page.reservations()
                .iter()
                .flat_map(aws_sdk_ec2::types::Reservation::instances)
                .filter_map(instance),
        );
        match page.next_token.filter(|t| !t.is_empty()) {
            None => return Ok(instances),
            Some(next) if seen.insert(next.clone()) => token = Some(next),
            Some(_) => {
                return Err(Cause::new(
                    CauseKind::Protocol,
                    "DescribeInstances: the page token repeats",
                ));
            }
        }
    }
}

fn instance(given: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    Some(Instance {
        id: given.instance_id()?.to_owned(),
        state: given
            .state()
            .and_then(|s| s.name())
            .map_or("", |n| n.as_str())
            .to_owned(),
        tags: given
            .tags()
            .iter()
            .map(|t| {
                (
                    t.key().unwrap_or_default().to_owned(),
                    t.value().unwrap_or_default().to_owned(),
                )
            })
            .collect(),
    })
}
