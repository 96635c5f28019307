//! wip
pub mod accounts;
pub mod cli;
pub mod commit;
pub mod config;
#[cfg(feature = "emulator")]
pub mod demo;
pub mod discover;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod fetch;
pub mod model;
pub mod normalize;
pub mod plan;
pub mod report;
pub mod run;
pub mod telemetry;
pub mod write;
