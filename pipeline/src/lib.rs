//! The pipeline of Skidder: bytes in, events out.
//!
//! This crate holds the event, the pipeline language (Logstash's), filters and codecs. It is
//! pure: no sockets, no files, no clock it was not handed (but for the limit of a script's time), no
//! runtime; so it can be benched, fuzzed and property-tested.
//!
//! Reading order: [`event`] (what flows), [`language`] (how a pipeline is written), [`compile()`]
//! and [`program`] (what it becomes), then [`filter`] and [`codec`].
#![forbid(unsafe_code)]

pub mod codec;
mod compile;
pub mod condition;
pub mod event;
pub mod filter;
mod ids;
pub mod language;
pub mod lint;
pub mod number;
mod number_text;
pub mod program;
pub mod regex_dialect;
pub mod syslog;
pub mod template;
pub mod time;

pub use compile::{Build, CompileOptions, Files, FilterStep, NoFiles, Pipeline, compile};
