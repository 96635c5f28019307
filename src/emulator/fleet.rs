//! Generated data: a seeded fleet whose every raw point can be computed at any time, so that nothing is stored.

use super::faults::{mix, unit};

use crate::model::Day;

/// How a generated metric behaves. One raw value a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// Per cent with a daily wave and noise.
    Utilization,
    /// Bytes in bursts, whole numbers.
    Volume,
    /// Whole small numbers, most of them zero.
    RareCount,
    /// Always zero.
    Zero,
    /// A percentage that is full nearly all the time.
    Full,
    /// Whole numbers, nothing at night.
    Requests,
    /// Seconds, skewed.
    Latency,
    /// Dollars of the month so far, by cents a day; published every four hours.
    Charges(u32),
}

/// Minutes between two values of charges, and when the first of a day is published.
const CHARGES_EVERY: i64 = 240;
const CHARGES_AT: i64 = 130;

/// Charges of the month so far. Every series of a world rises in the same proportion on a day, so that sums are the sums of their parts.
fn charges(cents_a_day: u32, seed: u64, minute: i64) -> f64 {
    let day = Day::containing(minute * 60);
    let of_day = |n: i64| 0.7 + 0.6 * unit(mix(seed ^ n.cast_unsigned()));
    let mut days = 0.0;
    let mut at = day.month_start();
    while at < day {
        days += of_day(at.start());
        at = at.plus(1);
    }
    let part = (minute * 60 - day.start()) as f64 / 86_400.0;
    f64::from(cents_a_day) / 100.0 * (days + part * of_day(day.start()))
}

/// One generated metric of a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) dimension: &'static str,
    pub(super) unit: &'static str,
    pub(super) shape: Shape,
}

/// A generated metric: how to compute it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generated {
    pub(super) shape: Shape,
    pub(super) seed: u64,
    pub(super) unit: &'static str,
    /// Minutes from one value to the next.
    pub(super) every: i64,
}

pub(super) const INSTANCE_METRICS: [Kind; 5] = [
    kind(
        "AWS/EC2",
        "CPUUtilization",
        "InstanceId",
        "Percent",
        Shape::Utilization,
    ),
    kind(
        "AWS/EC2",
        "DiskReadOps",
        "InstanceId",
        "Count",
        Shape::RareCount,
    ),
    kind("AWS/EC2", "NetworkIn", "InstanceId", "Bytes", Shape::Volume),
    kind(
        "AWS/EC2",
        "NetworkOut",
        "InstanceId",
        "Bytes",
        Shape::Volume,
    ),
    kind(
        "AWS/EC2",
        "StatusCheckFailed",
        "InstanceId",
        "Count",
        Shape::Zero,
    ),
];

pub(super) const BALANCER_METRICS: [Kind; 3] = [
    kind(
        "AWS/ApplicationELB",
        "HTTPCode_ELB_5XX_Count",
        "LoadBalancer",
        "Count",
        Shape::RareCount,
    ),
    kind(
        "AWS/ApplicationELB",
        "RequestCount",
        "LoadBalancer",
        "Count",
        Shape::Requests,
    ),
    kind(
        "AWS/ApplicationELB",
        "TargetResponseTime",
        "LoadBalancer",
        "Seconds",
        Shape::Latency,
    ),
];

pub(super) const VOLUME_METRICS: [Kind; 3] = [
    kind(
        "AWS/EBS",
        "BurstBalance",
        "VolumeId",
        "Percent",
        Shape::Full,
    ),
    kind(
        "AWS/EBS",
        "VolumeReadOps",
        "VolumeId",
        "Count",
        Shape::RareCount,
    ),
    kind(
        "AWS/EBS",
        "VolumeWriteBytes",
        "VolumeId",
        "Bytes",
        Shape::Volume,
    ),
];

const fn kind(
    namespace: &'static str,
    name: &'static str,
    dimension: &'static str,
    unit: &'static str,
    shape: Shape,
) -> Kind {
    Kind {
        namespace,
        name,
        dimension,
        unit,
        shape,
    }
}

/// One generated instance.
#[derive(Clone, Debug)]
pub(super) struct FleetInstance {
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) tags: Vec<(&'static str, String)>,
}

/// A number of its own for everything that has a name.
pub(super) fn seed_of(seed: u64, parts: &[&str]) -> u64 {
    parts
        .iter()
        .flat_map(|p| p.bytes().chain([0]))
        .fold(mix(seed), |h, byte| mix(h ^ u64::from(byte)))
}

/// The instances of a lane; every tenth is stopped and reports nothing.
pub(super) fn instances(seed: u64, account: &str, region: &str, count: u32) -> Vec<FleetInstance> {
    const TEAMS: [&str; 4] = ["payments", "search", "platform", "data"];
    (0..count)
        .map(|n| {
            let number = n.to_string();
            let own = seed_of(seed, &[account, region, "instance", &number]);
            let team = TEAMS[n as usize % TEAMS.len()];
            FleetInstance {
                id: format!("i-{:017x}", u128::from(own) << 4 | u128::from(n & 0xf)),
                state: if n % 10 == 9 { "stopped" } else { "running" },
                tags: vec![
                    ("Name", format!("{team}-{n:03}")),
                    ("Team", team.to_owned()),
                ],
            }
        })
        .collect()
}

/// The load balancers of a lane, as their dimension spells them.
pub(super) fn balancers(seed: u64, account: &str, region: &str, count: u32) -> Vec<String> {
    (0..count)
        .map(|n| {
            format!(
                "app/web-{n}/{:016x}",
                seed_of(seed, &[account, region, "balancer", &n.to_string()])
            )
        })
        .collect()
}

/// The EBS volumes of a lane.
pub(super) fn volumes(seed: u64, account: &str, region: &str, count: u32) -> Vec<String> {
    (0..count)
        .map(|n| {
            let number = n.to_string();
            let own = seed_of(seed, &[account, region, "volume", &number]);
            format!("vol-{own:017x}")
        })
        .collect()
}

/// The raw value of a minute (minutes since the epoch), or none where the metric has a gap; one has a value every so many minutes.
pub(super) fn raw(shape: Shape, every: i64, seed: u64, minute: i64) -> Option<f64> {
    if let Shape::Charges(cents) = shape {
        let is_published = minute.rem_euclid(CHARGES_EVERY) == CHARGES_AT;
        return is_published.then(|| charges(cents, seed, minute));
    }
    if minute % every != 0 {
        return None;
    }
    let bits = mix(seed ^ minute.cast_unsigned());
    let noise = unit(bits);
    // A triangle over the day, at another hour for every series: no libm call, the same bits on every machine.
    let phase = (minute + (seed % 1_440).cast_signed()).rem_euclid(1_440) as f64 / 1_440.0;
    let wave = 1.0 - (2.0 * phase - 1.0).abs();
    match shape {
        Shape::Utilization => {
            let base = 5.0 + 40.0 * unit(mix(seed));
            Some(((base * (0.4 + wave) + 12.0 * noise) * 1_000.0).round() / 1_000.0)
        }
        Shape::Volume => Some((1_000.0 + 4_000_000.0 * wave * noise * noise * noise).round()),
        Shape::RareCount => Some(if noise < 0.97 {
            0.0
        } else {
            (unit(mix(bits)) * 20.0).floor() + 1.0
        }),
        Shape::Zero => Some(0.0),
        Shape::Full => Some(if seed.is_multiple_of(50) && wave > 0.9 {
            (100.0 - 300.0 * (wave - 0.9) * noise).round()
        } else {
            100.0
        }),
        Shape::Requests => (wave > 0.15).then(|| (wave * 900.0 * (0.5 + noise)).round()),
        Shape::Charges(_) => None,
        Shape::Latency => {
            let slow = if noise > 0.99 { 20.0 } else { 1.0 };
            Some((0.004 + 0.02 * noise * noise) * slow * (0.7 + wave))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last value that is published on a day.
    fn last_of(cents: u32, seed: u64, day: Day) -> f64 {
        let minutes = day.start() / 60..day.end() / 60;
        let published = minutes
            .rev()
            .find_map(|minute| raw(Shape::Charges(cents), 1, seed, minute));
        published.expect("charges are published every day")
    }

    /// Budgets of the demo lie outside of these.
    #[test]
    fn a_days_charges_lie_within_a_third_of_the_mean_on_every_day_of_twenty_years() {
        let mut day = Day::parse("2026-01-01").expect("a day");
        for seed in [seed_of(7, &["charges"]), 1] {
            for _ in 0..20 * 366 {
                let before = if day == day.month_start() {
                    0.0
                } else {
                    last_of(10_000, seed, day.plus(-1))
                };
                let spent = last_of(10_000, seed, day) - before;
                assert!((64.0..=131.0).contains(&spent), "{spent} of 100 on {day}");
                day = day.plus(1);
            }
        }
    }
}
