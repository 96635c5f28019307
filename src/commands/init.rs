//! `init`.

use anyhow::Context;
use cwlake::cli::InitArgs;
use cwlake::config::{Overrides, presets};
use cwlake::exit::Usage;
use cwlake::init::{EXTERNAL_IDS, InitError, Start, add_missing_ids, write_config};
use cwlake::model::AccountId;
use cwlake::telemetry::Progress;
use serde_json::json;

use super::{context_of, load_with, print_result};

pub(super) async fn init(args: &InitArgs, progress: Progress) -> anyhow::Result<u8> {
    let mut written = Vec::new();
    if !args.missing_ids {
        write_new(args)?;
        written.push(args.config.display().to_string());
    }
    let mut added = 0;
    if args.missing_ids || args.organization {
        let (file, count) = missing_ids(args, progress).await.with_context(|| {
            if written.is_empty() {
                "adding external ids".to_owned()
            } else {
                format!(
                    "{} is written, {EXTERNAL_IDS} is not: cwlake init --missing-ids writes it",
                    args.config.display()
                )
            }
        })?;
        added = count;
        if added > 0 {
            written.push(file);
        }
    }
    let result = json!({ "written": written, "external_ids_added": added });
    print_result(args.json, &result, || {
        let mut text = match written.as_slice() {
            [] => "every account has its external id\n".to_owned(),
            files => format!("written: {}\n", files.join(", ")),
        };
        if added > 0 {
            text += &format!("{added} external ids added\n");
        }
        text + "next: cwlake iam --principal … prints the policies, cwlake doctor tries them, cwlake plan tells the cost\n"
    })?;
    Ok(0)
}

fn write_new(args: &InitArgs) -> anyhow::Result<()> {
    let known = presets();
    if let Some(unknown) = args
        .preset
        .iter()
        .find(|p| !known.iter().any(|k| k.name == p.as_str()))
    {
        let names: Vec<&str> = known.iter().map(|k| k.name).collect();
        let names = names.join(", ");
        return Err(Usage(format!(
            "--preset: '{}' is not a preset; the presets are {names}",
            unknown.escape_debug()
        ))
        .into());
    }
    let account = |id: &String| {
        AccountId::parse(id).ok_or_else(|| {
            Usage(format!(
                "--account: '{}' is not twelve digits",
                id.escape_debug()
            ))
        })
    };
    let mut accounts = args
        .account
        .iter()
        .map(account)
        .collect::<Result<Vec<_>, _>>()?;
    accounts.sort();
    accounts.dedup();
    let start = Start {
        destination: args.destination.clone(),
        accounts,
        organization: args.organization,
        presets: args.preset.clone(),
    };
    write_config(&args.config, &start).map_err(|error| match error {
        // Accounts and presets were looked at before: this is what is left.
        InitError::Config(config) => match config.problems().first() {
            Some(p) => {
                let remedy = p
                    .remedy
                    .as_deref()
                    .map_or(String::new(), |r| format!(": {r}"));
                anyhow::Error::from(Usage(format!("--destination: {}{remedy}", p.message)))
            }
            None => config.into(),
        },
        other => other.into(),
    })?;
    Ok(())
}

/// Adds external ids for the accounts of a configuration that have none; returns the file and how many.
async fn missing_ids(args: &InitArgs, progress: Progress) -> anyhow::Result<(String, usize)> {
    let overrides = Overrides {
        external_ids_may_be_missing: true,
        ..Overrides::default()
    };
    let config = load_with(&args.config, &overrides).await?;
    let path = config.external_ids_file.clone().ok_or(InitError::NoFile)?;
    let context = context_of(config, progress);
    let list = cwlake::inspect::accounts(&context).await?;
    context.progress.finish();
    let own = |id: &AccountId| context.config.has_own_external_id(id);
    let accounts: Vec<AccountId> = list
        .accounts
        .iter()
        .filter_map(|a| AccountId::parse(&a.account_id))
        .filter(|id| !own(id))
        .collect();
    let added = add_missing_ids(&path, &accounts)?;
    Ok((path.display().to_string(), added.len()))
}
