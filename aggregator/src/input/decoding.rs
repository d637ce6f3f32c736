//! What several inputs do alike when their records become events.

use bumpalo::Bump;
use skidder_pipeline::codec::{Codec, Sink};
use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value};

/// The events of bytes that hold whole records.
pub(super) fn decode_whole<'b>(
    codec: &dyn Codec,
    bytes: &'b [u8],
    arena: &'b Bump,
    now: Timestamp,
) -> Vec<Event<'b>> {
    let mut events = Vec::new();
    if let Some(mut decoder) = codec.decoder() {
        let mut sink = Sink {
            arena,
            now,
            events: &mut events,
        };
        decoder.decode(bytes, &mut sink);
        decoder.flush(&mut sink);
    }
    events
}

/// An object with one field.
pub(super) fn object<'b>(name: &'static str, value: Value<'b>, arena: &'b Bump) -> Value<'b> {
    let mut object = Object::with_capacity_in(1, arena);
    object.push_new(Name::new(name), value);
    Value::object(object, arena)
}

/// Keeps the peer's address: `[@metadata][ip_address]`, with ECS `[@metadata][input][<input>][host][ip]`.
pub(super) fn set_peer<'b>(
    event: &mut Event<'b>,
    input: &'static str,
    address: &'b str,
    ecs: bool,
    arena: &'b Bump,
) {
    let address = Value::Text(address.as_bytes());
    if ecs {
        let host = object("host", object("ip", address, arena), arena);
        let input = object(input, host, arena);
        event.metadata.set(Name::new("input"), input);
    } else {
        event.metadata.set(Name::new("ip_address"), address);
    }
}
