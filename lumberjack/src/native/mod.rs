//! The native framing: what our own two ends speak with each other.
//!
//! A connection begins with TLS and the application protocol [`ALPN`]; a server that does not choose it is
//! spoken to in version 2. What a source's lines have in common is sent once per connection, then its
//! lines travel raw, each with its position in the source. A window is one frame, packed by zstd and
//! checksummed. Acknowledgements, their numbers and keep-alives are those of version 2, with
//! `'N'` for the version. The layout, byte by byte, is in `docs/native-framing.md`.
//!
//! INVARIANTS: a window is understood as a whole or not at all. Whatever the bytes, a decoder allocates
//! no more than the limits say, and fails by a [`crate::ProtocolError`], never by a panic.

mod decode;
mod encode;
mod number;

pub use decode::{Fields, Line, Source};
pub(crate) use decode::{Frames, Parsed};
pub use encode::{LineBuilder, NativeCompression, SourceFields};

/// The name of the framing in TLS.
pub const ALPN: &[u8] = b"skidder/1";
/// Sources that a connection knows at a time. The sender lets the receiver forget all of them before it
/// names one more.
pub const MAX_SOURCES: usize = 1024;
/// Bytes of the descriptions of all sources that a connection knows at a time, and so of each.
pub const MAX_SOURCES_BYTES: usize = 256 * 1024;

/// Between the parts of a name: it is that of a field in an object, which may be in another.
pub const NESTED: char = '\0';

pub(crate) const WINDOW: u8 = b'W';

/// The bytes of `'N' 'W' codec flags lines:4 unpacked:4 packed:4 checksum:8`
pub(crate) const HEADER_BYTES: usize = 24;
/// The part of the header that its checksum covers, together with the body.
pub(crate) const CHECKED_BYTES: usize = 16;
/// The body as it is.
pub(crate) const CODEC_NONE: u8 = 0;
/// The body is one zstd frame.
pub(crate) const CODEC_ZSTD: u8 = 1;
/// Every source named before is forgotten.
pub(crate) const FLAG_FORGET: u8 = 1;
/// The body begins with the length of its head.
pub(crate) const HEAD_LENGTH_BYTES: usize = 4;

/// XXH3 of a header's beginning and the body behind it.
pub(crate) fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(header);
    hash.update(body);
    hash.digest()
}
