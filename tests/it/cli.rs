//! The program as a user calls it.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::lab::{CALLER, CONFIG, Lab, NOW_TEXT, world};

/// The clock that `tests/clocks` sets is the program's too.
fn clock() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name == "LD_PRELOAD" || name.starts_with("FAKETIME"))
}

/// A folder with a configuration, and the program run in it with a clean environment.
pub(crate) struct Program {
    pub dir: TempDir,
    env: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("cwlake.toml"), config).expect("written");
        Self {
            dir,
            env: Vec::new(),
        }
    }

    pub(crate) fn against(mut self, lab: &Lab) -> Self {
        for (name, value) in [
            ("AWS_ENDPOINT_URL", lab.emulator.url().as_str()),
            ("AWS_ACCESS_KEY_ID", CALLER),
            ("AWS_SECRET_ACCESS_KEY", "emulated"),
            ("AWS_REGION", "us-east-1"),
            ("CWLAKE_NOW", NOW_TEXT),
        ] {
            self.env.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs with `words` split at blanks.
    pub(crate) fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cwlake"))
            .args(words.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .envs(clock())
            .env("HOME", self.dir.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())))
            .output()
            .expect("the program starts")
    }

    /// As [`run`](Self::run), off the threads that serve the emulator.
    pub(crate) async fn run_beside(self, words: &'static str) -> (Self, Output) {
        tokio::task::spawn_blocking(move || {
            let output = self.run(words);
            (self, output)
        })
        .await
        .expect("ran")
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn export_writes_a_lake_and_says_what_it_did() {
    let lab = Lab::new(world("")).await;
    let (program, output) = Program::new(CONFIG)
        .against(&lab)
        .run_beside("export --json")
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(report["totals"]["written"], 4);
    assert!(
        stderr(&output).contains("4 lanes, 4 of them with something to ask: about $0.00"),
        "{}",
        stderr(&output)
    );
    assert!(
        program
            .dir
            .path()
            .join("lake/metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet")
            .exists()
    );
    let (program, again) = program.run_beside("export").await;
    assert!(
        stdout(&again).starts_with("2026-11-20 to 2026-11-21 (exclusive): 4 units written"),
        "{}",
        stdout(&again)
    );
    // Of what is whole nobody is told who does not want to be.
    let (_, quiet) = program.run_beside("export --quiet").await;
    assert_eq!(
        (quiet.status.code(), stdout(&quiet), stderr(&quiet)),
        (Some(0), String::new(), String::new())
    );
}

/// A world whose readers trust the hub's account, and a hub role that trusts the caller.
async fn hub() -> Lab {
    let hub = "[[account]]\nid = \"555566667777\"\n[[account.role]]\nname = \"Hub\"\ntrust = [\"999900001111\"]\n";
    let mut chained = world(hub);
    for account in &mut chained.accounts {
        for role in account.roles.iter_mut().filter(|r| r.name == "Reader") {
            role.trust = vec!["555566667777".to_owned()];
        }
    }
    Lab::new(chained).await
}

/// The program with a profile that assumes the hub role; `source` says with which credentials.
fn with_hub_profile(lab: &Lab, source: &str) -> Program {
    let mut program = Program::new(CONFIG)
        .env("AWS_ENDPOINT_URL", &lab.emulator.url())
        .env("CWLAKE_NOW", NOW_TEXT)
        .env("AWS_PROFILE", "hub")
        .env("AWS_CONFIG_FILE", "aws-config");
    let profile = format!(
        "[profile hub]\nrole_arn = arn:aws:iam::555566667777:role/Hub\nregion = us-east-1\n{source}\n\
         [profile base]\naws_access_key_id = {CALLER}\naws_secret_access_key = emulated\n"
    );
    std::fs::write(program.dir.path().join("aws-config"), profile).expect("written");
    program.env.retain(|(name, _)| name != "AWS_ACCESS_KEY_ID");
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_chain_takes_a_profile_with_a_role() {
    let lab = hub().await;
    let (_, output) = with_hub_profile(&lab, "source_profile = base")
        .run_beside("export")
        .await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    assert_eq!(
        lab.emulator.bill().calls("AssumeRole"),
        3,
        "the hub once, each account once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_chain_takes_a_profile_on_an_instance() {
    let lab = hub().await;
    let imds = axum::Router::new()
        .route("/latest/api/token", axum::routing::put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token") }))
        .route("/latest/meta-data/iam/security-credentials/", axum::routing::get(|| async { "instance-role" }))
        .route("/latest/meta-data/iam/security-credentials/instance-role", axum::routing::get(|| async {
            format!(
                "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-11-21T00:00:00Z\",\"AccessKeyId\":\"{CALLER}\",\
                 \"SecretAccessKey\":\"x\",\"Token\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
            )
        }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, imds).await });
    let program = with_hub_profile(&lab, "credential_source = Ec2InstanceMetadata")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "false");
    let (_, output) = program.run_beside("export").await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    assert_eq!(lab.emulator.bill().calls("AssumeRole"), 3);
}

#[test]
fn no_credentials_is_an_exit_code_of_its_own() {
    let output = Program::new(CONFIG).run("export");
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("AWS_PROFILE"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_base_credentials_are_told_apart_from_a_denied_role() {
    let lab = Lab::new(world("")).await;
    let (_, output) = Program::new(CONFIG)
        .against(&lab)
        .env("AWS_ACCESS_KEY_ID", "123412341234")
        .run_beside("export")
        .await;
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_even_at_trace() {
    let canary = "canary-external-id-4711";
    let mut secret =
        world("[[fault]]\noperation = \"GetMetricData\"\nkind = \"throttle\"\ntimes = 1\n");
    secret.accounts[1].roles[0].external_id = Some(canary.to_owned());
    let config = CONFIG.replace("ext-1", "env:EXT");
    for format in ["text", "json"] {
        let lab = Lab::new(secret.clone()).await;
        let program = Program::new(&config)
            .against(&lab)
            .env("CWLAKE_LOG", "trace")
            .env("EXT", canary);
        let words = if format == "text" {
            "export --json"
        } else {
            "export --json --log-format json"
        };
        let (_, output) = program.run_beside(words).await;
        assert_eq!(
            output.status.code(),
            Some(3),
            "the other account has another external id"
        );
        let all = stdout(&output) + &stderr(&output);
        assert!(all.contains("trying again"), "the logs are on");
        // Session tokens of the emulator start with `session-`, its secret keys are never printed by it.
        for secret in [canary, "session-0", "session-1", "emulated\""] {
            assert!(!all.contains(secret), "{secret} in the {format} logs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_prints_every_lane_and_the_dollars() {
    let lab = Lab::new(world("")).await;
    let (_, output) = Program::new(CONFIG)
        .against(&lab)
        .run_beside("plan --from 2026-10-01 --to 2026-11-21 --quiet")
        .await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        text.lines()
            .any(|l| l.starts_with("222233334444") && l.contains("eu-west-1"))
            && text.contains("about $"),
        "{text}"
    );
    assert_eq!(lab.emulator.bill().calls("GetMetricData"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_cap_is_exit_8() {
    let lab = Lab::new(world("")).await;
    let (_, output) = Program::new(CONFIG)
        .against(&lab)
        .run_beside("export --max-spend 0.00001")
        .await;
    assert_eq!(output.status.code(), Some(8), "{}", stderr(&output));
    assert!(stderr(&output).contains("--max-spend"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_destination_is_exit_2_without_a_call() {
    let lab = Lab::new(world("")).await;
    let program = Program::new(CONFIG).against(&lab);
    std::fs::write(program.dir.path().join("lake"), "in the way").expect("written");
    let (_, output) = program.run_beside("export").await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(lab.emulator.bill().lanes.is_empty());
}

#[test]
fn wrong_words_and_dates_are_exit_2() {
    let program = Program::new(CONFIG);
    for (words, told) in [
        (
            "export --date 2026-02-30",
            "--date: '2026-02-30' is not a date",
        ),
        (
            "export --from 2026-11-03 --to 2026-11-01",
            "--from: 2026-11-03 is not before",
        ),
        ("export --date 2999-01-01", "in the future"),
        ("export --from 0001-01-01", "CloudWatch keeps 455 days"),
        ("export --now yesterday", "--now"),
        ("export --dat 2026-01-01", "unexpected argument '--dat'"),
        ("export --to 2026-01-01", "--from"),
        ("export --concurrency 0", "--concurrency: 0 is not between"),
        ("export --max-spend NaN", "--max-spend"),
        (
            "export --destination s3://Bucket/prefix",
            "not the name of a bucket",
        ),
        (
            "export --since yesterday",
            "--since: 'yesterday' is not 'last'",
        ),
        (
            "export --since last --date 2026-11-20",
            "cannot be used with",
        ),
        (
            "export --only-failed missing.json",
            "--only-failed: missing.json",
        ),
        (
            "export --account 999999999999",
            "--account: 999999999999 is not in the configuration",
        ),
        ("export --region us-eats-1", "did you mean 'us-east-1'?"),
        (
            "export --region ap-south-1",
            "no account reads any of these regions",
        ),
        (
            "export --namespace AWS/RDS",
            "--namespace: 'AWS/RDS' is not in the configuration",
        ),
        ("exprot", "unrecognized subcommand"),
        ("export --config missing.toml", "missing.toml"),
    ] {
        let output = program.run(words);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(told),
            "{words}: {}",
            stderr(&output)
        );
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_the_run_with_its_code() {
    let lab = Lab::new(world(
        "[[fault]]\noperation = \"GetMetricData\"\nkind = \"delay\"\nmillis = 1500\n",
    ))
    .await;
    let program = Program::new(CONFIG).against(&lab);
    let mut child = Command::new(env!("CARGO_BIN_EXE_cwlake"))
        .arg("export")
        .current_dir(program.dir.path())
        .env_clear()
        .envs(clock())
        .envs(program.env.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        .spawn()
        .expect("started");
    while lab.emulator.bill().calls("GetMetricData") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .expect("kill");
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .expect("joined")
        .expect("ended");
    assert_eq!(status.code(), Some(143));
    assert!(report_of(program.dir.path()).contains("SIGTERM"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_no_half_file_and_the_next_run_ends_as_if_undisturbed() {
    let fault = "[[fault]]\noperation = \"GetMetricData\"\nregion = \"eu-west-1\"\nkind = \"hang\"\ntimes = 2\n";
    let lab = Lab::new(world(fault)).await;
    // The lake of the program is the lab's own, so that its tree can be looked at.
    let lake = lab.lake();
    let program = Program::new(CONFIG)
        .against(&lab)
        .env("CWLAKE_DESTINATION", &lake.display().to_string());
    let mut child = Command::new(env!("CARGO_BIN_EXE_cwlake"))
        .args(["export", "--quiet"])
        .current_dir(program.dir.path())
        .env_clear()
        .envs(clock())
        .envs(program.env.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        .spawn()
        .expect("started");
    while lab.tree().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let clean = crate::lab::clean_tree(CONFIG).await;
    let left = lab.tree();
    assert!(
        left.iter()
            .all(|(file, hash)| clean.get(file) == Some(hash)),
        "whole units only"
    );
    let (_, output) = program.run_beside("export --quiet").await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((lab.tree(), lab.leftovers()), (clean, 0));
}

fn report_of(dir: &Path) -> String {
    let runs = dir.join("lake/_cwlake/runs");
    let report = std::fs::read_dir(runs)
        .expect("runs")
        .next()
        .expect("a report")
        .expect("entry");
    let kept = std::fs::read(report.path()).expect("readable");
    cwlake::report::unpacked(&kept).expect("a report")
}

#[test]
fn the_sample_configuration_is_valid() {
    let program = Program::new(include_str!("../../sample-data/cwlake.toml"))
        .env("CWLAKE_EXTERNAL_ID", "an-external-id");
    let output = program.run("check");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// On a narrow screen every line fits, and no number is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_fits_the_screen_it_is_shown_on() {
    let lab = Lab::new(world("")).await;
    for (columns, shown) in [("80", "series"), ("200", "billed")] {
        let (_, output) = Program::new(CONFIG)
            .env("COLUMNS", columns)
            .against(&lab)
            .run_beside("plan --from 2026-10-01 --to 2026-11-21 --quiet")
            .await;
        let text = stdout(&output);
        let table: Vec<&str> = text
            .lines()
            .take_while(|l| !l.starts_with("2026"))
            .collect();
        let widest = table.iter().map(|l| l.chars().count()).max();
        assert!(widest <= columns.parse().ok(), "{text}");
        assert!(table[0].contains(shown), "{text}");
        assert!(
            table
                .iter()
                .any(|l| l.starts_with("total") && l.contains("4,230,144")),
            "{text}"
        );
    }
}
