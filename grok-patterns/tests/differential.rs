//! The standard patterns beside another engine: the crate `fancy-regex`, which backtracks.
//!
//! Every definition is expanded and given to both; on lines that match, and on lines a few
//! bytes away from those, both must find the same captures. The lines are ASCII, where the two
//! dialects mean the same by `\w` and its like.

use std::cell::{Cell, RefCell};

use fancy_regex::{Regex, RegexBuilder};
use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use skidder_grok::{CompileOptions, EngineKind, Matcher, PatternSet, Slots};

const LINES: &[&str] = &[
    r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "-" "Moz \" x""#,
    r#"example.com joe@x.org - [01/Jan/2024:00:00:00 +0000] "\x16\x03" 400 - "-" "-""#,
    "Mar 16 00:01:25 evita postfix/smtpd[1713]: connect from camomile.cloud9.net[168.100.1.3]",
    "2024-02-29T23:59:60.5+01:00 <13.6> web-1.example.com cron[77]: (root) CMD (x)",
    "<34>1 2003-10-11T22:14:15.003Z host su 12 ID47 [a b=\"c\"] 'su root' failed",
    "[Fri Feb 01 22:03:08 2019] [authz:debug] [pid 9:tid 42] (70007)end: [client 1.2.3.4:5] AH0: no",
    "[Wed Jun 26 12:34:56 2024] [error] [client ::1] File does not exist",
    "Jul 14 13:36:53 box sudo: pam_unix(sudo:session): session opened for user root by (uid=0)",
    "https://user:pw@www.example.com:8080/a/b?q=1&r[]=2 joe.doe+x@mail.example.org",
    "00:1b:44:11:3a:b7 00-1B-44-11-3A-B7 001b.4411.3ab7 fe80::1:2%eth0 ::ffff:10.1.2.3",
    "C:\\Windows\\x.exe /usr/lib/x.so /dev/pts/0 urn:isbn:0451450523 -12.50 0xFF +.5 1.2.3",
    "Mon, 15 Aug 2005 15:52:01 +0000 12/31/1999 31.12.99 20240229235959 Tue Mar 5 07:08:09 UTC 2024",
    "5f2b8c1e-9d3a-4b7c-8e6f-0a1b2c3d4e5f WARN error Emergency 'it\\'s' `x`",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,3}",
        "[0-9]{1,3}",
        prop_oneof![
            Just("\""),
            Just("\\"),
            Just(" "),
            Just("."),
            Just(":"),
            Just("-"),
            Just("["),
            Just("]"),
            Just("\n"),
            Just("1.5"),
            Just("10.0.0.1"),
            Just("Jan"),
            Just("::")
        ]
        .prop_map(str::to_owned),
    ]
}

/// The lines, and those that match, examples among them: as many as all the others.
fn lines_for(matcher: &Matcher, examples: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let mut lines = LINES.to_vec();
    let own: Vec<&str> = include_str!("lines.log")
        .lines()
        .chain(examples)
        .filter(|line| matcher.find(line.as_bytes(), &mut scratch, &mut slots) == Ok(true))
        .collect();
    lines.extend(own.into_iter().cycle().take(LINES.len()));
    lines
}

/// A line, part of it cut off, with a few edits.
fn line(lines: Vec<&'static str>) -> impl Strategy<Value = String> {
    let edits = proptest::collection::vec((any::<usize>(), 0..4_usize, piece()), 0..4);
    (0..lines.len(), any::<usize>(), 0..4_u8, edits).prop_map(move |(line, cut, which, edits)| {
        let mut line = lines[line].to_owned();
        if which == 0 {
            line.drain(..cut % (line.len() + 1));
        }
        for (at, length, piece) in edits {
            let at = at % (line.len() + 1);
            let end = (at + length).min(line.len());
            line.replace_range(at..end, &piece);
        }
        line
    })
}

/// The expression with groups named `c0`, `c1`… in the order in which they open.
fn plain_names(expanded: &str) -> String {
    let mut plain = String::from("(?sm)");
    let mut rest = expanded;
    let mut number = 0;
    while let Some(at) = rest.find("(?<") {
        let (before, group) = rest.split_at(at + 3);
        plain.push_str(before);
        rest = group;
        if !group.starts_with(['=', '!']) {
            let end = group.find('>').expect("a group's name ends");
            plain.extend(["c", &number.to_string()]);
            number += 1;
            rest = &group[end..];
        }
    }
    plain.push_str(rest);
    plain
}

/// A definition of ours, and what it was before the look-around and the atomic groups were
/// written out of it.
const REWRITTEN: &[(&str, &str)] = &[
    (
        "BASE10NUM",
        r"(?<![0-9.+-])(?>[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))",
    ),
    ("YEAR", r"(?>\d\d){1,2}"),
    ("WINPATH", r"(?>[A-Za-z]+:|\\)(?:\\[^\\?*]*)+"),
    (
        "TIME",
        r"(?!<[0-9])(?:2[0-3]|[01]?[0-9]):[0-5][0-9]:(?:(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?)(?![0-9])",
    ),
    (
        "QUOTEDSTRING",
        r#"(?<!\\)(?>"(?>\\.|[^\\"]+)*"|'(?>\\.|[^\\']+)*'|`(?>\\.|[^\\`]+)*`)"#,
    ),
];

#[test]
fn definitions_without_atomic_groups_mean_the_same() {
    let set = PatternSet::legacy();
    for (name, before) in REWRITTEN {
        // What follows decides whether something would have to be given back.
        for (left, right) in [
            ("", ""),
            ("^.*?", "$"),
            ("", "[.0-9]"),
            ("[-+.]", "\\b"),
            ("", ".\""),
        ] {
            let expression = format!("(?<c0>{left}(?<c1>%{{{name}}})(?<c2>{right}))");
            let matcher = set
                .compile(&expression, &CompileOptions::default())
                .expect("it compiles");
            let regex = Regex::new(&format!("(?sm)(?<c0>{left}(?<c1>{before})(?<c2>{right}))"));
            let regex = regex.expect("the other engine takes it");
            let memory = RefCell::new((matcher.scratch(), Slots::new()));
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[23; 32]);
            let config = Config {
                cases: 20 * lines_for_each_pattern(),
                failure_persistence: None,
                ..Config::default()
            };
            let result = TestRunner::new_with_rng(config, rng).run(&line(LINES.to_vec()), |line| {
                let Ok(wanted) = regex.captures(&line) else {
                    return Ok(());
                };
                let (scratch, slots) = &mut *memory.borrow_mut();
                let found = matcher.find(line.as_bytes(), scratch, slots);
                proptest::prop_assert_eq!(found, Ok(wanted.is_some()));
                let Some(wanted) = wanted else { return Ok(()) };
                for (index, span) in slots.iter().enumerate() {
                    let wanted = wanted.name(&format!("c{index}"));
                    let wanted = wanted.map(|found| (found.start(), found.end()));
                    proptest::prop_assert_eq!(span, wanted, "c{}", index);
                }
                Ok(())
            });
            if let Err(error) = result {
                panic!("{expression}: {error}");
            }
        }
    }
}

fn other_engine(expanded: &str) -> Option<Regex> {
    RegexBuilder::new(&plain_names(expanded))
        .backtrack_limit(300_000)
        .build()
        .ok()
}

fn lines_for_each_pattern() -> u32 {
    let asked = std::env::var("SKIDDER_AGREEMENT_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(24)
}

#[test]
fn every_standard_pattern_matches_as_elsewhere() {
    let (compared, matched) = (Cell::new(0_usize), Cell::new(0_usize));
    let mut refused = Vec::new();
    for mut set in [PatternSet::legacy(), PatternSet::ecs_v1()] {
        let names: Vec<String> = set.names().map(str::to_owned).collect();
        for name in names {
            set.add("IT", format!("%{{{name}:it}}"));
            let matcher = set
                .compile("%{IT}", &CompileOptions::default())
                .expect("it compiles");
            assert_eq!(matcher.engine(), EngineKind::Automaton, "{name}");
            let Some(regex) = other_engine(&set.expanded("IT").expect("it expands")) else {
                refused.push(name);
                continue;
            };
            let lines = lines_for(&matcher, set.examples(&name));
            let memory = RefCell::new((matcher.scratch(), Slots::new()));
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[17; 32]);
            let config = Config {
                cases: lines_for_each_pattern(),
                failure_persistence: None,
                ..Config::default()
            };
            let result = TestRunner::new_with_rng(config, rng).run(&line(lines), |line| {
                // The other engine may give up.
                let Ok(wanted) = regex.captures(&line) else {
                    return Ok(());
                };
                let (scratch, slots) = &mut *memory.borrow_mut();
                let found = matcher.find(line.as_bytes(), scratch, slots);
                proptest::prop_assert_eq!(found, Ok(wanted.is_some()));
                compared.set(compared.get() + 1);
                let Some(wanted) = wanted else { return Ok(()) };
                matched.set(matched.get() + 1);
                for index in 0..matcher.captures().len() {
                    let wanted = wanted.name(&format!("c{index}"));
                    // A group captured in an alternative that was left stays set there.
                    proptest::prop_assert_eq!(
                        slots.get(index),
                        wanted.map(|found| (found.start(), found.end())),
                        "{}",
                        matcher.captures()[index].name
                    );
                }
                Ok(())
            });
            if let Err(error) = result {
                panic!("{name}: {error}");
            }
        }
    }
    assert!(refused.len() <= 4, "the other engine refuses {refused:?}");
    let (matched, compared) = (matched.get(), compared.get());
    assert!(
        matched > compared / 4,
        "{matched} of {compared} lines match"
    );
}
