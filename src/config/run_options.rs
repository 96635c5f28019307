//! How a run behaves, and how fast: what `[run]` and `[limits]` say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{LimitOverrides, Run};
use super::given::Overrides;
use super::limits::Limits;
use super::problem::{Problem, printable};
use super::regions::known_region;
use super::spanned::Spanned;
use crate::model::Region;

/// How a run behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOptions {
    /// Days before yesterday that a run without dates reads again.
    pub lookback_days: u32,
    /// Days that the reports of runs are kept.
    pub keep_reports_days: u32,
    /// Refuse to start when the plan costs more, US dollars.
    pub max_spend_usd: Option<f64>,
    /// Requests in flight over all lanes; memory and lanes at work go with it.
    pub concurrency: u32,
    /// Batches a lane may hold before the oldest is written.
    pub read_ahead: u32,
    /// Regions newer than this version.
    pub extra_regions: Vec<Region>,
    /// Region of the STS endpoint; `None` takes the base region or the account's first.
    pub sts_region: Option<Region>,
    /// Absolute path of the folder for files on their way and answers not yet written; `None` takes the destination's own.
    pub spool_dir: Option<PathBuf>,
    /// Whether answers not yet written are in the bucket as well, for a run that is resumed on another machine.
    pub spool_in_bucket: bool,
}

impl RunOptions {
    /// Whether a price is over the cap, if there is one. A cap copied from a plan is not missed by rounding.
    pub fn is_over_cap(&self, dollars: f64) -> bool {
        let cap = self.max_spend_usd;
        cap.is_some_and(|cap| dollars > cap * (1.0 + 1e-9))
    }
}

const DEFAULT_LOOKBACK_DAYS: u32 = 2;
const DEFAULT_KEEP_REPORTS_DAYS: u32 = 30;
const DEFAULT_CONCURRENCY: u32 = 32;
const DEFAULT_READ_AHEAD: u32 = 4;
pub(super) fn extra_regions(run: &Run, problems: &mut Vec<Problem>) -> Vec<Region> {
    let mut extra = Vec::new();
    for code in &run.extra_regions {
        match Region::parse(code.get_ref()) {
            Some(region) => extra.push(region),
            None => problems.push(
                Problem::at(
                    code.span(),
                    format!("'{}' is not a region code", printable(code.get_ref())),
                )
                .remedy("a code such as eu-west-1"),
            ),
        }
    }
    extra
}

pub(super) fn run_options(
    path: &Path,
    run: &Run,
    overrides: &Overrides,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> RunOptions {
    let lookback = whole(
        run.lookback_days.as_ref(),
        "lookback_days",
        0..=454,
        problems,
    );
    let keep_reports = whole(
        run.keep_reports_days.as_ref(),
        "keep_reports_days",
        1..=3_650,
        problems,
    );
    let concurrency = whole(run.concurrency.as_ref(), "concurrency", 1..=1_024, problems);
    let read_ahead = whole(run.read_ahead.as_ref(), "read_ahead", 1..=64, problems);
    check_flags(overrides, problems);
    if let Some(usd) = run
        .max_spend_usd
        .as_ref()
        .filter(|usd| !is_amount(*usd.get_ref()))
    {
        problems.push(
            Problem::at(
                usd.span(),
                format!("{} is not an amount of dollars", usd.get_ref()),
            )
            .remedy("for example 5.0"),
        );
    }
    let sts_region =
        run.sts_region
            .as_ref()
            .and_then(|code| match known_region(code.get_ref(), extra) {
                Ok(region) => Some(region),
                Err(remedy) => {
                    problems.push(
                        Problem::at(
                            code.span(),
                            format!("'{}' is not a known region", printable(code.get_ref())),
                        )
                        .remedy(remedy),
                    );
                    None
                }
            });
    RunOptions {
        lookback_days: overrides
            .lookback_days
            .or(lookback)
            .unwrap_or(DEFAULT_LOOKBACK_DAYS),
        keep_reports_days: keep_reports.unwrap_or(DEFAULT_KEEP_REPORTS_DAYS),
        max_spend_usd: overrides
            .max_spend_usd
            .or(run.max_spend_usd.as_ref().map(|u| *u.get_ref())),
        concurrency: overrides
            .concurrency
            .or(concurrency)
            .unwrap_or(DEFAULT_CONCURRENCY),
        read_ahead: read_ahead.unwrap_or(DEFAULT_READ_AHEAD),
        extra_regions: extra.to_vec(),
        sts_region,
        spool_dir: spool_dir(path, run, problems),
        spool_in_bucket: run.spool_in_bucket.unwrap_or(false),
    }
}

fn spool_dir(path: &Path, run: &Run, problems: &mut Vec<Problem>) -> Option<PathBuf> {
    let given = run.spool_dir.as_ref()?;
    let base = path.parent().unwrap_or(Path::new("."));
    let absolute = std::path::absolute(base.join(given.get_ref())).ok();
    if given.get_ref().is_empty() || absolute.is_none() {
        problems.push(
            Problem::at(given.span(), "spool_dir is no folder")
                .remedy("a local folder, relative to this file"),
        );
    }
    absolute
}

fn is_amount(usd: f64) -> bool {
    usd.is_finite() && usd >= 0.0
}

fn check_flags(overrides: &Overrides, problems: &mut Vec<Problem>) {
    if let Some(n) = overrides.concurrency.filter(|n| !(1..=1_024).contains(n)) {
        problems.push(
            Problem::whole(format!("--concurrency: {n} is not between 1 and 1024"))
                .remedy("32 is the default"),
        );
    }
    if let Some(n) = overrides.lookback_days.filter(|n| *n > 454) {
        problems.push(
            Problem::whole(format!(
                "--lookback-days: {n} is more than CloudWatch keeps"
            ))
            .remedy("at most 454"),
        );
    }
    if let Some(usd) = overrides.max_spend_usd.filter(|usd| !is_amount(*usd)) {
        problems.push(
            Problem::whole(format!("--max-spend: {usd} is not an amount of dollars"))
                .remedy("for example 5.0"),
        );
    }
}

pub(super) fn whole(
    given: Option<&Spanned<i64>>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let given = given?;
    if !range.contains(given.get_ref()) {
        problems.push(
            Problem::at(
                given.span(),
                format!("{key} = {} is out of range", given.get_ref()),
            )
            .remedy(format!("{} to {}", range.start(), range.end())),
        );
    }
    u32::try_from(*given.get_ref()).ok()
}

pub(super) fn limits(given: &LimitOverrides, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits::default();
    let mut speed = |value: &Option<Spanned<f64>>, key: &str, low: f64, target: &mut f64| {
        if let Some(value) = value {
            let number = *value.get_ref();
            if (low..=1e12).contains(&number) {
                *target = number;
            } else {
                problems.push(
                    Problem::at(value.span(), format!("{key} = {number} is out of range"))
                        .remedy(format!("{low} to 1e12; leave it out for the default")),
                );
            }
        }
    };
    macro_rules! speeds {
        ($($key:ident from $low:literal),*) => {
            $(speed(&given.$key, stringify!($key), $low, &mut limits.$key);)*
        };
    }
    speeds!(
        calls_per_second from 0.1,
        points_per_second from 1_000.0,
        recent_points_per_second from 1_000.0,
        list_metrics_per_second from 0.1,
        ec2_calls_per_second from 0.1,
        alarm_calls_per_second from 0.1
    );
    let mut of_region = |value: &Option<Spanned<f64>>, key: &str, target: &mut Option<f64>| {
        if value.is_some() {
            speed(value, key, 0.1, target.insert(1.0));
        }
    };
    of_region(
        &given.logs_calls_per_second,
        "logs_calls_per_second",
        &mut limits.logs_calls_per_second,
    );
    of_region(
        &given.log_stream_calls_per_second,
        "log_stream_calls_per_second",
        &mut limits.log_stream_calls_per_second,
    );
    let mut timeout = |value: &Option<Spanned<f64>>, key: &str, target: &mut Duration| {
        let mut seconds = target.as_secs_f64();
        speed(value, key, 0.001, &mut seconds);
        *target = Duration::from_secs_f64(seconds.min(31_536_000.0));
    };
    timeout(
        &given.connect_timeout_secs,
        "connect_timeout_secs",
        &mut limits.connect_timeout,
    );
    timeout(
        &given.read_timeout_secs,
        "read_timeout_secs",
        &mut limits.read_timeout,
    );
    timeout(
        &given.attempt_timeout_secs,
        "attempt_timeout_secs",
        &mut limits.attempt_timeout,
    );
    timeout(
        &given.unit_timeout_secs,
        "unit_timeout_secs",
        &mut limits.unit_timeout,
    );
    let most = given.series_per_lane.as_ref();
    if let Some(most) = whole(most, "series_per_lane", 1..=1_000_000_000, problems) {
        limits.series_per_lane = most;
    }
    if let Some(attempts) = whole(given.attempts.as_ref(), "attempts", 1..=100, problems) {
        limits.attempts = attempts;
    }
    limits
}
