//! Every dataset planned in every lane, side by side; what takes too long is planned while the others are read.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::{Id, JoinSet};

use crate::aws::{CallStats, LaneClient};
use crate::fetch::BatchStats;
use crate::given::bounds::within_limits;
use crate::given::context::RunContext;
use crate::given::place::Place;
use crate::model::{AccountId, Cause, Dataset, Lane};
use crate::report::{Forecast, LaneReport, counted};
use crate::run::enter::regions::UnplannedLane;
use crate::run::linked::LinkedLane;
use crate::sources::metrics::plan::{Listing, job};
use crate::sources::registry::source;
use crate::sources::source::{Job, Looking};

/// One dataset in one lane, planned.
#[derive(Debug)]
pub(crate) struct PlannedLane {
    pub(crate) dataset: Dataset,
    pub(crate) lane: Lane,
    /// Alias of its account.
    pub(crate) account_name: Option<Arc<str>>,
    /// The monitoring account it is read through.
    pub(crate) through: Option<AccountId>,
    /// What finding out took.
    pub(crate) discovery: CallStats,
    /// What is to be done, or why it cannot be.
    pub(crate) ready: Result<Box<dyn Job>, Cause>,
    /// Nobody named its region, and it is closed to us: skipped, not failed.
    pub(crate) leave_out: bool,
}

impl PlannedLane {
    /// Where it could not be planned because it broke down.
    fn broken((dataset, lane, account_name): OfLane) -> Self {
        Self {
            dataset,
            lane,
            account_name,
            through: None,
            discovery: CallStats::default(),
            ready: Err(Cause::broke_down()),
            leave_out: false,
        }
    }

    /// Whether it is one of the regions that an account is read in: charges are in one, whatever regions are read.
    pub(crate) fn is_of_region(&self) -> bool {
        source(self.dataset).is_regional()
    }

    /// Whether it tells that its region is open: something was asked there and answered.
    pub(crate) fn is_open(&self) -> bool {
        self.is_of_region()
            && self.through.is_none()
            && self.ready.is_ok()
            && self.discovery.calls > 0
    }

    /// The report of a lane that has not been read: its plan, or why there is none.
    pub(crate) fn report(&self, context: &RunContext) -> LaneReport {
        let ready = self.ready.as_ref();
        LaneReport {
            dataset: self.dataset,
            account_id: self.lane.account.to_string(),
            region: self.lane.region.to_string(),
            through: self.through.as_ref().map(ToString::to_string),
            forecast: ready.map_or_else(|_| Forecast::default(), |job| job.forecast(context)),
            discovery: self.discovery,
            calls: CallStats::default(),
            get_metric_data: BatchStats::default(),
            rows: 0,
            seconds: 0.0,
            skipped: self.leave_out,
            cause: ready.err().cloned(),
        }
    }
}

/// What the lanes that are planned tell of regions.
#[derive(Default)]
pub(crate) struct Regions {
    /// In which something was asked and answered.
    open: BTreeSet<Lane>,
    /// Accounts with a region that is not closed, whether it can be read or not.
    accounts: BTreeSet<AccountId>,
}

impl Regions {
    pub(crate) fn note(&mut self, lane: &PlannedLane) {
        if lane.is_of_region() && lane.through.is_none() && !lane.leave_out {
            self.accounts.insert(lane.lane.account.clone());
        }
        if lane.is_open() {
            self.open.insert(lane.lane.clone());
        }
    }

    /// Whether a closed region is one among others of its account, and nothing of it could be read.
    pub(crate) fn leave_out(&self, lane: &Lane) -> bool {
        !self.open.contains(lane) && self.accounts.contains(&lane.account)
    }
}

/// Every dataset that is wanted, in each lane where it is read.
pub(crate) fn wanted(
    lanes: &[UnplannedLane],
    context: &RunContext,
) -> Vec<(Dataset, UnplannedLane)> {
    let mut wanted = Vec::new();
    for dataset in Dataset::ALL {
        let mut read = BTreeSet::new();
        for lane in lanes {
            let Some(region) = source(dataset).read_in(&lane.lane().region) else {
                continue;
            };
            let lane = lane.in_region(region);
            // What an account has in one region stands behind each of its regions.
            if context.wants(dataset, &lane.lane()) && read.insert(lane.lane()) {
                wanted.push((dataset, lane));
            }
        }
    }
    wanted
}

/// A dataset in a lane, with the alias of its account.
type OfLane = (Dataset, Lane, Option<Arc<str>>);

fn looking(
    client: LaneClient,
    account_name: Option<Arc<str>>,
    place: &Arc<Place>,
    context: &RunContext,
) -> Looking {
    Looking {
        client,
        account_name,
        place: Arc::clone(place),
        context: context.clone(),
    }
}

/// Lanes under planning. Dropped, it stops them.
#[derive(Debug)]
pub(crate) struct Planning {
    place: Arc<Place>,
    context: Arc<RunContext>,
    /// Lanes that wait for their turn: of fifteen thousand some are at work, and the others are no more than their names.
    waiting: VecDeque<(OfLane, Begin)>,
    at_once: usize,
    begun: usize,
    tasks: JoinSet<PlannedLane>,
    /// What each task plans, in the order in which it was begun.
    about: HashMap<Id, (usize, OfLane)>,
}

/// Begins to plan a lane.
struct Begin(Box<dyn FnOnce() -> BoxFuture<'static, PlannedLane> + Send>);

impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begin")
    }
}

impl Planning {
    pub(crate) fn new(place: &Arc<Place>, context: &RunContext) -> Self {
        Self {
            place: Arc::clone(place),
            context: Arc::new(context.clone()),
            waiting: VecDeque::new(),
            at_once: context.config.run.concurrency as usize,
            begun: 0,
            tasks: JoinSet::new(),
            about: HashMap::new(),
        }
    }

    /// Begins to plan datasets in lanes.
    pub(crate) fn begin_all(&mut self, wanted: Vec<(Dataset, UnplannedLane)>) {
        let lanes = counted(wanted.len(), "lane");
        let text = format!("looking at what there is in {lanes} of datasets");
        self.context.progress.stage(&text);
        for (dataset, lane) in wanted {
            self.begin(dataset, lane);
        }
    }

    fn begin(&mut self, dataset: Dataset, unplanned: UnplannedLane) {
        let (lane, name) = (unplanned.lane(), unplanned.account_name());
        let (place, context) = (Arc::clone(&self.place), Arc::clone(&self.context));
        let of_lane = (dataset, lane.clone(), name.clone());
        self.spawn(of_lane, move || async move {
            let client = unplanned.client(&context.config);
            let looking = looking(client, name, &place, &context);
            let mut stats = CallStats::default();
            let planning = source(dataset).plan(&looking, &mut stats);
            let ready = within_limits(&looking.context, planning).await;
            let mut planned = PlannedLane {
                dataset,
                lane,
                account_name: looking.account_name,
                through: None,
                discovery: stats,
                ready,
                leave_out: false,
            };
            if let Err(cause) = &planned.ready
                && planned.is_of_region()
            {
                planned.leave_out = unplanned
                    .may_be_left_out(cause, &planned.lane, &place)
                    .await;
            }
            looking.client.rest();
            planned
        });
    }

    /// The same of the metrics of an account that is read through another.
    pub(crate) fn begin_linked(&mut self, linked: Vec<LinkedLane>) {
        for lane in linked {
            self.begin_linked_lane(lane);
        }
    }

    fn begin_linked_lane(&mut self, linked: LinkedLane) {
        let mut accounts = self.context.config.accounts.iter();
        let config = accounts.find(|a| a.id == linked.lane.account);
        let name: Option<Arc<str>> = config.and_then(|a| a.name.as_deref()).map(Arc::from);
        let (place, context) = (Arc::clone(&self.place), Arc::clone(&self.context));
        let of_lane = (Dataset::Metrics, linked.lane.clone(), name.clone());
        self.spawn(of_lane, move || async move {
            let looking = looking(linked.client, name, &place, &context);
            let mut stats = linked.stats;
            let planning = async {
                let listing = Listing::Linked(linked.lane.clone(), linked.metrics);
                let made = job(&looking, listing, &mut stats).await?;
                Ok(Box::new(made) as Box<dyn Job>)
            };
            PlannedLane {
                dataset: Dataset::Metrics,
                ready: within_limits(&looking.context, planning).await,
                lane: linked.lane,
                account_name: looking.account_name,
                through: Some(linked.through),
                discovery: stats,
                leave_out: false,
            }
        });
    }

    pub(super) fn spawn<F: Future<Output = PlannedLane> + Send + 'static>(
        &mut self,
        of_lane: OfLane,
        planning: impl FnOnce() -> F + Send + 'static,
    ) {
        let begin = Begin(Box::new(move || planning().boxed()));
        self.waiting.push_back((of_lane, begin));
        self.begin_some();
    }

    /// Begins as many as may be at work.
    fn begin_some(&mut self) {
        while self.tasks.len() < self.at_once
            && let Some((of_lane, begin)) = self.waiting.pop_front()
        {
            let task = self.tasks.spawn((begin.0)());
            self.about.insert(task.id(), (self.begun, of_lane));
            self.begun += 1;
        }
    }

    /// The next lane that is planned, with its place in the order in which they were begun.
    async fn next_in_order(&mut self) -> Option<(usize, PlannedLane)> {
        let (id, planned) = match self.tasks.join_next_with_id().await? {
            Ok((id, planned)) => (id, Some(planned)),
            Err(error) => (error.id(), None),
        };
        let (order, of_lane) = self.about.remove(&id)?;
        self.begin_some();
        let broken = || PlannedLane::broken(of_lane);
        Some((order, planned.unwrap_or_else(broken)))
    }

    /// The next lane that is planned; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Option<PlannedLane> {
        Some(self.next_in_order().await?.1)
    }

    /// Waits for all, in the order in which they were begun; for no longer than `limit`, if there is one.
    pub(crate) async fn wait(&mut self, limit: Option<Duration>) -> Vec<PlannedLane> {
        let end = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        let mut planned = Vec::new();
        loop {
            tokio::select! {
                biased;
                next = self.next_in_order() => match next {
                    Some(next) => planned.push(next),
                    None => break,
                },
                () = &mut end => break,
            }
        }
        planned.sort_by_key(|(order, _)| *order);
        planned.into_iter().map(|(_, lane)| lane).collect()
    }

    /// What is not planned yet.
    pub(crate) fn late(&self) -> Vec<(Dataset, Lane)> {
        let at_work = self.about.values().map(|(_, of_lane)| of_lane);
        let waiting = self.waiting.iter().map(|(of_lane, _)| of_lane);
        let mut late: Vec<_> = at_work
            .chain(waiting)
            .map(|(of, lane, _)| (*of, lane.clone()))
            .collect();
        late.sort();
        late
    }
}
