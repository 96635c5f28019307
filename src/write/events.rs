//! Log events in any order to log events sorted, in bounded memory.
//!
//! In: events as they arrive, some of them twice, and word of how far the reading has come. Out: each once, by day, group, time and stream, as soon
//! as none before it can come. What waits too long for that goes to sorted runs on disk, which are merged.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::WriteError;
use super::event_runs::{Entry, RunReader, RunWriter};
use crate::model::{Day, LogEvent};

/// Names are mostly one text that is shared.
fn by_name(a: &Arc<str>, b: &Arc<str>) -> Ordering {
    if Arc::ptr_eq(a, b) {
        Ordering::Equal
    } else {
        a.cmp(b)
    }
}

/// What events are sorted by. Ids rise within a stream, so events of one millisecond keep their order; those without one keep that of their
/// arrival.
fn order(a: &Entry, b: &Entry) -> Ordering {
    a.event
        .day()
        .cmp(&b.event.day())
        .then_with(|| by_name(&a.event.group, &b.event.group))
        .then_with(|| a.event.ts.cmp(&b.event.ts))
        .then_with(|| by_name(&a.event.stream, &b.event.stream))
        .then_with(|| a.event.id.cmp(&b.event.id))
        .then_with(|| a.is_old.cmp(&b.is_old))
        .then_with(|| a.seq.cmp(&b.seq))
}

/// A place in the order of events: none that is still to come is sorted before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    day: Day,
    group: Arc<str>,
    ts: i64,
}

impl EventPlace {
    /// The first place of a group at a time, ms since the epoch.
    pub fn new(group: Arc<str>, ts: i64) -> Self {
        let day = Day::containing(ts.div_euclid(1_000));
        Self { day, group, ts }
    }

    fn is_after(&self, event: &LogEvent) -> bool {
        event
            .day()
            .cmp(&self.day)
            .then_with(|| by_name(&event.group, &self.group))
            .then_with(|| event.ts.cmp(&self.ts))
            .is_lt()
    }
}

/// Bytes of events that wait in memory, after which they become a run on disk.
const WAITING_BYTES: usize = 48 << 20;

/// Runs that are read at once: more are merged to one first.
const OPEN_RUNS: usize = 48;

/// Events that were read and may still have others before them.
#[derive(Debug, Default)]
pub struct WaitingEvents {
    entries: Vec<Entry>,
    bytes: usize,
    seq: u64,
}

/// Events that left the line.
#[derive(Debug)]
pub struct TakenEvents(Vec<Entry>);

impl WaitingEvents {
    /// Adds events.
    pub fn push(&mut self, events: Vec<LogEvent>) {
        self.entries.reserve(events.len());
        for event in events {
            self.bytes += bytes(&event);
            self.seq += 1;
            self.entries.push(Entry {
                event,
                seq: self.seq,
                is_old: false,
            });
        }
    }

    /// So many wait that they are to be [spilled](EventMerge::spill).
    pub fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES
    }

    /// Takes those before `place`, or all.
    pub fn take(&mut self, place: Option<&EventPlace>) -> TakenEvents {
        let Some(place) = place else {
            self.bytes = 0;
            return TakenEvents(std::mem::take(&mut self.entries));
        };
        let before = self.entries.extract_if(.., |e| place.is_after(&e.event));
        let taken: Vec<Entry> = before.collect();
        self.bytes -= taken.iter().map(|e| bytes(&e.event)).sum::<usize>();
        TakenEvents(taken)
    }
}

fn bytes(event: &LogEvent) -> usize {
    event.bytes() + 32
}

/// Events of a unit that is there, in the order of its file.
pub type OldEvents = Box<dyn Iterator<Item = io::Result<LogEvent>> + Send>;

/// Puts events in order. Its files go with it.
#[derive(Debug)]
pub struct EventMerge {
    folder: PathBuf,
    runs: Vec<PathBuf>,
    next_run: usize,
    merge: Merge,
    /// Events of one group, millisecond and stream.
    moment: VecDeque<LogEvent>,
}

impl EventMerge {
    /// Nothing to merge yet; runs go to `folder`, which is made when there is one.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            runs: Vec::new(),
            next_run: 0,
            merge: Merge::default(),
            moment: VecDeque::new(),
        }
    }

    /// Adds the events of a unit that is there. An event that was read again is not there twice.
    ///
    /// # Errors
    /// Whatever the first event is read with.
    pub fn add_old(&mut self, events: OldEvents) -> Result<(), WriteError> {
        let entries = events.zip(0..).map(|(event, seq)| {
            event.map(|event| Entry {
                event,
                seq,
                is_old: true,
            })
        });
        let added = self.merge.add(Box::new(entries), false);
        added.map_err(|source| self.refused(source))
    }

    /// Writes events to a run on disk, to be merged in their turn.
    ///
    /// # Errors
    /// The file system's; events are then lost, and the merge must not be used again.
    pub fn spill(&mut self, TakenEvents(mut entries): TakenEvents) -> Result<(), WriteError> {
        entries.sort_by(order);
        let spilled = self.write_run(entries.into_iter().map(Ok));
        let fewer = spilled.and_then(|()| {
            if self.runs.len() > OPEN_RUNS {
                self.merge_runs()?;
            }
            Ok(())
        });
        fewer.map_err(|source| self.refused(source))
    }

    fn merge_runs(&mut self) -> io::Result<()> {
        let old = std::mem::take(&mut self.runs);
        let (runs, others) = std::mem::take(&mut self.merge).parted();
        self.merge = others;
        self.write_run(runs)?;
        old.iter().try_for_each(std::fs::remove_file)
    }

    fn refused(&self, source: io::Error) -> WriteError {
        let path = self.folder.clone();
        WriteError::Io { path, source }
    }

    fn write_run(&mut self, entries: impl Iterator<Item = io::Result<Entry>>) -> io::Result<()> {
        self.next_run += 1;
        let path = self.folder.join(format!("{}.events", self.next_run));
        let mut writer = RunWriter::create(&path)?;
        for entry in entries {
            writer.write(&entry?)?;
        }
        writer.finish()?;
        self.merge.add(Box::new(RunReader::open(&path)?), true)?;
        self.runs.push(path);
        Ok(())
    }

    /// Adds events that all lie before the place up to which is read next.
    pub fn add(&mut self, TakenEvents(mut entries): TakenEvents) {
        entries.sort_by(order);
        self.merge.add_entries(entries);
    }

    /// The next event that is sorted before `place`, or of all; each comes once.
    ///
    /// # Errors
    /// The file system's, or a run that is shorter than it was.
    pub fn next(&mut self, place: Option<&EventPlace>) -> Result<Option<LogEvent>, WriteError> {
        let next = self.next_event(place);
        next.map_err(|source| self.refused(source))
    }

    fn next_event(&mut self, place: Option<&EventPlace>) -> io::Result<Option<LogEvent>> {
        if let Some(event) = self.moment.pop_front() {
            return Ok(Some(event));
        }
        let is_due = |e: &Entry| place.is_none_or(|place| place.is_after(&e.event));
        if !self.merge.peek().is_some_and(is_due) {
            return Ok(None);
        }
        let Some(first) = self.merge.next()? else {
            return Ok(None);
        };
        let is_alone = |next: &Entry| !is_same_moment(&first.event, &next.event);
        if self.merge.peek().is_none_or(is_alone) {
            return Ok(Some(first.event));
        }
        let mut entries = vec![first];
        while let Some(next) = self.merge.peek() {
            if !is_same_moment(&entries[0].event, &next.event) {
                break;
            }
            entries.extend(self.merge.next()?);
        }
        self.moment = each_once(entries).into();
        Ok(self.moment.pop_front())
    }
}

impl Drop for EventMerge {
    fn drop(&mut self) {
        // What is left is swept with the staging folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn is_same_moment(a: &LogEvent, b: &LogEvent) -> bool {
    a.ts == b.ts && by_name(&a.group, &b.group).is_eq() && by_name(&a.stream, &b.stream).is_eq()
}

/// The events of a moment without those that came twice. One with an id is told by it. Those without are all of one reading of the stream: what
/// was there before, or what was read now, whichever is more; and none that came with an id as well.
fn each_once(entries: Vec<Entry>) -> Vec<LogEvent> {
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
struct Merge(BinaryHeap<Head>);

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Merge of {}", self.0.len())
    }
}

/// The first entry of a source, and what comes after it.
struct Head {
    entry: Entry,
    rest: Source,
    is_run: bool,
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
        order(&other.entry, &self.entry)
    }
}

impl Merge {
    fn add(&mut self, mut rest: Source, is_run: bool) -> io::Result<()> {
        if let Some(entry) = rest.next().transpose()? {
            self.0.push(Head {
                entry,
                rest,
                is_run,
            });
        }
        Ok(())
    }

    fn add_entries(&mut self, entries: Vec<Entry>) {
        let mut rest = entries.into_iter();
        if let Some(entry) = rest.next() {
            self.0.push(Head {
                entry,
                rest: Box::new(rest.map(Ok)),
                is_run: false,
            });
        }
    }

    /// The runs on disk, and the others.
    fn parted(self) -> (Self, Self) {
        let (runs, others): (Vec<Head>, Vec<Head>) =
            self.0.into_iter().partition(|head| head.is_run);
        (Self(runs.into()), Self(others.into()))
    }

    fn peek(&self) -> Option<&Entry> {
        self.0.peek().map(|head| &head.entry)
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(mut head) = self.0.peek_mut() else {
            return Ok(None);
        };
        let entry = match head.rest.next().transpose()? {
            Some(next) => std::mem::replace(&mut head.entry, next),
            None => PeekMut::pop(head).entry,
        };
        Ok(Some(entry))
    }
}

impl Iterator for Merge {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self).transpose()
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

    /// What `events` add up to with what was there.
    fn sorted(events: Vec<LogEvent>, old: Vec<LogEvent>) -> Vec<LogEvent> {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut merge = EventMerge::new(&dir.path().join("events"));
        merge
            .add_old(Box::new(old.into_iter().map(Ok)))
            .expect("read");
        let mut waiting = WaitingEvents::default();
        waiting.push(events);
        merge.add(waiting.take(None));
        drained(&mut merge, None)
    }

    fn drained(merge: &mut EventMerge, place: Option<&EventPlace>) -> Vec<LogEvent> {
        std::iter::from_fn(|| merge.next(place).expect("merged")).collect()
    }

    fn place_of(event: &LogEvent) -> EventPlace {
        EventPlace::new(Arc::clone(&event.group), event.ts)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn whatever_the_order_the_pages_and_the_places_each_event_comes_once(
            events in prop::collection::vec((0_i64..400_000_000, 0_u32..300, 0_u8..4, 1_usize..9), 0..300),
            pages in prop::collection::vec((1_usize..40, any::<bool>()), 1..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let dir = tempfile::tempdir().expect("temp dir");
            // An id has one time and one text.
            let make = |(ts, id, stream, length): &(i64, u32, u8, usize)| {
                event(ts - ts % 1_000 + i64::from(*id % 2), &format!("s{stream}"), Some(*id + u32::from(*stream) * 1_000), &"x".repeat(*length))
            };
            let all: Vec<LogEvent> = events.iter().map(make).collect();
            let mut places: Vec<Option<EventPlace>> =
                cuts.iter().filter(|_| !all.is_empty()).map(|cut| Some(place_of(cut.get(&all)))).collect();
            places.sort();
            places.push(None);
            let mut pages = pages.iter().cycle();
            let (mut waiting, mut merge) = (WaitingEvents::default(), EventMerge::new(&dir.path().join("events")));
            let (mut got, mut later) = (Vec::new(), all.clone());
            for place in &places {
                // What lies before the place has come, and of the rest as much as there may be.
                let must = |e: &LogEvent| place.as_ref().is_none_or(|place| place_of(e) < *place);
                let (mut now, mut rest): (Vec<_>, Vec<_>) = later.into_iter().partition(must);
                now.extend(rest.split_off(rest.len() / 2));
                later = rest;
                let mut rest = &now[..];
                while let (false, Some((page, spills))) = (rest.is_empty(), pages.next()) {
                    let (page, others) = rest.split_at((*page).min(rest.len()));
                    waiting.push(page.to_vec());
                    if *spills {
                        merge.spill(waiting.take(None)).expect("written");
                    }
                    rest = others;
                }
                merge.add(waiting.take(place.as_ref()));
                got.extend(drained(&mut merge, place.as_ref()));
            }
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
            prop_assert_eq!((waiting.entries.len(), waiting.bytes), (0, 0));
            drop(merge);
            prop_assert!(!dir.path().join("events").exists(), "runs are removed");
        }
    }

    #[test]
    fn more_runs_than_are_read_at_once_become_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut merge = EventMerge::new(dir.path());
        let count = 2 * i64::try_from(OPEN_RUNS).expect("a few") + 5;
        for n in (0..count).rev() {
            let mut waiting = WaitingEvents::default();
            waiting.push(vec![event(n * 3, "s", None, "a")]);
            merge.spill(waiting.take(None)).expect("written");
            let files = std::fs::read_dir(dir.path()).expect("listed").count();
            assert_eq!(files, merge.runs.len());
            assert!(files <= OPEN_RUNS + 1);
        }
        let times: Vec<i64> = drained(&mut merge, None).iter().map(|e| e.ts).collect();
        assert_eq!(times, (0..count).map(|n| n * 3).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_there_and_was_read_again_is_there_once() {
        // Two events alike in one millisecond are two.
        let twice = || event(1, "plain", None, "same");
        let new = vec![twice(), twice(), event(2, "s", Some(7), "seven")];
        let old = vec![
            twice(),
            event(1, "plain", None, "same"),
            event(2, "s", Some(6), "six"),
            event(2, "s", Some(7), "seven"),
            event(4, "gone", None, "kept"),
        ];
        let got = sorted(new, old);
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
    fn a_run_that_was_cut_is_no_short_run() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut merge = EventMerge::new(dir.path());
        let mut waiting = WaitingEvents::default();
        waiting.push(vec![
            event(1, "s", Some(1), "a"),
            event(2, "s", Some(2), "b"),
        ]);
        merge.spill(waiting.take(None)).expect("written");
        let path = dir.path().join("1.events");
        let bytes = std::fs::read(&path).expect("read");
        for length in [0, 5, 20] {
            std::fs::write(&path, &bytes[..length.min(bytes.len())]).expect("cut");
            let broken = match RunReader::open(&path) {
                Ok(mut run) => run.any(|e| e.is_err()),
                Err(_) => true,
            };
            assert!(broken, "{length} bytes");
        }
    }

    #[test]
    fn a_stream_read_both_ways_counts_once() {
        let new = vec![
            event(1, "s", None, "a"),
            event(1, "s", None, "b"),
            event(1, "s", Some(1), "a"),
        ];
        let got = sorted(new, Vec::new());
        let told: Vec<(bool, &str)> = got.iter().map(|e| (e.id.is_some(), &*e.message)).collect();
        assert_eq!(told, [(true, "a"), (false, "b")]);
    }
}
