//! One column chunk from encoded pages: compression, headers, offsets and indexes.

use std::fmt;

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;
use zstd::zstd_safe::CParameter;

use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

/// zstd's level. On measured values the next one is the price of a fifth more time for less than one per cent, once matches of five bytes
/// are found: level 1 looks for six or seven in pages of this size, and a double of noise repeats no more than five.
const LEVEL: i32 = 1;
const SHORTEST_MATCH: u32 = 5;
const HASH_LOG: u32 = 15;

/// How every page is compressed.
pub(in crate::write) fn compression() -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(LEVEL).unwrap_or_default())
}

/// A compressor, made once a thread: its tables take about half a megabyte, and as long to make as a small row group to compress.
pub(super) struct Zstd(zstd::bulk::Compressor<'static>);

impl Zstd {
    pub(super) fn new() -> Result<Self> {
        let compressor = || {
            let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
            compressor.set_parameter(CParameter::MinMatch(SHORTEST_MATCH))?;
            compressor.set_parameter(CParameter::HashLog(HASH_LOG))?;
            Ok(Self(compressor))
        };
        compressor().map_err(external)
    }

    pub(super) fn compress(&mut self, plain: &[u8]) -> Result<Vec<u8>> {
        self.0.compress(plain).map_err(external)
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// The least and greatest of a page's values, as PLAIN bytes; none when all are null or not a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    pub(super) ends: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) nulls: usize,
    /// Of a column of floats.
    pub(super) nans: Option<usize>,
}

/// A page before compression.
#[derive(Debug)]
pub(super) struct DataPage {
    /// Repetition levels, definition levels, values.
    pub(super) body: Vec<u8>,
    pub(super) rows: usize,
    /// Entries, nulls and empty lists counted.
    pub(super) entries: usize,
    pub(super) encoding: Encoding,
    pub(super) bounds: Bounds,
}

/// A chunk as it is spliced into a row group.
pub(super) type Encoded = (Bytes, ColumnCloseResult);

/// A chunk on its way.
pub(super) struct Chunk<'z> {
    descr: ColumnDescPtr,
    zstd: &'z mut Zstd,
    sink: TrackedWrite<Vec<u8>>,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    pages: Vec<PageEncodingStats>,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
    rows: usize,
    entries: usize,
    uncompressed: usize,
    compressed: usize,
}

impl<'z> Chunk<'z> {
    pub(super) fn new(descr: &ColumnDescPtr, zstd: &'z mut Zstd) -> Self {
        Self {
            descr: descr.clone(),
            zstd,
            sink: TrackedWrite::new(Vec::new()),
            column_index: ColumnIndexBuilder::new(descr.physical_type()),
            offset_index: OffsetIndexBuilder::new(),
            pages: Vec::new(),
            dictionary_offset: None,
            data_offset: None,
            rows: 0,
            entries: 0,
            uncompressed: 0,
            compressed: 0,
        }
    }

    /// The dictionary, before every page: `count` values as PLAIN bytes.
    pub(super) fn dictionary(&mut self, plain: &[u8], count: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.zstd.compress(plain)?.into(),
            num_values: number(count)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let (offset, _) = self.put(page, plain.len())?;
        self.dictionary_offset = Some(offset);
        Ok(())
    }

    pub(super) fn page(&mut self, page: DataPage) -> Result<()> {
        let compressed = self.zstd.compress(&page.body)?;
        self.compressed_page(page, compressed)
    }

    /// A page of which the compressed body is at hand.
    pub(super) fn compressed_page(&mut self, page: DataPage, compressed: Vec<u8>) -> Result<()> {
        let DataPage {
            body,
            rows,
            entries,
            encoding,
            bounds,
        } = page;
        let data = Page::DataPage {
            buf: compressed.into(),
            num_values: number(entries)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            // The column index says it, once.
            statistics: None,
        };
        let (offset, size) = self.put(data, body.len())?;
        self.data_offset.get_or_insert(offset);
        self.rows += rows;
        self.entries += entries;
        self.offset_index.append_row_count(i64::from(number(rows)?));
        let size = i32::try_from(size).map_err(|_| too_large(size))?;
        self.offset_index.append_offset_and_size(offset, size);
        let nulls = i64::from(number(bounds.nulls)?);
        let nans = bounds.nans.map(number).transpose()?.map(i64::from);
        let all_null = bounds.nulls == entries;
        match bounds.ends {
            Some((min, max)) => self.column_index.append(false, min, max, nulls, nans),
            None if all_null => {
                self.column_index
                    .append(true, Vec::new(), Vec::new(), nulls, nans);
            }
            None => self.column_index.to_invalid(),
        }
        Ok(())
    }

    fn put(&mut self, page: Page, plain: usize) -> Result<(i64, usize)> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        let spec = SerializedPageWriter::new(&mut self.sink)
            .write_page(CompressedPage::new(page, plain))?;
        self.uncompressed += spec.uncompressed_size;
        self.compressed += spec.compressed_size;
        match self.pages.last_mut() {
            Some(last) if last.page_type == page_type && last.encoding == encoding => {
                last.count += 1;
            }
            _ => self.pages.push(PageEncodingStats {
                page_type,
                encoding,
                count: 1,
            }),
        }
        let offset = i64::try_from(spec.offset).map_err(|_| too_large(plain))?;
        Ok((offset, spec.compressed_size))
    }

    /// The finished chunk. `ascending` says that the pages' bounds are in order.
    pub(super) fn close(mut self, statistics: Statistics, ascending: bool) -> Result<Encoded> {
        let mut encodings: Vec<Encoding> = self.pages.iter().map(|p| p.encoding).collect();
        // Of the levels.
        encodings.push(Encoding::RLE);
        encodings.sort();
        encodings.dedup();
        // Pages of one encoding that are apart are one entry.
        self.pages
            .sort_by_key(|p| (p.page_type != PageType::DICTIONARY_PAGE, p.encoding));
        self.pages.dedup_by(|a, b| {
            let same = (a.page_type, a.encoding) == (b.page_type, b.encoding);
            b.count += if same { a.count } else { 0 };
            same
        });
        let metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(compression())
            .set_encodings(encodings)
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(i64_of(self.compressed)?)
            .set_total_uncompressed_size(i64_of(self.uncompressed)?)
            .set_num_values(i64_of(self.entries)?)
            .set_data_page_offset(self.data_offset.unwrap_or(0))
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_statistics(statistics)
            .build()?;
        self.column_index.set_boundary_order(if ascending {
            BoundaryOrder::ASCENDING
        } else {
            BoundaryOrder::UNORDERED
        });
        let column_index = if self.column_index.valid() {
            Some(self.column_index.build()?)
        } else {
            None
        };
        let close = ColumnCloseResult {
            bytes_written: self.compressed as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        Ok((self.sink.into_inner()?.into(), close))
    }
}

fn number(count: usize) -> Result<u32> {
    // Page headers count in 31 bits.
    i32::try_from(count)
        .map(i32::cast_unsigned)
        .map_err(|_| too_large(count))
}

fn i64_of(count: usize) -> Result<i64> {
    i64::try_from(count).map_err(|_| too_large(count))
}

fn too_large(count: usize) -> ParquetError {
    ParquetError::General(format!("{count} is more than a page can hold"))
}

/// Levels as a v1 page holds them: their length, then the hybrid.
pub(super) fn put_levels(body: &mut Vec<u8>, levels: Vec<u8>) -> Result<()> {
    body.extend_from_slice(&number(levels.len())?.to_le_bytes());
    body.extend(levels);
    Ok(())
}

/// The physical type is not the one that was expected.
pub(super) fn unexpected(descr: &ColumnDescPtr, found: Type) -> ParquetError {
    ParquetError::General(format!("column {} holds {found}", descr.path()))
}
