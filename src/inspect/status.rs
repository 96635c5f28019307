//! How whole a lake is, read from its manifests: complete, provisional, partial or missing, per account and day.

use serde::Serialize;

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::lake::answers::UnitState;
use crate::lake::table::{Partition, TABLES, Table, tables_of};
use crate::run::enter::accounts::with_accounts;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use crate::commit::{Attempt, FileRecord, LaneRecords, read_compaction};
use crate::config::{AccountConfig, ExportConfig, RegionChoice, point};
use crate::given::place::{Place, known_lanes};
use crate::model::{AccountId, Cause, Dataset, Day, Lane, Region, TimeWindow, UnitOutcome};
use crate::report::CompactedTable;

use super::past::not_entered;
use crate::sources::registry::{lanes_read, source};
use crate::store::{Store, StoreError, StoreErrorKind};

/// How whole the days of every account are.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// First day.
    pub from: String,
    /// First day after.
    pub to: String,
    /// The lake's root.
    pub destination: String,
    /// Every account of the configuration.
    pub accounts: Vec<AccountStatus>,
    /// Units in each state.
    pub totals: BTreeMap<&'static str, u64>,
    /// Nothing is known of any of its days: no run has come to its end.
    #[serde(skip)]
    pub is_new: bool,
    /// What there is of each table, of the days asked for.
    #[serde(skip)]
    pub tables: BTreeMap<Dataset, TableFigures>,
    /// What is compacted, by table, of all days.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub compacted: BTreeMap<&'static str, CompactedTable>,
}

/// What there is of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableFigures {
    /// By day, of tables that are kept by the day.
    pub days: BTreeMap<Day, DayFigures>,
    /// The last time of which there is a row, RFC 3339.
    pub newest: Option<String>,
}

/// What there is of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DayFigures {
    /// Files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
}

impl TableFigures {
    fn take(&mut self, day: Option<Day>, file: &FileRecord) {
        if let Some(day) = day {
            let of_day = self.days.entry(day).or_default();
            of_day.files += 1;
            of_day.rows += file.rows;
            of_day.bytes += file.bytes;
        }
        // A month's file ends with what was asked, whatever was published.
        let is_of_day = day.is_some() && file.rows > 0;
        if is_of_day && self.newest.as_ref().is_none_or(|n| *n < file.last_ts) {
            self.newest = Some(file.last_ts.clone());
        }
    }

    fn add(&mut self, other: Self) {
        for (day, figures) in other.days {
            let of_day = self.days.entry(day).or_default();
            of_day.files += figures.files;
            of_day.rows += figures.rows;
            of_day.bytes += figures.bytes;
        }
        self.newest = self.newest.take().max(other.newest);
    }
}

/// One account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountStatus {
    /// Its id.
    pub account_id: String,
    /// Its alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// The worst state over its regions, by day, of each table.
    pub tables: BTreeMap<Dataset, BTreeMap<String, UnitState>>,
    /// Units that are not complete, with what is known of them.
    pub short: Vec<ShortUnit>,
}

/// A unit that is not complete.
#[derive(Clone, Debug, Serialize)]
pub struct ShortUnit {
    /// Its table.
    pub dataset: Dataset,
    /// UTC day.
    pub date: String,
    /// Region; empty where none of the account is known.
    pub region: String,
    /// What it is.
    pub state: UnitState,
    /// Queries refused when it was written.
    pub refused_queries: u64,
    /// How the last run that did not commit it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// Reads the manifests of the range's days for every lane of the configuration. `from_first` leaves out the days before the first of which
/// anything is known.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn status(context: &RunContext, from_first: bool) -> Result<StatusReport, RunError> {
    let place = Place::of(context).await?;
    let (context, _) = &with_accounts(context, &place).await?;
    let store = &*place.store;
    let range = context.range.window();
    let known = known_lanes(store).await?;
    let mut report = StatusReport {
        from: point(range.start),
        to: point(range.end),
        destination: store.describe(),
        accounts: Vec::new(),
        totals: BTreeMap::new(),
        is_new: true,
        tables: BTreeMap::new(),
        compacted: compacted(context, store).await?,
    };
    let accounts = with_linked(&context.config.accounts, &known, &context.config);
    let known = &by_account(&known);
    // Where not even an account's regions are known, there is no record that could say why.
    let is_unknown = |a: &AccountConfig| regions_of(a, known).is_empty();
    let not_entered = &if accounts.iter().any(is_unknown) {
        not_entered(store).await?
    } else {
        BTreeMap::new()
    };
    let looked = stream::iter(accounts).map(|account| async move {
        let cause = not_entered.get(account.id.as_str());
        of_account(context, store, account, known, cause).await
    });
    let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
    let mut totals = Totals::default();
    while let Some((account, own)) = looked.try_next().await? {
        totals.add(own);
        report.accounts.push(account);
    }
    report.is_new = totals.first_known.is_empty();
    if from_first {
        let last = range.touched_days().last();
        let first_of = |dataset: Dataset| totals.first_known.get(&dataset).copied().or(last);
        let first = totals.first_known.values().min().copied().or(last);
        report.begin_with(first, first_of);
        totals
            .days
            .retain(|(dataset, day), _| Some(*day) >= first_of(*dataset));
    }
    report.tables = totals.tables;
    for (state, units) in totals.days.values().flatten() {
        *report.totals.entry(state).or_default() += units;
    }
    Ok(report)
}

/// What is compacted of the tables that are asked for.
async fn compacted(
    context: &RunContext,
    store: &dyn Store,
) -> Result<BTreeMap<&'static str, CompactedTable>, StoreError> {
    let mut all = BTreeMap::new();
    let asked = |table: &&Table| context.config.datasets.contains(&table.dataset);
    for table in TABLES.into_iter().filter(asked) {
        // Of a record that cannot be read `verify` tells.
        let record = match read_compaction(store, table).await {
            Err(error) if error.kind == StoreErrorKind::Refused => continue,
            read => read?,
        };
        if !record.units.is_empty() {
            all.insert(table.name, CompactedTable::of(&record));
        }
    }
    Ok(all)
}

/// Accounts that are looked at side by side.
const AT_ONCE: usize = 32;

/// What is counted over all accounts.
#[derive(Debug, Default)]
struct Totals {
    /// Units in each state.
    days: BTreeMap<(Dataset, Day), BTreeMap<&'static str, u64>>,
    /// The first day of which anything is known.
    first_known: BTreeMap<Dataset, Day>,
    /// What there is.
    tables: BTreeMap<Dataset, TableFigures>,
}

impl Totals {
    fn count(&mut self, dataset: Dataset, day: Day, state: UnitState) {
        let of_day = self.days.entry((dataset, day)).or_default();
        *of_day.entry(state.as_str()).or_default() += 1;
    }

    fn note_known(&mut self, dataset: Dataset, day: Day) {
        let first = self.first_known.entry(dataset).or_insert(day);
        *first = day.min(*first);
    }

    fn add(&mut self, other: Self) {
        for (unit, states) in other.days {
            let of_day = self.days.entry(unit).or_default();
            for (state, units) in states {
                *of_day.entry(state).or_default() += units;
            }
        }
        for (dataset, day) in other.first_known {
            self.note_known(dataset, day);
        }
        for (dataset, figures) in other.tables {
            self.tables.entry(dataset).or_default().add(figures);
        }
    }
}

async fn of_account(
    context: &RunContext,
    store: &dyn Store,
    account: AccountConfig,
    known: &KnownRegions<'_>,
    not_entered: Option<&Cause>,
) -> Result<(AccountStatus, Totals), StoreError> {
    let range = context.range.window();
    let mut totals = Totals::default();
    let regions = regions_of(&account, known);
    let mut status = AccountStatus {
        account_id: account.id.to_string(),
        account_name: account.name.clone(),
        tables: BTreeMap::new(),
        short: Vec::new(),
    };
    // Of an account that is read through another there are metrics alone.
    let is_linked = !context.config.accounts.iter().any(|a| a.id == account.id);
    let datasets = context.config.datasets.iter();
    for dataset in datasets.filter(|d| !is_linked || **d == Dataset::Metrics) {
        let lanes = lanes_read(*dataset, &account.id, regions);
        if lanes.is_empty() {
            // Not even its regions are known: all of it is missing.
            let days = status.tables.entry(*dataset).or_default();
            for day in range.touched_days() {
                let missing = UnitState::Missing;
                days.insert(day.to_string(), missing);
                totals.count(*dataset, day, missing);
                status.short.push(ShortUnit {
                    dataset: *dataset,
                    date: day.to_string(),
                    region: String::new(),
                    state: missing,
                    refused_queries: 0,
                    attempt: not_entered.map(|cause| Attempt {
                        outcome: cause.unit_outcome(),
                        cause: cause.clone(),
                    }),
                });
            }
        }
        for lane in lanes.iter().filter(|l| context.wants(*dataset, l)) {
            let unit = (*dataset, lane);
            add_lane(context, store, range, unit, &mut status, &mut totals).await?;
        }
    }
    status
        .short
        .sort_by(|a, b| (a.dataset, &a.date, &a.region).cmp(&(b.dataset, &b.date, &b.region)));
    Ok((status, totals))
}

/// Regions that runs have found, by account.
type KnownRegions<'a> = BTreeMap<&'a AccountId, Vec<Region>>;

fn by_account(known: &BTreeSet<Lane>) -> KnownRegions<'_> {
    let mut regions = KnownRegions::new();
    for lane in known {
        let own = regions.entry(&lane.account).or_default();
        own.push(lane.region.clone());
    }
    regions
}

/// The regions that an account is read in: those that are listed, or that a run has found.
fn regions_of<'a>(account: &'a AccountConfig, known: &'a KnownRegions<'_>) -> &'a [Region] {
    match &account.regions {
        RegionChoice::Named(named) => named,
        RegionChoice::Auto => known.get(&account.id).map_or(&[], Vec::as_slice),
    }
}

/// The accounts of the configuration, and those the lake has through a monitoring account.
fn with_linked(
    accounts: &[AccountConfig],
    known: &BTreeSet<Lane>,
    config: &ExportConfig,
) -> Vec<AccountConfig> {
    let about = accounts.iter().filter(|a| config.is_about(&a.id));
    let mut all: Vec<AccountConfig> = about.cloned().collect();
    if accounts.iter().any(|a| a.linked_accounts) {
        // Excluded, or configured for other regions: no run asks for it any more.
        let wanted = known.iter().filter(|lane| config.wants_linked(lane));
        let others: BTreeSet<&AccountId> = wanted.map(|l| &l.account).collect();
        for id in others {
            if config.is_about(id) && !accounts.iter().any(|a| a.id == *id) {
                all.push(AccountConfig::linked(id.clone()));
            }
        }
    }
    all
}

async fn add_lane(
    context: &RunContext,
    store: &dyn Store,
    range: TimeWindow,
    (dataset, lane): (Dataset, &Lane),
    status: &mut AccountStatus,
    totals: &mut Totals,
) -> Result<(), StoreError> {
    // Tables of one dataset are written together: the one that people read speaks for all.
    let table = tables_of(dataset)
        .next()
        .expect("every dataset has a table");
    let mut records = LaneRecords::new(table, lane.clone());
    // A manifest that cannot be read keeps nobody from the others: what it speaks of counts as missing, with the reason.
    let unreadable = match records.read(store, range.touched_days()).await {
        Ok(()) => None,
        Err(error) if error.kind == StoreErrorKind::Refused => Some(Attempt {
            outcome: UnitOutcome::Failed,
            cause: Cause::from(error),
        }),
        Err(error) => return Err(error),
    };
    let delays = source(dataset).parts(&context.config);
    for day in range.touched_days() {
        // A month's charges are one unit.
        let unit = table.partition.unit_of(day);
        // No run can have what was there on another day.
        let is_known = records.get(unit).is_some() || unreadable.is_some();
        if source(dataset).is_snapshot() && !is_known {
            continue;
        }
        let state = records
            .committed(unit)
            .map_or(UnitState::Missing, |c| c.state(day, context.now, &delays));
        totals.count(dataset, day, state);
        // A month's unit is there on days that no run has read.
        let is_known = is_known && (state != UnitState::Missing || unit == day);
        if is_known {
            totals.note_known(dataset, day);
        }
        for file in records.committed(unit).into_iter().flat_map(|c| &c.files) {
            let of_day = (table.partition == Partition::Day).then_some(day);
            let figures = totals.tables.entry(dataset).or_default();
            figures.take(of_day, file);
        }
        let days = status.tables.entry(dataset).or_default();
        let worst = days.entry(day.to_string()).or_insert(state);
        *worst = state.max(*worst);
        if state != UnitState::Complete {
            status.short.push(ShortUnit {
                dataset,
                date: day.to_string(),
                region: lane.region.to_string(),
                state,
                refused_queries: records.committed(unit).map_or(0, |c| c.refused_queries),
                attempt: records
                    .get(unit)
                    .and_then(|r| r.attempt.clone())
                    .or_else(|| unreadable.clone()),
            });
        }
    }
    Ok(())
}

impl StatusReport {
    /// Leaves out what was before the first day, and of each table what was before its own.
    fn begin_with(&mut self, first: Option<Day>, first_of: impl Fn(Dataset) -> Option<Day>) {
        let text = |day: Option<Day>| day.map(|d| d.to_string()).unwrap_or_default();
        self.from = self.from.clone().max(text(first));
        for account in &mut self.accounts {
            for (dataset, days) in &mut account.tables {
                *days = days.split_off(&text(first_of(*dataset)));
            }
            let is_told = |s: &ShortUnit| s.date >= text(first_of(s.dataset));
            account.short.retain(is_told);
        }
    }

    /// 0 when every unit is complete or provisional, 3 when something is partial or missing.
    pub fn exit_code(&self) -> u8 {
        let short = |state: UnitState| self.totals.get(state.as_str()).is_some_and(|n| *n > 0);
        if short(UnitState::Partial) || short(UnitState::Missing) {
            3
        } else {
            0
        }
    }
}
