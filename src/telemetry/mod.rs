//! What a person or a log collector sees while a run is under way: progress on stderr, logs, and the signal that stops it.

mod logs;
mod progress;
mod prometheus;

pub use self::prometheus::write_metrics;
pub use logs::{Level, LogFormat, say, start_logs};
pub use progress::Progress;

use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

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
            say(
                Level::Warn,
                "stopping: what is finished stays; once more to stop at once",
                &serde_json::json!({}),
            );
            stop.cancel();
        }
    });
    Ok(())
}
