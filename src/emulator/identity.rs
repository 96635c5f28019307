//! Who is calling: the access key of the signature, the session it belongs to, and what that session may do.
//!
//! Signatures themselves are not verified: there is no secret to protect on loopback.

use std::collections::HashMap;
use std::sync::Mutex;

use super::faults::mix;
use std::time::{Duration, SystemTime};

use super::world::{RoleSpec, UserSpec, World};

/// The credential scope of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) access_key: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`
pub(super) fn scope_of(authorization: &str) -> Option<Scope> {
    let credential = authorization
        .split_once("Credential=")?
        .1
        .split(',')
        .next()?;
    let mut parts = credential.trim().split('/');
    let access_key = parts.next()?.to_owned();
    let _date = parts.next()?;
    Some(Scope {
        access_key,
        region: parts.next()?.to_owned(),
        service: parts.next()?.to_owned(),
    })
}

/// An identity that was recognized.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) account: String,
    pub(super) arn: String,
    pub(super) is_session: bool,
    policy: Option<Policy>,
}

/// What an identity may do.
#[derive(Clone, Debug)]
struct Policy {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Identity {
    /// Whether the identity's policy allows the action; root credentials may do everything.
    pub(super) fn allows(&self, action: &str, region: &str) -> bool {
        let Some(policy) = &self.policy else {
            return true;
        };
        let allowed = policy.allow.iter().any(|a| a == "*" || a == action);
        let here = format!("{action}@{region}");
        allowed && !policy.deny.iter().any(|d| d == action || *d == here)
    }
}

impl Identity {
    /// Whether the policy denies the action for one kind of what it is about: a permission that is not given on `*`.
    pub(super) fn denies(&self, action: &str, kind: &str) -> bool {
        let denied = format!("{action}/{kind}");
        let policy = self.policy.as_ref();
        policy.is_some_and(|p| p.deny.contains(&denied))
    }
}

/// Why a caller was not recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Key,
    Token,
    Expired,
}

/// Sessions given out.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    given: std::sync::atomic::AtomicU64,
}

#[derive(Clone, Debug)]
struct Session {
    token: String,
    identity: Identity,
    ends: SystemTime,
}

/// What `AssumeRole` hands out.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) access_key: String,
    pub(super) secret: String,
    pub(super) token: String,
    pub(super) ends: SystemTime,
}

impl Sessions {
    /// A session of a role.
    pub(super) fn give(
        &self,
        account: &str,
        role: &RoleSpec,
        session_name: &str,
        length: Duration,
    ) -> Given {
        let n = self
            .given
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let given = Given {
            access_key: format!("ASIA{:016X}", mix(n)),
            secret: format!("{:016x}{:016x}", mix(n ^ 1 << 40), mix(n ^ 1 << 41)),
            token: format!("session-{n}-{:016x}", mix(n ^ 1 << 42)),
            ends: SystemTime::now() + length,
        };
        let name = role.name.rsplit('/').next().unwrap_or(&role.name);
        let identity = Identity {
            account: account.to_owned(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
            is_session: true,
            policy: Some(Policy {
                allow: role.allow.clone(),
                deny: role.deny.clone(),
            }),
        };
        let session = Session {
            token: given.token.clone(),
            identity,
            ends: given.ends,
        };
        self.all
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(given.access_key.clone(), session);
        given
    }

    /// Who holds this key. Twelve digits of a known account are its root.
    pub(super) fn identify(
        &self,
        world: &World,
        access_key: &str,
        token: Option<&str>,
    ) -> Result<Identity, Unknown> {
        if world.account(access_key).is_some() {
            return Ok(Identity {
                account: access_key.to_owned(),
                arn: format!("arn:aws:iam::{access_key}:root"),
                is_session: false,
                policy: None,
            });
        }
        let users = world
            .accounts
            .iter()
            .flat_map(|a| a.users.iter().map(move |u| (a, u)));
        let is = |(_, user): &(_, &UserSpec)| user.access_key == access_key;
        if let Some((account, user)) = users.into_iter().find(is) {
            return Ok(Identity {
                account: account.id.clone(),
                arn: format!("arn:aws:iam::{}:user/{}", account.id, user.access_key),
                is_session: false,
                policy: Some(Policy {
                    allow: user.allow.clone(),
                    deny: Vec::new(),
                }),
            });
        }
        let all = self
            .all
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let session = all.get(access_key).ok_or(Unknown::Key)?;
        if token != Some(&session.token) {
            return Err(Unknown::Token);
        }
        if session.ends <= SystemTime::now() {
            return Err(Unknown::Expired);
        }
        Ok(session.identity.clone())
    }
}
