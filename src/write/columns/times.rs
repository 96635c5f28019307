//! Timestamps: the same ones again and again, run after run.

use parquet::basic::{Encoding, Type};
use parquet::column::writer::{get_column_writer, get_typed_column_writer};
use parquet::data_type::Int64Type;
use parquet::errors::Result;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::statistics::ValueStatistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Bounds, Chunk, DataPage, Encoded, Zstd, unexpected};
use super::hybrid::{Hybrid, width_of};
use super::interner::Interner;

/// Rows a distinct timestamp must stand for in a dictionary to be worth its eight bytes: below, deltas are smaller.
const ROWS_A_TIMESTAMP: usize = 32;

/// Timestamps that run up again and again over the same day: a dictionary, which readers decode and filter at twice the speed of deltas,
/// or deltas where most differ. `properties` say how the latter are encoded.
pub(super) fn times(
    descr: &ColumnDescPtr,
    properties: &WriterPropertiesPtr,
    zstd: &mut Zstd,
    times: &[i64],
) -> Result<Encoded> {
    if descr.physical_type() != Type::INT64 {
        return Err(unexpected(descr, descr.physical_type()));
    }
    let most = times.len() / ROWS_A_TIMESTAMP;
    let mut table = Interner::with_capacity(most);
    let mut rounds: Vec<(Vec<u32>, usize)> = Vec::new();
    let mut last: &[i64] = &[];
    for round in times.chunk_by(|a, b| a < b) {
        if round == last
            && let Some((_, repeated)) = rounds.last_mut()
        {
            *repeated += 1;
            continue;
        }
        let places = round.iter().map(|t| table.place(t.cast_unsigned()));
        rounds.push((places.collect(), 1));
        if table.entries.len() > most {
            return deltas(descr, properties, times);
        }
        last = round;
    }
    let width = width_of(table.entries.len().saturating_sub(1));
    let mut indices = Hybrid::new(width, vec![width.to_le_bytes()[0]]);
    for (places, repeated) in rounds {
        if repeated == 1 {
            indices.extend(&places);
        } else {
            indices.repeat_all(&places, repeated);
        }
    }
    let plain: Vec<u8> = table.entries.iter().flat_map(|e| e.to_le_bytes()).collect();
    let mut chunk = Chunk::new(descr, zstd);
    chunk.dictionary(&plain, table.entries.len())?;
    let seen = || table.entries.iter().map(|e| e.cast_signed());
    let (min, max) = (seen().min(), seen().max());
    chunk.page(DataPage {
        body: indices.finish(),
        rows: times.len(),
        entries: times.len(),
        encoding: Encoding::RLE_DICTIONARY,
        bounds: Bounds {
            ends: min
                .zip(max)
                .map(|(a, b)| (a.to_le_bytes().to_vec(), b.to_le_bytes().to_vec())),
            nulls: 0,
            nans: None,
        },
    })?;
    let statistics = ValueStatistics::new(min, max, None, Some(0), false)
        .with_backwards_compatible_min_max(true);
    chunk.close(statistics.into(), true)
}

/// The library's own encoder.
fn deltas(
    descr: &ColumnDescPtr,
    properties: &WriterPropertiesPtr,
    times: &[i64],
) -> Result<Encoded> {
    let mut sink = TrackedWrite::new(Vec::new());
    let pages = Box::new(SerializedPageWriter::new(&mut sink));
    let mut writer = get_typed_column_writer::<Int64Type>(get_column_writer(
        descr.clone(),
        properties.clone(),
        pages,
    ));
    writer.write_batch(times, None, None)?;
    let close = writer.close()?;
    Ok((sink.into_inner()?.into(), close))
}
