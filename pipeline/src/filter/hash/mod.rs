//! The hashes that filters offer: cryptographic ones, keyed if there is a key, and MurmurHash3.
//!
//! SHA comes from `ring`, which the process has for TLS anyway; MD5 and MurmurHash3, which protect
//! nothing and are only there to give the same values as before, are our own.
//!
//! COMPAT (logstash-filter-fingerprint): MurmurHash3 takes a whole number as its eight (or, with
//! 128 bits, four if they hold it) bytes, anything else as text; its 32-bit value is a number.

mod md5;
mod murmur3;

use std::net::IpAddr;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use ring::{digest, hmac};

use super::random::HEX;
use super::text::text_of;
use crate::event::Value;

use md5::Md5;

/// How the bytes of a hash are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Two digits for each byte.
    Hex,
    /// RFC 4648, padded.
    Base64,
}

/// A hash, with its key.
pub(crate) enum Hasher {
    /// SHA without a key.
    Sha(&'static digest::Algorithm, Encoding),
    /// HMAC of SHA.
    Hmac(hmac::Key, Encoding),
    /// MD5, or its HMAC.
    Md5(Option<Box<[u8]>>, Encoding),
    /// MurmurHash3, 32 bits.
    Murmur3,
    /// MurmurHash3, 128 bits.
    Murmur3Wide(Encoding),
    /// The first bits of an address.
    Network(u8),
}

/// Names of the SHA variants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sha {
    /// 160 bits.
    One,
    /// 256 bits.
    Two256,
    /// 384 bits.
    Two384,
    /// 512 bits.
    Two512,
}

impl Hasher {
    /// SHA, keyed if there is a key.
    pub(crate) fn sha(variant: Sha, key: Option<&str>, encoding: Encoding) -> Self {
        let (plain, keyed) = match variant {
            Sha::One => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            Sha::Two256 => (&digest::SHA256, hmac::HMAC_SHA256),
            Sha::Two384 => (&digest::SHA384, hmac::HMAC_SHA384),
            Sha::Two512 => (&digest::SHA512, hmac::HMAC_SHA512),
        };
        match key {
            None => Self::Sha(plain, encoding),
            Some(key) => Self::Hmac(hmac::Key::new(keyed, key.as_bytes()), encoding),
        }
    }

    /// The hash of a value; nothing if it is no address where one is asked for.
    pub(crate) fn hash<'b>(&self, value: &Value<'b>, arena: &'b Bump) -> Option<Value<'b>> {
        match (self, value) {
            (Self::Murmur3, Value::Integer(integer)) => {
                let hash = murmur3::hash_32(&integer.to_le_bytes(), 0);
                Some(Value::Integer(i64::from(hash)))
            }
            (Self::Murmur3Wide(encoding), Value::Integer(integer)) => {
                let hash = match i32::try_from(*integer) {
                    Ok(integer) => murmur3::hash_128(&integer.to_le_bytes(), MURMUR_SEED),
                    Err(_) => murmur3::hash_128(&integer.to_le_bytes(), MURMUR_SEED),
                };
                Some(encode(&hash, *encoding, arena))
            }
            _ => self.hash_text(text_of(value, arena), arena),
        }
    }

    /// The hash of a text.
    pub(crate) fn hash_text<'b>(&self, text: &[u8], arena: &'b Bump) -> Option<Value<'b>> {
        Some(match self {
            Self::Sha(algorithm, encoding) => {
                encode(digest::digest(algorithm, text).as_ref(), *encoding, arena)
            }
            Self::Hmac(key, encoding) => encode(hmac::sign(key, text).as_ref(), *encoding, arena),
            Self::Md5(None, encoding) => encode(&Md5::hash(text), *encoding, arena),
            Self::Md5(Some(key), encoding) => encode(&Md5::hmac(key, text), *encoding, arena),
            Self::Murmur3 => Value::Integer(i64::from(murmur3::hash_32(text, 0))),
            Self::Murmur3Wide(encoding) => {
                encode(&murmur3::hash_128(text, MURMUR_SEED), *encoding, arena)
            }
            Self::Network(bits) => return network(text, *bits, arena),
        })
    }
}

/// What Logstash seeds the wide MurmurHash3 with.
const MURMUR_SEED: u32 = 2;

/// The address with all but its first bits cleared.
fn network<'b>(text: &[u8], bits: u8, arena: &'b Bump) -> Option<Value<'b>> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    let masked = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32)));
            IpAddr::V4((u32::from(address) & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128)));
            IpAddr::V6((u128::from(address) & mask.unwrap_or(0)).into())
        }
    };
    Some(Value::copied_text(masked.to_string().as_bytes(), arena))
}

/// The bytes of a hash as text.
pub(crate) fn encode<'b>(bytes: &[u8], encoding: Encoding, arena: &'b Bump) -> Value<'b> {
    let mut text = ArenaVec::with_capacity_in(bytes.len() * 2, arena);
    match encoding {
        Encoding::Hex => {
            for byte in bytes {
                text.push(HEX[usize::from(byte >> 4)]);
                text.push(HEX[usize::from(byte & 15)]);
            }
        }
        Encoding::Base64 => {
            const DIGITS: &[u8; 64] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            for group in bytes.chunks(3) {
                let byte = |at: usize| group.get(at).copied().map_or(0, u32::from);
                let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
                for digit in 0..4 {
                    text.push(if digit <= group.len() {
                        DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]
                    } else {
                        b'='
                    });
                }
            }
        }
    }
    Value::Text(text.into_bump_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_its_standard() {
        let arena = Bump::new();
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let text = encode(bytes.as_bytes(), Encoding::Base64, &arena);
            assert_eq!(text.as_text(), Some(expected.as_bytes()), "{bytes}");
        }
    }

    #[test]
    fn networks() {
        let arena = Bump::new();
        let masked = |text: &str, bits| {
            let value = network(text.as_bytes(), bits, &arena)?;
            Some(String::from_utf8_lossy(value.as_text()?).into_owned())
        };
        assert_eq!(masked("1.2.3.4", 16).as_deref(), Some("1.2.0.0"));
        assert_eq!(masked("1.2.3.4", 0).as_deref(), Some("0.0.0.0"));
        assert_eq!(masked("1.2.3.4", 32).as_deref(), Some("1.2.3.4"));
        assert_eq!(masked("2001:db8:1::1", 32).as_deref(), Some("2001:db8::"));
        assert_eq!(masked("1.2.3", 8), None);
    }
}
