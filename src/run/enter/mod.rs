//! The accounts of a run: those of the file and of the organization, entered, and the regions that are read of each.

pub(crate) mod accounts;
pub(crate) mod regions;
pub(crate) mod share;
