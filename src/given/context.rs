//! What a run is given besides its configuration.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::given::choice::LaneChoice;
use crate::given::pruned::PrunedUnits;
use crate::given::shard::Sharing;
use crate::store::Store;
use crate::telemetry::Progress;

use crate::aws::{Origin, ServiceTime};
use crate::config::{AccountConfig, ExportConfig, Range};
use crate::model::{Claim, Dataset, Day, Lane, iso_seconds};

/// What a run is given besides its configuration.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// What to do.
    pub config: Arc<ExportConfig>,
    /// With whose credentials.
    pub origin: Origin,
    /// A lake that is open already, in place of the folder that the configuration names: files on their way lie in that one all the same.
    pub store: Option<Arc<dyn Store>>,
    /// For which time.
    pub range: Range,
    /// Its end was given: run again, it asks for the same time, and answers are kept until they are in the lake.
    pub is_backfill: bool,
    /// Only these lanes, each for its own time; all when none is named.
    pub lanes: Option<LaneChoice>,
    /// What other runs have claimed of the lake.
    pub beside: Arc<[Claim]>,
    /// Units whose own files are gone.
    pub pruned: Arc<PrunedUnits>,
    /// What of them is this process's.
    pub sharing: Sharing,
    /// The clock, read once: seconds since the epoch.
    pub now: i64,
    /// When it was read.
    pub read_at: Instant,
    /// Replace better units with worse ones.
    pub force: bool,
    /// Where progress is shown.
    pub progress: Progress,
    /// Cancelled by a signal: no new work, nothing half-done is published.
    pub stop: CancellationToken,
}

impl RunContext {
    /// Seconds that this machine's clock is ahead of the service's, at least and at most: its answer came some time after ours was read.
    pub(crate) fn ahead_of(&self, service: ServiceTime) -> (i64, i64) {
        let since = service.at.saturating_duration_since(self.read_at);
        let at_least = self.now - service.date;
        (at_least, at_least + since.as_secs().cast_signed())
    }

    /// For which time a dataset is asked in a lane.
    pub(crate) fn range_of(&self, dataset: Dataset, lane: &Lane) -> Range {
        let lanes = self.lanes.as_ref();
        let chosen = lanes.and_then(|lanes| lanes.window(dataset, lane));
        chosen.map_or(self.range, Range::Window)
    }

    /// The first second after the days before today of which another run is writing a table.
    pub(crate) fn left_to_others(&self, table: &str) -> i64 {
        let today = Day::containing(self.now);
        let last = self
            .beside
            .iter()
            .filter_map(|claim| claim.last_before(table, today));
        last.max().map_or(i64::MIN, Day::end)
    }

    /// The days of it.
    pub(crate) fn days_of(&self, dataset: Dataset, lane: &Lane) -> Vec<Day> {
        match self.range_of(dataset, lane) {
            Range::Window(window) => window.touched_days().collect(),
            // What it would have been is in a manifest that was not read either.
            Range::SinceLast { .. } => vec![Day::containing(self.now)],
        }
    }

    /// Whether a dataset is asked for in a lane.
    pub(crate) fn wants(&self, dataset: Dataset, lane: &Lane) -> bool {
        let spends = || {
            let spend = self.config.spend.as_ref();
            dataset != Dataset::Spend || spend.is_some_and(|s| s.reads(&lane.account))
        };
        let lanes = self.lanes.as_ref();
        self.config.exports(dataset)
            && self.is_asked(lane)
            && lanes.is_none_or(|l| l.window(dataset, lane).is_some())
            && spends()
    }

    pub(crate) fn wants_account(&self, account: &AccountConfig) -> bool {
        let lanes = self.lanes.as_ref();
        // What is linked to it may be wanted although it is not.
        account.linked_accounts || lanes.is_none_or(|l| l.has_account(&account.id))
    }

    /// Whether metrics are asked for in a lane that is read through another.
    pub(crate) fn wants_linked(&self, lane: &Lane, through: &Lane) -> bool {
        let lanes = self.lanes.as_ref();
        // Who is read directly was not missed when a link could not be listed.
        let behind = || !self.config.accounts.iter().any(|a| a.id == lane.account);
        self.is_asked(lane)
            && self.config.wants_linked(lane)
            && lanes.is_none_or(|l| {
                l.window(Dataset::Metrics, lane).is_some() || l.has_links_of(through) && behind()
            })
    }

    pub(crate) fn is_asked(&self, lane: &Lane) -> bool {
        self.config.is_about(&lane.account)
            && self.config.reads(&lane.region)
            && self.sharing.has(lane)
    }
}

/// Start of the run and a number that no other run has: in containers every run is process 1.
pub(crate) fn run_id(now: i64) -> String {
    let start = iso_seconds(now).replace(':', "-");
    format!("{start}-{:016x}", fastrand::u64(..))
}
