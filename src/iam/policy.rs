//! IAM policy documents.

use std::collections::BTreeMap;

use serde::Serialize;

/// A policy document.
///
/// # Source
/// IAM user guide, "IAM JSON policy element reference", version 2012-10-17.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    #[serde(rename = "Version")]
    version: &'static str,
    /// At least one.
    #[serde(rename = "Statement")]
    pub statements: Vec<Statement>,
}

/// One statement that allows something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Letters and digits.
    pub sid: String,
    effect: &'static str,
    /// Who; in trust and resource policies alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub principal: BTreeMap<&'static str, String>,
    /// What may be done.
    pub action: Vec<String>,
    /// With what; not in trust policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    /// Operator to key to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Policy {
    /// A document of some statements.
    pub fn of(statements: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17",
            statements,
        }
    }

    /// As it is pasted.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

impl Statement {
    /// Allows actions on resources.
    pub fn allow(sid: &str, actions: &[&str], resources: Vec<String>) -> Self {
        Self {
            sid: sid.to_owned(),
            effect: "Allow",
            principal: BTreeMap::new(),
            action: actions.iter().map(|&a| a.to_owned()).collect(),
            resource: resources,
            condition: BTreeMap::new(),
        }
    }

    /// The same for a principal, as `("AWS", arn)`.
    #[must_use]
    pub fn to(mut self, kind: &'static str, who: impl Into<String>) -> Self {
        self.principal.insert(kind, who.into());
        self
    }

    /// The same under a condition.
    #[must_use]
    pub fn when(
        mut self,
        operator: &'static str,
        key: &'static str,
        value: impl Into<String>,
    ) -> Self {
        let keys = self.condition.entry(operator).or_default();
        keys.insert(key, value.into());
        self
    }
}
