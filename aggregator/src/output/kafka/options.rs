//! What the configuration says about a `kafka` output.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "without the feature options are only checked")
)]

use std::sync::Arc;

use skidder_pipeline::codec::Codec;
use skidder_pipeline::language::Options;
use skidder_pipeline::template::Template;

use crate::kafka::{ClientOptions, refuse_unless_built};
use crate::output::template;
use crate::plugins;
use crate::settings::Settings;

/// The options of one output.
#[derive(Debug)]
pub(in crate::output) struct KafkaOptions {
    pub(super) plugin_id: String,
    pub(super) client: ClientOptions,
    /// `topic_id`.
    pub(super) topic: Template,
    /// `message_key`.
    pub(super) key: Option<Template>,
    /// `message_headers`.
    pub(super) headers: Vec<(String, Template)>,
    pub(super) codec: Arc<dyn Codec>,
    /// The codec writes the whole event as JSON.
    pub(super) whole_event: bool,
    /// `buffer_memory`.
    pub(super) buffer_bytes: usize,
    /// `partitioner => "round_robin"`: one after the other, whatever the key.
    pub(super) round_robin: bool,
}

impl KafkaOptions {
    /// Reads the options; what is wrong is reported through `options`.
    pub(in crate::output) fn from_options(
        options: &mut Options<'_>,
        settings: &Settings,
    ) -> Option<Self> {
        let ecs = settings.ecs_compatibility.is_enabled();
        let codec = plugins::codec(options, "plain", ecs, settings);
        let topic = template(options, "topic_id", settings.escape_style);
        match &topic {
            None if !options.has("topic_id") => options.missing("topic_id"),
            Some(topic) if topic.is_literal() && !is_topic(topic.as_str()) => {
                options.error("topic_id", NO_TOPIC);
            }
            _ => {}
        }
        let key = template(options, "message_key", settings.escape_style);
        let headers = headers(options, settings);
        let mut client = ClientOptions::from_options(options);
        if let Some(id) = options.string("client_id") {
            client.set("client.id", id);
        }
        sending(options, &mut client);
        let buffer_bytes = options.bytes("buffer_memory").unwrap_or(32 << 20);
        let buffer_bytes = usize::try_from(buffer_bytes).unwrap_or(usize::MAX).max(1);
        // The writers hold to the bound; the library is only kept from having one of its own that is smaller.
        client.set("queue.buffering.max.kbytes", i32::MAX.to_string());
        client.set("queue.buffering.max.messages", "0");
        client.number(
            options,
            "max_request_size",
            "message.max.bytes",
            1_000..=1_000_000_000,
            1 << 20,
        );
        // What the library does by itself, and whether ours does it.
        let partitioners = [
            ("default", ("murmur2_random", false)),
            ("uniform_sticky", ("random", false)),
            ("round_robin", ("random", true)),
        ];
        let partitioner = options.enumeration("partitioner", &partitioners);
        let (partitioner, round_robin) = partitioner.unwrap_or(partitioners[0].1);
        client.set("partitioner", partitioner);
        without_effect(options);
        refuse_unless_built(options);
        let (plugin, codec) = codec?;
        Some(Self {
            plugin_id: options.string("id").unwrap_or_else(|| "kafka".to_owned()),
            client,
            topic: topic?,
            key,
            headers: headers?,
            codec,
            whole_event: ["json", "json_lines"].contains(&plugin.name.value.as_str()),
            buffer_bytes,
            round_robin,
        })
    }
}

pub(super) const NO_TOPIC: &str =
    "a topic has 1 to 249 letters, digits, points, underscores and hyphens, and is not `.` or `..`";

/// Whether a broker may have a topic of this name.
pub(super) fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && ![".", ".."].contains(&name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn headers(options: &mut Options<'_>, settings: &Settings) -> Option<Vec<(String, Template)>> {
    let mut headers = Vec::new();
    let mut fits = true;
    for (name, value) in options.string_hash("message_headers").unwrap_or_default() {
        match Template::parse(&value.value, settings.escape_style) {
            Ok(template) => headers.push((name.value, template)),
            Err(error) => {
                options.diagnostics().error(value.span, error.to_string());
                fits = false;
            }
        }
    }
    fits.then_some(headers)
}

/// How messages are put together and acknowledged.
fn sending(options: &mut Options<'_>, client: &mut ClientOptions) {
    let acks = [("all", "all"), ("-1", "all"), ("1", "1"), ("0", "0")];
    let acks = options.enumeration("acks", &acks).unwrap_or("all");
    if acks != "all" {
        options.warning(
            "acks",
            "a message that one broker has, or none, can be lost after it was acknowledged: only `all` keeps every event",
        );
    }
    client.set("acks", acks);
    client.set("enable.idempotence", (acks == "all").to_string());
    // Tried again for as long as it takes.
    client.set("message.timeout.ms", "0");
    for (option, setting, bounds, default) in [
        ("batch_size", "batch.size", 1..=i64::from(i32::MAX), 16_384),
        ("linger_ms", "linger.ms", 0..=900_000, 0),
        (
            "request_timeout_ms",
            "request.timeout.ms",
            1..=900_000,
            40_000,
        ),
    ] {
        client.number(options, option, setting, bounds, default);
    }
    let compressions = ["none", "gzip", "snappy", "lz4", "zstd"].map(|name| (name, name));
    let compression = options.enumeration("compression_type", &compressions);
    client.set("compression.type", compression.unwrap_or("none"));
}

fn without_effect(options: &mut Options<'_>) {
    options.without_effect("retries", "a message is sent again until it is taken");
    options.without_effect(
        "metadata_fetch_timeout_ms",
        "nothing waits for metadata; messages do, for as long as it takes",
    );
    for name in ["key_serializer", "value_serializer"] {
        options.without_effect(
            name,
            "keys and payloads are sent as the bytes that they are",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics() {
        for name in ["logs", "a.b_c-D9", &"x".repeat(249)] {
            assert!(is_topic(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "ä",
            "%{type}",
            &"x".repeat(250),
        ] {
            assert!(!is_topic(name), "{name}");
        }
    }
}
