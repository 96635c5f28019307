//! What is compacted of a table, as the lake keeps it: the one object that says which compacted files are read.

use bytes::Bytes;

use crate::lake::compaction::{Compaction, VERSION};
use crate::lake::layout;
use crate::lake::table::Table;
use crate::store::{Store, StoreError, StoreErrorKind};

/// Reads the record of a table; one of nothing where there is none.
///
/// # Errors
/// The store's, or an object that is no record of this table.
pub async fn read_compaction(store: &dyn Store, table: &Table) -> Result<Compaction, StoreError> {
    let key = layout::compaction(table);
    let Some(body) = store.get(&key).await? else {
        return Ok(Compaction::none(table));
    };
    let refuse = |message: String| StoreError {
        kind: StoreErrorKind::Refused,
        doing: format!("reading {key}"),
        message,
        hint: Some(
            "put it back from a copy; where nothing was pruned, move it away and compact again"
                .to_owned(),
        ),
    };
    let record: Compaction = serde_json::from_slice(&body)
        .map_err(|e| refuse(format!("it is no record of what is compacted: {e}")))?;
    if record.compaction_version > VERSION {
        let version = record.compaction_version;
        return Err(refuse(format!(
            "it was written by a newer cwlake (version {version})"
        )));
    }
    // Files are read, and removed, by its word.
    let of_unit = |(name, unit): (&String, &crate::lake::compaction::CompactedUnit)| {
        let day = table.partition.unit_in(name);
        let replaced = unit.replaced.iter().map(|f| &f.name);
        let mut files = unit.files.iter().map(|f| &f.name).chain(replaced);
        day.is_some() && files.all(|file| layout::parse_compacted(table, file) == day)
    };
    if record.table != table.name || !record.units.iter().all(of_unit) {
        return Err(refuse("it speaks of something else".to_owned()));
    }
    Ok(record)
}

/// Writes the record of a table.
///
/// # Errors
/// The store's.
pub async fn write_compaction(
    store: &dyn Store,
    table: &Table,
    record: &Compaction,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(record).unwrap_or_default();
    store
        .put(&layout::compaction(table), Bytes::from(json))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::compaction::{CompactedFile, CompactedUnit, OwnFiles};
    use crate::lake::table::{LOGS, METRICS, Partition};
    use crate::model::Day;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_record_is_read_back_and_one_of_other_files_is_refused() {
        let store = MemoryStore::new();
        let day = Day::parse("2026-11-20").expect("a day");
        let none = read_compaction(&store, &METRICS).await.expect("read");
        assert_eq!(none, Compaction::none(&METRICS));
        let mut record = Compaction::none(&METRICS);
        let name = layout::compacted(&METRICS, day, &"ab".repeat(32));
        let unit = CompactedUnit {
            made_of: "x".to_owned(),
            lanes: 1,
            at: 1,
            files: vec![CompactedFile {
                name,
                rows: 1,
                bytes: 1,
                sha256: "ab".repeat(32),
            }],
            replaced: Vec::new(),
            own_files: OwnFiles::There,
        };
        record.set(Partition::Day, day, unit);
        write_compaction(&store, &METRICS, &record)
            .await
            .expect("put");
        let back = read_compaction(&store, &METRICS).await.expect("read");
        assert_eq!(back, record);
        // A record of logs that names files of metrics would have them removed.
        record.table = LOGS.name.to_owned();
        write_compaction(&store, &LOGS, &record).await.expect("put");
        let error = read_compaction(&store, &LOGS).await.expect_err("refused");
        assert!(error.to_string().contains("something else"), "{error}");
        record.compaction_version = VERSION + 1;
        write_compaction(&store, &LOGS, &record).await.expect("put");
        let error = read_compaction(&store, &LOGS).await.expect_err("refused");
        assert!(error.to_string().contains("newer cwlake"), "{error}");
        let broken = Bytes::from_static(b"{");
        store
            .put(&layout::compaction(&METRICS), broken)
            .await
            .expect("put");
        let error = read_compaction(&store, &METRICS)
            .await
            .expect_err("refused");
        assert!(
            error
                .hint
                .is_some_and(|hint| hint.contains("compact again"))
        );
    }
}
