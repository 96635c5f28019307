//! Whether the rows of a file are where they belong, and in the order they declare.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use super::decode::DecodeError;
use super::schema::{
    INSTANCES_SORT, LOGS_SORT, SPEND_INTRADAY_SORT, SPEND_SORT, instances_schema, logs_schema,
    spend_intraday_schema, spend_schema,
};
use crate::model::{DAY_SECONDS, Day, Lane};

/// Looks at the rows of one file of a table beside metrics, batch by batch.
#[derive(Debug)]
pub struct TableCheck {
    schema: arrow_schema::SchemaRef,
    sort: &'static [&'static str],
    lane: Lane,
    /// Days of its unit, first and end; none for a table without a time.
    days: Option<(Day, Day)>,
    rows: u64,
    last: Option<Vec<Cell>>,
    unsorted: u64,
    strange: u64,
    outside: u64,
}

/// A value that rows are sorted by. Nothing sorts last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Number(i64),
    Text(String),
    Nothing,
}

impl TableCheck {
    /// For a file of `table` that holds the unit of `day`.
    pub fn new(table: &str, day: Day, lane: &Lane) -> Self {
        let (schema, sort, days): (_, &[&str], _) = match table {
            "logs" => (logs_schema(), &LOGS_SORT, Some((day, day.plus(1)))),
            "spend" => (spend_schema(), &SPEND_SORT, Some((day, day.next_month()))),
            "spend_intraday" => {
                let month = Some((day, day.next_month()));
                (spend_intraday_schema(), &SPEND_INTRADAY_SORT, month)
            }
            _ => (instances_schema(), &INSTANCES_SORT, None),
        };
        Self {
            schema,
            sort,
            lane: lane.clone(),
            days,
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
        if batch.schema().fields() != self.schema.fields() {
            return Err(DecodeError::new("it has another schema"));
        }
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            self.rows += 1;
            let own = text("account_id", row).as_deref() == Some(self.lane.account.as_str())
                && text("region", row).as_deref() == Some(self.lane.region.as_str());
            self.strange += u64::from(!own);
            if let (Some((first, end)), Some(Cell::Number(day))) = (self.days, day_of(batch, row)) {
                let days = first.start() / DAY_SECONDS..end.start() / DAY_SECONDS;
                self.outside += u64::from(!days.contains(&day));
            }
            let key: Vec<Cell> = self
                .sort
                .iter()
                .map(|name| cell(batch, name, row))
                .collect();
            self.unsorted += u64::from(self.last.as_ref().is_some_and(|last| *last > key));
            self.last = Some(key);
        }
        Ok(())
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

/// The day a row belongs to, as days since the epoch.
fn day_of(batch: &RecordBatch, row: usize) -> Option<Cell> {
    let name = ["day", "ts"]
        .into_iter()
        .find(|n| batch.column_by_name(n).is_some())?;
    match cell(batch, name, row) {
        Cell::Number(n) if name == "ts" => {
            Some(Cell::Number(n.div_euclid(DAY_SECONDS * 1_000_000)))
        }
        other => Some(other),
    }
}

fn cell(batch: &RecordBatch, name: &str, row: usize) -> Cell {
    let Some(column) = batch.column_by_name(name).filter(|c| c.is_valid(row)) else {
        return Cell::Nothing;
    };
    match column.data_type() {
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Date32 => Cell::Number(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => {
            Cell::Number(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        _ => Cell::Nothing,
    }
}
