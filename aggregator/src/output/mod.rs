//! Outputs: where events go.
//!
//! An output is built once from its configuration and gives each worker a [`Writer`]. A writer
//! encodes the event where it stands, in the worker's thread, and takes a hold on the batch's
//! [`Ack`] that it gives back when the event is safe, whatever that means for the output.

mod dead_letter_queue;
pub mod deadline;
pub mod elasticsearch;
mod failure;
pub mod file;
mod gzip;
mod http;
mod kafka;
mod lumberjack;
pub mod null;
pub(crate) mod own_queue;
mod packing;
mod pipeline;
mod reach;
mod s3;
pub mod stdout;
mod tls_options;

use std::sync::Arc;

use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::language::{Code, Diagnostic, Diagnostics, EscapeStyle, Options, Plugin};
use skidder_pipeline::template::Template;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::dead_letter_queue::{LetterOptions, LetterWriter};
use self::deadline::Deadline;
use self::elasticsearch::{
    BulkSender, Delivery, DeliverySummary, ElasticsearchOptions, EventWriter, Templates,
};
use self::file::{FileOptions, FileWriter, Files};
use self::http::{HttpOptions, HttpWriter, Posts};
use self::kafka::{KafkaOptions, MessageWriter, Messages};
use self::lumberjack::{LumberjackOptions, WindowWriter, Windows};
use self::own_queue::{OwnQueue, OwnQueueOptions};
use self::packing::PackingWriter;
use self::pipeline::{PipelineEnd, PipelineOutput, Targets};
use self::s3::{ObjectWriter, Objects, Origin, S3Options};
use crate::ack::Ack;
use crate::addresses::Addresses;
use crate::dead_letter::{DeadLetterOptions, DeadLetters};
use crate::doctor::Report;
use crate::links::Links;
use crate::monitor::{Figures, OwnQueueWatch};
use crate::plugins;
use crate::runtime::RuntimeError;
use crate::settings::Settings;

/// The outputs there are.
pub const NAMES: &[&str] = &[
    "amazon_es",
    "dead_letter_queue",
    "elasticsearch",
    "file",
    "http",
    "kafka",
    "lumberjack",
    "null",
    "opensearch",
    "pipeline",
    "s3",
    "stdout",
];

/// A worker's end of an output.
pub trait Writer: Send {
    /// Takes the event. Blocks while the output cannot take more.
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack);

    /// Called when a batch has been handed out.
    fn end_of_batch(&mut self) {}

    /// Sends what waits.
    fn flush(&mut self);
}

/// An output that is built and not yet started.
pub struct Output {
    name: String,
    id: Option<String>,
    kind: Kind,
    own_queue: Option<OwnQueueOptions>,
}

enum Kind {
    DeadLetterQueue(Arc<LetterOptions>),
    Elasticsearch(Box<ElasticsearchOptions>, Arc<Templates>),
    File(Arc<Files>, Arc<dyn Codec>),
    Http(Box<HttpOptions>),
    Kafka(Box<KafkaOptions>),
    Lumberjack(Box<LumberjackOptions>),
    Null,
    Pipeline(PipelineOutput),
    S3(Box<S3Options>),
    Stdout(Arc<dyn Codec>),
}

/// A running output.
pub enum Running {
    /// Dead letters, and until when a failing write is tried again.
    DeadLetterQueue(Arc<LetterOptions>, Arc<DeadLetters>, Deadline),
    /// Bulk requests go to the delivery, which ends when every sender is gone.
    Elasticsearch(BulkSender, Arc<Templates>, JoinHandle<DeliverySummary>),
    /// Files, and until when a failing write is tried again.
    File(Arc<Files>, Arc<dyn Codec>, Deadline),
    /// Requests go to their own delivery, which ends when every sender is gone.
    Http(Posts, JoinHandle<DeliverySummary>),
    /// Messages go to a producer, and its thread ends when every sender is gone.
    Kafka(Messages, JoinHandle<DeliverySummary>),
    /// Windows go to their own delivery, which ends when every sender is gone.
    Lumberjack(Windows, JoinHandle<DeliverySummary>),
    /// Nothing.
    Null,
    /// A queue with the output behind it.
    Own(Box<OwnQueue>),
    /// Addresses, and until when what they do not take is tried again.
    Pipeline(Arc<Targets>, Deadline),
    /// Events go into objects, which their own delivery stores; it ends when every writer is gone.
    S3(Objects, JoinHandle<DeliverySummary>),
    /// Standard output.
    Stdout(Arc<dyn Codec>),
}

impl Output {
    /// The name of the plugin, and the `id` that it was given.
    pub(crate) fn names(&self) -> (&str, Option<&str>) {
        (&self.name, self.id.as_deref())
    }

    /// Notes what the output has to do with other pipelines.
    pub(crate) fn link(&self, links: &mut Links) {
        if let Kind::Pipeline(pipeline) = &self.kind {
            links.sends.extend_from_slice(&pipeline.send_to);
        }
    }

    /// What its own queue is called, if it has one.
    pub(crate) fn own_queue(&self) -> Option<&str> {
        self.own_queue.as_ref().map(|queue| queue.name.as_str())
    }

    /// Its name in messages.
    pub(crate) fn id(&self) -> &str {
        match &self.kind {
            Kind::Elasticsearch(options, _) => &options.plugin_id,
            _ => &self.name,
        }
    }

    /// Tries what the output needs of other machines, and changes nothing there.
    pub(crate) async fn examine(&self, report: &mut Report) {
        match &self.kind {
            Kind::Elasticsearch(options, templates) => {
                elasticsearch::examine(options, templates, report).await;
            }
            Kind::Http(options) => http::examine(options, report).await,
            #[cfg(feature = "kafka")]
            Kind::Kafka(options) => kafka::examine(options, report).await,
            Kind::Lumberjack(options) => lumberjack::examine(options, report).await,
            Kind::S3(options) => s3::examine(options, report).await,
            _ => {}
        }
    }

    /// Starts the output: what can fail, fails here.
    pub fn start(
        mut self,
        settings: &Settings,
        deadline: Deadline,
        addresses: &Addresses,
    ) -> Result<Running, RuntimeError> {
        let wanted = self.own_queue.take();
        let Some(queue) = wanted.filter(|_| settings.queue.own_queues) else {
            return self.start_plugin(settings, deadline, addresses, None);
        };
        let plugin =
            |deadline, origin| self.start_plugin(settings, deadline, addresses, Some(origin));
        let started = OwnQueue::start(&queue, settings, deadline, Box::new(plugin))?;
        Ok(Running::Own(Box::new(started)))
    }

    fn start_plugin(
        self,
        settings: &Settings,
        deadline: Deadline,
        addresses: &Addresses,
        origin: Option<Origin>,
    ) -> Result<Running, RuntimeError> {
        let failed = |reason| RuntimeError::Output {
            name: self.name.clone(),
            reason,
        };
        Ok(match self.kind {
            Kind::DeadLetterQueue(options) => {
                let letters = open_letters(&self.name, settings)?;
                Running::DeadLetterQueue(options, letters, deadline)
            }
            Kind::Elasticsearch(options, templates) => {
                let letters = open_letters(&self.name, settings)?;
                let (sender, delivery) = Delivery::start(*options, letters, deadline)
                    .map_err(|error| failed(error.to_string()))?;
                Running::Elasticsearch(sender, templates, delivery)
            }
            Kind::File(files, codec) => Running::File(files, codec, deadline),
            Kind::Http(options) => {
                let (posts, delivery) =
                    http::start(*options, open_letters(&self.name, settings)?, deadline)
                        .map_err(failed)?;
                Running::Http(posts, delivery)
            }
            Kind::Kafka(options) => {
                let (messages, delivery) =
                    kafka::start(*options, open_letters(&self.name, settings)?, deadline)
                        .map_err(failed)?;
                Running::Kafka(messages, delivery)
            }
            Kind::Lumberjack(options) => {
                let (windows, delivery) = lumberjack::start(*options, deadline).map_err(failed)?;
                Running::Lumberjack(windows, delivery)
            }
            Kind::Null => Running::Null,
            Kind::Pipeline(pipeline) => {
                Running::Pipeline(Arc::new(pipeline.targets(addresses)), deadline)
            }
            Kind::S3(options) => {
                let (objects, delivery) = s3::start(*options, origin, deadline).map_err(failed)?;
                Running::S3(objects, delivery)
            }
            Kind::Stdout(codec) => Running::Stdout(codec),
        })
    }
}

impl Running {
    /// A writer for one worker.
    pub fn writer(&self) -> Box<dyn Writer> {
        match self {
            Self::DeadLetterQueue(options, letters, deadline) => Box::new(LetterWriter::new(
                Arc::clone(options),
                Arc::clone(letters),
                Box::new(giving_up(deadline)),
            )),
            Self::Elasticsearch(sender, templates, _) => {
                Box::new(EventWriter::new(Arc::clone(templates), sender.clone()))
            }
            Self::File(files, codec, deadline) => Box::new(FileWriter::new(
                Arc::clone(files),
                Arc::clone(codec),
                Box::new(giving_up(deadline)),
            )),
            Self::Http(posts, _) => Box::new(HttpWriter::new(posts.clone())),
            Self::Kafka(messages, _) => Box::new(MessageWriter::new(messages.clone())),
            Self::Lumberjack(windows, _) => Box::new(WindowWriter::new(windows.clone())),
            Self::Null => Box::new(null::NullWriter),
            Self::Own(queue) => queue.writer(),
            Self::Pipeline(targets, deadline) => Box::new(PackingWriter::new(PipelineEnd {
                targets: Arc::clone(targets),
                deadline: deadline.clone(),
            })),
            Self::S3(objects, _) => Box::new(ObjectWriter::new(objects.clone())),
            Self::Stdout(codec) => Box::new(stdout::StdoutWriter::new(Arc::clone(codec))),
        }
    }

    /// What says how its deliveries go; nothing for outputs that have an event as soon as they are given it.
    pub(crate) fn figures(&self) -> Option<Figures> {
        match self {
            Self::Elasticsearch(sender, _, _) => Some(Arc::new(sender.figures())),
            Self::Http(posts, _) => Some(Arc::new(posts.figures())),
            Self::Kafka(messages, _) => Some(Arc::new(messages.figures())),
            Self::Lumberjack(windows, _) => Some(Arc::new(windows.figures())),
            Self::Own(queue) => queue.figures(),
            Self::S3(objects, _) => Some(Arc::new(objects.figures())),
            Self::DeadLetterQueue(..)
            | Self::File(..)
            | Self::Null
            | Self::Pipeline(..)
            | Self::Stdout(_) => None,
        }
    }

    /// What tells how much waits in the queue of its own, if it has one.
    pub(crate) fn queue_watch(&self) -> Option<OwnQueueWatch> {
        match self {
            Self::Own(queue) => Some(queue.watch()),
            _ => None,
        }
    }

    /// Waits until everything is delivered. Every writer must be gone.
    pub async fn finish(self) -> Result<(), RuntimeError> {
        // The delivery ends when its sender is gone.
        let (name, delivery) = match self {
            Self::Elasticsearch(sender, _, delivery) => {
                drop(sender);
                ("elasticsearch", delivery)
            }
            Self::Http(posts, delivery) => {
                drop(posts);
                ("http", delivery)
            }
            Self::Kafka(messages, delivery) => {
                drop(messages);
                ("kafka", delivery)
            }
            Self::Lumberjack(windows, delivery) => {
                drop(windows);
                ("lumberjack", delivery)
            }
            Self::S3(objects, delivery) => {
                drop(objects);
                ("s3", delivery)
            }
            Self::Own(queue) => return queue.finish().await,
            Self::Pipeline(targets, _) => {
                let events = targets.finish().await;
                return if events == 0 {
                    Ok(())
                } else {
                    Err(RuntimeError::Undelivered { events })
                };
            }
            Self::DeadLetterQueue(..) | Self::File(..) | Self::Null | Self::Stdout(_) => {
                return Ok(());
            }
        };
        let summary = delivery
            .await
            .map_err(|_| RuntimeError::Died("an output"))?;
        tracing::info!(
            delivered = summary.delivered,
            duplicates = summary.duplicates,
            dead_lettered = summary.dead_lettered,
            undelivered = summary.undelivered,
            "output {name} ended"
        );
        if summary.undelivered > 0 {
            return Err(RuntimeError::Undelivered {
                events: summary.undelivered,
            });
        }
        Ok(())
    }
}

/// The dead letters of the pipeline, for the output of this name.
fn open_letters(name: &str, settings: &Settings) -> Result<Arc<DeadLetters>, RuntimeError> {
    DeadLetters::open(DeadLetterOptions::of(settings)).map_err(|error| RuntimeError::Output {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

/// Says when what fails is not tried again.
fn giving_up(deadline: &Deadline) -> impl Fn() -> bool + Send + use<> {
    let deadline = deadline.clone();
    move || deadline.borrow().is_some_and(|at| Instant::now() >= at)
}

/// Builds the outputs of a configuration; what is wrong goes into `diagnostics`.
pub fn build(
    settings: &Settings,
    plugins: &[Plugin],
    diagnostics: &mut Diagnostics,
) -> Vec<Output> {
    let each = plugins.iter().enumerate();
    each.filter_map(|(at, plugin)| build_one(plugin, &plugins[..at], settings, diagnostics))
        .collect()
}

fn build_one(
    plugin: &Plugin,
    before: &[Plugin],
    settings: &Settings,
    diagnostics: &mut Diagnostics,
) -> Option<Output> {
    let mut options =
        Options::new(plugin, "output", diagnostics).with_escape_style(settings.escape_style);
    let kind = match plugin.name.value.as_str() {
        "dead_letter_queue" => Some(Kind::DeadLetterQueue(Arc::new(
            LetterOptions::from_options(&mut options, settings),
        ))),
        "elasticsearch" | "opensearch" | elasticsearch::ALWAYS_SIGNS => {
            elasticsearch_from_options(&mut options, settings)
        }
        "file" => file_from_options(&mut options, settings),
        "http" => {
            HttpOptions::from_options(&mut options, settings).map(|read| Kind::Http(Box::new(read)))
        }
        "kafka" => KafkaOptions::from_options(&mut options, settings)
            .map(|read| Kind::Kafka(Box::new(read))),
        "lumberjack" => Some(Kind::Lumberjack(Box::new(LumberjackOptions::from_options(
            &mut options,
        )))),
        "null" => Some(Kind::Null),
        "pipeline" => PipelineOutput::from_options(&mut options).map(Kind::Pipeline),
        "s3" => {
            S3Options::from_options(&mut options, settings).map(|read| Kind::S3(Box::new(read)))
        }
        "stdout" => codec_of(&mut options, settings, "rubydebug").map(Kind::Stdout),
        unknown => {
            let message = format!("unknown output `{unknown}`");
            diagnostics.push(
                Diagnostic::error(plugin.name.span, message)
                    .code(Code::UnknownPlugin)
                    .did_you_mean(unknown, NAMES.iter().copied()),
            );
            return None;
        }
    };
    let id = options.string("id");
    options.boolean("enable_metric");
    let own_queue = OwnQueueOptions::from_options(&mut options, before);
    options.without_effect("workers", "every pipeline worker writes to every output");
    options.finish();
    let valid = options.is_valid();
    Some(Output {
        name: plugin.name.value.clone(),
        id,
        kind: kind.filter(|_| valid)?,
        own_queue,
    })
}

/// The option `codec` of an output.
fn codec_of(
    options: &mut Options<'_>,
    settings: &Settings,
    default: &str,
) -> Option<Arc<dyn Codec>> {
    let ecs = settings.ecs_compatibility.is_enabled();
    plugins::codec(options, default, ecs, settings).map(|(_, codec)| codec)
}

/// A text option that may have `%{…}` in it; an empty one counts as not set.
pub(crate) fn template(
    options: &mut Options<'_>,
    name: &'static str,
    escape_style: EscapeStyle,
) -> Option<Template> {
    let text = options
        .spanned_string(name)
        .filter(|text| !text.value.is_empty())?;
    match Template::parse(&text.value, escape_style) {
        Ok(template) => Some(template),
        Err(error) => {
            options.diagnostics().error(text.span, error.to_string());
            None
        }
    }
}

fn elasticsearch_from_options(options: &mut Options<'_>, settings: &Settings) -> Option<Kind> {
    // COMPAT: this output takes no notice of a codec, but Logstash accepts one.
    options.without_effect("codec", "documents are always JSON");
    let templates = Templates::from_options(options, settings);
    let plugin_id = options
        .string("id")
        .unwrap_or_else(|| options.plugin().name.value.clone());
    let mut delivery = ElasticsearchOptions::from_options(options, plugin_id);
    let mut templates = templates?;
    delivery.management = templates.management.take();
    if options.plugin().name.value == elasticsearch::ALWAYS_SIGNS
        && options.boolean("skip_template_installation") == Some(true)
    {
        delivery.management = None;
    }
    Some(Kind::Elasticsearch(Box::new(delivery), Arc::new(templates)))
}

fn file_from_options(options: &mut Options<'_>, settings: &Settings) -> Option<Kind> {
    let path = template(options, "path", settings.escape_style);
    if !options.has("path") {
        options.missing("path");
    }
    let codec = codec_of(options, settings, "json_lines");
    let mode = |options: &mut Options<'_>, name| {
        let mode = options.integer(name, -1..=0o7777)?;
        // COMPAT: Ruby writes modes in octal, but the language only knows decimal numbers.
        u32::try_from(mode).ok()
    };
    let overwrite = options
        .enumeration("write_behavior", &[("append", false), ("overwrite", true)])
        .unwrap_or(false);
    options.without_effect(
        "flush_interval",
        "what a batch wrote is flushed at the end of the batch",
    );
    options.without_effect(
        "stale_cleanup_interval",
        "idle files are closed after ten seconds",
    );
    let file_options = FileOptions {
        failure_name: options
            .string("filename_failure")
            .unwrap_or_else(|| "_filepath_failures".into()),
        create_if_deleted: options.boolean("create_if_deleted").unwrap_or(true),
        file_mode: mode(options, "file_mode"),
        directory_mode: mode(options, "dir_mode"),
        overwrite,
        gzip: options.boolean("gzip").unwrap_or(false),
        path: path?,
    };
    Some(Kind::File(Arc::new(Files::new(file_options)), codec?))
}
