//! Tables of text and numbers on a screen.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table};

use super::look::{Look, Paint};
use super::words::printable;

/// A table: texts on the left, which are cut where the screen is too narrow, and numbers on the right, which are not.
#[derive(Debug)]
pub(crate) struct Columns {
    table: Table,
    texts: usize,
}

/// A text of a row, with its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painted<'a>(pub(crate) &'a str, pub(crate) Option<Paint>);

impl<'a> From<&'a str> for Painted<'a> {
    fn from(text: &'a str) -> Self {
        Self(text, None)
    }
}

impl Columns {
    /// A table with these columns.
    pub(crate) fn new(look: &Look, texts: &[&str], numbers: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_truncation_indicator("…");
        table.force_no_tty();
        if look.colour {
            table.enforce_styling();
        }
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

    /// One of the texts is not cut either.
    pub(crate) fn keep(&mut self, column: usize) {
        if let Some(column) = self.table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, texts: &[&str], numbers: &[String]) {
        let texts: Vec<Painted<'_>> = texts.iter().map(|text| (*text).into()).collect();
        self.painted_row(&texts, numbers);
    }

    /// Adds a row of which some texts have a colour.
    pub(crate) fn painted_row(&mut self, texts: &[Painted<'_>], numbers: &[String]) {
        debug_assert_eq!(texts.len(), self.texts, "as many as the head has");
        let texts = texts.iter().map(|Painted(text, paint)| {
            let cell = Cell::new(printable(text));
            match paint {
                Some(paint) => cell.fg(colour(*paint)),
                None => cell,
            }
        });
        let numbers = numbers.iter().map(Cell::new);
        let mut row = Row::from(texts.chain(numbers).collect::<Vec<_>>());
        row.max_height(1);
        self.table.add_row(row);
    }

    /// Its lines: of the head, then of each row.
    pub(crate) fn text(&self) -> String {
        self.lines().collect()
    }

    /// The same one by one, for what stands between rows.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self.table.lines();
        lines.map(|line| line.trim_end().to_owned() + "\n")
    }
}

fn colour(paint: Paint) -> Color {
    match paint {
        Paint::Green => Color::DarkGreen,
        Paint::Cyan => Color::DarkCyan,
        Paint::Yellow => Color::DarkYellow,
        Paint::Red => Color::DarkRed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_numbers_are_not_and_colours_take_no_room() {
        let shown = |colour| {
            let look = Look {
                colour,
                width: Some(24),
                ..Look::default()
            };
            let mut table = Columns::new(&look, &["account", "state"], &["spend"]);
            let red = Painted("BREACH", Some(Paint::Red));
            table.painted_row(
                &["a very long name\u{1b}[2J".into(), red],
                &["1,234.50".to_owned()],
            );
            table.text()
        };
        assert_eq!(
            shown(false),
            "accou…  state      spend\na ver…  BREACH  1,234.50\n"
        );
        assert!(shown(true).contains("BREACH") && shown(true).contains("\u{1b}["));
    }
}
