//! A table whose settled units are read from compacted files: two tables, of the units and of those files, and over them a view of the table's name
//! that takes every unit from one of both.
//!
//! The view names the files: they never change, so a view that is older than they are reads what it always read, and no unit twice.

use super::engine::Engine;
use super::{Names, Statement};
use crate::lake::compaction::{CompactedSpan, Compaction};
use crate::lake::layout;
use crate::lake::table::{Partition, Table};

/// The compacted files that are read in place of a table's units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactedFiles {
    /// The table.
    pub table: &'static Table,
    /// Which units they have.
    pub span: CompactedSpan,
    /// Their keys below the lake's root, in order.
    pub files: Vec<String>,
}

impl CompactedFiles {
    /// What a record says; none where there is no file.
    pub fn of(table: &'static Table, record: &Compaction) -> Option<Self> {
        let files: Vec<String> = record.files().map(|f| f.name.clone()).collect();
        let span = record.span().filter(|_| !files.is_empty())?;
        Some(Self { table, span, files })
    }

    /// Names of the files without their folders.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(|key| key.rsplit('/').next().unwrap_or(key))
    }
}

/// A table of an engine over one folder of the lake.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) table: &'static Table,
    /// What it is called.
    pub(super) name: String,
    /// Below the root, without a slash at its end.
    pub(super) folder: String,
    /// The files of it that are read, by their keys; all when none is named.
    pub(super) files: Option<Vec<String>>,
}

/// The tables that stand for one of the lake: itself, or those that its view is made of.
pub(super) fn over(table: &'static Table, names: &Names) -> Vec<Over> {
    let own = |name: String| Over {
        table,
        name,
        folder: table.name.to_owned(),
        files: None,
    };
    let Some(compacted_files) = names.compacted(table) else {
        return vec![own(table.name.to_owned())];
    };
    let mut all = Vec::new();
    if names.has_units(table) {
        all.push(own(units(table)));
    }
    all.push(Over {
        table,
        name: compacted(table),
        folder: format!("{}{table}", layout::COMPACTED),
        files: Some(compacted_files.files.clone()),
    });
    all
}

fn units(table: &Table) -> String {
    format!("{table}_units")
}

fn compacted(table: &Table) -> String {
    format!("{table}_compacted")
}

/// The view over both.
pub(super) fn view(table: &'static Table, engine: Engine, names: &Names) -> Option<Statement> {
    let name = engine.qualified(names, table.name);
    let body = body(table, engine, names)?;
    let remark = if engine == Engine::Duckdb {
        String::new()
    } else {
        format!(
            "-- Where {table} is a table still, drop that first; nothing of the lake goes: DROP TABLE {name}\n"
        )
    };
    let alone = if names.has_units(table) || table.partition == Partition::None {
        ""
    } else {
        "-- No unit has a file of its own now: run it again when there are new days, it does not read them\n"
    };
    Some(Statement {
        name: table.name.to_owned(),
        sql: format!(
            "-- Run it again when more is compacted: until then it reads the units of those days\n{alone}{remark}CREATE OR REPLACE VIEW {name} AS\n{body}"
        ),
    })
}

/// What the view selects.
pub(super) fn body(table: &'static Table, engine: Engine, names: &Names) -> Option<String> {
    let files = names.compacted(table)?;
    let columns = table.columns.iter().map(|c| c.name);
    let columns: Vec<&str> = columns.chain(table.partition.key()).collect();
    let columns = columns.join(", ");
    let compacted = engine.qualified(names, &compacted(table));
    let mut body = format!("SELECT {columns}\nFROM {compacted}");
    if let Some(file_name) = engine.file_name() {
        let named: Vec<String> = files.names().map(|name| format!("'{name}'")).collect();
        body += &format!("\nWHERE {file_name} IN (\n  {}\n)", named.join(",\n  "));
        if let Some(key) = table.partition.key() {
            let CompactedSpan { first, last, .. } = &files.span;
            body += &format!(" AND {key} BETWEEN '{first}' AND '{last}'");
        }
    }
    if let Some(outside) = outside(files, engine).filter(|_| names.has_units(table)) {
        let units = engine.qualified(names, &units(table));
        body += &format!("\nUNION ALL\nSELECT {columns}\nFROM {units}\nWHERE {outside}");
    }
    Some(body)
}

/// The units that are not compacted; none of a table without units.
fn outside(files: &CompactedFiles, engine: Engine) -> Option<String> {
    let partition = files.table.partition;
    let key = partition.key()?;
    let CompactedSpan {
        first,
        last,
        left_out,
    } = &files.span;
    // Elsewhere days are texts.
    let is_date = engine == Engine::Duckdb && partition == Partition::Day;
    let cast = if is_date { "DATE " } else { "" };
    let value = |unit: &String| format!("{cast}'{unit}'");
    let mut outside = format!("{key} < {} OR {key} > {}", value(first), value(last));
    if !left_out.is_empty() {
        let others: Vec<String> = left_out.iter().map(value).collect();
        outside += &format!(" OR {key} IN ({})", others.join(", "));
    }
    Some(outside)
}
