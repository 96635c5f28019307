//! Every file of a lake against what the manifests say of it, and the time that no unit covers.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::point;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::table::unit_tables;
use crate::normalize::TableCheck;
use crate::sources::metrics::old::OldRuns;

use crate::inspect::compacted::{CheckedUnits, CompactedTable, Recorded};
use crate::inspect::fault::{AT_ONCE, Fault, unreadable_for_good, wanted};
use crate::inspect::series::verify_series;
use crate::lake::layout::COMPACTED;
use crate::lake::table::{LOGS, METRICS, SERIES, Table};
use crate::lake::{UnitId, layout};
use crate::sources::metrics::old::{OldError, RunKey, key_of};

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::{Committed, FileRecord, LaneRecords};
use crate::model::{Cause, Day, Lane, Spans, TimeWindow};
use crate::report::{grouped, printable};
use crate::store::{Store, StoreError};
use crate::write::{checksum, read_rows};

/// Files whose records wait until they are looked at: a lake's records are not held all at once.
const FILES_AT_A_TIME: usize = 4_096;

/// What `verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The lake's root.
    pub destination: String,
    /// Units recorded, empty ones included.
    pub units: u64,
    /// Files opened.
    pub files: u64,
    /// Compacted files opened.
    pub compacted_files: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong with files, each by its key.
    pub faults: Vec<Fault>,
    /// Units that were written without all that was asked for.
    pub incomplete: Vec<Fault>,
    /// Time that no unit covers, between a lane's first and last.
    pub gaps: Vec<Gap>,
}

/// Time that no unit covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Table.
    #[serde(rename = "dataset")]
    pub table: &'static Table,
    /// Account.
    pub account_id: String,
    /// Region.
    pub region: String,
    /// Namespace; none when whole units are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// First second missing, RFC 3339.
    pub from: String,
    /// First second after.
    pub to: String,
}

/// Opens every file the manifests speak of, and looks for files they do not speak of. `range` limits the days; the whole lake when `None`.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket. What is wrong with a file is in the report.
pub async fn verify(
    context: &RunContext,
    range: Option<TimeWindow>,
) -> Result<VerifyReport, RunError> {
    let place = Place::of(context).await?;
    let store = &*place.store;
    let mut report = VerifyReport {
        destination: store.describe(),
        units: 0,
        files: 0,
        compacted_files: 0,
        rows: 0,
        bytes: 0,
        faults: Vec::new(),
        incomplete: Vec::new(),
        gaps: Vec::new(),
    };
    place.scratch.secure()?;
    let scratch = place.scratch.verify_folder();
    for table in unit_tables() {
        verify_table(context, store, table, range, &scratch, &mut report).await?;
    }
    verify_series(context, store, &mut report.faults).await?;
    if !context.config.has_dataset_flag() || context.config.datasets.contains(&SERIES.dataset) {
        let compacted = CompactedTable::read(store, &SERIES).await?;
        report.faults.extend(compacted.fault.clone());
        let none = Recorded::default();
        let checked = compacted.verify(context, store, (None, &scratch), &none);
        report.add_compacted(checked.await?);
    }
    let _ = std::fs::remove_dir_all(&scratch);
    Ok(report)
}

async fn verify_table(
    context: &RunContext,
    store: &dyn Store,
    table: &'static Table,
    range: Option<TimeWindow>,
    scratch: &std::path::Path,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    // Tables that are not asked for by flag, and not those that are no longer configured.
    let is_asked = context.config.datasets.contains(&table.dataset);
    if context.config.has_dataset_flag() && !is_asked {
        return Ok(());
    }
    let of_unit = |day: Day| table.partition.window(day);
    let inside = |day: Day| range.is_none_or(|r| !r.intersection(of_unit(day)).is_empty());
    let compacted = CompactedTable::read(store, table).await?;
    report.faults.extend(compacted.fault.clone());
    let (mut names, mut recorded) = (BTreeSet::new(), Recorded::default());
    let mut waiting = Vec::new();
    let lanes = months_of_lanes(context, store, table).await?;
    let reading = stream::iter(lanes).map(|lane| read_lane(store, table, lane));
    let mut reading = std::pin::pin!(reading.buffered(AT_ONCE));
    let looks = |waiting| look(store, scratch, (table, &compacted), waiting);
    while let Some((lane, records, unreadable)) = reading.try_next().await? {
        report.add_records(table, (&lane, &records), inside);
        for (day, file) in files_of(&records, inside) {
            names.insert(file.name.clone());
            compacted.note(&mut recorded, day, &lane, file);
            waiting.push((day, lane.clone(), file.clone()));
        }
        for (month, what) in unreadable {
            report.faults.push(Fault {
                file: layout::manifest(table, &month, &lane),
                what,
            });
            recorded.unreadable.insert((month, lane.clone()));
        }
        if waiting.len() >= FILES_AT_A_TIME {
            report.add(looks(std::mem::take(&mut waiting)).await?);
        }
    }
    report.add(looks(waiting).await?);
    let looked = (range, scratch);
    let checked = compacted.verify(context, store, looked, &recorded).await?;
    report.add_compacted(checked);
    let is_told = |id: &UnitId| {
        let of_lane = (id.unit.month(), id.lane.clone());
        recorded.unreadable.contains(&of_lane)
    };
    for entry in store.list(&format!("{table}/")).await? {
        let unit = layout::parse_unit(table, &entry.key);
        // What a broken manifest says of it is not known.
        let ours = unit
            .as_ref()
            .is_none_or(|id| inside(id.unit) && wanted(context, &id.lane) && !is_told(id));
        if ours && !names.contains(&entry.key) {
            report.faults.push(stranger(entry.key, unit.is_some()));
        }
    }
    Ok(())
}

/// A unit's file as it was recorded.
type UnitFile = (Day, Lane, FileRecord);

/// The files that records speak of.
fn files_of(
    records: &LaneRecords,
    inside: impl Fn(Day) -> bool,
) -> impl Iterator<Item = (Day, &FileRecord)> {
    let committed = records.all().filter(move |(day, _)| inside(*day));
    committed.flat_map(|(day, record)| {
        let files = record.committed.iter().flat_map(|c| &c.files);
        files.map(move |file| (day, file))
    })
}

/// Opens files, some at once.
async fn look(
    store: &dyn Store,
    scratch: &std::path::Path,
    (table, compacted): (&'static Table, &CompactedTable),
    files: Vec<UnitFile>,
) -> Result<Vec<(String, Checked)>, StoreError> {
    let looked = stream::iter(files).map(|(day, lane, file)| {
        let instead = compacted.has_instead(day);
        async move {
            let checked = verify_file(store, scratch, (table, day, &lane), &file, instead).await?;
            Ok::<_, StoreError>((file.name, checked))
        }
    });
    looked.buffered(AT_ONCE).try_collect().await
}

/// A file that no manifest speaks of.
fn stranger(key: String, is_unit: bool) -> Fault {
    let what = if is_unit {
        "no manifest speaks of it: the next run of its day records or replaces it"
    } else {
        "it is not cwlake's: readers will take it for a part of the table"
    };
    Fault {
        file: key,
        what: what.to_owned(),
    }
}

/// The months of the manifests of every lane asked for.
async fn months_of_lanes(
    context: &RunContext,
    store: &dyn Store,
    table: &'static Table,
) -> Result<BTreeMap<Lane, Vec<String>>, StoreError> {
    let mut months: BTreeMap<Lane, Vec<String>> = BTreeMap::new();
    for entry in store.list(&layout::manifests(table)).await? {
        let manifest = layout::parse_manifest(table, &entry.key);
        if let Some((month, lane)) = manifest.filter(|(_, lane)| wanted(context, lane)) {
            months.entry(lane).or_default().push(month);
        }
    }
    Ok(months)
}

/// The records of a lane, and what is wrong with manifests that cannot be read, by month: they keep nobody from the others.
async fn read_lane(
    store: &dyn Store,
    table: &'static Table,
    (lane, months): (Lane, Vec<String>),
) -> Result<(Lane, LaneRecords, Vec<(String, String)>), StoreError> {
    let mut records = LaneRecords::new(table, lane.clone());
    let mut unreadable = Vec::new();
    for month in months {
        let first = Day::parse(&format!("{month}-01"));
        if let Err(error) = records.read(store, first.into_iter()).await {
            unreadable.push((month, unreadable_for_good(error)?));
        }
    }
    Ok((lane, records, unreadable))
}

/// What a file was found to be.
#[derive(Default)]
struct Checked {
    /// One, if it could be opened.
    files: u64,
    rows: u64,
    bytes: u64,
    faults: Vec<String>,
}

impl VerifyReport {
    fn add_compacted(&mut self, checked: CheckedUnits) {
        self.compacted_files += checked.files;
        self.faults.extend(checked.faults);
    }

    /// What the records of a lane say of its units.
    fn add_records(
        &mut self,
        table: &'static Table,
        (lane, records): (&Lane, &LaneRecords),
        inside: impl Fn(Day) -> bool,
    ) {
        let mut covered: BTreeMap<Day, &Committed> = BTreeMap::new();
        for (day, record) in records.all().filter(|(day, _)| inside(*day)) {
            let Some(committed) = &record.committed else {
                continue;
            };
            covered.insert(day, committed);
            self.units += 1;
            if !committed.complete {
                self.incomplete.push(Fault {
                    file: layout::unit(&UnitId::new(table, day, lane)),
                    what: match committed.refused_queries {
                        0 => "it is not complete: something of it was gone, or may have been left out, when it was written".to_owned(),
                        n => format!("it is not complete: {n} queries were refused when it was written"),
                    },
                });
            }
        }
        // An inventory is there on the days of runs, and a month of charges is one unit.
        if [&METRICS, &LOGS].contains(&table) {
            self.gaps.extend(gaps(table, lane, &covered));
        }
    }

    fn add(&mut self, looked: Vec<(String, Checked)>) {
        for (name, checked) in looked {
            self.files += checked.files;
            self.rows += checked.rows;
            self.bytes += checked.bytes;
            let faults = checked.faults.into_iter().map(|what| Fault {
                file: name.clone(),
                what,
            });
            self.faults.extend(faults);
        }
    }
}

async fn verify_file(
    store: &dyn Store,
    scratch: &std::path::Path,
    (table, day, lane): (&'static Table, Day, &Lane),
    file: &FileRecord,
    may_be_gone: bool,
) -> Result<Checked, StoreError> {
    let unread = |what: String| Checked {
        faults: vec![what],
        ..Checked::default()
    };
    let path = match store.open(&file.name, scratch).await {
        Ok(Some(path)) => path,
        Ok(None) if may_be_gone => return Ok(Checked::default()),
        Ok(None) => return Ok(unread("it is missing".to_owned())),
        Err(error) => return Ok(unread(unreadable_for_good(error)?)),
    };
    let (file, lane) = (file.clone(), lane.clone());
    let is_copy = path.starts_with(scratch);
    let checked = tokio::task::spawn_blocking(move || {
        let mut faults = Vec::new();
        let result = if table.is_points() {
            check_file(&path, day, &lane, &file, &mut faults)
        } else {
            check_table_file(&path, table, (day, &lane), &file, &mut faults)
        };
        if is_copy {
            let _ = std::fs::remove_file(&path);
        }
        match result {
            Ok((rows, bytes)) => (rows, bytes, faults),
            Err(error) => {
                faults.push(Cause::of_destination(&error).message);
                (0, 0, faults)
            }
        }
    });
    match checked.await {
        Ok((rows, bytes, faults)) => Ok(Checked {
            files: 1,
            rows,
            bytes,
            faults,
        }),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Compares a file whose rows are no points with its record and its place.
fn check_table_file(
    path: &std::path::Path,
    table: &'static Table,
    (day, lane): (Day, &Lane),
    file: &FileRecord,
    faults: &mut Vec<String>,
) -> Result<(u64, u64), OldError> {
    let (bytes, sha256) = checksum(path)?;
    if bytes != file.bytes || sha256 != file.sha256 {
        faults.push("its checksum is not the one that was recorded".to_owned());
    }
    let mut check = TableCheck::new(table, day, lane);
    for batch in read_rows(path)? {
        check.take(&batch?)?;
    }
    if check.rows() != file.rows {
        let text = format!("it has {} rows, {} were recorded", check.rows(), file.rows);
        faults.push(text);
    }
    faults.extend(check.faults());
    Ok((check.rows(), bytes))
}

/// Compares a file with its record and its place.
fn check_file(
    path: &std::path::Path,
    day: Day,
    lane: &Lane,
    file: &FileRecord,
    faults: &mut Vec<String>,
) -> Result<(u64, u64), OldError> {
    let (bytes, sha256) = checksum(path)?;
    if (bytes, sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
        faults.push(format!(
            "its checksum is not the recorded one ({bytes} bytes, {} recorded)",
            file.bytes
        ));
    }
    let mut runs = OldRuns::open(path)?;
    let mut rows = 0_u64;
    let mut last: Option<(RunKey, i64)> = None;
    let (mut unsorted, mut twice, mut outside, mut foreign) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (start, end) = (day.start() * 1_000_000, day.end() * 1_000_000);
    while let Some(run) = runs.take()? {
        rows += run.timestamps.len() as u64;
        let key = key_of(&run);
        foreign += u64::from(
            crate::model::series_id(lane, &run.identity.series.metric) != run.identity.series.id,
        );
        // Keys are compared once a run: inside it, time alone goes on.
        let mut before = match &last {
            Some((there, before)) if *there == key => Some(*before),
            other => {
                unsorted += u64::from(other.as_ref().is_some_and(|(there, _)| *there > key));
                None
            }
        };
        for ts in run.timestamps {
            outside += u64::from(!(start..end).contains(&ts));
            twice += u64::from(before == Some(ts));
            unsorted += u64::from(before.is_some_and(|before| before > ts));
            before = Some(ts);
        }
        last = before.map(|ts| (key, ts));
    }
    if rows != file.rows {
        faults.push(format!("it has {rows} rows, {} recorded", file.rows));
    }
    for (n, what) in [
        (unsorted, "rows are not in the declared order"),
        (twice, "rows are there twice"),
        (outside, "rows are not of its day"),
        (foreign, "series are of another account or region"),
    ] {
        if n > 0 {
            faults.push(format!("{} {what}", grouped(n)));
        }
    }
    Ok((rows, bytes))
}

/// What is not covered between a lane's first and last committed day.
fn gaps(table: &'static Table, lane: &Lane, units: &BTreeMap<Day, &Committed>) -> Vec<Gap> {
    let (Some((first, _)), Some((last, newest))) =
        (units.first_key_value(), units.last_key_value())
    else {
        return Vec::new();
    };
    let gap = |namespace: Option<&String>, from: i64, to: i64| Gap {
        table,
        account_id: lane.account.to_string(),
        region: lane.region.to_string(),
        namespace: namespace.cloned(),
        from: point(from),
        to: point(to),
    };
    let mut gaps = Vec::new();
    let mut present = Spans::default();
    units.keys().for_each(|day| present.add(day.window()));
    let whole = TimeWindow {
        start: first.start(),
        end: last.end(),
    };
    gaps.extend(holes(&present, whole).map(|w| gap(None, w.start, w.end)));
    // By namespace as the newest unit knows them; the last day may still grow.
    for namespace in newest.answers.covered.keys() {
        let mut covered = Spans::default();
        for committed in units.values() {
            if let Some(spans) = committed.answers.covered.get(namespace) {
                covered.add_all(spans);
            }
        }
        let end = covered.windows().last().map_or(whole.start, |w| w.end);
        let start = covered.windows().first().map_or(whole.start, |w| w.start);
        let known = TimeWindow { start, end };
        // Whole units that are missing were told above.
        for hole in holes(&covered, known) {
            for there in present.inside(hole).windows() {
                gaps.push(gap(Some(namespace), there.start, there.end));
            }
        }
    }
    gaps
}

/// What of `window` is not in `spans`.
fn holes(spans: &Spans, window: TimeWindow) -> impl Iterator<Item = TimeWindow> + use<> {
    let inside = spans.inside(window);
    let mut holes = Vec::new();
    let mut at = window.start;
    for covered in inside.windows() {
        holes.push(TimeWindow {
            start: at,
            end: covered.start,
        });
        at = covered.end;
    }
    holes.push(TimeWindow {
        start: at,
        end: window.end,
    });
    holes.into_iter().filter(|w| !w.is_empty())
}

impl VerifyReport {
    /// 0 when nothing is wrong and nothing is missing, 3 otherwise, 4 when there is no unit at all.
    pub fn exit_code(&self) -> u8 {
        if !self.faults.is_empty() || !self.gaps.is_empty() || !self.incomplete.is_empty() {
            3
        } else if self.units == 0 {
            4
        } else {
            0
        }
    }

    /// Sums, then every fault and gap.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let compacted = match self.compacted_files {
            0 => String::new(),
            n => format!(", {} compacted files", grouped(n)),
        };
        let _ = writeln!(
            out,
            "{}: {} units, {} files, {} rows, {} bytes read{compacted}; {} faults, {} incomplete, {} gaps",
            self.destination,
            grouped(self.units),
            grouped(self.files),
            grouped(self.rows),
            grouped(self.bytes),
            grouped(self.faults.len() as u64),
            grouped(self.incomplete.len() as u64),
            grouped(self.gaps.len() as u64)
        );
        for fault in &self.faults {
            let _ = writeln!(
                out,
                "  fault {}: {}",
                printable(&fault.file),
                printable(&fault.what)
            );
        }
        for unit in &self.incomplete {
            let _ = writeln!(out, "  incomplete {}: {}", unit.file, unit.what);
        }
        for gap in &self.gaps {
            let namespace = gap.namespace.as_deref().unwrap_or("everything");
            let table = if gap.table.is_points() {
                String::new()
            } else {
                format!("{} ", gap.table)
            };
            let _ = writeln!(
                out,
                "  gap {table}{}/{} {}: {} to {}",
                gap.account_id,
                gap.region,
                printable(namespace),
                gap.from,
                gap.to
            );
        }
        let is_damaged = |f: &&Fault| f.what.contains("checksum") || f.what.contains("missing");
        let damaged = || self.faults.iter().filter(is_damaged);
        if damaged().any(|f| !f.file.starts_with(COMPACTED)) {
            let _ = writeln!(
                out,
                "    = export the day again with --force to replace a damaged file"
            );
        }
        if damaged().any(|f| f.file.starts_with(COMPACTED)) {
            let _ = writeln!(
                out,
                "    = put a damaged compacted file back from a copy; while the units of its day have their own files, remove it and run cwlake compact"
            );
        }
        out
    }
}
