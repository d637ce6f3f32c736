//! The filters as a configuration has them: what one event becomes.

use bumpalo::Bump;
use skidder_pipeline::event::{Event, JsonLimits, Timestamp, read_json_object, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, NoFiles, Pipeline, compile};

/// 2024-06-15T12:00:00Z.
const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

fn compiled(filters: &str) -> Result<Pipeline, String> {
    let sources = SourceMap::single("test", format!("filter {{ {filters} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &NoFiles,
    };
    compile(&config, &options, &mut diagnostics).ok_or_else(|| diagnostics.render(&sources, false))
}

/// The events that one becomes, as JSON, each on a line.
fn run(filters: &str, event: &str) -> String {
    let pipeline = compiled(filters).unwrap_or_else(|error| panic!("{error}"));
    let arena = Bump::new();
    let fields = read_json_object(event.as_bytes(), JsonLimits::default(), &arena);
    let mut input = Event::new_in(&arena);
    input.fields = fields.expect("the event is JSON");
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    pipeline
        .filters
        .run(input, &arena, NOW, &mut scratch, |event| {
            write_json(&event, &mut out);
            out.push(b'\n');
        });
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn assert_becomes(filters: &str, event: &str, expected: &str) {
    assert_eq!(run(filters, event).trim_end(), expected, "{filters}");
}

fn assert_refused(filters: &str, message: &str) {
    let error = compiled(filters).err().unwrap_or_default();
    assert!(error.contains(message), "{filters}: {error}");
}

#[test]
fn date_reads_times() {
    for (options, event, expected) in [
        (
            r#"match => ["t", "dd/MMM/yyyy:HH:mm:ss Z"] remove_field => "t""#,
            r#"{"t":"25/Mar/2013:20:33:56 +0100"}"#,
            r#"{"@timestamp":"2013-03-25T19:33:56.000Z"}"#,
        ),
        (
            r#"match => ["t", "UNIX", "ISO8601"] target => "[a][b]""#,
            r#"{"t":"2013-03-25T19:33:56.5Z"}"#,
            r#"{"t":"2013-03-25T19:33:56.5Z","a":{"b":"2013-03-25T19:33:56.500Z"}}"#,
        ),
        (
            r#"match => ["t", "MMM d HH:mm"] timezone => "%{z}" target => "t""#,
            r#"{"t":"Jun 1 10:00","z":"Europe/Paris"}"#,
            r#"{"t":"2024-06-01T08:00:00.000Z","z":"Europe/Paris"}"#,
        ),
        // Without the field of the zone only formats that need none are left.
        (
            r#"match => ["t", "HH", "UNIX"] timezone => "%{z}" target => "t""#,
            r#"{"t":"10"}"#,
            r#"{"t":"1970-01-01T00:00:10.000Z"}"#,
        ),
        (
            r#"match => ["t", "d MMMM yyyy"] locale => "de_DE" timezone => "UTC" target => "t""#,
            r#"{"t":"1 MÄRZ 2020"}"#,
            r#"{"t":"2020-03-01T00:00:00.000Z"}"#,
        ),
    ] {
        assert_becomes(&format!("date {{ {options} }}"), event, expected);
    }
}

#[test]
fn date_tags_what_it_cannot_read_and_leaves_the_rest() {
    let filter = r#"date { match => ["t", "yyyy"] add_tag => "read" }"#;
    assert_becomes(filter, r#"{"t":null}"#, r#"{"t":null}"#);
    assert_becomes(filter, "{}", "{}");
    for value in [r#""x""#, "true", "2013", r#"["2013"]"#, r#"{"a":1}"#] {
        assert_becomes(
            filter,
            &format!(r#"{{"t":{value}}}"#),
            &format!(r#"{{"t":{value},"tags":["_dateparsefailure"]}}"#),
        );
    }
    assert_becomes(
        r#"date { match => ["t", "yyyy"] tag_on_failure => ["a", "b"] }"#,
        r#"{"t":"x","tags":"b"}"#,
        r#"{"t":"x","tags":["b","a"]}"#,
    );
}

#[test]
fn common_options() {
    for (options, event, expected) in [
        (
            r#"add_field => { "a" => "2" "f_%{n}" => ["x%{a}", "y"] }"#,
            r#"{"a":"1","n":"z"}"#,
            r#"{"a":["1","2"],"n":"z","f_z":["x1,2","y"]}"#,
        ),
        (
            r#"add_field => { "o" => "z" "n" => "z" }"#,
            r#"{"o":{"r":"1"},"n":null}"#,
            r#"{"o":[["r","1"],"z"],"n":["z"]}"#,
        ),
        // Neither a reference that is none nor a time that is none does harm.
        (
            r#"add_field => { "%{n}" => "x" "@timestamp" => "x" }"#,
            r#"{"n":"a[b]","@timestamp":1}"#,
            r#"{"n":"a[b]","@timestamp":1}"#,
        ),
        (
            r#"remove_field => ["a", "[b][c]", "%{n}", "missing"]"#,
            r#"{"a":1,"b":{"c":1,"d":2},"n":"x","x":1}"#,
            r#"{"b":{"d":2},"n":"x"}"#,
        ),
        (
            r#"add_tag => ["a", "b%{n}"] remove_tag => ["c", "b%{n}"]"#,
            r#"{"n":1,"tags":["c","d"]}"#,
            r#"{"n":1,"tags":["d","a"]}"#,
        ),
        (r#"remove_tag => "a""#, r#"{"tags":"a"}"#, r#"{"tags":[]}"#),
        (r#"remove_tag => "a""#, "{}", "{}"),
    ] {
        assert_becomes(&format!("mutate {{ {options} }}"), event, expected);
    }
}

#[test]
fn common_options_need_success() {
    let filter =
        r#"mutate { convert => { "a" => "integer" } add_tag => "done" remove_field => "a" }"#;
    assert_becomes(
        filter,
        r#"{"a":"x"}"#,
        r#"{"a":"x","tags":["_mutate_error"]}"#,
    );
    assert_becomes(filter, r#"{"a":"1"}"#, r#"{"tags":["done"]}"#);
}

#[test]
fn drop_drops() {
    let filter = "if [a] { drop { } }";
    assert_becomes(filter, r#"{"a":1}"#, "");
    assert_becomes(filter, r#"{"b":1}"#, r#"{"b":1}"#);
    assert_becomes("drop { percentage => 0 }", r#"{"a":1}"#, r#"{"a":1}"#);
}

#[test]
fn mistakes_are_named() {
    for (filter, message) in [
        ("date { }", "needs the option `match`"),
        (r#"date { match => ["t"] }"#, "a field and then one format"),
        (r#"date { match => ["t", "yyyyTHH"] }"#, "`'T'`"),
        (
            r#"date { match => ["t", "yyyy"] timezone => "Mars/X" }"#,
            "no time zone `Mars/X`",
        ),
        (
            r#"date { match => ["t", "MMM"] locale => "tlh" }"#,
            "known are en, de",
        ),
        (
            r#"date { match => ["t", "zzzz"] }"#,
            "can be printed but not read",
        ),
        (
            r#"date { match => ["t", "yyyy"] target => "[@metadata]" }"#,
            "must be a field",
        ),
        ("drop { percentage => 101 }", "between 0 and 100"),
        (
            r#"mutate { add_field => { "a" => "%{{oops}}" } }"#,
            "`add_field`",
        ),
        (r#"mutate { add_tags => "x" }"#, "did you mean `add_tag`"),
    ] {
        assert_refused(filter, message);
    }
    // A language without names to read makes no difference.
    assert!(compiled(r#"date { match => ["t", "yyyy"] locale => "tlh" }"#).is_ok());
}
