//! How whole a lake is, read from its manifests: complete, provisional, partial or missing, per account and day.

use std::fmt::Write as _;

use serde::Serialize;

use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::lake::answers::UnitState;
use crate::lake::table::{TABLES, Table, tables_of};
use crate::run::enter::accounts::with_accounts;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::commit::{Attempt, LaneRecords, read_compaction};
use crate::config::{AccountConfig, ExportConfig, RegionChoice, point};
use crate::given::place::{Place, known_lanes};
use crate::model::{AccountId, Cause, Dataset, Day, Lane, Region, TimeWindow, UnitOutcome};
use crate::report::{CompactedTable, grouped, printable};

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
    /// What is compacted, by table, of all days.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub compacted: BTreeMap<&'static str, CompactedTable>,
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
    /// Region.
    pub region: String,
    /// What it is.
    pub state: UnitState,
    /// Queries refused when it was written.
    pub refused_queries: u64,
    /// How the last run that did not commit it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// Reads the manifests of the range's days for every lane of the configuration.
///
/// # Errors
/// [`RunError::Store`], or no credentials for a lake in a bucket.
pub async fn status(context: &RunContext) -> Result<StatusReport, RunError> {
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
        compacted: compacted(context, store).await?,
    };
    let accounts = with_linked(&context.config.accounts, &known, &context.config);
    let looked = stream::iter(accounts).map(|account| of_account(context, store, account, &known));
    let mut looked = std::pin::pin!(looked.buffered(AT_ONCE));
    while let Some((account, totals)) = looked.try_next().await? {
        for (state, days) in totals {
            *report.totals.entry(state).or_default() += days;
        }
        report.accounts.push(account);
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

type Totals = BTreeMap<&'static str, u64>;

async fn of_account(
    context: &RunContext,
    store: &dyn Store,
    account: AccountConfig,
    known: &BTreeSet<Lane>,
) -> Result<(AccountStatus, Totals), StoreError> {
    let range = context.range.window();
    let mut totals = Totals::new();
    let regions: Vec<Region> = match &account.regions {
        RegionChoice::Named(named) => named.clone(),
        // Those that a run has found.
        RegionChoice::Auto => {
            let ours = known.iter().filter(|l| l.account == account.id);
            ours.map(|l| l.region.clone()).collect()
        }
    };
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
        let lanes = lanes_read(*dataset, &account.id, &regions);
        if lanes.is_empty() {
            // Not even its regions are known: all of it is missing.
            let days = status.tables.entry(*dataset).or_default();
            for day in range.touched_days() {
                let missing = UnitState::Missing;
                days.insert(day.to_string(), missing);
                *totals.entry(missing.as_str()).or_default() += 1;
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
        *totals.entry(state.as_str()).or_default() += 1;
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
    /// 0 when every unit is complete or provisional, 3 when something is partial or missing.
    pub fn exit_code(&self) -> u8 {
        let short = |state: UnitState| self.totals.get(state.as_str()).is_some_and(|n| *n > 0);
        if short(UnitState::Partial) || short(UnitState::Missing) {
            3
        } else {
            0
        }
    }

    /// A line an account, a sign a day, and what is known of the units that are short.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} to {} (exclusive), oldest day first: C complete  p provisional  / partial  - missing",
            self.from, self.to
        );
        for account in &self.accounts {
            let name = account.account_name.as_deref().unwrap_or("");
            for (dataset, days) in &account.tables {
                let table = match dataset {
                    Dataset::Metrics => String::new(),
                    other => format!(" {}", other.name()),
                };
                let signs = signs(days, &self.from, &self.to);
                let _ = writeln!(
                    out,
                    "{} {:<16} {signs}{table}",
                    account.account_id,
                    printable(name),
                );
            }
        }
        for account in &self.accounts {
            for short in account
                .short
                .iter()
                .filter(|s| s.state > UnitState::Provisional)
            {
                let table = match short.dataset {
                    Dataset::Metrics => String::new(),
                    other => format!("{} ", other.name()),
                };
                let (id, region) = (&account.account_id, &short.region);
                let unit = format!("{table}{} {id}/{region}", short.date);
                let refused = if short.refused_queries > 0 {
                    format!(": {} queries were refused", grouped(short.refused_queries))
                } else {
                    String::new()
                };
                let why = short.attempt.as_ref().map_or(refused, |a| {
                    format!(
                        ": last {}: {}",
                        a.outcome.as_str(),
                        printable(&a.cause.message)
                    )
                });
                let _ = writeln!(out, "  {} {unit}{why}", short.state.as_str());
            }
        }
        let totals: Vec<String> = self
            .totals
            .iter()
            .map(|(state, n)| format!("{} {state}", grouped(*n)))
            .collect();
        let _ = writeln!(
            out,
            "{} units: {}",
            grouped(self.totals.values().sum()),
            totals.join(", ")
        );
        for (table, compacted) in &self.compacted {
            let _ = writeln!(out, "compacted {table}: {}", compacted.text());
        }
        out
    }
}

/// A sign a day of the range; a blank where a table has none.
fn signs(days: &BTreeMap<String, UnitState>, from: &str, to: &str) -> String {
    let day = |text: &str| text.get(..10).and_then(Day::parse);
    let (Some(first), Some(end)) = (day(from), day(to)) else {
        return days.values().map(|s| sign(*s)).collect();
    };
    let end = end.plus(i64::from(to.len() > 10));
    let signs = TimeWindow::days(first, end).touched_days();
    signs
        .map(|day| days.get(&day.to_string()).map_or(' ', |s| sign(*s)))
        .collect()
}

fn sign(state: UnitState) -> char {
    match state {
        UnitState::Complete => 'C',
        UnitState::Provisional => 'p',
        UnitState::Partial => '/',
        UnitState::Missing => '-',
    }
}
