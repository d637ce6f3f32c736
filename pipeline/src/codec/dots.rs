//! The codec `dots`: a dot for each event, to see that something flows.

use super::{Codec, Decoder};
use crate::event::Event;

/// The codec `dots`; it only encodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dots;

impl Codec for Dots {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        None
    }

    fn encode(&self, _event: &Event<'_>, out: &mut Vec<u8>) {
        out.push(b'.');
    }
}
