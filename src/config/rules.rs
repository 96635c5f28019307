//! Globs over metric names, dimension values and tags.

use std::ops::Range;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::problem::{Problem, printable};
use super::spanned::{OneOrMany, Spanned};

/// Metric names: exact ones and globs.
#[derive(Clone, Debug)]
pub struct NameRule {
    texts: Vec<String>,
    globs: GlobSet,
}

impl NameRule {
    /// Whether the name is wanted.
    pub fn matches(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }

    /// Every name and glob, as written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Those that are not globs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.texts.iter().filter(|t| !is_glob(t));
        texts.map(String::as_str)
    }

    /// The names, when none of them is a glob.
    pub fn exact(&self) -> Option<&[String]> {
        (!self.texts.iter().any(|t| is_glob(t))).then_some(&self.texts)
    }
}

/// Allowed values of one dimension or tag: exact ones and globs.
#[derive(Clone, Debug)]
pub struct ValueRule {
    texts: Vec<String>,
    globs: GlobSet,
}

impl ValueRule {
    /// Whether the value is allowed.
    pub fn matches(&self, value: &str) -> bool {
        self.globs.is_match(value)
    }

    /// Every value and glob, as written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The value, when exactly one is allowed and it is not a glob.
    pub fn exact(&self) -> Option<&str> {
        match self.texts.as_slice() {
            [one] if !is_glob(one) => Some(one),
            _ => None,
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// `*` also crosses `/` and `.`: names and values are not paths.
fn glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
}

/// Characters of a metric's name, at most.
///
/// # Source
/// `CloudWatch` API reference, `Metric`.
pub(super) const LONGEST_METRIC_NAME: usize = 255;

/// Characters of a log group's name, at most.
///
/// # Source
/// `CloudWatch` Logs API reference, `CreateLogGroup`.
pub(super) const LONGEST_GROUP_NAME: usize = 512;

/// Names and globs of one list, each of `longest` characters at most.
pub(super) fn name_rule(
    list: &[Spanned<String>],
    longest: usize,
    place: &Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<NameRule> {
    for name in list {
        if name.get_ref().is_empty() || name.get_ref().chars().count() > longest {
            let text = format!("a name has 1 to {longest} characters");
            problems.push(Problem::at(name.span(), text));
            return None;
        }
    }
    let globs = glob_set(list, place, problems)?;
    let texts = list.iter().map(|n| n.get_ref().clone()).collect();
    Some(NameRule { texts, globs })
}

fn glob_set(
    texts: &[Spanned<String>],
    place: &Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for text in texts {
        globs.add(checked_glob(text, problems)?);
    }
    match globs.build() {
        Ok(set) => Some(set),
        Err(_) => {
            problems.push(
                Problem::at(
                    place.clone(),
                    "these globs are too large to be matched together",
                )
                .remedy("use fewer or shorter globs, or several [[metrics]] tables"),
            );
            None
        }
    }
}

fn checked_glob(text: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<Glob> {
    match glob(text.get_ref()) {
        Ok(glob) => Some(glob),
        Err(e) => {
            problems.push(
                Problem::at(text.span(), printable(&format!("'{}' is not a glob: {}", text.get_ref(), e.kind())))
                    .remedy("* stands for any text, ? for one character, {a,b} for either, [ab] for a set; \\ takes a sign literally"),
            );
            None
        }
    }
}

pub(super) fn value_rules(
    table: &std::collections::BTreeMap<Spanned<String>, Spanned<OneOrMany>>,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(String, ValueRule)> {
    let mut rules = Vec::new();
    for (name, values) in table {
        let texts = values.get_ref().as_slice();
        if name.get_ref().is_empty() || texts.is_empty() || texts.iter().any(String::is_empty) {
            problems.push(
                Problem::at(
                    values.span(),
                    format!(
                        "{what} '{}' has an empty name or value",
                        printable(name.get_ref())
                    ),
                )
                .remedy("\"*\" allows every value"),
            );
            continue;
        }
        let texts: Vec<_> = texts
            .iter()
            .map(|t| Spanned::new(values.span(), t.clone()))
            .collect();
        if let Some(globs) = glob_set(&texts, &values.span(), problems) {
            let texts = texts.into_iter().map(Spanned::into_inner).collect();
            rules.push((name.get_ref().clone(), ValueRule { texts, globs }));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_those_who_give_them_allow() {
        for (longest, length, is_taken) in [
            (LONGEST_METRIC_NAME, 255, true),
            (LONGEST_METRIC_NAME, 256, false),
            (LONGEST_GROUP_NAME, 512, true),
            (LONGEST_GROUP_NAME, 513, false),
            (LONGEST_GROUP_NAME, 0, false),
        ] {
            let mut problems = Vec::new();
            let name = Spanned::new(0..0, "é".repeat(length));
            let rule = name_rule(&[name], longest, &(0..0), &mut problems);
            assert_eq!(rule.is_some(), is_taken, "{length} of {longest}");
            assert_eq!(problems.is_empty(), is_taken);
        }
    }
}
