//! What a lake remembers: manifests, held days, windows inside a day, short cadence, the series catalog, status and verify.

use std::collections::BTreeMap;

use cwlake::config::{Overrides, RangeRequest};
use cwlake::inspect::{status, verify};
use cwlake::lake::answers::UnitState;
use cwlake::model::{CauseKind, UnitOutcome};
use cwlake::report::RunReport;
use cwlake::run::{LaneChoice, RunContext, export};

use crate::lab::{CONFIG, Lab, NOW, unit, world};

const DAY: i64 = 86_400;
const MIDNIGHT: i64 = NOW - 2 * 3_600;

/// One account, one region, two instances: small enough for hundreds of runs.
pub(crate) const SMALL_CONFIG: &str = r#"version = 1
[destination]
url = "lake"
[run]
lookback_days = 0
[limits]
points_per_second = 1e12
recent_points_per_second = 1e12
calls_per_second = 1e6
list_metrics_per_second = 1e6
[[account]]
id = "111122223333"
name = "prod"
role_name = "Reader"
external_id = "ext-1"
regions = ["us-east-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization", "NetworkIn"]
statistics = ["Average", "Sum", "p90"]
period = 300
[[metrics]]
namespace = "AWS/ApplicationELB"
metrics = ["*"]
statistics = ["Sum"]
period = 60
"#;

async fn small_lab(extra: &str) -> Lab {
    Lab::new(world(extra)).await.with_config(SMALL_CONFIG)
}

pub(crate) fn dates(from: &str, to: &str) -> RangeRequest {
    RangeRequest {
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        ..RangeRequest::default()
    }
}

pub(crate) fn since_last() -> RangeRequest {
    RangeRequest {
        since: Some("last".to_owned()),
        ..RangeRequest::default()
    }
}

pub(crate) async fn run_at(lab: &Lab, range: &RangeRequest, now: i64) -> RunReport {
    export(&lab.context_at(range, now, &Overrides::default()))
        .await
        .expect("a report")
}

async fn states(lab: &Lab, range: &RangeRequest, now: i64) -> BTreeMap<String, UnitState> {
    let report = status(&lab.context_at(range, now, &Overrides::default()), false)
        .await
        .expect("a status");
    report.accounts[0].tables[&cwlake::model::Dataset::Metrics].clone()
}

async fn verified(lab: &Lab) {
    let report = verify(&lab.context(&RangeRequest::default()), None)
        .await
        .expect("a report");
    assert_eq!(report.exit_code(), 0, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_days_are_not_asked_again_and_gone_files_are() {
    let lab = small_lab("").await;
    let range = dates("2026-11-15", "2026-11-21");
    let first = run_at(&lab, &range, NOW).await;
    assert_eq!((first.exit_code(), first.totals.written), (0, 6));
    let billed = lab.emulator.bill().billed_metrics();
    let tree = lab.tree();

    // The last two days may still change; the four before them are settled.
    let second = run_at(&lab, &range, NOW).await;
    assert_eq!(
        (
            second.exit_code(),
            second.totals.unchanged,
            second.totals.skipped
        ),
        (0, 2, 4),
        "{}",
        second.text()
    );
    assert!(second.units[0].complete, "held, not short");
    let settled = dates("2026-11-15", "2026-11-18");
    let third = run_at(&lab, &settled, NOW).await;
    assert_eq!(
        (third.exit_code(), third.totals.skipped),
        (0, 3),
        "{}",
        third.text()
    );
    assert_eq!(third.totals.discovery.calls, 0, "nothing is even listed");
    assert_eq!(lab.tree(), tree);

    // Forced, all of it is read; a file that vanished is read again by itself.
    let mut lab = lab;
    lab.force = true;
    let forced = run_at(&lab, &settled, NOW).await;
    assert_eq!((forced.totals.written, forced.totals.skipped), (3, 0));
    assert_eq!(lab.tree(), tree);
    lab.force = false;
    let gone = lab
        .lake()
        .join("metrics/dt=2026-11-16/111122223333_us-east-1_0000.parquet");
    std::fs::remove_file(&gone).expect("removed");
    let healed = run_at(&lab, &settled, NOW).await;
    assert_eq!((healed.totals.written, healed.totals.skipped), (1, 2));
    assert_eq!(lab.tree(), tree);
    assert!(lab.emulator.bill().billed_metrics() > billed);
    verified(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_namespace_asks_for_that_one_alone() {
    let lab = small_lab("").await;
    let range = dates("2026-11-15", "2026-11-18");
    assert_eq!(run_at(&lab, &range, NOW).await.exit_code(), 0);
    let before = lab.emulator.bill().billed_metrics();
    // Three metrics of one balancer, of which another statistic is asked for now; two of each of twelve instances stay.
    let more = SMALL_CONFIG.replace(
        "statistics = [\"Sum\"]",
        "statistics = [\"Sum\", \"Maximum\"]",
    );
    let lab = lab.with_config(&more);
    let report = run_at(&lab, &range, NOW).await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (0, 3),
        "{}",
        report.text()
    );
    assert_eq!(lab.emulator.bill().billed_metrics() - before, 3);
    assert_eq!(report.planned.sum.billed_metrics, 3);
    let again = run_at(&lab, &range, NOW).await;
    assert_eq!(
        (
            again.totals.skipped,
            again.totals.get_metric_data.billed_metrics
        ),
        (3, 0)
    );
    // The same rows as a lake that was always asked so.
    let fresh = small_lab("").await.with_config(&more);
    run_at(&fresh, &range, NOW).await;
    assert_eq!(lab.tree(), fresh.tree());
    verified(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_asked_stays_and_what_is_new_joins_it() {
    let lab = small_lab("").await;
    let range = dates("2026-11-15", "2026-11-17");
    let first = run_at(&lab, &range, NOW).await;
    let wider = SMALL_CONFIG.replace(
        "\"Average\", \"Sum\", \"p90\"",
        "\"Average\", \"Sum\", \"p90\", \"p99\"",
    );
    let narrower = SMALL_CONFIG.replace("\"Average\", \"Sum\", \"p90\"", "\"Average\"");
    let lab = lab.with_config(&narrower);
    let report = run_at(&lab, &range, NOW).await;
    assert_eq!((report.exit_code(), report.totals.written), (0, 2));
    assert_eq!(report.totals.rows, first.totals.rows, "nothing is lost");
    // Joined once, settled: nothing is asked again.
    let again = run_at(&lab, &range, NOW).await;
    assert_eq!((again.exit_code(), again.totals.skipped), (0, 2));
    let lab = lab.with_config(&wider);
    let report = run_at(&lab, &range, NOW).await;
    assert_eq!((report.exit_code(), report.totals.written), (0, 2));
    let fresh = small_lab("").await.with_config(&wider);
    let whole = run_at(&fresh, &range, NOW).await;
    assert_eq!(report.totals.rows, whole.totals.rows);
    assert_eq!(
        lab.tree(),
        fresh.tree(),
        "joined or read at once: the same bytes"
    );
    verified(&lab).await;
    // Forced, a unit holds what is asked for and nothing else.
    let mut lab = lab.with_config(&narrower);
    lab.force = true;
    let forced = run_at(&lab, &range, NOW).await;
    let fresh = small_lab("").await.with_config(&narrower);
    run_at(&fresh, &range, NOW).await;
    assert!(forced.totals.rows < first.totals.rows);
    assert_eq!(lab.tree(), fresh.tree());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_drops_no_namespace_and_joins_a_part_of_a_day() {
    let lab = small_lab("").await;
    let before = run_at(&lab, &RangeRequest::default(), NOW).await;
    // More statistics, and one namespace less: two teams that share a lake by mistake, say.
    let table = SMALL_CONFIG.rfind("[[metrics]]").expect("a second table");
    let other = SMALL_CONFIG[..table].replace(
        "\"Average\", \"Sum\"",
        "\"Average\", \"Sum\", \"p1\", \"p2\"",
    );
    let lab = lab.with_config(&other);
    let part = dates("2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z");
    let joined = run_at(&lab, &part, NOW).await;
    assert_eq!(joined.exit_code(), 0, "{}", joined.text());
    assert!(joined.totals.rows > before.totals.rows);
    let whole = run_at(&lab, &RangeRequest::default(), NOW).await;
    assert_eq!(whole.exit_code(), 0, "{}", whole.text());
    assert!(whole.totals.rows > joined.totals.rows);
    for manifest in [true, false] {
        if !manifest {
            std::fs::remove_dir_all(lab.lake().join("_cwlake/manifest")).expect("removed");
        }
        let report = run_at(&lab, &part, NOW).await;
        assert_eq!(report.exit_code(), 0, "{}", report.text());
        assert_eq!(report.totals.rows, whole.totals.rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manifest_is_made_again_from_the_files() {
    let lab = small_lab("").await;
    let range = dates("2026-11-18", "2026-11-21");
    run_at(&lab, &range, NOW).await;
    let tree = lab.tree();
    std::fs::remove_dir_all(lab.lake().join("_cwlake/manifest")).expect("removed");
    assert_eq!(
        states(&lab, &range, NOW).await["2026-11-20"],
        UnitState::Missing
    );
    let report = run_at(&lab, &range, NOW).await;
    assert_eq!((report.exit_code(), report.totals.written), (0, 3));
    assert_eq!(lab.tree(), tree);
    assert_eq!(
        states(&lab, &range, NOW).await["2026-11-20"],
        UnitState::Complete
    );
    verified(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_inside_a_day_make_the_day() {
    let whole = small_lab("").await;
    run_at(&whole, &dates("2026-11-19", "2026-11-20"), NOW).await;
    let pieces = small_lab("").await;
    let date = |from: &str, to: &str| {
        dates(
            &format!("2026-11-19T{from}:00Z"),
            &format!("2026-11-19T{to}:00Z"),
        )
    };
    // Out of order, overlapping, and not at period boundaries.
    for (from, to) in [("18:00", "21:00"), ("00:00", "06:07"), ("06:02", "12:33")] {
        let report = run_at(&pieces, &date(from, to), NOW).await;
        assert_eq!(
            (report.exit_code(), report.totals.written),
            (0, 1),
            "{}",
            report.text()
        );
        assert!(report.units[0].provisional);
    }
    let day = dates("2026-11-19", "2026-11-20");
    assert_eq!(
        states(&pieces, &day, NOW).await["2026-11-19"],
        UnitState::Partial
    );
    assert_ne!(pieces.tree(), whole.tree());
    run_at(&pieces, &date("12:30", "18:00"), NOW).await;
    let last = run_at(&pieces, &dates("2026-11-19T21:00:00Z", "2026-11-20"), NOW).await;
    assert!(!last.units[0].provisional);
    assert_eq!(pieces.tree(), whole.tree(), "byte for byte");
    assert_eq!(
        states(&pieces, &day, NOW).await["2026-11-19"],
        UnitState::Complete
    );
    verified(&pieces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_288_short_runs_is_the_file_of_one_nightly_run() {
    let nightly = small_lab("").await;
    run_at(&nightly, &dates("2026-11-20", "2026-11-21"), NOW).await;

    // Values are published two minutes late here, less than the five and fifteen the table says.
    let delayed = world("").publication_delay(120);
    let lab = Lab::new(delayed).await.with_config(SMALL_CONFIG);
    run_at(&lab, &RangeRequest::default(), MIDNIGHT - DAY + 60).await;
    let day = dates("2026-11-20", "2026-11-21");
    let mut written = 0;
    for n in 0..292 {
        let now = MIDNIGHT - DAY + 65 + n * 300;
        let report = run_at(&lab, &since_last(), now).await;
        assert_eq!(report.exit_code(), 0, "{}", report.text());
        written += report.totals.written - report.totals.unchanged;
        let of_day = |u: &&cwlake::report::UnitReport| u.date == "2026-11-20";
        if let Some(unit) = report.units.iter().find(of_day) {
            let whole = now >= MIDNIGHT + 15 * 60;
            assert_eq!(unit.provisional, !whole, "at {n}");
        }
        if n == 100 {
            assert_eq!(
                states(&lab, &day, now).await["2026-11-20"],
                UnitState::Provisional
            );
        }
    }
    assert!(written > 280, "every run adds something: {written}");
    let key = "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet";
    assert_eq!(lab.tree()[key], nightly.tree()[key], "byte for byte");
    assert_eq!(
        states(&lab, &day, NOW).await["2026-11-20"],
        UnitState::Complete
    );
    // And the nightly run afterwards changes nothing.
    let after = run_at(&lab, &RangeRequest::default(), NOW).await;
    assert_eq!(after.totals.unchanged, 1, "{}", after.text());
    verified(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_stretch_of_short_runs_is_caught_up() {
    let nightly = small_lab("").await;
    run_at(&nightly, &dates("2026-11-18", "2026-11-21"), NOW).await;
    let lab = small_lab("").await;
    run_at(&lab, &RangeRequest::default(), MIDNIGHT - 3 * DAY).await;
    for now in [
        MIDNIGHT - 3 * DAY + 3_600,
        MIDNIGHT - 3 * DAY + 7_200,
        MIDNIGHT - DAY + 7_200,
        NOW,
    ] {
        let report = run_at(&lab, &since_last(), now).await;
        assert_eq!(report.exit_code(), 0, "{}", report.text());
    }
    let tree = lab.tree();
    for (key, hash) in nightly.tree() {
        assert_eq!(tree.get(&key), Some(&hash), "{key}");
    }
    verified(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_alone_joins_its_unit() {
    let whole = small_lab("").await;
    run_at(&whole, &RangeRequest::default(), NOW).await;
    let lab = small_lab("").await;
    let only = |namespace: &str| Overrides {
        namespaces: vec![namespace.to_owned()],
        ..Overrides::default()
    };
    let range = RangeRequest::default();
    let first = export(&lab.context_at(&range, NOW, &only("AWS/ApplicationELB")))
        .await
        .expect("a report");
    assert!(first.units[0].provisional, "the other namespace is missing");
    assert_eq!(
        states(&lab, &range, NOW).await["2026-11-20"],
        UnitState::Provisional
    );
    assert_eq!(
        states(&lab, &dates("2026-11-20", "2026-11-21"), NOW + 5 * DAY).await["2026-11-20"],
        UnitState::Partial
    );
    export(&lab.context_at(&range, NOW, &only("AWS/EC2")))
        .await
        .expect("a report");
    assert_eq!(lab.tree(), whole.tree(), "byte for byte");
    assert_eq!(
        states(&lab, &range, NOW).await["2026-11-20"],
        UnitState::Complete
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_namespaces_keep_a_day_provisional() {
    let config = SMALL_CONFIG.replace(
        "period = 60\n",
        "period = 60\npublication_delay_secs = 172800\n",
    );
    let lab = small_lab("").await.with_config(&config);
    let range = dates("2026-11-17", "2026-11-21");
    let report = run_at(&lab, &range, NOW).await;
    let provisional: Vec<bool> = report.units.iter().map(|u| u.provisional).collect();
    assert_eq!(provisional, [false, false, true, true], "{}", report.text());
    let states = states(&lab, &range, NOW).await;
    assert_eq!(states["2026-11-18"], UnitState::Complete);
    assert_eq!(states["2026-11-19"], UnitState::Provisional);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_resources_stay_exportable() {
    let config = SMALL_CONFIG
        .replace(
            "metrics = [\"CPUUtilization\", \"NetworkIn\"]",
            "metrics = [\"*\"]",
        )
        .replace("AWS/EC2", "App");
    let lab = small_lab("").await.with_config(&config);
    put(&lab, "old-service", NOW - DAY).await;
    put(&lab, "lasting-service", NOW - DAY).await;
    put(&lab, "lasting-service", NOW + 39 * DAY).await;
    let first = run_at(&lab, &RangeRequest::default(), NOW).await;
    assert_eq!(first.exit_code(), 0);
    let tree = lab.tree();

    // Forty days on ListMetrics no longer shows what ended; a nightly run does not pay for it either.
    let later = NOW + 40 * DAY;
    let nightly = run_at(&lab, &RangeRequest::default(), later).await;
    assert_eq!(
        unit(&nightly, "111122223333", "us-east-1").series_asked,
        1 + 3,
        "one service and a load balancer"
    );
    std::fs::remove_dir_all(lab.lake().join("metrics")).expect("removed");
    let backfill = run_at(&lab, &dates("2026-11-20", "2026-11-21"), later).await;
    let found = unit(&backfill, "111122223333", "us-east-1");
    assert_eq!(
        (found.series_asked, found.outcome),
        (2 + 3, UnitOutcome::Written)
    );
    let rows = |lab: &Lab| {
        let batches = lab.batches();
        batches
            .iter()
            .map(arrow_array::RecordBatch::num_rows)
            .sum::<usize>()
    };
    assert!(rows(&lab) > 0 && tree.len() == 1);

    // Without what the lake remembers, the service that ended would be silently missing.
    std::fs::remove_dir_all(lab.lake().join("series")).expect("removed");
    std::fs::remove_dir_all(lab.lake().join("metrics")).expect("removed");
    let blind = run_at(&lab, &dates("2026-11-20", "2026-11-21"), later).await;
    assert_eq!(
        unit(&blind, "111122223333", "us-east-1").series_asked,
        1 + 3
    );
}

/// One value for a service at a second.
pub(crate) async fn put(lab: &Lab, service: &str, second: i64) {
    use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
    lab.emulator.set_now(second.max(NOW));
    let credentials =
        aws_sdk_cloudwatch::config::Credentials::new("111122223333", "x", None, None, "test");
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(aws_sdk_cloudwatch::config::BehaviorVersion::latest())
        .endpoint_url(lab.emulator.url())
        .region(aws_sdk_cloudwatch::config::Region::new("us-east-1"))
        .credentials_provider(credentials)
        .build();
    let datum = MetricDatum::builder()
        .metric_name("Jobs")
        .dimensions(Dimension::builder().name("Service").value(service).build())
        .value(3.0)
        .timestamp(aws_sdk_cloudwatch::primitives::DateTime::from_secs(second))
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
        .put_metric_data()
        .namespace("App")
        .metric_data(datum)
        .send()
        .await
        .expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_failed_is_run_again() {
    let denied = "[[account]]\nid = \"333344445555\"\nregions = [\"us-east-1\"]\ninstances = 2\n";
    let config = CONFIG.replace(
        "[[metrics]]",
        "[[account]]\nid = \"333344445555\"\nregions = [\"us-east-1\"]\n[[metrics]]",
    );
    let lab = Lab::new(world(denied)).await.with_config(&config);
    let range = dates("2026-11-18", "2026-11-21");
    let first = run_at(&lab, &range, NOW).await;
    assert_eq!((first.exit_code(), first.totals.written), (3, 12));
    let json = serde_json::to_string(&first).expect("json");
    let lanes = LaneChoice::failed_in(&json).expect("a report");
    let calls = lab.emulator.bill().calls("AssumeRole");
    let context = RunContext {
        range: cwlake::config::Range::Window(lanes.hull()),
        lanes: Some(lanes),
        ..lab.context_at(&range, NOW, &Overrides::default())
    };
    let again = export(&context).await.expect("a report");
    assert_eq!(again.units.len(), 3, "{}", again.text());
    assert!(again.units.iter().all(|u| u.account_id == "333344445555"));
    assert_eq!(lab.emulator.bill().calls("AssumeRole"), calls + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_stops_before_the_call_that_would_pass_it_and_the_next_run_goes_on() {
    let clean = Lab::new(world("")).await.with_config(CONFIG);
    let range = dates("2026-11-18", "2026-11-21");
    run_at(&clean, &range, NOW).await;
    // Answers in small pages cost more than the plan says, since a page may be billed like a request.
    let pages =
        "[[fault]]\noperation = \"GetMetricData\"\nkind = \"small_pages\"\npoints = 20000\n";
    let lab = Lab::new(world(pages))
        .await
        .with_config(&CONFIG.replace("lookback_days = 0", "lookback_days = 0\nconcurrency = 1"));
    let cap = |dollars: f64| Overrides {
        max_spend_usd: Some(dollars),
        ..Overrides::default()
    };
    let plan = 96.0 * 0.01 / 1_000.0;
    let first = export(&lab.context_at(&range, NOW, &cap(plan)))
        .await
        .expect("a report");
    assert_eq!(first.exit_code(), 8, "{}", first.text());
    assert!(lab.emulator.bill().billed_metrics() <= 96);
    let stopped = |r: &RunReport| {
        r.units
            .iter()
            .filter(|u| {
                u.cause
                    .as_ref()
                    .is_some_and(|c| c.kind == CauseKind::Budget)
            })
            .count()
    };
    assert!(stopped(&first) > 0 && first.totals.written > 0);
    let second = export(&lab.context_at(&range, NOW, &cap(1.0)))
        .await
        .expect("a report");
    assert_eq!(second.exit_code(), 0, "{}", second.text());
    assert_eq!(lab.tree(), clean.tree());
    assert_eq!(lab.leftovers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the headline is for whoever runs the test"
)]
async fn a_backfill_bills_each_metric_once_where_a_loop_over_days_bills_it_daily() {
    let config = CONFIG
        .replace("period = 300", "period = 3600")
        .replace("\"Average\", \"Maximum\", \"p90\"", "\"Average\"")
        .replace(", \"eu-west-1\"", "")
        // A try that runs into its limit on a busy machine is billed as well.
        .replace("_timeout_secs = 2", "_timeout_secs = 60");
    let range = dates("2025-08-25", "2026-11-21");
    let lab = Lab::new(world("")).await.with_config(&config);
    let report = run_at(&lab, &range, NOW).await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let ours = lab.emulator.bill().billed_metrics();
    let days = report.units.len() as u64 / 2;
    // A loop over days bills a metric on each of them: measured on one day, times the days.
    let one_day = Lab::new(world("")).await.with_config(&config);
    run_at(&one_day, &dates("2026-11-19", "2026-11-20"), NOW).await;
    let looped = one_day.emulator.bill().billed_metrics() * days;
    println!(
        "{days} days hourly: a loop over days is billed {looped} metric requests, this backfill {ours}: {} times less",
        looped / ours
    );
    assert!(looped / ours >= 400, "{looped} / {ours}");
    assert_eq!(report.totals.written, 2 * days);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_was_done_to_a_lake() {
    let lab = small_lab("").await;
    run_at(&lab, &dates("2026-11-15", "2026-11-18"), NOW).await;
    run_at(&lab, &dates("2026-11-19", "2026-11-20"), NOW).await;
    let file = |day: &str| {
        lab.lake().join(format!(
            "metrics/dt={day}/111122223333_us-east-1_0000.parquet"
        ))
    };
    std::fs::remove_file(file("2026-11-15")).expect("removed");
    std::fs::copy(file("2026-11-17"), file("2026-11-16")).expect("swapped");
    let mut bytes = std::fs::read(file("2026-11-19")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(file("2026-11-19"), bytes).expect("damaged");
    std::fs::write(lab.lake().join("metrics/notes.txt"), "x").expect("strange");
    let report = verify(&lab.context(&RangeRequest::default()), None)
        .await
        .expect("a report");
    let text = report.text();
    assert_eq!(report.exit_code(), 3);
    for told in [
        "2026-11-15/111122223333_us-east-1_0000.parquet: it is missing",
        "2026-11-16/111122223333_us-east-1_0000.parquet: its checksum is not the recorded one",
        "rows are not of its day",
        "2026-11-19/111122223333_us-east-1_0000.parquet: its checksum",
        "metrics/notes.txt: it is not cwlake's",
        "gap 111122223333/us-east-1 everything: 2026-11-18 to 2026-11-19",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_missing_forbidden_and_whole_apart() {
    let denied = "[[account]]\nid = \"333344445555\"\nregions = [\"us-east-1\"]\ninstances = 2\n";
    let config = CONFIG.replace(
        "[[metrics]]",
        "[[account]]\nid = \"333344445555\"\nregions = [\"us-east-1\"]\n[[metrics]]",
    );
    let lab = Lab::new(world(denied)).await.with_config(&config);
    run_at(&lab, &RangeRequest::default(), NOW).await;
    let context = lab.context(&dates("2026-11-19", "2026-11-21"));
    let report = status(&context, false).await.expect("a status");
    assert_eq!(report.exit_code(), 3);
    let text = report.text();
    assert!(text.contains("111122223333 prod -C\n"), "{text}");
    assert!(
        text.contains("missing 2026-11-20 333344445555/us-east-1: last forbidden: assuming role"),
        "{text}"
    );
    assert_eq!(report.totals["complete"], 4);
    // Without dates it begins with the first day of which anything is known.
    let month = lab.context(&dates("2026-10-22", "2026-11-21"));
    let report = status(&month, true).await.expect("a status");
    assert_eq!(report.from, "2026-11-20");
    let units: u64 = report.totals.values().sum();
    assert_eq!((units, report.totals["complete"]), (5, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_another_layout_is_refused_before_anything_is_asked() {
    let lab = small_lab("").await;
    run_at(&lab, &RangeRequest::default(), NOW).await;
    let marker = lab.lake().join("_cwlake/format.json");
    let text = std::fs::read_to_string(&marker).expect("a marker");
    assert!(text.contains("\"layout\": 1"), "{text}");
    std::fs::write(&marker, text.replace('1', "2")).expect("written");
    let (tree, calls) = (lab.tree(), lab.emulator.bill().calls("ListMetrics"));
    let error = lab.try_export().await.expect_err("refused");
    assert!(error.to_string().contains("layout 2"), "{error}");
    assert_eq!(
        (lab.tree(), lab.emulator.bill().calls("ListMetrics")),
        (tree, calls)
    );
    std::fs::write(&marker, text).expect("written");
    run_at(&lab, &RangeRequest::default(), NOW).await;
}
