//! `compact`.

use cwlake::cli::CompactArgs;
use cwlake::config::{CompactFlags, Overrides};
use cwlake::exit::Usage;
use cwlake::telemetry::{Progress, stop_on_signals};

use super::{context_of, load_with, overrides, print_result};

pub(super) async fn compact(args: &CompactArgs, progress: Progress) -> anyhow::Result<u8> {
    let lanes = [
        ("account", &args.config.account),
        ("region", &args.config.region),
    ];
    if let Some((flag, _)) = lanes.iter().find(|(_, named)| !named.is_empty()) {
        let text =
            format!("--{flag}: a day is compacted over all accounts and regions: leave it out");
        return Err(Usage(text).into());
    }
    let overrides = Overrides {
        compact: CompactFlags {
            older_than_days: args.older_than,
            target_size_mb: args.target_size,
            prune: args.prune,
        },
        ..overrides(&args.config, None)
    };
    let context = context_of(load_with(&args.config.config, &overrides).await?, progress);
    stop_on_signals(context.stop.clone())?;
    let report = cwlake::compact::compact(&context).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}
