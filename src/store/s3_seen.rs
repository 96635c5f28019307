//! What a process saw of each object last, so that it replaces that and nothing newer.
//!
//! The lock alone does not keep an older run from overwriting a newer one's object: a request that was under way when the lock changed hands is
//! carried out whenever the network delivers it. S3 refuses it by its condition.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What an object was when it was last looked at or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing was there.
    Absent,
    /// This version, by its `ETag`.
    Version(String),
}

/// The objects that were looked at: about 150 bytes for each. Objects that were not are written unconditionally.
#[derive(Debug, Default)]
pub(super) struct SeenObjects(Mutex<HashMap<String, Seen>>);

/// Headers of a conditional request.
///
/// # Source
/// S3 user guide, "Conditional requests"; RFC 9110, `If-Match` and `If-None-Match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
}

impl SeenObjects {
    /// Notes what is there; a store that names no version leaves nothing to compare with.
    pub(super) fn saw(&self, key: &str, etag: Option<&str>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match etag {
            // A weak one matches nothing.
            Some(etag) if etag.is_empty() || etag.starts_with("W/") => seen.remove(key),
            Some(etag) => seen.insert(key.to_owned(), Seen::Version(etag.to_owned())),
            None => seen.insert(key.to_owned(), Seen::Absent),
        };
    }

    /// What a write or removal of the object is to be refused by.
    pub(super) fn conditions(&self, key: &str) -> Conditions {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(key) {
            None => Conditions::default(),
            Some(Seen::Absent) => Conditions {
                if_none_match: Some("*".to_owned()),
                ..Conditions::default()
            },
            Some(Seen::Version(etag)) => Conditions {
                if_match: Some(etag.clone()),
                ..Conditions::default()
            },
        }
    }
}

/// Whether a conditional request was refused because the object is another one, or none, or is being written. Our own earlier try may have
/// done that, its answer lost: what stands there decides.
///
/// # Source
/// S3 user guide, "Conditional writes": 412 where the condition fails, 409 during another write, 404 where there is nothing to match.
pub(super) fn is_changed<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> bool {
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let code = error.as_service_error().and_then(|e| e.code());
    matches!(status, 404 | 409 | 412) && !matches!(code, Some("NoSuchBucket" | "NoSuchUpload"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_last_is_what_may_be_replaced() {
        let seen = SeenObjects::default();
        assert_eq!(seen.conditions("a"), Conditions::default());
        seen.saw("a", None);
        assert_eq!(seen.conditions("a").if_none_match.as_deref(), Some("*"));
        seen.saw("a", Some("\"1\""));
        assert_eq!(seen.conditions("a").if_match.as_deref(), Some("\"1\""));
        assert_eq!(seen.conditions("b"), Conditions::default());
        for none in ["", "W/\"1\""] {
            seen.saw("a", Some("\"2\""));
            seen.saw("a", Some(none));
            assert_eq!(seen.conditions("a"), Conditions::default());
        }
    }
}
