//! Measured values: counters, zeros and constants stand in a dictionary, noise does not. A chunk begins with dictionary pages as long as
//! they are the smaller way, and every page from the first plain one on is plain.
//!
//! Never back from plain to dictionary, although the format allows it: Spark's vectorized reader (3.5 to 4.3) reads a dictionary page that
//! follows a plain one wrongly and without an error, because stock writers only ever fall back from dictionary to plain.
//! `BYTE_STREAM_SPLIT` would save another seven per cent, but the same reader refuses it (SPARK-56894).

use std::ops::Range;

use parquet::errors::Result;
use parquet::file::statistics::ValueStatistics;
use parquet::schema::types::ColumnDescPtr;

use super::interner::Interner;

use parquet::basic::{Encoding, Type};

use super::chunk::{Bounds, Chunk, DataPage, Encoded, Zstd, unexpected};
use super::hybrid::{Hybrid, width_of};

/// Rows of a page: one way of writing suits so many neighbours.
const PAGE_ROWS: usize = 32_768;

/// Rows from which a page ends where another metric begins.
const LEAST_ROWS: usize = 8_192;

/// Rows after which noise is known for noise: nine in ten of them are new.
const PROBE_ROWS: usize = 2_048;

/// A double column. `breaks` are the rows at which another metric begins.
pub(super) fn values(
    descr: &ColumnDescPtr,
    zstd: &mut Zstd,
    values: &[f64],
    breaks: &[usize],
) -> Result<Encoded> {
    if descr.physical_type() != Type::DOUBLE {
        return Err(unexpected(descr, descr.physical_type()));
    }
    let mut table = Interner::with_capacity(PAGE_ROWS);
    let mut pages = Vec::new();
    let mut is_plain = false;
    for range in pages_of(values.len(), breaks) {
        let page = &values[range.clone()];
        let body = if is_plain {
            Body::plain(page, zstd)?
        } else {
            Body::of(page, &mut table, zstd)?
        };
        is_plain = matches!(body, Body::Plain { .. });
        pages.push((range, body));
    }
    let mut chunk = Chunk::new(descr, zstd);
    if !table.entries.is_empty() {
        let dictionary = bytes(table.entries.iter().copied());
        chunk.dictionary(&dictionary, table.entries.len())?;
    }
    let width = width_of(table.entries.len().saturating_sub(1));
    let mut all = Ends::default();
    for (range, body) in pages {
        let ends = Ends::of(&values[range.clone()]);
        all = all.with(ends);
        let page = |body, encoding| DataPage {
            body,
            rows: range.len(),
            entries: range.len(),
            encoding,
            bounds: ends.bounds(),
        };
        match body {
            Body::Indices(places) => {
                let mut indices = Hybrid::new(width, vec![width.to_le_bytes()[0]]);
                indices.extend(&places);
                chunk.page(page(indices.finish(), Encoding::RLE_DICTIONARY))?;
            }
            Body::Plain { plain, compressed } => {
                chunk.compressed_page(page(plain, Encoding::PLAIN), compressed)?;
            }
        }
    }
    let ends = all.ends();
    let exact = all.nans == 0;
    let statistics = ValueStatistics::new(Some(ends.0), Some(ends.1), None, Some(0), false)
        .with_min_is_exact(exact && ends.0 != 0.0)
        .with_max_is_exact(exact && ends.1 != 0.0)
        .with_backwards_compatible_min_max(true)
        .with_nan_count(Some(all.nans as u64));
    chunk.close(statistics.into(), false)
}

/// Pages of nearly one size, of one metric where that has enough rows.
fn pages_of(rows: usize, breaks: &[usize]) -> Vec<Range<usize>> {
    let mut pages = Vec::new();
    let mut from = 0;
    for &to in breaks.iter().chain([&rows]) {
        if to == from || (to - from < LEAST_ROWS && to < rows) {
            continue;
        }
        let count = (to - from).div_ceil(PAGE_ROWS);
        for n in 0..count {
            let at = |n: usize| from + (to - from) * n / count;
            pages.push(at(n)..at(n + 1));
        }
        from = to;
    }
    pages
}

/// A page on its way.
enum Body {
    /// Places in the dictionary.
    Indices(Vec<u32>),
    Plain {
        plain: Vec<u8>,
        compressed: Vec<u8>,
    },
}

impl Body {
    /// Adds the page's values to `table` if they are to stand there.
    fn of(page: &[f64], table: &mut Interner, zstd: &mut Zstd) -> Result<Self> {
        let before = table.entries.len();
        let mut places = Vec::with_capacity(page.len());
        let (probe, rest) = page.split_at(page.len().min(PROBE_ROWS));
        places.extend(probe.iter().map(|v| table.place(v.to_bits())));
        let noise = !rest.is_empty() && (table.entries.len() - before) * 10 > probe.len() * 9;
        if !noise {
            places.extend(rest.iter().map(|v| table.place(v.to_bits())));
            if (table.entries.len() - before) * 4 <= page.len() {
                return Ok(Self::Indices(places));
            }
        }
        let plain = Self::plain(page, zstd)?;
        if let (false, Self::Plain { compressed, .. }) = (noise, &plain) {
            let new = table.entries[before..].iter().copied();
            let mut indices = Hybrid::new(width_of(table.entries.len() - 1), Vec::new());
            indices.extend(&places);
            let dictionary = zstd.compress(&bytes(new))?.len();
            if dictionary + zstd.compress(&indices.finish())?.len() <= compressed.len() {
                return Ok(Self::Indices(places));
            }
        }
        table.truncate(before);
        Ok(plain)
    }

    fn plain(page: &[f64], zstd: &mut Zstd) -> Result<Self> {
        let plain = bytes(page.iter().map(|v| v.to_bits()));
        let compressed = zstd.compress(&plain)?;
        Ok(Self::Plain { plain, compressed })
    }
}

fn bytes(values: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 8];
    for (place, value) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    bytes
}

/// The least and the greatest of the numbers, and how many are none.
#[derive(Clone, Copy, Debug)]
struct Ends {
    min: f64,
    max: f64,
    nans: usize,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            nans: 0,
        }
    }
}

impl Ends {
    fn of(values: &[f64]) -> Self {
        // A comparison with what is not a number is false.
        let mut ends = Self::default();
        for &value in values {
            ends.min = if value < ends.min { value } else { ends.min };
            ends.max = if value > ends.max { value } else { ends.max };
            ends.nans += usize::from(value.is_nan());
        }
        ends
    }

    fn with(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            nans: self.nans + other.nans,
        }
    }

    /// Bounds that no reader is misled by. A zero bounds zeros of either sign. What is not a number stands above all numbers to some
    /// readers (`DuckDB`), beside them to others, and a chunk without bounds would be overlooked by those that sum up the others'
    /// (`DataFusion`): with one in it, the bound is infinite.
    fn ends(self) -> (f64, f64) {
        let min = if self.min == 0.0 { -0.0 } else { self.min };
        let max = if self.max == 0.0 { 0.0 } else { self.max };
        match (min <= max, self.nans > 0) {
            (false, _) => (f64::NEG_INFINITY, f64::INFINITY),
            (true, true) => (min, f64::INFINITY),
            (true, false) => (min, max),
        }
    }

    fn bounds(self) -> Bounds {
        let (min, max) = self.ends();
        let bytes = |v: f64| v.to_le_bytes().to_vec();
        Bounds {
            ends: Some((bytes(min), bytes(max))),
            nulls: 0,
            nans: Some(self.nans),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_metrics_that_are_long_enough() {
        assert_eq!(pages_of(100, &[40, 100]).len(), 1);
        assert_eq!(pages_of(20_000, &[9_000, 9_500]), [0..9_000, 9_000..20_000]);
        assert_eq!(
            pages_of(70_000, &[]),
            [0..23_333, 23_333..46_666, 46_666..70_000]
        );
        assert_eq!(pages_of(0, &[]), Vec::<Range<usize>>::new());
    }

    #[test]
    fn bounds_take_both_zeros_and_are_open_above_for_what_is_not_a_number() {
        let everything = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(Ends::of(&[f64::NAN]).ends(), everything);
        let mixed = Ends::of(&[1.0]).with(Ends::of(&[f64::NAN]));
        assert_eq!(mixed.ends(), (1.0, f64::INFINITY));
        let (min, max) = Ends::of(&[0.0]).ends();
        assert!(min.is_sign_negative() && max.is_sign_positive());
        let wide = Ends::of(&[f64::INFINITY, f64::NEG_INFINITY]).ends();
        assert_eq!(wide, everything);
        assert_eq!(Ends::of(&[1.0]).with(Ends::of(&[-2.0])).ends(), (-2.0, 1.0));
    }
}
