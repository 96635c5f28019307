//! EC2: `DescribeInstances` and `DescribeRegions`, EC2 query protocol.
//!
//! # Source
//! EC2 API reference: `MaxResults` 5 to 1,000, tokens, filters with `*` and `?`.

use std::fmt::Write;

use super::answer::{Answer, Form, xml_escape};
use super::fleet::{FleetInstance, instances};
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
        .map(|i| item(i, account, region))
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

fn item(instance: &FleetInstance, account: &AccountSpec, region: &str) -> String {
    let owner = &account.id;
    let mut tags = String::new();
    let of_account = account.instance_tags.iter().map(|(k, v)| (k.as_str(), v));
    let own = instance.tags.iter().map(|(k, v)| (*k, v));
    for (key, value) in own.chain(of_account) {
        let _ = write!(
            tags,
            "<item><key>{}</key><value>{}</value></item>",
            xml_escape(key),
            xml_escape(value)
        );
    }
    let is_running = instance.state == "running";
    let code = if is_running { 16 } else { 80 };
    let own = u32::from_str_radix(&instance.id[10..18], 16).unwrap_or(0);
    let public = if is_running && own.is_multiple_of(4) {
        format!("<ipAddress>198.51.100.{}</ipAddress>", own % 250)
    } else {
        String::new()
    };
    format!(
        "<item><reservationId>r-{id}</reservationId><ownerId>{owner}</ownerId><instancesSet><item><instanceId>{id}</instanceId>\
         <imageId>ami-0123456789abcdef0</imageId><instanceState><code>{code}</code><name>{state}</name></instanceState>\
         <instanceType>m7g.large</instanceType><launchTime>2026-10-{day:02}T08:30:15.000Z</launchTime>\
         <placement><availabilityZone>{region}a</availabilityZone></placement><vpcId>vpc-0{own:08x}</vpcId>\
         <subnetId>subnet-0{own:08x}</subnetId><privateIpAddress>10.{a}.{b}.{c}</privateIpAddress>{public}\
         <architecture>arm64</architecture><platformDetails>Linux/UNIX</platformDetails>\
         <iamInstanceProfile><arn>arn:aws:iam::{owner}:instance-profile/app</arn><id>AIPA{own:08X}</id></iamInstanceProfile>\
         <tagSet>{tags}</tagSet></item></instancesSet></item>",
        id = instance.id,
        state = instance.state,
        day = own % 28 + 1,
        a = own % 250,
        b = own / 250 % 250,
        c = own / 62_500 % 250,
    )
}
