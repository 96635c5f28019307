//! A run's report as it is kept beside the data: JSON, compressed.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::run::RunReport;

/// First bytes of a compressed report.
///
/// # Source
/// RFC 1952, 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Size of a report's text at most: one of a hundred thousand units has about 60 MB.
const MOST_BYTES: u64 = 1 << 30;

impl RunReport {
    /// The report as it is kept. The same report gives the same bytes.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("a report is made of what JSON has");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&json)
            .expect("memory takes what is written to it");
        gzip.finish().expect("memory takes what is written to it")
    }
}

/// The text of a report that was kept, compressed or not.
///
/// # Errors
/// When it is cut off, is no text, or has more than a gigabyte.
pub fn unpacked(kept: &[u8]) -> std::io::Result<String> {
    let mut text = String::new();
    let read = if kept.starts_with(&GZIP) {
        MultiGzDecoder::new(kept)
            .take(MOST_BYTES)
            .read_to_string(&mut text)
    } else {
        kept.take(MOST_BYTES).read_to_string(&mut text)
    };
    match read? as u64 {
        MOST_BYTES => Err(std::io::Error::other("it has more than a gigabyte")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_whole_or_not_at_all() {
        let text = "{\"run_id\": \"x\"}".repeat(1_000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).expect("written");
        let packed = gzip.finish().expect("packed");
        assert_eq!(unpacked(&packed).expect("read"), text);
        assert_eq!(unpacked(text.as_bytes()).expect("read"), text);
        assert!(unpacked(&packed[..packed.len() - 9]).is_err());
        assert!(unpacked(&[0xff, 0xfe]).is_err());
    }
}
