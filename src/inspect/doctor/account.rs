//! One account: its role, its regions, and each permission in use.

use crate::aws::{CallStats, Entered, LaneClient, Probe, Reader};
use crate::config::{ExportConfig, LogSelection, RegionChoice, RoleConfig, Source};
use crate::fetch::{LogGroup, log_groups, try_pattern, try_stream};
use crate::iam::{Grants, Principal, Statement, reader_statement};
use crate::inspect::doctor::report::{Check, CheckState};
use crate::model::{Cause, CauseKind, Dataset, Partition, Region, iso_seconds};

use crate::report::printable;
use crate::run::enter::regions::regions_of;
use crate::sources::spend::billing_region;

pub(crate) async fn account_checks(
    entered: Entered,
    config: &ExportConfig,
    who: Option<&str>,
) -> Vec<Check> {
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
    checks.extend(log_events(&client, config, &subject).await);
    checks.extend(otel(&client, config, &subject).await);
    checks.extend(charges(&reader, config, &subject).await);
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

/// The permissions that are in use, each with its call. Never none: what only reads charges lists metrics as well.
fn probes(config: &ExportConfig, reader: &Reader) -> Vec<Probe> {
    let by_instances = |s: &crate::config::Selection| matches!(s.source, Source::Ec2(_));
    let selections = || config.selections.iter();
    let mut probes = Vec::new();
    if !selections().all(by_instances) {
        probes.push(Probe::ListMetrics);
    }
    if reader.config().linked_accounts && !config.selections.is_empty() {
        probes.push(Probe::LinkedMetrics);
    }
    for dataset in Dataset::ALL.into_iter().filter(|d| config.configures(*d)) {
        match dataset {
            Dataset::Metrics if config.selections.is_empty() => {}
            Dataset::Metrics => {
                if selections().any(by_instances) {
                    probes.push(Probe::DescribeInstances);
                }
                probes.push(Probe::GetMetricData);
            }
            Dataset::Instances => probes.push(Probe::DescribeInstances),
            Dataset::Logs => probes.push(Probe::DescribeLogGroups),
            // In the region where they are published, with checks of their own.
            Dataset::Spend => {}
            Dataset::Alarms => probes.push(Probe::DescribeAlarms),
            Dataset::AlarmHistory => probes.push(Probe::DescribeAlarmHistory),
        }
    }
    if probes.is_empty() {
        probes.push(Probe::ListMetrics);
    }
    let mut seen = Vec::new();
    probes.retain(|probe| {
        let is_new = !seen.contains(probe);
        seen.push(*probe);
        is_new
    });
    probes
}

/// Charges are in one region, which need not be one that is read.
async fn charges(reader: &Reader, config: &ExportConfig, subject: &str) -> Vec<Check> {
    let wanted = config
        .spend
        .as_ref()
        .is_some_and(|s| s.reads(&reader.config().id));
    let region = billing_region(&reader.home_region()).filter(|_| wanted);
    let Some(region) = region else {
        return Vec::new();
    };
    let access = reader.config().access();
    let client = reader.lane(region.clone(), &config.limits);
    let mut checks = Vec::new();
    for probe in [Probe::ListMetrics, Probe::GetMetricData] {
        let name = format!("{} of charges", probe.name());
        checks.push(match client.try_permission(probe).await {
            Ok(()) => Check::ok(subject, &name, format!("allowed in {region}")),
            Err(cause) => denied(Check::failed(subject, &name, &cause), &cause, probe, access),
        });
    }
    checks
}

/// Events of one group are asked for, and none is read: permissions are given by group. Each of the two calls is tried where it is in use.
async fn log_events(client: &LaneClient, config: &ExportConfig, subject: &str) -> Vec<Check> {
    if config.logs.is_empty() {
        return Vec::new();
    }
    let stats = &mut CallStats::default();
    let Ok(found) = log_groups(client, "", stats).await else {
        // Told of with its own permission.
        return Vec::new();
    };
    let region = &client.lane().region;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs().cast_signed());
    let mut checks = Vec::new();
    for by_stream in [false, true] {
        let wants = |g: &LogGroup, s: &&LogSelection| {
            s.reads_streams() == by_stream && s.wants(&g.name) && g.is_readable
        };
        let wanted = |g: &LogGroup| {
            let selection = config.logs.iter().find(|s| wants(g, s))?;
            Some((g.name.clone(), selection))
        };
        let Some((group, selection)) = found.iter().find_map(wanted) else {
            continue;
        };
        let (name, tried) = if by_stream {
            let stream = selection.streams.first().map_or("", String::as_str);
            let tried = try_stream(client, &group, stream, now, stats).await;
            ("logs:GetLogEvents", tried)
        } else {
            let pattern = selection.filter_pattern.as_deref().unwrap_or("");
            let tried = try_pattern(client, &group, pattern, now, stats).await;
            ("logs:FilterLogEvents", tried)
        };
        checks.push(match tried {
            Ok(()) => Check::ok(subject, name, format!("allowed of {group} in {region}")),
            Err(cause) => {
                of_log_events(Check::failed(subject, name, &cause), &cause, config, client)
            }
        });
    }
    checks
}

fn of_log_events(check: Check, cause: &Cause, config: &ExportConfig, client: &LaneClient) -> Check {
    match (cause.kind, Grants::of(config).logs_statement()) {
        (CauseKind::AccessDenied, Some(statement)) => {
            let account = &client.lane().account;
            let role = config.accounts.iter().find(|a| a.id == *account);
            let access = role.map_or("base credentials", |a| a.access());
            check.add(format!("the policy of {access}"), &statement)
        }
        _ => check,
    }
}

/// What cannot be read at all is not to be taken for nothing.
async fn otel(client: &LaneClient, config: &ExportConfig, subject: &str) -> Option<Check> {
    if config.selections.is_empty() {
        return None;
    }
    let name = "OpenTelemetry metrics";
    let region = &client.lane().region;
    match client.has_otel_metrics().await {
        Some(false) => None,
        Some(true) => {
            let text = format!(
                "the account has metrics of CloudWatch's OpenTelemetry store in {region}: they are not read"
            );
            let remedy =
                "read them by PromQL; GetMetricData, which cwlake asks, does not answer them";
            Some(Check {
                remedy: Some(remedy.to_owned()),
                ..Check::new(subject, name, CheckState::Warning, text)
            })
        }
        None => {
            let text = "not known without cloudwatch:GetOTelEnrichment; if there are any, they are not read";
            Some(Check::ok(subject, name, text))
        }
    }
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
    let mut policy = Grants::trust_policy(&principal, id, None);
    let mut statement = policy.statements.remove(0);
    if let Some(role) = who.and_then(role_of_sso) {
        statement = statement.when("ArnLike", "aws:PrincipalArn", role);
    }
    check.add(format!("the trust policy of {}", role.arn), &statement)
}

/// The role behind a session of SSO, whose path the session does not tell, and whose last part changes when it is made anew.
///
/// # Source
/// IAM Identity Center user guide, "Referencing permission sets in resource policies": the account as principal, the role by a condition.
fn role_of_sso(arn: &str) -> Option<String> {
    let (start, session) = arn.split_once(":assumed-role/")?;
    let (name, _) = session.split('/').next()?.rsplit_once('_')?;
    let fields: Vec<&str> = start.split(':').collect();
    let ["arn", partition, "sts", "", account] = fields.as_slice() else {
        return None;
    };
    name.starts_with("AWSReservedSSO_").then(|| {
        format!("arn:{partition}:iam::{account}:role/aws-reserved/sso.amazonaws.com/*{name}_*")
    })
}

/// A session is not who assumes: its role is. The session does not tell the role's path.
fn principal_of(arn: &str) -> Option<Principal> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    if let ["arn", partition, "sts", "", account, resource] = fields.as_slice() {
        let role = resource.strip_prefix("assumed-role/")?.split('/').next()?;
        if role_of_sso(arn).is_some() {
            let of_account = Partition::parse(partition)?;
            return Principal::parse(account, of_account).ok();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_of_sso_is_trusted_by_its_path_whatever_its_last_part() {
        let session = "arn:aws-us-gov:sts::999900001111:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/me@example.com";
        assert_eq!(
            role_of_sso(session).as_deref(),
            Some(
                "arn:aws-us-gov:iam::999900001111:role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Admin_*"
            )
        );
        let account = principal_of(session).expect("a principal");
        assert_eq!(account.arn(), "arn:aws-us-gov:iam::999900001111:root");
        let plain = "arn:aws:sts::999900001111:assumed-role/cwlake/run";
        assert_eq!(role_of_sso(plain), None);
        let role = principal_of(plain).expect("a principal");
        assert_eq!(role.arn(), "arn:aws:iam::999900001111:role/cwlake");
    }
}
