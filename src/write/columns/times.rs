//! Timestamps: the same ones again and again, run after run.

use parquet::basic::{Encoding, Type};

use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use super::interner::Interner;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::chunk::{Bounds, Chunk, DataPage, Encoded, Zstd, unexpected};
use super::hybrid::{Hybrid, width_of};

/// Rows a distinct timestamp must stand for in a dictionary: with fewer, its eight bytes and the places cost more than plain values.
const ROWS_A_TIMESTAMP: usize = 2;

/// Rows of a page of plain timestamps.
const PAGE_ROWS: usize = 32_768;

/// Timestamps that run up again and again over the same day: a dictionary; plain values where most differ.
///
/// No deltas, which would be smaller where timestamps seldom repeat: fastparquet reads `DELTA_BINARY_PACKED` wrongly and without an error.
pub(super) fn times(descr: &ColumnDescPtr, zstd: &mut Zstd, times: &[i64]) -> Result<Encoded> {
    if descr.physical_type() != Type::INT64 {
        return Err(unexpected(descr, descr.physical_type()));
    }
    let most = times.len() / ROWS_A_TIMESTAMP;
    let mut table = Interner::with_capacity(most.min(PAGE_ROWS));
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
            return plain(descr, zstd, times);
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
    chunk.page(DataPage {
        body: indices.finish(),
        rows: times.len(),
        entries: times.len(),
        encoding: Encoding::RLE_DICTIONARY,
        bounds: bounds(times),
    })?;
    chunk.close(statistics(times), true)
}

fn plain(descr: &ColumnDescPtr, zstd: &mut Zstd, times: &[i64]) -> Result<Encoded> {
    let mut chunk = Chunk::new(descr, zstd);
    let mut is_ascending = true;
    let mut last = (i64::MIN, i64::MIN);
    for page in times.chunks(PAGE_ROWS) {
        let ends = ends(page);
        if let Some(ends) = ends {
            is_ascending &= last.0 <= ends.0 && last.1 <= ends.1;
            last = ends;
        }
        chunk.page(DataPage {
            body: page.iter().flat_map(|t| t.to_le_bytes()).collect(),
            rows: page.len(),
            entries: page.len(),
            encoding: Encoding::PLAIN,
            bounds: bounds(page),
        })?;
    }
    chunk.close(statistics(times), is_ascending)
}

fn ends(times: &[i64]) -> Option<(i64, i64)> {
    let (min, max) = (times.iter().min(), times.iter().max());
    min.copied().zip(max.copied())
}

fn bounds(times: &[i64]) -> Bounds {
    let bytes = |t: i64| t.to_le_bytes().to_vec();
    Bounds {
        ends: ends(times).map(|(min, max)| (bytes(min), bytes(max))),
        nulls: 0,
        nans: None,
    }
}

fn statistics(times: &[i64]) -> Statistics {
    let (min, max) = ends(times).unzip();
    ValueStatistics::new(min, max, None, Some(0), false)
        .with_backwards_compatible_min_max(true)
        .into()
}
