//! A wrong configuration, with the place and the remedy.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Byte range in the file, when the problem has a place in it.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem at a place in the file.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            message: message.into(),
            remedy: None,
        }
    }

    /// A problem of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            span: None,
            message: message.into(),
            remedy: None,
        }
    }

    /// The same problem with its remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A configuration file that was read, to show places in it later.
pub(super) struct ConfigSource {
    path: PathBuf,
    text: String,
}

impl ConfigSource {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// What is wrong with the file after all.
    pub(super) fn refuse(&self, problems: Vec<Problem>) -> ConfigError {
        ConfigError::new(&self.path, self.text.clone(), problems)
    }
}

/// The text may hold external ids.
impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// Everything that is wrong with one configuration file.
///
/// Displays one block a problem: `file:line:column: message`, the line with a caret below, and the remedy.
#[derive(Clone, Debug)]
pub struct ConfigError {
    path: PathBuf,
    text: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `text` is the file's content as far as it could be read; it is only used to show the lines.
    pub fn new(path: &Path, text: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self {
            path: path.to_owned(),
            text: text.into(),
            problems,
        }
    }

    /// The problems, in the order they were found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn place(&self, offset: usize) -> Place<'_> {
        let offset = (0..=offset.min(self.text.len()))
            .rev()
            .find(|&i| self.text.is_char_boundary(i))
            .unwrap_or(0);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[line_start..]
            .split(['\n', '\r'])
            .next()
            .unwrap_or("");
        Place {
            line: line_of(&self.text, offset),
            column: before[line_start..].chars().count() + 1,
            text: line,
            // A value may stand on the line after its key.
            secret: mentions_secret(self.text[..line_start].lines().next_back().unwrap_or(""))
                || mentions_secret(line),
        }
    }
}

/// The line, from 1, that a byte of the text stands in.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|b| **b == b'\n').count() + 1
}

struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
    secret: bool,
}

/// Control characters never reach the terminal, and a secret's line is cut short with the rest.
const SHOWN_CHARACTERS: usize = 120;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match &problem.span {
                None => write!(f, "{}: {}", self.path.display(), problem.message)?,
                Some(span) => {
                    let place = self.place(span.start);
                    write!(
                        f,
                        "{}:{}:{}: {}",
                        self.path.display(),
                        place.line,
                        place.column,
                        problem.message
                    )?;
                    if place.column <= SHOWN_CHARACTERS && !place.secret {
                        let shown: String = place
                            .text
                            .chars()
                            .take(SHOWN_CHARACTERS)
                            .map(|c| if c.is_control() { ' ' } else { c })
                            .collect();
                        write!(
                            f,
                            "\n  | {shown}\n  | {:>width$}",
                            '^',
                            width = place.column
                        )?;
                    }
                }
            }
            if let Some(remedy) = &problem.remedy {
                write!(f, "\n  = {remedy}")?;
            }
        }
        Ok(())
    }
}

/// However it is spelt: `external_id`, `ExternalId`, `external-id`, or with escapes, which are not unravelled here.
fn mentions_secret(line: &str) -> bool {
    let plain: String = line
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    let words = ["externalid", "secret", "token", "accesskey", "password"];
    line.contains("\\u") || words.iter().any(|word| plain.contains(word))
}

impl std::error::Error for ConfigError {}

/// At most 60 characters and no control character, for error messages.
pub(super) fn printable(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    match clean.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &clean[..cut]),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_line_column_and_remedy() {
        let text = "version = 1\nregoins = []\n";
        let error = ConfigError::new(
            Path::new("c.toml"),
            text,
            vec![Problem::at(12..19, "unknown key 'regoins'").remedy("did you mean 'regions'?")],
        );
        assert_eq!(
            error.to_string(),
            "c.toml:2:1: unknown key 'regoins'\n  | regoins = []\n  | ^\n  = did you mean 'regions'?"
        );
    }

    #[test]
    fn a_line_with_a_secret_is_not_shown() {
        let error = ConfigError::new(
            Path::new("c.toml"),
            "external_id = \"x\"",
            vec![Problem::at(14..17, "too short")],
        );
        assert_eq!(error.to_string(), "c.toml:1:15: too short");
        for text in [
            "externalid = \"x\"",
            "External-Id = \"x\"",
            "\"external\\u005fid\" = \"x\"",
        ] {
            let error = ConfigError::new(
                Path::new("c.toml"),
                text,
                vec![Problem::at(0..1, "unknown key")],
            );
            assert_eq!(error.to_string(), "c.toml:1:1: unknown key", "{text}");
        }
        let next = "external_id =\n\"x\"";
        let error = ConfigError::new(
            Path::new("c.toml"),
            next,
            vec![Problem::at(14..15, "a string")],
        );
        assert_eq!(error.to_string(), "c.toml:2:1: a string");
    }
}
