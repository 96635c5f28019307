//! What a configuration must be allowed, and no more: policies as JSON, as a CloudFormation template for StackSets, as Terraform. Pure: nothing
//! is read or called.

mod billing_alarm;
mod cloudformation;
mod grants;
mod parts;
mod policy;
mod principal;
mod terraform;

pub use billing_alarm::{AlarmThreshold, BillingAlarm};
pub use cloudformation::{reader_template, writer_template};
pub use grants::{Grants, ReaderRole, reader_statement};
pub use parts::{ExternalIds, GrantsError};
pub use policy::{Policy, Statement};
pub use principal::{OrgId, Principal, PrincipalError};
pub use terraform::{reader_module, writer_module};
