//! The destination of a run: proved writable, and ours until the run ends.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::files::{create_file, create_folder, folder_for_private, private_folder};
use crate::lake::table::Table;
use crate::lake::{format, layout};

use super::manifest::LaneRecords;
use crate::model::{Cause, CauseKind, Claim, Day};
use crate::staging::{OwnFolder, remove_dead};
use crate::store::{AcquireError, Held, Holder, Store, StoreError, StoreErrorKind};

/// The destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// It cannot be written to, and trying again will not help.
    #[error("the destination {root} is not writable")]
    NotWritable {
        /// The lake's root.
        root: String,
        /// Why.
        source: StoreError,
    },
    /// It is a lake of a layout that is not known here.
    #[error("the destination {root} is no lake for this cwlake: {why}")]
    Unknown {
        /// The lake's root.
        root: String,
        /// Why not.
        why: String,
    },
    /// It cannot be written to now.
    #[error("the destination {root} cannot be used now")]
    Unavailable {
        /// The lake's root.
        root: String,
        /// Why.
        source: StoreError,
    },
    /// Another run holds it.
    #[error(transparent)]
    Locked(AcquireError),
}

/// Local folders for files on their way and for answers that are not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    base: PathBuf,
    /// The folder that `base` lies in, where nobody else may enter `base`.
    private_in: Option<PathBuf>,
}

impl Scratch {
    /// Everything below `base`, as open as that is.
    pub fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            private_in: None,
        }
    }

    /// Everything in a folder of a lake's own below `base`, which nobody else may enter.
    pub fn private(base: &Path, name: &str) -> Self {
        Self {
            base: base.join(name),
            private_in: Some(base.to_owned()),
        }
    }

    /// None is known: who only looks needs none.
    pub fn nowhere() -> Self {
        Self {
            base: PathBuf::new(),
            private_in: None,
        }
    }

    /// The folder that nobody else may enter, where it is not the lake's own.
    pub fn private_folder(&self) -> Option<&Path> {
        self.private_in.as_ref().map(|_| self.base.as_path())
    }

    /// Makes the folder where it is to be private, or makes sure that it is: answers found there are published as `CloudWatch`'s.
    ///
    /// # Errors
    /// No folder is known, it is somebody else's, or others may write to it.
    pub fn secure(&self) -> Result<(), StoreError> {
        if self.base.as_os_str().is_empty() {
            return Err(StoreError {
                kind: StoreErrorKind::Refused,
                doing: "finding a folder for files on their way".to_owned(),
                message: "neither run.spool_dir, nor XDG_CACHE_HOME, nor HOME is set".to_owned(),
                hint: Some("set run.spool_dir to a folder of this user's own".to_owned()),
            });
        }
        let Some(folder) = &self.private_in else {
            return Ok(());
        };
        let made = folder_for_private(folder).and_then(|()| private_folder(&self.base));
        made.map_err(|e| StoreError {
            hint: Some(
                "set run.spool_dir to a folder of this user's own (chmod 700), or to one below it that is not there yet"
                    .to_owned(),
            ),
            ..StoreError::io("using", folder, &e)
        })
    }

    /// A folder for one run's files on their way; those that dead runs have left are removed.
    fn own_folder(&self, run_id: &str) -> Result<OwnFolder, StoreError> {
        self.secure()?;
        let made = remove_dead(&self.base).and_then(|()| OwnFolder::create(&self.base, run_id));
        made.map_err(|e| StoreError::io("writing to", &self.base, &e))
    }

    /// Copies of files that are only looked at.
    pub fn verify_folder(&self) -> PathBuf {
        self.base.join(format!("verify-{}", std::process::id()))
    }

    /// Answers of CloudWatch that are not yet in the lake.
    pub fn spool(&self) -> PathBuf {
        if self.base.as_os_str().is_empty() {
            return PathBuf::new();
        }
        self.base.join("spool")
    }
}

/// Units that another run has.
#[derive(Debug)]
struct Refused {
    unit: (&'static Table, Day, Day),
    cause: Cause,
}

/// An open, locked destination.
#[derive(Debug)]
pub struct Lake {
    store: Arc<dyn Store>,
    scratch: Scratch,
    staging: OwnFolder,
    lock: Box<dyn Held>,
    lost: CancellationToken,
    /// What is claimed so far, and what was refused.
    claim: Mutex<(Claim, Vec<Refused>)>,
}

impl Lake {
    /// Takes what is claimed, removes what dead runs left on their way where nobody else is at work, and proves the destination writable for every
    /// one of `tables`, and the scratch folder.
    ///
    /// # Errors
    /// [`LakeError`]; nothing was written but below `_cwlake/`.
    pub async fn open(
        store: Arc<dyn Store>,
        scratch: Scratch,
        run_id: &str,
        claim: Claim,
        tables: &[&'static Table],
    ) -> Result<Self, LakeError> {
        let root = store.describe();
        let refused = |source: StoreError| {
            let root = root.clone();
            match source.kind {
                StoreErrorKind::Refused | StoreErrorKind::NotAllowed => {
                    LakeError::NotWritable { root, source }
                }
                // A full disk at the start is for whoever set the destination.
                StoreErrorKind::Temporary if source.hint.is_some() => {
                    LakeError::NotWritable { root, source }
                }
                StoreErrorKind::Temporary | StoreErrorKind::Changed => {
                    LakeError::Unavailable { root, source }
                }
            }
        };
        let holder = Holder::of_this_process(run_id);
        let lock = match store.acquire(&holder, &claim).await {
            Ok(lock) => lock,
            Err(AcquireError::Store(source)) => return Err(refused(source)),
            Err(taken) => return Err(LakeError::Locked(taken)),
        };
        let (of_scratch, name) = (scratch.clone(), run_id.to_owned());
        let made = tokio::task::spawn_blocking(move || of_scratch.own_folder(&name));
        let staging = match made
            .await
            .unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
        {
            Ok(staging) => staging,
            Err(error) => {
                lock.release().await;
                return Err(refused(error));
            }
        };
        let lake = Self {
            lost: lock.lost(),
            store,
            scratch,
            staging,
            lock,
            claim: Mutex::new((claim, Vec::new())),
        };
        let known = match lake.store.get(layout::FORMAT).await {
            Ok(Some(marker)) => match format::check(&marker) {
                Ok(()) => Ok(false),
                Err(why) => Err(LakeError::Unknown {
                    root: root.clone(),
                    why,
                }),
            },
            Ok(None) => Ok(true),
            Err(source) => Err(refused(source)),
        };
        let prepared = match known {
            Ok(is_new) => lake.prepare(is_new, tables).await.map_err(refused),
            Err(error) => Err(error),
        };
        match prepared {
            Ok(()) => Ok(lake),
            Err(error) => {
                lake.lock.release().await;
                Err(error)
            }
        }
    }

    /// `is_new` says that the lake has no marker yet.
    async fn prepare(&self, is_new: bool, tables: &[&Table]) -> Result<(), StoreError> {
        self.store.sweep(&*self.lock).await?;
        let staging = self.staging();
        let probe = staging.join("probe");
        create_folder(&self.scratch.spool())
            .and_then(|()| create_file(&probe)?.write_all(b"cwlake"))
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|e| StoreError::io("writing to", &staging, &e))?;
        let proofs = tables
            .iter()
            .map(|table| self.store.prove_writable(table.name));
        futures::future::try_join_all(proofs).await?;
        if is_new {
            let written = self.store.put(layout::FORMAT, format::marker().into());
            match written.await {
                // Another shard or run came at the same moment.
                Err(error) if error.kind == StoreErrorKind::Changed => {}
                written => written?,
            }
        }
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The folder for this run's files on their way.
    pub fn staging(&self) -> PathBuf {
        self.staging.path().to_owned()
    }

    /// The folder for answers that are not yet in the lake.
    pub fn spool(&self) -> PathBuf {
        self.scratch.spool()
    }

    /// What other runs have claimed.
    pub fn beside(&self) -> Vec<Claim> {
        self.lock.beside()
    }

    /// Cancelled when another run took the lock: nothing may be published any more.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether the lock is still ours; `doubted` where something speaks against it. Asked before anything is published.
    pub async fn is_ours(&self, doubted: bool) -> bool {
        self.lock.is_held(doubted).await
    }

    /// Claims the units of tables, from a first to a last, where they are not claimed yet.
    ///
    /// # Errors
    /// Another run has some of them, or the store's.
    pub async fn reserve(&self, units: &[(&'static Table, Day, Day)]) -> Result<(), Cause> {
        let mut guard = self.claim.lock().await;
        let (claimed, refused) = &mut *guard;
        let is_claimed =
            |(table, first, last): &(&Table, Day, Day)| claimed.has(table.name, *first, *last);
        if units.iter().all(is_claimed) {
            return Ok(());
        }
        // Thousands of lanes may want the same days: whoever has them is asked once.
        let is_refused = |other: &&Refused| {
            let (table, first, last) = other.unit;
            units
                .iter()
                .any(|(t, from, to)| *t == table && *from <= first && last <= *to)
        };
        if let Some(refused) = refused.iter().find(is_refused) {
            return Err(refused.cause.clone());
        }
        let mut wider = claimed.clone();
        for (table, first, last) in units {
            wider = wider.and(table.name, *first, *last);
        }
        match self.lock.widen(&wider).await {
            Ok(()) => {
                *claimed = wider;
                Ok(())
            }
            Err(AcquireError::Store(error)) => Err(error.into()),
            Err(taken) => {
                let cause = Cause::new(CauseKind::Destination, taken.to_string()).with_hint(
                    "run again when it has ended: nothing was asked of CloudWatch for these days",
                );
                refused.extend(units.iter().map(|unit| Refused {
                    unit: *unit,
                    cause: cause.clone(),
                }));
                Err(cause)
            }
        }
    }

    /// Writes the records that changed. Where somebody else wrote them since they were read, and the lock is still ours, that was a run about other
    /// days of the month, or a request of the lock's last holder that came late: ours are put over what is there now.
    ///
    /// # Errors
    /// The store's, or that the lock is lost.
    pub async fn record(&self, records: &mut LaneRecords) -> Result<(), Cause> {
        const TRIES: u32 = 8;
        let mut tries = 1;
        loop {
            if !self.is_ours(tries > 1).await {
                return Err(Cause::lock_lost());
            }
            match records.write(&*self.store).await {
                Err(error) if error.kind == StoreErrorKind::Changed && tries < TRIES => {
                    tries += 1;
                    records.read_again(&*self.store).await?;
                }
                written => return Ok(written?),
            }
        }
    }

    /// Removes what is left on its way, and gives the lock back.
    pub async fn close(self) {
        // What is left belongs to units that were not finished; the next run would remove it as well.
        drop(self.staging);
        // An empty spool says nothing; one with answers is kept for the run that resumes.
        let _ = std::fs::remove_dir(self.scratch.spool());
        self.lock.release().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Attempt;
    use crate::lake::table::{METRICS, SPEND};
    use crate::model::{Lane, UnitOutcome};
    use crate::store::{LocalStore, MemoryStore};

    async fn open(root: &Path, run_id: &str) -> Result<Lake, LakeError> {
        let scratch = Scratch::new(&layout::local_scratch(root));
        Lake::open(
            Arc::new(LocalStore::new(root)),
            scratch,
            run_id,
            Claim::everything(),
            &[&METRICS],
        )
        .await
    }

    #[tokio::test]
    async fn a_second_run_is_told_who_holds_the_lake() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = open(dir.path(), "one").await.expect("opened");
        let error = open(dir.path(), "two").await.expect_err("locked");
        assert!(
            matches!(&error, LakeError::Locked(_)) && error.to_string().contains("run one"),
            "{error}"
        );
        first.close().await;
        open(dir.path(), "three").await.expect("free again");
    }

    #[tokio::test]
    async fn staging_of_a_dead_run_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let left = dir.path().join("_cwlake/staging/dead/x.part");
        std::fs::create_dir_all(left.parent().expect("folder")).expect("made");
        std::fs::write(&left, "half").expect("written");
        let lake = open(dir.path(), "run").await.expect("opened");
        assert!(!left.exists() && lake.staging().ends_with("run"));
        assert!(lake.spool().starts_with(dir.path()));
        lake.close().await;
        assert!(!dir.path().join("_cwlake/staging").exists());
        assert!(!dir.path().join("_cwlake/spool").exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("lake");
        std::fs::write(&path, "not a folder").expect("written");
        let error = open(&path, "run").await.expect_err("refused");
        assert!(matches!(error, LakeError::NotWritable { .. }), "{error}");
    }

    /// A run that has claimed nothing yet, with files on their way below `dir`.
    async fn in_memory(store: &MemoryStore, dir: &Path, run_id: &str) -> Result<Lake, LakeError> {
        let scratch = Scratch::new(&dir.join(run_id));
        let store = Arc::new(store.clone());
        Lake::open(store, scratch, run_id, Claim::nothing(), &[&METRICS]).await
    }

    #[tokio::test]
    async fn a_marker_that_another_run_wrote_at_the_same_moment_is_as_good() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = MemoryStore::new();
        store.fail_writes(StoreErrorKind::Changed, 1);
        let lake = in_memory(&store, dir.path(), "marker").await;
        lake.expect("opened").close().await;
        let store = MemoryStore::new();
        store.fail_writes(StoreErrorKind::Temporary, 1);
        let refused = in_memory(&store, dir.path(), "marker").await;
        let refused = refused.expect_err("the marker is not written");
        assert!(
            matches!(refused, LakeError::Unavailable { .. }),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn records_that_somebody_else_wrote_meanwhile_are_put_over_theirs() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = MemoryStore::new();
        let lake = in_memory(&store, dir.path(), "records")
            .await
            .expect("opened");
        let lane = Lane::example();
        let day = Day::containing(0);
        let attempt = || Attempt {
            outcome: UnitOutcome::Failed,
            cause: Cause::new(CauseKind::Other, "why"),
        };
        for (kind, failures, works) in [
            (StoreErrorKind::Changed, 0, true),
            (StoreErrorKind::Changed, 1, true),
            (StoreErrorKind::Changed, 7, true),
            (StoreErrorKind::Changed, 8, false),
            (StoreErrorKind::Changed, 40, false),
            (StoreErrorKind::Temporary, 1, false),
        ] {
            let mut ours = LaneRecords::new(&METRICS, lane.clone());
            ours.attempt(day, attempt());
            store.fail_writes(kind, failures);
            let written = lake.record(&mut ours).await;
            assert_eq!(written.is_ok(), works, "{kind:?} {failures}: {written:?}");
        }
        // Another's day of the month, written since ours were read, is still there afterwards.
        store.fail_writes(StoreErrorKind::Changed, 0);
        let mut theirs = LaneRecords::new(&METRICS, lane.clone());
        theirs.attempt(day.plus(1), attempt());
        let mut ours = LaneRecords::new(&METRICS, lane.clone());
        ours.attempt(day.plus(2), attempt());
        lake.record(&mut theirs).await.expect("written");
        store.fail_writes(StoreErrorKind::Changed, 1);
        lake.record(&mut ours).await.expect("written");
        let mut there = LaneRecords::new(&METRICS, lane);
        there.read(&store, [day].into_iter()).await.expect("read");
        let days: Vec<Day> = there.all().map(|(day, _)| day).collect();
        assert!(
            days.contains(&day.plus(1)) && days.contains(&day.plus(2)),
            "{days:?}"
        );
        lake.close().await;
    }

    #[tokio::test]
    async fn a_lock_is_looked_at_when_somebody_else_wrote_a_record() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = MemoryStore::new();
        let lake = in_memory(&store, dir.path(), "older").await;
        let lake = lake.expect("opened");
        store.take_over();
        // Nothing speaks against it yet: no request for it.
        for (failures, works) in [(0, true), (1, false)] {
            let mut records = LaneRecords::new(&METRICS, Lane::example());
            let cause = Cause::new(CauseKind::Other, "why");
            let outcome = UnitOutcome::Failed;
            records.attempt(Day::containing(0), Attempt { outcome, cause });
            store.fail_writes(StoreErrorKind::Changed, failures);
            let written = lake.record(&mut records).await;
            assert_eq!(written.is_ok(), works, "{failures}: {written:?}");
        }
        lake.close().await;
    }

    #[tokio::test]
    async fn days_that_another_run_has_are_refused_and_asked_about_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = MemoryStore::new();
        let day = |n: i64| Day::containing(0).plus(n);
        let theirs = in_memory(&store, dir.path(), "theirs")
            .await
            .expect("opened");
        let ours = in_memory(&store, dir.path(), "ours").await.expect("opened");
        theirs
            .reserve(&[(&METRICS, day(2), day(2))])
            .await
            .expect("free");
        let taken = ours.reserve(&[(&METRICS, day(2), day(2))]).await;
        let taken = taken.expect_err("taken");
        assert!(taken.message.contains("run theirs"), "{taken}");
        theirs.close().await;
        // What was refused once stays so for this run; what was not is free.
        for (table, first, last, is_free) in [
            (&METRICS, 2, 2, false),
            (&METRICS, 1, 3, false),
            (&SPEND, 2, 2, true),
            (&METRICS, 3, 3, true),
            (&METRICS, 1, 1, true),
        ] {
            let reserved = ours.reserve(&[(table, day(first), day(last))]).await;
            assert_eq!(reserved.is_ok(), is_free, "{table} {first} to {last}");
        }
        ours.close().await;
    }

    #[test]
    fn a_private_folder_is_made_for_this_user_alone_and_none_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let (base, folder) = (dir.path().join("cache"), dir.path().join("cache/lake"));
        let private = Scratch::private(&base, "lake");
        private.secure().expect("made");
        let mode = std::fs::metadata(&folder).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        assert_eq!(private.private_folder(), Some(folder.as_path()));
        assert_eq!(private.spool(), folder.join("spool"));
        assert!(private.verify_folder().starts_with(&folder));
        assert_ne!(private.verify_folder(), folder);
        let own = Scratch::new(&base);
        assert_eq!(own.private_folder(), None);
        let nowhere = Scratch::nowhere();
        assert_eq!(nowhere.spool(), PathBuf::new());
        let refused = nowhere.secure().expect_err("no folder");
        assert!(
            refused
                .hint
                .is_some_and(|hint| hint.contains("run.spool_dir"))
        );
    }
}
