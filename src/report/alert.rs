//! What became of the alerts of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words::{counted, printable};
use crate::model::Cause;

/// What became of the alerts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlertReport {
    /// Breaches of the day.
    pub breaches: usize,
    /// Channels that took a message, with the breaches in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, usize>,
    /// Channels that took a week's charges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// Channels that did not, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, String>,
    /// Why nothing was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl AlertReport {
    /// Adds what became of the alerts of another day.
    pub(crate) fn add(&mut self, other: Self) {
        self.breaches += other.breaches;
        for (channel, n) in other.sent {
            *self.sent.entry(channel).or_default() += n;
        }
        self.digests.extend(other.digests);
        self.failed.extend(other.failed);
        self.cause = other.cause.or(self.cause.take());
    }

    /// Whether somebody was to be told and was not.
    pub fn is_short(&self) -> bool {
        !self.failed.is_empty() || self.cause.is_some()
    }

    /// A line each.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (channel, n) in &self.sent {
            let breaches = if self.breaches == 1 {
                "breach"
            } else {
                "breaches"
            };
            out += &format!(
                "  alert sent by {channel}: {n} of {} {breaches}\n",
                self.breaches
            );
        }
        for channel in &self.digests {
            out += &format!("  the week's charges were sent by {channel}\n");
        }
        for (channel, why) in &self.failed {
            out += &format!(
                "  warning: the alert could not be sent by {channel}: {}\n    = the next run, or cwlake spend --alert, tries again\n",
                printable(why)
            );
        }
        if let Some(cause) = &self.cause {
            out += &format!(
                "  warning: no alert could be sent: {}\n",
                printable(&cause.message)
            );
            if let Some(hint) = &cause.hint {
                out += &format!("    = {}\n", printable(hint));
            }
        }
        out
    }
}

/// What became of the word about a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NoticeReport {
    /// What there was to tell.
    pub notices: usize,
    /// Channels that took a message, with how much of it was new to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, usize>,
    /// Channels that did not, and the heartbeat; and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, String>,
}

impl NoticeReport {
    /// A line each.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (channel, n) in &self.sent {
            let told = counted(*n, "notice");
            out += &format!("  {told} sent by {channel}\n");
        }
        for (channel, why) in &self.failed {
            out += &format!("  warning: {channel} was not told: {}\n", printable(why));
        }
        out
    }
}
