//! The pipeline of Skidder: bytes in, events out.
//!
//! This crate holds the event, the pipeline language (Logstash's), filters and codecs. It is pure: no sockets, no
//! files, no clock it was not handed, no runtime; so it can be benched, fuzzed and property-tested.
//!
//! Reading order: [`event`] (what flows), then the language that describes a pipeline, then the
//! program a configuration is compiled to.
#![forbid(unsafe_code)]

pub mod codec;
pub mod condition;
pub mod event;
pub mod filter;
pub mod language;
pub mod program;
pub mod regex_dialect;
pub mod time;
