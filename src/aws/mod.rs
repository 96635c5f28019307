//! Who we are in each account: base credentials, one session a role, clients, quotas and retries a lane.
//!
//! In: the validated accounts. Out: a [`Reader`] an account that could be entered, or the [`Cause`](crate::model::Cause) why not.
//! Only the adapter files of other stages may use this module.

#[cfg(feature = "alerts")]
mod alerts;
mod api;
mod base;
mod caller;
mod calls;
mod chain;
mod classify;
mod clock;
mod connect;
mod credentials;
mod denials;
#[cfg(feature = "glue")]
mod glue;
mod heartbeat;
mod http;
#[cfg(feature = "ec2")]
mod instances;
mod lane;
mod limiter;
mod log_events;
mod metric_data;
mod organizations;
mod pages;
mod probes;
#[cfg(feature = "ec2")]
mod regions;
mod retry;
mod signin;
mod storage;
mod tap;
mod turns;
mod whole;

#[cfg(feature = "alerts")]
pub use alerts::{publish_message, put_event, send_mail, try_channel};
pub use api::{Api, CallStats};
pub use base::{BaseSession, Origin, session_region};
pub use caller::{Caller, CallerAnswer, caller};
pub use calls::Toll;
pub use classify::cause_of;
pub use clock::ServiceTime;
pub use connect::{Entered, Reader, enter};
#[cfg(feature = "glue")]
pub use glue::{Registered, register_tables};
pub use heartbeat::beat;
#[cfg(feature = "ec2")]
pub use instances::describe_instances;
pub use lane::LaneClient;
pub use limiter::Pacer;
pub use log_events::{filter_log_events, get_log_events};
pub use metric_data::{get_metric_data, list_metrics};
pub use organizations::{OrganizationError, organization_accounts};
pub use pages::Pages;
pub use probes::Probe;
#[cfg(feature = "ec2")]
pub use regions::{AccountRegions, enabled_regions};
pub use storage::StorageClient;
pub use turns::{Turn, Turns};
#[cfg(any(test, fuzzing))]
pub(crate) use whole::is_cut;
pub use whole::listed;
