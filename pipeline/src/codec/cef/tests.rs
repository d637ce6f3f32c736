use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::build::tests::{codec, decoded, encoded};

/// The events of these reads.
fn events(codec: &str, ecs: bool, reads: &[&'static str]) -> Vec<Json> {
    let reads: Vec<&[u8]> = reads.iter().map(|read| read.as_bytes()).collect();
    let lines = decoded(codec, ecs, &reads);
    let events = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

#[test]
fn messages_without_ecs() {
    for (text, expected) in [
        (
            "CEF:0|security|threatmanager|1.0|100|trojan successfully stopped|10|src=10.0.0.192 dst=12.121.122.82 spt=1232",
            json!({
                "cefVersion": "0", "deviceVendor": "security", "deviceProduct": "threatmanager", "deviceVersion": "1.0",
                "deviceEventClassId": "100", "name": "trojan successfully stopped", "severity": "10",
                "sourceAddress": "10.0.0.192", "destinationAddress": "12.121.122.82", "sourcePort": "1232",
            }),
        ),
        (
            "Jul 1 10:00:00 host CEF:0|a\\|b|c\\\\\\||||n=m\\\\|\\x| moo=this\\|has =many \\= \\n x\\\\y  cs1= cs1Label=Foo Bar ad.f[0]=z ad.Error_,Code=3 rt=Jul 19 2017 10:50:21.127\r\n",
            json!({
                "syslog": "Jul 1 10:00:00 host", "cefVersion": "0", "deviceVendor": "a|b", "deviceProduct": "c\\|",
                "deviceVersion": "", "deviceEventClassId": "", "name": "n=m\\", "severity": "\\x",
                "moo": "this\\|has =many = \n x\\y", "deviceCustomString1": "", "deviceCustomString1Label": "Foo Bar",
                "ad.f": {"0": "z"}, "ad.Error_,Code": "3", "deviceReceiptTime": "Jul 19 2017 10:50:21.127",
            }),
        ),
        (
            "\"CEF:0|||||n|1|destinationLongitude=-73.6 slat=45 request='https://foo/1' q=k1\\=v1&k2\\=v2 aa.bc&k3\\=v4 end=\"",
            json!({
                "cefVersion": "0", "deviceVendor": "", "deviceProduct": "", "deviceVersion": "", "deviceEventClassId": "",
                "name": "n", "severity": "1", "destinationLongitude": "-73.6", "sourceGeoLatitude": "45",
                "requestUrl": "'https://foo/1'", "q": "k1=v1&k2=v2 aa.bc&k3=v4", "endTime": "",
            }),
        ),
    ] {
        assert_eq!(events("cef", false, &[text]), [expected], "{text}");
    }
}

#[test]
fn messages_with_ecs() {
    let text = "CEF:0|v|p|1|c|n|2|rt=Jul 19 2017 10:50:21.127 dtz=Europe/Moscow start=1500464384997 end= dvc=192.0.2.1 dvchost=d deviceExternalId=x c6a12=::1 cfp15Label=pi src=1.1.1.1 own=1 sourceLongitude=9 fileHash=1bad";
    let read = |codec: &str| {
        let sources = events(codec, true, &[text]);
        assert_eq!(sources.len(), 1);
        sources[0].clone()
    };
    let expected = json!({
        "cef": {
            "version": "0", "name": "n", "device_custom_ipv6_address_12": {"value": "::1"},
            "device_custom_floating_point_15": {"label": "pi"},
        },
        "event": {
            "code": "c", "severity": "2", "timezone": "Europe/Moscow", "start": "2017-07-19T11:39:44.997Z", "end": null,
        },
        "observer": {
            "vendor": "v", "product": "p", "version": "1", "ip": "192.0.2.1", "hostname": "d", "name": "x",
        },
        "source": {"ip": "1.1.1.1", "geo": {"location": {"lon": "9"}}}, "file": {"hash": "1bad"}, "own": "1",
    });
    assert_eq!(read("cef"), expected);
    let host = read("cef { device => host }");
    assert_eq!(
        host["host"],
        json!({"ip": "192.0.2.1", "name": "d", "id": "x"})
    );
    let header = events("cef", true, &["Jul 1 h CEF:1|v|p|1|c|n|2|"]);
    assert_eq!(header[0]["log"]["syslog"]["header"], "Jul 1 h");
}

#[test]
fn the_time_is_that_of_the_device() {
    use crate::event::{Timestamp, Value};
    let arena = bumpalo::Bump::new();
    let mut events = Vec::new();
    let mut sink = super::Sink {
        arena: &arena,
        now: Timestamp::new(0, 0),
        events: &mut events,
    };
    for (options, text, seconds) in [
        (
            "",
            "rt=Jul 19 2017 10:50:21 dtz=Europe/Moscow",
            1_500_450_621,
        ),
        (
            "default_timezone => '+03:00'",
            "rt=Jul 19 2017 10:50:21",
            1_500_450_621,
        ),
        (
            "locale => de default_timezone => UTC",
            "rt=Okt 19 2017 10:50:21",
            1_508_410_221,
        ),
        ("", "rt=", 0),
    ] {
        let codec = codec(&format!("cef {{ {options} }}"), true).unwrap();
        let text = arena.alloc_str(&format!("CEF:0|v|p|1|c|n|2|{text}"));
        codec.decoder().unwrap().decode(text.as_bytes(), &mut sink);
        let event = sink.events.pop().unwrap();
        let time = event.fields.get(&crate::event::TIMESTAMP);
        assert_eq!(
            time,
            Some(&Value::Time(Timestamp::new(seconds, 0))),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_message_keeps_its_text() {
    let many = format!("CEF:0|||||||{}", "a=1 ".repeat(super::MAX_EXTENSIONS + 1));
    let failed = |message: &str| json!({"message": message, "tags": ["_cefparsefailure"]});
    for text in [
        "this is not cef",
        "a|b|c with several \\| escaped\\| pipes|d|bananas",
        "CEF:0|security|threatmanager|1.0|100|x|10|this is in the extension and has no key",
        "CEF:0|v|p|1|c|n|2|src=10.0.0.67\nCEF:0|v|p|1|c|n|2|src=10.0.0.67\n",
        "\"",
        many.leak(),
    ] {
        assert_eq!(events("cef", false, &[text]), [failed(text)], "{text}");
    }
    let text = "CEF:0|v|p|1|c|n|2|rt=whenever";
    assert_eq!(events("cef", true, &[text]), [failed(text)]);
    assert_eq!(
        decoded("cef", true, &[b"CEF:0|v|p|1|c|n|2|a=\xff"]).len(),
        1
    );
}

#[test]
fn a_delimiter_cuts_a_stream() {
    let reads = [
        "CEF:0|v|p|1|c|one|2|",
        "\r\nCEF:0|v|p|1|c|two|2|\r\n\r\nCEF:0|v|p|1|c|three|2|",
        "a=b",
    ];
    // Written with a backslash and a letter, as configurations have it.
    let read = events(
        r"cef { delimiter => '\\r\\n' raw_data_field => raw }",
        false,
        &reads,
    );
    let names: Vec<_> = read.iter().map(|event| event["name"].as_str()).collect();
    assert_eq!(names, [Some("one"), Some("two"), Some("three")]);
    assert_eq!(read[2]["raw"], "CEF:0|v|p|1|c|three|2|a=b");
    let pieces = events(
        r"cef { delimiter => '\\n' decode_size_limit_bytes => 10 }",
        false,
        &["CEF:0|v|p|1|c|one|2|\n"],
    );
    assert_eq!(pieces.len(), 2);
}

#[test]
fn events_are_written() {
    let event = r#"{"vendor":"ven\ndor|x\\","severity":"4.0","foo":"a=b\\c\r\nd","bar":{"x":[1]},"n":1.5,"sourceAddress":"1.1.1.1","deviceAction":"act","source":{"ip":"2.2.2.2","registered_domain":"m"},"@timestamp":"1970-01-01T00:00:00.000Z"}"#;
    for (text, expected) in [
        (
            "cef",
            "CEF:0|Elasticsearch|Logstash|1.0|Logstash|Logstash|6|",
        ),
        (
            r#"cef { vendor => "%{vendor}" product => "" severity => "%{severity}" name => "%{none}" fields => [foo, none, bar, n, "@timestamp"] }"#,
            "CEF:0|ven dor\\|x\\\\|Logstash|1.0|Logstash|%{none}|4|foo=a\\=b\\\\c\\nd bar={\"x\":[1]} n=1.5 timestamp=1970-01-01T00:00:00.000Z",
        ),
        (
            r"cef { reverse_mapping => true delimiter => '\\n' fields => [sourceAddress, deviceAction] severity => 11 }",
            "CEF:0|Elasticsearch|Logstash|1.0|Logstash|Logstash|6|src=1.1.1.1 act=act\n",
        ),
        (
            "cef { ecs_compatibility => v8 fields => ['[source][ip]', '[source][registered_domain]', '@timestamp'] }",
            "CEF:0|Elasticsearch|Logstash|1.0|Logstash|Logstash|6|sourceAddress=2.2.2.2 sourceDnsDomain=m deviceReceiptTime=1970-01-01T00:00:00.000Z",
        ),
    ] {
        assert_eq!(encoded(text, event), expected, "{text}");
    }
}

#[test]
fn mistakes_are_told() {
    for (text, part) in [
        ("cef { device => router }", "observer"),
        ("cef { default_timezone => 'Mars/North' }", "Mars/North"),
        ("cef { locale => xx }", "xx"),
        ("cef { vendor => '%{[a}' }", "[a"),
        ("cef { fields => ['[a'] }", "[a"),
    ] {
        let told = codec(text, false).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(text in r"[ab=\\|\n ]{1,12}") {
        // Blanks at the end are none of a value, and what looks like a key is one.
        let text = text.trim().replace(' ', "_");
        let event = json!({"v": text, "@timestamp": "1970-01-01T00:00:00.000Z"}).to_string();
        let written = encoded("cef { name => '%{v}' fields => [v] }", event.leak());
        let read = events("cef", false, &[written.leak()]);
        if !text.is_empty() {
            prop_assert_eq!(&read[0]["v"], &json!(text));
            prop_assert_eq!(&read[0]["name"], &json!(text.replace('\n', " ")));
        }
    }
}
