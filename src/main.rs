//! parse → run → exit code. The only place that prints errors.

mod commands;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use cwlake::cli::{Cli, LogFormatArg};
use cwlake::exit;
use cwlake::telemetry::{Level, LogFormat, say, start_logs};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && asks_for_json() => {
            start_logs(LogFormat::Json);
            let text = error.to_string();
            tell(text.trim_start_matches("error: "), None, exit::USAGE);
            return ExitCode::from(exit::USAGE);
        }
        Err(error) => error.exit(),
    };
    start_logs(match cli.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    });
    keep_memory_private();
    match runtime().and_then(|runtime| runtime.block_on(commands::run(cli))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = exit::code(&error);
            tell(&format!("{error:#}"), exit::hint(&error).as_deref(), code);
            ExitCode::from(code)
        }
    }
}

/// Sessions and passwords are in memory: no core file is written, and no other process of this user may look.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        // A sandbox may refuse it, and the run is no worse than any other program's.
        tracing::warn!(%error, "a crash could leave a core file with credentials");
    }
}

/// What ended the command, with what helps.
fn tell(text: &str, hint: Option<&str>, code: u8) {
    let fields = match hint {
        Some(hint) => json!({ "hint": hint, "exit_code": code }),
        None => json!({ "exit_code": code }),
    };
    say(Level::Error, text, &fields);
}

/// Whether the words typed ask for lines of JSON, of a command that could not be understood.
fn asks_for_json() -> bool {
    let words = std::env::args_os();
    let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    let is_form = |pair: &[String]| pair[0] == "--log-format" && pair[1] == "json";
    words.iter().any(|word| word == "--log-format=json") || words.windows(2).any(is_form)
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
