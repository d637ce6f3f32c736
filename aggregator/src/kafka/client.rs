//! The library's configuration, and its log in ours.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tracing::{Span, debug, info, warn};

use super::ClientOptions;
use crate::throttle::Throttle;

/// The configuration of a client with these options, to which `more` is added.
pub(crate) fn config(options: &ClientOptions, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in options.settings() {
        config.set(name, value);
    }
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// Writes what a client's threads say into the log, as lines of the pipeline that the client is of.
pub(crate) struct Voice {
    plugin: String,
    span: Span,
    failing: Throttle,
}

impl Voice {
    /// The voice of a plugin of this name.
    pub(crate) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            span: Span::current(),
            failing: Throttle::default(),
        }
    }

    /// A line of the library's own log. It keeps repeated ones to one in thirty seconds by itself.
    ///
    /// Nothing that it tells ends anything here, so that its errors are warnings.
    pub(crate) fn line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.span.in_scope(|| match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                warn!(plugin = self.plugin, facility, "librdkafka: {text}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(plugin = self.plugin, facility, "librdkafka: {text}");
            }
            RDKafkaLogLevel::Debug => debug!(plugin = self.plugin, facility, "librdkafka: {text}"),
        });
    }

    /// Something does not work for now.
    pub(crate) fn failure(&self, error: &KafkaError, reason: &str) {
        if let Some(count) = self.failing.due(1) {
            self.span.in_scope(|| {
                warn!(plugin = self.plugin, %error, reason, count, "trouble with Kafka, trying again");
            });
        }
    }
}
