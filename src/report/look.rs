//! How a text is shown: to whom, how wide, in which colours.

/// How a text is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Everything by itself, instead of by cause.
    pub all: bool,
    /// Colours.
    pub colour: bool,
    /// Columns of the screen; none when there is no screen.
    pub width: Option<usize>,
}

/// A colour of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Well.
    Green,
    /// On its way.
    Cyan,
    /// To be looked at.
    Yellow,
    /// Wrong.
    Red,
}

impl Look {
    /// For a screen, or for what is read elsewhere: `NO_COLOR` takes its colours away, `COLUMNS` says how wide it is.
    pub fn of(is_screen: bool, all: bool) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let screen = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            all,
            colour: is_screen && std::env::var_os("NO_COLOR").is_none(),
            width: columns.or_else(|| is_screen.then(screen).flatten()),
        }
    }

    /// A report's lines, with the word that each begins with in its colour. Whatever names are in it, no word of theirs begins a line.
    pub fn words(&self, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let lines = text.split_inclusive('\n').map(|line| {
            let told = line.strip_prefix("  ");
            let word = told
                .and_then(|told| told.split([' ', ':']).next())
                .unwrap_or("");
            let paint = match word {
                "forbidden" | "failed" | "refused" | "missing" | "not" => Paint::Red,
                "warning" | "partial" | "skipped" => Paint::Yellow,
                "hint" | "note" => Paint::Cyan,
                _ => return line.to_owned(),
            };
            format!("  {}{}", self.painted(paint, word), &line[2 + word.len()..])
        });
        lines.collect()
    }

    /// A text in a colour.
    pub fn painted(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Green => 32,
            Paint::Cyan => 36,
            Paint::Yellow => 33,
            Paint::Red => 31,
        };
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_lines_have_colours() {
        let look = Look {
            colour: true,
            ..Look::default()
        };
        let text = "2 units failed\n  failed logs a/b: failed\n    = failed\n  hint: x\n";
        let shown = look.words(text);
        assert_eq!(
            shown,
            "2 units failed\n  \u{1b}[31mfailed\u{1b}[0m logs a/b: failed\n    = failed\n  \u{1b}[36mhint\u{1b}[0m: x\n"
        );
        assert_eq!(Look::default().words(text), text);
    }
}
