//! What the configuration says about a `kafka` input.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "without the feature options are only checked")
)]

use std::sync::Arc;
use std::time::Duration;

use skidder_lumberjack::ByteBudget;
use skidder_pipeline::language::Options;

use super::super::decoration::Decoration;
use super::super::{Build, local};
use super::records::{Decoder, Decorate};
use crate::kafka::{ClientOptions, refuse_unless_built};

/// The options of one input.
pub(super) struct KafkaOptions {
    pub(super) client: ClientOptions,
    /// `client_id` and `group_instance_id`, to which each consumer adds its number.
    pub(super) client_id: String,
    pub(super) group_instance_id: Option<String>,
    /// `topics`, or a pattern that begins with `^`.
    pub(super) topics: Vec<String>,
    /// `consumer_threads`.
    pub(super) consumers: usize,
    /// `max_poll_records`: messages of a batch at most.
    pub(super) batch_messages: usize,
    /// `poll_timeout_ms`: how long is waited for a message at a time.
    pub(super) poll_timeout: Duration,
    /// `auto_commit_interval_ms`: how often is committed what has come to be safe.
    pub(super) commit_interval: Duration,
    /// `read_headers`.
    pub(super) headers: bool,
    pub(super) decoder: Arc<Decoder>,
    pub(super) budget: Arc<ByteBudget>,
}

impl KafkaOptions {
    /// Reads the options; what is wrong is reported through `options`.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "plain", ecs);
        let mut client = ClientOptions::from_options(options);
        let topics = topics(options);
        let group = options
            .string("group_id")
            .unwrap_or_else(|| "logstash".into());
        if group.is_empty() {
            options.error("group_id", "a group has a name");
        }
        client.set("group.id", group.as_str());
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("allow.auto.create.topics", "false");
        fetching(options, &mut client);
        membership(options, &mut client);
        let decorations = [
            ("none", Decorate::Nothing),
            ("false", Decorate::Nothing),
            ("basic", Decorate::Basic),
            ("true", Decorate::Basic),
            ("extended", Decorate::Extended),
        ];
        let decorate = options.enumeration("decorate_events", &decorations);
        let poll_timeout = options
            .integer("poll_timeout_ms", 1..=10_000)
            .unwrap_or(100);
        let commit_interval = options
            .integer("auto_commit_interval_ms", 10..=3_600_000)
            .unwrap_or(5000);
        let headers = options.boolean("read_headers").unwrap_or(true);
        if !headers && decorate == Some(Decorate::Extended) {
            options.error(
                "decorate_events",
                "with `read_headers => false` there are no headers",
            );
        }
        without_effect(options);
        refuse_unless_built(options);
        let decoration = Decoration::from_options(options);
        let (plugin, codec) = codec?;
        Some(Self {
            client,
            client_id: options
                .string("client_id")
                .unwrap_or_else(|| "logstash".into()),
            group_instance_id: options.string("group_instance_id"),
            topics: topics?,
            consumers: options.count("consumer_threads", 1..=256).unwrap_or(1),
            batch_messages: options
                .count("max_poll_records", 1..=100_000)
                .unwrap_or(500),
            poll_timeout: Duration::from_millis(poll_timeout.unsigned_abs()),
            commit_interval: Duration::from_millis(commit_interval.unsigned_abs()),
            headers,
            decoder: Arc::new(Decoder {
                payload: local::Decoder {
                    name: build.name.to_owned(),
                    codec,
                    plain: ["line", "plain"].contains(&plugin.name.value.as_str()),
                    marks: local::Marks::default(),
                    decoration,
                },
                decorate: decorate.unwrap_or(Decorate::Nothing),
                group,
            }),
            budget: Arc::clone(build.budget),
        })
    }
}

fn topics(options: &mut Options<'_>) -> Option<Vec<String>> {
    let topics = options.strings("topics");
    let pattern = options.string("topics_pattern");
    if let Some(pattern) = pattern {
        if topics.is_some() {
            options.error(
                "topics",
                "`topics` and `topics_pattern` cannot both say what is read",
            );
        }
        // COMPAT: the pattern is for the whole name.
        return Some(vec![format!("^({pattern})$")]);
    }
    let topics: Vec<String> = match topics {
        Some(topics) => topics.into_iter().map(|topic| topic.value).collect(),
        None if options.has("topics") => return None,
        None => vec!["logstash".into()],
    };
    if topics.is_empty() {
        options.error("topics", "there is no topic");
    }
    if let Some(topic) = topics
        .iter()
        .find(|topic| topic.starts_with('^') || topic.is_empty())
    {
        options.error(
            "topics",
            format!("`{topic}` is no topic: write a pattern as `topics_pattern`"),
        );
    }
    Some(topics)
}

/// The library wants to have room for any message.
const LEAST_FETCH_BYTES: u64 = 1 << 20;

/// How much is fetched at a time, and kept before the pipeline takes it.
fn fetching(options: &mut Options<'_>, client: &mut ClientOptions) {
    for (option, setting, bounds, default) in [
        ("fetch_max_wait_ms", "fetch.wait.max.ms", 0..=300_000, 500),
        ("fetch_min_bytes", "fetch.min.bytes", 1..=100_000_000, 1),
        (
            "max_partition_fetch_bytes",
            "max.partition.fetch.bytes",
            1..=1_000_000_000,
            1 << 20,
        ),
        (
            "request_timeout_ms",
            "socket.timeout.ms",
            10..=300_000,
            40_000,
        ),
    ] {
        client.number(options, option, setting, bounds, default);
    }
    let prefetch = options.bytes("prefetch_max_bytes").unwrap_or(16 << 20);
    let prefetch = prefetch.clamp(LEAST_FETCH_BYTES, i32::MAX.unsigned_abs().into());
    client.set("queued.max.messages.kbytes", (prefetch >> 10).to_string());
    let fetch = options.integer(
        "fetch_max_bytes",
        LEAST_FETCH_BYTES as i64..=i64::from(i32::MAX) - 512,
    );
    let fetch = fetch.unwrap_or(50 << 20).unsigned_abs();
    client.set("fetch.max.bytes", fetch.min(prefetch).to_string());
    let check = options.boolean("check_crcs").unwrap_or(true);
    client.set("check.crcs", check.to_string());
    let levels = [
        ("read_uncommitted", "read_uncommitted"),
        ("read_committed", "read_committed"),
    ];
    let level = options.enumeration("isolation_level", &levels);
    client.set("isolation.level", level.unwrap_or("read_uncommitted"));
    let resets = [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("none", "error"),
    ];
    let reset = options.enumeration("auto_offset_reset", &resets);
    client.set("auto.offset.reset", reset.unwrap_or("latest"));
    if options.boolean("exclude_internal_topics").unwrap_or(true) {
        client.set(
            "topic.blacklist",
            "^__consumer_offsets$,^__transaction_state$,^__share_group_state$",
        );
    }
    if let Some(rack) = options.string("client_rack") {
        client.set("client.rack", rack);
    }
}

/// The strategy of Java that the library does not have.
const STICKY: &str = "sticky";

/// How the consumer is a member of its group.
fn membership(options: &mut Options<'_>, client: &mut ClientOptions) {
    for (option, setting, bounds, default) in [
        (
            "heartbeat_interval_ms",
            "heartbeat.interval.ms",
            1..=3_600_000,
            3_000,
        ),
        (
            "session_timeout_ms",
            "session.timeout.ms",
            1..=3_600_000,
            10_000,
        ),
        (
            "max_poll_interval_ms",
            "max.poll.interval.ms",
            1..=86_400_000,
            300_000,
        ),
    ] {
        client.number(options, option, setting, bounds, default);
    }
    let strategies = [
        ("range", "range"),
        ("round_robin", "roundrobin"),
        ("cooperative_sticky", "cooperative-sticky"),
        (STICKY, STICKY),
        ("org.apache.kafka.clients.consumer.RangeAssignor", "range"),
        (
            "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "roundrobin",
        ),
        (
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            "cooperative-sticky",
        ),
    ];
    let strategy = options.enumeration("partition_assignment_strategy", &strategies);
    if strategy == Some(STICKY) {
        options.error(
            "partition_assignment_strategy",
            "`sticky` is not there: use `cooperative_sticky`, `range` or `round_robin`, for all members of the group",
        );
    }
    client.set("partition.assignment.strategy", strategy.unwrap_or("range"));
}

fn without_effect(options: &mut Options<'_>) {
    options.without_effect(
        "enable_auto_commit",
        "an offset is committed when everything before it is safe",
    );
    for name in ["key_deserializer_class", "value_deserializer_class"] {
        options.without_effect(
            name,
            "keys and payloads are taken as bytes; the `codec` reads the payload",
        );
    }
    for name in [
        "schema_registry_url",
        "schema_registry_key",
        "schema_registry_secret",
        "schema_registry_proxy",
        "schema_registry_validation",
        "schema_registry_ssl_keystore_location",
        "schema_registry_ssl_keystore_password",
        "schema_registry_ssl_keystore_type",
        "schema_registry_ssl_truststore_location",
        "schema_registry_ssl_truststore_password",
        "schema_registry_ssl_truststore_type",
    ] {
        options.obsolete(
            name,
            "payloads with a schema of a registry (Avro) are not read",
        );
    }
}
