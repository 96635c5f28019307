//! A file of external ids, one an account: what `cwlake init` writes and `defaults.external_ids` names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::file::Defaults;
use super::problem::{Problem, printable};
use crate::model::AccountId;

/// External ids by account.
pub type ExternalIds = BTreeMap<AccountId, SecretString>;

/// Ten thousand accounts, with ids of a hundred characters.
const MAX_BYTES: u64 = 2 << 20;

/// Where the file of external ids lies: relative to the configuration's folder.
pub(super) fn path_of(config: &Path, given: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new(".")).join(given)
}

/// Reads the file that `defaults.external_ids` names; empty when it names none. `may_be_missing`: it
/// is about to be written.
pub(super) fn read(
    config: &Path,
    defaults: &Defaults,
    may_be_missing: bool,
    problems: &mut Vec<Problem>,
) -> ExternalIds {
    let Some(given) = &defaults.external_ids else {
        return ExternalIds::new();
    };
    let path = path_of(config, given.get_ref());
    if may_be_missing && !path.exists() {
        return ExternalIds::new();
    }
    let mut refuse = |message: String, remedy: &str| {
        let text = format!("{}: {message}", path.display());
        problems.push(Problem::at(given.span(), text).remedy(remedy));
        ExternalIds::new()
    };
    let form = "a TOML file with one line an account: \"111122223333\" = \"its external id\"";
    let text = match std::fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let text = "this file of external ids is not there".to_owned();
            return refuse(
                text,
                "cwlake init --missing-ids writes it; or leave external_ids out",
            );
        }
        Err(e) => return refuse(e.to_string(), form),
        // A pipe would be waited for.
        Ok(meta) if !meta.is_file() => {
            return refuse("this is no file".to_owned(), form);
        }
        Ok(meta) if meta.len() > MAX_BYTES => {
            return refuse(format!("more than {MAX_BYTES} bytes"), form);
        }
        Ok(_) => match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => return refuse(e.to_string(), form),
        },
    };
    if is_world_writable(&path) {
        return refuse(
            "everyone may write this file of external ids".to_owned(),
            "chmod o-w the file",
        );
    }
    match external_ids_in(&text) {
        Ok(ids) => ids,
        Err(message) => refuse(message, form),
    }
}

/// Reads the text of a file of external ids.
///
/// # Errors
/// What is wrong and in which line, without the ids.
pub fn external_ids_in(text: &str) -> Result<ExternalIds, String> {
    let line = |span: Option<std::ops::Range<usize>>| {
        let at = span.map_or(0, |s| s.start);
        super::problem::line_of(text, at)
    };
    let table: BTreeMap<toml::Spanned<String>, toml::Spanned<String>> = toml::from_str(text)
        .map_err(|e| {
            let twice = e.message().contains("duplicate");
            let what = if twice {
                "an account is listed twice"
            } else {
                "not a list of accounts and texts"
            };
            format!("line {}: {what}", line(e.span()))
        })?;
    let mut ids = ExternalIds::new();
    for (account, id) in table {
        let Some(account) = AccountId::parse(account.get_ref()) else {
            let name = printable(account.get_ref());
            return Err(format!(
                "line {}: '{name}' is not an account id",
                line(Some(account.span()))
            ));
        };
        if !is_external_id(id.get_ref()) {
            return Err(format!(
                "line {}: an external id has 2 to 1,224 letters, digits or _+=,.@:/-",
                line(Some(id.span()))
            ));
        }
        ids.insert(account, SecretString::from(id.into_inner()));
    }
    Ok(ids)
}

#[cfg(unix)]
pub(super) fn is_world_writable(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o002 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_world_writable(_: &Path) -> bool {
    false
}

/// # Source
/// STS API reference, `AssumeRole`: 2 to 1,224 characters of `[\\w+=,.@:\\/-]`.
pub(super) fn is_external_id(text: &str) -> bool {
    text_of(text, 2..=1_224, "_+=,.@:/-")
}

/// Length in characters and the IAM alphabet: ASCII letters, digits and `extra`.
pub(super) fn text_of(text: &str, length: std::ops::RangeInclusive<usize>, extra: &str) -> bool {
    length.contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}
