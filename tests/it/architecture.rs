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
            "telemetry/logs.rs",
        ],
    );
    only_in("aws_smithy_", &["aws/", "store/s3", "telemetry/logs.rs"]);
}

#[test]
fn arrow_parquet_and_clap_have_one_home() {
    only_in("arrow_array", &["normalize/", "write/", "demo.rs"]);
    only_in("parquet::", &["write/", "demo.rs"]);
    only_in("clap::", &["cli/", "main.rs", "commands/"]);
    only_in("anyhow", &["main.rs", "exit.rs", "commands/"]);
}

#[test]
fn pure_modules_have_no_clock_no_io_and_no_async() {
    for (path, text) in code() {
        let pure = [
            "alert/ending.rs",
            "alert/page.rs",
            "alert/message.rs",
            "page/",
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

/// Name and length of every function, as rustfmt lays them out: from its line to the brace below it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace().take_while(|w| *w != "fn").count();
        let before: Vec<&str> = line.split_whitespace().take(words).collect();
        let is_function = line.split_whitespace().nth(words) == Some("fn")
            && before
                .iter()
                .all(|w| w.starts_with("pub") || ["const", "async", "unsafe", "in"].contains(w));
        if !is_function || line.ends_with(';') {
            continue;
        }
        words += 1;
        let name = line.split_whitespace().nth(words).unwrap_or_default();
        let closing = format!("{}}}", " ".repeat(indent));
        let length = lines[n..].iter().position(|l| *l == closing);
        found.push((name.to_owned(), length.map_or(1, |l| l + 1)));
    }
    found
}

#[test]
fn no_function_is_longer_than_eighty_lines() {
    let text = "fn a() {\n    b();\n}\nimpl X {\n    pub(crate) async fn c(\n        &self,\n    ) {\n        d();\n    }\n}\n";
    let lengths: Vec<usize> = functions(text).into_iter().map(|(_, n)| n).collect();
    assert_eq!(lengths, [3, 5]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        for (name, lines) in functions(&text) {
            assert!(lines <= 80, "{}: {name} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_table_has_a_place_and_every_dataset_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let layout = std::fs::read_to_string(root.join("docs/reference/layout.md")).expect("readable");
    for table in cwlake::lake::table::TABLES {
        let folder = format!("{}/", table.name);
        assert!(
            layout.contains(&folder),
            "docs/reference/layout.md: {folder}"
        );
    }
    let sample = root.join("sample-data/cwlake.toml");
    let text = std::fs::read_to_string(sample).expect("readable");
    let ours = std::fs::read_dir(root.join("tests/it")).expect("folder");
    let tests = ours.map(|entry| std::fs::read_to_string(entry.expect("entry").path()));
    let tests: String = tests.map(Result::unwrap_or_default).collect();
    for dataset in cwlake::model::Dataset::ALL {
        let name = dataset.name();
        let table = match dataset {
            cwlake::model::Dataset::AlarmHistory => "[alarms]".to_owned(),
            _ => format!("[{name}]"),
        };
        assert!(text.contains(&table), "sample-data/cwlake.toml: {table}");
        assert!(tests.contains(&format!("\"{name}\"")), "tests/it: {name}");
    }
}

/// The measurements in the docs are of this minor version or of the one before.
#[test]
fn the_table_of_measurements_is_not_older_than_a_release() {
    let page = include_str!("../../docs/explanation/performance.md");
    let table = page
        .split_once("<!-- written by benches/compare -->")
        .and_then(|(_, rest)| rest.split_once("<!-- to here -->"));
    let (table, _) = table.expect("the table between its marks");
    let of = |version: &str| -> Vec<u32> {
        let parts = version.split('.').map(str::parse);
        parts.collect::<Result<_, _>>().expect("numbers")
    };
    let line = table.lines().find_map(|line| line.strip_prefix("cwlake "));
    let (measured, _) = line.and_then(|l| l.split_once(',')).expect("its version");
    let (measured, current) = (of(measured), of(env!("CARGO_PKG_VERSION")));
    assert!(
        measured[0] == current[0] && measured[1] + 1 >= current[1],
        "{measured:?} is older than the release before {current:?}: ./benches/compare --write docs/explanation/performance.md"
    );
}
