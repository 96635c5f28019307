//! Columns that stay the same over long runs of rows: the cost is that of the runs, not of the rows.

use std::collections::HashMap;
use std::hash::Hash;

use parquet::basic::Encoding;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use parquet::file::statistics::{Statistics, ValueStatistics};

use super::chunk::{Bounds, Chunk, DataPage, Encoded, Zstd, put_levels};
use super::hybrid::{Hybrid, width_of};

/// Bytes of a text that statistics and indexes show; longer ones are bounded, not told.
const SHOWN: usize = 64;

/// A page of plain texts ends when it has so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A value that can stand in a dictionary.
pub(super) trait Entry: Copy + Eq + Hash + Ord {
    /// Appends its PLAIN bytes.
    fn put(self, out: &mut Vec<u8>);

    /// Bytes of its PLAIN form.
    fn size(self) -> usize;

    /// The statistics of a chunk.
    fn statistics(ends: Option<(Self, Self)>, nulls: u64) -> Statistics;

    /// What an index shows of the least and the greatest; none when that cannot be told.
    fn ends(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)>;
}

impl Entry for &str {
    fn put(self, out: &mut Vec<u8>) {
        // Texts of AWS are far below 2^31 bytes; Arrow's offsets have refused longer ones.
        let length = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    fn size(self) -> usize {
        4 + self.len()
    }

    fn statistics(ends: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let shown = ends.and_then(|(min, max)| Some((shown_min(min), shown_max(max)?)));
        let exact = |whole: fn((&str, &str)) -> usize| ends.is_some_and(|e| whole(e) <= SHOWN);
        let (min, max) = shown.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        ValueStatistics::<ByteArray>::new(
            min.map(|text| text.as_bytes().to_vec().into()),
            max.map(|text| text.into_bytes().into()),
            None,
            Some(nulls),
            false,
        )
        .with_min_is_exact(exact(|e| e.0.len()))
        .with_max_is_exact(exact(|e| e.1.len()))
        .into()
    }

    fn ends(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((
            shown_min(min).as_bytes().to_vec(),
            shown_max(max)?.into_bytes(),
        ))
    }
}

fn shown_min(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// The text, or a short one that is greater: its head with the last character raised.
fn shown_max(text: &str) -> Option<String> {
    if text.len() <= SHOWN {
        return Some(text.to_owned());
    }
    let mut head = shown_min(text).to_owned();
    while let Some(last) = head.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            head.push(next);
            return Some(head);
        }
    }
    None
}

macro_rules! integer {
    ($type:ty) => {
        impl Entry for $type {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn size(self) -> usize {
                size_of::<Self>()
            }

            fn statistics(ends: Option<(Self, Self)>, nulls: u64) -> Statistics {
                let (min, max) = ends.map_or((None, None), |(a, b)| (Some(a), Some(b)));
                ValueStatistics::new(min, max, None, Some(nulls), false)
                    .with_backwards_compatible_min_max(true)
                    .into()
            }

            fn ends(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
                Some((min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec()))
            }
        }
    };
}
integer!(i32);
integer!(i64);

/// Distinct values in the order of their appearance.
struct Dictionary<T> {
    places: HashMap<T, u32>,
    entries: Vec<T>,
}

impl<T: Entry> Dictionary<T> {
    fn new() -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
        }
    }

    fn place(&mut self, value: T) -> u32 {
        *self.places.entry(value).or_insert_with(|| {
            self.entries.push(value);
            // A row group has fewer rows than 2^32.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn width(&self) -> u32 {
        width_of(self.entries.len().saturating_sub(1))
    }

    fn ends(&self) -> Option<(T, T)> {
        let (min, max) = (self.entries.iter().min(), self.entries.iter().max());
        min.copied().zip(max.copied())
    }

    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.entries.iter().map(|e| e.size()).sum());
        self.entries.iter().for_each(|entry| entry.put(&mut plain));
        plain
    }

    /// The dictionary and one page: `levels`, then the places that `indices` adds.
    fn chunk(
        &self,
        descr: &ColumnDescPtr,
        zstd: &mut Zstd,
        count: Count,
        mut levels: Vec<u8>,
        indices: impl FnOnce(&mut Hybrid),
    ) -> Result<Encoded> {
        let width = self.width();
        levels.push(width.to_le_bytes()[0]);
        let mut body = Hybrid::new(width, levels);
        indices(&mut body);
        let mut chunk = Chunk::new(descr, zstd);
        chunk.dictionary(&self.plain(), self.entries.len())?;
        let ends = self.ends();
        chunk.page(DataPage {
            body: body.finish(),
            rows: count.rows,
            entries: count.entries,
            encoding: Encoding::RLE_DICTIONARY,
            bounds: Bounds {
                ends: ends.and_then(|(min, max)| T::ends(min, max)),
                nulls: count.nulls,
                nans: None,
            },
        })?;
        chunk.close(T::statistics(ends, count.nulls as u64), true)
    }
}

/// What a page holds. Entries without a value, nulls and empty lists, are `nulls`.
#[derive(Clone, Copy, Default)]
struct Count {
    rows: usize,
    entries: usize,
    nulls: usize,
}

/// A flat column: values with the number of rows that have them.
pub(super) fn flat<T: Entry>(
    descr: &ColumnDescPtr,
    zstd: &mut Zstd,
    runs: &[(Option<T>, usize)],
) -> Result<Encoded> {
    let rows: usize = runs.iter().map(|(_, n)| n).sum();
    let mut dictionary = Dictionary::new();
    let places: Vec<(Option<u32>, usize)> = runs
        .iter()
        .map(|(value, n)| (value.map(|v| dictionary.place(v)), *n))
        .collect();
    // A dictionary that is nearly as long as the column saves nothing.
    if dictionary.entries.len() * 2 > rows && dictionary.plain().len() > PAGE_BYTES {
        return plain(descr, zstd, runs, dictionary.ends());
    }
    let nulls = runs
        .iter()
        .filter(|(v, _)| v.is_none())
        .map(|(_, n)| n)
        .sum();
    let mut levels = Vec::new();
    if descr.max_def_level() > 0 {
        let mut definition = Hybrid::new(1, Vec::new());
        for (place, n) in &places {
            definition.repeat(u32::from(place.is_some()), *n);
        }
        put_levels(&mut levels, definition.finish())?;
    }
    let count = Count {
        rows,
        entries: rows,
        nulls,
    };
    dictionary.chunk(descr, zstd, count, levels, |indices| {
        for (place, n) in places {
            if let Some(place) = place {
                indices.repeat(place, n);
            }
        }
    })
}

/// The same without a dictionary, in pages of a megabyte.
fn plain<T: Entry>(
    descr: &ColumnDescPtr,
    zstd: &mut Zstd,
    runs: &[(Option<T>, usize)],
    ends: Option<(T, T)>,
) -> Result<Encoded> {
    let mut chunk = Chunk::new(descr, zstd);
    let (mut all_nulls, mut ascending) = (0, true);
    let mut last: Option<(T, T)> = None;
    let mut rows = runs
        .iter()
        .flat_map(|(value, n)| std::iter::repeat_n(*value, *n))
        .peekable();
    while rows.peek().is_some() {
        let mut values = Vec::new();
        let mut levels = Hybrid::new(1, Vec::new());
        let (mut count, mut nulls) = (0, 0);
        let mut page: Option<(T, T)> = None;
        while values.len() < PAGE_BYTES
            && let Some(value) = rows.next()
        {
            count += 1;
            levels.repeat(u32::from(value.is_some()), 1);
            match value {
                Some(value) => {
                    value.put(&mut values);
                    page = Some(page.map_or((value, value), |(a, b)| (a.min(value), b.max(value))));
                }
                None => nulls += 1,
            }
        }
        let mut body = Vec::new();
        if descr.max_def_level() > 0 {
            put_levels(&mut body, levels.finish())?;
        }
        body.append(&mut values);
        ascending &= match (last, page) {
            (Some(last), Some(page)) => last.0 <= page.0 && last.1 <= page.1,
            _ => true,
        };
        // Bounds that are cut short may be in another order than what they bound.
        ascending &= page.is_none_or(|(min, max)| min.size().max(max.size()) <= SHOWN);
        last = page.or(last);
        all_nulls += nulls;
        chunk.page(DataPage {
            body,
            rows: count,
            entries: count,
            encoding: Encoding::PLAIN,
            bounds: Bounds {
                ends: page.and_then(|(min, max)| T::ends(min, max)),
                nulls,
                nans: None,
            },
        })?;
    }
    chunk.close(T::statistics(ends, all_nulls as u64), ascending)
}

/// One leaf of a map column, keys or values: the texts of a row with the number of rows that have them.
///
/// Neither map, key nor value is ever null: the definition level tells empty maps from the others.
pub(super) fn map_leaf(
    descr: &ColumnDescPtr,
    zstd: &mut Zstd,
    runs: &[(Vec<&str>, usize)],
) -> Result<Encoded> {
    let mut dictionary = Dictionary::new();
    let mut repetition = Hybrid::new(1, Vec::new());
    let mut definition = Hybrid::new(1, Vec::new());
    let mut count = Count::default();
    let mut places = Vec::with_capacity(runs.len());
    for (texts, n) in runs {
        count.rows += n;
        if texts.is_empty() {
            repetition.repeat(0, *n);
            definition.repeat(0, *n);
            count.entries += n;
            count.nulls += n;
            continue;
        }
        let levels: Vec<u32> = (0..texts.len()).map(|i| u32::from(i > 0)).collect();
        repetition.repeat_all(&levels, *n);
        definition.repeat(1, texts.len() * n);
        count.entries += texts.len() * n;
        let pattern: Vec<u32> = texts.iter().map(|text| dictionary.place(*text)).collect();
        places.push((pattern, *n));
    }
    let mut levels = Vec::new();
    put_levels(&mut levels, repetition.finish())?;
    put_levels(&mut levels, definition.finish())?;
    dictionary.chunk(descr, zstd, count, levels, |indices| {
        for (pattern, n) in places {
            indices.repeat_all(&pattern, n);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_greatest_text_is_bounded_from_above() {
        let long = "é".repeat(40);
        assert!(shown_min(&long) <= long.as_str() && shown_min(&long).len() <= SHOWN);
        let max = shown_max(&long).expect("a bound");
        assert!(max.as_str() > long.as_str() && max.len() <= SHOWN);
        let top = "\u{10ffff}".repeat(20);
        assert_eq!(shown_max(&top), None, "nothing is above it");
        let below = format!("a{}", "\u{d7ff}".repeat(40));
        assert!(shown_max(&below).expect("a bound") > below);
        assert_eq!(shown_max("short").as_deref(), Some("short"));
    }
}
