//! What is compacted of a table: its settled units, merged over all lanes into few files that never change. Pure.
//!
//! Units stay the truth. Readers take a unit from the files that this record names, or from the units' own files where it names none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::table::{Partition, Table};
use crate::model::{Day, Lane};

/// Version of the record's shape.
pub const VERSION: u32 = 1;

/// What is compacted of one table, and by that which files are read in place of its units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Version of this shape.
    pub compaction_version: u32,
    /// The table.
    pub table: String,
    /// By unit, as its folder names it: `2026-11-20`, `2026-11`; of a table without units `all`.
    pub units: BTreeMap<String, CompactedUnit>,
    /// What the manifests of a month were when all of it was compacted that was to be: a month that is as it was is not read again.
    #[serde(default)]
    pub months: BTreeMap<String, String>,
}

/// A compacted day or month, over all lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactedUnit {
    /// Names the units that it was made of, see [`fingerprint`].
    pub made_of: String,
    /// How many lanes have rows in it.
    pub lanes: u64,
    /// When it was compacted, seconds since the epoch.
    pub at: i64,
    /// Its files, in the order of their rows; none where no lane has rows.
    pub files: Vec<CompactedFile>,
    /// Files of before, which readers that do not know of the new ones yet may still read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<ReplacedFile>,
    /// Whether the lanes' own files are there as well.
    #[serde(default)]
    pub own_files: OwnFiles,
}

/// Whether the files that a compacted unit was made of are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnFiles {
    /// All of them.
    #[default]
    There,
    /// Some may be gone already, and the others are to go.
    Going,
    /// All are gone, but those of lanes that were written since.
    Gone,
}

/// One compacted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactedFile {
    /// Key below the lake's root.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// A file that another took the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedFile {
    /// Key below the lake's root.
    pub name: String,
    /// Since when, seconds since the epoch.
    pub since: i64,
}

impl Compaction {
    /// Nothing is compacted.
    pub fn none(table: &Table) -> Self {
        Self {
            compaction_version: VERSION,
            table: table.name.to_owned(),
            units: BTreeMap::new(),
            months: BTreeMap::new(),
        }
    }

    /// What is known of a unit.
    pub fn unit(&self, partition: Partition, unit: Day) -> Option<&CompactedUnit> {
        self.units.get(&partition.folder_of(unit))
    }

    /// Notes what a unit is now. Files that were read until now are kept in mind.
    pub fn set(&mut self, partition: Partition, unit: Day, mut new: CompactedUnit) {
        let key = partition.folder_of(unit);
        if let Some(old) = self.units.remove(&key) {
            let is_kept = |name: &str| new.files.iter().any(|f| f.name == name);
            let fallen = old.files.into_iter().map(|f| ReplacedFile {
                name: f.name,
                since: new.at,
            });
            let replaced = old.replaced.into_iter().chain(fallen);
            new.replaced = replaced.filter(|f| !is_kept(&f.name)).collect();
        }
        self.units.insert(key, new);
    }

    /// Every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &CompactedFile> {
        self.units.values().flat_map(|unit| &unit.files)
    }

    /// The keys of all files that it knows of, replaced ones included.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let units = self.units.values();
        let replaced = units.flat_map(|unit| unit.replaced.iter().map(|f| &f.name));
        self.files().map(|f| &f.name).chain(replaced)
    }

    /// The units that are read from compacted files; none of a table of which nothing is compacted.
    pub fn span(&self) -> Option<CompactedSpan> {
        let (first, last) = (self.units.keys().next()?, self.units.keys().next_back()?);
        let mut left_out = Vec::new();
        let mut at = Day::parse(&format!("{first}-01")).or_else(|| Day::parse(first));
        let is_month = first.len() == "2026-11".len();
        while let Some(day) = at {
            let key = if is_month {
                day.month()
            } else {
                day.to_string()
            };
            if key > *last {
                break;
            }
            if !self.units.contains_key(&key) {
                left_out.push(key);
            }
            at = Some(if is_month {
                day.next_month()
            } else {
                day.plus(1)
            });
        }
        Some(CompactedSpan {
            first: first.clone(),
            last: last.clone(),
            left_out,
        })
    }
}

/// Which units are compacted: all from a first to a last but some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactedSpan {
    /// The first, as its folder names it.
    pub first: String,
    /// The last.
    pub last: String,
    /// Those between that are not.
    pub left_out: Vec<String>,
}

/// Names the units that a compacted one is made of: their lanes and the checksums of their files.
pub fn fingerprint<'a>(units: impl IntoIterator<Item = (&'a Lane, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for (lane, sha256) in units {
        hash.update(format!("{lane} {sha256}\n"));
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{METRICS, SERIES, SPEND};

    fn day(text: &str) -> Day {
        Day::parse(text).expect("a day")
    }

    fn unit(names: &[&str], at: i64) -> CompactedUnit {
        let file = |name: &&str| CompactedFile {
            name: (*name).to_owned(),
            rows: 1,
            bytes: 1,
            sha256: String::new(),
        };
        CompactedUnit {
            made_of: String::new(),
            lanes: 1,
            at,
            files: names.iter().map(file).collect(),
            replaced: Vec::new(),
            own_files: OwnFiles::There,
        }
    }

    #[test]
    fn the_span_names_every_unit_that_is_not_compacted() {
        let mut days = Compaction::none(&METRICS);
        assert_eq!(days.span(), None);
        for text in ["2026-02-27", "2026-03-01", "2026-03-04"] {
            days.set(Partition::Day, day(text), unit(&["a"], 1));
        }
        let span = days.span().expect("some");
        assert_eq!((&*span.first, &*span.last), ("2026-02-27", "2026-03-04"));
        assert_eq!(span.left_out, ["2026-02-28", "2026-03-02", "2026-03-03"]);
        let mut months = Compaction::none(&SPEND);
        for text in ["2025-11-01", "2026-02-01"] {
            months.set(Partition::Month, day(text), unit(&["a"], 1));
        }
        let span = months.span().expect("some");
        assert_eq!((&*span.first, &*span.last), ("2025-11", "2026-02"));
        assert_eq!(span.left_out, ["2025-12", "2026-01"]);
        let mut all = Compaction::none(&SERIES);
        all.set(Partition::None, day("2026-02-27"), unit(&["a"], 1));
        let span = all.span().expect("some");
        assert_eq!((&*span.first, span.left_out.len()), ("all", 0));
    }

    #[test]
    fn a_file_that_is_replaced_is_kept_in_mind_until_it_is_one_again() {
        let mut record = Compaction::none(&METRICS);
        let at = day("2026-02-27");
        record.set(Partition::Day, at, unit(&["a", "b"], 1));
        record.set(Partition::Day, at, unit(&["b", "c"], 2));
        let replaced = |record: &Compaction| -> Vec<(String, i64)> {
            let unit = record.unit(Partition::Day, at).expect("there");
            let names = unit.replaced.iter();
            names.map(|f| (f.name.clone(), f.since)).collect()
        };
        assert_eq!(replaced(&record), [("a".to_owned(), 2)]);
        record.set(Partition::Day, at, unit(&["a"], 3));
        assert_eq!(
            replaced(&record),
            [("b".to_owned(), 3), ("c".to_owned(), 3)]
        );
    }

    #[test]
    fn compacted_points_stand_by_metric_and_other_rows_by_account() {
        let sort = METRICS.compacted_sort();
        let first = ["namespace", "metric_name", "account_id", "region"];
        assert_eq!(sort[..4], first);
        assert_eq!(sort.len(), METRICS.sort.len() + 2);
        let sort = SPEND.compacted_sort();
        assert_eq!(sort[..2], ["account_id", "region"]);
        assert_eq!(sort[2..], *SPEND.sort);
    }

    #[test]
    fn a_fingerprint_is_of_the_lanes_and_their_files() {
        let lane = Lane {
            account: crate::model::AccountId::parse("111122223333").expect("id"),
            region: crate::model::Region::parse("us-east-1").expect("region"),
        };
        let one = fingerprint([(&lane, "ab")]);
        // `printf '111122223333/us-east-1 ab\n' | sha256sum`
        assert_eq!(one, "13b4ece2d610032d2f0eddf143d55d73");
        assert_eq!(one, fingerprint([(&lane, "ab")]));
        assert_ne!(one, fingerprint([(&lane, "ab"), (&lane, "ab")]));
    }
}
