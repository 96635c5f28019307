//! What every dataset has: a source that plans it in a lane, and a job that reads what was planned.

pub(crate) mod scope;
pub(crate) mod stage;
pub(crate) mod unit;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::aws::{CallStats, LaneClient};
use crate::commit::Lake;
use crate::config::ExportConfig;
use crate::fetch::{BatchStats, LaneBudget, Spool};
use crate::given::bounds::Bounds;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::Place;
use crate::lake::table::{Table, tables_of};
use crate::model::{Cause, Dataset, Day, Lane, Region};
use crate::plan::{Holding, LanePlan};
use crate::report::Forecast;
use crate::sources::source::scope::LaneScope;
use crate::sources::source::unit::NewUnit;

/// How one dataset is read.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Which.
    fn dataset(&self) -> Dataset;

    /// Each region of an account has its own; else an account's is read in one.
    fn is_regional(&self) -> bool {
        true
    }

    /// Where an account's is read, given a region of it; nowhere in some partitions.
    fn read_in(&self, region: &Region) -> Option<Region> {
        Some(region.clone())
    }

    /// The parts of a unit that are answered by themselves, each with its publication delay in seconds; none of what is whole when it is there.
    fn parts(&self, _config: &ExportConfig) -> BTreeMap<String, i64> {
        BTreeMap::new()
    }

    /// A unit is what is there on the day of the run: no run can read that of another day.
    fn is_snapshot(&self) -> bool {
        false
    }

    /// The units that a run is about in a lane.
    fn units(&self, context: &RunContext, lane: &Lane) -> Vec<(&'static Table, Vec<Day>)> {
        let days = if self.is_snapshot() {
            vec![Day::containing(context.now)]
        } else {
            context.days_of(self.dataset(), lane)
        };
        let tables = tables_of(self.dataset());
        tables.map(|table| (table, days.clone())).collect()
    }

    /// Looks what there is, by free calls alone, and decides what is asked.
    ///
    /// # Errors
    /// Why it cannot be read in this lane.
    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause>;

    /// Looks at what all lanes have of what the configuration names, and says what none has. `all_listed` says that no lane is unknown.
    ///
    /// # Errors
    /// [`RunError::Config`] for what is named and certainly wrong.
    async fn check(
        &self,
        _jobs: &[&dyn Job],
        _all_listed: bool,
        _context: &RunContext,
    ) -> Result<Vec<String>, RunError> {
        Ok(Vec::new())
    }
}

/// With what a source looks.
#[derive(Clone, Debug)]
pub(crate) struct Looking {
    pub(crate) client: LaneClient,
    /// Alias of the lane's account.
    pub(crate) account_name: Option<Arc<str>>,
    pub(crate) place: Arc<Place>,
    pub(crate) context: RunContext,
}

/// What a lane is to be asked of one dataset.
#[async_trait]
pub(crate) trait Job: Any + fmt::Debug + Send + Sync {
    /// What it will find and cost.
    fn forecast(&self, context: &RunContext) -> Forecast;

    /// Its requests that are billed.
    fn billed(&self) -> Option<&LanePlan> {
        None
    }

    /// What it holds in memory while it is read.
    fn holding(&self) -> Holding {
        Holding::default()
    }

    /// Its tables, each with its days and what is known of them.
    fn scopes(&self) -> Vec<&LaneScope>;

    /// Reads every unit and gives it away as soon as it is whole. What is not given failed, for the reason returned; a unit that failed by
    /// itself is given with its own.
    ///
    /// # Errors
    /// Why units are missing.
    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause>;
}

/// With what a job reads, and where its units go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) lane: Lane,
    /// Alias of its account.
    pub(crate) account_name: Option<Arc<str>>,
    pub(crate) lake: Arc<Lake>,
    pub(crate) bounds: Bounds,
    pub(crate) context: RunContext,
    /// When `context.now` was read, about: a plan can be hours old.
    pub(crate) planned: Instant,
    /// What it may spend.
    pub(crate) budget: LaneBudget,
    taken: Arc<Mutex<Taken>>,
    units: mpsc::Sender<Vec<NewUnit>>,
}

/// What reading took, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Calls that are not `GetMetricData`.
    pub(crate) calls: CallStats,
    pub(crate) get_metric_data: BatchStats,
    /// What was asked for by name and is there.
    pub(crate) names: BTreeSet<String>,
    /// Answers that are kept until the units are in the lake.
    pub(crate) kept: Option<(Spool, Arc<LanePlan>)>,
    /// What went wrong that is about no unit.
    pub(crate) cause: Option<Cause>,
}

impl Reading {
    /// Units are given through `units`; what they take stands in the other half, however reading ends.
    pub(crate) fn new(
        (lane, account_name): (Lane, Option<Arc<str>>),
        lake: &Arc<Lake>,
        (bounds, context): (&Bounds, &RunContext),
        planned: Instant,
        units: mpsc::Sender<Vec<NewUnit>>,
    ) -> (Self, Arc<Mutex<Taken>>) {
        let taken = Arc::default();
        let reading = Self {
            lane,
            account_name,
            lake: Arc::clone(lake),
            budget: LaneBudget::new(&bounds.budget),
            bounds: bounds.clone(),
            context: context.clone(),
            planned,
            taken: Arc::clone(&taken),
            units,
        };
        (reading, taken)
    }

    /// Hands over units of one table. They are published while reading goes on.
    pub(crate) async fn give(&self, units: Vec<NewUnit>) {
        // Nobody takes them when the run has given this lane up.
        let _ = self.units.send(units).await;
    }

    /// Notes what was taken.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Taken)) {
        note(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Seconds since the epoch, about now.
    pub(crate) fn now(&self) -> i64 {
        self.context.now + self.planned.elapsed().as_secs().cast_signed()
    }
}
