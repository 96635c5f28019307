//! What the doctor leaves to read.

use std::fmt::Write as _;

use serde::Serialize;

use crate::iam::Statement;
use crate::model::Cause;
use crate::store::StoreError;

use crate::report::{counted, printable};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

    /// A line a check, what to do about those that failed, and a sum. `colour` paints the states.
    pub fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        let widest = |of: fn(&Check) -> &str| {
            let widths = self.checks.iter().map(|c| of(c).chars().count());
            widths.max().unwrap_or(0).clamp(5, 44)
        };
        let (subjects, names) = (widest(|c| &c.subject), widest(|c| &c.check));
        let _ = writeln!(
            out,
            "{:<7} {:<subjects$}  {:<names$}  found",
            "state", "what", "check"
        );
        for check in &self.checks {
            let (word, paint) = match check.state {
                CheckState::Ok => ("ok", "32"),
                CheckState::Warning => ("warning", "33"),
                CheckState::Failed => ("FAILED", "31"),
            };
            let word = if colour {
                format!("\u{1b}[{paint}m{word:<7}\u{1b}[0m")
            } else {
                format!("{word:<7}")
            };
            let _ = writeln!(
                out,
                "{word} {:<subjects$}  {:<names$}  {}",
                printable(&check.subject),
                check.check,
                printable(&check.detail)
            );
            if let Some(remedy) = &check.remedy {
                let _ = writeln!(out, "        = {}", printable(remedy));
            }
            if let Some(add) = &check.statement {
                let _ = writeln!(out, "        + add to {}:", printable(&add.to));
                for line in format!("{:#}", add.statement).lines() {
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
}
