//! One function a command: configuration, run, result on stdout.

mod compact;
mod ddl;
mod iam;
mod init;
mod man;
mod report;
mod shards;
mod spend;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::CommandFactory;
use cwlake::aws::Origin;
use cwlake::cli::{
    AccountsArgs, AskArgs, CheckArgs, Cli, Command, ConfigArgs, DiscoverArgs, DoctorArgs,
    ExportArgs, MetricsFileArg, PlanArgs, PresetsArgs, RangeArgs, RunArgs, StatusArgs, VerifyArgs,
};
use cwlake::config::{
    ConfigError, Environment, ExportConfig, FileConfig, Overrides, Preset, Range, RangeError,
    RangeRequest, load, load_text, oldest_day, presets, resolve_range,
};
use cwlake::exit::{self, Usage};
use cwlake::model::{Day, TimeWindow};
use cwlake::report::{Look, RunReport, plan_text, presets_text, printable_lines, unpacked};
use cwlake::run::{LaneChoice, RunContext, RunError, Sharing};
use cwlake::telemetry::{Level, Progress, say, stop_on_signals};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Runs what was typed; returns the exit code.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<u8> {
    let progress = if cli.quiet {
        Progress::quiet()
    } else {
        Progress::to_stderr()
    };
    match cli.command {
        Command::Init(args) => init::init(&args, progress).await,
        Command::Check(args) => check(&args),
        Command::Doctor(args) => doctor(&args, progress).await,
        Command::Accounts(args) => accounts(&args, progress).await,
        Command::Discover(args) => discover(&args, progress).await,
        Command::Spend(args) => Box::pin(spend::run(&args, progress)).await,
        Command::Iam(args) => iam::iam(&args).await,
        Command::Ddl(args) => ddl::ddl(&args).await,
        Command::Presets(args) => list_presets(&args),
        Command::Schema => {
            print_result(true, &schemars::schema_for!(FileConfig), String::new)?;
            Ok(0)
        }
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "cwlake", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(0)
        }
        Command::Man(args) => man::man(&args),
        Command::Plan(args) => plan(&args, progress).await,
        Command::Status(args) => status(&args, progress).await,
        Command::Report(args) => Box::pin(report::report(&args, progress)).await,
        Command::Verify(args) => verify(&args, progress).await,
        Command::Export(args) => export(&args, progress).await,
        Command::Compact(args) => compact::compact(&args, progress).await,
        Command::Gather(args) => shards::gather(&args, progress).await,
        #[cfg(feature = "emulator")]
        Command::Demo(args) => demo(&args, progress).await,
        #[cfg(feature = "emulator")]
        Command::Emulate(args) => emulate(&args).await,
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let config = load_offline(&args.config)?;
    let organization = config.organization.is_some();
    let result = json!({
        "config": args.config.config.display().to_string(),
        "accounts": config.accounts.len(),
        "organization": organization,
        "selections": config.selections.len(),
        "datasets": config.datasets,
        "budgets": config.budgets.len(),
        "destination": config.destination.to_string(),
    });
    let names: Vec<&str> = config.datasets.iter().map(|d| d.name()).collect();
    print_result(args.json, &result, || {
        format!(
            "{}: ok, {} accounts{}, {} selections of metrics, exports {}, lake in {}\n",
            args.config.config.display(),
            config.accounts.len(),
            if organization {
                " and those of the organization"
            } else {
                ""
            },
            config.selections.len(),
            names.join(", "),
            config.destination
        )
    })?;
    Ok(0)
}

async fn plan(args: &PlanArgs, progress: Progress) -> anyhow::Result<u8> {
    let (config, range, run) = (&args.config, &args.range, Some((&args.run, &args.ask)));
    let mut context = context(config, run, range, args.force, progress).await?;
    if args.shards.is_none() {
        context.sharing = shards::sharing(&args.shard, range, &args.ask, &context)?;
    }
    let asked = context;
    let (context, planned) = cwlake::run::plan(&asked).await?;
    context.progress.finish();
    let report = planned.report(&context);
    if let Some(of) = args.shards {
        return shards::deal(args, of, (&asked, &context), &planned).await;
    }
    print_result(args.json, &report, || {
        plan_text(&report, None, &look(false))
    })?;
    Ok(report.exit_code())
}

async fn export(args: &ExportArgs, progress: Progress) -> anyhow::Result<u8> {
    let (config, range, run) = (&args.config, &args.range, Some((&args.run, &args.ask)));
    let prepared = async {
        let mut context = context(config, run, range, args.force, progress).await?;
        context.sharing = shards::sharing(&args.shard, range, &args.ask, &context)?;
        stop_on_signals(context.stop.clone()).context("installing signal handlers")?;
        Ok::<_, anyhow::Error>(context)
    };
    let prepared = prepared.await;
    if let (Err(error), Some(file)) = (&prepared, &args.metrics.metrics_file) {
        write_metrics(file, clock(), None, exit::code(error));
    }
    let context = prepared?;
    let ended = cwlake::run::export(&context).await;
    let report = report_of(ended, &context, &args.metrics).await?;
    let text = || report.text_for(&look(args.all));
    let is_heard = !report.is_unheard();
    if args.json || !context.progress.is_quiet() {
        print_result(args.json, &report, text)?;
    } else if report.exit_code() != 0 || !is_heard {
        // Nobody is told of what is well.
        say(
            Level::Warn,
            &text(),
            &json!({ "exit_code": report.exit_code() }),
        );
    }
    Ok(report.exit_code())
}

/// The report of a run that came to its end. Either way the figures of the run are written; of one that has none whoever is to be told is told.
async fn report_of(
    ended: Result<RunReport, RunError>,
    context: &RunContext,
    metrics: &MetricsFileArg,
) -> anyhow::Result<RunReport> {
    let ended = ended.map_err(anyhow::Error::from);
    let code = match &ended {
        Ok(report) => report.exit_code(),
        Err(error) => exit::code(error),
    };
    if let Some(file) = &metrics.metrics_file {
        write_metrics(file, context.now, ended.as_ref().ok(), code);
    }
    // Of a signal whoever sent it knows, and of a shard `gather` tells.
    let is_told = !matches!(code, 130 | 143) && matches!(context.sharing, Sharing::Whole);
    if let (Err(error), true) = (&ended, is_told) {
        let (text, hint) = (format!("{error:#}"), exit::hint(error));
        let told = cwlake::run::tell_of_failure(context, &text, hint, code).await;
        // What was told before is known.
        if let Some(told) = told.filter(|told| !told.text().is_empty()) {
            say(Level::Info, &told.text(), &json!({ "notices": told }));
        }
    }
    ended
}

/// A file that cannot be written is told of: it never changes how a run ends.
fn write_metrics(file: &Path, now: i64, report: Option<&RunReport>, exit_code: u8) {
    if let Err(error) = cwlake::telemetry::write_metrics(file, now, report, exit_code) {
        let text = format!("--metrics-file: {}: {error}", file.display());
        say(Level::Warn, &text, &json!({}));
    }
}

/// A run about the days given, or without dates about the last 30; and whether it is that.
async fn last_days(
    config: &ConfigArgs,
    range: &RangeArgs,
    progress: Progress,
) -> anyhow::Result<(RunContext, bool)> {
    let mut context = context(config, None, range, false, progress).await?;
    let is_open = range.date.is_none() && range.from.is_none();
    if is_open {
        let today = Day::containing(context.now);
        context.range = Range::Window(TimeWindow::days(today.plus(-30), today));
    }
    Ok((context, is_open))
}

/// Without dates, the last 30 days, from the first of which anything is known.
async fn status(args: &StatusArgs, progress: Progress) -> anyhow::Result<u8> {
    let (context, is_open) = last_days(&args.config, &args.range, progress).await?;
    let report = cwlake::inspect::status(&context, is_open).await?;
    context.progress.finish();
    print_painted(args.json, &report, || report.text_for(&look(args.all)))?;
    Ok(report.exit_code())
}

/// Without dates, the whole lake.
async fn verify(args: &VerifyArgs, progress: Progress) -> anyhow::Result<u8> {
    let context = context(&args.config, None, &args.range, false, progress).await?;
    let dated = args.range.date.is_some() || args.range.from.is_some();
    let range = dated.then(|| context.range.window());
    let report = cwlake::inspect::verify(&context, range).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}

#[cfg(feature = "emulator")]
async fn demo(args: &cwlake::cli::DemoArgs, progress: Progress) -> anyhow::Result<u8> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let setting = cwlake::demo::Setting {
        folder: &args.folder,
        program: &called(),
        now: clock(),
        listen: args.serve.unwrap_or(any),
        is_served: args.serve.is_some(),
    };
    let demo = Box::pin(cwlake::demo::demo(&setting, progress)).await?;
    print_result(args.json, &demo.report, || demo.text)?;
    if args.serve.is_some() {
        if std::env::var_os("CWLAKE_NOW").is_none() {
            demo.emulator.follow_clock();
        }
        until_stopped().await?;
    }
    Ok(demo.exit_code)
}

/// How this program was called: its name where it is on the path, else the way to it, as after `cargo demo`.
#[cfg(feature = "emulator")]
fn called() -> String {
    let first = std::env::args().next();
    first.unwrap_or_else(|| "cwlake".to_owned())
}

/// Until a signal comes.
#[cfg(feature = "emulator")]
async fn until_stopped() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).context("installing signal handlers")?;
    stop.cancelled().await;
    Ok(())
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
    let emulator = Emulator::start(world, args.listen).await.map_err(|e| {
        let remedy = "give another address, or port 0 for any that is free";
        Usage(format!(
            "--listen: {} cannot be listened on: {e}: {remedy}",
            args.listen
        ))
    })?;
    if let Some(dir) = &args.load {
        let points = emulator.load(dir)?;
        let text = format!("{points} points loaded from {}", dir.display());
        say(Level::Info, &text, &json!({ "points": points }));
    }
    let url = emulator.url();
    print_result(
        args.json,
        &json!({ "url": url, "access_key_id": root }),
        || cwlake::demo::environment(&url, &root) + "\n",
    )?;
    until_stopped().await?;
    Ok(0)
}

async fn doctor(args: &DoctorArgs, progress: Progress) -> anyhow::Result<u8> {
    let context = context_of(load_config(&args.config, None).await?, progress);
    let report = cwlake::inspect::doctor(&context).await?;
    print_painted(args.json, &report, || report.text_for(&look(args.all)))?;
    Ok(report.exit_code())
}

async fn accounts(args: &AccountsArgs, progress: Progress) -> anyhow::Result<u8> {
    let context = context_of(load_config(&args.config, None).await?, progress);
    let list = cwlake::inspect::accounts(&context).await?;
    context.progress.finish();
    print_painted(args.json, &list, || list.text_for(&look(false)))?;
    Ok(list.exit_code())
}

async fn discover(args: &DiscoverArgs, progress: Progress) -> anyhow::Result<u8> {
    let overrides = Overrides {
        namespaces: args.namespace.clone(),
        ..overrides(&args.config, None)
    };
    let config = load_with(&args.config.config, &overrides).await?;
    let context = context_of(config, progress);
    let report = cwlake::inspect::discover(&context, args.series).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text_for(&look(false)))?;
    Ok(report.exit_code())
}

fn list_presets(args: &PresetsArgs) -> anyhow::Result<u8> {
    let all = presets();
    // The words typed were held against their names.
    let named = args.name.as_deref();
    let named = named.and_then(|name| all.iter().find(|p| p.name == name));
    match named {
        Some(preset) => print_result(args.json, preset, || preset_text(preset))?,
        None => print_result(args.json, &all, || presets_text(&all, &look(false)))?,
    }
    Ok(0)
}

/// A preset as tables of a configuration.
fn preset_text(preset: &Preset) -> String {
    let mut text = format!("# {}: {}\n", preset.name, preset.description);
    for source in &preset.sources {
        text += &format!("# {source}\n");
    }
    for table in &preset.tables {
        text += &format!(
            "\n[[metrics]]\nnamespace = {:?}\nmetrics = {:?}\nstatistics = {:?}\n",
            table.namespace, table.metrics, table.statistics
        );
    }
    text
}

/// Somebody waits for the answer: a service that does not answer is told after so many tries.
const ATTEMPTS_BESIDE_RUNS: u32 = 3;

/// A run that is about no days.
fn context_of(mut config: ExportConfig, progress: Progress) -> RunContext {
    let now = clock();
    config.limits.attempts = config.limits.attempts.min(ATTEMPTS_BESIDE_RUNS);
    RunContext {
        config: Arc::new(config),
        store: None,
        origin: Origin::Standard,
        range: Range::Window(TimeWindow::days(Day::containing(now), Day::containing(now))),
        is_backfill: false,
        lanes: None,
        beside: Arc::default(),
        pruned: Arc::default(),
        sharing: Sharing::Whole,
        now,
        read_at: std::time::Instant::now(),
        force: false,
        progress,
        stop: CancellationToken::new(),
    }
}

fn overrides(args: &ConfigArgs, run: Option<&RunArgs>) -> Overrides {
    Overrides {
        destination: args.destination.clone(),
        max_spend_usd: run.and_then(|r| r.max_spend),
        concurrency: run.and_then(|r| r.concurrency),
        lookback_days: run.and_then(|r| r.lookback_days),
        accounts: args.account.clone(),
        regions: args.region.clone(),
        datasets: args.dataset.clone(),
        namespaces: run.map(|r| r.namespace.clone()).unwrap_or_default(),
        ..Overrides::default()
    }
}

/// The configuration for a command that neither calls AWS nor names anything of it.
fn load_offline(args: &ConfigArgs) -> Result<ExportConfig, ConfigError> {
    let overrides = overrides(args, None);
    load(&args.config, &overrides, &Environment::of_process())
}

async fn load_config(
    args: &ConfigArgs,
    run: Option<&RunArgs>,
) -> Result<ExportConfig, ConfigError> {
    load_with(&args.config, &overrides(args, run)).await
}

/// The configuration. Where no variable and no list names a region, the session's decides on the partition: what is wrong with the file is
/// said before it is looked for.
async fn load_with(file: &Path, overrides: &Overrides) -> Result<ExportConfig, ConfigError> {
    let environment = Environment::of_process();
    let text = FileConfig::read_text(file)?;
    let config = load_text(file, &text, overrides, &environment)?;
    if !config.partition_is_guessed() {
        return Ok(config);
    }
    match cwlake::aws::session_region(&config.network).await {
        Some(region) => load_text(file, &text, overrides, &environment.with_region(&region)),
        None => Ok(config),
    }
}

async fn context(
    config: &ConfigArgs,
    run: Option<(&RunArgs, &AskArgs)>,
    range: &RangeArgs,
    force: bool,
    progress: Progress,
) -> anyhow::Result<RunContext> {
    let config = load_config(config, run.map(|(run, _)| run)).await?;
    let now = clock_of(range.now.as_deref())?;
    let ask = run.map(|(_, ask)| ask);
    let request = RangeRequest {
        date: range.date.clone(),
        from: range.from.clone(),
        to: range.to.clone(),
        since: ask.and_then(|a| a.since.clone()),
    };
    let only_failed = ask.and_then(|a| a.only_failed.as_deref());
    let mut context = RunContext {
        range: resolve_range(&request, config.run.lookback_days, now)?,
        config: Arc::new(config),
        store: None,
        origin: Origin::Standard,
        is_backfill: request.to.is_some() || only_failed.is_some(),
        lanes: None,
        beside: Arc::default(),
        pruned: Arc::default(),
        sharing: Sharing::Whole,
        now,
        read_at: std::time::Instant::now(),
        force,
        progress,
        stop: CancellationToken::new(),
    };
    if let Some(report) = only_failed {
        let lanes = failed_in(report, &context).await?;
        // Each lane has its own; this is what all of them lie in.
        context.range = Range::Window(lanes.hull());
        context.lanes = Some(lanes);
    }
    Ok(context)
}

/// The text of a run's report: of a file, of the last run, or of the run of a name or an address.
async fn past_text(flag: &str, report: &str, context: &RunContext) -> anyhow::Result<String> {
    let refuse = |message: String| Usage(format!("{flag}: {report}: {message}"));
    let begins_with_a_day = report
        .get(..10)
        .is_some_and(|day| Day::parse(day).is_some());
    let is_of_lake = report == "last" || report.contains("://") || begins_with_a_day;
    if !is_of_lake || Path::new(report).exists() {
        if std::fs::metadata(report).is_ok_and(|meta| !meta.is_file()) {
            return Err(refuse("it is no ordinary file".to_owned()).into());
        }
        let kept = std::fs::read(report).map_err(|e| refuse(e.to_string()))?;
        return Ok(unpacked(&kept).map_err(|e| refuse(e.to_string()))?);
    }
    let kept = cwlake::inspect::past_report(context, report).await?;
    Ok(kept.ok_or_else(|| refuse("the lake has no such report".to_owned()))?)
}

async fn failed_in(report: &str, context: &RunContext) -> anyhow::Result<LaneChoice> {
    let now = context.now;
    let refuse = |message: String| RangeError {
        flag: "--only-failed",
        message: format!("{report}: {message}"),
    };
    let text = past_text("--only-failed", report, context).await?;
    let mut choice = LaneChoice::failed_in(&text).map_err(|e| {
        refuse(match std::error::Error::source(&e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        })
    })?;
    if choice.is_empty() {
        let why = "nothing in it failed: there is nothing to run again";
        return Err(refuse(why.to_owned()).into());
    }
    choice.clip(TimeWindow::days(
        oldest_day(now),
        Day::containing(now).plus(1),
    ));
    if choice.is_empty() {
        let why = "CloudWatch has none of its days any more";
        return Err(refuse(why.to_owned()).into());
    }
    Ok(choice)
}

/// The instant given, or now.
fn clock_of(given: Option<&str>) -> Result<i64, RangeError> {
    let Some(text) = given else {
        return Ok(clock());
    };
    let instant = text.parse::<jiff::Timestamp>().map_err(|_| RangeError {
        flag: "--now",
        message: format!("'{text}' is not an RFC 3339 instant"),
    })?;
    Ok(instant.as_second())
}

/// The time now: the one place that reads the clock for data. Tests give another.
fn clock() -> i64 {
    let given = std::env::var("CWLAKE_NOW").ok();
    let given = given.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    given.unwrap_or_else(jiff::Timestamp::now).as_second()
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
        look(false).words(&printable_lines(&text()))
    })
}

/// The same of a text whose parts are printable one by one: its colours are ours.
fn print_painted(
    json: bool,
    result: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if json {
        print_result(json, result, text)
    } else {
        print(&text())
    }
}

/// How texts are shown on stdout.
fn look(all: bool) -> Look {
    Look::of(std::io::stdout().is_terminal(), all)
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
