//! Whether a run would find everything it needs: who is calling, each role, each permission in use, the organization, the destination, the
//! clock. Nothing billed is called, and the probe is deleted.

mod account;
mod destination;
mod report;

use std::collections::BTreeMap;

use self::account::account_checks;
use self::destination::destination;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::place::base_session;
use crate::iam::Grants;
use crate::report::{counted, printable};

use futures::future::join_all;
use futures::{StreamExt, stream};

use crate::alert::{SendError, try_channel};
use crate::aws::{BaseSession, caller, enter};
use crate::config::Network;
use crate::model::{Cause, CauseKind};
use crate::run::enter::accounts::{found_in, joined};

pub use self::report::{Check, CheckState, DoctorReport, StatementToAdd};

/// Looks at everything a run of this configuration needs.
///
/// # Errors
/// A configuration that names a unit or account that does not exist. Whatever else is wrong is a check.
pub async fn doctor(context: &RunContext) -> Result<DoctorReport, RunError> {
    let mut report = DoctorReport {
        checks: Vec::new(),
        without_credentials: false,
    };
    endpoints(&mut report);
    network(&context.config.network, &mut report);
    context.progress.stage("asking who is calling");
    let base = match base_session(context).await {
        Ok(base) => base,
        Err(RunError::Credentials(cause)) => {
            report
                .checks
                .push(Check::failed("base credentials", "found", &cause));
            report.without_credentials = true;
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    variants(&base, &mut report);
    let who = identity(&base, context, &mut report).await;
    if let Some(context) = organization(&base, context, &mut report).await? {
        let lacking = context.config.accounts_without_id();
        if !lacking.is_empty() {
            let text = format!(
                "{} without one although a file lists them",
                counted(lacking.len(), "account")
            );
            report.checks.push(Check {
                remedy: Some("cwlake init --missing-ids adds them".to_owned()),
                ..Check::new("configuration", "external ids", CheckState::Warning, text)
            });
        }
        let accounts = context.config.accounts.clone();
        context
            .progress
            .stage(&format!("entering {}", counted(accounts.len(), "account")));
        let checks: Vec<Vec<Check>> = stream::iter(accounts)
            .map(|account| {
                let (base, who, config) = (&base, who.as_deref(), &context.config);
                async move {
                    let entered = enter(base, account, config.run.sts_region.as_ref()).await;
                    account_checks(entered, config, who).await
                }
            })
            .buffered(context.config.run.concurrency as usize)
            .collect()
            .await;
        report.checks.extend(checks.into_iter().flatten());
    }
    channels(&base, context, &mut report).await;
    context
        .progress
        .stage("writing, reading and deleting a probe");
    destination(context, &mut report).await;
    context.progress.finish();
    Ok(report)
}

/// Where calls go that do not go to AWS. A wrong address was refused with the configuration.
fn endpoints(report: &mut DoctorReport) {
    let mut set: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in std::env::vars() {
        if name.starts_with("AWS_ENDPOINT_URL") && !value.is_empty() {
            set.insert(name, value);
        }
    }
    let ignored = std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    let detail = if ignored.is_ok_and(|v| v.eq_ignore_ascii_case("true")) || set.is_empty() {
        "AWS's own, unless the profile names others".to_owned()
    } else {
        let pairs = set.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    report
        .checks
        .push(Check::ok("endpoints", "effective", detail));
}

/// Every channel is given an empty message, or entered and left. Side by side, each with its time: a server that falls silent keeps nobody waiting.
async fn channels(base: &BaseSession, context: &RunContext, report: &mut DoctorReport) {
    let config = &context.config;
    let Some(alert) = &config.alert else {
        return;
    };
    let limit = config.limits.attempt_timeout;
    let checks = alert.channels.iter().map(|channel| async move {
        let trying = try_channel(channel, alert.mail.as_ref(), base, config);
        let tried = tokio::time::timeout(limit, trying).await;
        let tried = tried.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", limit.as_secs());
            Err(SendError(text))
        });
        match tried {
            Ok(()) => Check::ok(
                "alert",
                channel.name(),
                "it would take a message; none was sent",
            ),
            Err(error) => Check::new(
                "alert",
                channel.name(),
                CheckState::Failed,
                error.to_string(),
            ),
        }
    });
    report.checks.extend(join_all(checks).await);
}

/// What stands between this machine and AWS.
fn network(network: &Network, report: &mut DoctorReport) {
    let proxies = network.proxies.iter();
    let proxies = proxies.map(|p| format!("{}={}", p.variable, p.address));
    let mut proxies = proxies.collect::<Vec<_>>().join(", ");
    if proxies.is_empty() {
        "none".clone_into(&mut proxies);
    } else if let Some(hosts) = &network.no_proxy {
        proxies += &format!(", not for {hosts}");
    }
    let trusted = match &network.ca {
        None => "those of the system".to_owned(),
        Some(ca) => format!(
            "AWS_CA_BUNDLE={}, {}, and no others",
            ca.path.display(),
            counted(ca.certificates, "certificate")
        ),
    };
    let checks = [("proxy", proxies), ("certificates", trusted)];
    let checks = checks.map(|(name, detail)| Check::ok("network", name, printable(&detail)));
    report.checks.extend(checks);
}

/// Which of AWS's endpoints are called.
fn variants(base: &BaseSession, report: &mut DoctorReport) {
    let (fips, dual_stack) = base.endpoint_variants();
    let word = |on| if on { "on" } else { "off" };
    let detail = format!("FIPS {}, dual stack {}", word(fips), word(dual_stack));
    report
        .checks
        .push(Check::ok("endpoints", "variants", detail));
}

/// AWS refuses a signature that is five minutes off.
///
/// # Source
/// IAM user guide, "Troubleshoot Signature Version 4 requests".
const CLOCK_FAILS: i64 = 300;
const CLOCK_WARNS: i64 = 30;

async fn identity(
    base: &BaseSession,
    context: &RunContext,
    report: &mut DoctorReport,
) -> Option<String> {
    let config = &context.config;
    let answer = caller(base, config.run.sts_region.as_ref(), config.limits.attempts).await;
    let ahead = answer.time.map(|time| context.ahead_of(time).1);
    let is_skewed = ahead.is_some_and(|ahead| ahead.abs() >= CLOCK_FAILS);
    report.checks.extend(ahead.map(clock));
    match answer.caller {
        Ok(who) => {
            let detail = format!("{} (asked in {})", who.arn, who.region);
            report
                .checks
                .push(Check::ok("base credentials", "identity", detail));
            Some(who.arn)
        }
        Err(cause) => {
            let refused = [
                CauseKind::NoCredentials,
                CauseKind::ExpiredToken,
                // STS itself says that it does not know the key.
                CauseKind::RegionDisabled,
            ];
            let mut check = Check::failed("base credentials", "identity", &cause);
            if is_skewed {
                check.remedy = Some("set the clock first".to_owned());
            } else if refused.contains(&cause.kind) {
                check.remedy = Some(
                    "renew the base credentials, or set run.sts_region where this STS region is closed"
                        .to_owned(),
                );
                report.without_credentials = true;
            }
            report.checks.push(check);
            None
        }
    }
}

fn clock(ahead: i64) -> Check {
    let off = ahead.abs();
    let state = match off {
        CLOCK_FAILS.. => CheckState::Failed,
        CLOCK_WARNS.. => CheckState::Warning,
        _ => CheckState::Ok,
    };
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let mut check = Check::new("clock", "skew", state, format!("{off} s {side} AWS"));
    if state != CheckState::Ok {
        let remedy =
            "set the machine's clock by NTP: AWS refuses signatures that are five minutes off";
        check.remedy = Some(remedy.to_owned());
    }
    check
}

/// The run with all its accounts; none when they cannot be found out.
async fn organization(
    base: &BaseSession,
    context: &RunContext,
    report: &mut DoctorReport,
) -> Result<Option<RunContext>, RunError> {
    let Some(organization) = &context.config.organization else {
        return Ok(Some(context.clone()));
    };
    context.progress.stage("listing the organization");
    let found = match found_in(base, &context.config).await {
        Ok(found) => found,
        Err(RunError::Organization(cause)) => {
            let mut check = Check::failed("organization", "accounts", &cause);
            if cause.kind == CauseKind::AccessDenied {
                let grants = Grants::of(&context.config);
                let to = organization
                    .role
                    .as_ref()
                    .map_or("the caller", |r| r.arn.as_str());
                check = check.add(
                    format!("the policy of {to}"),
                    &grants.organization_statement(),
                );
            }
            report.checks.push(check);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (all, left_out) = joined(context, found)?;
    let inactive = left_out.iter().filter(|l| !l.is_failure).count();
    let detail = format!(
        "{} to read, {inactive} not active",
        counted(all.config.accounts.len(), "account")
    );
    report.checks.push(if all.config.accounts.is_empty() {
        let cause = Cause::new(CauseKind::Other, format!("{detail}: nothing would be read"));
        let cause = cause.with_hint("see the rules of [organization] with cwlake accounts");
        Check::failed("organization", "accounts", &cause)
    } else {
        Check::ok("organization", "accounts", detail)
    });
    for left_out in left_out.into_iter().filter(|l| l.is_failure) {
        let cause = Cause::new(CauseKind::Other, left_out.why);
        let subject = left_out.account.id.to_string();
        report
            .checks
            .push(Check::failed(subject, "configuration", &cause));
    }
    Ok(Some(all))
}
