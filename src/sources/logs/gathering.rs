//! Log events on their way from the windows that are read side by side to the files of their days, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::given::bounds::blocking;
use crate::model::{Cause, Day, LogEvent, TimeWindow};
use crate::sources::logs::days::{DayFile, DayWriter};
use crate::sources::source::Reading;
use crate::write::{EventMerge, EventPlace, OldEvents, WaitingEvents, WriteError};

/// Events of a round.
pub(super) struct Gathering<'a> {
    reading: &'a Reading,
    waiting: Mutex<WaitingEvents>,
    /// Where each window begins, in order; none when it has ended.
    windows: Mutex<Vec<Option<EventPlace>>>,
    files: AsyncMutex<Result<Files, WriteError>>,
}

/// What is at work on files, in one hand: what was taken from the waiting line is written before anything after it.
struct Files {
    merge: EventMerge,
    days: DayWriter,
}

impl<'a> Gathering<'a> {
    /// `windows` says where each begins, in order; `old` holds the events of the units that are there.
    pub(super) fn new(
        reading: &'a Reading,
        round: TimeWindow,
        windows: Vec<EventPlace>,
        days: DayWriter,
        old: Vec<OldEvents>,
    ) -> Self {
        let lane = &reading.lane;
        let name = format!("logs_{}_{}_{}", lane.account, lane.region, round.start);
        let folder = reading.lake.staging().join(name);
        let mut merge = EventMerge::new(&folder);
        let added = old.into_iter().try_for_each(|old| merge.add_old(old));
        let files = added.map(|()| Files { merge, days });
        Self {
            reading,
            waiting: Mutex::default(),
            windows: Mutex::new(windows.into_iter().map(Some).collect()),
            files: AsyncMutex::new(files),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingEvents> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events of a window.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub(super) async fn take(&self, events: Vec<LogEvent>) -> Result<(), Cause> {
        self.waiting().push(events);
        if !self.waiting().is_full() {
            return Ok(());
        }
        let mut files = self.files.lock().await;
        // Another window may have made room meanwhile.
        if self.waiting().is_full() {
            let taken = self.waiting().take(None);
            self.work(&mut files, move |files| files.merge.spill(taken))
                .await;
        }
        match &*files {
            Ok(_) => Ok(()),
            Err(error) => Err(Cause::of_destination(error)),
        }
    }

    /// Window number `window` has ended: what no other can come before is written.
    pub(super) async fn ended(&self, window: usize) {
        let place = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = windows[..window].iter().all(Option::is_none);
            windows[window] = None;
            let left = windows[window..].iter().flatten().next().cloned();
            is_first.then_some(left)
        };
        if let Some(place) = place {
            self.write(place).await;
        }
    }

    /// Writes what lies before `place`, or all.
    async fn write(&self, place: Option<EventPlace>) {
        let mut files = self.files.lock().await;
        let taken = self.waiting().take(place.as_ref());
        let write = move |files: &mut Files| {
            files.merge.add(taken);
            while let Some(event) = files.merge.next(place.as_ref())? {
                files.days.add(event)?;
            }
            Ok(())
        };
        self.work(&mut files, write).await;
    }

    /// What was interrupted, or failed once, does not go on: events would be missing.
    async fn work(
        &self,
        files: &mut Result<Files, WriteError>,
        work: impl FnOnce(&mut Files) -> Result<(), WriteError> + Send + 'static,
    ) {
        let lost = Err(WriteError::Io {
            path: self.reading.lake.staging(),
            source: io::Error::other("not all events that were read could be kept"),
        });
        *files = match std::mem::replace(files, lost) {
            Err(error) => Err(error),
            Ok(mut files) => {
                blocking(&self.reading.bounds.encoders, move || {
                    work(&mut files).map(|()| files)
                })
                .await
            }
        };
    }

    /// Ends the files: those of `failed` days are thrown away, those of `incomplete` ones say so.
    ///
    /// # Errors
    /// What went wrong with any of them.
    pub(super) async fn finish(
        self,
        failed: BTreeSet<Day>,
        incomplete: BTreeSet<Day>,
    ) -> Result<BTreeMap<Day, DayFile>, WriteError> {
        self.write(None).await;
        let files = self.files.into_inner()?;
        blocking(&self.reading.bounds.encoders, move || {
            files.days.finish(&failed, &incomplete)
        })
        .await
    }
}
