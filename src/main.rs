//! parse → run → exit code. The only place that prints errors.

mod commands;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use cwlake::cli::{Cli, LogFormatArg};
use cwlake::exit;
use cwlake::report::printable_lines;
use cwlake::telemetry::{LogFormat, start_logs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs(match cli.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    });
    match runtime().and_then(|runtime| runtime.block_on(commands::run(cli))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = printable_lines(&format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "error: {text}");
            if let Some(hint) = exit::hint(&error) {
                let _ = writeln!(std::io::stderr(), "  = {}", printable_lines(&hint));
            }
            ExitCode::from(exit::code(&error))
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
