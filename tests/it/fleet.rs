//! Finding accounts, regions and linked accounts, and what is said of those that are not read.

use std::collections::BTreeSet;

use cwlake::config::{Overrides, RangeRequest};
use cwlake::emulator::World;
use cwlake::inspect::{accounts, discover, status};
use cwlake::model::{CauseKind, UnitOutcome};
use cwlake::run::{RunContext, RunError, export};

use crate::lab::{CALLER, Lab, NOW, NOW_TEXT, unit};

/// The caller manages an organization: `Workloads/{Prod,Test}` and `Sandbox` with an account each, one suspended, and itself at the root.
fn organization(extra: &str) -> World {
    let unit = |id: &str, name: &str, parent: &str| {
        format!("[[ou]]\nid = \"{id}\"\nname = \"{name}\"\nparent = \"{parent}\"\n")
    };
    let account = |id: &str, name: &str, ou: &str, state: &str| {
        format!(
            "[[account]]\nid = \"{id}\"\nname = \"{name}\"\nou = \"{ou}\"\nstate = \"{state}\"\nregions = [\"us-east-1\", \"eu-west-1\"]\n\
             disabled_regions = [\"af-south-1\"]\ninstances = 2\n[[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"ext-{id}\"\n"
        )
    };
    let text = [
        format!("seed = 11\nnow = \"{NOW_TEXT}\"\n[organization]\nmanagement = \"{CALLER}\"\n"),
        unit("ou-emul-11111111", "Workloads", "r-emul"),
        unit("ou-emul-22222222", "Prod", "ou-emul-11111111"),
        unit("ou-emul-33333333", "Test", "ou-emul-11111111"),
        unit("ou-emul-44444444", "Sandbox", "r-emul"),
        account(CALLER, "management", "r-emul", "ACTIVE"),
        account("111122223333", "shop-prod", "ou-emul-22222222", "ACTIVE"),
        account("222233334444", "shop-test", "ou-emul-33333333", "ACTIVE"),
        account("333344445555", "play", "ou-emul-44444444", "ACTIVE"),
        account("444455556666", "gone", "ou-emul-22222222", "SUSPENDED"),
        extra.to_owned(),
    ]
    .concat();
    World::from_toml(&text).expect("a world")
}

/// Everything the organization has, by a form of external ids.
const CONFIG: &str = r#"[destination]
url = "lake"
[run]
lookback_days = 0
[limits]
attempts = 2
[defaults]
role_name = "Reader"
external_id = "ext-{account_id}"
[organization]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
statistics = ["Average"]
period = 3600
"#;

fn with(organization: &str) -> String {
    CONFIG.replace(
        "[organization]\n",
        &format!("[organization]\n{organization}\n"),
    )
}

fn context(lab: &Lab) -> RunContext {
    lab.context(&RangeRequest::default())
}

async fn ids(organization_keys: &str) -> Result<BTreeSet<String>, RunError> {
    let lab = Lab::new(organization(""))
        .await
        .with_config(&with(organization_keys));
    let list = accounts(&context(&lab)).await?;
    Ok(list.accounts.into_iter().map(|a| a.account_id).collect())
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

const PROD: &str = "111122223333";
const TEST: &str = "222233334444";
const PLAY: &str = "333344445555";

#[tokio::test(flavor = "multi_thread")]
async fn units_and_accounts_are_included_and_excluded_by_id_and_by_path() {
    for (keys, wanted) in [
        ("", set(&[PROD, TEST, PLAY, CALLER])),
        ("include_ous = [\"Workloads\"]", set(&[PROD, TEST])),
        ("include_ous = [\"/Workloads/Prod/\"]", set(&[PROD])),
        ("include_ous = [\"ou-emul-11111111\"]", set(&[PROD, TEST])),
        (
            "include_ous = [\"ou-emul-11111111\"]\nexclude_ous = [\"ou-emul-33333333\"]",
            set(&[PROD]),
        ),
        (
            "include_ous = [\"Workloads\"]\nexclude_ous = [\"ou-emul-22222222\"]",
            set(&[TEST]),
        ),
        // Excluded beside what is included, and excluded above it: by id as by path.
        (
            "include_ous = [\"ou-emul-22222222\"]\nexclude_ous = [\"ou-emul-44444444\"]",
            set(&[PROD]),
        ),
        (
            "include_ous = [\"ou-emul-22222222\", \"ou-emul-44444444\"]\nexclude_ous = [\"ou-emul-11111111\"]",
            set(&[PLAY]),
        ),
        ("exclude_ous = [\"Workloads\"]", set(&[PLAY, CALLER])),
        (
            "include_ous = [\"Workloads/Prod\", \"ou-emul-44444444\"]",
            set(&[PROD, PLAY]),
        ),
        (
            "include_ous = [\"r-emul\"]\nexclude_ous = [\"Sandbox\"]",
            set(&[PROD, TEST, CALLER]),
        ),
        (
            "exclude_accounts = [\"999900001111\", \"333344445555\"]",
            set(&[PROD, TEST]),
        ),
        ("include_accounts = [\"333344445555\"]", set(&[PLAY])),
    ] {
        let found = ids(keys).await.unwrap_or_else(|e| panic!("{keys}: {e}"));
        assert_eq!(found, wanted, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_refused_at_its_place() {
    for (keys, place, told) in [
        (
            "include_ous = [\"Workloads/Prd\"]",
            "11:16",
            "did you mean 'Workloads/Prod'?",
        ),
        (
            "exclude_ous = [\"Sandbx\"]",
            "11:16",
            "did you mean 'Sandbox'?",
        ),
        (
            "include_ous = [\"ou-emul-99999999\"]",
            "11:16",
            "no organizational unit 'ou-emul-99999999'",
        ),
        (
            "include_accounts = [\"555566667777\"]",
            "11:21",
            "account 555566667777 is not in the organization",
        ),
    ] {
        let error = ids(keys).await.expect_err(keys);
        let text = error.to_string();
        assert!(matches!(error, RunError::Config(_)), "{keys}: {text}");
        assert!(
            text.contains(&format!("cwlake.toml:{place}")) && text.contains(told),
            "{keys}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_exported_with_its_names_and_the_suspended_are_named() {
    let lab = Lab::new(organization("")).await.with_config(CONFIG);
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (0, 8),
        "{}",
        report.text()
    );
    let text = report.text();
    assert!(
        text.contains("skipped account 444455556666 (gone): its state is SUSPENDED"),
        "{text}"
    );
    assert!(
        text.contains("skipped 4 accounts in af-south-1 (111122223333, 222233334444, 333344445555 and 1 more): not enabled"),
        "{text}"
    );
    let named = report
        .fleet
        .accounts
        .iter()
        .find(|a| a.account_id == PROD)
        .expect("there");
    assert_eq!(named.account_name.as_deref(), Some("shop-prod"));
    // What the lake knows of itself is about all of them as well.
    let status = status(&context(&lab), false).await.expect("a status");
    assert_eq!((status.accounts.len(), status.exit_code()), (4, 0));
}

/// Of an account that no run has entered not even the regions are known: the last run's report says why.
#[tokio::test(flavor = "multi_thread")]
async fn status_says_why_an_account_was_never_entered() {
    let wrong = format!("[[account]]\nid = \"{PLAY}\"\nexternal_id = \"another\"\n");
    let lab = Lab::new(organization("")).await;
    let lab = lab.with_config(&format!("{CONFIG}{wrong}"));
    assert_eq!(lab.export().await.exit_code(), 3);
    let seen = status(&context(&lab), false).await.expect("a status");
    assert_eq!(seen.exit_code(), 3);
    let text = seen.text();
    assert!(text.contains("last forbidden: assuming role"), "{text}");
    assert!(
        text.contains(PLAY) && text.contains("holes are filled by"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_lists_goes_over_the_organization() {
    let other = format!(
        "[[account]]\nid = \"555566667777\"\nregions = [\"us-east-1\"]\ninstances = 2\nou = \"nowhere\"\n\
         [[account.role]]\nname = \"Other\"\ntrust = [\"{CALLER}\"]\n"
    );
    let config = with("include_ous = [\"Workloads\"]")
        + "[[account]]\nid = \"222233334444\"\nregions = [\"us-east-1\"]\n[[account]]\nid = \"555566667777\"\nrole_arn = \
           \"arn:aws:iam::555566667777:role/Other\"\nname = \"outside\"\n";
    let lab = Lab::new(organization(&other)).await.with_config(&config);
    let list = accounts(&context(&lab)).await.expect("a list");
    let found: Vec<_> = list
        .accounts
        .iter()
        .map(|a| {
            (
                a.account_id.as_str(),
                a.account_name.as_deref(),
                a.from,
                a.regions.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (PROD, Some("shop-prod"), "organization", "auto"),
            (TEST, Some("shop-test"), "file", "us-east-1"),
            ("555566667777", Some("outside"), "file", "auto"),
        ]
    );
    let only = Overrides {
        accounts: vec![PROD.to_owned()],
        ..Overrides::default()
    };
    let one = accounts(&lab.context_at(&RangeRequest::default(), NOW, &only))
        .await
        .expect("a list");
    assert_eq!(one.accounts.len(), 1);
    let nobody = Overrides {
        accounts: vec!["777788889999".to_owned()],
        ..Overrides::default()
    };
    let error = accounts(&lab.context_at(&RangeRequest::default(), NOW, &nobody))
        .await
        .expect_err("unknown");
    assert!(
        error.to_string().contains("--account: 777788889999"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_may_not_list_the_organization_is_told_so_before_anything_is_asked() {
    let member = organization("");
    let lab = Lab::new(member).await.with_config(CONFIG);
    let mut run = context(&lab);
    run.origin = cwlake::aws::Origin::Emulator {
        url: lab.emulator.url(),
        access_key_id: PROD.to_owned(),
    };
    match export(&run).await {
        Err(RunError::Organization(cause)) => {
            assert_eq!(cause.kind, CauseKind::AccessDenied);
            assert!(
                cause
                    .hint
                    .is_some_and(|h| h.contains("organization.role_arn"))
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.emulator.bill().calls("AssumeRole"), 0);
    // Through a role of the management account it may.
    let by_role = CONFIG.replace(
        "[organization]\n",
        "[organization]\nrole_arn = \"arn:aws:iam::999900001111:role/Lister\"\n",
    );
    let mut world = organization("");
    let management = world
        .accounts
        .iter_mut()
        .find(|a| a.id == CALLER)
        .expect("there");
    let mut lister = management.roles[0].clone();
    "Lister".clone_into(&mut lister.name);
    lister.trust = vec![PROD.to_owned()];
    lister.external_id = None;
    management.roles.push(lister);
    let lab = Lab::new(world).await.with_config(&by_role);
    let mut run = context(&lab);
    run.origin = cwlake::aws::Origin::Emulator {
        url: lab.emulator.url(),
        access_key_id: PROD.to_owned(),
    };
    assert_eq!(accounts(&run).await.expect("a list").accounts.len(), 4);
}

/// One account with whatever keys, read by a role.
fn one_account(keys: &str, role_keys: &str) -> World {
    World::from_toml(&format!(
        "seed = 11\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n[[account]]\nid = \"{PROD}\"\ninstances = 2\n{keys}\n\
         [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"ext-{PROD}\"\n{role_keys}\n"
    ))
    .expect("a world")
}

fn of_account(regions: &str) -> String {
    CONFIG.replace(
        "[organization]\n",
        &format!("[[account]]\nid = \"{PROD}\"\nregions = {regions}\n"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_are_found_without_permission_to_ask_for_them() {
    let world = one_account(
        "regions = [\"us-east-1\", \"eu-west-1\"]",
        "deny = [\"ec2:DescribeRegions\"]",
    );
    let lab = Lab::new(world).await.with_config(&of_account("\"auto\""));
    let report = lab.export().await;
    let text = report.text();
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (0, 2),
        "{text}"
    );
    // Every region that is not enabled for the account was tried, left out and named.
    assert!(
        report.totals.skipped > 25
            && text.contains("skipped account 111122223333 in af-south-1, ap-east-1, ap-east-2 and 29 more: ListMetrics"),
        "{text}"
    );
    assert!(
        text.contains("all are tried") && text.contains("ec2:DescribeRegions"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_closed_by_the_organization_is_left_out_under_auto_and_a_failure_when_listed() {
    let world = || {
        one_account(
            "regions = [\"us-east-1\", \"eu-west-1\"]\nscp_denied_regions = [\"eu-west-1\"]",
            "",
        )
    };
    let lab = Lab::new(world()).await.with_config(&of_account("\"auto\""));
    let report = lab.export().await;
    assert_eq!(
        (
            report.exit_code(),
            report.totals.written,
            report.totals.skipped
        ),
        (0, 1, 1),
        "{}",
        report.text()
    );
    assert!(
        report
            .text()
            .contains("skipped 111122223333/eu-west-1: ListMetrics: AccessDenied"),
        "{}",
        report.text()
    );
    let lab = Lab::new(world())
        .await
        .with_config(&of_account("[\"us-east-1\", \"eu-west-1\"]"));
    let report = lab.export().await;
    assert_eq!(
        (
            report.exit_code(),
            report.totals.written,
            report.totals.forbidden
        ),
        (3, 1, 1)
    );
    let cause = unit(&report, PROD, "eu-west-1")
        .cause
        .clone()
        .expect("a cause");
    assert_eq!(cause.kind, CauseKind::PolicyDenied);
    assert!(
        cause
            .hint
            .is_some_and(|h| h.contains("a policy of the organization"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_permission_is_no_closed_region() {
    let world = one_account(
        "regions = [\"us-east-1\", \"eu-west-1\"]",
        "deny = [\"cloudwatch:ListMetrics\"]",
    );
    let lab = Lab::new(world).await.with_config(&of_account("\"auto\""));
    let report = lab.export().await;
    assert_eq!(
        (
            report.exit_code(),
            report.totals.forbidden,
            report.totals.skipped
        ),
        (3, 2, 0),
        "{}",
        report.text()
    );
    assert!(
        report.text().contains("allow cloudwatch:ListMetrics"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_which_every_region_is_closed_is_a_failure() {
    let world = one_account(
        "regions = [\"us-east-1\", \"eu-west-1\"]\nscp_denied_regions = [\"us-east-1\", \"eu-west-1\"]",
        "",
    );
    let config = of_account("\"auto\"");
    let lab = Lab::new(world).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (3, 0),
        "{}",
        report.text()
    );
    assert!(
        report.text().contains("no region could be read"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_without_series_is_told_and_all_of_them_end_with_4() {
    let config = of_account("[\"us-east-1\"]")
        + "[[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"CPUUtilizatoin\"]\nstatistics = [\"Average\"]\nperiod = 300\n\
           [[metrics]]\npreset = \"sqs\"\n";
    let lab = Lab::new(one_account("", "")).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let told = [
        "[[metrics]] in line 18 (AWS/EC2; did you mean CPUUtilization?)",
        "preset sqs in line 23",
    ];
    assert_eq!(report.fleet.unmatched, told);
    assert!(
        report
            .text()
            .contains("warning: preset sqs in line 23 matches nothing"),
        "{}",
        report.text()
    );
    let found = discover(&context(&lab), true).await.expect("a report");
    assert_eq!((found.series, found.exit_code()), (2, 0));
    assert_eq!(found.fleet.unmatched, told);
    let metric = &found.lanes[0].metrics[0];
    assert_eq!(
        (metric.metric_name.as_str(), metric.dimensions.len()),
        ("CPUUtilization", 2)
    );
    assert!(found.text().contains("cwlake discover shows what there is"));

    let nothing = config.replacen("\"CPUUtilization\"", "\"Nothing\"", 1);
    let lab = lab.with_config(&nothing);
    assert_eq!(
        lab.export_days("2026-11-19", "2026-11-20")
            .await
            .exit_code(),
        4
    );
    assert_eq!(
        discover(&context(&lab), false)
            .await
            .expect("a report")
            .exit_code(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_left_out() {
    let lab = Lab::new(one_account("", "")).await;
    let all = of_account("[\"us-east-1\"]").replace("[\"CPUUtilization\"]", "[\"*\"]");
    let lab = lab.with_config(&all);
    let found = discover(&context(&lab), true).await.expect("a report");
    assert_eq!(found.series, 10);
    let instance = found.lanes[0].metrics[0].dimensions[0]
        .strip_prefix("InstanceId=")
        .expect("an instance")
        .to_owned();
    let less = format!(
        "{all}exclude = [\"Network*\", \"DiskReadOps\"]\nexclude_dimensions = {{ InstanceId = \"{instance}\" }}\n"
    );
    let lab = lab.with_config(&less);
    let found = discover(&context(&lab), false).await.expect("a report");
    let names: Vec<&str> = found.lanes[0]
        .metrics
        .iter()
        .map(|m| m.metric_name.as_str())
        .collect();
    assert_eq!(
        (found.series, names),
        (2, vec!["CPUUtilization", "StatusCheckFailed"])
    );
    let by_instances =
        less.replace("[\"*\"]", "[\"CPUUtilization\", \"NetworkIn\"]") + "discover = \"ec2\"\n";
    let lab = lab.with_config(&by_instances);
    assert_eq!(
        discover(&context(&lab), false)
            .await
            .expect("a report")
            .series,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_recently_active_metrics_are_listed_where_the_window_allows_it() {
    let config = of_account("[\"us-east-1\"]")
        .replace("period = 3600\n", "period = 60\nrecently_active = true\n");
    let lab = Lab::new(one_account("", "")).await.with_config(&config);
    // A metric that ended four hours ago.
    let put = lab.dir.path().join("old");
    std::fs::create_dir_all(&put).expect("folder");
    std::fs::write(
        put.join("index.toml"),
        format!("[[series]]\nfile = \"old.csv\"\naccount = \"{PROD}\"\nregion = \"us-east-1\"\nnamespace = \"AWS/EC2\"\nmetric_name = \"CPUUtilization\"\ndimensions = {{ InstanceId = \"i-old\" }}\n"),
    )
    .expect("written");
    std::fs::write(
        put.join("old.csv"),
        "timestamp,value\n2026-11-20 22:00:00,1.0\n",
    )
    .expect("written");
    lab.emulator.load(&put).expect("loaded");
    let asked = |report: &cwlake::report::RunReport| report.planned.sum.series;
    let window = |from: &str| RangeRequest {
        from: Some(from.to_owned()),
        to: Some("2026-11-21T02:00:00Z".to_owned()),
        ..RangeRequest::default()
    };
    let recent = export(&lab.context(&window("2026-11-21T00:00:00Z")))
        .await
        .expect("a report");
    assert_eq!(asked(&recent), 2, "{}", recent.text());
    let older = export(&lab.context(&window("2026-11-20T21:00:00Z")))
        .await
        .expect("a report");
    assert_eq!(asked(&older), 3, "{}", older.text());
}

/// Two source accounts linked to a monitoring account; all three have instances.
fn observed(role_keys: &str) -> World {
    let account = |id: &str, keys: &str, role_keys: &str| {
        format!(
            "[[account]]\nid = \"{id}\"\ninstances = 2\n{keys}\n[[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"ext-{id}\"\n{role_keys}\n"
        )
    };
    World::from_toml(&format!(
        "seed = 11\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n{}{}{}{}",
        account(
            PROD,
            &format!("linked = [\"{TEST}\", \"{PLAY}\"]"),
            role_keys
        ),
        account(TEST, "", ""),
        account(PLAY, "", ""),
        account("444455556666", &format!("linked = [\"{PLAY}\"]"), ""),
    ))
    .expect("a world")
}

fn monitoring(more: &str) -> String {
    CONFIG.replace(
        "[organization]\n",
        &format!("[[account]]\nid = \"{PROD}\"\nregions = [\"us-east-1\"]\nlinked_accounts = true\n{more}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn linked_accounts_are_read_through_the_monitoring_account_as_themselves() {
    let lab = Lab::new(observed("")).await.with_config(&monitoring(""));
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (0, 3),
        "{}",
        report.text()
    );
    let through: Vec<_> = report
        .lanes
        .iter()
        .map(|l| (l.account_id.as_str(), l.through.as_deref()))
        .collect();
    assert_eq!(
        through,
        [(PROD, None), (TEST, Some(PROD)), (PLAY, Some(PROD))]
    );
    assert!(
        lab.tree()
            .keys()
            .any(|f| f.ends_with("222233334444_us-east-1_0000.parquet")),
        "{:?}",
        lab.tree()
    );
    // All of it was asked of the monitoring account, and its role alone was assumed.
    let bill = lab.emulator.bill();
    assert_eq!(bill.calls("AssumeRole"), 1);
    assert_eq!(bill.lanes[&format!("{PROD}/us-east-1")].billed_metrics, 6);

    // The same rows as read directly: the way does not show in the table.
    let tree = lab.tree();
    let direct = CONFIG.replace(
        "[organization]\n",
        &[PROD, TEST, PLAY]
            .map(|id| format!("[[account]]\nid = \"{id}\"\nregions = [\"us-east-1\"]\n"))
            .concat(),
    );
    let other = Lab::new(observed("")).await.with_config(&direct);
    other.export().await;
    assert_eq!(other.tree(), tree);
    // Nothing is asked again, and the lake's books know the linked accounts.
    let again = lab.export().await;
    assert_eq!(
        again.totals.get_metric_data.billed_metrics,
        6,
        "{}",
        again.text()
    );
    let seen = status(&context(&lab), false).await.expect("a status");
    assert_eq!(seen.accounts.len(), 3);
    // Other datasets are an account's own: nothing of them is missed of those that are linked.
    let lab = lab.with_config(&format!("alarms = {{}}\n{}", monitoring("")));
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    let seen = status(&context(&lab), false).await.expect("a status");
    assert_eq!(seen.exit_code(), 0, "{}", seen.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reachable_twice_is_read_once() {
    let more = format!(
        "[[account]]\nid = \"{TEST}\"\nregions = [\"us-east-1\"]\n[[account]]\nid = \"444455556666\"\nregions = [\"us-east-1\"]\nlinked_accounts = true\n"
    );
    let lab = Lab::new(observed("")).await.with_config(&monitoring(&more));
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (0, 4),
        "{}",
        report.text()
    );
    let shared: Vec<_> = report
        .fleet
        .shared
        .iter()
        .map(|s| {
            (
                s.account_id.as_str(),
                s.series,
                s.read.as_str(),
                s.also_through.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shared,
        [
            (TEST, 2, "directly", PROD),
            (PLAY, 2, "through account 111122223333", "444455556666"),
        ]
    );
    assert!(report.text().contains("note 222233334444/us-east-1: 2 series are read directly, and linked to account 111122223333 as well"));
    let billed: u64 = lab.emulator.bill().billed_metrics();
    assert_eq!(billed, 8, "two series of each of four accounts");
    let found = discover(&context(&lab), false).await.expect("a report");
    assert_eq!((found.series, found.lanes.len()), (8, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_read_directly_is_read_through_its_link() {
    let more = format!(
        "[[account]]\nid = \"{TEST}\"\nregions = [\"us-east-1\"]\nexternal_id = \"wrong\"\n"
    );
    let lab = Lab::new(observed("")).await.with_config(&monitoring(&more));
    let report = lab.export().await;
    let outcomes: Vec<_> = report
        .units
        .iter()
        .filter(|u| u.account_id == TEST)
        .map(|u| u.outcome)
        .collect();
    assert_eq!(outcomes, [UnitOutcome::Written], "{}", report.text());
    assert_eq!(report.exit_code(), 3, "its own role is still broken");
    // A role that is assumed and may not list: the lane gives way to the link, and says why.
    let mut world = observed("");
    let test = world.accounts.iter_mut().find(|a| a.id == TEST);
    test.expect("there").roles[0].deny = vec!["cloudwatch:ListMetrics".to_owned()];
    let more = format!("[[account]]\nid = \"{TEST}\"\nregions = [\"us-east-1\"]\n");
    let lab = Lab::new(world).await.with_config(&monitoring(&more));
    let report = lab.export().await;
    let of_test = report.units.iter().filter(|u| u.account_id == TEST);
    let outcomes: Vec<_> = of_test.map(|u| u.outcome).collect();
    assert_eq!(
        (outcomes, report.exit_code()),
        (vec![UnitOutcome::Written], 3)
    );
    let lanes = report.lanes.iter().filter(|l| l.account_id == TEST);
    assert_eq!(lanes.count(), 1);
    let told = "222233334444/us-east-1: read through account 111122223333, directly it is not";
    assert!(report.text().contains(told), "{}", report.text());
    // Nothing is missing: there is nothing to ask for again.
    assert!(
        !report.text().contains("--only-failed"),
        "{}",
        report.text()
    );
    let json = serde_json::to_string(&report).expect("JSON");
    assert!(
        cwlake::run::LaneChoice::failed_in(&json)
            .expect("a report")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_cannot_be_listed_lose_nothing_else() {
    let mut world = observed("");
    let fault = "[[fault]]\noperation = \"ListMetrics\"\nafter = 1\nkind = \"error\"\nstatus = 403\ncode = \"AccessDenied\"\n";
    world.faults = World::from_toml(fault).expect("a fault").faults;
    let lab = Lab::new(world).await.with_config(&monitoring(""));
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (3, 1),
        "{}",
        report.text()
    );
    let text = report.text();
    assert!(
        text.contains("forbidden links of 111122223333/us-east-1")
            && text.contains("linked_accounts = true"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_listed_region_that_is_closed() {
    let world = one_account("regions = [\"us-east-1\", \"eu-west-1\"]", "");
    let config = of_account("[\"us-east-1\", \"eu-west-1\", \"eu-south-1\"]");
    let lab = Lab::new(world).await.with_config(&config);
    let report = cwlake::inspect::doctor(&context(&lab))
        .await
        .expect("a report");
    let failed: Vec<_> = report
        .checks
        .iter()
        .filter(|c| c.state == cwlake::inspect::CheckState::Failed)
        .map(|c| c.check.as_str())
        .collect();
    assert_eq!(
        (failed, report.exit_code()),
        (vec!["region eu-south-1"], 3),
        "{}",
        report.text()
    );
    assert!(report.text().contains("2 of 3 answer"), "{}", report.text());
    assert_eq!(lab.emulator.bill().billed_metrics(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_account_that_failed_is_asked_again_alone() {
    let mut world = observed("");
    let fault = "[[fault]]\noperation = \"GetMetricData\"\nmetric_name = \"CPUUtilization\"\nafter = 1\ntimes = 2\nkind = \"error\"\nstatus = 400\ncode = \"AccessDenied\"\n";
    world.faults = World::from_toml(fault).expect("a fault").faults;
    let lab = Lab::new(world).await.with_config(&monitoring(""));
    let report = lab.export().await;
    assert_eq!(
        (report.exit_code(), report.totals.written),
        (3, 1),
        "{}",
        report.text()
    );
    let failed = serde_json::to_string(&report).expect("JSON");
    let mut again = context(&lab);
    let choice = cwlake::run::LaneChoice::failed_in(&failed).expect("a report");
    again.range = cwlake::config::Range::Window(choice.hull());
    again.lanes = Some(choice);
    let report = export(&again).await.expect("a report");
    assert_eq!(
        (
            report.exit_code(),
            report.totals.written,
            report.units.len()
        ),
        (0, 2, 2),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_to_nobody_who_was_left_out() {
    // An account of its own: by its flag alone the monitoring account brings nobody else.
    let more =
        format!("[[account]]\nid = \"{TEST}\"\nname = \"test\"\nregions = [\"us-east-1\"]\n");
    let lab = Lab::new(observed("")).await.with_config(&monitoring(&more));
    let run = async |account: &str| {
        let only = Overrides {
            accounts: vec![account.to_owned()],
            ..Overrides::default()
        };
        let report = export(&lab.context_at(&RangeRequest::default(), NOW, &only))
            .await
            .expect("a report");
        let units = report.units.iter().map(|u| u.account_id.clone());
        (report.exit_code(), units.collect::<Vec<_>>())
    };
    assert_eq!(run(PROD).await, (0, vec![PROD.to_owned()]));
    assert_eq!(run(TEST).await, (0, vec![TEST.to_owned()]));
    // One that is known through its link alone can be asked for as well.
    assert_eq!(run(PLAY).await, (0, vec![PLAY.to_owned()]));

    // Configured for another region, it is not read here.
    let elsewhere = more.replace("us-east-1", "eu-west-1");
    let lab = Lab::new(observed(""))
        .await
        .with_config(&monitoring(&elsewhere));
    let report = lab.export().await;
    assert!(
        !report
            .lanes
            .iter()
            .any(|l| l.account_id == TEST && l.region == "us-east-1"),
        "{}",
        report.text()
    );

    // Excluded from the organization, it is not read by its link either.
    let mut world = organization("");
    let prod = world.accounts.iter_mut().find(|a| a.id == PROD);
    prod.expect("there").linked = vec![TEST.to_owned(), PLAY.to_owned()];
    let config = with(&format!("exclude_accounts = [\"{PLAY}\", \"{TEST}\"]"))
        + &format!("[[account]]\nid = \"{PROD}\"\nlinked_accounts = true\n");
    let lab = Lab::new(world).await.with_config(&config);
    let report = lab.export().await;
    let accounts: BTreeSet<String> = report.units.iter().map(|u| u.account_id.clone()).collect();
    assert_eq!(accounts, set(&[PROD, CALLER]), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_linked_accounts_are_found_by_their_metrics() {
    let config = monitoring("").replace("period = 3600\n", "period = 3600\ndiscover = \"ec2\"\n");
    let lab = Lab::new(observed("")).await.with_config(&config);
    let found = discover(&context(&lab), false).await.expect("a report");
    assert_eq!(
        (found.series, found.lanes.len()),
        (6, 3),
        "{}",
        found.text()
    );
    let by_tag = config + "instance_tags = { Team = \"*\" }\n";
    let lab = lab.with_config(&by_tag);
    let report = lab.export().await;
    assert_eq!(report.units.len(), 1, "{}", report.text());
    assert!(
        report.text().contains("not known of linked accounts"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_fail_are_missed_by_name_and_asked_again() {
    let lab = Lab::new(observed("")).await.with_config(&monitoring(""));
    lab.export_days("2026-11-18", "2026-11-19").await;
    let fault = "[[fault]]\noperation = \"ListMetrics\"\nafter = 1\nkind = \"error\"\nstatus = 403\ncode = \"AccessDenied\"\n";
    let mut world = observed("");
    world.faults = World::from_toml(fault).expect("a fault").faults;
    let broken = Lab {
        emulator: Lab::new(world).await.emulator,
        ..lab
    };
    let report = broken.export().await;
    let outcomes: Vec<_> = report
        .units
        .iter()
        .map(|u| (u.account_id.as_str(), u.outcome))
        .collect();
    let (written, forbidden) = (UnitOutcome::Written, UnitOutcome::Forbidden);
    assert_eq!(
        outcomes,
        [(PROD, written), (TEST, forbidden), (PLAY, forbidden)]
    );
    let mut only = context(&broken);
    let choice = cwlake::run::LaneChoice::failed_in(&serde_json::to_string(&report).expect("JSON"));
    only.lanes = Some(choice.expect("a report"));
    let whole = Lab {
        emulator: Lab::new(observed("")).await.emulator,
        ..broken
    };
    only.origin = context(&whole).origin;
    let again = export(&only).await.expect("a report");
    let written: Vec<_> = again.units.iter().map(|u| u.account_id.as_str()).collect();
    assert_eq!(
        (written, again.exit_code()),
        (vec![TEST, PLAY], 0),
        "{}",
        again.text()
    );

    // Nothing is known of what is behind a link that never was listed: all of it is asked for.
    let unknown = r#"{"from": "2026-11-20", "to": "2026-11-21", "accounts": [], "units": [],
        "unlisted_links": [{"account_id": "111122223333", "region": "us-east-1"}]}"#;
    let mut only = context(&whole);
    only.lanes = Some(cwlake::run::LaneChoice::failed_in(unknown).expect("a report"));
    only.force = true;
    let again = export(&only).await.expect("a report");
    assert_eq!(again.units.len(), 2, "{}", again.text());
    // Who is read directly was not missed.
    let more = format!("[[account]]\nid = \"{TEST}\"\nregions = [\"us-east-1\"]\n");
    let direct = Lab::new(observed("")).await.with_config(&monitoring(&more));
    let mut only = context(&direct);
    only.lanes = Some(cwlake::run::LaneChoice::failed_in(unknown).expect("a report"));
    let again = export(&only).await.expect("a report");
    let accounts: Vec<_> = again.units.iter().map(|u| u.account_id.as_str()).collect();
    assert_eq!(accounts, [PLAY], "{}", again.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_a_service_that_is_down_from_a_key_that_is_wrong() {
    let mut world = one_account(
        "regions = [\"us-east-1\", \"eu-west-1\"]\nscp_denied_regions = [\"us-east-1\"]",
        "",
    );
    let fault = "[[fault]]\noperation = \"GetCallerIdentity\"\ntimes = 1\nkind = \"error\"\nstatus = 503\ncode = \"ServiceUnavailable\"\n";
    world.faults = World::from_toml(fault).expect("a fault").faults;
    let lab = Lab::new(world).await.with_config(&of_account("\"auto\""));
    let report = cwlake::inspect::doctor(&context(&lab))
        .await
        .expect("a report");
    // Its home region is closed by the organization, another is not: as an export would find.
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert!(
        report.text().contains("allowed in eu-west-1"),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_any_known_region_is_a_failure() {
    let config = of_account("\"auto\"").replace(
        "regions = \"auto\"\n",
        "regions = \"auto\"\nrole_arn = \"arn:aws-iso:iam::111122223333:role/Reader\"\n",
    );
    let world = one_account(
        "regions = [\"us-iso-east-1\"]",
        "deny = [\"ec2:DescribeRegions\"]",
    );
    let lab = Lab::new(world).await.with_config(&config);
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 3, "{}", report.text());
    assert!(
        report.text().contains("list the account's regions"),
        "{}",
        report.text()
    );
    let doctor = cwlake::inspect::doctor(&context(&lab))
        .await
        .expect("a report");
    assert_eq!(doctor.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_list_is_no_small_organization() {
    for (operation, keys) in [
        ("ListAccounts", ""),
        ("ListAccountsForParent", "include_ous = [\"Workloads\"]"),
        (
            "ListOrganizationalUnitsForParent",
            "exclude_ous = [\"Sandbox\"]",
        ),
    ] {
        let faulty = |times: &str| {
            let mut world = organization("");
            let fault =
                format!("[[fault]]\noperation = \"{operation}\"\nkind = \"empty_body\"\n{times}\n");
            world.faults = World::from_toml(&fault).expect("a fault").faults;
            world
        };
        let lab = Lab::new(faulty("times = 1")).await.with_config(&with(keys));
        let whole = accounts(&context(&lab))
            .await
            .expect("asked again")
            .accounts
            .len();
        assert_eq!(whole, ids(keys).await.expect("a list").len(), "{operation}");
        let lab = Lab::new(faulty("")).await.with_config(&with(keys));
        match accounts(&context(&lab)).await {
            Err(RunError::Organization(cause)) => assert_eq!(cause.kind, CauseKind::Transient),
            other => panic!("{operation}: {other:?}"),
        }
    }
}
