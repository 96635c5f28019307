//! What a run claims of its lake: at its start what it is certainly about, and by lane what is found to be asked beside that.

use crate::commit::{Lake, read_compaction};
use crate::config::Range;
use crate::given::context::RunContext;
use crate::lake::compaction::OwnFiles;
use crate::lake::table::{Partition, Table, tables_of};
use crate::lake::{UnitId, layout};
use crate::model::{Cause, CauseKind, Claim, DAY_SECONDS, Dataset, Day, Lane};
use crate::plan::DayMode;
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
        none_is_pruned(context, lake, lane, scope).await?;
    }
    Ok(job)
}

/// Refuses to add to a unit whose own file was removed after it was compacted: what is there could not be joined, nor judged. Read anew here, where
/// nobody else may prune it: no day is pruned that ended less than two days ago.
async fn none_is_pruned(
    context: &RunContext,
    lake: &Lake,
    lane: &Lane,
    scope: &LaneScope,
) -> Result<(), Cause> {
    let store = &**lake.store();
    let is_old = |day: Day| day.end() + 2 * DAY_SECONDS <= context.now;
    let replaces = |mode: DayMode| context.force && mode == DayMode::Replace;
    let asked = scope.days.iter();
    let asked = asked.filter(|(day, mode)| mode.is_asked() && is_old(*day) && !replaces(*mode));
    for (day, _) in asked {
        let committed = scope.records.committed(*day);
        if committed.is_none_or(|c| c.files.is_empty()) {
            continue;
        }
        let id = UnitId::new(scope.table, *day, lane);
        if store.tail(&layout::unit(&id), 1).await?.is_some() {
            continue;
        }
        let record = read_compaction(store, scope.table).await?;
        let compacted = record.unit(scope.table.partition, *day);
        if compacted.is_some_and(|unit| unit.own_files != OwnFiles::There) {
            let text = format!(
                "the own file of {id} was removed after it was compacted: nothing is added to it"
            );
            return Err(Cause::new(CauseKind::Other, text).with_hint(
                "leave such days out of the range, or replace them whole with --force while CloudWatch has them",
            ));
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
