//! The report of a run that has been.

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::layout;
use crate::report::unpacked;
use crate::store::{StoreError, StoreErrorKind};

/// The text of a run's report: of the `last` run, of a run by its name, or of one by the address of its report below the lake's root.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn past_report(context: &RunContext, which: &str) -> Result<Option<String>, RunError> {
    let root = format!("{}/", context.config.destination);
    let store = Place::of(context).await?.store;
    let all = store.list(layout::REPORTS).await?.into_iter();
    let reports = all
        .map(|e| e.key)
        .filter(|key| layout::parse_report(key).is_some());
    // By the name of its file as well.
    let name = which.trim_end_matches(".gz").trim_end_matches(".json");
    let key = match which {
        // Their names begin with when they ran.
        "last" => reports.max_by(|a, b| layout::run_of(a).cmp(&layout::run_of(b))),
        _ => {
            let named = which.strip_prefix(&root);
            let mut reports = reports;
            reports.find(|key| Some(key.as_str()) == named || layout::run_of(key) == Some(name))
        }
    };
    let Some(key) = key else { return Ok(None) };
    let Some(body) = store.get(&key).await? else {
        return Ok(None);
    };
    let text = unpacked(&body).map_err(|error| StoreError {
        kind: StoreErrorKind::Refused,
        doing: format!("reading {key}"),
        message: format!("it is no report of a run: {error}"),
        hint: None,
    })?;
    Ok(Some(text))
}
