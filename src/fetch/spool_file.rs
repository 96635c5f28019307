//! A file of kept answers, from bytes and to bytes.

use std::path::Path;

use std::io::{self, Read};
use twox_hash::XxHash3_128;

use crate::files::open_own;
use crate::framing::{Reader, put_len, put_points, put_text};
use crate::model::{QueryOutcome, ServiceMessage};

/// Names a query: everything its answer depends on.
pub(super) type QueryKey = [u8; 16];

pub(super) const MAGIC: &[u8; 8] = b"cwspool5";

/// Bytes of the checksum at the end of a file.
pub(super) const CHECKSUM: usize = 16;

/// What a file says of itself before its answers.
pub(super) struct Head {
    pub(super) planned_at: i64,
    pub(super) keys: Vec<QueryKey>,
}

pub(super) fn head_of(path: &Path) -> Option<Head> {
    let mut file = open_own(path).ok()?;
    let mut head = [0; 40];
    file.read_exact(&mut head).ok()?;
    let mut fields = Reader(head.strip_prefix(MAGIC)?);
    // One that was cut short must not stand before a whole one of the same queries.
    let length = file.metadata().ok()?.len();
    if fields.len()? as u64 != length {
        return None;
    }
    let (_read_at, planned_at, count) = (fields.i64()?, fields.i64()?, fields.len()?);
    if count as u64 > length / 16 {
        return None;
    }
    let mut keys = vec![QueryKey::default(); count];
    file.read_exact(keys.as_flattened_mut()).ok()?;
    Some(Head { planned_at, keys })
}

/// Magic, length of the file, time of reading and of planning, number of queries, their keys; the columns; the checksum of all that, which
/// comes back as well.
/// Timestamps at a constant step, as nearly all are, and values that are all the same take a few bytes; nothing else is compressed: a file
/// lives for seconds, mostly in the page cache, and zstd would cost more than decoding the answer did.
pub(super) fn encode(
    answers: &[(QueryKey, &QueryOutcome)],
    planned_at: i64,
    read_at: i64,
) -> io::Result<(Vec<u8>, u128)> {
    let points = |o: &QueryOutcome| match o {
        QueryOutcome::Complete { points, .. } => points.values.len() * 8 + 64,
        _ => 0,
    };
    let size: usize = answers.iter().map(|(_, outcome)| points(outcome)).sum();
    let mut bytes = Vec::with_capacity(size + answers.len() * 16 + 64);
    bytes.extend(MAGIC);
    put_len(&mut bytes, 0);
    bytes.extend(read_at.to_le_bytes());
    bytes.extend(planned_at.to_le_bytes());
    put_len(&mut bytes, answers.len());
    answers.iter().for_each(|(key, _)| bytes.extend(key));
    for (_, outcome) in answers {
        let QueryOutcome::Complete { points, messages } = outcome else {
            return Err(io::Error::other("only whole answers are kept"));
        };
        put_points(&mut bytes, (&points.timestamps, &points.values));
        put_len(&mut bytes, messages.len());
        for message in messages {
            put_text(&mut bytes, &message.code);
            put_text(&mut bytes, &message.text);
        }
    }
    let length = (bytes.len() + CHECKSUM) as u64;
    bytes[MAGIC.len()..MAGIC.len() + 8].copy_from_slice(&length.to_le_bytes());
    let checksum = XxHash3_128::oneshot(&bytes);
    bytes.extend(checksum.to_le_bytes());
    Ok((bytes, checksum))
}

/// Whether a file holds to its end what was written to it.
pub fn is_whole(path: &Path) -> bool {
    let bytes = open_own(path).and_then(|mut file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    });
    bytes.is_ok_and(|bytes| decode(&bytes).is_some())
}

pub(crate) fn decode(bytes: &[u8]) -> Option<(i64, Vec<QueryOutcome>)> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if XxHash3_128::oneshot(body) != u128::from_le_bytes(*checksum) {
        return None;
    }
    let mut head = Reader(body.strip_prefix(MAGIC)?);
    let _length = head.len()?;
    let (read_at, _planned_at) = (head.i64()?, head.i64()?);
    let count = head.len()?;
    head.take(count.checked_mul(16)?)?;
    let mut reader = head;
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let points = reader.points()?;
        let messages = (0..reader.len()?)
            .map(|_| {
                Some(ServiceMessage {
                    code: reader.text()?.to_owned(),
                    text: reader.text()?.to_owned(),
                })
            })
            .collect::<Option<_>>()?;
        outcomes.push(QueryOutcome::Complete { points, messages });
    }
    Some((read_at, outcomes))
}
