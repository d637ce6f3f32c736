//! The filter `dissect`, beyond the conformance cases.

mod support;

use proptest::prelude::*;

use support::events::{assert_becomes, assert_refused, assert_warned, compiled, run_bytes};

#[test]
fn mappings() {
    for (options, event, expected) in [
        (
            r#"mapping => { "m" => "%{a}-%{[b][c]}" } remove_field => "m""#,
            r#"{"m":"x-y"}"#,
            r#"{"a":"x","b":{"c":"y"}}"#,
        ),
        // A field that is there: a plain one is replaced, an appended one goes behind it.
        (
            r#"mapping => { "m" => "%{a}-%{+b}" }"#,
            r#"{"m":"x-y","a":1,"b":2}"#,
            r#"{"m":"x-y","a":"x","b":"2-y"}"#,
        ),
        // Put together of pieces that do not stand side by side.
        (
            r#"mapping => { "m" => "%{a->} %{b} %{+a}" }"#,
            r#"{"m":"x   y z"}"#,
            r#"{"m":"x   y z","a":"x z","b":"y"}"#,
        ),
        (
            r#"mapping => { "m" => "%{*k}:%{&k}" }"#,
            r#"{"m":"[x][y]:z","k":"other"}"#,
            r#"{"m":"[x][y]:z","k":"other","x":{"y":"z"}}"#,
        ),
        // What is no text is taken as Ruby prints it.
        (
            r#"mapping => { "m" => "%{a}.%{b}" }"#,
            r#"{"m":1.5}"#,
            r#"{"m":1.5,"a":"1","b":"5"}"#,
        ),
    ] {
        assert_becomes(&format!("dissect {{ {options} }}"), event, expected);
    }
}

#[test]
fn failures() {
    let filter = r#"dissect { mapping => { "m" => "%{a}-%{b}" "n" => "%{c}" } add_tag => "cut" }"#;
    for (event, expected) in [
        ("{}", "{}"),
        (r#"{"m":null}"#, r#"{"m":null,"tags":["_dissectfailure"]}"#),
        (r#"{"m":""}"#, r#"{"m":"","tags":["_dissectfailure"]}"#),
        (
            r#"{"m":"x","n":"y"}"#,
            r#"{"m":"x","n":"y","tags":["_dissectfailure","cut"],"c":"y"}"#,
        ),
    ] {
        assert_becomes(filter, event, expected);
    }
    // A name that is no reference, and a time that is none.
    for message in ["a[b]-x", "@timestamp-x", "[@metadata]-x"] {
        assert_becomes(
            r#"dissect { mapping => { "m" => "%{?k}-%{&k}" } }"#,
            &format!(r#"{{"m":"{message}"}}"#),
            &format!(r#"{{"m":"{message}","tags":["_dissectfailure"]}}"#),
        );
    }
}

#[test]
fn conversions_run_in_any_case() {
    let filter = r#"dissect { convert_datatype => { "[a][b]" => "INT" "c" => "float" "d" => "int" } add_tag => "cut" }"#;
    assert_becomes(
        filter,
        r#"{"a":{"b":"12.9"},"c":"1e2","d":"x"}"#,
        r#"{"a":{"b":12},"c":100.0,"d":"x","tags":["_dataconversionuncoercible_d_int"]}"#,
    );
}

#[test]
fn mistakes_are_named() {
    for (options, message) in [
        (r#"mapping => { "m" => "" }"#, "the mapping is empty"),
        (r#"mapping => { "m" => "text" }"#, "has no field"),
        (r#"mapping => { "m" => "%{+&a}" }"#, "both prefixes"),
        (r#"mapping => { "m[n]" => "%{a}" }"#, "[m][n]"),
        (
            r#"convert_datatype => { "a" => "itn" }"#,
            "did you mean `int`",
        ),
        (r#"maping => { "m" => "%{a}" }"#, "did you mean `mapping`"),
    ] {
        assert_refused(&format!("dissect {{ {options} }}"), message);
    }
    assert_warned(
        r#"dissect { mapping => { "m" => "%{a}%{b}" } }"#,
        "never matches",
    );
    assert_warned(r#"dissect { mapping => { "m" => "{%{a}}!" } }"#, "last `}`");
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let (pipeline, _) = compiled(
            r#"dissect { mapping => { "message" => "%{a} %{?b->} %{&b}:%{+a}" } convert_datatype => { "a" => "int" } }"#,
        ).unwrap();
        prop_assert_eq!(run_bytes(&pipeline, &message), 1);
    }
}
