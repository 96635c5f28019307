//! How things end. Loss is a value: every unit ends in exactly one of these, with its cause.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a unit of commit: one (dataset, UTC day, account, region).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitOutcome {
    /// Its file is in place and holds what was asked for.
    Written,
    /// Everything was asked and nothing was there; no file.
    Empty,
    /// Not asked, or not replaced, for a stated reason that is not a failure.
    Skipped,
    /// Access was denied; no file.
    Forbidden,
    /// It could not be finished; nothing was published for it.
    Failed,
}

impl UnitOutcome {
    /// From the best to the worst.
    pub const ALL: [Self; 5] = [
        Self::Written,
        Self::Empty,
        Self::Skipped,
        Self::Forbidden,
        Self::Failed,
    ];

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Empty => "empty",
            Self::Skipped => "skipped",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
        }
    }
}

/// What kind of trouble a [`Cause`] is; decides between retry, refresh, refusal and the outcome of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// Asked to slow down.
    Throttled,
    /// Network, time-out, 5xx or a broken answer: another try may succeed.
    Transient,
    /// The session's token is no longer valid.
    ExpiredToken,
    /// IAM or a trust policy says no.
    AccessDenied,
    /// A policy of the organization says no, whatever the role may do.
    PolicyDenied,
    /// Something says no that no Allow in the caller's own policy helps against: a Deny, a boundary, a session's or an endpoint's policy, a key,
    /// the state of the account.
    Barred,
    /// The region is not enabled for the account.
    RegionDisabled,
    /// No connection to the service came about.
    Unreachable,
    /// The request itself is wrong.
    Validation,
    /// The page token is unknown or has expired.
    InvalidToken,
    /// The answer breaks the protocol: unknown id, unequal columns, a token that repeats.
    Protocol,
    /// No usable credentials at the base of the chain.
    NoCredentials,
    /// The role's account is not the configured one.
    WrongAccount,
    /// The destination refused: full, read-only, gone.
    Destination,
    /// A time limit of ours ran out.
    TimeLimit,
    /// The next request would have cost more than allowed.
    Budget,
    /// Stopped by a signal.
    Interrupted,
    /// Anything else the service answered.
    Other,
}

impl CauseKind {
    /// Whether it speaks of a whole region, so that a region nobody named is left out for it.
    pub fn is_about_a_region(self) -> bool {
        matches!(
            self,
            Self::RegionDisabled | Self::PolicyDenied | Self::Unreachable
        )
    }

    /// Whether somebody says no to who asks.
    pub fn is_denial(self) -> bool {
        matches!(self, Self::AccessDenied | Self::PolicyDenied | Self::Barred)
    }

    /// Whether asking again, unchanged, can help.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Transient | Self::Unreachable | Self::ExpiredToken
        )
    }
}

/// Why something ended as it did: kind, what was being done, the text of the cause, and the remedy where we know one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The class of trouble.
    pub kind: CauseKind,
    /// The service's own code of the refusal, where one came: what code decides by. Texts are for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was being done and what was answered, one line.
    pub message: String,
    /// What to change, where that is known: a flag, a setting or an IAM action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Cause {
    /// A cause without a hint.
    pub fn new(kind: CauseKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A signal came.
    pub fn stopped() -> Self {
        Self::new(CauseKind::Interrupted, "stopped by a signal")
    }

    /// Another run took the lake's lock.
    pub fn lock_lost() -> Self {
        let text = "another run took the destination's lock: nothing more is published";
        Self::new(CauseKind::Destination, text).with_hint("run again when the other run has ended")
    }

    /// A limit of ours ran out; `what` is to be raised, or else to be made less.
    pub fn time_limit(limit: std::time::Duration, remedy: &str) -> Self {
        let text = format!("not finished within {} s", limit.as_secs());
        Self::new(CauseKind::TimeLimit, text).with_hint(remedy)
    }

    /// A task of ours ended in a panic.
    pub fn broke_down() -> Self {
        Self::new(CauseKind::Other, "a worker of this lane broke down")
            .with_hint("this is a bug: run with RUST_BACKTRACE=1 and report what stderr says")
    }

    /// A task of ours ended well without one of its units.
    pub fn not_made() -> Self {
        Self::new(CauseKind::Other, "the unit was planned and not made")
            .with_hint("this is a bug: report it with the run's report")
    }

    /// A fault of the destination, with the text of all that lies below it.
    pub fn of_destination(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(below) = source {
            let text = below.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = below.source();
        }
        Self::new(CauseKind::Destination, message)
    }

    /// The same cause with the service's code.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        if !code.is_empty() {
            self.code = Some(code.to_owned());
        }
        self
    }

    /// Whether the service gave this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The same cause with a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The outcome of a unit that ends with this cause.
    pub fn unit_outcome(&self) -> UnitOutcome {
        if self.kind.is_denial() {
            UnitOutcome::Forbidden
        } else {
            UnitOutcome::Failed
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {}
