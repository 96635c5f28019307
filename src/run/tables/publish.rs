//! A table's file from its rows into the lake, by the rules of every unit.

use std::collections::BTreeMap;

use crate::normalize::schema_of;
use crate::plan::DayMode;
use crate::report::UnitReport;
use crate::run::given::bounds::blocking;
use crate::run::tables::Surroundings;
use crate::run::unit::scope::LaneScope;
use crate::run::unit::sealed::SealedDay;
use crate::store::Store;

use crate::lake::table::{SCHEMA_VERSION, Table};
use crate::lake::{UnitId, layout};

use crate::commit::{Attempt, Lake, LaneRecords};
use crate::model::{Cause, CauseKind, Day, Lane, Spans, UnitOutcome};
use crate::normalize::{ArrowError, DecodeError, RecordBatch};
use crate::run::unit::publish::{Change, publish_unit};
use crate::write::{FooterKeys, Staged, UnitFile, WriteError, read_rows_of};

/// What a unit holds, before it is written.
pub(crate) struct NewUnit {
    pub(crate) day: Day,
    pub(crate) mode: DayMode,
    /// Its file, if it has rows.
    pub(crate) staged: Option<Staged>,
    pub(crate) complete: bool,
    pub(crate) covered: BTreeMap<String, Spans>,
    /// The part of that in which something was refused by itself.
    pub(crate) refused: BTreeMap<String, Spans>,
    pub(crate) report: UnitReport,
}

impl NewUnit {
    /// A unit that nothing was read of, for the reason its report gives.
    pub(crate) fn unread(day: Day, mode: DayMode, report: UnitReport) -> Self {
        Self {
            day,
            mode,
            staged: None,
            complete: false,
            covered: BTreeMap::new(),
            refused: BTreeMap::new(),
            report,
        }
    }

    /// A unit that could not be read.
    pub(crate) fn failed(
        table: &'static Table,
        (day, lane): (Day, &Lane),
        mode: DayMode,
        cause: Cause,
        now: i64,
    ) -> Self {
        let report = UnitReport {
            outcome: cause.unit_outcome(),
            cause: Some(cause),
            ..UnitReport::of_table(table, day, lane, now)
        };
        Self::unread(day, mode, report)
    }
}

/// Publishes the units of one table and lane, and records them.
pub(crate) async fn publish_all(
    around: &Surroundings,
    scope: &mut LaneScope,
    lane: &Lane,
    units: Vec<NewUnit>,
) -> (Vec<UnitReport>, Option<Cause>) {
    let mut reports = Vec::with_capacity(units.len());
    for unit in units {
        let day = unit.day;
        let sealed = SealedDay {
            day,
            mode: unit.mode,
            staged: unit.staged,
            complete: unit.complete,
            covered: unit.covered,
            refused: unit.refused,
            read_at: around.context.now,
            report: unit.report,
        };
        let (report, change) =
            publish_unit(&around.lake, &around.context, scope, lane, sealed).await;
        match change {
            Change::Commit(committed) => scope.records.commit(day, committed),
            Change::Attempt(attempt) => scope.records.attempt(day, attempt),
            Change::None => {}
        }
        reports.push(report);
    }
    let mut cause = None;
    if !around.lake.lost().is_cancelled() {
        let written = scope.records.write(&**around.lake.store()).await;
        cause = written.err().map(Cause::from);
    }
    (reports, cause)
}

/// Writes the rows of one unit to a file on its way, off the threads that serve the network. `None` when there are none.
pub(crate) async fn stage(
    around: &Surroundings,
    scope: &LaneScope,
    (day, lane): (Day, &Lane),
    rows: impl FnOnce() -> Result<RecordBatch, ArrowError> + Send + 'static,
) -> Result<Option<Staged>, Cause> {
    let path = layout::staged(&around.lake.staging(), &UnitId::new(scope.table, day, lane));
    let (table, plan_hash) = (scope.table, scope.plan_hash.clone());
    let written = blocking(&around.bounds.encoders, move || -> Result<_, WriteError> {
        let batch = rows().map_err(|source| WriteError::Parquet {
            path: path.clone(),
            source: source.into(),
        })?;
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let footer = FooterKeys {
            schema_version: SCHEMA_VERSION,
            plan_hash: Some(&plan_hash),
        };
        let mut file = UnitFile::create(&path, schema_of(table), table.sort, footer)?;
        file.write(&batch)?;
        file.finish(true).map(Some)
    });
    written.await.map_err(|error| Cause::of_destination(&error))
}

/// Hands every batch of a small file to `take`; of a file that is not there, none. `hint` says what to do about one that is broken.
pub(crate) async fn each_batch(
    store: &dyn Store,
    key: &str,
    hint: &str,
    mut take: impl FnMut(&RecordBatch) -> Result<(), DecodeError>,
) -> Result<(), Cause> {
    let Some(bytes) = store.get(key).await? else {
        return Ok(());
    };
    let broken = |error: &dyn std::error::Error| {
        let cause = Cause::of_destination(error);
        Cause {
            message: format!("reading {key}: {}", cause.message),
            ..cause
        }
        .with_hint(hint)
    };
    for batch in read_rows_of(bytes).map_err(|e| broken(&e))? {
        take(&batch.map_err(|e| broken(&e))?).map_err(|e| broken(&e))?;
    }
    Ok(())
}

/// Notes in the manifest why units were not read; what is in place stays.
pub(crate) async fn note_unread_units(
    lake: &Lake,
    table: &'static Table,
    lane: &Lane,
    days: &[Day],
    cause: &Cause,
) {
    if lake.lost().is_cancelled()
        || matches!(cause.kind, CauseKind::Interrupted | CauseKind::Destination)
    {
        return;
    }
    let mut records = LaneRecords::new(table, lane.clone());
    let noted = async {
        records.read(&**lake.store(), days.iter().copied()).await?;
        for day in days {
            let attempt = Attempt {
                outcome: cause.unit_outcome(),
                cause: cause.clone(),
            };
            records.attempt(*day, attempt);
        }
        records.write(&**lake.store()).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(%lane, %table, %error, "noting why the table was not read");
    }
}

/// The report of a unit that was read: written if it has rows, else empty.
pub(crate) fn read_unit(
    scope: &LaneScope,
    (day, lane): (Day, &Lane),
    staged: Option<&Staged>,
    now: i64,
) -> UnitReport {
    UnitReport {
        outcome: if staged.is_some() {
            UnitOutcome::Written
        } else {
            UnitOutcome::Empty
        },
        complete: true,
        rows: staged.map_or(0, |s| s.rows),
        first_ts: Some(crate::model::iso_seconds(day.start())),
        last_ts: Some(crate::model::iso_seconds(day.end() - 1)),
        ..UnitReport::of_table(scope.table, day, lane, now)
    }
}
