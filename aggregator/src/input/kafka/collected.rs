//! A batch that is put together of what a consumer reads.

use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::progress::Progress;
use super::records::Message;

/// Messages that were read and not handed on.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: Vec<Message>,
    /// Of which partition each is.
    partitions: Vec<Arc<Progress>>,
}

impl Collected {
    pub(super) fn push(
        &mut self,
        message: &BorrowedMessage<'_>,
        progress: Arc<Progress>,
        headers: bool,
    ) {
        let last = self
            .messages
            .last()
            .filter(|last| *last.topic == *message.topic());
        let topic = last.map_or_else(|| message.topic().into(), |last| Arc::clone(&last.topic));
        let mut keep = |bytes: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        };
        let headers = headers.then(|| message.headers()).flatten();
        let headers = headers.into_iter().flat_map(|headers| headers.iter());
        let message = Message {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            payload: keep(message.payload().unwrap_or_default()),
            key: message.key().map(&mut keep),
            headers: headers
                .filter_map(|header| Some((keep(header.key.as_bytes()), keep(header.value?))))
                .collect(),
        };
        self.messages.push(message);
        self.partitions.push(progress);
    }

    /// Drops what is another's by now.
    pub(super) fn forget_what_was_revoked(&mut self) {
        if self.partitions.iter().all(|progress| progress.is_ours()) {
            return;
        }
        let ours: Vec<bool> = self
            .partitions
            .iter()
            .map(|progress| progress.is_ours())
            .collect();
        let mut keep = ours.iter();
        self.messages.retain(|_| keep.next() == Some(&true));
        let mut keep = ours.iter();
        self.partitions.retain(|_| keep.next() == Some(&true));
    }

    /// The ends of what is here, for each partition.
    pub(super) fn ends(&self) -> Vec<(Arc<Progress>, i64)> {
        let mut ends: Vec<(Arc<Progress>, i64)> = Vec::new();
        for (message, progress) in self.messages.iter().zip(&self.partitions) {
            let end = message.offset + 1;
            match ends
                .iter_mut()
                .rev()
                .find(|(known, _)| Arc::ptr_eq(known, progress))
            {
                Some((_, last)) => *last = end,
                None => ends.push((Arc::clone(progress), end)),
            }
        }
        ends
    }
}
