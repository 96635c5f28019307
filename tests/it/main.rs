//! Integration tests, one binary: the whole pipeline against the embedded emulator, and the program as a user calls it.
#![cfg(all(feature = "ec2", feature = "emulator"))]

mod alarms;
mod answers;
mod architecture;
mod cli;
mod config_corpus;
mod decoder;
mod demo;
mod docs;
mod faults;
mod fleet;
mod generated;
mod imports;
mod lab;
mod lake;
mod panics;
mod pipeline;
mod protocol;
mod recorded;
mod resume;
mod screens;
mod store;
mod tables;
mod troubled_store;
mod writer;
