//! The manual and the examples, held against the program: documentation that lies is worse than none.
//!
//! Settings are compared with the table they come from, options with the source that reads them and
//! with a run of `-t`, and every example is run with the events that stand beside it.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

#[path = "../../pipeline/tests/support/mmdb.rs"]
mod mmdb;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use skidder_aggregator::settings::TABLE;

const MANUAL: &str = include_str!("../../docs/aggregator.md");
const FILTERS: &str = include_str!("../../docs/filters.md");

/// What the examples name by variables: certificates, patterns, and files of filters.
struct Surroundings(tempfile::TempDir);

impl Surroundings {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("shop.grok"), "TICKET #\\d+\n").unwrap();
        // Not among the files of the example's glob, and no pattern file.
        std::fs::write(directory.path().join("readme.txt"), "oneword\n").unwrap();
        let template = r#"{ "index_patterns": ["web-*"], "template": {} }"#;
        std::fs::write(directory.path().join("template.json"), template).unwrap();
        for (name, contents) in [
            ("networks", b"192.0.2.0/24;198.51.100.0/24".to_vec()),
            ("hosts.yml", b"a1: {site: north}".to_vec()),
            (
                "hosts",
                b"192.0.2.7 shop\n192.0.2.8 db.example.com db\n".to_vec(),
            ),
            ("shop.lua", SCRIPT.into()),
            ("suffixes", b"com\nuk\nco.uk\n".to_vec()),
            ("agents.yaml", AGENTS.into()),
            ("city.mmdb", mmdb::cities()),
            ("asn.mmdb", mmdb::systems()),
        ] {
            std::fs::write(directory.path().join(name), contents).unwrap();
        }
        let surroundings = Self(directory);
        let path = surroundings.path().to_str().unwrap().to_owned();
        let made = surroundings.run(&["certificates", &path], b"");
        assert!(made.status.success(), "{}", stderr(&made));
        surroundings
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(arguments)
            .env("CERTIFICATES", self.path())
            .env("PATTERNS", self.path())
            .env("FILES", self.path())
            .env("PIPELINES", examples().join("several-pipelines"))
            // The defaults of the examples apply.
            .env_remove("SYSLOG_TIMEZONE")
            .env_remove("BEATS_PORT")
            .env_remove("ES_HOST")
            .env_remove("ES_USER")
            .env_remove("ES_PASSWORD")
            .env_remove("ARCHIVE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The child may refuse its configuration before it reads.
        let _closed = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// The events that the filters of a configuration make of some lines.
    fn filter(&self, arguments: &[&str], input: &str) -> Vec<Value> {
        let mut all = vec!["filter", "-w", "1"];
        all.extend(arguments);
        let output = self.run(&all, input.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = std::str::from_utf8(&output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The filters of an example file, on events (or lines, with the flag for it).
    fn example(&self, name: &str, flags: &[&str], input: &[&str]) -> Vec<Value> {
        let path = examples().join(name);
        let mut arguments = vec!["-f", path.to_str().unwrap()];
        arguments.extend(flags);
        self.filter(&arguments, &format!("{}\n", input.join("\n")))
    }
}

/// The script of a file.
const SCRIPT: &[u8] = b"local factor
function register(params) factor = params.factor end
function filter(event) event:set('n', event:get('n') * factor) end
";

/// A list of one user agent.
const AGENTS: &[u8] = b"user_agent_parsers:
  - regex: '(shop-app) (\\d+)\\.(\\d+)'
os_parsers: []
device_parsers: []
";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/aggregator")
}

/// The part of a document below a heading, up to the next one that is not below it.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    let body = &document[start + heading.len() + 2..];
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    // Not level one: that is a comment in an example.
    let end = (2..=level)
        .filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level))))
        .min();
    &body[..end.unwrap_or(body.len())]
}

/// The fenced blocks of a kind.
fn blocks<'a>(document: &'a str, kind: &str) -> Vec<&'a str> {
    document
        .split(&format!("```{kind}\n"))
        .skip(1)
        .map(|block| block.split_once("```").expect("a block is closed").0)
        .collect()
}

/// The names in the first column of the tables of options. Tables with another head are about other
/// things.
fn options(section: &str) -> Vec<&str> {
    let mut is_of_options = false;
    section
        .lines()
        .filter(|line| {
            is_of_options =
                line.starts_with("| option |") || (is_of_options && line.starts_with('|'));
            is_of_options
        })
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn settings_are_those_of_the_program() {
    let row = |cells: &[&str]| format!("| {} |", cells.join(" | ")).replace("|  |", "| |");
    let mut expected = Vec::new();
    for setting in TABLE {
        let name = format!("`{}`", setting.name);
        let flag = setting.short.map(|letter| format!("`-{letter}`"));
        let flag = flag.unwrap_or_default();
        expected.push(match setting.without_effect {
            None => row(&[&name, &flag, setting.default, setting.help]),
            Some(why) => row(&[&name, &flag, why]),
        });
    }
    let documented: Vec<_> = section(MANUAL, "## Settings")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(
        documented,
        expected,
        "docs/aggregator.md should have these rows:\n{}",
        expected.join("\n")
    );
}

const PLUGINS: [&str; 27] = [
    "### Input `beats`, `lumberjack`",
    "### Input `elasticsearch_bulk`",
    "### Input `exec`",
    "### Input `file`",
    "### Input `heartbeat`",
    "### Input `http`",
    "### Input `kafka`",
    "### Input `otlp`",
    "### Input `pipe`",
    "### Input `pipeline`",
    "### Input `stdin`",
    "### Input `syslog`",
    "### Input `tcp`",
    "### Input `udp`",
    "### Input `unix`",
    "### Input `dead_letter_queue`",
    "### Input `generator`",
    "### Output `elasticsearch`, `opensearch`, `amazon_es`",
    "### Output `dead_letter_queue`",
    "### Output `file`",
    "### Output `http`",
    "### Output `kafka`",
    "### Output `lumberjack`",
    "### Output `pipeline`",
    "### Output `s3`",
    "### Output `stdout`",
    "### Output `null`",
];

#[test]
fn the_program_takes_every_option_of_the_manual() {
    let surroundings = Surroundings::new();
    let headings: Vec<_> = MANUAL
        .lines()
        .filter(|line| line.starts_with("### Input ") || line.starts_with("### Output "))
        .collect();
    assert_eq!(headings, PLUGINS);
    for heading in PLUGINS {
        let section = section(MANUAL, heading);
        let block = blocks(section, "logstash check").concat();
        assert!(!block.is_empty(), "{heading} has no example");
        for option in options(section) {
            let used = block.contains(&format!(" {option} => "));
            assert!(used, "{heading}: the example does not use `{option}`");
        }
        let output = surroundings.run(&["-t", "-e", &block], b"");
        let said = stderr(&output);
        if heading.contains("`kafka`") && !cfg!(feature = "kafka") {
            // That is all that is wrong with it.
            let errors = said.matches("error").count();
            let built = said.matches("without the feature `kafka`").count();
            assert!(built > 0 && errors == built, "{heading}\n{said}");
            continue;
        }
        assert!(output.status.success(), "{heading}\n{said}");
        assert!(!said.contains("has no effect"), "{heading}\n{said}");
    }
    for (part, blocks_of) in [
        ("## Inputs", "### Input `beats`, `lumberjack`"),
        ("## Outputs", "### Output `null`"),
    ] {
        let common = section(MANUAL, part);
        let common = common.split("\n###").next().unwrap();
        let block = blocks(section(MANUAL, blocks_of), "logstash check").concat();
        for option in options(common) {
            assert!(
                block.contains(&format!(" {option} => ")),
                "{part}: {option}"
            );
        }
    }
}

#[test]
fn codecs_take_every_option_of_the_manual() {
    let surroundings = Surroundings::new();
    let section = section(MANUAL, "## Codecs");
    let blocks = blocks(section, "logstash check");
    let all = blocks.concat();
    for names in options(section) {
        for option in names.split("`, `") {
            let used = all.contains(&format!(" {option} => "));
            assert!(used, "no example uses `{option}`");
        }
    }
    for codec in skidder_pipeline::codec::CODECS {
        assert!(
            section.contains(&format!("| `{codec}` |")),
            "{codec} is documented"
        );
    }
    for block in blocks {
        let output = surroundings.run(&["-t", "-e", block], b"");
        let said = stderr(&output);
        assert!(output.status.success(), "{block}\n{said}");
    }
}

#[test]
fn what_the_manual_calls_refused_is_refused() {
    let surroundings = Surroundings::new();
    let refused = [
        (
            "input { beats { port => 1 ssl_key_passphrase => x1 } }",
            "ssl_key_passphrase",
        ),
        ("input { beats { port => 1 codec => json } }", "beats"),
        (
            "input { stdin { } } output { elasticsearch { script => x } }",
            "doc_as_upsert",
        ),
        (
            "input { stdin { } } output { elasticsearch { template => '/no/such/file' } }",
            "/no/such/file",
        ),
        (
            "input { stdin { } } output { elasticsearch { cloud_id => x } }",
            "cloud_id",
        ),
        (
            "input { stdin { } } output { elasticsearch { data_stream => true index => x } }",
            "contradicts",
        ),
        ("input { if [a] { stdin { } } }", "condition"),
        ("input { syslog { protocols => [sctp] } }", "sctp"),
        (
            "input { udp { port => 1 codec => csv { autodetect_column_names => true } } }",
            "columns",
        ),
        (
            "input { syslog { codec => csv { autodetect_column_names => true } } }",
            "columns",
        ),
        (
            "input { tcp { port => 1 mode => client proxy_protocol => true } }",
            "server",
        ),
    ];
    for (configuration, word) in refused {
        let output = surroundings.run(&["-t", "-e", configuration], b"");
        assert_eq!(output.status.code(), Some(78), "{configuration}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}

/// A file of the source that reads options.
struct Source {
    text: &'static str,
    document: &'static str,
    /// Below which heading of the document the options stand.
    heading: &'static str,
    /// Words of the source that are no options: names of fields, parts of messages.
    others: &'static [&'static str],
}

const SOURCES: &[Source] = &[
    Source {
        text: include_str!("../src/input/mod.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[
            "cef",
            "delimiter",
            "graphite",
            "input",
            "listening",
            "position",
        ],
    },
    Source {
        text: include_str!("../src/input/decoration.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[],
    },
    Source {
        text: include_str!("../src/input/beats.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[
            "input",
            "host",
            "ip",
            "ip_address",
            "line",
            "disconnected",
            "connected",
        ],
    },
    Source {
        text: include_str!("../src/kafka/options.rs"),
        document: MANUAL,
        heading: "### Input `kafka`",
        others: &[
            "jks",
            "pem",
            "pkcs12",
            "plaintext",
            "sasl_plaintext",
            "sasl_ssl",
            "ssl",
        ],
    },
    Source {
        text: include_str!("../src/input/kafka/options.rs"),
        document: MANUAL,
        heading: "### Input `kafka`",
        others: &["error", "line", "plain", "roundrobin"],
    },
    Source {
        text: include_str!("../src/output/kafka/options.rs"),
        document: MANUAL,
        heading: "### Output `kafka`",
        others: &["id", "json_lines", "kafka", "murmur2_random", "random"],
    },
    Source {
        text: include_str!("../src/input/pipeline.rs"),
        document: MANUAL,
        heading: "### Input `pipeline`",
        others: &[],
    },
    Source {
        text: include_str!("../src/output/pipeline.rs"),
        document: MANUAL,
        heading: "### Output `pipeline`",
        others: &[],
    },
    Source {
        text: include_str!("../src/input/exec.rs"),
        document: MANUAL,
        heading: "### Input `exec`",
        others: &[
            "input",
            "exec",
            "elapsed_time",
            "exit_code",
            "exit_status",
            "duration",
            "host",
            "name",
            "process",
            "command_line",
            "plain",
        ],
    },
    Source {
        text: include_str!("../src/input/heartbeat.rs"),
        document: MANUAL,
        heading: "### Input `heartbeat`",
        others: &["epoch", "clock", "event", "ok", "plain", "none"],
    },
    Source {
        text: include_str!("../src/input/pipe.rs"),
        document: MANUAL,
        heading: "### Input `pipe`",
        others: &["command_line", "process"],
    },
    Source {
        text: include_str!("../src/input/unix.rs"),
        document: MANUAL,
        heading: "### Input `unix`",
        others: &["file", "listening", "server", "client", "connected"],
    },
    Source {
        text: include_str!("../src/input/local.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[
            "host",
            "line",
            "name",
            "plain",
            "multiline",
            "json_lines",
            "es_bulk",
        ],
    },
    Source {
        text: include_str!("../src/input/file/mod.rs"),
        document: MANUAL,
        heading: "### Input `file`",
        others: &["file"],
    },
    Source {
        text: include_str!("../src/input/http/bulk/mod.rs"),
        document: MANUAL,
        heading: "### Input `elasticsearch_bulk`",
        others: &[
            "es_rejected_execution_exception",
            "exception",
            "filter_path",
            "illegal_argument_exception",
            "op_type",
            "pipeline",
            "routing",
            "security_exception",
            "unavailable_shards_exception",
        ],
    },
    Source {
        text: include_str!("../src/input/http/server.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &["h2", "stopping", "listening"],
    },
    Source {
        text: include_str!("../src/input/http/plain.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[
            "accept",
            "body",
            "content_length",
            "bytes",
            "domain",
            "host",
            "ip",
            "method",
            "mime_type",
            "original",
            "path",
            "request",
            "url",
            "user_agent",
            "version",
            "input",
            "ok",
        ],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/amazon.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &["amazon_es", "basic", "skidder"],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/data_stream.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &["dataset", "namespace", "maybe", "type"],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/management.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &[
            "_doc",
            "_meta",
            "actions",
            "aliases",
            "default_state",
            "description",
            "hot",
            "index_patterns",
            "is_write_index",
            "ism_template",
            "mappings",
            "max_age",
            "max_size",
            "min_index_age",
            "min_size",
            "name",
            "opendistro",
            "order",
            "phases",
            "plugins",
            "policy",
            "priority",
            "rollover",
            "settings",
            "states",
            "transitions",
            "web",
        ],
    },
    Source {
        text: include_str!("../src/input/connection.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &["connected", "disconnected"],
    },
    Source {
        text: include_str!("../src/input/syslog/mod.rs"),
        document: MANUAL,
        heading: "### Input `syslog`",
        others: &["ip", "listening"],
    },
    Source {
        text: include_str!("../../pipeline/src/syslog/mod.rs"),
        document: MANUAL,
        heading: "### Input `syslog`",
        others: &[
            "clock",
            "date",
            "disabled",
            "ecs_compatibility",
            "grok",
            "kernel",
            "local0",
            "local1",
            "local2",
            "local3",
            "local4",
            "local5",
            "local6",
            "local7",
            "mail",
            "match",
            "overwrite",
            "syslogd",
            "system",
            "tag_on_failure",
            "timestamp8601",
            "v8",
        ],
    },
    Source {
        text: include_str!("../src/input/tcp.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &[
            "connected",
            "input",
            "ip",
            "ip_address",
            "listening",
            "name",
            "source",
            "tcp",
        ],
    },
    Source {
        text: include_str!("../src/input/udp.rs"),
        document: MANUAL,
        heading: "## Inputs",
        others: &["autodetect_column_names", "ip", "listening", "true"],
    },
    Source {
        text: include_str!("../src/output/own_queue/options.rs"),
        document: MANUAL,
        heading: "## Outputs",
        others: &["own", "shared", "block", "shed", "key", "secret", "token"],
    },
    Source {
        text: include_str!("../src/output/mod.rs"),
        document: MANUAL,
        heading: "## Outputs",
        others: &["output", "servers"],
    },
    Source {
        text: include_str!("../src/output/lumberjack/options.rs"),
        document: MANUAL,
        heading: "### Output `lumberjack`",
        others: &["id", "lumberjack"],
    },
    Source {
        text: include_str!("../src/output/s3/columns.rs"),
        document: MANUAL,
        heading: "### Output `s3`",
        others: &[],
    },
    Source {
        text: include_str!("../src/output/s3/form.rs"),
        document: MANUAL,
        heading: "### Output `s3`",
        others: &[],
    },
    Source {
        text: include_str!("../src/output/s3/options.rs"),
        document: MANUAL,
        heading: "### Output `s3`",
        others: &[
            "id", "line", "true", "false", "http", "https", "s3", "skidder",
        ],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/amazon.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &[],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/config.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &[],
    },
    Source {
        text: include_str!("../src/output/elasticsearch/event_writer.rs"),
        document: MANUAL,
        heading: "### Output `elasticsearch`, `opensearch`, `amazon_es`",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/build.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &["codec"],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/json.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/csv.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/cef/mod.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &["en", "value", "label"],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/graphite.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/gzip_lines/mod.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/multiline.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/codec/rubydebug.rs"),
        document: MANUAL,
        heading: "## Codecs",
        others: &["nil"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/common.rs"),
        document: FILTERS,
        heading: "## Options of every filter",
        others: &["localhost"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/grok/mod.rs"),
        document: FILTERS,
        heading: "## grok",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/grok/patterns.rs"),
        document: FILTERS,
        heading: "## grok",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/date.rs"),
        document: FILTERS,
        heading: "## date",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/mutate/mod.rs"),
        document: FILTERS,
        heading: "## mutate",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/dns/mod.rs"),
        document: FILTERS,
        heading: "## dns",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/drop.rs"),
        document: FILTERS,
        heading: "## drop",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/aggregate/mod.rs"),
        document: FILTERS,
        heading: "## aggregate",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/anonymize.rs"),
        document: FILTERS,
        heading: "## anonymize",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/bytes.rs"),
        document: FILTERS,
        heading: "## bytes",
        others: &["kmgtpe"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/cidr.rs"),
        document: FILTERS,
        heading: "## cidr",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/clone.rs"),
        document: FILTERS,
        heading: "## clone",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/csv/mod.rs"),
        document: FILTERS,
        heading: "## csv",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/de_dot.rs"),
        document: FILTERS,
        heading: "## de_dot",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/dedupe.rs"),
        document: FILTERS,
        heading: "## dedupe",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/dissect/mod.rs"),
        document: FILTERS,
        heading: "## dissect",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/elapsed.rs"),
        document: FILTERS,
        heading: "## elapsed",
        others: &["elapsed", "host", "tags"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/fingerprint.rs"),
        document: FILTERS,
        heading: "## fingerprint",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/geoip/mod.rs"),
        document: FILTERS,
        heading: "## geoip",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/geoip/record.rs"),
        document: FILTERS,
        heading: "## geoip",
        others: &[
            "as",
            "number",
            "organization",
            "name",
            "geo",
            "mmdb",
            "lat",
            "lon",
            "country_iso_code",
            "ip_traits",
        ],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/json.rs"),
        document: FILTERS,
        heading: "## json",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/json_encode.rs"),
        document: FILTERS,
        heading: "## json_encode",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/kv/build.rs"),
        document: FILTERS,
        heading: "## kv",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/metrics.rs"),
        document: FILTERS,
        heading: "## metrics",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/prune.rs"),
        document: FILTERS,
        heading: "## prune",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/redact/mod.rs"),
        document: FILTERS,
        heading: "## redact",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/sampling.rs"),
        document: FILTERS,
        heading: "## sampling",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/script/mod.rs"),
        document: FILTERS,
        heading: "## script",
        others: &["script", "error"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/sleep.rs"),
        document: FILTERS,
        heading: "## sleep",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/split.rs"),
        document: FILTERS,
        heading: "## split",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/syslog_pri.rs"),
        document: FILTERS,
        heading: "## syslog_pri",
        others: &[
            "kernel",
            "mail",
            "daemon",
            "syslogd",
            "uucp",
            "clock",
            "ftp",
            "ntp",
            "local0",
            "local1",
            "local2",
            "local3",
            "local4",
            "local5",
            "local6",
            "local7",
            "emergency",
            "alert",
            "critical",
            "error",
            "warning",
            "notice",
            "informational",
            "debug",
        ],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/throttle.rs"),
        document: FILTERS,
        heading: "## throttle",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/tld.rs"),
        document: FILTERS,
        heading: "## tld",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/translate/mod.rs"),
        document: FILTERS,
        heading: "## translate",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/translate/dictionary.rs"),
        document: FILTERS,
        heading: "## translate",
        others: &["yml", "yaml", "json", "csv"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/truncate.rs"),
        document: FILTERS,
        heading: "## truncate",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/urldecode.rs"),
        document: FILTERS,
        heading: "## urldecode",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/useragent/mod.rs"),
        document: FILTERS,
        heading: "## useragent",
        others: &["user_agent", "filter", "full"],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/uuid.rs"),
        document: FILTERS,
        heading: "## uuid",
        others: &[],
    },
    Source {
        text: include_str!("../../pipeline/src/filter/xml/mod.rs"),
        document: FILTERS,
        heading: "## xml",
        others: &[
            "strict",
            "recover",
            "noent",
            "dtdload",
            "dtdattr",
            "dtdvalid",
            "noerror",
            "nowarning",
            "pedantic",
            "noblanks",
            "sax1",
            "xinclude",
            "nonet",
            "nodict",
            "nsclean",
            "nocdata",
            "noxincnode",
            "compact",
            "old10",
            "nobasefix",
            "huge",
            "biglines",
            "defaultxml",
            "defaulthtml",
            "defaultxslt",
            "xmlns",
            "xml",
        ],
    },
];

#[test]
fn every_option_in_the_source_is_documented() {
    let mut found = 0;
    let mut all_missing = Vec::new();
    for source in SOURCES {
        let code = source.text.split("#[cfg(test)]").next().unwrap();
        let text = section(source.document, source.heading);
        let mut missing = BTreeSet::new();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            // Every second piece between quotes is a literal; those with an escape are no names.
            for literal in line.split('"').skip(1).step_by(2) {
                let name = literal.starts_with(|first: char| first.is_ascii_lowercase())
                    && literal.len() > 1
                    && literal.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
                    });
                if !name || source.others.contains(&literal) {
                    continue;
                }
                found += 1;
                if !text.contains(&format!("`{literal}`")) {
                    missing.insert(literal);
                }
            }
        }
        if !missing.is_empty() {
            all_missing.push((source.heading, missing));
        }
    }
    assert!(all_missing.is_empty(), "not documented: {all_missing:#?}");
    assert!(found > 150, "the options in the source are found: {found}");
}

#[test]
fn examples_of_the_filters_do_what_they_say() {
    let surroundings = Surroundings::new();
    let every = options(section(FILTERS, "## Options of every filter"));
    let headings: Vec<_> = FILTERS
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    assert!(headings.len() > skidder_pipeline::filter::NAMES.len());
    for name in skidder_pipeline::filter::NAMES {
        let heading = format!("## {name}");
        assert!(headings.contains(&heading.as_str()), "{name} is documented");
    }
    for heading in headings {
        let section = section(FILTERS, heading);
        let examples = blocks(section, "logstash example");
        let all = examples.concat();
        for option in options(section) {
            let used = all.contains(&format!(" {option} => "));
            assert!(used, "{heading}: no example uses `{option}`");
        }
        for example in examples {
            let mut input = String::new();
            let mut expected = Vec::new();
            for line in example.lines() {
                if let Some(event) = line.strip_prefix("# in ") {
                    input.push_str(event);
                    input.push('\n');
                } else if let Some(event) = line.strip_prefix("# out ") {
                    expected.push(serde_json::from_str::<Value>(event).unwrap());
                }
            }
            assert!(!input.is_empty() && !expected.is_empty(), "{example}");
            let events = surroundings.filter(&["-e", example], &input);
            assert_eq!(events, expected, "{example}");
        }
    }
    assert!(every.contains(&"add_field"), "the common options are found");
}

#[test]
fn examples_are_accepted_as_they_are() {
    let surroundings = Surroundings::new();
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        // Cases of the configuration beside them, which `test` runs.
        if path.to_str().unwrap().contains(".test.") {
            continue;
        }
        let which = if path.is_dir() {
            "--path.settings"
        } else {
            "-f"
        };
        let output = surroundings.run(&["-t", which, path.to_str().unwrap()], b"");
        let said = stderr(&output);
        assert!(output.status.success(), "{}\n{said}", path.display());
        assert!(!said.contains("warning"), "{}\n{said}", path.display());
        names.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    let tested = [
        "apache.conf",
        "archive.conf",
        "conditionals.conf",
        "csv-codec.conf",
        "csv.conf",
        "elasticsearch-clients.conf",
        "json-lines.conf",
        "log-files.conf",
        "mutual-tls.conf",
        "several-outputs.conf",
        "several-pipelines",
        "stack-traces.conf",
        "syslog-network.conf",
        "syslog-server.conf",
        "syslog.conf",
    ];
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(
        names, tested,
        "each example has a test of its filters below, or cases beside it"
    );
}

#[test]
fn example_apache() {
    let line = r#"10.1.2.3 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "http://www.example.com/" "Mozilla/4.08""#;
    let events = Surroundings::new().example(
        "apache.conf",
        &[],
        &[
            &json!({"type": "apache", "message": line}).to_string(),
            &json!({"type": "apache", "message": "nonsense"}).to_string(),
            &json!({"type": "other", "message": line}).to_string(),
        ],
    );
    let expected = json!({
        "type": "apache", "message": line, "@timestamp": "2000-10-10T20:55:36.000Z",
        "clientip": "10.1.2.3", "ident": "-", "auth": "frank", "verb": "GET", "request": "/a.gif",
        "httpversion": "1.0", "response": "200", "bytes": 2326,
        "referrer": "\"http://www.example.com/\"", "agent": "\"Mozilla/4.08\"",
    });
    assert_eq!(events[0], expected);
    assert_eq!(events[1]["tags"], json!(["_grokparsefailure"]));
    assert_eq!(events[2], json!({"type": "other", "message": line}));
}

#[test]
fn example_archive() {
    let line =
        r#"10.1.2.3 - - [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 - "-" "curl""#;
    let events = Surroundings::new().example("archive.conf", &["--lines"], &[line]);
    let expected = json!({
        "message": line, "@timestamp": "2000-10-10T20:55:36.000Z", "clientip": "10.1.2.3", "ident": "-", "auth": "-",
        "verb": "GET", "request": "/a.gif", "httpversion": "1.0", "response": "200", "referrer": "\"-\"", "agent": "\"curl\"",
    });
    assert_eq!(events, [expected]);
}

#[test]
fn example_syslog() {
    let mut events = Surroundings::new().example(
        "syslog.conf",
        &["--lines"],
        &[
            "Nov  3 07:09:01 web1 sshd[812]: Accepted publickey for ann",
            "2024-11-03T07:09:01.5+01:00 web1 kernel: up",
            "Nov 13 07:09:01 web1 CRON[9]: pam_unix(cron:session): session opened",
            "hello",
        ],
    );
    // The year is that of the test, or the one before.
    let time = events[0].as_object_mut().unwrap().remove("@timestamp");
    let time = time.unwrap().as_str().unwrap().to_owned();
    assert!(time.ends_with("-11-03T07:09:01.000Z"), "{time}");
    let expected = [
        json!({"message": "Accepted publickey for ann", "logsource": "web1", "program": "sshd", "pid": 812}),
        json!({"message": "up", "logsource": "web1", "program": "kernel", "@timestamp": "2024-11-03T06:09:01.500Z"}),
        json!({"message": "hello", "tags": ["_grokparsefailure"]}),
    ];
    assert_eq!(events, expected);
}

#[test]
fn example_json_lines() {
    let surroundings = Surroundings::new();
    let input = [
        r#"{"msg":"in token=abc","severity":"INFO","time":"2024-01-02T03:04:05Z","password":"x","headers":{"authorization":"y","a":1}}"#,
        r#"{"message":"z","level":"DEBUG"}"#,
        r#"{"message":"late","time":1704164645000}"#,
    ];
    let expected = [
        json!({"message": "in token=…", "level": "info", "@timestamp": "2024-01-02T03:04:05.000Z", "headers": {"a": 1}}),
        json!({"message": "late", "@timestamp": "2024-01-02T03:04:05.000Z"}),
    ];
    assert_eq!(
        surroundings.example("json-lines.conf", &[], &input),
        expected
    );

    // And whole, from its input to its output.
    let path = examples().join("json-lines.conf");
    let arguments = ["-w", "1", "-f", path.to_str().unwrap()];
    let output = surroundings.run(&arguments, format!("{}\n", input.join("\n")).as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let messages: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].clone())
        .collect();
    assert_eq!(messages, ["in token=…", "late"]);
}

#[test]
fn example_log_files() {
    let line =
        r#"10.1.2.3 - - [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "-" "curl""#;
    let events = Surroundings::new().example("log-files.conf", &["--lines"], &[line, "nonsense"]);
    assert_eq!(events[0]["@timestamp"], "2000-10-10T20:55:36.000Z");
    assert_eq!(events[0]["clientip"], "10.1.2.3");
    assert!(events[0].get("timestamp").is_none());
    assert_eq!(events[1]["tags"], json!(["_grokparsefailure"]));
}

#[test]
fn example_stack_traces() {
    let surroundings = Surroundings::new();
    let input = "2024-01-02T03:04:05Z ERROR failed\njava.lang.E: x\n\n\tat a.B\n2024-01-02T03:04:06Z INFO on\n";
    let path = examples().join("stack-traces.conf");
    let arguments = ["-w", "2", "-f", path.to_str().unwrap()];
    let output = surroundings.run(&arguments, input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let mut events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    events.sort_by_key(|event| event["@timestamp"].to_string());
    let shown: Vec<_> = events
        .iter()
        .map(|event| json!([event["message"], event["level"], event["tags"]]))
        .collect();
    let expected = [
        json!([
            "2024-01-02T03:04:05Z ERROR failed\njava.lang.E: x\n\n\tat a.B",
            "ERROR",
            ["multiline"]
        ]),
        json!(["2024-01-02T03:04:06Z INFO on", "INFO", null]),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn example_csv() {
    let input = "number,time,customer,total,note\n1001,2024-01-02 03:04:05,ann,12.50,\"left at the door,\nas always\"\n1002,2024-01-02 03:04:06,bob,1200,\n";
    let path = examples().join("csv-codec.conf");
    let arguments = ["-w", "2", "-f", path.to_str().unwrap()];
    let output = Surroundings::new().run(&arguments, input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let mut events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        assert!(event.remove("host").is_some() && event.remove("@version").is_some());
    }
    let expected = [
        json!({
            "number": 1001, "@timestamp": "2024-01-02T03:04:05.000Z", "customer": "ann", "total": 12.5,
            "note": "left at the door,\nas always",
        }),
        json!({
            "number": 1002, "@timestamp": "2024-01-02T03:04:06.000Z", "customer": "bob", "total": 1200.0, "tags": ["large"],
        }),
    ];
    assert_eq!(events, expected);
}

#[test]
fn example_syslog_server() {
    let events = Surroundings::new().example(
        "syslog-server.conf",
        &["--metadata"],
        &[
            r#"{"message":"Failed password for invalid user bob from 192.0.2.7 port 4022 ssh2","host":"10.0.0.1","logsource":"web1","program":"sshd","severity":3}"#,
            r#"{"message":"up","host":"10.0.0.2","logsource":"10.0.0.2","program":"ntpd","severity":6}"#,
            r#"{"message":"???","host":"10.0.0.3","severity":5,"tags":["_grokparsefailure_sysloginput"]}"#,
        ],
    );
    let expected = [
        json!({
            "message": "Failed password for invalid user bob from 192.0.2.7 port 4022 ssh2", "relay": "10.0.0.1",
            "logsource": "web1", "program": "sshd", "severity": 3, "outcome": "Failed", "method": "password", "user": "bob",
            "client": "192.0.2.7", "client_port": 4022, "tags": ["alert"], "@metadata": {"index": "syslog"},
        }),
        json!({
            "message": "up", "host": "10.0.0.2", "logsource": "10.0.0.2", "program": "ntpd", "severity": 6,
            "@metadata": {"index": "syslog"},
        }),
        json!({
            "message": "???", "host": "10.0.0.3", "severity": 5, "tags": ["_grokparsefailure_sysloginput"],
            "@metadata": {"index": "syslog-unknown"},
        }),
    ];
    assert_eq!(events, expected);
}

#[test]
fn example_several_outputs() {
    let events = Surroundings::new().example(
        "several-outputs.conf",
        &["--metadata", "--lines"],
        &[
            "2024-01-02 03:04:05,678 ERROR [main] out of disk",
            "2024-01-02 03:04:05,678 INFO  [main] up",
        ],
    );
    let common = json!({"@timestamp": "2024-01-02T03:04:05.678Z", "thread": "main"});
    for (event, (level, text, index)) in events
        .iter()
        .zip([("ERROR", "out of disk", "alerts"), ("INFO", "up", "app")])
    {
        assert_eq!(event["@timestamp"], common["@timestamp"]);
        assert_eq!(event["thread"], common["thread"]);
        assert_eq!(
            (&event["level"], &event["text"]),
            (&json!(level), &json!(text))
        );
        assert_eq!(event["@metadata"], json!({"index": index}));
        assert_eq!(event.get("time"), None);
    }
    assert_eq!(events.len(), 2);
}

#[test]
fn example_several_pipelines() {
    let surroundings = Surroundings::new();
    let settings = examples().join("several-pipelines");
    let settings = settings.to_str().unwrap();
    let filter = |pipeline: &str, line: &str| {
        let which = [
            "--path.settings",
            settings,
            "--pipeline.id",
            pipeline,
            "--lines",
        ];
        surroundings.filter(&which, line)
    };
    let web = filter(
        "web",
        "192.0.2.1 - - [02/Jan/2024:03:04:05 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl\"\n",
    );
    assert_eq!(web[0]["@timestamp"], "2024-01-02T03:04:05.000Z");
    assert_eq!(web[0]["verb"], "GET");
    let app = filter(
        "app",
        "{\"level\":\"info\",\"n\":1}\n{\"level\":\"debug\",\"n\":2}\n",
    );
    assert_eq!((app.len(), &app[0]["n"]), (1, &json!(1)));
}

#[test]
fn example_mutual_tls() {
    let events = Surroundings::new().example(
        "mutual-tls.conf",
        &[],
        &[
            r#"{"message":"x","@metadata":{"ip_address":"10.0.0.1"}}"#,
            r#"{"message":"y","type":"web"}"#,
        ],
    );
    let expected = [
        json!({"message": "x", "shipped_by": "10.0.0.1", "type": "unknown"}),
        json!({"message": "y", "type": "web"}),
    ];
    assert_eq!(events, expected);
}

#[test]
fn example_elasticsearch_clients() {
    let events = Surroundings::new().example(
        "elasticsearch-clients.conf",
        &["--metadata"],
        &[
            r#"{"message":"x","@metadata":{"action":"create","_index":"filebeat-8.19.0"}}"#,
            r#"{"log":"y","@metadata":{"action":"index","_index":"fluent-bit"}}"#,
            r#"{"message":"z","@metadata":{"action":"index"}}"#,
        ],
    );
    let expected = [
        json!({"message": "x", "@metadata": {"action": "create", "_index": "filebeat-8.19.0"}}),
        json!({"message": "y", "@metadata": {"action": "index", "_index": "fluent-bit"}}),
        json!({"message": "z", "@metadata": {"action": "index", "_index": "logs"}}),
    ];
    assert_eq!(events, expected);
}

const COMPATIBILITY: &str = include_str!("../../docs/compatibility.md");

/// The names in backticks of the paragraph that starts with `kind` in the list of what is not there.
fn listed(kind: &str) -> BTreeSet<&'static str> {
    let text = section(COMPATIBILITY, "## Not there yet");
    let paragraph = text
        .split("\n\n")
        .find(|paragraph| paragraph.trim_start().starts_with(&format!("{kind}: ")));
    let paragraph = paragraph.unwrap_or_else(|| panic!("no paragraph of {kind}"));
    paragraph.split('`').skip(1).step_by(2).collect()
}

#[test]
fn what_is_missing_is_missing() {
    let (filters, plugins, codecs) = (
        listed("Filters"),
        listed("Inputs and outputs"),
        listed("Codecs"),
    );
    assert!(filters.contains("ruby") && plugins.contains("redis"));
    let filters = filters
        .iter()
        .map(|name| format!("filter {{ {name} {{ }} }}"));
    let inputs = plugins
        .iter()
        .map(|name| format!("input {{ {name} {{ }} }}"));
    let outputs = plugins
        .iter()
        .map(|name| format!("output {{ {name} {{ }} }}"));
    let codecs = codecs
        .iter()
        .map(|name| format!("input {{ stdin {{ codec => {name} }} }}"));
    let surroundings = Surroundings::new();
    for place in filters.chain(inputs).chain(outputs).chain(codecs) {
        let output = surroundings.run(&["-t", "-e", &place], b"");
        assert_eq!(output.status.code(), Some(78), "{place} is there");
        let said = stderr(&output);
        let told = ["unknown", "there is no codec", "does not run here"]
            .iter()
            .any(|words| said.contains(words));
        assert!(told, "{place}\n{said}");
    }
}

#[test]
fn conformance_cases_that_fail_are_listed() {
    let failures = include_str!("../../pipeline/tests/known_failures.txt");
    let known: BTreeSet<_> = failures
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let documented: BTreeSet<_> = section(COMPATIBILITY, "## Conformance cases that fail")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(documented, known);
}
