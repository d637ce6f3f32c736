//! The `kafka` output: each event a message.
//!
//! A writer encodes the event in its worker's thread ([`writer`]) and gives the message to a producer of the library, which sends what
//! it has in batches. A thread of the output hears what became of each message ([`delivery`]): an event is acknowledged when the
//! brokers have acknowledged its message (`acks`), and given up only when no broker will ever take it: then it is a dead letter.
//!
//! What is on its way is bounded by `buffer_memory`; a writer for whose message there is no room waits, and so the input does.
//!
//! COMPAT (logstash-integration-kafka): options and their defaults, but for `acks`, which is `all` here; with it the producer is
//! idempotent, so that what the library sends again is in the topic once. The identity of the line goes along as a header.

#[cfg(feature = "kafka")]
mod delivery;
#[cfg(not(feature = "kafka"))]
#[path = "without.rs"]
mod delivery;
#[cfg(feature = "kafka")]
mod examine;
#[cfg(feature = "kafka")]
mod fate;
mod message;
mod options;
#[cfg(feature = "kafka")]
mod round_robin;
mod writer;

pub(super) use delivery::{Messages, start};
#[cfg(feature = "kafka")]
pub(super) use examine::examine;
pub(super) use options::KafkaOptions;
pub(super) use writer::MessageWriter;
