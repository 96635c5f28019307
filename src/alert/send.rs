//! An alert on its way: as e-mail through SES or SMTP, as an event, as a message to a topic.

use super::message::Message;
use crate::aws::BaseSession;
use crate::config::{Channel, Limits, MailConfig};
use crate::model::Cause;

/// An alert could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SendError(pub String);

impl From<Cause> for SendError {
    fn from(cause: Cause) -> Self {
        Self(match cause.hint {
            Some(hint) => format!("{} ({hint})", cause.message),
            None => cause.message,
        })
    }
}

/// The alert as an e-mail of two parts, text and HTML.
///
/// # Errors
/// An address that is none; those of a configuration were looked at before.
///
/// # Source
/// RFC 5322, RFC 2046 (`multipart/alternative`).
#[cfg(feature = "alerts")]
pub fn mail(message: &Message, addresses: &MailConfig) -> Result<Vec<u8>, SendError> {
    Ok(built(message, addresses)?.formatted())
}

#[cfg(feature = "alerts")]
fn built(message: &Message, addresses: &MailConfig) -> Result<lettre::Message, SendError> {
    use lettre::message::{Mailbox, MultiPart};
    let mailbox = |address: &str| -> Result<Mailbox, SendError> {
        let parsed = address
            .parse()
            .map_err(|e| SendError(format!("'{address}': {e}")))?;
        Ok(Mailbox::new(None, parsed))
    };
    let mut mail = lettre::Message::builder()
        .from(mailbox(&addresses.from)?)
        .subject(&message.subject)
        // The same breaches are the same message, for whoever tells two of them apart.
        .message_id(Some(format!("<{}@cwlake>", message.id)));
    for to in &addresses.to {
        mail = mail.to(mailbox(to)?);
    }
    let parts = MultiPart::alternative_plain_html(message.text.clone(), message.html.clone());
    mail.multipart(parts)
        .map_err(|e| SendError(format!("the e-mail cannot be made: {e}")))
}

/// Sends an alert by one channel. `base` is asked for when the channel is AWS's.
///
/// # Errors
/// [`SendError`] with what the channel answered.
#[cfg(feature = "alerts")]
pub async fn send(
    message: &Message,
    channel: &Channel,
    addresses: Option<&MailConfig>,
    base: Option<&BaseSession>,
    limits: &Limits,
) -> Result<(), SendError> {
    let no_base = || SendError("no base credentials".to_owned());
    let no_address = || SendError("no address".to_owned());
    match channel {
        Channel::Smtp { .. } => smtp(message, channel, addresses.ok_or_else(no_address)?).await,
        Channel::Ses { .. } => {
            let raw = mail(message, addresses.ok_or_else(no_address)?)?;
            let base = base.ok_or_else(no_base)?;
            Ok(crate::aws::send_mail(base, channel, raw, addresses, limits).await?)
        }
        Channel::EventBus { .. } => {
            let base = base.ok_or_else(no_base)?;
            let detail = message.event.to_string();
            Ok(crate::aws::put_event(base, channel, &detail, limits).await?)
        }
        Channel::Sns { .. } => {
            let base = base.ok_or_else(no_base)?;
            let text = (message.subject.as_str(), message.text.as_str());
            Ok(crate::aws::publish_message(base, channel, text, limits).await?)
        }
    }
}

/// Time that an SMTP server has for each step.
#[cfg(feature = "alerts")]
const SMTP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(feature = "alerts")]
async fn smtp(
    message: &Message,
    channel: &Channel,
    addresses: &MailConfig,
) -> Result<(), SendError> {
    use crate::config::SmtpSecurity;
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
    use secrecy::ExposeSecret;
    type Transport = AsyncSmtpTransport<Tokio1Executor>;
    let Channel::Smtp {
        host,
        port,
        security,
        login,
    } = channel
    else {
        return Ok(());
    };
    let refused = |e: lettre::transport::smtp::Error| {
        let mut text = format!("{host}:{port}: {e}");
        let mut source = std::error::Error::source(&e);
        while let Some(below) = source {
            let below_text = below.to_string();
            if !text.contains(&below_text) {
                text = format!("{text}: {below_text}");
            }
            source = below.source();
        }
        SendError(text)
    };
    let builder = match security {
        SmtpSecurity::StartTls => Transport::starttls_relay(host).map_err(refused)?,
        SmtpSecurity::Tls => Transport::relay(host).map_err(refused)?,
        SmtpSecurity::None => Transport::builder_dangerous(host),
    };
    let mut builder = builder.port(*port).timeout(Some(SMTP_TIMEOUT));
    if let Some((user, password)) = login {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    builder
        .build()
        .send(built(message, addresses)?)
        .await
        .map(|_| ())
        .map_err(refused)
}

/// This build sends nothing: a configuration that asks for it was refused.
///
/// # Errors
/// Always.
#[cfg(not(feature = "alerts"))]
pub fn mail(_: &Message, _: &MailConfig) -> Result<Vec<u8>, SendError> {
    Err(without())
}

/// The same.
///
/// # Errors
/// Always.
#[cfg(not(feature = "alerts"))]
pub async fn send(
    _: &Message,
    _: &Channel,
    _: Option<&MailConfig>,
    _: Option<&BaseSession>,
    _: &Limits,
) -> Result<(), SendError> {
    Err(without())
}

#[cfg(not(feature = "alerts"))]
fn without() -> SendError {
    SendError("this build cannot send alerts (feature 'alerts' is off)".to_owned())
}
