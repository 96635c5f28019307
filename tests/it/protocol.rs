//! The commit protocol against a model: runs, shards, compaction and prune over a lake in memory, in any order, each cut off or held up at any of its
//! requests. No row is ever lost, none is there twice, and no record speaks of what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use cwlake::compact::compact;
use cwlake::config::{Overrides, RangeRequest};
use cwlake::model::{GroupName, Member, Shard};
use cwlake::report::RunReport;
use cwlake::run::{LaneChoice, RunContext, RunError, ShardRequest, Sharing, export, gather};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::lab::{CALLER, Lab, NOW, score};
use crate::troubled_store::{Bucket, Process, Trouble};

/// What a process does.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Exports so many days, the last of them first asked for by more statistics when `more`.
    Export {
        days: i64,
        more: bool,
        force: bool,
    },
    /// One of two shards of an export of all days.
    Shard(u32),
    Gather,
    Compact {
        prune: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Step {
    work: Work,
    trouble: Trouble,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let work = prop_oneof![
        4 => (1..=DAYS, any::<bool>(), any::<bool>()).prop_map(|(days, more, force)| {
            // Forced with less, it is less: that was asked for.
            Work::Export { days, more: more || force, force }
        }),
        3 => (1..=2_u32).prop_map(Work::Shard),
        1 => Just(Work::Gather),
        2 => Just(Work::Compact { prune: false }),
        1 => Just(Work::Compact { prune: true }),
    ];
    let trouble = prop_oneof![
        2 => Just(Trouble::None),
        3 => (0..90_u32).prop_map(Trouble::DiesBefore),
        3 => (0..90_u32).prop_map(Trouble::DiesAfter),
        2 => (0..90_u32).prop_map(Trouble::SleepsAt),
    ];
    let step = (work, trouble).prop_map(|(work, trouble)| Step { work, trouble });
    prop::collection::vec(step, 1..7)
}

const DAYS: i64 = 3;
/// The day after the last one that is exported; all are long over.
const END: &str = "2026-11-12";
const STATISTICS: [&str; 2] = ["\"Average\"", "\"Average\", \"Maximum\""];

fn config(more: bool) -> String {
    format!(
        "destination = {{ url = \"lake\" }}\n[limits]\npoints_per_second = 1e12\nattempts = 1\n[compact]\nolder_than_days = 365\nprune_after_days = 1\n\
         [[account]]\nid = \"{CALLER}\"\nbase_credentials = true\nregions = [\"us-east-1\", \"eu-west-1\"]\n\
         [[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"CPUUtilization\"]\nstatistics = [{}]\nperiod = 3600\n",
        STATISTICS[usize::from(more)]
    )
}

fn world() -> cwlake::emulator::World {
    let text = format!(
        "seed = 5\nnow = \"{}\"\n[[account]]\nid = \"{CALLER}\"\ninstances = 1\nregions = [\"us-east-1\", \"eu-west-1\"]\n",
        crate::lab::NOW_TEXT
    );
    cwlake::emulator::World::from_toml(&text).expect("a world")
}

fn night() -> GroupName {
    GroupName::parse("night").expect("a name")
}

/// The lab's emulator, with a bucket of the model beside it.
struct Scene {
    lab: Lab,
    bucket: Arc<Bucket>,
    processes: u64,
    /// A request was carried out after its process had lost the lock.
    had_late_writes: bool,
}

impl Scene {
    async fn new() -> Self {
        Self {
            lab: Lab::new(world()).await,
            bucket: Arc::default(),
            processes: 0,
            had_late_writes: false,
        }
    }

    fn process(&mut self, trouble: Trouble) -> Process {
        self.processes += 1;
        Process::new(&self.bucket, self.processes, trouble)
    }

    fn context(&mut self, process: &Process, work: Work) -> RunContext {
        let (days, more, force) = match work {
            Work::Export { days, more, force } => (days, more, force),
            _ => (DAYS, true, false),
        };
        self.lab.config = config(more);
        let from = cwlake::model::Day::parse(END).expect("a day").plus(-days);
        let range = RangeRequest {
            from: Some(from.to_string()),
            to: Some(END.to_owned()),
            ..RangeRequest::default()
        };
        let mut overrides = Overrides::default();
        if let Work::Compact { prune } = work {
            overrides.compact.older_than_days = Some(1);
            overrides.compact.prune = prune;
        }
        let context = self.lab.context_at(&range, NOW, &overrides);
        let sharing = match work {
            Work::Shard(index) => {
                let shard = Shard::parse(&format!("{index}/2")).expect("a shard");
                let group = night();
                let member = Member { group, shard };
                Sharing::Asked(ShardRequest {
                    member,
                    is_dated: true,
                })
            }
            _ => Sharing::Whole,
        };
        RunContext {
            store: Some(Arc::new(process.clone())),
            sharing,
            force,
            lanes: None::<LaneChoice>,
            ..context
        }
    }

    /// Does a piece of work, with what becomes of it.
    async fn step(&mut self, step: Step) {
        let process = self.process(step.trouble);
        let context = self.context(&process, step.work);
        let Trouble::SleepsAt(_) = step.trouble else {
            let _ = work(context, step.work).await;
            // Whether it died or ended, nobody is there any more.
            process.leave_lock();
            return;
        };
        let mut sleeper = Box::pin(work(context, step.work));
        tokio::select! {
            () = process.fell_asleep() => {}
            // It had fewer requests.
            _ = &mut sleeper => {
                process.leave_lock();
                return;
            }
        }
        // Meanwhile its lease ends, and another does all there is to do.
        let had_lock = self.bucket.has_lock_of(&process);
        let asleep_since = self.bucket.last_write();
        self.whole().await;
        let is_taken = had_lock && !self.bucket.has_lock_of(&process);
        let before = self.tables();
        process.wake();
        let _ = sleeper.await;
        process.leave_lock();
        let after = self.tables();
        if is_taken {
            // What the other wrote stays. What it found as it should be, a request that was on its way may still replace, of its own version.
            let is_others = |(_, version): &(&String, &u64)| **version > asleep_since;
            for (key, version) in before.iter().filter(is_others) {
                assert_eq!(after.get(key), Some(version), "{step:?}: it changed {key}");
            }
            self.had_late_writes |= before != after;
        }
    }

    /// An export of everything that nothing happens to.
    async fn whole(&mut self) -> RunReport {
        self.export(false).await
    }

    async fn export(&mut self, force: bool) -> RunReport {
        let process = self.process(Trouble::None);
        let all = Work::Export {
            days: DAYS,
            more: true,
            force,
        };
        let context = self.context(&process, all);
        export(&context).await.expect("nobody else is at work")
    }

    /// Every file of a table, by its key, with the number of its last write.
    fn tables(&self) -> BTreeMap<String, u64> {
        let objects = self.bucket.objects();
        let of_tables = objects
            .iter()
            .filter(|(key, _)| !key.starts_with("_cwlake/"));
        of_tables
            .map(|(key, (version, _))| (key.clone(), *version))
            .collect()
    }

    /// Rows that a reader of days sees: of their own files, and of the compacted ones where those are gone. None is there twice.
    fn rows(&self) -> BTreeSet<String> {
        let objects = self.bucket.objects();
        let mut rows = BTreeSet::new();
        let mut days = BTreeSet::new();
        for (key, (_, body)) in objects
            .iter()
            .filter(|(key, _)| key.starts_with("metrics/"))
        {
            days.insert(key.split('/').nth(1).unwrap_or_default().to_owned());
            for row in rows_of(body) {
                assert!(
                    rows.insert(row.clone()),
                    "{key} has a row that is there already: {row}"
                );
            }
        }
        let record = objects.get("_cwlake/compact/metrics.json");
        let record = record.map_or_else(String::new, |(_, body)| {
            String::from_utf8(body.to_vec()).expect("text")
        });
        for (key, (_, body)) in objects
            .iter()
            .filter(|(key, _)| key.starts_with("compact/metrics/"))
        {
            let name = key.rsplit('/').next().unwrap_or_default();
            let day = key.split('/').nth(2).unwrap_or_default();
            let is_known = record.contains(name.trim_end_matches(".parquet"));
            if is_known && !days.contains(day) {
                rows.extend(rows_of(body));
            }
        }
        rows
    }
}

fn rows_of(body: &Bytes) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(body.clone()).expect("a whole file");
    let batches: Vec<RecordBatch> = reader
        .build()
        .expect("a reader")
        .map(|batch| batch.expect("rows"))
        .collect();
    let columns = [
        "account_id",
        "region",
        "dimensions_key",
        "stat",
        "ts",
        "value",
    ];
    let mut rows = Vec::new();
    for batch in &batches {
        let found = columns.map(|name| batch.column_by_name(name).expect("a column"));
        for n in 0..batch.num_rows() {
            let cell = |column: &Arc<dyn arrow_array::Array>| format!("{:?}", column.slice(n, 1));
            rows.push(found.map(cell).join(" ").replace('\n', ""));
        }
    }
    rows
}

async fn work(context: RunContext, work: Work) -> Result<(), RunError> {
    match work {
        Work::Export { .. } | Work::Shard(_) => Box::pin(export(&context)).await.map(drop),
        Work::Gather => Box::pin(gather(&context, &night())).await.map(drop),
        Work::Compact { .. } => Box::pin(compact(&context)).await.map(drop),
    }
}

async fn holds(steps: &[Step]) {
    let mut scene = Scene::new().await;
    let mut before = BTreeSet::new();
    for step in steps {
        scene.step(*step).await;
        let now = scene.rows();
        let lost = before.difference(&now).next();
        assert!(lost.is_none(), "{step:?} lost {lost:?}");
        before = now;
    }
    // One run that nothing happens to makes it what a first run makes.
    let report = scene.whole().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let mut fresh = Scene::new().await;
    fresh.whole().await;
    assert_eq!(scene.rows(), fresh.rows());
    if scene.had_late_writes {
        // Its file may have the same rows and other bytes than the record says: `verify` names it, and this is its remedy.
        scene.export(true).await;
    }
    // Compacted anew as well, no record speaks of what is not there, and no reader misses anything.
    let compaction = Work::Compact { prune: false };
    let process = scene.process(Trouble::None);
    let context = scene.context(&process, compaction);
    compact(&context).await.expect("compacted");
    assert_eq!(scene.rows(), fresh.rows());
    let process = scene.process(Trouble::None);
    let context = scene.context(&process, Work::Gather);
    let found = cwlake::inspect::verify(&context, None)
        .await
        .expect("verified");
    // A compaction that died has left what no reader sees: it is named, and left to whoever owns the lake.
    let is_seen = |f: &&cwlake::inspect::Fault| !f.what.starts_with("no record names it");
    let faults: Vec<_> = found.faults.iter().filter(is_seen).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn whatever_happens_in_whichever_order_no_row_is_lost_or_doubled() {
    let given = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|n| n.parse::<u64>().expect("a number"))
    };
    let seed = given("CWLAKE_TEST_SEED").unwrap_or(1);
    let cases = u32::try_from(given("CWLAKE_TEST_SEQUENCES").unwrap_or(40)).expect("few");
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let tried = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        runtime.block_on(holds(&steps));
        Ok(())
    });
    tried.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    score(&serde_json::json!({ "runs": cases }));
}
