//! The `lumberjack` output: events to another aggregator of ours, to Logstash, or to whatever else speaks Lumberjack version 2.
//!
//! A writer makes windows in its worker's thread ([`writer`]); a connection to each of the `hosts` takes the next one when it has
//! room ([`delivery`], [`link`]).
//!
//! COMPAT (logstash-output-lumberjack): `hosts`, `port`, `ssl_certificate` (there the certificate that the server is
//! known by), `flush_size`. Differences: the event travels as JSON (version 2) and not as pairs with the codec's text as
//! `line`; all hosts are used at once; events are sent again until they are acknowledged. The identity of a line goes with it as
//! `[@metadata][_id]`, which our input and Elasticsearch's own tools take for its id.

mod delivery;
mod examine;
mod link;
mod options;
mod writer;

pub(super) use delivery::{Windows, start};
pub(super) use examine::examine;
pub(super) use options::LumberjackOptions;
pub(super) use writer::WindowWriter;
