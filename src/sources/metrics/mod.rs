//! Metrics of a lane: discovered, planned, fetched in order, cut at midnights, written.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::aws::{CallStats, LaneClient};
use crate::config::ExportConfig;
use crate::fetch::Spool;
use crate::given::context::RunContext;
use crate::model::{Cause, Dataset};
use crate::plan::{Holding, LanePlan};
use crate::report::Forecast;
use crate::sources::metrics::plan::{Listing, job};
use crate::sources::metrics::read::read;
use crate::sources::source::scope::LaneScope;
use crate::sources::source::{Job, Looking, Reading, Source};
use crate::write::ROW_GROUP_ROWS;

pub(crate) mod catalog;
mod day;
pub(crate) mod old;
pub(crate) mod plan;
mod read;
mod scatter;

/// Points of `CloudWatch` metrics.
pub(crate) struct Metrics;

#[async_trait]
impl Source for Metrics {
    fn dataset(&self) -> Dataset {
        Dataset::Metrics
    }

    fn parts(&self, config: &ExportConfig) -> BTreeMap<String, i64> {
        config.namespaces.clone()
    }

    async fn plan(&self, looking: &Looking, stats: &mut CallStats) -> Result<Box<dyn Job>, Cause> {
        Ok(Box::new(job(looking, Listing::Own, stats).await?))
    }
}

/// A lane that can be asked for points.
#[derive(Debug)]
pub(crate) struct MetricsJob {
    client: LaneClient,
    scope: LaneScope,
    /// Answers of an interrupted run, and where this one's are kept.
    spool: Spool,
    plan: Arc<LanePlan>,
    /// Series that each selection wants of it, by the selection's place; those that were not listed are not here.
    matched: BTreeMap<usize, u64>,
}

#[async_trait]
impl Job for MetricsJob {
    fn forecast(&self, context: &RunContext) -> Forecast {
        Forecast {
            planned: self.plan.cost(),
            namespaces: self
                .plan
                .cost_by_namespace(&context.config.limits, context.now),
            overruled: self.plan.overruled,
            selections: self.matched.clone(),
            ..Forecast::default()
        }
    }

    fn billed(&self) -> Option<&LanePlan> {
        Some(&self.plan)
    }

    fn holding(&self) -> Holding {
        Holding::of(&self.plan, &self.scope.days, ROW_GROUP_ROWS as u64)
    }

    fn scopes(&self) -> Vec<&LaneScope> {
        vec![&self.scope]
    }

    async fn read(self: Box<Self>, reading: Reading) -> Result<(), Cause> {
        read(*self, reading).await
    }
}
