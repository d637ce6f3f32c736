//! Character sets: bytes of a stream into UTF-8 and back.
//!
//! COMPAT: names are Ruby's (`UTF-8`, `ISO-8859-1`, `CP1252`, `ASCII-8BIT`, …) in any case, as the
//! option `charset` takes them. What a byte does not stand for becomes U+FFFD when read; a
//! character the set lacks becomes `?` when written. UTF-8 itself is passed on as it is: what is
//! invalid in it is made valid when it is written as JSON.

use bumpalo::Bump;
use encoding_rs::{DecoderResult, EncoderResult, Encoding};
use thiserror::Error;

/// A character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Charset {
    /// UTF-8.
    #[default]
    Utf8,
    /// ASCII; other bytes stand for nothing.
    Ascii,
    /// ISO-8859-1: every byte is the character of its number.
    Latin1,
    /// UTF-16 with the high byte first.
    Utf16BigEndian,
    /// UTF-16 with the low byte first.
    Utf16LittleEndian,
    /// Any other.
    Other(&'static Encoding),
}

/// A name that no known character set has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no character set `{0}`, use for example `UTF-8`, `ISO-8859-1` or `CP1252`")]
pub struct UnknownCharset(pub String);

impl Charset {
    /// The character set of that name.
    pub fn from_name(name: &str) -> Result<Self, UnknownCharset> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "UTF-8" | "UTF8" | "CP65001" | "UTF8-MAC" | "UTF-8-MAC" => Self::Utf8,
            "ASCII-8BIT" | "BINARY" | "US-ASCII" | "ASCII" | "646" | "ANSI_X3.4-1968" => {
                Self::Ascii
            }
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" => Self::Latin1,
            "UTF-16" | "UTF-16BE" | "UCS-2BE" => Self::Utf16BigEndian,
            "UTF-16LE" => Self::Utf16LittleEndian,
            upper => {
                let label = RUBY_NAMES
                    .iter()
                    .find(|(ruby, _)| *ruby == upper)
                    .map_or(name, |(_, label)| label);
                match Encoding::for_label_no_replacement(label.as_bytes()) {
                    Some(encoding) => Self::Other(encoding),
                    None => return Err(UnknownCharset(name.to_owned())),
                }
            }
        })
    }

    /// Whether bytes below 128 are always the characters of ASCII.
    pub fn is_ascii_compatible(self) -> bool {
        match self {
            Self::Utf8 | Self::Ascii | Self::Latin1 => true,
            Self::Utf16BigEndian | Self::Utf16LittleEndian => false,
            Self::Other(encoding) => encoding.is_ascii_compatible(),
        }
    }

    /// The text that bytes of this character set stand for, as UTF-8; a slice of the bytes where
    /// they are that already.
    pub fn decode<'b>(self, bytes: &'b [u8], arena: &'b Bump) -> &'b [u8] {
        // PERF: ASCII is itself in most of these, and most logs are nothing else.
        if self == Self::Utf8 || (self.is_ascii_compatible() && bytes.is_ascii()) {
            return bytes;
        }
        let text = match self {
            Self::Utf8 => return bytes,
            Self::Ascii => bytes
                .iter()
                .map(|byte| {
                    if byte.is_ascii() {
                        char::from(*byte)
                    } else {
                        char::REPLACEMENT_CHARACTER
                    }
                })
                .collect(),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Utf16BigEndian => decode_utf16(bytes, u16::from_be_bytes),
            Self::Utf16LittleEndian => decode_utf16(bytes, u16::from_le_bytes),
            Self::Other(encoding) => decode_other(encoding, bytes),
        };
        arena.alloc_str(&text).as_bytes()
    }

    /// Appends UTF-8 text in this character set.
    pub fn encode(self, text: &[u8], out: &mut Vec<u8>) {
        if self == Self::Utf8 {
            out.extend_from_slice(text);
            return;
        }
        let text = String::from_utf8_lossy(text);
        match self {
            Self::Utf8 => {}
            Self::Ascii => out.extend(text.chars().map(|character| single_byte(character, 0x7f))),
            Self::Latin1 => out.extend(text.chars().map(|character| single_byte(character, 0xff))),
            Self::Utf16BigEndian => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            Self::Utf16LittleEndian => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Other(encoding) => encode_other(encoding, &text, out),
        }
    }
}

/// Names that Ruby has for character sets that the web calls differently.
const RUBY_NAMES: &[(&str, &str)] = &[
    ("CP932", "shift_jis"),
    ("CSWINDOWS31J", "shift_jis"),
    ("EUCJP", "euc-jp"),
    ("CP51932", "euc-jp"),
    ("EUCKR", "euc-kr"),
    ("CP949", "euc-kr"),
    ("CP936", "gbk"),
    ("EUCCN", "gb2312"),
    ("EUC-CN", "gb2312"),
    ("CP950", "big5"),
    ("CP874", "windows-874"),
    ("CP878", "koi8-r"),
    ("MACROMAN", "macintosh"),
    ("MACCYRILLIC", "x-mac-cyrillic"),
];

fn single_byte(character: char, last: u32) -> u8 {
    match u8::try_from(u32::from(character)) {
        Ok(byte) if u32::from(byte) <= last => byte,
        _ => b'?',
    }
}

fn decode_utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> String {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text: String = char::decode_utf16(units.iter().map(|each| unit(*each)))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    // The byte order mark is none of the text.
    if text.starts_with('\u{FEFF}') {
        text.remove(0);
    }
    text
}

fn decode_other(encoding: &'static Encoding, bytes: &[u8]) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::new();
    let mut rest = bytes;
    loop {
        let room = decoder
            .max_utf8_buffer_length_without_replacement(rest.len())
            .unwrap_or(rest.len());
        text.reserve(room);
        let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return text,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(_, _) => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

fn encode_other(encoding: &'static Encoding, text: &str, out: &mut Vec<u8>) {
    let mut encoder = encoding.new_encoder();
    let mut rest = text;
    loop {
        let room = encoder
            .max_buffer_length_from_utf8_without_replacement(rest.len())
            .unwrap_or(rest.len());
        out.reserve(room);
        let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, out, true);
        rest = &rest[read..];
        match result {
            EncoderResult::InputEmpty => return,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => out.push(b'?'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(name: &str, bytes: &[u8]) -> String {
        let arena = Bump::new();
        let text = Charset::from_name(name)
            .unwrap()
            .decode(arena.alloc_slice_copy(bytes), &arena);
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn encode(name: &str, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Charset::from_name(name)
            .unwrap()
            .encode(text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn reads() {
        for (name, bytes, expected) in [
            (
                "ISO-8859-1",
                &b"\xe0 Montr\xe9al \x80"[..],
                "à Montréal \u{80}",
            ),
            ("cp1252", b"\x92\x80", "’€"),
            ("Windows-1252", b"\x92", "’"),
            ("ASCII-8BIT", b"a\xe0b", "a\u{FFFD}b"),
            ("US-ASCII", b"abc", "abc"),
            ("Shift_JIS", b"\x83e\x83X\x83g", "テスト"),
            ("EUC-JP", b"\xa5\xc6", "テ"),
            ("GB18030", b"\xc4\xe3", "你"),
            ("KOI8-R", b"\xc1", "а"),
            ("ISO-8859-2", b"\xb1", "ą"),
            ("UTF-16LE", b"\xff\xfea\0\xe9\0", "aé"),
            ("UTF-16BE", b"\0a\xd8", "a\u{FFFD}"),
            ("Shift_JIS", b"a\xff\xff", "a\u{FFFD}\u{FFFD}"),
        ] {
            assert_eq!(decode(name, bytes), expected, "{name}");
        }
    }

    #[test]
    fn writes() {
        assert_eq!(encode("CP1252", "’ж"), b"\x92?");
        assert_eq!(encode("ISO-8859-1", "é€"), b"\xe9?");
        assert_eq!(encode("ASCII", "aé"), b"a?");
        assert_eq!(encode("UTF-16BE", "aé"), b"\0a\0\xe9");
        assert_eq!(encode("UTF-16LE", "a"), b"a\0");
        assert_eq!(encode("Shift_JIS", "テ"), b"\x83e");
        assert_eq!(encode("UTF-8", "aé"), "aé".as_bytes());
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = Charset::from_name("CP-1").unwrap_err();
        assert!(error.to_string().contains("`CP-1`"));
        assert!(Charset::from_name("iso-2022-kr").is_err());
    }

    #[test]
    fn ascii_is_not_copied() {
        let arena = Bump::new();
        for name in ["UTF-8", "CP1252", "ISO-8859-1", "ASCII-8BIT"] {
            let text = Charset::from_name(name).unwrap().decode(b"plain", &arena);
            assert_eq!(text, b"plain");
        }
        assert_eq!(arena.allocated_bytes(), 0);
    }
}
