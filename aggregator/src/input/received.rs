//! Records that came over a socket: what `tcp`, `udp` and `syslog` put into the queue.
//!
//! In the disk queue they are as they came, each with who sent it, and are decoded by the workers once:
//!
//! | bytes | |
//! |---|---|
//! | 1 | length of the sender's address |
//! | … | the address, as text |
//! | 2 | the sender's port |
//! | 4 | length of the record |
//! | … | the record |
//!
//! and so on for each record. Numbers have their low byte first.

use std::net::SocketAddr;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::{Buf, Bytes};
use skidder_lumberjack::Reservation;
use skidder_pipeline::event::{Event, Timestamp};

use crate::queue::stored::{Form, Restore};
use crate::worker::Records;

/// Makes events of the records of one input.
pub(super) trait Decode: Send + Sync {
    /// The input's name.
    fn name(&self) -> &str;

    /// What the disk queue calls records of this kind.
    fn form(&self) -> Form;

    /// The events of a record.
    fn decode<'b>(
        &'b self,
        record: &'b [u8],
        origin: &'b Origin,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    );
}

/// Where records came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) ip: String,
    pub(super) port: u16,
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_string(),
            port: address.port(),
        }
    }
}

/// One record, or several that are decoded together.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) bytes: Bytes,
    pub(super) origin: Arc<Origin>,
}

/// Records in the queue.
pub(super) struct Received {
    records: Vec<Record>,
    /// When they came, if they were read back from the disk queue.
    time: Option<Timestamp>,
    _memory: Option<Reservation>,
    decode: Arc<dyn Decode>,
}

impl Received {
    /// Records that came just now, and the memory that is accounted for.
    pub(super) fn new(
        records: Vec<Record>,
        memory: Option<Reservation>,
        decode: Arc<dyn Decode>,
    ) -> Self {
        Self {
            records,
            time: None,
            _memory: memory,
            decode,
        }
    }
}

impl Records for Received {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let record = &self.records[index];
        let now = self.time.unwrap_or(now);
        self.decode
            .decode(&record.bytes, &record.origin, arena, now, each);
    }

    fn source(&self) -> &str {
        self.decode.name()
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        for record in &self.records {
            let ip = record.origin.ip.as_bytes();
            // An address has 45 bytes at most, and a batch is far below 4 GiB.
            out.push(ip.len() as u8);
            out.extend_from_slice(ip);
            out.extend_from_slice(&record.origin.port.to_le_bytes());
            out.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&record.bytes);
        }
        self.decode.form()
    }
}

/// Reads records back from the disk queue.
pub(super) struct Stored(pub(super) Arc<dyn Decode>);

impl Restore for Stored {
    fn form(&self) -> Form {
        self.0.form()
    }

    fn restore(self: Arc<Self>, mut body: Bytes, received: Timestamp) -> Option<Box<dyn Records>> {
        let mut records: Vec<Record> = Vec::new();
        while !body.is_empty() {
            let ip = piece(&mut body, |body| body.try_get_u8().ok().map(usize::from))?;
            let ip = std::str::from_utf8(&ip).ok()?;
            let port = body.try_get_u16_le().ok()?;
            let bytes = piece(&mut body, |body| {
                body.try_get_u32_le().ok().map(|length| length as usize)
            })?;
            let last = records.last().map(|last| &last.origin);
            let same = last.filter(|last| last.ip == ip && last.port == port);
            let origin = same.cloned().unwrap_or_else(|| {
                Arc::new(Origin {
                    ip: ip.to_owned(),
                    port,
                })
            });
            records.push(Record { bytes, origin });
        }
        Some(Box::new(Received {
            records,
            time: Some(received),
            _memory: None,
            decode: Arc::clone(&self.0),
        }))
    }
}

/// The bytes behind their length.
fn piece(body: &mut Bytes, length: impl FnOnce(&mut Bytes) -> Option<usize>) -> Option<Bytes> {
    let length = length(body)?;
    (length <= body.len()).then(|| body.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skidder_pipeline::event::{MESSAGE, Value};

    use super::*;

    /// The record and its origin as the message.
    struct Plain;

    impl Decode for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }

        fn form(&self) -> Form {
            Form::Stream
        }

        fn decode<'b>(
            &'b self,
            record: &'b [u8],
            origin: &'b Origin,
            arena: &'b Bump,
            now: Timestamp,
            each: &mut dyn FnMut(Event<'b>),
        ) {
            let text = format!("{}:{} {record:?} {}", origin.ip, origin.port, now.seconds());
            let mut event = Event::new_in(arena);
            let text = arena.alloc_str(&text).as_bytes();
            event.fields.push_new(MESSAGE, Value::Text(text));
            each(event);
        }
    }

    fn messages(records: &dyn Records) -> Vec<String> {
        let arena = Bump::new();
        let mut messages = Vec::new();
        for index in 0..records.len() {
            records.decode(index, &arena, Timestamp::new(7, 0), &mut |event| {
                let text = event.fields.get(&MESSAGE).and_then(Value::as_text);
                messages.push(String::from_utf8_lossy(text.unwrap()).into_owned());
            });
        }
        messages
    }

    fn records(peers: &[(&str, &[u8])]) -> Received {
        let records = peers.iter().map(|(peer, bytes)| Record {
            bytes: Bytes::copy_from_slice(bytes),
            origin: Arc::new(peer.parse::<SocketAddr>().unwrap().into()),
        });
        Received::new(records.collect(), None, Arc::new(Plain))
    }

    #[test]
    fn what_is_stored_is_read_back_with_its_time() {
        let given = records(&[
            ("127.0.0.1:5", b"one"),
            ("127.0.0.1:5", b""),
            ("[fe80::1]:6", b"two"),
        ]);
        let mut stored = Vec::new();
        assert_eq!(given.store(&mut stored), Form::Stream);
        let source = Arc::new(Stored(Arc::new(Plain)));
        let restored = source.restore(stored.into(), Timestamp::new(7, 0));
        assert_eq!(messages(&*restored.unwrap()), messages(&given));
    }

    proptest! {
        #[test]
        fn no_body_does_harm(body: Vec<u8>, cut in 0usize..=38) {
            let source = Arc::new(Stored(Arc::new(Plain)));
            let _any = Arc::clone(&source).restore(body.into(), Timestamp::new(0, 0));
            let mut stored = Vec::new();
            records(&[("127.0.0.1:5", b"one"), ("127.0.0.1:6", b"two")]).store(&mut stored);
            stored.truncate(cut);
            let whole = [0, 19, 38].contains(&cut);
            let restored = source.restore(stored.into(), Timestamp::new(0, 0));
            prop_assert_eq!(restored.is_some(), whole);
        }
    }
}
