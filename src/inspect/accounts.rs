//! Every account that a configuration stands for.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::RegionChoice;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::base_session;

use crate::report::{Columns, LeftOutAccount, Look, Paint, counted, grouped, printable};
use crate::run::enter::accounts::{found_in, joined};

/// Every account a configuration stands for.
#[derive(Clone, Debug, Serialize)]
pub struct AccountList {
    /// Those that are read, in the order of their ids.
    pub accounts: Vec<ListedAccount>,
    /// Those of the organization that are not.
    pub left_out: Vec<LeftOutAccount>,
}

/// An account that is read.
#[derive(Clone, Debug, Serialize)]
pub struct ListedAccount {
    /// Its id.
    pub account_id: String,
    /// Its alias.
    pub account_name: Option<String>,
    /// `file` or `organization`.
    pub from: &'static str,
    /// Names of its organizational units below the root; none where they were not looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// The role's ARN, or `base credentials`.
    pub access: String,
    /// An external id is sent.
    pub external_id: bool,
    /// `auto`, or the regions.
    pub regions: String,
    /// What is linked to it is read through it.
    pub linked_accounts: bool,
}

/// Resolves the accounts; calls nothing but Organizations, and that only when the configuration asks for it.
///
/// # Errors
/// As for a run.
pub async fn accounts(context: &RunContext) -> Result<AccountList, RunError> {
    let found = if context.config.organization.is_some() {
        let base = base_session(context).await?;
        found_in(&base, &context.config).await?
    } else {
        Vec::new()
    };
    let units = |id: &str| {
        let account = found.iter().find(|a| a.id.as_str() == id)?;
        (!account.path.is_empty()).then(|| account.path.join("/"))
    };
    let (all, left_out) = joined(context, found.clone())?;
    let in_file = |id| context.config.accounts.iter().any(|a| a.id == id);
    let about = all
        .config
        .accounts
        .iter()
        .filter(|a| all.config.is_about(&a.id));
    let accounts = about.map(|account| ListedAccount {
        account_id: account.id.to_string(),
        account_name: account.name.clone(),
        from: if in_file(account.id.clone()) {
            "file"
        } else {
            "organization"
        },
        units: units(account.id.as_str()),
        access: account.access().to_owned(),
        external_id: account
            .role
            .as_ref()
            .is_some_and(|r| r.external_id.is_some()),
        regions: match &account.regions {
            RegionChoice::Auto => "auto".to_owned(),
            RegionChoice::Named(named) => {
                let codes: Vec<&str> = named.iter().map(crate::model::Region::as_str).collect();
                codes.join(",")
            }
        },
        linked_accounts: account.linked_accounts,
    });
    Ok(AccountList {
        accounts: accounts.collect(),
        left_out: left_out.into_iter().map(LeftOutAccount::from).collect(),
    })
}

impl AccountList {
    /// 0; 3 when an account that is wanted cannot be read, 4 when there is none.
    pub fn exit_code(&self) -> u8 {
        if self.left_out.iter().any(|l| l.is_failure) {
            3
        } else if self.accounts.is_empty() {
            4
        } else {
            0
        }
    }

    /// A line an account.
    pub fn text(&self) -> String {
        self.text_for(&Look::default())
    }

    /// The same for a screen.
    pub fn text_for(&self, look: &Look) -> String {
        let mut table = Columns::new(look, &["account", "name", "from", "regions", "access"], &[]);
        for account in &self.accounts {
            let id = if account.external_id {
                ", external id"
            } else {
                ""
            };
            let linked = if account.linked_accounts {
                ", linked accounts"
            } else {
                ""
            };
            let units = account.units.as_ref();
            let units = units.map_or(String::new(), |u| format!(" in {u}"));
            let access = format!("{}{id}{linked}{units}", account.access);
            let name = account.account_name.as_deref().unwrap_or("");
            let texts = [
                account.account_id.as_str(),
                name,
                account.from,
                account.regions.as_str(),
                access.as_str(),
            ];
            table.row(&texts, &[]);
        }
        let mut out = table.text();
        for left_out in &self.left_out {
            let name = left_out.account_name.as_deref().unwrap_or("");
            let word = if left_out.is_failure {
                "failed"
            } else {
                "skipped"
            };
            let paint = if left_out.is_failure {
                Paint::Red
            } else {
                Paint::Yellow
            };
            let _ = writeln!(
                out,
                "  {} {} {}: {}",
                look.painted(paint, word),
                left_out.account_id,
                printable(name),
                printable(&left_out.why)
            );
        }
        let _ = writeln!(
            out,
            "{}, {} left out",
            counted(self.accounts.len(), "account"),
            grouped(self.left_out.len() as u64)
        );
        out
    }
}
