//! Lines and expressions that have made grok engines hang: all must be done in little time, and
//! four times the line must not take much more than four times as long.
//!
//! Time is measured against generous bounds, since machines are busy; a backtracking engine
//! needs hours for most of these.

use std::time::{Duration, Instant};

use skidder_grok::{CompileOptions, EngineKind, PatternSet, Slots};

/// Far more than any of these needs, far less than backtracking would.
const PATIENCE: Duration = Duration::from_secs(20);

fn expressions_and_lines(size: usize) -> Vec<(&'static str, String)> {
    vec![
        ("^%{SYSLOGLINE}$", "-".repeat(size)),
        (
            "^%{SYSLOGBASE2}$",
            format!("Mar 16 00:01:25 {}_1", "a-".repeat(size / 2)),
        ),
        (
            "%{SYSLOGLINE}",
            format!("Mar 16 00:01:25 {}_1", "a-".repeat(size / 2)),
        ),
        (
            "%{DATA:a} %{DATA:b} %{DATA:c} %{DATA:d} %{DATA:e} %{DATA:f} %{DATA:g} %{DATA:h} \
             %{DATA:i} %{DATA:j}!",
            "word ".repeat(size / 5),
        ),
        (
            "^%{UNIXPATH}$",
            format!("{}\u{1}", "/usr/lib".repeat(size / 8)),
        ),
        ("%{PATH:p}$", format!("{} \"", "/a.b".repeat(size / 4))),
        ("^%{URI}$", format!("{} ", "deadbeef".repeat(size / 8))),
        ("%{URI:u}", "a+b.".repeat(size / 4)),
        ("%{GREEDYDATA:a}.*%{GREEDYDATA:b}!", "x".repeat(size)),
        ("%{QUOTEDSTRING:q}", format!("\"{}", "\\".repeat(size))),
        ("^%{HOSTNAME:h}$", ".".repeat(size)),
        ("^%{HOSTNAME:h}$", "a.".repeat(size / 2) + "!"),
        ("%{COMBINEDAPACHELOG}", "word ".repeat(size / 5)),
        ("%{COMBINEDAPACHELOG}", ".".repeat(size)),
        ("^(?<a>(a+)+)$", "a".repeat(size) + "!"),
        ("^(?<a>(a|a)*)$", "a".repeat(size) + "!"),
        ("^(?<a>(.*?,){11}P)", "1,".repeat(size / 2)),
        ("%{EMAILADDRESS:e}", "a.b".repeat(size / 3)),
        ("%{IPV6:i}!", "1:2:3:".repeat(size / 6)),
        (
            "%{TIMESTAMP_ISO8601:t}!",
            "2024-01-01T00:00:00".repeat(size / 19),
        ),
    ]
}

fn time(expression: &str, line: &[u8]) -> Duration {
    let set = PatternSet::legacy();
    let matcher = set
        .compile(expression, &CompileOptions::default())
        .expect("it compiles");
    assert_eq!(matcher.engine(), EngineKind::Automaton, "{expression}");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let started = Instant::now();
    matcher
        .find(line, &mut scratch, &mut slots)
        .expect("an automaton has no budget");
    started.elapsed()
}

#[test]
fn evil_lines_take_little_time() {
    for (expression, line) in expressions_and_lines(100_000) {
        let taken = time(expression, line.as_bytes());
        assert!(taken < PATIENCE, "{expression} took {taken:?}");
    }
}

#[test]
fn short_evil_lines_take_next_to_none() {
    let started = Instant::now();
    for size in [54, 119, 300] {
        for (expression, line) in expressions_and_lines(size) {
            time(expression, line.as_bytes());
        }
    }
    assert!(
        started.elapsed() < PATIENCE,
        "they took {:?}",
        started.elapsed()
    );
}

#[test]
fn lines_that_are_not_utf8_are_matched_all_the_same() {
    let set = PatternSet::legacy();
    let matcher = set
        .compile(
            "%{IP:client} %{WORD:method} %{QS:agent} %{GREEDYDATA:rest}",
            &CompileOptions::default(),
        )
        .expect("it compiles");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let line = b"10.0.0.1 GET \"caf\xE9 \x80\xFF\xC3\" \xF0\x9F tail";
    assert_eq!(matcher.find(line, &mut scratch, &mut slots), Ok(true));
    let text = |capture| {
        slots
            .get(capture)
            .map(|(start, end): (usize, usize)| &line[start..end])
    };
    assert_eq!(text(2), Some(&b"\"caf\xE9 \x80\xFF\xC3\""[..]));
    assert_eq!(text(3), Some(&b"\xF0\x9F tail"[..]));
}

/// Copies of a condition on what follows once made the automaton tell places apart by every set of them.
#[test]
fn a_look_ahead_that_is_repeated_in_many_ways_does_not_hang() {
    let set = PatternSet::empty();
    for expression in [
        "(?:(?:(?:(?:(?:(?:(?=b-))+?){,2}(?<g1>(?:(?:(?=b-))*){,2})){2,}?|^)|[ab-])){2}",
        "(?:(?=ab)|(?=bc)|(?=cd)|(?=de)|(?=ef)|(?!fg)|(?!gh)|(?!hi)|.){1,9}x",
    ] {
        let matcher = set
            .compile(expression, &CompileOptions::default())
            .expect("it compiles");
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        for line in ["", "b-", "ab-b-b-ab", "abcdefghijkx", "b-ab-\n-b-"] {
            let found = matcher.find(line.as_bytes(), &mut scratch, &mut slots);
            assert!(found.is_ok(), "{expression} on {line:?}");
        }
    }
}
