//! `compact`.

use cwlake::cli::CompactArgs;
use cwlake::config::{CompactFlags, Destination, Overrides};
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
    let config = load_with(&args.config.config, &overrides).await?;
    let is_bucket = matches!(config.destination, Destination::S3(_));
    if args.prune && is_bucket && !config.compact.is_configured {
        let text = "--prune: the statements of `cwlake ddl` would not know of the compacted files: add [compact] to the configuration first";
        return Err(Usage(text.to_owned()).into());
    }
    let context = context_of(config, progress);
    stop_on_signals(context.stop.clone())?;
    let report = cwlake::compact::compact(&context).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}
