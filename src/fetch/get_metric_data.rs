//! One batch: its pages, its statuses, and what becomes of every query in it. Follows CloudWatch `GetMetricData`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_cloudwatch::primitives::DateTime;
use serde::{Deserialize, Serialize};

use super::budget::LaneBudget;

use aws_sdk_cloudwatch::types::{ScanBy, StatusCode};

use super::merge::{Merge, PointsError};
use super::page::{Page, PageResult};
use super::queries::{position_of, queries};
use super::spool::{KeptAnswer, Spool};
use crate::aws::{Api, CallStats, LaneClient, Pages, Toll, Turn, get_metric_data};
use crate::model::{
    Cause, CauseKind, MAX_STATISTICS_PER_BILLED_METRIC, QueryOutcome, ServiceMessage,
};
use crate::plan::{Batch, LanePlan, is_legal};

/// Requests for the queries of one batch that ended unfinished, after the first.
const REASKS: u32 = 4;

/// Pages of one request; a batch is sized to one, so hundreds are a loop.
const MAX_PAGES: usize = 1_000;

/// What a batch brought.
#[derive(Debug)]
pub struct Fetched {
    /// One for each query of the batch, in its order.
    pub outcomes: Vec<QueryOutcome>,
    /// Messages about the request as a whole; there, CloudWatch may have left something out.
    pub messages: Vec<ServiceMessage>,
    /// What it took.
    pub stats: BatchStats,
    /// When the oldest of the outcomes was read, seconds since the epoch.
    pub read_at: i64,
}

/// What one batch took and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStats {
    /// Requests, retries, throttles.
    #[serde(flatten)]
    pub calls: CallStats,
    /// Pages received.
    pub pages: u64,
    /// Metrics billed, counted on every request that was answered or may have been; follow-up pages count once more. A lane's
    /// are [`LaneBudget::spent`].
    pub billed_metrics: u64,
    /// Points received.
    pub points_received: u64,
    /// Points outside the window, dropped.
    pub points_outside: u64,
    /// Points replaced by a later one of the same timestamp.
    pub points_duplicate: u64,
    /// Points kept whose timestamp is not a multiple of the period.
    pub points_off_period: u64,
    /// Requests not sent: an interrupted run's answer was at hand.
    pub resumed: u64,
    /// Points of those answers.
    pub points_resumed: u64,
}

impl BatchStats {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.calls.add(other.calls);
        self.pages += other.pages;
        self.billed_metrics += other.billed_metrics;
        self.points_received += other.points_received;
        self.points_outside += other.points_outside;
        self.points_duplicate += other.points_duplicate;
        self.points_off_period += other.points_off_period;
        self.resumed += other.resumed;
        self.points_resumed += other.points_resumed;
    }
}

/// Asks for the batches of one lane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asker {
    /// With whose quota.
    pub client: LaneClient,
    /// What.
    pub plan: Arc<LanePlan>,
    /// For how much at most, over the whole run.
    pub budget: LaneBudget,
    /// Answers of an interrupted run, and where this one's are kept.
    pub spool: Spool,
    /// When the plan was made.
    pub planned_at: i64,
}

impl Asker {
    /// The same, for a request that has a turn.
    #[must_use]
    pub fn under(&self, turn: &Turn) -> Self {
        Self {
            client: self.client.under(turn),
            ..self.clone()
        }
    }

    /// Waits until the quota allows the first request of a batch; what is at hand needs none.
    pub async fn admit(&self, index: usize, now: i64) {
        let batch = &self.plan.batches[index];
        let points = self.not_at_hand(index);
        if points > 0 {
            let cost = self.client.point_cost(points, batch.span.start, now);
            self.client.pace(Api::GetMetricData, cost).await;
        }
    }

    /// Points of the queries of a batch that no kept answer seems to be there for.
    fn not_at_hand(&self, index: usize) -> u64 {
        let batch = &self.plan.batches[index];
        let missing = batch
            .queries
            .iter()
            .filter(|query| !self.spool.may_hold(&self.plan, batch, query));
        missing.map(|query| batch.span.points(query.period)).sum()
    }

    /// Takes from the spool what it has of a batch, asks for the rest until every query has an outcome, and keeps the answers. Never
    /// fails as a whole: failure is an outcome of each query.
    ///
    /// The caller has been admitted. `now` is the time of asking: a plan can be hours old.
    pub async fn fetch(self, index: usize, now: i64) -> Fetched {
        let mut kept = self.resume(index, now).await;
        let missing: Vec<usize> = (0..kept.len()).filter(|&n| kept[n].is_none()).collect();
        let mut fetched = self.ask(index, missing.clone(), now).await;
        if !missing.is_empty() {
            fetched = self.keep(index, missing, fetched, now).await;
        } else if !kept.is_empty() {
            fetched.stats.resumed = 1;
        }
        for (outcome, kept) in fetched.outcomes.iter_mut().zip(&mut kept) {
            let Some(kept) = kept.take() else { continue };
            if let QueryOutcome::Complete { points, .. } = &kept.outcome {
                fetched.stats.points_resumed += points.values.len() as u64;
            }
            fetched.read_at = fetched.read_at.min(kept.read_at);
            *outcome = kept.outcome;
        }
        fetched
    }

    /// Writing is work; a thread that serves the network does not do it.
    async fn keep(&self, index: usize, asked: Vec<usize>, fetched: Fetched, now: i64) -> Fetched {
        // A remark about a request as a whole is about every answer in it: asked again, it is made again.
        if !self.spool.keeps() || !fetched.messages.is_empty() {
            return fetched;
        }
        let (plan, spool) = (Arc::clone(&self.plan), self.spool.clone());
        let times = (self.planned_at, now);
        let kept = tokio::task::spawn_blocking(move || {
            let answers: Vec<(usize, &QueryOutcome)> =
                asked.iter().map(|&n| (n, &fetched.outcomes[n])).collect();
            let result = spool.keep(&plan, &plan.batches[index], &answers, times);
            (result, fetched)
        });
        match kept.await {
            Ok((result, fetched)) => {
                match result {
                    Ok(Some(file)) => self.spool.copy(&self.plan.lane, file).await,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "an answer is not kept: an interrupted run would ask for it again");
                    }
                }
                fetched
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn resume(&self, index: usize, now: i64) -> Vec<Option<KeptAnswer>> {
        let nothing = vec![None; self.plan.batches[index].queries.len()];
        if self.spool.is_empty() {
            return nothing;
        }
        let (plan, spool) = (Arc::clone(&self.plan), self.spool.clone());
        let taken =
            tokio::task::spawn_blocking(move || spool.take(&plan, &plan.batches[index], now));
        taken.await.unwrap_or(nothing)
    }

    /// Asks for the queries at `positions`; the others come back as failed.
    async fn ask(&self, index: usize, positions: Vec<usize>, now: i64) -> Fetched {
        let batch = &self.plan.batches[index];
        let mut job = Job {
            client: &self.client,
            plan: &self.plan,
            budget: &self.budget,
            batch,
            now,
            asked: Instant::now(),
            // A kept answer that turned out unusable was not admitted.
            paced: self.not_at_hand(index) > 0,
            outcomes: vec![None; batch.queries.len()],
            fetched: Fetched {
                outcomes: Vec::new(),
                messages: Vec::new(),
                stats: BatchStats::default(),
                read_at: now,
            },
        };
        if !positions.is_empty() {
            job.ask_all(positions).await;
        }
        let missing = || {
            QueryOutcome::Failed(Cause::new(
                CauseKind::Protocol,
                "GetMetricData: the query was left out of the answer",
            ))
        };
        job.fetched.outcomes = job
            .outcomes
            .into_iter()
            .map(|o| o.unwrap_or_else(missing))
            .collect();
        job.fetched.messages.sort();
        job.fetched.messages.dedup();
        job.fetched
    }
}

struct Job<'a> {
    client: &'a LaneClient,
    plan: &'a LanePlan,
    budget: &'a LaneBudget,
    batch: &'a Batch,
    now: i64,
    /// When the clock read `now`.
    asked: Instant,
    paced: bool,
    outcomes: Vec<Option<QueryOutcome>>,
    fetched: Fetched,
}

/// What a request costs the run's budget.
struct Price<'a> {
    budget: &'a LaneBudget,
    metrics: u64,
}

impl Toll for Price<'_> {
    fn before_try(&self) -> Result<(), Cause> {
        self.budget.reserve(self.metrics)
    }

    fn refused(&self) {
        self.budget.refund(self.metrics);
    }
}

/// The state of one query while the pages of a request arrive.
struct Partial {
    merge: Merge,
    status: Option<StatusCode>,
    messages: Vec<ServiceMessage>,
    broken: Option<PointsError>,
}

impl Job<'_> {
    /// A period that was legal when it was planned and no longer is would be answered with silence, which looks like no data.
    fn outgrown(&self, position: usize) -> Option<Cause> {
        let (query, span) = (self.batch.queries[position], self.batch.span);
        let now = self.now + self.asked.elapsed().as_secs().cast_signed();
        (!is_legal(query.period, span.start, now)).then(|| {
            let text = format!(
                "the run took so long that points of {} are no longer kept for {span}",
                query.period
            );
            Cause::new(CauseKind::TimeLimit, text)
                .with_hint("run it again: the window is then planned for its age")
        })
    }

    /// Asks for `positions`, then again for those that ended unfinished, and cuts a refused request in halves.
    async fn ask_all(&mut self, positions: Vec<usize>) {
        let mut work = vec![(positions, 0_u32)];
        while let Some((positions, reasks)) = work.pop() {
            match self.request(&positions).await {
                Ok(unfinished) if unfinished.is_empty() => {}
                Ok(unfinished) if reasks < REASKS => {
                    tracing::debug!(lane = %self.client.lane(), queries = unfinished.len(), "asking again for unfinished queries");
                    tokio::time::sleep(std::time::Duration::from_millis(200 << reasks)).await;
                    let queries = unfinished
                        .into_iter()
                        .map(|(position, _)| position)
                        .collect();
                    work.push((queries, reasks + 1));
                }
                // Everything around it was answered: what stays unfinished is lost by itself.
                Ok(unfinished) => {
                    for (position, cause) in unfinished {
                        self.outcomes[position] = Some(QueryOutcome::Refused(cause));
                    }
                }
                Err(cause) if cause.kind == CauseKind::Validation && positions.len() > 1 => {
                    let (left, right) = positions.split_at(self.half(&positions));
                    work.push((right.to_vec(), reasks));
                    work.push((left.to_vec(), reasks));
                }
                Err(cause) => {
                    for position in positions {
                        self.outcomes[position] = Some(self.refused_or_failed(position, &cause));
                    }
                }
            }
        }
    }

    /// Where to cut a refused request: in the middle, but not through the statistics of one series, which are billed as one.
    fn half(&self, positions: &[usize]) -> usize {
        let middle = positions.len() / 2;
        let series = |n: usize| self.batch.queries[positions[n]].series;
        let boundary = |n: &usize| series(*n - 1) != series(*n);
        (middle..positions.len())
            .find(boundary)
            .or_else(|| (1..middle).rev().find(boundary))
            .unwrap_or(middle)
    }

    fn refused_or_failed(&self, position: usize, cause: &Cause) -> QueryOutcome {
        match cause.kind {
            CauseKind::Validation => {
                let query = self.batch.queries[position];
                let series = &self.plan.series[query.series as usize];
                let hint = format!(
                    "CloudWatch refuses {} of {}: leave it out of the selection",
                    series.asks[query.ask as usize].statistic, series.series.metric
                );
                QueryOutcome::Refused(cause.clone().with_hint(hint))
            }
            // Who may not ask at all was answered nothing.
            _ => QueryOutcome::Failed(cause.clone()),
        }
    }

    /// One request with all its pages. Finished queries get their outcome; the others come back with why.
    async fn request(&mut self, positions: &[usize]) -> Result<Vec<(usize, Cause)>, Cause> {
        let mut restarted = false;
        loop {
            match self.pages(positions).await {
                // The token went stale between two pages: once more from the first.
                Err(cause) if cause.kind == CauseKind::InvalidToken && !restarted => {
                    restarted = true;
                }
                Err(cause) => return Err(cause),
                Ok(partials) => return Ok(self.settle(positions, partials)),
            }
        }
    }

    async fn pages(&mut self, positions: &[usize]) -> Result<Vec<Partial>, Cause> {
        let points = positions
            .iter()
            .map(|&p| self.batch.span.points(self.batch.queries[p].period))
            .sum();
        let cost = self
            .client
            .point_cost(points, self.batch.span.start, self.now);
        let mut partials: Vec<Partial> = positions.iter().map(|&p| self.partial(p)).collect();
        let mut pages = Pages::at_most(MAX_PAGES, "GetMetricData");
        let through = &self.client.lane().account;
        let queries = queries(self.plan, self.batch, positions, through);
        loop {
            let paced = std::mem::replace(&mut self.paced, false);
            let span = self.batch.span;
            let client = self.client;
            let billed = self.billed(positions);
            let toll = Price {
                budget: self.budget,
                metrics: billed,
            };
            let unanswered = self.fetched.stats.calls.unanswered;
            let page = client
                .call_paid(
                    Api::GetMetricData,
                    cost,
                    paced,
                    &mut self.fetched.stats.calls,
                    &toll,
                    || {
                        let request = client
                            .cloudwatch()
                            .get_metric_data()
                            .start_time(DateTime::from_secs(span.start))
                            .end_time(DateTime::from_secs(span.end))
                            .scan_by(ScanBy::TimestampAscending)
                            .set_next_token(pages.token());
                        let queries = queries.clone();
                        get_metric_data(request, queries, |body| Ok(Page::decode(body)?))
                    },
                )
                .await;
            let unanswered = self.fetched.stats.calls.unanswered - unanswered;
            self.fetched.stats.billed_metrics += billed * unanswered;
            let page = page?;
            self.fetched.stats.pages += 1;
            self.fetched.stats.billed_metrics += billed;
            let next = page.next_token.clone();
            self.absorb(page, &mut partials)?;
            if !pages.follow(next)? {
                return Ok(partials);
            }
        }
    }

    fn partial(&self, position: usize) -> Partial {
        let period = self.batch.queries[position].period;
        Partial {
            merge: Merge::new(self.batch.span, period),
            status: None,
            messages: Vec::new(),
            broken: None,
        }
    }

    /// What one page says. Ids are looked up by position, never by label or order.
    fn absorb(&mut self, page: Page, partials: &mut [Partial]) -> Result<(), Cause> {
        self.fetched.messages.extend(page.messages);
        let mut seen = HashSet::new();
        for result in page.results {
            let place = position_of(&result.id).filter(|p| *p < partials.len());
            let Some(place) = place else {
                return Err(Cause::new(
                    CauseKind::Protocol,
                    "GetMetricData: the answer has an id that was not asked",
                ));
            };
            let partial = &mut partials[place];
            if !seen.insert(place) {
                partial.broken = Some(PointsError::Repeated);
            }
            self.fetched.stats.points_received += result.values.len() as u64;
            partial.take(result);
        }
        Ok(())
    }

    /// Decides what became of each query of a request whose pages all arrived.
    fn settle(&mut self, positions: &[usize], partials: Vec<Partial>) -> Vec<(usize, Cause)> {
        let mut unfinished = Vec::new();
        for (&position, partial) in positions.iter().zip(partials) {
            let again =
                |kind, text: String| (position, Cause::new(kind, format!("GetMetricData: {text}")));
            match (partial.broken, &partial.status) {
                (Some(error), _) => unfinished.push(again(CauseKind::Protocol, error.to_string())),
                (None, Some(StatusCode::Complete)) => {
                    if let Some(cause) = self.outgrown(position) {
                        self.outcomes[position] = Some(QueryOutcome::Failed(cause));
                        continue;
                    }
                    let merged = partial.merge.finish();
                    let stats = &mut self.fetched.stats;
                    stats.points_outside += merged.outside;
                    stats.points_duplicate += merged.duplicates;
                    stats.points_off_period += merged.off_period;
                    let outcome = QueryOutcome::Complete {
                        points: merged.points,
                        messages: partial.messages,
                    };
                    self.outcomes[position] = Some(outcome);
                }
                (None, Some(StatusCode::Forbidden)) => {
                    let cause = Cause::new(CauseKind::AccessDenied, "GetMetricData: status Forbidden")
                        .with_hint("the role may not read this metric: check its policy for conditions on namespaces");
                    self.outcomes[position] = Some(QueryOutcome::Refused(cause));
                }
                (None, Some(status)) => {
                    unfinished.push(again(
                        CauseKind::Transient,
                        format!("status {} on the last page", status.as_str()),
                    ));
                }
                (None, None) => {
                    unfinished.push(again(
                        CauseKind::Protocol,
                        "the query was left out of the answer".to_owned(),
                    ));
                }
            }
        }
        unfinished
    }

    /// Up to five statistics of one series at one period count once.
    fn billed(&self, positions: &[usize]) -> u64 {
        let key = |p: &usize| (self.batch.queries[*p].series, self.batch.queries[*p].period);
        let mut keys: Vec<_> = positions.iter().map(key).collect();
        keys.sort_unstable();
        keys.chunk_by(|a, b| a == b)
            .map(|same| same.len().div_ceil(MAX_STATISTICS_PER_BILLED_METRIC) as u64)
            .sum()
    }
}

impl Partial {
    fn take(&mut self, result: PageResult) {
        for message in result.messages {
            if !self.messages.contains(&message) {
                self.messages.push(message);
            }
        }
        // A later page's word replaces an earlier one's; an entry without a status is not complete.
        let status = result.status.as_deref().map(StatusCode::from);
        self.status = status.or(Some(StatusCode::InternalError));
        if let Err(error) = self.merge.add(result.timestamps, result.values) {
            self.broken = Some(error);
        }
    }
}
