//! The EC2 inventory of a lane. Follows EC2 `DescribeInstances`.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Instance as Described;

use crate::aws::{CallStats, LaneClient, describe_instances};
use crate::model::{Cause, Dimension, Instance};

/// Every instance of a lane.
///
/// # Shape
/// Sorted by id, each once; the description received last stands.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub async fn inventory(client: &LaneClient, stats: &mut CallStats) -> Result<Vec<Instance>, Cause> {
    let mut found = BTreeMap::new();
    let each = |described: &Described| {
        if let Some(instance) = instance(described) {
            found.insert(instance.id.clone(), instance);
        }
    };
    describe_instances(client, &[], stats, each).await?;
    Ok(found.into_values().collect())
}

fn instance(given: &Described) -> Option<Instance> {
    let own = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let micros = |t: &aws_sdk_ec2::primitives::DateTime| {
        t.secs() * 1_000_000 + i64::from(t.subsec_nanos() / 1_000)
    };
    // `PlatformDetails` names every platform; `Platform` only Windows.
    let platform = given.platform_details().or_else(|| {
        given
            .platform()
            .map(aws_sdk_ec2::types::PlatformValues::as_str)
    });
    let tags = given.tags().iter().filter_map(|tag| {
        let value = tag.value().unwrap_or_default();
        Some((tag.key()?, value))
    });
    let tags: BTreeMap<&str, &str> = tags.collect();
    Some(Instance {
        id: given.instance_id()?.to_owned(),
        instance_type: own(given
            .instance_type()
            .map(aws_sdk_ec2::types::InstanceType::as_str)),
        state: own(given
            .state()
            .and_then(|s| s.name())
            .map(aws_sdk_ec2::types::InstanceStateName::as_str)),
        availability_zone: own(given.placement().and_then(|p| p.availability_zone())),
        vpc_id: own(given.vpc_id()),
        subnet_id: own(given.subnet_id()),
        image_id: own(given.image_id()),
        platform: own(platform),
        architecture: own(given
            .architecture()
            .map(aws_sdk_ec2::types::ArchitectureValues::as_str)),
        launch_time: given.launch_time().map(micros),
        private_ip: own(given.private_ip_address()),
        public_ip: own(given.public_ip_address()),
        iam_profile: own(given.iam_instance_profile().and_then(|p| p.arn())),
        tags: tags
            .into_iter()
            .map(|(k, v)| Dimension::new(k, v))
            .collect(),
    })
}
