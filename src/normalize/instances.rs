//! The EC2 inventory to rows, and what earlier runs of the day have seen of it.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::rows::{Cell, Owner, Rows, batch_of};
use crate::lake::table::INSTANCES;
use crate::model::Instance;

/// The inventory of one lane as one batch.
///
/// # Shape
/// One row an instance, in the order given: sorted by id.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn instances_batch(
    owner: Owner<'_>,
    instances: &[Instance],
) -> Result<RecordBatch, ArrowError> {
    batch_of(&INSTANCES, owner, instances, |i, column| match column {
        "instance_id" => Cell::Text(&i.id),
        "instance_type" => Cell::text(i.instance_type.as_deref()),
        "state" => Cell::text(i.state.as_deref()),
        "availability_zone" => Cell::text(i.availability_zone.as_deref()),
        "vpc_id" => Cell::text(i.vpc_id.as_deref()),
        "subnet_id" => Cell::text(i.subnet_id.as_deref()),
        "image_id" => Cell::text(i.image_id.as_deref()),
        "platform" => Cell::text(i.platform.as_deref()),
        "architecture" => Cell::text(i.architecture.as_deref()),
        "launch_time" => Cell::number(i.launch_time),
        "private_ip" => Cell::text(i.private_ip.as_deref()),
        "public_ip" => Cell::text(i.public_ip.as_deref()),
        "iam_profile" => Cell::text(i.iam_profile.as_deref()),
        "tags" => Cell::Map(&i.tags),
        _ => Cell::Null,
    })
}

/// The instances of a batch, by id.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_instances(
    batch: &RecordBatch,
    known: &mut BTreeMap<String, Instance>,
) -> Result<(), DecodeError> {
    let rows = Rows::of(&INSTANCES, batch)?;
    for row in 0..rows.len() {
        let text = |name: &str| rows.text(name, row).map(str::to_owned);
        let id = rows.must("instance_id", row)?.to_owned();
        let instance = Instance {
            id: id.clone(),
            instance_type: text("instance_type"),
            state: text("state"),
            availability_zone: text("availability_zone"),
            vpc_id: text("vpc_id"),
            subnet_id: text("subnet_id"),
            image_id: text("image_id"),
            platform: text("platform"),
            architecture: text("architecture"),
            launch_time: rows.number("launch_time", row),
            private_ip: text("private_ip"),
            public_ip: text("public_ip"),
            iam_profile: text("iam_profile"),
            tags: rows.map("tags", row)?,
        };
        known.insert(id, instance);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Dimension, Lane, Region};

    #[test]
    fn an_inventory_round_trips() {
        let lane = Lane {
            account: AccountId::parse("000122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let hostile = "=cmd()\u{202e}<b>\0";
        let full = Instance {
            id: "i-1".to_owned(),
            instance_type: Some("m7g.large".to_owned()),
            state: Some("running".to_owned()),
            availability_zone: Some("us-east-1a".to_owned()),
            vpc_id: Some("vpc-1".to_owned()),
            subnet_id: Some("subnet-1".to_owned()),
            image_id: Some("ami-1".to_owned()),
            platform: Some("windows".to_owned()),
            architecture: Some("arm64".to_owned()),
            launch_time: Some(1_795_000_000_000_000),
            private_ip: Some("10.0.0.1".to_owned()),
            public_ip: Some("198.51.100.1".to_owned()),
            iam_profile: Some("arn:aws:iam::000122223333:instance-profile/p".to_owned()),
            tags: vec![
                Dimension::new("Team", "a"),
                Dimension::new(hostile, hostile),
            ],
        };
        let bare = Instance {
            id: "i-2".to_owned(),
            ..Instance::default()
        };
        let owner = Owner {
            lane: &lane,
            account_name: Some("prod"),
        };
        let batch = instances_batch(owner, &[full.clone(), bare.clone()]).expect("built");
        let mut known = BTreeMap::new();
        decode_instances(&batch, &mut known).expect("decoded");
        assert_eq!(known.into_values().collect::<Vec<_>>(), [full, bare]);
        let other = super::super::series_batch(owner, &super::super::Catalog::new());
        assert!(decode_instances(&other.expect("built"), &mut BTreeMap::new()).is_err());
    }
}
