//! The regions AWS has opened, so that a misspelt one is refused before any call.

use super::file::Regions;
use super::problem::{Problem, printable};
use super::spanned::Spanned;
use crate::model::{Partition, Region};

/// Region codes of every public partition.
///
/// # Source
/// botocore `data/endpoints.json` and the AWS account guide's region table, November 2026. A newer one is allowed by
/// `run.extra_regions`.
const KNOWN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Every region of a partition that this version knows, with those the configuration adds, for an account that does not tell which are enabled.
pub fn known_regions(partition: Partition, extra: &[Region]) -> Vec<Region> {
    let known = KNOWN.iter().filter_map(|code| Region::parse(code));
    let mut regions: Vec<Region> = known.chain(extra.iter().cloned()).collect();
    regions.retain(|region| region.partition() == partition);
    regions.sort();
    regions.dedup();
    regions
}

/// Reads a region code that is known, or listed in `extra`.
///
/// # Errors
/// The remedy: the nearest known code.
pub(super) fn known_region(code: &str, extra: &[Region]) -> Result<Region, String> {
    let nearest = || {
        let near = KNOWN
            .iter()
            .min_by_key(|known| strsim::damerau_levenshtein(code, known))
            .unwrap_or(&"us-east-1");
        format!(
            "did you mean '{near}'? a region newer than this version is allowed by run.extra_regions"
        )
    };
    let region = Region::parse(code).ok_or_else(nearest)?;
    if KNOWN.contains(&code) || extra.contains(&region) {
        Ok(region)
    } else {
        Err(nearest())
    }
}

/// Which regions of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionChoice {
    /// Every region enabled for the account (`DescribeRegions`).
    Auto,
    /// These, each a failure when it cannot be read.
    Named(Vec<Region>),
}

pub(super) fn region_choice(
    given: &Spanned<Regions>,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> Option<RegionChoice> {
    let list = match given.get_ref() {
        Regions::Word(word) if word == "auto" => return Some(RegionChoice::Auto),
        Regions::Word(word) => {
            problems.push(
                Problem::at(
                    given.span(),
                    format!("'{}' is not a list of regions", printable(word)),
                )
                .remedy("write [\"us-east-1\"], or \"auto\" for every enabled region"),
            );
            return None;
        }
        Regions::List(list) => list,
    };
    if list.is_empty() {
        problems.push(
            Problem::at(given.span(), "the list of regions is empty")
                .remedy("name at least one region, or write \"auto\""),
        );
        return None;
    }
    let mut regions = Vec::new();
    for code in list {
        if code == "auto" || code == "*" {
            problems.push(
                Problem::at(given.span(), format!("'{code}' cannot stand in a list"))
                    .remedy("write regions = \"auto\" alone"),
            );
            return None;
        }
        match known_region(code, extra) {
            Ok(region) => regions.push(region),
            Err(remedy) => {
                problems.push(
                    Problem::at(
                        given.span(),
                        format!("'{}' is not a known region", printable(code)),
                    )
                    .remedy(remedy),
                );
                return None;
            }
        }
    }
    regions.sort();
    regions.dedup();
    let first = regions[0].partition();
    if let Some(other) = regions.iter().find(|r| r.partition() != first) {
        problems.push(
            Problem::at(
                given.span(),
                format!("{} and {other} belong to different partitions", regions[0]),
            )
            .remedy("an account lives in one partition: split the entry"),
        );
        return None;
    }
    Some(RegionChoice::Named(regions))
}
