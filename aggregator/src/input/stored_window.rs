//! A window of the `beats` input as the disk queue keeps it: undecoded, and with its peer.
//!
//! | bytes | |
//! |---|---|
//! | 1 | length of the peer's address |
//! | … | the address |
//! | 4 | number of events |
//! | each | 1 byte `J` or `D`; for `D` the number of pairs in 4 bytes; 4 bytes of length; the payload |
//!
//! A line of the native framing is kept as the JSON that version 2 has for it.
//!
//! Numbers are little-endian, but within the payload of a `D`, which stands as it came over the wire.

use std::sync::Arc;

use bumpalo::Bump;
use bytes::{Buf, Bytes};
use skidder_lumberjack::{Pairs, Payload};
use skidder_pipeline::event::{Event, Timestamp};

use super::beats::Decoder;
use super::native_line;
use crate::queue::stored::{Form, Restore};
use crate::worker::Records;

/// Appends a window.
pub(super) fn write<'p>(
    peer: &str,
    payloads: impl ExactSizeIterator<Item = &'p Payload>,
    out: &mut Vec<u8>,
) {
    let peer = &peer.as_bytes()[..peer.len().min(usize::from(u8::MAX))];
    out.push(peer.len() as u8);
    out.extend_from_slice(peer);
    out.extend_from_slice(&(payloads.len() as u32).to_le_bytes());
    for payload in payloads {
        let written;
        let bytes = match payload {
            Payload::Json(text) => {
                out.push(b'J');
                text
            }
            Payload::Pairs(pairs) => {
                out.push(b'D');
                out.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
                pairs.body()
            }
            Payload::Line(line) => {
                out.push(b'J');
                let mut json = Vec::new();
                native_line::write_json(line, &mut json);
                written = Bytes::from(json);
                &written
            }
        };
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// A window that was read back.
struct StoredWindow {
    peer: String,
    payloads: Vec<Payload>,
    decoder: Arc<Decoder>,
    /// When it was received: events without a time of their own get this one.
    received: Timestamp,
}

impl Restore for Decoder {
    fn form(&self) -> Form {
        Form::Window
    }

    fn restore(self: Arc<Self>, mut body: Bytes, received: Timestamp) -> Option<Box<dyn Records>> {
        let length = usize::from(body.try_get_u8().ok()?);
        let peer = take(&mut body, length)?;
        let peer = std::str::from_utf8(&peer).ok()?.to_owned();
        let count = body.try_get_u32_le().ok()? as usize;
        // An event takes five bytes at least, so a lie costs no memory.
        let mut payloads = Vec::with_capacity(count.min(body.len() / 5));
        for _ in 0..count {
            payloads.push(match body.try_get_u8().ok()? {
                b'J' => Payload::Json(take_counted(&mut body)?),
                b'D' => {
                    let pairs = body.try_get_u32_le().ok()?;
                    Payload::Pairs(Pairs::from_body(pairs, take_counted(&mut body)?)?)
                }
                _ => return None,
            });
        }
        body.is_empty().then(|| {
            Box::new(StoredWindow {
                peer,
                payloads,
                decoder: self,
                received,
            }) as Box<dyn Records>
        })
    }
}

fn take_counted(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_u32_le().ok()? as usize;
    take(body, length)
}

fn take(body: &mut Bytes, length: usize) -> Option<Bytes> {
    (body.len() >= length).then(|| body.split_to(length))
}

impl Records for StoredWindow {
    fn len(&self) -> usize {
        self.payloads.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        _now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let payload = &self.payloads[index];
        self.decoder
            .decode(payload, &self.peer, arena, self.received, each);
    }

    fn source(&self) -> &str {
        &self.decoder.name
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        write(&self.peer, self.payloads.iter(), out);
        Form::Window
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skidder_pipeline::event::write_json;

    use super::*;

    fn payloads() -> Vec<Payload> {
        let pairs = b"\0\0\0\x04line\0\0\0\x02hi\0\0\0\x04file\0\0\0\x02/x";
        vec![
            Payload::Json(Bytes::from_static(b"{\"message\":\"one\"}")),
            Payload::Pairs(Pairs::from_body(2, Bytes::from_static(pairs)).unwrap()),
            Payload::Json(Bytes::from_static(b"not json \xff\0\n")),
        ]
    }

    #[test]
    fn a_window_reads_back_with_its_time_and_its_peer() {
        let mut body = Vec::new();
        write("10.0.0.7", payloads().iter(), &mut body);
        let received = Timestamp::from_milliseconds(1_700_000_000_123);
        let decoder = Arc::new(Decoder::bare(false));
        let records = decoder.restore(body.into(), received).unwrap();
        assert_eq!(records.len(), 3);
        let arena = Bump::new();
        let mut seen = Vec::new();
        for index in 0..3 {
            let later = Timestamp::from_milliseconds(0);
            records.decode(index, &arena, later, &mut |event| {
                assert_eq!(event.timestamp(), Some(received));
                let mut text = Vec::new();
                write_json(&event, &mut text);
                skidder_pipeline::event::write_json_value(
                    event.metadata.iter().next().unwrap().1,
                    &mut text,
                );
                seen.push(String::from_utf8(text).unwrap());
            });
        }
        assert!(seen[0].contains("\"message\":\"one\""), "{seen:?}");
        assert!(seen[1].contains("\"message\":\"hi\""), "{seen:?}");
        assert!(seen[2].contains("_jsonparsefailure"), "{seen:?}");
        assert!(
            seen.iter().all(|text| text.ends_with("\"10.0.0.7\"")),
            "{seen:?}"
        );
        // It is stored again as it was.
        let mut again = Vec::new();
        assert_eq!(records.store(&mut again), Form::Window);
        let mut first = Vec::new();
        write("10.0.0.7", payloads().iter(), &mut first);
        assert_eq!(again, first);
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_window_are_refused(mut body in prop::collection::vec(any::<u8>(), 0..200)) {
            let decoder = Arc::new(Decoder::bare(false));
            let received = Timestamp::from_milliseconds(0);
            let _read = Arc::clone(&decoder).restore(body.clone().into(), received);
            // And one that is cut anywhere.
            let mut whole = Vec::new();
            write("1.2.3.4", payloads().iter(), &mut whole);
            body.truncate(whole.len() - 1);
            let cut = whole[..body.len()].to_vec();
            prop_assert!(decoder.restore(cut.into(), received).is_none());
        }
    }
}
