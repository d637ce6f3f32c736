//! The filter `kv`, beyond the conformance cases.

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use support::events::{assert_becomes, assert_refused, compiled, run_bytes};

fn assert_pairs(options: &str, message: &str, expected: &str) {
    let message = serde_json::to_string(message).expect("a text is JSON");
    assert_becomes(
        &format!(r#"kv {{ {options} remove_field => "message" }}"#),
        &format!(r#"{{"message":{message}}}"#),
        expected,
    );
}

#[test]
fn pairs_are_found() {
    for (options, message, expected) in [
        (
            "",
            "a=1 b = 2  c='x y' d=(p q) e=",
            r#"{"a":"1","b":"2","c":"x y","d":"p q"}"#,
        ),
        // Quotes that do not make up the whole value are a part of it.
        ("", r#"a="x"y b="z"#, r#"{"a":"\"x\"y","b":"\"z"}"#),
        ("", r#"a="x\"y" b="" c=1"#, r#"{"a":"x\\\"y","c":"1"}"#),
        ("", "a=1\nb=2", r#"{"a":"1\nb=2"}"#),
        // The first sign ends the key, the others belong to the value.
        (
            "",
            "url=http://x/?q=1&r=2",
            r#"{"url":"http://x/?q=1&r=2"}"#,
        ),
        (
            r#"field_split => "&?""#,
            "/p?q=1&r=2&q=3",
            r#"{"q":["1","3"],"r":"2"}"#,
        ),
        (
            r#"field_split => "," value_split => ":""#,
            "a : 1 , b:2",
            r#"{"a ":"1 "," b":"2"}"#,
        ),
        ("allow_empty_values => true", "a= b=1", r#"{"a":"b=1"}"#),
        (
            "allow_empty_values => true whitespace => strict",
            "a= b=1 c =2",
            r#"{"a":"","b":"1"}"#,
        ),
        (
            "allow_duplicate_values => false",
            "a=x a=x a=y",
            r#"{"a":["x","y"]}"#,
        ),
        (
            "include_brackets => false",
            "a=[x] b=(y z)",
            r#"{"a":"[x]","b":"(y"}"#,
        ),
        (
            r#"default_keys => { "a" => "0" "n" => 5 "f" => 1.5 }"#,
            "a=1",
            r#"{"a":"1","n":5,"f":1.5}"#,
        ),
        (
            r#"trim_key => "<>" trim_value => "," remove_char_key => "-" remove_char_value => "$" transform_key => "uppercase" prefix => "p_""#,
            "<a-b>=$1,",
            r#"{"p_AB":"1"}"#,
        ),
        // Sets that no table holds, and lines that anchors see.
        (r#"trim_value => "é""#, "a=éxé", r#"{"a":"x"}"#),
        (r#"remove_char_value => "^0-9""#, "a=x1y2", r#"{"a":"12"}"#),
        (
            r#"field_split => "," trim_value => "_""#,
            "a=_x_\n_y_",
            r#"{"a":"x\ny"}"#,
        ),
        (
            r#"field_split_pattern => "\|\|" value_split_pattern => "=>?""#,
            "a=>1||b=2|3||c='x||y'||d",
            r#"{"a":"1","b":"2|3","c":"x||y"}"#,
        ),
        // Every character may begin a key, also inside of what looks like a splitter.
        (r#"field_split_pattern => "__""#, "x__a=1", r#"{"_a":"1"}"#),
    ] {
        assert_pairs(options, message, expected);
    }
}

#[test]
fn pairs_within_pairs() {
    assert_pairs(
        "recursive => true",
        "a=(b=1 c=2) d=x",
        r#"{"a":{"b":"1","c":"2"},"d":"x"}"#,
    );
    // As deep as is allowed, then text.
    let deep = "a=".repeat(40);
    let message = serde_json::to_string(&format!("{deep}b")).unwrap();
    let out = support::events::run(
        "kv { recursive => true }",
        &[&format!(r#"{{"message":{message}}}"#)],
    );
    assert_eq!(
        out.matches("{\"a\":").count(),
        skidder_pipeline::filter::kv::MAX_DEPTH,
        "{out}"
    );
}

#[test]
fn sources_and_targets() {
    for (options, event, expected) in [
        (
            r#"source => "[s][t]" target => "[x][y]""#,
            r#"{"s":{"t":"a=1"}}"#,
            r#"{"s":{"t":"a=1"},"x":{"y":{"a":"1"}}}"#,
        ),
        (
            r#"source => "s""#,
            r#"{"s":["a=1","a=2"]}"#,
            r#"{"s":["a=1","a=2"],"a":["1","2"]}"#,
        ),
        (
            r#"source => "s""#,
            r#"{"s":["a=1",2]}"#,
            r#"{"s":["a=1",2],"tags":["_kv_filter_error"]}"#,
        ),
        (r#"source => "s""#, r#"{"s":5}"#, r#"{"s":5}"#),
        (
            "",
            r#"{"message":"[a][b]=1"}"#,
            r#"{"message":"[a][b]=1","a":{"b":"1"}}"#,
        ),
        (
            r#"tag_on_failure => ["bad"]"#,
            r#"{"message":"a[b]=1"}"#,
            r#"{"message":"a[b]=1","tags":["bad"]}"#,
        ),
        (
            "",
            r#"{"message":"@timestamp=now"}"#,
            r#"{"message":"@timestamp=now","tags":["_kv_filter_error"]}"#,
        ),
        (
            r#"exclude_keys => ["b", "%{skip}"]"#,
            r#"{"message":"a=1 b=2 c=3","skip":"c"}"#,
            r#"{"message":"a=1 b=2 c=3","skip":"c","a":"1"}"#,
        ),
    ] {
        assert_becomes(&format!("kv {{ {options} }}"), event, expected);
    }
}

#[test]
fn fields_are_bounded() {
    assert_pairs("max_fields => 2", "a=1 b=2", r#"{"a":"1","b":"2"}"#);
    assert_becomes(
        "kv { max_fields => 2 }",
        r#"{"message":"a=1 b=2 c=3"}"#,
        r#"{"message":"a=1 b=2 c=3","tags":["_kv_filter_error"]}"#,
    );
}

#[test]
fn patterns_that_take_too_long_give_up() {
    let filter = r#"kv { value_split_pattern => "(?:(x+x+)+)\1y" tag_on_timeout => "slow" timeout_millis => 10 }"#;
    let message = format!(r#"{{"message":"a{}z"}}"#, "x".repeat(60));
    let out = support::events::run(filter, &[&message]);
    assert!(out.contains(r#""tags":["slow"]"#), "{out}");
}

#[test]
fn mistakes_are_named() {
    for (options, message) in [
        (r#"field_split => """#, "must not be empty"),
        (r#"field_split => "^,""#, "must not start with `^`"),
        (r#"value_split_pattern => """#, "must not be empty"),
        (
            r#"value_split_pattern => "(""#,
            "makes no regular expression",
        ),
        (r#"trim_key => "z-a""#, "makes no regular expression"),
        ("whitespace => lenent", "did you mean `lenient`"),
        ("transform_key => upper", "one of `lowercase`"),
        ("max_fields => 0", "out of bounds"),
        (r#"prefx => "a""#, "did you mean `prefix`"),
    ] {
        assert_refused(&format!("kv {{ {options} }}"), message);
    }
}

/// Lines that would make a search from every place take time by the square of their length.
#[test]
fn hostile_lines_take_linear_time() {
    const LENGTH: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(10);
    for options in [
        "",
        "recursive => true",
        r#"field_split => "," allow_duplicate_values => false"#,
        r#"field_split_pattern => "\s+" value_split_pattern => ":=?""#,
    ] {
        let (pipeline, _) = compiled(&format!("kv {{ {options} }}")).unwrap();
        for piece in [
            "a=(b ", "a=b ", "a b", "a\\=b", "=", "\\", "a=\"b", "a= ", "  ", "a:=(", "=\"x\" ",
        ] {
            let message = piece.repeat(LENGTH / piece.len());
            let start = Instant::now();
            assert_eq!(run_bytes(&pipeline, message.as_bytes()), 1);
            assert!(
                start.elapsed() < PATIENCE,
                "{options} {piece}: {:?}",
                start.elapsed()
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(message in prop::collection::vec(any::<u8>(), 0..200)) {
        for options in ["", "recursive => true", r#"field_split_pattern => "[a-f]+" value_split_pattern => "é|=""#] {
            let (pipeline, _) = compiled(&format!("kv {{ {options} }}")).unwrap();
            prop_assert_eq!(run_bytes(&pipeline, &message), 1);
        }
    }

    #[test]
    fn tables_and_expressions_agree(message in r#"[ab=,"(\)é \n]{0,24}"#) {
        // The same sets, once as a table and once, with a letter beyond ASCII, as an expression.
        let table = run(r#"field_split => ",""#, &message);
        let expression = run(r#"field_split => ",ø""#, &message);
        prop_assert_eq!(table, expression);
    }
}

fn run(options: &str, message: &str) -> String {
    let message = serde_json::to_string(message).expect("a text is JSON");
    support::events::run(
        &format!("kv {{ {options} allow_empty_values => true target => \"t\" }}"),
        &[&format!(r#"{{"message":{message}}}"#)],
    )
}
