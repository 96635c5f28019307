//! The EC2 inventory to rows, and what earlier runs of the day have seen of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::ArrowError;

use super::decode::{DecodeError, dimensions_of};
use super::metrics::map_array;
use super::schema::instances_schema;
use crate::model::{Dimension, Instance, Lane};

/// The inventory of one lane as one batch.
///
/// # Shape
/// One row an instance, in the order given: sorted by id.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn instances_batch(
    lane: &Lane,
    account_name: Option<&str>,
    instances: &[Instance],
) -> Result<RecordBatch, ArrowError> {
    let rows = instances.len();
    let constant = |value: Option<&str>| -> ArrayRef {
        Arc::new(std::iter::repeat_n(value, rows).collect::<StringArray>())
    };
    let text = |get: fn(&Instance) -> Option<&str>| -> ArrayRef {
        Arc::new(instances.iter().map(get).collect::<StringArray>())
    };
    let launched = instances.iter().map(|i| i.launch_time);
    let launched: TimestampMicrosecondArray = launched.collect();
    let tags: Vec<&[Dimension]> = instances.iter().map(|i| &*i.tags).collect();
    let columns: Vec<ArrayRef> = vec![
        constant(Some(lane.account.as_str())),
        constant(account_name),
        constant(Some(lane.region.as_str())),
        text(|i| Some(&i.id)),
        text(|i| i.instance_type.as_deref()),
        text(|i| i.state.as_deref()),
        text(|i| i.availability_zone.as_deref()),
        text(|i| i.vpc_id.as_deref()),
        text(|i| i.subnet_id.as_deref()),
        text(|i| i.image_id.as_deref()),
        text(|i| i.platform.as_deref()),
        text(|i| i.architecture.as_deref()),
        Arc::new(launched.with_timezone("UTC")),
        text(|i| i.private_ip.as_deref()),
        text(|i| i.public_ip.as_deref()),
        text(|i| i.iam_profile.as_deref()),
        Arc::new(map_array(&tags)?),
    ];
    RecordBatch::try_new(instances_schema(), columns)
}

/// Adds the instances of a batch to `known`, where they are not there yet: what was described later stands.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_instances(
    batch: &RecordBatch,
    known: &mut BTreeMap<String, Instance>,
) -> Result<(), DecodeError> {
    if batch.schema().fields() != instances_schema().fields() {
        return Err(DecodeError::new("it has another schema"));
    }
    let text = |index: usize, row: usize| {
        let column = batch.column(index).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let launched = batch.column(12).as_primitive::<TimestampMicrosecondType>();
    let tags = batch.column(16).as_map();
    for row in 0..batch.num_rows() {
        let Some(id) = text(3, row) else {
            return Err(DecodeError::missing("instance_id"));
        };
        if known.contains_key(&id) {
            continue;
        }
        let instance = Instance {
            id: id.clone(),
            instance_type: text(4, row),
            state: text(5, row),
            availability_zone: text(6, row),
            vpc_id: text(7, row),
            subnet_id: text(8, row),
            image_id: text(9, row),
            platform: text(10, row),
            architecture: text(11, row),
            launch_time: launched.is_valid(row).then(|| launched.value(row)),
            private_ip: text(13, row),
            public_ip: text(14, row),
            iam_profile: text(15, row),
            tags: dimensions_of(tags.value(row).columns())?,
        };
        known.insert(id, instance);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Region};

    #[test]
    fn an_inventory_round_trips_and_the_later_description_stands() {
        let lane = Lane {
            account: AccountId::parse("000122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let hostile = "=cmd()\u{202e}<b>\0";
        let full = Instance {
            id: "i-1".to_owned(),
            instance_type: Some("m7g.large".to_owned()),
            state: Some("running".to_owned()),
            launch_time: Some(1_795_000_000_000_000),
            tags: vec![
                Dimension::new("Team", "a"),
                Dimension::new(hostile, hostile),
            ],
            ..Instance::default()
        };
        let bare = Instance {
            id: "i-2".to_owned(),
            ..Instance::default()
        };
        let batch =
            instances_batch(&lane, Some("prod"), &[full.clone(), bare.clone()]).expect("built");
        let mut known = BTreeMap::new();
        let later = Instance {
            state: Some("stopped".to_owned()),
            ..bare
        };
        known.insert("i-2".to_owned(), later.clone());
        decode_instances(&batch, &mut known).expect("decoded");
        assert_eq!(known.into_values().collect::<Vec<_>>(), [full, later]);
        let other = super::super::series_batch(&lane, None, &super::super::Catalog::new());
        assert!(decode_instances(&other.expect("built"), &mut BTreeMap::new()).is_err());
    }
}
