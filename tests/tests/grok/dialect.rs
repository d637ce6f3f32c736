//! What may be written in an expression, beside Oniguruma.
//!
//! Groups are called `c0`, `c1`… in the order in which they open, so that both engines know them
//! by the same names.

use skidder_grok::{CompileOptions, PatternSet, Slots};

use super::oniguruma::Oniguruma;

/// Expressions, and lines that tell whether they are read rightly.
const EXPRESSIONS: &[(&str, &[&str])] = &[
    // Characters by number.
    (r"(?<c0>\012+)x", &["\n\nx", "12x"]),
    (r"(?<c0>\101\x42\x{43}\u0044)", &["ABCD", "abcd"]),
    (r"(?<c0>[\101-\103]+)", &["xABCD"]),
    (r"(?<c0>[\x41\x{1F600}\u00e9]+)", &["A\u{1f600}\u{e9}b"]),
    (r"(?<c0>\cA\a\e\f\v\t)", &["\x01\x07\x1b\x0c\x0b\t"]),
    (r"(?<c0>\0+)", &["a\0\0b"]),
    // Line ends and whole characters.
    (
        r"(?<c0>a\R+b)",
        &["a\r\n\r\nb", "a\u{2028}b", "a\x0b\x0cb", "ab"],
    ),
    (r"(?<c0>\R)(?<c1>\n)", &["\r\n", "\r\n\n", "\n\n"]),
    (
        r"(?<c0>\X)(?<c1>.*)",
        &["e\u{301}x", "\r\nx", "ab", "\u{e9}"],
    ),
    // Where the match begins.
    (r"id: \K(?<c0>\d+)", &["id: 42", "42"]),
    (r"(?<c0>a\Kb)", &["ab"]),
    // References and calls.
    (r"(?<c0>\w)(?<c1>\w)\k<c0>", &["xaba", "abc", "aa"]),
    (r"(?<c0>['\x22])(?<c1>.*?)\k'c0'", &["say 'it\"s'", "'x\""]),
    (r"(?<c0>\d+)\.\g<c0>", &["12.34", "12."]),
    (r"\g<c0>-(?<c0>[ab]+)", &["ab-ba", "ab-c"]),
    (r"(?<c0>x(?<c1>\d))\g'c1'\g<c0>", &["x12x3", "x12"]),
    // Flags and comments.
    (r"(?i)(?<c0>abc)(?-i:D)", &["ABCD", "ABCd"]),
    (r"(?<c0>(?i-mx:b)c)", &["Bc", "BC"]),
    (r"(?-m:(?<c0>a.c))", &["a\nc", "abc"]),
    (
        "(?x)(?<c0> a \\  b # and so on\n c ) [ ] d",
        &["a bc d", "abcd"],
    ),
    (r"(?<c0>a(?# a note )b)", &["ab"]),
    (r"a(?i)b|(?<c0>c)", &["aB", "C", "Ac"]),
    // Classes.
    (r"(?<c0>\p{^Alpha}+)(?<c1>\P{Digit})", &["a12;b", "--a"]),
    (r"(?<c0>[[:^digit:][:upper:]]+)", &["12ab", "12"]),
    (r"(?<c0>[a-z&&[^aeiou]&&[^x-z]]+)", &["aebcdxyz"]),
    (r"(?<c0>[^a-c&&b-d]+)", &["abcd"]),
    (r"(?<c0>[]a]+)", &["]a]b"]),
    (r"(?<c0>[a\-z]+)(?<c1>[-a]+)(?<c2>[a-]+)", &["-az-a--"]),
    (r"(?<c0>[\[\]\\^-]+)", &["[]\\^-"]),
    (r"(?<c0>\h+)(?<c1>\H)", &["beefx"]),
    (r"(?<c0>[[:punct:]]+)", &["a$+<=>^`|~!b"]),
    (
        r"(?<c0>[[:space:]]+)(?<c1>[[:graph:]]+)",
        &["a \u{a0}\u{2003}b\u{e9}"],
    ),
    (r"(?<c0>[[:word:]]+)", &["-a_1\u{e9}\u{203f}\u{301}-"]),
    // Quantifiers.
    (r"(?<c0>a{,2})(?<c1>a{2,})", &["aaaaa", "aa"]),
    (r"(?<c0>a{2}?)(?<c1>a*)", &["aaaa", "a"]),
    (r"(?<c0>a{2}+)(?<c1>a*)", &["aaaaa"]),
    (r"(?<c0>a{1,2}?)(?<c1>a*)", &["aaa"]),
    (r"(?<c0>a{x})(?<c1>{)", &["a{x}{"]),
    (r"(?<c0>a++)(?<c1>a?)", &["aaa"]),
    (r"(?<c0>(?:a|ab)(?:c|bcd))(?<c1>d*)", &["abcd"]),
    // Positions.
    (r"\A(?<c0>.*?)\Z", &["a\n", "a\nb", "a\n\n"]),
    (r"(?<c0>^b$)", &["a\nb\nc", "ab"]),
    (r"\G(?<c0>a)", &["a", "ba"]),
    (r"(?<c0>\b\w+\b)(?<c1>\B.)", &["h\u{e9}llo w", "..x"]),
    // Look-around and groups.
    (r"(?<c0>(?<=a|bc)x)", &["bcx", "ax", "cx"]),
    (r"(?<c0>(?<!a|bc)x)", &["bcx", "ax", "cx"]),
    (r"(?<c0>\w+(?!\w*x))", &["abxc ab"]),
    (r"(?<c0>(?=(?<c1>\w+))\w)", &["abc"]),
    (r"(?<c0>a|(?<c1>b))*", &["abab", "ba"]),
];

#[test]
fn is_read_as_oniguruma_reads_it() {
    let mut differences = Vec::new();
    for (expression, lines) in EXPRESSIONS {
        let matcher = PatternSet::empty()
            .compile(expression, &CompileOptions::default())
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        let oniguruma =
            Oniguruma::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        for line in *lines {
            let found = matcher
                .find(line.as_bytes(), &mut scratch, &mut slots)
                .expect("it is short");
            let found = found.then(|| slots.iter().collect::<Vec<_>>());
            let wanted = oniguruma.find(line).expect("it is short");
            if found != wanted {
                differences.push(format!(
                    "{expression} on {line:?}: {found:?}, Oniguruma {wanted:?}"
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_is_refused_says_what_to_write_instead() {
    for (expression, instead) in [
        ("(?~x)", "(?:(?!"),
        ("(?<a>x)?(?(<a>)y|z)", "alternatives"),
        ("(?<a>x\\g<a>?)", "levels"),
        ("(?<a>x\\g<b>)(?<b>y\\g<a>)", "levels"),
        ("\\g<nobody>", "does not exist"),
        ("(?<a>x)(?<a>y)\\g<a>", "several groups"),
        ("(?P=a)", "\\k<name>"),
        ("(?&a)", "\\g<name>"),
        ("(?<a>x)\\1", "\\k<name>"),
        ("\\k<a", "not closed"),
    ] {
        let error = PatternSet::empty()
            .compile(expression, &CompileOptions::default())
            .expect_err(expression)
            .to_string();
        assert!(error.contains(instead), "{expression}: {error}");
    }
}
