//! The parts of `docs/reference` that are made from the program: `CWLAKE_WRITE_DOCS=1 cargo test --test it generated` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use cwlake::lake::table::{Column, ColumnKind, Partition, TABLES, Table};
use serde_json::Value;

use crate::cli::{Program, stdout};

const START: &str = "<!-- generated -->\n";
const END: &str = "<!-- to here -->";

/// Compares what stands between the marks of a page with what is to stand there, or puts it there.
fn holds(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(page);
    let text = std::fs::read_to_string(&path).expect("readable");
    let (head, rest) = text.split_once(START).expect("the first mark");
    let (_, tail) = rest.split_once(END).expect("the second mark");
    let made = format!("{head}{START}\n{}\n\n{END}{tail}", made.trim());
    if std::env::var_os("CWLAKE_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).expect("written");
    } else {
        assert!(
            text == made,
            "docs/reference/{page} is old: CWLAKE_WRITE_DOCS=1 cargo test --test it generated"
        );
    }
}

fn json_of(words: &str) -> Value {
    let output = Program::new("").run(words);
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

/// The definition that a property is, if it is one.
fn definition(property: &Value) -> Option<&str> {
    let any = property["anyOf"].as_array().into_iter().flatten();
    let items = property.get("items");
    let mut all = std::iter::once(property).chain(any).chain(items);
    let reference = all.find_map(|p| p["$ref"].as_str())?;
    reference.strip_prefix("#/$defs/")
}

/// What a value is, in a word or two.
fn kind(property: &Value) -> String {
    let names = |p: &Value| match &p["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => vec![],
    };
    let flat = |p: &Value| {
        let any: Vec<Value> = p["anyOf"].as_array().cloned().unwrap_or_default();
        any.into_iter().flat_map(|p| {
            let inner: Vec<Value> = p["anyOf"].as_array().cloned().unwrap_or_default();
            if inner.is_empty() { vec![p] } else { inner }
        })
    };
    let mut found: Vec<String> = names(property);
    found.extend(flat(property).flat_map(|p| names(&p)));
    if definition(property).is_some() {
        found.push("object".to_owned());
    }
    let word = |name: &str| match name {
        "string" => "text",
        "boolean" => "true or false",
        "array" => "list",
        "object" => "table",
        "integer" => "whole number",
        _ => "number",
    };
    let mut words: Vec<&str> = found
        .iter()
        .filter(|n| *n != "null")
        .map(|n| word(n))
        .collect();
    words.dedup();
    words.join(" or ")
}

/// A table of the file, and those inside it, in the order they are declared.
fn table_of(schema: &Value, path: &str, name: &str, is_list: bool, out: &mut String) {
    let table = &schema["$defs"][name];
    let heading = if is_list {
        format!("[[{path}]]")
    } else {
        format!("[{path}]")
    };
    let _ = writeln!(out, "## `{heading}`\n\n{}\n", line(&table["description"]));
    let properties = table["properties"].as_object();
    let properties: Vec<_> = properties.into_iter().flatten().collect();
    if properties.is_empty() {
        return;
    }
    out.push_str("| key | value | meaning |\n|---|---|---|\n");
    let required = table["required"].as_array().cloned().unwrap_or_default();
    for (key, property) in &properties {
        let needed = if required.contains(&Value::from(key.as_str())) {
            ", required"
        } else {
            ""
        };
        let (kind, text) = (kind(property), line(&property["description"]));
        let _ = writeln!(out, "| `{key}` | {kind}{needed} | {text} |");
    }
    out.push('\n');
    for (key, property) in properties {
        if let Some(inner) = definition(property) {
            table_of(schema, &format!("{path}.{key}"), inner, false, out);
        }
    }
}

/// A description on one line, for a cell.
fn line(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[test]
fn generated_configuration_is_current() {
    let schema = json_of("schema");
    let properties = schema["properties"].as_object().expect("properties");
    let mut out = String::from("| key of the file | meaning |\n|---|---|\n");
    for (key, property) in properties {
        let _ = writeln!(out, "| `{key}` | {} |", line(&property["description"]));
    }
    out.push('\n');
    for (key, property) in properties {
        if let Some(name) = definition(property) {
            table_of(&schema, key, name, property["type"] == "array", &mut out);
        }
    }
    holds("configuration.md", &out);
}

#[test]
fn generated_commands_are_current() {
    let program = Program::new("");
    let help = |words: &str| {
        let output = program.run(words);
        let text = stdout(&output);
        let lines = text.trim_end().lines().map(str::trim_end);
        lines.collect::<Vec<_>>().join("\n")
    };
    let top = help("--help");
    let mut out = format!("```console\n$ cwlake --help\n{top}\n```\n\n");
    let list = top.split("Commands:\n").nth(1).expect("commands");
    let list = list.split("\n\n").next().expect("an end");
    let names = list.lines().filter(|l| !l.starts_with("   "));
    let names = names.filter_map(|l| l.split_whitespace().next());
    for name in names.filter(|n| *n != "help") {
        let text = help(&format!("{name} --help"));
        let _ = writeln!(
            out,
            "## {name}\n\n```console\n$ cwlake {name} --help\n{text}\n```\n"
        );
    }
    holds("commands.md", &out);
}

#[test]
fn generated_presets_are_current() {
    let mut out = String::from("| preset | what | namespaces |\n|---|---|---|\n");
    for preset in json_of("presets --json").as_array().expect("a list") {
        let text = |key: &str| preset[key].as_str().expect("text").to_owned();
        let tables = preset["tables"].as_array().expect("tables");
        let mut spaces: Vec<&str> = tables
            .iter()
            .filter_map(|t| t["namespace"].as_str())
            .collect();
        spaces.dedup();
        let spaces = spaces.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>();
        let (name, what) = (text("name"), text("description"));
        let _ = writeln!(out, "| `{name}` | {what} | {} |", spaces.join(" "));
    }
    holds("presets.md", &out);
}

/// A column, as a line of its table.
fn column_line(column: &Column) -> String {
    let (arrow, parquet) = match column.kind {
        ColumnKind::Text => ("Utf8", "BYTE_ARRAY UTF8"),
        ColumnKind::Instant => ("Timestamp(µs, \"UTC\")", "INT64 TIMESTAMP(MICROS, UTC)"),
        ColumnKind::Date => ("Date32", "INT32 DATE"),
        ColumnKind::Integer => ("Int32", "INT32"),
        ColumnKind::BigInteger => ("Int64", "INT64"),
        ColumnKind::Double => ("Float64", "DOUBLE"),
        ColumnKind::Boolean => ("Boolean", "BOOLEAN"),
        ColumnKind::TextMap => ("Map(Utf8, Utf8)", "MAP"),
    };
    let null = if column.nullable { "yes" } else { "no" };
    let doc = column.doc.replace('|', "\\|");
    format!(
        "| `{}` | {arrow} | {parquet} | {null} | {doc} |",
        column.name
    )
}

fn folders(table: &Table) -> &'static str {
    match table.partition {
        Partition::None => "One file an account and region, without folders",
        Partition::Day => "A folder a UTC day, `dt=2026-11-20`",
        Partition::Month => "A folder a month, `month=2026-11`",
    }
}

#[test]
fn generated_tables_are_current() {
    let mut out = String::new();
    for table in TABLES {
        let sort = table
            .sort
            .iter()
            .map(|c| format!("`{c}`"))
            .collect::<Vec<_>>();
        let _ = writeln!(
            out,
            "## {}\n\nA row is {}. {}. Sorted by {}.\n\n| column | Arrow | Parquet | null | what |\n|---|---|---|---|---|",
            table.name,
            table.row,
            folders(table),
            sort.join(", ")
        );
        for column in table.columns {
            out += &column_line(column);
            out.push('\n');
        }
        out.push('\n');
    }
    holds("tables.md", &out);
}

/// A report and a record have no member that the page on them does not tell of.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_reports_names_every_member() {
    let page = include_str!("../../docs/reference/reports.md");
    let lab = crate::lab::Lab::new(crate::lab::world("")).await;
    let program = Program::new(crate::lab::CONFIG).against(&lab);
    let (program, output) = program.run_beside("export --json").await;
    let report: Value = serde_json::from_str(&stdout(&output)).expect("a report");
    let mut members = BTreeMap::new();
    collect(&report, "report", &mut members);
    let manifest = program.dir.path().join("lake/_cwlake/manifest");
    let mut files = vec![manifest];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(path).expect("folder");
            files.extend(inside.map(|e| e.expect("entry").path()));
        } else {
            let text = std::fs::read_to_string(path).expect("readable");
            collect(
                &serde_json::from_str(&text).expect("JSON"),
                "record",
                &mut members,
            );
        }
    }
    assert!(members.len() > 40, "{members:?}");
    let missing: Vec<_> = members
        .iter()
        .filter(|(name, _)| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/reference/reports.md lacks {missing:?}"
    );
}

/// Names of members, with where they stand first. What is a key by its content (a day, an account) is none.
fn collect(value: &Value, place: &str, members: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                if is_name {
                    members
                        .entry(name.clone())
                        .or_insert_with(|| place.to_owned());
                }
                collect(inner, &format!("{place}.{name}"), members);
            }
        }
        Value::Array(all) => all.iter().for_each(|inner| collect(inner, place, members)),
        _ => {}
    }
}
