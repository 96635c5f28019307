//! What a person or a log collector sees while a run is under way: progress on stderr, logs, and the signal that stops it.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::model::{Dataset, UnitOutcome};
use crate::report::{LaneReport, Look, RunReport, UnitReport, grouped, plan_text};

/// Lines of the plan shown before a run; `cwlake plan` shows them all.
const PLAN_LINES: usize = 20;

/// Shows how far a run is: a bar on a terminal, plain lines elsewhere, or nothing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress(Mode);

#[derive(Clone, Debug)]
enum Mode {
    Quiet,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Nothing is shown.
    pub fn quiet() -> Self {
        Self(Mode::Quiet)
    }

    /// Whether nothing is shown.
    pub fn is_quiet(&self) -> bool {
        matches!(self.0, Mode::Quiet)
    }

    /// A bar when stderr is a terminal that can draw one, else lines.
    pub fn to_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        if !std::io::stderr().is_terminal() || dumb {
            return Self(Mode::Lines);
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Mode::Bar(bar))
    }

    /// A stage begins.
    pub fn stage(&self, text: &str) {
        match &self.0 {
            Mode::Quiet => {}
            Mode::Lines => line(text),
            Mode::Bar(bar) => bar.set_message(text.to_owned()),
        }
    }

    /// The plan is made; this is printed before anything is spent.
    pub fn plan(&self, report: &RunReport) {
        let screen = std::io::stderr().is_terminal();
        let text = plan_text(report, Some(PLAN_LINES), &Look::of(screen, false));
        match &self.0 {
            Mode::Quiet => {}
            Mode::Lines => line(text.trim_end()),
            Mode::Bar(bar) => bar.println(text.trim_end()),
        }
    }

    /// So many lanes will be exported.
    pub fn lanes(&self, count: usize) {
        if let Mode::Bar(bar) = &self.0 {
            let style =
                ProgressStyle::with_template("{bar:32} {pos}/{len} lanes {elapsed} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(count as u64);
            bar.set_position(0);
            bar.set_message("");
        }
    }

    /// One dataset is done in a lane.
    pub fn lane_done(&self, lane: &LaneReport, units: &[UnitReport]) {
        let dataset = match lane.dataset {
            Dataset::Metrics => String::new(),
            other => format!(" {}", other.name()),
        };
        let name = format!("{}/{}{dataset}", lane.account_id, lane.region);
        self.done(&name, lane.seconds, units);
    }

    fn done(&self, name: &str, seconds: f64, units: &[UnitReport]) {
        let rows: u64 = units
            .iter()
            .filter(|u| u.outcome == UnitOutcome::Written)
            .map(|u| u.rows)
            .sum();
        let words = [
            UnitOutcome::Written,
            UnitOutcome::Empty,
            UnitOutcome::Skipped,
            UnitOutcome::Forbidden,
            UnitOutcome::Failed,
        ]
        .into_iter()
        .map(|o| (units.iter().filter(|u| u.outcome == o).count(), o.as_str()))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect::<Vec<_>>()
        .join(", ");
        let text = format!("{name}: {words}; {} rows in {seconds:.1} s", grouped(rows));
        match &self.0 {
            Mode::Quiet => {}
            Mode::Lines => line(&text),
            Mode::Bar(bar) => {
                bar.inc(1);
                bar.set_message(text);
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(&self) {
        if let Mode::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A closed stderr is no reason to stop.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Form of the log lines on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr at the level of `CWLAKE_LOG` (for example `debug` or `cwlake=trace`); warnings by default.
///
/// The AWS SDK's own logs stay at errors: what it warns of is its inner state, and what matters of that is told by us. Where a level is asked
/// for they stay at warnings, since its trace level prints whole requests.
pub fn start_logs(format: LogFormat) {
    let asked = std::env::var("CWLAKE_LOG").ok();
    let of_sdk = if asked.is_some() { "warn" } else { "error" };
    let asked = asked.unwrap_or_else(|| "warn".to_owned());
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "{asked},aws_config={of_sdk},aws_runtime={of_sdk},aws_sdk_cloudwatch={of_sdk},aws_sdk_ec2={of_sdk},aws_sdk_s3={of_sdk},aws_sdk_sts={of_sdk},aws_sdk_sso={of_sdk},\
         aws_sdk_ssooidc={of_sdk},aws_sdk_signin={of_sdk},aws_smithy_runtime={of_sdk},aws_smithy_runtime_api={of_sdk},aws_smithy_http_client={of_sdk},aws_sigv4={of_sdk},\
         hyper={of_sdk},hyper_util={of_sdk},h2={of_sdk},rustls={of_sdk}"
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder
            .with_ansi(Look::of(std::io::stderr().is_terminal(), false).colour)
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
}

static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// The signal that stopped the run.
pub fn stop_signal() -> &'static str {
    if SIGNAL.load(Ordering::Relaxed) == 15 {
        "SIGTERM"
    } else {
        "SIGINT"
    }
}

/// Cancels `stop` at SIGINT or SIGTERM; a second one ends the process at once with 130 or 143.
///
/// # Errors
/// When the handlers cannot be installed.
#[cfg(unix)]
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            if stop.is_cancelled() {
                std::process::exit(128 + i32::from(number));
            }
            SIGNAL.store(number, Ordering::Relaxed);
            line("stopping: what is finished stays; once more to stop at once");
            stop.cancel();
        }
    });
    Ok(())
}
