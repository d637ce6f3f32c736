//! Where in a text something is that must not be kept.
//!
//! Each function is linear in the text and calls back with the start and the end of what it found,
//! in order.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex::bytes::{CaptureLocations, Regex};

/// Digits of a payment card (ISO/IEC 7812).
const LEAST_CARD_DIGITS: usize = 13;
const MOST_CARD_DIGITS: usize = 19;

/// Characters of the longest text of an address.
const MOST_ADDRESS_BYTES: usize = 45;

/// Payment cards: 13 to 19 digits, perhaps with single blanks or hyphens between them, that begin as
/// the numbers of cards do and have a right check digit.
pub(super) fn cards(text: &[u8], found: &mut dyn FnMut(usize, usize)) {
    let mut at = 0;
    while let Some(skip) = text[at..].iter().position(u8::is_ascii_digit) {
        let start = at + skip;
        let is_start = start == 0 || !is_word(text[start - 1]);
        let card = is_start.then(|| card_at(text, start)).flatten();
        at = match card {
            Some(end) => {
                found(start, end);
                end
            }
            None => digits_end(text, start),
        };
    }
}

fn digits_end(text: &[u8], from: usize) -> usize {
    let digits = text[from..].iter().take_while(|byte| byte.is_ascii_digit());
    from + digits.count()
}

/// The end of the card that starts here, if one does.
fn card_at(text: &[u8], start: usize) -> Option<usize> {
    let mut digits = [0_u8; MOST_CARD_DIGITS];
    let mut ends = [0_usize; MOST_CARD_DIGITS];
    let mut count = 0;
    let mut at = start;
    while count < MOST_CARD_DIGITS {
        match text.get(at) {
            Some(digit @ b'0'..=b'9') => {
                digits[count] = digit - b'0';
                ends[count] = at + 1;
                count += 1;
                at += 1;
            }
            Some(b' ' | b'-') if text.get(at + 1).is_some_and(u8::is_ascii_digit) => at += 1,
            _ => break,
        }
    }
    // Visa, Mastercard, Amex, Diners, Discover, JCB, UnionPay, Maestro begin so.
    if !(2..=6).contains(&digits[0]) {
        return None;
    }
    (LEAST_CARD_DIGITS..=count).rev().find_map(|length| {
        let end = ends[length - 1];
        let ends_here = text.get(end).is_none_or(|byte| !is_word(*byte));
        let is_varied = digits[..length].iter().any(|digit| *digit != digits[0]);
        (ends_here && is_varied && has_right_check_digit(&digits[..length])).then_some(end)
    })
}

/// Luhn's formula: from the right every second digit counts double, by its digits' sum.
fn has_right_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match place % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Mail addresses.
pub(super) fn emails(text: &[u8], found: &mut dyn FnMut(usize, usize)) {
    let mut searched = 0;
    for at in memchr::memchr_iter(b'@', text) {
        if at < searched {
            continue;
        }
        let local = text[searched..at]
            .iter()
            .rev()
            .take_while(|byte| is_word(**byte) || b".!#$%&*+/=?^`{|}~-".contains(byte))
            .count();
        let mut start = at - local;
        // Marks in front belong to the sentence, or separate a name from its value.
        if let Some(sign) = text[start..at]
            .iter()
            .rposition(|byte| b"=/?&|{}".contains(byte))
        {
            start += sign + 1;
        }
        while start < at && !is_word(text[start]) {
            start += 1;
        }
        let domain = text[at + 1..]
            .iter()
            .take_while(|byte| is_word(**byte) || matches!(byte, b'.' | b'-'))
            .count();
        searched = at + 1 + domain;
        let mut end = searched;
        while end > at + 1 && !is_word(text[end - 1]) {
            end -= 1;
        }
        let mut labels = text[at + 1..end].rsplit(|byte| *byte == b'.');
        let top = labels.next().unwrap_or_default();
        let is_top = top.len() >= 2 && !top.iter().all(u8::is_ascii_digit);
        let has_more = labels.next().is_some_and(|label| !label.is_empty());
        if start < at && is_top && has_more {
            found(start, end);
        }
    }
}

/// Addresses of both versions of IP, without a port or a zone.
pub(super) fn addresses(text: &[u8], found: &mut dyn FnMut(usize, usize)) {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let mut at = 0;
    while let Some(skip) = text[at..].iter().position(is_part) {
        let start = at + skip;
        let length = text[start..]
            .iter()
            .take_while(|byte| is_part(byte))
            .count();
        let end = start + length;
        at = end;
        let joined = (start > 0 && is_word(text[start - 1]))
            || text.get(end).is_some_and(|byte| is_word(*byte));
        let run = &text[start..end];
        if !joined && let Some((from, to)) = version_6(run) {
            found(start + from, start + to);
            continue;
        }
        // Version 4, perhaps with a port behind it; or several with colons between.
        let mut from = start;
        for part in run.split(|byte| *byte == b':') {
            let dots = part.iter().rev().take_while(|byte| **byte == b'.').count();
            let to = from + part.len() - dots;
            let in_word = (from > 0 && is_word(text[from - 1]))
                || text
                    .get(from + part.len())
                    .is_some_and(|byte| is_word(*byte));
            let candidate = &text[from..to];
            if !in_word && is_version_4(candidate) {
                found(from, to);
            }
            from += part.len() + 1;
        }
    }
}

fn is_version_4(text: &[u8]) -> bool {
    text.len() <= 15 && std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

/// An address of version 6 in a run of its characters, without the marks of a sentence around it.
fn version_6(run: &[u8]) -> Option<(usize, usize)> {
    let colons = run.iter().filter(|byte| **byte == b':').take(2).count();
    if colons < 2 || !run.iter().any(u8::is_ascii_hexdigit) {
        return None;
    }
    let parse = |from: usize, to: usize| {
        let text = run.get(from..to)?;
        let short = text.len() <= MOST_ADDRESS_BYTES;
        let text = short.then(|| std::str::from_utf8(text).ok()).flatten()?;
        text.parse::<Ipv6Addr>().ok().map(|_| (from, to))
    };
    let end = run.len();
    parse(0, end)
        .or_else(|| parse(0, end.saturating_sub(1)))
        .or_else(|| parse(1, end))
}

/// Secrets: what stands behind words that announce one, and what has the shape of a known kind of
/// token. The group that takes part in a match is the secret.
pub(super) fn tokens() -> Regex {
    const TOKENS: &str = r#"(?x-u)
        \b(?i:bearer|basic) [\ \t]+ ( [A-Za-z0-9._~+/=-]{8,} )
      | (?i: password | passwd | pwd | passphrase | secret | token | credential s?
           | (?: api | access | private | secret | auth ) [_-]? key )
        ["']? [\ \t]* (?: => | [:=] ) [\ \t]*
        (?: "( (?: [^"\\] | \\. )+ )" | '( [^']+ )' | ( [^\s"'&,;<>\[\]{}()]+ ) )
      | \b( eyJ [A-Za-z0-9_-]{8,} \. [A-Za-z0-9_-]{8,} \. [A-Za-z0-9_-]{8,} )
      | \b( (?: AKIA | ASIA ) [A-Z0-9]{16} ) \b
      | \b( gh [opsur] _ [A-Za-z0-9]{36,} )
      | \b( xox [abeoprs] - [A-Za-z0-9-]{10,} )
      | ( -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----
          (?s: .*? ) (?: -----END\ [A-Z\ ]*PRIVATE\ KEY----- | \z ) )
    "#;
    Regex::new(TOKENS).expect("the expression is right")
}

/// In each match the group that takes part in it. `groups` is memory for that.
pub(super) fn groups(
    regex: &Regex,
    text: &[u8],
    groups: &mut CaptureLocations,
    found: &mut dyn FnMut(usize, usize),
) {
    let mut at = 0;
    while at <= text.len() {
        let Some(whole) = regex.captures_read_at(groups, text, at) else {
            return;
        };
        let group = (1..groups.len()).find_map(|number| groups.get(number));
        if let Some((from, to)) = group {
            found(from, to);
        }
        at = whole.end().max(at + 1);
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(finder: impl Fn(&[u8], &mut dyn FnMut(usize, usize)), text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        finder(text.as_bytes(), &mut |from, to| found.push(&text[from..to]));
        found
    }

    #[test]
    fn cards_by_their_check_digit() {
        for (text, expected) in [
            ("card 4111 1111 1111 1111 ok", &["4111 1111 1111 1111"][..]),
            (
                "4111-1111-1111-1111,378282246310005",
                &["4111-1111-1111-1111", "378282246310005"],
            ),
            ("1234 4111111111111111", &["4111111111111111"]),
            ("4111 1111 1111 1111 2024", &["4111 1111 1111 1111"]),
            ("4111111111111112", &[]),
            ("x4111111111111111", &[]),
            ("41111111111111110000", &[]),
            ("4444444444444444", &[]),
            ("1718452800000", &[]),
        ] {
            assert_eq!(all(cards, text), expected, "{text}");
        }
    }

    #[test]
    fn mail_addresses() {
        for (text, expected) in [
            (
                "to <ann.b+c@mail.example.com>, x",
                &["ann.b+c@mail.example.com"][..],
            ),
            ("mailto:a@b.co.", &["a@b.co"]),
            ("user=a@b.org&x", &["a@b.org"]),
            ("ärger@exämple.de", &["ärger@exämple.de"]),
            ("a@b a@1.2 @x.yz a@.com", &[]),
            ("a@b.cc@d.ee", &["a@b.cc"]),
        ] {
            assert_eq!(all(emails, text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_of_both_versions() {
        for (text, expected) in [
            (
                "from 10.0.0.1:8080 to 192.168.1.255.",
                &["10.0.0.1", "192.168.1.255"][..],
            ),
            (
                "[2001:db8::1]:443 ::1, fe80::1%eth0",
                &["2001:db8::1", "::1", "fe80::1"],
            ),
            ("addr: 2001:db8::1: down", &["2001:db8::1"]),
            ("::ffff:1.2.3.4", &["::ffff:1.2.3.4"]),
            (
                "1.2.3 1.2.3.4.5 256.1.1.1 v1.2.3.4 12:34:56 std::fmt Foo::Bar a :: b",
                &[],
            ),
            ("00:1b:44:11:3a:b7", &[]),
        ] {
            assert_eq!(all(addresses, text), expected, "{text}");
        }
    }

    #[test]
    fn secrets() {
        let regex = tokens();
        for (text, expected) in [
            ("Authorization: Bearer abc.def-123", Some("abc.def-123")),
            ("password=hunter2&x=1", Some("hunter2")),
            (r#"{"api_key": "k 1\"2"}"#, Some(r#"k 1\"2"#)),
            ("token => 'a b'", Some("a b")),
            ("AKIAIOSFODNN7EXAMPLE", Some("AKIAIOSFODNN7EXAMPLE")),
            (
                "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
                Some("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK"),
            ),
            ("the password is wrong", None),
            ("bearer of news", None),
        ] {
            let secrets = |text: &[u8], found: &mut dyn FnMut(usize, usize)| {
                groups(&regex, text, &mut regex.capture_locations(), found);
            };
            assert_eq!(all(secrets, text), expected.as_slice(), "{text}");
        }
    }
}
