//! What the emulated AWS contains: accounts, roles, fleets and faults, from TOML or built in tests.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::faults::{Fault, KNOWN_CODES};

/// A world, as written in TOML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Seed of all generated data.
    #[serde(default)]
    pub seed: u64,
    /// Fixed data clock, RFC 3339; the system's when left out. Sessions always expire by the system's.
    pub now: Option<String>,
    /// Enforce AWS's call and point quotas per account and region.
    #[serde(default)]
    pub enforce_quota: bool,
    /// Seconds until a minute's value can be seen; until then it is not there, and a longer period that holds it is not whole.
    #[serde(default)]
    pub publication_delay_secs: i64,
    /// Draw generated values from tables made once for each shape, statistic and period, instead of aggregating minutes for every answer:
    /// a fast server for measuring clients. Two statistics of a series then do not belong together.
    #[serde(default)]
    pub precomputed: bool,
    /// The organization the accounts belong to.
    pub organization: Option<OrganizationSpec>,
    /// Organizational units.
    #[serde(default, rename = "ou")]
    pub units: Vec<UnitSpec>,
    /// Accounts that exist.
    #[serde(default, rename = "account")]
    pub accounts: Vec<AccountSpec>,
    /// Faults, tried in order.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// An organization.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSpec {
    /// The account that manages it.
    pub management: String,
    /// Accounts that may list it as well.
    #[serde(default)]
    pub delegates: Vec<String>,
}

/// Id of the organization's root.
pub(super) const ROOT: &str = "r-emul";

/// An organizational unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    /// For example `ou-emul-11111111`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The unit it is in; the root when left out.
    #[serde(default = "root")]
    pub parent: String,
}

fn root() -> String {
    ROOT.to_owned()
}

fn active() -> String {
    "ACTIVE".to_owned()
}

/// One account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// Twelve digits. As an access key id they are the account's root credentials.
    pub id: String,
    /// Its name in the organization; its id when left out.
    pub name: Option<String>,
    /// The organizational unit it is in; the root when left out.
    #[serde(default = "root")]
    pub ou: String,
    /// `ACTIVE`, `SUSPENDED` …
    #[serde(default = "active")]
    pub state: String,
    /// Enabled regions.
    #[serde(default = "default_regions")]
    pub regions: Vec<String>,
    /// Regions it has not opted into; any other region does not exist for it either, but is not named.
    #[serde(default)]
    pub disabled_regions: Vec<String>,
    /// Regions that a service control policy denies.
    #[serde(default)]
    pub scp_denied_regions: Vec<String>,
    /// Accounts that are linked to it, which makes it a monitoring account.
    #[serde(default)]
    pub linked: Vec<String>,
    /// Users with a policy; the account's id as access key is its root, which may do everything.
    #[serde(default, rename = "user")]
    pub users: Vec<UserSpec>,
    /// Generated metrics have a value every five minutes, and not every minute: EC2's basic monitoring.
    #[serde(default)]
    pub basic_monitoring: bool,
    /// Generated EC2 instances per region, five metrics each.
    #[serde(default)]
    pub instances: u32,
    /// Generated application load balancers per region, three metrics each.
    #[serde(default)]
    pub load_balancers: u32,
    /// Generated EBS volumes per region, three metrics each.
    #[serde(default)]
    pub volumes: u32,
    /// Tags of every generated instance, beside `Name` and `Team`.
    #[serde(default)]
    pub instance_tags: BTreeMap<String, String>,
    /// Generated charges, published in us-east-1.
    #[serde(default)]
    pub charges: Vec<ChargeSpec>,
    /// It pays for all accounts: its charges are everybody's, and by account as well.
    #[serde(default)]
    pub payer: bool,
    /// Alarms.
    #[serde(default, rename = "alarm")]
    pub alarms: Vec<AlarmSpec>,
    /// Log groups.
    #[serde(default, rename = "log_group")]
    pub log_groups: Vec<LogGroupSpec>,
    /// Roles that can be assumed.
    #[serde(default, rename = "role")]
    pub roles: Vec<RoleSpec>,
}

/// Charges of one service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeSpec {
    /// As its dimension spells it, for example `AmazonEC2`.
    pub service: String,
    /// Dollars a day, about.
    pub daily_usd: f64,
}

impl ChargeSpec {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an amount of a test's world"
    )]
    pub(super) fn cents(&self) -> u32 {
        (self.daily_usd * 100.0).round() as u32
    }
}

/// An alarm, in every region of its account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmSpec {
    /// Its name.
    pub name: String,
    /// Only in this region.
    pub region: Option<String>,
    /// Of a composite alarm: over which others it stands.
    pub rule: Option<String>,
    /// Namespace of the metric it watches.
    #[serde(default = "ec2")]
    pub namespace: String,
    /// Name of the metric it watches.
    #[serde(default = "cpu")]
    pub metric: String,
    /// Dimensions of the metric it watches.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// What the metric is compared with.
    #[serde(default)]
    pub threshold: f64,
    /// ARNs that are told of `ALARM`.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Its state, until it changes.
    #[serde(default = "fine")]
    pub state: String,
    /// Changes that are generated, evenly over the day, to `ALARM` and back.
    #[serde(default)]
    pub changes_per_day: u32,
    /// Changes beside the generated ones.
    #[serde(default, rename = "change")]
    pub changes: Vec<ChangeSpec>,
}

impl AlarmSpec {
    pub(super) fn kind(&self) -> &'static str {
        if self.rule.is_some() {
            "CompositeAlarm"
        } else {
            "MetricAlarm"
        }
    }
}

/// A change of an alarm's state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSpec {
    /// RFC 3339, to the millisecond.
    pub ts: jiff::Timestamp,
    /// The state before.
    #[serde(default = "fine")]
    pub from: String,
    /// The state from then on.
    pub to: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

fn ec2() -> String {
    "AWS/EC2".to_owned()
}

fn cpu() -> String {
    "CPUUtilization".to_owned()
}

fn fine() -> String {
    "OK".to_owned()
}

/// A log group, in every region of its account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogGroupSpec {
    /// Its name.
    pub name: String,
    /// Only in this region.
    pub region: Option<String>,
    /// Its streams: `stream-0`, `stream-1` …
    #[serde(default = "one")]
    pub streams: u32,
    /// Generated events.
    #[serde(default)]
    pub events_per_day: u32,
    /// Length of their texts.
    #[serde(default = "usual_message")]
    pub message_bytes: usize,
    /// Days that events are kept.
    pub retention_days: Option<u32>,
    /// Events beside the generated ones.
    #[serde(default, rename = "event")]
    pub events: Vec<EventSpec>,
}

/// One event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// RFC 3339, to the millisecond.
    pub ts: jiff::Timestamp,
    /// Its stream.
    #[serde(default = "first_stream")]
    pub stream: String,
    /// Its text.
    #[serde(default)]
    pub message: String,
    /// Its text as it stands in the answer's JSON, with its quotes: what no text can hold.
    pub message_json: Option<String>,
}

fn one() -> u32 {
    1
}

fn usual_message() -> usize {
    120
}

fn first_stream() -> String {
    "stream-0".to_owned()
}

/// A user that calls with an access key of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Its access key id.
    pub access_key: String,
    /// Allowed actions; `*` alone allows all.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// One role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// Name, with its path if it has one.
    pub name: String,
    /// Accounts whose identities may assume it.
    #[serde(default)]
    pub trust: Vec<String>,
    /// Required `sts:ExternalId`.
    pub external_id: Option<String>,
    /// Allowed actions; `*` alone allows all.
    #[serde(default = "allow_all")]
    pub allow: Vec<String>,
    /// Denied actions, as `cloudwatch:GetMetricData` or `cloudwatch:GetMetricData@eu-west-1`; of one kind of alarms as
    /// `cloudwatch:DescribeAlarms/CompositeAlarm`.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Longest session.
    #[serde(default = "hour")]
    pub max_session_secs: u64,
    /// Length of every session whatever is asked, for tests of expiry; AWS gives no less than 900 s.
    pub session_secs: Option<u64>,
}

fn default_regions() -> Vec<String> {
    vec!["us-east-1".to_owned()]
}

fn allow_all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn hour() -> u64 {
    3_600
}

/// A world that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Not TOML, or of another shape.
    #[error("reading the world")]
    Toml(#[from] toml::de::Error),
    /// A fault names a code the emulator does not know.
    #[error("fault code '{0}' is not known; the codes are listed in emulator/server.rs")]
    Code(String),
    /// `now` is no instant.
    #[error("'{0}' is not an RFC 3339 instant")]
    Now(String),
}

impl World {
    /// Reads a world from TOML.
    ///
    /// # Errors
    /// [`WorldError::Toml`] with the place, or [`WorldError::Code`].
    pub fn from_toml(text: &str) -> Result<Self, WorldError> {
        let world: Self = toml::from_str(text)?;
        match world
            .faults
            .iter()
            .find(|f| !f.code.is_empty() && !KNOWN_CODES.contains(&f.code.as_str()))
        {
            Some(fault) => Err(WorldError::Code(fault.code.clone())),
            None => Ok(world),
        }
    }

    /// The same world with values published so many seconds late.
    #[must_use]
    pub fn publication_delay(mut self, seconds: i64) -> Self {
        self.publication_delay_secs = seconds;
        self
    }

    pub(super) fn fixed_now(&self) -> Result<Option<i64>, WorldError> {
        let parse = |text: &String| {
            text.parse::<jiff::Timestamp>()
                .map(jiff::Timestamp::as_second)
                .map_err(|_| WorldError::Now(text.clone()))
        };
        self.now.as_ref().map(parse).transpose()
    }

    pub(super) fn account(&self, id: &str) -> Option<&AccountSpec> {
        self.accounts.iter().find(|a| a.id == id)
    }
}
