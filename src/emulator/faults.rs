//! Failing on demand.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// A fault: which requests, how often, and what happens to them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Operation such as `GetMetricData`; all when left out.
    pub operation: Option<String>,
    /// Account called.
    pub account: Option<String>,
    /// Region called.
    pub region: Option<String>,
    /// Only requests that ask for this metric; status faults then touch its results alone.
    pub metric_name: Option<String>,
    /// Share of the matching requests, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// At most so many times.
    pub times: Option<u64>,
    /// Only after so many matching requests.
    #[serde(default)]
    pub after: u64,
    /// What happens.
    pub kind: FaultKind,
    /// HTTP status of `error`.
    #[serde(default = "internal")]
    pub status: u16,
    /// Error code of `error`.
    #[serde(default)]
    pub code: String,
    /// Pause of `delay` and `drip`.
    #[serde(default)]
    pub millis: u64,
    /// Points or log events on a page of `small_pages`.
    #[serde(default = "one_thousand")]
    pub points: usize,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// `Throttling`, HTTP 400.
    Throttle,
    /// `status` and `code`.
    Error,
    /// A pause of `millis` before the answer.
    Delay,
    /// Half of the body, then the connection ends.
    Cut,
    /// No answer, ever.
    Hang,
    /// Half of the body, as if it were all of it.
    Halve,
    /// HTTP 200 with an answer that has no list.
    NoList,
    /// No instance has a tag.
    Untagged,
    /// The second result under the id of the first.
    Twice,
    /// Headers at once, the body byte by byte, `millis` apart.
    Drip,
    /// HTTP 200 with a body that is no answer.
    Garbage,
    /// HTTP 200 with an empty body.
    EmptyBody,
    /// `ExpiredToken`.
    ExpiredToken,
    /// `ValidationError` for the whole request.
    Invalid,
    /// Results with `PartialData` and no token.
    PartialData,
    /// Results with `InternalError`.
    InternalError,
    /// Results with `Forbidden`.
    Forbidden,
    /// Results are left out; of `DescribeInstances`, every second instance.
    Omit,
    /// Pages of `points` points, whatever was asked.
    SmallPages,
    /// The last page carries the same token for ever.
    RepeatToken,
    /// Every point twice, the first time with another value, in shuffled order.
    Shuffle,
    /// A timestamp column one short.
    Unequal,
    /// One result more, under an id nobody asked for.
    UnknownId,
    /// A message about the request as a whole.
    Message,
    /// Of log events: a page without any, with a token to go on.
    EmptyPage,
}

fn always() -> f64 {
    1.0
}

fn one_thousand() -> usize {
    1_000
}

fn internal() -> u16 {
    500
}

/// What a fault is matched against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) operation: &'a str,
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    pub(super) metric_names: &'a [&'a str],
}

/// The faults of a world with how often each has matched and struck.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    all: Vec<(Fault, AtomicU64, AtomicU64)>,
}

impl Faults {
    pub(super) fn new(seed: u64, faults: Vec<Fault>) -> Self {
        Self {
            seed,
            all: faults
                .into_iter()
                .map(|f| (f, AtomicU64::new(0), AtomicU64::new(0)))
                .collect(),
        }
    }

    /// The faults that strike this request.
    pub(super) fn strike(&self, subject: Subject<'_>) -> Vec<Fault> {
        let mut struck = Vec::new();
        for (index, (fault, matched, strikes)) in self.all.iter().enumerate() {
            let is =
                |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|w| w == given);
            let metric = fault
                .metric_name
                .as_deref()
                .is_none_or(|m| subject.metric_names.contains(&m));
            if !(is(&fault.operation, subject.operation)
                && is(&fault.account, subject.account)
                && is(&fault.region, subject.region)
                && metric)
            {
                continue;
            }
            let nth = matched.fetch_add(1, Ordering::Relaxed);
            let draw = unit(mix(self.seed ^ ((index as u64) << 32) ^ nth));
            if nth < fault.after || draw >= fault.rate {
                continue;
            }
            if fault
                .times
                .is_none_or(|times| strikes.fetch_add(1, Ordering::Relaxed) < times)
            {
                struck.push(fault.clone());
            }
        }
        struck
    }
}

/// Codes a fault may name.
pub(super) const KNOWN_CODES: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "InternalFailure",
    "InternalServiceFault",
    "ServiceUnavailable",
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "UnrecognizedClientException",
    "RegionDisabledException",
    "OptInRequired",
    "InvalidClientTokenId",
    "AuthFailure",
    "ExpiredToken",
    "InvalidNextToken",
    "RequestTimeTooSkewed",
    "ResourceNotFoundException",
];

/// The finalizer of `SplitMix64`: every bit of the input reaches every bit of the output.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 0 to 1, 1 excluded.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
