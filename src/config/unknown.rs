//! Errors for what the file names and AWS does not have: known only when it was asked.

use super::export::ExportConfig;
use super::organization::{Rule, is_unit_id};
use super::problem::{ConfigError, Problem, printable};
use crate::model::AccountId;

impl ExportConfig {
    /// Accounts that budgets and `spend.accounts` name and nobody knows, each at its place.
    pub(super) fn unknown_spenders(&self, is_known: impl Fn(&AccountId) -> bool) -> Vec<Problem> {
        let remedy = "an id of an [[account]] table or of the organization";
        let mut problems = Vec::new();
        let payers = self.spend.as_ref().map_or(&[][..], |s| &s.accounts);
        for (id, span) in payers.iter().filter(|(id, _)| !is_known(id)) {
            let text = format!("spend.accounts: account {id} is not configured");
            problems.push(Problem::at(span.clone(), text).remedy(remedy));
        }
        // A payer's charges tell of members that are not configured.
        if !payers.is_empty() {
            return problems;
        }
        for (id, span) in self.budgets.iter().flat_map(|b| &b.account_spans) {
            if !is_known(id) {
                let text = format!("a budget for account {id}, which is not configured");
                problems.push(Problem::at(span.clone(), text).remedy(remedy));
            }
        }
        problems
    }

    /// The error for log groups that are named in full and are in no account: each by its table's place among all and its name. `known` are
    /// groups that exist.
    pub fn unknown_groups(&self, missing: &[(usize, String)], known: &[String]) -> ConfigError {
        let problem = |(table, name): &(usize, String)| {
            let selection = &self.logs[*table];
            let texts = selection.groups.texts().iter();
            let span = texts
                .zip(&selection.group_spans)
                .find(|(text, _)| *text == name)
                .map_or(0..0, |(_, span)| span.clone());
            let near = known
                .iter()
                .map(|k| (strsim::damerau_levenshtein(name, k), k))
                .min()
                .filter(|(distance, _)| *distance <= 2.max(name.len() / 3));
            let remedy = match near {
                Some((_, near)) => format!("did you mean '{}'?", printable(near)),
                None => "a group that exists in one of the accounts and regions, or a glob, which may match nothing".to_owned(),
            };
            let text = format!("no account has a log group '{}'", printable(name));
            Problem::at(span, text).remedy(remedy)
        };
        self.source.refuse(missing.iter().map(problem).collect())
    }

    /// The error for a filter pattern that CloudWatch refuses.
    pub fn refused_pattern(&self, table: usize, message: &str) -> ConfigError {
        let selection = &self.logs[table];
        let problem = Problem::at(
            selection.pattern_span.clone(),
            format!("CloudWatch Logs refuses this filter pattern: {message}"),
        );
        self.source.refuse(vec![problem.remedy(
            "see \"Filter pattern syntax\" in the CloudWatch Logs user guide; aws logs test-metric-filter tries one",
        )])
    }

    /// The error for organizational units that do not exist, at their place in the file. `known` are paths of names of those that do.
    pub fn unknown_units(&self, rules: &[Rule], known: &[String]) -> ConfigError {
        let organization = self.organization.as_ref();
        let span_of = |rule: &Rule| {
            let all = organization
                .iter()
                .flat_map(|o| o.include_ous.iter().chain(&o.exclude_ous));
            all.filter(|r| r.text == rule.text)
                .map(|r| r.span.clone())
                .next()
        };
        let problem = |rule: &Rule| {
            let near = known
                .iter()
                .min_by_key(|path| strsim::damerau_levenshtein(path, rule.text.trim_matches('/')));
            let remedy = match near {
                Some(near) if !is_unit_id(&rule.text) => {
                    format!("did you mean '{}'?", printable(near))
                }
                _ => "an id of this organization, or a path of names below its root such as Workloads/Prod"
                    .to_owned(),
            };
            let text = format!("no organizational unit '{}'", printable(&rule.text));
            Problem::at(span_of(rule).unwrap_or_default(), text).remedy(remedy)
        };
        self.source.refuse(rules.iter().map(problem).collect())
    }
}
