//! One account's session: assumed once, shared by all its clients, refreshed before it expires or when AWS says it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use secrecy::ExposeSecret;

use super::classify::of_credentials;
use super::retry::{Tries, pause, retry};
use crate::config::RoleConfig;
use crate::model::{AccountId, Cause, CauseKind};

/// Refresh this long before the end: a request signed now must still be valid when it arrives after a slow queue.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_mins(2);

/// Tries of the base chain. The SDK gives the instance's metadata a second, once, and then says that there are none.
const BASE_ATTEMPTS: u32 = 4;

/// Where an account's credentials come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A role, assumed with the base credentials.
    Role {
        /// The account it must belong to.
        account: AccountId,
        /// Regional STS client.
        sts: aws_sdk_sts::Client,
        /// What it calls with.
        base: Arc<AccountCredentials>,
        /// The role.
        role: RoleConfig,
        /// Tries; a denial is never tried again.
        attempts: u32,
    },
    /// A provider of the standard chain: the base credentials.
    Base {
        /// It.
        provider: SharedCredentialsProvider,
        /// Time that it has: a process it calls may never end.
        limit: Duration,
    },
}

/// A caching, single-flight credentials provider: of one account, or of the base.
#[derive(Debug)]
pub(super) struct AccountCredentials {
    source: Source,
    generation: AtomicU64,
    // An async lock, held while the role is assumed on purpose: whoever else needs the session waits for this one.
    current: tokio::sync::Mutex<Option<Current>>,
}

#[derive(Clone, Debug)]
struct Current {
    credentials: Credentials,
    generation: u64,
}

impl AccountCredentials {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            generation: AtomicU64::new(0),
            current: tokio::sync::Mutex::new(None),
        }
    }

    /// Names the session in use, for [`invalidate`](Self::invalidate).
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Throws away the session a failed call was signed with; a newer one, got by another call meanwhile, stays.
    pub(super) fn invalidate(&self, generation: u64) {
        let _ = self.generation.compare_exchange(
            generation,
            generation + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// The tries of a call that is signed with the session.
    pub(super) fn tries(&self) -> SessionTries<'_> {
        SessionTries {
            credentials: self,
            generation: 0,
        }
    }

    /// The session, assumed or refreshed as needed.
    ///
    /// # Errors
    /// The cause, with a hint, when the role cannot be assumed or belongs to another account.
    pub(super) async fn get(&self) -> Result<Credentials, Cause> {
        let mut current = self.current.lock().await;
        let generation = self.generation();
        if let Some(session) = &*current
            && session.generation == generation
            && session
                .credentials
                .expiry()
                .is_none_or(|end| end > SystemTime::now() + REFRESH_BEFORE_EXPIRY)
        {
            return Ok(session.credentials.clone());
        }
        let credentials = match &self.source {
            Source::Base { provider, limit } => of_base(provider, *limit).await?,
            Source::Role {
                account,
                sts,
                base,
                role,
                attempts,
            } => assume(account, (sts, base), role, *attempts).await?,
        };
        *current = Some(Current {
            credentials: credentials.clone(),
            generation,
        });
        Ok(credentials)
    }
}

/// The tries of a call that is signed with a session: refused as ended, it is got anew.
pub(super) struct SessionTries<'a> {
    credentials: &'a AccountCredentials,
    /// Of the session that the try is signed with.
    generation: u64,
}

impl Tries for SessionTries<'_> {
    async fn before(&mut self, _attempt: u32) -> Result<(), Cause> {
        self.generation = self.credentials.generation();
        Ok(())
    }

    fn refresh(&mut self) -> bool {
        self.credentials.invalidate(self.generation);
        true
    }
}

/// Whether the chain ends with the instance's metadata, which may only have been slow.
fn asks_the_instance() -> bool {
    let disabled = std::env::var("AWS_EC2_METADATA_DISABLED");
    !disabled.is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

async fn of_base(
    provider: &SharedCredentialsProvider,
    limit: Duration,
) -> Result<Credentials, Cause> {
    let mut attempt = 1;
    loop {
        let provided = tokio::time::timeout(limit, provider.provide_credentials());
        let (cause, is_found) = match provided.await {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => {
                let is_missing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
                (of_credentials(&error), !is_missing)
            }
            Err(_) => {
                let text = format!(
                    "finding credentials: none came within {} s",
                    limit.as_secs()
                );
                return Err(Cause::new(CauseKind::Transient, text));
            }
        };
        // Whoever was found and failed would fail again, or ask a person again.
        if is_found || !asks_the_instance() || attempt >= BASE_ATTEMPTS {
            return Err(cause);
        }
        tokio::time::sleep(pause(cause.kind, attempt, fastrand::f64())).await;
        attempt += 1;
    }
}

async fn assume(
    account: &AccountId,
    (sts, base): (&aws_sdk_sts::Client, &AccountCredentials),
    role: &RoleConfig,
    attempts: u32,
) -> Result<Credentials, Cause> {
    let doing = format!("assuming role {}", role.arn);
    let seconds = i32::try_from(role.session_duration.as_secs()).unwrap_or(i32::MAX);
    let answer = retry(&doing, attempts, &mut base.tries(), || {
        sts.assume_role()
            .role_arn(&role.arn)
            .role_session_name(&role.session_name)
            .duration_seconds(seconds)
            .set_external_id(
                role.external_id
                    .as_ref()
                    .map(|id| id.expose_secret().to_owned()),
            )
            .send()
    })
    .await
    .map_err(|(cause, _)| hint_for_role(cause, role))?;
    let arn = answer.assumed_role_user().map_or("", |user| user.arn());
    check_account(account, account_of(arn), &doing)?;
    let session = answer.credentials().ok_or_else(|| {
        Cause::new(
            CauseKind::Protocol,
            format!("{doing}: the answer has no credentials"),
        )
    })?;
    let expiry = SystemTime::try_from(*session.expiration()).map_err(|_| {
        Cause::new(
            CauseKind::Protocol,
            format!("{doing}: the answer has no expiry"),
        )
    })?;
    Ok(Credentials::new(
        session.access_key_id(),
        session.secret_access_key(),
        Some(session.session_token().to_owned()),
        Some(expiry),
        "cwlake-role",
    ))
}

/// Proves that the credentials at hand belong to the account they are configured for.
///
/// # Errors
/// [`CauseKind::WrongAccount`], or the cause why STS did not answer.
pub(super) async fn check_identity(
    (sts, base): (&aws_sdk_sts::Client, &AccountCredentials),
    account: &AccountId,
    attempts: u32,
) -> Result<(), Cause> {
    let doing = "asking who the base credentials are";
    let send = || sts.get_caller_identity().send();
    let answer = retry(doing, attempts, &mut base.tries(), send)
        .await
        .map_err(|(cause, _)| match cause.kind {
            CauseKind::AccessDenied
            | CauseKind::RegionDisabled
            | CauseKind::NoCredentials
            | CauseKind::ExpiredToken => Cause {
                kind: CauseKind::NoCredentials,
                ..cause
            }
            .with_hint("the base credentials are refused: renew them"),
            _ => cause,
        })?;
    check_account(account, answer.account(), doing)
}

fn check_account(wanted: &AccountId, given: Option<&str>, doing: &str) -> Result<(), Cause> {
    if given == Some(wanted.as_str()) {
        return Ok(());
    }
    let given = given
        .and_then(AccountId::parse)
        .map_or("no account".to_owned(), |id| format!("account {id}"));
    Err(Cause::new(
        CauseKind::WrongAccount,
        format!("{doing}: the session belongs to {given}, the entry says {wanted}"),
    )
    .with_hint(
        "correct the entry's id or its role: data would be recorded under the wrong account",
    ))
}

fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

fn hint_for_role(cause: Cause, role: &RoleConfig) -> Cause {
    match cause.kind {
        CauseKind::AccessDenied if cause.hint.is_none() => {
            let external = if role.external_id.is_some() {
                "its sts:ExternalId condition must equal external_id here"
            } else {
                "if its trust policy asks for sts:ExternalId, set external_id here"
            };
            cause.with_hint(format!(
                "the role must exist (stack sets make none in an organization's management account), its trust policy must name this caller as principal, {external}; \
                 and the caller's own policy must allow sts:AssumeRole on it (cwlake iam prints both)"
            ))
        }
        // STS itself refuses the base credentials; the region has nothing to do with it.
        CauseKind::RegionDisabled | CauseKind::ExpiredToken | CauseKind::NoCredentials => Cause { kind: CauseKind::NoCredentials, ..cause }.with_hint(
            "the base credentials are refused by STS: renew them; if they are valid, this STS region may be disabled: set run.sts_region",
        ),
        CauseKind::Validation => cause.with_hint(format!(
            "session_duration_secs = {} may exceed the role's maximum; through another role AWS allows 3600 at most",
            role.session_duration.as_secs()
        )),
        _ => cause,
    }
}

/// The provider as the SDK wants it: a handle to the shared session.
#[derive(Clone, Debug)]
pub(super) struct Handle(pub(super) std::sync::Arc<AccountCredentials>);

impl ProvideCredentials for Handle {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.0.get().await.map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_another_account_is_refused() {
        let wanted = AccountId::parse("111122223333").expect("id");
        let check = |arn: &str| check_account(&wanted, account_of(arn), "assuming role x");
        assert_eq!(
            check("arn:aws:sts::111122223333:assumed-role/Reader/cwlake"),
            Ok(())
        );
        for other in [
            "arn:aws:sts::222233334444:assumed-role/Reader/cwlake",
            "arn:aws:sts",
            "",
        ] {
            let cause = check(other).expect_err(other);
            assert_eq!(cause.kind, CauseKind::WrongAccount, "{other}");
            assert!(
                cause.message.contains("the entry says 111122223333"),
                "{cause}"
            );
        }
    }
}
