//! Tables of text and numbers on a screen.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};

use super::look::Look;
use super::words::printable;

/// A table: texts on the left, which are cut where the screen is too narrow, and numbers on the right, which are not.
#[derive(Debug)]
pub(crate) struct Columns {
    table: Table,
    texts: usize,
}

impl Columns {
    /// A table with these columns.
    pub(crate) fn new(look: &Look, texts: &[&str], numbers: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_truncation_indicator("…");
        if let Some(width) = look.width {
            let width = u16::try_from(width).unwrap_or(u16::MAX);
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        let mut head = Row::from(texts.iter().chain(numbers).copied());
        head.max_height(1);
        table.set_header(head);
        for (n, column) in table.column_iter_mut().enumerate() {
            let right = if n + 1 == texts.len() + numbers.len() {
                0
            } else {
                2
            };
            column.set_padding((0, right));
            if n >= texts.len() {
                column.set_cell_alignment(CellAlignment::Right);
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        Self {
            table,
            texts: texts.len(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, texts: &[&str], numbers: &[String]) {
        debug_assert_eq!(texts.len(), self.texts, "as many as the head has");
        let texts = texts.iter().map(|text| printable(text));
        let mut row = Row::from(
            texts
                .chain(numbers.iter().cloned())
                .map(Cell::new)
                .collect::<Vec<_>>(),
        );
        row.max_height(1);
        self.table.add_row(row);
    }

    /// Its lines.
    pub(crate) fn text(&self) -> String {
        let lines = self.table.lines();
        lines
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }
}
