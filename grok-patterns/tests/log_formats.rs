//! The logs that Logstash has no patterns for: what is captured of their lines, field by field and
//! with its type, and which lines are refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use skidder_grok::{CaptureKind, CompileOptions, Matcher, PatternSet, Slots};

/// The files of these patterns.
const FILES: &[&str] = &[
    "auditd",
    "aws-access",
    "docker",
    "go",
    "iis",
    "kubernetes",
    "linux-auth",
    "log4j",
    "mysql",
    "netfilter",
    "nginx",
    "postgresql-log",
    "python",
    "rails-log",
    "ssh",
    "syslog",
    "systemd",
    "tomcat",
];

/// The patterns for whole lines, one for each kind of log.
const LOGS: &[&str] = &[
    "ALB_ACCESS_LOG",
    "ALB_CONNECTION_LOG",
    "AUDITD_LOG",
    "CLOUDFRONT_STANDARD_LOG",
    "COREDNS_LOG",
    "DJANGO_ACCESS",
    "DOCKER_DAEMON_LOG",
    "DOCKER_JSON_LOG",
    "DOCKER_TIMESTAMPED_LOG",
    "ELASTICSEARCH_SERVER_LOG",
    "ELB_CLASSIC_ACCESS_LOG",
    "GO_LOG",
    "GUNICORN_LOG",
    "IIS_ACCESS",
    "IIS_HTTPERR",
    "JOURNAL_LOG",
    "JULI_LOG",
    "KAFKA_LOG",
    "KLOG",
    "KUBE_APISERVER_HTTP",
    "KUBE_CRI_LOG",
    "LOGBACK_LOG",
    "LOGRAGE",
    "MYSQL_ERROR_LOG",
    "MYSQL_GENERAL_LOG",
    "MYSQL_SLOW_LOG",
    "NETFILTER_LOG",
    "NGINX_ACCESS",
    "NGINX_ERROR",
    "NGINX_INGRESS",
    "NLB_ACCESS_LOG",
    "PAM_LOG",
    "PGSQL_LOG",
    "PYTHON_LOG",
    "RAILS_LOG",
    "S3_SERVER_ACCESS_LOG",
    "SPARK_LOG",
    "SPRING_BOOT_LOG",
    "SSHD_LOG",
    "SUDO_LOG",
    "SU_LOG",
    "SYSTEMD_LOG",
    "TOMCAT_ACCESS",
    "USERADD_LOG",
    "UVICORN_ACCESS",
    "UWSGI_REQUEST",
    "VPC_FLOW_LOG",
    "WERKZEUG_ACCESS",
    "WILDFLY_LOG",
    "ZOOKEEPER_LOG",
];

/// Patterns that take lines of other logs as well, since those look the same or hold such a line.
const ALIKE: &[(&str, &[&str])] = &[
    ("DOCKER_TIMESTAMPED_LOG", &["KUBE_CRI_LOG"]),
    ("ELB_CLASSIC_ACCESS_LOG", &["ALB_ACCESS_LOG"]),
    ("GO_LOG", &["DOCKER_DAEMON_LOG", "NGINX_ERROR"]),
    (
        "GUNICORN_LOG",
        &["NGINX_ACCESS", "NGINX_INGRESS", "TOMCAT_ACCESS"],
    ),
    (
        "JOURNAL_LOG",
        &[
            "NETFILTER_LOG",
            "PAM_LOG",
            "SSHD_LOG",
            "SUDO_LOG",
            "SU_LOG",
            "SYSTEMD_LOG",
            "USERADD_LOG",
        ],
    ),
    ("KLOG", &["KUBE_APISERVER_HTTP"]),
    (
        "NGINX_ACCESS",
        &["GUNICORN_LOG", "NGINX_INGRESS", "TOMCAT_ACCESS"],
    ),
    ("PAM_LOG", &["SUDO_LOG", "SU_LOG"]),
    ("PYTHON_LOG", &["SPRING_BOOT_LOG", "WILDFLY_LOG"]),
    ("SSHD_LOG", &["JOURNAL_LOG"]),
    (
        "TOMCAT_ACCESS",
        &["GUNICORN_LOG", "NGINX_ACCESS", "NGINX_INGRESS"],
    ),
];

/// Patterns in which a quote may stand anywhere, or need not be closed.
const QUOTES_ARE_TEXT: &[&str] = &[
    "AUDITD_LOG",
    "GO_LOG",
    "KUBE_APISERVER_HTTP",
    "LOGFMT_QUOTED",
    "NGINX_ERROR",
    "NLB_ACCESS_LOG",
    "PGSQL_LOG",
    "PGSQL_MESSAGE",
    "PYTHON_TRACEBACK",
    "RAILS_LOG",
    "RAILS_PARAMETERS",
    "ZAP_CONSOLE",
];

/// Patterns whose first quarter is all that must be there; any text may follow.
const ENDS_IN_TEXT: &[&str] = &["AUDITD_LOG", "NGINX_ERROR"];

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

fn matches(matcher: &Matcher, text: &str) -> bool {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    matcher.find(text.as_bytes(), &mut scratch, &mut slots) == Ok(true)
}

/// The names of the patterns that are here for.
fn names(set: &PatternSet) -> impl Iterator<Item = &str> {
    set.names()
        .filter(|name| set.file_of(name).is_some_and(|file| FILES.contains(&file)))
}

fn value(kind: CaptureKind, text: &str) -> Value {
    match kind {
        CaptureKind::Integer => Value::from(text.parse::<i64>().expect("a whole number")),
        CaptureKind::Float => Value::from(text.parse::<f64>().expect("a number")),
        _ => Value::from(text),
    }
}

/// All that is captured of a text, other than nothing.
fn fields(set: &PatternSet, name: &str, text: &str) -> Value {
    let matcher = compile(set, &format!("%{{{name}}}"));
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let found = matcher.find(text.as_bytes(), &mut scratch, &mut slots);
    assert_eq!(found, Ok(true), "{name} on {text}");
    let mut fields = Map::new();
    for (capture, span) in matcher.captures().iter().zip(slots.iter()) {
        let Some((start, end)) = span.filter(|(start, end)| start < end) else {
            continue;
        };
        let before = fields.insert(capture.name.clone(), value(capture.kind, &text[start..end]));
        assert_eq!(
            before, None,
            "{} is captured twice by {name} on {text}",
            capture.name
        );
    }
    Value::Object(fields)
}

#[test]
fn every_field_of_a_line_is_captured_with_its_type() {
    let sets = BTreeMap::from(sets());
    let cases = include_str!("log_formats.jsonl").lines();
    for case in cases.map(|line| serde_json::from_str::<Value>(line).expect("a case is JSON")) {
        let pattern = case["pattern"].as_str().expect("a name");
        let text = case["text"].as_str().expect("a text");
        for (name, set) in &sets {
            assert_eq!(
                fields(set, pattern, text),
                case[name],
                "{name}: {pattern} on {text}"
            );
        }
    }
}

/// Capturing one of these would make an array of it, since inputs and shippers set them.
#[test]
fn flat_names_leave_alone_what_events_come_with() {
    let set = PatternSet::legacy();
    for name in names(&set) {
        for capture in compile(&set, &format!("%{{{name}}}")).captures() {
            let taken = [
                "ecs", "event", "fields", "host", "input", "log", "offset", "path", "tags", "type",
            ];
            assert!(!taken.contains(&&*capture.name), "{name}: {}", capture.name);
            assert!(!capture.name.starts_with('['), "{name}: {}", capture.name);
        }
    }
}

#[test]
fn the_documentation_names_every_log() {
    let text = include_str!("../../docs/grok.md");
    let (_, text) = text
        .split_once("## Patterns for other logs")
        .expect("a section");
    let (text, _) = text.split_once("\n## ").expect("it ends");
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let code: Vec<&str> = table
        .iter()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    for wanted in FILES.iter().chain(LOGS) {
        assert!(code.contains(wanted), "{wanted} is not in the table");
    }
    let set = PatternSet::legacy();
    let is_name = |text: &&&str| {
        text.contains('_')
            && text
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    for name in code.iter().filter(is_name) {
        assert!(set.definition(name).is_some(), "{name} is not defined");
    }
}

#[test]
fn a_line_of_another_log_is_refused() {
    for (name_of_set, set) in sets() {
        for log in LOGS {
            let matcher = compile(&set, &format!("%{{{log}}}"));
            let taken = LOGS.iter().filter(|other| *other != log);
            let taken =
                taken.filter(|other| set.examples(other).any(|line| matches(&matcher, line)));
            let taken: Vec<&str> = taken.copied().collect();
            let known = ALIKE.iter().find(|(name, _)| name == log);
            let known = known.map_or(&[][..], |(_, others)| others);
            assert_eq!(taken, known, "{name_of_set}: {log}");
        }
    }
}

#[test]
fn a_line_that_lacks_its_last_quote_is_refused() {
    for (name_of_set, set) in sets() {
        let mut taken = Vec::new();
        for name in names(&set) {
            let matcher = compile(&set, &format!("\\A(?:%{{{name}}})\\z"));
            let without = set.examples(name).filter_map(|text| {
                let (before, after) = text.rsplit_once('"')?;
                Some(format!("{before}{after}"))
            });
            if without.into_iter().any(|text| matches(&matcher, &text)) {
                taken.push(name);
            }
        }
        assert_eq!(taken, QUOTES_ARE_TEXT, "{name_of_set}");
    }
}

#[test]
fn a_line_that_ends_early_is_refused() {
    for (name_of_set, set) in sets() {
        for log in LOGS {
            let matcher = compile(&set, &format!("%{{{log}}}"));
            for line in set.examples(log) {
                let part = &line[..line.len() / 4];
                let taken = matches(&matcher, part);
                let known = ENDS_IN_TEXT.contains(log);
                assert!(!taken || known, "{name_of_set}: {log} on {part}");
            }
        }
    }
}

#[test]
fn a_client_cannot_forge_the_address_that_sshd_saw() {
    for user in [
        "x from 192.0.2.99 port 1 ssh2",
        "x 192.0.2.99 port 1 [preauth]",
        "x from 192.0.2.99",
    ] {
        for line in [
            format!("Failed password for invalid user {user} from 198.51.100.7 port 40312 ssh2"),
            format!("Invalid user {user} from 198.51.100.7 port 40312"),
            format!("Disconnected from invalid user {user} 198.51.100.7 port 40312 [preauth]"),
            format!("Connection closed by invalid user {user} 198.51.100.7 port 40312 [preauth]"),
        ] {
            let fields = fields(&PatternSet::ecs_v1(), "SSHD_MESSAGE", &line);
            assert_eq!(fields["[source][address]"], "198.51.100.7", "{line}");
            assert_eq!(fields["[source][port]"], 40312, "{line}");
            assert_eq!(fields["[user][name]"], user, "{line}");
        }
    }
}
