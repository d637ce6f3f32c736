use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::NoFiles;
use crate::event::{Timestamp, write_json};
use crate::filter::{Scratch, ScratchSlots};
use crate::language::{
    Diagnostics, EscapeStyle, ParseOptions, SourceMap, Statement, parse as parse_config,
};

/// What takes messages apart with these options, or what is wrong with them.
fn syslog(options: &str, ecs: bool) -> Result<Syslog, String> {
    let sources = SourceMap::single("t", format!("input {{ syslog {{ {options} }} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse_config(&sources, ParseOptions::default(), &mut diagnostics);
    let Statement::Plugin(plugin) = &config.inputs[0] else {
        panic!("no plugin")
    };
    let mut build = Build {
        ecs,
        escape_style: EscapeStyle::None,
        files: &NoFiles,
        slots: &mut ScratchSlots::default(),
        watched: &mut Vec::new(),
    };
    let mut options = Options::new(plugin, "input", &mut diagnostics);
    let built = Syslog::from_options(&mut options, &mut build, ecs);
    options.finish();
    let valid = options.is_valid();
    built
        .filter(|_| valid)
        .ok_or_else(|| diagnostics.render(&sources, false))
}

/// The fields of a message that came in November 2026.
fn fields(syslog: &Syslog, message: &[u8]) -> Json {
    let arena = Bump::new();
    let now = Timestamp::new(1_795_600_000, 0);
    let mut event = Event::with_timestamp_in(now, &arena);
    event.fields.push_new(MESSAGE, Value::Text(message));
    let mut context = Context {
        arena: &arena,
        now,
        scratch: &mut Scratch::default(),
        emitted: &mut Vec::new(),
    };
    syslog.apply(&mut event, &mut context);
    let mut out = Vec::new();
    write_json(&event, &mut out);
    let mut fields: Json = serde_json::from_slice(&out).unwrap();
    fields.as_object_mut().unwrap().remove("@version");
    fields
}

const NOW: &str = "2026-11-25T09:46:40.000Z";

#[test]
fn messages_of_the_old_kind() {
    let legacy = syslog("timezone => 'UTC'", false).unwrap();
    assert_eq!(
        fields(
            &legacy,
            b"<164>Oct 26 15:19:25 1.2.3.4 %ASA-4-106023: Deny udp src DRAC:10.1.2.3/43434"
        ),
        json!({
            "message": "Deny udp src DRAC:10.1.2.3/43434", "@timestamp": "2026-10-26T15:19:25.000Z",
            "timestamp": "Oct 26 15:19:25", "logsource": "1.2.3.4", "program": "%ASA-4-106023",
            "priority": 164, "facility": 20, "severity": 4,
            "facility_label": "local4", "severity_label": "Warning",
        })
    );
    // Nothing is higher than the priority 0, which Logstash's pattern does not take.
    assert_eq!(
        fields(&legacy, b"<0>Dec  1 00:00:01 web1 sshd[812]: up"),
        json!({
            "message": "up", "@timestamp": "2026-12-01T00:00:01.000Z", "timestamp": "Dec  1 00:00:01",
            "logsource": "web1", "program": "sshd", "pid": "812", "priority": 0, "facility": 0,
            "severity": 0, "facility_label": "kernel", "severity_label": "Emergency",
        })
    );
    assert_eq!(
        fields(&legacy, b"<30>2024-03-03T04:05:06.123456+01:00 web1 app: x"),
        json!({
            "message": "x", "@timestamp": "2024-03-03T03:05:06.123Z", "timestamp": "2024-03-03T04:05:06.123456+01:00",
            "timestamp8601": "2024-03-03T04:05:06.123456+01:00", "logsource": "web1", "program": "app",
            "priority": 30, "facility": 3, "severity": 6, "facility_label": "system", "severity_label": "Informational",
        })
    );
    let ecs = syslog("timezone => '-05:00'", true).unwrap();
    assert_eq!(
        fields(
            &ecs,
            b"<133>Mar 11 08:44:43 precision kernel: mce: normal speed"
        ),
        json!({
            "message": "mce: normal speed", "@timestamp": "2026-03-11T13:44:43.000Z",
            "event": {"original": "<133>Mar 11 08:44:43 precision kernel: mce: normal speed"},
            "host": {"hostname": "precision"}, "process": {"name": "kernel"}, "service": {"type": "system"},
            "log": {"syslog": {
                "priority": 133, "facility": {"code": 16, "name": "local0"}, "severity": {"code": 5, "name": "Notice"},
            }},
        })
    );
}

#[test]
fn messages_of_rfc_5424() {
    const TEXT: &[u8] = b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 evnt 8710 ID47 [ex@32473 iut=\"3\" q=\"a\\\"b\"] \xEF\xBB\xBFAn entry";
    let legacy = syslog("", false).unwrap();
    assert_eq!(
        fields(&legacy, TEXT),
        json!({
            "message": "An entry", "@timestamp": "2003-08-24T12:14:15.000Z",
            "timestamp": "2003-08-24T05:14:15.000003-07:00", "logsource": "192.0.2.1", "program": "evnt",
            "pid": "8710", "msgid": "ID47", "version": "1",
            "structured_data": {"ex@32473": {"iut": "3", "q": "a\"b"}},
            "priority": 165, "facility": 20, "severity": 5,
            "facility_label": "local4", "severity_label": "Notice",
        })
    );
    assert_eq!(
        fields(&legacy, b"<13>1 - - - - - - hello"),
        json!({
            "message": "hello", "@timestamp": NOW, "version": "1", "priority": 13, "facility": 1,
            "severity": 5, "facility_label": "user-level", "severity_label": "Notice",
        })
    );
    assert_eq!(
        fields(&legacy, b"<13>1 yesterday - - - - - hello")["tags"],
        json!(["_dateparsefailure"])
    );
    let ecs = syslog("service_type => ''", true).unwrap();
    assert_eq!(
        fields(&ecs, b"<13>1 2003-08-24T05:14:15Z h app main M1 -"),
        json!({
            "message": "", "@timestamp": "2003-08-24T05:14:15.000Z",
            "event": {"original": "<13>1 2003-08-24T05:14:15Z h app main M1 -"},
            "host": {"hostname": "h"}, "process": {"name": "app"},
            "log": {"syslog": {
                "version": "1", "msgid": "M1", "procid": "main", "priority": 13,
                "severity": {"code": 5, "name": "Notice"}, "facility": {"code": 1, "name": "user-level"},
            }},
        })
    );
    assert_eq!(fields(&ecs, TEXT)["process"]["pid"], 8710);
}

#[test]
fn what_is_no_message_keeps_its_text() {
    let expected = json!({
        "message": "hello world, this is not syslog", "@timestamp": NOW, "tags": [FAILURE], "priority": 13,
        "facility": 1, "severity": 5, "facility_label": "user-level", "severity_label": "Notice",
    });
    let legacy = syslog("", false).unwrap();
    assert_eq!(
        fields(&legacy, b"hello world, this is not syslog"),
        expected
    );
    let ecs = fields(&syslog("use_labels => false", true).unwrap(), b"\xff");
    assert_eq!(ecs["tags"], json!([FAILURE]));
    assert_eq!(
        ecs["log"]["syslog"],
        json!({"priority": 13, "facility": {"code": 1}, "severity": {"code": 5}})
    );
    assert_eq!(ecs["service"]["type"], "system");
}

#[test]
fn options_are_obeyed() {
    let own = syslog(
        "grok_pattern => '<%{POSINT:priority}>%{SYSLOGTIMESTAMP:timestamp} atypical %{GREEDYDATA:message}'
         facility_labels => [a, b] severity_labels => [c, d, e, f, g, 'none such'] timezone => 'Europe/Paris'",
        false,
    )
    .unwrap();
    let event = fields(&own, b"<13>Oct 26 15:19:25 atypical text");
    assert_eq!(event["message"], "text");
    assert_eq!(
        (&event["facility_label"], &event["severity_label"]),
        (&json!("b"), &json!("none such"))
    );
    // Winter time has begun the day before.
    assert_eq!(event["@timestamp"], "2026-10-26T14:19:25.000Z");
    let high = fields(&own, b"<164>Oct 26 15:19:25 atypical text");
    assert_eq!(
        (high.get("facility_label"), &high["severity_label"]),
        (None, &json!("g"))
    );
    // With a pattern of one's own nothing but that is looked for.
    assert_eq!(
        fields(&own, b"<13>1 - - - - - - hello")["tags"],
        json!([FAILURE])
    );
    let without = syslog(
        "grok_pattern => '^%{WORD:word}' syslog_field => other",
        false,
    )
    .unwrap();
    let event = fields(&without, b"text");
    assert_eq!(
        (&event["priority"], &event["message"]),
        (&json!(13), &json!("text"))
    );
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (options, part) in [
        ("grok_pattern => '%{NOSUCH:x}'", "NOSUCH"),
        ("timezone => 'Mars/North'", "no time zone `Mars/North`"),
        ("locale => 'xx'", "xx"),
        ("use_labels => maybe", "use_labels"),
        ("syslog_field => '[a'", "[a"),
    ] {
        let told = syslog(options, false).err().unwrap();
        assert!(told.contains(part), "{told}");
    }
}

proptest! {
    #[test]
    fn no_message_does_harm(head in "(<[0-9]{0,25}>)?(1 |Oct 26 15:19:25 |- - - - - \\[)?", tail: Vec<u8>) {
        let text = [head.as_bytes(), &tail].concat();
        for ecs in [false, true] {
            let event = fields(&syslog("", ecs).unwrap(), &text);
            let place = if ecs { &event["log"]["syslog"]["priority"] } else { &event["priority"] };
            prop_assert!(place.is_i64(), "{}", event);
        }
    }
}
