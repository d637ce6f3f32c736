//! The aggregator: receives batches, runs pipelines over them and delivers the result.
//!
//! Data flows `input → queue → worker → output`; each arrow is bounded, so a slow search cluster
//! is felt by whoever reads the log files. The acknowledgement ([`ack`]) flows back the other way
//! when every event of a batch is safe.
#![forbid(unsafe_code)]

pub mod ack;
pub mod addresses;
mod api;
pub mod aws;
mod backoff;
pub mod certificates;
pub mod check;
pub mod chunks;
pub mod cli;
pub mod commands;
pub mod dead_letter;
pub mod dead_letter_command;
mod doctor;
pub mod explain;
pub mod filter_command;
pub mod format_command;
pub mod grok_command;
pub mod input;
mod kafka;
mod links;
pub mod log;
pub mod lsp;
pub mod manual;
pub mod monitor;
pub mod names;
pub mod output;
mod plugins;
pub mod queue;
pub mod reload;
pub mod runtime;
mod selection;
pub mod settings;
mod shown;
pub mod sources;
pub mod test_command;
mod throttle;
pub mod tls;
pub mod worker;
