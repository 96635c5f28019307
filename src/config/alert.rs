//! How people and systems are told of a breach: `[alert]`.

use jiff::civil::Weekday;
use secrecy::SecretString;

use super::file::FileConfig;
use super::given::{Environment, NO_VARIABLE, is_variable};
use super::problem::{Problem, printable};
use super::regions::known_region;
use super::roles::{RoleConfig, named_role};
use super::spanned::Spanned;
use super::tables::{Alert, EventBus, Ses, Smtp, Sns};
use crate::model::{AccountId, Region};

/// `[alert]`, validated: at least one channel.
#[derive(Clone, Debug)]
pub struct AlertConfig {
    /// Sender and receivers of e-mails; none when no channel sends any.
    pub mail: Option<MailConfig>,
    /// In the order they are used.
    pub channels: Vec<Channel>,
    /// The day of the week on which the seven days before are told of.
    pub digest: Option<Weekday>,
}

/// Addresses: one `@`, no space, no control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// Sender.
    pub from: String,
    /// At least one receiver.
    pub to: Vec<String>,
}

/// One way to tell.
#[derive(Clone, Debug)]
pub enum Channel {
    /// Amazon SES.
    Ses {
        /// Of the identity.
        region: Region,
        /// Else the base credentials.
        role: Option<RoleConfig>,
        /// Of SES.
        configuration_set: Option<String>,
    },
    /// An SMTP server.
    Smtp {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is secured.
        security: SmtpSecurity,
        /// User and password.
        login: Option<(String, SecretString)>,
    },
    /// `EventBridge`.
    EventBus {
        /// ARN of the bus.
        arn: String,
        /// Its region.
        region: Region,
        /// Else the base credentials.
        role: Option<RoleConfig>,
    },
    /// SNS.
    Sns {
        /// ARN of the topic.
        arn: String,
        /// Its region.
        region: Region,
        /// Else the base credentials.
        role: Option<RoleConfig>,
    },
}

impl Channel {
    /// Its name in reports and in the record of what was sent.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ses { .. } => "ses",
            Self::Smtp { .. } => "smtp",
            Self::EventBus { .. } => "event_bus",
            Self::Sns { .. } => "sns",
        }
    }

    /// The role it sends with.
    pub fn role(&self) -> Option<&RoleConfig> {
        match self {
            Self::Ses { role, .. } | Self::EventBus { role, .. } | Self::Sns { role, .. } => {
                role.as_ref()
            }
            Self::Smtp { .. } => None,
        }
    }
}

/// How a connection to an SMTP server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS after `STARTTLS`, which the server must offer.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: for a server on this machine.
    None,
}

impl SmtpSecurity {
    /// # Source
    /// RFC 6409 (587), RFC 8314 (465), RFC 5321 (25).
    fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// Resolves `[alert]`, collecting what is wrong.
pub(super) fn resolve(
    file: &FileConfig,
    env: &Environment,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> Option<AlertConfig> {
    let entry = file.alert.as_ref()?;
    let alert = entry.get_ref();
    let by_aws = alert.ses.is_some() || alert.event_bus.is_some() || alert.sns.is_some();
    if by_aws && !cfg!(feature = "alerts") {
        let text = "this build sends by SMTP alone (feature 'alerts' is off)";
        let problem = Problem::at(entry.span(), text);
        problems.push(problem.remedy("build with default features, or use [alert.smtp]"));
    }
    if file.budget.is_empty() && alert.digest.is_none() && file.notify.is_none() {
        problems.push(
            Problem::at(entry.span(), "an alert tells of budgets, and there is none")
                .remedy("add a [[budget]] table, for example with daily_usd = 500.0; a digest = \"monday\", or [notify]"),
        );
    }
    let digest = alert.digest.as_ref();
    let digest = digest.and_then(|day| weekday(day, file.spend.is_some(), problems));
    let mut channels = Vec::new();
    channels.extend(
        alert
            .ses
            .as_ref()
            .and_then(|ses| self::ses(ses, env, extra, problems)),
    );
    channels.extend(
        alert
            .smtp
            .as_ref()
            .and_then(|smtp| self::smtp(smtp, env, problems)),
    );
    channels.extend(
        alert
            .event_bus
            .as_ref()
            .and_then(|bus| event_bus(bus, env, problems)),
    );
    channels.extend(
        alert
            .sns
            .as_ref()
            .and_then(|sns| self::sns(sns, env, problems)),
    );
    let mails = alert.ses.is_some() || alert.smtp.is_some();
    if !by_aws && alert.smtp.is_none() {
        problems.push(
            Problem::at(entry.span(), "no way to send alerts is given")
                .remedy("add [alert.ses], [alert.smtp], [alert.event_bus] or [alert.sns]"),
        );
    }
    let mail = mail(alert, problems);
    if mails && mail.is_none() {
        problems.push(
            Problem::at(entry.span(), "e-mails need a sender and a receiver")
                .remedy("from = \"cwlake@example.com\", to = [\"finops@example.com\"]"),
        );
    }
    Some(AlertConfig {
        mail,
        channels,
        digest,
    })
}

fn weekday(
    given: &Spanned<String>,
    has_charges: bool,
    problems: &mut Vec<Problem>,
) -> Option<Weekday> {
    if !has_charges {
        let text = "a week's charges are told, and none are exported";
        let problem = Problem::at(given.span(), text);
        problems.push(problem.remedy("add spend = {} at the top of the file"));
    }
    let all = Weekday::Monday.cycle_forward().take(7);
    let mut named = all.filter(|day| format!("{day:?}").eq_ignore_ascii_case(given.get_ref()));
    let named = named.next();
    if named.is_none() {
        let text = format!("'{}' is not a day of the week", printable(given.get_ref()));
        problems.push(Problem::at(given.span(), text).remedy("for example \"monday\""));
    }
    named
}

fn mail(alert: &Alert, problems: &mut Vec<Problem>) -> Option<MailConfig> {
    for address in alert.from.iter().chain(&alert.to) {
        if !is_address(address.get_ref()) {
            problems.push(
                Problem::at(
                    address.span(),
                    format!("'{}' is not an e-mail address", printable(address.get_ref())),
                )
                .remedy("one address a text, such as \"finops@example.com\", without a name or a line break"),
            );
        }
    }
    match (&alert.from, alert.to.is_empty()) {
        (Some(from), false) => Some(MailConfig {
            from: from.get_ref().clone(),
            to: alert.to.iter().map(|t| t.get_ref().clone()).collect(),
        }),
        _ => None,
    }
}

/// Stricter than RFC 5321 allows: ASCII, no quotes, no comments. What goes into a header must not be able to end it.
fn is_address(text: &str) -> bool {
    let sign = |c: char| c.is_ascii_graphic() && !"()<>[]:;,\\\"".contains(c);
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && !domain.is_empty()
        && text.chars().all(sign)
        && !domain.contains('@')
        && !domain.starts_with(['.', '-'])
        && !domain.ends_with('.')
}

fn ses(
    given: &Spanned<Ses>,
    env: &Environment,
    extra: &[Region],
    problems: &mut Vec<Problem>,
) -> Option<Channel> {
    let ses = given.get_ref();
    let region = match known_region(ses.region.get_ref(), extra) {
        Ok(region) => Some(region),
        Err(remedy) => {
            let text = format!(
                "'{}' is not a known region",
                printable(ses.region.get_ref())
            );
            problems.push(Problem::at(ses.region.span(), text).remedy(remedy));
            None
        }
    };
    if let Some(set) = &ses.configuration_set {
        let sign = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if set.get_ref().is_empty() || !set.get_ref().chars().all(sign) {
            problems.push(
                Problem::at(set.span(), "this is not the name of a configuration set")
                    .remedy("letters, digits, '_' and '-'"),
            );
        }
    }
    let role = named_role(
        "alert.ses",
        ses.role_arn.as_ref(),
        ses.external_id.as_ref(),
        env,
        problems,
    );
    Some(Channel::Ses {
        region: region?,
        role,
        configuration_set: ses.configuration_set.as_ref().map(|s| s.get_ref().clone()),
    })
}

fn smtp(given: &Spanned<Smtp>, env: &Environment, problems: &mut Vec<Problem>) -> Option<Channel> {
    let before = problems.len();
    let smtp = given.get_ref();
    let host = smtp.host.get_ref();
    let sign = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    // An IPv6 address has more colons than one.
    if host.is_empty() || !host.chars().all(sign) || host.matches(':').count() == 1 {
        problems.push(
            Problem::at(
                smtp.host.span(),
                format!("'{}' is not the name of a server", printable(host)),
            )
            .remedy("for example smtp.example.com; the port has a key of its own"),
        );
    }
    let security = match smtp.security.as_ref().map(|s| s.get_ref().as_str()) {
        None | Some("starttls") => SmtpSecurity::StartTls,
        Some("tls") => SmtpSecurity::Tls,
        Some("none") => SmtpSecurity::None,
        Some(other) => {
            let span = smtp.security.as_ref().map_or(0..0, Spanned::span);
            problems.push(
                Problem::at(
                    span,
                    format!("'{}' is no way to secure a connection", printable(other)),
                )
                .remedy("\"starttls\", \"tls\" or \"none\""),
            );
            SmtpSecurity::StartTls
        }
    };
    let port = smtp.port.as_ref().map(|p| (*p.get_ref(), p.span()));
    let port = match port {
        None => security.port(),
        Some((port, span)) => u16::try_from(port)
            .ok()
            .filter(|p| *p > 0)
            .unwrap_or_else(|| {
                problems
                    .push(Problem::at(span, format!("{port} is not a port")).remedy("1 to 65535"));
                0
            }),
    };
    let login = login(given, env, problems);
    if let (SmtpSecurity::None, Some(user)) =
        (security, smtp.user.as_ref().filter(|_| !is_local(host)))
    {
        problems.push(
            Problem::at(user.span(), "the password would be sent in the clear")
                .remedy("security = \"starttls\" or \"tls\""),
        );
    }
    (problems.len() == before).then(|| Channel::Smtp {
        host: host.clone(),
        port,
        security,
        login,
    })
}

fn login(
    given: &Spanned<Smtp>,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<(String, SecretString)> {
    let smtp = given.get_ref();
    match (&smtp.user, &smtp.password) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            let name = password.get_ref().0.strip_prefix("env:");
            let value = name
                .and_then(|name| env.get(name))
                .filter(|v| !v.is_empty());
            if value.is_none() {
                let text = match name {
                    Some(name) if !is_variable(name) => NO_VARIABLE.to_owned(),
                    None => "a password does not stand in this file".to_owned(),
                    Some(name) => {
                        format!("the environment variable {} is not set", printable(name))
                    }
                };
                problems.push(
                    Problem::at(password.span(), text)
                        .remedy("password = \"env:CWLAKE_SMTP_PASSWORD\", and set that variable"),
                );
            }
            value.map(|value| (user.get_ref().clone(), SecretString::from(value)))
        }
        (user, _) => {
            let missing = if user.is_some() { "password" } else { "user" };
            problems.push(
                Problem::at(given.span(), format!("missing key '{missing}'"))
                    .remedy("user and password belong together"),
            );
            None
        }
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

/// Region and resource of an ARN of `service`.
fn arn<'a>(text: &'a str, service: &str) -> Option<(Region, &'a str)> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    match fields.as_slice() {
        ["arn", _, s, region, account, resource] if *s == service => {
            AccountId::parse(account)?;
            Some((Region::parse(region)?, resource))
        }
        _ => None,
    }
}

fn event_bus(
    given: &Spanned<EventBus>,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<Channel> {
    let bus = given.get_ref();
    let text = bus.arn.get_ref();
    let sign = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let region = arn(text, "events").and_then(|(region, resource)| {
        let name = resource.strip_prefix("event-bus/")?;
        (!name.is_empty() && name.chars().all(sign)).then_some(region)
    });
    if region.is_none() {
        problems.push(
            Problem::at(
                bus.arn.span(),
                format!("'{}' is not the ARN of an event bus", printable(text)),
            )
            .remedy("for example arn:aws:events:us-east-1:999900001111:event-bus/billing"),
        );
    }
    let role = named_role(
        "alert.event_bus",
        bus.role_arn.as_ref(),
        bus.external_id.as_ref(),
        env,
        problems,
    );
    Some(Channel::EventBus {
        arn: text.clone(),
        region: region?,
        role,
    })
}

fn sns(given: &Spanned<Sns>, env: &Environment, problems: &mut Vec<Problem>) -> Option<Channel> {
    let topic = given.get_ref();
    let text = topic.topic_arn.get_ref();
    let sign = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let region = arn(text, "sns")
        .and_then(|(region, name)| (!name.is_empty() && name.chars().all(sign)).then_some(region));
    if region.is_none() {
        problems.push(
            Problem::at(
                topic.topic_arn.span(),
                format!("'{}' is not the ARN of a topic", printable(text)),
            )
            .remedy("for example arn:aws:sns:us-east-1:999900001111:spend"),
        );
    }
    let role = named_role(
        "alert.sns",
        topic.role_arn.as_ref(),
        topic.external_id.as_ref(),
        env,
        problems,
    );
    Some(Channel::Sns {
        arn: text.clone(),
        region: region?,
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_cannot_end_a_header() {
        for ok in ["a@b", "fin.ops+cw@mail.example.com"] {
            assert!(is_address(ok), "{ok}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "a@b\n",
            "Fin <a@b>",
            "a@b,c@d",
            "a@.b",
            "ü@b",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
