//! The protocol versions and the constants of the wire.
//!
//! Every frame starts with a version byte (`'1'` or `'2'`) and a type byte; all integers are
//! big-endian `u32`. There is no handshake: a connection speaks the version of its first byte.
//!
//! ```text
//! W window      ver 'W' count:4
//! D data        ver 'D' sequence:4 pairs:4 { key_len:4 key value_len:4 value } x pairs
//! J json        ver 'J' sequence:4 len:4 json
//! C compressed  ver 'C' len:4 zlib(whole frames)
//! A ack         ver 'A' sequence:4                      (the only frame a server sends)
//! ```

use std::fmt;

/// A version of the protocol. The one in the first byte holds for the whole connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Key-value events, one acknowledgement per window, no keep-alive: logstash-forwarder.
    V1,
    /// JSON events, partial acknowledgements and keep-alives: Filebeat and its family.
    V2,
    /// Our own framing, see [`crate::native`]; acknowledged as version 2 is.
    Native,
}

impl Version {
    /// The version byte of a frame.
    pub const fn byte(self) -> u8 {
        match self {
            Self::V1 => b'1',
            Self::V2 => b'2',
            Self::Native => b'N',
        }
    }

    /// The version that a byte stands for, if it stands for one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'1' => Some(Self::V1),
            b'2' => Some(Self::V2),
            b'N' => Some(Self::Native),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::Native => "native",
        })
    }
}

pub(crate) const WINDOW: u8 = b'W';
pub(crate) const DATA: u8 = b'D';
pub(crate) const JSON: u8 = b'J';
pub(crate) const COMPRESSED: u8 = b'C';
pub(crate) const ACK: u8 = b'A';

/// Version, type and one integer: the whole of a `W` or `A` frame and the head of a `C` frame.
pub(crate) const SHORT_HEADER_BYTES: usize = 6;
/// Version, type and two integers: the head of a `D` or `J` frame.
pub(crate) const EVENT_HEADER_BYTES: usize = 10;
/// An acknowledgement is one short header.
pub(crate) const ACK_BYTES: usize = SHORT_HEADER_BYTES;

/// The bytes by which a server that stops asks a native peer to finish and to go elsewhere.
pub(crate) const LEAVE_FRAME: [u8; ACK_BYTES] = [b'N', b'L', 0, 0, 0, 0];

/// The bytes of one acknowledgement frame.
pub(crate) const fn ack_frame(version: Version, sequence: u32) -> [u8; ACK_BYTES] {
    let [a, b, c, d] = sequence.to_be_bytes();
    [version.byte(), ACK, a, b, c, d]
}

/// The integer at `at`, or `None` where the bytes end before it does.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*field))
}
