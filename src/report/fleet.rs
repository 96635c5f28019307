//! The accounts of a run, and what is to be said of them: which could not be entered, which regions are closed, which selections are empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::remarks::{Remarks, Subject};
use super::words::grouped;
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

    /// Aliases of its accounts.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let read = self.accounts.iter();
        let read = read.map(|a| (&*a.account_id, a.account_name.as_deref()));
        let left_out = self.left_out.iter();
        let left_out = left_out.map(|a| (&*a.account_id, a.account_name.as_deref()));
        read.chain(left_out)
            .filter_map(|(id, name)| Some((id, name?)))
    }

    /// Accounts that could not be entered or are left out, and regions that are closed.
    pub(crate) fn account_notes(&self, remarks: &mut Remarks) {
        for account in &self.accounts {
            if let Some(cause) = &account.cause {
                remarks.add(cause.kind_word(), &of_account(&account.account_id), cause);
            }
        }
        for left_out in &self.left_out {
            let of = of_account(&left_out.account_id);
            remarks.tell("skipped", &of, &left_out.why, None);
        }
        self.region_notes(remarks);
    }

    fn region_notes(&self, remarks: &mut Remarks) {
        for account in &self.accounts {
            for region in &account.disabled_regions {
                let lane = of_lane(&account.account_id, region);
                remarks.tell("skipped", &lane, "not enabled", None);
            }
            if let Some(cause) = &account.regions_guessed {
                let cause = Cause {
                    message: format!(
                        "which regions are enabled is not told, so all are tried: {}",
                        cause.message
                    ),
                    ..cause.clone()
                };
                remarks.add("note", &of_account(&account.account_id), &cause);
            }
        }
    }

    /// Selections without a series, links without a list, and accounts that are reachable twice.
    pub(crate) fn selection_notes(&self, remarks: &mut Remarks, is_whole: bool) {
        for unmatched in self.unmatched.iter().filter(|_| is_whole) {
            let is_of_logs = unmatched.contains("[[logs]]") || unmatched.starts_with("log group");
            let hint = if is_of_logs {
                "aws logs describe-log-groups shows what there is in an account and region"
            } else {
                "cwlake discover shows what there is; ListMetrics knows the past two weeks"
            };
            let text = format!("{unmatched} matches nothing of any account");
            remarks.tell("warning", &Subject::default(), &text, Some(hint));
        }
        for link in &self.unlisted_links {
            let lane = Subject {
                table: "links of",
                ..of_lane(&link.account_id, &link.region)
            };
            remarks.add(link.cause.kind_word(), &lane, &link.cause);
        }
        for remark in &self.remarks {
            remarks.tell("note", &Subject::default(), remark, None);
        }
        for detour in &self.detours {
            let cause = Cause {
                message: format!(
                    "read through account {}, directly it is not: {}",
                    detour.through, detour.cause.message
                ),
                ..detour.cause.clone()
            };
            let lane = of_lane(&detour.account_id, &detour.region);
            remarks.add("note", &lane, &cause);
        }
        for shared in &self.shared {
            let text = format!(
                "{} series are read {}, and linked to account {} as well",
                grouped(shared.series),
                shared.read,
                shared.also_through
            );
            let lane = of_lane(&shared.account_id, &shared.region);
            remarks.tell("note", &lane, &text, None);
        }
    }
}

/// A lane that could not be read: account, region, why, and whether it is left out.
pub(crate) type UnreadLane<'a> = (&'a str, &'a str, &'a Cause, bool);

/// Lanes that could not be read.
pub(crate) fn lane_notes<'a>(remarks: &mut Remarks, lanes: impl Iterator<Item = UnreadLane<'a>>) {
    for (account, region, cause, is_skipped) in lanes {
        let lane = of_lane(account, region);
        if is_skipped {
            // Nobody asked for it by name: there is nothing to be done.
            remarks.tell("skipped", &lane, &cause.message, None);
        } else {
            remarks.add(cause.kind_word(), &lane, cause);
        }
    }
}

fn of_account(account: &str) -> Subject<'_> {
    Subject {
        account,
        ..Subject::default()
    }
}

pub(crate) fn of_lane<'a>(account: &'a str, region: &'a str) -> Subject<'a> {
    Subject {
        account,
        region,
        ..Subject::default()
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
