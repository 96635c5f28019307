//! Where things are in a lake: keys below its root, and the local folders for files on their way. Pure.
//!
//! Only validated ids and dates become parts of a key: no free text reaches a path.

use std::path::{Path, PathBuf};

use crate::model::{AccountId, Day, Lane, Region};

/// Name of the folder for everything that is not a table; never inside one.
pub const CONTROL_FOLDER: &str = "_cwlake";

/// The lock.
pub const LOCK: &str = "_cwlake/lock";

/// Which layout the lake has.
pub const FORMAT: &str = "_cwlake/format.json";

/// The table of metric points.
pub const METRICS: &str = "metrics";

/// The table of series.
pub const SERIES: &str = "series";

/// The table of EC2 instances.
pub const INSTANCES: &str = "instances";

/// The table of log events.
pub const LOGS: &str = "logs";

/// The table of charges by day.
pub const SPEND: &str = "spend";

/// The table of charges as they were published.
pub const SPEND_INTRADAY: &str = "spend_intraday";

/// The tables whose units are recorded in manifests.
pub const UNIT_TABLES: [&str; 5] = [METRICS, INSTANCES, LOGS, SPEND, SPEND_INTRADAY];

/// Whether a unit of the table is a month, named by its first day.
pub fn is_monthly(dataset: &str) -> bool {
    matches!(dataset, SPEND | SPEND_INTRADAY)
}

/// The one file of a unit: `metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet`; of charges
/// `spend/month=2026-11/111122223333_us-east-1_0000.parquet`.
pub fn unit(dataset: &str, day: Day, lane: &Lane) -> String {
    let folder = if is_monthly(dataset) {
        format!("month={}", day.month())
    } else {
        format!("dt={day}")
    };
    format!(
        "{dataset}/{folder}/{}_{}_0000.parquet",
        lane.account, lane.region
    )
}

/// Day and lane of a unit's file, when the key is one.
pub fn parse_unit(dataset: &str, key: &str) -> Option<(Day, Lane)> {
    let (folder, file) = key
        .strip_prefix(dataset)?
        .strip_prefix('/')?
        .split_once('/')?;
    let day = if is_monthly(dataset) {
        Day::parse(&format!("{}-01", folder.strip_prefix("month=")?))?
    } else {
        Day::parse(folder.strip_prefix("dt=")?)?
    };
    let mut parts = file.strip_suffix(".parquet")?.split('_');
    let lane = Lane {
        account: AccountId::parse(parts.next()?)?,
        region: Region::parse(parts.next()?)?,
    };
    let part = parts.next()?;
    let whole =
        part.len() == 4 && part.bytes().all(|b| b.is_ascii_digit()) && parts.next().is_none();
    whole.then_some((day, lane))
}

/// The series of a lane: `series/111122223333_us-east-1.parquet`.
pub fn series(lane: &Lane) -> String {
    format!("{SERIES}/{}_{}.parquet", lane.account, lane.region)
}

/// Lane of a series file, when the key is one.
fn parse_series(key: &str) -> Option<Lane> {
    let name = key
        .strip_prefix(SERIES)?
        .strip_prefix('/')?
        .strip_suffix(".parquet")?;
    let (account, region) = name.split_once('_')?;
    Some(Lane {
        account: AccountId::parse(account)?,
        region: Region::parse(region)?,
    })
}

/// The records of a lane's units in a month (`2026-11`).
pub fn manifest(dataset: &str, month: &str, lane: &Lane) -> String {
    format!(
        "{}{month}/{}_{}.json",
        manifests(dataset),
        lane.account,
        lane.region
    )
}

/// The folder of a table's manifests, with its `/`.
pub fn manifests(dataset: &str) -> String {
    format!("{CONTROL_FOLDER}/manifest/{dataset}/")
}

/// Month and lane of a manifest, when the key is one.
pub fn parse_manifest(dataset: &str, key: &str) -> Option<(String, Lane)> {
    let rest = key.strip_prefix(&manifests(dataset))?;
    let (month, name) = rest.split_once('/')?;
    Day::parse(&format!("{month}-01"))?;
    let (account, region) = name.strip_suffix(".json")?.split_once('_')?;
    let lane = Lane {
        account: AccountId::parse(account)?,
        region: Region::parse(region)?,
    };
    Some((month.to_owned(), lane))
}

/// The report of a run.
pub fn report(run_id: &str) -> String {
    format!("{CONTROL_FOLDER}/runs/{run_id}.json")
}

/// Which alerts were sent about a day.
pub fn alerts(day: Day) -> String {
    format!("{CONTROL_FOLDER}/alerts/{day}.json")
}

/// Whether a key is one that cwlake writes: nothing else in a bucket is ever touched.
pub fn is_ours(key: &str) -> bool {
    let probe = |table: &str| key == format!("{table}/.probe");
    UNIT_TABLES
        .into_iter()
        .any(|table| parse_unit(table, key).is_some() || probe(table))
        || parse_series(key).is_some()
        || key.starts_with("_cwlake/")
        || probe(SERIES)
}

/// The folder for files on their way, of a lake in a local folder: on its file system, outside its tables.
pub fn local_scratch(root: &Path) -> PathBuf {
    root.join(CONTROL_FOLDER)
}

/// A file while it is being written, in the staging folder of its run.
pub fn staged(staging: &Path, dataset: &str, day: Day, lane: &Lane) -> PathBuf {
    staging.join(format!(
        "{dataset}_{day}_{}_{}.part",
        lane.account, lane.region
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        }
    }

    #[test]
    fn keys_name_their_units_and_nothing_else_does() {
        let day = Day::parse("2026-11-20").expect("day");
        let key = unit(METRICS, day, &lane());
        assert_eq!(
            key,
            "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet"
        );
        assert_eq!(parse_unit(METRICS, &key), Some((day, lane())));
        for other in [
            "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet.part",
            "metrics/dt=2026-11-31/111122223333_us-east-1_0000.parquet",
            "metrics/dt=2026-11-20/x/111122223333_us-east-1_0000.parquet",
            "metrics/dt=2026-11-20/my_report_0000.parquet",
            "metrics/notes.txt",
            "other/dt=2026-11-20/111122223333_us-east-1_0000.parquet",
        ] {
            assert_eq!(parse_unit(METRICS, other), None, "{other}");
            assert!(!is_ours(other), "{other}");
        }
        assert!(is_ours(&key) && is_ours(&series(&lane())) && is_ours("metrics/.probe"));
        let month = unit(SPEND, Day::parse("2026-11-01").expect("day"), &lane());
        assert_eq!(
            month,
            "spend/month=2026-11/111122223333_us-east-1_0000.parquet"
        );
        let first = Day::parse("2026-11-01").expect("day");
        assert_eq!(parse_unit(SPEND, &month), Some((first, lane())));
        assert_eq!(parse_unit(SPEND_INTRADAY, &month), None);
        assert!(
            is_ours(&month) && !is_ours("spend/dt=2026-11-01/111122223333_us-east-1_0000.parquet")
        );
        let manifest = manifest(METRICS, "2026-11", &lane());
        assert_eq!(
            parse_manifest(METRICS, &manifest),
            Some(("2026-11".to_owned(), lane()))
        );
        assert_eq!(
            parse_manifest(METRICS, "_cwlake/manifest/metrics/x/y.json"),
            None
        );
    }
}
