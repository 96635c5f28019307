//! What a run claims of its lake: at its start what it is certainly about, and by lane what is found to be asked beside that.

use crate::commit::Lake;
use crate::compact::restore;
use crate::config::Range;
use crate::given::context::RunContext;
use crate::lake::UnitId;
use crate::lake::table::{Partition, Table, tables_of};
use crate::model::{Cause, Claim, Dataset, Day, Lane};
use crate::sources::registry::source;
use crate::sources::source::Job;
use crate::sources::source::scope::LaneScope;

/// The units that a run is about, as far as they are known before anything is looked at.
pub(crate) fn claim_of(context: &RunContext) -> Claim {
    let mut claim = Claim {
        member: context.sharing.own().map(|own| own.member.clone()),
        ..Claim::nothing()
    };
    for dataset in Dataset::ALL
        .into_iter()
        .filter(|d| context.config.exports(*d))
    {
        let today = Day::containing(context.now);
        let (first, last) = match context.range {
            // A backfill takes a snapshot of today too. So may the run of every five minutes beside it: whoever comes later adds to it.
            _ if source(dataset).is_snapshot() && context.is_backfill => continue,
            _ if source(dataset).is_snapshot() => (today, today),
            Range::Window(window) if window.is_empty() => continue,
            Range::Window(window) => (
                Day::containing(window.start),
                Day::containing(window.end - 1),
            ),
            // Days before it are claimed by the lanes that ask for them.
            Range::SinceLast { .. } => (today, today),
        };
        for (table, first, last) in tables_of(dataset).filter_map(|t| units(t, first, last)) {
            claim = claim.and(table.name, first, last);
        }
    }
    claim
}

/// A job whose units are ours: a lane may be asked for more days than the run is about.
pub(crate) async fn reserved(
    (context, lake): (&RunContext, &Lake),
    (dataset, lane): (Dataset, &Lane),
    ready: Result<Box<dyn Job>, Cause>,
) -> Result<Box<dyn Job>, Cause> {
    let job = ready?;
    lake.reserve(&asked_units(dataset, &job.scopes())).await?;
    for scope in job.scopes() {
        restored(context, lake, lane, scope).await?;
    }
    Ok(job)
}

/// Makes sure that the units that are asked have their own files where they were compacted and pruned: what is there is joined and judged by them.
async fn restored(
    context: &RunContext,
    lake: &Lake,
    lane: &Lane,
    scope: &LaneScope,
) -> Result<(), Cause> {
    for (day, _) in scope.days.iter().filter(|(_, mode)| mode.is_asked()) {
        let committed = scope.records.committed(*day);
        let Some(committed) = committed.filter(|c| !c.files.is_empty()) else {
            continue;
        };
        if context
            .pruned
            .has(&**lake.store(), scope.table, *day)
            .await?
        {
            restore(lake, &UnitId::new(scope.table, *day, lane), committed).await?;
        }
    }
    Ok(())
}

/// The units that are asked in a lane.
fn asked_units(dataset: Dataset, scopes: &[&LaneScope]) -> Vec<(&'static Table, Day, Day)> {
    if source(dataset).is_snapshot() {
        return Vec::new();
    }
    let asked = |scope: &&LaneScope| {
        let asked = scope.days.iter().filter(|(_, mode)| mode.is_asked());
        let mut days = asked.map(|(day, _)| *day);
        let first = days.next()?;
        units(scope.table, first, days.max().unwrap_or(first).max(first))
    };
    scopes.iter().filter_map(asked).collect()
}

/// The units of a table that hold days; none of a table whose files every run adds to.
fn units(table: &'static Table, first: Day, last: Day) -> Option<(&'static Table, Day, Day)> {
    match table.partition {
        Partition::Day => Some((table, first, last)),
        Partition::Month => Some((table, first.month_start(), last.month_start())),
        Partition::None => None,
    }
}
