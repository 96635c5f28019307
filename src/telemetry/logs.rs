//! Lines on stderr: of logs, of progress, of the error that ends a command; as text for people, or a JSON object each.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::report::{Look, Paint, printable_lines};

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
    let _ = FORMAT.set(format);
    let levels = |asked: &str| {
        format!(
            "{asked},aws_config={of_sdk},aws_runtime={of_sdk},aws_sdk_cloudwatch={of_sdk},aws_sdk_ec2={of_sdk},aws_sdk_s3={of_sdk},aws_sdk_sts={of_sdk},aws_sdk_sso={of_sdk},\
         aws_sdk_ssooidc={of_sdk},aws_sdk_signin={of_sdk},aws_smithy_runtime={of_sdk},aws_smithy_runtime_api={of_sdk},aws_smithy_http_client={of_sdk},aws_sigv4={of_sdk},\
         hyper={of_sdk},hyper_util={of_sdk},h2={of_sdk},rustls={of_sdk}"
        )
    };
    let filter = EnvFilter::try_new(levels(&asked)).unwrap_or_else(|error| {
        let text = format!("CWLAKE_LOG: {error}: warnings are shown");
        say(Level::Warn, &text, &json!({}));
        EnvFilter::new(levels("warn"))
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| {
            say(Level::Error, &panic.to_string(), &json!({}));
        }));
    }
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

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The form that was asked for.
pub(super) fn format() -> LogFormat {
    *FORMAT.get().unwrap_or(&LogFormat::Text)
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// How far a command is.
    Info,
    /// Something is missing.
    Warn,
    /// It ends a command.
    Error,
}

/// Writes to stderr: a text with its `hint` below it, or a line in the shape that the log lines have, with all `fields` beside its message. A
/// closed stderr is no reason to stop.
pub fn say(level: Level, text: &str, fields: &Value) {
    let mut stderr = std::io::stderr().lock();
    let _ = match format() {
        LogFormat::Text => {
            let look = Look::of(std::io::stderr().is_terminal(), false);
            let head = match level {
                Level::Error => look.painted(Paint::Red, "error:") + " ",
                Level::Info | Level::Warn => String::new(),
            };
            let hint = fields["hint"].as_str().map(|hint| format!("\n  = {hint}"));
            let text = format!("{}{}", text.trim_end(), hint.unwrap_or_default());
            writeln!(stderr, "{head}{}", look.words(&printable_lines(&text)))
        }
        LogFormat::Json => writeln!(stderr, "{}", json_line(level, text, fields)),
    };
}

fn json_line(level: Level, text: &str, fields: &Value) -> Value {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut of_line = json!({ "message": text.trim_end() });
    if let (Some(of_line), Some(fields)) = (of_line.as_object_mut(), fields.as_object()) {
        of_line.extend(fields.clone());
    }
    let now = jiff::Timestamp::now().to_string();
    json!({ "timestamp": now, "level": level, "fields": of_line, "target": "cwlake" })
}
