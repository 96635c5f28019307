//! What the run is meant to do: one TOML file, read, validated and turned into an immutable [`ExportConfig`].
//!
//! Three types, three moments: `Cli` is what was typed, [`FileConfig`] what was read, [`ExportConfig`] what is meant.
//! Only the last goes past this module. No network call is made here; the only I/O is reading the file, the environment
//! variables it names, and the file's mode.

mod accounts;
mod alert;
mod budget;
mod compact;
mod destination;
mod export;
mod external_ids;
mod file;
mod given;
mod joined;
mod limits;
mod logs;
mod network;
mod notify;
mod organization;
mod presets;
mod problem;
mod publication;
mod range;
mod regions;
mod resolve;
mod roles;
mod rules;
mod run_options;
mod selection;
mod shards;
mod spanned;
mod tables;
mod template;
mod unknown;

pub use accounts::AccountConfig;
pub use alert::{AlertConfig, Channel, MailConfig, SmtpSecurity};
pub use budget::{Budget, BudgetScope};
pub use compact::CompactConfig;
pub use destination::{Destination, Encryption, S3Destination};
pub use export::ExportConfig;
pub use external_ids::{ExternalIds, external_ids_in};
pub use file::FileConfig;
pub use given::{CompactFlags, Environment, Overrides};
pub use limits::{
    DESCRIBE_LOG_GROUPS_CALLS_PER_SECOND, DOLLARS_PER_METRIC, Limits, MAX_POINTS_PER_REQUEST,
    MAX_QUERIES_PER_REQUEST, OLDEST_SECONDS, RECENT_SECONDS, filter_log_events_per_second,
    get_log_events_per_second,
};
pub use logs::{LogSelection, SpendConfig};
pub use network::{CaBundle, Network, Proxy};
pub use notify::NotifyConfig;
pub use organization::{LeftOut, OrganizationAccount, OrganizationConfig, Rule, is_unit_id};
pub use presets::{Preset, PresetTable, preset_names, presets};
pub use problem::{ConfigError, Problem};
pub use range::{Range, RangeError, RangeRequest, oldest_day, point, resolve_range};
pub use regions::{RegionChoice, known_regions};
pub use resolve::{load, load_text};
pub use roles::RoleConfig;
pub use rules::{NameRule, ValueRule};
pub use run_options::RunOptions;
pub use selection::{
    Asks, InstanceFilter, Origin, PeriodChoice, Selection, Source, billing_selections,
};
pub use shards::{ShardFound, ShardTyped, group_name, shard};
