//! Reports of runs and groups that are older than they are kept.

use futures::{StreamExt, TryStreamExt, stream};

use super::group::read_group;
use crate::lake::layout;
use crate::model::Day;
use crate::store::{Store, StoreError};

/// Objects that are removed side by side.
const AT_ONCE: usize = 16;

/// Objects that one run removes at most: a lake that was never tidied is tidied over several.
const AT_MOST: usize = 5_000;

/// Removes the reports of runs, and groups that were brought together, from before a day. Returns how many objects went.
///
/// # Errors
/// The store's; a writer may not be allowed to remove them.
pub async fn remove_reports(store: &dyn Store, before: Day) -> Result<usize, StoreError> {
    let runs = store.list(layout::REPORTS).await?.into_iter();
    let is_old = |key: &str| layout::parse_report(key).is_some_and(|day| day < before);
    let mut old: Vec<String> = runs.map(|e| e.key).filter(|key| is_old(key)).collect();
    let groups = store.list(layout::GROUPS).await?;
    let names: std::collections::BTreeSet<_> = groups
        .iter()
        .filter_map(|e| layout::parse_group(&e.key))
        .collect();
    for name in names {
        if let Some(group) = read_group(store, &name).await?
            && group.gathered_as.is_some()
            && Day::containing(group.made_at) < before
        {
            let folder = layout::group_folder(&name);
            let of_group = groups
                .iter()
                .map(|e| &e.key)
                .filter(|key| key.starts_with(&folder));
            old.extend(of_group.cloned());
        }
    }
    old.truncate(AT_MOST);
    let removed = stream::iter(&old).map(|key| store.delete(key));
    removed.buffered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(old.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::{Group, Question, write_group};
    use crate::model::GroupName;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn old_reports_go_and_young_ones_and_groups_under_way_stay() {
        let store = MemoryStore::new();
        let day = Day::parse("2026-11-20").expect("a day");
        for key in [
            "_cwlake/runs/2026-10-01T02-00-00Z-00.json",
            "_cwlake/runs/2026-10-20T23-59-59Z-00.json.gz",
            "_cwlake/runs/2026-10-21T00-00-00Z-00.json.gz",
            "_cwlake/runs/2026-11-19T02-00-00Z-00.json",
            "_cwlake/runs/notes.txt",
            "_cwlake/groups/old/shard-1.json",
            "_cwlake/groups/open/shard-1.json",
        ] {
            store.put(key, "{}".into()).await.expect("put");
        }
        let run = || Some("run".to_owned());
        for (name, gathered_as, days) in [
            ("old", run(), 60),
            ("last", run(), 31),
            ("young", run(), 30),
            ("open", None, 60),
        ] {
            let question = Question {
                window: None,
                asks: String::new(),
                is_typed: false,
            };
            let group = Group {
                gathered_as,
                ..Group::new(1, &question, day.plus(-days).start())
            };
            let name = GroupName::parse(name).expect("a name");
            write_group(&store, &name, &group).await.expect("written");
        }
        let removed = remove_reports(&store, day.plus(-30))
            .await
            .expect("removed");
        assert_eq!(removed, 5);
        let left = store.list("_cwlake/").await.expect("listed").into_iter();
        let left: Vec<String> = left.map(|e| e.key).collect();
        assert_eq!(
            left,
            [
                "_cwlake/groups/open/group.json",
                "_cwlake/groups/open/shard-1.json",
                "_cwlake/groups/young/group.json",
                "_cwlake/runs/2026-10-21T00-00-00Z-00.json.gz",
                "_cwlake/runs/2026-11-19T02-00-00Z-00.json",
                "_cwlake/runs/notes.txt",
            ]
        );
    }
}
