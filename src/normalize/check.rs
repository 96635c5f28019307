//! Whether the rows of a file are where they belong, and in the order they declare.

use std::ops::Range;

use arrow_array::RecordBatch;

use super::decode::DecodeError;
use super::rows::Rows;
use crate::lake::table::{ColumnKind, Table};
use crate::model::{DAY_SECONDS, Day, Lane};

/// Looks at the rows of one file, batch by batch.
#[derive(Debug)]
pub struct TableCheck {
    table: &'static Table,
    lane: Lane,
    /// Days of its unit since the epoch; none of a table whose rows have no time, or of none of its own.
    days: Option<Range<i64>>,
    rows: u64,
    last: Option<Vec<Key>>,
    unsorted: u64,
    strange: u64,
    outside: u64,
}

/// A value that rows are sorted by. Nothing sorts last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(String),
    Nothing,
}

impl TableCheck {
    /// For a file of `table` that holds a unit; of a table without units its `unit` is of no meaning.
    pub fn new(table: &'static Table, unit: Day, lane: &Lane) -> Self {
        let window = table.partition.window(unit);
        let days = window.start / DAY_SECONDS..window.end / DAY_SECONDS;
        Self {
            table,
            lane: lane.clone(),
            days: table.time().map(|_| days),
            rows: 0,
            last: None,
            unsorted: 0,
            strange: 0,
            outside: 0,
        }
    }

    /// Looks at rows that follow those before.
    ///
    /// # Errors
    /// [`DecodeError`] for another schema.
    pub fn take(&mut self, batch: &RecordBatch) -> Result<(), DecodeError> {
        let rows = Rows::of(self.table, batch)?;
        for row in 0..rows.len() {
            self.rows += 1;
            let own = rows.text("account_id", row) == Some(self.lane.account.as_str())
                && rows.text("region", row) == Some(self.lane.region.as_str());
            self.strange += u64::from(!own);
            if let (Some(days), Some(day)) = (&self.days, self.day_of(&rows, row)) {
                self.outside += u64::from(!days.contains(&day));
            }
            let key: Vec<Key> = self.table.sort.iter().map(|n| key(&rows, n, row)).collect();
            self.unsorted += u64::from(self.last.as_ref().is_some_and(|last| *last > key));
            self.last = Some(key);
        }
        Ok(())
    }

    /// The day a row belongs to, since the epoch.
    fn day_of(&self, rows: &Rows<'_>, row: usize) -> Option<i64> {
        let time = self.table.time()?;
        let value = rows.number(time.name, row)?;
        Some(match time.kind {
            ColumnKind::Instant => value.div_euclid(DAY_SECONDS * 1_000_000),
            _ => value,
        })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What is wrong with them.
    pub fn faults(&self) -> Vec<String> {
        let counts = [
            (self.unsorted, "rows are not in the order the file declares"),
            (self.strange, "rows are of another account or region"),
            (self.outside, "rows are of another day"),
        ];
        let wrong = counts.iter().filter(|(n, _)| *n > 0);
        wrong.map(|(n, what)| format!("{n} {what}")).collect()
    }
}

fn key(rows: &Rows<'_>, name: &str, row: usize) -> Key {
    let text = || rows.text(name, row).map(|t| Key::Text(t.to_owned()));
    let number = || rows.number(name, row).map(Key::Number);
    text().or_else(number).unwrap_or(Key::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{LOGS, SERIES};
    use crate::model::{AccountId, LogEvent, Region};
    use crate::normalize::{Catalog, Owner, logs_batch, series_batch};

    fn lane(account: &str, region: &str) -> Lane {
        Lane {
            account: AccountId::parse(account).expect("id"),
            region: Region::parse(region).expect("region"),
        }
    }

    fn batch(lane: &Lane, events: &[(&str, i64)]) -> RecordBatch {
        let event = |(group, second): &(&str, i64)| LogEvent {
            ts: second * 1_000,
            ingested_at: 0,
            group: (*group).into(),
            stream: "s".into(),
            id: None,
            message: "m".into(),
        };
        let events: Vec<LogEvent> = events.iter().map(event).collect();
        let owner = Owner {
            lane,
            account_name: None,
        };
        logs_batch(owner, &events).expect("built")
    }

    #[test]
    fn rows_that_are_where_they_belong_have_no_fault() {
        let lane = lane("111122223333", "us-east-1");
        let day = Day::parse("2026-11-20").expect("a day");
        let mut check = TableCheck::new(&LOGS, day, &lane);
        let (first, last) = (day.start(), day.end() - 1);
        check
            .take(&batch(&lane, &[("a", first), ("a", last)]))
            .expect("rows");
        check
            .take(&batch(&lane, &[("a", last), ("b", first)]))
            .expect("rows");
        assert_eq!((check.rows(), check.faults()), (4, vec![]));
        let owner = Owner {
            lane: &lane,
            account_name: None,
        };
        let other = series_batch(owner, &Catalog::new()).expect("built");
        assert!(check.take(&other).is_err());
        let mut series = TableCheck::new(&SERIES, day, &lane);
        series.take(&other).expect("rows");
        assert_eq!((series.rows(), series.faults()), (0, vec![]));
    }

    #[test]
    fn every_fault_is_counted_by_itself() {
        let own = lane("111122223333", "us-east-1");
        let day = Day::parse("2026-11-20").expect("a day");
        let at = day.start();
        let faults = |batches: &[RecordBatch]| {
            let mut check = TableCheck::new(&LOGS, day, &own);
            for batch in batches {
                check.take(batch).expect("rows");
            }
            check.faults()
        };
        let unsorted = batch(&own, &[("b", at), ("a", at), ("a", at)]);
        assert_eq!(
            faults(&[unsorted, batch(&own, &[("0", at)])]),
            ["2 rows are not in the order the file declares"]
        );
        let strange = [
            batch(&lane("000122223333", "us-east-1"), &[("a", at), ("a", at)]),
            batch(&lane("111122223333", "us-west-2"), &[("a", at)]),
        ];
        assert_eq!(
            faults(&strange),
            ["3 rows are of another account or region"]
        );
        let outside = batch(&own, &[("a", at - 1), ("b", at), ("c", day.end())]);
        assert_eq!(faults(&[outside]), ["2 rows are of another day"]);
    }
}
