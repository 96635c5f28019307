//! The pages of EC2 `DescribeInstances`.

use aws_sdk_ec2::types::{Filter, Instance, Reservation};

use super::api::{Api, CallStats};
use super::lane::LaneClient;
use super::pages::Pages;
use super::whole::listed;
use crate::model::Cause;

/// Instances on one page.
///
/// # Source
/// EC2 API reference, `DescribeInstances`: `MaxResults` 5 to 1,000.
const PAGE_SIZE: i32 = 1_000;

/// Hands every instance of the lane to `each`, or those in `states` when it is not empty.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub async fn describe_instances(
    client: &LaneClient,
    states: &[String],
    stats: &mut CallStats,
    mut each: impl FnMut(&Instance),
) -> Result<(), Cause> {
    let filter = (!states.is_empty()).then(|| {
        let values = Some(states.to_vec());
        let by_state = Filter::builder().name("instance-state-name");
        vec![by_state.set_values(values).build()]
    });
    let mut pages = Pages::of("DescribeInstances");
    loop {
        let page = client
            .call(Api::DescribeInstances, 0.0, false, stats, async || {
                let request = client
                    .ec2()
                    .describe_instances()
                    .max_results(PAGE_SIZE)
                    .set_filters(filter.clone())
                    .set_next_token(pages.token());
                let page = request.send().await?;
                let has_list = page.reservations.is_some();
                listed(page, has_list)
            })
            .await?;
        let reservations = page.reservations().iter();
        reservations
            .flat_map(Reservation::instances)
            .for_each(&mut each);
        if !pages.follow(page.next_token)? {
            return Ok(());
        }
    }
}
