//! The filters that look something up, mark, shorten or leave out: what one event becomes, and what
//! bounds them.

#[path = "support/mmdb.rs"]
mod mmdb;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bumpalo::Bump;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use skidder_pipeline::event::{
    Event, JsonLimits, Name, Timestamp, Value, read_json_object, write_json,
};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

/// 2024-06-15T12:00:00Z.
const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

/// Files in memory.
#[derive(Default)]
struct Memory(HashMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let contents = self.0.get(path).cloned();
        contents.ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn files(contents: &[(&str, &str)]) -> Memory {
    let contents = contents.iter();
    Memory(
        contents
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
            .collect(),
    )
}

/// The pipeline, or what is wrong with it; and the warnings.
fn compiled_with(filters: &str, files: &Memory, ecs: bool) -> (Result<Pipeline, String>, String) {
    let sources = SourceMap::single("test", format!("filter {{ {filters} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs,
        escape_style: EscapeStyle::None,
        files,
    };
    let pipeline = compile(&config, &options, &mut diagnostics);
    let said = diagnostics.render(&sources, false);
    (pipeline.ok_or_else(|| said.clone()), said)
}

fn compiled(filters: &str) -> Pipeline {
    let (pipeline, _) = compiled_with(filters, &Memory::default(), false);
    pipeline.unwrap_or_else(|error| panic!("{error}"))
}

/// What some events, one after the other, become, as JSON.
fn run_through(pipeline: &Pipeline, events: &[&str]) -> Vec<String> {
    let mut scratch = Scratch::default();
    run_with(pipeline, events, &mut scratch)
}

fn run_with(pipeline: &Pipeline, events: &[&str], scratch: &mut Scratch) -> Vec<String> {
    let mut done = Vec::new();
    for event in events {
        let arena = Bump::new();
        let fields = read_json_object(event.as_bytes(), JsonLimits::default(), &arena);
        let input = Event::from_object(fields.expect("the event is JSON"), NOW, &arena);
        pipeline.filters.run(input, &arena, NOW, scratch, |event| {
            let mut out = Vec::new();
            write_json(&event, &mut out);
            let text = String::from_utf8(out).expect("JSON is UTF-8");
            // What every event has.
            let text = text.replace(r#","@timestamp":"2024-06-15T12:00:00.000Z""#, "");
            let text = text.replace(r#""@version":"1","#, "");
            let text = text.replace(r#","@version":"1""#, "");
            done.push(text.replace(r#""@version":"1""#, ""));
        });
    }
    done
}

fn assert_becomes(filters: &str, event: &str, expected: &str) {
    let done = run_through(&compiled(filters), &[event]);
    assert_eq!(done.join("\n"), expected, "{filters}\n{event}");
}

fn assert_refused(filters: &str, message: &str) {
    let (pipeline, _) = compiled_with(filters, &Memory::default(), false);
    let error = pipeline.err().unwrap_or_default();
    assert!(error.contains(message), "{filters}: {error}");
}

#[test]
fn translate_finds_in_its_dictionary() {
    let words =
        r#"dictionary => { "1" => "one" "true" => "yes" "l" => ["a", 5] "m" => { "k" => "v" } }"#;
    for (options, event, expected) in [
        (
            "source => 'n'",
            r#"{"n":1}"#,
            r#"{"n":1,"translation":"one"}"#,
        ),
        (
            "source => 'n'",
            r#"{"n":["1","2"]}"#,
            r#"{"n":["1","2"],"translation":"one"}"#,
        ),
        (
            "source => 'n'",
            r#"{"n":true}"#,
            r#"{"n":true,"translation":"yes"}"#,
        ),
        (
            "source => 'n'",
            r#"{"n":"l"}"#,
            r#"{"n":"l","translation":["a",5]}"#,
        ),
        (
            "source => 'n' target => '[a][b]'",
            r#"{"n":"m"}"#,
            r#"{"n":"m","a":{"b":{"k":"v"}}}"#,
        ),
        ("source => 'n'", r#"{"n":"3"}"#, r#"{"n":"3"}"#),
        ("source => 'n'", r#"{"m":"1"}"#, r#"{"m":"1"}"#),
        // A target that is there.
        (
            "source => 'n' target => 't'",
            r#"{"n":1,"t":null}"#,
            r#"{"n":1,"t":null}"#,
        ),
        (
            "source => 'n' target => 't' override => true",
            r#"{"n":1,"t":0}"#,
            r#"{"n":1,"t":"one"}"#,
        ),
        (
            "source => 'n' target => 'n'",
            r#"{"n":1}"#,
            r#"{"n":"one"}"#,
        ),
        // The options of every filter, only where something was found or put in its own place.
        (
            "source => 'n' add_tag => 't'",
            r#"{"n":1}"#,
            r#"{"n":1,"translation":"one","tags":["t"]}"#,
        ),
        ("source => 'n' add_tag => 't'", r#"{"n":2}"#, r#"{"n":2}"#),
        (
            "source => 'n' target => 'n' add_tag => 't'",
            r#"{"n":2}"#,
            r#"{"n":2,"tags":["t"]}"#,
        ),
        (
            "source => 'n' fallback => 'no %{n}'",
            r#"{"n":2}"#,
            r#"{"n":2,"translation":"no 2"}"#,
        ),
        // Nothing but a time goes into the time.
        (
            "source => 'n' target => '@timestamp' override => true",
            r#"{"n":1}"#,
            r#"{"n":1}"#,
        ),
        // Lists.
        (
            "source => 'n' iterate_on => 'n' target => 't'",
            r#"{"n":["1",2,true]}"#,
            r#"{"n":["1",2,true],"t":["one",null,"yes"]}"#,
        ),
        (
            "source => '[a][n]' iterate_on => 'l' target => 't' fallback => '?'",
            r#"{"l":[{"a":{"n":1}},{"a":{"n":2}},{"b":1},7]}"#,
            r#"{"l":[{"a":{"n":1},"t":"one"},{"a":{"n":2},"t":"?"},{"b":1},7]}"#,
        ),
    ] {
        assert_becomes(
            &format!("translate {{ {options} {words} }}"),
            event,
            expected,
        );
    }
}

#[test]
fn translate_matches_keys_and_replaces_parts() {
    let keys = r#"source => 'n' target => 'n' dictionary => { "^a+$" => "as" "b." => "bs" }"#;
    for (options, text, expected) in [
        ("regex => true", "aaa", "as"),
        ("regex => true", "xbx", "bs"),
        ("regex => true", "ab", "ab"),
        ("exact => false", "b. ^a+$b.", "bs asbs"),
        // With parts, keys are no expressions.
        ("exact => false regex => true", "aaa", "aaa"),
    ] {
        let event = format!(r#"{{"n":"{text}"}}"#);
        let expected = format!(r#"{{"n":"{expected}"}}"#);
        assert_becomes(
            &format!("translate {{ {options} {keys} }}"),
            &event,
            &expected,
        );
    }
    // The first key of those that begin at one place wins, a number becomes text.
    let filter = r#"translate { source => 'n' target => 'n' exact => false dictionary => { "a" => 1 "ab" => 2 } }"#;
    assert_becomes(filter, r#"{"n":"xab"}"#, r#"{"n":"x1b"}"#);
    assert_refused(
        "translate { source => 'n' regex => true dictionary => { '(' => 'x' } }",
        "key `(`",
    );
}

#[test]
fn translate_reads_files_again() {
    let memory = files(&[
        ("/d.yml", "1: one\nb: {c: [2, x]}\n"),
        ("/d.json", r#"{"1":"uno"}"#),
        ("/d.csv", "1,\"eins, zwei\"\n2\n"),
        ("/bad.json", "[1]"),
        ("/long.yml", "a: bcd"),
    ]);
    let filter = |options: &str| format!("translate {{ source => 'n' {options} }}");
    for (file, expected) in [("yml", "one"), ("json", "uno"), ("csv", "eins, zwei")] {
        let options = format!("dictionary_path => '/d.{file}'");
        let (pipeline, said) = compiled_with(&filter(&options), &memory, false);
        assert!(said.is_empty(), "{said}");
        let done = run_through(&pipeline.unwrap(), &[r#"{"n":1}"#]);
        assert_eq!(done, [format!(r#"{{"n":1,"translation":"{expected}"}}"#)]);
    }
    for (behaviour, old_word) in [("merge", Some("one")), ("replace", None)] {
        let options = format!(
            "dictionary_path => '/d.yml' refresh_interval => 5 refresh_behaviour => {behaviour} fallback => '-'"
        );
        let (pipeline, _) = compiled_with(&filter(&options), &memory, false);
        let pipeline = pipeline.unwrap();
        let [file] = &pipeline.watched_files[..] else {
            panic!("one file is watched")
        };
        assert_eq!(file.path(), Path::new("/d.yml"));
        assert_eq!(file.interval().as_secs(), 5);
        let mut scratch = Scratch::default();
        let mut word = |key: &str| {
            let event = format!(r#"{{"n":"{key}"}}"#);
            let done = run_with(&pipeline, &[&event], &mut scratch).remove(0);
            done.rsplit('"').nth(1).map(str::to_owned).unwrap()
        };
        assert_eq!(word("1"), "one");
        file.load(b"2: two".to_vec()).unwrap();
        assert_eq!(word("2"), "two");
        assert_eq!(word("1"), old_word.unwrap_or("-"));
        // What cannot be used changes nothing.
        assert!(file.load(b"{".to_vec()).is_err());
        assert_eq!(word("2"), "two");
    }
    for (options, message) in [
        ("dictionary_path => '/gone.yml'", "cannot be read"),
        ("dictionary_path => '/bad.json'", "must be a mapping"),
        ("dictionary_path => '/d.txt'", "is not known"),
        (
            "dictionary_path => '/long.yml' yaml_dictionary_code_point_limit => 5",
            "more than 5",
        ),
        (
            "dictionary_path => '/d.csv' yaml_dictionary_code_point_limit => 5",
            "for YAML only",
        ),
        (
            "dictionary_path => '/d.csv' dictionary => { aa => bb }",
            "exclude each other",
        ),
        (
            "refresh_behavior => merge",
            "did you mean `refresh_behaviour`",
        ),
        ("target => 'n' override => false", "would do nothing"),
        ("field => 'n'", "the old name of `source`"),
    ] {
        let (pipeline, _) = compiled_with(&filter(options), &memory, false);
        let error = pipeline.err().unwrap_or_default();
        assert!(error.contains(message), "{options}: {error}");
    }
    assert_refused("translate { }", "needs the option `source`");
    // An interval of ages is one that can be added to a time.
    let options = "dictionary_path => '/d.yml' refresh_interval => 99999999999999999";
    let (pipeline, _) = compiled_with(&filter(options), &memory, false);
    let file = &pipeline.unwrap().watched_files[0];
    assert!(
        std::time::Instant::now()
            .checked_add(file.interval())
            .is_some()
    );
    // No interval, nothing to watch.
    let options = "dictionary_path => '/d.yml' refresh_interval => 0";
    let (pipeline, _) = compiled_with(&filter(options), &memory, false);
    assert!(pipeline.unwrap().watched_files.is_empty());
}

#[test]
fn fingerprint_methods() {
    for (options, event, expected) in [
        // Of two sources the last that is there counts.
        (
            r#"method => "MD5" source => ["a", "b"]"#,
            r#"{"b":"2","a":"1"}"#,
            "c81e728d9d4c2f636f067f89cc14862c",
        ),
        (
            r#"method => "MD5" source => ["a", "b"]"#,
            r#"{"a":"1"}"#,
            "c4ca4238a0b923820dcc509a6f75849b",
        ),
        // `|a|1|b|2|`, whatever the order of the sources.
        (
            r#"method => "MD5" source => ["b", "a"] concatenate_sources => true"#,
            r#"{"b":2,"a":"1"}"#,
            "dda4d9e32a602973e16ea3de0014efb3",
        ),
        // An object by its names in order: `a|1|b|x`.
        (
            r#"method => "MD5" source => "o""#,
            r#"{"o":{"b":"x","a":1}}"#,
            "f3fb63998f29f3245b5c416bb24e265c",
        ),
        (
            r#"method => "PUNCTUATION""#,
            r#"{"message":"a-b: «c» \u20ac5"}"#,
            "-:«»€",
        ),
        (
            r#"method => "IPV4_NETWORK" key => 8 source => "ip""#,
            r#"{"ip":"10.1.2.3"}"#,
            "10.0.0.0",
        ),
    ] {
        let pipeline = compiled(&format!("fingerprint {{ {options} target => 'f' }}"));
        let done = run_through(&pipeline, &[event]).remove(0);
        let end = format!(r#""f":"{expected}"}}"#);
        assert!(done.ends_with(&end), "{options}: {done}, not {end}");
    }
    let filter = r#"fingerprint { method => "UUID" target => 'f' remove_field => "message" }"#;
    let done = run_through(&compiled(filter), &["{}", "{}"]);
    assert!(done[0] != done[1] && done[0].len() == 44, "{done:?}");
    // Nothing to hash, or no address: no field.
    assert_becomes("fingerprint { }", "{}", "{}");
    let filter = r#"fingerprint { method => "IPV4_NETWORK" key => 8 }"#;
    assert_becomes(filter, r#"{"message":"x"}"#, r#"{"message":"x"}"#);
    assert_refused(r#"fingerprint { method => "sha1" }"#, "did you mean `SHA1`");
    assert_refused(
        r#"fingerprint { method => "IPV4_NETWORK" }"#,
        "needs the length",
    );
    assert_refused("fingerprint { sources => aa }", "did you mean `source`");
}

#[test]
fn anonymize_and_uuid() {
    let filter = r#"anonymize { fields => ["a", "b"] key => "16" algorithm => "IPV4_NETWORK" add_tag => x1 }"#;
    assert_becomes(
        filter,
        r#"{"a":["10.1.2.3","x"],"c":1}"#,
        r#"{"a":["10.1.0.0",null],"c":1,"tags":["x1"]}"#,
    );
    assert_becomes(filter, r#"{"c":1}"#, r#"{"c":1}"#);
    assert_refused("anonymize { fields => aa }", "needs the option `key`");
    assert_refused("anonymize { key => aa }", "needs the option `fields`");
    assert_becomes(
        "uuid { target => 'u' }",
        r#"{"u":"there"}"#,
        r#"{"u":"there"}"#,
    );
    let done = run_through(&compiled("uuid { target => 'u' }"), &["{}"]);
    assert_eq!(done[0].len(), r#"{"u":""}"#.len() + 36, "{done:?}");
    assert_refused("uuid { }", "needs the option `target`");
}

#[test]
fn prune_and_truncate() {
    for (options, event, expected) in [
        (
            r#"whitelist_names => ["^a"]"#,
            r#"{"a":1,"ab":2,"b":3}"#,
            r#"{"a":1,"ab":2}"#,
        ),
        (
            r#"blacklist_names => ["b"]"#,
            r#"{"a":1,"ab":2,"%{x}":3}"#,
            r#"{"a":1,"%{x}":3}"#,
        ),
        ("", r#"{"a":1,"%{x}":3}"#, r#"{"a":1}"#),
        (
            r#"whitelist_values => { "l" => "1|2" "n" => "5" } blacklist_values => { "l" => "2" }"#,
            r#"{"l":["1","2","3",11],"n":6,"m":null}"#,
            r#"{"l":["1",11],"m":null}"#,
        ),
        (
            r#"interpolate => true blacklist_values => { "%{k}" => "^%{v}$" }"#,
            r#"{"k":"z","v":"[ab]","z":"a"}"#,
            r#"{"k":"z","v":"[ab]"}"#,
        ),
        // What the event makes no expression of matches nothing.
        (
            r#"interpolate => true blacklist_names => ["%{v}"]"#,
            r#"{"v":"("}"#,
            r#"{"v":"("}"#,
        ),
    ] {
        let event = event.replacen('{', r#"{"@timestamp":"2024-06-15T12:00:00Z","#, 1);
        let done = run_through(&compiled(&format!("prune {{ {options} }}")), &[&event]);
        let done = done[0].replace(r#""@timestamp":"2024-06-15T12:00:00.000Z","#, "");
        assert_eq!(done, expected, "{options}");
    }
    assert_refused("prune { whitelist_names => ['('] }", "whitelist_names");
    let filter = |options| format!("truncate {{ {options} add_tag => 'cut' }}");
    for (options, event, expected) in [
        (
            "length_bytes => 3",
            r#"{"a":"abcd"}"#,
            r#"{"a":"abc","tags":["cut"]}"#,
        ),
        ("length_bytes => 3", r#"{"a":"abc"}"#, r#"{"a":"abc"}"#),
        (
            "length_bytes => 3",
            r#"{"a":"ab€"}"#,
            r#"{"a":"ab","tags":["cut"]}"#,
        ),
        (
            "length_bytes => 0 fields => 'a'",
            r#"{"a":"€","b":"x"}"#,
            r#"{"a":"","b":"x","tags":["cut"]}"#,
        ),
        (
            "length_bytes => 1 fields => ['[o]', 'l']",
            r#"{"o":{"x":"12","y":{"z":"34"}},"l":["56",{"m":"78"},9],"n":"90"}"#,
            r#"{"o":{"x":"1","y":{"z":"3"}},"l":["5",{"m":"78"},9],"n":"90","tags":["cut"]}"#,
        ),
    ] {
        assert_becomes(&filter(options), event, expected);
    }
    assert_refused("truncate { }", "needs the option `length_bytes`");
}

#[test]
fn cidr_lists() {
    let memory = files(&[("/nets", "10.0.0.0/8\n192.168.0.0/16\n"), ("/none", "\n")]);
    let filter = |options: &str| format!("cidr {{ {options} add_tag => 'in' }}");
    let (pipeline, said) = compiled_with(
        &filter("network_path => '/nets' address => ['%{a}', '%{b}']"),
        &memory,
        false,
    );
    assert!(said.is_empty(), "{said}");
    let pipeline = pipeline.unwrap();
    let inside = |event: &str| run_through(&pipeline, &[event])[0].contains("tags");
    assert!(inside(r#"{"a":"x","b":"10.1.1.1"}"#));
    assert!(!inside(r#"{"a":"11.1.1.1"}"#));
    pipeline.watched_files[0]
        .load(b"11.0.0.0/8".to_vec())
        .unwrap();
    assert!(inside(r#"{"a":"11.1.1.1"}"#));
    assert!(pipeline.watched_files[0].load(b"".to_vec()).is_err());
    assert!(inside(r#"{"a":"11.1.1.1"}"#));
    assert_becomes(
        &filter("address_field => 'a' network => ['1.0.0.0/8, 2.0.0.0/8', '%{n}']"),
        r#"{"a":["9.1.1.1","5.5.5.5"],"n":"x,5.5.5.4/31"}"#,
        r#"{"a":["9.1.1.1","5.5.5.5"],"n":"x,5.5.5.4/31","tags":["in"]}"#,
    );
    for (options, message) in [
        ("address => '%{a}'", "needs the option `network`"),
        ("network => '::/0'", "needs the option `address`"),
        (
            "address => '%{a}' address_field => 'a' network => '::/0'",
            "exclude each other",
        ),
        (
            "address => '%{a}' network_path => '/none'",
            "no network in it",
        ),
        (
            "address => '%{a}' network_path => '/gone'",
            "cannot be read",
        ),
    ] {
        let (pipeline, _) = compiled_with(&filter(options), &memory, false);
        let error = pipeline.err().unwrap_or_default();
        assert!(error.contains(message), "{options}: {error}");
    }
    let (_, said) = compiled_with(
        &filter("address => '%{a}' network => '1.2.3'"),
        &memory,
        false,
    );
    assert!(said.contains("`1.2.3` is no network"), "{said}");
}

#[test]
fn de_dot_keeps_what_is_there() {
    for (options, event, expected) in [
        (
            "",
            r#"{"a.b":1,"c":{"d.e":2}}"#,
            r#"{"c":{"d.e":2},"a_b":1}"#,
        ),
        ("separator => '-'", r#"{"a.b":1}"#, r#"{"a-b":1}"#),
        (
            "nested => true",
            r#"{"a.b":1,"a.c":2}"#,
            r#"{"a":{"b":1,"c":2}}"#,
        ),
        (
            "nested => true",
            r#"{"..":1}"#,
            r#"{"..":1,"tags":["_de_dot_error"]}"#,
        ),
        // What is in the way is not overwritten.
        (
            "nested => true",
            r#"{"a.b":1,"a":"x"}"#,
            r#"{"a.b":1,"a":"x","tags":["_de_dot_error"]}"#,
        ),
        (
            "recursive => true",
            r#"{"a.b":{"c.d":{"e.f":1}}}"#,
            r#"{"a_b":{"c_d":{"e_f":1}}}"#,
        ),
        (
            "nested => true fields => ['[a.b][c.d]', 'z.z']",
            r#"{"a.b":{"c.d":1,"x":2}}"#,
            r#"{"a.b":{"x":2},"a":{"b":{"c":{"d":1}}}}"#,
        ),
        (
            "fields => ['[a.b][c.d]']",
            r#"{"a.b":{"c.d":1}}"#,
            r#"{"a_b":{"c_d":1}}"#,
        ),
    ] {
        assert_becomes(&format!("de_dot {{ {options} }}"), event, expected);
    }
    assert_refused("de_dot { separator => '.' }", "must not have a dot");
    // A name of a great many dots makes no tower of objects.
    let event = format!(r#"{{"{}":1}}"#, "a.".repeat(100_000));
    let done = run_through(
        &compiled("de_dot { nested => true recursive => true }"),
        &[&event],
    );
    assert!(done[0].contains("_de_dot_error"));
}

#[test]
fn bytes_and_syslog_pri() {
    let filter = "bytes { target => 'b' }";
    for (text, expected) in [
        ("5.6 GB", "6012954214"),
        ("1,024", "1024"),
        ("1_000 000B", "1000000"),
        ("10 EB", "11529215046068469760"),
    ] {
        let event = format!(r#"{{"message":"{text}"}}"#);
        let expected = format!(r#"{{"message":"{text}","b":{expected}}}"#);
        assert_becomes(filter, &event, &expected);
    }
    for text in ["", "GB", "1.2.3", "5 XB", "-1", "1e3", "5 GBB"] {
        let event = format!(r#"{{"message":"{text}"}}"#);
        let expected = format!(r#"{{"message":"{text}","tags":["_bytesparsefailure"]}}"#);
        assert_becomes(filter, &event, &expected);
    }
    let digits = format!(r#"{{"message":"{}"}}"#, "1".repeat(1000));
    assert!(run_through(&compiled(filter), &[&digits])[0].contains("_bytesparsefailure"));
    assert_refused("bytes { }", "needs the option `target`");
    assert_refused(
        "bytes { target => 'b' conversion_method => si }",
        "`binary`, `metric`",
    );
    assert_becomes(
        "syslog_pri { }",
        "{}",
        r#"{"syslog_severity_code":5,"syslog_facility_code":1,"syslog_facility":"user-level","syslog_severity":"notice"}"#,
    );
    assert_becomes(
        "syslog_pri { syslog_pri_field_name => 'p' severity_labels => ['bad'] }",
        r#"{"p":["8"]}"#,
        r#"{"p":["8"],"syslog_severity_code":0,"syslog_facility_code":1,"syslog_facility":"user-level","syslog_severity":"bad"}"#,
    );
    assert_becomes(
        "syslog_pri { }",
        r#"{"syslog_pri":-9}"#,
        r#"{"syslog_pri":-9,"syslog_severity_code":7,"syslog_facility_code":-2,"tags":["_syslogpriparsefailure"]}"#,
    );
}

#[test]
fn throttle_dedupe_sampling_and_sleep() {
    let marked = |filter: &str, events: &[&str]| -> Vec<bool> {
        let done = run_through(&compiled(filter), events);
        done.iter()
            .map(|event| event.contains(r#""tags":["t"]"#))
            .collect()
    };
    let events = [r#"{"h":1}"#, r#"{"h":1}"#, r#"{"h":2}"#, r#"{"h":1}"#];
    let filter = "throttle { key => '%{h}' before_count => 2 after_count => 2 add_tag => 't' }";
    assert_eq!(marked(filter, &events), [true, false, true, true]);
    // A period that comes from the event.
    let times = [
        r#"{"p":"10","@timestamp":"2024-01-01T00:00:00Z"}"#,
        r#"{"p":"10","@timestamp":"2024-01-01T00:00:09Z"}"#,
        r#"{"p":"10","@timestamp":"2024-01-01T00:00:10Z"}"#,
        r#"{"p":"x","@timestamp":"2024-01-01T00:00:59Z"}"#,
    ];
    let filter = "throttle { key => 'k' after_count => 1 period => '%{p}' add_tag => 't' }";
    assert_eq!(marked(filter, &times), [false, true, false, true]);
    assert_refused("throttle { }", "needs the option `key`");
    assert_refused(
        "throttle { key => 'k' max_counters => 0.5 }",
        "whole number",
    );

    let filter = "dedupe { key => '%{h}' }";
    assert_eq!(
        run_through(&compiled(filter), &events),
        [r#"{"h":1}"#, r#"{"h":2}"#]
    );
    let filter = "dedupe { key => '%{h}' drop => false add_tag => 't' }";
    assert_eq!(marked(filter, &events), [false, true, false, true]);
    assert_refused("dedupe { max_keys => 1 }", "must be between 16 and");

    let many: Vec<String> = (0..1000)
        .map(|key| format!(r#"{{"k":{}}}"#, key % 100))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let kept = run_through(&compiled("sampling { percentage => 20 }"), &many);
    assert!((100..300).contains(&kept.len()), "{}", kept.len());
    let kept = run_through(
        &compiled("sampling { percentage => 20 key => '%{k}' }"),
        &many,
    );
    assert_eq!(kept.len() % 10, 0, "{}", kept.len());
    assert!((50..400).contains(&kept.len()), "{}", kept.len());
    assert_becomes(
        "sampling { percentage => 100 target => 'w' }",
        "{}",
        r#"{"w":1.0}"#,
    );
    assert_refused("sampling { percentage => 0 }", "write `drop { }`");
    assert_refused("sampling { }", "needs the option `percentage`");

    let start = std::time::Instant::now();
    let filter = "sleep { time => '%{s}' every => 2 max_time => '20ms' add_tag => 't' }";
    assert_eq!(
        marked(filter, &[r#"{"s":1e9}"#, r#"{"s":1e9}"#]),
        [true, true]
    );
    let took = start.elapsed().as_millis();
    assert!((20..5000).contains(&took), "{took} ms");
    let filter = "sleep { replay => true time => 100 max_time => '1s' }";
    run_through(&compiled(filter), &times[..2]);
    assert!(start.elapsed().as_millis() >= took + 90);
    assert_refused("sleep { }", "needs the option `time`");
}

#[test]
fn redact_takes_out_what_must_not_be_kept() {
    let line = "ann@b.org paid with 4111 1111 1111 1111 from 10.0.0.1, token=abc123";
    let event = format!(r#"{{"message":"{line}","o":{{"l":["::1",5]}}}}"#);
    for (options, expected) in [
        ("", "[email] paid with [card] from [ip], token=[token]"),
        (
            "kinds => [ip] replacement => 'x'",
            "ann@b.org paid with 4111 1111 1111 1111 from x, token=abc123",
        ),
        (
            r#"kinds => [] patterns => { "word" => "p\w+d" } replacement => "{kind}{x}""#,
            "ann@b.org word{x} with 4111 1111 1111 1111 from 10.0.0.1, token=abc123",
        ),
        // Where two overlap, the first counts and all of both goes.
        (
            r#"kinds => [email] patterns => { "rest" => "b.org paid" }"#,
            "[email] with 4111 1111 1111 1111 from 10.0.0.1, token=abc123",
        ),
    ] {
        let expected = format!(r#"{{"message":"{expected}","o":{{"l":["::1",5]}}}}"#);
        assert_becomes(&format!("redact {{ {options} }}"), &event, &expected);
    }
    assert_becomes(
        "redact { fields => ['o', 'nothing'] add_tag => 't' }",
        r#"{"o":{"l":["::1",5]}}"#,
        r#"{"o":{"l":["[ip]",5]},"tags":["t"]}"#,
    );
    assert_becomes(
        "redact { add_tag => 't' }",
        r#"{"message":"x"}"#,
        r#"{"message":"x"}"#,
    );
    // Equal finds have equal hashes, and another key gives others.
    let hashed = |key| {
        let filter = format!("redact {{ replacement => '{{hash}}' key => '{key}' }}");
        run_through(&compiled(&filter), &[r#"{"message":"a@b.cc a@b.cc"}"#]).remove(0)
    };
    let (one, other) = (hashed("k1"), hashed("k2"));
    assert_ne!(one, other);
    let hash = &one[r#"{"message":""#.len()..][..16];
    assert_eq!(one, format!(r#"{{"message":"{hash} {hash}"}}"#));
    assert_refused("redact { replacement => '{hash}' }", "needs a `key`");
    assert_refused("redact { kinds => [mail] }", "known are `card`");
    assert_refused("redact { patterns => { aa => '(' } }", "error");
}

#[test]
fn geoip_of_the_databases() {
    let mut memory = Memory::default();
    for (path, contents) in [
        ("/city", mmdb::cities()),
        ("/asn", mmdb::systems()),
        ("/hidden", mmdb::hidden()),
        ("/other", mmdb::database("Other", &[])),
        ("/bad", b"nonsense".to_vec()),
    ] {
        memory.0.insert(path.into(), contents);
    }
    let run = |options: &str, ecs: bool, event: &str| {
        let filter = format!("geoip {{ {options} }}");
        let (pipeline, _) = compiled_with(&filter, &memory, ecs);
        let pipeline = pipeline.unwrap_or_else(|error| panic!("{error}"));
        // Twice, the second time from the cache.
        let done = run_through(&pipeline, &[event, event]);
        assert_eq!(done[0], done[1]);
        done[0].clone()
    };
    let seattle = r#"{"city_name":"Seattle","continent_code":"NA","country_name":"United States","country_code2":"US","country_code3":"US","postal_code":"98106","dma_code":819,"region_name":"Washington","region_code":"WA","timezone":"America/Los_Angeles","location":{"lat":47.6062,"lon":-122.3321},"latitude":47.6062,"longitude":-122.3321,"ip":"216.160.83.58"}"#;
    assert_eq!(
        run(
            "source => 'ip' database => '/city'",
            false,
            r#"{"ip":["216.160.83.58","x"]}"#
        ),
        format!(r#"{{"ip":["216.160.83.58","x"],"geoip":{seattle}}}"#),
    );
    assert_eq!(
        run(
            "source => '[c][ip]' database => '/city'",
            true,
            r#"{"c":{"ip":"216.160.83.58"}}"#
        ),
        r#"{"c":{"ip":"216.160.83.58","geo":{"city_name":"Seattle","continent_code":"NA","country_name":"United States","country_iso_code":"US","postal_code":"98106","region_name":"Washington","region_iso_code":"US-WA","timezone":"America/Los_Angeles","location":{"lat":47.6062,"lon":-122.3321}},"mmdb":{"dma_code":819}}}"#,
    );
    assert_eq!(
        run(
            "source => 'a' target => 't' database => '/city' fields => ['CITY_NAME', latitude]",
            false,
            r#"{"a":"216.160.83.58"}"#
        ),
        r#"{"a":"216.160.83.58","t":{"city_name":"Seattle","latitude":47.6062}}"#,
    );
    assert_eq!(
        run(
            "source => 'a' database => '/asn' fields => [asn, as_org, ip, network]",
            false,
            r#"{"a":"2001:db8::1"}"#
        ),
        r#"{"a":"2001:db8::1","geoip":{"asn":64500,"as_org":"Example, Inc.","ip":"2001:db8:0:0:0:0:0:1","network":"2001:db8::/32"}}"#,
    );
    assert_eq!(
        run(
            "source => 'a' target => 't' database => '/hidden' fields => [tor_exit_node, anonymous]",
            true,
            r#"{"a":"192.0.2.1"}"#
        ),
        r#"{"a":"192.0.2.1","t":{"ip_traits":{"tor_exit_node":true,"anonymous":false}}}"#,
    );
    for (event, expected) in [
        // Not in the database, not on the map, no address.
        (
            r#"{"a":"1.1.1.1"}"#,
            r#"{"a":"1.1.1.1","geoip":{},"tags":["_geoip_lookup_failure"]}"#,
        ),
        (
            r#"{"a":"2001:db8::1"}"#,
            r#"{"a":"2001:db8::1","geoip":{},"tags":["_geoip_lookup_failure"]}"#,
        ),
        (
            r#"{"a":"localhost"}"#,
            r#"{"a":"localhost","geoip":{},"tags":["_geoip_lookup_failure"]}"#,
        ),
        (r#"{"a":5}"#, r#"{"a":5,"tags":["_geoip_lookup_failure"]}"#),
        ("{}", r#"{"tags":["_geoip_lookup_failure"]}"#),
    ] {
        assert_eq!(
            run("source => 'a' database => '/city'", false, event),
            expected
        );
    }
    for (options, ecs, message) in [
        ("source => 'a'", false, "needs a database"),
        ("database => '/city'", false, "needs the option `source`"),
        (
            "source => 'a' database => '/city'",
            true,
            "a `target` is needed",
        ),
        ("source => 'a' database => '/none'", false, "cannot be read"),
        (
            "source => 'a' database => '/other'",
            false,
            "type `Other` is not known",
        ),
        ("source => 'a' database => '/bad'", false, "database /bad"),
        (
            "source => 'a' database => '/city' fields => [citi_name]",
            false,
            "did you mean `city_name`",
        ),
    ] {
        let (pipeline, _) = compiled_with(&format!("geoip {{ {options} }}"), &memory, ecs);
        let error = pipeline.err().unwrap_or_default();
        assert!(error.contains(message), "{options}: {error}");
    }
    // A new database, and one that cannot be read.
    let filter = "geoip { source => 'a' database => '/city' fields => [city_name, asn] }";
    let pipeline = compiled_with(filter, &memory, false).0.unwrap();
    let file = &pipeline.watched_files[0];
    let mut scratch = Scratch::default();
    let mut city = |event: &str| run_with(&pipeline, &[event], &mut scratch).remove(0);
    assert!(city(r#"{"a":"216.160.83.58"}"#).contains("Seattle"));
    file.load(mmdb::systems()).unwrap();
    assert!(city(r#"{"a":"2001:db8::1"}"#).contains("64500"));
    assert!(file.load(b"nonsense".to_vec()).is_err());
    assert!(city(r#"{"a":"2001:db8::1"}"#).contains("64500"));
}

#[test]
fn useragent_fields() {
    let chrome = "Mozilla/5.0 (Windows NT 6.3; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/89.0.4389.90 Safari/537.36";
    let event = format!(r#"{{"a":["{chrome}"]}}"#);
    assert_becomes(
        "useragent { source => 'a' target => 'u' prefix => 'p_' }",
        &event,
        &format!(
            r#"{{"a":["{chrome}"],"u":{{"p_name":"Chrome","p_device":"Other","p_major":"89","p_minor":"0","p_patch":"4389","p_version":"89.0.4389.90","p_os_major":"8","p_os_minor":"1","p_os_version":"8.1","p_os_name":"Windows","p_os":"Windows","p_os_full":"Windows 8.1"}}}}"#
        ),
    );
    let names = |text: &str| {
        let event = format!(r#"{{"a":"{text}"}}"#);
        let filter = "useragent { source => 'a' target => 'u' } mutate { replace => { 'a' => '%{[u][name]} %{[u][version]}|%{[u][os_full]}|%{[u][device]}' } remove_field => 'u' }";
        let done = run_through(&compiled(filter), &[&event]).remove(0);
        done.trim_start_matches(r#"{"a":""#)
            .trim_end_matches(r#""}"#)
            .to_owned()
    };
    for (text, expected) in [
        ("curl/8.5.0", "curl 8.5.0|Other|Other"),
        (
            "python-requests/2.31.0",
            "Python Requests 2.31.0|Other|Other",
        ),
        ("Go-http-client/1.1", "Go-http-client 1.1|Other|Other"),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot 2.1|Other|Spider",
        ),
        (
            "Mozilla/5.0 (compatible; ExampleBot/1.0; +http://example.com)",
            "ExampleBot 1.0|Other|Spider",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1",
            "Mobile Safari 17.4.1|iOS 17.4.1|iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/112.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile 112.0.0.0|Android 13|Samsung SM-S918B",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; moto g84) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile 120.0.0.0|Android 14|moto g84",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
            "Firefox 115.0|Ubuntu|Other",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
            "IE 11.0|Windows 10|Other",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/110.0.0.0 Safari/537.36 OPR/96.0.0.0",
            "Opera 96.0.0.0|Windows 10|Other",
        ),
        ("nothing to see", "Other %{[u][version]}|Other|Other"),
    ] {
        assert_eq!(names(text), expected, "{text}");
    }
    let memory = files(&[
        (
            "/r.yaml",
            "user_agent_parsers:\n- regex: '(x)(\\d)'\nos_parsers: []\ndevice_parsers: []\n",
        ),
        (
            "/bad.yaml",
            "user_agent_parsers:\n- regex: '('\nos_parsers: []\ndevice_parsers: []\n",
        ),
        ("/less.yaml", "user_agent_parsers: []\n"),
    ]);
    let filter = |file: &str| format!("useragent {{ source => 'a' regexes => '{file}' }}");
    let (pipeline, _) = compiled_with(&filter("/r.yaml"), &memory, true);
    let done = run_through(&pipeline.unwrap(), &[r#"{"a":"x5"}"#]);
    let expected = r#"{"a":"x5","user_agent":{"name":"x","device":{"name":"Other"},"version":"5","os":{"name":"Other","full":"Other"}}}"#;
    assert_eq!(done, [expected]);
    for (file, message) in [
        ("/bad.yaml", "user_agent_parsers: `(`"),
        ("/less.yaml", "no list `os_parsers`"),
        ("/gone.yaml", "cannot be read"),
    ] {
        let error = compiled_with(&filter(file), &memory, false)
            .0
            .err()
            .unwrap_or_default();
        assert!(error.contains(message), "{error}");
    }
    assert_refused("useragent { }", "needs the option `source`");
    assert_refused(
        "useragent { source => 'a' lru_cache_size => 0 }",
        "must be between 1 and",
    );
}

#[test]
fn tld_of_hosts() {
    let memory = files(&[("/list", "com\nuk\nco.uk\n"), ("/empty", "// nothing\n")]);
    let filter = "tld { source => 'h' suffix_list => '/list' }";
    let pipeline = compiled_with(filter, &memory, false).0.unwrap();
    for (host, expected) in [
        (
            "WWW.shop.Example.co.uk.",
            r#","tld":{"tld":"co.uk","sld":"example","trd":"www.shop","domain":"example.co.uk","subdomain":"www.shop.example.co.uk","top_level_domain":"co.uk"}"#,
        ),
        (
            "example.com",
            r#","tld":{"tld":"com","sld":"example","trd":null,"domain":"example.com","subdomain":null,"top_level_domain":"com"}"#,
        ),
        ("com", ""),
        ("example.org", ""),
        ("http://example.com/", ""),
        ("a..com", ""),
        ("", ""),
    ] {
        let event = format!(r#"{{"h":"{host}"}}"#);
        let done = run_through(&pipeline, &[&event]);
        assert_eq!(done, [format!(r#"{{"h":"{host}"{expected}}}"#)]);
    }
    assert_refused("tld { }", "needs the Public Suffix List");
    let filter = "tld { suffix_list => '/empty' }";
    let error = compiled_with(filter, &memory, false)
        .0
        .err()
        .unwrap_or_default();
    assert!(error.contains("no rule in it"), "{error}");
}

/// Every filter of this file, on whatever stands in `a` and `l`.
fn every_filter() -> Pipeline {
    let mut memory = files(&[("/list", "com\n*.ck\n!www.ck")]);
    memory.0.insert("/city".into(), mmdb::cities());
    let filters = "
        translate { source => 'a' iterate_on => 'a' target => 't1' fallback => '%{a}' exact => false dictionary => { 'a' => 'b' } }
        translate { source => 'a' iterate_on => 'l' target => 't2' dictionary => { '1' => '2' } }
        fingerprint { method => 'MURMUR3_128' source => ['a', 'l'] concatenate_sources => true target => 'f1' }
        fingerprint { method => 'SHA512' source => ['a', 'l'] target => 'f2' }
        fingerprint { method => 'MD5' concatenate_all_fields => true key => 'k' target => 'f3' }
        fingerprint { method => 'PUNCTUATION' source => 'a' target => 'f4' }
        cidr { address_field => 'a' network => ['10.0.0.0/8', '%{a}'] }
        bytes { source => 'a' target => 'b' }
        syslog_pri { syslog_pri_field_name => 'a' }
        throttle { key => '%{a}' period => '%{a}' after_count => 1 }
        dedupe { key => '%{a}' drop => false }
        geoip { source => 'a' database => '/city' }
        useragent { source => 'a' target => 'ua' }
        tld { source => 'a' suffix_list => '/list' target => 'tl' }
        anonymize { fields => ['l'] key => 'k' }
        redact { fields => ['a', 'l'] patterns => { 'x' => '(a*)*\\1b' } }
        de_dot { nested => true recursive => true }
        truncate { length_bytes => 5 }
        prune { interpolate => true whitelist_values => { 'a' => '%{a}' } blacklist_values => { 'l' => '%{a}' } }
    ";
    let (pipeline, said) = compiled_with(filters, &memory, false);
    pipeline.unwrap_or_else(|_| panic!("{said}"))
}

#[test]
fn no_event_makes_a_filter_panic() {
    let pipeline = every_filter();
    let long = format!("\"{}\"", "4111 1111@1.1::[{(".repeat(200));
    let mut values = vec![
        "null",
        "true",
        "-1",
        "1e308",
        "12345678901234567890123",
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"10.0.0.1\"",
        "\"::1\"",
        "\"a.b.ck\"",
        "\"www.ck\"",
        "\"%{a}\"",
        "\"[\"",
        "\"@\"",
        "\"..\"",
        "\"-9223372036854775808\"",
        "[]",
        "{}",
        "[null]",
        "[[],{}]",
        "[{\"a\":1},{\"a\":{\"b\":2}},3]",
        "{\"a.b\":{\".\":[\"x\"]}}",
        "{\"\":\"\"}",
    ];
    values.push(&long);
    let mut scratch = Scratch::default();
    for one in &values {
        for other in &values {
            let event = format!(r#"{{"a":{one},"l":{other},"a.x":1,"tags":["t"]}}"#);
            let done = run_with(&pipeline, &[&event], &mut scratch);
            assert_eq!(done.len(), 1, "{event}");
        }
    }
    // Bytes that are no text.
    let arena = Bump::new();
    for bytes in [
        &b"\xFF\xFE@\xC3.\x80"[..],
        b"\xE2\x82",
        b"4111\xFF1111 1111 1111",
    ] {
        let mut event = Event::with_timestamp_in(NOW, &arena);
        event.fields.set(Name::new("a"), Value::Text(bytes));
        event.fields.set(Name::new("l"), Value::Text(bytes));
        pipeline
            .filters
            .run(event, &arena, NOW, &mut scratch, |_| {});
    }
}

proptest! {
    /// Bytes that look like what the filters search for, and any others.
    #[test]
    fn no_bytes_make_a_filter_panic(
        one in vec(piece(), 0..40),
        other in vec(piece(), 0..40),
    ) {
        static PIPELINE: LazyLock<Pipeline> = LazyLock::new(every_filter);
        let (one, other) = (one.concat(), other.concat());
        let arena = Bump::new();
        let mut event = Event::with_timestamp_in(NOW, &arena);
        event.fields.set(Name::new("a"), Value::copied_text(&one, &arena));
        event.fields.set(Name::new("l"), Value::copied_text(&other, &arena));
        let mut scratch = Scratch::default();
        let mut out = Vec::new();
        PIPELINE.filters.run(event, &arena, NOW, &mut scratch, |event| write_json(&event, &mut out));
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "4111 1111 1111 1111",
        "10.0.0.1",
        "::",
        "fe80:",
        "@",
        ".",
        "a.ck",
        "%{a}",
        "[",
        "(",
        "\\",
        "=\"",
        "password",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "Mozilla/5.0 (",
        "Android",
        "Chrome/1",
        "5 GB",
        "/24",
        "€",
        " ",
        "\n",
        "\"",
        "1",
        "-",
    ];
    prop_oneof![
        4 => select(PIECES).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ]
}
