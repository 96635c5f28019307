//! Word about a run, once it has ended.

use std::time::Duration;

use crate::alert::ending::Ending;
use crate::alert::notices::tell_of_run;
use crate::given::context::RunContext;
use crate::given::place::Place;
use crate::report::{NoticeReport, RunReport};
use crate::store::Store;

/// Tells of a run that came to its report what its channels were not told of. A shard tells nobody: `gather` knows of all of them.
pub(super) async fn tell(
    context: &RunContext,
    store: &dyn Store,
    report: &RunReport,
) -> Option<NoticeReport> {
    if report.shard.is_some() {
        return None;
    }
    tell_of_run(context, Some(store), &Ending::of(report)).await
}

/// Time for reaching the lake, where a failure is told of.
const LIMIT_OF_PLACE: Duration = Duration::from_secs(20);

/// Tells of a run that ended without a report. `error` is its text, and `exit_code` what the process will end with; nothing of it changes that.
pub async fn tell_of_failure(
    context: &RunContext,
    error: &str,
    remedy: Option<String>,
    exit_code: u8,
) -> Option<NoticeReport> {
    context.config.notify.as_ref()?;
    let ending = Ending::of_failure(context.now, error, remedy, exit_code);
    // What cannot be reached cannot say what was told before.
    let place = tokio::time::timeout(LIMIT_OF_PLACE, Place::of(context)).await;
    let place = place.ok().and_then(Result::ok);
    let store = place.as_ref().map(|p| &*p.store);
    tell_of_run(context, store, &ending).await
}
