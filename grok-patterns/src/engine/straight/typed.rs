//! Matchers by hand for the parts that nearly every log line has.
//!
//! Each stands for one standard pattern and is used where an expression holds exactly that
//! pattern's tree, whatever it is called there. INVARIANT: when a matcher gives an end, the
//! best way of its pattern ends there; when it has any doubt it gives none, and the pattern's automaton
//! looks. The tests hold every matcher against its pattern.

use std::sync::OnceLock;

use crate::{
    CompileOptions, PatternSet,
    program::is_word_byte,
    syntax::{Node, parse},
};

/// A part of a log line that is recognised without an automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// An address or a name of a host.
    IpOrHost,
    /// An address.
    Ip,
    /// `HTTPDUSER`: a user's name that is no e-mail address.
    User,
    /// A word of ASCII letters, digits and underscores.
    Word,
    /// A decimal number.
    Number,
    /// An optional sign and digits.
    Integer,
    /// Digits that are a word and do not begin with a nought.
    PositiveInteger,
    /// A text in double quotes.
    Quoted,
    /// `10/Oct/2000:13:55:36 -0700`
    HttpDate,
    /// `Oct 11 22:14:15`
    SyslogTimestamp,
    /// `2003-10-11T22:14:15.003Z`
    Iso8601Timestamp,
}

/// The standard patterns that have a matcher.
const MATCHERS: &[(&str, Typed)] = &[
    ("IPORHOST", Typed::IpOrHost),
    ("IP", Typed::Ip),
    ("HTTPDUSER", Typed::User),
    ("WORD", Typed::Word),
    ("NUMBER", Typed::Number),
    ("INT", Typed::Integer),
    ("POSINT", Typed::PositiveInteger),
    ("QUOTEDSTRING", Typed::Quoted),
    ("HTTPDATE", Typed::HttpDate),
    ("SYSLOGTIMESTAMP", Typed::SyslogTimestamp),
    ("TIMESTAMP_ISO8601", Typed::Iso8601Timestamp),
];

/// The matcher for a tree, if it is the tree of one of the standard patterns that have one.
pub(super) fn of(node: &Node) -> Option<Typed> {
    static KNOWN: OnceLock<Vec<(Node, Typed)>> = OnceLock::new();
    if !matches!(
        node,
        Node::Alternate(_) | Node::Concat(_) | Node::Repeat { .. }
    ) {
        return None;
    }
    let known = KNOWN.get_or_init(|| {
        let set = PatternSet::legacy();
        let node = |name: &str| parse(&format!("%{{{name}}}"), &set, &CompileOptions::default());
        MATCHERS
            .iter()
            .filter_map(|(name, typed)| Some((node(name).ok()?.node, *typed)))
            .collect()
    });
    let found = known.iter().find(|(known, _)| known == node);
    found.map(|(_, typed)| *typed)
}

impl Typed {
    /// Where the best way of the pattern ends; `None` when there is none or it does not know.
    #[inline]
    pub(super) fn end(self, line: &[u8], position: usize) -> Option<usize> {
        match self {
            Self::IpOrHost => ip_or_host(line, position),
            Self::Ip => ip_v4(line, position),
            Self::User => user(line, position),
            Self::Word => word(line, position),
            Self::Number => number(line, position),
            Self::Integer => integer(line, position),
            Self::PositiveInteger => positive_integer(line, position),
            Self::Quoted => quoted(line, position),
            Self::HttpDate => http_date(line, position),
            Self::SyslogTimestamp => syslog_timestamp(line, position),
            Self::Iso8601Timestamp => iso8601_timestamp(line, position),
        }
    }
}

const WORD: u8 = 1;
const USER: u8 = 2;
const MAIL: u8 = 4;
const HEXADECIMAL: u8 = 8;
const HOST: u8 = 16;

/// What each byte may be part of.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        if character.is_ascii_alphanumeric() {
            kinds[byte] |= WORD | USER | MAIL | HOST;
        }
        if character.is_ascii_hexdigit() {
            kinds[byte] |= HEXADECIMAL;
        }
        match character {
            b'_' => kinds[byte] |= WORD | USER | MAIL,
            b'-' => kinds[byte] |= USER | MAIL | HOST,
            b'.' => kinds[byte] |= USER | MAIL,
            b'+'..=b'=' => kinds[byte] |= MAIL,
            _ => {}
        }
        byte += 1;
    }
    kinds
};

fn is(byte: u8, kind: u8) -> bool {
    KINDS[usize::from(byte)] & kind != 0
}

fn byte_at(line: &[u8], position: usize) -> Option<u8> {
    line.get(position).copied()
}

/// Where a run of bytes of a kind ends that begins here.
#[inline]
fn run_end(line: &[u8], position: usize, kind: u8) -> usize {
    let rest = &line[position..];
    let length = rest.iter().position(|byte| !is(*byte, kind));
    position + length.unwrap_or(rest.len())
}

/// Where a run of digits ends that begins here.
#[inline]
fn digits_end(line: &[u8], position: usize) -> usize {
    let mut at = position;
    // PERF: without a branch for each digit, of which the processor would guess one wrong.
    while let Some(eight) = line.get(at..).and_then(|rest| rest.first_chunk()) {
        let count = leading_digits(u64::from_le_bytes(*eight));
        at += count;
        if count < 8 {
            return at;
        }
    }
    while let Some(b'0'..=b'9') = line.get(at) {
        at += 1;
    }
    at
}

/// How many of the bytes of a little-endian word are digits before the first that is not.
#[inline]
fn leading_digits(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let values = word ^ (ONES * 0x30);
    let other = (((values & (ONES * 0x7F)) + ONES * 0x76) | values) & (ONES * 0x80);
    (other.trailing_zeros() / 8) as usize
}

/// Whether a word that starts here starts at a boundary; not known next to a wide character.
fn starts_word(line: &[u8], position: usize) -> bool {
    match position.checked_sub(1) {
        None => true,
        Some(before) => line[before].is_ascii() && !is_word_byte(line[before]),
    }
}

fn ip_or_host(line: &[u8], position: usize) -> Option<usize> {
    if let Some(end) = ip_v4(line, position) {
        return Some(end);
    }
    // An address of version 6 begins with up to four digits and a colon, or with a colon.
    let digits = run_end(line, position, HEXADECIMAL);
    if byte_at(line, digits) == Some(b':') {
        return None;
    }
    if !starts_word(line, position) {
        return None;
    }
    let mut at = position;
    loop {
        if !is(byte_at(line, at)?, WORD) || line[at] == b'_' {
            // Only a label that follows a dot may be missing: the dot is the end then.
            return (at > position).then_some(at);
        }
        at = run_end(line, at, HOST).min(at + 63);
        if byte_at(line, at) != Some(b'.') {
            return Some(at);
        }
        at += 1;
        if at == line.len() {
            return Some(at);
        }
    }
}

/// Four numbers up to 255 that are not part of something longer.
#[inline]
fn ip_v4(line: &[u8], position: usize) -> Option<usize> {
    if position > 0 && line[position - 1].is_ascii_digit() {
        return None;
    }
    let mut at = position;
    for part in 0..4 {
        let end = match line.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(eight) => at + leading_digits(u64::from_le_bytes(*eight)),
            None => digits_end(line, at),
        };
        let fits = match line[at..end] {
            [_] | [_, _] => true,
            [a, b, c] => [a, b, c] <= *b"255",
            _ => false,
        };
        if !fits {
            return None;
        }
        at = end;
        if part < 3 {
            if byte_at(line, at) != Some(b'.') {
                return None;
            }
            at += 1;
        }
    }
    Some(at)
}

fn user(line: &[u8], position: usize) -> Option<usize> {
    // An address begins with a letter and has no other bytes than these before its `@`.
    if byte_at(line, position)?.is_ascii_alphabetic() {
        let mail = run_end(line, position + 1, MAIL);
        if byte_at(line, mail) == Some(b'@') {
            return None;
        }
    }
    let end = run_end(line, position, USER);
    (end > position).then_some(end)
}

fn word(line: &[u8], position: usize) -> Option<usize> {
    let end = run_end(line, position, WORD);
    let known = byte_at(line, end).is_none_or(|byte| byte.is_ascii());
    (end > position && known && starts_word(line, position)).then_some(end)
}

fn number(line: &[u8], position: usize) -> Option<usize> {
    if let Some(before) = position.checked_sub(1)
        && matches!(line[before], b'0'..=b'9' | b'.' | b'+' | b'-')
    {
        return None;
    }
    let mut start = position;
    if let Some(b'+' | b'-') = byte_at(line, start) {
        start += 1;
    }
    let whole = digits_end(line, start);
    if byte_at(line, whole) == Some(b'.') {
        let fraction = digits_end(line, whole + 1);
        if fraction > whole + 1 {
            return Some(fraction);
        }
    }
    (whole > start).then_some(whole)
}

fn integer(line: &[u8], position: usize) -> Option<usize> {
    let mut start = position;
    if let Some(b'+' | b'-') = byte_at(line, start) {
        start += 1;
    }
    let end = digits_end(line, start);
    (end > start).then_some(end)
}

fn positive_integer(line: &[u8], position: usize) -> Option<usize> {
    if !matches!(byte_at(line, position), Some(b'1'..=b'9')) || !starts_word(line, position) {
        return None;
    }
    let end = digits_end(line, position);
    let ends = byte_at(line, end).is_none_or(|byte| byte.is_ascii() && !is_word_byte(byte));
    ends.then_some(end)
}

fn quoted(line: &[u8], position: usize) -> Option<usize> {
    if byte_at(line, position) != Some(b'"') || position > 0 && line[position - 1] == b'\\' {
        return None;
    }
    let mut at = position + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some(at + 1);
        }
        // What is escaped is one character.
        if !byte_at(line, at + 1)?.is_ascii() {
            return None;
        }
        at += 2;
    }
}

/// Two digits from `low` to `high`.
fn two_digits(bytes: [u8; 2], low: u8, high: u8) -> bool {
    if !bytes[0].is_ascii_digit() || !bytes[1].is_ascii_digit() {
        return false;
    }
    let value = (bytes[0] - b'0') * 10 + (bytes[1] - b'0');
    (low..=high).contains(&value)
}

fn is_month(name: [u8; 3]) -> bool {
    matches!(
        &name,
        b"Jan"
            | b"Feb"
            | b"Mar"
            | b"Apr"
            | b"May"
            | b"Jun"
            | b"Jul"
            | b"Aug"
            | b"Sep"
            | b"Oct"
            | b"Nov"
            | b"Dec"
    )
}

/// `13:55:36`
fn is_time(text: [u8; 8]) -> bool {
    let [h0, h1, b':', m0, m1, b':', s0, s1] = text else {
        return false;
    };
    two_digits([h0, h1], 0, 23) && two_digits([m0, m1], 0, 59) && two_digits([s0, s1], 0, 60)
}

fn http_date(line: &[u8], position: usize) -> Option<usize> {
    let text: &[u8; 21] = line.get(position..)?.first_chunk()?;
    let [
        d0,
        d1,
        b'/',
        n0,
        n1,
        n2,
        b'/',
        y0,
        y1,
        y2,
        y3,
        b':',
        time @ ..,
        b' ',
    ] = *text
    else {
        return None;
    };
    let fits = two_digits([d0, d1], 1, 31)
        && is_month([n0, n1, n2])
        && [y0, y1, y2, y3].iter().all(u8::is_ascii_digit)
        && is_time(time);
    if fits {
        integer(line, position + 21)
    } else {
        None
    }
}

fn syslog_timestamp(line: &[u8], position: usize) -> Option<usize> {
    let text: &[u8; 15] = line.get(position..)?.first_chunk()?;
    let [n0, n1, n2, b' ', d0, d1, b' ', time @ ..] = *text else {
        return None;
    };
    let day = match d0 {
        b' ' => matches!(d1, b'1'..=b'9'),
        _ => two_digits([d0, d1], 1, 31),
    };
    // A fraction, or one more digit, is left to the automaton.
    let ends = !matches!(
        byte_at(line, position + 15),
        Some(b'0'..=b'9' | b':' | b'.' | b',')
    );
    (starts_word(line, position) && is_month([n0, n1, n2]) && day && is_time(time) && ends)
        .then_some(position + 15)
}

fn iso8601_timestamp(line: &[u8], position: usize) -> Option<usize> {
    let text: &[u8; 19] = line.get(position..)?.first_chunk()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        n0,
        n1,
        b'-',
        d0,
        d1,
        b'T' | b' ',
        time @ ..,
    ] = *text
    else {
        return None;
    };
    let fits = [y0, y1, y2, y3].iter().all(u8::is_ascii_digit)
        && two_digits([n0, n1], 1, 12)
        && two_digits([d0, d1], 1, 31)
        // A leap second is read as a six here, and a nought is left over.
        && time[6] != b'6'
        && is_time(time);
    if !fits {
        return None;
    }
    let mut at = position + 19;
    if let Some(b'.' | b',' | b':') = byte_at(line, at) {
        let end = digits_end(line, at + 1);
        if end > at + 1 {
            at = end;
        }
    }
    match byte_at(line, at) {
        Some(b'Z') => Some(at + 1),
        Some(b'+' | b'-') => {
            let hour = *line.get(at + 1..)?.first_chunk()?;
            let colon = usize::from(byte_at(line, at + 3) == Some(b':'));
            let minute = *line.get(at + 3 + colon..)?.first_chunk()?;
            (two_digits(hour, 0, 23) && two_digits(minute, 0, 59)).then_some(at + 5 + colon)
        }
        Some(b'0'..=b'9') => None,
        _ => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::tagged::{Automaton, Follow, Outcome, Plan},
        program::{Program, build},
        syntax::Parsed,
    };

    /// The pattern itself, as an automaton that says where its best way ends.
    struct Pattern {
        program: Program,
        plan: Plan,
        automaton: Automaton,
    }

    impl Pattern {
        fn new(name: &str) -> Self {
            let options = CompileOptions::default();
            let parsed = parse(&format!("%{{{name}}}"), &PatternSet::legacy(), &options)
                .expect("a standard pattern");
            let parsed = Parsed {
                node: Node::Group {
                    group: 0,
                    node: Box::new(parsed.node),
                },
                captures: Vec::new(),
                hidden_groups: 1,
            };
            let program = build(&parsed, &options).expect("a standard pattern");
            Self {
                plan: Plan::new(&program).expect("little look-behind"),
                automaton: Automaton::new(&program, Follow::End, 1 << 20),
                program,
            }
        }

        fn end(&mut self, line: &[u8], position: usize) -> Option<usize> {
            let outcome = self
                .automaton
                .run(&self.plan, &self.program, line, position);
            assert_ne!(outcome, Outcome::GaveUp);
            (outcome == Outcome::Match).then(|| self.automaton.positions()[0] as usize)
        }
    }

    /// Texts that the matchers are for, and what they are made of.
    const TEXTS: &[&str] = &[
        "10.0.0.7 ",
        "255.255.255.255:80",
        "256.1.1.1",
        "1.2.3.4.5",
        "fe80::1%eth0",
        "db1.example.com.",
        "a-b.c-d. ",
        "web_1",
        "- alice svc-deploy ",
        "joe.doe+x@mail.example.org",
        "user_1.x ",
        "GET /index.html HTTP/1.1\"",
        "12.50 -3 +.5 5. ..5 1.2.3",
        "\"a \\\" b\" \"\" \"open",
        "10/Oct/2000:13:55:36 -0700]",
        "1/Dec/99:23:59:60 +0000",
        "31/Jan/2024:00:00:00 1",
        "Mar  6 12:07:01 web",
        "Oct 11 22:14:15.003 x",
        "Dec 31 23:59:60: ",
        "2003-10-11T22:14:15.003Z",
        "2024-12-01 10:00:60+01:00",
        "2024-01-31T00:59:59,123456-0530 ",
        "2024-02-03T04:05:06 x",
    ];
    const PIECES: &[&str] = &[
        "0",
        "1",
        "9",
        "25",
        "60",
        ".",
        ":",
        "-",
        "+",
        "/",
        " ",
        "T",
        "Z",
        "\"",
        "\\",
        "@",
        "_",
        "a",
        "f",
        "g",
        "%",
        "Jan",
        "May",
        "Oct",
        ",",
        "]",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];

    #[test]
    fn every_matcher_agrees_with_its_pattern() {
        let mut state = 7_u64;
        let mut below = |limit: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % limit
        };
        for (name, typed) in MATCHERS {
            let mut pattern = Pattern::new(name);
            let (mut known, mut matches) = (0, 0);
            for _ in 0..20_000 {
                let mut line = TEXTS[below(TEXTS.len())].as_bytes().to_vec();
                for _ in 0..below(4) {
                    let at = below(line.len() + 1);
                    let end = (at + below(3)).min(line.len());
                    line.splice(at..end, PIECES[below(PIECES.len())].bytes());
                }
                let position = match below(3) {
                    0 => below(line.len() + 1),
                    _ => 0,
                };
                let wanted = pattern.end(&line, position);
                matches += usize::from(wanted.is_some());
                if let Some(end) = typed.end(&line, position) {
                    let text = String::from_utf8_lossy(&line);
                    assert_eq!(Some(end), wanted, "{name} at {position} of {text:?}");
                    known += 1;
                }
            }
            assert!(known * 4 > matches, "{name}: {known} of {matches}");
        }
    }

    #[test]
    fn no_matcher_looks_beyond_the_line_or_into_wide_characters() {
        let wide = "\u{e9}a 1\u{e9} \"\\\u{e9}\" x\u{e9}".as_bytes();
        for (_, typed) in MATCHERS {
            for position in 0..=wide.len() {
                if let Some(end) = typed.end(wide, position) {
                    assert!(end <= wide.len());
                }
            }
        }
        assert_eq!(Typed::Word.end(wide, 2), None);
        assert_eq!(Typed::Word.end("x\u{e9}".as_bytes(), 0), None);
    }
}
