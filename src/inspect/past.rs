//! The report of a run that has been.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::layout;
use crate::model::Cause;
use crate::report::{AccountReport, unpacked};
use crate::store::{Store, StoreError, StoreErrorKind};

/// The text of a run's report: of the `last` run, of a run by its name, or of one by the address of its report below the lake's root.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn past_report(context: &RunContext, which: &str) -> Result<Option<String>, RunError> {
    let root = format!("{}/", context.config.destination);
    let store = Place::of(context).await?.store;
    let keys = report_keys(&*store).await?;
    // By the name of its file as well.
    let name = which.trim_end_matches(".gz").trim_end_matches(".json");
    let key = match which {
        "last" => newest(keys),
        _ => {
            let named = which.strip_prefix(&root);
            let mut keys = keys.into_iter();
            keys.find(|key| Some(key.as_str()) == named || layout::run_of(key) == Some(name))
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

/// Every report that is kept, by its address.
///
/// # Errors
/// The store's.
pub(super) async fn report_keys(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let all = store.list(layout::REPORTS).await?.into_iter();
    let keys = all.map(|e| e.key);
    Ok(keys.filter(|k| layout::parse_report(k).is_some()).collect())
}

/// Names of reports begin with when their runs did.
fn newest(keys: Vec<String>) -> Option<String> {
    let keys = keys.into_iter();
    keys.max_by(|a, b| layout::run_of(a).cmp(&layout::run_of(b)))
}

/// Why the last run could not enter accounts, by their ids; nothing where it has no report that can be read.
///
/// # Errors
/// The store's.
pub(super) async fn not_entered(store: &dyn Store) -> Result<BTreeMap<String, Cause>, StoreError> {
    let Some(key) = newest(report_keys(store).await?) else {
        return Ok(BTreeMap::new());
    };
    let body = store.get(&key).await?.unwrap_or_default();
    let report = serde_json::from_str::<Entered>(&unpacked(&body).unwrap_or_default());
    let accounts = report.map_or_else(|_| Vec::new(), |report| report.accounts);
    let causes = accounts.into_iter();
    Ok(causes
        .filter_map(|a| Some((a.account_id, a.cause?)))
        .collect())
}

/// Of a report, how its accounts were entered.
#[derive(Deserialize)]
struct Entered {
    #[serde(default)]
    accounts: Vec<AccountReport>,
}
