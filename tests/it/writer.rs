//! The run-aware writer against the stock one: other bytes, the same table, whoever reads it.

use std::path::Path;

use arrow_array::RecordBatch;
use cwlake::lake::table::METRICS;
use cwlake::model::{AccountId, Dimension, Lane, MetricId, Period, Region, Series, Statistic};
use cwlake::normalize::{MetricRows, RunIdentity, plain_rows, schema_of};
use cwlake::write::{FooterKeys, RunFile, UnitFile, read_rows};
use parquet::basic::{Encoding, PageType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

const FOOTER: FooterKeys<'static> = FooterKeys {
    schema_version: 1,
    plan_hash: None,
};

#[derive(Clone, Debug)]
struct Run {
    metric: usize,
    dimensions: usize,
    statistic: bool,
    unit: bool,
    gaps: bool,
    values: Vec<f64>,
}

fn value(kind: usize, seed: u64, n: u32) -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed ^ u64::from(n));
    match kind {
        0 => 0.0,
        1 => f64::from(rng.u32(0..9)),
        2 => rng.f64(),
        3 => f64::from(n).floor() * 1e6,
        // Any bits at all: infinities, both zeros, every kind of not-a-number.
        _ => {
            let any = f64::from_bits(rng.u64(..));
            [any, f64::NAN, f64::INFINITY, -0.0, 0.0][rng.usize(..5)]
        }
    }
}

fn run(most: usize) -> impl Strategy<Value = Run> {
    let length = prop_oneof![4 => 1..=3_usize, 4 => 1..=40_usize, 2 => 1..=most];
    (
        0..3_usize,
        0..4_usize,
        any::<[bool; 3]>(),
        length,
        0..5_usize,
        any::<u64>(),
    )
        .prop_map(
            |(metric, dimensions, [statistic, unit, gaps], length, kind, seed)| Run {
                metric,
                dimensions,
                statistic,
                unit,
                gaps,
                values: (0..).take(length).map(|n| value(kind, seed, n)).collect(),
            },
        )
}

/// The rows as a table's writer gets them: row groups of a few runs.
fn groups(runs: &[Run], named: bool, runs_a_group: usize) -> Vec<RecordBatch> {
    let lane = Lane {
        account: AccountId::parse("012345678901").expect("id"),
        region: Region::parse("eu-west-1").expect("region"),
    };
    let batch = |(group, runs): (usize, &[Run])| {
        let mut rows = MetricRows::new(lane.clone(), named.then(|| "prod ✓".into()));
        for (n, run) in runs.iter().enumerate() {
            // Long texts, so that bounds are cut; two values of one dimension name that differ only at the end.
            let text = format!("{}-{group}-{n}", "é".repeat(40 * (n % 2)));
            let dimensions = (0..run.dimensions)
                .map(|d| Dimension::new(format!("d{d}"), text.clone()))
                .collect();
            let metric = MetricId::new("N/S", format!("m{}", run.metric), dimensions);
            let identity = RunIdentity {
                series: Series::new(&lane, metric),
                statistic: Statistic::parse(if run.statistic { "p99.9" } else { "Sum" })
                    .expect("one"),
                period: Period::new(if run.gaps { 300 } else { 60 }).expect("legal"),
                unit: run.unit.then(|| "Count".into()),
            };
            let mut at = 1_795_132_800_000_000;
            let mut timestamps = Vec::new();
            for i in 0..run.values.len() {
                timestamps.push(at);
                at += if run.gaps && i % 3 == 0 {
                    600_000_000
                } else {
                    60_000_000
                };
            }
            rows.push(identity.into(), timestamps[..].into(), &run.values);
        }
        rows.take().expect("built")
    };
    runs.chunks(runs_a_group).enumerate().map(batch).collect()
}

/// Writes the rows both ways.
fn write(groups: &[RecordBatch], ours: &Path, stock: &Path) {
    let schema = schema_of(&METRICS);
    let mut file = RunFile::create(ours, &schema, METRICS.sort, FOOTER).expect("created");
    let mut plain = UnitFile::create(stock, schema, METRICS.sort, FOOTER).expect("created");
    for group in groups {
        file.write(group).expect("written");
        plain
            .write(&plain_rows(group).expect("repeated"))
            .expect("written");
    }
    let (ours, stock) = (
        file.finish(true).expect("whole"),
        plain.finish(true).expect("whole"),
    );
    assert_eq!(ours.rows, stock.rows);
}

/// Every chunk's pages: dictionary indices and plain values only, and no dictionary page after a plain one. Spark's vectorized reader reads
/// such a page wrongly, and fastparquet reads deltas wrongly, both without an error.
fn assert_pages_that_every_reader_takes(path: &Path) {
    let file = SerializedFileReader::new(std::fs::File::open(path).expect("there")).expect("whole");
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).expect("a row group");
        for column in 0..group.num_columns() {
            let name = group.metadata().column(column).column_path().string();
            let pages = group.get_column_page_reader(column).expect("pages");
            let encodings: Vec<Encoding> = pages
                .map(|page| page.expect("readable"))
                .filter(|page| page.page_type() != PageType::DICTIONARY_PAGE)
                .map(|page| page.encoding())
                .collect();
            let is_plain = |e: &Encoding| *e == Encoding::PLAIN;
            let first_plain = encodings.iter().position(is_plain);
            let (before, after) = encodings.split_at(first_plain.unwrap_or(encodings.len()));
            let ordered = before.iter().all(|e| *e == Encoding::RLE_DICTIONARY);
            assert!(
                ordered && after.iter().all(is_plain),
                "{name} in {}: {encodings:?}",
                path.display()
            );
        }
    }
}

/// Rows with every value as its bits: a not-a-number equals itself.
fn read(path: &Path) -> Vec<String> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Float64Type;
    let batches = read_rows(path).expect("opened").map(|b| b.expect("read"));
    batches
        .flat_map(|batch| {
            let values = batch.column(12).as_primitive::<Float64Type>().clone();
            (0..batch.num_rows())
                .map(|row| {
                    let bits = values.value(row).to_bits();
                    format!(
                        "{:?} {bits:x}",
                        batch.slice(row, 1).columns()[..12].to_vec()
                    )
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn any_runs_are_read_back_as_the_stock_writer_writes_them() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (ours, stock) = (dir.path().join("ours"), dir.path().join("stock"));
    let strategy = (
        prop::collection::vec(run(200), 1..12),
        any::<bool>(),
        1..5_usize,
    );
    let mut runner = TestRunner::new(Config::with_cases(60));
    runner
        .run(&strategy, |(runs, named, runs_a_group)| {
            write(&groups(&runs, named, runs_a_group), &ours, &stock);
            prop_assert_eq!(read(&ours), read(&stock));
            assert_pages_that_every_reader_takes(&ours);
            assert_pages_that_every_reader_takes(&stock);
            Ok(())
        })
        .expect("the same table");
}

/// Runs long enough that a row group has pages of each kind in any order.
#[test]
fn no_chunk_has_a_dictionary_page_after_a_plain_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("mixed");
    let page = (0..5_usize, 8_192..20_000_usize, any::<u64>(), any::<bool>()).prop_map(
        |(kind, length, seed, gaps)| Run {
            metric: kind % 3,
            dimensions: 1,
            statistic: false,
            unit: false,
            gaps,
            values: (0..).take(length).map(|n| value(kind, seed, n)).collect(),
        },
    );
    let mut runner = TestRunner::new(Config::with_cases(24));
    runner
        .run(&prop::collection::vec(page, 2..7), |runs| {
            let schema = schema_of(&METRICS);
            let mut file = RunFile::create(&path, &schema, METRICS.sort, FOOTER).expect("created");
            for group in &groups(&runs, true, runs.len()) {
                file.write(group).expect("written");
            }
            file.finish(true).expect("whole");
            assert_pages_that_every_reader_takes(&path);
            Ok(())
        })
        .expect("ordered pages");
}

/// Pairs of files for readers we did not write: `tests/py/test_writer.py` compares them in each.
#[test]
fn files_for_other_readers_are_left_behind() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("writer");
    let _ = std::fs::remove_dir_all(&folder);
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(run(9_000), 1..40);
    for n in 0..12 {
        let runs = strategy.new_tree(&mut runner).expect("runs").current();
        let pair = |name: &str| folder.join(format!("{n:02}-{name}.parquet"));
        write(
            &groups(&runs, n % 2 == 0, 1 + n * 3),
            &pair("ours"),
            &pair("stock"),
        );
    }
    // One row a series, as daily metrics have: 60,000 texts that no dictionary shortens, over several pages; and values of which each
    // page is written in another way.
    let daily = Run {
        metric: 0,
        dimensions: 2,
        statistic: false,
        unit: true,
        gaps: false,
        values: vec![0.5],
    };
    let pair = |name: &str| folder.join(format!("daily-{name}.parquet"));
    write(
        &groups(&vec![daily.clone(); 60_000], true, 60_000),
        &pair("ours"),
        &pair("stock"),
    );
    let kinds: Vec<Run> = (0..5)
        .map(|kind| Run {
            metric: kind % 3,
            values: (0..50_000).map(|n| value(kind, 9, n)).collect(),
            ..daily.clone()
        })
        .collect();
    let pair = |name: &str| folder.join(format!("kinds-{name}.parquet"));
    write(&groups(&kinds, true, 5), &pair("ours"), &pair("stock"));
}
