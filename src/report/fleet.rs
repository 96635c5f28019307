//! The accounts of a run, and what is to be said of them: which could not be entered, which regions are closed, which selections are empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::words::{counted, grouped, printable};
use crate::config::LeftOut;
use crate::model::{Cause, CauseKind};

/// The accounts of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FleetReport {
    /// Every account of the configuration.
    pub accounts: Vec<AccountReport>,
    /// Accounts of the organization that are not read, such as suspended ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutAccount>,
    /// Linked accounts that are reachable in two ways, and how each was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedSeries>,
    /// Links of monitoring accounts that could not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlisted_links: Vec<LinkReport>,
    /// Regions of accounts that cannot be read directly, and are read through their link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detours: Vec<Detour>,
    /// What a selection cannot do here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Selections that no series of any account matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
}

/// How entering one account ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountReport {
    /// Its id.
    pub account_id: String,
    /// Its alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Regions read.
    pub regions: Vec<String>,
    /// Regions the account has not enabled; known with `regions = "auto"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_regions: Vec<String>,
    /// Why all regions of the partition were tried instead of the enabled ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions_guessed: Option<Cause>,
    /// Why it could not be entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl AccountReport {
    /// An account of the organization that is wanted and cannot be read.
    pub fn left_out(account: &LeftOutAccount) -> Self {
        Self {
            account_id: account.account_id.clone(),
            account_name: account.account_name.clone(),
            regions: Vec::new(),
            disabled_regions: Vec::new(),
            regions_guessed: None,
            cause: Some(Cause::new(CauseKind::Other, account.why.clone())),
        }
    }
}

/// How a lane ended: its account, whether it is left out, and why it could not be read.
pub(crate) type EndedLane<'a> = (&'a str, &'a mut bool, Option<&'a Cause>);

/// An account of which every region is left out is not read at all: that is a failure, whoever closed them, and its lanes are left out no
/// more. A policy says more than regions that are not enabled.
pub(crate) fn close_accounts<'a>(
    accounts: &mut [AccountReport],
    lanes: impl Iterator<Item = EndedLane<'a>>,
) {
    let mut by_account: BTreeMap<&str, Vec<EndedLane>> = BTreeMap::new();
    for lane in lanes {
        by_account.entry(lane.0).or_default().push(lane);
    }
    for account in accounts {
        let own = by_account.remove(account.account_id.as_str());
        let Some(own) = own.filter(|own| own.iter().all(|(_, left_out, _)| **left_out)) else {
            continue;
        };
        let causes = own.iter().filter_map(|(_, _, cause)| *cause);
        let telling = causes.min_by_key(|cause| cause.kind != CauseKind::PolicyDenied);
        account.cause = telling.map(|cause| Cause {
            message: format!("no region could be read: {}", cause.message),
            ..cause.clone()
        });
        own.into_iter()
            .for_each(|(_, left_out, _)| *left_out = false);
    }
}

/// An account of the organization that is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutAccount {
    /// Its id.
    pub account_id: String,
    /// Its name in the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Why not.
    pub why: String,
    /// It was wanted: something is missing without it.
    #[serde(skip)]
    pub is_failure: bool,
}

impl From<LeftOut> for LeftOutAccount {
    fn from(left_out: LeftOut) -> Self {
        Self {
            account_id: left_out.account.id.to_string(),
            account_name: left_out.account.name,
            why: left_out.why,
            is_failure: left_out.is_failure,
        }
    }
}

/// A linked account that is reachable in two ways, and is read once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedSeries {
    /// The account.
    pub account_id: String,
    /// The region.
    pub region: String,
    /// Its series that are linked.
    pub series: u64,
    /// `directly`, or through which monitoring account.
    pub read: String,
    /// The monitoring account it is linked to as well.
    pub also_through: String,
}

/// A region of an account that cannot be read directly, and is read through its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detour {
    /// The account.
    pub account_id: String,
    /// The region.
    pub region: String,
    /// The monitoring account.
    pub through: String,
    /// Why it cannot be read directly.
    pub cause: Cause,
}

/// Links of a monitoring account that could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The monitoring account.
    pub account_id: String,
    /// The region.
    pub region: String,
    /// Why.
    pub cause: Cause,
}

impl FleetReport {
    /// Whether something of it is missing that was asked for.
    pub fn is_short(&self) -> bool {
        self.accounts.iter().any(|a| a.cause.is_some())
            || !self.unlisted_links.is_empty()
            || !self.detours.is_empty()
    }

    /// Adds the accounts of the organization that are not read: wanted ones are failures.
    pub(crate) fn leave_out(&mut self, left_out: Vec<LeftOut>) {
        for left_out in left_out.into_iter().map(LeftOutAccount::from) {
            if left_out.is_failure {
                self.accounts.push(AccountReport::left_out(&left_out));
            } else {
                self.left_out.push(left_out);
            }
        }
    }

    /// Accounts that could not be entered or are left out, and regions that are closed.
    pub(crate) fn account_notes(&self, out: &mut String) {
        for account in &self.accounts {
            if let Some(cause) = &account.cause {
                note(
                    out,
                    &format!("account {}", named(account)),
                    cause.kind_word(),
                    cause,
                );
            }
        }
        for left_out in &self.left_out {
            let name = left_out.account_name.as_deref().unwrap_or("");
            let _ = writeln!(
                out,
                "  skipped account {} ({}): {}",
                left_out.account_id,
                printable(name),
                printable(&left_out.why)
            );
        }
        self.region_notes(out);
    }

    /// Regions that are closed, each once with the number of accounts it is closed in: hundreds of accounts have not opted into the same ones.
    fn region_notes(&self, out: &mut String) {
        let mut disabled: BTreeMap<&str, usize> = BTreeMap::new();
        for region in self.accounts.iter().flat_map(|a| &a.disabled_regions) {
            *disabled.entry(region).or_default() += 1;
        }
        let mut by_count: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (region, count) in disabled {
            by_count.entry(count).or_default().push(region);
        }
        for (count, regions) in by_count.into_iter().rev() {
            let _ = writeln!(
                out,
                "  skipped {}: not enabled in {}",
                regions.join(", "),
                counted(count, "account")
            );
        }
        let guessed: Vec<&Cause> = self
            .accounts
            .iter()
            .filter_map(|a| a.regions_guessed.as_ref())
            .collect();
        if let Some(cause) = guessed.first() {
            let name = format!(
                "which regions {} enabled is not told, so all are tried",
                if guessed.len() == 1 {
                    "one account has".to_owned()
                } else {
                    format!("{} accounts have", grouped(guessed.len() as u64))
                }
            );
            note(out, &name, "note:", cause);
        }
    }

    /// Selections without a series, links without a list, and accounts that are reachable twice.
    pub(crate) fn selection_notes(&self, out: &mut String, is_whole: bool) {
        for unmatched in self.unmatched.iter().filter(|_| is_whole) {
            let _ = writeln!(
                out,
                "  warning: {} matches nothing of any account",
                printable(unmatched)
            );
            let is_of_logs = unmatched.contains("[[logs]]") || unmatched.starts_with("log group");
            let hint = if is_of_logs {
                "aws logs describe-log-groups shows what there is in an account and region"
            } else {
                "cwlake discover shows what there is; ListMetrics knows the past two weeks"
            };
            let _ = writeln!(out, "    = {hint}");
        }
        for link in &self.unlisted_links {
            let name = format!("links of {}/{}", link.account_id, link.region);
            note(out, &name, link.cause.kind_word(), &link.cause);
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "  note: {}", printable(remark));
        }
        for detour in &self.detours {
            let name = format!(
                "{}/{} is read through account {}, directly it is not",
                detour.account_id, detour.region, detour.through
            );
            note(out, &name, "note:", &detour.cause);
        }
        for shared in &self.shared {
            let _ = writeln!(
                out,
                "  note: {} series of {}/{} are read {}, and linked to account {} as well",
                grouped(shared.series),
                shared.account_id,
                shared.region,
                shared.read,
                shared.also_through
            );
        }
    }
}

/// A lane that could not be read: account, region, why, and whether it is left out.
pub(crate) type UnreadLane<'a> = (&'a str, &'a str, &'a Cause, bool);

/// Lanes that could not be read: each by its name, or by region where nobody named it and it is closed.
pub(crate) fn lane_notes<'a>(out: &mut String, lanes: impl Iterator<Item = UnreadLane<'a>>) {
    let mut skipped: BTreeMap<(&str, CauseKind), Vec<(&str, &Cause)>> = BTreeMap::new();
    for (account, region, cause, is_skipped) in lanes {
        if is_skipped {
            let of_region = skipped.entry((region, cause.kind));
            of_region.or_default().push((account, cause));
        } else {
            let name = format!("{account}/{region}");
            note(out, &name, cause.kind_word(), cause);
        }
    }
    // Regions that are closed alike in as many accounts share a line: an account that does not tell its regions has dozens.
    let mut alike: BTreeMap<(CauseKind, usize), (Vec<&str>, &str, &Cause)> = BTreeMap::new();
    for ((region, kind), closed) in skipped {
        let (account, cause) = closed[0];
        let same = alike.entry((kind, closed.len()));
        same.or_insert((Vec::new(), account, cause)).0.push(region);
    }
    for ((_, accounts), (regions, account, cause)) in alike {
        let name = if regions.len() == 1 && accounts == 1 {
            format!("{account}/{}", regions[0])
        } else {
            format!("{} in {}", regions.join(", "), counted(accounts, "account"))
        };
        // Nobody asked for them by name: there is nothing to be done.
        let cause = Cause {
            hint: None,
            ..cause.clone()
        };
        note(out, &name, "skipped", &cause);
    }
}

impl Cause {
    /// How a thing ended that this is the cause of.
    pub(crate) fn kind_word(&self) -> &'static str {
        if self.kind.is_denial() {
            "forbidden"
        } else {
            "failed"
        }
    }
}

pub(crate) fn note(out: &mut String, name: &str, word: &str, cause: &Cause) {
    let _ = writeln!(out, "  {word} {name}: {}", printable(&cause.message));
    if let Some(hint) = &cause.hint {
        let _ = writeln!(out, "    = {}", printable(hint));
    }
}

fn named(account: &AccountReport) -> String {
    match &account.account_name {
        Some(name) => format!("{} ({})", account.account_id, printable(name)),
        None => account.account_id.clone(),
    }
}
