//! What was typed. Nothing is validated here that needs more than the words themselves; nothing is read or called.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// AWS CloudWatch data as a table: every account and region, exact, as partitioned Parquet.
#[derive(Debug, Parser)]
#[command(name = "cwlake", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Form of the log lines on stderr; their level is set by `CWLAKE_LOG`, for example `debug`
    #[arg(long, global = true, value_enum, default_value_t = LogFormatArg::Text)]
    pub log_format: LogFormatArg,
    /// Print no progress on stderr, only errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0 done                                        5 destination or other temporary fault
  1 internal                                    6 no usable base credentials
  2 usage or config                             7 another run holds the lock
  3 finished, but some units failed             8 budget cap
  4 nothing matched                             130, 143 stopped by signal";

/// See [`crate::telemetry::LogFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    #[expect(
        missing_docs,
        reason = "documented variants would be repeated in every help text"
    )]
    Text,
    #[expect(
        missing_docs,
        reason = "documented variants would be repeated in every help text"
    )]
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job offline: emulated AWS, real pipeline, a lake in ./cwlake-demo and queries for it
    #[cfg(feature = "emulator")]
    Demo(DemoArgs),
    /// Export metrics to the lake: yesterday and the days looked back, or the days given
    Export(ExportArgs),
    /// Show what an export would ask and cost; calls only what is free, writes nothing
    Plan(PlanArgs),
    /// Show how whole the lake is: complete, provisional, partial or missing, per account and day
    Status(StatusArgs),
    /// Open every file of the lake and compare it with the manifest; report faults and gaps
    Verify(VerifyArgs),
    /// Validate the configuration; calls nothing
    Check(CheckArgs),
    /// Run the AWS emulator alone
    #[cfg(feature = "emulator")]
    Emulate(EmulateArgs),
}

/// The configuration and what may be said over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(
        long,
        short,
        env = "CWLAKE_CONFIG",
        default_value = "cwlake.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// The lake, over `destination.url`: `s3://bucket/prefix` or a folder (relative to the working folder)
    #[arg(long, env = "CWLAKE_DESTINATION", value_name = "URL")]
    pub destination: Option<String>,
    /// Only this account; may be repeated
    #[arg(long, value_name = "ID")]
    pub account: Vec<String>,
    /// Only this region; may be repeated
    #[arg(long, value_name = "REGION")]
    pub region: Vec<String>,
}

/// How an export runs, over what the configuration says.
#[derive(Debug, Args)]
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
pub struct AskArgs {
    /// `last`: from where each lane's last run ended to now, less the publication delay
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["date", "from", "to"])]
    pub since: Option<String>,
    /// Only the lanes and days that an earlier run's report (a file) says are not complete
    #[arg(long, value_name = "REPORT", conflicts_with_all = ["date", "from", "to", "since"])]
    pub only_failed: Option<PathBuf>,
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
    /// Read settled days again, and replace units even by ones with fewer rows or refused series
    #[arg(long)]
    pub force: bool,
    /// Print the run report as JSON on stdout
    #[arg(long)]
    pub json: bool,
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
    /// Plan settled days as well, as `export --force` would
    #[arg(long)]
    pub force: bool,
    /// Print the plan as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    /// Print the status as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    /// Print the findings as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
}

/// `demo`.
#[cfg(feature = "emulator")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the demo's lake; a lake that is there is written to again
    #[arg(long, default_value = "cwlake-demo", value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// `emulate`.
#[cfg(feature = "emulator")]
#[derive(Debug, Args)]
pub struct EmulateArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4599", value_name = "ADDRESS:PORT")]
    pub listen: std::net::SocketAddr,
    /// Accounts, roles, fleets and faults (TOML); the demo's world when left out
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// Folder with CSV series and their index.toml
    #[arg(long, value_name = "DIR")]
    pub load: Option<PathBuf>,
}
