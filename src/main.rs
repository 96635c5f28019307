//! parse → resolve → run → exit code. The only place that prints results and errors.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use cwlake::accounts::Origin;
use cwlake::cli::{
    AskArgs, CheckArgs, Cli, Command, ConfigArgs, ExportArgs, LogFormatArg, PlanArgs, RangeArgs,
    RunArgs, StatusArgs, VerifyArgs,
};
use cwlake::commit::LakeError;
use cwlake::config::{
    ConfigError, Environment, ExportConfig, Overrides, Range, RangeError, RangeRequest, load,
    oldest_day, resolve_range,
};
use cwlake::model::{Day, TimeWindow};
use cwlake::report::plan_text;
use cwlake::run::{LaneChoice, RunContext, RunError};
use cwlake::telemetry::{LogFormat, Progress, start_logs, stop_on_signals};
use cwlake::write::{StoreError, StoreErrorKind};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs(match cli.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    });
    match runtime().and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            if let Some(hint) = hint(&error) {
                let _ = writeln!(std::io::stderr(), "  = {hint}");
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Few blocking threads: they encode, one a core, and look up names. Each more would keep an arena of memory of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(cores + 2)
        .enable_all()
        .build()
        .context("starting the runtime")
}

async fn run(cli: Cli) -> anyhow::Result<u8> {
    let progress = if cli.quiet {
        Progress::quiet()
    } else {
        Progress::to_stderr()
    };
    match cli.command {
        Command::Check(args) => check(&args),
        Command::Plan(args) => plan(&args, progress).await,
        Command::Status(args) => status(&args, progress).await,
        Command::Verify(args) => verify(&args, progress).await,
        Command::Export(args) => export(&args, progress).await,
        #[cfg(feature = "emulator")]
        Command::Demo(args) => {
            let demo = cwlake::demo::demo(&args.folder, clock(), progress).await?;
            print(&demo.text)?;
            Ok(demo.exit_code)
        }
        #[cfg(feature = "emulator")]
        Command::Emulate(args) => emulate(&args).await,
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let config = load_config(&args.config, None)?;
    print(&format!(
        "{}: ok, {} accounts, {} selections, lake in {}\n",
        args.config.config.display(),
        config.accounts.len(),
        config.selections.len(),
        config.destination
    ))?;
    Ok(0)
}

async fn plan(args: &PlanArgs, progress: Progress) -> anyhow::Result<u8> {
    let (config, range, run) = (&args.config, &args.range, Some((&args.run, &args.ask)));
    let context = context(config, run, range, args.force, progress)?;
    let planned = cwlake::run::plan(&context).await?;
    context.progress.finish();
    let report = planned.report(&context);
    print_result(args.json, &report, || plan_text(&report, None))?;
    Ok(report.exit_code())
}

async fn export(args: &ExportArgs, progress: Progress) -> anyhow::Result<u8> {
    let (config, range, run) = (&args.config, &args.range, Some((&args.run, &args.ask)));
    let context = context(config, run, range, args.force, progress)?;
    stop_on_signals(context.stop.clone()).context("installing signal handlers")?;
    let report = cwlake::run::export(&context).await?;
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}

/// Without dates, the last 30 days.
async fn status(args: &StatusArgs, progress: Progress) -> anyhow::Result<u8> {
    let mut context = context(&args.config, None, &args.range, false, progress)?;
    if args.range.date.is_none() && args.range.from.is_none() {
        let today = Day::containing(context.now);
        context.range = Range::Window(TimeWindow::days(today.plus(-30), today));
    }
    let report = cwlake::run::status(&context).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}

/// Without dates, the whole lake.
async fn verify(args: &VerifyArgs, progress: Progress) -> anyhow::Result<u8> {
    let context = context(&args.config, None, &args.range, false, progress)?;
    let dated = args.range.date.is_some() || args.range.from.is_some();
    let range = dated.then(|| context.range.window());
    let report = cwlake::run::verify(&context, range).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}

#[cfg(feature = "emulator")]
async fn emulate(args: &cwlake::cli::EmulateArgs) -> anyhow::Result<u8> {
    use cwlake::emulator::{Emulator, World};
    let world = match &args.world {
        None => World::from_toml(cwlake::demo::WORLD)?,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?;
            World::from_toml(&text).with_context(|| path.display().to_string())?
        }
    };
    let root = world
        .accounts
        .first()
        .map_or_else(|| "111122223333".to_owned(), |a| a.id.clone());
    let emulator = Emulator::start(world, args.listen)
        .await
        .with_context(|| format!("listening on {}", args.listen))?;
    if let Some(dir) = &args.load {
        let points = emulator.load(dir)?;
        print(&format!(
            "# {points} points loaded from {}\n",
            dir.display()
        ))?;
    }
    print(&format!(
        "export AWS_ENDPOINT_URL={} AWS_ACCESS_KEY_ID={root} AWS_SECRET_ACCESS_KEY=emulated AWS_REGION=us-east-1\n",
        emulator.url()
    ))?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    stop.cancelled().await;
    Ok(0)
}

fn load_config(args: &ConfigArgs, run: Option<&RunArgs>) -> Result<ExportConfig, ConfigError> {
    let overrides = Overrides {
        destination: args.destination.clone(),
        max_spend_usd: run.and_then(|r| r.max_spend),
        concurrency: run.and_then(|r| r.concurrency),
        lookback_days: run.and_then(|r| r.lookback_days),
        accounts: args.account.clone(),
        regions: args.region.clone(),
        namespaces: run.map(|r| r.namespace.clone()).unwrap_or_default(),
    };
    load(&args.config, &overrides, &Environment::of_process())
}

fn context(
    config: &ConfigArgs,
    run: Option<(&RunArgs, &AskArgs)>,
    range: &RangeArgs,
    force: bool,
    progress: Progress,
) -> anyhow::Result<RunContext> {
    let config = load_config(config, run.map(|(run, _)| run))?;
    let now = match &range.now {
        None => clock(),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| RangeError {
                flag: "--now",
                message: format!("'{text}' is not an RFC 3339 instant"),
            })?
            .as_second(),
    };
    let ask = run.map(|(_, ask)| ask);
    let request = RangeRequest {
        date: range.date.clone(),
        from: range.from.clone(),
        to: range.to.clone(),
        since: ask.and_then(|a| a.since.clone()),
    };
    let lanes = ask
        .and_then(|a| a.only_failed.as_deref())
        .map(|report| failed_in(report, now))
        .transpose()?;
    let range = match &lanes {
        // Each lane has its own; this is what all of them lie in.
        Some(lanes) => Range::Window(lanes.hull()),
        None => resolve_range(&request, config.run.lookback_days, now)?,
    };
    Ok(RunContext {
        config: Arc::new(config),
        origin: Origin::Standard,
        range,
        lanes,
        now,
        force,
        progress,
        stop: CancellationToken::new(),
    })
}

fn failed_in(report: &std::path::Path, now: i64) -> Result<LaneChoice, RangeError> {
    let refuse = |message: String| RangeError {
        flag: "--only-failed",
        message: format!("{}: {message}", report.display()),
    };
    let text = std::fs::read_to_string(report).map_err(|e| refuse(e.to_string()))?;
    let mut choice = LaneChoice::failed_in(&text).map_err(|e| {
        refuse(match std::error::Error::source(&e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        })
    })?;
    if choice.is_empty() {
        return Err(refuse(
            "nothing in it failed: there is nothing to run again".to_owned(),
        ));
    }
    choice.clip(TimeWindow::days(
        oldest_day(now),
        Day::containing(now).plus(1),
    ));
    if choice.is_empty() {
        return Err(refuse(
            "CloudWatch has none of its days any more".to_owned(),
        ));
    }
    Ok(choice)
}

/// The one place that reads the clock for data.
fn clock() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The result as JSON or as text.
fn print_result(
    json: bool,
    result: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    print(&if json {
        serde_json::to_string_pretty(result)? + "\n"
    } else {
        text()
    })
}

/// A closed stdout is no reason to fail: the work is done. One that is full loses the result, and that is said.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(e).context("writing the result to stdout")
        }
        _ => Ok(()),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() || error.is::<RangeError>() {
        return 2;
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Lake(LakeError::NotWritable { .. })) => 2,
        Some(RunError::Lake(LakeError::Unavailable { .. }) | RunError::Report(_)) => 5,
        Some(RunError::Lake(LakeError::Locked(_))) => 7,
        Some(RunError::Credentials(_)) => 6,
        Some(RunError::OverBudget { .. }) => 8,
        Some(RunError::Stopped(signal)) => {
            if *signal == "SIGTERM" {
                143
            } else {
                130
            }
        }
        Some(RunError::Store(error)) => match error.kind {
            StoreErrorKind::Refused => 2,
            StoreErrorKind::Temporary => 5,
        },
        None => 1,
    }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    let own = |source: &StoreError, otherwise: &str| {
        let hint = source.hint.clone();
        Some(hint.unwrap_or_else(|| otherwise.to_owned()))
    };
    match error.downcast_ref::<RunError>()? {
        RunError::Credentials(cause) => cause.hint.clone(),
        RunError::OverBudget { .. } => Some(
            "cwlake plan shows what costs most; --max-spend or run.max_spend_usd raises the cap"
                .to_owned(),
        ),
        RunError::Lake(LakeError::NotWritable { source, .. }) => own(
            source,
            "nothing was asked of CloudWatch; check destination.url, its permissions and its disk",
        ),
        RunError::Lake(LakeError::Unavailable { source, .. }) => {
            own(source, "nothing was asked of CloudWatch; try again later")
        }
        RunError::Lake(LakeError::Locked(_)) => {
            Some("wait for it to end; a lock whose run died is taken over by itself".to_owned())
        }
        RunError::Report(source) => own(source, "the data is in place, run again to get a report"),
        RunError::Stopped(_) => None,
        RunError::Store(source) => own(source, "nothing was asked of CloudWatch"),
    }
}
