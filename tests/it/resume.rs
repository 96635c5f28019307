//! What an interrupted run leaves, and what the next one makes of it.

use cwlake::config::{Overrides, RangeRequest};
use cwlake::model::UnitOutcome;
use cwlake::report::RunReport;
use cwlake::run::{LaneChoice, export};

use crate::lab::{Lab, NOW, world};
use crate::lake::{SMALL_CONFIG, dates, put, run_at, since_last};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// One query a request, so that a run can break off anywhere: five statistics over a range that fills pages.
fn narrow(config: &str) -> String {
    config
        .replace("[limits]", "[limits]\nattempts = 1")
        .replace("period = 300", "period = 60")
        .replace(
            "\"Average\", \"Sum\", \"p90\"",
            "\"Average\", \"Sum\", \"p90\", \"Minimum\", \"Maximum\"",
        )
}

/// From the `after`th request on, nothing works.
fn broken_after(after: u32) -> String {
    format!(
        "[[fault]]\noperation = \"GetMetricData\"\nkind = \"error\"\nstatus = 500\ncode = \"InternalFailure\"\nafter = {after}\n"
    )
}

/// The same lake under another world: what the emulator does changes, what it knows does not.
async fn moved(mut lab: Lab, extra: &str) -> Lab {
    let dir = std::mem::replace(&mut lab.dir, tempfile::tempdir().expect("temp dir"));
    let mut next = Lab::new(world(extra)).await.with_config(&lab.config);
    next.dir = dir;
    next
}

fn billed(report: &RunReport) -> u64 {
    report.totals.get_metric_data.billed_metrics
}

/// A backfill over the ages of fourteen days that breaks off after some requests.
async fn interrupted(range: &RangeRequest, now: i64) -> (Lab, RunReport) {
    let lab = Lab::new(world(&broken_after(20)))
        .await
        .with_config(&narrow(SMALL_CONFIG));
    let report = run_at(&lab, range, now).await;
    assert_eq!(report.exit_code(), 3);
    assert!(billed(&report) >= 20, "{}", report.text());
    (lab, report)
}

async fn undisturbed(range: &RangeRequest, now: i64) -> (Lab, RunReport) {
    let lab = Lab::new(world("")).await.with_config(&narrow(SMALL_CONFIG));
    let report = run_at(&lab, range, now).await;
    (lab, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_in_between_forgets_nothing_of_a_backfill() {
    let range = dates("2026-10-25", "2026-11-21");
    let (clean, whole) = undisturbed(&range, NOW).await;
    let (lab, first) = interrupted(&range, NOW).await;
    let lab = moved(lab, "").await;
    // The nightly run of the same account, and a short one.
    assert_eq!(
        run_at(&lab, &RangeRequest::default(), NOW + 60)
            .await
            .exit_code(),
        0
    );
    assert_eq!(run_at(&lab, &since_last(), NOW + 120).await.exit_code(), 0);
    let last = run_at(&lab, &range, NOW + 180).await;
    assert_eq!(last.exit_code(), 0, "{}", last.text());
    assert!(
        billed(&first) + billed(&last) <= billed(&whole),
        "{} + {}",
        billed(&first),
        billed(&last)
    );
    let tree = lab.tree();
    for (key, hash) in clean.tree() {
        assert_eq!(tree.get(&key), Some(&hash), "{key}");
    }
    assert!(
        !lab.lake().join("_cwlake/spool").exists(),
        "and then it is forgotten"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_came_meanwhile_is_all_that_is_asked() {
    let range = dates("2026-10-25", "2026-11-21");
    let config = narrow(SMALL_CONFIG)
        + "[[metrics]]\nnamespace = \"App\"\nmetrics = [\"*\"]\nstatistics = [\"Sum\"]\nperiod = 60\n";
    let lab = Lab::new(world("[[fault]]\noperation = \"GetMetricData\"\nmetric_name = \"NetworkIn\"\nkind = \"internal_error\"\n"))
        .await
        .with_config(&config);
    let first = run_at(&lab, &range, NOW).await;
    assert_eq!(
        first.exit_code(),
        3,
        "the lane failed: everything else of it is kept"
    );
    let lab = moved(lab, "").await;
    put(&lab, "a-new-service", NOW - DAY).await;
    let second = run_at(&lab, &range, NOW).await;
    assert_eq!(second.exit_code(), 0, "{}", second.text());
    // Eleven instances' NetworkIn over the ages and pages of the range, and the new service.
    let asked: u64 = second.planned.sum.billed_metrics;
    assert!(
        billed(&second) < asked * 6 / 10,
        "{} of {asked}",
        billed(&second)
    );
    let clean = Lab::new(world("")).await.with_config(&config);
    put(&clean, "a-new-service", NOW - DAY).await;
    run_at(&clean, &range, NOW).await;
    assert_eq!(lab.tree(), clean.tree());
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_moved_with_the_ages_are_not_asked_again() {
    // At 16:00 UTC the days at which CloudWatch coarsens its points move on by one.
    let range = dates("2026-08-20", "2026-11-21");
    let before = NOW + 13 * HOUR;
    let (_, whole) = undisturbed(&range, before).await;
    let (lab, first) = interrupted(&range, before).await;
    let lab = moved(lab, "").await;
    let last = run_at(&lab, &range, NOW + 15 * HOUR).await;
    assert_eq!(last.exit_code(), 0, "{}", last.text());
    let total = billed(&first) + billed(&last);
    // Series of which only a part was answered are asked again.
    assert!(
        total <= billed(&whole) + 3 * 2,
        "{total} and {}",
        billed(&whole)
    );
    assert!(last.totals.get_metric_data.resumed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_covers_only_what_was_published_when_it_was_read() {
    // Read at 00:05, when the last minutes of the day were not published; resumed at 00:20, when they are.
    let midnight = NOW - 2 * HOUR;
    let late = world(&broken_after(3)).publication_delay(600);
    let lab = Lab::new(late).await.with_config(&narrow(SMALL_CONFIG));
    let range = dates("2026-11-07", "2026-11-21");
    assert_eq!(run_at(&lab, &range, midnight + 300).await.exit_code(), 3);
    let lab = moved(lab, "").await;
    let resumed = run_at(&lab, &range, midnight + 1_200).await;
    assert!(resumed.totals.get_metric_data.resumed > 0);
    let last = resumed.units.last().expect("a unit");
    assert!(last.provisional, "{}", resumed.text());
    // The next run reads the day again.
    let (clean, _) = undisturbed(&range, midnight + 1_200).await;
    run_at(&lab, &RangeRequest::default(), NOW).await;
    assert_eq!(lab.tree(), clean.tree());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_query_neither_freezes_a_day_nor_is_forgotten() {
    let refused = "[[fault]]\noperation = \"GetMetricData\"\nmetric_name = \"NetworkIn\"\nkind = \"forbidden\"\n";
    let morning = NOW - 14 * HOUR;
    let lab = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&lab, &since_last(), morning).await;
    let lab = moved(lab, refused).await;
    let noon = run_at(&lab, &since_last(), morning + 2 * HOUR).await;
    let rows = |report: &RunReport| {
        report
            .units
            .last()
            .map(|u| (u.outcome, u.rows))
            .expect("a unit")
    };
    assert_eq!(
        (noon.exit_code(), rows(&noon).0),
        (3, UnitOutcome::Written),
        "{}",
        noon.text()
    );
    let lab = moved(lab, "").await;
    let later = run_at(&lab, &since_last(), morning + 4 * HOUR).await;
    assert!(rows(&later).1 > rows(&noon).1);
    assert_eq!(
        later.exit_code(),
        3,
        "two hours of NetworkIn are still missing, and that is said"
    );
    let json = serde_json::to_string(&later).expect("json");
    assert!(!LaneChoice::failed_in(&json).expect("a report").is_empty());
    let healed = run_at(&lab, &dates("2026-11-20", "2026-11-21"), NOW).await;
    assert_eq!(healed.exit_code(), 0);
    let clean = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&clean, &dates("2026-11-20", "2026-11-21"), NOW).await;
    let key = "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet";
    assert_eq!(lab.tree()[key], clean.tree()[key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_runs_after_weeks_of_silence_begin_where_they_ended() {
    let lab = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&lab, &since_last(), NOW - 30 * DAY).await;
    let report = run_at(&lab, &since_last(), NOW).await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let dates: Vec<&str> = report.units.iter().map(|u| u.date.as_str()).collect();
    assert_eq!(
        (dates.first(), dates.len()),
        (Some(&"2026-10-22"), 31),
        "{dates:?}"
    );
    assert!(
        report
            .units
            .iter()
            .all(|u| u.outcome == UnitOutcome::Written)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn short_runs_ask_for_nothing_when_nothing_can_have_come() {
    let config = SMALL_CONFIG.replace(
        "period = 60\n",
        "period = 86400\npublication_delay_secs = 172800\n",
    );
    let lab = Lab::new(world("")).await.with_config(&config);
    run_at(&lab, &since_last(), NOW).await;
    let asked = |report: &RunReport| {
        report
            .units
            .iter()
            .map(|u| u.series_asked)
            .max()
            .unwrap_or(0)
    };
    let (instances, all) = (11 * 2, 11 * 2 + 3);
    let next = run_at(&lab, &since_last(), NOW + 600).await;
    assert_eq!(asked(&next), instances, "the daily metrics have no new day");
    let again = run_at(&lab, &since_last(), NOW + 660).await;
    assert_eq!(
        (billed(&again), again.exit_code(), again.units.len()),
        (0, 0, 0),
        "not even five minutes"
    );
    let published = run_at(&lab, &since_last(), NOW + 2 * DAY).await;
    assert_eq!(asked(&published), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_name_does_not_end_a_day_early() {
    let midnight = NOW - 2 * HOUR;
    let lab = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&lab, &since_last(), midnight - 600).await;
    let lab = lab.with_config(&SMALL_CONFIG.replace("name = \"prod\"", "name = \"production\""));
    run_at(&lab, &since_last(), midnight + 600).await;
    let last = run_at(&lab, &since_last(), NOW).await;
    assert_eq!(last.exit_code(), 0, "{}", last.text());
    let clean = Lab::new(world("")).await.with_config(&lab.config);
    run_at(&clean, &dates("2026-11-20", "2026-11-21"), NOW).await;
    let key = "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet";
    assert_eq!(lab.tree()[key], clean.tree()[key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_added_joins_from_the_day_that_is_not_whole() {
    let second = SMALL_CONFIG.rfind("[[metrics]]").expect("a second table");
    let lab = Lab::new(world(""))
        .await
        .with_config(&SMALL_CONFIG[..second]);
    run_at(&lab, &dates("2026-11-15", "2026-11-20"), NOW - 14 * HOUR).await;
    run_at(&lab, &since_last(), NOW - 14 * HOUR).await;
    let lab = lab.with_config(SMALL_CONFIG);
    for hours in [12, 6, 1] {
        let report = run_at(&lab, &since_last(), NOW - hours * HOUR).await;
        assert_eq!(report.exit_code(), 0, "{}", report.text());
        assert!(
            report.units.iter().all(|u| u.date.as_str() >= "2026-11-19"),
            "whole days are let be"
        );
    }
    assert_eq!(run_at(&lab, &since_last(), NOW).await.exit_code(), 0);
    let clean = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&clean, &dates("2026-11-20", "2026-11-21"), NOW).await;
    let key = "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet";
    assert_eq!(lab.tree()[key], clean.tree()[key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_replaced_when_forced() {
    let mut lab = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    run_at(&lab, &RangeRequest::default(), NOW).await;
    let tree = lab.tree();
    let file = lab.lake().join(tree.keys().next().expect("a file"));
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("damaged");
    lab.force = true;
    run_at(&lab, &RangeRequest::default(), NOW).await;
    assert_eq!(lab.tree(), tree);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_broke_off_count_against_the_budget() {
    let config = SMALL_CONFIG.replace(
        "calls_per_second = 1e6",
        "calls_per_second = 1e6\nattempts = 9",
    );
    let kinds = ["cut", "garbage", "empty_body"].into_iter().cycle();
    for (seed, kind) in (0..6_i64).zip(kinds) {
        let fault =
            format!("[[fault]]\noperation = \"GetMetricData\"\nkind = \"{kind}\"\nrate = 0.5\n");
        let lab = Lab::new(world(&fault)).await.with_config(&config);
        let range = dates("2026-08-01", &format!("2026-11-{}", 15 + seed));
        let plan = 3.0 * 25.0 * 0.01 / 1_000.0;
        let overrides = Overrides {
            max_spend_usd: Some(plan),
            ..Overrides::default()
        };
        let report = export(&lab.context_at(&range, NOW, &overrides))
            .await
            .expect("a report");
        let (told, bill) = (billed(&report), lab.emulator.bill().billed_metrics());
        assert!(bill <= 75, "{bill} billed, exit {}", report.exit_code());
        assert!(told >= bill, "{told} told, {bill} billed");
        assert!(matches!(report.exit_code(), 0 | 8), "{}", report.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_instance_found_by_ec2_keeps_its_last_days() {
    let config = SMALL_CONFIG.replace("period = 300\n", "period = 300\ndiscover = \"ec2\"\n");
    let lab = Lab::new(world("")).await.with_config(&config);
    let first = run_at(&lab, &dates("2026-11-20", "2026-11-21"), NOW - HOUR).await;
    let tree = lab.tree();
    // The fleet shrinks: DescribeInstances no longer knows the others, CloudWatch still has their points.
    let smaller = "[[fault]]\noperation = \"DescribeInstances\"\nkind = \"omit\"\n";
    let lab = moved(lab, smaller).await;
    let second = run_at(&lab, &dates("2026-11-20", "2026-11-21"), NOW).await;
    assert_eq!(second.exit_code(), 0, "{}", second.text());
    // The one that was stopped all along never had a point, and is not asked for from memory.
    assert_eq!(
        second.units[0].series_asked,
        first.units[0].series_asked - 2
    );
    assert_eq!(lab.tree(), tree);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_that_could_not_be_noted_are_noted_by_the_next_run_from_the_kept_answers() {
    let range = dates("2026-11-15", "2026-11-18");
    let undisturbed = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    assert_eq!(run_at(&undisturbed, &range, NOW).await.exit_code(), 0);
    let mut series = std::fs::read_dir(undisturbed.lake().join("series")).expect("the catalogs");
    let series = series.next().expect("one").expect("a name").path();

    let lab = Lab::new(world("")).await.with_config(SMALL_CONFIG);
    let name = series.file_name().expect("a name");
    let in_the_way = lab.lake().join("series").join(name);
    std::fs::create_dir_all(&in_the_way).expect("a folder of the file's name");
    let first = run_at(&lab, &range, NOW).await;
    assert_eq!((first.exit_code(), first.totals.written), (3, 3));
    std::fs::remove_dir(&in_the_way).expect("the folder");

    let paid = lab.emulator.bill().billed_metrics();
    let second = run_at(&lab, &range, NOW).await;
    assert_eq!(second.exit_code(), 0, "{}", second.text());
    assert_eq!(lab.emulator.bill().billed_metrics(), paid);
    let read = |path: &std::path::Path| std::fs::read(path).expect("a catalog");
    assert!(read(&in_the_way) == read(&series), "all its series");
    assert_eq!(lab.tree(), undisturbed.tree());
    let third = run_at(&lab, &range, NOW).await;
    assert_eq!((third.exit_code(), third.totals.skipped), (0, 3));
}
