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
        &["CPU*", "{a,b}[!c]?", "**/x", "\\*", "[a-z]*", "[z-\u{4}]"],
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
    ("get_metric_data", get_metric_data, &[]),
    ("list_metrics", list_metrics, &[]),
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
    ("spool_file", spool_file, &[]),
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

    /// Texts, and answers in CBOR.
    fn examples((name, _, texts): &Target) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
        let mut body = Vec::new();
        let mut cbor = minicbor::Encoder::new(&mut body);
        let written = match *name {
            "get_metric_data" => page(&mut cbor),
            "list_metrics" => listing(&mut cbor),
            _ => return all,
        };
        written.expect("memory takes it");
        all.push(body);
        all
    }

    type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

    /// Two points of a query, and a token.
    fn page(cbor: &mut minicbor::Encoder<&mut Vec<u8>>) -> Written {
        let second = minicbor::data::Tag::new(1);
        cbor.begin_map()?.str("MetricDataResults")?.array(1)?;
        cbor.map(4)?.str("Id")?.str("q0")?;
        cbor.str("StatusCode")?.str("Complete")?;
        cbor.str("Timestamps")?.array(2)?;
        cbor.tag(second)?
            .f64(1.7e9)?
            .tag(second)?
            .i64(1_700_000_300)?;
        cbor.str("Values")?
            .begin_array()?
            .f64(0.5)?
            .f32(2.0)?
            .end()?;
        cbor.str("NextToken")?.str("t")?.end()?;
        Ok(())
    }

    /// A metric with a dimension.
    fn listing(cbor: &mut minicbor::Encoder<&mut Vec<u8>>) -> Written {
        cbor.map(2)?.str("Metrics")?.array(1)?;
        cbor.map(3)?.str("Namespace")?.str("AWS/EC2")?;
        cbor.str("MetricName")?.str("CPUUtilization")?;
        cbor.str("Dimensions")?.array(1)?.map(2)?;
        cbor.str("Name")?.str("InstanceId")?;
        cbor.str("Value")?.str("i-1")?;
        cbor.str("OwningAccounts")?.array(0)?;
        Ok(())
    }

    /// An example with some bytes changed, taken out or put in.
    fn damaged(example: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let changes =
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..6);
        changes.prop_map(move |changes| {
            let mut bytes = example.clone();
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

    /// What cargo-fuzz and the workflow run is what there is.
    #[test]
    fn every_target_is_run() {
        for (name, ..) in TARGETS {
            let program = format!("name = \"{name}\"\npath = \"target.rs\"");
            assert!(include_str!("../tests/fuzz/Cargo.toml").contains(&program));
            let weekly = include_str!("../.github/workflows/weekly.yml");
            assert!(weekly.contains(&format!("- {name}\n")), "{name}");
        }
    }

    /// `CWLAKE_WRITE_CORPUS=1`: the examples as the first inputs of cargo-fuzz.
    #[test]
    fn examples_are_read() {
        for name in ["get_metric_data", "list_metrics"] {
            let target = TARGETS.iter().find(|t| t.0 == name).expect("a target");
            let body = examples(target).pop().expect("an answer");
            let (page, listing) = (Page::decode(&body), ListPage::decode(&body));
            assert!(
                page.is_ok_and(|p| p.results.len() == 1)
                    || listing.is_ok_and(|l| l.metrics.is_some())
            );
        }
        for target in TARGETS {
            let (name, read, _) = target;
            for (n, example) in examples(target).iter().enumerate() {
                read(example);
                if std::env::var_os("CWLAKE_WRITE_CORPUS").is_some() {
                    let folder = Path::new("tests/fuzz/corpus").join(name);
                    std::fs::create_dir_all(&folder).expect("a folder");
                    std::fs::write(folder.join(n.to_string()), example).expect("written");
                }
            }
        }
    }

    #[test]
    fn no_target_breaks_down() {
        for target in TARGETS {
            let (name, read, _) = target;
            let mut runner = proptest::test_runner::TestRunner::default();
            let random = prop::collection::vec(any::<u8>(), 0..200);
            let text = "\\PC{0,60}".prop_map(String::into_bytes);
            let mut inputs = vec![random.boxed(), text.boxed()];
            inputs.extend(examples(target).into_iter().map(|e| damaged(e).boxed()));
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
