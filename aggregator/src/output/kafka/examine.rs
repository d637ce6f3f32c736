//! What `doctor` asks the brokers: who they are, and whether the topic is there. Nothing is sent, and no topic is made by the question.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use super::options::KafkaOptions;
use crate::doctor::Report;
use crate::kafka::client::config;

/// For the question. The library tries every broker again and again meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps why the last attempt failed: the question itself only says that time is up.
#[derive(Default)]
struct Reasons(Mutex<Option<String>>);

impl ClientContext for Reasons {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, text: &str) {
        if level as i32 <= RDKafkaLogLevel::Error as i32 {
            self.keep(text);
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.keep(reason);
    }
}

impl Reasons {
    fn keep(&self, reason: &str) {
        // That no broker is left follows from what was said before.
        let follows = reason.is_empty() || reason.contains("brokers are down");
        if !follows && let Ok(mut last) = self.0.lock() {
            *last = Some(reason.to_owned());
        }
    }

    fn last(&self) -> Option<String> {
        self.0.lock().ok()?.take()
    }
}

impl ProducerContext for Reasons {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// Asks the brokers.
pub(in crate::output) async fn examine(options: &KafkaOptions, report: &mut Report) {
    let config = config(&options.client, &[]);
    let asked = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer<Reasons> =
            BaseProducer::from_config_and_context(&config, Reasons::default())
                .map_err(|error| error.to_string())?;
        // All topics: a question about one would make it, where brokers do that.
        let answer = producer.client().fetch_metadata(None, PATIENCE);
        answer.map_err(|error| why(&producer, &error))
    });
    match asked.await {
        Ok(Ok(metadata)) => tell(options, &metadata, report),
        Ok(Err(reason)) => {
            report.error("servers", &reason);
            report.hint(
                "servers",
                "are `bootstrap_servers` the brokers' own names and ports, and do `security_protocol`, the `ssl_` and the `sasl_` options fit them?",
            );
        }
        Err(error) => report.error("servers", &format!("the question ended: {error}")),
    }
}

fn why(producer: &BaseProducer<Reasons>, error: &KafkaError) -> String {
    // What has happened is told when somebody asks for it, one thing at a time.
    for _ in 0..100 {
        producer.poll(Duration::ZERO);
    }
    match producer.context().last() {
        Some(reason) => format!("{error}: {reason}"),
        None => format!("no answer within {PATIENCE:?}: {error}"),
    }
}

fn tell(options: &KafkaOptions, metadata: &Metadata, report: &mut Report) {
    let brokers = metadata.brokers().iter();
    let brokers: Vec<String> = brokers
        .map(|broker| format!("{}:{}", broker.host(), broker.port()))
        .collect();
    report.ok("servers", &brokers.join(", "));
    if !options.topic.is_literal() {
        return report.unknown("topic", "its name follows from the event");
    }
    let name = options.topic.as_str();
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return report.hint(
            "topic",
            &format!(
                "`{name}` is not there, or this user may not see it: unless the brokers make topics by themselves, make it, and \
                 give the user the rights to describe it and to write to it"
            ),
        );
    };
    let partitions = topic.partitions();
    let headless = partitions.iter().filter(|partition| partition.leader() < 0);
    let headless = headless.count();
    if headless > 0 {
        let all = partitions.len();
        return report.error(
            "topic",
            &format!(
                "{headless} of {all} partitions of `{name}` have no leader: are all brokers up?"
            ),
        );
    }
    report.ok(
        "topic",
        &format!("`{name}` with {} partitions", partitions.len()),
    );
}
