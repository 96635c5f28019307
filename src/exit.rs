//! Every way to end: which exit code an error has, and what to do about it.
//!
//! 0 done · 1 internal · 2 usage or configuration · 3 finished, but some units failed · 4 nothing matched · 5 destination, network or other
//! temporary fault · 6 no usable base credentials · 7 another run holds the lock · 8 budget cap · 130, 143 stopped by a signal. What a run that
//! came to its end ends with stands at its report.

use crate::commit::{GroupError, LakeError};
use crate::config::{ConfigError, RangeError};
use crate::ddl::DdlError;
use crate::iam::{GrantsError, PrincipalError};
use crate::init::InitError;
use crate::model::{Cause, CauseKind};
use crate::run::RunError;
use crate::store::{StoreError, StoreErrorKind};

/// What was typed makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Exit code of what was typed or configured wrongly.
pub const USAGE: u8 = 2;

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    if is_usage(error) {
        return USAGE;
    }
    if let Some(cause) = error.downcast_ref::<Cause>() {
        return exit_code_of(cause);
    }
    match error.downcast_ref::<RunError>() {
        Some(
            RunError::Lake(LakeError::NotWritable { .. } | LakeError::Unknown { .. })
            | RunError::Config(_)
            | RunError::Clock { .. }
            | RunError::Group(GroupError::Other { .. } | GroupError::Begun { .. }),
        ) => USAGE,
        Some(
            RunError::Lake(LakeError::Unavailable { .. })
            | RunError::Unreadable(_)
            | RunError::Incomplete { .. }
            | RunError::Group(GroupError::None { .. }),
        ) => 5,
        Some(RunError::Lake(LakeError::Locked(_))) => 7,
        Some(RunError::Credentials(_)) => 6,
        Some(RunError::Organization(cause)) => exit_code_of(cause),
        Some(RunError::OverBudget { .. }) => 8,
        Some(RunError::Stopped(signal)) => {
            if *signal == "SIGTERM" {
                143
            } else {
                130
            }
        }
        Some(RunError::Store(error) | RunError::Group(GroupError::Store(error))) => {
            match error.kind {
                StoreErrorKind::Refused | StoreErrorKind::NotAllowed => USAGE,
                StoreErrorKind::Temporary | StoreErrorKind::Changed => 5,
            }
        }
        None => 1,
    }
}

/// What was typed or written is wrong.
fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<ConfigError>()
        || error.is::<RangeError>()
        || error.is::<PrincipalError>()
        || error.is::<GrantsError>()
        || error.is::<DdlError>()
        || error.is::<Usage>()
        || matches!(
            error.downcast_ref(),
            Some(
                InitError::Exists(_)
                    | InitError::NoFile
                    | InitError::Io(..)
                    | InitError::Ids(..)
                    | InitError::Config(_)
            )
        )
}

/// A call that everything else waits for.
fn exit_code_of(cause: &Cause) -> u8 {
    match cause.kind {
        CauseKind::NoCredentials | CauseKind::ExpiredToken => 6,
        kind if kind.is_retryable() => 5,
        _ => 2,
    }
}

/// What to do about an error, where that is known.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(cause) = error.downcast_ref::<Cause>() {
        return cause.hint.clone();
    }
    match error.downcast_ref() {
        Some(InitError::Exists(_)) => {
            return Some(
                "--config names another file; --missing-ids adds external ids to this one"
                    .to_owned(),
            );
        }
        Some(InitError::Io(..)) => {
            return Some(
                "--config names the file; its folder must be there, and writable".to_owned(),
            );
        }
        Some(InitError::NoFile) => {
            return Some("add external_ids = \"external-ids.toml\" under [defaults]".to_owned());
        }
        _ => {}
    }
    let own = |source: &StoreError, otherwise: &str| {
        let hint = source.hint.clone();
        Some(hint.unwrap_or_else(|| otherwise.to_owned()))
    };
    match error.downcast_ref::<RunError>()? {
        RunError::Credentials(cause)
        | RunError::Organization(cause)
        | RunError::Unreadable(cause) => cause.hint.clone(),
        RunError::Clock { .. } => Some(
            "set the machine's clock, for example by NTP: days would be called whole that are not over, and nothing was asked".to_owned(),
        ),
        RunError::OverBudget { .. } => Some(
            "cwlake plan shows what costs most; --max-spend or run.max_spend_usd raises the cap; of shards, cwlake plan --shards N --write gives each what its own plan costs"
                .to_owned(),
        ),
        RunError::Lake(LakeError::NotWritable { source, .. }) => own(
            source,
            "nothing was asked of CloudWatch; check destination.url, its permissions and its disk",
        ),
        RunError::Lake(LakeError::Unavailable { source, .. }) => {
            own(source, "nothing was asked of CloudWatch; try again later")
        }
        RunError::Lake(LakeError::Unknown { .. }) => Some(
            "use the cwlake that wrote it, or another destination.url; nothing was asked and nothing written".to_owned(),
        ),
        RunError::Lake(LakeError::Locked(_)) => {
            Some("wait for it to end; a lock whose run died is taken over by itself".to_owned())
        }
        RunError::Stopped(_) | RunError::Config(_) => None,
        RunError::Group(GroupError::Other { .. } | GroupError::Begun { .. }) => Some(
            "give the shards of each run a --group of their own; nothing was asked of CloudWatch"
                .to_owned(),
        ),
        RunError::Group(GroupError::None { .. }) => Some(
            "begin its shards first; give --group and the days as they were given them".to_owned(),
        ),
        RunError::Incomplete { .. } => Some(
            "look at what these shards ended with, start them again, then cwlake gather: of days that are final, what they have finished is not asked again".to_owned(),
        ),
        RunError::Store(source) | RunError::Group(GroupError::Store(source)) => own(source, "nothing was asked of CloudWatch"),
    }
}
