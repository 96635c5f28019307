//! Small files: the rows of a unit written in one go, and read back.

use crate::given::bounds::blocking;
use crate::lake::table::SCHEMA_VERSION;
use crate::lake::{UnitId, layout};
use crate::model::{Cause, Day, Lane};
use crate::normalize::{ArrowError, DecodeError, RecordBatch, schema_of};
use crate::sources::source::Reading;
use crate::sources::source::scope::LaneScope;
use crate::store::Store;
use crate::write::{FooterKeys, Staged, UnitFile, WriteError, read_rows_of};

/// Writes the rows of one unit to a file on its way, off the threads that serve the network. `None` when there are none.
pub(crate) async fn stage(
    reading: &Reading,
    scope: &LaneScope,
    (day, lane): (Day, &Lane),
    rows: impl FnOnce() -> Result<RecordBatch, ArrowError> + Send + 'static,
) -> Result<Option<Staged>, Cause> {
    let path = layout::staged(
        &reading.lake.staging(),
        &UnitId::new(scope.table, day, lane),
    );
    let (table, plan_hash) = (scope.table, scope.plan_hash.clone());
    let written = blocking(
        &reading.bounds.encoders,
        move || -> Result<_, WriteError> {
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
        },
    );
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
