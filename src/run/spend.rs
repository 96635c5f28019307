//! What accounts have spent, read from the lake; and the alerts about it.

use crate::alert::breaches::{alert, alert_of_days, claim_of_alerts, read_rows, report_of};
use crate::commit::Lake;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::model::Day;
use crate::report::AlertReport;
use crate::run::enter::accounts::with_accounts;
use crate::spend::SpendReport;

/// Reads what is known of a day's charges.
///
/// # Errors
/// [`RunError::Store`], [`RunError::Organization`], or no credentials for a lake in a bucket.
pub async fn spend(context: &RunContext, day: Day) -> Result<SpendReport, RunError> {
    let place = Place::of(context).await?;
    let (context, _) = with_accounts(context, &place).await?;
    let read = read_rows(&*place.store, day)
        .await
        .map_err(RunError::Unreadable)?;
    let report = report_of(&context, &*place.store, day, &read);
    Ok(report.about(|id| context.config.is_about(id)))
}

/// Reads a day's charges and tells every channel of the breaches it was not told of; with `looks_back` of the days before as well. Takes the lake's
/// lock: two runs tell nobody twice.
///
/// # Errors
/// As for [`spend`], or a lake that another run holds. A channel that fails is in the report.
pub async fn spend_with_alerts(
    context: &RunContext,
    day: Day,
    looks_back: bool,
) -> Result<(SpendReport, AlertReport), RunError> {
    let place = Place::of(context).await?;
    let (context, _) = with_accounts(context, &place).await?;
    let run_id = format!("alert-{:016x}", fastrand::u64(..));
    let (store, scratch) = (std::sync::Arc::clone(&place.store), place.scratch.clone());
    let lake = Lake::open(store, scratch, &run_id, claim_of_alerts(day), &[]).await?;
    let done = async {
        let store = &**lake.store();
        let read = read_rows(store, day).await.map_err(RunError::Unreadable)?;
        let report = report_of(&context, store, day, &read);
        let alerts = if looks_back {
            alert_of_days(&context, store, day).await
        } else {
            alert(&context, store, day, &report).await
        };
        Ok((report.about(|id| context.config.is_about(id)), alerts))
    };
    let done = done.await;
    lake.close().await;
    done
}
