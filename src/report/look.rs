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
