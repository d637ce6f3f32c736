//! What a certificate says of itself, for people: whose it is, who issued it, for which names, and when.
//!
//! A reader of the few parts of X.509 that this takes. It decides nothing: whether a certificate is trusted is for
//! rustls to say. Bytes come from whoever answers, so every length is checked, nesting is as deep as the code is,
//! names are cut and stripped of control characters.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

/// Names of a certificate that are kept.
pub const MAX_NAMES: usize = 100;
/// Parts of a subject or issuer that are kept.
pub const MAX_PARTS: usize = 20;
/// Characters of one name or part that are kept.
pub const MAX_TEXT: usize = 256;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whose it is, like `CN=logs.example.com, O=Example`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Host names and addresses it is for.
    pub names: Vec<String>,
    /// Valid from then.
    #[serde(serialize_with = "as_text")]
    pub valid_from: Timestamp,
    /// Valid until then.
    #[serde(serialize_with = "as_text")]
    pub valid_until: Timestamp,
    /// Whole days until then; negative if that has passed.
    pub days_left: i64,
    /// Whether it may issue others.
    pub is_authority: bool,
    /// Of all of it.
    pub sha256: String,
}

/// Reads a certificate; `now` for the days that are left. The error says what is not as X.509 has it.
pub fn read(der: &[u8], now: Timestamp) -> Result<Certificate, &'static str> {
    let body = Reader(der).expect(SEQUENCE)?;
    let mut body = Reader(Reader(body).expect(SEQUENCE)?);
    // The version has a tag of its own, and may be missing.
    if body.0.first() == Some(&VERSION) {
        body.next()?;
    }
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    let issuer = name_of(body.expect(SEQUENCE)?)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let (valid_from, valid_until) = (time(validity.next()?)?, time(validity.next()?)?);
    let subject = name_of(body.expect(SEQUENCE)?)?;
    let mut certificate = Certificate {
        subject,
        issuer,
        names: Vec::new(),
        valid_from,
        valid_until,
        days_left: (valid_until.as_second() - now.as_second()).div_euclid(24 * 3600),
        is_authority: false,
        sha256: fingerprint(der),
    };
    body.expect(SEQUENCE)?;
    while !body.0.is_empty() {
        let (tag, content) = body.next()?;
        if tag == EXTENSIONS {
            extensions(Reader(content).expect(SEQUENCE)?, &mut certificate)?;
        }
    }
    Ok(certificate)
}

/// Reads the encoded name of an authority.
pub fn name(der: &[u8]) -> Result<String, &'static str> {
    name_of(Reader(der).expect(SEQUENCE)?)
}

/// A time as the report has it.
pub(super) fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.0}"))
}

fn extensions(list: &[u8], certificate: &mut Certificate) -> Result<(), &'static str> {
    let mut list = Reader(list);
    while !list.0.is_empty() {
        let mut extension = Reader(list.expect(SEQUENCE)?);
        let identifier = extension.expect(OBJECT)?;
        let (mut tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            // Whether it is critical.
            (tag, value) = extension.next()?;
        }
        if tag != OCTETS {
            return Err("an extension has no value");
        }
        match identifier {
            ALTERNATIVE_NAMES => {
                let mut names = Reader(Reader(value).expect(SEQUENCE)?);
                while !names.0.is_empty() && certificate.names.len() < MAX_NAMES {
                    let (kind, text) = names.next()?;
                    certificate.names.extend(alternative(kind, text));
                }
            }
            BASIC_CONSTRAINTS => {
                let mut constraints = Reader(Reader(value).expect(SEQUENCE)?);
                let first = constraints.next();
                certificate.is_authority = matches!(first, Ok((BOOLEAN, [value])) if *value != 0);
            }
            _ => {}
        }
    }
    Ok(())
}

fn alternative(kind: u8, content: &[u8]) -> Option<String> {
    match (kind, content.len()) {
        (DNS_NAME | URI | EMAIL, _) => Some(text(content)),
        (ADDRESS, 4) => <[u8; 4]>::try_from(content)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).to_string()),
        (ADDRESS, 16) => <[u8; 16]>::try_from(content)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).to_string()),
        _ => None,
    }
}

/// `CN=…, O=…`, in the order of the certificate.
fn name_of(list: &[u8]) -> Result<String, &'static str> {
    let mut parts = Vec::new();
    let mut list = Reader(list);
    while !list.0.is_empty() && parts.len() < MAX_PARTS {
        let mut set = Reader(list.expect(SET)?);
        while !set.0.is_empty() && parts.len() < MAX_PARTS {
            let mut pair = Reader(set.expect(SEQUENCE)?);
            let kind = pair.expect(OBJECT)?;
            let (encoding, value) = pair.next()?;
            let value = match encoding {
                // Two bytes for each character.
                BMP_STRING => {
                    let (pairs, _) = value.as_chunks::<2>();
                    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
                    let characters = char::decode_utf16(units);
                    let characters =
                        characters.map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER));
                    printable(characters)
                }
                _ => text(value),
            };
            let known = ATTRIBUTES.iter().find(|(object, _)| *object == kind);
            parts.push(match known {
                Some((_, short)) => format!("{short}={value}"),
                None => format!("{}={value}", dotted(kind)),
            });
        }
    }
    Ok(parts.join(", "))
}

fn text(bytes: &[u8]) -> String {
    printable(String::from_utf8_lossy(bytes).chars())
}

/// What a terminal does not take for orders, and not too much of it.
fn printable(characters: impl Iterator<Item = char>) -> String {
    characters
        .take(MAX_TEXT)
        .map(|character| {
            if character.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect()
}

/// An object identifier as people write it.
fn dotted(object: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for byte in object.iter().take(MAX_TEXT) {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first.to_string());
                number -= first * 40;
            }
            numbers.push(number.to_string());
            number = 0;
        }
    }
    numbers.join(".")
}

fn time((tag, content): (u8, &[u8])) -> Result<Timestamp, &'static str> {
    const WRONG: &str = "a time of its validity is not readable";
    let text = std::str::from_utf8(content).map_err(|_| WRONG)?;
    let digits = text.strip_suffix('Z').ok_or(WRONG)?;
    let wanted = match tag {
        UTC_TIME => 12,
        GENERAL_TIME => 14,
        _ => return Err(WRONG),
    };
    if digits.len() != wanted || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    let (year, rest) = digits.split_at(digits.len() - 10);
    let year: i16 = year.parse().map_err(|_| WRONG)?;
    // Two digits stand for the years 1950 to 2049.
    let year = match tag {
        UTC_TIME if year < 50 => year + 2000,
        UTC_TIME => year + 1900,
        _ => year,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i8>().map_err(|_| WRONG);
    let date = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0);
    let date = date.map_err(|_| WRONG)?;
    let zoned = date.to_zoned(TimeZone::UTC).map_err(|_| WRONG)?;
    Ok(zoned.timestamp())
}

fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let mut text = String::new();
    for (index, byte) in digest.as_ref().iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        // Writing to a string cannot fail.
        write!(text, "{colon}{byte:02X}").unwrap_or_default();
    }
    text
}

/// Values of DER, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Result<(u8, &'a [u8]), &'static str> {
        const CUT: &str = "it is cut off";
        let [tag, length, rest @ ..] = self.0 else {
            return Err(CUT);
        };
        if tag & 0x1f == 0x1f {
            return Err("it has a tag that no certificate has");
        }
        let (length, rest) = match *length {
            short @ ..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f)).ok_or(CUT)?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return Err("it has a length that no certificate has"),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok((*tag, content))
    }

    /// The content of the next value, which has to have this tag.
    fn expect(&mut self, tag: u8) -> Result<&'a [u8], &'static str> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err("it is not built like a certificate"),
        }
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of alternative names.
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;
/// Object identifiers, encoded.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, DnValue, IsCa, KeyPair,
        SanType, date_time_ymd,
    };

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid");
        parameters.not_before = date_time_ymd(1999, 12, 31);
        parameters.not_after = date_time_ymd(2077, 2, 28);
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn a_certificate_is_described() {
        let der = made(|parameters| {
            let name = &mut parameters.distinguished_name;
            name.push(DnType::CommonName, "lógs\u{1b}[2J");
            name.push(
                DnType::OrganizationName,
                DnValue::BmpString("Ünï".try_into().expect("text")),
            );
            name.push(DnType::CustomDnType(vec![2, 5, 4, 65]), "nobody");
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.subject_alt_names = vec![
                SanType::DnsName("logs.example.com".try_into().expect("a name")),
                SanType::IpAddress("192.0.2.7".parse().expect("an address")),
                SanType::IpAddress("2001:db8::1".parse().expect("an address")),
            ];
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            unknown.set_criticality(true);
            parameters.custom_extensions = vec![unknown];
        });
        let read = read(&der, "2077-02-26T12:00:00Z".parse().expect("a time")).expect("reads");
        for part in ["CN=lógs\u{fffd}[2J", "O=Ünï", "2.5.4.65=nobody"] {
            assert!(read.subject.contains(part), "{part} in {}", read.subject);
        }
        assert_eq!(read.subject, read.issuer);
        assert_eq!(read.names, ["logs.example.com", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(read.valid_from.to_string(), "1999-12-31T00:00:00Z");
        assert_eq!(read.valid_until.to_string(), "2077-02-28T00:00:00Z");
        assert_eq!(read.days_left, 1);
        assert!(read.is_authority);
        assert_eq!(read.sha256.len(), 32 * 3 - 1);
    }

    #[test]
    fn what_a_certificate_has_too_much_of_is_cut() {
        let der = made(|parameters| {
            parameters
                .distinguished_name
                .push(DnType::CommonName, "x".repeat(5000));
            parameters.subject_alt_names = (0..300)
                .map(|number| SanType::DnsName(format!("h{number}").try_into().expect("a name")))
                .collect();
        });
        let read = read(&der, "2077-02-26T12:00:00Z".parse().expect("a time")).expect("reads");
        assert!(
            read.subject.len() <= MAX_TEXT + 100,
            "{}",
            read.subject.len()
        );
        assert_eq!(read.names.len(), MAX_NAMES);
        assert!(!read.is_authority);
    }

    #[test]
    fn a_certificate_that_is_cut_off_anywhere_is_an_error() {
        let der = made(|_| ());
        for length in 0..der.len() {
            assert!(
                read(&der[..length], Timestamp::UNIX_EPOCH).is_err(),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..2000)) {
            drop(read(&junk, Timestamp::UNIX_EPOCH));
            drop(name(&junk));
        }

        #[test]
        fn a_certificate_with_damage_does_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = made(|parameters| {
                parameters.subject_alt_names = vec![SanType::DnsName("a".try_into().expect("a name"))];
            });
            let at = at.index(der.len());
            der[at] = byte;
            if let Ok(read) = read(&der, Timestamp::UNIX_EPOCH) {
                prop_assert!(read.subject.chars().count() <= MAX_PARTS * (MAX_TEXT + 600));
            }
        }
    }
}
