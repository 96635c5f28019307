//! wip
pub mod accounts;
pub mod commit;
pub mod config;
pub mod discover;
pub mod fetch;
pub mod model;
pub mod normalize;
pub mod plan;
pub mod report;
pub mod run;
pub mod telemetry;
pub mod write;
