//! What is wrong in a lake, and how it is looked for.

use serde::Serialize;

use crate::given::context::RunContext;
use crate::model::Lane;
use crate::store::{StoreError, StoreErrorKind};

/// A file that is not what the manifest says, or not what a unit must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its key.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// Objects that are looked at side by side.
pub(super) const AT_ONCE: usize = 16;

/// Whether a lane is one that was asked for.
pub(super) fn wanted(context: &RunContext, lane: &Lane) -> bool {
    let config = &context.config;
    config.is_about(&lane.account) && config.reads(&lane.region)
}

/// What is to be said of an object that cannot be read, whoever asks again.
///
/// # Errors
/// The store's own trouble, which says nothing of the object.
pub(super) fn unreadable_for_good(error: StoreError) -> Result<String, StoreError> {
    match error.kind {
        StoreErrorKind::Refused => Ok(match error.hint {
            Some(hint) => format!("{} ({hint})", error.message),
            None => error.message,
        }),
        _ => Err(error),
    }
}
