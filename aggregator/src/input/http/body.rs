//! Bodies of requests: read within a time and a length, unpacked within another, in memory that is accounted for.
//!
//! gzip and deflate are unpacked in one go, as the whole body is there. A gzip body of several members is refused, not
//! cut: its checksum and length at the end do not fit what the first member holds.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_ENCODING;
use libdeflater::{DecompressionError, Decompressor};
use skidder_lumberjack::{Account, Reservation};
use tokio::sync::watch;

use super::exchange::Refusal;
use crate::input::listener::told_to_stop;

/// How the body of a request may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// `max_content_length`: bytes on the wire.
    pub(super) content_length: usize,
    /// `max_decompressed_length`: bytes of what is in it.
    pub(super) decompressed_length: usize,
    /// `request_timeout`: how long it may take to arrive.
    pub(super) time: Duration,
}

/// A body, and the memory that it takes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) memory: Memory,
}

/// Memory of the shared budget; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    reserved: Vec<Reservation>,
    account: Account,
}

impl Memory {
    pub(super) fn new(account: Account) -> Self {
        Self {
            reserved: Vec::new(),
            account,
        }
    }

    /// Takes more of it.
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let reservation = self.account.try_reserve(bytes).ok_or(Refusal::Memory)?;
        self.reserved.push(reservation);
        Ok(())
    }
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// What the header `content-encoding` says.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        let name = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            _ => Err(Refusal::Encoding(name)),
        }
    }
}

/// Reads a body to its end, as it comes over the wire.
pub(super) async fn read(
    mut body: Incoming,
    limits: BodyLimits,
    memory: &mut Memory,
    mut stopping: watch::Receiver<bool>,
) -> Result<Bytes, Refusal> {
    let limit = limits.content_length;
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Refusal::TooLong {
            name: "max_content_length",
            limit,
        });
    }
    let announced = announced as usize;
    memory.take(announced)?;
    let mut reserved = announced;
    // What is announced is not believed with more than this: it is a guess at a peer's honesty.
    let mut data = Vec::with_capacity(announced.min(TRUSTED_BYTES));
    let reading = async {
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            let frame = frame.map_err(|error| Refusal::Broken(error.to_string()))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if data.len() + piece.len() > limit {
                return Err(Refusal::TooLong {
                    name: "max_content_length",
                    limit,
                });
            }
            let wanted = data.len() + piece.len();
            if wanted > reserved {
                let more = (wanted - reserved).max(RESERVED_AT_ONCE);
                memory.take(more)?;
                reserved += more;
            }
            data.extend_from_slice(&piece);
        }
        Ok(())
    };
    tokio::select! {
        read = tokio::time::timeout(limits.time, reading) => read.map_err(|_| Refusal::Slow(limits.time))??,
        () = told_to_stop(&mut stopping) => return Err(Refusal::Stopping),
    }
    Ok(data.into())
}

/// Unpacks a body.
pub(super) async fn unpack(
    packed: Bytes,
    encoding: Encoding,
    limit: usize,
    memory: Memory,
) -> Result<(Bytes, Memory), Refusal> {
    if encoding == Encoding::Identity {
        return Ok((packed, memory));
    }
    let unpacking = move || {
        let mut memory = memory;
        let bytes = inflate(&packed, encoding, limit, &mut memory)?;
        Ok((bytes.into(), memory))
    };
    // Not among the tasks of the network: a large body takes as long as it takes.
    tokio::task::spawn_blocking(unpacking)
        .await
        .map_err(|error| Refusal::Broken(error.to_string()))?
}

fn inflate(
    packed: &[u8],
    encoding: Encoding,
    limit: usize,
    memory: &mut Memory,
) -> Result<Vec<u8>, Refusal> {
    let mut decompressor = Decompressor::new();
    let mut wanted = packed
        .len()
        .saturating_mul(EXPECTED_RATIO)
        .clamp(RESERVED_AT_ONCE, RESERVED_AT_ONCE.max(limit));
    let mut reserved = 0;
    let mut out = Vec::new();
    loop {
        wanted = wanted.min(limit);
        memory.take(wanted - reserved)?;
        reserved = wanted;
        out.resize(wanted, 0);
        let done = match encoding {
            Encoding::Gzip => decompressor.gzip_decompress(packed, &mut out),
            // COMPAT: the name means the format of zlib, and some clients send it without its frame.
            _ => match decompressor.zlib_decompress(packed, &mut out) {
                Err(DecompressionError::BadData) => {
                    decompressor.deflate_decompress(packed, &mut out)
                }
                done => done,
            },
        };
        match done {
            Ok(length) => {
                out.truncate(length);
                break;
            }
            Err(DecompressionError::InsufficientSpace) if wanted < limit => {
                wanted = wanted.saturating_mul(4);
            }
            Err(DecompressionError::InsufficientSpace) => {
                return Err(Refusal::TooLong {
                    name: "max_decompressed_length",
                    limit,
                });
            }
            Err(DecompressionError::BadData) => {
                return Err(Refusal::Malformed(format!(
                    "the body is not what content-encoding says ({encoding:?})"
                )));
            }
        }
    }
    if encoding == Encoding::Gzip && !ends_with_its_only_member(packed, &out) {
        return Err(Refusal::Malformed(
            "the gzip body has something behind its first member: send one member a request".into(),
        ));
    }
    Ok(out)
}

/// Whether the checksum and the length at the end of a gzip body are those of what it was unpacked to.
fn ends_with_its_only_member(packed: &[u8], unpacked: &[u8]) -> bool {
    let Some(end) = packed.last_chunk::<8>() else {
        return false;
    };
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *end;
    u32::from_le_bytes([c0, c1, c2, c3]) == libdeflater::crc32(unpacked)
        && u32::from_le_bytes([l0, l1, l2, l3]) == unpacked.len() as u32
}

/// So many bytes of an announced length are allocated before they come.
const TRUSTED_BYTES: usize = 1 << 20;

/// Memory is taken from the budget in steps of this many bytes at least.
const RESERVED_AT_ONCE: usize = 64 << 10;

/// The first guess: logs as JSON pack to about an eighth.
const EXPECTED_RATIO: usize = 8;

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor};
    use skidder_lumberjack::ByteBudget;

    use super::*;

    fn memory() -> Memory {
        Memory::new(ByteBudget::new(10 << 20).account())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = Compressor::new(CompressionLvl::default());
        let mut out = vec![0; packer.gzip_compress_bound(text.len())];
        let length = packer.gzip_compress(text, &mut out).unwrap();
        out.truncate(length);
        out
    }

    #[test]
    fn what_is_packed_comes_out_whatever_its_ratio() {
        let text = vec![b'a'; 3 << 20];
        let unpacked = inflate(&gzip(&text), Encoding::Gzip, 4 << 20, &mut memory()).unwrap();
        assert!(unpacked == text);
        let mut packer = Compressor::new(CompressionLvl::default());
        for zlib in [true, false] {
            let mut out = vec![0; 1000];
            let length = if zlib {
                packer.zlib_compress(b"some text", &mut out).unwrap()
            } else {
                packer.deflate_compress(b"some text", &mut out).unwrap()
            };
            let unpacked = inflate(&out[..length], Encoding::Deflate, 100, &mut memory()).unwrap();
            assert_eq!(unpacked, b"some text");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_other_damage_too() {
        let text = vec![b'a'; 1 << 20];
        let bomb = inflate(&gzip(&text), Encoding::Gzip, 1 << 19, &mut memory()).unwrap_err();
        assert!(
            bomb.to_string().contains("max_decompressed_length"),
            "{bomb}"
        );
        let mut broken = gzip(&text);
        broken[20] ^= 0xff;
        assert!(inflate(&broken, Encoding::Gzip, 2 << 20, &mut memory()).is_err());
        let two = [gzip(b"one"), gzip(b"two")].concat();
        let refused = inflate(&two, Encoding::Gzip, 1 << 20, &mut memory()).unwrap_err();
        assert!(refused.to_string().contains("one member"), "{refused}");
    }

    #[test]
    fn memory_comes_out_of_the_budget_and_goes_back() {
        let budget = ByteBudget::new(1 << 20);
        // The first may overdraw, so that one large body passes; the second is refused.
        let mut first = Memory::new(budget.account());
        first.take(2 << 20).unwrap();
        let mut second = Memory::new(budget.account());
        assert!(matches!(second.take(1), Err(Refusal::Memory)));
        drop(first);
        second.take(1).unwrap();
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
