//! Rows of a table to a record batch and back, by the names of its columns.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow_schema::ArrowError;

use super::decode::{DecodeError, dimensions_of};
use super::metrics::map_array;
use super::schema::schema_of;
use crate::lake::table::{ADDED_COLUMNS, Column, ColumnKind, Table};
use crate::model::{AccountId, Dimension, Lane, Region};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// Of a column of texts.
    Text(&'a str),
    /// Of a column of instants (µs since the epoch), days (since the epoch) or whole numbers.
    Number(i64),
    /// Of a column of doubles.
    Double(f64),
    /// Of a column of truths.
    Truth(bool),
    /// Of a column of maps.
    Map(&'a [Dimension]),
}

impl<'a> Cell<'a> {
    /// A text, or none.
    pub fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }

    /// A number, or none.
    pub fn number(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Number)
    }

    /// A double, or none.
    pub fn double(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Double)
    }

    /// True, false, or none.
    pub fn truth(value: Option<bool>) -> Self {
        value.map_or(Self::Null, Self::Truth)
    }
}

/// Whose rows they are: the columns that every table has.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Account and region.
    pub lane: &'a Lane,
    /// Alias of the account.
    pub account_name: Option<&'a str>,
}

/// The rows of one lane as one batch, in the order given. `get` gives the value of a column by its name, but those of the owner.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold, or for a value that is not of its column's kind.
pub fn batch_of<'a, T>(
    table: &Table,
    owner: Owner<'a>,
    rows: &'a [T],
    get: impl Fn(&'a T, &str) -> Cell<'a>,
) -> Result<RecordBatch, ArrowError> {
    let cell = |row: &'a T, column: &Column| match column.name {
        "account_id" => Cell::Text(owner.lane.account.as_str()),
        "account_name" => Cell::text(owner.account_name),
        "region" => Cell::Text(owner.lane.region.as_str()),
        name => get(row, name),
    };
    let arrays: Result<Vec<ArrayRef>, ArrowError> = table
        .columns
        .iter()
        .map(|column| array(column, rows.iter().map(|row| cell(row, column))))
        .collect();
    RecordBatch::try_new(schema_of(table), arrays?)
}

fn array<'a>(
    column: &Column,
    cells: impl ExactSizeIterator<Item = Cell<'a>>,
) -> Result<ArrayRef, ArrowError> {
    let wrong = |cell: &Cell<'_>| {
        let text = format!("column {} does not hold {cell:?}", column.name);
        ArrowError::InvalidArgumentError(text)
    };
    let rows = cells.len();
    macro_rules! fill {
        ($builder:expr, $variant:ident, |$value:ident| $converted:expr) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    Cell::$variant($value) => builder.append_value($converted),
                    other => return Err(wrong(&other)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let small = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    Ok(match column.kind {
        ColumnKind::Text => fill!(StringBuilder::with_capacity(rows, 0), Text, |v| v),
        ColumnKind::Instant => fill!(
            TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            Number,
            |v| v
        ),
        ColumnKind::Date => fill!(Date32Builder::with_capacity(rows), Number, |v| small(v)),
        ColumnKind::Integer => fill!(Int32Builder::with_capacity(rows), Number, |v| small(v)),
        ColumnKind::BigInteger => fill!(Int64Builder::with_capacity(rows), Number, |v| v),
        ColumnKind::Double => fill!(Float64Builder::with_capacity(rows), Double, |v| v),
        ColumnKind::Boolean => fill!(BooleanBuilder::with_capacity(rows), Truth, |v| v),
        ColumnKind::TextMap => {
            let maps: Result<Vec<&[Dimension]>, ArrowError> = cells
                .map(|cell| match cell {
                    Cell::Map(map) => Ok(map),
                    other => Err(wrong(&other)),
                })
                .collect();
            Arc::new(map_array(&maps?)?)
        }
    })
}

/// The rows of a batch, cut where another account or region begins.
///
/// # Errors
/// [`DecodeError`] for another schema, or a row of no account and region.
pub fn rows_by_lane(
    table: &Table,
    batch: &RecordBatch,
) -> Result<Vec<(Lane, RecordBatch)>, DecodeError> {
    let rows = Rows::of(table, batch)?;
    let mut lanes: Vec<(Lane, RecordBatch)> = Vec::new();
    let mut from = 0;
    for row in 1..=rows.len() {
        let same = |name| row < rows.len() && rows.text(name, row) == rows.text(name, from);
        if same("account_id") && same("region") {
            continue;
        }
        let account = AccountId::parse(rows.must("account_id", from)?);
        let lane = account.zip(Region::parse(rows.must("region", from)?));
        let (account, region) =
            lane.ok_or_else(|| DecodeError::new("a row is of no account and region"))?;
        lanes.push((Lane { account, region }, batch.slice(from, row - from)));
        from = row;
    }
    Ok(lanes)
}

/// A batch of a file of an earlier version, with the columns that were added since: false, or null where that may be.
///
/// # Errors
/// A column that was there from the start is missing.
pub fn with_added(table: &Table, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = schema_of(table);
    let rows = batch.num_rows();
    let mut columns = batch.columns().to_vec();
    for field in schema.fields().iter().skip(columns.len()) {
        if !ADDED_COLUMNS.contains(&field.name().as_str()) {
            return Err(ArrowError::SchemaError(format!(
                "{} is missing",
                field.name()
            )));
        }
        columns.push(if field.is_nullable() {
            new_null_array(field.data_type(), rows)
        } else {
            Arc::new(BooleanArray::from(vec![false; rows]))
        });
    }
    RecordBatch::try_new(schema, columns)
}

/// The rows of a batch of a table, read by the names of its columns.
#[derive(Debug)]
pub struct Rows<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Rows<'a> {
    /// A column that was added to the table later may be missing.
    ///
    /// # Errors
    /// [`DecodeError`] for another schema.
    pub fn of(table: &Table, batch: &'a RecordBatch) -> Result<Self, DecodeError> {
        let (there, all) = (batch.schema(), schema_of(table));
        let same = there.fields().iter().zip(all.fields()).all(|(a, b)| a == b);
        let missing = all.fields().iter().skip(there.fields().len());
        let only_added = missing
            .into_iter()
            .all(|f| ADDED_COLUMNS.contains(&f.name().as_str()));
        if same && only_added && there.fields().len() <= all.fields().len() {
            Ok(Self { batch })
        } else {
            Err(DecodeError::new("it has another schema"))
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn valid(&self, name: &str, row: usize) -> Option<&'a ArrayRef> {
        self.batch.column_by_name(name).filter(|c| c.is_valid(row))
    }

    /// A text.
    pub fn text(&self, name: &str, row: usize) -> Option<&'a str> {
        let column = self.valid(name, row)?.as_string_opt::<i32>()?;
        Some(column.value(row))
    }

    /// An instant (µs since the epoch), a day (since the epoch), or a whole number.
    pub fn number(&self, name: &str, row: usize) -> Option<i64> {
        let column = self.valid(name, row)?;
        if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
            return Some(times.value(row));
        }
        if let Some(days) = column.as_primitive_opt::<Date32Type>() {
            return Some(days.value(row).into());
        }
        if let Some(small) = column.as_primitive_opt::<Int32Type>() {
            return Some(small.value(row).into());
        }
        let large = column.as_primitive_opt::<Int64Type>()?;
        Some(large.value(row))
    }

    /// A double.
    pub fn double(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.valid(name, row)?.as_primitive_opt::<Float64Type>()?;
        Some(column.value(row))
    }

    /// True or false.
    pub fn truth(&self, name: &str, row: usize) -> Option<bool> {
        let column = self.valid(name, row)?.as_boolean_opt()?;
        Some(column.value(row))
    }

    /// A map.
    ///
    /// # Errors
    /// [`DecodeError`] when there is none.
    pub fn map(&self, name: &str, row: usize) -> Result<Vec<Dimension>, DecodeError> {
        let column = self.valid(name, row).and_then(|c| c.as_map_opt());
        let map = column.ok_or_else(|| DecodeError::missing(name))?.value(row);
        dimensions_of(map.columns())
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not.
    pub fn must(&self, name: &str, row: usize) -> Result<&'a str, DecodeError> {
        let text = self.text(name, row);
        text.ok_or_else(|| DecodeError::missing(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{INSTANCES, METRICS, SPEND};
    use crate::model::Instance;
    use crate::normalize::instances_batch;

    /// A batch of no rows with as many columns as there were.
    fn first_columns(table: &Table, count: usize) -> RecordBatch {
        let all: Vec<usize> = (0..count).collect();
        let whole = RecordBatch::new_empty(schema_of(table));
        whole.project(&all).expect("columns")
    }

    #[test]
    fn a_column_that_was_added_later_is_filled_in_and_no_other() {
        let all = SPEND.columns.len();
        let old = first_columns(&SPEND, all - 1);
        assert_eq!(with_added(&SPEND, &old).expect("whole").num_columns(), all);
        assert!(with_added(&SPEND, &first_columns(&SPEND, all - 2)).is_err());
        let points = METRICS.columns.len();
        assert!(with_added(&METRICS, &first_columns(&METRICS, points - 1)).is_err());
        let whole = first_columns(&METRICS, points);
        assert_eq!(with_added(&METRICS, &whole).expect("whole"), whole);
    }

    #[test]
    fn rows_are_cut_where_another_lane_begins() {
        let lane = |account: &str, region: &str| Lane {
            account: AccountId::parse(account).expect("id"),
            region: Region::parse(region).expect("region"),
        };
        let lanes = [
            lane("111122223333", "eu-west-1"),
            lane("111122223333", "us-east-1"),
            lane("222233334444", "us-east-1"),
            lane("111122223333", "us-east-1"),
        ];
        let instances = |count: usize| -> Vec<Instance> {
            let one = |n: usize| Instance {
                id: format!("i-{n}"),
                ..Instance::default()
            };
            (0..count).map(one).collect()
        };
        let batches: Vec<RecordBatch> = lanes
            .iter()
            .zip([2, 1, 3, 1])
            .map(|(lane, count)| {
                let owner = Owner {
                    lane,
                    account_name: None,
                };
                instances_batch(owner, &instances(count)).expect("built")
            })
            .collect();
        let schema = schema_of(&INSTANCES);
        let all = arrow_select::concat::concat_batches(&schema, &batches).expect("of one schema");
        let cut = rows_by_lane(&INSTANCES, &all).expect("cut");
        let expected: Vec<(Lane, RecordBatch)> = lanes.into_iter().zip(batches).collect();
        assert_eq!(cut, expected);
        let none = all.slice(0, 0);
        assert!(rows_by_lane(&INSTANCES, &none).expect("cut").is_empty());
        let rows = |batch| Rows::of(&INSTANCES, batch).expect("its schema").is_empty();
        assert!(rows(&none) && !rows(&all));
        assert!(rows_by_lane(&SPEND, &all).is_err(), "of another table");
        let mut turned: Vec<usize> = (0..all.num_columns()).collect();
        turned.swap(0, 1);
        let turned = all.project(&turned).expect("its columns");
        assert!(Rows::of(&INSTANCES, &turned).is_err(), "in another order");
    }
}
