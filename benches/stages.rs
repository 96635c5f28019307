//! `cargo bench`: planning, normalizing, writing, and the whole pipeline against the in-process emulator.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use cwlake::accounts::Origin;
use cwlake::config::{
    Asks, Environment, Overrides, PeriodChoice, RangeRequest, load, resolve_range,
};
use cwlake::emulator::{Emulator, World};
use cwlake::model::{
    AccountId, Day, Dimension, Lane, MetricId, Period, Region, Series, Statistic, TimeWindow,
};
use cwlake::normalize::{METRICS_SORT, MetricRows, RunIdentity, SCHEMA_VERSION, metrics_schema};
use cwlake::plan::{Scope, plan_lane};
use cwlake::run::{RunContext, export};
use cwlake::telemetry::Progress;
use cwlake::write::{FooterKeys, UnitFile};
use tokio_util::sync::CancellationToken;

const NOW: i64 = 1_795_226_400; // 2026-11-21T02:00:00Z

fn lane() -> Lane {
    Lane {
        account: AccountId::parse("111122223333").expect("twelve digits"),
        region: Region::parse("us-east-1").expect("a region"),
    }
}

fn series(n: usize) -> Series {
    let dimensions = vec![Dimension::new("InstanceId", format!("i-{n:017x}"))];
    Series::new(
        &lane(),
        MetricId::new("AWS/EC2", "CPUUtilization", dimensions),
    )
}

fn planning(c: &mut Criterion) {
    let count = 100_000;
    let found: Vec<_> = (0..count).map(|n| (series(n), vec![0])).collect();
    let today = Day::containing(NOW);
    let asks = |period| {
        let statistics = vec![Statistic::parse("Average").expect("a statistic")];
        [Arc::new(Asks {
            statistics,
            period,
            unit: None,
        })]
    };
    let mut group = c.benchmark_group("plan");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(count as u64));
    let hour = PeriodChoice::AtLeast(Period::new(3_600).expect("legal"));
    for (name, days, period) in [
        (
            "night, 300 s",
            1,
            PeriodChoice::AtLeast(Period::new(300).expect("legal")),
        ),
        ("455 days, hourly", 455, hour),
        ("455 days, auto", 455, PeriodChoice::Auto),
    ] {
        let window = TimeWindow::days(today.plus(-days), today);
        let scope = Scope::from([("AWS/EC2".to_owned(), (window, 900))]);
        group.bench_function(format!("100k series, {name}"), |b| {
            b.iter_batched(
                || found.clone(),
                |found| black_box(plan_lane(&lane(), found, &asks(period), &scope, NOW)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// 70 series of a day of minutes, with values that do not repeat.
fn rows() -> MetricRows {
    let mut rows = MetricRows::new(lane(), Some("prod".into()));
    let timestamps: Vec<i64> = (0..1_440).map(|minute| minute * 60_000_000).collect();
    for n in 0..70 {
        let identity = RunIdentity {
            series: series(n),
            statistic: Statistic::parse("Average").expect("a statistic"),
            period: Period::MINUTE,
            unit: None,
        };
        let mut rng = fastrand::Rng::with_seed(n as u64);
        let values: Vec<f64> = (0..1_440)
            .map(|_| (rng.f64() * 100_000.0).round() / 1_000.0)
            .collect();
        rows.push(identity, &timestamps, &values);
    }
    rows
}

fn normalizing_and_writing(c: &mut Criterion) {
    let points = 70 * 1_440;
    let dir = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("points");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(points));
    group.bench_function("normalize a page", |b| {
        b.iter_batched(
            rows,
            |mut rows| {
                for batch in rows.take_batches(8_192) {
                    black_box(batch.expect("a batch"));
                }
            },
            BatchSize::LargeInput,
        );
    });
    let batch = rows()
        .take_batches(1_000_000)
        .next()
        .expect("rows")
        .expect("a batch");
    let path = dir.path().join("unit.part");
    let footer = FooterKeys {
        schema_version: SCHEMA_VERSION,
        plan_hash: None,
    };
    group.bench_function("write a page as Parquet", |b| {
        b.iter(|| {
            let mut file =
                UnitFile::create(&path, metrics_schema(), &METRICS_SORT, footer).expect("created");
            file.write(&batch).expect("written");
            black_box(file.finish(true).expect("finished"))
        });
    });
    group.finish();
}

const WORLD: &str = "seed = 3\nnow = \"2026-11-21T02:00:00Z\"\n[[account]]\nid = \"111122223333\"\ninstances = 200\n";
const CONFIG: &str = "version = 1\n[destination]\nurl = \"lake\"\n[run]\nlookback_days = 0\n[limits]\npoints_per_second = 1e12\n\
    calls_per_second = 1e6\n[[account]]\nid = \"111122223333\"\nregions = [\"us-east-1\"]\nbase_credentials = true\n\
    [[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"*\"]\nstatistics = [\"Average\"]\nperiod = 60\n";

/// The emulator computes every point on the same machine: this measures both.
fn whole_pipeline(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("cwlake.toml");
    std::fs::write(&path, CONFIG).expect("written");
    let world = World::from_toml(WORLD).expect("a world");
    let emulator = runtime
        .block_on(Emulator::start(
            world,
            SocketAddr::from(([127, 0, 0, 1], 0)),
        ))
        .expect("started");
    let config =
        load(&path, &Overrides::default(), &Environment::default()).expect("a configuration");
    let context = RunContext {
        range: resolve_range(&RangeRequest::default(), 0, NOW).expect("yesterday"),
        config: Arc::new(config),
        origin: Origin::Emulator {
            url: emulator.url(),
            access_key_id: "111122223333".to_owned(),
        },
        lanes: None,
        now: NOW,
        force: true,
        progress: Progress::quiet(),
        stop: CancellationToken::new(),
    };
    let points = 180 * 5 * 1_440;
    let mut group = c.benchmark_group("pipeline");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(points));
    group.bench_function("one lane, 900 series, one day of minutes", |b| {
        b.iter(|| {
            let report = runtime.block_on(export(&context)).expect("a report");
            assert_eq!((report.exit_code(), report.totals.rows), (0, points));
        });
    });
    group.finish();
}

criterion_group!(benches, planning, normalizing_and_writing, whole_pipeline);
criterion_main!(benches);
