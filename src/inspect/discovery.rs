//! What a configuration selects: the series that discovery finds, by account, region, namespace and metric. Nothing is planned or asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::discover::discover as discover_lane;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::run::enter::accounts::entered_accounts;
use crate::run::enter::regions::UnplannedLane;

use futures::{StreamExt, stream};

use crate::config::{ExportConfig, PeriodChoice, Selection};
use crate::discover::{Found, linked_series};
use crate::given::remarks::{remarks, unmatched};
use crate::model::{Cause, Dataset, Lane};
use crate::report::{
    Columns, FleetReport, Look, Remarks, close_accounts, counted, grouped, lane_notes, printable,
};
use crate::run::linked::{LinkedLane, follow_links, monitoring};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct DiscoverReport {
    /// Series over all lanes.
    pub series: u64,
    /// Its accounts, and what is to be said of them.
    #[serde(flatten)]
    pub fleet: FleetReport,
    /// Every lane.
    pub lanes: Vec<DiscoveredLane>,
}

/// One account and region.
#[derive(Clone, Debug, Serialize)]
pub struct DiscoveredLane {
    /// Account.
    pub account_id: String,
    /// Region.
    pub region: String,
    /// The monitoring account it is read through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// What it has, by namespace and name.
    pub metrics: Vec<DiscoveredMetric>,
    /// Nobody named its region, and it is closed to us.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// One metric of a lane.
#[derive(Clone, Debug, Serialize)]
pub struct DiscoveredMetric {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub metric_name: String,
    /// Series: one for each set of dimensions.
    pub series: u64,
    /// What is asked of them, over all selections.
    pub statistics: Vec<String>,
    /// Asked periods, seconds or `auto`.
    pub periods: Vec<String>,
    /// Every set of dimensions, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<String>,
}

/// Discovers every lane of the configuration. `list` adds every series to the report.
///
/// # Errors
/// As for a plan; anything that concerns one account or lane is in its entry.
pub async fn discover(context: &RunContext, list: bool) -> Result<DiscoverReport, RunError> {
    let (context, left_out, accounts, lanes) = entered_accounts(context).await?;
    let config = &context.config;
    let monitoring = monitoring(&lanes, &context);
    let wanted = lanes
        .into_iter()
        .filter(|l| context.wants(Dataset::Metrics, &l.lane()));
    let wanted: Vec<UnplannedLane> = wanted.collect();
    let lanes = counted(wanted.len(), "lane");
    context
        .progress
        .stage(&format!("discovering metrics in {lanes}"));
    let results: Vec<(UnplannedLane, Result<Found, Cause>)> = stream::iter(wanted)
        .map(|lane| async {
            let found = discover_one(&lane, config).await;
            (lane, found)
        })
        .buffered(config.run.concurrency as usize)
        .collect()
        .await;
    let own = results.iter().map(|(l, found)| (l.lane(), found.is_ok()));
    let links = follow_links(monitoring, own.collect(), &context).await;
    let mut matched = BTreeMap::new();
    let mut report = DiscoverReport {
        series: 0,
        fleet: FleetReport {
            accounts,
            ..links.fleet
        },
        lanes: Vec::new(),
    };
    for (lane, found) in results {
        let skipped = lane.is_left_out_for(found.as_ref().err());
        report.add(
            &lane.lane(),
            None,
            found,
            skipped,
            (config, list),
            &mut matched,
        );
    }
    for LinkedLane {
        lane,
        through,
        metrics,
        ..
    } in links.lanes
    {
        let found = linked_series(&lane, &config.selections, metrics, Vec::new());
        let through = Some(through.to_string());
        report.add(
            &lane,
            through,
            Ok(found),
            false,
            (config, list),
            &mut matched,
        );
    }
    report
        .lanes
        .sort_by(|a, b| (&a.account_id, &a.region).cmp(&(&b.account_id, &b.region)));
    let ended = report.lanes.iter_mut().map(|l| {
        let account = l.account_id.as_str();
        (account, &mut l.skipped, l.cause.as_ref())
    });
    close_accounts(&mut report.fleet.accounts, ended);
    report.fleet.remarks.extend(remarks(config));
    report.fleet.unmatched = unmatched(config, matched.into_iter());
    report.fleet.leave_out(left_out);
    Ok(report)
}

async fn discover_one(lane: &UnplannedLane, config: &ExportConfig) -> Result<Found, Cause> {
    let mut selections = config.selections.clone();
    // All that may be asked for, and not only what is active just now.
    selections
        .iter_mut()
        .for_each(|s| s.recently_active = false);
    let client = lane.client(config);
    discover_lane(
        &client,
        &selections,
        Vec::new(),
        &mut crate::aws::CallStats::default(),
    )
    .await
}

fn period_text(selection: &Selection) -> String {
    match selection.asks.period {
        PeriodChoice::AtLeast(period) => period.seconds().to_string(),
        PeriodChoice::Auto => "auto".to_owned(),
    }
}

fn add_once(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}

impl DiscoverReport {
    fn add(
        &mut self,
        lane: &Lane,
        through: Option<String>,
        found: Result<Found, Cause>,
        skipped: bool,
        (config, list): (&ExportConfig, bool),
        matched: &mut BTreeMap<usize, u64>,
    ) {
        let mut entry = DiscoveredLane {
            account_id: lane.account.to_string(),
            region: lane.region.to_string(),
            through,
            metrics: Vec::new(),
            skipped,
            cause: found.as_ref().err().cloned(),
        };
        if let Ok(found) = found {
            (0..config.selections.len()).for_each(|index| {
                matched.entry(index).or_default();
            });
            self.series += found.len() as u64;
            // Sorted by metric: those of one name follow one another.
            for (series, by) in found {
                let metric = &series.metric;
                let is_last = entry.metrics.last().is_some_and(|last| {
                    last.namespace == metric.namespace() && last.metric_name == metric.metric_name()
                });
                if !is_last {
                    entry.metrics.push(DiscoveredMetric {
                        namespace: metric.namespace().to_owned(),
                        metric_name: metric.metric_name().to_owned(),
                        series: 0,
                        statistics: Vec::new(),
                        periods: Vec::new(),
                        dimensions: Vec::new(),
                    });
                }
                let last = entry.metrics.last_mut().expect("pushed just before");
                last.series += 1;
                if list {
                    last.dimensions.push(metric.dimensions_key().to_owned());
                }
                for index in by {
                    *matched.entry(index).or_default() += 1;
                    let selection = &config.selections[index];
                    for statistic in &selection.asks.statistics {
                        add_once(&mut last.statistics, statistic.as_str());
                    }
                    add_once(&mut last.periods, &period_text(selection));
                }
            }
        }
        self.lanes.push(entry);
    }

    /// 0; 3 when something could not be read, 4 when nothing was found.
    pub fn exit_code(&self) -> u8 {
        let failed =
            self.fleet.is_short() || self.lanes.iter().any(|l| l.cause.is_some() && !l.skipped);
        match (failed, self.series) {
            (true, _) => 3,
            (false, 0) => 4,
            (false, _) => 0,
        }
    }

    /// A line a metric of each account and region, then what could not be read.
    pub fn text(&self) -> String {
        self.text_for(&Look::default())
    }

    /// The same for a screen.
    pub fn text_for(&self, look: &Look) -> String {
        let texts = ["account", "region", "namespace", "metric", "statistics"];
        let mut table = Columns::new(look, &texts, &["series"]);
        let lanes = self.lanes.iter();
        let metrics = || {
            lanes
                .clone()
                .flat_map(|lane| lane.metrics.iter().map(move |m| (lane, m)))
        };
        for (lane, metric) in metrics() {
            let through = lane.through.as_ref();
            let through = through.map_or(String::new(), |t| format!(", through {t}"));
            let asked = format!(
                "{} every {} s{through}",
                metric.statistics.join(" "),
                metric.periods.join(" and ")
            );
            let texts = [
                lane.account_id.as_str(),
                lane.region.as_str(),
                metric.namespace.as_str(),
                metric.metric_name.as_str(),
                asked.as_str(),
            ];
            table.row(&texts, &[grouped(metric.series)]);
        }
        let mut lines = table.lines();
        let mut out = lines.next().unwrap_or_default();
        for (line, (_, metric)) in lines.zip(metrics()) {
            out += &line;
            for dimensions in &metric.dimensions {
                let _ = writeln!(out, "    {}", printable(dimensions));
            }
        }
        let lanes = self.lanes.iter().filter(|l| !l.metrics.is_empty()).count();
        let _ = writeln!(
            out,
            "{} series in {} of {}",
            grouped(self.series),
            grouped(lanes as u64),
            counted(self.lanes.len(), "lane")
        );
        let mut remarks = Remarks::new(false, self.fleet.names());
        self.fleet.account_notes(&mut remarks);
        self.fleet.selection_notes(&mut remarks, true);
        let unread = self
            .lanes
            .iter()
            .filter_map(|l| Some((&*l.account_id, &*l.region, l.cause.as_ref()?, l.skipped)));
        lane_notes(&mut remarks, unread);
        remarks.write(&mut out);
        out
    }
}
