//! Instances, logs and spend: what of AWS's answers arrives, what of its failures is told, and what a run leaves when it is run again.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use cwlake::config::{Overrides, RangeRequest};
use cwlake::emulator::{Emulator, World};
use cwlake::inspect::{status, verify};
use cwlake::model::UnitOutcome;
use cwlake::report::RunReport;
use cwlake::run::{RunError, export, plan};
use sha2::{Digest, Sha256};

use crate::lab::{CALLER, Lab, NOW, NOW_TEXT, read};

const PROD: &str = "111122223333";
const TEST: &str = "222233334444";

/// Two accounts with logs, instances and charges; `extra` goes to the first one's log group, `faults` to the end.
fn world(extra: &str, faults: &str) -> World {
    let account = |id: &str, rest: &str| {
        format!(
            "[[account]]\nid = \"{id}\"\nregions = [\"us-east-1\", \"eu-west-1\"]\ninstances = 4\n\
             charges = [{{ service = \"AmazonEC2\", daily_usd = 40.0 }}, {{ service = \"AmazonS3\", daily_usd = 2.5 }}]\n\
             [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\n{rest}"
        )
    };
    let groups = format!(
        "[[account.log_group]]\nname = \"/app/api\"\nstreams = 3\nevents_per_day = 2000\nretention_days = 30\n{extra}\
         [[account.log_group]]\nname = \"/app/quiet\"\nregion = \"eu-west-1\"\n"
    );
    let text = format!(
        "seed = 5\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\npayer = true\n{}{}{faults}",
        account(PROD, &groups),
        account(
            TEST,
            "[[account.log_group]]\nname = \"/app/api\"\nevents_per_day = 100\n"
        )
    );
    World::from_toml(&text).unwrap_or_else(|e| panic!("{e:?}"))
}

fn config(tables: &str) -> String {
    format!(
        "[destination]\nurl = \"lake\"\n[run]\nlookback_days = 0\n\
         [limits]\nconnect_timeout_secs = 2\nread_timeout_secs = 2\nattempt_timeout_secs = 2\nlogs_calls_per_second = 1000.0\n\
         log_stream_calls_per_second = 1000.0\n\
         [defaults]\nrole_name = \"Reader\"\nregions = [\"us-east-1\", \"eu-west-1\"]\n\
         [[account]]\nid = \"{PROD}\"\nname = \"prod\"\n[[account]]\nid = \"{TEST}\"\n{tables}"
    )
}

const LOGS: &str = "[[logs]]\ngroups = [\"/app/*\"]\n";

async fn lab(extra: &str, faults: &str, tables: &str) -> Lab {
    Lab::new(world(extra, faults))
        .await
        .with_config(&config(tables))
}

pub(crate) fn files(lab: &Lab, table: &str) -> BTreeMap<String, String> {
    let root = lab.lake().join(table);
    let mut files = BTreeMap::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(lab.lake()).expect("below");
                let hash = Sha256::digest(std::fs::read(&path).expect("read"));
                let hex = hash
                    .iter()
                    .fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
                files.insert(name.display().to_string(), hex);
            }
        }
    }
    files
}

pub(crate) fn rows(lab: &Lab, table: &str) -> Vec<RecordBatch> {
    let files = files(lab, table);
    files
        .keys()
        .flat_map(|f| read(&lab.lake().join(f)))
        .collect()
}

pub(crate) fn texts(batches: &[RecordBatch], column: &str) -> Vec<Option<String>> {
    let of = |b: &RecordBatch| -> Vec<Option<String>> {
        let column = b
            .column_by_name(column)
            .expect("the column")
            .as_string::<i32>()
            .clone();
        column.iter().map(|t| t.map(str::to_owned)).collect()
    };
    batches.iter().flat_map(of).collect()
}

fn ids(lab: &Lab) -> BTreeSet<String> {
    let ids = texts(&rows(lab, "logs"), "event_id").into_iter().flatten();
    ids.collect()
}

pub(crate) fn outcomes(report: &RunReport, dataset: &str) -> Vec<UnitOutcome> {
    let units = report.units.iter().filter(|u| u.table.name == dataset);
    units.map(|u| u.outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_table_may_be_the_only_one() {
    for (tables, expected) in [
        ("instances = {}\n", vec!["instances"]),
        (LOGS, vec!["logs"]),
        ("spend = {}\n", vec!["spend", "spend_intraday"]),
    ] {
        // Keys of the whole file stand before its tables.
        let text = config("");
        let text = if tables.starts_with('[') {
            format!("{text}{tables}")
        } else {
            format!("{tables}{text}")
        };
        let lab = Lab::new(world("", "")).await.with_config(&text);
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 0, "{tables}: {}", report.text());
        for table in [
            "metrics",
            "series",
            "instances",
            "logs",
            "spend",
            "spend_intraday",
        ] {
            let is_there = !files(&lab, table).is_empty();
            assert_eq!(is_there, expected.contains(&table), "{tables}: {table}");
        }
        assert_eq!(lab.leftovers(), 0);
        let range = RangeRequest {
            date: Some("2026-11-20".to_owned()),
            ..RangeRequest::default()
        };
        let status = status(&lab.context(&range), false).await.expect("a status");
        assert_eq!(status.exit_code(), 0, "{}", status.text());
        let found = verify(&lab.context(&range), None).await.expect("verified");
        assert!(
            found.faults.is_empty() && found.files > 0,
            "{}",
            found.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_alone_is_asked_for_by_flag() {
    let text = format!("instances = {{}}\nspend = {{}}\n{}", config(LOGS));
    let lab = Lab::new(world("", "")).await.with_config(&text);
    let overrides = Overrides {
        datasets: vec!["instances".to_owned()],
        ..Overrides::default()
    };
    let report = export(&lab.context_at(&RangeRequest::default(), NOW, &overrides))
        .await
        .expect("a report");
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(outcomes(&report, "instances").len(), report.units.len());
    assert_eq!(lab.emulator.bill().calls("FilterLogEvents"), 0);
    assert_eq!(lab.emulator.bill().billed_metrics(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_once_whatever_the_pages_are_like() {
    let clean = lab("", "", LOGS).await;
    let report = clean.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    // Two regions of one account, two of the other.
    assert_eq!(ids(&clean).len(), 2 * 2_000 + 2 * 100);
    let quiet = report
        .units
        .iter()
        .filter(|u| u.outcome == UnitOutcome::Empty)
        .count();
    assert_eq!(quiet, 0, "the quiet group shares its unit");
    for faults in [
        "[[fault]]\noperation = \"FilterLogEvents\"\nkind = \"small_pages\"\npoints = 37\n",
        "[[fault]]\noperation = \"FilterLogEvents\"\nkind = \"empty_page\"\nrate = 0.5\ntimes = 40\n\
         [[fault]]\noperation = \"FilterLogEvents\"\nkind = \"small_pages\"\npoints = 300\n",
        "[[fault]]\noperation = \"FilterLogEvents\"\nkind = \"shuffle\"\n",
        "[[fault]]\noperation = \"FilterLogEvents\"\nkind = \"throttle\"\nrate = 0.3\n[[fault]]\noperation = \"FilterLogEvents\"\nkind = \"cut\"\nrate = 0.2\n\
         [[fault]]\noperation = \"FilterLogEvents\"\nkind = \"garbage\"\nrate = 0.1\n",
        "[[fault]]\noperation = \"DescribeLogGroups\"\nkind = \"throttle\"\ntimes = 3\n",
    ] {
        let lab = lab("", faults, LOGS).await;
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 0, "{faults}: {}", report.text());
        assert_eq!(files(&lab, "logs"), files(&clean, "logs"), "{faults}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fails_for_good_is_no_short_day() {
    for fault in [
        "kind = \"repeat_token\"",
        "kind = \"error\"\nstatus = 400\ncode = \"AccessDeniedException\"\nafter = 1",
        "kind = \"garbage\"\nafter = 1",
    ] {
        let faults = format!(
            "[[fault]]\noperation = \"FilterLogEvents\"\naccount = \"{PROD}\"\nregion = \"us-east-1\"\n{fault}\n\
             [[fault]]\noperation = \"FilterLogEvents\"\nkind = \"small_pages\"\npoints = 500\n"
        );
        let lab = lab("", &faults, &format!("[limits]\nattempts = 2\n{LOGS}")).await;
        // One table of limits is in the file already.
        let text = lab
            .config
            .replacen("[limits]\nattempts = 2\n", "", 1)
            .replacen("[limits]\n", "[limits]\nattempts = 2\n", 1);
        let lab = lab.with_config(&text);
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 3, "{fault}: {}", report.text());
        let bad: Vec<_> = report
            .units
            .iter()
            .filter(|u| u.account_id == PROD && u.region == "us-east-1")
            .collect();
        assert_eq!(bad.len(), 1);
        // What speaks of one group is told of it, and the others are there; what does not is no word on any.
        let is_of_a_group = !fault.contains("garbage");
        assert!(!bad[0].complete, "{fault}: {}", report.text());
        assert_eq!(bad[0].refused_queries > 0, is_of_a_group, "{fault}");
        assert_eq!(bad[0].file.is_some(), is_of_a_group, "{fault}");
        assert_eq!(
            files(&lab, "logs").len(),
            if is_of_a_group { 4 } else { 3 },
            "the others are there: {}",
            report.text()
        );
        assert_eq!(lab.leftovers(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_alone_is_run_again() {
    let faults = format!(
        "[[fault]]\noperation = \"FilterLogEvents\"\naccount = \"{TEST}\"\nregion = \"eu-west-1\"\nkind = \"error\"\nstatus = 400\ncode = \"AccessDeniedException\"\ntimes = 1\n"
    );
    let lab = lab("", &faults, LOGS).await;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3);
    let before = lab.emulator.bill().calls("FilterLogEvents");
    let choice = cwlake::run::LaneChoice::failed_in(&serde_json::to_string(&report).expect("json"))
        .expect("read");
    let mut context = lab.context(&RangeRequest::default());
    context.range = cwlake::config::Range::Window(choice.hull());
    context.lanes = Some(choice);
    let again = export(&context).await.expect("a report");
    assert_eq!(
        (again.exit_code(), again.units.len()),
        (0, 1),
        "{}",
        again.text()
    );
    assert_eq!(lab.emulator.bill().calls("FilterLogEvents"), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_a_day_add_up_to_the_day() {
    let whole = lab("", "", LOGS).await;
    whole.export().await;
    let pieces = lab("", "", LOGS).await;
    for (from, to) in [
        ("2026-11-20T00:00:00Z", "2026-11-20T07:00:00Z"),
        ("2026-11-20T13:00:00Z", "2026-11-21"),
        // Some of it is read twice.
        ("2026-11-20T06:30:00Z", "2026-11-20T13:30:00Z"),
    ] {
        let report = pieces.export_days(from, to).await;
        assert_eq!(report.exit_code(), 0, "{}", report.text());
    }
    assert_eq!(files(&pieces, "logs"), files(&whole, "logs"));
    // A settled day is not read again, a forced one is.
    let later = NOW + 3 * 86_400;
    let range = RangeRequest {
        date: Some("2026-11-20".to_owned()),
        ..RangeRequest::default()
    };
    for calls in [true, false] {
        let before = pieces.emulator.bill().calls("FilterLogEvents");
        let report = export(&pieces.context_at(&range, later, &Overrides::default()))
            .await
            .expect("a report");
        assert_eq!(report.exit_code(), 0, "{}", report.text());
        assert_eq!(
            pieces.emulator.bill().calls("FilterLogEvents") > before,
            calls
        );
    }
    assert_eq!(files(&pieces, "logs"), files(&whole, "logs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn short_cadence_adds_up_to_the_day() {
    let whole = lab("", "", LOGS).await;
    whole.export().await;
    let often = lab("", "", LOGS).await;
    let since = RangeRequest {
        since: Some("last".to_owned()),
        ..RangeRequest::default()
    };
    let midnight = NOW - 2 * 3_600;
    for hours in [20, 14, 9, 1, -2] {
        let now = midnight - hours * 3_600;
        let report = export(&often.context_at(&since, now, &Overrides::default()))
            .await
            .expect("a report");
        assert_eq!(report.exit_code(), 0, "{}", report.text());
    }
    let day = |lab: &Lab| -> BTreeMap<String, String> {
        let files = files(lab, "logs").into_iter();
        files
            .filter(|(name, _)| name.contains("dt=2026-11-20"))
            .collect()
    };
    assert_eq!(day(&often), day(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn named_streams_are_read_to_their_end() {
    let streams = "[[logs]]\ngroups = [\"/app/api\"]\nstreams = [\"stream-0\", \"stream-2\"]\n";
    let small = "[[fault]]\noperation = \"GetLogEvents\"\nkind = \"small_pages\"\npoints = 50\n";
    let lab = lab("", small, streams).await;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(lab.emulator.bill().calls("FilterLogEvents"), 0);
    let all = self::lab("", "", LOGS).await;
    all.export().await;
    let of_stream = |lab: &Lab| -> BTreeSet<(String, String)> {
        let batches = rows(lab, "logs");
        let streams = texts(&batches, "log_stream").into_iter().flatten();
        let messages = texts(&batches, "message").into_iter().flatten();
        let regions = texts(&batches, "account_id").into_iter().flatten();
        let pairs = streams.zip(messages.zip(regions).map(|(m, r)| format!("{r} {m}")));
        pairs
            .filter(|(s, _)| s == "stream-0" || s == "stream-2")
            .collect()
    };
    assert_eq!(of_stream(&lab), of_stream(&all));
    assert!(
        texts(&rows(&lab, "logs"), "event_id")
            .iter()
            .all(Option::is_none)
    );
    // Read again, nothing is there twice.
    let before = files(&lab, "logs");
    lab.export_days("2026-11-20T03:00:00Z", "2026-11-20T09:00:00Z")
        .await;
    assert_eq!(files(&lab, "logs"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_prefixes_and_exclusions_narrow() {
    let count = async |table: &str| {
        let lab = lab("", "", table).await;
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 0, "{table}: {}", report.text());
        let messages = texts(&rows(&lab, "logs"), "message");
        let errors = messages
            .iter()
            .flatten()
            .filter(|m| m.starts_with("ERROR"))
            .count();
        (messages.len(), errors)
    };
    let (all, errors) = count(LOGS).await;
    assert!(errors > 10 && errors < all);
    assert_eq!(
        count("[[logs]]\ngroups = [\"/app/api\"]\nfilter_pattern = \"ERROR\"\n").await,
        (errors, errors)
    );
    let (some, _) = count("[[logs]]\ngroups = [\"*\"]\nstream_prefix = \"stream-1\"\n").await;
    assert!(some > 0 && some < all);
    // Two tables that select an event give it once.
    let both = format!("{LOGS}[[logs]]\ngroups = [\"/app/api\"]\nfilter_pattern = \"ERROR\"\n");
    assert_eq!(count(&both).await, (all, errors));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_arrive_as_they_are_and_drive_nothing() {
    let hostile =
        "=cmd|' /C calc'!A0\\u001b[31m<script>alert(1)</script>\\u0000\\u202e\\r\\n\\t,\\\"";
    let event = format!(
        "[[account.log_group.event]]\nts = \"2026-11-20T10:00:00.123Z\"\nmessage = \"{hostile}\"\n\
         [[account.log_group.event]]\nts = \"2026-11-20T10:00:00.124Z\"\nmessage_json = '\"half \\ud800 pair\"'\n\
         [[account.log_group.event]]\nts = \"2026-11-20T10:00:00.125Z\"\nmessage = \"\"\n"
    );
    let world = world(&event, "");
    let mut world = world;
    let tag = "=1+1<b>&\"'\u{202e}\u{1f600}".to_owned();
    world.accounts[1]
        .instance_tags
        .insert("Hostile<".to_owned(), tag.clone());
    let text =
        format!("instances = {{}}\n{}", config(LOGS)).replace("\"prod\"", "\"<b>\\u001b[31mprod\"");
    let lab = Lab::new(world).await.with_config(&text);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert!(!report.text().contains('\u{1b}'));
    let messages: Vec<String> = texts(&rows(&lab, "logs"), "message")
        .into_iter()
        .flatten()
        .collect();
    let wanted = "=cmd|' /C calc'!A0\u{1b}[31m<script>alert(1)</script>\0\u{202e}\r\n\t,\"";
    assert_eq!(
        messages.iter().filter(|m| *m == wanted).count(),
        2,
        "in both regions"
    );
    assert_eq!(
        messages
            .iter()
            .filter(|m| m.starts_with("half ") && m.ends_with(" pair"))
            .count(),
        2
    );
    assert_eq!(messages.iter().filter(|m| m.is_empty()).count(), 2);
    let batches = rows(&lab, "instances");
    let tags = batches.iter().flat_map(|b| {
        let maps = b.column_by_name("tags").expect("tags").as_map().clone();
        let values = maps.values().as_string::<i32>().clone();
        values
            .iter()
            .map(|v| v.unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    });
    assert_eq!(tags.filter(|t| *t == tag).count(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_or_cannot_be_meant_is_refused_at_its_place() {
    for (table, place, told) in [
        (
            "[[logs]]\ngroups = [\"/app/apj\"]\n",
            "20:11",
            "did you mean '/app/api'?",
        ),
        (
            "[[logs]]\ngroups = [\"/app/*\", \"/none/such\"]\n",
            "20:21",
            "no account has a log group '/none/such'",
        ),
        (
            "[[logs]]\ngroups = [\"/app/api\"]\nfilter_pattern = \"{ $.x = \"\n",
            "21:18",
            "refuses this filter pattern",
        ),
    ] {
        let lab = lab("", "", table).await;
        let error = plan(&lab.context(&RangeRequest::default()))
            .await
            .expect_err(table);
        let text = error.to_string();
        assert!(matches!(error, RunError::Config(_)), "{table}: {text}");
        assert!(
            text.contains(&format!("cwlake.toml:{place}")) && text.contains(told),
            "{table}: {text}"
        );
        assert!(!lab.lake().join("logs").exists());
    }
    // A glob may match nothing: that is a warning, and a run of nothing else found nothing.
    let lab = lab("", "", "[[logs]]\ngroups = [\"/none/*\"]\n").await;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 4, "{}", report.text());
    assert!(
        report
            .text()
            .contains("[[logs]] in line 19 (/none/*) matches nothing"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_keeps_what_the_day_has_seen() {
    let text = format!("instances = {{}}\n{}", config(""));
    let faults = "[[fault]]\noperation = \"DescribeInstances\"\nkind = \"omit\"\nafter = 4\n";
    let lab = Lab::new(world("", faults)).await.with_config(&text);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let before = files(&lab, "instances");
    assert!(
        before.contains_key("instances/dt=2026-11-21/111122223333_us-east-1_0000.parquet"),
        "{before:?}"
    );
    // Half of them are gone: the day has seen them all the same.
    let again = lab.export().await;
    assert_eq!(again.exit_code(), 0, "{}", again.text());
    assert_eq!(files(&lab, "instances"), before);
    let mut lab = lab;
    lab.force = true;
    lab.export().await;
    let rows: usize = rows(&lab, "instances")
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_table_is_told_and_stops_no_other() {
    let denied = world("", "");
    let mut denied = denied;
    denied.accounts[1].roles[0].deny = vec![
        "logs:FilterLogEvents".to_owned(),
        "ec2:DescribeInstances@us-east-1".to_owned(),
        "cloudwatch:ListMetrics".to_owned(),
    ];
    let text = format!("instances = {{}}\nspend = {{}}\n{}", config(LOGS));
    let lab = Lab::new(denied).await.with_config(&text);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3);
    let told: BTreeSet<(String, String, &str)> = report
        .units
        .iter()
        .filter(|u| u.outcome == UnitOutcome::Forbidden)
        .map(|u| (u.account_id.clone(), u.region.clone(), u.table.name))
        .collect();
    let unit = |region: &str, table: &'static str| (PROD.to_owned(), region.to_owned(), table);
    assert_eq!(
        told,
        BTreeSet::from([
            unit("us-east-1", "logs"),
            unit("eu-west-1", "logs"),
            unit("us-east-1", "instances"),
            unit("us-east-1", "spend"),
            unit("us-east-1", "spend_intraday"),
        ])
    );
    let text = report.text();
    for action in [
        "logs:FilterLogEvents",
        "ec2:DescribeInstances",
        "cloudwatch:ListMetrics",
    ] {
        assert!(text.contains(&format!("allow {action}")), "{text}");
    }
    assert_eq!(
        outcomes(&report, "logs")
            .iter()
            .filter(|o| **o == UnitOutcome::Written)
            .count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_of_a_payer_are_those_of_its_members_and_cost_what_the_plan_says() {
    let text = format!(
        "spend = {{ accounts = [\"{CALLER}\"] }}\n{}[[account]]\nid = \"{CALLER}\"\nbase_credentials = true\n",
        config("")
    );
    let lab = Lab::new(world("", "")).await.with_config(&text);
    let planned = plan(&lab.context(&RangeRequest::default()))
        .await
        .expect("a plan")
        .1;
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    // In total, two services, two members.
    assert_eq!(planned.cost.sum.billed_metrics, 5);
    assert_eq!(lab.emulator.bill().billed_metrics(), 5);
    assert_eq!(report.totals.get_metric_data.billed_metrics, 5);
    let day = cwlake::model::Day::parse("2026-11-20").expect("a day");
    let spent = cwlake::run::spend(&lab.context(&RangeRequest::default()), day)
        .await
        .expect("a report");
    let of: BTreeMap<&str, Option<f64>> = spent
        .accounts
        .iter()
        .map(|a| (a.account_id.as_str(), a.month_to_date))
        .collect();
    // The payer's own total is everybody's and is not counted again.
    assert!(of[PROD].is_some() && of[PROD] == of[TEST], "{of:?}");
    assert!(!of.contains_key(CALLER), "it has none of its own: {of:?}");
    assert_eq!(spent.total.month_to_date, of[PROD].map(|x| x * 2.0));
    // Read again, a month is what it was.
    let before = (files(&lab, "spend"), files(&lab, "spend_intraday"));
    lab.export().await;
    assert_eq!(
        (files(&lab, "spend"), files(&lab, "spend_intraday")),
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_run_through_the_budget_like_everything_that_is_billed() {
    let text = format!("spend = {{}}\n{}", config("")).replace(
        "lookback_days = 0",
        "lookback_days = 0\nmax_spend_usd = 0.00001",
    );
    let lab = Lab::new(world("", "")).await.with_config(&text);
    let error = lab.try_export().await.expect_err("too dear");
    assert!(matches!(error, RunError::OverBudget { .. }), "{error}");
    assert_eq!(lab.emulator.bill().calls("GetMetricData"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_cadence_asks_for_charges_once_an_hour() {
    let text = format!("spend = {{}}\n{}", config(""));
    let lab = Lab::new(world("", "")).await.with_config(&text);
    let since = RangeRequest {
        since: Some("last".to_owned()),
        ..RangeRequest::default()
    };
    let mut billed = Vec::new();
    for minutes in [0, 5, 55, 60, 65] {
        let now = NOW + minutes * 60;
        let report = export(&lab.context_at(&since, now, &Overrides::default()))
            .await
            .expect("a report");
        assert_eq!(report.exit_code(), 0, "{}", report.text());
        billed.push(lab.emulator.bill().billed_metrics());
    }
    // Three series of two accounts each time.
    assert_eq!(billed, [6, 6, 6, 12, 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_has_read_stays_when_its_group_is_gone() {
    let mut lab = lab("", "", LOGS).await;
    lab.export().await;
    let before = ids(&lab);
    // The first account's group is gone, the other's has far more events than both had.
    let mut later = world("", "");
    later.accounts[1].log_groups.clear();
    later.accounts[1].log_groups = later.accounts[2].log_groups.clone();
    later.accounts[1].log_groups[0].name = "/app/other".to_owned();
    later.accounts[1].log_groups[0].events_per_day = 9_000;
    lab.emulator = Emulator::start(later, std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .expect("started");
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let after = ids(&lab);
    let lost = before.difference(&after).count();
    assert_eq!((lost, after.len()), (0, before.len() + 2 * 9_000));
    // Forced, it is what is there now.
    lab.force = true;
    lab.export().await;
    assert_eq!(ids(&lab).len(), 2 * 9_000 + 2 * 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_partly_beyond_its_groups_retention_is_not_called_whole() {
    let mut short = world("", "");
    short.accounts[1].log_groups[0].retention_days = Some(1);
    let lab = Lab::new(short).await.with_config(&config(LOGS));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3, "{}", report.text());
    let cut: Vec<_> = report.units.iter().filter(|u| !u.complete).collect();
    assert!(cut.len() == 2 && cut.iter().all(|u| u.account_id == PROD && u.rows > 1_000));
    assert!(
        report.text().contains("keeps its events for 1 days"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_no_group_has_is_told_and_one_that_some_lack_stops_nothing() {
    for pattern in ["", "filter_pattern = \"request\"\n"] {
        // The other account's group has one stream.
        let table = format!(
            "[[logs]]\ngroups = [\"/app/*\"]\nstreams = [\"stream-2\", \"streem-1\"]\n{pattern}"
        );
        let lab = lab("", "", &table).await;
        let report = lab.export().await;
        assert_eq!(report.exit_code(), 0, "{pattern}: {}", report.text());
        assert_eq!(
            report.fleet.unmatched,
            ["log stream streem-1 of [[logs]] in line 19"]
        );
        assert!(!rows(&lab, "logs").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_cadence_finishes_a_month_before_it_leaves_it() {
    let text = format!("spend = {{}}\n{}", config(""));
    let lab = Lab::new(world("", "")).await.with_config(&text);
    let since = RangeRequest {
        since: Some("last".to_owned()),
        ..RangeRequest::default()
    };
    let at = |text: &str| {
        text.parse::<jiff::Timestamp>()
            .expect("an instant")
            .as_second()
    };
    for now in ["2026-11-28T20:00:00Z", "2026-12-02T02:00:00Z"] {
        let report = export(&lab.context_at(&since, at(now), &Overrides::default()))
            .await
            .expect("a report");
        assert_eq!(report.exit_code(), 0, "{}", report.text());
    }
    let batches = rows(&lab, "spend");
    let days: BTreeSet<i32> = batches
        .iter()
        .flat_map(|b| {
            let days = b.column_by_name("day").expect("day");
            days.as_primitive::<arrow_array::types::Date32Type>()
                .values()
                .to_vec()
        })
        .collect();
    let first = *days.first().expect("a day");
    // Every day of November, and the first of December.
    assert_eq!(
        days.into_iter().collect::<Vec<_>>(),
        (first..first + 31).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_as_a_run_of_the_day_has_described_it_last() {
    let text = format!("instances = {{}}\n{}", config(""));
    let with_owner = |owner: &str| {
        let mut world = world("", "");
        for account in &mut world.accounts {
            let tag = ("Owner".to_owned(), owner.to_owned());
            account.instance_tags.extend([tag]);
        }
        world
    };
    let first = Lab::new(with_owner("first")).await.with_config(&text);
    assert_eq!(first.export().await.exit_code(), 0);
    let mut second = Lab::new(with_owner("second")).await.with_config(&text);
    second.dir = first.dir;
    assert_eq!(second.export().await.exit_code(), 0);
    for batch in rows(&second, "instances") {
        let tags = format!("{:?}", batch.column_by_name("tags").expect("the column"));
        assert!(tags.contains("second") && !tags.contains("first"), "{tags}");
    }
}
