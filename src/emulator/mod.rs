//! A small AWS: STS, CloudWatch, CloudWatch Logs, EC2 and Organizations on loopback, for the demo, the tests and anyone who wants to try a configuration.
//!
//! It answers the wire protocols of the Rust SDK (Smithy RPC v2 CBOR, query) and of boto3 (JSON, query), enforces trust
//! policies, external ids, session expiry and the documented limits, and fails on demand. State: a seeded fleet, files, and
//! what `PutMetricData` adds. It shares nothing with the pipeline but the words of [`crate::model`], so that it cannot share the
//! pipeline's mistakes.

mod aggregate;
mod alarms;
mod answer;
mod bill;
mod cloudwatch;
mod ec2;
mod faults;
mod fleet;
mod get_metric_data;
mod identity;
mod load;
mod logs;
mod organizations;
mod respond;
mod server;
mod store;
mod sts;
mod tables;
mod wire;
mod world;

pub use bill::{Bill, LaneBill};
pub use faults::{Fault, FaultKind};
pub use load::LoadError;
pub use server::Emulator;
pub use world::{
    AccountSpec, AlarmSpec, ChangeSpec, ChargeSpec, EventSpec, LogGroupSpec, OrganizationSpec,
    RoleSpec, UnitSpec, UserSpec, World, WorldError,
};
