//! A pattern for a cluster: names for its data, and proof that it matches.
//!
//! What is proposed is matched with every line of the cluster first. Where it does not match, the
//! earliest part that is at fault is made more general, and at last the rest of the line is taken
//! as it comes. INVARIANT: a pattern that is given out matches all lines of its cluster.

use std::collections::BTreeSet;

use skidder_grok::{CompileOptions, PatternSet, Slots};

use super::clusters::{Cluster, Slot};
use super::tokens::{ADDRESS, Kind, OWN, TYPED, UNITS};

/// A part of a pattern.
#[derive(Clone, Debug)]
enum Piece {
    /// Text for itself.
    Literal(String),
    /// Any white space.
    Space,
    /// Data: what it is called, and how to write it, the most exact form first.
    Field { name: String, forms: Vec<Form> },
}

/// How data is written in a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `%{PATTERN:name:type}`.
    Named(&'static str, Option<&'static str>),
    /// `(?<name>regex)`.
    Inline(String),
    /// The same, or a dash.
    OrDash(Box<Self>),
    /// Text in double quotes, which are not captured: the text.
    Quoted(&'static str),
    /// A request: a method, a path and a version.
    Request,
}

/// The pattern for a cluster; `lines` are all lines of the sample.
pub(super) fn propose(set: &PatternSet, cluster: &Cluster, lines: &[&[u8]]) -> String {
    let mut pieces = pieces(&cluster.slots);
    let members: Vec<&[u8]> = cluster.lines.iter().map(|line| lines[*line]).collect();
    loop {
        let whole = write(&pieces, pieces.len(), true);
        let Some(failing) = first_failing(set, &whole, &members) else {
            return whole;
        };
        if !generalise(set, &mut pieces, failing) {
            return "^%{GREEDYDATA:message}$".to_owned();
        }
    }
}

/// The first line that a pattern does not match from end to end.
fn first_failing<'l>(set: &PatternSet, pattern: &str, lines: &[&'l [u8]]) -> Option<&'l [u8]> {
    let Ok(matcher) = set.compile(pattern, &CompileOptions::default()) else {
        return lines.first().copied();
    };
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    lines
        .iter()
        .find(|line| matcher.find(line, &mut scratch, &mut slots) != Ok(true))
        .copied()
}

/// Makes the part more general at which a line fails; false if there is nothing left to do.
fn generalise(set: &PatternSet, pieces: &mut Vec<Piece>, line: &[u8]) -> bool {
    // The shortest beginning that does not match; if all do, it is the end that is wrong.
    let at = (1..=pieces.len())
        .find(|length| first_failing(set, &write(pieces, *length, false), &[line]).is_some())
        .map_or(pieces.len(), |length| length - 1);
    // The part itself, or one before that may take too little or too much.
    let at = at.min(pieces.len().saturating_sub(1));
    for index in (0..=at).rev() {
        match &mut pieces[index] {
            Piece::Field { forms, .. } if forms.len() > 1 => {
                forms.remove(0);
                return true;
            }
            Piece::Literal(text) if text.trim().is_empty() && !text.is_empty() => {
                pieces[index] = Piece::Space;
                return true;
            }
            _ => {}
        }
    }
    let is_rest = |piece: &Piece| matches!(piece, Piece::Field { forms, .. } if forms.len() == 1 && forms[0] == rest_form());
    if at == 0 || pieces.last().is_some_and(is_rest) && at + 1 >= pieces.len() {
        return false;
    }
    pieces.truncate(at);
    pieces.push(Piece::Field {
        name: "message".into(),
        forms: vec![rest_form()],
    });
    true
}

fn rest_form() -> Form {
    Form::Named("GREEDYDATA", None)
}

/// The text of the first pieces.
fn write(pieces: &[Piece], length: usize, to_the_end: bool) -> String {
    let mut text = String::from("^");
    for piece in &pieces[..length] {
        match piece {
            Piece::Literal(literal) => text.push_str(&escaped(literal)),
            Piece::Space => text.push_str(r"\s+"),
            Piece::Field { name, forms } => form_text(&forms[0], name, &mut text),
        }
    }
    if to_the_end {
        text.push('$');
    }
    text
}

fn form_text(form: &Form, name: &str, text: &mut String) {
    match form {
        Form::Named(pattern, kind) => {
            text.extend(["%{", pattern, ":", name]);
            if let Some(kind) = kind {
                text.extend([":", kind]);
            }
            text.push('}');
        }
        Form::Inline(regex) => text.extend(["(?<", name, ">", regex, ")"]),
        Form::Quoted(regex) => text.extend(["\"(?<", name, ">", regex, ")\""]),
        Form::OrDash(form) => {
            text.push_str("(?:");
            form_text(form, name, text);
            text.push_str("|-)");
        }
        Form::Request => {
            text.push_str(r#""%{WORD:method} %{NOTSPACE:request} HTTP/(?<http_version>[0-9.]+)""#);
        }
    }
}

/// Text as a regular expression.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str(r"\n"),
            '\t' => escaped.push_str(r"\t"),
            '%' => escaped.push_str("[%]"),
            _ => {
                if r"\.+*?()|[]{}^$".contains(character) {
                    escaped.push('\\');
                }
                escaped.push(character);
            }
        }
    }
    escaped
}

/// Parts with names.
fn pieces(slots: &[Slot]) -> Vec<Piece> {
    let mut names = Names::default();
    let mut pieces = Vec::with_capacity(slots.len());
    for (index, slot) in slots.iter().enumerate() {
        let next = slots.get(index + 1);
        match slot {
            Slot::Literal(text) => match pieces.last_mut() {
                // A space stays by itself, so that it can be made more general.
                Some(Piece::Literal(before))
                    if !text.trim().is_empty() && !before.trim().is_empty() =>
                {
                    before.push_str(text);
                }
                _ => pieces.push(Piece::Literal(text.clone())),
            },
            Slot::Space => pieces.push(Piece::Space),
            Slot::Value(Kind::Request) => {
                names.take("method");
                names.take("request");
                names.take("http_version");
                pieces.push(Piece::Field {
                    name: "request".into(),
                    forms: vec![Form::Request, Form::Named("QUOTEDSTRING", None)],
                });
            }
            Slot::Value(Kind::Dash) => pieces.push(Piece::Literal("-".into())),
            Slot::Value(kind) => pieces.push(Piece::Field {
                name: names.name(slots, index),
                forms: forms(*kind, next),
            }),
            Slot::OrDash(kind) => pieces.push(Piece::Field {
                name: names.name(slots, index),
                forms: forms(*kind, next)
                    .into_iter()
                    .map(|form| Form::OrDash(Box::new(form)))
                    .collect(),
            }),
            Slot::Mixed => pieces.push(Piece::Field {
                name: names.name(slots, index),
                forms: vec![up_to(next, true), up_to(next, false)],
            }),
            Slot::Rest => pieces.push(Piece::Field {
                name: names.take("message"),
                forms: vec![rest_form()],
            }),
        }
    }
    pieces
}

/// How data of a kind is written, the most exact form first.
fn forms(kind: Kind, next: Option<&Slot>) -> Vec<Form> {
    let own = |pattern: &'static str| OWN.iter().find(|(name, _)| *name == pattern);
    let exact = match kind {
        Kind::Typed(index) => match own(TYPED[index].pattern) {
            Some((_, expression)) => Form::Inline((*expression).to_owned()),
            None => Form::Named(TYPED[index].pattern, None),
        },
        Kind::Integer => Form::Named("INT", Some("int")),
        Kind::Decimal => Form::Named("NUMBER", Some("float")),
        Kind::Quoted => {
            return vec![
                Form::Quoted(r#"[^"]*"#),
                Form::Quoted(r#"(?:[^"\\]|\\.)*"#),
                up_to(next, false),
            ];
        }
        Kind::Word => Form::Named("WORD", None),
        Kind::Name => Form::Inline(r"[\w.-]+".into()),
        _ => up_to(next, true),
    };
    let mut forms = vec![exact, up_to(next, true), up_to(next, false)];
    forms.dedup();
    forms
}

/// All up to what stands behind, without white space or with it.
fn up_to(next: Option<&Slot>, one_piece: bool) -> Form {
    let stop = match next {
        Some(Slot::Literal(text)) => text.chars().next().filter(|c| !c.is_whitespace()),
        None | Some(Slot::Space) => None,
        Some(_) => return Form::Named("DATA", None),
    };
    match (stop, one_piece) {
        (None, true) => Form::Named("NOTSPACE", None),
        (None, false) => Form::Named("DATA", None),
        (Some(stop), _) => {
            let stop = match stop {
                '^' | '-' | '\\' | ']' | '[' | '&' => format!(r"\{stop}"),
                other => other.to_string(),
            };
            let space = if one_piece { r"\s" } else { "" };
            Form::Inline(format!("[^{stop}{space}]*"))
        }
    }
}

/// The names that were given.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// A name that is not taken yet.
    fn take(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }

    /// A name for the data at a place, after what stands around it.
    fn name(&mut self, slots: &[Slot], index: usize) -> String {
        let wanted = wanted(slots, index, &self.0);
        self.take(&wanted)
    }
}

fn wanted(slots: &[Slot], index: usize, taken: &BTreeSet<String>) -> String {
    let literal = |at: Option<usize>| match at.and_then(|at| slots.get(at)) {
        Some(Slot::Literal(text)) => text.as_str(),
        _ => "",
    };
    let before = |back: usize| literal(index.checked_sub(back));
    let after = |forth: usize| literal(Some(index + forth));
    if let Some(key) = before(1).strip_suffix('=') {
        return clean(key);
    }
    let kind = match &slots[index] {
        Slot::Value(kind) | Slot::OrDash(kind) => Some(*kind),
        _ => None,
    };
    let behind_request = slots[..index]
        .iter()
        .rposition(|slot| *slot == Slot::Value(Kind::Request));
    if let Some(request) = behind_request {
        // The columns of access logs.
        let order = match kind {
            Some(Kind::Integer) => ["status", "bytes"],
            Some(Kind::Quoted) => ["referrer", "agent"],
            _ => ["", ""],
        };
        let free = order.iter().find(|name| !taken.contains(**name));
        if let Some(name) = free.filter(|name| !name.is_empty() && index - request < 12) {
            return (*name).to_owned();
        }
    }
    let number = matches!(kind, Some(Kind::Integer | Kind::Decimal));
    if number && before(1) == "[" && after(1) == "]" && index >= 2 {
        return "pid".into();
    }
    match kind {
        Some(Kind::Typed(at)) if kind != Some(ADDRESS) || word(before(2)).is_none() => {
            return TYPED[at].field.to_owned();
        }
        _ => {}
    }
    if !number && after(1) == "[" {
        return "program".into();
    }
    // The third column of access logs, which have a request.
    if index == 4 && slots.contains(&Slot::Value(Kind::Request)) {
        return "user".into();
    }
    // Right behind the time, syslog has the host.
    let behind_time = index == 2 && slots.first() == Some(&Slot::Value(Kind::Typed(2)));
    if behind_time {
        return "host".into();
    }
    let unit = match after(1) {
        space if space.trim().is_empty() => after(2),
        touching => touching,
    };
    if number && UNITS.contains(&unit) {
        let unit = clean(unit);
        return match word(before(2)) {
            Some(word) => format!("{word}_{unit}"),
            None => format!("duration_{unit}"),
        };
    }
    // The word or name before it: `user ann`, `port: 22`.
    let separated = before(1).trim().is_empty() || matches!(before(1), ":" | "/" | "#");
    let back = if before(1).trim().is_empty() && before(2) == ":" {
        3
    } else {
        2
    };
    let named = separated
        .then(|| word(before(back)).or_else(|| word(before(1))))
        .flatten();
    match (named, kind) {
        (Some(word), _) if !COMMON.contains(&word.as_str()) => word,
        (_, Some(Kind::Typed(at))) => TYPED[at].field.to_owned(),
        (_, Some(Kind::Integer | Kind::Decimal)) => "number".into(),
        (_, Some(Kind::Quoted)) => "text".into(),
        (_, Some(Kind::Path)) => "path".into(),
        (_, Some(Kind::Name)) => "name".into(),
        (_, Some(Kind::Word)) => "word".into(),
        _ => "value".into(),
    }
}

/// Words that say nothing of what stands behind them.
const COMMON: &[&str] = &[
    "a", "an", "and", "at", "by", "for", "from", "in", "is", "of", "on", "the", "to", "was", "with",
];

fn word(text: &str) -> Option<String> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
    is_word.then(|| clean(text))
}

/// A text as the name of a field.
fn clean(text: &str) -> String {
    let name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("field_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::super::clusters::Clusters;
    use super::super::tokens::Tokenizer;
    use super::*;

    fn patterns(lines: &[&[u8]]) -> Vec<(String, Vec<usize>)> {
        let mut set = PatternSet::legacy();
        for (name, expression) in OWN {
            set.add(*name, *expression);
        }
        let mut tokenizer = Tokenizer::new(&set).unwrap();
        let mut clusters = Clusters::new(1000);
        for (number, line) in lines.iter().enumerate() {
            let text = String::from_utf8_lossy(line);
            clusters.add(number, &tokenizer.tokens(&text, 200, 4096));
        }
        let standard = PatternSet::legacy();
        let found = clusters.finish().into_iter();
        found
            .map(|cluster| (propose(&standard, &cluster, lines), cluster.lines))
            .collect()
    }

    #[test]
    fn names_and_types() {
        for (lines, wanted) in [
            (
                &[
                    "user ann took 35 ms port: 22",
                    "user bob took 7 ms port: 23",
                ][..],
                "^user %{WORD:user} took %{INT:took_ms:int} ms port: %{INT:port:int}$",
            ),
            (
                &["id=7 path=/a/b [x] q=\"a b\"", "id=8 path=/c [x] q=\"\""],
                r#"^id=%{INT:id:int} path=%{NOTSPACE:path} \[x\] q="(?<q>[^"]*)"$"#,
            ),
            (
                &["load 1.5 (100%)", "load 2 (7%)"],
                r"^load %{NUMBER:load:float} \(%{INT:number:int}[%]\)$",
            ),
            (
                &[
                    "10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5",
                    "10.0.0.2 - ann [10/Oct/2000:13:55:36 -0700] \"GET /b HTTP/1.0\" 304 -",
                ],
                r#"^%{IP:ip} - (?:%{WORD:user}|-) \[%{HTTPDATE:timestamp}\] "%{WORD:method} %{NOTSPACE:request} HTTP/(?<http_version>[0-9.]+)" %{INT:status:int} (?:%{INT:bytes:int}|-)$"#,
            ),
            (
                &[
                    "Nov  3 07:09:01 web1 sshd[812]: up",
                    "Nov  4 07:09:01 db-2 cron[8]: up",
                ],
                r"^%{SYSLOGTIMESTAMP:timestamp} (?<host>[\w.-]+) %{WORD:program}\[%{INT:pid:int}\]: up$",
            ),
        ] {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = patterns(&lines);
            let texts: Vec<_> = found.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, [wanted]);
        }
    }

    #[test]
    fn every_pattern_matches_its_lines_and_every_line_has_one() {
        let pieces: &[&[u8]] = &[
            b"2024-01-02T03:04:05Z",
            b"INFO",
            b"10.0.0.1",
            b"-",
            b" ",
            b"  ",
            b"\t",
            b"\"a b\"",
            b"\"a \\\" b\"",
            b"\"",
            b"key=",
            b"7",
            b"1.5",
            b"-3",
            b"abc",
            b"a-b.c",
            b"/var/x",
            b"[",
            b"]",
            b":",
            b"%{IP}",
            b"\\",
            b"(",
            b"^$",
            b"\xff\xfe",
            "ü".as_bytes(),
            b"::",
            b"GET",
            b"http://a/b?c",
            b"|",
            b"a@b.de",
        ];
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for _ in 0..30 {
            let template: Vec<usize> = (0..=random(9)).map(|_| random(pieces.len())).collect();
            for _ in 0..8 {
                let mut line = Vec::new();
                for piece in &template {
                    // Now and then another piece, so that lines of a shape differ.
                    let other = random(6) == 0;
                    let piece = if other { random(pieces.len()) } else { *piece };
                    line.extend_from_slice(pieces[piece]);
                    if random(2) == 0 {
                        line.push(b' ');
                    }
                }
                lines.push(line);
            }
        }
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let found = patterns(&lines);
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        for (pattern, members) in &found {
            let all: Vec<&[u8]> = members.iter().map(|line| lines[*line]).collect();
            let failing = first_failing(&PatternSet::legacy(), pattern, &all);
            assert_eq!(failing, None, "{pattern}");
            seen.extend(members);
        }
        assert_eq!(seen.len(), lines.len());
        // The same lines give the same patterns.
        assert_eq!(patterns(&lines), found);
    }
}
