//! STS: `AssumeRole` and `GetCallerIdentity`, query protocol.
//!
//! # Source
//! STS API reference; IAM user guide on external ids and role chaining.

use std::time::{Duration, SystemTime};

use super::answer::{Answer, Form, xml_escape};
use super::identity::{Identity, Sessions};

use super::world::World;

/// Role chaining: a session may not ask for more.
const CHAINED_SECONDS: u64 = 3_600;

pub(super) fn handle(world: &World, sessions: &Sessions, caller: &Identity, form: &Form) -> Answer {
    match form.get("Action") {
        Some("GetCallerIdentity") => Answer::xml(format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{}</Arn><UserId>AIDAEMULATOR</UserId><Account>{}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
            xml_escape(&caller.arn),
            caller.account
        )),
        Some("AssumeRole") => assume(world, sessions, caller, form),
        other => Answer::query_error(
            400,
            "InvalidAction",
            &format!("unknown action {}", other.unwrap_or("none")),
        ),
    }
}

fn assume(world: &World, sessions: &Sessions, caller: &Identity, form: &Form) -> Answer {
    let arn = form.get("RoleArn").unwrap_or("");
    let session_name = form.get("RoleSessionName").unwrap_or("");
    let denied = || {
        let text = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            caller.arn
        );
        Answer::query_error(403, "AccessDenied", &text)
    };
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, resource] = fields.as_slice() else {
        return Answer::query_error(400, "ValidationError", &format!("{arn} is invalid"));
    };
    let role = world.account(account).and_then(|a| {
        a.roles
            .iter()
            .find(|r| Some(r.name.as_str()) == resource.strip_prefix("role/"))
    });
    // A role that does not exist and one that does not trust the caller are told apart by nobody.
    let Some(role) = role else {
        return denied();
    };
    let trusted = role.trust.contains(&caller.account);
    let external = role
        .external_id
        .as_deref()
        .is_none_or(|wanted| form.get("ExternalId") == Some(wanted));
    if !trusted || !external || !caller.allows("sts:AssumeRole", "") {
        return denied();
    }
    let asked = form
        .get("DurationSeconds")
        .map_or(Ok(CHAINED_SECONDS), str::parse::<u64>);
    let longest = if caller.is_session {
        CHAINED_SECONDS
    } else {
        role.max_session_secs
    };
    let Some(seconds) = asked
        .ok()
        .filter(|s| (900..=43_200).contains(s) && *s <= longest)
    else {
        return Answer::query_error(
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        );
    };
    let length = Duration::from_secs(role.session_secs.unwrap_or(seconds));
    let given = sessions.give(account, role, session_name, length);
    let name = role.name.rsplit('/').next().unwrap_or(&role.name);
    Answer::xml(format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROAEMULATOR:{session}</AssumedRoleId><Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn>\
         </AssumedRoleUser><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        given.access_key,
        given.secret,
        given.token,
        rfc3339(given.ends),
        session = xml_escape(session_name),
    ))
}

fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    crate::model::iso_seconds(seconds.cast_signed())
}
