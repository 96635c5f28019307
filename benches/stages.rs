//! `cargo bench`: planning, decoding, normalizing, writing, and the whole pipeline against the in-process emulator. What a bench needs is made
//! inside it, so that `benches/instructions` counts no other's.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use cwlake::aws::Origin;
use cwlake::config::{
    Asks, Environment, Overrides, PeriodChoice, RangeRequest, load, resolve_range,
};
use cwlake::emulator::{Emulator, World};
use cwlake::fetch::Page;
use cwlake::lake::table::{METRICS, SCHEMA_VERSION};
use cwlake::model::{
    AccountId, Day, Dimension, Lane, MetricId, Period, Region, Series, Statistic, TimeWindow,
};
use cwlake::normalize::{MetricRows, RunIdentity, plain_rows, schema_of};
use cwlake::plan::{Scope, plan_lane};
use cwlake::run::{RunContext, export};
use cwlake::telemetry::Progress;
use cwlake::write::{FooterKeys, ROW_GROUP_ROWS, RunFile, UnitFile};
use minicbor::data::Tag;
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
    group.sample_size(10);
    let at_least = |seconds| PeriodChoice::AtLeast(Period::new(seconds).expect("legal"));
    for count in [100_000, 1_000_000] {
        group.throughput(Throughput::Elements(count as u64));
        for (name, days, period) in [
            ("night, 300 s", 1, at_least(300)),
            ("455 days, hourly", 455, at_least(3_600)),
            ("455 days, auto", 455, PeriodChoice::Auto),
        ] {
            let window = TimeWindow::days(today.plus(-days), today);
            let scope = Scope::from([("AWS/EC2".to_owned(), (window, 900))]);
            group.bench_function(format!("{}k series, {name}", count / 1_000), |b| {
                let found: Vec<_> = (0..count).map(|n| (series(n), vec![0])).collect();
                b.iter_batched(
                    || found.clone(),
                    |found| black_box(plan_lane(&lane(), found, &asks(period), &scope, NOW)),
                    BatchSize::LargeInput,
                );
            });
        }
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
        rows.push(identity.into(), timestamps[..].into(), &values);
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
            |mut rows| black_box(rows.take().expect("a batch")),
            BatchSize::LargeInput,
        );
    });
    let runs = rows().take().expect("a batch");
    let path = dir.path().join("unit.part");
    let footer = FooterKeys {
        schema_version: SCHEMA_VERSION,
        plan_hash: None,
    };
    group.bench_function("write a page as Parquet, run by run", |b| {
        b.iter(|| {
            let schema = schema_of(&METRICS);
            let mut file = RunFile::create(&path, &schema, METRICS.sort, footer).expect("created");
            file.write(&runs).expect("written");
            black_box(file.finish(true).expect("finished"))
        });
    });
    let plain = plain_rows(&runs).expect("repeated");
    group.bench_function("write a page as Parquet, stock writer", |b| {
        b.iter(|| {
            let mut file = UnitFile::create(&path, schema_of(&METRICS), METRICS.sort, footer)
                .expect("created");
            file.write(&plain).expect("written");
            black_box(file.finish(true).expect("finished"))
        });
    });
    let noise = page(0, |_, rng| rng.f64());
    group.bench_function("decode a page", |b| {
        b.iter(|| black_box(Page::decode(&noise).expect("an answer")));
    });
    group.finish();
}

/// Answers in memory to a finished file, with nothing between the stages: what an export of one large lane is measured against.
fn bodies_to_file(c: &mut Criterion) {
    const PAGES: usize = 20;
    let statistic = Statistic::parse("Average").expect("a statistic");
    let count = PAGES * 70 * 1_440;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("unit.part");
    let footer = FooterKeys {
        schema_version: SCHEMA_VERSION,
        plan_hash: None,
    };
    let mut group = c.benchmark_group("chain");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(count as u64));
    group.bench_function("bodies to a file", |b| {
        let bodies: Vec<Vec<u8>> = (0..PAGES).map(|n| page(n * 70, mixed)).collect();
        b.iter(|| {
            let schema = schema_of(&METRICS);
            let mut file = RunFile::create(&path, &schema, METRICS.sort, footer).expect("created");
            let mut rows = MetricRows::new(lane(), None);
            for (n, body) in bodies.iter().enumerate() {
                let page = Page::decode(body).expect("an answer");
                for (m, result) in page.results.into_iter().enumerate() {
                    let identity = RunIdentity {
                        series: series(n * 70 + m),
                        statistic: statistic.clone(),
                        period: Period::MINUTE,
                        unit: None,
                    };
                    rows.push(identity.into(), result.timestamps, &result.values);
                    if rows.len() >= ROW_GROUP_ROWS {
                        file.write(&rows.take().expect("a batch")).expect("written");
                    }
                }
            }
            file.write(&rows.take().expect("a batch")).expect("written");
            black_box(file.finish(true).expect("finished"))
        });
    });
    group.finish();
}

/// A value of the `n`th series: of 100, 17 are noise, 28 whole numbers in bursts, 35 counters that are mostly zero, 20 constants.
fn mixed(n: usize, rng: &mut fastrand::Rng) -> f64 {
    match n % 100 {
        0..17 => rng.f64() * 100.0,
        17..45 => f64::from(rng.u32(..)) * f64::from(u8::from(rng.u8(..) < 80)),
        45..80 => f64::from(rng.u8(..).saturating_sub(200)),
        constant => constant as f64,
    }
}

/// The body of an answer of 70 queries with a day of minutes each, as CloudWatch writes it; `first` is the first query's series.
fn page(first: usize, value: impl Fn(usize, &mut fastrand::Rng) -> f64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut e = minicbor::Encoder::new(&mut body);
    e.map(1)
        .and_then(|e| e.str("MetricDataResults"))
        .and_then(|e| e.array(70))
        .expect("written");
    let mut rng = fastrand::Rng::with_seed(first as u64);
    for n in 0..70 {
        let mut result = || {
            e.map(4)?
                .str("Id")?
                .str(&format!("q{n}"))?
                .str("StatusCode")?
                .str("Complete")?;
            e.str("Timestamps")?.array(1_440)?;
            for minute in 0..1_440 {
                e.tag(Tag::new(1))?
                    .f64(NOW as f64 + f64::from(minute) * 60.0)?;
            }
            e.str("Values")?.array(1_440)?;
            for _ in 0..1_440 {
                e.f64(value(first + n, &mut rng))?;
            }
            Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
        };
        result().expect("written");
    }
    body
}

const WORLD: &str = "seed = 3\nnow = \"2026-11-21T02:00:00Z\"\n[[account]]\nid = \"111122223333\"\ninstances = 200\n";
const CONFIG: &str = "version = 1\n[destination]\nurl = \"lake\"\n[run]\nlookback_days = 0\n[limits]\npoints_per_second = 1e12\n\
    calls_per_second = 1e6\n[[account]]\nid = \"111122223333\"\nregions = [\"us-east-1\"]\nbase_credentials = true\n\
    [[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"*\"]\nstatistics = [\"Average\"]\nperiod = 60\n";

/// The emulator computes every point on the same machine: this measures both.
fn whole_pipeline(c: &mut Criterion) {
    let points = 180 * 5 * 1_440;
    let mut group = c.benchmark_group("pipeline");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(points));
    group.bench_function("one lane, 900 series, one day of minutes", |b| {
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
            store: None,
            origin: Origin::Emulator {
                url: emulator.url(),
                access_key_id: "111122223333".to_owned(),
            },
            is_backfill: false,
            lanes: None,
            beside: Arc::default(),
            pruned: Arc::default(),
            sharing: cwlake::run::Sharing::Whole,
            now: NOW,
            read_at: std::time::Instant::now(),
            force: true,
            progress: Progress::quiet(),
            stop: CancellationToken::new(),
        };
        b.iter(|| {
            let report = runtime.block_on(export(&context)).expect("a report");
            assert_eq!((report.exit_code(), report.totals.rows), (0, points));
        });
    });
    group.finish();
}

criterion_group!(
    benches,
    planning,
    normalizing_and_writing,
    bodies_to_file,
    whole_pipeline
);
criterion_main!(benches);
