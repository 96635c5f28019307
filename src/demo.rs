//! `cwlake demo`: the real pipeline against the embedded emulator, and a first look at what it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio_util::sync::CancellationToken;

use crate::accounts::Origin;
use crate::config::{Environment, Overrides, RangeRequest, load, resolve_range};
use crate::emulator::{Emulator, World};
use crate::model::{Day, iso_seconds};
use crate::report::{RunReport, grouped};
use crate::run::{RunContext, export};
use crate::telemetry::Progress;

/// The emulated AWS of the demo.
pub const WORLD: &str = include_str!("../sample-data/demo-world.toml");
const CONFIG: &str = include_str!("../sample-data/demo.toml");
const CALLER: &str = "999900001111";

/// What the demo leaves to print.
#[derive(Debug)]
pub struct Demo {
    /// The run, its cost and the queries.
    pub text: String,
    /// The report of the run.
    pub report: RunReport,
    /// 0 when the run ended as it should, with one account denied; 1 otherwise.
    pub exit_code: u8,
}

/// The demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder cannot be used.
    #[error("using {}", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// The emulator does not start.
    #[error("starting the emulator")]
    Emulator(#[source] std::io::Error),
    /// The demo's own files are wrong.
    #[error("the demo's own settings: {0}")]
    Settings(String),
    /// The run did not come to a report.
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    /// The lake cannot be read back.
    #[error("reading the lake back")]
    ReadBack(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Exports two days of an emulated organization to `folder`, and queries them.
///
/// # Errors
/// [`DemoError`].
pub async fn demo(folder: &Path, now: i64, progress: Progress) -> Result<Demo, DemoError> {
    let io = |e| DemoError::Folder(folder.to_owned(), e);
    std::fs::create_dir_all(folder).map_err(io)?;
    let config_path = folder.join("cwlake.toml");
    std::fs::write(&config_path, CONFIG).map_err(io)?;
    let world = World::from_toml(WORLD).map_err(|e| DemoError::Settings(e.to_string()))?;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let emulator = Emulator::start(world, listen)
        .await
        .map_err(DemoError::Emulator)?;
    let config = load(&config_path, &Overrides::default(), &Environment::default())
        .map_err(|e| DemoError::Settings(e.to_string()))?;
    let range = resolve_range(&RangeRequest::default(), config.run.lookback_days, now)
        .map_err(|e| DemoError::Settings(e.to_string()))?;
    let context = RunContext {
        config: Arc::new(config),
        origin: Origin::Emulator {
            url: emulator.url(),
            access_key_id: CALLER.to_owned(),
        },
        range,
        lanes: None,
        now,
        force: false,
        progress,
        stop: CancellationToken::new(),
    };
    let report = export(&context).await?;
    let files = written_files(folder, &report);
    let mut text = narrate(folder, &report, &files).map_err(DemoError::ReadBack)?;
    let spent = crate::run::spend(&context, Day::containing(now).plus(-1)).await?;
    let lake = folder.display();
    text += &format!(
        "CPU by the team that instances are tagged with, from the inventory beside the metrics:\n\n\
         SELECT i.tags['Team'] AS team, round(avg(m.value), 2) AS cpu\nFROM '{lake}/metrics/**/*.parquet' AS m\n\
         JOIN '{lake}/instances/**/*.parquet' AS i\n  \
         ON i.account_id = m.account_id AND i.region = m.region AND i.instance_id = m.dimensions['InstanceId']\n\
         WHERE m.metric_name = 'CPUUtilization' AND m.stat = 'Average'\nGROUP BY team ORDER BY team;\n\n\
         What was spent, as cwlake spend shows it:\n\n{}",
        crate::spend::spend_text(&spent)
    );
    // Denied on purpose: account 333344445555. Anything else would be a fault.
    let as_meant =
        report.exit_code() == 3 && report.totals.failed == 0 && report.totals.incomplete == 0;
    Ok(Demo {
        text,
        report,
        exit_code: u8::from(!as_meant),
    })
}

fn written_files(folder: &Path, report: &RunReport) -> Vec<PathBuf> {
    report
        .units
        .iter()
        .filter(|u| u.dataset == "metrics")
        .filter_map(|u| u.file.as_ref())
        .map(|f| folder.join(f))
        .collect()
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;

fn narrate(folder: &Path, report: &RunReport, files: &[PathBuf]) -> Result<String, ReadError> {
    let look = Look::at(files)?;
    let glob = format!("{}/metrics/**/*.parquet", folder.display());
    let mut out = String::new();
    let _ = writeln!(out, "{}", report.text());
    let _ = writeln!(
        out,
        "Account 333344445555 was denied on purpose: an export with a missing account ends with exit code 3"
    );
    let _ = writeln!(
        out,
        "and says so; everything else is complete. On real accounts this run would have cost ${:.4}.\n",
        report.totals.dollars
    );
    let _ = writeln!(
        out,
        "The lake is in {}, its configuration in {}/cwlake.toml,",
        folder.display(),
        folder.display()
    );
    let _ = writeln!(
        out,
        "the full report in {}/_cwlake/runs/{}.json.",
        folder.display(),
        report.run_id
    );
    let _ = writeln!(out, "Paste into DuckDB:\n");
    for (query, rows) in [
        look.coverage(&glob),
        look.peaks(&glob),
        look.requests(&glob),
    ] {
        let _ = writeln!(out, "{query}\n");
        for row in rows {
            let _ = writeln!(out, "    {row}");
        }
        out.push('\n');
    }
    Ok(out)
}

/// What the demo's queries need, read back from the files.
#[derive(Default)]
struct Look {
    coverage: BTreeMap<(String, String), (u64, BTreeSet<i64>)>,
    peaks: BTreeMap<(String, String), f64>,
    requests: BTreeMap<(i64, String), f64>,
}

impl Look {
    fn at(files: &[PathBuf]) -> Result<Self, ReadError> {
        let mut look = Self::default();
        for file in files {
            for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
                look.take(&batch?);
            }
        }
        Ok(look)
    }

    fn take(&mut self, batch: &RecordBatch) {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .expect("the file has the fixed schema")
        };
        let text = |name: &str| column(name).as_string::<i32>();
        let (names, regions, metrics) = (text("account_name"), text("region"), text("metric_name"));
        let (keys, stats) = (text("dimensions_key"), text("stat"));
        let ids = column("series_id").as_primitive::<Int64Type>();
        let ts = column("ts").as_primitive::<TimestampMicrosecondType>();
        let values = column("value").as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let account = names.value(row).to_owned();
            let entry = self
                .coverage
                .entry((account.clone(), regions.value(row).to_owned()))
                .or_default();
            entry.0 += 1;
            entry.1.insert(ids.value(row));
            match (metrics.value(row), stats.value(row)) {
                ("CPUUtilization", "Maximum") => {
                    let peak = self
                        .peaks
                        .entry((account, keys.value(row).to_owned()))
                        .or_insert(f64::MIN);
                    *peak = peak.max(values.value(row));
                }
                ("RequestCount", "Sum") => {
                    let hour = ts.value(row).div_euclid(3_600_000_000) * 3_600;
                    *self.requests.entry((hour, account)).or_default() += values.value(row);
                }
                _ => {}
            }
        }
    }

    fn coverage(&self, glob: &str) -> (String, Vec<String>) {
        let query = format!(
            "SELECT account_name, region, count(*) AS points, count(DISTINCT series_id) AS series\nFROM '{glob}'\nGROUP BY ALL ORDER BY ALL;"
        );
        let row =
            |((account, region), (points, series)): (&(String, String), &(u64, BTreeSet<i64>))| {
                format!(
                    "{account} | {region} | {} | {}",
                    grouped(*points),
                    series.len()
                )
            };
        (query, self.coverage.iter().map(row).collect())
    }

    fn peaks(&self, glob: &str) -> (String, Vec<String>) {
        let query = format!(
            "SELECT account_name, dimensions_key, round(max(value), 3) AS peak_cpu\nFROM '{glob}'\n\
             WHERE namespace = 'AWS/EC2' AND metric_name = 'CPUUtilization' AND stat = 'Maximum'\n\
             GROUP BY ALL ORDER BY peak_cpu DESC, dimensions_key LIMIT 3;"
        );
        let mut peaks: Vec<_> = self.peaks.iter().collect();
        peaks.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.1.cmp(&b.0.1)));
        (
            query,
            peaks
                .into_iter()
                .take(3)
                .map(|((account, key), peak)| format!("{account} | {key} | {peak:.3}"))
                .collect(),
        )
    }

    fn requests(&self, glob: &str) -> (String, Vec<String>) {
        let query = format!(
            "SELECT strftime(date_trunc('hour', timezone('UTC', ts)), '%Y-%m-%d %H:00') AS hour, account_name, sum(value)::BIGINT AS requests\n\
             FROM '{glob}'\nWHERE metric_name = 'RequestCount' AND stat = 'Sum'\nGROUP BY ALL ORDER BY ALL LIMIT 4;"
        );
        let row = |((hour, account), requests): (&(i64, String), &f64)| {
            let hour = iso_seconds(*hour).replace('T', " ");
            format!("{} | {account} | {requests:.0}", &hour[..16])
        };
        (query, self.requests.iter().take(4).map(row).collect())
    }
}
