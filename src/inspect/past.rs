//! The report of a run that has been.

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::layout;

/// The text of a run's report: of the `last` run, or of the one at an address below the lake's root.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn past_report(context: &RunContext, which: &str) -> Result<Option<String>, RunError> {
    let root = format!("{}/", context.config.destination);
    let named = which.strip_prefix(&root).map(str::to_owned);
    if which != "last" && named.is_none() {
        return Ok(None);
    }
    let store = Place::of(context).await?.store;
    let key = match named {
        Some(key) => Some(key),
        None => {
            let all = store.list(layout::REPORTS).await?.into_iter();
            let reports = all.map(|e| e.key);
            // Their names begin with when they ran.
            reports
                .filter(|key| layout::parse_report(key).is_some())
                .max()
        }
    };
    let Some(key) = key else { return Ok(None) };
    let body = store.get(&key).await?;
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}
