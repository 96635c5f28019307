//! A sorted run of log events on disk, written and read back one by one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::files::{create_file, create_folder};
use crate::model::LogEvent;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// An event with what it is sorted by beside its own values.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) event: LogEvent,
    /// The order in which events of one stream and millisecond arrived.
    pub(super) seq: u64,
    /// It was in the unit before.
    pub(super) is_old: bool,
}

/// Matches further back are not worth the memory of many runs that are read at once.
const WINDOW_LOG: u32 = 17;

/// zstd's level: -3 takes two thirds of the time, and makes files half as large again.
const LEVEL: i32 = 1;

/// Bytes that are handed to zstd at once: an event is a dozen short fields, and each call costs as much as one.
const PIECE: usize = 1 << 16;

pub(super) struct RunWriter {
    written: u64,
    out: BufWriter<zstd::stream::Encoder<'static, File>>,
}

/// In place of an id's length: there is none, or the run ends here.
const NO_ID: u16 = u16::MAX;

const END: u16 = u16::MAX - 1;

impl RunWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let mut out = zstd::stream::Encoder::new(create_file(path)?, LEVEL)?;
        out.window_log(WINDOW_LOG)?;
        Ok(Self {
            written: 0,
            out: BufWriter::with_capacity(PIECE, out),
        })
    }

    pub(super) fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let event = &entry.event;
        let short = |text: &str| {
            u16::try_from(text.len())
                .ok()
                .filter(|n| *n < END)
                .ok_or_else(|| io::Error::other("the name of a log group or stream is too long"))
        };
        let id = event.id.as_deref();
        let mut head = [0; 34];
        head[..8].copy_from_slice(&event.ts.to_le_bytes());
        head[8..16].copy_from_slice(&event.ingested_at.to_le_bytes());
        head[16..24].copy_from_slice(&entry.seq.to_le_bytes());
        head[24..26].copy_from_slice(&short(&event.group)?.to_le_bytes());
        head[26..28].copy_from_slice(&short(&event.stream)?.to_le_bytes());
        let id_length = id.map_or(Ok(NO_ID), short)?;
        head[28..30].copy_from_slice(&id_length.to_le_bytes());
        let length = u32::try_from(event.message.len()).map_err(io::Error::other)?;
        head[30..34].copy_from_slice(&length.to_le_bytes());
        self.written += 1;
        self.out.write_all(&head)?;
        for text in [
            &*event.group,
            &*event.stream,
            id.unwrap_or(""),
            &*event.message,
        ] {
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// The last record says how many there were: a file that was cut short is then no short run.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut head = [0; 34];
        head[16..24].copy_from_slice(&self.written.to_le_bytes());
        head[28..30].copy_from_slice(&END.to_le_bytes());
        self.out.write_all(&head)?;
        let out = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        out.finish()?.flush()
    }
}

pub(super) struct RunReader {
    read: u64,
    ended: bool,
    from: BufReader<zstd::stream::Decoder<'static, BufReader<File>>>,
    group: Arc<str>,
    stream: Arc<str>,
    /// Of a name that is looked at.
    name: Vec<u8>,
}

impl RunReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            read: 0,
            ended: false,
            from: BufReader::with_capacity(PIECE, zstd::stream::Decoder::new(File::open(path)?)?),
            group: Arc::from(""),
            stream: Arc::from(""),
            name: Vec::new(),
        })
    }

    fn text(&mut self, length: usize) -> io::Result<Box<str>> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        Ok(text.into_boxed_str())
    }

    /// A name: mostly the last event's, which is kept once.
    fn name(&mut self, length: usize, last: &Arc<str>) -> io::Result<Arc<str>> {
        self.name.resize(length, 0);
        self.from.read_exact(&mut self.name)?;
        if self.name == last.as_bytes() {
            return Ok(Arc::clone(last));
        }
        let name = std::str::from_utf8(&self.name).map_err(io::Error::other)?;
        Ok(Arc::from(name))
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let mut head = [0; 34];
        self.from.read_exact(&mut head)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            i64::from_le_bytes(bytes)
        };
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (ts, ingested_at, seq) = (number(0), number(8), number(16).cast_unsigned());
        if short(28) == END {
            self.ended = true;
            return if seq == self.read {
                Ok(None)
            } else {
                Err(io::Error::other("a run of events is shorter than it was"))
            };
        }
        self.read += 1;
        self.group = self.name(short(24).into(), &Arc::clone(&self.group))?;
        self.stream = self.name(short(26).into(), &Arc::clone(&self.stream))?;
        let id = match short(28) {
            NO_ID => None,
            length => Some(self.text(length.into())?),
        };
        let length = u32::from_le_bytes([head[30], head[31], head[32], head[33]]);
        let message = self.text(length as usize)?;
        Ok(Some(Entry {
            event: LogEvent {
                ts,
                ingested_at,
                group: Arc::clone(&self.group),
                stream: Arc::clone(&self.stream),
                id,
                message,
            },
            seq,
            is_old: false,
        }))
    }
}

impl Iterator for RunReader {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
