//! What the doctor leaves to read.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::iam::Statement;
use crate::model::Cause;
use crate::store::StoreError;

use crate::report::{Columns, Look, Paint, Painted, counted, pattern, printable};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// A run goes well without it.
    Warning,
    /// A run would miss it.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at: `base credentials`, an account, `destination` …
    pub subject: String,
    /// What of it.
    pub check: String,
    /// How it ended.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The policy statement to add, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementToAdd>,
}

/// A statement that is missing somewhere.
#[derive(Clone, Debug, Serialize)]
pub struct StatementToAdd {
    /// Whose policy.
    pub to: String,
    /// The statement.
    pub statement: serde_json::Value,
}

/// Every check.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// In the order they were made.
    pub checks: Vec<Check>,
    #[serde(skip)]
    pub(crate) without_credentials: bool,
}

impl Check {
    pub(crate) fn new(
        subject: impl Into<String>,
        check: &str,
        state: CheckState,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            check: check.to_owned(),
            state,
            detail: detail.into(),
            remedy: None,
            statement: None,
        }
    }

    pub(crate) fn ok(subject: impl Into<String>, check: &str, detail: impl Into<String>) -> Self {
        Self::new(subject, check, CheckState::Ok, detail)
    }

    pub(crate) fn failed(subject: impl Into<String>, check: &str, cause: &Cause) -> Self {
        Self {
            remedy: cause.hint.clone(),
            ..Self::new(subject, check, CheckState::Failed, cause.message.clone())
        }
    }

    pub(crate) fn of_store(check: &str, error: &StoreError, state: CheckState) -> Self {
        let usual = || "check destination.url, its permissions and its disk".to_owned();
        Self {
            remedy: error.hint.clone().or_else(|| Some(usual())),
            ..Self::new("destination", check, state, error.to_string())
        }
    }

    /// The account it is about, if it is about one.
    fn account(&self) -> &str {
        let id = self.subject.get(..12).unwrap_or_default();
        if id.bytes().all(|b| b.is_ascii_digit()) {
            id
        } else {
            ""
        }
    }

    /// What is the same of every account that ends so: of what is well, that it is.
    fn cause(&self) -> String {
        if self.state == CheckState::Ok {
            return String::new();
        }
        let (remedy, add) = (self.remedy.as_deref(), self.statement.as_ref());
        let text = format!(
            "{}\n{}\n{}",
            self.detail,
            remedy.unwrap_or(""),
            add.map_or("", |a| &a.to)
        );
        pattern(&text, &[self.account()])
    }

    pub(crate) fn add(mut self, to: impl Into<String>, statement: &Statement) -> Self {
        self.statement = Some(StatementToAdd {
            to: to.into(),
            statement: serde_json::json!(statement),
        });
        self
    }
}

impl DoctorReport {
    /// 0; 6 when there are no usable base credentials, 3 when something else would be missed.
    pub fn exit_code(&self) -> u8 {
        let failed = self.checks.iter().any(|c| c.state == CheckState::Failed);
        match (self.without_credentials, failed) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        }
    }

    /// A line a check, what to do about those that failed, and a sum. What accounts have alike is one line.
    pub fn text(&self) -> String {
        self.text_for(&Look::default())
    }

    /// The same as it is asked for: `all` tells of each account by itself.
    pub fn text_for(&self, look: &Look) -> String {
        let mut out = String::new();
        let alike = self.alike(look.all);
        // What was found is never cut: it is what the command is for.
        let uncut = Look {
            width: None,
            ..*look
        };
        let mut table = Columns::new(&uncut, &["state", "what", "check", "found"], &[]);
        for checks in &alike {
            let check = checks.first();
            let (word, paint) = match check.state {
                CheckState::Ok => ("ok", Paint::Green),
                CheckState::Warning => ("warning", Paint::Yellow),
                CheckState::Failed => ("FAILED", Paint::Red),
            };
            let subject = checks.subject();
            let texts = [
                subject.as_str(),
                check.check.as_str(),
                check.detail.as_str(),
            ];
            let [subject, name, detail] = texts.map(Painted::from);
            table.painted_row(&[Painted(word, Some(paint)), subject, name, detail], &[]);
        }
        let mut lines = table.lines();
        out += &lines.next().unwrap_or_default();
        for (line, checks) in lines.zip(&alike) {
            let check = checks.first();
            out += &line;
            let others = checks.others();
            if let Some(remedy) = &check.remedy {
                let _ = writeln!(out, "        = {}{others}", printable(remedy));
            }
            if let Some(add) = &check.statement {
                let to = match others {
                    "" => printable(&add.to),
                    _ if add.to.contains(check.account()) => {
                        format!("{}, and so for the others", printable(&add.to))
                    }
                    _ => printable(&add.to),
                };
                let _ = writeln!(out, "        + add to {to}:");
                for line in format!("{:#}", checks.statement()).lines() {
                    let _ = writeln!(out, "          {line}");
                }
            }
        }
        let count = |state| self.checks.iter().filter(|c| c.state == state).count();
        let _ = writeln!(
            out,
            "{}: {} ok, {} with a warning, {} failed",
            counted(self.checks.len(), "check"),
            count(CheckState::Ok),
            count(CheckState::Warning),
            count(CheckState::Failed)
        );
        out
    }

    /// Checks of accounts that ended alike, in the order of the first of each.
    fn alike(&self, each: bool) -> Vec<Alike<'_>> {
        let mut alike: Vec<Alike<'_>> = Vec::new();
        let mut places: HashMap<(CheckState, &str, String), usize> = HashMap::new();
        for check in &self.checks {
            let next = alike.len();
            let place = if each || check.account().is_empty() {
                next
            } else {
                let key = (check.state, &*check.check, check.cause());
                *places.entry(key).or_insert(next)
            };
            if place == next {
                alike.push(Alike(Vec::new()));
            }
            alike[place].0.push(check);
        }
        alike
    }
}

/// Checks that ended alike; there is one at least.
struct Alike<'a>(Vec<&'a Check>);

impl Alike<'_> {
    fn first(&self) -> &Check {
        self.0[0]
    }

    fn subject(&self) -> String {
        match &self.0[..] {
            [one] => one.subject.clone(),
            many => counted(many.len(), "account"),
        }
    }

    /// What is said after a remedy that names the first account.
    fn others(&self) -> &'static str {
        let first = self.first();
        let names =
            |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains(first.account()));
        match self.0.len() {
            1 => "",
            _ if names(&first.remedy) || first.statement.is_some() => "; and so for the others",
            _ => "",
        }
    }

    /// The statement of the first; one that names what it is about names that of the others too.
    fn statement(&self) -> serde_json::Value {
        let mut all = self
            .first()
            .statement
            .as_ref()
            .map(|s| s.statement.clone())
            .unwrap_or_default();
        for other in self.0.iter().skip(1).filter_map(|c| c.statement.as_ref()) {
            let theirs = other.statement["Resource"].as_array();
            let resources = all.get_mut("Resource").and_then(|r| r.as_array_mut());
            if let (Some(resources), Some(theirs)) = (resources, theirs) {
                let new = theirs.iter().filter(|r| !resources.contains(r));
                let new: Vec<_> = new.cloned().collect();
                resources.extend(new);
            }
        }
        all
    }
}
