//! Whether a new file may take an old one's place, and its way there.

use super::manifest::Committed;
use crate::store::{Store, StoreError, Tail};

use crate::write::{FileFacts, Staged, TailFacts, tail_facts};

/// Enough for the footer of nearly every unit; a longer one is read in a second step.
const TAIL_BYTES: u64 = 64 << 10;

/// The file a unit has before the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldFile {
    /// Its size.
    pub bytes: u64,
    /// Its footer; one that is no whole Parquet file has none, and is worth nothing.
    pub facts: FileFacts,
}

/// The file a run made.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// On its way.
    pub staged: &'a Staged,
    /// Everything asked for is in it.
    pub complete: bool,
    /// Series with a point in it.
    pub series: u64,
}

/// What the manifest says about the file that is there, as far as the same was asked then.
#[derive(Clone, Copy, Debug)]
pub struct OldRecord<'a> {
    /// Its checksum.
    pub sha256: &'a str,
    /// Series with a point in it.
    pub series: u64,
    /// It was asked for no less time than the new one.
    pub covers_new: bool,
}

/// What becomes of a new file, or of finding nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It takes its place.
    Publish,
    /// It is, byte for byte, what is there.
    Unchanged,
    /// The one that is there is better and stays.
    Keep(Kept),
}

/// Why the file that was there stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Rows it has.
    pub rows: u64,
    /// Rows the new one has; `None` when the run found nothing at all.
    pub new_rows: Option<u64>,
    /// Whether it is complete and the new one is not.
    pub new_is_incomplete: bool,
    /// Series that are in it and not in the new one, in number.
    pub fewer_series: u64,
}

/// Reads the footer of the file at `key`.
///
/// # Errors
/// The store's; a file that cannot be read may be worth everything.
pub async fn old_file(store: &dyn Store, key: &str) -> Result<Option<OldFile>, StoreError> {
    let mut bytes = TAIL_BYTES;
    // Twice at most for a file that stays as it is.
    for _ in 0..3 {
        let Some(Tail { size, bytes: tail }) = store.tail(key, bytes).await? else {
            return Ok(None);
        };
        let facts = match tail_facts(size, &tail) {
            TailFacts::Need(more) => {
                bytes = more;
                continue;
            }
            TailFacts::Facts(facts) => facts,
            TailFacts::Broken => FileFacts::default(),
        };
        return Ok(Some(OldFile { bytes: size, facts }));
    }
    Ok(Some(OldFile {
        bytes,
        facts: FileFacts::default(),
    }))
}

/// Whether the file at `key` is there as a unit's record says, by its size and rows; none where none was recorded.
///
/// # Errors
/// As [`old_file`].
pub async fn is_as_recorded(
    store: &dyn Store,
    key: &str,
    committed: &Committed,
) -> Result<bool, StoreError> {
    let there = old_file(store, key).await?;
    Ok(match (&there, committed.files.first()) {
        (None, None) => true,
        (Some(there), Some(file)) => there.bytes == file.bytes && there.facts.rows == file.rows,
        _ => false,
    })
}

/// Decides whether `new` may replace `old`, of which the manifest says `record`.
///
/// Never worse over better: fewer rows or fewer series do not replace more, an incomplete unit does not replace a complete one that was
/// asked for as much, and nothing replaces something, unless forced. `adds` says that the new file holds all rows of the old one: then it
/// is no worse.
pub fn decide(
    old: Option<&OldFile>,
    record: Option<OldRecord<'_>>,
    new: Option<NewFile<'_>>,
    adds: bool,
    force: bool,
) -> Decision {
    let Some(old) = old.filter(|_| !force) else {
        return Decision::Publish;
    };
    let same = |n: NewFile<'_>| {
        old.bytes == n.staged.bytes && record.is_some_and(|r| r.sha256 == n.staged.sha256)
    };
    if new.is_some_and(same) {
        return Decision::Unchanged;
    }
    let as_much = record.is_none_or(|r| r.covers_new);
    let new_is_incomplete =
        !adds && as_much && old.facts.complete && new.is_some_and(|n| !n.complete);
    let fewer = new.is_none_or(|n| n.staged.rows < old.facts.rows);
    let fewer_series = match (record, new) {
        (Some(record), Some(new)) if !adds => record.series.saturating_sub(new.series),
        _ => 0,
    };
    if !fewer && !new_is_incomplete && fewer_series == 0 {
        return Decision::Publish;
    }
    Decision::Keep(Kept {
        rows: old.facts.rows,
        new_rows: new.map(|n| n.staged.rows),
        new_is_incomplete,
        fewer_series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::FileRecord;
    use crate::lake::answers::Answers;
    use crate::lake::table::INSTANCES;
    use crate::model::{Instance, Lane, UnitOutcome};
    use crate::normalize::{Owner, instances_batch, schema_of};
    use crate::store::MemoryStore;
    use crate::write::{FooterKeys, UnitFile};
    use std::path::PathBuf;

    fn staged(rows: u64, sha256: &str) -> Staged {
        Staged {
            path: PathBuf::new(),
            rows,
            bytes: 100,
            sha256: sha256.to_owned(),
        }
    }

    fn old(rows: u64, complete: bool) -> OldFile {
        OldFile {
            bytes: 100,
            facts: FileFacts {
                rows,
                complete,
                plan_hash: None,
            },
        }
    }

    #[test]
    fn better_replaces_worse_and_not_the_other_way() {
        for (before, after, complete, force, published) in [
            (None, Some(1), false, false, true),
            (Some((10, true)), Some(11), true, false, true),
            (Some((10, true)), Some(10), true, false, true),
            (Some((10, true)), Some(9), true, false, false),
            (Some((10, true)), Some(9), true, true, true),
            (Some((10, true)), Some(11), false, false, false),
            (Some((10, false)), Some(11), false, false, true),
            (Some((10, true)), None, true, false, false),
            (Some((0, false)), None, true, false, false),
            (Some((10, true)), None, true, true, true),
            (None, None, true, false, true),
        ] {
            let before = before.map(|(rows, complete)| old(rows, complete));
            let after = after.map(|rows| staged(rows, "new"));
            let new = after.as_ref().map(|staged| NewFile {
                staged,
                complete,
                series: 3,
            });
            let decision = decide(before.as_ref(), Some(record("old", 3)), new, false, force);
            assert_eq!(
                decision == Decision::Publish,
                published,
                "{before:?} {after:?} {decision:?}"
            );
        }
    }

    fn record(sha256: &str, series: u64) -> OldRecord<'_> {
        OldRecord {
            sha256,
            series,
            covers_new: true,
        }
    }

    #[test]
    fn the_same_bytes_are_not_written_again_unless_forced() {
        let same = staged(9, "old");
        let new = NewFile {
            staged: &same,
            complete: true,
            series: 3,
        };
        let old = old(9, true);
        let decide = |record, force| decide(Some(&old), record, Some(new), false, force);
        assert_eq!(decide(Some(record("old", 3)), false), Decision::Unchanged);
        assert_eq!(decide(None, false), Decision::Publish);
        // What is recorded need not be what is there: forced, a damaged file is replaced.
        assert_eq!(decide(Some(record("old", 3)), true), Decision::Publish);
    }

    #[test]
    fn series_are_not_lost_to_more_rows_and_a_fragment_locks_nothing_out() {
        let more = staged(20, "new");
        let new = |complete| NewFile {
            staged: &more,
            complete,
            series: 3,
        };
        let kept = |record, complete, adds| {
            let decision = decide(
                Some(&old(9, true)),
                Some(record),
                Some(new(complete)),
                adds,
                false,
            );
            matches!(decision, Decision::Keep(_))
        };
        assert!(kept(record("x", 4), true, false), "a series is gone");
        assert!(
            !kept(record("x", 4), true, true),
            "it holds the old rows as well"
        );
        assert!(kept(record("x", 3), false, false));
        let fragment = OldRecord {
            covers_new: false,
            ..record("x", 3)
        };
        assert!(
            !kept(fragment, false, false),
            "half a day, complete, is less than a day with a refused query"
        );
    }

    #[tokio::test]
    async fn a_file_is_as_recorded_when_it_has_its_size_and_rows() {
        let dir = tempfile::tempdir().expect("temp dir");
        let lane = Lane::example();
        let owner = Owner {
            lane: &lane,
            account_name: None,
        };
        let footer = FooterKeys {
            schema_version: 1,
            plan_hash: None,
        };
        let path = dir.path().join("x.part");
        let schema = schema_of(&INSTANCES);
        let mut file = UnitFile::create(&path, schema, INSTANCES.sort, footer).expect("made");
        let rows = instances_batch(owner, &[Instance::default()]).expect("built");
        file.write(&rows).expect("written");
        let staged = file.finish(true).expect("finished");
        let record = |rows, bytes| Committed {
            files: vec![FileRecord {
                name: "there".to_owned(),
                rows,
                bytes,
                sha256: staged.sha256.clone(),
                first_ts: String::new(),
                last_ts: String::new(),
            }],
            ..none()
        };
        let store = MemoryStore::new();
        store.publish("there", &staged).await.expect("published");
        for (key, record, is_so) in [
            ("there", record(1, staged.bytes), true),
            ("there", record(2, staged.bytes), false),
            ("there", record(1, staged.bytes + 1), false),
            ("there", none(), false),
            ("nowhere", none(), true),
            ("nowhere", record(1, staged.bytes), false),
        ] {
            let found = is_as_recorded(&store, key, &record).await.expect("looked");
            assert_eq!(found, is_so, "{key} {:?}", record.files);
        }
    }

    /// A unit without rows.
    fn none() -> Committed {
        Committed {
            outcome: UnitOutcome::Empty,
            files: Vec::new(),
            series_asked: 0,
            series_returned: 0,
            refused_queries: 0,
            complete: true,
            answers: Answers::default(),
            plan_hash: String::new(),
            joined: false,
            schema_version: 1,
        }
    }
}
