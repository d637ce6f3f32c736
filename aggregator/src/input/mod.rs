//! Inputs: where batches come from.
//!
//! An input puts [`Batch`]es into the queue, which is bounded: when it is full the input waits,
//! and whoever sends to it feels that. What costs time (reading records into events) is left to
//! the workers.

pub mod beats;
mod connection;
mod cron;
pub mod dead_letters;
mod decoding;
pub mod decoration;
mod exec;
mod file;
pub mod generator;
mod handshakes;
mod heartbeat;
mod http;
mod identity;
mod kafka;
pub(crate) mod listener;
mod local;
mod native_line;
mod pipe;
mod pipeline;
mod process;
mod proxy_protocol;
mod received;
pub mod stdin;
mod stored_window;
mod syslog;
mod tcp;
pub mod tls;
mod tls_options;
mod udp;
mod unix;

use std::pin::Pin;
use std::sync::Arc;

use skidder_lumberjack::ByteBudget;
use skidder_pipeline::codec::Codec;
use skidder_pipeline::language::{
    Code, Diagnostic, Diagnostics, Options, Plugin, Span, Spanned, Statement,
};
use tokio::sync::{mpsc, watch};

use self::beats::BeatsInput;
use self::dead_letters::DeadLetterInput;
use self::decoration::Decoration;
use self::exec::ExecInput;
use self::file::FileInput;
use self::generator::GeneratorInput;
use self::heartbeat::HeartbeatInput;
use self::kafka::KafkaInput;
use self::pipe::PipeInput;
use self::pipeline::PipelineInput;
use self::stdin::StdinInput;
use self::syslog::SyslogInput;
use self::tcp::TcpInput;
use self::udp::UdpInput;
use self::unix::UnixInput;
use crate::addresses::Addresses;
use crate::links::Links;
use crate::monitor::InputWatch;
use crate::plugins;
use crate::queue::packed::Receiver;
use crate::queue::stored::{Restore, Sources};
use crate::runtime::RuntimeError;
use crate::settings::Settings;
use crate::worker::Batch;

/// The inputs there are.
pub const NAMES: &[&str] = &[
    "beats",
    "dead_letter_queue",
    "elasticsearch_bulk",
    "exec",
    "file",
    "generator",
    "heartbeat",
    "http",
    "kafka",
    "lumberjack",
    "otlp",
    "pipeline",
    "pipe",
    "stdin",
    "syslog",
    "tcp",
    "udp",
    "unix",
];

/// An input that is built and not yet started.
pub struct Input {
    name: String,
    /// What the disk queue calls it.
    source: String,
    /// Where its name stands.
    span: Span,
    kind: Kind,
}

enum Kind {
    Beats(Box<BeatsInput>),
    DeadLetters(DeadLetterInput),
    Exec(Box<ExecInput>),
    File(Box<FileInput>),
    Generator(GeneratorInput),
    Heartbeat(HeartbeatInput),
    Http(Box<http::server::Server>),
    Kafka(Box<KafkaInput>),
    Pipeline(PipelineInput),
    Pipe(PipeInput),
    Stdin(Arc<StdinInput>),
    Syslog(Box<SyslogInput>),
    Tcp(TcpInput),
    Udp(UdpInput),
    Unix(UnixInput),
}

/// A running input; ends when the input has ended.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Input {
    /// Whether it reads standard input.
    pub fn is_stdin(&self) -> bool {
        matches!(self.kind, Kind::Stdin(_))
    }

    /// Whether events of other pipelines come in by it: it is told apart when those have ended.
    pub(crate) fn is_pipeline(&self) -> bool {
        matches!(self.kind, Kind::Pipeline(_))
    }

    /// Notes what the input has to do with other pipelines.
    pub(crate) fn link(&self, links: &mut Links) {
        match &self.kind {
            Kind::Pipeline(pipeline) => links.listens.push(pipeline.address.clone()),
            Kind::Stdin(_) => links.stdin.push(self.span),
            _ => {}
        }
    }

    /// What is watched of it.
    pub(crate) fn watch(&self) -> InputWatch {
        let connections = match &self.kind {
            Kind::Beats(beats) => Some(&beats.connections),
            Kind::Http(server) => Some(&server.connections),
            Kind::Syslog(syslog) => Some(&syslog.connections.counts),
            Kind::Tcp(tcp) => Some(&tcp.connections.counts),
            Kind::DeadLetters(_)
            | Kind::Exec(_)
            | Kind::File(_)
            | Kind::Generator(_)
            | Kind::Heartbeat(_)
            | Kind::Kafka(_)
            | Kind::Pipe(_)
            | Kind::Pipeline(_)
            | Kind::Stdin(_)
            | Kind::Udp(_)
            | Kind::Unix(_) => None,
        };
        InputWatch {
            id: self.source.clone(),
            name: self.name.clone(),
            connections: connections.map(Arc::clone),
        }
    }

    /// Tells the disk queue how to read this input's batches.
    pub fn add_to(&self, sources: &mut Sources) {
        match &self.kind {
            Kind::Beats(beats) => {
                sources.add(&self.source, Arc::clone(&beats.decoder) as Arc<dyn Restore>);
            }
            Kind::Stdin(stdin) => sources.add(&self.source, Arc::clone(stdin) as Arc<dyn Restore>),
            Kind::Pipeline(pipeline) => {
                sources.add(
                    &self.source,
                    Arc::clone(&pipeline.receiver) as Arc<dyn Restore>,
                );
            }
            Kind::Syslog(syslog) => sources.add(&self.source, syslog.stored()),
            Kind::Tcp(tcp) => sources.add(&self.source, tcp.stored()),
            Kind::Udp(udp) => sources.add(&self.source, udp.stored()),
            Kind::Http(server) => match server.stored() {
                Some(stored) => sources.add(&self.source, stored),
                None => self.add_packed_to(sources),
            },
            Kind::DeadLetters(_)
            | Kind::Exec(_)
            | Kind::File(_)
            | Kind::Generator(_)
            | Kind::Heartbeat(_)
            | Kind::Kafka(_)
            | Kind::Pipe(_)
            | Kind::Unix(_) => self.add_packed_to(sources),
        }
    }

    /// Its batches are kept as the events that they decode to, which are complete.
    fn add_packed_to(&self, sources: &mut Sources) {
        let receiver = Receiver {
            name: self.source.clone(),
            ..Receiver::bare()
        };
        sources.add(&self.source, Arc::new(receiver));
    }

    /// Starts the input: what can fail, fails here.
    pub async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        shutdown: watch::Receiver<bool>,
        addresses: &Addresses,
    ) -> Result<Running, RuntimeError> {
        let name = self.name;
        let named = |started: Result<Running, String>| {
            started.map_err(|reason| RuntimeError::Input { name, reason })
        };
        match self.kind {
            Kind::Beats(beats) => {
                let bound = beats.bind().await;
                let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
                let (address, listener) = match bound {
                    Ok(bound) => bound,
                    Err(error) => {
                        let address = &beats.address;
                        return named(Err(format!("cannot listen on {address}: {error}")));
                    }
                };
                let address = address.to_string();
                tracing::info!(address, tls = beats.tls.is_some(), "listening");
                Ok(Box::pin(beats.run(listener, queue, shutdown)))
            }
            Kind::DeadLetters(letters) => Ok(Box::pin(letters.run(queue, shutdown))),
            Kind::Exec(exec) => Ok(exec.start(queue, shutdown)),
            Kind::File(file) => named(file.start(queue, shutdown).await),
            Kind::Generator(generator) => Ok(Box::pin(generator.run(queue, shutdown))),
            Kind::Heartbeat(heartbeat) => Ok(heartbeat.start(queue, shutdown)),
            Kind::Http(server) => named(server.start(queue, shutdown).await),
            Kind::Kafka(kafka) => named(kafka.start(queue, shutdown).await),
            Kind::Pipeline(pipeline) => named(pipeline.start(addresses, queue, shutdown)),
            Kind::Pipe(pipe) => Ok(pipe.start(queue, shutdown)),
            Kind::Stdin(stdin) => Ok(Box::pin(stdin.run(queue, shutdown))),
            Kind::Syslog(syslog) => named(syslog.start(queue, shutdown).await),
            Kind::Tcp(tcp) => named(tcp.start(queue, shutdown).await),
            Kind::Udp(udp) => named(udp.start(queue, shutdown).await),
            Kind::Unix(unix) => named(unix.start(queue, shutdown).await),
        }
    }
}

/// What building an input needs to know.
pub struct Build<'a> {
    /// The settings of the pipeline.
    pub settings: &'a Settings,
    /// The memory that all listeners share.
    pub budget: &'a Arc<ByteBudget>,
    /// What the disk queue calls the input.
    pub name: &'a str,
}

impl Build<'_> {
    /// Whether the input uses the names of the Elastic Common Schema.
    fn ecs(&self, options: &mut Options<'_>) -> bool {
        let choices = [("disabled", false), ("v1", true), ("v8", true)];
        options
            .enumeration("ecs_compatibility", &choices)
            .unwrap_or_else(|| self.settings.ecs_compatibility.is_enabled())
    }

    /// The input's codec, or the one called `default`; with its name.
    fn codec(
        &self,
        options: &mut Options<'_>,
        default: &str,
        ecs: bool,
    ) -> Option<(Plugin, Arc<dyn Codec>)> {
        plugins::codec(options, default, ecs, self.settings)
    }
}

/// Builds the inputs of a configuration; what is wrong goes into `diagnostics`.
pub fn build(
    settings: &Settings,
    statements: &[Statement],
    budget: &Arc<ByteBudget>,
    diagnostics: &mut Diagnostics,
) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => {
                let name = source_name(plugin, &inputs);
                let build = Build {
                    settings,
                    budget,
                    name: &name,
                };
                inputs.extend(build_one(plugin, &build, diagnostics));
            }
            Statement::If(statement) => diagnostics.push(
                Diagnostic::error(statement.span, "a condition around an input has no meaning")
                    .code(Code::Condition)
                    .hint(
                        "inputs have no event to test: put the condition into `filter` or `output`",
                    ),
            ),
        }
    }
    inputs
}

/// What the disk queue calls an input: its `id`, or its plugin with the number of its kind.
fn source_name(plugin: &Plugin, before: &[Input]) -> String {
    let named = |name: &str| {
        plugin
            .attributes
            .iter()
            .find(|given| given.name.value == name)
    };
    if let Some(id) = named("id").and_then(|id| id.value.value.as_text()) {
        return id.to_owned();
    }
    let kind = &plugin.name.value;
    match before.iter().filter(|input| input.name == *kind).count() {
        0 => kind.clone(),
        others => format!("{kind}#{}", others + 1),
    }
}

/// What reads batches back of which no input knows anything.
pub fn bare_sources(settings: &Settings) -> Sources {
    let mut sources = Sources::default();
    let ecs = settings.ecs_compatibility.is_enabled();
    sources.add_bare(Arc::new(beats::Decoder::bare(ecs)));
    sources.add_bare(Arc::new(Receiver::bare()));
    let plugin = Plugin {
        name: Spanned::new("stdin".into(), Span::new(0, 0, 0)),
        attributes: Vec::new(),
        span: Span::new(0, 0, 0),
    };
    let budget = ByteBudget::new(0);
    let build = Build {
        settings,
        budget: &budget,
        name: "",
    };
    let mut nothing_wrong = Diagnostics::new();
    let mut options = Options::new(&plugin, "input", &mut nothing_wrong);
    if let Some(stdin) = stdin_from_options(&mut options, &build) {
        sources.add_bare(Arc::new(stdin));
    }
    sources.add_bare(tcp::bare(ecs));
    sources.add_bare(udp::bare(ecs));
    if let Some(syslog) = SyslogInput::from_options(&mut options, &build) {
        sources.add_bare(syslog.stored());
    }
    let http = http::plain::from_options(&mut options, &build);
    if let Some(stored) = http.and_then(|server| server.stored()) {
        sources.add_bare(stored);
    }
    sources
}

fn build_one(plugin: &Plugin, build: &Build<'_>, diagnostics: &mut Diagnostics) -> Option<Input> {
    let escape_style = build.settings.escape_style;
    let mut options = Options::new(plugin, "input", diagnostics).with_escape_style(escape_style);
    let kind =
        match plugin.name.value.as_str() {
            "beats" | "lumberjack" => BeatsInput::from_options(&mut options, build)
                .map(|beats| Kind::Beats(Box::new(beats))),
            "dead_letter_queue" => {
                dead_letters_from_options(&mut options, build).map(Kind::DeadLetters)
            }
            "elasticsearch_bulk" => http::bulk::from_options(&mut options, build)
                .map(|server| Kind::Http(Box::new(server))),
            "http" => http::plain::from_options(&mut options, build)
                .map(|server| Kind::Http(Box::new(server))),
            "exec" => {
                ExecInput::from_options(&mut options, build).map(|exec| Kind::Exec(Box::new(exec)))
            }
            "heartbeat" => HeartbeatInput::from_options(&mut options, build).map(Kind::Heartbeat),
            "pipe" => PipeInput::from_options(&mut options, build).map(Kind::Pipe),
            "unix" => UnixInput::from_options(&mut options, build).map(Kind::Unix),
            "file" => {
                FileInput::from_options(&mut options, build).map(|file| Kind::File(Box::new(file)))
            }
            "kafka" => KafkaInput::from_options(&mut options, build)
                .map(|kafka| Kind::Kafka(Box::new(kafka))),
            "generator" => generator_from_options(&mut options, build).map(Kind::Generator),
            "otlp" => http::otlp::from_options(&mut options, build)
                .map(|server| Kind::Http(Box::new(server))),
            "pipeline" => PipelineInput::from_options(&mut options, build).map(Kind::Pipeline),
            "stdin" => {
                stdin_from_options(&mut options, build).map(|stdin| Kind::Stdin(Arc::new(stdin)))
            }
            "syslog" => SyslogInput::from_options(&mut options, build)
                .map(|syslog| Kind::Syslog(Box::new(syslog))),
            "tcp" => TcpInput::from_options(&mut options, build).map(Kind::Tcp),
            "udp" => UdpInput::from_options(&mut options, build).map(Kind::Udp),
            unknown => {
                let message = format!("unknown input `{unknown}`");
                diagnostics.push(
                    Diagnostic::error(plugin.name.span, message)
                        .code(Code::UnknownPlugin)
                        .did_you_mean(unknown, NAMES.iter().copied()),
                );
                return None;
            }
        };
    options.finish();
    let valid = options.is_valid();
    Some(Input {
        name: plugin.name.value.clone(),
        source: build.name.to_owned(),
        span: plugin.name.span,
        kind: kind.filter(|_| valid)?,
    })
}

fn dead_letters_from_options(
    options: &mut Options<'_>,
    build: &Build<'_>,
) -> Option<DeadLetterInput> {
    let path = options.required_string("path");
    let pipeline = options
        .string("pipeline_id")
        .unwrap_or_else(|| "main".into());
    let commit = options.boolean("commit_offsets").unwrap_or(true);
    let clean_consumed = options.boolean("clean_consumed").unwrap_or(false);
    if clean_consumed && !commit {
        options.error(
            "clean_consumed",
            "what is not remembered as read cannot be removed: set `commit_offsets => true`",
        );
    }
    let start = options.spanned_string("start_timestamp").and_then(|text| {
        let start = text.value.parse();
        if start.is_err() {
            let message = "this is no time with a zone, such as 2026-11-25T08:00:00Z";
            options.diagnostics().error(text.span, message);
        }
        start.ok()
    });
    let kept = options.string("sincedb_path").map_or_else(
        || {
            let folder = build
                .settings
                .path_data
                .join("plugins/inputs/dead_letter_queue");
            folder.join(&pipeline).join("position")
        },
        Into::into,
    );
    let follow = options.boolean("follow").unwrap_or(true);
    Some(DeadLetterInput {
        decoration: Decoration::from_options(options),
        folder: std::path::Path::new(&path?).join(&pipeline),
        position_file: commit.then_some(kept),
        clean_consumed,
        start,
        follow,
    })
}

fn generator_from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<GeneratorInput> {
    let ecs = build.ecs(options);
    let (plugin, codec) = build.codec(options, "plain", ecs)?;
    let is_plain = plugin.name.value == "plain" && plugin.attributes.is_empty();
    let message = options
        .string("message")
        .unwrap_or_else(|| "Hello world!".into());
    let lines = options.strings("lines").unwrap_or_default();
    let mut lines: Vec<String> = lines.into_iter().map(|line| line.value).collect();
    if lines.is_empty() {
        lines.push(message);
    }
    Some(GeneratorInput {
        lines,
        codec: (!is_plain).then_some(codec),
        count: options
            .integer("count", 0..=i64::MAX)
            .unwrap_or(0)
            .unsigned_abs(),
        threads: options
            .integer("threads", 1..=1024)
            .unwrap_or(1)
            .unsigned_abs(),
        host: crate::settings::host_name(),
        ecs,
        decoration: Decoration::from_options(options),
    })
}

fn stdin_from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<StdinInput> {
    let ecs = build.ecs(options);
    let (codec, delimiter) = streamed_codec(options, build, ecs)?;
    Some(StdinInput {
        name: build.name.to_owned(),
        codec,
        delimiter,
        host: crate::settings::host_name(),
        ecs,
        decoration: Decoration::from_options(options),
    })
}

/// The codec of an input that reads a stream, and what ends a record; nothing if each read is one.
fn streamed_codec(
    options: &mut Options<'_>,
    build: &Build<'_>,
    ecs: bool,
) -> Option<(Arc<dyn Codec>, Vec<u8>)> {
    let (plugin, codec) = build.codec(options, "line", ecs)?;
    let delimiter = match plugin.name.value.as_str() {
        "line" | "json_lines" => delimiter_of(&plugin),
        // COMPAT: of `cef` it is written with a backslash and a letter.
        "cef" => delimiter_of(&plugin)
            .replace("\\r", "\r")
            .replace("\\n", "\n"),
        "csv" | "es_bulk" | "graphite" | "multiline" => "\n".to_owned(),
        _ => String::new(),
    };
    let delimiter = delimiter.into_bytes();
    Some((codec, delimiter))
}

/// The delimiter of a codec that cuts lines.
fn delimiter_of(plugin: &Plugin) -> String {
    let given = plugin
        .attributes
        .iter()
        .find(|attribute| attribute.name.value == "delimiter");
    let text = given.and_then(|attribute| attribute.value.value.as_text());
    text.filter(|text| !text.is_empty())
        .unwrap_or("\n")
        .to_owned()
}
