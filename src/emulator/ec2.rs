//! EC2: `DescribeInstances` and `DescribeRegions`, EC2 query protocol.
//!
//! # Source
//! EC2 API reference: `MaxResults` 5 to 1,000, tokens, filters with `*` and `?`.

use std::fmt::Write;

use super::fleet::{FleetInstance, instances};
use super::server::{Answer, Form, xml_escape};
use super::world::{AccountSpec, World};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

pub(super) fn handle(
    world: &World,
    account: &AccountSpec,
    region: &str,
    form: &Form,
    omit: bool,
) -> Answer {
    match form.get("Action") {
        Some("DescribeInstances") => describe_instances(world, account, region, form, omit),
        Some("DescribeRegions") => {
            let mut items = String::new();
            let mut add = |name: &str, status: &str| {
                let _ = write!(
                    items,
                    "<item><regionName>{name}</regionName><regionEndpoint>ec2.{name}.amazonaws.com</regionEndpoint>\
                     <optInStatus>{status}</optInStatus></item>"
                );
            };
            for name in &account.regions {
                add(name, "opt-in-not-required");
            }
            if form.get("AllRegions") == Some("true") {
                for name in &account.disabled_regions {
                    add(name, "not-opted-in");
                }
            }
            Answer::xml(format!(
                "<DescribeRegionsResponse xmlns=\"{NAMESPACE}\"><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"
            ))
        }
        other => Answer::ec2_error(
            400,
            "InvalidAction",
            &format!("unknown action {}", other.unwrap_or("none")),
        ),
    }
}

fn describe_instances(
    world: &World,
    account: &AccountSpec,
    region: &str,
    form: &Form,
    omit: bool,
) -> Answer {
    let size = match form.get("MaxResults").map(str::parse::<usize>) {
        None => 1_000,
        Some(Ok(n)) if (5..=1_000).contains(&n) => n,
        Some(_) => {
            return Answer::ec2_error(
                400,
                "InvalidParameterValue",
                "MaxResults must be between 5 and 1000",
            );
        }
    };
    let from = match form.get("NextToken").map(|t| {
        t.strip_prefix("page-")
            .and_then(|n| n.parse::<usize>().ok())
    }) {
        None => 0,
        Some(Some(n)) => n,
        Some(None) => {
            return Answer::ec2_error(400, "InvalidNextToken", "the token is not one of ours");
        }
    };
    let filters = filters(form);
    let wanted: Vec<FleetInstance> = instances(world.seed, &account.id, region, account.instances)
        .into_iter()
        .filter(|i| filters.iter().all(|(name, values)| passes(i, name, values)))
        .step_by(if omit { 2 } else { 1 })
        .collect();
    let page: String = wanted
        .iter()
        .skip(from)
        .take(size)
        .map(|i| item(i, &account.id))
        .collect();
    let token = if from + size < wanted.len() {
        format!("<nextToken>page-{}</nextToken>", from + size)
    } else {
        String::new()
    };
    Answer::xml(format!(
        "<DescribeInstancesResponse xmlns=\"{NAMESPACE}\"><reservationSet>{page}</reservationSet>{token}</DescribeInstancesResponse>"
    ))
}

fn filters(form: &Form) -> Vec<(String, Vec<String>)> {
    (1..)
        .map_while(|n| {
            form.get(&format!("Filter.{n}.Name"))
                .map(|name| (n, name.to_owned()))
        })
        .map(|(n, name)| {
            let values = (1..)
                .map_while(|v| {
                    form.get(&format!("Filter.{n}.Value.{v}"))
                        .map(str::to_owned)
                })
                .collect();
            (name, values)
        })
        .collect()
}

fn passes(instance: &FleetInstance, filter: &str, values: &[String]) -> bool {
    let any = |given: &str| values.iter().any(|pattern| wildcard(pattern, given));
    match filter {
        "instance-state-name" => any(instance.state),
        "instance-id" => any(&instance.id),
        _ => match filter.strip_prefix("tag:") {
            Some(key) => instance.tags.iter().any(|(k, v)| *k == key && any(v)),
            None => false,
        },
    }
}

fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|i| rest.is_char_boundary(i) && wildcard(tail, &rest[i..]))
        }),
    }
}

fn item(instance: &FleetInstance, owner: &str) -> String {
    let mut tags = String::new();
    for (key, value) in &instance.tags {
        let _ = write!(
            tags,
            "<item><key>{}</key><value>{}</value></item>",
            xml_escape(key),
            xml_escape(value)
        );
    }
    let code = if instance.state == "running" { 16 } else { 80 };
    format!(
        "<item><reservationId>r-{id}</reservationId><ownerId>{owner}</ownerId><instancesSet><item><instanceId>{id}</instanceId>\
         <imageId>ami-0123456789abcdef0</imageId><instanceState><code>{code}</code><name>{state}</name></instanceState>\
         <instanceType>m7g.large</instanceType><tagSet>{tags}</tagSet></item></instancesSet></item>",
        id = instance.id,
        state = instance.state,
    )
}
