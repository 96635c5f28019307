//! What a person sees, at three, thirty and three hundred accounts, on a narrow and on a wide screen: each situation as a snapshot to be read.

use cwlake::config::{Overrides, RangeRequest};
use cwlake::emulator::World;
use cwlake::inspect::status;
use cwlake::report::{Look, RunReport, plan_text};
use cwlake::run::{export, plan};

use crate::lab::{CALLER, Lab, NOW, NOW_TEXT};

const DAY: i64 = 86_400;

/// `accounts` accounts with an instance in each of two regions. The role of each takes `external_id`.
fn world(accounts: usize, external_id: &str, extra: &str) -> World {
    let account = |n: usize| {
        format!(
            "[[account]]\nid = \"{}\"\nregions = [\"us-east-1\", \"eu-west-1\"]\ninstances = 1\n\
             [[account.role]]\nname = \"Reader\"\ntrust = [\"{CALLER}\"]\nexternal_id = \"{external_id}\"\n",
            id(n)
        )
    };
    let all: String = (1..=accounts).map(account).collect();
    let text =
        format!("seed = 11\nnow = \"{NOW_TEXT}\"\n[[account]]\nid = \"{CALLER}\"\n{all}{extra}");
    World::from_toml(&text).expect("a world")
}

fn id(n: usize) -> String {
    format!("{:012}", 100_000_000_000 + n)
}

fn config(accounts: usize) -> String {
    let account = |n: usize| format!("[[account]]\nid = \"{}\"\nname = \"team-{n:03}\"\n", id(n));
    let all: String = (1..=accounts).map(account).collect();
    format!(
        "version = 1\n[destination]\nurl = \"lake\"\n[run]\nlookback_days = 1\n[defaults]\nrole_name = \"Reader\"\nexternal_id = \"ext-1\"\n\
         regions = [\"us-east-1\", \"eu-west-1\"]\n{all}[[metrics]]\nnamespace = \"AWS/EC2\"\nmetrics = [\"CPUUtilization\"]\n\
         statistics = [\"Average\"]\nperiod = 3600\n"
    )
}

/// What is not the same in two runs: where the lake is, what runs are called, how long they took.
fn steady(text: &str, lab: &Lab) -> String {
    let folder = lab.dir.path().display().to_string();
    let text = text.replace(&folder, "/…");
    let mut out = String::new();
    for line in text.lines() {
        let line = match line.split_once("--only-failed 20") {
            Some((head, _)) => format!("{head}--only-failed RUN"),
            None => line.to_owned(),
        };
        // `… in 0.3 s; 12 GetMetricData calls …`
        let line = match (line.find(" in "), line.find(" s; ")) {
            (Some(from), Some(to)) if from < to => format!("{} in T{}", &line[..from], &line[to..]),
            _ => line,
        };
        out += &(line + "\n");
    }
    out
}

fn looks() -> [Look; 2] {
    [80, 200].map(|width| Look {
        width: Some(width),
        ..Look::default()
    })
}

/// The screens of one run: its plan, its report, and the status after it.
async fn screens(lab: &Lab, range: &RangeRequest, now: i64) -> (RunReport, String) {
    let context = lab.context_at(range, now, &Overrides::default());
    let (of_plan, planned) = plan(&context).await.expect("planned");
    let planned = planned.report(&of_plan);
    let report = export(&context).await.expect("a report");
    let text = after(lab, range, now, &planned, &report).await;
    (report, text)
}

async fn after(
    lab: &Lab,
    range: &RangeRequest,
    now: i64,
    planned: &RunReport,
    report: &RunReport,
) -> String {
    let month = RangeRequest {
        from: Some("2026-11-01".to_owned()),
        to: Some("2026-11-22".to_owned()),
        ..range.clone()
    };
    let month = RangeRequest {
        date: None,
        ..month
    };
    let looked = lab.context_at(&month, now, &Overrides::default());
    let status = status(&looked, true).await.expect("a status");
    let mut text = String::new();
    for look in looks() {
        let width = look.width.unwrap_or(0);
        let table = plan_text(planned, Some(20), &look);
        // Remarks are told whole, and wrap: tables are what fits.
        let widest = table.lines().take_while(|l| !l.contains("(exclusive)"));
        let widest = widest.map(|l| l.chars().count()).max().unwrap_or(0);
        assert!(
            widest <= width,
            "{widest} columns on a screen of {width}:\n{table}"
        );
        text += &format!("── plan, {width} columns\n{table}");
        text += &format!("── export, {width} columns\n{}", report.text_for(&look));
        text += &format!("── status, {width} columns\n{}", status.text_for(&look));
    }
    text += &format!(
        "── exit codes: export {}, status {}\n",
        report.exit_code(),
        status.exit_code()
    );
    steady(&text, lab)
}

const SIZES: [usize; 3] = [3, 30, 300];

#[tokio::test(flavor = "multi_thread")]
async fn two_good_nights_and_nothing_due() {
    for accounts in SIZES {
        let lab = Lab::new(world(accounts, "ext-1", ""))
            .await
            .with_config(&config(accounts));
        let nightly = RangeRequest::default();
        let (first, text) = screens(&lab, &nightly, NOW).await;
        assert_eq!(first.exit_code(), 0, "{text}");
        insta::assert_snapshot!(format!("first_night_{accounts}"), text);
        let (second, text) = screens(&lab, &nightly, NOW + DAY).await;
        assert_eq!(second.exit_code(), 0, "{text}");
        insta::assert_snapshot!(format!("second_night_{accounts}"), text);
        let settled = RangeRequest {
            date: Some("2026-11-19".to_owned()),
            ..RangeRequest::default()
        };
        // The first run after a day is settled reads it once more.
        let last = lab.context_at(&settled, NOW + 9 * DAY, &Overrides::default());
        assert_eq!(export(&last).await.expect("a report").exit_code(), 0);
        let (none, text) = screens(&lab, &settled, NOW + 9 * DAY).await;
        assert!(none.text().contains("nothing was due"), "{text}");
        insta::assert_snapshot!(format!("nothing_due_{accounts}"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_role_wrong_everywhere() {
    for accounts in SIZES {
        let lab = Lab::new(world(accounts, "another", ""))
            .await
            .with_config(&config(accounts));
        let (report, text) = screens(&lab, &RangeRequest::default(), NOW).await;
        assert_eq!(report.exit_code(), 3, "{text}");
        insta::assert_snapshot!(format!("wrong_role_{accounts}"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_by_a_signal() {
    let hang =
        "[[fault]]\noperation = \"GetMetricData\"\nregion = \"eu-west-1\"\nkind = \"hang\"\n";
    for accounts in SIZES {
        let config =
            config(accounts).replace("lookback_days = 1", "lookback_days = 0\nconcurrency = 1000");
        let lab = Lab::new(world(accounts, "ext-1", hang))
            .await
            .with_config(&config);
        let range = RangeRequest::default();
        let context = lab.context_at(&range, NOW, &Overrides::default());
        let (of_plan, planned) = plan(&context).await.expect("planned");
        let planned = planned.report(&of_plan);
        let stop = lab.stop.clone();
        let watch = async {
            while lab.tree().len() < accounts {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            stop.cancel();
        };
        let (report, ()) = tokio::join!(async { export(&context).await.expect("a report") }, watch);
        let looking = Lab {
            stop: tokio_util::sync::CancellationToken::new(),
            ..lab
        };
        let text = after(&looking, &range, NOW, &planned, &report).await;
        assert_eq!(report.exit_code(), 130, "{text}");
        insta::assert_snapshot!(format!("stopped_{accounts}"), text);
    }
}
