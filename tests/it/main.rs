//! Integration tests, one binary: the whole pipeline against the embedded emulator, and the program as a user calls it.

mod alarms;
mod answers;
mod architecture;
mod cli;
mod config_corpus;
mod decoder;
mod demo;
mod faults;
mod fleet;
mod imports;
mod lab;
mod lake;
mod pipeline;
mod recorded;
mod resume;
mod screens;
mod store;
mod tables;
mod writer;
