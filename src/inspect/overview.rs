//! A lake as a whole: how whole it is, what there is of it, what its runs did, and what was spent.

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::past::report_keys;
use super::status::{StatusReport, status};
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::layout;
use crate::model::{Dataset, Day, iso_seconds};
use crate::report::{Totals, unpacked};
use crate::run::spend;
use crate::spend::SpendReport;
use crate::store::{Store, StoreError};

/// A lake as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// When it was looked at, RFC 3339 UTC.
    pub made_at: String,
    /// How whole it is.
    pub status: StatusReport,
    /// Its runs in the days looked at, the oldest first; of those whose reports are kept.
    pub runs: Vec<RunFigures>,
    /// Older runs that are not read, since there are so many.
    #[serde(skip_serializing_if = "is_zero")]
    pub runs_left_out: usize,
    /// Reports that cannot be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub runs_unreadable: usize,
    /// What was spent up to the last whole day, where charges are exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend: Option<SpendReport>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a run's report says in short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFigures {
    /// Its name.
    pub run_id: String,
    /// Its start, RFC 3339 UTC.
    pub started_at: String,
    /// Its duration.
    pub seconds: f64,
    /// The signal that stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Its sums.
    pub totals: Totals,
}

/// Reports that are read at most: a lake that is fed every few minutes has thousands.
const MOST_RUNS: usize = 1_000;

/// Reports that are read side by side.
const AT_ONCE: usize = 8;

/// Looks at the manifests and reports of a lake's days, and at its charges. Changes nothing.
///
/// # Errors
/// As for [`status`].
pub async fn overview(context: &RunContext, from_first: bool) -> Result<Overview, RunError> {
    let status = status(context, from_first).await?;
    let place = Place::of(context).await?;
    let (runs, runs_left_out) = runs(&*place.store, &status).await?;
    let all = runs.len();
    let runs: Vec<RunFigures> = runs.into_iter().flatten().collect();
    let spend = if context.config.exports(Dataset::Spend) {
        // The last day that is over, of those asked for.
        let yesterday = Day::containing(context.now).plus(-1);
        let last = Day::containing(context.range.window().end - 1);
        Some(spend(context, last.min(yesterday)).await?)
    } else {
        None
    };
    Ok(Overview {
        made_at: iso_seconds(context.now),
        status,
        runs_unreadable: all - runs.len(),
        runs,
        runs_left_out,
        spend,
    })
}

/// The runs that began in the days of a status or after them, none for one whose report cannot be read; and how many older ones are left out.
async fn runs(
    store: &dyn Store,
    status: &StatusReport,
) -> Result<(Vec<Option<RunFigures>>, usize), RunError> {
    let first = status.from.get(..10).and_then(Day::parse);
    let mut keys = report_keys(store).await.map_err(RunError::Store)?;
    keys.retain(|key| layout::parse_report(key) >= first);
    keys.sort();
    let left_out = keys.len().saturating_sub(MOST_RUNS);
    let read = stream::iter(keys.split_off(left_out)).map(|key| async move {
        let body = store.get(&key).await?.unwrap_or_default();
        // A report that cannot be read keeps nobody from the others.
        let text = unpacked(&body).unwrap_or_default();
        Ok(serde_json::from_str::<RunFigures>(&text).ok())
    });
    let read: Result<Vec<Option<RunFigures>>, StoreError> =
        read.buffered(AT_ONCE).try_collect().await;
    Ok((read.map_err(RunError::Store)?, left_out))
}
