//! The options of a queue of an output's own, which every output takes, and the name that its directory has.

use std::fmt::Write as _;

use skidder_pipeline::language::{Attribute, Code, Diagnostic, Options, Plugin, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::queue::places::Label;

/// Bytes of the queue, unless something else is said.
const DEFAULT_MAX_BYTES: u64 = 1 << 30;

/// Fewest bytes of it: as for the queue of a pipeline.
const MIN_MAX_BYTES: u64 = 1 << 20;

/// The output that collects events for minutes before it stores them: it has a queue of its own unless it is told not to.
const COLLECTS: &str = "s3";

/// What the configuration says of the queue of an output.
#[derive(Debug)]
pub(crate) struct OwnQueueOptions {
    /// `queue_max_bytes`
    pub(super) max_bytes: u64,
    /// `when_full` is `shed`.
    pub(super) sheds: bool,
    /// `id` was given, so it is the same output whatever becomes of its options.
    pub(super) has_id: bool,
    /// The output's name.
    pub(crate) name: String,
    /// A hash of its options.
    pub(super) options: u64,
}

impl OwnQueueOptions {
    /// Reads the options; nothing if the output is to have no queue. `before` are the plugins that stand before this one.
    pub(in crate::output) fn from_options(
        options: &mut Options<'_>,
        before: &[Plugin],
    ) -> Option<Self> {
        let own = options.enumeration("queue", &[("shared", false), ("own", true)]);
        let always = options.plugin().name.value == COLLECTS;
        if always && own == Some(false) {
            options.warning(
                "queue",
                "without a queue of its own this output holds the acknowledgements of senders back until an object is \
                 full, and after a crash events may be in two objects",
            );
        }
        let own = own.unwrap_or(always);
        let max_bytes = options.bytes("queue_max_bytes");
        let sheds = options.enumeration("when_full", &[("block", false), ("shed", true)]);
        if !own {
            for name in ["queue_max_bytes", "when_full"] {
                if options.has(name) {
                    options.error(
                        name,
                        "this is about a queue of the output's own: add `queue => own`",
                    );
                }
            }
            return None;
        }
        if max_bytes.is_some_and(|bytes| bytes < MIN_MAX_BYTES) {
            options.error("queue_max_bytes", "a queue needs at least 1 MiB");
        }
        let plugin = options.plugin();
        let id = id_of(plugin);
        let kind = plugin.name.value.as_str();
        let same = |other: &&Plugin| other.name.value == kind && id_of(other).is_none();
        let name = match (id, before.iter().filter(same).count()) {
            (Some(id), _) => id.to_owned(),
            (None, 0) => kind.to_owned(),
            (None, others) => format!("{kind}#{}", others + 1),
        };
        if id.is_none() && before.iter().any(|other| other.name.value == kind) {
            let message = format!(
                "the queue of this output is found again by its place among the `{kind}` outputs"
            );
            let span = options.span("queue");
            options.diagnostics().push(
                Diagnostic::warning(span, message)
                    .code(Code::OptionValue)
                    .hint("give it an `id`, then what waits stays with it when others come or go"),
            );
        }
        Some(Self {
            max_bytes: max_bytes.unwrap_or(DEFAULT_MAX_BYTES),
            sheds: sheds.unwrap_or(false),
            has_id: id.is_some(),
            name,
            options: hash_of(plugin),
        })
    }

    /// What is written beside the queue.
    pub(super) fn label(&self) -> Label {
        Label {
            output: self.name.clone(),
            max_bytes: self.max_bytes,
            options: self.options,
        }
    }
}

fn id_of(plugin: &Plugin) -> Option<&str> {
    let id = plugin
        .attributes
        .iter()
        .find(|given| given.name.value == "id")?;
    id.value.value.as_text()
}

/// A hash of what the plugin is and does, wherever it stands. Secrets change, and are nobody's
/// business: they are not in it.
fn hash_of(plugin: &Plugin) -> u64 {
    let mut text = String::new();
    write_plugin(plugin, &mut text);
    xxh3_64(text.as_bytes())
}

fn write_plugin(plugin: &Plugin, text: &mut String) {
    text.push_str(&plugin.name.value);
    text.push('{');
    for Attribute { name, value } in &plugin.attributes {
        let is_secret = ["password", "secret", "key", "token", "user"]
            .iter()
            .any(|word| name.value.contains(word));
        if !is_secret {
            text.push_str(&name.value);
            write_value(&value.value, text);
        }
    }
    text.push('}');
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => {
            let _infallible = write!(text, "{number:?}");
        }
        Value::Bareword(word) | Value::String(word) => {
            let _infallible = write!(text, "{word:?}");
        }
        Value::Array(values) => {
            for value in values {
                write_value(&value.value, text);
                text.push(',');
            }
        }
        Value::Hash(entries) => {
            for entry in entries {
                text.push_str(&entry.key_text());
                text.push(':');
                write_value(&entry.value.value, text);
            }
        }
        Value::Plugin(plugin) => write_plugin(plugin, text),
    }
}
