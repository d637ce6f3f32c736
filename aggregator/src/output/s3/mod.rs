//! The `s3` output: an archive of events as objects in S3, or in a server that speaks its protocol.
//!
//! A writer encodes each event and adds it to the open object of its partition, the filled `prefix`
//! ([`writer`], [`collector`]). Objects are compressed as they grow ([`object`]) and stay in memory until they are stored, so
//! an upload that the server has forgotten can begin anew. The delivery uploads what is closed ([`delivery`], [`client`]).
//!
//! Instead of text an object may be a table in the format Parquet: then the writer makes a [`row`] of an event, with the
//! [`columns`] that are configured and the whole of it as JSON, and rows wait until a row group is written ([`table`]).
//!
//! Events come out of the output's own queue, by one thread, in the order of the queue, so each has a [`Position`]: the number
//! of its record and its place therein. Before an object is uploaded its first and last position are written down
//! ([`journal`]), and after a crash the same events make the same object again, under the same key.
//!
//! INVARIANTS
//! * An event is acknowledged when the server has said that its object is stored, and that is written down.
//! * Objects of one partition follow each other: their ranges of positions do not overlap.
//! * The form of an object stands in its key, so a planned one keeps it, whatever the options say now.
//! * The key of an object is a function of the queue, the partition, the first and last position and the number of events.
//! * An object that was written down is stored whole or not at all: what the end of the process leaves of it is dropped.
//!
//! Without an own queue (`queue => shared`, `dlq replay`) events have no positions that mean anything later: what is sent
//! again after a crash is in a second object then.
//!
//! COMPAT (logstash-output-s3): options, names of objects, the codec, `encoding`, both ways to rotate. Differences: see
//! `docs/compatibility.md`.
//!
//! [`Position`]: object::Position

mod answer;
mod client;
mod collector;
mod columns;
mod delivery;
mod examine;
mod form;
mod journal;
mod object;
mod options;
mod row;
#[cfg(feature = "parquet")]
mod table;
#[cfg(not(feature = "parquet"))]
#[path = "without.rs"]
mod table;
mod writer;

pub(super) use delivery::{Objects, Origin, start};
pub(super) use examine::examine;
pub(super) use options::S3Options;
pub(super) use writer::ObjectWriter;
