//! A message on its way.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "without the feature nothing is sent")
)]

use std::sync::atomic::AtomicBool;

use crate::ack::Ack;

/// What is sent, as often as it takes.
#[derive(Debug)]
pub(super) struct Message {
    /// The filled `topic_id`, which may be none.
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
    /// The event as JSON, for the dead letters; empty if that is the payload.
    pub(super) event: Vec<u8>,
    pub(super) ack: Ack,
    /// It was refused once, maybe for the sake of what was sent with it, and is sent by itself now.
    pub(super) alone: AtomicBool,
}

impl Message {
    /// The event, as JSON.
    pub(super) fn document(&self) -> &[u8] {
        if self.event.is_empty() {
            &self.payload
        } else {
            &self.event
        }
    }

    /// The memory that it takes, roughly; the library has a copy.
    pub(super) fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let key = self.key.as_ref().map_or(0, Vec::len);
        let sent = headers.sum::<usize>() + key + self.payload.len();
        2 * sent + self.event.len() + size_of::<Self>()
    }
}
