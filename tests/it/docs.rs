//! The pages of `docs/` and those beside the README: what they show is what the program does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::{Program, stderr};

/// Everything that is written for people.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    for folder in [
        "",
        "docs",
        "docs/how-to",
        "docs/reference",
        "docs/explanation",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).expect("folder") {
            let path = entry.expect("entry").path();
            if path.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&path).expect("readable");
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

/// The blocks of a page in one of these languages: the number of the first line, and the text.
fn blocks(text: &str, languages: &[&str]) -> Vec<(usize, String)> {
    let mut found = vec![];
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        if languages.contains(&language) {
            found.push((n + 2, body.join("\n")));
        }
    }
    found
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What a link to a heading calls it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
        _ => None,
    });
    kept.collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|l| l.starts_with('#'));
    headings
        .map(|l| anchor(l.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    for (path, text) in pages() {
        let folder = path.parent().expect("a folder");
        for after in prose(&text).split("](").skip(1) {
            let target = after.split(')').next().expect("a target");
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&file).expect("readable");
                let has = anchors(&there).contains(heading);
                assert!(has, "{}: {target}", path.display());
            }
        }
    }
}

#[test]
fn every_page_is_in_the_book() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = std::fs::read_to_string(root.join("SUMMARY.md")).expect("readable");
    for (path, text) in pages() {
        let Ok(name) = path.strip_prefix(&root) else {
            continue;
        };
        let listed = summary.contains(&format!("({})", name.display()));
        assert!(listed || name.ends_with("SUMMARY.md"), "{}", name.display());
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("# "), "{}: {first}", name.display());
    }
}

#[test]
fn the_readme_is_short() {
    let length = include_str!("../../README.md").len();
    assert!(length <= 10_000, "{length} bytes");
}

/// What a fragment leaves out, so that it can be checked alone.
fn completed(fragment: &str) -> String {
    let has = |name: &str| {
        let plain =
            |l: &str| l.starts_with(&format!("{name} =")) || l.starts_with(&format!("[{name}]"));
        let list = format!("[[{name}]]");
        fragment.lines().any(|l| plain(l) || l.starts_with(&list))
    };
    let mut whole = String::new();
    if !has("destination") {
        whole += "destination = { url = \"lake\" }\n";
    }
    if !has("account") && !has("organization") {
        whole += "account = [{ id = \"111122223333\" }, { id = \"999900001111\" }]\n";
    }
    if !["metrics", "logs", "spend", "instances", "alarms"]
        .into_iter()
        .any(has)
    {
        whole += "metrics = [{ preset = \"ec2\" }]\n";
    }
    if has("notify") && !has("alert") {
        let alert = "alert = { from = \"a@example.com\", to = [\"b@example.com\"], smtp = { host = \"mail.example.com\" } }\n";
        whole += alert;
    }
    whole + fragment
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut shown = 0;
    for (path, text) in pages() {
        for (line, fragment) in blocks(&text, &["toml"]) {
            let program = Program::new(&completed(&fragment))
                .env("CWLAKE_HEARTBEAT_URL", "https://example.com/beat");
            let checked = program.run("check");
            let code = checked.status.code();
            let place = format!("{}:{line}", path.display());
            assert_eq!(code, Some(0), "{place}: {}", stderr(&checked));
            shown += 1;
        }
    }
    assert!(shown >= 12, "{shown}");
}

/// Commands of a block of shell, without comments, prompts and what they are piped into.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        line.split(" #").next().unwrap_or_default().trim()
    });
    let steps = lines.flat_map(|line| line.split(" | "));
    let plain = steps.map(|step| step.split(" > ").next().unwrap_or_default());
    plain.map(str::to_owned).collect()
}

#[test]
fn every_command_that_is_shown_is_one() {
    let mut shown = 0;
    for (path, text) in pages() {
        for (line, block) in blocks(&text, &["sh", "console"]) {
            for command in commands(&block) {
                let words: Vec<&str> = command.split_whitespace().collect();
                // A schedule stands before it in a line of cron.
                let start = words.iter().position(|w| *w == "cwlake");
                let in_cron = words.first().is_some_and(|w| w.parse::<u32>().is_ok());
                let Some(start) = start.filter(|s| *s == 0 || (*s == 5 && in_cron)) else {
                    continue;
                };
                let words: Vec<&str> = words[start..].iter().map(|w| w.trim_matches('"')).collect();
                if let Err(error) = cwlake::cli::Cli::try_parse_from(&words) {
                    let asked = matches!(
                        error.kind(),
                        clap::error::ErrorKind::DisplayHelp
                            | clap::error::ErrorKind::DisplayVersion
                    );
                    assert!(asked, "{}:{line}: {command}: {error}", path.display());
                }
                shown += 1;
            }
        }
    }
    assert!(shown >= 60, "{shown}");
}

#[test]
fn every_block_of_shell_is_one() {
    for (path, text) in pages() {
        for (line, block) in blocks(&text, &["sh"]) {
            let mut words = std::process::Command::new("bash");
            let read = words.args(["-n", "-c", &block]).output().expect("bash");
            let text = String::from_utf8_lossy(&read.stderr);
            // A line of cron is none of bash's, and yet can be read as one.
            assert!(read.status.success(), "{}:{line}: {text}", path.display());
        }
    }
}
