//! An alert on its way: as e-mail through SES or SMTP, as an event, as a message to a topic.

use super::message::Message;
use crate::aws::BaseSession;
use crate::config::{Channel, ExportConfig, MailConfig};
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
pub fn mail(message: &Message, addresses: &MailConfig) -> Result<Vec<u8>, SendError> {
    Ok(built(message, addresses)?.formatted())
}

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
pub async fn send(
    message: &Message,
    channel: &Channel,
    addresses: Option<&MailConfig>,
    base: Option<&BaseSession>,
    config: &ExportConfig,
) -> Result<(), SendError> {
    let no_address = || SendError("no address".to_owned());
    if let Channel::Smtp { .. } = channel {
        let mail = built(message, addresses.ok_or_else(no_address)?)?;
        return smtp(mail, channel, &config.network).await;
    }
    let base = base.ok_or_else(|| SendError("no base credentials".to_owned()))?;
    by_aws(message, channel, addresses, base, config).await
}

#[cfg(feature = "alerts")]
async fn by_aws(
    message: &Message,
    channel: &Channel,
    addresses: Option<&MailConfig>,
    base: &BaseSession,
    config: &ExportConfig,
) -> Result<(), SendError> {
    let limits = &config.limits;
    match channel {
        Channel::Smtp { .. } => Ok(()),
        Channel::Ses { .. } => {
            let no_address = || SendError("no address".to_owned());
            let raw = mail(message, addresses.ok_or_else(no_address)?)?;
            Ok(crate::aws::send_mail(base, channel, raw, addresses, limits).await?)
        }
        Channel::EventBus { .. } => {
            let detail = message.event.to_string();
            let of_kind = (message.kind.detail_type(), detail.as_str());
            Ok(crate::aws::put_event(base, channel, of_kind, limits).await?)
        }
        Channel::Sns { .. } => {
            let text = (message.subject.as_str(), message.text.as_str());
            Ok(crate::aws::publish_message(base, channel, text, limits).await?)
        }
    }
}

/// Time that an SMTP server has for each step.
const SMTP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

async fn smtp(
    mail: lettre::Message,
    channel: &Channel,
    network: &crate::config::Network,
) -> Result<(), SendError> {
    use lettre::AsyncTransport;
    let Some((transport, refused)) = smtp_transport(channel, network)? else {
        return Ok(());
    };
    transport.send(mail).await.map(|_| ()).map_err(refused)
}

/// Finds out whether a channel would take a message, and sends none: the mail server is entered and left, AWS is given an empty message.
///
/// # Errors
/// [`SendError`] with what the channel answered.
pub async fn try_channel(
    channel: &Channel,
    addresses: Option<&MailConfig>,
    base: &BaseSession,
    config: &ExportConfig,
) -> Result<(), SendError> {
    if let Some((transport, refused)) = smtp_transport(channel, &config.network)? {
        let answers = transport.test_connection().await.map_err(refused)?;
        let silent = || SendError("the server does not answer".to_owned());
        return answers.then_some(()).ok_or_else(silent);
    }
    try_aws(channel, addresses, base, config).await
}

#[cfg(feature = "alerts")]
async fn try_aws(
    channel: &Channel,
    addresses: Option<&MailConfig>,
    base: &BaseSession,
    config: &ExportConfig,
) -> Result<(), SendError> {
    let from = addresses.map(|a| a.from.as_str());
    Ok(crate::aws::try_channel(base, channel, from, &config.limits).await?)
}

type Smtp = lettre::AsyncSmtpTransport<lettre::Tokio1Executor>;

/// The way to a mail server, and what is said of its errors; none for a channel that is AWS's.
fn smtp_transport(
    channel: &Channel,
    network: &crate::config::Network,
) -> Result<Option<(Smtp, impl Fn(lettre::transport::smtp::Error) -> SendError)>, SendError> {
    use crate::config::SmtpSecurity;
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::transport::smtp::client::Tls;
    use secrecy::ExposeSecret;
    let Channel::Smtp {
        host,
        port,
        security,
        login,
    } = channel
    else {
        return Ok(None);
    };
    let place = format!("{host}:{port}");
    let refused = move |e: lettre::transport::smtp::Error| {
        let mut text = format!("{place}: {e}");
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
    let tls = || trust(host, network).map_err(&refused);
    let tls = match security {
        SmtpSecurity::StartTls => Tls::Required(tls()?),
        SmtpSecurity::Tls => Tls::Wrapper(tls()?),
        SmtpSecurity::None => Tls::None,
    };
    let builder = Smtp::builder_dangerous(host).tls(tls);
    let mut builder = builder.port(*port).timeout(Some(SMTP_TIMEOUT));
    if let Some((user, password)) = login {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(Some((builder.build(), refused)))
}

/// Whom a mail server's certificate must come from: the system's authorities, or those of `AWS_CA_BUNDLE` in their place.
fn trust(
    host: &str,
    network: &crate::config::Network,
) -> Result<lettre::transport::smtp::client::TlsParameters, lettre::transport::smtp::Error> {
    use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(ca) = &network.ca {
        tls = tls
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(&ca.pem)?);
    }
    tls.build()
}

/// This build has no way of AWS's: a configuration that asks for one was refused.
#[cfg(not(feature = "alerts"))]
#[expect(clippy::unused_async, reason = "with AWS's ways it calls")]
async fn by_aws(
    _: &Message,
    _: &Channel,
    _: Option<&MailConfig>,
    _: &BaseSession,
    _: &ExportConfig,
) -> Result<(), SendError> {
    Err(without())
}

#[cfg(not(feature = "alerts"))]
#[expect(clippy::unused_async, reason = "with AWS's ways it calls")]
async fn try_aws(
    _: &Channel,
    _: Option<&MailConfig>,
    _: &BaseSession,
    _: &ExportConfig,
) -> Result<(), SendError> {
    Err(without())
}

#[cfg(not(feature = "alerts"))]
fn without() -> SendError {
    SendError("this build sends by SMTP alone (feature 'alerts' is off)".to_owned())
}
