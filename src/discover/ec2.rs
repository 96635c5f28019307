//! The instances of a lane, as far as selections ask about them. Follows EC2 `DescribeInstances`.

use super::filter::Instance;
use crate::aws::{CallStats, LaneClient, describe_instances};
use crate::model::Cause;

/// Every instance of the lane, or those in `states` when it is not empty.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub(super) async fn instances(
    client: &LaneClient,
    states: &[String],
    stats: &mut CallStats,
) -> Result<Vec<Instance>, Cause> {
    let mut instances = Vec::new();
    let each = |given: &_| instances.extend(instance(given));
    describe_instances(client, states, stats, each).await?;
    Ok(instances)
}

fn instance(given: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = given.tags().iter();
    Some(Instance {
        id: given.instance_id()?.to_owned(),
        state: text(
            given
                .state()
                .and_then(|s| s.name())
                .map(aws_sdk_ec2::types::InstanceStateName::as_str),
        ),
        tags: tags.map(|t| (text(t.key()), text(t.value()))).collect(),
    })
}
