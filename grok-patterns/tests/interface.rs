//! What a caller may rely on: names and kinds of captures, errors, limits, the fallback.

use skidder_grok::{
    BudgetExceeded, CaptureKind, CompileError, CompileOptions, EngineKind, Matcher, PatternSet,
    Slots, Within,
};

fn options() -> CompileOptions {
    CompileOptions::default()
}

fn compile(expression: &str) -> Result<Matcher, CompileError> {
    PatternSet::legacy().compile(expression, &options())
}

/// The captures of a line, by name; none when it does not match.
fn captures(expression: &str, line: &str) -> Option<Vec<(String, Option<String>)>> {
    let matcher = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let found = matcher
        .find(line.as_bytes(), &mut scratch, &mut slots)
        .expect("enough steps");
    found.then(|| {
        let names = matcher
            .captures()
            .iter()
            .map(|capture| capture.name.clone());
        let texts = slots
            .iter()
            .map(|span| span.map(|(start, end)| line[start..end].to_owned()));
        names.zip(texts).collect()
    })
}

fn one(expression: &str, line: &str) -> Option<String> {
    captures(expression, line)?.into_iter().next()?.1
}

#[test]
fn captures_have_names_kinds_and_patterns() {
    let matcher =
        compile("%{IP:[source][ip]} %{INT:n:int} %{NUMBER:f:float} (?<x>.)%{WORD:x:what}")
            .expect("it compiles");
    let captures: Vec<_> = matcher
        .captures()
        .iter()
        .map(|capture| {
            (
                capture.name.as_str(),
                capture.kind,
                capture.pattern.as_deref(),
            )
        })
        .collect();
    let wanted = [
        ("[source][ip]", CaptureKind::Text, Some("IP")),
        ("n", CaptureKind::Integer, Some("INT")),
        ("f", CaptureKind::Float, Some("NUMBER")),
        ("x", CaptureKind::Text, None),
        ("x", CaptureKind::Text, Some("WORD")),
    ];
    assert_eq!(captures, wanted);
}

#[test]
fn plain_names_capture_only_when_asked() {
    let mut options = options();
    options.named_captures_only = false;
    let set = PatternSet::legacy();
    let matcher = set
        .compile("%{NUMBER} %{INT:n}", &options)
        .expect("it compiles");
    let names: Vec<_> = matcher
        .captures()
        .iter()
        .map(|capture| capture.name.as_str())
        .collect();
    assert_eq!(names, ["NUMBER", "BASE10NUM", "n"]);
}

#[test]
fn an_unset_group_is_not_an_empty_one() {
    let found = captures("(?:(?<a>x)|(?<b>y*))z", "z").expect("it matches");
    assert_eq!(found[0].1, None);
    assert_eq!(found[1].1, Some(String::new()));
}

#[test]
fn the_dialect_is_rubys() {
    for (expression, line, wanted) in [
        // Leftmost-first, not longest.
        ("(?<a>a|ab)", "ab", Some("a")),
        // `.` takes newlines, `^` and `$` work at line ends.
        ("(?<a>.+)", "x\ny", Some("x\ny")),
        ("^(?<a>y)$", "x\ny\nz", Some("y")),
        ("\\A(?<a>y)", "x\ny", None),
        ("(?<a>y)\\Z", "x\ny\n", Some("y")),
        ("(?<a>y)\\z", "x\ny\n", None),
        ("(?-m:(?<a>.+))", "x\ny", Some("x")),
        // Hexadecimal digits, POSIX brackets, nested classes, intersections.
        ("(?<a>\\h+)", "xyz0aFg", Some("0aF")),
        ("(?<a>[[:alpha:]_]+)", "1é_ß2", Some("é_ß")),
        ("(?<a>[a-z&&[^aeiou]]+)", "aeixyz", Some("xyz")),
        ("(?<a>[^\\W\\d]+)", "12ab", Some("ab")),
        ("(?<a>\\w+)", "é1", Some("1")),
        // `\b` looks at characters.
        ("(?<a>\\b\\w+\\b)", "héllo w", Some("w")),
        ("(?<a>\\b[a-z]+\\b)", "éabc def", Some("def")),
        ("(?<a>\\b\\w+\\b)", "\u{2014}word\u{2014}", Some("word")),
        // Quantifiers.
        ("(?<a>x{,2})", "xxx", Some("xx")),
        ("(?<a>(?:xy){2}?)z", "z", Some("")),
        ("(?<a>{x})", "{x}", Some("{x}")),
        ("(?<a>a.?*b)", "axxb", Some("axxb")),
        // Flags hold to the end of the group, later branches included.
        ("(?<a>x(?i)a|b)", "B", None),
        ("(?<a>x(?i)a|b)", "xB", Some("xB")),
        ("(?<a>(?i:é)b)", "Éb", Some("Éb")),
        ("(?x) (?<a> a b ) # comment", "ab", Some("ab")),
        ("(?<a>(?#note)a)", "a", Some("a")),
        // Conditions on neighbours.
        ("(?<!\\S)(?<a>b+)(?!\\S)", "ab bb", Some("bb")),
        ("(?<a>\\w+)(?=: )", "a b: c", Some("b")),
        ("(?<a>\\d++)x", "12x", Some("12")),
        ("(?<a>\\d++)2", "12", None),
        ("(?<a>(?>\\d+))2", "122", None),
        ("\\d+(?=(?<a>.*))\\.", "12.5 x", Some(".5 x")),
        ("(?<a>(?>a|ab)c)", "abc", None),
        ("(?<a>[[:]]+)", "a:]", Some(":")),
        // No line begins at the very end.
        ("(?<a>x*)^\\z", "a\n", None),
        ("(?<a>x*)^\\z", "", Some("")),
        ("(?<a>a\\n)^", "a\n", None),
        ("(?<a>(?:ab|a)++b)", "ab", None),
        ("(?<=id: )(?<a>\\d+)", "1 id: 2", Some("2")),
        ("(?<a>\\w+)(?=.*end)", "a b end", Some("a")),
    ] {
        assert_eq!(
            one(expression, line).as_deref(),
            wanted,
            "{expression} on {line:?}"
        );
        let engine = compile(expression).expect("it compiles").engine();
        assert_eq!(engine, EngineKind::Automaton, "{expression}");
    }
}

#[test]
fn what_an_automaton_cannot_do_is_done_all_the_same() {
    for (expression, line, wanted) in [
        ("(?<q>[\"'])(?<a>.*?)\\k<q>", "x \"it's\" y", Some("\"")),
        ("(?<a>\\w+) \\k<a>", "a bc bc", Some("bc")),
        ("(?<a>(?<!foo)bar)", "foobar xbar", Some("bar")),
        ("(?<a>(?<=ab|c)d+)", "xd cdd", Some("dd")),
        ("(?<a>(?>\\w*x|.)y)", "axxy axy", Some("axxy")),
        ("(?<a>\\w+)(?!.*end)", "a end b", Some("end")),
        ("(?<a>\\w+?(?=\\d+x))", "ab12x", Some("ab")),
    ] {
        let matcher = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(
            matches!(matcher.engine(), EngineKind::Backtracking { .. }),
            "{expression}"
        );
        assert_eq!(
            one(expression, line).as_deref(),
            wanted,
            "{expression} on {line:?}"
        );
    }
    // Groups without names may be referred to by number when no group has a name.
    let matcher = compile("^(a|b)\\1$").expect("it compiles");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    assert_eq!(matcher.find(b"bb", &mut scratch, &mut slots), Ok(true));
    assert_eq!(matcher.find(b"ab", &mut scratch, &mut slots), Ok(false));
}

#[test]
fn the_fallback_gives_up_in_time() {
    let mut options = options();
    options.max_steps = 10_000;
    let set = PatternSet::legacy();
    let matcher = set
        .compile("(?<a>(x+x+)+)\\k<a>y", &options)
        .expect("it compiles");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let line = "x".repeat(60) + "y";
    let found = matcher.find(line.as_bytes(), &mut scratch, &mut slots);
    assert_eq!(found, Err(BudgetExceeded { steps: 10_000 }));
    // A line that no part of the expression fits never gets that far.
    let found = matcher.find("x".repeat(60).as_bytes(), &mut scratch, &mut slots);
    assert_eq!(found, Ok(false));
}

#[test]
fn errors_name_the_pattern_and_the_place() {
    let error = compile("%{IP:client} %{NUMBR:bytes}").expect_err("a misspelt name");
    assert_eq!(
        error.to_string(),
        "pattern %{NUMBR}, used in the expression, is not defined; the nearest known name is NUMBER"
    );
    let mut set = PatternSet::legacy();
    set.add("BROKEN", "a(b");
    set.add("LOOP", "x%{LOOPED}");
    set.add("LOOPED", "%{LOOP}?");
    let error = set
        .compile("%{WORD} %{BROKEN:x}", &options())
        .expect_err("an open group");
    assert_eq!(
        error,
        CompileError::Syntax {
            within: Within::Pattern("BROKEN".to_owned()),
            position: 2,
            message: "this group is not closed".to_owned(),
        }
    );
    let error = set
        .compile("%{LOOP}", &options())
        .expect_err("an endless definition");
    assert_eq!(
        error.to_string(),
        "pattern %{LOOP} refers to itself: LOOP → LOOPED → LOOP"
    );
    assert!(set.expanded("LOOP").is_err());
    for (expression, position) in [
        ("a)", 1),
        ("*a", 0),
        ("[a", 1),
        ("a\\", 2),
        ("(?<a>x)\\k<b>", 8),
        ("[z-a]", 1),
        ("(?y)", 2),
    ] {
        let error = compile(expression).expect_err(expression);
        let CompileError::Syntax { position: at, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(at, position, "{expression}");
    }
}

#[test]
fn every_limit_holds() {
    let refused = |expression: &str, change: &dyn Fn(&mut CompileOptions)| {
        let mut options = options();
        change(&mut options);
        match PatternSet::legacy().compile(expression, &options) {
            Err(CompileError::TooLarge { option, .. }) => option,
            other => panic!("{expression}: {other:?}"),
        }
    };
    let log = "%{COMBINEDAPACHELOG}";
    assert_eq!(
        refused(log, &|o| o.max_expansion_depth = 3),
        "max_expansion_depth"
    );
    assert_eq!(
        refused(log, &|o| o.max_expanded_bytes = 1_000),
        "max_expanded_bytes"
    );
    assert_eq!(
        refused(log, &|o| o.max_instructions = 1_000),
        "max_instructions"
    );
    assert_eq!(refused("((a))", &|o| o.max_nesting = 2), "max_nesting");
    assert_eq!(
        refused("a{11}", &|o| o.max_repetition = 10),
        "max_repetition"
    );
    assert_eq!(refused("((a{999}){999}){999}", &|_| {}), "max_instructions");
    // A small cache costs time and nothing else.
    let mut options = options();
    options.max_cache_bytes = 1;
    let matcher = PatternSet::legacy()
        .compile(log, &options)
        .expect("it compiles");
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let line = b"::1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 23 \"-\" \"x\"";
    assert_eq!(matcher.find(line, &mut scratch, &mut slots), Ok(true));
    assert_eq!(slots.get(0), Some((0, 3)));
}

#[test]
fn the_first_of_a_list_wins() {
    let set = PatternSet::legacy();
    let list = set
        .compile_list(
            &["%{IP:ip}", "%{WORD:a} %{INT:b}", "%{GREEDYDATA:all}"],
            &options(),
        )
        .expect("they compile");
    let (mut scratch, mut slots) = (list.scratch(), Slots::new());
    assert_eq!(list.find(b"abc 12", &mut scratch, &mut slots), Ok(Some(1)));
    assert_eq!(slots.get(1), Some((4, 6)));
    assert_eq!(
        list.find(b"abc 12 10.0.0.1", &mut scratch, &mut slots),
        Ok(Some(0))
    );
    assert_eq!(list.find(b"", &mut scratch, &mut slots), Ok(Some(2)));
}

#[test]
fn pattern_files_are_logstashs() {
    let mut set = PatternSet::empty();
    set.add_file("# numbers\n\nDIGITS [0-9]+\n  SPACED\t \\d \\d  \nDIGITS \\d{2}\n")
        .expect("right");
    assert_eq!(set.names().collect::<Vec<_>>(), ["DIGITS", "SPACED"]);
    assert_eq!(set.definition("DIGITS"), Some("\\d{2}"));
    assert_eq!(set.definition("SPACED"), Some("\\d \\d"));
    let error = set.add_file("A b\nLONELY\n").expect_err("a name alone");
    assert_eq!(error.line, 2);
    set.add("PAIR", "%{DIGITS:a}-%{DIGITS}");
    assert_eq!(
        set.expanded("PAIR").as_deref(),
        Ok("(?:(?<a>\\d{2})-(?:\\d{2}))")
    );
}

#[test]
fn every_standard_pattern_compiles_to_an_automaton() {
    for set in [PatternSet::legacy(), PatternSet::ecs_v1()] {
        for name in set.names() {
            let matcher = set
                .compile(&format!("%{{{name}}}"), &options())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(matcher.engine(), EngineKind::Automaton, "{name}");
        }
    }
}

#[test]
fn a_scratch_of_another_matcher_is_no_harm() {
    let first = compile("%{INT:a} %{WORD:b}").expect("it compiles");
    let second = compile("%{WORD:b}").expect("it compiles");
    let (mut scratch, mut slots) = (first.scratch(), Slots::new());
    assert_eq!(first.find(b"1 b", &mut scratch, &mut slots), Ok(true));
    assert_eq!(second.find(b"xyz", &mut scratch, &mut slots), Ok(true));
    assert_eq!((slots.len(), slots.get(0)), (1, Some((0, 3))));
}

/// A list of expressions finds what they would find one after the other, however many there are.
#[test]
fn a_list_finds_what_its_expressions_find_one_by_one() {
    const NAMES: &[&str] = &[
        "HAPROXYHTTP",
        "HAPROXYTCP",
        "S3_ACCESS_LOG",
        "ELB_ACCESS_LOG",
        "CLOUDFRONT_ACCESS_LOG",
        "SYSLOGLINE",
        "CRONLOG",
        "NAGIOSLOGLINE",
        "POSTGRESQL",
        "REDISLOG",
        "MONGO3_LOG",
        "RAILS3",
        "RUBY_LOGGER",
        "CATALINALOG",
        "TOMCATLOG",
        "BIND9",
        "CISCOFW106001",
        "SHOREWALL",
        "SQUID3",
        "COMBINEDAPACHELOG",
    ];
    let set = PatternSet::legacy();
    let options = CompileOptions::default();
    let mut expressions: Vec<String> = NAMES.iter().map(|name| format!("%{{{name}}}")).collect();
    // More than one prefilter has room for.
    expressions.extend((0..60).map(|number| format!("code {number} of %{{WORD:thing}}")));
    expressions.push("%{WORD:a} %{WORD:b}".to_owned());
    let list = set
        .compile_list(&expressions, &options)
        .expect("they are right");
    let mut list_scratch = list.scratch();
    let (mut slots, mut own_slots) = (Slots::new(), Slots::new());
    let mut scratches: Vec<_> = list.matchers().iter().map(Matcher::scratch).collect();
    let mut found_by = std::collections::BTreeSet::new();
    let own = [
        "code 59 of things",
        "x code 7 of \u{e9}",
        "two words",
        "",
        "-",
    ];
    for line in include_str!("lines.log").lines().chain(own) {
        for end in [line.len(), line.len().saturating_sub(1), line.len() / 2] {
            let Some(line) = line.get(..end) else {
                continue;
            };
            let line = line.as_bytes();
            let got = list.find(line, &mut list_scratch, &mut slots);
            let mut wanted = Ok(None);
            for (index, matcher) in list.matchers().iter().enumerate() {
                if matcher.find(line, &mut scratches[index], &mut own_slots) == Ok(true) {
                    wanted = Ok(Some(index));
                    assert!(slots.iter().eq(own_slots.iter()), "{}", line.escape_ascii());
                    break;
                }
            }
            assert_eq!(got, wanted, "{}", line.escape_ascii());
            found_by.extend(wanted.ok().flatten());
        }
    }
    assert!(found_by.len() >= 8, "{found_by:?}");
}
