//! All lanes of all datasets side by side, within the run's bounds: one loop, one time limit, one arm for what breaks down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};

use crate::aws::CallStats;
use crate::commit::Lake;
use crate::given::bounds::Bounds;
use crate::given::context::RunContext;
use crate::model::{AccountId, Cause, CauseKind, Dataset, Lane, UnitOutcome};
use crate::plan::{Cost, OPEN_FILES};
use crate::report::{LaneReport, UnitReport, dollars};
use crate::run::claims::reserved;
use crate::run::enter::share::note_spent;
use crate::run::lines::Lines;
use crate::run::planning::{PlannedLane, Planning, Regions};
use crate::run::publish::{Publisher, note_unread};
use crate::sources::registry::source;
use crate::sources::source::unit::NewUnit;
use crate::sources::source::{Job, Reading, Taken};

/// Lanes at work for each request that may be in flight: with the quota as the limit a lane mostly waits, and as many as there are should
/// wait side by side.
const LANES_A_REQUEST: usize = 8;

/// Memory of rows that wait for their row group to be full, for each request that may be in flight: `run.concurrency` is the one measure of
/// what a run holds. A lane that needs more than all of it has the run to itself.
const WAITING_KIB_A_REQUEST: u32 = 6 << 10;

/// What a job has beyond the time limit, at most, so that one that keeps to it by itself ends by itself: what it has read stays.
const GRACE: Duration = Duration::from_mins(1);

/// How one dataset ended in one lane.
pub(crate) struct LaneDone {
    pub(crate) report: LaneReport,
    pub(crate) units: Vec<UnitReport>,
    /// What was asked for by name and is there.
    pub(crate) names: BTreeSet<String>,
}

/// What all lanes of a run share.
pub(crate) struct Fleet<'a> {
    context: &'a RunContext,
    lake: &'a Arc<Lake>,
    bounds: &'a Bounds,
    planned: Instant,
    lanes: usize,
    most_kib: u32,
    waiting: Semaphore,
    files: Semaphore,
    /// What the plans of the run cost, those that came late included.
    cost: Mutex<Cost>,
}

impl<'a> Fleet<'a> {
    /// `cost` is that of the lanes that are planned already.
    pub(crate) fn new(
        (context, lake, bounds): (&'a RunContext, &'a Arc<Lake>, &'a Bounds),
        planned: Instant,
        cost: Cost,
    ) -> Self {
        let concurrency = context.config.run.concurrency;
        let most_kib = concurrency * WAITING_KIB_A_REQUEST;
        Self {
            context,
            lake,
            bounds,
            planned,
            lanes: concurrency as usize * LANES_A_REQUEST,
            most_kib,
            waiting: Semaphore::new(most_kib as usize),
            files: Semaphore::new(OPEN_FILES as usize),
            cost: Mutex::new(cost),
        }
    }

    /// What the plans cost.
    pub(crate) fn cost(&self) -> Cost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exports every lane: those that are planned, and those of `late` as soon as they are. Whether a region is left out is known when all of
    /// its account is planned.
    pub(crate) async fn export(
        &self,
        planned: Vec<PlannedLane>,
        mut late: Planning,
    ) -> Vec<LaneDone> {
        let of_late = late.late().into_iter().map(|(_, lane)| lane.account);
        let of_late: BTreeSet<AccountId> = of_late.collect();
        let is_held = |l: &PlannedLane| l.leave_out && of_late.contains(&l.lane.account);
        let (mut held, planned): (Vec<_>, Vec<_>) = planned.into_iter().partition(is_held);
        let mut regions = Regions::default();
        planned.iter().for_each(|lane| regions.note(lane));
        let mut lines = Lines::new(self.lanes, planned);
        let mut under_way = FuturesUnordered::new();
        let mut done = Vec::new();
        let mut more_may_come = true;
        loop {
            while let Some((line, lane)) = lines.next() {
                under_way.push(async move { (line, self.export_lane(lane).await) });
            }
            if !more_may_come && under_way.is_empty() {
                break;
            }
            tokio::select! {
                next = late.next(), if more_may_come => match next {
                    Some(lane) if lane.leave_out => held.push(lane),
                    Some(lane) => {
                        regions.note(&lane);
                        lines.push(self.counted(lane));
                    }
                    None => {
                        more_may_come = false;
                        for mut lane in held.drain(..) {
                            lane.leave_out = regions.leave_out(&lane.lane);
                            lines.push(lane);
                        }
                    }
                },
                Some((line, lane)) = under_way.next() => {
                    lines.ended(line);
                    self.context.progress.lane_done(&lane.report, &lane.units);
                    done.push(lane);
                }
            }
        }
        let key = |lane: &LaneDone| {
            let report = &lane.report;
            (
                report.dataset,
                report.account_id.clone(),
                report.region.clone(),
            )
        };
        done.sort_by_key(key);
        done
    }

    /// A lane whose plan came late is counted, and not read when the run may not spend that much.
    fn counted(&self, mut lane: PlannedLane) -> PlannedLane {
        let Ok(job) = &lane.ready else { return lane };
        let config = &self.context.config;
        let own = Cost::of(job.billed().into_iter(), &config.limits, self.context.now);
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        let all = cost.and(own);
        if config.run.is_over_cap(all.dollars) && own.dollars > 0.0 {
            let text = format!(
                "its plan came late: with it the run would cost ${:.5}, more than is allowed",
                all.dollars
            );
            let cause = Cause::new(CauseKind::Budget, text);
            lane.ready = Err(cause.with_hint("run again with a higher --max-spend"));
        } else {
            *cost = all;
            let text = format!(
                "{} ({}) is planned now: {} metrics billed, about {}; about {} in all",
                lane.lane,
                lane.dataset.name(),
                own.sum.billed_metrics,
                dollars(own.dollars),
                dollars(all.dollars)
            );
            drop(cost);
            self.context.progress.stage(&text);
        }
        lane
    }

    /// One dataset of one lane, when there is room for what it holds. It runs by itself: one that breaks down takes no other with it.
    async fn export_lane(&self, planned: PlannedLane) -> LaneDone {
        let mut report = planned.report(self.context);
        let job = match reserved(
            (self.context, self.lake),
            (planned.dataset, &planned.lane),
            planned.ready,
        )
        .await
        {
            Ok(job) => job,
            Err(cause) => {
                let outcome = if planned.leave_out {
                    UnitOutcome::Skipped
                } else {
                    cause.unit_outcome()
                };
                let of_lane = (planned.dataset, &planned.lane);
                let units = unread(self.lake, self.context, of_lane, outcome, &cause).await;
                report.cause = Some(cause);
                return LaneDone {
                    report,
                    units,
                    names: BTreeSet::new(),
                };
            }
        };
        let holding = job.holding();
        let closed = "the bounds of a run are never closed";
        let _files = self.files.acquire_many(holding.files).await.expect(closed);
        let kib = holding.kib.min(self.most_kib);
        let _rows = self.waiting.acquire_many(kib).await.expect(closed);
        let started = Instant::now();
        let mut publisher = Publisher {
            lake: Arc::clone(self.lake),
            context: self.context.clone(),
            lane: planned.lane.clone(),
            scopes: job.scopes().into_iter().cloned().collect(),
            units: Vec::new(),
            cause: None,
        };
        let (sender, given) = mpsc::channel(1);
        let (reading, taken) = Reading::new(
            (planned.lane, planned.account_name),
            self.lake,
            (self.bounds, self.context),
            self.planned,
            sender,
        );
        let budget = reading.budget.clone();
        let ended = self.read(job, reading, given, &mut publisher).await;
        let broken = ended.as_ref().err().cloned();
        publisher
            .finish(&broken.clone().unwrap_or_else(Cause::not_made))
            .await;
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        if broken.is_none() && publisher.is_recorded() {
            forget_kept(&taken, &publisher.units).await;
        }
        report.calls = taken.calls;
        report.get_metric_data = taken.get_metric_data;
        // Requests that were dropped while under way are in the lane's books, and in no answer's.
        report.get_metric_data.billed_metrics = budget.spent();
        report.get_metric_data.calls = CallStats {
            calls: budget.requests(),
            ..report.get_metric_data.calls
        };
        let written = publisher.units.iter();
        report.rows = written.map(|u| u.rows).sum();
        report.seconds = started.elapsed().as_secs_f64();
        report.cause = publisher.cause.or(taken.cause).or(broken);
        LaneDone {
            report,
            units: publisher.units,
            names: taken.names,
        }
    }

    /// Reads a job, and publishes every unit as it comes. A job has the time limit for each of its units, and for its end.
    async fn read(
        &self,
        job: Box<dyn Job>,
        reading: Reading,
        mut given: mpsc::Receiver<Vec<NewUnit>>,
        publisher: &mut Publisher,
    ) -> Result<(), Cause> {
        let limit = self.context.config.limits.unit_timeout;
        let with_grace = limit + GRACE.min(limit / 4);
        let mut task = tokio::spawn(job.read(reading));
        let ended = loop {
            tokio::select! {
                biased;
                Some(units) = given.recv() => {
                    publisher.publish(units).await;
                    note_spent(self.context, &**self.lake.store(), &self.bounds.budget).await;
                }
                ended = &mut task => break ended.unwrap_or_else(|_| Err(Cause::broke_down())),
                () = tokio::time::sleep(with_grace) => {
                    task.abort();
                    let hint = "raise limits.unit_timeout_secs, or export less at once";
                    break Err(Cause::time_limit(limit, hint));
                }
            }
        };
        while let Ok(units) = given.try_recv() {
            publisher.publish(units).await;
        }
        ended
    }
}

/// Kept answers go when every unit is in its place. Where something was refused, the next run asks for all of the day again, and pays for what
/// was refused alone.
async fn forget_kept(taken: &Taken, units: &[UnitReport]) {
    let is_finished = |u: &UnitReport| {
        !matches!(u.outcome, UnitOutcome::Failed | UnitOutcome::Forbidden) && u.refused_queries == 0
    };
    if let Some((spool, plan)) = &taken.kept
        && units.iter().all(is_finished)
        && let Err(error) = spool.forget(plan).await
    {
        tracing::warn!(%error, "removing kept answers");
    }
}

/// The units of a dataset that was not read in a lane: noted in their manifests, unless they are skipped, and told of in the report.
pub(crate) async fn unread(
    lake: &Lake,
    context: &RunContext,
    (dataset, lane): (Dataset, &Lane),
    outcome: UnitOutcome,
    cause: &Cause,
) -> Vec<UnitReport> {
    let tables = source(dataset).units(context, lane);
    if outcome != UnitOutcome::Skipped {
        note_unread(lake, lane, &tables, cause).await;
    }
    let mut units = Vec::new();
    for (table, days) in tables {
        units.extend(days.into_iter().map(|day| UnitReport {
            outcome,
            cause: Some(cause.clone()),
            ..UnitReport::of(table, day, lane, context.now)
        }));
    }
    units
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::aws::Origin;
    use crate::commit::{LaneRecords, Scratch};
    use crate::config::{Environment, Overrides, RangeRequest, load, resolve_range};
    use crate::given::place::Place;
    use crate::given::shard::Sharing;
    use crate::lake::table::LOGS;
    use crate::model::{AccountId, Claim, Day, Region, Spans};
    use crate::plan::{DayMode, Scope};
    use crate::report::Forecast;
    use crate::sources::source::scope::LaneScope;
    use crate::sources::source::unit::read_unit;
    use crate::store::MemoryStore;
    use crate::telemetry::Progress;

    const NOW: i64 = 1_795_226_400;
    const CONFIG: &str = "version = 1\n[destination]\nurl = \"lake\"\n[defaults]\nregions = [\"us-east-1\"]\n\
         [[account]]\nid = \"111122223333\"\n[[logs]]\ngroups = [\"/app\"]\n";

    /// What a job does after its first unit.
    #[derive(Clone, Copy, Debug)]
    enum Then {
        BreaksDown,
        Hangs,
        ForgetsTheRest,
        GivesTheRest,
    }

    /// Two days, one given after the other.
    #[derive(Debug)]
    struct TwoDays {
        scope: LaneScope,
        then: Then,
    }

    #[async_trait]
    impl Job for TwoDays {
        fn forecast(&self, _: &RunContext) -> Forecast {
            Forecast::default()
        }

        fn scopes(&self) -> Vec<&LaneScope> {
            vec![&self.scope]
        }

        async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
            let day = |n: usize| {
                let (day, mode) = self.scope.days[n];
                NewUnit {
                    day,
                    mode,
                    staged: None,
                    complete: true,
                    ask_again: false,
                    covered: [("logs".to_owned(), Spans::of(day.window()))].into(),
                    refused: [].into(),
                    read_at: NOW,
                    report: read_unit(&LOGS, (day, &reading.lane), None, NOW),
                }
            };
            reading.note(|taken| taken.calls.calls += 1);
            tokio::time::sleep(Duration::from_hours(5)).await;
            reading.give(vec![day(0)]).await;
            match self.then {
                Then::BreaksDown => panic!("on purpose"),
                Then::Hangs => std::future::pending().await,
                Then::ForgetsTheRest => {}
                Then::GivesTheRest => {
                    tokio::time::sleep(Duration::from_hours(5)).await;
                    reading.give(vec![day(1)]).await;
                }
            }
            Ok(())
        }
    }

    struct Lab {
        context: RunContext,
        place: Arc<Place>,
        lake: Arc<Lake>,
        _dir: tempfile::TempDir,
    }

    impl Lab {
        async fn new() -> Self {
            let dir = tempfile::tempdir().expect("temp dir");
            let file = dir.path().join("cwlake.toml");
            std::fs::write(&file, CONFIG).expect("written");
            let environment = Environment::default();
            let config = load(&file, &Overrides::default(), &environment).expect("a configuration");
            let context = RunContext {
                config: Arc::new(config),
                store: None,
                origin: Origin::Standard,
                range: resolve_range(&RangeRequest::default(), 0, NOW).expect("a range"),
                is_backfill: false,
                lanes: None,
                beside: std::sync::Arc::default(),
                pruned: Arc::default(),
                sharing: Sharing::Whole,
                now: NOW,
                read_at: std::time::Instant::now(),
                force: false,
                progress: Progress::quiet(),
                stop: CancellationToken::new(),
            };
            let place = Arc::new(Place::of(&context).await.expect("a place"));
            let scratch = Scratch::new(dir.path());
            let store = Arc::new(MemoryStore::new());
            let lake = Lake::open(store, scratch, "run", Claim::everything(), &[]).await;
            Self {
                context,
                place,
                lake: Arc::new(lake.expect("opened")),
                _dir: dir,
            }
        }

        fn lane(region: &str) -> Lane {
            Lane {
                account: AccountId::parse("111122223333").expect("id"),
                region: Region::parse(region).expect("region"),
            }
        }

        async fn planned(&self, region: &str, then: Then) -> PlannedLane {
            let (lane, first) = (Self::lane(region), Day::containing(NOW).plus(-2));
            let days = [first, first.plus(1)];
            let mut records = LaneRecords::new(&LOGS, lane.clone());
            let store = &**self.lake.store();
            records.read(store, days.into_iter()).await.expect("read");
            let scope = LaneScope {
                table: &LOGS,
                delays: [("logs".to_owned(), 300)].into(),
                windows: Scope::new(),
                days: days.map(|day| (day, DayMode::Replace)).to_vec(),
                records,
                plan_hash: "plan".to_owned(),
                questions: [].into(),
            };
            PlannedLane {
                dataset: Dataset::Logs,
                lane,
                account_name: None,
                through: None,
                discovery: CallStats::default(),
                ready: Ok(Box::new(TwoDays { scope, then })),
                leave_out: false,
            }
        }

        async fn export(&self, lanes: Vec<PlannedLane>, late: Planning) -> Vec<LaneDone> {
            let bounds = Bounds::of(&self.context.config);
            let run = (&self.context, &self.lake, &bounds);
            let fleet = Fleet::new(run, Instant::now(), Cost::default());
            fleet.export(lanes, late).await
        }
    }

    fn outcomes(done: &LaneDone) -> Vec<UnitOutcome> {
        done.units.iter().map(|u| u.outcome).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_ends_early_keeps_what_it_gave_and_takes_no_other_with_it() {
        let lab = Lab::new().await;
        let mut lanes = Vec::new();
        for (region, then) in [
            ("eu-north-1", Then::BreaksDown),
            ("eu-west-1", Then::Hangs),
            ("eu-west-2", Then::ForgetsTheRest),
            ("us-east-1", Then::GivesTheRest),
        ] {
            lanes.push(lab.planned(region, then).await);
        }
        let none = Planning::new(&lab.place, &lab.context);
        let done = lab.export(lanes, none).await;
        let (empty, failed) = (UnitOutcome::Empty, UnitOutcome::Failed);
        let ends: Vec<_> = done.iter().map(outcomes).collect();
        let early = vec![empty, failed];
        assert_eq!(
            ends,
            [early.clone(), early.clone(), early, vec![empty, empty]]
        );
        let kinds = done.iter().map(|d| d.report.cause.as_ref().map(|c| c.kind));
        let kinds: Vec<_> = kinds.collect();
        let (other, limit) = (Some(CauseKind::Other), Some(CauseKind::TimeLimit));
        assert_eq!(kinds, [other, limit, None, None]);
        // What was taken is told, however it ended; what was given is recorded, and why the rest is missing.
        for lane in &done {
            assert_eq!(lane.report.calls.calls, 1);
        }
        let mut records = LaneRecords::new(&LOGS, Lab::lane("eu-west-1"));
        let first = Day::containing(NOW).plus(-2);
        let store = &**lab.lake.store();
        records
            .read(store, std::iter::once(first))
            .await
            .expect("read");
        assert!(records.committed(first).is_some());
        let second = records.get(first.plus(1)).and_then(|r| r.attempt.as_ref());
        assert_eq!(second.map(|a| a.cause.kind), limit);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_planned_late_keeps_no_other_waiting_and_is_read() {
        let lab = Lab::new().await;
        let mut planning = Planning::new(&lab.place, &lab.context);
        let slow = lab.planned("eu-west-1", Then::GivesTheRest).await;
        let quick = lab.planned("us-east-1", Then::GivesTheRest).await;
        let of = |lane: &PlannedLane| (Dataset::Logs, lane.lane.clone(), None);
        planning.spawn(of(&slow), move || async move {
            tokio::time::sleep(Duration::from_hours(1)).await;
            slow
        });
        planning.spawn(of(&quick), move || async move { quick });
        let broken = (Dataset::Logs, Lab::lane("eu-west-2"), None);
        planning.spawn(broken, || async { panic!("on purpose") });
        let planned = planning.wait(Some(Duration::from_mins(1))).await;
        let ready: Vec<bool> = planned.iter().map(|l| l.ready.is_ok()).collect();
        assert_eq!(ready, [true, false]);
        assert_eq!(planning.late(), [(Dataset::Logs, Lab::lane("eu-west-1"))]);
        let done = lab.export(planned, planning).await;
        let regions: Vec<&str> = done.iter().map(|d| &*d.report.region).collect();
        assert_eq!(regions, ["eu-west-1", "eu-west-2", "us-east-1"]);
        assert_eq!(outcomes(&done[0]), [UnitOutcome::Empty; 2]);
        assert_eq!(outcomes(&done[2]), [UnitOutcome::Empty; 2]);
        let why = done[1].report.cause.as_ref().map(|c| &*c.message);
        assert_eq!(why, Some("a worker of this lane broke down"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_closed_everywhere_is_missed_although_one_lane_came_late() {
        let lab = Lab::new().await;
        let closed = |account: &str, region: &str| PlannedLane {
            dataset: Dataset::Logs,
            lane: Lane {
                account: AccountId::parse(account).expect("id"),
                ..Lab::lane(region)
            },
            account_name: None,
            through: None,
            discovery: CallStats::default(),
            ready: Err(Cause::new(CauseKind::PolicyDenied, "no")),
            leave_out: true,
        };
        for (other_is_open, wanted) in [
            (false, UnitOutcome::Forbidden),
            (true, UnitOutcome::Skipped),
        ] {
            let mut planning = Planning::new(&lab.place, &lab.context);
            let late = closed("111122223333", "eu-west-1");
            let of_late = (Dataset::Logs, late.lane.clone(), None);
            planning.spawn(of_late, move || async move {
                tokio::time::sleep(Duration::from_hours(1)).await;
                late
            });
            let mut lanes = planning.wait(Some(Duration::from_mins(1))).await;
            lanes.push(closed("111122223333", "eu-west-2"));
            if other_is_open {
                let mut open = lab.planned("us-east-1", Then::GivesTheRest).await;
                open.discovery.calls = 1;
                lanes.push(open);
            }
            let done = lab.export(lanes, planning).await;
            let closed = done.iter().filter(|d| d.report.region != "us-east-1");
            let ends: Vec<_> = closed.map(outcomes).collect();
            assert_eq!(ends, [vec![wanted], vec![wanted]]);
        }
    }
}
