//! Wrong configurations: each is refused with exit 2, its place, its remedy, and without a network call.

use crate::cli::{Program, stderr};
use crate::lab::{CONFIG, score};

/// What is wrong, how the good file is spoiled, where the error points, and words of the error or its remedy.
struct Bad {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    /// `line:column` in the spoiled file; empty where the file as a whole is meant.
    place: &'static str,
    says: &'static [&'static str],
}

const fn bad(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    place: &'static str,
    says: &'static [&'static str],
) -> Bad {
    Bad {
        name,
        from,
        to,
        place,
        says,
    }
}

const ID: &str = "id = \"222233334444\"";
const STATS: &str = "statistics = [\"Average\", \"Maximum\", \"p90\"]";
const REGIONS: &str = "regions = [\"us-east-1\", \"eu-west-1\"]";

#[rustfmt::skip]
const CORPUS: &[Bad] = &[
    // Syntax.
    bad("unclosed quote", "url = \"lake\"", "url = \"lake", "3:", &["string"]),
    bad("duplicate key", "url = \"lake\"", "url = \"lake\"\nurl = \"x\"", "4:1", &["duplicate"]),
    bad("NUL", "url = \"lake\"", "url = \"la\u{0}ke\"", "3:", &[]),
    // Shape.
    bad("unknown key", "regions =", "regoins =", "13:1", &["unknown key 'regoins'", "did you mean 'regions'?"]),
    bad("unknown table", "[run]", "[runn]", "4:2", &["unknown key 'runn'", "did you mean 'run'?"]),
    bad("unknown key far from all", "lookback_days = 0", "colour = 3", "5:1", &["known keys here", "lookback_days"]),
    bad("wrong type", "lookback_days = 0", "lookback_days = \"two\"", "5:17", &["invalid type"]),
    bad("missing key", "url = \"lake\"", "", "", &["missing key 'url'", "add 'url'"]),
    bad("newer version", "version = 1", "version = 2", "1:11", &["version 2", "update cwlake"]),
    bad("older version", "version = 1", "version = 0", "1:11", &["version = 1"]),
    bad("unset variable", "external_id = \"ext-1\"", "external_id = \"env:NOT_SET_HERE\"", "12:15", &["NOT_SET_HERE is not set", "export"]),
    // Accounts.
    bad("eleven digits", ID, "id = \"22223333444\"", "18:6", &["not an account id", "twelve digits"]),
    bad("thirteen digits", ID, "id = \"2222333344445\"", "18:6", &["twelve digits"]),
    bad("id as number", ID, "id = 222233334444", "18:6", &["invalid type"]),
    bad("duplicate account", ID, "id = \"111122223333\"", "18:6", &["listed twice"]),
    bad("malformed ARN", ID, "id = \"222233334444\"\nrole_arn = \"arn:aws:iam:222233334444:role/x\"", "19:12", &["not a role ARN", "for example arn:aws:iam::222233334444:role/"]),
    bad("ARN of another account", ID, "id = \"222233334444\"\nrole_arn = \"arn:aws:iam::111122223333:role/x\"", "19:12", &["in account 111122223333", "wrong account"]),
    bad("ARN of another partition", ID, "id = \"222233334444\"\nrole_arn = \"arn:aws-cn:iam::222233334444:role/x\"", "19:12", &["partition 'aws-cn'", "'aws'"]),
    bad("user ARN", ID, "id = \"222233334444\"\nrole_arn = \"arn:aws:iam::222233334444:user/x\"", "19:12", &["not the ARN of a role"]),
    bad("role ARN and name", ID, "id = \"222233334444\"\nrole_arn = \"arn:aws:iam::222233334444:role/x\"\nrole_name = \"y\"", "20:13", &["both given"]),
    bad("role name with blanks", "role_name = \"Reader\"", "role_name = \"my role\"", "11:13", &["not a role name"]),
    bad("role with base credentials", ID, "id = \"222233334444\"\nbase_credentials = true\nrole_name = \"x\"", "20:13", &["keep one of the two"]),
    bad("external id too short", "external_id = \"ext-1\"", "external_id = \"x\"", "12:15", &["2 to 1,224"]),
    bad("external id with blanks", "external_id = \"ext-1\"", "external_id = \"no blanks\"", "12:15", &["2 to 1,224"]),
    bad("session name", ID, "id = \"222233334444\"\nsession_name = \"a b\"", "19:16", &["2 to 64"]),
    bad("session name too long", ID, "id = \"222233334444\"\nsession_name = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "19:16", &["2 to 64"]),
    bad("session too short", ID, "id = \"222233334444\"\nsession_duration_secs = 899", "19:25", &["900 to 43200"]),
    bad("session too long", ID, "id = \"222233334444\"\nsession_duration_secs = 43201", "19:25", &["900 to 43200"]),
    // Regions.
    bad("unknown region", REGIONS, "regions = [\"us-eats-1\"]", "13:11", &["'us-eats-1'", "did you mean 'us-east-1'?", "extra_regions"]),
    bad("two partitions", REGIONS, "regions = [\"us-east-1\", \"cn-north-1\"]", "13:11", &["different partitions"]),
    bad("star in a list", REGIONS, "regions = [\"*\", \"us-east-1\"]", "13:11", &["regions = \"auto\" alone"]),
    bad("empty list", REGIONS, "regions = []", "13:11", &["empty", "\"auto\""]),
    bad("a region as text", REGIONS, "regions = \"us-east-1\"", "13:11", &["[\"us-east-1\"]"]),
    // Metrics.
    bad("statistic by nickname", STATS, "statistics = [\"Avg\"]", "23:15", &["'Avg'", "write 'Average'"]),
    bad("p101", STATS, "statistics = [\"p101\"]", "23:15", &["'p101'", "between 0 and 100"]),
    bad("wrong range", STATS, "statistics = [\"TM(90%:10%)\"]", "23:15", &["not below"]),
    bad("no statistics", STATS, "statistics = []", "23:14", &["empty"]),
    bad("period 90", "period = 300", "period = 90", "24:10", &["90 s", "nearest is 60"]),
    bad("period 0", "period = 300", "period = 0", "24:10", &["nearest is 1"]),
    bad("period -60", "period = 300", "period = -60", "24:10", &["nearest"]),
    bad("period that does not divide a day", "period = 300", "period = 420", "24:10", &["nearest is 360"]),
    bad("period in words", "period = 300", "period = \"5m\"", "24:10", &["\"auto\""]),
    bad("high resolution in an AWS namespace", "period = 300", "period = 10", "24:10", &["60 is the finest"]),
    bad("bad glob", "\"Network*\"", "\"Network[\"", "21:30", &["not a glob"]),
    bad("no metrics in the list", "[\"CPUUtilization\", \"Network*\"]", "[]", "21:11", &["[\"*\"]"]),
    bad("namespace glob", "\"AWS/EC2\"", "\"AWS/*\"", "20:13", &["not a namespace"]),
    bad("unknown unit", "period = 300", "period = 300\nunit = \"Percents\"", "25:8", &["did you mean 'Percent'?"]),
    bad("required and forbidden", "period = 300", "period = 300\nwithout_dimensions = [\"InstanceId\"]", "25:23", &["both required and forbidden"]),
    bad("empty dimension value", "InstanceId = \"*\"", "InstanceId = \"\"", "22:", &["\"*\" allows every value"]),
    bad("instance rules without ec2", "period = 300", "period = 300\ninstance_states = [\"running\"]", "25:20", &["discover = \"ec2\""]),
    bad("unknown way to discover", "period = 300", "period = 300\ndiscover = \"magic\"", "25:12", &["ListMetrics"]),
    bad("unknown preset", "period = 300", "period = 300\n[[metrics]]\npreset = \"ec3\"", "26:10", &["'ec3' is not a preset", "did you mean 'ec2'?", "natgateway"]),
    bad("preset with a namespace", "period = 300", "period = 300\n[[metrics]]\npreset = \"ec2\"\nnamespace = \"AWS/EC2\"", "27:13", &["cannot stand beside a preset", "exclude"]),
    bad("neither preset nor metrics", "period = 300", "period = 300\n[[metrics]]\nnamespace = \"AWS/EC2\"", "25:", &["missing key 'metrics'", "or name a preset"]),
    bad("bad glob to leave out", "period = 300", "period = 300\nexclude = [\"Network[\"]", "25:12", &["not a glob"]),
    // Fleet.
    bad("different roles", ID, "id = \"111122223333\"\nrole_name = \"Other\"", "18:6", &["listed twice, with different roles"]),
    bad("organization role", "[run]", "[organization]\nrole_arn = \"Reader\"\n[run]", "5:12", &["not a role ARN"]),
    bad("organization account", "[run]", "[organization]\nexclude_accounts = [\"12\"]\n[run]", "5:21", &["not an account id"]),
    bad("included and excluded", "[run]", "[organization]\ninclude_accounts = [\"333344445555\"]\nexclude_accounts = [\"333344445555\"]\n[run]", "6:21", &["both included and excluded"]),
    bad("excluded and listed", "[run]", "[organization]\nexclude_accounts = [\"111122223333\"]\n[run]", "5:21", &["has an [[account]] table"]),
    bad("unit without a name", "[run]", "[organization]\ninclude_ous = [\"/\"]\n[run]", "5:16", &["without a name", "Workloads/Prod"]),
    bad("no file of external ids", "external_id = \"ext-1\"", "external_ids = \"nowhere.toml\"", "12:16", &["nowhere.toml", "init --missing-ids"]),
    bad("external id form", "external_id = \"ext-1\"", "external_id = \"{name} x\"", "12:15", &["2 to 1,224"]),
    // Output.
    bad("bucket with capitals", "url = \"lake\"", "url = \"s3://Bucket_1\"", "3:7", &["not the name of a bucket", "3 to 63"]),
    bad("no bucket", "url = \"lake\"", "url = \"s3://\"", "3:7", &["not the name of a bucket"]),
    bad("bucket like an address", "url = \"lake\"", "url = \"s3://10.0.0.1/x\"", "3:7", &["not the name of a bucket"]),
    bad("prefix that climbs", "url = \"lake\"", "url = \"s3://bucket/a/../b\"", "3:7", &["empty part, '.' or '..'"]),
    bad("prefix with two slashes", "url = \"lake\"", "url = \"s3://bucket/a//b\"", "3:7", &["empty part"]),
    bad("prefix with blanks", "url = \"lake\"", "url = \"s3://bucket/my lake\"", "3:7", &["need escaping"]),
    bad("another kind of store", "url = \"lake\"", "url = \"gs://bucket/lake\"", "3:7", &["'gs://' are not supported", "s3://bucket/prefix"]),
    bad("KMS key without KMS", "url = \"lake\"", "url = \"s3://bucket\"\nsse = \"AES256\"\nkms_key_id = \"x\"", "5:14", &["sse is \"AES256\""]),
    bad("KMS key alone", "url = \"lake\"", "url = \"s3://bucket\"\nkms_key_id = \"x\"", "4:14", &["sse = \"aws:kms\""]),
    bad("KMS key of another region", "url = \"lake\"", "url = \"s3://bucket\"\nregion = \"eu-west-1\"\nsse = \"aws:kms\"\nkms_key_id = \"arn:aws:kms:us-east-1:111122223333:key/x\"", "6:14", &["the key is in us-east-1, the bucket in eu-west-1"]),
    bad("unknown encryption", "url = \"lake\"", "url = \"s3://bucket\"\nsse = \"aes\"", "4:7", &["\"AES256\", or \"aws:kms\""]),
    bad("unknown storage class", "url = \"lake\"", "url = \"s3://bucket\"\nstorage_class = \"COLD\"", "4:17", &["STANDARD_IA"]),
    bad("archive storage class", "url = \"lake\"", "url = \"s3://bucket\"\nstorage_class = \"DEEP_ARCHIVE\"", "4:17", &["not a storage class"]),
    bad("unknown ACL", "url = \"lake\"", "url = \"s3://bucket\"\nacl = \"public-read\"", "4:7", &["bucket-owner-full-control"]),
    bad("bucket owner", "url = \"lake\"", "url = \"s3://bucket\"\nexpected_bucket_owner = \"me\"", "4:25", &["twelve digits"]),
    bad("bucket region", "url = \"lake\"", "url = \"s3://bucket\"\nregion = \"eu-wets-1\"", "4:10", &["did you mean 'eu-west-1'?"]),
    bad("endpoint", "url = \"lake\"", "url = \"s3://bucket\"\nendpoint_url = \"localhost:9000\"", "4:16", &["http://host:port"]),
    bad("lease", "url = \"lake\"", "url = \"s3://bucket\"\nlease_secs = 1", "4:14", &["5 to 3600"]),
    bad("writer role", "url = \"lake\"", "url = \"s3://bucket\"\nrole_arn = \"CWLakeWriter\"", "4:12", &["for example arn:aws:iam::111122223333:role/CWLakeWriter"]),
    bad("external id without a role", "url = \"lake\"", "url = \"s3://bucket\"\nexternal_id = \"ext-1\"", "4:15", &["no role_arn"]),
    bad("S3 key for a folder", "url = \"lake\"", "url = \"lake\"\nstorage_class = \"STANDARD_IA\"", "4:17", &["for S3 destinations"]),
    bad("publication delay", "period = 300", "period = 300\npublication_delay_secs = -1", "25:26", &["0 to 604800"]),
    bad("root folder", "url = \"lake\"", "url = \"/\"", "3:7", &["root of the file system"]),
    bad("climbing out", "url = \"lake\"", "url = \"../lake\"", "3:7", &["absolute path"]),
    bad("empty destination", "url = \"lake\"", "url = \"\"", "3:7", &["empty"]),
    // Run.
    bad("concurrency 0", "lookback_days = 0", "concurrency = 0", "5:15", &["1 to 1024"]),
    bad("concurrency -1", "lookback_days = 0", "concurrency = -1", "5:15", &["1 to 1024"]),
    bad("concurrency 1000000", "lookback_days = 0", "concurrency = 1000000", "5:15", &["1 to 1024"]),
    bad("lookback -1", "lookback_days = 0", "lookback_days = -1", "5:17", &["0 to 454"]),
    bad("rate 0", "[limits]", "[limits]\npoints_per_second = 0.0", "7:21", &["out of range"]),
    bad("attempts 0", "[limits]", "[limits]\nattempts = 0", "7:12", &["1 to 100"]),
    bad("time limit 0", "connect_timeout_secs = 2", "connect_timeout_secs = 0.0", "7:24", &["out of range"]),
    bad("rate 1e308", "[limits]", "[limits]\npoints_per_second = 1e308", "7:21", &["1e12"]),
    bad("file URL with a host", "url = \"lake\"", "url = \"file://host/lake\"", "3:7", &["file:///absolute"]),
    bad("budget -1", "lookback_days = 0", "max_spend_usd = -1.0", "5:17", &["dollars"]),
    bad("budget NaN", "lookback_days = 0", "max_spend_usd = nan", "5:17", &["dollars"]),
    bad("access key as key", "[run]", "[run]\naws_access_key_id = \"x\"", "5:1", &["credential chain"]),
    bad("access key as value", "name = \"prod\"", "name = \"AKIAABCDEFGHIJKLMNOP\"", "16:9", &["looks like an AWS access key", "rotate"]),
    // Other datasets, budgets, alerts.
    bad("log group with a space", "period = 300", "period = 300\n[[logs]]\ngroups = [\"my group\"]", "26:11", &["not the name of a log group", "not an ARN"]),
    bad("no log group", "period = 300", "period = 300\n[[logs]]\ngroups = []", "26:10", &["no log group is named"]),
    bad("empty pattern", "period = 300", "period = 300\n[[logs]]\ngroups = [\"a\"]\nfilter_pattern = \" \"", "27:18", &["1 to 1024 characters", "leave it out"]),
    bad("stream with a star", "period = 300", "period = 300\n[[logs]]\ngroups = [\"a\"]\nstreams = [\"s*\"]", "27:12", &["not the name of a log stream", "stream_prefix"]),
    bad("streams and prefix", "period = 300", "period = 300\n[[logs]]\ngroups = [\"a\"]\nstreams = [\"s\"]\nstream_prefix = \"t\"", "28:17", &["both given"]),
    bad("budget without spend", "period = 300", "period = 300\n[[budget]]\ndaily_usd = 1.0", "25:1", &["needs charges", "spend = {}"]),
    bad("budget without a threshold", "period = 300", "period = 300\n[spend]\n[[budget]]\nname = \"x\"", "26:1", &["without a threshold", "daily_usd"]),
    bad("negative threshold", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = -5.0", "27:13", &["-5 is not a threshold", "not negative"]),
    bad("threshold that is no number", "period = 300", "period = 300\n[spend]\n[[budget]]\nmonth_usd = nan", "27:13", &["not a threshold"]),
    bad("budget for an unknown account", "period = 300", "period = 300\n[spend]\n[[budget]]\naccounts = [\"333344445555\"]\ndaily_usd = 1.0", "27:13", &["account 333344445555, which is not configured", "[[account]]"]),
    bad("two budgets for one account", "period = 300", "period = 300\n[spend]\n[[budget]]\naccounts = [\"111122223333\"]\ndaily_usd = 1.0\n[[budget]]\naccounts = [\"111122223333\"]\nmonth_usd = 9.0", "29:1", &["two budgets for one account", "one [[budget]] table"]),
    bad("account twice in a budget", "period = 300", "period = 300\n[spend]\n[[budget]]\naccounts = [\"111122223333\", \"111122223333\"]\ndaily_usd = 1.0", "27:29", &["listed twice"]),
    bad("budget account with eleven digits", "period = 300", "period = 300\n[spend]\n[[budget]]\naccounts = [\"11112222333\"]\ndaily_usd = 1.0", "27:13", &["not an account id"]),
    bad("spend of an unknown account", "period = 300", "period = 300\n[spend]\naccounts = [\"333344445555\"]", "26:13", &["spend.accounts: account 333344445555"]),
    bad("alert without a budget", "period = 300", "period = 300\n[spend]\n[alert]\nsns = { topic_arn = \"arn:aws:sns:us-east-1:111122223333:x\" }", "26:1", &["there is none", "[[budget]]"]),
    bad("alert without a channel", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nfrom = \"a@b\"", "28:1", &["no way to send alerts"]),
    bad("address with a line break", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nfrom = \"a@b\"\nto = [\"a@b\\r\\nBcc: c@d\"]\nses = { region = \"us-east-1\" }", "30:7", &["not an e-mail address", "line break"]),
    bad("mail without receivers", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nfrom = \"a@b\"\nses = { region = \"us-east-1\" }", "28:1", &["a sender and a receiver"]),
    bad("password in the file", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nfrom = \"a@b\"\nto = [\"a@b\"]\nsmtp = { host = \"h\", user = \"u\", password = \"hunter2\" }", "31:45", &["does not stand in this file", "env:"]),
    bad("topic that is none", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nsns = { topic_arn = \"arn:aws:sqs:us-east-1:111122223333:x\" }", "29:21", &["not the ARN of a topic", "for example arn:aws:sns"]),
    bad("bus that is none", "period = 300", "period = 300\n[spend]\n[[budget]]\ndaily_usd = 1.0\n[alert]\nevent_bus = { arn = \"default\" }", "29:21", &["not the ARN of an event bus"]),
];

#[test]
fn every_wrong_configuration_is_refused_at_its_place_with_a_remedy() {
    let mut slowest = std::time::Duration::ZERO;
    for bad in CORPUS {
        assert!(CONFIG.contains(bad.from), "{}: nothing to spoil", bad.name);
        // A dead endpoint: a call would end with another exit code, and late.
        let program = Program::new(&CONFIG.replacen(bad.from, bad.to, 1))
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        for command in ["check", "export"] {
            let started = std::time::Instant::now();
            let output = program.run(command);
            slowest = slowest.max(started.elapsed());
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{}: {told}", bad.name);
            assert!(
                told.contains(&format!("cwlake.toml:{}", bad.place)),
                "{}: {told}",
                bad.name
            );
            for words in bad.says {
                assert!(told.contains(words), "{}: no '{words}' in {told}", bad.name);
            }
            assert!(!told.contains("panicked"), "{}: {told}", bad.name);
        }
        assert!(
            !program.dir.path().join("lake").exists(),
            "{}: nothing is written",
            bad.name
        );
    }
    let measures =
        serde_json::json!({ "runs": 2 * CORPUS.len(), "seconds": slowest.as_secs_f64() });
    score(&measures);
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let refuse = |content: &[u8], told: &str| {
        let program = Program::new("");
        std::fs::write(program.dir.path().join("cwlake.toml"), content).expect("written");
        let output = program.run("check");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    };
    refuse(b"", "missing key 'destination'");
    refuse(b"# only a comment\n", "missing key 'destination'");
    refuse(b"version = 1\n\xff\xfe", "cwlake.toml:2:1: not valid UTF-8");
    refuse(&vec![b'#'; 10 << 20], "more than the 1048576");
    refuse(
        format!("version = {}1{}", "[".repeat(50_000), "]".repeat(50_000)).as_bytes(),
        "cwlake.toml:",
    );
    let program = Program::new("");
    assert_eq!(program.run("check --config .").status.code(), Some(2));
    assert!(stderr(&program.run("check --config .")).contains("this is a folder"));
}

#[test]
fn line_ends_tabs_and_byte_order_marks_do_not_matter() {
    for text in [
        CONFIG.replace('\n', "\r\n"),
        format!("\u{feff}{CONFIG}"),
        CONFIG.replace(" = ", "\t=\t"),
    ] {
        let output = Program::new(&text).run("check");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn globs_too_large_to_match_are_refused_and_drop_no_table() {
    let many: Vec<String> = (0..20_000)
        .map(|n| format!("\"Svc{n}*Latency*\""))
        .collect();
    let wide = format!("InstanceId = \"{}\"", "?".repeat(146_000));
    for text in [
        CONFIG.replace("\"CPUUtilization\", \"Network*\"", &many.join(",")),
        CONFIG.replace("InstanceId = \"*\"", &wide),
    ] {
        let output = Program::new(&text).run("check");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("too large to be matched"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn several_problems_are_told_at_once() {
    let text = CONFIG
        .replace("period = 300", "period = 90")
        .replace("\"p90\"", "\"p900\"");
    let told = stderr(&Program::new(&text).run("check"));
    assert!(
        told.contains("90 s is not") && told.contains("p900"),
        "{told}"
    );
}

#[test]
fn an_external_id_never_shows() {
    let text = CONFIG.replace("\"ext-1\"", "\"canary secret\"");
    let output = Program::new(&text).run("check");
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("canary"), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_everyone_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new(CONFIG);
    let path = program.dir.path().join("cwlake.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("set");
    let output = program.run("check");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("chmod o-w"), "{}", stderr(&output));
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    let output = Program::new(CONFIG)
        .env("AWS_ENDPOINT_URL_STS", "localhost:4566")
        .run("check");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("AWS_ENDPOINT_URL_STS"),
        "{}",
        stderr(&output)
    );
}
