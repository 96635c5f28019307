//! `cwlake demo`: the real pipeline against the embedded emulator, and a first look at what it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio_util::sync::CancellationToken;

use crate::aws::Origin;
use crate::config::{Environment, Overrides, RangeRequest, load, resolve_range};
use crate::emulator::{Emulator, World};
use crate::model::{Day, iso_seconds};
use crate::report::{self, RunReport, grouped};
use crate::run::Sharing;
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
    /// Its AWS, with the clock of the run; it ends when this is dropped.
    pub emulator: Emulator,
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

/// Where and when the demo takes place.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Folder of its lake.
    pub folder: &'a Path,
    /// How this program is called, in the commands that are told.
    pub program: &'a str,
    /// Seconds since 1970.
    pub now: i64,
    /// Where the emulated AWS listens.
    pub listen: SocketAddr,
    /// It stays up, so that the commands that are told can ask it.
    pub is_served: bool,
}

/// Exports two days of an organization, and queries them.
///
/// # Errors
/// [`DemoError`].
pub async fn demo(setting: &Setting<'_>, progress: Progress) -> Result<Demo, DemoError> {
    let &Setting { folder, now, .. } = setting;
    let io = |e| DemoError::Folder(folder.to_owned(), e);
    std::fs::create_dir_all(folder).map_err(io)?;
    let config_path = folder.join("cwlake.toml");
    std::fs::write(&config_path, config_text()).map_err(io)?;
    let mut world = World::from_toml(WORLD).map_err(|e| DemoError::Settings(e.to_string()))?;
    // One clock for both: midnight does not fall between them.
    world.now = Some(iso_seconds(now));
    let emulator = Emulator::start(world, setting.listen)
        .await
        .map_err(DemoError::Emulator)?;
    let config = load(&config_path, &Overrides::default(), &Environment::default())
        .map_err(|e| DemoError::Settings(e.to_string()))?;
    let range = resolve_range(&RangeRequest::default(), config.run.lookback_days, now)
        .map_err(|e| DemoError::Settings(e.to_string()))?;
    let context = RunContext {
        config: Arc::new(config),
        store: None,
        origin: Origin::Emulator {
            url: emulator.url(),
            access_key_id: CALLER.to_owned(),
        },
        range,
        is_backfill: false,
        lanes: None,
        beside: Arc::default(),
        pruned: Arc::default(),
        sharing: Sharing::Whole,
        now,
        read_at: std::time::Instant::now(),
        force: false,
        progress,
        stop: CancellationToken::new(),
    };
    let report = export(&context).await?;
    let mut text = narrate(folder, &report).map_err(DemoError::ReadBack)?;
    let spent = crate::run::spend(&context, Day::containing(now).plus(-1)).await?;
    text += &format!(
        "What was spent, as cwlake spend shows it:\n\n{}\n{}",
        crate::spend::spend_text(&spent, &report::Look::default()),
        next(setting, &emulator.url())
    );
    // Denied on purpose: account 333344445555. Anything else would be a fault.
    let as_meant =
        report.exit_code() == 3 && report.totals.failed == 0 && report.totals.incomplete == 0;
    Ok(Demo {
        text,
        report,
        exit_code: u8::from(!as_meant),
        emulator,
    })
}

/// A build without the SDK of EC2, `cargo demo`, exports no inventory.
fn config_text() -> String {
    if cfg!(feature = "ec2") {
        CONFIG.to_owned()
    } else {
        CONFIG.replace("[instances]\n\n", "")
    }
}

fn written_files(folder: &Path, report: &RunReport, dataset: &str) -> Vec<PathBuf> {
    report
        .units
        .iter()
        .filter(|u| u.table.name == dataset)
        .filter_map(|u| u.file.as_ref())
        .map(|f| folder.join(f))
        .collect()
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;

fn narrate(folder: &Path, report: &RunReport) -> Result<String, ReadError> {
    let mut look = Look::default();
    for file in written_files(folder, report, "metrics") {
        each_batch(&file, |batch| look.take(batch))?;
    }
    for file in written_files(folder, report, "instances") {
        each_batch(&file, |batch| look.take_instances(batch))?;
    }
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
        "the full report in {}/_cwlake/runs/{}.json.gz.",
        folder.display(),
        report.run_id
    );
    let _ = writeln!(out, "Paste into DuckDB:\n");
    let mut queries = vec![
        look.coverage(&glob),
        look.peaks(&glob),
        look.requests(&glob),
    ];
    if cfg!(feature = "ec2") {
        queries.push(look.cpu_by_team(folder));
    }
    for (query, rows) in queries {
        let _ = writeln!(out, "{query}\n");
        for row in rows {
            let _ = writeln!(out, "    {row}");
        }
        out.push('\n');
    }
    Ok(out)
}

/// What can be typed next; `url` is that of the emulated AWS.
fn next(setting: &Setting<'_>, url: &str) -> String {
    let program = setting.program;
    let config = setting.folder.join("cwlake.toml");
    let line = |words: &str, what: &str| {
        let command = format!("{program} {words} --config {}", config.display());
        format!("    {command}   # {what}\n")
    };
    let read = [
        line("status", "how whole it is"),
        line("report", "the same as a page, with charts"),
        line("verify", "every file opened and compared"),
    ];
    let read = read.concat();
    let own = format!(
        "and for your own accounts:\n\n    {program} init      # a configuration to fill in\n    {program} doctor    # tries every role and permission\n"
    );
    if !setting.is_served {
        return format!(
            "Next, without AWS ({program} demo --serve keeps the demo's up, for plan, doctor and export as well):\n\n{read}\n{own}"
        );
    }
    let asked = [
        line("doctor", "one role is missing, on purpose"),
        line("plan", "what the next run would ask, and cost"),
        line("export", "a second night"),
    ];
    let asked = asked.concat();
    let environment = environment(url, CALLER);
    format!(
        "Its AWS stays up until Ctrl-C. Next, in another terminal:\n\n    {environment}\n{asked}{read}\n{own}"
    )
}

/// What a shell needs to ask an emulator.
pub fn environment(url: &str, access_key_id: &str) -> String {
    format!(
        "export AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY=emulated AWS_REGION=us-east-1"
    )
}

/// What the demo's queries need, read back from the files.
#[derive(Default)]
struct Look {
    coverage: BTreeMap<(String, String), (u64, BTreeSet<i64>)>,
    peaks: BTreeMap<(String, String), f64>,
    requests: BTreeMap<(i64, String), f64>,
    cpu: BTreeMap<Instance, (f64, u64)>,
    teams: BTreeMap<Instance, String>,
}

/// Account name, region and key of dimensions: what an instance and its metrics have in common.
type Instance = (String, String, String);

fn each_batch(file: &Path, mut take: impl FnMut(&RecordBatch)) -> Result<(), ReadError> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
        take(&batch?);
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch
        .column_by_name(name)
        .expect("the file has the fixed schema")
}

impl Look {
    fn take(&mut self, batch: &RecordBatch) {
        let text = |name: &str| column(batch, name).as_string::<i32>();
        let (names, regions, metrics) = (text("account_name"), text("region"), text("metric_name"));
        let (keys, stats) = (text("dimensions_key"), text("stat"));
        let ids = column(batch, "series_id").as_primitive::<Int64Type>();
        let ts = column(batch, "ts").as_primitive::<TimestampMicrosecondType>();
        let values = column(batch, "value").as_primitive::<Float64Type>();
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
                ("CPUUtilization", "Average") => {
                    let key = (account, regions.value(row).into(), keys.value(row).into());
                    let (sum, points) = self.cpu.entry(key).or_default();
                    *sum += values.value(row);
                    *points += 1;
                }
                ("RequestCount", "Sum") => {
                    let hour = ts.value(row).div_euclid(3_600_000_000) * 3_600;
                    *self.requests.entry((hour, account)).or_default() += values.value(row);
                }
                _ => {}
            }
        }
    }

    fn take_instances(&mut self, batch: &RecordBatch) {
        let text = |name: &str| column(batch, name).as_string::<i32>();
        let (names, regions, ids) = (text("account_name"), text("region"), text("instance_id"));
        let tags = column(batch, "tags").as_map();
        for row in 0..batch.num_rows() {
            let of_row = tags.value(row);
            let (keys, values) = (
                of_row.column(0).as_string::<i32>(),
                of_row.column(1).as_string::<i32>(),
            );
            if let Some(at) = (0..keys.len()).find(|i| keys.value(*i) == "Team") {
                let key = format!("InstanceId={}", ids.value(row));
                self.teams.insert(
                    (names.value(row).into(), regions.value(row).into(), key),
                    values.value(at).into(),
                );
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

    fn cpu_by_team(&self, folder: &Path) -> (String, Vec<String>) {
        let lake = folder.display();
        let query = format!(
            "SELECT i.tags['Team'] AS team, round(avg(m.value), 2) AS cpu\nFROM '{lake}/metrics/**/*.parquet' AS m\n\
             JOIN '{lake}/instances/**/*.parquet' AS i\n  \
             ON i.account_id = m.account_id AND i.region = m.region AND i.instance_id = m.dimensions['InstanceId']\n\
             WHERE m.metric_name = 'CPUUtilization' AND m.stat = 'Average' AND i.tags['Team'] IS NOT NULL\nGROUP BY team ORDER BY team;"
        );
        let mut teams: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
        for (instance, team) in &self.teams {
            let (sum, points) = self.cpu.get(instance).copied().unwrap_or_default();
            let of_team = teams.entry(team).or_default();
            *of_team = (of_team.0 + sum, of_team.1 + points);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of points shown")]
        let row = |(team, (sum, points)): (&str, (f64, u64))| {
            format!("{team} | {:.2}", sum / points as f64)
        };
        let known = teams.into_iter().filter(|(_, (_, points))| *points > 0);
        (query, known.map(row).collect())
    }
}
