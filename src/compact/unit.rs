//! One unit of a table over all lanes: its parts brought together, checked against their records, and published under names made of their content.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::Lake;
use crate::files::create_folder;
use crate::given::context::RunContext;
use crate::lake::compaction::{CompactedFile, CompactedUnit, OwnFiles};
use crate::lake::layout;
use crate::lake::table::Table;
use crate::model::{Cause, Day, Lane};
use crate::normalize::{RecordBatch, rows_by_lane};
use crate::sources::metrics::old::OldError;
use crate::store::{Store, StoreError};
use crate::write::{Staged, checksum, read_rows};

use super::changed;
use super::due::{Due, Part};
use super::merge::{Source, Wanted, io_error, merge};
use super::output::{PointsOutput, RowsOutput, Target};
use super::spill::{Run, SpillWriter};

/// Files that are merged at once. More are merged to fewer first: a process may have 256 files open where nobody raised that.
const FAN_IN: usize = 96;

/// Files that are fetched or removed side by side.
pub(super) const AT_ONCE: usize = 32;

/// Merges side by side; each holds [`FAN_IN`] open files.
const MERGES_AT_ONCE: usize = 2;

/// A unit on its way.
pub(super) struct UnitCompaction<'a> {
    pub(super) context: &'a RunContext,
    pub(super) lake: &'a Lake,
    pub(super) table: &'static Table,
    pub(super) unit: Day,
}

/// A file that is read, and what is taken of it.
struct Input {
    path: PathBuf,
    /// It is removed once it is read.
    is_copy: bool,
    /// What its record says.
    sha256: Option<String>,
    /// Of a compacted one, what is taken.
    lanes: Option<Wanted>,
}

impl Input {
    fn of_stage(staged: Staged) -> Self {
        Self {
            path: staged.path,
            is_copy: true,
            sha256: None,
            lanes: None,
        }
    }

    /// It is what its record says. Looked at after it was opened: what is at its place then is what is read.
    fn check(&self) -> Result<(), Trouble> {
        let Some(recorded) = &self.sha256 else {
            return Ok(());
        };
        if checksum(&self.path).map_err(OldError::from)?.1 == *recorded {
            return Ok(());
        }
        let name = self.path.file_name().unwrap_or_default().display();
        Err(Trouble::Changed(format!(
            "{name} is not what its record says"
        )))
    }

    fn remove(&self) {
        if self.is_copy {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where the rows of a lane come from.
enum Piece<'a> {
    /// Its own file.
    Own(&'a Part),
    /// What compacted files had of it.
    Split(Input),
}

/// Why a unit is not compacted now.
enum Trouble {
    File(OldError),
    Changed(String),
}

impl From<OldError> for Trouble {
    fn from(error: OldError) -> Self {
        Self::File(error)
    }
}

impl From<Trouble> for Cause {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::File(error) => Self::of_destination(&error),
            Trouble::Changed(what) => changed(&what),
        }
    }
}

impl UnitCompaction<'_> {
    fn store(&self) -> &dyn Store {
        &**self.lake.store()
    }

    fn folder(&self) -> PathBuf {
        self.lake.staging().join("compact")
    }

    /// Compacts the unit. `old` is what was compacted of it before.
    pub(super) async fn run(
        &self,
        due: &Due,
        old: Option<&CompactedUnit>,
    ) -> Result<CompactedUnit, Cause> {
        let folder = self.folder();
        let made = create_folder(&folder);
        made.map_err(|e| Cause::from(StoreError::io("writing to", &folder, &e)))?;
        let result = self.bring_together(due, old).await;
        let published = match result {
            Ok(staged) => self.publish(due, staged).await,
            Err(cause) => Err(cause),
        };
        let _ = std::fs::remove_dir_all(&folder);
        let files = published?;
        Ok(CompactedUnit {
            made_of: due.made_of.clone(),
            lanes: due.parts.len() as u64,
            at: self.context.now,
            files,
            replaced: Vec::new(),
            // Own files that were written since the others went have yet to go.
            own_files: match old.map(|old| old.own_files) {
                None | Some(OwnFiles::There) => OwnFiles::There,
                Some(_) => OwnFiles::Going,
            },
        })
    }

    async fn bring_together(
        &self,
        due: &Due,
        old: Option<&CompactedUnit>,
    ) -> Result<Vec<Staged>, Cause> {
        let (own, files, wanted) = self.split(due, old).await?;
        let compacted = self.fetch_compacted(&files, &wanted).await?;
        if self.table.is_points() {
            self.merge_points(own, compacted).await
        } else {
            self.append_rows(own, compacted).await
        }
    }

    /// Parts whose own file is there, and what is taken of the compacted files, which have the others.
    async fn split<'d, 'o>(
        &self,
        due: &'d Due,
        old: Option<&'o CompactedUnit>,
    ) -> Result<(Vec<&'d Part>, Vec<&'o CompactedFile>, Wanted), Cause> {
        let pruned = old.filter(|old| old.own_files != OwnFiles::There);
        let Some(old) = pruned else {
            return Ok((due.parts.iter().collect(), Vec::new(), Wanted::default()));
        };
        let folder = layout::unit_folder(self.table, self.unit);
        let entries = self.store().list(&folder).await?;
        let there: BTreeSet<String> = entries.into_iter().map(|e| e.key).collect();
        let (own, gone): (Vec<&Part>, Vec<&Part>) =
            due.parts.iter().partition(|p| there.contains(&p.key));
        let passed = own
            .iter()
            .map(|p| p.lane.clone())
            .chain(due.empty.iter().cloned());
        let wanted = Wanted {
            passed: Arc::new(passed.collect()),
            taken: Arc::new(gone.into_iter().map(|p| p.lane.clone()).collect()),
        };
        Ok((own, old.files.iter().collect(), wanted))
    }

    /// Every compacted file is as it was recorded.
    pub(super) async fn check_compacted(&self, there: &CompactedUnit) -> Result<(), Cause> {
        let made = create_folder(&self.folder());
        made.map_err(|e| Cause::from(StoreError::io("writing to", &self.folder(), &e)))?;
        for file in &there.files {
            let input = self.fetch(&file.name, Some(&file.sha256)).await?;
            blocking(move || {
                let checked = input.check();
                input.remove();
                checked
            })
            .await?;
        }
        Ok(())
    }

    async fn fetch(&self, key: &str, sha256: Option<&str>) -> Result<Input, Cause> {
        let folder = self.folder();
        let found = self.store().open(key, &folder).await?;
        let path = found.ok_or_else(|| changed(&format!("{key} is missing")))?;
        Ok(Input {
            is_copy: path.starts_with(&folder),
            path,
            sha256: sha256.map(str::to_owned),
            lanes: None,
        })
    }

    async fn fetch_all(&self, parts: &[&Part]) -> Result<Vec<Input>, Cause> {
        let fetched = stream::iter(parts).map(|part| self.fetch(&part.key, part.sha256.as_deref()));
        fetched.buffered(AT_ONCE).try_collect().await
    }

    async fn fetch_compacted(
        &self,
        files: &[&CompactedFile],
        wanted: &Wanted,
    ) -> Result<Vec<Input>, Cause> {
        let mut inputs = Vec::new();
        for file in files {
            let input = self.fetch(&file.name, Some(&file.sha256)).await?;
            inputs.push(Input {
                lanes: Some(wanted.clone()),
                ..input
            });
        }
        Ok(inputs)
    }

    async fn merge_points(
        &self,
        own: Vec<&Part>,
        mut files: Vec<Input>,
    ) -> Result<Vec<Staged>, Cause> {
        let mut spills = Vec::new();
        if own.len() + files.len() <= FAN_IN {
            files.extend(self.fetch_all(&own).await?);
        } else {
            // Neighbouring lanes together: their blocks then follow one another in the next round.
            let chunks =
                stream::iter(own.chunks(FAN_IN).enumerate()).map(|(n, parts)| async move {
                    let files = self.fetch_all(parts).await?;
                    self.merge_to_spill(files, Vec::new(), format!("0-{n}"))
                        .await
                });
            spills = chunks.buffered(MERGES_AT_ONCE).try_collect().await?;
            let mut rest = std::mem::take(&mut files).into_iter();
            for n in 0.. {
                let some: Vec<Input> = rest.by_ref().take(FAN_IN).collect();
                if some.is_empty() {
                    break;
                }
                let name = format!("0-compacted-{n}");
                spills.push(self.merge_to_spill(some, Vec::new(), name).await?);
            }
        }
        let mut round = 0;
        while spills.len() > FAN_IN * MERGES_AT_ONCE {
            round += 1;
            let mut fewer = Vec::new();
            for (n, some) in spills.chunks(FAN_IN).enumerate() {
                let name = format!("{round}-{n}");
                fewer.push(self.merge_to_spill(Vec::new(), some.to_vec(), name).await?);
            }
            spills = fewer;
        }
        let bytes = self.context.config.compact.target_bytes;
        let target = Target::compacted(self.table, self.folder().join("whole"), bytes);
        blocking(move || {
            let mut out = PointsOutput::new(target);
            merge_all(&files, &spills, |run| out.push(run))?;
            Ok(out.finish()?)
        })
        .await
    }

    async fn merge_to_spill(
        &self,
        files: Vec<Input>,
        spills: Vec<PathBuf>,
        name: String,
    ) -> Result<PathBuf, Cause> {
        let path = self.folder().join(name);
        blocking(move || {
            let io = |e| io_error(&path, e);
            let mut out = SpillWriter::create(&path).map_err(io)?;
            merge_all(&files, &spills, |run| out.write(&run).map_err(io))?;
            Ok(out.finish().map_err(io)?)
        })
        .await
    }

    /// Rows of other tables follow lane by lane, as each lane has them.
    async fn append_rows(&self, own: Vec<&Part>, inputs: Vec<Input>) -> Result<Vec<Staged>, Cause> {
        let bytes = self.context.config.compact.target_bytes;
        let target = Target::compacted(self.table, self.folder().join("whole"), bytes);
        let split = blocking({
            let (table, folder) = (self.table, self.folder());
            move || split_lanes(table, &inputs, &folder)
        });
        let split = split.await?.into_iter();
        let mut parts: Vec<(Lane, Piece<'_>)> = split
            .map(|(lane, input)| (lane, Piece::Split(input)))
            .collect();
        let own = own.into_iter();
        parts.extend(own.map(|part| (part.lane.clone(), Piece::Own(part))));
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = RowsOutput::new(self.table, target);
        let fetched = stream::iter(parts).map(|(_, piece)| async move {
            match piece {
                Piece::Split(input) => Ok(input),
                Piece::Own(part) => self.fetch(&part.key, part.sha256.as_deref()).await,
            }
        });
        let mut chunks = fetched.buffered(AT_ONCE).chunks(AT_ONCE);
        while let Some(chunk) = chunks.next().await {
            let inputs: Vec<Input> = chunk.into_iter().collect::<Result<_, Cause>>()?;
            out = blocking(move || {
                for input in &inputs {
                    append(input, &mut out)?;
                }
                Ok(out)
            })
            .await?;
        }
        blocking(move || Ok(out.finish().map_err(OldError::from)?)).await
    }

    /// Makes the files visible. They are read by nobody before the record names them.
    async fn publish(&self, due: &Due, staged: Vec<Staged>) -> Result<Vec<CompactedFile>, Cause> {
        let rows: u64 = staged.iter().map(|s| s.rows).sum();
        if due.rows().is_some_and(|recorded| recorded != rows) {
            return Err(changed(&format!(
                "it has {rows} rows, and other than that were recorded"
            )));
        }
        if !self.lake.is_ours(false).await {
            return Err(Cause::lock_lost());
        }
        let mut files = Vec::new();
        for staged in staged {
            let name = layout::compacted(self.table, self.unit, &staged.sha256);
            self.store().publish(&name, &staged).await?;
            files.push(CompactedFile {
                name,
                rows: staged.rows,
                bytes: staged.bytes,
                sha256: staged.sha256,
            });
        }
        Ok(files)
    }
}

/// Merges files, and what earlier merges have left of others. They are gone afterwards.
fn merge_all(
    files: &[Input],
    spills: &[PathBuf],
    take: impl FnMut(Run) -> Result<(), OldError>,
) -> Result<(), Trouble> {
    let mut sources = Vec::new();
    for file in files {
        let source = Source::open(&file.path, file.lanes.clone());
        // What is not as recorded need not be readable either.
        file.check()?;
        sources.push(source?);
    }
    for spill in spills {
        sources.push(Source::open_spill(spill)?);
    }
    merge(sources, take)?;
    files.iter().for_each(Input::remove);
    for spill in spills {
        let _ = std::fs::remove_file(spill);
    }
    Ok(())
}

fn append(input: &Input, out: &mut RowsOutput) -> Result<(), Trouble> {
    let rows = read_rows(&input.path);
    input.check()?;
    for batch in rows.map_err(OldError::from)? {
        let pushed = batch.and_then(|batch| out.push(&batch));
        pushed.map_err(OldError::from)?;
    }
    input.remove();
    Ok(())
}

/// What compacted files have of some lanes, as a file of each lane.
fn split_lanes(
    table: &'static Table,
    inputs: &[Input],
    folder: &Path,
) -> Result<Vec<(Lane, Input)>, Trouble> {
    let mut files = Vec::new();
    let mut open: Option<(Lane, RowsOutput)> = None;
    let mut close = |lane: Option<(Lane, RowsOutput)>| {
        let Some((lane, out)) = lane else {
            return Ok(());
        };
        let staged = out.finish().map_err(OldError::from)?;
        files.extend(
            staged
                .into_iter()
                .map(|s| (lane.clone(), Input::of_stage(s))),
        );
        Ok::<(), Trouble>(())
    };
    let mut next = 0;
    for input in inputs {
        let Some(lanes) = &input.lanes else { continue };
        input.check()?;
        push_lanes(table, &input.path, lanes, |lane, rows| {
            if open.as_ref().is_none_or(|(last, _)| *last != lane) {
                close(open.take())?;
                next += 1;
                let folder = folder.join(format!("lane-{next}"));
                let target = Target::compacted(table, folder, u64::MAX);
                open = Some((lane, RowsOutput::new(table, target)));
            }
            if let Some((_, out)) = &mut open {
                out.push(&rows).map_err(OldError::from)?;
            }
            Ok(())
        })?;
        input.remove();
    }
    close(open)?;
    Ok(files)
}

/// Hands on the rows that a compacted file has of some lanes.
fn push_lanes(
    table: &'static Table,
    path: &Path,
    lanes: &Wanted,
    mut take: impl FnMut(Lane, RecordBatch) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    for batch in read_rows(path).map_err(OldError::from)? {
        let batch = batch.map_err(OldError::from)?;
        for (lane, rows) in rows_by_lane(table, &batch).map_err(OldError::from)? {
            if lanes.takes(&lane)? {
                take(lane, rows)?;
            }
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Cause> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Cause::from),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
