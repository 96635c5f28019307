//! `report`: a page about a lake, or the report of one run.

use anyhow::Context;
use cwlake::cli::ReportArgs;
use cwlake::exit::Usage;
use cwlake::inspect::overview;
use cwlake::page::lake_page;
use cwlake::report::{RunReport, counted, size};
use cwlake::telemetry::Progress;
use serde_json::{Value, json};

use super::{last_days, look, past_text, print, print_result};

pub(super) async fn report(args: &ReportArgs, progress: Progress) -> anyhow::Result<u8> {
    let (context, is_open) = last_days(&args.config, &args.range, progress).await?;
    if let Some(run) = &args.run {
        let text = past_text("--run", run, &context).await?;
        context.progress.finish();
        return past(args, run, &text);
    }
    context.progress.stage("reading the manifests");
    let overview = overview(&context, is_open).await?;
    context.progress.finish();
    if args.json {
        print_result(true, &overview, String::new)?;
        return Ok(0);
    }
    let page = lake_page(&overview).context("making the page")?;
    if args.output.as_os_str() == "-" {
        print(&page)?;
        return Ok(0);
    }
    std::fs::write(&args.output, &page)
        .map_err(|e| Usage(format!("--output: {}: {e}", args.output.display())))?;
    let status = &overview.status;
    let accounts = counted(status.accounts.len(), "account");
    let days = counted(status.days().len(), "day");
    let written = json!({ "written": args.output, "bytes": page.len() });
    print_result(false, &written, || {
        format!(
            "{}: {accounts}, {days}, {}\n",
            args.output.display(),
            size(page.len() as u64)
        )
    })?;
    Ok(0)
}

/// Shows the report of a run that has been.
fn past(args: &ReportArgs, run: &str, text: &str) -> anyhow::Result<u8> {
    let of_run = || format!("--run: {run}: it is not a run report of cwlake");
    let report: RunReport =
        serde_json::from_str(text).map_err(|e| Usage(format!("{}: {e}", of_run())))?;
    if args.json {
        let whole: Value = serde_json::from_str(text).context("reading the report again")?;
        print_result(true, &whole, String::new)?;
    } else {
        let head = format!(
            "run {} of {}, begun {}\n",
            report.run_id, report.destination, report.started_at
        );
        print_result(false, &report, || head + &report.text_for(&look(args.all)))?;
    }
    Ok(report.exit_code())
}
