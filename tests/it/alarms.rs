//! Alarms and the changes of their states: what is there, what may not be seen, and what stays when CloudWatch has forgotten it.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use cwlake::config::{Overrides, RangeRequest};
use cwlake::emulator::World;
use cwlake::inspect::{doctor, status, verify};
use cwlake::model::{AccountId, Dimension, Lane, MetricId, Region, UnitOutcome, series_id};
use cwlake::run::export;

use crate::lab::{CALLER, Lab, NOW, NOW_TEXT};
use crate::tables::{files, outcomes, rows, texts};

const ACCOUNT: &str = "111122223333";

const CONFIG: &str = "alarms = {}\n[destination]\nurl = \"lake\"\n[run]\nlookback_days = 0\n\
    [limits]\nconnect_timeout_secs = 2\nread_timeout_secs = 2\nattempt_timeout_secs = 2\nalarm_calls_per_second = 1000.0\n\
    [defaults]\nrole_name = \"Reader\"\nregions = [\"us-east-1\"]\n[[account]]\nid = \"111122223333\"\nname = \"prod\"\n";

/// Many alarms, of which some change, and a composite one; `role` goes to the role, `faults` to the end.
fn world(role: &str, faults: &str) -> World {
    let mut alarms = String::new();
    for n in 0..230 {
        let changes = if n % 50 == 0 { 4 } else { 0 };
        alarms += &format!(
            "[[account.alarm]]\nname = \"cpu-{n:03}\"\nthreshold = 80.0\nactions = [\"arn:aws:sns:us-east-1:{ACCOUNT}:ops\"]\n\
             changes_per_day = {changes}\ndimensions = {{ InstanceId = \"i-{n}\" }}\n"
        );
    }
    let text = format!(
        "seed = 5\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n[[account]]\nid = \"{ACCOUNT}\"\n{alarms}\
         [[account.alarm]]\nname = \"all\"\nrule = \"ALARM(cpu-000) OR ALARM(cpu-050)\"\nchanges_per_day = 2\n\
         [[account.alarm]]\nname = \"stuck\"\nstate = \"ALARM\"\n\
         [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\n{role}{faults}"
    );
    World::from_toml(&text).unwrap_or_else(|e| panic!("{e:?}"))
}

async fn lab(role: &str, faults: &str) -> Lab {
    Lab::new(world(role, faults)).await.with_config(CONFIG)
}

fn day(date: &str) -> RangeRequest {
    RangeRequest {
        date: Some(date.to_owned()),
        ..RangeRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alarm_and_every_change_is_there_once() {
    let lab = lab("", "").await;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let alarms = rows(&lab, "alarms");
    let names = texts(&alarms, "alarm_name");
    assert_eq!(names.len(), 232);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 232);
    let kinds = texts(&alarms, "alarm_type");
    let composite = kinds.iter().flatten().filter(|k| *k == "CompositeAlarm");
    assert_eq!(composite.count(), 1);
    // An alarm joins the points of its metric.
    let lane = Lane {
        account: AccountId::parse(ACCOUNT).expect("id"),
        region: Region::parse("us-east-1").expect("region"),
    };
    let metric = MetricId::new(
        "AWS/EC2",
        "CPUUtilization",
        vec![Dimension::new("InstanceId", "i-7")],
    );
    let column = alarms[0].column_by_name("series_id").expect("the column");
    let ids = column.as_primitive::<Int64Type>();
    let at = names.iter().position(|n| n.as_deref() == Some("cpu-007"));
    assert_eq!(ids.value(at.expect("there")), series_id(&lane, &metric));
    // Five alarms change four times a day, the composite one twice.
    let history = rows(&lab, "alarm_history");
    assert_eq!(texts(&history, "alarm_name").len(), 5 * 4 + 2);
    let states = texts(&history, "new_state");
    let risen = states.iter().flatten().filter(|s| *s == "ALARM").count();
    assert_eq!(risen, 11);
    for batch in &history {
        let ts = batch.column_by_name("ts").expect("the column");
        let ts = ts.as_primitive::<TimestampMicrosecondType>();
        // As it was sent, to the millisecond that the SDK may cut.
        let part = |t: &i64| [122_000, 123_000].contains(&(t % 1_000_000));
        assert!(ts.values().iter().all(part));
    }
    // Again, the same.
    let (before, history) = (files(&lab, "alarms"), files(&lab, "alarm_history"));
    assert_eq!(lab.export().await.exit_code(), 0);
    assert_eq!(files(&lab, "alarms"), before);
    assert_eq!(files(&lab, "alarm_history"), history);
    let found = verify(&lab.context(&day("2026-11-20")), None)
        .await
        .expect("verified");
    assert!(found.faults.is_empty(), "{}", found.text());
    let status = status(&lab.context(&day("2026-11-20")), false)
        .await
        .expect("a status");
    assert_eq!(status.exit_code(), 0, "{}", status.text());
    assert_eq!(lab.leftovers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_alarms_that_may_not_be_seen_are_missed_by_name_and_asked_again() {
    let deny = "deny = [\"cloudwatch:DescribeAlarms/CompositeAlarm\", \"cloudwatch:DescribeAlarmHistory/CompositeAlarm\"]\n";
    let denied = lab(deny, "").await;
    let report = denied.export().await;
    assert_eq!(report.exit_code(), 3, "{}", report.text());
    assert_eq!(texts(&rows(&denied, "alarms"), "alarm_name").len(), 231);
    assert_eq!(
        texts(&rows(&denied, "alarm_history"), "alarm_name").len(),
        20
    );
    for unit in &report.units {
        let refused: Vec<&str> = unit.refused.iter().map(|r| &*r.series).collect();
        assert_eq!((unit.complete, refused), (false, vec!["CompositeAlarm"]));
    }
    let found = doctor(&denied.context(&RangeRequest::default()))
        .await
        .expect("a report");
    let text = found.text();
    assert!(text.contains("cloudwatch:DescribeAlarmHistory"), "{text}");
    assert_eq!(found.exit_code(), 3, "{text}");
    // The same lake under a role that may see them.
    let mut allowed = lab("", "").await;
    allowed.dir = denied.dir;
    let report = allowed.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(texts(&rows(&allowed, "alarms"), "alarm_name").len(), 232);
    assert_eq!(
        texts(&rows(&allowed, "alarm_history"), "alarm_name").len(),
        22
    );
    let report = doctor(&allowed.context(&RangeRequest::default())).await;
    assert_eq!(report.expect("a report").exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fails_is_no_short_list() {
    for (operation, table) in [
        ("DescribeAlarms", "alarms"),
        ("DescribeAlarmHistory", "alarm_history"),
    ] {
        for fault in [
            "kind = \"garbage\"\nafter = 1",
            "kind = \"no_list\"",
            "kind = \"cut\"\nafter = 1",
        ] {
            let faults = format!("[[fault]]\noperation = \"{operation}\"\n{fault}\n");
            let text = CONFIG.replace("[limits]\n", "[limits]\nattempts = 2\n");
            let lab = Lab::new(world("", &faults)).await.with_config(&text);
            let report = lab.export().await;
            assert_eq!(report.exit_code(), 3, "{faults}: {}", report.text());
            assert_eq!(outcomes(&report, table), [UnitOutcome::Failed], "{faults}");
            assert!(files(&lab, table).is_empty(), "{faults}");
            assert_eq!(report.units.len(), 2, "the other is there: {faults}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloudwatch_has_forgotten_stays_and_what_nobody_read_is_told() {
    let lab = lab("", "").await;
    assert_eq!(lab.export().await.exit_code(), 0);
    let before = files(&lab, "alarm_history");
    // Forty days later the history of that day is gone, and so is that of a day that was never read.
    let later = NOW + 40 * 86_400;
    let overrides = Overrides::default();
    let report = export(&lab.context_at(&day("2026-11-20"), later, &overrides)).await;
    let report = report.expect("a report");
    assert_eq!(files(&lab, "alarm_history"), before, "{}", report.text());
    let report = export(&lab.context_at(&day("2026-11-19"), later, &overrides)).await;
    let report = report.expect("a report");
    assert_eq!(report.exit_code(), 3, "{}", report.text());
    assert!(
        report.text().contains("two to four weeks"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_read_in_part_before_it_was_forgotten_is_not_whole() {
    let lab = lab("", "").await;
    let report = lab
        .export_days("2026-11-20T08:00:00Z", "2026-11-20T10:00:00Z")
        .await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let later = NOW + 40 * 86_400;
    for force in [false, true] {
        let mut context = lab.context_at(&day("2026-11-20"), later, &Overrides::default());
        context.force = force;
        let report = export(&context).await.expect("a report");
        assert_eq!(report.exit_code(), 3, "{}", report.text());
        assert!(
            !texts(&rows(&lab, "alarm_history"), "alarm_name").is_empty(),
            "nothing is lost"
        );
        let found = status(&context, false).await.expect("a status");
        assert_eq!(found.exit_code(), 3, "{}", found.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_cadence_adds_up_to_the_day() {
    let whole = lab("", "").await;
    whole.export().await;
    let often = lab("", "").await;
    let since = RangeRequest {
        since: Some("last".to_owned()),
        ..RangeRequest::default()
    };
    for hours in [22, 15, 9, 3, 0] {
        let now = NOW - hours * 3_600;
        let report = export(&often.context_at(&since, now, &Overrides::default())).await;
        let report = report.expect("a report");
        assert_eq!(report.exit_code(), 0, "{}", report.text());
    }
    let key = "alarm_history/dt=2026-11-20/111122223333_us-east-1_0000.parquet";
    assert_eq!(
        files(&often, "alarm_history")[key],
        files(&whole, "alarm_history")[key]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_forced_leaves_the_rest_of_the_day_as_it_is() {
    let mut lab = lab("", "").await;
    assert_eq!(lab.export().await.exit_code(), 0);
    let before = files(&lab, "alarm_history");
    lab.force = true;
    let report = lab
        .export_days("2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z")
        .await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(files(&lab, "alarm_history"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_region_is_left_out_and_one_that_was_read_is_missed() {
    let text = format!(
        "now = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n[[account]]\nid = \"{ACCOUNT}\"\n\
         regions = [\"us-east-1\", \"eu-west-1\"]\nscp_denied_regions = [\"eu-west-1\"]\n[[account.alarm]]\nname = \"one\"\n\
         [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\n"
    );
    let auto = CONFIG.replace("regions = [\"us-east-1\"]", "regions = \"auto\"");
    let world = World::from_toml(&text).expect("a world");
    let lab = Lab::new(world).await.with_config(&auto);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let skipped = report.units.iter().filter(|u| u.region == "eu-west-1");
    assert!(
        skipped.clone().count() == 2 && skipped.clone().all(|u| u.outcome == UnitOutcome::Skipped)
    );
    // The lake knows its lanes by alarms alone.
    let status = status(&lab.context(&day("2026-11-20")), false)
        .await
        .expect("a status");
    assert_eq!(status.exit_code(), 0, "{}", status.text());
}
