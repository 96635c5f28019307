//! Whether a run would find everything it needs: who is calling, each role, each permission in use, the organization, the destination, the
//! clock. Nothing billed is called, and the probe is deleted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use super::accounts::{base_session, found_in, joined};
use super::pipeline::{RunContext, RunError};
use super::place::Place;
use super::prepare::regions_of;
use crate::accounts::{BaseSession, Entered, Probe, Reader, caller, enter};
use crate::config::{Destination, ExportConfig, RegionChoice, RoleConfig, Source};
use crate::iam::{Grants, Principal, Statement, reader_statement};
use crate::model::{Cause, CauseKind, Partition, Region, iso_seconds};
use crate::report::{counted, printable};
use crate::write::{AcquireError, Holder, Store, StoreError, layout};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// A run goes well without it.
    Warning,
    /// A run would miss it.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at: `base credentials`, an account, `destination` …
    pub subject: String,
    /// What of it.
    pub check: String,
    /// How it ended.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The policy statement to add, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementToAdd>,
}

/// A statement that is missing somewhere.
#[derive(Clone, Debug, Serialize)]
pub struct StatementToAdd {
    /// Whose policy.
    pub to: String,
    /// The statement.
    pub statement: serde_json::Value,
}

/// Every check.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// In the order they were made.
    pub checks: Vec<Check>,
    #[serde(skip)]
    without_credentials: bool,
}

impl Check {
    fn new(
        subject: impl Into<String>,
        check: &str,
        state: CheckState,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            check: check.to_owned(),
            state,
            detail: detail.into(),
            remedy: None,
            statement: None,
        }
    }

    fn ok(subject: impl Into<String>, check: &str, detail: impl Into<String>) -> Self {
        Self::new(subject, check, CheckState::Ok, detail)
    }

    fn failed(subject: impl Into<String>, check: &str, cause: &Cause) -> Self {
        Self {
            remedy: cause.hint.clone(),
            ..Self::new(subject, check, CheckState::Failed, cause.message.clone())
        }
    }

    fn of_store(check: &str, error: &StoreError, state: CheckState) -> Self {
        let usual = || "check destination.url, its permissions and its disk".to_owned();
        Self {
            remedy: error.hint.clone().or_else(|| Some(usual())),
            ..Self::new("destination", check, state, error.to_string())
        }
    }

    fn add(mut self, to: impl Into<String>, statement: &Statement) -> Self {
        self.statement = Some(StatementToAdd {
            to: to.into(),
            statement: serde_json::json!(statement),
        });
        self
    }
}

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
    let is_skewed = answer
        .clock_ahead
        .is_some_and(|ahead| ahead.abs() >= CLOCK_FAILS);
    report.checks.extend(answer.clock_ahead.map(clock));
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

async fn account_checks(entered: Entered, config: &ExportConfig, who: Option<&str>) -> Vec<Check> {
    let subject = match &entered.config.name {
        Some(name) => format!("{} ({})", entered.config.id, printable(name)),
        None => entered.config.id.to_string(),
    };
    let role = entered.config.role.clone();
    let reader = match entered.reader {
        Ok(reader) => reader,
        Err(cause) => {
            let check = Check::failed(subject, "role", &cause);
            return match (&role, cause.kind) {
                (Some(role), CauseKind::AccessDenied) => {
                    vec![with_trust(check, role, who), without_assume(role)]
                }
                _ => vec![check],
            };
        }
    };
    let until = match reader.session_end().await {
        Some(end) => format!(", session until {}", iso_seconds(end)),
        None => String::new(),
    };
    let access = role.as_ref().map_or("base credentials", |r| r.arn.as_str());
    let mut checks = vec![Check::ok(
        subject.clone(),
        "role",
        format!("{access}{until}"),
    )];
    let probes = probes(config, &reader);
    let (regions, found) = match regions_to_try(&reader, config).await {
        Ok(found) => found,
        Err(cause) => {
            let check = Check::failed(subject, "regions", &cause);
            checks.push(denied(check, &cause, Probe::DescribeRegions, access));
            return checks;
        }
    };
    checks.extend(found.map(|check| Check {
        subject: subject.clone(),
        ..check
    }));
    let (open, closed) = try_regions(&reader, config, &regions, probes[0], &subject).await;
    checks.extend(closed);
    let region = open.unwrap_or_else(|| regions[0].clone());
    let client = reader.lane(region.clone(), &config.limits);
    for probe in probes {
        let name = probe.name();
        checks.push(match client.try_permission(probe).await {
            Ok(()) => Check::ok(subject.clone(), name, format!("allowed in {region}")),
            Err(cause) => {
                let check = Check::failed(subject.clone(), name, &cause);
                denied(check, &cause, probe, access)
            }
        });
    }
    checks
}

/// Tries the regions of an account: every one that was listed by hand, with a check for each that is closed; of those found by themselves no
/// more than it takes to find one that is open. Where none is, the permission itself may be what is missing: its own check tells.
async fn try_regions(
    reader: &Reader,
    config: &ExportConfig,
    regions: &[Region],
    probe: Probe,
    subject: &str,
) -> (Option<Region>, Vec<Check>) {
    let by_hand = reader.config().regions != RegionChoice::Auto;
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for region in regions {
        let client = reader.lane(region.clone(), &config.limits);
        match client.try_permission(probe).await {
            Ok(()) => open.push(region.clone()),
            Err(cause) if by_hand => {
                closed.push(Check::failed(subject, &format!("region {region}"), &cause));
            }
            Err(cause) if cause.kind.is_about_a_region() => {}
            Err(_) => break,
        }
        if !by_hand && !open.is_empty() {
            break;
        }
    }
    let first = open.first().cloned();
    if first.is_none() {
        closed.clear();
    } else if by_hand && regions.len() > 1 {
        let detail = format!("{} of {} answer", open.len(), regions.len());
        closed.insert(0, Check::ok(subject, "regions", detail));
    }
    (first, closed)
}

/// The regions of an account, its home region first where they are found by themselves, and what is to be said of how they are found.
async fn regions_to_try(
    reader: &Reader,
    config: &ExportConfig,
) -> Result<(Vec<Region>, Option<Check>), Cause> {
    let mut regions = regions_of(reader, config).await?;
    if reader.config().regions != RegionChoice::Auto {
        return Ok((regions.read, None));
    }
    let home = reader.home_region();
    regions.read.sort_by_key(|region| *region != home);
    let Some(cause) = regions.guessed else {
        let detail = format!(
            "{} enabled, {} not",
            regions.read.len(),
            regions.disabled.len()
        );
        return Ok((regions.read, Some(Check::ok("", "regions", detail))));
    };
    let text = format!("all {} are tried: {}", regions.read.len(), cause.message);
    let check = Check {
        remedy: cause.hint.clone(),
        ..Check::new("", "regions", CheckState::Warning, text)
    };
    let access = reader.config().access();
    let check = denied(check, &cause, Probe::DescribeRegions, access);
    Ok((regions.read, Some(check)))
}

/// The permissions that are in use, each with its call.
fn probes(config: &ExportConfig, reader: &Reader) -> Vec<Probe> {
    let by_instances = |s: &crate::config::Selection| matches!(s.source, Source::Ec2(_));
    let mut probes = Vec::new();
    if !config.selections.iter().all(by_instances) {
        probes.push(Probe::ListMetrics);
    }
    if reader.config().linked_accounts {
        probes.push(Probe::LinkedMetrics);
    }
    if config.selections.iter().any(by_instances) {
        probes.push(Probe::DescribeInstances);
    }
    probes.push(Probe::GetMetricData);
    probes
}

fn denied(check: Check, cause: &Cause, probe: Probe, access: &str) -> Check {
    match cause.kind {
        CauseKind::AccessDenied => check.add(
            format!("the policy of {access}"),
            &reader_statement(&[probe.action()]),
        ),
        _ => check,
    }
}

/// The external id itself is shown by `cwlake iam` alone.
fn with_trust(check: Check, role: &RoleConfig, who: Option<&str>) -> Check {
    let principal = who.and_then(principal_of);
    let Some(principal) = principal else {
        return check;
    };
    let id = role
        .external_id
        .as_ref()
        .map(|_| "<external id of this account: cwlake iam prints it>");
    let policy = Grants::trust_policy(&principal, id, None);
    check.add(
        format!("the trust policy of {}", role.arn),
        &policy.statements[0],
    )
}

/// A session is not who assumes: its role is. The session does not tell the role's path.
fn principal_of(arn: &str) -> Option<Principal> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    if let ["arn", partition, "sts", "", account, resource] = fields.as_slice() {
        let role = resource.strip_prefix("assumed-role/")?.split('/').next()?;
        return Principal::parse(
            &format!("arn:{partition}:iam::{account}:role/{role}"),
            Partition::Aws,
        )
        .ok();
    }
    Principal::parse(arn, Partition::Aws).ok()
}

fn without_assume(role: &RoleConfig) -> Check {
    let statement = Statement::allow("CwlakeAssume", &["sts:AssumeRole"], vec![role.arn.clone()]);
    let account = role.arn.split(':').nth(4).unwrap_or_default();
    let check = Check::new(
        account,
        "sts:AssumeRole",
        CheckState::Warning,
        "AWS does not tell whether the trust policy or the caller's own policy denied it",
    );
    check.add("the caller's policy, if it is not there", &statement)
}

async fn destination(context: &RunContext, report: &mut DoctorReport) {
    let place = match Place::of(context).await {
        Ok(place) => place,
        Err(error) => {
            let cause = Cause::new(CauseKind::Destination, error.to_string());
            report
                .checks
                .push(Check::failed("destination", "found", &cause));
            return;
        }
    };
    let store = &*place.store;
    let key = format!(
        "{}/probe-{:016x}",
        layout::CONTROL_FOLDER,
        fastrand::u64(..)
    );
    let body = Bytes::from_static(b"written by cwlake doctor\n");
    let writer = writer_name(&context.config);
    let statements = Grants::of(&context.config).writer_statements();
    let missing = |check: Check, sid: &str| {
        let statement = statements.iter().find(|s| s.sid == sid);
        match statement {
            Some(statement) => check.add(format!("the policy of {writer}"), statement),
            None => check,
        }
    };
    if let Err(error) = store.put(&key, body.clone()).await {
        let check = Check::of_store("write", &error, CheckState::Failed);
        report.checks.push(missing(check, "CwlakeWrite"));
        return;
    }
    let place_of = format!("{}: {key}", store.describe());
    report
        .checks
        .push(Check::ok("destination", "write", place_of));
    report.checks.push(match store.get(&key).await {
        Ok(Some(read)) if read == body => Check::ok("destination", "read", "as it was written"),
        Ok(_) => Check::new(
            "destination",
            "read",
            CheckState::Failed,
            "not what was written",
        ),
        Err(error) => missing(
            Check::of_store("read", &error, CheckState::Failed),
            "CwlakeWrite",
        ),
    });
    let control = format!("{}/", layout::CONTROL_FOLDER);
    report.checks.push(match store.list(&control).await {
        Ok(_) => Check::ok("destination", "list", control),
        Err(error) => missing(
            Check::of_store("list", &error, CheckState::Failed),
            "CwlakeList",
        ),
    });
    report
        .checks
        .push(match store.prove_writable(layout::METRICS).await {
            Ok(()) => Check::ok(
                "destination",
                "publish",
                format!("files of {}", layout::METRICS),
            ),
            Err(error) => {
                let check = Check::of_store("publish", &error, CheckState::Failed);
                missing(check, "CwlakeWrite")
            }
        });
    report.checks.push(match lock(store).await {
        check if check.state == CheckState::Failed => missing(check, "CwlakeWrite"),
        check => check,
    });
    report.checks.push(match store.delete(&key).await {
        Ok(()) => Check::ok("destination", "delete", key),
        // Only a forced empty unit needs it.
        Err(error) => {
            let check = Check::of_store("delete", &error, CheckState::Warning);
            missing(check, "CwlakeReplace")
        }
    });
}

/// The lock that two runs share: a bucket's needs a store that writes on conditions.
async fn lock(store: &dyn Store) -> Check {
    let holder = Holder::of_this_process("doctor");
    match store.acquire(&holder).await {
        Ok(held) => {
            held.release().await;
            Check::ok("destination", "lock", "taken and given back")
        }
        Err(AcquireError::Taken { holder, .. }) => {
            Check::ok("destination", "lock", format!("a run holds it: {holder}"))
        }
        Err(AcquireError::Store(error)) => Check::of_store("lock", &error, CheckState::Failed),
    }
}

fn writer_name(config: &ExportConfig) -> String {
    match &config.destination {
        Destination::S3(s3) => s3
            .role
            .as_ref()
            .map_or("the caller", |r| r.arn.as_str())
            .to_owned(),
        Destination::Local(_) => "the caller".to_owned(),
    }
}

impl DoctorReport {
    /// 0; 6 when there are no usable base credentials, 3 when something else would be missed.
    pub fn exit_code(&self) -> u8 {
        let failed = self.checks.iter().any(|c| c.state == CheckState::Failed);
        match (self.without_credentials, failed) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        }
    }

    /// A line a check, what to do about those that failed, and a sum. `colour` paints the states.
    pub fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        let widest = |of: fn(&Check) -> &str| {
            let widths = self.checks.iter().map(|c| of(c).chars().count());
            widths.max().unwrap_or(0).min(44)
        };
        let (subjects, names) = (widest(|c| &c.subject), widest(|c| &c.check));
        for check in &self.checks {
            let (word, paint) = match check.state {
                CheckState::Ok => ("ok", "32"),
                CheckState::Warning => ("warning", "33"),
                CheckState::Failed => ("FAILED", "31"),
            };
            let word = if colour {
                format!("\u{1b}[{paint}m{word:<7}\u{1b}[0m")
            } else {
                format!("{word:<7}")
            };
            let _ = writeln!(
                out,
                "{word} {:<subjects$}  {:<names$}  {}",
                printable(&check.subject),
                check.check,
                printable(&check.detail)
            );
            if let Some(remedy) = &check.remedy {
                let _ = writeln!(out, "        = {}", printable(remedy));
            }
            if let Some(add) = &check.statement {
                let _ = writeln!(out, "        + add to {}:", printable(&add.to));
                for line in format!("{:#}", add.statement).lines() {
                    let _ = writeln!(out, "          {line}");
                }
            }
        }
        let count = |state| self.checks.iter().filter(|c| c.state == state).count();
        let _ = writeln!(
            out,
            "{}: {} ok, {} with a warning, {} failed",
            counted(self.checks.len(), "check"),
            count(CheckState::Ok),
            count(CheckState::Warning),
            count(CheckState::Failed)
        );
        out
    }
}
