//! What a run does when nothing, or something ordinary, is wrong.

use std::collections::BTreeSet;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
use cwlake::commit::LakeError;
use cwlake::config::RangeRequest;
use cwlake::lake::table::METRICS;
use cwlake::model::UnitOutcome;
use cwlake::normalize::schema_of;
use cwlake::run::{RunError, plan};

use crate::lab::{CALLER, CONFIG, Lab, NOW, clean_tree, unit, world};

#[tokio::test(flavor = "multi_thread")]
async fn every_series_of_every_lane_arrives_with_its_identity() {
    let lab = Lab::new(world("")).await;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    // 12 and 5 instances, each tenth stopped; 3 metrics, 3 statistics, 288 periods of a day, two regions.
    assert_eq!(report.totals.rows, (11 + 5) * 3 * 3 * 288 * 2);
    assert_eq!(report.totals.written, 4);
    let batches = lab.batches();
    assert_eq!(
        batches.iter().map(|b| b.num_rows() as u64).sum::<u64>(),
        report.totals.rows
    );
    let mut keys = BTreeSet::new();
    for batch in &batches {
        assert_eq!(batch.schema().fields(), schema_of(&METRICS).fields());
        let text = |name: &str| {
            batch
                .column_by_name(name)
                .expect("column")
                .as_string::<i32>()
                .clone()
        };
        let ts = batch
            .column_by_name("ts")
            .expect("ts")
            .as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            assert!((NOW - 26 * 3600..NOW - 2 * 3600).contains(&(ts.value(row) / 1_000_000)));
            let key = (
                text("account_id").value(row).to_owned(),
                text("region").value(row).to_owned(),
                text("metric_name").value(row).to_owned(),
                text("dimensions_key").value(row).to_owned(),
                text("stat").value(row).to_owned(),
                ts.value(row),
            );
            assert!(keys.insert(key), "no row twice");
        }
    }
    assert_eq!(unit(&report, "111122223333", "us-east-1").series_asked, 33);
    assert_eq!(
        unit(&report, "111122223333", "us-east-1").series_returned,
        33
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_file_are_sorted_as_declared() {
    let lab = Lab::new(world("")).await;
    lab.export().await;
    for file in lab.tree().keys() {
        let mut last = None;
        for batch in crate::lab::read(&lab.lake().join(file)) {
            let text = |name: &str| {
                batch
                    .column_by_name(name)
                    .expect("column")
                    .as_string::<i32>()
                    .clone()
            };
            let ts = batch
                .column_by_name("ts")
                .expect("ts")
                .as_primitive::<TimestampMicrosecondType>()
                .clone();
            for row in 0..batch.num_rows() {
                let key = (
                    ["namespace", "metric_name", "dimensions_key", "stat"]
                        .map(|c| text(c).value(row).to_owned()),
                    ts.value(row),
                );
                assert!(last.as_ref() < Some(&key), "{file}");
                last = Some(key);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_what_the_emulator_served() {
    let lab = Lab::new(world("")).await;
    let report = lab.export().await;
    let bill = lab.emulator.bill();
    assert_eq!(
        report.totals.get_metric_data.calls.calls,
        bill.calls("GetMetricData")
    );
    assert_eq!(report.totals.get_metric_data.points_received, bill.points());
    assert_eq!(
        report.totals.get_metric_data.billed_metrics,
        bill.billed_metrics()
    );
    assert_eq!(report.totals.rows, bill.points());
    assert_eq!(
        report.planned.sum.billed_metrics,
        bill.billed_metrics(),
        "the plan said so before"
    );
    assert_eq!(report.totals.discovery.calls, bill.calls("ListMetrics"));
    assert_eq!(bill.calls("AssumeRole"), 2, "each role once");
    assert_eq!(bill.calls("ListMetrics"), 4, "once per lane and namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_leave_identical_bytes() {
    let first = clean_tree(CONFIG).await;
    let lab = Lab::new(world("")).await;
    lab.export().await;
    lab.export().await;
    assert_eq!(lab.tree(), first);
    assert_eq!((first.len(), lab.leftovers()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_and_read_ahead_do_not_change_a_byte() {
    let config = CONFIG.replace(
        "lookback_days = 0",
        "lookback_days = 0\nconcurrency = 1\nread_ahead = 1",
    );
    assert_eq!(clean_tree(&config).await, clean_tree(CONFIG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_over_three_ages_fills_every_day_at_its_finest_period() {
    let config = CONFIG
        .replace("period = 300", "period = \"auto\"")
        .replace("[\"CPUUtilization\", \"Network*\"]", "[\"CPUUtilization\"]")
        .replace("[\"Average\", \"Maximum\", \"p90\"]", "[\"Average\"]")
        .replace("lookback_days = 0", "lookback_days = 0\nconcurrency = 2");
    let lab = Lab::new(world("")).await.with_config(&config);
    let report = lab.export_days("2026-09-15", "2026-11-21").await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(report.totals.written, 67 * 4);
    let rows = |date: &str| {
        let unit = report
            .units
            .iter()
            .find(|u| u.date == date && u.account_id == "222233334444" && u.region == "eu-west-1");
        unit.map(|u| u.rows).expect("a unit")
    };
    assert_eq!(
        [rows("2026-09-16"), rows("2026-10-20"), rows("2026-11-20")],
        [5 * 24, 5 * 288, 5 * 1440]
    );
    let batch = &crate::lab::read(
        &lab.lake()
            .join("metrics/dt=2026-10-20/222233334444_eu-west-1_0000.parquet"),
    )[0];
    let periods = batch
        .column_by_name("period")
        .expect("period")
        .as_primitive::<Int32Type>();
    assert!(periods.values().iter().all(|p| *p == 300));
    assert_eq!(
        report.totals.get_metric_data.billed_metrics,
        32 * 3,
        "one request per metric and age"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_be_read_with_the_base_credentials() {
    let extra = "[[account]]\nid = \"444455556666\"\ninstances = 1\n";
    let config = CONFIG.replace(
        "[[account]]\nid = \"222233334444\"",
        "[[account]]\nid = \"999900001111\"\nbase_credentials = true",
    );
    let mut with_instances = world(extra);
    with_instances.accounts[0].instances = 2;
    with_instances.accounts[0]
        .regions
        .push("eu-west-1".to_owned());
    let lab = Lab::new(with_instances).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(unit(&report, CALLER, "us-east-1").series_returned, 6);
    assert_eq!(lab.emulator.bill().calls("GetCallerIdentity"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn base_credentials_of_another_account_are_refused() {
    let config = CONFIG.replace(
        "[[account]]\nid = \"222233334444\"",
        "[[account]]\nid = \"222233334444\"\nbase_credentials = true",
    );
    let lab = Lab::new(world("")).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3);
    let cause = report.fleet.accounts[1].cause.clone().expect("refused");
    assert!(
        cause.message.contains("account 999900001111")
            && cause.message.contains("the entry says 222233334444"),
        "{cause}"
    );
    assert_eq!(report.totals.written, 2, "the other account is complete");
}

#[cfg(feature = "ec2")]
#[tokio::test(flavor = "multi_thread")]
async fn regions_and_instances_are_found_through_ec2() {
    let config = CONFIG
        .replace("regions = [\"us-east-1\", \"eu-west-1\"]", "regions = \"auto\"")
        .replace("dimensions = { InstanceId = \"*\" }", "discover = \"ec2\"\ninstance_states = [\"running\"]\ninstance_tags = { Team = [\"pay*\", \"data\"] }")
        .replace("\"Network*\"", "\"NetworkIn\"");
    let lab = Lab::new(world("")).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(report.lanes.len(), 4, "both regions of both accounts");
    // Of 12 instances every fourth is payments (0, 4, 8) and every fourth data (3, 7, 11); none of these is stopped.
    assert_eq!(
        unit(&report, "111122223333", "us-east-1").series_asked,
        6 * 2
    );
    assert_eq!(lab.emulator.bill().calls("ListMetrics"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_matched_is_told_apart_from_done() {
    let lab = Lab::new(world(""))
        .await
        .with_config(&CONFIG.replace("\"CPUUtilization\", \"Network*\"", "\"NoSuchMetric\""));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 4);
    assert!(report.units.iter().all(|u| u.outcome == UnitOutcome::Empty));
    assert!(lab.tree().is_empty(), "no file for an empty unit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_budget_spends_nothing() {
    let lab = Lab::new(world("")).await.with_config(&CONFIG.replace(
        "lookback_days = 0",
        "lookback_days = 0\nmax_spend_usd = 0.0001",
    ));
    let error = lab.try_export().await.expect_err("refused");
    assert!(matches!(error, RunError::OverBudget { .. }), "{error}");
    assert_eq!(lab.emulator.bill().calls("GetMetricData"), 0);
    assert!(lab.tree().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_destination_is_refused_before_any_call() {
    let lab = Lab::new(world("")).await;
    std::fs::write(lab.lake(), "a file in the way").expect("written");
    let error = lab.try_export().await.expect_err("refused");
    assert!(
        matches!(error, RunError::Lake(LakeError::NotWritable { .. })),
        "{error}"
    );
    assert!(lab.emulator.bill().lanes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_calls_nothing_that_costs_and_writes_nothing() {
    let lab = Lab::new(world("")).await;
    let (_, planned) = plan(&lab.context(&RangeRequest::default()))
        .await
        .expect("planned");
    assert_eq!(
        (
            planned.cost.sum.series,
            planned.cost.sum.billed_metrics,
            planned.cost.sum.calls
        ),
        (96, 96, 4)
    );
    assert_eq!(lab.emulator.bill().calls("GetMetricData"), 0);
    assert!(!lab.lake().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_rows_never_replace_more_unless_forced() {
    let lab = Lab::new(world("")).await;
    lab.export().await;
    let whole = lab.tree();
    // Most of the data is gone, by whatever trouble of somebody else's.
    let mut fewer = world("");
    for account in &mut fewer.accounts {
        account.instances = 1;
    }
    let mut less = Lab::new(fewer).await;
    less.dir = lab.dir;
    let report = less.export().await;
    assert_eq!(report.totals.skipped, 4, "{}", report.text());
    assert!(report.text().contains("--force"), "{}", report.text());
    assert_eq!(less.tree(), whole);
    less.force = true;
    let report = less.export().await;
    assert_eq!((report.totals.written, report.exit_code()), (4, 0));
    assert_ne!(less.tree(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn today_is_exported_up_to_now_and_marked_provisional() {
    let lab = Lab::new(world("")).await;
    let report = lab.export_days("2026-11-21", "2026-11-22").await;
    let unit = unit(&report, "111122223333", "us-east-1");
    assert!(unit.provisional);
    assert_eq!(unit.rows, 33 * 3 * 24, "two hours of five minutes");
    assert_eq!(report.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_publishes_nothing_half_done_and_reports() {
    let lab = Lab::new(world(
        "[[fault]]\noperation = \"GetMetricData\"\nregion = \"eu-west-1\"\nkind = \"hang\"\n",
    ))
    .await;
    let stop = lab.stop.clone();
    let watch = async {
        while lab.tree().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    let (report, ()) = tokio::join!(lab.export(), watch);
    assert_eq!(report.exit_code(), 130);
    assert_eq!((report.totals.written, report.totals.failed), (2, 2));
    assert_eq!((lab.tree().len(), lab.leftovers()), (2, 0));
    assert!(
        lab.lake()
            .join("_cwlake/runs")
            .join(format!("{}.json.gz", report.run_id))
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_units_are_never_mixed_and_are_named() {
    let lab = Lab::new(world("")).await;
    put_two_units(&lab).await;
    let config = CONFIG.split("[[metrics]]").next().expect("head").replace(
        "regions = [\"us-east-1\", \"eu-west-1\"]",
        "regions = [\"us-east-1\"]",
    );
    let selection = "[[metrics]]\nnamespace = \"App\"\nmetrics = [\"Wait\"]\nstatistics = [\"Sum\"]\nperiod = 60\n";
    let lab = lab.with_config(&format!("{config}{selection}"));
    let report = lab.export().await;
    let told = unit(&report, "111122223333", "us-east-1");
    assert_eq!(told.messages.len(), 1, "{}", report.text());
    assert_eq!(
        (told.messages[0].code.as_str(), told.messages[0].queries),
        ("MultipleUnits", 1)
    );
    assert!(told.messages[0].text.contains("Milliseconds, Seconds"));
    assert!(report.text().contains("MultipleUnits"));
    let values = |lab: &Lab| -> Vec<f64> {
        let batches = lab.batches();
        batches
            .iter()
            .flat_map(|b| {
                b.column_by_name("value")
                    .expect("value")
                    .as_primitive::<Float64Type>()
                    .values()
                    .to_vec()
            })
            .collect()
    };
    assert_eq!(values(&lab), [60_000.0]);
    let lab = lab.with_config(&format!("{config}{selection}unit = \"Seconds\"\n"));
    let report = lab.export().await;
    assert!(
        unit(&report, "111122223333", "us-east-1")
            .messages
            .is_empty()
    );
    assert_eq!(values(&lab), [60.0]);
    let units = lab.batches()[0]
        .column_by_name("unit")
        .expect("unit")
        .as_string::<i32>()
        .clone();
    assert!(units.is_valid(0) && units.value(0) == "Seconds");
}

async fn put_two_units(lab: &Lab) {
    use aws_sdk_cloudwatch::types::{MetricDatum, StandardUnit};
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(aws_sdk_cloudwatch::config::BehaviorVersion::v2026_01_12())
        .region(aws_sdk_cloudwatch::config::Region::new("us-east-1"))
        .endpoint_url(lab.emulator.url())
        .credentials_provider(aws_sdk_cloudwatch::config::Credentials::new(
            "111122223333",
            "x",
            None,
            None,
            "test",
        ))
        .build();
    let datum = |value, unit| {
        let time = aws_sdk_cloudwatch::primitives::DateTime::from_secs(NOW - 10 * 3_600);
        MetricDatum::builder()
            .metric_name("Wait")
            .value(value)
            .unit(unit)
            .timestamp(time)
            .build()
    };
    aws_sdk_cloudwatch::Client::from_conf(config)
        .put_metric_data()
        .namespace("App")
        .metric_data(datum(60_000.0, StandardUnit::Milliseconds))
        .metric_data(datum(60.0, StandardUnit::Seconds))
        .send()
        .await
        .expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statistic_asked_for_in_two_ways_is_told() {
    let second = "[[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"CPU*\"]\nstatistics = [\"Average\"]\nperiod = 3600\n";
    let lab = Lab::new(world(""))
        .await
        .with_config(&format!("{CONFIG}{second}"));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0);
    assert!(
        report
            .text()
            .contains("32 statistics of series are asked for by two [[metrics]] tables"),
        "{}",
        report.text()
    );
    let first = Lab::new(world("")).await;
    first.export().await;
    assert_eq!(lab.batches(), first.batches(), "the first table decides");
}
