//! What was read of the smaller tables of a file: `[instances]`, `[alarms]`, `[[logs]]`, `[spend]`, `[[budget]]`, `[alert]`.
//!
//! The comments on the fields are what an editor shows: they are the descriptions of `cwlake schema`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::spanned::{Secret, Spanned};

/// Log events to export.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Names of log groups, and globs.
    pub groups: Spanned<Vec<Spanned<String>>>,
    /// Names and globs of groups that are left out.
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
    /// Only streams whose name begins so.
    pub stream_prefix: Option<Spanned<String>>,
    /// Only these streams; read one by one when there is no filter pattern.
    #[serde(default)]
    pub streams: Vec<Spanned<String>>,
    /// Only events that match, in CloudWatch's filter pattern syntax.
    pub filter_pattern: Option<Spanned<String>>,
}

/// How settled days are merged into few files. `{}` takes the defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table; {} compacts what is settled, as the defaults have it"
)]
pub struct Compact {
    /// Days after whose end a day is settled (`lookback_days` and one).
    pub older_than_days: Option<Spanned<i64>>,
    /// Size after which a file ends (512).
    pub target_size_mb: Option<Spanned<i64>>,
    /// Days after which the files that were compacted are removed; never when left out.
    pub prune_after_days: Option<Spanned<i64>>,
}

/// The EC2 inventory. `{}` turns it on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table; {} takes every instance")]
pub struct Instances {}

/// Alarms and the changes of their states. `{}` turns both on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table; {} takes every alarm")]
pub struct Alarms {}

/// Estimated charges. `{}` reads those of every account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table; {} reads the charges of every account"
)]
pub struct Spend {
    /// Read only these accounts' charges; of a payer they hold those of its members.
    #[serde(default)]
    pub accounts: Vec<Spanned<String>>,
}

/// Thresholds for the charges of an account, of several together, or of all.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    /// What it is called in reports and alerts; made of its accounts when left out.
    pub name: Option<Spanned<String>>,
    /// Its accounts, summed; all when left out.
    pub accounts: Option<Spanned<Vec<Spanned<String>>>>,
    /// Hold each account to the thresholds by itself, but those that a table of their own names (false).
    pub each: Option<Spanned<bool>>,
    /// Charges of a day.
    pub daily_usd: Option<Spanned<f64>>,
    /// Charges of the month so far.
    pub month_usd: Option<Spanned<f64>>,
    /// Charges of the whole month, projected from the days so far.
    pub projected_usd: Option<Spanned<f64>>,
    /// A day's charges above the mean of the days before it, US dollars.
    pub daily_change_usd: Option<Spanned<f64>>,
    /// A day's charges above the mean of the days before it, per cent.
    pub daily_change_percent: Option<Spanned<f64>>,
    /// Days of that mean (7).
    pub trailing_days: Option<Spanned<i64>>,
}

/// Where alerts go when a budget is breached.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Sender of e-mails.
    pub from: Option<Spanned<String>>,
    /// Receivers of e-mails.
    #[serde(default)]
    pub to: Vec<Spanned<String>>,
    /// E-mail through Amazon SES.
    pub ses: Option<Spanned<Ses>>,
    /// E-mail through an SMTP server.
    pub smtp: Option<Spanned<Smtp>>,
    /// An event on an EventBridge bus.
    pub event_bus: Option<Spanned<EventBus>>,
    /// A message to an SNS topic.
    pub sns: Option<Spanned<Sns>>,
    /// The day of the week, such as `monday`, on which the charges of the seven days before are told; never when left out.
    pub digest: Option<Spanned<String>>,
}

/// Who is told when a run fails, misses something new, or finds far less than the day before: the channels of `[alert]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Asked for after a run that ended with 0, or with 3 for causes that are known: a service that watches it tells when it stays away. The
    /// address, or `env:NAME`.
    pub heartbeat_url: Option<Spanned<Secret>>,
}

impl Alert {
    pub(super) fn external_ids(&self) -> impl Iterator<Item = &Spanned<Secret>> {
        let ses = self
            .ses
            .iter()
            .filter_map(|s| s.get_ref().external_id.as_ref());
        let bus = self
            .event_bus
            .iter()
            .filter_map(|b| b.get_ref().external_id.as_ref());
        let sns = self
            .sns
            .iter()
            .filter_map(|s| s.get_ref().external_id.as_ref());
        ses.chain(bus).chain(sns)
    }
}

/// E-mail through Amazon SES.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ses {
    /// Region of the identity.
    pub region: Spanned<String>,
    /// A role to send with, often in the account the identity lives in; else the base credentials.
    pub role_arn: Option<Spanned<String>>,
    /// External id of that role: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
    /// Configuration set of SES.
    pub configuration_set: Option<Spanned<String>>,
}

/// E-mail through an SMTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Name of the server.
    pub host: Spanned<String>,
    /// Its port; by `security` when left out: 587, 465 or 25.
    pub port: Option<Spanned<i64>>,
    /// `starttls`, `tls` or `none` (`starttls`).
    pub security: Option<Spanned<String>>,
    /// User name.
    pub user: Option<Spanned<String>>,
    /// `env:NAME` of the variable that holds the password.
    pub password: Option<Spanned<Secret>>,
}

/// An event on an EventBridge bus.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventBus {
    /// ARN of the bus, possibly another account's.
    pub arn: Spanned<String>,
    /// A role to send with; else the base credentials.
    pub role_arn: Option<Spanned<String>>,
    /// External id of that role: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
}

/// A message to an SNS topic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sns {
    /// ARN of the topic.
    pub topic_arn: Spanned<String>,
    /// A role to send with; else the base credentials.
    pub role_arn: Option<Spanned<String>>,
    /// External id of that role: the text, or `env:NAME`.
    pub external_id: Option<Spanned<Secret>>,
}
