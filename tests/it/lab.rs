//! The harness: an emulated AWS, a configuration, a lake, and how to look at what came out.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use cwlake::aws::Origin;
use cwlake::config::{Environment, Overrides, RangeRequest, load, resolve_range};
use cwlake::emulator::{Emulator, World};
use cwlake::report::{RunReport, UnitReport};
use cwlake::run::{RunContext, RunError, export};
use cwlake::telemetry::Progress;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// "Now" of every test: 2026-11-21T02:00:00Z.
pub(crate) const NOW: i64 = 1_795_226_400;
pub(crate) const NOW_TEXT: &str = "2026-11-21T02:00:00Z";
pub(crate) const CALLER: &str = "999900001111";

/// Two accounts in two regions, readable by `Reader`; `extra` is appended (faults, more accounts).
pub(crate) fn world(extra: &str) -> World {
    let account = |id: &str, instances: u32| {
        format!(
            "[[account]]\nid = \"{id}\"\nregions = [\"us-east-1\", \"eu-west-1\"]\ninstances = {instances}\nload_balancers = 1\n\
             [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"ext-1\"\n"
        )
    };
    let text = format!(
        "seed = {}\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n{}{}{extra}",
        seed(),
        account("111122223333", 12),
        account("222233334444", 5)
    );
    World::from_toml(&text).expect("a world")
}

/// What is left to chance is drawn from it.
fn seed() -> u64 {
    let given = std::env::var("CWLAKE_TEST_SEED").ok();
    given.map_or(11, |seed| {
        seed.parse().expect("CWLAKE_TEST_SEED is a number")
    })
}

/// Tells the scorecard what a test has measured: a line of JSON.
#[expect(clippy::print_stdout, reason = "the scorecard reads it there")]
pub(crate) fn score(measures: &serde_json::Value) {
    println!("score {measures}");
}

/// Reads both accounts of [`world`] in both regions: CPU and network of every instance.
pub(crate) const CONFIG: &str = r#"version = 1
[destination]
url = "lake"
[run]
lookback_days = 0
[limits]
connect_timeout_secs = 2
read_timeout_secs = 2
attempt_timeout_secs = 2
[defaults]
role_name = "Reader"
external_id = "ext-1"
regions = ["us-east-1", "eu-west-1"]
[[account]]
id = "111122223333"
name = "prod"
[[account]]
id = "222233334444"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization", "Network*"]
dimensions = { InstanceId = "*" }
statistics = ["Average", "Maximum", "p90"]
period = 300
"#;

/// An emulator with an empty lake beside it.
pub(crate) struct Lab {
    pub emulator: Emulator,
    pub dir: TempDir,
    pub config: String,
    pub force: bool,
    pub stop: CancellationToken,
}

impl Lab {
    pub(crate) async fn new(world: World) -> Self {
        let emulator = Emulator::start(world, SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("started");
        let dir = tempfile::tempdir().expect("temp dir");
        Self {
            emulator,
            dir,
            config: CONFIG.to_owned(),
            force: false,
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn with_config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    pub(crate) fn context(&self, range: &RangeRequest) -> RunContext {
        self.context_at(range, NOW, &Overrides::default())
    }

    /// A run at another time, with flags.
    pub(crate) fn context_at(
        &self,
        range: &RangeRequest,
        now: i64,
        overrides: &Overrides,
    ) -> RunContext {
        self.emulator.set_now(now);
        let path = self.dir.path().join("cwlake.toml");
        std::fs::write(&path, &self.config).expect("written");
        let config =
            load(&path, overrides, &Environment::default()).unwrap_or_else(|e| panic!("{e}"));
        let is_backfill = range.to.is_some();
        let range = resolve_range(range, config.run.lookback_days, now).expect("a range");
        RunContext {
            config: Arc::new(config),
            origin: Origin::Emulator {
                url: self.emulator.url(),
                access_key_id: CALLER.to_owned(),
            },
            store: None,
            range,
            is_backfill,
            lanes: None,
            beside: Arc::default(),
            pruned: Arc::default(),
            sharing: cwlake::run::Sharing::Whole,
            now,
            read_at: std::time::Instant::now(),
            force: self.force,
            progress: Progress::quiet(),
            stop: self.stop.clone(),
        }
    }

    /// Yesterday.
    pub(crate) async fn export(&self) -> RunReport {
        self.try_export().await.expect("a report")
    }

    pub(crate) async fn try_export(&self) -> Result<RunReport, RunError> {
        export(&self.context(&RangeRequest::default())).await
    }

    pub(crate) async fn export_days(&self, from: &str, to: &str) -> RunReport {
        let range = RangeRequest {
            date: None,
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            since: None,
        };
        export(&self.context(&range)).await.expect("a report")
    }

    /// Every table file below the lake with its SHA-256.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        walk(&self.lake().join("metrics"), &self.lake(), &mut tree);
        tree
    }

    /// Every file in staging: none after a run.
    pub(crate) fn leftovers(&self) -> usize {
        let mut tree = BTreeMap::new();
        walk(
            &self.lake().join("_cwlake/staging"),
            &self.lake(),
            &mut tree,
        );
        tree.len()
    }

    /// All rows of the lake.
    pub(crate) fn batches(&self) -> Vec<RecordBatch> {
        self.tree()
            .keys()
            .flat_map(|file| read(&self.lake().join(file)))
            .collect()
    }
}

pub(crate) fn read(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).expect("file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("parquet")
        .build()
        .expect("reader");
    reader.map(|batch| batch.expect("rows")).collect()
}

pub(crate) fn unit<'a>(report: &'a RunReport, account: &str, region: &str) -> &'a UnitReport {
    report
        .units
        .iter()
        .find(|u| u.account_id == account && u.region == region)
        .expect("a unit")
}

fn walk(dir: &Path, root: &Path, tree: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            walk(&path, root, tree);
        } else {
            // A run that is under way proves that it may write, and takes its probe away again.
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            let hash = Sha256::digest(bytes);
            let hex = hash
                .iter()
                .fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
            tree.insert(
                path.strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string(),
                hex,
            );
        }
    }
}

/// The tree a fault-free run of the same world and configuration leaves.
pub(crate) async fn clean_tree(config: &str) -> BTreeMap<String, String> {
    let lab = Lab::new(world("")).await.with_config(config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    lab.tree()
}
