//! What was typed. Nothing is validated here that needs more than the words themselves; nothing is read or called.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::preset_names;
use crate::model::Dataset;

mod run;

pub use run::{
    AskArgs, ExportArgs, GatherArgs, GroupArg, MetricsFileArg, PlanArgs, RangeArgs, RunArgs,
    ShardArgs,
};

/// AWS CloudWatch data as a table: every account and region, exact, as partitioned Parquet.
#[derive(Debug, Parser)]
#[command(name = "cwlake", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Form of the log lines on stderr; their level is set by `CWLAKE_LOG`, for example `debug`
    #[arg(long, global = true, value_enum, default_value_t = LogFormatArg::Text, help_heading = "Output")]
    pub log_format: LogFormatArg,
    /// Print no progress on stderr; an export that is whole prints nothing, and one that is not says why on stderr
    #[arg(long, short, global = true, help_heading = "Output")]
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
    /// Write a commented configuration with a fresh external id for every account
    #[command(after_help = "\
Examples:
  cwlake init --account 111122223333 --account 222233334444 --preset ec2 --preset alb
  cwlake init --organization --destination s3://acme-lake/cloudwatch
  cwlake init --missing-ids        # accounts have joined the organization")]
    Init(InitArgs),
    /// Validate the configuration; calls nothing
    Check(CheckArgs),
    /// Try everything a run needs: credentials, roles, permissions, destination, clock; nothing billed is called
    Doctor(DoctorArgs),
    /// Print the accounts the configuration stands for, with those of the organization
    Accounts(AccountsArgs),
    /// Show what the configuration selects: series per account, region, namespace and metric
    #[command(after_help = "\
Examples:
  cwlake discover --account 111122223333 --region us-east-1
  cwlake discover --namespace AWS/EC2 --series --json")]
    Discover(DiscoverArgs),
    /// Show what an export would ask and cost; calls only what is free, writes nothing
    Plan(PlanArgs),
    /// Export metrics, instances, log events, charges and alarms to the lake: yesterday and the days looked back, or the days given
    #[command(after_help = "\
Examples:
  cwlake export                                     # yesterday and the days looked back
  cwlake export --from 2026-01-01 --to 2026-02-01   # a backfill; stopped, it goes on where it was
  cwlake export --since last                        # every few minutes
  cwlake export --only-failed last                  # what the last run missed")]
    Export(ExportArgs),
    /// Bring the shards of an export together: one report, one exit code, the alerts once
    #[command(after_help = "\
Examples:
  cwlake gather --group nightly-2026-11-26
  cwlake gather --from 2026-01-01 --to 2026-02-01   # shards of a backfill without a --group

Exit codes: 5 when the report of a shard is missing, 7 while one runs, else as for export.")]
    Gather(GatherArgs),
    /// Show how whole the lake is: complete, provisional, partial or missing, per account and day
    Status(StatusArgs),
    /// Write a page about the lake: days by account, causes, growth, cost, spend; or show the report of one run
    #[command(after_help = "\
Examples:
  cwlake report                                  # the last 30 days, to cwlake-report.html
  cwlake report --from 2026-09-01 -o - > lake.html
  cwlake report --run last                       # what the last run said

Exit codes: of a page 0, of a run that of the run.")]
    Report(ReportArgs),
    /// Open every file of the lake and compare it with the manifest; report faults and gaps
    Verify(VerifyArgs),
    /// Merge settled days over all accounts into few sorted files, which the views of `ddl` read in place of thousands
    #[command(after_help = "\
Examples:
  cwlake compact                                 # every day that runs no longer read again, and what was written anew since
  cwlake compact --older-than 14 --target-size 256
  cwlake compact --prune                         # and remove the files that were compacted a week ago or longer

Exit codes: 3 when a day could not be compacted, 4 when nothing is settled, 7 while another run compacts.")]
    Compact(CompactArgs),
    /// Show what each account has spent, against its budgets; and tell of breaches
    #[command(after_help = "\
Examples:
  cwlake spend                                   # yesterday, the month so far, the month projected
  cwlake spend --month 2026-10 --json
  cwlake spend --fail-on-breach                  # exit code 8 when a budget is breached
  cwlake spend --alert --dry-run alert.eml       # the e-mail as a file, for a mail client to show")]
    Spend(SpendArgs),
    /// Print the policies this configuration needs, and no more: JSON, CloudFormation or Terraform
    #[command(after_help = "\
Examples:
  cwlake iam --principal arn:aws:iam::999900001111:role/cwlake
  cwlake iam --principal 999900001111 --org-id o-a1b2c3d4e5 --format cloudformation > reader.yaml
  cwlake iam --part writer --format terraform")]
    Iam(IamArgs),
    /// Print the lake's tables and views for an engine, or register them in the Glue catalog
    #[command(after_help = "\
Examples:
  cwlake ddl --engine duckdb | duckdb lake.duckdb
  cwlake ddl --engine athena --database cloudwatch
  cwlake ddl --engine glue --register")]
    Ddl(DdlArgs),
    /// List the presets: ready selections of metrics
    Presets(PresetsArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the completions of a shell
    #[command(
        after_help = "Example:\n  cwlake completions bash > ~/.local/share/bash-completion/completions/cwlake"
    )]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for every command
    #[command(
        after_help = "Examples:\n  cwlake man | man -l -\n  cwlake man --dir ~/.local/share/man/man1"
    )]
    Man(ManArgs),
    /// Run the AWS emulator alone
    #[cfg(feature = "emulator")]
    Emulate(EmulateArgs),
}

/// Datasets, which shells complete.
fn known_datasets() -> PossibleValuesParser {
    Dataset::ALL.map(Dataset::name).into()
}

/// Presets, which shells complete.
fn known_presets() -> PossibleValuesParser {
    preset_names().collect::<Vec<_>>().into()
}

/// The configuration and what may be said over it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
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
    /// Only this dataset: `metrics`, `instances`, `logs`, `spend`, `alarms` or `alarm_history`; may be repeated
    #[arg(long, value_name = "NAME", value_parser = known_datasets(), hide_possible_values = true)]
    pub dataset: Vec<String>,
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
    /// Tell of every account and day by itself, instead of each cause once
    #[arg(long, help_heading = "Output")]
    pub all: bool,
    /// Print the status as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Days after whose end a day is settled, over `compact.older_than_days`
    #[arg(long, value_name = "DAYS", help_heading = "Compaction")]
    pub older_than: Option<u32>,
    /// Size after which a file ends, over `compact.target_size_mb`
    #[arg(long, value_name = "MB", help_heading = "Compaction")]
    pub target_size: Option<u32>,
    /// Remove the files that were compacted `compact.prune_after_days` ago (7), and compacted files that were replaced then: a view that is older misses them
    #[arg(long, help_heading = "Compaction")]
    pub prune: bool,
    /// Print what was compacted as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub range: RangeArgs,
    /// The report of one run instead, as text: `last`, the run's name, or a file
    #[arg(long, value_name = "RUN", conflicts_with_all = ["date", "from", "to", "output"])]
    pub run: Option<String>,
    /// File of the page; `-` is stdout
    #[arg(
        long,
        short,
        default_value = "cwlake-report.html",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub output: PathBuf,
    /// With --run, tell of every account, region and day by itself, instead of each cause once
    #[arg(long, requires = "run", help_heading = "Output")]
    pub all: bool,
    /// Print what the page shows, or the run's report, as JSON on stdout
    #[arg(long, help_heading = "Output")]
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
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `spend`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct SpendArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// This UTC day; yesterday when left out
    #[arg(
        long,
        value_name = "YYYY-MM-DD",
        conflicts_with = "month",
        help_heading = "Days"
    )]
    pub date: Option<String>,
    /// The last day of this month, or yesterday if it is not over
    #[arg(long, value_name = "YYYY-MM", help_heading = "Days")]
    pub month: Option<String>,
    /// Take this instant (RFC 3339) for now, to repeat a run exactly
    #[arg(long, env = "CWLAKE_NOW", hide = true, value_name = "INSTANT")]
    pub now: Option<String>,
    /// Send an alert by every channel of `[alert]` about the breaches it was not told of
    #[arg(long, help_heading = "Alerts")]
    pub alert: bool,
    /// Write the alert about all breaches to a file, and send nothing
    #[arg(long, value_name = "FILE", requires = "alert", help_heading = "Alerts")]
    pub dry_run: Option<PathBuf>,
    /// End with exit code 8 when a budget is breached
    #[arg(long, help_heading = "Alerts")]
    pub fail_on_breach: bool,
    /// Print the charges as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print the charges of each account as comma-separated values on stdout
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub csv: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Print the result as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `accounts`.
#[derive(Debug, Args)]
pub struct AccountsArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Print the accounts as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Only this namespace; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Configuration")]
    pub namespace: Vec<String>,
    /// List every series, by its dimensions
    #[arg(long, help_heading = "Output")]
    pub series: bool,
    /// Print what was found as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Tell of every account by itself, instead of each cause once
    #[arg(long, help_heading = "Output")]
    pub all: bool,
    /// Print the checks as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// File to write; one that is there is not touched
    #[arg(
        long,
        short,
        env = "CWLAKE_CONFIG",
        default_value = "cwlake.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Where the lake will be: `s3://bucket/prefix` or a folder
    #[arg(long, value_name = "URL")]
    pub destination: Option<String>,
    /// An account to read; may be repeated
    #[arg(long, value_name = "ID", conflicts_with = "organization")]
    pub account: Vec<String>,
    /// Read all accounts of AWS Organizations; their ids are listed with the base credentials
    #[arg(long)]
    pub organization: bool,
    /// A preset to select; may be repeated (`cwlake presets`)
    #[arg(long, value_name = "NAME", value_parser = known_presets(), hide_possible_values = true)]
    pub preset: Vec<String>,
    /// Leave the configuration as it is, and add ids for accounts that have none to its file of external ids
    #[arg(long, conflicts_with_all = ["destination", "account", "organization", "preset"])]
    pub missing_ids: bool,
    /// Print what was written as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `iam`.
#[derive(Debug, Args)]
pub struct IamArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Who assumes the roles: the ARN of a role or user, or an account's twelve digits
    #[arg(long, value_name = "ARN", help_heading = "Policies")]
    pub principal: Option<String>,
    /// Trust only callers of this organization (`aws:PrincipalOrgID`)
    #[arg(long, value_name = "ID", help_heading = "Policies")]
    pub org_id: Option<String>,
    /// One policy alone; a template is of the reader unless the writer is asked for
    #[arg(long, value_enum, value_name = "PART", help_heading = "Policies")]
    pub part: Option<IamPart>,
    /// `json`, a `cloudformation` template for a stack set, or `terraform`
    #[arg(long, value_enum, default_value_t = IamFormat::Json, hide_possible_values = true, help_heading = "Policies")]
    pub format: IamFormat,
    /// Add a billing alarm and what forwards it (with cloudformation, or part `bus`): above so many US dollars a month, or above `month_usd` of each
    /// account's budget
    #[arg(
        long,
        value_name = "USD",
        num_args = 0..=1,
        allow_negative_numbers = true,
        requires = "event_bus",
        help_heading = "Policies"
    )]
    pub with_billing_alarm: Option<Option<f64>>,
    /// ARN of the event bus the alarm is forwarded to
    #[arg(
        long,
        value_name = "ARN",
        requires = "with_billing_alarm",
        help_heading = "Policies"
    )]
    pub event_bus: Option<String>,
    /// JSON on stdout, as without it: policies have no other text
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,
}

/// A policy of `iam`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IamPart {
    /// Of the role in each account
    Reader,
    /// Who may assume it, by account
    Trust,
    /// Of whoever runs cwlake
    Caller,
    /// Of whoever writes to the bucket
    Writer,
    /// Of the event bus that billing alarms go to
    Bus,
}

/// The form of `iam`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IamFormat {
    #[expect(missing_docs, reason = "documented at the flag")]
    Json,
    #[expect(missing_docs, reason = "documented at the flag")]
    Cloudformation,
    #[expect(missing_docs, reason = "documented at the flag")]
    Terraform,
}

/// `ddl`.
#[derive(Debug, Args)]
pub struct DdlArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub config: ConfigArgs,
    /// Whose statements
    #[arg(long, value_enum, help_heading = "Tables")]
    pub engine: EngineArg,
    /// Database or schema of the tables
    #[arg(
        long,
        default_value = "cwlake",
        value_name = "NAME",
        help_heading = "Tables"
    )]
    pub database: String,
    /// Catalog of the tables, for Trino
    #[arg(
        long,
        default_value = "hive",
        value_name = "NAME",
        help_heading = "Tables"
    )]
    pub catalog: String,
    /// First day that partition projection looks for
    #[arg(
        long,
        default_value = "2024-01-01",
        value_name = "YYYY-MM-DD",
        help_heading = "Tables"
    )]
    pub first_day: String,
    /// Create or update the database and tables in the Glue catalog, with the base credentials
    #[arg(long, help_heading = "Tables")]
    pub register: bool,
    /// Print the statements, or what was registered, as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The engine of `ddl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(
    missing_docs,
    reason = "documented variants would be repeated in every help text"
)]
pub enum EngineArg {
    Athena,
    Trino,
    Spark,
    Duckdb,
    Glue,
}

/// `presets`.
#[derive(Debug, Args)]
pub struct PresetsArgs {
    /// One of them, with its metrics and sources
    #[arg(value_parser = known_presets(), hide_possible_values = true)]
    pub name: Option<String>,
    /// Print the presets with their metrics and sources as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Whose
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write `cwlake.1` and a page for every command here
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `demo`.
#[cfg(feature = "emulator")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the demo's lake; a lake that is there is written to again
    #[arg(long, default_value = "cwlake-demo", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Keep the emulated AWS up afterwards, until Ctrl-C, so that every command works on the demo
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:4599"
    )]
    pub serve: Option<std::net::SocketAddr>,
    /// Print the run report as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
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
    /// Print where it listens as JSON on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
