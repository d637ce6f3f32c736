//! The filter `grok` with each of its options and each quirk of Logstash's that is kept: what one
//! event becomes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use skidder_pipeline::event::{
    Event, JsonLimits, Name, Timestamp, Value, read_json_object, write_json,
};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

/// Files that are not on any disk.
struct Given(BTreeMap<PathBuf, &'static str>);

impl Files for Given {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().to_vec())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.0.keys();
        let files: Vec<PathBuf> = files
            .filter(|path| path.parent() == Some(directory))
            .cloned()
            .collect();
        if files.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(files)
    }
}

fn files() -> Given {
    let files = [
        ("one/a.grok", "# tickets\n  TICKET  #\\d+ \nLEVEL a\n"),
        ("one/b.grok", "LEVEL b\n"),
        ("one/readme.txt", "LEVEL c\nlonely\n"),
        ("one/.hidden.grok", "LEVEL h\n"),
        ("two/c.grok", "LEVEL [de]\nINT none\n"),
    ];
    Given(files.map(|(path, text)| (path.into(), text)).into())
}

fn compiled(options: &str) -> Result<(Pipeline, String), String> {
    let sources = SourceMap::single("test", format!("filter {{ grok {{ {options} }} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let compile_options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &files(),
    };
    let pipeline = compile(&config, &compile_options, &mut diagnostics);
    let findings = diagnostics.render(&sources, false);
    match pipeline {
        Some(pipeline) => Ok((pipeline, findings)),
        None => Err(findings),
    }
}

/// What an event becomes, as JSON, with its metadata if there is any.
fn run(pipeline: &Pipeline, scratch: &mut Scratch, event: &str) -> String {
    let arena = Bump::new();
    let fields = read_json_object(event.as_bytes(), JsonLimits::default(), &arena);
    let mut input = Event::new_in(&arena);
    input.fields = fields.expect("the event is JSON");
    finish(pipeline, scratch, input, &arena)
}

fn finish<'b>(
    pipeline: &'b Pipeline,
    scratch: &mut Scratch,
    event: Event<'b>,
    arena: &'b Bump,
) -> String {
    let mut out = Vec::new();
    pipeline
        .filters
        .run(event, arena, NOW, scratch, |mut event| {
            if !event.metadata.is_empty() {
                let metadata = event.metadata.copy_in(arena);
                let metadata = Value::object(metadata, arena);
                event.fields.set(Name::new("@metadata"), metadata);
            }
            write_json(&event, &mut out);
        });
    String::from_utf8_lossy(&out).into_owned()
}

fn assert_becomes(options: &str, event: &str, expected: &str) {
    let (pipeline, _) = compiled(options).unwrap_or_else(|error| panic!("{error}"));
    let found = run(&pipeline, &mut Scratch::default(), event);
    assert_eq!(found, expected, "{options}");
}

/// The captures of a message, as JSON without the braces.
fn captured(options: &str, message: &str) -> String {
    let (pipeline, _) = compiled(options).unwrap_or_else(|error| panic!("{error}"));
    let event = serde_json::json!({ "message": message }).to_string();
    let found = run(&pipeline, &mut Scratch::default(), &event);
    let start = event.trim_end_matches('}');
    let rest = found.strip_prefix(start).expect("the message is as it was");
    let rest = rest.strip_suffix('}').expect("an object");
    rest.trim_start_matches(',').to_owned()
}

fn matching(expression: &str, message: &str) -> String {
    captured(
        &format!("match => {{ \"message\" => '{expression}' }}"),
        message,
    )
}

#[test]
fn break_on_match_stops_at_the_first_pattern_of_the_first_field() {
    let matches = r#"match => { "a" => ["(?<one>x)", "(?<two>.)"] "b" => "(?<three>.)" }"#;
    for (event, expected) in [
        (r#"{"a":"x","b":"y"}"#, r#"{"a":"x","b":"y","one":"x"}"#),
        (r#"{"a":"z","b":"y"}"#, r#"{"a":"z","b":"y","two":"z"}"#),
        (r#"{"a":"","b":"y"}"#, r#"{"a":"","b":"y","three":"y"}"#),
        (
            r#"{"a":"","b":""}"#,
            r#"{"a":"","b":"","tags":["_grokparsefailure"]}"#,
        ),
    ] {
        assert_becomes(matches, event, expected);
    }
}

#[test]
fn without_break_on_match_all_patterns_of_all_fields_are_tried() {
    let matches = r#"break_on_match => false
        match => { "a" => ["(?<one>x)", "(?<two>.)"] "b" => "(?<three>y)" }"#;
    for (event, expected) in [
        (
            r#"{"a":"x","b":"y"}"#,
            r#"{"a":"x","b":"y","one":"x","two":"x","three":"y"}"#,
        ),
        // One that matches is enough.
        (
            r#"{"a":"x","b":"-"}"#,
            r#"{"a":"x","b":"-","one":"x","two":"x"}"#,
        ),
        (r#"{"a":"","b":"y"}"#, r#"{"a":"","b":"y","three":"y"}"#),
        (
            r#"{"a":"","b":"-"}"#,
            r#"{"a":"","b":"-","tags":["_grokparsefailure"]}"#,
        ),
    ] {
        assert_becomes(matches, event, expected);
    }
    // What is captured twice is collected.
    let both = r#"break_on_match => false match => { "message" => ["^(?<w>.)", "(?<w>.)$"] }"#;
    assert_eq!(captured(both, "ab"), r#""w":["a","b"]"#);
    // The last of the list need not match.
    let first =
        r#"break_on_match => false match => { "message" => ["(?<w>a)", "b"] } add_tag => "ok""#;
    assert_eq!(captured(first, "a"), r#""w":"a","tags":["ok"]"#);
}

#[test]
fn one_worker_keeps_its_automata_from_event_to_event() {
    let options = r#"break_on_match => false match => { "message" => ["%{IP:ip}", "%{WORD:w}$"] }"#;
    let (pipeline, _) = compiled(options).expect("it is fine");
    let mut scratch = Scratch::default();
    for _ in 0..3 {
        assert_eq!(
            run(&pipeline, &mut scratch, r#"{"message":"10.0.0.1 up"}"#),
            r#"{"message":"10.0.0.1 up","ip":"10.0.0.1","w":"up"}"#
        );
        assert_eq!(
            run(&pipeline, &mut scratch, r#"{"message":"?"}"#),
            r#"{"message":"?","tags":["_grokparsefailure"]}"#
        );
    }
}

#[test]
fn named_captures_only() {
    let expression = r#"match => { "message" => "%{WORD} %{INT:n} (x)" }"#;
    assert_eq!(captured(expression, "a 1 x"), r#""n":"1""#);
    let all = format!("{expression} named_captures_only => false");
    assert_eq!(captured(&all, "a 1 x"), r#""WORD":"a","n":"1""#);
    // Those within are captured, too.
    let nested = r#"match => { "message" => "%{NUMBER:n}" } named_captures_only => false"#;
    assert_eq!(captured(nested, "1.5"), r#""n":"1.5","BASE10NUM":"1.5""#);
}

#[test]
fn empty_captures() {
    let options = r#"match => { "message" => "(?<a>x*)(?<b>y)?(?<c>z)%{INT:n:int}?" }"#;
    assert_eq!(captured(options, "z"), r#""c":"z""#);
    let keep = format!("{options} keep_empty_captures => true");
    // A group that took no part is null, and becomes 0 if it is to be a number only if it did.
    assert_eq!(captured(&keep, "z"), r#""a":"","b":null,"c":"z","n":null"#);
}

#[test]
fn overwrite_sets_and_the_last_capture_counts() {
    let options = r#"match => { "message" => "(?<message>.) (?<message>.) (?<other>.)" }"#;
    assert_becomes(
        options,
        r#"{"message":"a b c","other":"o"}"#,
        r#"{"message":["a b c","a","b"],"other":["o","c"]}"#,
    );
    assert_becomes(
        &format!(r#"{options} overwrite => ["message", "other"]"#),
        r#"{"message":"a b c","other":["o"]}"#,
        r#"{"message":"b","other":"c"}"#,
    );
    // An empty capture overwrites nothing, unless it is kept.
    let empty = r#"match => { "message" => "x(?<message>.*)" } overwrite => "message""#;
    assert_becomes(empty, r#"{"message":"x"}"#, r#"{"message":"x"}"#);
    assert_becomes(
        &format!("{empty} keep_empty_captures => true"),
        r#"{"message":"x"}"#,
        r#"{"message":""}"#,
    );
    // A nested field by its reference, one of any kind.
    assert_becomes(
        r#"match => { "message" => "(?<[a][b]>.)" } overwrite => "[a][b]""#,
        r#"{"message":"x","a":{"b":{"c":1}}}"#,
        r#"{"message":"x","a":{"b":"x"}}"#,
    );
}

#[test]
fn what_is_there_already() {
    for (there, expected) in [
        (r#""t""#, r#"["t","x"]"#),
        (r#"["t",1]"#, r#"["t",1,"x"]"#),
        ("null", r#""x""#),
        ("5", "5"),
        ("true", "true"),
        (r#"{"c":1}"#, r#"{"c":1}"#),
    ] {
        assert_becomes(
            r#"match => { "message" => "(?<f>.)" }"#,
            &format!(r#"{{"message":"x","f":{there}}}"#),
            &format!(r#"{{"message":"x","f":{expected}}}"#),
        );
    }
    // A text in the way of a nested field gives way to it.
    assert_becomes(
        r#"match => { "message" => "(?<[host][name]>.)" }"#,
        r#"{"message":"x","host":"h"}"#,
        r#"{"message":"x","host":{"name":"x"}}"#,
    );
}

#[test]
fn repeated_names() {
    assert_eq!(
        matching("%{WORD:w} %{WORD:w} %{WORD:w}", "a b c"),
        r#""w":["a","b","c"]"#
    );
    // After a number nothing is added.
    assert_eq!(matching("%{INT:n:int} %{INT:n:int}", "12 34"), r#""n":12"#);
    assert_eq!(matching("%{INT:n:float} %{INT:n}", "12 34"), r#""n":12.0"#);
    // Before it, it is.
    assert_eq!(
        matching("%{WORD:n} %{INT:n:int}", "a 34"),
        r#""n":["a",34]"#
    );
    // Those that are written the same are stored together.
    assert_eq!(
        matching("%{WORD:w} %{INT:w} %{WORD:w}", "a 1 c"),
        r#""w":["a","c","1"]"#
    );
    // And only the first of them is coerced, which overwriting shows.
    let options = r#"match => { "message" => "%{INT:n:int} %{INT:n:int}" } overwrite => "n""#;
    assert_eq!(captured(options, "12 34"), r#""n":"34""#);
    // Branches that took no part leave nothing.
    assert_eq!(matching("(?:a%{INT:n}|b%{INT:n})", "b7"), r#""n":"7""#);
}

#[test]
fn coercions() {
    for (expression, message, expected) in [
        ("%{NUMBER:n:int}", "12.7", "12"),
        ("%{NUMBER:n:float}", "12", "12.0"),
        ("%{NUMBER:n:float}", "-1.25", "-1.25"),
        ("%{DATA:n:int}$", "0x1F", "0"),
        ("%{DATA:n:int}$", "abc", "0"),
        ("%{DATA:n:float}$", "1e3x", "1000.0"),
        ("%{NUMBER:n:string}", "5", r#""5""#),
        ("%{NUMBER:n:integer}", "5", r#""5""#),
        (
            "%{INT:n:int}",
            "99999999999999999999",
            "9223372036854775807",
        ),
    ] {
        let expected = format!(r#""n":{expected}"#);
        assert_eq!(matching(expression, message), expected, "{expression}");
    }
}

#[test]
fn names_as_logstash_reads_them() {
    for (expression, expected) in [
        // Ruby's notation knows no type: the field is what stands last.
        (r"(?<n:int>\d+)", r#""int":"5""#),
        ("%{WORD-X:n}", ""),
        ("%{WORD:n m}", r#""n":"5""#),
        ("%{WORD:a.b}", r#""a.b":"5""#),
        ("%{WORD:[a][b]}", r#""a":{"b":"5"}"#),
        ("%{WORD:a-b_c@d}", r#""a-b_c@d":"5""#),
        (r"%{OWN:n=\d}", r#""n":"5""#),
        (r"%{OWN:n:int=\d}", r#""n":5"#),
        (r"(?:%{OWN=\d}x|%{OWN:n})", r#""n":"5""#),
    ] {
        assert_eq!(matching(expression, "5"), expected, "{expression}");
    }
}

#[test]
fn pattern_files_and_definitions() {
    let level = |directories: &str, more: &str| {
        let options = format!(
            r#"match => {{ "message" => "^%{{LEVEL:l}}$" }} patterns_dir => [{directories}] {more}"#
        );
        ["a", "b", "c", "d", "f", "h"]
            .into_iter()
            .filter(|message| captured(&options, message).starts_with("\"l\""))
            .collect::<String>()
    };
    // Of several definitions the last counts: by file, by directory, the filter's own at the end.
    assert_eq!(level(r#""one""#, ""), "c");
    assert_eq!(level(r#""one""#, r#"patterns_files_glob => "*.grok""#), "b");
    assert_eq!(level(r#""one""#, r#"patterns_files_glob => "?.gr*""#), "b");
    assert_eq!(level(r#""one", "two""#, ""), "d");
    assert_eq!(level(r#""two", "one/a.grok""#, ""), "a");
    assert_eq!(
        level(r#""one/*.grok""#, r#"patterns_files_glob => "none""#),
        "b"
    );
    assert_eq!(level(r#""one/.hidden.grok""#, ""), "h");
    let own = r#"pattern_definitions => { "LEVEL" => "f" }"#;
    assert_eq!(level(r#""one", "two""#, own), "f");
    // White space around an expression is no part of it.
    let ticket = r#"match => { "message" => "^%{TICKET:t}$" } patterns_dir => "one""#;
    assert_eq!(captured(ticket, "#12"), r##""t":"#12""##);
    // A standard pattern is replaced, in other standard patterns too.
    let standard = r#"match => { "message" => "^%{INT:i}$" } patterns_dir => "two""#;
    assert_eq!(captured(standard, "none"), r#""i":"none""#);
    // What is not there is warned of, and only missed if it is needed.
    let (_, findings) = compiled(r#"match => { "message" => "x" } patterns_dir => "three""#)
        .expect("no pattern of it is used");
    assert!(findings.contains("no such directory or file"), "{findings}");
    let (_, findings) = compiled(r#"match => { "message" => "x" } patterns_dir => "one""#)
        .expect("a line without an expression is no error");
    assert!(
        findings.contains("one/readme.txt:2: `lonely`"),
        "{findings}"
    );
}

#[test]
fn tags_on_failure() {
    let options = r#"match => { "message" => "x" } add_tag => "found" add_field => { "f" => "v" } remove_field => "message""#;
    assert_becomes(
        options,
        r#"{"message":"x"}"#,
        r#"{"f":"v","tags":["found"]}"#,
    );
    assert_becomes(
        options,
        r#"{"message":"y","tags":["_grokparsefailure","a"]}"#,
        r#"{"message":"y","tags":["_grokparsefailure","a"]}"#,
    );
    assert_becomes(
        &format!(r#"{options} tag_on_failure => ["a", "b"]"#),
        r#"{"message":"y","tags":["b"]}"#,
        r#"{"message":"y","tags":["b","a"]}"#,
    );
    assert_becomes(
        &format!("{options} tag_on_failure => []"),
        r#"{"message":"y"}"#,
        r#"{"message":"y"}"#,
    );
    // Without anything to match with nothing matches.
    assert_becomes(
        "",
        r#"{"message":"y"}"#,
        r#"{"message":"y","tags":["_grokparsefailure"]}"#,
    );
}

/// A pattern that takes steps without end on [`SLOW_TEXT`].
const SLOW: &str = r"^(?:(x+x+)+)\1y";
const SLOW_TEXT: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxzy";

#[test]
fn timeouts() {
    let options =
        format!(r#"match => {{ "message" => ["{SLOW}", "(?<z>z)"] }} timeout_millis => 1"#);
    // The patterns behind are not tried.
    assert_eq!(captured(&options, SLOW_TEXT), r#""tags":["_groktimeout"]"#);
    let named =
        format!(r#"{options} tag_on_timeout => "slow" tag_on_failure => "f" add_tag => "g""#);
    assert_eq!(captured(&named, SLOW_TEXT), r#""tags":["slow"]"#);
    assert_eq!(captured(&named, "z"), r#""z":"z","tags":["g"]"#);
    // 0 keeps the default bound.
    let zero = options.replace("=> 1", "=> 0");
    assert_eq!(captured(&zero, SLOW_TEXT), r#""tags":["_groktimeout"]"#);
    // What was captured before stays.
    let all = format!(
        r#"match => {{ "message" => ["(?<z>z)", "{SLOW}"] }} timeout_millis => 1 break_on_match => false"#
    );
    assert_eq!(
        captured(&all, SLOW_TEXT),
        r#""z":"z","tags":["_groktimeout"]"#
    );
}

#[test]
fn timeout_scope_shares_the_budget_over_the_patterns_of_an_event() {
    // Each pattern fails after a bit more than half of the budget.
    let text = "xxxxxxxxxxxxxxxxzy";
    let pattern = r"^(?:(x+x+)+)\1y";
    let tried = |count: usize, steps: &str| {
        let list = vec![format!("\"{pattern}\""); count].join(", ");
        let options = format!(r#"match => {{ "message" => [{list}] }} {steps}"#);
        captured(&options, text)
    };
    let failed = r#""tags":["_grokparsefailure"]"#;
    let slow = r#""tags":["_groktimeout"]"#;
    // The least number of milliseconds that suffices for one pattern.
    let enough = (1..2000)
        .find(|millis| tried(1, &format!("timeout_millis => {millis}")) == failed)
        .expect("it ends");
    let each = format!("timeout_millis => {}", enough * 2 - 1);
    assert_eq!(tried(4, &each), failed);
    assert_eq!(
        tried(4, &format!("{each} timeout_scope => pattern")),
        failed
    );
    assert_eq!(tried(1, &format!("{each} timeout_scope => event")), failed);
    assert_eq!(tried(4, &format!("{each} timeout_scope => event")), slow);
    // Each event has the whole budget.
    let list = format!("[\"{pattern}\"]");
    let options = format!(
        r#"match => {{ "message" => {list} "other" => "(?<o>o)" }} {each} timeout_scope => event"#
    );
    let (pipeline, _) = compiled(&options).expect("it is fine");
    let mut scratch = Scratch::default();
    let event = format!(r#"{{"message":"{text}","other":"o"}}"#);
    for _ in 0..4 {
        let found = run(&pipeline, &mut scratch, &event);
        assert!(found.ends_with(r#""other":"o","o":"o"}"#), "{found}");
    }
}

#[test]
fn target() {
    let matches = r#"match => { "message" => "(?<a>.)(?<[b][c]>.)" }"#;
    assert_becomes(
        &format!(r#"{matches} target => "t""#),
        r#"{"message":"xy","a":"stays"}"#,
        r#"{"message":"xy","a":"stays","t":{"a":"x","b":{"c":"y"}}}"#,
    );
    assert_becomes(
        &format!(r#"{matches} target => "[t][u]" overwrite => "a""#),
        r#"{"message":"xy","t":{"u":{"a":"old","b":{"c":"old"}}}}"#,
        r#"{"message":"xy","t":{"u":{"a":"x","b":{"c":["old","y"]}}}}"#,
    );
    assert_becomes(
        &format!(r#"{matches} target => "[@metadata][t]""#),
        r#"{"message":"xy"}"#,
        r#"{"message":"xy","@metadata":{"t":{"a":"x","b":{"c":"y"}}}}"#,
    );
    assert_becomes(
        r#"match => { "message" => "(?<[@metadata][a]>.)" }"#,
        r#"{"message":"xy"}"#,
        r#"{"message":"xy","@metadata":{"a":"x"}}"#,
    );
}

#[test]
fn fields_of_any_kind() {
    let matches = r#"match => { "f" => "^%{GREEDYDATA:all}$" }"#;
    // A missing field is an empty text, which some patterns match.
    assert_becomes(matches, "{}", "{}");
    assert_becomes(matches, r#"{"f":null}"#, r#"{"f":null}"#);
    for (value, text) in [("5", "5"), ("1.5", "1.5"), ("true", "true")] {
        assert_becomes(
            matches,
            &format!(r#"{{"f":{value}}}"#),
            &format!(r#"{{"f":{value},"all":"{text}"}}"#),
        );
    }
    // Each element of an array is tried, whatever `break_on_match` says.
    let number = r#"match => { "f" => "%{INT:n}" }"#;
    assert_becomes(
        number,
        r#"{"f":["a 1","b",2]}"#,
        r#"{"f":["a 1","b",2],"n":["1","2"]}"#,
    );
    let failed = r#"{"f":["a"],"tags":["_grokparsefailure"]}"#;
    assert_becomes(number, r#"{"f":["a"]}"#, failed);
    assert_becomes(
        number,
        r#"{"f":[]}"#,
        r#"{"f":[],"tags":["_grokparsefailure"]}"#,
    );
    // A nested field.
    let nested = r#"match => { "[a][0][b]" => "%{INT:n}" }"#;
    assert_becomes(
        nested,
        r#"{"a":[{"b":"7"}]}"#,
        r#"{"a":[{"b":"7"}],"n":"7"}"#,
    );
}

#[test]
fn ecs_compatibility() {
    for (mode, expected) in [
        ("disabled", r#""clientip":"10.0.0.1""#),
        ("v1", r#""source":{"address":"10.0.0.1"}"#),
        ("v8", r#""source":{"address":"10.0.0.1"}"#),
    ] {
        let options = format!(
            r#"match => {{ "message" => "%{{COMMONAPACHELOG}}" }} ecs_compatibility => {mode}"#
        );
        let message = r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 5"#;
        let found = captured(&options, message);
        assert!(found.contains(expected), "{mode}: {found}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let options = r#"match => { "message" => "^%{WORD:w} (?<rest>[^|]+)\|%{GREEDYDATA:g}$" }"#;
    let (pipeline, _) = compiled(options).expect("it is fine");
    let arena = Bump::new();
    let mut event = Event::new_in(&arena);
    let line = b"abc \xff\xfe\x80 x\xc3|\xe2\x82";
    event
        .fields
        .push_new(Name::new("message"), Value::Text(line));
    let mut rest = Vec::new();
    pipeline
        .filters
        .run(event, &arena, NOW, &mut Scratch::default(), |event| {
            for name in ["rest", "g"] {
                let value = event.fields.get(&Name::new(name));
                rest.push(value.and_then(Value::as_text).unwrap_or_default().to_vec());
            }
        });
    assert_eq!(rest, [&b"\xff\xfe\x80 x\xc3"[..], b"\xe2\x82"]);
}

#[test]
fn mistakes_are_refused() {
    for (options, message) in [
        (r#"match => "x""#, "must be a hash"),
        (r#"match => { "a" => "%{NOPE}" }"#, "`NOPE` is not defined"),
        (r#"match => { "a" => ["x", "(y"] }"#, "test:1:43"),
        (r#"match => { "[a" => "x" }"#, "brackets"),
        (r"timeout_millis => -1", "0 or more"),
        (r#"timeout_scope => "line""#, "`pattern`, `event`"),
    ] {
        let error = compiled(options).err().unwrap_or_default();
        assert!(error.contains(message), "{options}: {error}");
    }
}

/// Several grok filters are compiled ahead and together; each is what it would be alone.
#[test]
fn many_filters_are_each_what_they_are_alone() {
    let greeting = |pattern: &str| format!(r#"match => {{ "message" => "{pattern}" }}"#);
    let options = [
        greeting("^%{WORD:a} %{INT:n:int}"),
        greeting("^%{WORD:a} %{INT:n:int}"),
        format!(
            r#"{} pattern_definitions => {{ "CODE" => "[a-z]{{2}}" }}"#,
            greeting("%{CODE:c}")
        ),
        format!(
            r#"{} pattern_definitions => {{ "CODE" => "[0-9]" }}"#,
            greeting("%{CODE:c}")
        ),
        format!("{} named_captures_only => false", greeting("%{INT}")),
        format!(
            "{} ecs_compatibility => v8",
            greeting("%{NONNEGINT:[x][y]:int}")
        ),
        r#"patterns_dir => ["one"] patterns_files_glob => "*.grok" match => { "message" => "%{LEVEL:l}" }"#.to_owned(),
    ];
    let event = r#"{"message":"ab 12"}"#;
    let result = |filters: &str| {
        let sources = SourceMap::single("test", format!("filter {{ {filters} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let compile_options = CompileOptions {
            ecs: false,
            escape_style: EscapeStyle::None,
            files: &files(),
        };
        match compile(&config, &compile_options, &mut diagnostics) {
            Some(pipeline) => run(&pipeline, &mut Scratch::default(), event),
            None => diagnostics.render(&sources, false),
        }
    };
    // One after the other: what one leaves is what the next one gets.
    let filters = options.iter().map(|each| format!("grok {{ {each} }}\n"));
    let all = filters.collect::<Vec<_>>().concat();
    let expected = r#"{"message":"ab 12","a":["ab","ab"],"n":12,"c":["ab","1"],"INT":"12","x":{"y":12},"l":"b"}"#;
    assert_eq!(result(&all), expected);
    // A filter that is wrong is reported as it is alone.
    let wrong = format!("{all} grok {{ {} }}", greeting("%{NOSUCH:x}"));
    assert!(result(&wrong).contains("the pattern `NOSUCH` is not defined"));
}
