//! `spend`.

use cwlake::cli::SpendArgs;
use cwlake::exit::Usage;
use cwlake::model::{DAY_SECONDS, Day};
use cwlake::run::{RunContext, alert_as_file, spend, spend_with_alerts};
use cwlake::spend::{spend_csv, spend_text};
use cwlake::telemetry::{Level, Progress, say};
use serde_json::json;

use super::{clock_of, context_of, load_config, look, print_painted};

pub(super) async fn run(args: &SpendArgs, progress: Progress) -> anyhow::Result<u8> {
    let now = clock_of(args.now.as_deref())?;
    let day = day_of(args, now)?;
    let config = load_config(&args.config, None).await?;
    if config.spend.is_none() {
        let text = "spend: the configuration exports no charges: add spend = {} to it";
        return Err(Usage(text.to_owned()).into());
    }
    let wants_alert = args.alert || args.dry_run.is_some();
    if wants_alert && config.alert.is_none() {
        let text = "--alert: the configuration says nothing of alerts: add [alert] to it";
        return Err(Usage(text.to_owned()).into());
    }
    let context = RunContext {
        now,
        ..context_of(config, progress)
    };
    let (report, alerts) = if args.alert && args.dry_run.is_none() {
        let looks_back = args.date.is_none() && args.month.is_none();
        let (report, alerts) = spend_with_alerts(&context, day, looks_back).await?;
        (report, Some(alerts))
    } else {
        (spend(&context, day).await?, None)
    };
    context.progress.finish();
    let mut written = None;
    if let Some(path) = &args.dry_run
        && let Some(mail) = alert_as_file(&context, &report)?
    {
        std::fs::write(path, mail)
            .map_err(|e| Usage(format!("--dry-run: {}: {e}", path.display())))?;
        written = Some(path.display().to_string());
    }
    let mut result = json!(report);
    if let Some(alerts) = &alerts {
        result["alerts"] = json!(alerts);
    }
    if let Some(path) = &written {
        result["written"] = json!(path);
    }
    print_painted(args.json, &result, || {
        if args.csv {
            return spend_csv(&report);
        }
        let mut text = spend_text(&report, &look(false));
        if let Some(alerts) = &alerts {
            text += &alerts.text();
        }
        match (&args.dry_run, &written) {
            (Some(_), Some(path)) => {
                text += &format!("  the alert is in {path}; nothing was sent\n");
            }
            (Some(_), None) => text += "  no budget is breached: there is no alert to write\n",
            _ => {}
        }
        text
    })?;
    if let (Some(alerts), true) = (&alerts, args.csv) {
        say(Level::Info, &alerts.text(), &json!({ "alerts": alerts }));
    }
    if alerts.is_some_and(|a| a.is_short()) {
        return Ok(5);
    }
    Ok(report.exit_code(args.fail_on_breach))
}

/// The day that is looked at: yesterday, a day, or the last of a month that is over.
fn day_of(args: &SpendArgs, now: i64) -> Result<Day, Usage> {
    let today = Day::containing(now);
    let day = match (&args.date, &args.month) {
        (None, None) => today.plus(-1),
        (Some(date), _) => Day::parse(date).ok_or_else(|| {
            Usage(format!(
                "--date: '{}' is not a date such as 2026-11-20",
                date.escape_debug()
            ))
        })?,
        (None, Some(month)) => {
            let first = Day::parse(&format!("{month}-01")).ok_or_else(|| {
                Usage(format!(
                    "--month: '{}' is not a month such as 2026-11",
                    month.escape_debug()
                ))
            })?;
            if first.start() > today.start() {
                return Err(Usage(format!("--month: {month} is in the future")));
            }
            // On the first of a month nothing of it is over.
            let yesterday = today.plus(-1).start().max(first.start());
            Day::containing((first.next_month().start() - DAY_SECONDS).min(yesterday))
        }
    };
    if day.start() > now {
        return Err(Usage(format!("--date: {day} is in the future")));
    }
    Ok(day)
}
