//! The `file` input: files that grow, or files that are complete, followed by the forwarder's engine.
//!
//! The engine (`skidder-forwarder`) is one thread for each input; it finds, reads and recognises files and
//! keeps their positions. A position moves when every event before it is safe, so nothing is lost by
//! a crash; what was under way comes again. What is under way is bounded: [`BATCHES`] of [`BATCH_LINES`].
//! A codec that joins lines cuts the stream of each file in that thread; everything else is decoded by the workers.
//!
//! COMPAT: the options and the fields are Logstash's (version 4.4 of the plugin). What differs: a position counts when
//! events are safe and not when they are queued; a file that appeared while nothing ran is read from its beginning
//! whatever `start_position` says; the names of rotated files need not be among the paths; a file is removed
//! or logged when all of it is safe; a line end may have a return before it.

mod records;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use skidder_forwarder::config::lines::Typed;
use skidder_forwarder::config::{Config, FileGroup, Limits, Network, NetworkFiles, StartPosition};
use skidder_forwarder::follow::{Registry, follow};
use skidder_forwarder::tail::complete::{Complete, Following, Order, Outcome, PartialLines, Times};
use skidder_forwarder::tail::links::Follow;
use skidder_forwarder::tail::pattern::{Excludes, Pattern};
use skidder_forwarder::tail::shape::container::Format;
use skidder_forwarder::tail::shape::join::{Join, Joiner};
use skidder_forwarder::tail::shape::{Charset, LongLines, Rules};
use skidder_pipeline::codec::{Codec, Cutter};
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, info_span, warn};
use xxhash_rust::xxh3::xxh3_64;

use self::records::{Decoder, Workers};
use super::decoration::Decoration;
use super::{Build, Running};
use crate::worker::Batch;

/// Batches under way at most, …
const BATCHES: usize = 16;
/// … of so many lines and bytes (a single longer line still travels).
const BATCH_LINES: usize = 2048;
const BATCH_BYTES: usize = 1 << 20;
/// A batch that is not full is sent after this time.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last line of a file is waited for that was rotated away, …
const ROTATED_LINE: Duration = Duration::from_secs(5);
/// … or that is complete.
const COMPLETE_LINE: Duration = Duration::from_secs(1);
/// A file that was rotated away is closed after this time without growth.
const CLOSE_ROTATED: Duration = Duration::from_mins(5);
/// How often the log says how far the reading is.
const SUMMARY_INTERVAL: Duration = Duration::from_mins(10);
/// The least of all times between two looks.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// A file input, ready to start.
pub(super) struct FileInput {
    plan: Plan,
    decoder: Arc<Decoder>,
}

/// What was asked for; the thread that follows the files makes the engine's configuration of it.
#[derive(Clone)]
struct Plan {
    input: String,
    patterns: Vec<String>,
    exclude: Vec<String>,
    beginning: StartPosition,
    delimiter: Option<Vec<u8>>,
    max_line_bytes: usize,
    stat_interval: Duration,
    discover_interval: Duration,
    /// Where positions are kept; `None` if they are not.
    registry: Option<PathBuf>,
    /// Logstash's positions.
    sincedb: Option<PathBuf>,
    write_interval: Duration,
    forget_after: Duration,
    ignore_older: Option<Duration>,
    close_older: Duration,
    max_open_files: usize,
    chunk_bytes: usize,
    chunks_per_turn: u64,
    order: Order,
    /// Set if files are complete.
    completed: Option<Completed>,
}

/// What becomes of complete files.
#[derive(Clone)]
struct Completed {
    delete: bool,
    log: Option<PathBuf>,
    verify_archives: bool,
    exit: bool,
}

impl FileInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "plain", ecs);
        let modes = [("tail", false), ("read", true)];
        let read_mode = options.enumeration("mode", &modes).unwrap_or(false);
        let (patterns, exclude) = paths(options)?;
        let positions = [
            ("beginning", StartPosition::Beginning),
            ("end", StartPosition::End),
        ];
        let beginning = options.enumeration("start_position", &positions);
        let (registry, sincedb) = registry(options, build, &patterns);
        let completed = completed(options, read_mode);
        let seconds = DurationUnit::Seconds;
        let stat_interval = options.duration("stat_interval", seconds);
        let stat_interval = stat_interval
            .unwrap_or(Duration::from_secs(1))
            .max(LEAST_INTERVAL);
        let discover_interval = options
            .integer("discover_interval", 1..=1_000_000)
            .unwrap_or(15);
        let write_interval = options.duration("sincedb_write_interval", seconds);
        let days = options.number("sincedb_clean_after").unwrap_or(14.0);
        let close_older = options.duration("close_older", seconds);
        if read_mode {
            for name in ["start_position", "close_older"] {
                if options.has(name) {
                    options.warning(
                        name,
                        "with `mode => \"read\"` this changes nothing: a file is read from its beginning and closed \
                         at its end",
                    );
                }
            }
        }
        let delimiter = options.string("delimiter").map(String::into_bytes);
        if delimiter
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > MAX_DELIMITER)
        {
            let message = format!("a delimiter has 1 to {MAX_DELIMITER} bytes");
            options.error("delimiter", message);
        }
        let newest_first =
            options.enumeration("file_sort_direction", &[("asc", false), ("desc", true)]);
        let newest_first = newest_first.unwrap_or(false);
        let by_path =
            options.enumeration("file_sort_by", &[("last_modified", false), ("path", true)]);
        let max_line_bytes = options.bytes("max_line_bytes").unwrap_or(1 << 20);
        let chunk_bytes = options
            .count("file_chunk_size", 1..=MAX_CHUNK_BYTES)
            .unwrap_or(32 << 10);
        let chunks_per_turn = options.integer("file_chunk_count", 1..=i64::MAX);
        let plan = Plan {
            input: build.name.to_owned(),
            patterns,
            exclude,
            beginning: match beginning {
                _ if read_mode => StartPosition::Beginning,
                given => given.unwrap_or(StartPosition::End),
            },
            delimiter: delimiter.filter(|delimiter| delimiter != b"\n"),
            max_line_bytes: usize::try_from(max_line_bytes)
                .unwrap_or(usize::MAX)
                .clamp(16, MAX_LINE_BYTES),
            stat_interval,
            discover_interval: stat_interval.saturating_mul(discover_interval as u32),
            registry,
            sincedb,
            write_interval: write_interval
                .unwrap_or(Duration::from_secs(1))
                .max(LEAST_INTERVAL),
            forget_after: Duration::try_from_secs_f64(days * 86_400.0).unwrap_or(Duration::MAX),
            ignore_older: options.duration("ignore_older", seconds),
            close_older: close_older.unwrap_or(Duration::from_hours(1)),
            max_open_files: options.count("max_open_files", 1..=1 << 20).unwrap_or(4095),
            chunk_bytes: chunk_bytes.max(LEAST_CHUNK_BYTES),
            chunks_per_turn: chunks_per_turn.unwrap_or(i64::MAX).unsigned_abs(),
            order: if by_path.unwrap_or(false) {
                Order::Path {
                    descending: newest_first,
                }
            } else {
                Order::Modified { newest_first }
            },
            completed,
        };
        let decoder = Decoder::new(build.name, codec?, ecs, Decoration::from_options(options));
        Some(Self {
            plan,
            decoder: Arc::new(decoder),
        })
    }

    /// Opens the registry and begins to follow the files.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let (opened, is_open) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let started = std::thread::Builder::new()
            .name("file".into())
            .spawn(move || {
                self.run(queue, stopping, opened);
                if ended.send(()).is_err() {
                    debug!("nobody waits for the files any more");
                }
            });
        started.map_err(|error| format!("cannot start a thread: {error}"))?;
        let died = "the thread that follows files ended, this is a bug";
        is_open.await.map_err(|_| died.to_owned())??;
        Ok(Box::pin(async move {
            assert!(has_ended.await.is_ok(), "{died}");
        }))
    }

    fn run(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
        opened: oneshot::Sender<Result<(), String>>,
    ) {
        let _span = info_span!("file", input = self.plan.input).entered();
        let prepared = (|| {
            let config = self.plan.config(&self.decoder)?;
            let registry = match &self.plan.registry {
                Some(_) => Registry::open(&config).map_err(|error| error.to_string())?,
                None => Registry::none(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
            Ok((config, registry, runtime))
        })();
        let (config, registry, runtime) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => return drop(opened.send(Err(reason))),
        };
        info!(paths = ?self.plan.patterns, registry = ?self.plan.registry, "following files");
        drop(opened.send(Ok(())));
        let workers = Workers::new(queue, self.decoder);
        if let Err(error) = runtime.block_on(follow(config, registry, BATCHES, workers, stopping)) {
            error!(%error, "the positions of this moment are not saved, some lines will come again");
        }
    }
}

/// A longer delimiter is refused.
const MAX_DELIMITER: usize = 64;
/// A longer line comes in pieces, whatever is asked for.
const MAX_LINE_BYTES: usize = 64 << 20;
/// The least and the most that is read at once.
const LEAST_CHUNK_BYTES: usize = 4 << 10;
const MAX_CHUNK_BYTES: usize = 16 << 20;

/// The patterns to look for and those to leave out; what is wrong with them is said.
fn paths(options: &mut Options<'_>) -> Option<(Vec<String>, Vec<String>)> {
    let paths = options.strings("path");
    if !options.has("path") {
        options.missing("path");
    }
    let mut patterns = Vec::new();
    for path in paths? {
        let span = path.span;
        if !path.value.starts_with('/') {
            let message = format!("a path must begin with `/`: `{}` does not", path.value);
            options.diagnostics().error(span, message);
            continue;
        }
        let pattern = as_ruby_reads_it(&path.value);
        if let Err(message) = Pattern::new(&pattern) {
            options.diagnostics().error(span, message);
        }
        patterns.push(pattern);
    }
    if patterns.is_empty() {
        options.error("path", "there is no path");
    }
    let mut exclude = Vec::new();
    for pattern in options.strings("exclude").unwrap_or_default() {
        if let Err(message) = Excludes::default().add(&pattern.value) {
            options.diagnostics().error(pattern.span, message);
        }
        exclude.push(pattern.value);
    }
    // COMPAT: a `*` of Ruby finds no name that begins with a dot.
    let hidden = |pattern: &String| {
        pattern
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with('.'))
    };
    if !patterns.iter().any(hidden) {
        exclude.push(".*".into());
    }
    Some((patterns, exclude))
}

/// COMPAT: where `**` is not alone between two slashes, Ruby reads it as `*`.
fn as_ruby_reads_it(pattern: &str) -> String {
    let parts: Vec<&str> = pattern.split('/').collect();
    let last = parts.len() - 1;
    let parts = parts.iter().enumerate().map(|(index, part)| {
        if *part == "**" && index < last {
            return (*part).to_owned();
        }
        let mut part = (*part).to_owned();
        while part.contains("**") {
            part = part.replace("**", "*");
        }
        part
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Where positions are kept, and where Logstash kept them.
fn registry(
    options: &mut Options<'_>,
    build: &Build<'_>,
    patterns: &[String],
) -> (Option<PathBuf>, Option<PathBuf>) {
    let settings = build.settings;
    match options.string("sincedb_path") {
        // COMPAT: how it is said in the wild that nothing is to be remembered.
        Some(path) if ["/dev/null", "NUL"].contains(&path.as_str()) => (None, None),
        Some(path) => {
            let registry = format!("{path}.skidder").into();
            (Some(registry), Some(path.into()))
        }
        None => {
            let hash = xxh3_64(patterns.join(",").as_bytes());
            let folder = settings.path_data.join("plugins/inputs/file");
            let folder = folder.join(&settings.pipeline_id);
            (Some(folder.join(format!("{hash:016x}"))), None)
        }
    }
}

/// What becomes of complete files; nothing if files grow.
fn completed(options: &mut Options<'_>, read_mode: bool) -> Option<Completed> {
    let actions = [
        ("delete", (true, false)),
        ("log", (false, true)),
        ("log_and_delete", (true, true)),
    ];
    let action = options.enumeration("file_completed_action", &actions);
    // COMPAT: a file that was read is removed unless something else is asked for.
    let (delete, logs) = action.unwrap_or((true, false));
    let log = options.string("file_completed_log_path");
    let verify_archives = options.boolean("check_archive_validity");
    let exit = options.boolean("exit_after_read");
    if !read_mode {
        for name in [
            "file_completed_action",
            "file_completed_log_path",
            "check_archive_validity",
            "exit_after_read",
        ] {
            if options.has(name) {
                options.error(
                    name,
                    "this goes with `mode => \"read\"` only: files that grow are never complete",
                );
            }
        }
        return None;
    }
    if logs && log.is_none() {
        let message = "say where to log with `file_completed_log_path`";
        options.error("file_completed_action", message);
    }
    if !logs && log.is_some() {
        options.error(
            "file_completed_log_path",
            "nothing is logged without `file_completed_action => \"log\"` or `\"log_and_delete\"`",
        );
    }
    Some(Completed {
        delete,
        log: log.filter(|_| logs).map(PathBuf::from),
        verify_archives: verify_archives.unwrap_or(false),
        exit: exit.unwrap_or(false),
    })
}

impl Plan {
    /// The engine's configuration.
    fn config(&self, decoder: &Arc<Decoder>) -> Result<Config, String> {
        let patterns = self.patterns.iter().map(|pattern| Pattern::new(pattern));
        let mut exclude = Excludes::default();
        for pattern in &self.exclude {
            exclude.add(pattern)?;
        }
        let joiner = decoder.codec.cutter().map(|_| {
            let codec = Arc::clone(&decoder.codec);
            Joiner(Rc::new(move || {
                Box::new(CodecJoin::new(&*codec)) as Box<dyn Join>
            }))
        });
        let sincedb = self.sincedb.clone().filter(|path| path.is_file());
        if let Some(path) = self.sincedb.as_ref().filter(|path| path.is_dir()) {
            let path = path.display();
            return Err(format!(
                "`sincedb_path` must name a file, and `{path}` is a directory"
            ));
        }
        let complete = self.completed.clone().map(|completed| {
            let verify_archives = completed.verify_archives;
            Complete {
                verify_archives,
                done: Rc::new(move |path, times| completed.done(path, times)),
            }
        });
        let reads = self.completed.is_some();
        let group = FileGroup {
            patterns: patterns.collect::<Result<_, _>>()?,
            stdin: false,
            exclude,
            fields: Vec::new(),
            dead_time: self.close_older,
            close_inactive: self.close_older,
            start_position: self.beginning,
            ship_compressed: false,
            network_files: NetworkFiles::Auto,
            // COMPAT: Logstash follows links wherever they lead.
            follow_links: Follow::On,
            link_targets: Vec::new(),
            lines: Rc::new(Rules {
                charset: Charset::Utf8,
                format: Format::Plain,
                multiline: None,
                long_lines: LongLines::Split,
                delimiter: self.delimiter.as_deref().map(Rc::from),
                joiner,
            }),
            following: Following {
                partial_lines: PartialLines::Await,
                ignore_older: self.ignore_older,
                skip_old_stock: false,
                order: self.order,
                reads_per_turn: self.chunks_per_turn,
                complete,
                ..Following::default()
            },
            line_options: Typed::default(),
        };
        Ok(Config {
            network: Rc::new(Network::nowhere()),
            feeds: skidder_forwarder::feed::Settings::default(),
            groups: vec![Rc::new(group)],
            registry: self.registry.clone().unwrap_or_default(),
            import_registry: sincedb,
            machine: None,
            hostname: String::new(),
            log_level: String::new(),
            status_socket: None,
            http: None,
            reload_auto: false,
            nice: None,
            sandbox: skidder_forwarder::sandbox::Mode::Off,
            limits: Limits {
                spool_size: BATCH_LINES,
                spool_bytes: BATCH_BYTES,
                flush_interval: FLUSH_INTERVAL,
                harvest_buffer_size: self.chunk_bytes,
                max_line_bytes: self.max_line_bytes,
                partial_line_timeout: if reads { COMPLETE_LINE } else { ROTATED_LINE },
                rescan_interval: self.discover_interval,
                registry_interval: self.write_interval,
                summary_interval: SUMMARY_INTERVAL,
                close_rotated: CLOSE_ROTATED,
                forget_after: self.forget_after,
                max_open_files: self.max_open_files,
                shutdown_timeout: Duration::ZERO,
                max_held_bytes: None,
                look_interval: Some(self.stat_interval),
                cpu_limit: None,
            },
            exit_after_read: self
                .completed
                .as_ref()
                .is_some_and(|completed| completed.exit),
        })
    }
}

impl Completed {
    /// All of the file is safe.
    fn done(&self, path: &Path, times: Times) -> Outcome {
        // What was done with before this start is in the log already.
        if let Some(log) = self.log.as_ref().filter(|_| times == Times::First)
            && let Err(error) = append(log, path)
        {
            let (path, log) = (path.display(), log.display());
            warn!(%path, %log, %error, "cannot log that the file is read, it is kept");
            return Outcome::Kept;
        }
        if !self.delete {
            return Outcome::Kept;
        }
        match std::fs::remove_file(path) {
            Ok(()) => {
                info!(path = %path.display(), "the file is read and removed");
                Outcome::Removed
            }
            Err(error) => {
                let path = path.display();
                warn!(%path, %error, "the file is read and cannot be removed, it is kept");
                Outcome::Kept
            }
        }
    }
}

fn append(log: &Path, path: &Path) -> std::io::Result<()> {
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)?;
    let mut line = path.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    log.write_all(&line)
}

/// Joins the lines of a file as a codec says.
struct CodecJoin {
    cutter: Option<Box<dyn Cutter>>,
}

impl CodecJoin {
    fn new(codec: &dyn Codec) -> Self {
        Self {
            cutter: codec.cutter(),
        }
    }
}

impl Join for CodecJoin {
    fn push(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        match &mut self.cutter {
            Some(cutter) => cutter.push(line.to_vec()),
            None => Some(line.to_vec()),
        }
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        self.cutter.as_mut()?.flush()
    }

    fn pending(&self) -> usize {
        self.cutter.as_ref().map_or(0, |cutter| cutter.pending())
    }

    fn patience(&self) -> Option<Duration> {
        self.cutter.as_ref()?.patience()
    }
}
