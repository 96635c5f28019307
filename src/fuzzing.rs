//! Bytes from elsewhere, for whatever reads them: nothing breaks down over them, and what is read means what was written.
//!
//! Built for the unit tests, which try each target with random and with damaged texts, and for cargo-fuzz (`tests/fuzz`), which looks for more.

use std::path::Path;

use crate::commit::LaneRecords;
use crate::config::{
    Destination, Environment, ExportConfig, Overrides, RangeRequest, load_text, resolve_range,
};
use crate::discover::{ListPage, matching};
use crate::fetch::Page;
use crate::iam::Principal;
use crate::lake::table::{METRICS, TABLES};
use crate::lake::{format, layout};
use crate::model::{
    AccountId, Day, Lane, MetricId, Partition, Region, Statistic, dimensions_key,
    parse_dimensions_key,
};
use crate::report::{RunReport, unpacked};
use crate::store::{MemoryStore, Store};

/// What reads the bytes, and some that it reads.
type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

const CONFIG: &str = r#"version = 1
[destination]
url = "lake"
[defaults]
role_name = "Reader"
regions = ["us-east-1"]
[[account]]
id = "111122223333"
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPU*"]
statistics = ["Average", "p99.9", "TM(10%:90%)"]
period = 300
"#;

/// Every target by its name.
pub const TARGETS: &[Target] = &[
    (
        "config",
        config,
        &[
            CONFIG,
            "destination = { url = \"s3://b/p\" }\norganization = {}\nmetrics = [{ preset = \"ec2\" }]\n",
        ],
    ),
    (
        "arn",
        arn,
        &[
            "arn:aws:iam::111122223333:role/path/Reader",
            "arn:aws-cn:sts::111122223333:assumed-role/x/y",
            "111122223333",
        ],
    ),
    (
        "s3_url",
        s3_url,
        &["s3://bucket/a/b", "s3://bucket", "s3://b/%2e%2e/x", "lake"],
    ),
    (
        "statistic",
        statistic,
        &[
            "Average",
            "p99.9",
            "TM(10%:90%)",
            "PR(:300)",
            "IQM",
            "TC(0.005:0.030)",
        ],
    ),
    (
        "glob",
        glob,
        &["CPU*", "{a,b}[!c]?", "**/x", "\\*", "[a-z]*"],
    ),
    (
        "time",
        time,
        &["2026-11-20", "2026-11-20T10:30Z", "last", "2026-02-29"],
    ),
    (
        "key",
        key,
        &[
            "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet",
            "_cwlake/manifest/metrics/2026-11/111122223333_us-east-1.json",
            "compact/series/0123456789abcdef0123456789abcdef.parquet",
            "_cwlake/groups/night-1/shard-2.json.gz",
        ],
    ),
    (
        "dimensions",
        dimensions,
        &["InstanceId=i-1,Name=a\\,b\\=c", "=", "a=b,a=c"],
    ),
    (
        "manifest",
        manifest,
        &[
            r#"{"manifest_version": 1, "dataset": "metrics", "account_id": "111122223333", "region": "us-east-1", "month": "2026-11", "units": {}}"#,
        ],
    ),
    (
        "report",
        report,
        &[r#"{"report_version": 1, "units": [], "totals": {}}"#],
    ),
    (
        "format",
        marker,
        &[r#"{"layout": 1, "written_by": "cwlake"}"#],
    ),
    (
        "get_metric_data",
        get_metric_data,
        &["\u{1}MetricDataResults"],
    ),
    ("list_metrics", list_metrics, &["\u{1}Metrics"]),
    (
        "log_events",
        log_events,
        &[
            r#"{"events": [{"timestamp": 1, "message": "\u0041", "eventId": "1", "logStreamName": "s"}], "nextToken": "t"}"#,
        ],
    ),
    (
        "xml",
        xml,
        &[
            "<?xml version=\"1.0\"?><!-- x --><a b=\"c\"><d/></a>",
            "<a/>",
            "<>",
        ],
    ),
    ("spool_file", spool_file, &["\u{1}"]),
];

/// Hands bytes to a target.
///
/// # Panics
/// When the target breaks its promise, or there is none of that name.
pub fn run(target: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(name, ..)| *name == target);
    let (_, read, _) = found.expect("a target");
    read(data);
}

fn loaded(text: &str) -> Option<ExportConfig> {
    let path = Path::new("cwlake.toml");
    match load_text(path, text, &Overrides::default(), &Environment::default()) {
        Ok(config) => Some(config),
        Err(error) => {
            // Whatever is wrong is told in a way that a terminal can bear.
            let told = error.to_string();
            assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told}");
            None
        }
    }
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        loaded(text);
    }
}

fn arn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // How it is told if it is none.
    let _ = Principal::parse(text, Partition::Aws).map_err(|e| e.to_string());
    let account = format!("id = \"111122223333\"\nrole_arn = {}", quoted(text));
    let config = loaded(&CONFIG.replace("id = \"111122223333\"", &account));
    let role = config.and_then(|c| c.accounts[0].role.clone());
    if let Some(role) = role.filter(|r| r.arn == text) {
        assert_eq!(role.account(), AccountId::parse("111122223333"));
    }
}

fn s3_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let url = format!("url = {}", quoted(text));
    let Some(config) = loaded(&CONFIG.replace("url = \"lake\"", &url)) else {
        return;
    };
    if let Destination::S3(s3) = config.destination {
        let mut parts = s3.prefix.split('/');
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        assert!(s3.prefix.is_empty() || parts.all(is_plain), "{}", s3.prefix);
        assert!(s3.bucket.len() >= 3 && !s3.bucket.contains(['/', '_']));
    }
}

fn statistic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Statistic::parse(text) {
        Ok(statistic) => {
            let written = statistic.to_string();
            assert_eq!(Statistic::parse(&written), Ok(statistic), "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn glob(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "CPUUtilization"));
    let metrics = format!("metrics = [{}]", quoted(pattern));
    if let Some(config) = loaded(&CONFIG.replace("metrics = [\"CPU*\"]", &metrics)) {
        let metric = MetricId::new("AWS/EC2", name, Vec::new());
        let matched = matching(&config.selections, &metric);
        let is_plain = !pattern.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
        assert!(!is_plain || matched.is_empty() == (pattern != name));
    }
}

fn time(data: &[u8]) {
    const NOW: i64 = 1_795_226_400;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut given = text.split('\n').map(str::to_owned);
    let asked = RangeRequest {
        from: given.next(),
        to: given.next(),
        date: given.next(),
        since: given.next(),
    };
    // Whatever it is, it is told.
    let _ = resolve_range(&asked, 2, NOW).map_err(|e| e.to_string());
    if let Some(day) = Day::parse(text) {
        assert_eq!(day.to_string(), text);
    }
}

fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for table in TABLES {
        if let Some(unit) = layout::parse_unit(table, text) {
            assert!(text.starts_with(&layout::unit_folder(table, unit.unit)));
            assert_eq!(layout::parse_unit(table, &layout::unit(&unit)), Some(unit));
        }
        if let Some((month, lane)) = layout::parse_manifest(table, text) {
            assert_eq!(layout::manifest(table, &month, &lane), text);
        }
        layout::parse_lane_file(table, text);
        if layout::parse_compacted(table, text).is_some() {
            assert!(!text.contains(".."));
        }
    }
    layout::parse_report(text);
    layout::parse_group(text);
    layout::parse_shard_lock(text);
    layout::parse_alerts(text);
    layout::parse_kept_answer(text);
}

fn dimensions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(found) = parse_dimensions_key(text) {
        assert_eq!(
            parse_dimensions_key(&dimensions_key(&found)).as_deref(),
            Some(&*found)
        );
    }
}

/// Runs what waits for nothing.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(work)
}

fn manifest(data: &[u8]) {
    let lane = Lane {
        account: AccountId::parse("111122223333").expect("an id"),
        region: Region::parse("us-east-1").expect("a region"),
    };
    let day = Day::parse("2026-11-20").expect("a day");
    at_once(async {
        let store = MemoryStore::new();
        let key = layout::manifest(&METRICS, &day.month(), &lane);
        let put = store.put(&key, data.to_vec().into());
        put.await.expect("memory takes it");
        let mut records = LaneRecords::new(&METRICS, lane);
        // Refused, it says which file it is.
        if let Err(error) = records.read(&store, [day].into_iter()).await {
            assert!(error.to_string().contains(&key), "{error}");
        }
    });
}

fn report(data: &[u8]) {
    if let Ok(text) = unpacked(data) {
        let _ = serde_json::from_str::<RunReport>(&text).map(|report| report.text());
    }
}

fn marker(data: &[u8]) {
    let _ = format::check(data);
}

fn get_metric_data(data: &[u8]) {
    if let Ok(page) = Page::decode(data) {
        assert!(page.results.len() <= data.len(), "more than there was");
    }
}

fn list_metrics(data: &[u8]) {
    if let Ok(page) = ListPage::decode(data) {
        assert!(page.metrics.is_none_or(|m| m.len() <= data.len()));
    }
}

fn log_events(data: &[u8]) {
    let _ = crate::fetch::decode_events(data);
}

fn xml(data: &[u8]) {
    crate::aws::is_cut(data);
}

fn spool_file(data: &[u8]) {
    // Its checksum stands at its end: without one nothing else is looked at.
    let sum = twox_hash::XxHash3_128::oneshot(data).to_le_bytes();
    let _ = crate::fetch::decode_kept(&[data, &sum].concat());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An example with some bytes changed, taken out or put in.
    fn damaged(example: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let changes =
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..6);
        changes.prop_map(move |changes| {
            let mut bytes = example.as_bytes().to_vec();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 => bytes.insert(at, byte),
                    1 if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.truncate(at.max(1)),
                }
            }
            bytes
        })
    }

    #[test]
    fn no_target_breaks_down() {
        for (name, read, examples) in TARGETS {
            let mut runner = proptest::test_runner::TestRunner::default();
            let random = prop::collection::vec(any::<u8>(), 0..200);
            let text = "\\PC{0,60}".prop_map(String::into_bytes);
            let mut inputs = vec![random.boxed(), text.boxed()];
            inputs.extend(examples.iter().map(|e| damaged(e).boxed()));
            for input in inputs {
                let tried = runner.run(&input, |data| {
                    read(&data);
                    Ok(())
                });
                tried.unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }
}
