//! `cwlake init`: a commented configuration, and a fresh external id for every account.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Environment, Overrides, external_ids_in, load};
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
    /// What was asked for makes no valid configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written.
    #[error("writing {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The file of external ids is not what it should be.
    #[error("{}: {}", .0.display(), .1)]
    Ids(PathBuf, String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
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

/// Writes a new configuration, readable by its owner alone: it holds external ids. It is there whole or not at all.
///
/// # Errors
/// [`InitError::Exists`]; nothing is written over. [`InitError::Config`] when what was asked for makes no valid configuration.
pub fn write_config(path: &Path, start: &Start) -> Result<(), InitError> {
    let text = config_text(start)?;
    let fail = |e: io::Error| InitError::Io(path.to_owned(), e);
    if path.symlink_metadata().is_ok() {
        return Err(InitError::Exists(path.to_owned()));
    }
    let beside = Beside::write(path, &text).map_err(fail)?;
    let overrides = Overrides {
        external_ids_may_be_missing: true,
        ..Overrides::default()
    };
    load(&beside.0, &overrides, &Environment::default())?;
    // Fails where there is a file by now, in one step.
    std::fs::hard_link(&beside.0, path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => fail(e),
    })
}

/// A file on its way, removed when it is dropped.
struct Beside(PathBuf);

impl Beside {
    fn write(path: &Path, text: &str) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = Self(path.with_file_name(format!(".{name}.{}", std::process::id())));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What else a configuration may ask for.
const MORE: &str = "
# A selection of your own:
# [[metrics]]
# namespace = \"My/App\"
# metrics = [\"Latency\", \"Errors*\"]
# statistics = [\"Average\", \"p99\"]
# period = 60

# More tables from the same run:
# [instances]                    # the EC2 inventory with its tags
# [alarms]                       # alarms, and the changes of their states
# [spend]                        # estimated charges by day
# [[logs]]                       # events of CloudWatch Logs
# groups = [\"/aws/lambda/*\"]
# [[budget]]                     # cwlake spend, and alerts
# each = true
# daily_usd = 500.0
";

fn config_text(start: &Start) -> Result<String, InitError> {
    let destination = quoted(start.destination.as_deref().unwrap_or("./lake"));
    let mut out = format!(
        "# Configuration of cwlake. What it needs to be allowed: `cwlake iam`. Then `cwlake check` (offline), `cwlake doctor` (tries every role
# and permission), `cwlake plan` (what it costs) and `cwlake export`. `cwlake schema` is its JSON Schema, for editors.
version = 1

[destination]
url = {destination}    # a folder relative to this file, or \"s3://bucket/prefix\"

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
    let mut written = BTreeSet::new();
    for preset in presets.iter().filter(|p| written.insert(p.as_str())) {
        let _ = write!(
            out,
            "\n[[metrics]]\npreset = \"{preset}\"         # `cwlake presets` lists them all\n"
        );
    }
    out.push_str(MORE);
    Ok(out)
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Adds an id for each account that has none, and returns those accounts. What is there stays as it is; the file changes in one step.
///
/// # Errors
/// [`InitError::Io`], [`InitError::Random`].
pub fn add_missing_ids(path: &Path, accounts: &[AccountId]) -> Result<Vec<AccountId>, InitError> {
    // What is linked stays linked: the file itself is replaced.
    let linked = std::fs::read_link(path).ok();
    let linked = linked.map(|to| path.parent().unwrap_or(Path::new(".")).join(to));
    let path = std::fs::canonicalize(path)
        .ok()
        .or(linked)
        .unwrap_or_else(|| path.to_owned());
    let fail = |e: io::Error| InitError::Io(path.clone(), e);
    // Two at once would each give the same account an id of its own: the second waits, and reads what the first has written.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let lock = std::fs::File::open(folder.unwrap_or(Path::new("."))).map_err(fail)?;
    lock.lock().map_err(fail)?;
    let before = std::fs::metadata(&path).ok();
    let mut text = match &before {
        Some(_) => std::fs::read_to_string(&path).map_err(fail)?,
        None => "# External ids of the accounts' roles: shared with the trust policies (`cwlake iam`), and with nobody else.\n".to_owned(),
    };
    let there = external_ids_in(&text).map_err(|message| InitError::Ids(path.clone(), message))?;
    let new: BTreeSet<&AccountId> = accounts.iter().filter(|a| !there.contains_key(a)).collect();
    if new.is_empty() && before.is_some() {
        return Ok(Vec::new());
    }
    if before.as_ref().is_some_and(|m| m.permissions().readonly()) {
        return Err(fail(io::ErrorKind::PermissionDenied.into()));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for account in &new {
        let _ = writeln!(text, "\"{account}\" = \"{}\"", external_id()?);
    }
    let beside = Beside::write(&path, &text).map_err(fail)?;
    if let Some(before) = before {
        std::fs::set_permissions(&beside.0, before.permissions()).map_err(fail)?;
    }
    std::fs::rename(&beside.0, &path).map_err(fail)?;
    Ok(new.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let line = "# kept\n\"111122223333\" = \"as-it-was\"";
        std::fs::write(&path, line).expect("written");
        let accounts = [account("111122223333"), account("222233334444")];
        let added = add_missing_ids(&path, &accounts).expect("written");
        assert_eq!(added, [account("222233334444")]);
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(
            text.starts_with(&format!("{line}\n\"222233334444\" = \"cwlake-")),
            "{text}"
        );
        let left = std::fs::read_dir(dir.path()).expect("folder").count();
        assert_eq!(left, 1, "no file on its way is left");
    }
}
