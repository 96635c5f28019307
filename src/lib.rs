//! wip
pub mod config;
pub mod model;
pub mod plan;
