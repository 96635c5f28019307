//! What was not answered is not recorded as answered, by whatever cause; and every hole is filled when it can be.

use cwlake::config::{Overrides, RangeRequest};
use cwlake::inspect::status;
use cwlake::model::{Dataset, UnitOutcome};
use cwlake::report::RunReport;
use cwlake::run::{RunError, export};

use crate::lab::{CONFIG, Lab, NOW, clean_tree, unit, world};
use crate::lake::{SMALL_CONFIG, dates, run_at, since_last};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// The same lake in a world with other faults.
async fn moved(mut lab: Lab, faults: &str) -> Lab {
    let dir = std::mem::replace(&mut lab.dir, tempfile::tempdir().expect("temp dir"));
    let mut next = Lab::new(world(faults)).await.with_config(&lab.config);
    next.dir = dir;
    next
}

async fn small(faults: &str) -> Lab {
    Lab::new(world(faults)).await.with_config(SMALL_CONFIG)
}

/// A run whose own clock is `ahead` of the service's.
async fn run_ahead(lab: &Lab, ahead: i64) -> Result<RunReport, RunError> {
    let range = RangeRequest::default();
    let context = lab.context_at(&range, NOW + ahead, &Overrides::default());
    lab.emulator.set_now(NOW);
    export(&context).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_refused_before_anything_is_asked() {
    for ahead in [DAY, 3 * DAY, 301, -301 - 60, -DAY] {
        let lab = small("").await;
        let error = run_ahead(&lab, ahead).await.expect_err("refused");
        assert!(
            matches!(error, RunError::Clock { seconds } if (seconds - ahead).abs() < 60),
            "{ahead}: {error}"
        );
        let bill = lab.emulator.bill();
        assert_eq!(bill.calls("ListMetrics") + bill.calls("GetMetricData"), 0);
        assert!(lab.tree().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_beyond_the_services_time() {
    let lab = small("").await;
    let midnight = NOW - 2 * HOUR;
    // Ours is four minutes past midnight; there the day has a minute left.
    let ours = midnight + 240 - 60;
    let range = dates("2026-11-20", "2026-11-21");
    let context = lab.context_at(&range, ours, &Overrides::default());
    lab.emulator.set_now(midnight - 60);
    let report = export(&context).await.expect("a report");
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert!(report.units[0].provisional);
    let clean = small("").await;
    run_at(&clean, &range, NOW).await;
    run_at(&lab, &since_last(), NOW).await;
    assert_eq!(
        lab.tree()
            .get("metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet"),
        clean
            .tree()
            .get("metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet")
    );
}

/// Runs from 9:00 to 12:00 of a day, hour by hour, the middle two of them in a world with faults; then one a day later without.
async fn hours_with(faults: &str) -> (Vec<RunReport>, Lab, Lab) {
    let nine = NOW - 2 * HOUR - DAY + 9 * HOUR;
    let mut lab = small("").await;
    let mut reports = vec![run_at(&lab, &since_last(), nine).await];
    lab = moved(lab, faults).await;
    for hour in 1..3 {
        reports.push(run_at(&lab, &since_last(), nine + hour * HOUR).await);
    }
    lab = moved(lab, "").await;
    reports.push(run_at(&lab, &since_last(), nine + 3 * HOUR).await);
    reports.push(run_at(&lab, &since_last(), nine + 3 * HOUR + DAY).await);
    let clean = small("").await;
    run_at(&clean, &since_last(), nine).await;
    run_at(&clean, &since_last(), nine + 3 * HOUR + DAY).await;
    (reports, lab, clean)
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_was_denied_or_refused_is_asked_again_until_it_is_answered() {
    for fault in [
        "kind = \"error\"\nstatus = 403\ncode = \"AccessDenied\"",
        "kind = \"forbidden\"",
        "kind = \"internal_error\"",
        "kind = \"partial_data\"",
        "kind = \"internal_error\"\nmetric_name = \"CPUUtilization\"",
    ] {
        let faults = format!("[[fault]]\noperation = \"GetMetricData\"\n{fault}\n");
        let (reports, lab, clean) = hours_with(&faults).await;
        let codes: Vec<u8> = reports.iter().map(RunReport::exit_code).collect();
        assert_eq!((codes[0], codes[1], codes[2]), (0, 3, 3), "{fault}");
        assert_eq!(codes[4], 0, "{fault}: {}", reports[4].text());
        assert_eq!(lab.tree(), clean.tree(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_that_is_never_answered_holds_nothing_else_back() {
    let fault = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"internal_error\"\nmetric_name = \"NetworkIn\"\n";
    let lab = Lab::new(world(fault)).await;
    let report = lab.export().await;
    assert_eq!((report.exit_code(), report.totals.written), (3, 4));
    let one = unit(&report, "111122223333", "us-east-1");
    assert!(!one.complete && one.refused_queries > 0);
    assert!(one.refused.iter().all(|r| r.series.contains("NetworkIn")));
    let others = CONFIG.replace("\"Network*\"", "\"NetworkOut\", \"NetworkPackets*\"");
    let clean = Lab::new(world("")).await.with_config(&others);
    let rows = clean.export().await.totals.rows;
    assert_eq!(report.totals.rows, rows, "all but what was refused");
    assert_eq!(lab.leftovers(), 0);
    let context = lab.context(&RangeRequest::default());
    let status = status(&context, false).await.expect("a status");
    let day = &status.accounts[0].tables[&Dataset::Metrics]["2026-11-20"];
    assert_eq!(day.as_str(), "partial");
    let healed = moved(lab, "").await;
    assert_eq!(healed.export().await.exit_code(), 0);
    assert_eq!(healed.tree(), clean_tree(CONFIG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_whole_is_asked_for_again() {
    let by_instances = CONFIG
        .replace("dimensions = { InstanceId = \"*\" }", "discover = \"ec2\"")
        .replace("\"Network*\"", "\"NetworkIn\"");
    for (operation, kind, config) in [
        ("DescribeInstances", "halve", &*by_instances),
        ("DescribeInstances", "no_list", &*by_instances),
        ("AssumeRole", "halve", CONFIG),
        ("ListMetrics", "no_list", CONFIG),
        ("GetMetricData", "twice", CONFIG),
        ("GetMetricData", "no_list", CONFIG),
    ] {
        let fault =
            format!("[[fault]]\noperation = \"{operation}\"\nkind = \"{kind}\"\ntimes = 2\n");
        if cfg!(not(feature = "ec2")) && operation == "DescribeInstances" {
            continue;
        }
        let lab = Lab::new(world(&fault)).await.with_config(config);
        let report = lab.export().await;
        assert_eq!(
            report.exit_code(),
            0,
            "{operation} {kind}: {}",
            report.text()
        );
        assert_eq!(lab.tree(), clean_tree(config).await, "{operation} {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_comes_is_a_failure_and_no_empty_account() {
    let fault =
        "[[fault]]\noperation = \"ListMetrics\"\nkind = \"no_list\"\nregion = \"eu-west-1\"\n";
    let config = CONFIG.replace("[limits]", "[limits]\nattempts = 2");
    let lab = Lab::new(world(fault)).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!((report.exit_code(), report.totals.failed), (3, 2));
    let failed = unit(&report, "111122223333", "eu-west-1");
    assert_eq!(failed.outcome, UnitOutcome::Failed);
}

#[cfg(feature = "ec2")]
#[tokio::test(flavor = "multi_thread")]
async fn tags_that_all_instances_lose_at_once_are_kept() {
    let untagged = "[[fault]]\noperation = \"DescribeInstances\"\nkind = \"untagged\"\n";
    let config = CONFIG.replace("[[metrics]]", "[instances]\n[[metrics]]");
    let range = RangeRequest::default();
    let lab = Lab::new(world("")).await.with_config(&config);
    run_at(&lab, &range, NOW).await;
    let tree = lab.tree();
    let lab = moved(lab, untagged).await;
    let again = run_at(&lab, &range, NOW).await;
    assert_eq!(again.exit_code(), 0, "{}", again.text());
    assert_eq!(lab.tree(), tree, "the same day");
    run_at(&lab, &range, NOW + DAY).await;
    let clean = Lab::new(world("")).await.with_config(&config);
    run_at(&clean, &range, NOW).await;
    run_at(&clean, &range, NOW + DAY).await;
    assert_eq!(lab.tree(), clean.tree(), "the next day");
}
