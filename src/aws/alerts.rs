//! Alerts by AWS's own ways. Follows SES v2 `SendEmail`, EventBridge `PutEvents` and SNS `Publish`.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, RawMessage};

use super::base::BaseSession;
use super::retry::retried;
use crate::config::{Channel, Limits, MailConfig, RoleConfig};
use crate::model::{Cause, CauseKind, Region};

fn sdk(base: &BaseSession, region: &Region, role: Option<&RoleConfig>) -> aws_config::SdkConfig {
    let credentials = base.credentials_of(role, region);
    base.sdk(region, &credentials)
}

/// An export waits for its alerts, and the next run sends what was not taken: few tries are enough.
fn tries(limits: &Limits) -> u32 {
    limits.attempts.min(3)
}

fn hinted(cause: Cause, action: &str, role: Option<&RoleConfig>) -> Cause {
    let who = role.map_or("the caller", |r| r.arn.as_str());
    match cause.kind {
        CauseKind::AccessDenied if cause.hint.is_none() => cause.with_hint(format!(
            "allow {action} in the policy of {who}: cwlake iam prints it"
        )),
        _ => cause,
    }
}

/// Sends a finished e-mail through SES.
///
/// # Errors
/// The cause of the last try.
pub async fn send_mail(
    base: &BaseSession,
    channel: &Channel,
    raw: Vec<u8>,
    addresses: Option<&MailConfig>,
    limits: &Limits,
) -> Result<(), Cause> {
    let Channel::Ses {
        region,
        role,
        configuration_set,
    } = channel
    else {
        return Ok(());
    };
    let client = aws_sdk_sesv2::Client::new(&sdk(base, region, role.as_ref()));
    let broken =
        |e: &dyn std::fmt::Display| Cause::new(CauseKind::Other, format!("SendEmail: {e}"));
    let raw = RawMessage::builder().data(Blob::new(raw)).build();
    let content = EmailContent::builder()
        .raw(raw.map_err(|e| broken(&e))?)
        .build();
    let to = addresses.map(|a| a.to.clone());
    let destination = Destination::builder().set_to_addresses(to).build();
    let sent = retried("SendEmail", tries(limits), || {
        client
            .send_email()
            .set_from_email_address(addresses.map(|a| a.from.clone()))
            .destination(destination.clone())
            .content(content.clone())
            .set_configuration_set_name(configuration_set.clone())
            .send()
    });
    let sent = sent.await.map(|_| ());
    sent.map_err(|cause| hinted(cause, "ses:SendEmail and ses:SendRawEmail", role.as_ref()))
}

/// Puts an event on a bus. `detail` is a JSON object.
///
/// # Errors
/// The cause of the last try, or why the bus did not take the event.
pub async fn put_event(
    base: &BaseSession,
    channel: &Channel,
    (detail_type, detail): (&str, &str),
    limits: &Limits,
) -> Result<(), Cause> {
    let Channel::EventBus { arn, region, role } = channel else {
        return Ok(());
    };
    let client = aws_sdk_eventbridge::Client::new(&sdk(base, region, role.as_ref()));
    let entry = PutEventsRequestEntry::builder()
        .source("cwlake")
        .detail_type(detail_type)
        .event_bus_name(arn)
        .detail(detail)
        .build();
    let put = retried("PutEvents", tries(limits), || {
        client.put_events().entries(entry.clone()).send()
    });
    let answer = put
        .await
        .map_err(|cause| hinted(cause, "events:PutEvents", role.as_ref()))?;
    // A refused entry comes with a success.
    let refused = answer.entries().iter().find(|e| e.error_code().is_some());
    match refused {
        None if answer.failed_entry_count() == 0 => Ok(()),
        entry => {
            let code = entry.and_then(|e| e.error_code()).unwrap_or("no reason");
            let text = entry.and_then(|e| e.error_message()).unwrap_or("");
            Err(Cause::new(
                CauseKind::Other,
                format!("PutEvents: the bus did not take the event: {code}: {text}"),
            ))
        }
    }
}

/// Longest message of a topic, in bytes.
///
/// # Source
/// SNS API reference, `Publish`: 262,144 bytes.
const LONGEST_MESSAGE: usize = 256 * 1_024;

/// Publishes subject and text to a topic.
///
/// # Errors
/// The cause of the last try.
pub async fn publish_message(
    base: &BaseSession,
    channel: &Channel,
    (subject, text): (&str, &str),
    limits: &Limits,
) -> Result<(), Cause> {
    let Channel::Sns { arn, region, role } = channel else {
        return Ok(());
    };
    let client = aws_sdk_sns::Client::new(&sdk(base, region, role.as_ref()));
    let end = (0..=text.len().min(LONGEST_MESSAGE))
        .rev()
        .find(|n| text.is_char_boundary(*n));
    let text = &text[..end.unwrap_or(0)];
    let published = retried("Publish", tries(limits), || {
        client
            .publish()
            .topic_arn(arn)
            .subject(subject)
            .message(text)
            .send()
    });
    let published = published.await.map(|_| ());
    published.map_err(|cause| hinted(cause, "sns:Publish", role.as_ref()))
}

/// Tries whether a channel of AWS's would take a message, without sending one: an empty one is refused for being empty by who would take it, and
/// for want of a permission by who would not.
///
/// # Errors
/// The cause of a refusal that is not about the message.
pub async fn try_channel(
    base: &BaseSession,
    channel: &Channel,
    from: Option<&str>,
    limits: &Limits,
) -> Result<(), Cause> {
    let tried = match channel {
        Channel::Smtp { .. } => Ok(()),
        Channel::Ses { region, role, .. } => {
            let client = aws_sdk_sesv2::Client::new(&sdk(base, region, role.as_ref()));
            let raw = RawMessage::builder().data(Blob::new(Vec::new())).build();
            let content = EmailContent::builder().set_raw(raw.ok()).build();
            let sent = retried("SendEmail", tries(limits), || {
                client
                    .send_email()
                    .set_from_email_address(from.map(str::to_owned))
                    .content(content.clone())
                    .send()
            });
            let sent = sent.await.map(|_| ());
            sent.map_err(|cause| hinted(cause, "ses:SendEmail and ses:SendRawEmail", role.as_ref()))
        }
        Channel::EventBus { arn, region, role } => {
            let client = aws_sdk_eventbridge::Client::new(&sdk(base, region, role.as_ref()));
            // Without a detail no bus takes it.
            let entry = PutEventsRequestEntry::builder()
                .source("cwlake")
                .event_bus_name(arn)
                .build();
            let put = retried("PutEvents", tries(limits), || {
                client.put_events().entries(entry.clone()).send()
            });
            let put = put.await.and_then(|answer| {
                let codes = answer.entries().iter().filter_map(|e| e.error_code());
                let of_another = |code: &&str| {
                    ["Denied", "NotAuthorized", "NotFound"]
                        .iter()
                        .any(|part| code.contains(part))
                };
                match codes.into_iter().find(of_another) {
                    None => Ok(()),
                    Some(code) => {
                        let text = format!("PutEvents: the bus does not take the event: {code}");
                        Err(Cause::new(CauseKind::AccessDenied, text).with_code(code))
                    }
                }
            });
            put.map_err(|cause| hinted(cause, "events:PutEvents", role.as_ref()))
        }
        Channel::Sns { arn, region, role } => {
            let client = aws_sdk_sns::Client::new(&sdk(base, region, role.as_ref()));
            let published = retried("Publish", tries(limits), || {
                client.publish().topic_arn(arn).message("").send()
            });
            let published = published.await.map(|_| ());
            published.map_err(|cause| hinted(cause, "sns:Publish", role.as_ref()))
        }
    };
    match tried {
        Err(cause) if is_about_the_message(&cause) => Ok(()),
        tried => tried,
    }
}

/// What an empty message is refused with.
///
/// # Source
/// API references of SES v2 `SendEmail`, EventBridge `PutEvents` and SNS `Publish`, errors.
fn is_about_the_message(cause: &Cause) -> bool {
    const CODES: [&str; 5] = [
        "BadRequestException",
        "InvalidParameter",
        "InvalidParameterException",
        "ValidationException",
        "ValidationError",
    ];
    CODES.iter().any(|code| cause.is(code))
}
