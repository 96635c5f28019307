//! Where things are in a lake: keys below its root, and the local folders for files on their way. Pure.
//!
//! Only validated ids and dates become parts of a key: no free text reaches a path.

use std::path::{Path, PathBuf};

use super::table::{Partition, TABLES, Table};
use super::unit::UnitId;
use crate::model::{AccountId, Day, GroupName, Lane, Member, Region, Shard};

/// Name of the folder for everything that is not a table; never inside one.
pub const CONTROL_FOLDER: &str = "_cwlake";

/// Where every lock's key begins; by itself, the first run's in a bucket, and in a folder the one that is held for a moment.
pub const LOCK: &str = "_cwlake/lock";

/// Locked in a local lake while one of several programs looks at a file and replaces it.
pub const TURN: &str = "_cwlake/lock-turn";

/// The folder of the locks: one for each run under way, and for each shard of a group.
pub const LOCKS: &str = "_cwlake/locks/";

/// The lock of a run that is no shard; `name` tells it from others.
pub fn run_lock(name: &str) -> String {
    format!("{LOCKS}run-{name}.json")
}

/// The lock of a shard.
pub fn shard_lock(member: &Member) -> String {
    let Shard { index, of } = member.shard;
    format!("{LOCKS}{}.{index}of{of}.json", member.group)
}

/// The group and shard of a lock, when it is a shard's.
pub fn parse_shard_lock(key: &str) -> Option<Member> {
    let name = key.strip_prefix(LOCKS)?.strip_suffix(".json")?;
    let (group, shard) = name.split_once('.')?;
    let (index, of) = shard.split_once("of")?;
    Some(Member {
        group: GroupName::parse(group)?,
        shard: Shard::new(index.parse().ok()?, of.parse().ok()?)?,
    })
}

/// The one file of a unit: `metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet`; of charges
/// `spend/month=2026-11/111122223333_us-east-1_0000.parquet`; of a table without units `series/111122223333_us-east-1.parquet`.
///
/// # Examples
/// ```
/// use cwlake::lake::{UnitId, layout, table};
/// use cwlake::model::{AccountId, Day, Lane, Region};
/// let lane = Lane {
///     account: AccountId::parse("111122223333").expect("an id"),
///     region: Region::parse("us-east-1").expect("a region"),
/// };
/// let id = UnitId::new(&table::METRICS, Day::containing(0), &lane);
/// let key = layout::unit(&id);
/// assert_eq!(key, "metrics/dt=1970-01-01/111122223333_us-east-1_0000.parquet");
/// assert_eq!(layout::parse_unit(&table::METRICS, &key), Some(id));
/// ```
pub fn unit(id: &UnitId) -> String {
    let (table, lane) = (id.table, &id.lane);
    let part = match table.partition {
        Partition::None => "",
        Partition::Day | Partition::Month => "_0000",
    };
    format!(
        "{}{}_{}{part}.parquet",
        unit_folder(table, id.unit),
        lane.account,
        lane.region
    )
}

/// The folder of a unit's files, with its `/`.
pub fn unit_folder(table: &Table, unit: Day) -> String {
    match table.partition.key() {
        Some(key) => format!("{table}/{key}={}/", table.partition.folder_of(unit)),
        None => format!("{table}/"),
    }
}

/// The unit of a table's file, when the key is one.
pub fn parse_unit(table: &'static Table, key: &str) -> Option<UnitId> {
    let (folder, file) = key
        .strip_prefix(table.name)?
        .strip_prefix('/')?
        .split_once('/')?;
    let unit = match table.partition {
        Partition::None => return None,
        Partition::Day => Day::parse(folder.strip_prefix("dt=")?)?,
        Partition::Month => Day::parse(&format!("{}-01", folder.strip_prefix("month=")?))?,
    };
    let mut parts = file.strip_suffix(".parquet")?.split('_');
    let lane = Lane {
        account: AccountId::parse(parts.next()?)?,
        region: Region::parse(parts.next()?)?,
    };
    let part = parts.next()?;
    let whole =
        part.len() == 4 && part.bytes().all(|b| b.is_ascii_digit()) && parts.next().is_none();
    whole.then_some(UnitId { table, unit, lane })
}

/// Lane of a file of a table without units, when the key is one.
pub fn parse_lane_file(table: &Table, key: &str) -> Option<Lane> {
    let name = key
        .strip_prefix(table.name)?
        .strip_prefix('/')?
        .strip_suffix(".parquet")?;
    let (account, region) = name.split_once('_')?;
    Some(Lane {
        account: AccountId::parse(account)?,
        region: Region::parse(region)?,
    })
}

/// The records of a lane's units in a month (`2026-11`).
pub fn manifest(table: &Table, month: &str, lane: &Lane) -> String {
    format!(
        "{}{month}/{}_{}.json",
        manifests(table),
        lane.account,
        lane.region
    )
}

/// The folder of a table's manifests, with its `/`.
pub fn manifests(table: &Table) -> String {
    format!("{CONTROL_FOLDER}/manifest/{table}/")
}

/// Month and lane of a manifest, when the key is one.
pub fn parse_manifest(table: &Table, key: &str) -> Option<(String, Lane)> {
    let rest = key.strip_prefix(&manifests(table))?;
    let (month, name) = rest.split_once('/')?;
    Day::parse(&format!("{month}-01"))?;
    let (account, region) = name.strip_suffix(".json")?.split_once('_')?;
    let lane = Lane {
        account: AccountId::parse(account)?,
        region: Region::parse(region)?,
    };
    Some((month.to_owned(), lane))
}

/// Where every compacted file's key begins.
pub const COMPACTED: &str = "compact/";

/// The folder of a unit's compacted files, with its `/`: `compact/metrics/dt=2026-11-20/`, `compact/series/`.
pub fn compacted_folder(table: &Table, unit: Day) -> String {
    format!("{COMPACTED}{}", unit_folder(table, unit))
}

/// A compacted file, named by its content.
pub fn compacted(table: &Table, unit: Day, sha256: &str) -> String {
    let name = sha256.get(..32).unwrap_or(sha256);
    format!("{}{name}.parquet", compacted_folder(table, unit))
}

/// The unit of a compacted file, when the key is one.
pub fn parse_compacted(table: &Table, key: &str) -> Option<Day> {
    let rest = key.strip_prefix(COMPACTED)?.strip_prefix(table.name)?;
    let (folder, file) = rest.strip_prefix('/')?.split_once('/').map_or_else(
        || Some((None, rest.strip_prefix('/')?)),
        |(folder, file)| Some((Some(folder), file)),
    )?;
    let name = file.strip_suffix(".parquet")?;
    let is_content = name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let partition = table.partition;
    let unit = match (partition.key(), folder) {
        (None, None) => partition.unit_in("all"),
        (Some(key), Some(folder)) => {
            let value = folder.strip_prefix(key)?.strip_prefix('=')?;
            partition.unit_in(value)
        }
        _ => None,
    };
    unit.filter(|_| is_content)
}

/// What is compacted of a table.
pub fn compaction(table: &Table) -> String {
    format!("{CONTROL_FOLDER}/compact/{table}.json")
}

/// What is claimed by whoever compacts, of every table, as if it were one.
pub const COMPACTING: &str = "compact";

/// The folder of the reports of runs.
pub const REPORTS: &str = "_cwlake/runs/";

/// The report of a run.
pub fn report(run_id: &str) -> String {
    format!("{REPORTS}{run_id}.json.gz")
}

/// The name without its ending: that of JSON as it is, or compressed. Reports were not compressed before.
fn report_stem(name: &str) -> Option<&str> {
    name.strip_suffix(".gz")
        .unwrap_or(name)
        .strip_suffix(".json")
}

/// The day on which the run of a report began, when the key is one.
///
/// # Examples
/// ```
/// use cwlake::lake::layout;
/// let key = layout::report("2026-11-21T02-00-00Z-0123456789abcdef");
/// assert_eq!(layout::parse_report(&key).expect("a report").to_string(), "2026-11-21");
/// assert_eq!(layout::parse_report("metrics/dt=2026-11-21/x.parquet"), None);
/// ```
pub fn parse_report(key: &str) -> Option<Day> {
    Day::parse(run_of(key)?.get(..10)?)
}

/// The run of a report, when the key is one.
pub fn run_of(key: &str) -> Option<&str> {
    report_stem(key.strip_prefix(REPORTS)?)
}

/// The folder of the groups.
pub const GROUPS: &str = "_cwlake/groups/";

/// The group of an object that is one's.
pub fn parse_group(key: &str) -> Option<GroupName> {
    GroupName::parse(key.strip_prefix(GROUPS)?.split_once('/')?.0)
}

/// What is claimed by whoever tells of breaches, by day, as if it were a table.
pub const ALERTS: &str = "alerts";

/// What the shards of a group agree on.
pub fn group(name: &GroupName) -> String {
    format!("{}group.json", group_folder(name))
}

/// The report of a shard.
pub fn shard_report(group: &GroupName, shard: u32) -> String {
    format!("{}shard-{shard}.json.gz", group_folder(group))
}

/// The shard of a report, when the key is one.
pub fn parse_shard_report(group: &GroupName, key: &str) -> Option<u32> {
    let name = key.strip_prefix(&group_folder(group))?;
    report_stem(name.strip_prefix("shard-")?)?.parse().ok()
}

/// What a shard has spent over all its tries.
pub fn shard_spending(group: &GroupName, shard: u32) -> String {
    format!("{}spent-{shard}.json", group_folder(group))
}

/// The folder of a group, with its `/`.
pub fn group_folder(name: &GroupName) -> String {
    format!("{GROUPS}{name}/")
}

/// The folder of what was told, by day.
pub fn alerts_folder() -> String {
    format!("{CONTROL_FOLDER}/{ALERTS}/")
}

/// Which alerts were sent about a day.
pub fn alerts(day: Day) -> String {
    format!("{}{day}.json", alerts_folder())
}

/// The day whose alerts an object speaks of, when it is one.
pub fn parse_alerts(key: &str) -> Option<Day> {
    let name = key.strip_prefix(&alerts_folder())?;
    Day::parse(name.strip_suffix(".json")?)
}

/// Which failures of runs were told of on a day.
pub fn notices(day: Day) -> String {
    format!("{}notices-{day}.json", alerts_folder())
}

/// The folder of answers that are not yet in the lake, with one of each lane: of a bucket where the configuration says so.
pub const SPOOL: &str = "_cwlake/spool/";

/// The name of a lane's folder of kept answers.
pub fn spool_folder(lane: &Lane) -> String {
    format!("{}_{}", lane.account, lane.region)
}

/// The name of a file of kept answers of a run that was planned at `planned_at`.
pub fn kept_answer(planned_at: i64, checksum: u128) -> String {
    format!("{planned_at}-{checksum:032x}.batch")
}

/// When the run was planned whose answers a file of this name has; `None` for a name that is not one of ours.
pub fn parse_kept_answer(name: &str) -> Option<i64> {
    let (planned_at, checksum) = name.strip_suffix(".batch")?.rsplit_once('-')?;
    let is_checksum = checksum.len() == 32 && checksum.bytes().all(|b| b.is_ascii_hexdigit());
    is_checksum.then(|| planned_at.parse().ok())?
}

/// Which layout this lake has.
pub const FORMAT: &str = "_cwlake/format.json";

/// Whether a key is one that cwlake writes: nothing else in a bucket is ever touched.
pub fn is_ours(key: &str) -> bool {
    let of_table = |table: &'static Table| {
        let is_file = match table.partition {
            Partition::None => parse_lane_file(table, key).is_some(),
            _ => parse_unit(table, key).is_some(),
        };
        is_file || parse_compacted(table, key).is_some() || key == format!("{table}/.probe")
    };
    key.starts_with("_cwlake/") || TABLES.into_iter().any(of_table)
}

/// The folder for files on their way, of a lake in a local folder: on its file system, outside its tables.
pub fn local_scratch(root: &Path) -> PathBuf {
    root.join(CONTROL_FOLDER)
}

/// A file while it is being written, in the staging folder of its run.
pub fn staged(staging: &Path, id: &UnitId) -> PathBuf {
    staging.join(format!(
        "{}_{}_{}_{}.part",
        id.table, id.unit, id.lane.account, id.lane.region
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{METRICS, SERIES, SPEND, SPEND_INTRADAY};

    fn id(table: &'static Table, day: &str) -> UnitId {
        UnitId {
            table,
            unit: Day::parse(day).expect("day"),
            lane: Lane::example(),
        }
    }

    #[test]
    fn keys_name_their_units_and_nothing_else_does() {
        let points = id(&METRICS, "2026-11-20");
        let key = unit(&points);
        assert_eq!(
            key,
            "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet"
        );
        assert_eq!(
            points.to_string(),
            "metrics 2026-11-20 111122223333/us-east-1"
        );
        assert_eq!(parse_unit(&METRICS, &key), Some(points));
        for other in [
            "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet.part",
            "metrics/dt=2026-11-31/111122223333_us-east-1_0000.parquet",
            "metrics/dt=2026-11-20/x/111122223333_us-east-1_0000.parquet",
            "metrics/dt=2026-11-20/my_report_0000.parquet",
            "metrics/notes.txt",
            "other/dt=2026-11-20/111122223333_us-east-1_0000.parquet",
        ] {
            assert_eq!(parse_unit(&METRICS, other), None, "{other}");
            assert!(!is_ours(other), "{other}");
        }
        let series = unit(&id(&SERIES, "2026-11-20"));
        assert_eq!(series, "series/111122223333_us-east-1.parquet");
        assert_eq!(parse_lane_file(&SERIES, &series), Some(Lane::example()));
        assert!(is_ours(&key) && is_ours(&series) && is_ours("metrics/.probe"));
        let charges = id(&SPEND, "2026-11-01");
        let month = unit(&charges);
        assert_eq!(
            month,
            "spend/month=2026-11/111122223333_us-east-1_0000.parquet"
        );
        assert_eq!(parse_unit(&SPEND, &month), Some(charges));
        assert_eq!(parse_unit(&SPEND_INTRADAY, &month), None);
        assert!(
            is_ours(&month) && !is_ours("spend/dt=2026-11-01/111122223333_us-east-1_0000.parquet")
        );
        let manifest = manifest(&METRICS, "2026-11", &Lane::example());
        assert_eq!(
            parse_manifest(&METRICS, &manifest),
            Some(("2026-11".to_owned(), Lane::example()))
        );
        assert_eq!(
            parse_manifest(&METRICS, "_cwlake/manifest/metrics/x/y.json"),
            None
        );
    }

    #[test]
    fn a_compacted_file_is_named_by_its_unit_and_content() {
        let content = "0123456789abcdef0123456789abcdef";
        let key = |table: &'static Table, day: &str| {
            compacted(
                table,
                Day::parse(day).expect("a day"),
                &format!("{content}00"),
            )
        };
        let points = key(&METRICS, "2026-11-20");
        assert_eq!(
            points,
            format!("compact/metrics/dt=2026-11-20/{content}.parquet")
        );
        assert_eq!(parse_compacted(&METRICS, &points), Day::parse("2026-11-20"));
        let charges = key(&SPEND, "2026-11-01");
        assert_eq!(
            charges,
            format!("compact/spend/month=2026-11/{content}.parquet")
        );
        assert_eq!(parse_compacted(&SPEND, &charges), Day::parse("2026-11-01"));
        let series = key(&SERIES, "2026-11-20");
        assert_eq!(series, format!("compact/series/{content}.parquet"));
        assert_eq!(parse_compacted(&SERIES, &series), Some(Day::containing(0)));
        for other in [
            &points[8..],
            "compact/metrics/dt=2026-11-20/x.parquet",
            &series,
        ] {
            assert_eq!(parse_compacted(&METRICS, other), None, "{other}");
        }
        assert!(is_ours(&points) && is_ours(&series));
    }

    #[test]
    fn a_shards_lock_names_its_group_and_a_runs_lock_none() {
        let member = Member {
            group: GroupName::parse("nightly-7").expect("a name"),
            shard: Shard::parse("3/16").expect("a shard"),
        };
        let key = shard_lock(&member);
        assert_eq!(key, "_cwlake/locks/nightly-7.3of16.json");
        assert_eq!(parse_shard_lock(&key), Some(member));
        assert_eq!(parse_shard_lock(&run_lock("0")), None);
        assert_eq!(parse_shard_lock(LOCK), None);
    }

    #[test]
    fn what_is_beside_the_tables_has_names_of_its_own() {
        let group = GroupName::parse("nightly-7").expect("a name");
        let day = Day::parse("2026-11-20").expect("a day");
        for (key, expected) in [
            (run_lock("0"), "_cwlake/locks/run-0.json"),
            (compaction(&METRICS), "_cwlake/compact/metrics.json"),
            (report("r"), "_cwlake/runs/r.json.gz"),
            (super::group(&group), "_cwlake/groups/nightly-7/group.json"),
            (
                shard_report(&group, 3),
                "_cwlake/groups/nightly-7/shard-3.json.gz",
            ),
            (
                shard_spending(&group, 3),
                "_cwlake/groups/nightly-7/spent-3.json",
            ),
            (alerts(day), "_cwlake/alerts/2026-11-20.json"),
            (notices(day), "_cwlake/alerts/notices-2026-11-20.json"),
            (spool_folder(&Lane::example()), "111122223333_us-east-1"),
        ] {
            assert_eq!(key, expected);
        }
        assert_eq!(
            parse_shard_report(&group, &shard_report(&group, 3)),
            Some(3)
        );
        assert_eq!(parse_shard_report(&group, &super::group(&group)), None);
        assert_eq!(parse_alerts(&alerts(day)), Some(day));
        assert_eq!(parse_alerts(&notices(day)), None);
        assert_eq!(parse_group(&shard_spending(&group, 3)), Some(group));
        assert!(alerts(day).starts_with(&alerts_folder()));
        let answer = kept_answer(17, 0xabc);
        assert_eq!(answer, format!("17-{:0>32}.batch", "abc"));
        assert_eq!(parse_kept_answer(&answer), Some(17));
        for other in ["17-abc.batch".to_owned(), answer.replace("abc", "xyz")] {
            assert_eq!(parse_kept_answer(&other), None, "{other}");
        }
    }

    #[test]
    fn files_that_nearly_have_a_units_name_are_none() {
        for name in ["_000", "_00x0", "_0000_1", "", "_00000"] {
            let key = format!("metrics/dt=2026-11-20/111122223333_us-east-1{name}.parquet");
            assert_eq!(parse_unit(&METRICS, &key), None, "{key}");
        }
        for content in ["0123456789abcdef", "0123456789abcdef0123456789abcdeg"] {
            let key = format!("compact/metrics/dt=2026-11-20/{content}.parquet");
            assert_eq!(parse_compacted(&METRICS, &key), None, "{key}");
        }
    }
}
