//! The code map's invariants, by a scan of `use` lines and paths.

use std::path::{Path, PathBuf};

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Every file below `src` as (path, text before its tests).
pub(crate) fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let body = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or("")
                .to_owned();
            let body = body
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            (
                path.strip_prefix(&root)
                    .expect("below")
                    .display()
                    .to_string(),
                body,
            )
        })
        .collect()
}

/// Asserts that `word` stands only in files whose path starts with one of `allowed`.
fn only_in(word: &str, allowed: &[&str]) {
    for (path, text) in code() {
        if text.contains(word) {
            assert!(
                allowed.iter().any(|a| path.starts_with(a)),
                "`{word}` in src/{path}"
            );
        }
    }
}

#[test]
fn stages_do_not_know_each_other() {
    let stages = [
        "aws",
        "discover",
        "plan",
        "fetch",
        "normalize",
        "write",
        "store",
        "commit",
        "emulator",
    ];
    for (path, text) in code() {
        let Some(stage) = stages.iter().find(|s| path.starts_with(&format!("{s}/"))) else {
            continue;
        };
        for other in stages.iter().filter(|o| *o != stage) {
            // Adapters need clients; a plan is what fetch is asked to do; publishing is about staged files.
            let allowed = matches!(
                (*stage, *other),
                ("discover" | "fetch", "aws")
                    | ("fetch", "plan")
                    | ("commit", "write" | "store")
                    | ("store", "write")
            ) || path.starts_with("store/s3") && *other == "aws";
            assert!(
                allowed || !text.contains(&format!("crate::{other}")),
                "src/{path} uses {other}"
            );
        }
    }
}

#[test]
fn aws_types_stay_in_adapters() {
    only_in(
        "aws_sdk_",
        &[
            "aws/",
            "discover/list_metrics.rs",
            "discover/ec2.rs",
            "fetch/alarms.rs",
            "fetch/instances.rs",
            "fetch/logs.rs",
            "fetch/get_metric_data.rs",
            "store/s3",
            "telemetry.rs",
        ],
    );
    only_in("aws_smithy_", &["aws/", "store/s3", "telemetry.rs"]);
}

#[test]
fn arrow_parquet_and_clap_have_one_home() {
    only_in("arrow_array", &["normalize/", "write/", "demo.rs"]);
    only_in("parquet::", &["write/", "demo.rs"]);
    only_in("clap::", &["cli.rs", "main.rs", "commands/"]);
    only_in("anyhow", &["main.rs", "exit.rs", "commands/"]);
}

#[test]
fn pure_modules_have_no_clock_no_io_and_no_async() {
    for (path, text) in code() {
        let pure = [
            "alert/html.rs",
            "alert/message.rs",
            "ddl/",
            "iam/",
            "plan/",
            "normalize/",
            "model/",
            "spend/",
            "lake/",
            "discover/filter.rs",
            "fetch/merge.rs",
            "fetch/page.rs",
        ];
        if pure.iter().any(|p| path.starts_with(p)) {
            for word in [
                "async ",
                "Timestamp::now",
                "SystemTime",
                "Instant::now",
                "std::fs",
                "tokio",
            ] {
                assert!(!text.contains(word), "`{word}` in src/{path}");
            }
        }
    }
}

#[test]
fn the_emulator_shares_only_words_with_the_pipeline() {
    for (path, text) in code() {
        if path.starts_with("emulator/") {
            for line in text.lines().filter(|l| l.contains("crate::")) {
                assert!(line.contains("crate::model"), "src/{path}: {line}");
            }
        }
    }
}

#[test]
fn the_model_is_a_leaf() {
    for (path, text) in code() {
        if path.starts_with("model/") {
            for line in text.lines().filter(|l| l.contains("crate::")) {
                assert!(line.contains("crate::model"), "src/{path}: {line}");
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for path in files {
        let lines = std::fs::read_to_string(&path)
            .expect("readable")
            .lines()
            .count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}
