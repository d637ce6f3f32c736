//! The filters `json`, `json_encode`, `csv`, `clone`, `split`, `urldecode` and `xml`, beyond the
//! conformance cases.

mod support;

use proptest::prelude::*;
use skidder_pipeline::filter;

use support::events::{assert_becomes, assert_refused, assert_warned, compiled, run, run_bytes};

fn assert_all(filter: &str, cases: &[(&str, &str, &str)]) {
    for (options, event, expected) in cases {
        assert_becomes(&format!("{filter} {{ {options} }}"), event, expected);
    }
}

#[test]
fn json_reads_fields() {
    assert_all(
        "json",
        &[
            (
                r#"source => "m" remove_field => "m""#,
                r#"{"m":"{\"a\":1,\"[b][c]\":2}","a":0}"#,
                r#"{"a":1,"b":{"c":2}}"#,
            ),
            (r#"source => "m""#, r#"{"m":null}"#, r#"{"m":null}"#),
            (r#"source => "m""#, "{}", "{}"),
            (
                r#"source => "m""#,
                r#"{"m":5}"#,
                r#"{"m":5,"tags":["_jsonparsefailure"]}"#,
            ),
            (
                r#"source => "m""#,
                r#"{"m":""}"#,
                r#"{"m":"","tags":["_jsonparsefailure"]}"#,
            ),
            (
                r#"source => "m" target => "t""#,
                r#"{"m":"5"}"#,
                r#"{"m":"5","t":5}"#,
            ),
            (
                r#"source => "m" skip_on_invalid_json => true add_tag => "x""#,
                r#"{"m":"{"}"#,
                r#"{"m":"{"}"#,
            ),
            // The metadata as a whole.
            (
                r#"source => "m" add_field => { "x" => "%{[@metadata][y]}" } remove_field => "m""#,
                r#"{"m":"{\"@metadata\":{\"y\":1}}"}"#,
                r#"{"x":"1"}"#,
            ),
            (
                r#"source => "m" target => "[@metadata]" add_field => { "x" => "%{[@metadata][y]}" } remove_field => "m""#,
                r#"{"m":"{\"y\":1}"}"#,
                r#"{"x":"1"}"#,
            ),
            // What cannot be a field.
            (
                r#"source => "m""#,
                r#"{"m":"{\"a[b]\":1}"}"#,
                r#"{"m":"{\"a[b]\":1}","tags":["_jsonparsefailure"]}"#,
            ),
            (
                r#"source => "m" target => "@timestamp""#,
                r#"{"m":"1"}"#,
                r#"{"m":"1","tags":["_jsonparsefailure"]}"#,
            ),
            // A time that is none.
            (
                r#"source => "m" remove_field => "m""#,
                r#"{"m":"{\"@timestamp\":5}"}"#,
                r#"{"@timestamp":"2024-06-15T12:00:00.000Z","tags":["_timestampparsefailure"],"_@timestamp":"5"}"#,
            ),
        ],
    );
    assert_refused("json { }", "needs the option `source`");
    assert_refused(
        r#"json { source => "m" max_depth => 5000 }"#,
        "out of bounds",
    );
}

#[test]
fn json_is_bounded() {
    let nested = |depth: usize| format!(r#"{{"m":"{}{}"}}"#, "[".repeat(depth), "]".repeat(depth));
    let filter = r#"json { source => "m" target => "t" }"#;
    let depth = usize::from(filter::json::DEFAULT_MAX_DEPTH);
    assert!(!run(filter, &[&nested(depth)]).contains("failure"));
    assert!(run(filter, &[&nested(depth + 1)]).contains("_jsonparsefailure"));
    let filter = r#"json { source => "m" target => "t" max_values => 4 }"#;
    assert!(!run(filter, &[r#"{"m":"[1,2,3]"}"#]).contains("failure"));
    assert!(run(filter, &[r#"{"m":"[1,2,3,4]"}"#]).contains("_jsonparsefailure"));
    // So many names that each must not be searched for on its own.
    let many: Vec<_> = (0..50_000)
        .map(|number| format!(r#"\"k{number}\":{number}"#))
        .collect();
    let event = format!(r#"{{"k7":"old","m":"{{{}}}"}}"#, many.join(","));
    let out = run(r#"json { source => "m" remove_field => "m" }"#, &[&event]);
    assert!(out.starts_with(r#"{"k7":7,"k0":0,"#), "{}", &out[..40]);
    assert!(out.trim_end().ends_with(r#""k49999":49999}"#));
}

#[test]
fn json_encode_writes_fields() {
    assert_all(
        "json_encode",
        &[
            (
                r#"source => "[a][b]""#,
                r#"{"a":{"b":["x",1.5,null]}}"#,
                r#"{"a":{"b":"[\"x\",1.5,null]"}}"#,
            ),
            (r#"source => "x" target => "y""#, "{}", r#"{"y":"null"}"#),
            (
                r#"source => "x" target => "@timestamp""#,
                r#"{"x":1}"#,
                r#"{"x":1,"tags":["_jsongeneratefailure"]}"#,
            ),
        ],
    );
}

#[test]
fn csv_reads_rows() {
    assert_all(
        "csv",
        &[
            (
                r#"columns => ["a", "[b][c]"] remove_field => "message""#,
                r#"{"message":"1,,\"\"\n2"}"#,
                r#"{"a":"1","b":{"c":null},"column3":""}"#,
            ),
            (
                "",
                r#"{"message":""}"#,
                r#"{"message":"","tags":["_csvparsefailure"]}"#,
            ),
            (
                "add_tag => x1",
                r#"{"message":"\n"}"#,
                r#"{"message":"\n","tags":["x1"]}"#,
            ),
            (
                "",
                r#"{"message":5}"#,
                r#"{"message":5,"tags":["_csvparsefailure"]}"#,
            ),
            ("", "{}", "{}"),
            (
                r#"separator => "||" quote_char => "'" target => "t""#,
                r#"{"message":"a||'b||''c'"}"#,
                r#"{"message":"a||'b||''c'","t":{"column1":"a","column2":"b||'c"}}"#,
            ),
            (
                "max_columns => 2",
                r#"{"message":"a,b,c"}"#,
                r#"{"message":"a,b,c","tags":["_csvparsefailure"]}"#,
            ),
            (
                r#"columns => ["@timestamp"]"#,
                r#"{"message":"x"}"#,
                r#"{"message":"x","tags":["_csvparsefailure"]}"#,
            ),
            (
                r#"convert => { "column1" => "boolean" "column2" => "integer" }"#,
                r#"{"message":",x"}"#,
                r#"{"message":",x","column1":null,"column2":"x"}"#,
            ),
        ],
    );
    // Names beyond those that are made beforehand.
    let row = vec!["x"; 70].join(",");
    for (options, expected) in [
        ("", r#""column70":7}"#),
        (r#"target => "t""#, r#""column70":7}}"#),
        (r#"target => "[t][u]""#, r#""column70":7}}}"#),
    ] {
        let filter = format!(
            r#"csv {{ {options} convert => {{ "column70" => "integer" }} remove_field => "message" }}"#
        );
        let event = format!(r#"{{"message":"{}7"}}"#, &row[..row.len() - 1]);
        let out = run(&filter, &[&event]);
        assert!(out.trim_end().ends_with(expected), "{out}");
    }
}

#[test]
fn csv_takes_names_from_the_first_row() {
    let events = [
        r#"{"message":"a,,[c][d]"}"#,
        r#"{"message":"1,2,3"}"#,
        r#"{"message":"a,,[c][d]"}"#,
    ];
    assert_eq!(
        run(
            r#"csv { autodetect_column_names => true skip_header => true remove_field => "message" }"#,
            &events
        ),
        "{\"a\":\"1\",\"column2\":\"2\",\"c\":{\"d\":\"3\"}}\n"
    );
}

#[test]
fn csv_mistakes_are_named() {
    for (options, message) in [
        (r#"separator => """#, "must not be empty"),
        (r#"quote_char => "ab""#, "must be one character"),
        (r#"columns => ["[a"]"#, "is no reference"),
        (
            r#"convert => { "a" => "int" }"#,
            "invalid conversion type `int`",
        ),
        ("max_columns => 0", "out of bounds"),
        (r#"collumns => ["a"]"#, "did you mean `columns`"),
    ] {
        assert_refused(&format!("csv {{ {options} }}"), message);
    }
    assert_warned(r#"csv { separator => "\t" }"#, "for a tab");
}

#[test]
fn clones_have_containers_of_their_own() {
    let filter = r#"clone { clones => ["c"] } if [type] == "c" { mutate { add_field => { "[a][b]" => "x" } } }"#;
    assert_eq!(
        run(filter, &[r#"{"a":{}}"#]),
        "{\"a\":{}}\n{\"a\":{\"b\":\"x\"},\"type\":\"c\"}\n"
    );
    assert_refused("clone { }", "needs the option `clones`");
    assert_warned("clone { clones => [] }", "no copies");
}

#[test]
fn split_makes_events() {
    for (options, event, expected) in [
        (
            r#"field => "a" target => "b""#,
            r#"{"a":"x\n\ny"}"#,
            "{\"a\":\"x\\n\\ny\",\"b\":\"x\"}\n{\"a\":\"x\\n\\ny\",\"b\":\"y\"}\n",
        ),
        (
            r#"terminator => " ""#,
            r#"{"message":"a\t b"}"#,
            "{\"message\":\"a\"}\n{\"message\":\"b\"}\n",
        ),
        ("", r#"{"message":"a"}"#, "{\"message\":\"a\"}\n"),
        ("", r#"{"message":""}"#, ""),
        (r#"field => "a""#, r#"{"a":[]}"#, ""),
        (
            r#"field => "a""#,
            r#"{"a":5}"#,
            "{\"a\":5,\"tags\":[\"_split_type_failure\"]}\n",
        ),
        ("", "{}", "{\"tags\":[\"_split_type_failure\"]}\n"),
        // One event of the field itself, and four for each.
        (
            r#"field => "a" max_values => 11"#,
            r#"{"a":[1,2]}"#,
            "{\"a\":1}\n{\"a\":2}\n",
        ),
        (
            r#"field => "a" max_values => 7"#,
            r#"{"a":[1,2]}"#,
            "{\"a\":[1,2],\"tags\":[\"_split_type_failure\"]}\n",
        ),
        (
            r#"field => "a" target => "b" max_values => 13"#,
            r#"{"a":[1,2]}"#,
            "{\"a\":[1,2],\"tags\":[\"_split_type_failure\"]}\n",
        ),
    ] {
        assert_eq!(
            run(&format!("split {{ {options} }}"), &[event]),
            expected,
            "{options}"
        );
    }
    assert_refused(r#"split { terminator => "" }"#, "must not be empty");
}

#[test]
fn urldecode_decodes() {
    assert_all(
        "urldecode",
        &[
            ("", r#"{"message":"%41%zz%4%"}"#, r#"{"message":"A%zz%4%"}"#),
            (r#"field => "a""#, "{}", "{}"),
            (
                r#"field => "a""#,
                r#"{"a":["%41",{"b":"%42"},5]}"#,
                r#"{"a":["A",{"b":"B"},5]}"#,
            ),
            (
                "all_fields => true",
                r#"{"a":"%41","b":"%42"}"#,
                r#"{"a":"A","b":"B"}"#,
            ),
            (
                r#"charset => "CP1252""#,
                r#"{"message":"%80"}"#,
                r#"{"message":"€"}"#,
            ),
        ],
    );
    assert_refused(r#"urldecode { charset => "klingon" }"#, "no character set");
}

fn found(xpath: &str, document: &str) -> String {
    let document = serde_json::to_string(document).expect("a text is JSON");
    let filter = format!(
        r#"xml {{ source => "m" store_xml => false xpath => [ "{xpath}", "f" ] remove_field => "m" }}"#
    );
    run(&filter, &[&format!(r#"{{"m":{document}}}"#)])
        .trim_end()
        .to_owned()
}

#[test]
fn xml_expressions() {
    const DOCUMENT: &str = "<r xmlns='urn:d' xmlns:p='urn:p'><!-- c --><a id='1' p:k='v'>x</a><a id='2'>y<b/>z</a><p:a id='3'>5</p:a><e><f>1</f></e></r>";
    for (xpath, expected) in [
        ("//@id", r#"["1","2","3"]"#),
        ("//xmlns:a[@id='2']/text()", r#"["y","z"]"#),
        ("//xmlns:a[2]/@id", r#"["2"]"#),
        ("//xmlns:a[last()]/@id", r#"["2"]"#),
        ("//a", "nothing"),
        ("/xmlns:r/p:a", r#"["<p:a id=\"3\">5</p:a>"]"#),
        (
            "//*[local-name() = 'a'][position() > 1]/@id",
            r#"["2","3"]"#,
        ),
        ("//@p:k", r#"["v"]"#),
        ("//*[@p:k]/following-sibling::*[1]/@id", r#"["2"]"#),
        ("//p:a/preceding-sibling::*[1]/@id", r#"["2"]"#),
        (
            "//xmlns:b/../@id | //xmlns:b/ancestor::xmlns:a/@id",
            r#"["2"]"#,
        ),
        ("//comment()", r#"["<!-- c -->"]"#),
        ("//xmlns:e", r#"["<e>\n  <f>1</f>\n</e>"]"#),
        ("count(//xmlns:a) + 1", r#"["3.0"]"#),
        ("//p:a * 2 = 10", r#"["true"]"#),
        ("//p:a = 6", "nothing"),
        ("string(//xmlns:a[2])", r#"["yz"]"#),
        (
            "concat(name(/*), '-', normalize-space('  a  b '))",
            r#"["r-a b"]"#,
        ),
        ("substring('12345', 2, 3)", r#"["234"]"#),
        ("substring-after('a=b', '=')", r#"["b"]"#),
        ("translate('a', 'b', 'c')", "refused"),
        ("not(//x) and (1 < 2 or false())", r#"["true"]"#),
        ("sum(//@id) div 2", r#"["3.0"]"#),
        ("-floor(1.5)", r#"["-1.0"]"#),
        ("//q:a", "failure"),
    ] {
        if expected == "refused" {
            assert_refused(
                &format!(
                    r#"xml {{ source => "m" store_xml => false xpath => [ "{xpath}", "f" ] }}"#
                ),
                "no function `translate`",
            );
            continue;
        }
        let out = found(xpath, DOCUMENT);
        match expected {
            "nothing" => assert!(
                !out.contains("\"f\"") && !out.contains("tags"),
                "{xpath}: {out}"
            ),
            "failure" => assert!(out.contains("_xmlparsefailure"), "{xpath}: {out}"),
            _ => assert_eq!(out, format!(r#"{{"f":{expected}}}"#), "{xpath}"),
        }
    }
}

#[test]
fn xml_values() {
    let value = |options: &str, document: &str| {
        let document = serde_json::to_string(document).unwrap();
        let filter =
            format!(r#"xml {{ source => "m" target => "t" {options} remove_field => "m" }}"#);
        run(&filter, &[&format!(r#"{{"m":{document}}}"#)])
            .trim_end()
            .to_owned()
    };
    for (options, document, expected) in [
        ("", "<a>x</a>", r#"{"t":"x"}"#),
        ("", "<a/>", r#"{"t":null}"#),
        (
            "",
            "<a><b>1</b> text <b k='2'>3</b></a>",
            r#"{"t":{"b":["1",{"k":"2","content":"3"}],"content":" text "}}"#,
        ),
        (
            "",
            "<a><anon>1</anon><anon>2</anon></a>",
            r#"{"t":["1","2"]}"#,
        ),
        (
            "",
            "<p:a xmlns:p='u'><p:b/><c>&lt;&#65;</c></p:a>",
            r#"{"t":{"xmlns:p":"u","b":[null],"c":["<A"]}}"#,
        ),
        (
            "",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
            r#"{"t":"x"}"#,
        ),
        (
            "force_array => false suppress_empty => false",
            "<a><b/></a>",
            r#"{"t":{"b":{}}}"#,
        ),
    ] {
        assert_eq!(value(options, document), expected, "{document}");
    }
    for document in ["x", "<a>", "<a></b>", "<a/><b/>", "<a>&nope;</a>"] {
        assert!(
            value("", document).contains("_xmlparsefailure"),
            "{document}"
        );
    }
    // To expressions alone it is none, unless the options ask for it.
    for (options, fails) in [
        ("", false),
        (r#"parse_options => "strict""#, true),
        (r#"parse_options => "NO_ERROR | recover""#, false),
    ] {
        let filter = format!(
            r#"xml {{ source => "m" store_xml => false xpath => [ "//a", "f" ] {options} }}"#
        );
        let out = run(&filter, &[r#"{"m":"<a><b></a>"}"#]);
        assert_eq!(out.contains("_xmlparsefailure"), fails, "{options}: {out}");
    }
    // Nothing at all is left alone.
    assert_eq!(value("", "  "), r#"{"m":"  "}"#);
}

#[test]
fn xml_is_bounded() {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let failed = |options: &str, document: &str| {
        let filter = format!(r#"xml {{ source => "message" target => "t" {options} }}"#);
        let (pipeline, _) = compiled(&filter).unwrap();
        assert_eq!(run_bytes(&pipeline, document.as_bytes()), 1);
        let document = serde_json::to_string(document).unwrap();
        run(&filter, &[&format!(r#"{{"message":{document}}}"#)]).contains("_xmlparsefailure")
    };
    let most = filter::xml::DEFAULT_MAX_DEPTH;
    assert!(!failed("", &deep(most)));
    assert!(failed("", &deep(most + 1)));
    assert!(failed("", &deep(200_000)));
    assert!(!failed(
        "max_depth => 256",
        &deep(filter::xml::HIGHEST_MAX_DEPTH)
    ));
    assert!(failed(
        "max_nodes => 10",
        &format!("<a>{}</a>", "<b/>".repeat(20))
    ));
    // An expression that looks at every node from every node.
    let wide = format!("<a>{}</a>", "<b/>".repeat(5000));
    assert!(failed(
        r#"max_nodes => 10000 xpath => [ "//b[//b]", "f" ]"#,
        &wide
    ));
    let mut laughs = "<!DOCTYPE a [<!ENTITY e0 'ha'>".to_owned();
    for number in 1..10 {
        let inner = format!("&e{};", number - 1).repeat(10);
        laughs.extend(["<!ENTITY e", &number.to_string(), " '", &inner, "'>"]);
    }
    laughs.push_str("]><a>&e9;</a>");
    assert!(failed("", &laughs));
}

#[test]
fn xml_mistakes_are_named() {
    for (options, message) in [
        ("", "needs the option `source`"),
        (r#"source => "m""#, "needs the option `target`"),
        (
            r#"source => "m" target => "t" xpath => [ "//", "f" ]"#,
            "of the expression",
        ),
        (
            r#"source => "m" target => "t" parse_options => "nonets""#,
            "did you mean `nonet`",
        ),
        (
            r#"source => "m" target => "t" max_depth => 1000"#,
            "out of bounds",
        ),
    ] {
        assert_refused(&format!("xml {{ {options} }}"), message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        text in r#"[<>/a="'&;%,\[\]{}:!\-0-9 \n\\]{0,60}"#,
    ) {
        for filter in [
            r#"json { source => "message" }"#,
            r#"json { source => "message" target => "t" } json_encode { source => "t" }"#,
            r#"csv { convert => { "column1" => "integer" "column2" => "date_time" } }"#,
            "urldecode { }",
            r#"urldecode { charset => "UTF-16" }"#,
            r#"split { terminator => " " }"#,
            r#"xml { source => "message" target => "t" xpath => [ "//a[@a=1]", "f" ] }"#,
        ] {
            let (pipeline, _) = compiled(filter).unwrap();
            run_bytes(&pipeline, &bytes);
            run_bytes(&pipeline, text.as_bytes());
        }
    }
}
