//! Hints about fields.

use super::*;
use crate::language::{ParseOptions, parse};

fn found(text: &str) -> Vec<String> {
    let sources = SourceMap::single("t", text);
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    assert!(
        diagnostics.is_empty(),
        "{}",
        diagnostics.render(&sources, false)
    );
    check_fields(&config, &sources, FieldCheck::default(), &mut diagnostics);
    assert!(!diagnostics.has_errors());
    let show = |each: &Diagnostic| {
        let place = sources.text(each.span.unwrap());
        match &each.suggestion {
            Some(suggestion) => format!("{place} -> {suggestion}"),
            None => place.to_owned(),
        }
    };
    diagnostics.iter().map(show).collect()
}

#[test]
fn nothing_sets_it_and_nothing_else_could() {
    let config = |filters: &str, output: &str| {
        format!("input {{ stdin {{ }} }} filter {{ {filters} }} output {{ {output} }}")
    };
    let grok =
        r#"grok { match => { "message" => "%{IP:client} (?<verb>GET) %{COMMONAPACHELOG}" } }"#;
    for (filters, output, expected) in [
        (
            "",
            r#"file { path => "/x/%{[@metadata][day]}/%{site}" }"#,
            &["%{[@metadata][day]}", "%{site}"][..],
        ),
        (
            grok,
            r#"file { path => "%{client}%{verb}%{clientip}%{response}" }"#,
            &[],
        ),
        (
            grok,
            r#"file { path => "%{cleint}" }"#,
            &["%{cleint} -> %{client}"],
        ),
        (
            grok,
            "if [verb] { } else if [bytess] == 1 { }",
            &["[bytess]"],
        ),
        (
            r#"mutate { add_field => { "[@metadata][day]" => "%{host}" } }"#,
            r#"file { path => "%{[@metadata][day]}" } if [@metadata][dya] { }"#,
            &["[@metadata][dya]"],
        ),
        (
            r#"mutate { add_field => { "[@metadata][target]" => "x" } }"#,
            "if [@metadata][tagret] { }",
            &["[@metadata][tagret] -> [@metadata][target]"],
        ),
        (
            "json { source => message }",
            r#"file { path => "%{any}%{[@metadata][any]}" }"#,
            &[],
        ),
        (
            r#"json { source => message target => "doc" }"#,
            "if [doc][a] { } if [dox] { }",
            &["[dox]"],
        ),
        (
            r#"dissect { mapping => { "message" => "%{day->} %{+day/2} %{?skip} %{level}" } }"#,
            "if [day] and [level] { }",
            &[],
        ),
        (
            r#"dissect { mapping => { "message" => "%{*k} %{&k}" } }"#,
            "if [any] { }",
            &[],
        ),
        (
            r#"date { match => ["stamp", "ISO8601"] }"#,
            "null { }",
            &["\"stamp\""],
        ),
        (
            r#"geoip { source => "message" target => "place" }"#,
            "if [place][city_name] { } if [geo] { }",
            &["[geo]"],
        ),
        ("unheard_of { }", "if [any] { }", &[]),
        (
            r#"mutate { rename => { "message" => "text" } }"#,
            r#"stdout { codec => line { format => "%{text} %{tetx} %{+YYYY}" } }"#,
            &["%{tetx} -> %{text}"],
        ),
        (
            r#"grok { match => { "message" => "%{FROM_FILE}" } }"#,
            "if [any] { }",
            &[],
        ),
        (
            r#"mutate { add_field => { "%{message}" => 1 } }"#,
            "if [any] { }",
            &[],
        ),
    ] {
        assert_eq!(
            found(&config(filters, output)),
            expected,
            "{filters} {output}"
        );
    }
}

#[test]
fn of_events_from_elsewhere_only_slips_are_told() {
    let config = |read: &str| {
        format!(
            r#"input {{ beats {{ port => 1 }} }}
            filter {{ grok {{ match => {{ "message" => "%{{IP:client}} %{{WORD:verb}} %{{WORD:field1}} %{{WORD:word}}" }} }} }}
            output {{ if {read} {{ }} }}"#
        )
    };
    for read in [
        "[any]",
        "[@metadata][any]",
        "[clients]",
        "[field2]",
        "[vreb]",
        "[a][client]",
        "[wordy]",
    ] {
        let slip = matches!(read, "[vreb]" | "[wordy]");
        assert_eq!(found(&config(read)).len(), usize::from(slip), "{read}");
    }
    // The field is known by another way.
    let both = r#"input { beats { port => 1 add_field => { "cleint" => "x" } } }
        filter { grok { match => { "message" => "%{IP:client}" } } if [cleint] { } }"#;
    assert_eq!(found(both), [] as [&str; 0]);
    // Filters alone: their events are not known.
    assert_eq!(found("filter { if [any] { } }"), [] as [&str; 0]);
}

#[test]
fn fields_are_known_behind_what_sets_them() {
    let text = r#"input { stdin { } } filter { grok { match => { "message" => "%{IP:client}" } target => "[a][b]" } mutate { add_field => { "later" => 1 } } }"#;
    let sources = SourceMap::single("t", text);
    let config = parse(&sources, ParseOptions::default(), &mut Diagnostics::new());
    let at = text.find("mutate").unwrap();
    let known = fields_at(&config, FieldCheck::default(), Some(Span::new(0, at, at)));
    let names: Vec<String> = known.iter().map(|(name, _)| name.bracketed()).collect();
    assert!(names.contains(&"[a][b][client]".to_owned()), "{names:?}");
    assert!(!names.contains(&"[later]".to_owned()), "{names:?}");
}
