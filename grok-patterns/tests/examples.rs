//! Every standard pattern has examples, and matches them from end to end.

use skidder_grok::{CompileOptions, Matcher, PatternSet, Slots};

/// Patterns whose last part takes as little as it can, so that they stop short of the end unless
/// something follows; between anchors they take all.
const LAZY: &[&str] = &[
    "DATA",
    "HAPROXYCAPTUREDREQUESTHEADERS",
    "HAPROXYCAPTUREDRESPONSEHEADERS",
    "NAGIOS_EC_LINE_SCHEDULE_HOST_DOWNTIME",
];

/// Patterns that need something before or after their text.
const NEED_MORE: &[&str] = &["IPTABLES4_FRAG", "MONGO_QUERY"];

fn sets() -> [(&'static str, PatternSet); 2] {
    [
        ("legacy", PatternSet::legacy()),
        ("ecs-v1", PatternSet::ecs_v1()),
    ]
}

fn compile(set: &PatternSet, expression: &str) -> Matcher {
    set.compile(expression, &CompileOptions::default())
        .unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// What the first capture is in the text; none when there is no match.
fn first(matcher: &Matcher, text: &'static str) -> Option<&'static str> {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let found = matcher.find(text.as_bytes(), &mut scratch, &mut slots);
    let (start, end) = found.expect("no budget").then(|| slots.get(0))??;
    Some(&text[start..end])
}

#[test]
fn every_name_has_examples() {
    for (name_of_set, set) in sets() {
        let without: Vec<&str> = set
            .names()
            .filter(|name| set.examples(name).next().is_none())
            .collect();
        assert!(without.is_empty(), "{name_of_set}: {without:?}");
    }
}

#[test]
fn every_example_is_matched_from_end_to_end() {
    let mut wrong = Vec::new();
    for (name_of_set, set) in sets() {
        for name in set.names() {
            let free = compile(&set, &format!("(?<all>%{{{name}}})"));
            let bound = compile(&set, &format!("(?<all>\\A(?:%{{{name}}})\\z)"));
            for text in set.examples(name) {
                let whole = first(&free, text) == Some(text);
                let between = first(&bound, text) == Some(text);
                let expected = if NEED_MORE.contains(&name) {
                    (false, false)
                } else {
                    (!LAZY.contains(&name), true)
                };
                if (whole, between) != expected {
                    wrong.push(format!(
                        "{name_of_set}: {name} {text:?}: {whole} {between} {:?}",
                        first(&free, text)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_user_defines_is_of_no_file_and_has_no_examples() {
    let mut set = PatternSet::legacy();
    assert_eq!(set.file_of("MONTH"), Some("grok-patterns"));
    assert_eq!(set.examples("MONTH").next(), Some("Mar"));
    set.add("MONTH", "[0-9]+");
    set.add_file("MINE x").expect("it is a pattern file");
    for name in ["MONTH", "MINE", "NONE"] {
        assert_eq!(set.file_of(name), None, "{name}");
        assert_eq!(set.examples(name).next(), None, "{name}");
    }
}
