//! cwlake: AWS CloudWatch data as a table.
//!
//! A run reads like the stages of [`run::export`]:
//!
//! ```text
//! config ─► accounts ─► discover ─► plan ─► fetch ─► normalize ─► write ─► commit
//! (meant)   (roles,     (series)    (pure:  (pages,   (pure: model  (Parquet (published,
//!            clients,                windows, ordered)  → Arrow)      bytes)   reported)
//!            quotas)                 batches, cost)
//! ```
//!
//! A **lane** is one (account, region): quotas, limiters, retries and clients belong to it. Inside a lane series are sorted once, at
//! discovery; requests run ahead but are consumed in order, so rows reach each day's file sorted, and memory is bounded by the
//! requests in flight and one open row group a day.
//!
//! # Invariants
//! - Stages do not import one another; [`run`] joins them. Adapters of `discover` and `fetch` use [`aws`] for clients; `fetch`
//!   is asked for batches of a [`plan`]; `commit` publishes files that [`mod@write`] staged.
//! - AWS types stay in `aws` and the adapter files; Arrow in `normalize` and `write`; clap in `cli` and `main`.
//! - `model`, `plan`, `normalize`, `lake`, `discover::filter`, `fetch::merge` and `fetch::page` have no I/O, no async and no clock: "now" is an
//!   argument, read once in `main`.
//! - `emulator` imports nothing of the pipeline but words of `model`, so that it cannot share the pipeline's mistakes.
//! - Nothing returns "empty" for "failed": every unit ends as a [`model::UnitOutcome`] with its cause.
//!
//! The tests in `tests/it/architecture.rs` hold these.

pub mod alert;
pub mod aws;
mod cbor;
pub mod cli;
pub mod commit;
pub mod compact;
pub mod config;
pub mod ddl;
#[cfg(feature = "emulator")]
pub mod demo;
pub mod discover;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod exit;
pub mod fetch;
mod files;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod given;
pub mod iam;
pub mod init;
pub mod inspect;
pub mod lake;
pub mod model;
pub mod normalize;
pub mod page;
pub mod plan;
pub mod report;
pub mod run;
mod sources;
pub mod spend;
mod staging;
pub mod store;
pub mod telemetry;
pub mod write;
