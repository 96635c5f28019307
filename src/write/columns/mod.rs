//! Column chunks of tables whose rows come in runs: one series and one statistic is hundreds of rows of one identity.
//!
//! The stock encoder hashes every identity text of every row, which is three quarters of what an export would cost. Here a column that is
//! run-end encoded is written run by run, and only timestamps and values are looked at row by row. In: a record batch that is one row
//! group. Out: encoded column chunks, spliced into the file by the parquet crate, which also writes headers, indexes and the footer.

mod chunk;
mod hybrid;
mod identity;
mod interner;
mod times;
mod values;

use std::cell::RefCell;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RunArray};
use arrow_schema::{DataType, TimeUnit};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

pub(super) use chunk::compression;
use chunk::{Encoded, Zstd};
use identity::{Entry, flat, map_leaf};

/// Encodes a row group.
///
/// # Shape
/// Columns of `rows`, by position: run-end encoded (32-bit ends) texts, 32-bit or 64-bit integers or maps of texts; or plain microsecond
/// timestamps and doubles without nulls. One chunk a leaf comes back, in the order of the schema's leaves.
///
/// # Errors
/// A [`ParquetError`] for a column of another type, or more than a page's 31 bits can count.
pub(super) fn encode(schema: &SchemaDescriptor, rows: &RecordBatch) -> Result<Vec<Encoded>> {
    thread_local! {
        static ZSTD: RefCell<Option<Zstd>> = const { RefCell::new(None) };
    }
    ZSTD.with_borrow_mut(|kept| {
        let zstd = match kept {
            Some(zstd) => zstd,
            none => none.insert(Zstd::new()?),
        };
        encode_with(zstd, schema, rows)
    })
}

fn encode_with(
    zstd: &mut Zstd,
    schema: &SchemaDescriptor,
    rows: &RecordBatch,
) -> Result<Vec<Encoded>> {
    let mut leaves = schema.columns().iter();
    let mut leaf = || {
        leaves
            .next()
            .ok_or_else(|| ParquetError::General("the schema has fewer leaves".to_owned()))
    };
    let breaks = breaks(rows);
    let mut chunks = Vec::with_capacity(schema.num_columns());
    for column in rows.columns() {
        match column.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) if column.null_count() == 0 => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                chunks.push(times::times(leaf()?, zstd, times.values())?);
            }
            DataType::Float64 if column.null_count() == 0 => {
                let values = column.as_primitive::<Float64Type>().values();
                chunks.push(values::values(leaf()?, zstd, values, &breaks)?);
            }
            DataType::RunEndEncoded(..) => {
                let runs = column
                    .as_any()
                    .downcast_ref::<RunArray<Int32Type>>()
                    .ok_or_else(|| unsupported(column))?;
                let lengths = lengths(runs);
                let values = runs.values();
                match values.data_type() {
                    DataType::Utf8 => {
                        let texts = values.as_string::<i32>().iter().zip(lengths);
                        chunks.push(flat(leaf()?, zstd, &texts.collect::<Vec<_>>())?);
                    }
                    DataType::Int32 => {
                        chunks.push(integers::<Int32Type>(leaf()?, zstd, values, lengths)?);
                    }
                    DataType::Int64 => {
                        chunks.push(integers::<Int64Type>(leaf()?, zstd, values, lengths)?);
                    }
                    DataType::Map(..) if values.null_count() == 0 => {
                        for child in 0..2 {
                            let texts = map_texts(values, child);
                            let runs: Vec<_> = texts.into_iter().zip(lengths.clone()).collect();
                            chunks.push(map_leaf(leaf()?, zstd, &runs)?);
                        }
                    }
                    _ => return Err(unsupported(column)),
                }
            }
            _ => return Err(unsupported(column)),
        }
    }
    Ok(chunks)
}

fn unsupported(column: &ArrayRef) -> ParquetError {
    let text = format!("a column of {} is not written in runs", column.data_type());
    ParquetError::NYI(text)
}

fn integers<T>(
    descr: &ColumnDescPtr,
    zstd: &mut Zstd,
    values: &ArrayRef,
    lengths: Vec<usize>,
) -> Result<Encoded>
where
    T: ArrowPrimitiveType,
    T::Native: Entry,
{
    let runs: Vec<_> = values.as_primitive::<T>().iter().zip(lengths).collect();
    flat(descr, zstd, &runs)
}

/// Rows of every run.
fn lengths(runs: &RunArray<Int32Type>) -> Vec<usize> {
    let mut from = 0;
    let ends = runs.run_ends().values().iter();
    ends.map(|end| {
        let length = end - std::mem::replace(&mut from, *end);
        usize::try_from(length).unwrap_or(0)
    })
    .collect()
}

/// Keys or values of every map.
fn map_texts(maps: &ArrayRef, child: usize) -> Vec<Vec<&str>> {
    let maps = maps.as_map();
    let texts = maps.entries().column(child).as_string::<i32>();
    maps.offsets()
        .windows(2)
        .map(|ends| {
            let range =
                usize::try_from(ends[0]).unwrap_or(0)..usize::try_from(ends[1]).unwrap_or(0);
            range.map(|i| texts.value(i)).collect()
        })
        .collect()
}

/// Rows at which another metric begins.
fn breaks(rows: &RecordBatch) -> Vec<usize> {
    let runs = rows
        .column_by_name("metric_name")
        .and_then(|column| column.as_any().downcast_ref::<RunArray<Int32Type>>());
    let mut at = 0;
    runs.map(lengths)
        .unwrap_or_default()
        .into_iter()
        .map(|length| {
            at += length;
            at
        })
        .collect()
}
