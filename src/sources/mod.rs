//! One file or folder a dataset: where it is read, how it is planned, and how its units are made. Publishing, time limits and reports are the
//! run's.

pub(crate) mod alarms;
pub(crate) mod instances;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod registry;
pub(crate) mod source;
pub(crate) mod spend;
