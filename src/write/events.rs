//! Log events in any order to log events sorted, in bounded memory: sorted runs on disk, merged.
//!
//! In: events as they arrive, some of them twice. Out: each once, by day, group, time and stream.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use super::event_runs::{Entry, RunReader, RunWriter};
use crate::model::{Day, LogEvent};

/// What events are sorted by. Ids rise within a stream, so events of one millisecond keep their order; those without one keep that of their
/// arrival.
fn order(a: &Entry, b: &Entry) -> Ordering {
    let day = |e: &Entry| Day::containing(e.event.ts.div_euclid(1_000));
    day(a)
        .cmp(&day(b))
        .then_with(|| a.event.group.cmp(&b.event.group))
        .then_with(|| a.event.ts.cmp(&b.event.ts))
        .then_with(|| a.event.stream.cmp(&b.event.stream))
        .then_with(|| a.event.id.cmp(&b.event.id))
        .then_with(|| a.is_old.cmp(&b.is_old))
        .then_with(|| a.seq.cmp(&b.seq))
}

/// Bytes of events that wait in memory, after which they become a run on disk.
const BUFFER_BYTES: usize = 16 << 20;

/// Runs that are read at once: more are merged to fewer first.
const OPEN_RUNS: usize = 48;

/// Gathers events. Its files go with it.
#[derive(Debug)]
pub struct EventSorter {
    folder: PathBuf,
    waiting: Vec<Entry>,
    bytes: usize,
    runs: Vec<PathBuf>,
    next_run: usize,
    seq: u64,
    old: Vec<Old>,
    /// Spills that were handed out and are not known to be on disk.
    open_spills: Arc<AtomicUsize>,
}

/// Events of a unit that is there, in the order of its file.
type OldEvents = Box<dyn Iterator<Item = io::Result<LogEvent>> + Send>;

struct Old(OldEvents);

impl std::fmt::Debug for Old {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Old")
    }
}

/// Events on their way to disk.
#[derive(Debug)]
pub struct Spill {
    entries: Vec<Entry>,
    path: PathBuf,
    open_spills: Arc<AtomicUsize>,
}

impl EventSorter {
    /// Nothing gathered; runs go to `folder`, which is made when there is one.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            waiting: Vec::new(),
            bytes: 0,
            runs: Vec::new(),
            next_run: 0,
            seq: 0,
            old: Vec::new(),
            open_spills: Arc::default(),
        }
    }

    /// Adds events. When too many wait, they are handed back for [`Spill::write`], which may take its time; others can be added meanwhile.
    pub fn push(&mut self, events: Vec<LogEvent>) -> Option<Spill> {
        for event in events {
            self.bytes += event.bytes() + 32;
            self.seq += 1;
            self.waiting.push(Entry {
                event,
                seq: self.seq,
                is_old: false,
            });
        }
        (self.bytes >= BUFFER_BYTES).then(|| self.spill())
    }

    fn spill(&mut self) -> Spill {
        self.bytes = 0;
        self.open_spills.fetch_add(1, Atomic::SeqCst);
        Spill {
            entries: std::mem::take(&mut self.waiting),
            path: self.run(),
            open_spills: Arc::clone(&self.open_spills),
        }
    }

    fn run(&mut self) -> PathBuf {
        self.next_run += 1;
        let path = self.folder.join(format!("{}.events", self.next_run));
        self.runs.push(path.clone());
        path
    }

    /// Adds the events of a unit that is there. An event that was read again is not there twice.
    pub fn add_old(&mut self, events: OldEvents) {
        self.old.push(Old(events));
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// The file system's; and when a spill was not written to its end: its events, of whichever window and day, would be missing.
    pub fn finish(mut self) -> io::Result<SortedEvents> {
        if self.open_spills.load(Atomic::SeqCst) > 0 {
            return Err(io::Error::other(
                "not all events that were read could be kept on disk",
            ));
        }
        self.waiting.sort_by(order);
        while self.runs.len() > OPEN_RUNS {
            let some: Vec<PathBuf> = self.runs.drain(..OPEN_RUNS).collect();
            let merged = self.run();
            let mut writer = RunWriter::create(&merged)?;
            let mut merge = Merge::default();
            for path in &some {
                merge.add(Box::new(RunReader::open(path)?))?;
            }
            while let Some(entry) = merge.next()? {
                writer.write(&entry)?;
            }
            writer.finish()?;
            for path in some {
                std::fs::remove_file(path)?;
            }
        }
        let mut merge = Merge::default();
        for path in &self.runs {
            merge.add(Box::new(RunReader::open(path)?))?;
        }
        for Old(events) in std::mem::take(&mut self.old) {
            merge.add(Box::new(events.zip(0..).map(|(event, seq)| {
                event.map(|event| Entry {
                    event,
                    seq,
                    is_old: true,
                })
            })))?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        merge.add(Box::new(waiting.into_iter().map(Ok)))?;
        Ok(SortedEvents {
            merge,
            moment: Vec::new(),
            _files: self,
        })
    }
}

impl Drop for EventSorter {
    fn drop(&mut self) {
        // What is left is swept with the staging folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Spill {
    /// Sorts the events and writes them.
    ///
    /// # Errors
    /// The file system's; the events are then lost.
    pub fn write(mut self) -> io::Result<()> {
        self.entries.sort_by(order);
        let mut writer = RunWriter::create(&self.path)?;
        for entry in &self.entries {
            writer.write(entry)?;
        }
        writer.finish()?;
        self.open_spills.fetch_sub(1, Atomic::SeqCst);
        Ok(())
    }
}

/// Sorted events, each once.
pub struct SortedEvents {
    merge: Merge,
    /// Events of one group, millisecond and stream, the next one last.
    moment: Vec<LogEvent>,
    _files: EventSorter,
}

impl std::fmt::Debug for SortedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedEvents").finish_non_exhaustive()
    }
}

impl Iterator for SortedEvents {
    type Item = io::Result<LogEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.moment.is_empty() {
            match self.next_moment() {
                Ok(mut moment) => {
                    moment.reverse();
                    self.moment = moment;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.moment.pop().map(Ok)
    }
}

impl SortedEvents {
    fn next_moment(&mut self) -> io::Result<Vec<LogEvent>> {
        let Some(first) = self.merge.next()? else {
            return Ok(Vec::new());
        };
        let mut entries = vec![first];
        while let Some(next) = self.merge.peek() {
            let (a, b) = (&entries[0].event, &next.event);
            if (a.ts, &a.group, &a.stream) != (b.ts, &b.group, &b.stream) {
                break;
            }
            entries.extend(self.merge.next()?);
        }
        Ok(each_once(entries))
    }
}

/// The events of a moment without those that came twice. One with an id is told by it. Those without are all of one reading of the stream: what
/// was there before, or what was read now, whichever is more; and none that came with an id as well.
fn each_once(entries: Vec<Entry>) -> Vec<LogEvent> {
    if entries.len() == 1 {
        return entries.into_iter().map(|e| e.event).collect();
    }
    let (with_id, without): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|e| e.event.id.is_some());
    let mut ids = HashSet::new();
    let mut events = Vec::with_capacity(with_id.len());
    for entry in with_id {
        if ids.insert(entry.event.id.clone()) {
            events.push(entry.event);
        }
    }
    events.sort_by(|a, b| a.id.cmp(&b.id));
    let (old, new): (Vec<Entry>, Vec<Entry>) = without.into_iter().partition(|e| e.is_old);
    let plain = if old.len() > new.len() { old } else { new };
    let mut told: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        *told.entry(&event.message).or_default() += 1;
    }
    let mut others = Vec::new();
    for Entry { event, .. } in plain {
        match told.get_mut(&*event.message) {
            Some(left) if *left > 0 => *left -= 1,
            _ => others.push(event),
        }
    }
    events.extend(others);
    events
}

type Source = Box<dyn Iterator<Item = io::Result<Entry>> + Send>;

/// Sorted sources, read as one.
#[derive(Default)]
struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
}

struct Head {
    entry: Entry,
    source: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The least first.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&other.entry, &self.entry).then_with(|| other.source.cmp(&self.source))
    }
}

impl Merge {
    fn add(&mut self, mut source: Source) -> io::Result<()> {
        if let Some(entry) = source.next().transpose()? {
            let head = Head {
                entry,
                source: self.sources.len(),
            };
            self.heads.push(head);
            self.sources.push(source);
        }
        Ok(())
    }

    fn peek(&self) -> Option<&Entry> {
        self.heads.peek().map(|head| &head.entry)
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Head { entry, source }) = self.heads.pop() else {
            return Ok(None);
        };
        if let Some(next) = self.sources[source].next().transpose()? {
            self.heads.push(Head {
                entry: next,
                source,
            });
        }
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(ts: i64, stream: &str, id: Option<u32>, message: &str) -> LogEvent {
        LogEvent {
            ts,
            ingested_at: ts,
            group: Arc::from(if ts % 3 == 0 { "b" } else { "a" }),
            stream: Arc::from(stream),
            id: id.map(|id| format!("{id:06}").into()),
            message: message.into(),
        }
    }

    fn sorted(sorter: EventSorter) -> Vec<LogEvent> {
        let sorted = sorter.finish().expect("merged");
        sorted.map(|e| e.expect("an event")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn whatever_the_order_and_the_pages_each_event_comes_once(
            events in prop::collection::vec((0_i64..400_000_000, 0_u32..300, 0_u8..4, 1_usize..9), 0..300),
            pages in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let dir = tempfile::tempdir().expect("temp dir");
            let mut sorter = EventSorter::new(&dir.path().join("events"));
            // An id has one time and one text.
            let make = |(ts, id, stream, length): &(i64, u32, u8, usize)| {
                event(ts - ts % 1_000 + i64::from(*id % 2), &format!("s{stream}"), Some(*id + u32::from(*stream) * 1_000), &"x".repeat(*length))
            };
            let all: Vec<LogEvent> = events.iter().map(make).collect();
            let mut rest = &all[..];
            for page in pages.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*page).min(rest.len()));
                sorter.push(now.to_vec());
                // Every page a run: more than are read at once.
                sorter.spill().write().expect("written");
                rest = later;
            }
            let got = sorted(sorter);
            let mut wanted: Vec<LogEvent> = all;
            wanted.sort_by(|a, b| {
                let day = |e: &LogEvent| e.ts.div_euclid(86_400_000);
                (day(a), &a.group, a.ts, &a.stream, &a.id).cmp(&(day(b), &b.group, b.ts, &b.stream, &b.id))
            });
            wanted.dedup_by(|a, b| (a.ts, &a.group, &a.stream, &a.id) == (b.ts, &b.group, &b.stream, &b.id));
            prop_assert_eq!(got.len(), wanted.len());
            for (a, b) in got.iter().zip(&wanted) {
                prop_assert_eq!((a.ts, &a.group, &a.stream, &a.id), (b.ts, &b.group, &b.stream, &b.id));
            }
            prop_assert!(!dir.path().join("events").exists(), "runs are removed");
        }
    }

    #[test]
    fn what_was_there_and_was_read_again_is_there_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut sorter = EventSorter::new(&dir.path().join("events"));
        // Two events alike in one millisecond are two.
        let twice = || event(1, "plain", None, "same");
        sorter.push(vec![twice(), twice(), event(2, "s", Some(7), "seven")]);
        let old = vec![
            twice(),
            event(1, "plain", None, "same"),
            event(2, "s", Some(6), "six"),
            event(2, "s", Some(7), "seven"),
            event(4, "gone", None, "kept"),
        ];
        sorter.add_old(Box::new(old.into_iter().map(Ok)));
        let got = sorted(sorter);
        let told: Vec<(i64, &str)> = got.iter().map(|e| (e.ts, &*e.message)).collect();
        assert_eq!(
            told,
            [
                (1, "same"),
                (1, "same"),
                (2, "six"),
                (2, "seven"),
                (4, "kept")
            ]
        );
    }

    #[test]
    fn what_could_not_be_kept_on_disk_is_no_short_day() {
        let dir = tempfile::tempdir().expect("temp dir");
        let gathered = |folder: &str| {
            let mut sorter = EventSorter::new(&dir.path().join(folder));
            sorter.push(vec![
                event(1, "s", Some(1), "a"),
                event(2, "s", Some(2), "b"),
            ]);
            (sorter.spill(), sorter)
        };
        let (spill, sorter) = gathered("dropped");
        drop(spill);
        assert!(sorter.finish().is_err());
        let (spill, sorter) = gathered("cut");
        spill.write().expect("written");
        let path = dir.path().join("cut/1.events");
        for length in [0, 5, 20] {
            let bytes = std::fs::read(&path).expect("read");
            std::fs::write(&path, &bytes[..length.min(bytes.len())]).expect("cut");
            let broken = match RunReader::open(&path) {
                Ok(mut run) => run.any(|e| e.is_err()),
                Err(_) => true,
            };
            assert!(broken, "{length} bytes");
            std::fs::write(&path, bytes).expect("mended");
        }
        assert_eq!(sorted(sorter).len(), 2);
    }

    #[test]
    fn a_stream_read_both_ways_counts_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut sorter = EventSorter::new(&dir.path().join("events"));
        sorter.push(vec![
            event(1, "s", None, "a"),
            event(1, "s", None, "b"),
            event(1, "s", Some(1), "a"),
        ]);
        let got = sorted(sorter);
        let told: Vec<(bool, &str)> = got.iter().map(|e| (e.id.is_some(), &*e.message)).collect();
        assert_eq!(told, [(true, "a"), (false, "b")]);
    }
}
