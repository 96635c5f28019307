//! What is typed of a run: its days, its shards, what it may spend.

use clap::Args;

use super::ConfigArgs;

/// How an export runs, over what the configuration says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Only this namespace; may be repeated. Units keep what they have of the others
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// Spend no more US dollars: refuse a plan that costs more, stop before the call that would, over `run.max_spend_usd`
    #[arg(long, env = "CWLAKE_MAX_SPEND_USD", value_name = "USD")]
    pub max_spend: Option<f64>,
    /// Requests in flight over all lanes, over `run.concurrency`
    #[arg(long, env = "CWLAKE_CONCURRENCY", value_name = "N")]
    pub concurrency: Option<u32>,
    /// Days before yesterday read again when no dates are given, over `run.lookback_days`
    #[arg(long, env = "CWLAKE_LOOKBACK_DAYS", value_name = "N")]
    pub lookback_days: Option<u32>,
}

/// The days.
#[derive(Debug, Args)]
#[command(next_help_heading = "Days")]
pub struct RangeArgs {
    /// One UTC day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"])]
    pub date: Option<String>,
    /// First UTC day of a range, or an instant such as 2026-11-20T10:00:00Z
    #[arg(long, value_name = "DATE")]
    pub from: Option<String>,
    /// First UTC day or instant after the range; today when left out
    #[arg(long, value_name = "DATE", requires = "from")]
    pub to: Option<String>,
    /// Take this instant (RFC 3339) for now, to repeat a run exactly
    #[arg(long, env = "CWLAKE_NOW", hide = true, value_name = "INSTANT")]
    pub now: Option<String>,
}

/// Other ways to say what is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Days")]
pub struct AskArgs {
    /// `last`: from where each lane's last run ended to now, less the publication delay
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["date", "from", "to"])]
    pub since: Option<String>,
    /// Only the lanes and days that an earlier run's report says are not complete: `last`, the run's name, or a file
    #[arg(long, value_name = "REPORT", conflicts_with_all = ["date", "from", "to", "since"])]
    pub only_failed: Option<String>,
}

/// Which part of an export this is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shards")]
pub struct ShardArgs {
    /// Only this share of the lanes: `3/16` is the third of sixteen. Without it as the engine's environment says: AWS Batch arrays, Slurm arrays,
    /// Kubernetes Indexed Jobs (with `CWLAKE_SHARDS`), or `CWLAKE_SHARD`
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub group: GroupArg,
}

/// The group of shards.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shards")]
pub struct GroupArg {
    /// Name of the run that the shards are parts of, new for each run; the engine's own name for the array, or the days, when left out
    #[arg(long, env = "CWLAKE_GROUP", value_name = "NAME")]
    pub group: Option<String>,
}

/// `gather`.
#[derive(Debug, Args)]
pub struct GatherArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub group: GroupArg,
    /// Print the run report as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub metrics: MetricsFileArg,
}

/// Figures of the run for a monitor.
#[derive(Debug, Args)]
pub struct MetricsFileArg {
    /// Write the run's figures to this file as Prometheus text, at once and whole, for the textfile collector
    #[arg(
        long,
        env = "CWLAKE_METRICS_FILE",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub metrics_file: Option<std::path::PathBuf>,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub run: RunArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub ask: AskArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub shard: ShardArgs,
    /// Read settled days again, and replace units even by ones with fewer rows or refused series
    #[arg(long, help_heading = "Run")]
    pub force: bool,
    /// Tell of every account, region and day by itself, instead of each cause once
    #[arg(long, help_heading = "Output")]
    pub all: bool,
    /// Print the run report as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub metrics: MetricsFileArg,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub run: RunArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub ask: AskArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub shard: ShardArgs,
    /// Deal the lanes out to so many shards, by what their plans weigh, and show how evenly
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "shard",
        help_heading = "Shards"
    )]
    pub shards: Option<u32>,
    /// Keep that in the lake, for the shards of the group to follow
    #[arg(long, requires = "shards", help_heading = "Shards")]
    pub write: bool,
    /// Plan settled days as well, as `export --force` would
    #[arg(long, help_heading = "Run")]
    pub force: bool,
    /// Print the plan as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
