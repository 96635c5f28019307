//! What a run does when AWS misbehaves. Oracle: the tree of a fault-free run.

use cwlake::model::{CauseKind, UnitOutcome};
use cwlake::report::RunReport;

use crate::lab::{CALLER, CONFIG, Lab, clean_tree, unit, world};

async fn run(faults: &str) -> (Lab, RunReport) {
    let lab = Lab::new(world(faults)).await;
    let report = lab.export().await;
    (lab, report)
}

/// The fault costs time, nothing else.
async fn is_survived(faults: &str) -> RunReport {
    let (lab, report) = run(faults).await;
    assert_eq!(report.exit_code(), 0, "{faults}\n{}", report.text());
    assert_eq!(lab.tree(), clean_tree(CONFIG).await, "{faults}");
    assert_eq!(lab.leftovers(), 0);
    report
}

/// The fault ends the units of `eu-west-1`; the others are as ever, and no file is left for the failed ones.
async fn fails_its_region(kind: &str, expected: CauseKind) {
    let fault = format!(
        "[[fault]]\noperation = \"GetMetricData\"\nregion = \"eu-west-1\"\nkind = \"{kind}\"\n"
    );
    let lab = Lab::new(world(&fault))
        .await
        .with_config(&CONFIG.replace("[limits]", "[limits]\nattempts = 3"));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3, "{kind}");
    for account in ["111122223333", "222233334444"] {
        let failed = unit(&report, account, "eu-west-1");
        assert_eq!(
            (failed.outcome, failed.complete),
            (UnitOutcome::Failed, false),
            "{kind}"
        );
        assert_eq!(
            failed.cause.as_ref().map(|c| c.kind),
            Some(expected),
            "{kind}"
        );
        assert_eq!(
            unit(&report, account, "us-east-1").outcome,
            UnitOutcome::Written
        );
    }
    let mut clean = clean_tree(CONFIG).await;
    clean.retain(|file, _| file.contains("us-east-1"));
    assert_eq!((lab.tree(), lab.leftovers()), (clean, 0), "{kind}");
}

/// The fault strikes the second run: every unit of the first stays, and the exit code says that the second was short.
async fn a_second_run_keeps_what_is_there_and_tells(fault: &str) {
    let lab = Lab::new(world(fault)).await;
    assert_eq!(lab.export().await.exit_code(), 0);
    let whole = lab.tree();
    let report = lab.export().await;
    assert_eq!(
        (report.totals.skipped, report.exit_code()),
        (4, 3),
        "{}",
        report.text()
    );
    assert_eq!(lab.tree(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_out() {
    let report =
        is_survived("[[fault]]\noperation = \"GetMetricData\"\nkind = \"throttle\"\nrate = 0.3\n")
            .await;
    is_survived("[[fault]]\noperation = \"ListMetrics\"\nkind = \"throttle\"\nrate = 0.3\n").await;
    is_survived("[[fault]]\noperation = \"AssumeRole\"\nkind = \"throttle\"\ntimes = 2\n").await;
    is_survived("[[fault]]\nkind = \"error\"\nstatus = 429\nrate = 0.2\n").await;
    let stats = report.totals.get_metric_data.calls;
    assert_eq!(stats.retries, stats.throttles, "counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_are_asked_for_again() {
    for fault in [
        "kind = \"error\"\nstatus = 500\nrate = 0.4",
        "kind = \"error\"\nstatus = 503\ncode = \"ServiceUnavailable\"\ntimes = 3",
        "kind = \"cut\"\ntimes = 3",
        "kind = \"garbage\"\ntimes = 3",
        "kind = \"empty_body\"\ntimes = 3",
    ] {
        is_survived(&format!(
            "[[fault]]\noperation = \"GetMetricData\"\n{fault}\n"
        ))
        .await;
    }
    is_survived("[[fault]]\noperation = \"ListMetrics\"\nkind = \"cut\"\ntimes = 2\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_listing_body_is_not_an_empty_account() {
    is_survived("[[fault]]\noperation = \"ListMetrics\"\nkind = \"empty_body\"\ntimes = 2\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_dripping_end_at_the_time_limit() {
    is_survived("[[fault]]\noperation = \"GetMetricData\"\nkind = \"hang\"\ntimes = 1\n").await;
    is_survived(
        "[[fault]]\noperation = \"GetMetricData\"\nkind = \"drip\"\nmillis = 300\ntimes = 1\n",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_did_not_finish_are_asked_for_again() {
    for kind in ["internal_error", "partial_data", "omit", "unequal"] {
        is_survived(&format!(
            "[[fault]]\noperation = \"GetMetricData\"\nkind = \"{kind}\"\ntimes = 3\n"
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_and_shuffled_points_come_out_sorted_and_single() {
    let (lab, report) = run("[[fault]]\noperation = \"GetMetricData\"\nkind = \"shuffle\"\n").await;
    assert_eq!(lab.tree(), clean_tree(CONFIG).await);
    assert_eq!(
        report.totals.get_metric_data.points_duplicate,
        report.totals.rows
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_finishes_fails_its_units_and_nothing_else() {
    fails_its_region("internal_error", CauseKind::Transient).await;
    fails_its_region("partial_data", CauseKind::Transient).await;
    fails_its_region("omit", CauseKind::Protocol).await;
    fails_its_region("unequal", CauseKind::Protocol).await;
    fails_its_region("repeat_token", CauseKind::Protocol).await;
    fails_its_region("unknown_id", CauseKind::Protocol).await;
    fails_its_region("garbage", CauseKind::Transient).await;
    fails_its_region("throttle", CauseKind::Throttled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_is_renewed_once_and_the_request_repeated() {
    let faults = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"expired_token\"\naccount = \"111122223333\"\ntimes = 1\n";
    let (lab, report) = run(faults).await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(lab.tree(), clean_tree(CONFIG).await);
    assert_eq!(
        lab.emulator.bill().calls("AssumeRole"),
        3,
        "two accounts, one renewed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_stays_is_final() {
    let faults = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"expired_token\"\naccount = \"111122223333\"\n";
    let (_, report) = run(faults).await;
    assert_eq!(
        unit(&report, "111122223333", "us-east-1")
            .cause
            .as_ref()
            .map(|c| c.kind),
        Some(CauseKind::ExpiredToken)
    );
    assert_eq!(
        unit(&report, "222233334444", "us-east-1").outcome,
        UnitOutcome::Written
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_role_costs_one_call_and_names_the_remedy() {
    let lab = Lab::new(world("")).await.with_config(&CONFIG.replace(
        "id = \"222233334444\"",
        "id = \"222233334444\"\nexternal_id = \"another-one\"",
    ));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3);
    assert_eq!(
        lab.emulator.bill().calls("AssumeRole"),
        2,
        "one for each account"
    );
    let cause = report.fleet.accounts[1].cause.as_ref().expect("denied");
    assert_eq!(cause.kind, CauseKind::AccessDenied);
    assert!(
        cause
            .hint
            .as_ref()
            .is_some_and(|h| h.contains("sts:ExternalId"))
    );
    assert_eq!((report.totals.written, report.totals.forbidden), (2, 2));
    let json = serde_json::to_string(&report).expect("json");
    assert!(
        !json.contains("another-one") && !json.contains("ext-1"),
        "external ids stay out of the report"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_action_is_forbidden_and_named() {
    for (action, operation) in [
        ("cloudwatch:GetMetricData", "GetMetricData"),
        ("cloudwatch:ListMetrics", "ListMetrics"),
    ] {
        let mut denying = world("");
        denying.accounts[1].roles[0].deny = vec![format!("{action}@eu-west-1")];
        let lab = Lab::new(denying).await;
        let report = lab.export().await;
        let denied = unit(&report, "111122223333", "eu-west-1");
        assert_eq!(
            (report.exit_code(), denied.outcome),
            (3, UnitOutcome::Forbidden),
            "{}",
            report.text()
        );
        assert!(report.text().contains(action), "{}", report.text());
        assert_eq!(
            lab.emulator.bill().lanes["111122223333/eu-west-1"].calls[operation],
            1,
            "not tried again"
        );
        assert_eq!(report.totals.written, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_result_is_recorded_and_the_rest_is_written() {
    let faults = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"forbidden\"\nmetric_name = \"NetworkIn\"\nregion = \"us-east-1\"\n";
    let (_, report) = run(faults).await;
    let partly = unit(&report, "222233334444", "us-east-1");
    assert_eq!(
        (partly.outcome, partly.complete),
        (UnitOutcome::Written, false)
    );
    assert_eq!(
        (
            partly.refused_queries,
            partly.series_asked,
            partly.series_returned
        ),
        (15, 15, 10)
    );
    assert_eq!(report.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remark_about_the_whole_request_makes_the_unit_incomplete() {
    let (_, report) = run(
        "[[fault]]\noperation = \"GetMetricData\"\nkind = \"message\"\nregion = \"us-east-1\"\n",
    )
    .await;
    let told = unit(&report, "222233334444", "us-east-1");
    assert!(!told.complete && told.messages[0].text.contains("Maximum number"));
    assert_eq!(report.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_unit_does_not_replace_a_complete_one() {
    let faults = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"forbidden\"\nmetric_name = \"NetworkIn\"\nafter = 4\n";
    a_second_run_keeps_what_is_there_and_tells(faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_region_is_a_failure_when_named() {
    let mut one_region = world("");
    one_region.accounts[1].regions = vec!["us-east-1".to_owned()];
    let lab = Lab::new(one_region).await;
    let report = lab.export().await;
    let disabled = unit(&report, "111122223333", "eu-west-1");
    assert_eq!(
        (report.exit_code(), disabled.outcome),
        (3, UnitOutcome::Failed)
    );
    assert_eq!(
        disabled.cause.as_ref().map(|c| c.kind),
        Some(CauseKind::RegionDisabled)
    );
    assert!(
        report.text().contains("enable region eu-west-1"),
        "{}",
        report.text()
    );
    assert_eq!(report.totals.written, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_of_which_everything_is_refused_is_neither_empty_nor_written() {
    let (lab, report) = run(
        "[[fault]]\noperation = \"GetMetricData\"\nregion = \"us-east-1\"\nkind = \"invalid\"\n",
    )
    .await;
    let refused = unit(&report, "222233334444", "us-east-1");
    assert_eq!(
        (refused.outcome, refused.refused_queries),
        (UnitOutcome::Failed, 45)
    );
    assert_eq!((report.exit_code(), lab.tree().len()), (3, 2));
}

#[cfg(feature = "ec2")]
const REFUSED_REGION: [&str; 5] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "RegionDisabledException",
    "OptInRequired",
];

#[cfg(feature = "ec2")]
fn every_region() -> String {
    CONFIG.replace(
        "regions = [\"us-east-1\", \"eu-west-1\"]",
        "regions = \"auto\"",
    )
}

#[cfg(feature = "ec2")]
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_may_be_disabled_is_skipped_whatever_its_error_is_called() {
    for code in REFUSED_REGION {
        // Who may not ask which regions are enabled tries them all.
        let fault = format!(
            "[[fault]]\noperation = \"DescribeRegions\"\nkind = \"error\"\nstatus = 403\ncode = \"UnauthorizedOperation\"\n\
             [[fault]]\noperation = \"ListMetrics\"\nregion = \"eu-west-1\"\nkind = \"error\"\nstatus = 403\ncode = \"{code}\"\n"
        );
        let lab = Lab::new(world(&fault)).await.with_config(&every_region());
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 0, "{code}: {}", report.text());
        assert_eq!(report.totals.written, 2, "{code}");
        let closed = |u: &&cwlake::report::UnitReport| u.region == "eu-west-1";
        let mut units = report.units.iter().filter(closed);
        assert!(
            units.all(|u| u.outcome == UnitOutcome::Skipped),
            "{}",
            report.text()
        );
    }
}

#[cfg(feature = "ec2")]
#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_region_that_refuses_a_session_is_missed_unless_a_fresh_one_will_do() {
    for code in REFUSED_REGION {
        for (times, missed) in [("times = 2\n", 0), ("", 2)] {
            let fault = format!(
                "[[fault]]\noperation = \"ListMetrics\"\nregion = \"eu-west-1\"\nkind = \"error\"\nstatus = 403\ncode = \"{code}\"\n{times}"
            );
            let lab = Lab::new(world(&fault)).await.with_config(&every_region());
            let report = lab.export().await;
            assert_eq!(
                (report.totals.written, report.totals.failed),
                (4 - missed, missed),
                "{code}: {}",
                report.text()
            );
            assert_eq!(report.exit_code(), if missed > 0 { 3 } else { 0 }, "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_loses_only_what_is_lost() {
    let denied = format!(
        "[[account]]\nid = \"333344445555\"\nregions = [\"us-east-1\", \"eu-west-1\"]\ninstances = 3\n\
         [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"not-ours\"\n"
    );
    let faults = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"throttle\"\nrate = 0.2\n\
                  [[fault]]\noperation = \"GetMetricData\"\nkind = \"invalid\"\nmetric_name = \"NetworkOut\"\naccount = \"111122223333\"\n";
    let mut troubled = world(&format!("{denied}{faults}"));
    troubled.accounts[2].regions = vec!["us-east-1".to_owned()];
    let config = CONFIG.replace(
        "[[metrics]]",
        "[[account]]\nid = \"333344445555\"\nname = \"legacy\"\n[[metrics]]",
    );
    let lab = Lab::new(troubled).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3);

    // Complete and bit-exact where nothing was refused.
    let clean = clean_tree(CONFIG).await;
    let file = "metrics/dt=2026-11-20/222233334444_us-east-1_0000.parquet";
    assert_eq!(lab.tree()[file], clean[file]);
    // Bit-exact without the refused metric: the same as never having asked for it.
    let without = clean_tree(&CONFIG.replace("\"Network*\"", "\"NetworkIn\"")).await;
    for region in ["us-east-1", "eu-west-1"] {
        let partly = unit(&report, "111122223333", region);
        assert_eq!(
            (partly.outcome, partly.complete, partly.refused_queries),
            (UnitOutcome::Written, false, 33)
        );
        assert_eq!(partly.rows, 22 * 3 * 288);
        assert!(
            partly
                .refused
                .iter()
                .all(|r| r.series.contains("NetworkOut") && r.cause.kind == CauseKind::Validation)
        );
        let file = format!("metrics/dt=2026-11-20/111122223333_{region}_0000.parquet");
        assert_eq!(
            rows_of(&lab, &file),
            rows_without(&file, &without).await,
            "{file}"
        );
    }
    let text = report.text();
    for named in [
        "333344445555 (legacy)",
        "222233334444/eu-west-1",
        "NetworkOut",
        "AccessDenied",
    ] {
        assert!(text.contains(named), "{named} in\n{text}");
    }
    assert!(report.totals.get_metric_data.calls.throttles > 0);
}

fn rows_of(lab: &Lab, file: &str) -> Vec<arrow_array::RecordBatch> {
    crate::lab::read(&lab.lake().join(file))
}

/// Rows of a fault-free export without `NetworkOut`; its tree tells that it is the one compared with.
async fn rows_without(
    file: &str,
    tree: &std::collections::BTreeMap<String, String>,
) -> Vec<arrow_array::RecordBatch> {
    let lab = Lab::new(world(""))
        .await
        .with_config(&CONFIG.replace("\"Network*\"", "\"NetworkIn\""));
    lab.export().await;
    assert_eq!(lab.tree()[file], tree[file]);
    rows_of(&lab, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_followed_and_merged() {
    let small = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"small_pages\"\npoints = 1000\n";
    let report = is_survived(small).await;
    let stats = report.totals.get_metric_data;
    // 28,512 points of the larger account and 12,960 of the smaller, in each of two regions.
    assert_eq!(
        (stats.pages, stats.calls.calls),
        (2 * (29 + 13), 2 * (29 + 13))
    );
    let stale = format!(
        "{small}[[fault]]\noperation = \"GetMetricData\"\nkind = \"error\"\nstatus = 400\ncode = \"InvalidNextToken\"\nafter = 9\ntimes = 1\n"
    );
    let report = is_survived(&stale).await;
    assert!(
        report.totals.get_metric_data.pages > stats.pages,
        "one request began again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_is_an_error_and_not_a_short_list() {
    let mut large = world(
        "[[fault]]\noperation = \"ListMetrics\"\nregion = \"us-east-1\"\nkind = \"error\"\nafter = 1\n",
    );
    large.accounts[1].instances = 150;
    let config = CONFIG
        .replace("[limits]", "[limits]\nattempts = 2")
        .replace("[[account]]\nid = \"222233334444\"", "");
    let lab = Lab::new(large).await.with_config(&config);
    let report = lab.export().await;
    let broken = unit(&report, "111122223333", "us-east-1");
    assert_eq!(
        (report.exit_code(), broken.outcome),
        (3, UnitOutcome::Failed),
        "{}",
        report.text()
    );
    assert_eq!(
        unit(&report, "111122223333", "eu-west-1").series_returned,
        135 * 3,
        "two pages"
    );
    assert_eq!(lab.tree().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_renewed_before_it_ends() {
    let mut short = world("");
    // Shorter than the margin: every call then finds it about to end.
    short.accounts[1].roles[0].session_secs = Some(60);
    let lab = Lab::new(short).await;
    let report = lab.export().await;
    assert_eq!(
        (
            report.exit_code(),
            report.totals.get_metric_data.calls.retries
        ),
        (0, 0),
        "{}",
        report.text()
    );
    // On entering, and before ListMetrics and GetMetricData of both regions.
    assert_eq!(
        lab.emulator.bill().lanes["999900001111/us-east-1"].calls["AssumeRole"],
        5 + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_takes_too_long_fails_alone() {
    let slow =
        "[[fault]]\noperation = \"GetMetricData\"\nregion = \"eu-west-1\"\nkind = \"hang\"\n";
    let config = CONFIG.replace("[limits]", "[limits]\nunit_timeout_secs = 1.0");
    let lab = Lab::new(world(slow)).await.with_config(&config);
    let report = lab.export().await;
    let late = unit(&report, "111122223333", "eu-west-1");
    assert_eq!(
        late.cause.as_ref().map(|c| c.kind),
        Some(CauseKind::TimeLimit)
    );
    assert_eq!(
        (
            report.totals.written,
            report.totals.failed,
            lab.tree().len()
        ),
        (2, 2, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_run_never_removes_what_is_there_forced_or_not() {
    let deny = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"error\"\nstatus = 403\ncode = \"AccessDenied\"\nafter = 4\n";
    let mut lab = Lab::new(world(deny)).await;
    assert_eq!(lab.export().await.exit_code(), 0);
    let whole = lab.tree();
    for force in [false, true] {
        lab.force = force;
        let report = lab.export().await;
        assert_eq!(
            (report.totals.forbidden, report.exit_code()),
            (4, 3),
            "{}",
            report.text()
        );
        assert_eq!(lab.tree(), whole, "forced: {force}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_answer_is_told_although_the_older_unit_is_kept() {
    let fault = "[[fault]]\noperation = \"GetMetricData\"\nkind = \"message\"\nafter = 4\n";
    a_second_run_keeps_what_is_there_and_tells(fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_accounts_are_entered_ends_the_run() {
    let lab = Lab::new(world(
        "[[fault]]\noperation = \"AssumeRole\"\nkind = \"hang\"\n",
    ))
    .await;
    let lab =
        lab.with_config(&CONFIG.replace("attempt_timeout_secs = 2", "attempt_timeout_secs = 600"));
    let stop = lab.stop.clone();
    let (report, ()) = tokio::join!(lab.export(), async {
        while lab.emulator.bill().calls("AssumeRole") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        stop.cancel();
    });
    assert_eq!((report.exit_code(), report.totals.failed), (130, 4));
    assert!(report.fleet.accounts.iter().all(|a| {
        a.cause
            .as_ref()
            .is_some_and(|c| c.kind == CauseKind::Interrupted)
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_discovery_counts_its_calls() {
    let fault =
        "[[fault]]\noperation = \"ListMetrics\"\nregion = \"eu-west-1\"\nkind = \"throttle\"\n";
    let lab = Lab::new(world(fault))
        .await
        .with_config(&CONFIG.replace("[limits]", "[limits]\nattempts = 3"));
    let report = lab.export().await;
    let lane = report
        .lanes
        .iter()
        .find(|l| l.region == "eu-west-1")
        .expect("a lane");
    assert_eq!(
        (
            lane.discovery.calls,
            lane.discovery.retries,
            lane.discovery.throttles
        ),
        (3, 2, 3)
    );
}
