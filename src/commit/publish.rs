//! Whether a new file may take an old one's place, and its way there.

use crate::write::{FileFacts, Staged, Store, StoreError, Tail, TailFacts, tail_facts};

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

/// Decides whether `new` may replace `old`, whose checksum is `old_sha256` where it is known.
///
/// Never worse over better: fewer rows do not replace more, an incomplete unit does not replace a complete one, and nothing replaces
/// something, unless forced.
pub fn decide(
    old: Option<&OldFile>,
    old_sha256: Option<&str>,
    new: Option<NewFile<'_>>,
    force: bool,
) -> Decision {
    let Some(old) = old else {
        return Decision::Publish;
    };
    if let Some(new) = new
        && old_sha256 == Some(new.staged.sha256.as_str())
        && old.bytes == new.staged.bytes
    {
        return Decision::Unchanged;
    }
    let new_is_incomplete = old.facts.complete && new.is_some_and(|n| !n.complete);
    let fewer = new.is_none_or(|n| n.staged.rows < old.facts.rows);
    if force || !fewer && !new_is_incomplete {
        return Decision::Publish;
    }
    Decision::Keep(Kept {
        rows: old.facts.rows,
        new_rows: new.map(|n| n.staged.rows),
        new_is_incomplete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let new = after.as_ref().map(|staged| NewFile { staged, complete });
            let decision = decide(before.as_ref(), Some("old"), new, force);
            assert_eq!(
                decision == Decision::Publish,
                published,
                "{before:?} {after:?} {decision:?}"
            );
        }
    }

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let same = staged(9, "old");
        let new = NewFile {
            staged: &same,
            complete: true,
        };
        assert_eq!(
            decide(Some(&old(9, true)), Some("old"), Some(new), true),
            Decision::Unchanged
        );
        assert_eq!(
            decide(Some(&old(9, true)), None, Some(new), false),
            Decision::Publish
        );
    }
}
