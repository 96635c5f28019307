//! `cwlake init`: a commented configuration, and a fresh external id for every account.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::model::AccountId;

/// What a new configuration begins with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// `destination.url`.
    pub destination: Option<String>,
    /// Accounts to list, each with an external id of its own.
    pub accounts: Vec<AccountId>,
    /// All accounts of AWS Organizations, with a file of external ids.
    pub organization: bool,
    /// Presets to select.
    pub presets: Vec<String>,
}

/// Name of the file of external ids, beside the configuration.
pub const EXTERNAL_IDS: &str = "external-ids.toml";

/// A configuration cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A configuration is there already; it is not touched.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("writing {}: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The configuration names no file of external ids.
    #[error("the configuration names no file of external ids")]
    NoFile,
}

/// 128 random bits: nobody guesses one, and no two are the same.
///
/// # Errors
/// [`InitError::Random`].
pub fn external_id() -> Result<String, InitError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(InitError::Random)?;
    Ok(bytes.iter().fold("cwlake-".to_owned(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}

/// Writes a new configuration, readable by its owner alone: it holds external ids.
///
/// # Errors
/// [`InitError::Exists`]; nothing is written over.
pub fn write_config(path: &Path, start: &Start) -> Result<(), InitError> {
    let text = config_text(start)?;
    let mut file = private(path, true).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => InitError::Io(path.to_owned(), e),
    })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|e| InitError::Io(path.to_owned(), e))
}

fn config_text(start: &Start) -> Result<String, InitError> {
    let destination = start.destination.as_deref().unwrap_or("./lake");
    let mut out = format!(
        "# Configuration of cwlake. What it needs to be allowed: `cwlake iam`. Then `cwlake check` (offline), `cwlake doctor` (tries every role
# and permission), `cwlake plan` (what it costs) and `cwlake export`. `cwlake schema` is its JSON Schema, for editors.
version = 1

[destination]
url = {destination:?}    # a folder relative to this file, or \"s3://bucket/prefix\"

[run]
lookback_days = 2        # a run without dates reads yesterday and these days before it: metrics arrive late
max_spend_usd = 5.0      # refuse to start when the plan costs more

[defaults]
role_name = \"CWLakeReader\"   # the role in every account; {{account_id}} is filled in
regions = \"auto\"             # every enabled region; or a list such as [\"us-east-1\", \"eu-west-1\"]
"
    );
    if start.organization {
        let form = external_id()?;
        let _ = write!(
            out,
            "external_ids = \"{EXTERNAL_IDS}\"   # one id an account; `cwlake init --missing-ids` adds those of new accounts
# external_id = \"{form}-{{account_id}}\"   # or in place of the file: one form for all accounts, those to come as well

[organization]           # every active account of AWS Organizations
# role_arn = \"arn:aws:iam::111122223333:role/CWLakeOrganization\"   # to list with, when the caller is not in the management account
# include_ous = [\"Workloads/Prod\"]     # ids, or paths of names below the root
# exclude_ous = [\"Sandbox\"]
# exclude_accounts = [\"222233334444\"]  # service-managed stack sets leave out the management account: exclude it, or give it the role by hand
"
        );
    }
    let placeholder = [AccountId::parse("111122223333").expect("twelve digits")];
    let accounts = if start.accounts.is_empty() && !start.organization {
        out.push_str("\n# An example: put your account's id here.");
        &placeholder[..]
    } else {
        &start.accounts
    };
    for account in accounts {
        let id = external_id()?;
        let _ = write!(
            out,
            "\n[[account]]\nid = \"{account}\"\n# name = \"prod\"\nexternal_id = \"{id}\"   # also in the role's trust policy: `cwlake iam`\n"
        );
    }
    let preset = ["ec2".to_owned()];
    let presets = if start.presets.is_empty() {
        &preset[..]
    } else {
        &start.presets
    };
    for preset in presets {
        let _ = write!(
            out,
            "\n[[metrics]]\npreset = {preset:?}         # `cwlake presets` lists them all\n"
        );
    }
    out.push_str(
        "
# A selection of your own:
# [[metrics]]
# namespace = \"My/App\"
# metrics = [\"Latency\", \"Errors*\"]
# statistics = [\"Average\", \"p99\"]
# period = 60
",
    );
    Ok(out)
}

/// Adds an id for each account that has none, and returns those accounts. What is there stays as it is; the file changes in one step.
///
/// # Errors
/// [`InitError::Io`], [`InitError::Random`].
pub fn add_missing_ids(
    path: &Path,
    there: &BTreeMap<AccountId, String>,
    accounts: &[AccountId],
) -> Result<Vec<AccountId>, InitError> {
    let mut all = there.clone();
    let mut added = Vec::new();
    for account in accounts {
        if !all.contains_key(account) {
            all.insert(account.clone(), external_id()?);
            added.push(account.clone());
        }
    }
    if added.is_empty() && path.exists() {
        return Ok(added);
    }
    let mut text = String::from(
        "# External ids of the accounts' roles: shared with the trust policies (`cwlake iam`), and with nobody else.\n",
    );
    for (account, id) in &all {
        let _ = writeln!(text, "\"{account}\" = \"{id}\"");
    }
    let fail = |e: io::Error| InitError::Io(path.to_owned(), e);
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = private(&beside, false).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)?;
    Ok(added)
}

fn private(path: &Path, new: bool) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(!new);
    if new {
        options.create_new(true);
    } else {
        options.create(true);
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides, load};

    fn account(id: &str) -> AccountId {
        AccountId::parse(id).expect("twelve digits")
    }

    #[test]
    fn a_new_configuration_is_valid_and_its_ids_differ() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("cwlake.toml");
        let start = Start {
            accounts: vec![account("111122223333"), account("222233334444")],
            presets: vec!["ec2".to_owned(), "alb".to_owned()],
            ..Start::default()
        };
        write_config(&path, &start).expect("written");
        let config = load(&path, &Overrides::default(), &Environment::default())
            .unwrap_or_else(|e| panic!("{e}"));
        let ids: std::collections::BTreeSet<String> = config
            .accounts
            .iter()
            .filter_map(|a| a.role.as_ref()?.external_id.as_ref())
            .map(|id| secrecy::ExposeSecret::expose_secret(id).to_owned())
            .collect();
        assert_eq!(ids.len(), 2);
        assert!(matches!(
            write_config(&path, &start),
            Err(InitError::Exists(_))
        ));
    }

    #[test]
    fn ids_that_are_there_stay() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(EXTERNAL_IDS);
        let there = BTreeMap::from([(account("111122223333"), "as-it-was".to_owned())]);
        let accounts = [account("111122223333"), account("222233334444")];
        let added = add_missing_ids(&path, &there, &accounts).expect("written");
        assert_eq!(added, [account("222233334444")]);
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains("\"111122223333\" = \"as-it-was\""), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
