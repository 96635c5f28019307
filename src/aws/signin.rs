//! What to do where the base credentials are missing or refused. It depends on how the caller signs in, which the environment and the profile
//! say; the SDK's own texts are for its developers.

use aws_config::profile::{ProfileSet, load};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

/// Profiles that lead from one to the next; a longer chain is a loop.
const LONGEST_CHAIN: usize = 20;

/// Profiles that are named where the one asked for is not there.
const MOST_NAMED: usize = 8;

const ELSEWHERE: &str = "set AWS_PROFILE, run where an instance or container role is attached, or export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// The remedy, for whoever started this process.
pub(super) async fn remedy() -> String {
    let env = Env::real();
    let loaded = load(&Fs::real(), &env, &EnvConfigFiles::default(), None).await;
    let is_set = |name: &str| env.get(name).is_ok_and(|value| !value.is_empty());
    match loaded {
        Ok(profiles) => remedy_of(is_set, &profiles),
        Err(_) => "correct the AWS configuration file, which cannot be read (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, ~/.aws)".to_owned(),
    }
}

/// `is_set` says which environment variables have a value.
fn remedy_of(is_set: impl Fn(&str) -> bool, profiles: &ProfileSet) -> String {
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match keys.map(&is_set) {
        [true, true] => {
            return "the keys of the environment are refused or have expired: renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a session, \
                    AWS_SESSION_TOKEN"
                .to_owned();
        }
        [true, false] => {
            return format!(
                "{} is set and {} is not: set both, or none",
                keys[0], keys[1]
            );
        }
        [false, true] => {
            return format!(
                "{} is set and {} is not: set both, or none",
                keys[1], keys[0]
            );
        }
        [false, false] => {}
    }
    let name = profiles.selected_profile();
    if profiles.get_profile(name).is_none() {
        return if is_set("AWS_PROFILE") {
            missing(name, profiles)
        } else {
            ELSEWHERE.to_owned()
        };
    }
    of_profile(name, profiles)
}

fn missing(name: &str, profiles: &ProfileSet) -> String {
    let mut known: Vec<&str> = profiles.profiles().collect();
    known.sort_by_key(|known| (strsim::levenshtein(known, name), *known));
    known.truncate(MOST_NAMED);
    let known = match &known[..] {
        [] => "there is none".to_owned(),
        some => format!("there are {}", some.join(", ").escape_debug()),
    };
    format!(
        "no profile '{}' is in the AWS configuration files ({known}): correct AWS_PROFILE",
        name.escape_debug()
    )
}

/// Follows a profile to the one that signs in.
fn of_profile(first: &str, profiles: &ProfileSet) -> String {
    let mut name = first;
    for _ in 0..LONGEST_CHAIN {
        let shown = name.escape_debug();
        let Some(profile) = profiles.get_profile(name) else {
            return format!(
                "profile '{}' leads to profile '{shown}', which is in no AWS configuration file: correct source_profile",
                first.escape_debug()
            );
        };
        let has = |key: &str| profile.get(key).is_some();
        if has("mfa_serial") {
            return format!(
                "profile '{shown}' asks for an MFA code (mfa_serial), and nobody is there to type it: use a profile without, or export the keys of a \
                 session made before (aws sts get-session-token)"
            );
        }
        if has("sso_session") || has("sso_start_url") {
            return format!(
                "run aws sso login --profile {shown}; an unattended run needs a role (instance, container, web identity) instead"
            );
        }
        if has("login_session") {
            return format!(
                "run aws login --profile {shown}; an unattended run needs a role (instance, container, web identity) instead"
            );
        }
        if has("credential_process") {
            return format!(
                "the credential_process of profile '{shown}' gives no usable credentials: run it by hand to see why"
            );
        }
        match profile.get("source_profile") {
            Some(next) if next != name => name = next,
            _ if has("credential_source") => {
                return format!(
                    "profile '{shown}' takes its credentials from {} (credential_source), which has none here",
                    profile
                        .get("credential_source")
                        .unwrap_or_default()
                        .escape_debug()
                );
            }
            _ if has("aws_access_key_id") && !has("aws_secret_access_key") => {
                return format!(
                    "profile '{shown}' has aws_access_key_id and no aws_secret_access_key: add it"
                );
            }
            _ if has("aws_access_key_id") => {
                return format!("the keys of profile '{shown}' are refused: renew them");
            }
            _ => return format!("profile '{shown}' says nothing of credentials: {ELSEWHERE}"),
        }
    }
    format!(
        "profile '{}' leads back to itself: correct source_profile",
        first.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_runtime::env_config::file::EnvConfigFileKind;

    const PROFILES: &str = "[default]\nregion = us-east-1\n[profile sso]\nsso_session = hq\nsso_account_id = 1\nsso_role_name = r\n[profile old]\n\
         sso_start_url = https://x\n[profile role]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = sso\n[profile login]\n\
         login_session = arn:aws:iam::111122223333:user/me\n[profile process]\ncredential_process = /bin/creds --secret s\n[profile mfa]\n\
         role_arn = arn:aws:iam::111122223333:role/r\nsource_profile = sso\nmfa_serial = arn:aws:iam::111122223333:mfa/me\n[profile half]\n\
         aws_access_key_id = AKIDEXAMPLE\n[profile loop]\nrole_arn = r\nsource_profile = back\n[profile back]\nrole_arn = r\nsource_profile = loop\n\
         [profile lost]\nrole_arn = r\nsource_profile = nowhere\n[profile machine]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n\
         [sso-session hq]\nsso_region = us-east-1\n";

    async fn told(set: &[&str], profile: Option<&str>) -> String {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, PROFILES);
        let selected = profile.map(|p| p.to_owned().into());
        let env = Env::from_slice(&[]);
        let profiles = load(&Fs::from_slice(&[]), &env, &files.build(), selected).await;
        let is_set = |name: &str| set.contains(&name) || name == "AWS_PROFILE" && profile.is_some();
        remedy_of(is_set, &profiles.expect("profiles"))
    }

    #[tokio::test]
    async fn the_remedy_is_that_of_the_way_to_sign_in() {
        for (profile, wanted) in [
            ("sso", "aws sso login --profile sso"),
            ("old", "aws sso login --profile old"),
            ("role", "aws sso login --profile sso"),
            ("login", "aws login --profile login"),
            ("process", "credential_process of profile 'process'"),
            ("mfa", "MFA"),
            ("half", "no aws_secret_access_key"),
            ("loop", "leads back to itself"),
            ("lost", "leads to profile 'nowhere'"),
            ("machine", "Ec2InstanceMetadata"),
            ("default", "says nothing of credentials"),
            ("ss0", "no profile 'ss0'"),
            ("ss0", "there are sso"),
        ] {
            let hint = told(&[], Some(profile)).await;
            assert!(hint.contains(wanted), "{profile}: {hint}");
            assert!(
                !hint.contains("--secret") && !hint.contains("AKID"),
                "{hint}"
            );
        }
        let half = told(&["AWS_ACCESS_KEY_ID"], None).await;
        assert_eq!(
            half,
            "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not: set both, or none"
        );
        let half = told(&["AWS_SECRET_ACCESS_KEY"], Some("sso")).await;
        assert!(half.starts_with("AWS_SECRET_ACCESS_KEY is set"), "{half}");
        let both = told(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], None).await;
        assert!(both.contains("renew"), "{both}");
    }
}
