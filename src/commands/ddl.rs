//! `ddl`.

use std::path::Path;

use cwlake::cli::{DdlArgs, EngineArg};
use cwlake::config::{Destination, ExportConfig};
use cwlake::ddl::{CompactedFiles, Engine, Names, glue_tables, statements};
use cwlake::exit::Usage;
use cwlake::lake::table::{TABLES, Table};
use cwlake::model::Day;
use cwlake::telemetry::Progress;
use serde_json::json;

use super::{context_of, load_offline, print_result};

pub(super) async fn ddl(args: &DdlArgs) -> anyhow::Result<u8> {
    let engine = match args.engine {
        EngineArg::Athena => Engine::Athena,
        EngineArg::Trino => Engine::Trino,
        EngineArg::Spark => Engine::Spark,
        EngineArg::Duckdb => Engine::Duckdb,
        EngineArg::Glue => Engine::Glue,
    };
    let first_day = Day::parse(&args.first_day).ok_or_else(|| {
        Usage(format!(
            "--first-day: '{}' is no day, such as 2024-01-01",
            args.first_day.escape_debug()
        ))
    })?;
    let names = Names::new(&args.database, &args.catalog, first_day)?;
    let config = load_offline(&args.config)?;
    let names = Names {
        compacted: compacted(&config).await?,
        ..names
    };
    if args.register {
        return register(args, &config, engine, &names).await;
    }
    if engine == Engine::Glue {
        let tables = glue_tables(&config, &names)?;
        let mut inputs = vec![json!({ "DatabaseInput": { "Name": names.database } })];
        inputs.extend(tables.iter().map(|t| t.json(&names.database)));
        print_result(true, &inputs, String::new)?;
        return Ok(0);
    }
    let names = Names {
        without_files: without_files(&config, engine),
        ..names
    };
    let statements = statements(&config, engine, &names)?;
    print_result(args.json, &statements, || {
        let sql = statements.iter().map(|s| format!("{};\n", s.sql));
        sql.collect::<Vec<_>>().join("\n")
    })?;
    Ok(0)
}

/// What is read from compacted files. A bucket is asked where the configuration says that there are some: the statements of others need no
/// credentials.
async fn compacted(config: &ExportConfig) -> anyhow::Result<Vec<CompactedFiles>> {
    let is_local = matches!(config.destination, Destination::Local(_));
    if !is_local && !config.compact.is_configured {
        return Ok(Vec::new());
    }
    let context = context_of(config.clone(), Progress::quiet());
    let records = cwlake::compact::compacted(&context).await?;
    let files = records
        .iter()
        .filter_map(|(table, record)| CompactedFiles::of(table, record));
    Ok(files.collect())
}

/// Tables of a local lake of which there is no file.
fn without_files(config: &ExportConfig, engine: Engine) -> Vec<&'static Table> {
    let Destination::Local(root) = &config.destination else {
        return Vec::new();
    };
    let tables = TABLES
        .into_iter()
        .filter(|_| matches!(engine, Engine::Duckdb | Engine::Trino));
    tables
        .filter(|t| !has_file(&root.join(t.name), 2))
        .collect()
}

fn has_file(folder: &Path, depth: usize) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.any(|path| {
        let is_file = path.extension().is_some_and(|e| e == "parquet");
        is_file || depth > 1 && has_file(&path, depth - 1)
    })
}

async fn register(
    args: &DdlArgs,
    config: &ExportConfig,
    engine: Engine,
    names: &Names,
) -> anyhow::Result<u8> {
    if !matches!(engine, Engine::Glue | Engine::Athena) {
        let text = format!(
            "--register: the Glue catalog is read by athena and glue, not by {}",
            engine.name()
        );
        return Err(Usage(text).into());
    }
    register_in_glue(args, config, names).await
}

#[cfg(not(feature = "glue"))]
#[expect(clippy::unused_async, reason = "with Glue it calls")]
async fn register_in_glue(_: &DdlArgs, _: &ExportConfig, _: &Names) -> anyhow::Result<u8> {
    let text = "--register: this build does not speak to Glue (feature 'glue' is off): cwlake ddl --engine glue prints the definitions";
    Err(Usage(text.to_owned()).into())
}

#[cfg(feature = "glue")]
async fn register_in_glue(
    args: &DdlArgs,
    config: &ExportConfig,
    names: &Names,
) -> anyhow::Result<u8> {
    let tables = glue_tables(config, names)?;
    let base = cwlake::aws::BaseSession::load(&cwlake::aws::Origin::Standard, config).await?;
    let of_bucket = match &config.destination {
        cwlake::config::Destination::S3(s3) => s3.region.clone(),
        cwlake::config::Destination::Local(_) => None,
    };
    let region = of_bucket.or_else(|| base.region().cloned());
    let region = region.ok_or_else(|| {
        Usage("--register: no region is known: set destination.region or AWS_REGION".to_owned())
    })?;
    let done =
        cwlake::aws::register_tables(&base, &region, &names.database, &tables, &config.limits)
            .await?;
    let result: Vec<_> = done
        .iter()
        .map(|(name, what)| json!({ "name": name, "result": what }))
        .collect();
    print_result(args.json, &result, || {
        let line = |(name, what): &(String, _)| {
            format!("{name}: {}\n", json!(what).as_str().unwrap_or_default())
        };
        done.iter().map(line).collect()
    })?;
    Ok(0)
}
