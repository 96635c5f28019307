//! Where things are in a lake. Pure.
//!
//! Only validated ids and dates become path segments: no free text reaches a path.

use std::path::{Path, PathBuf};

use crate::model::{Day, Lane};

/// Name of the folder for everything that is not a table; never inside one.
pub const CONTROL_FOLDER: &str = "_cwlake";

/// The folder of a table: `<root>/metrics`.
pub fn table(root: &Path, dataset: &str) -> PathBuf {
    root.join(dataset)
}

/// The one file of a unit: `<root>/metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet`.
pub fn unit_file(root: &Path, dataset: &str, day: Day, lane: &Lane) -> PathBuf {
    table(root, dataset)
        .join(format!("dt={day}"))
        .join(format!("{}_{}_0000.parquet", lane.account, lane.region))
}

/// A unit's file while it is being written: beside the tables, on the same file system.
pub fn staged_file(root: &Path, run_id: &str, dataset: &str, day: Day, lane: &Lane) -> PathBuf {
    staging(root).join(run_id).join(format!(
        "{dataset}_{day}_{}_{}.part",
        lane.account, lane.region
    ))
}

/// The folder of all staging folders.
pub fn staging(root: &Path) -> PathBuf {
    root.join(CONTROL_FOLDER).join("staging")
}

/// The report of a run.
pub fn report(root: &Path, run_id: &str) -> PathBuf {
    root.join(CONTROL_FOLDER)
        .join("runs")
        .join(format!("{run_id}.json"))
}

/// The file whose lock a run holds.
pub fn lock(root: &Path) -> PathBuf {
    root.join(CONTROL_FOLDER).join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Region};

    #[test]
    fn units_have_one_place_each() {
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let day = Day::parse("2026-11-20").expect("day");
        assert_eq!(
            unit_file(Path::new("/lake"), "metrics", day, &lane),
            Path::new("/lake/metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet")
        );
        assert!(
            staged_file(Path::new("/lake"), "r", "metrics", day, &lane)
                .starts_with("/lake/_cwlake/staging/r")
        );
    }
}
