//! What the daemon runs on: every value checked, every pattern compiled, every key read.
//!
//! Building opens the TLS files (so that `check` finds what is wrong with them) but no log file
//! and no socket. Defaults are written once, in the functions below, and the manual's table is
//! compared with them by a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::options::nearest_word;
use super::raw::{RawConfig, RawSection};
use super::yaml::{Node, Place, Value};
use super::{Problems, units};
use crate::cloud::{self, facts::Facts};
use crate::link::tls::{self, TlsSettings};
use crate::registry::machine;
use crate::tail::complete::Following;
use crate::tail::pattern::{Excludes, Pattern};
use crate::tail::shape::Rules;

/// A path in `paths` that stands for standard input.
pub const STDIN: &str = "-";
/// The default of `data dir`.
pub const DATA_DIR: &str = "/var/lib/skidder-forwarder";
/// The registry's file in `data dir`.
pub const REGISTRY: &str = "registry";
/// Fields allowed in one element of `files`.
pub const MAX_FIELDS: usize = 256;

/// The whole plan.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to ship to, and how.
    pub network: Rc<Network>,
    /// What to read.
    pub groups: Vec<Rc<FileGroup>>,
    /// The registry's file.
    pub registry: PathBuf,
    /// A registry of another shipper to take over when there is no registry of ours.
    pub import_registry: Option<PathBuf>,
    /// The machine the registry belongs to, hashed; `None` if it belongs to any.
    pub machine: Option<String>,
    /// The `host` of each event.
    pub hostname: String,
    /// The level of the log: one of [`LOG_LEVELS`].
    pub log_level: String,
    /// Where the commands reach a running forwarder, and the mode of that file.
    pub status_socket: Option<(PathBuf, u32)>,
    /// Where metrics and health are served.
    pub http: Option<SocketAddr>,
    /// Whether a changed config is taken over without being told to.
    pub reload_auto: bool,
    /// The scheduling priority to run with.
    pub nice: Option<i32>,
    /// Sizes and times.
    pub limits: Limits,
    /// Whether the reading ends when every file is read that was there at the start.
    pub exit_after_read: bool,
}

/// The levels of the log.
pub const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// The socket's file in `data dir`.
pub const STATUS_SOCKET: &str = "status.sock";

/// Sizes and times of reading and of the daemon as a whole.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events in a window at most.
    pub spool_size: usize,
    /// Bytes of lines in a window at most (a single longer line still travels).
    pub spool_bytes: usize,
    /// A window that is not full is sent after this time.
    pub flush_interval: Duration,
    /// Bytes per read.
    pub harvest_buffer_size: usize,
    /// A longer line is split.
    pub max_line_bytes: usize,
    /// A last line without newline is shipped after this time without growth.
    pub partial_line_timeout: Duration,
    /// How often the globs are evaluated, whatever the kernel reports.
    pub rescan_interval: Duration,
    /// How often the registry is written at most.
    pub registry_interval: Duration,
    /// How often the summary is logged.
    pub summary_interval: Duration,
    /// A renamed or deleted file is closed after this time without growth.
    pub close_rotated: Duration,
    /// The registry forgets a file that was not seen for this time.
    pub forget_after: Duration,
    /// Files held open at most.
    pub max_open_files: usize,
    /// Disk space that deleted files may take which are held open.
    pub max_held_bytes: Option<u64>,
    /// What is in flight at SIGTERM gets this long.
    pub shutdown_timeout: Duration,
    /// Open files are looked at this often, whatever the kernel reports; `None` leaves them to its hints.
    pub look_interval: Option<Duration>,
}

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The native framing with a server that chooses it in the TLS handshake, version 2 with any other.
    Auto,
    /// The native framing.
    Native,
    /// Lumberjack, version 2.
    V2,
    /// Lumberjack, version 1.
    V1,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "the native framing or lumberjack version 2, as the server chooses",
            Self::Native => "the native framing",
            Self::V2 => "lumberjack version 2",
            Self::V1 => "lumberjack version 1",
        })
    }
}

/// Where to ship to, and how.
#[derive(Clone, Debug)]
pub struct Network {
    /// The servers, at least one.
    pub servers: Vec<Server>,
    /// TLS, unless it is off.
    pub tls: Option<tls::Tls>,
    /// For connecting, the handshake, a write, and the wait for an acknowledgement.
    pub timeout: Duration,
    /// The idle time after which TCP probes the peer.
    pub tcp_keepalive: Duration,
    /// What is spoken.
    pub protocol: Protocol,
    /// 0 is off, 9 is smallest.
    pub compression_level: u8,
    /// Windows on the wire before an acknowledgement is needed.
    pub pipelining: usize,
    /// The first upper bound of the wait before connecting again.
    pub reconnect_delay: Duration,
    /// The last upper bound of the wait before connecting again.
    pub max_reconnect_delay: Duration,
    /// Whether all servers are used at once.
    pub balance: bool,
    /// Connections at once, to each server if all are used.
    pub workers: usize,
    /// A connection is renewed after about this time; zero is never.
    pub repick_interval: Duration,
    /// The cloud that the host is in.
    pub cloud: Option<Rc<cloud::Settings>>,
    /// What it says of the host, once that is known.
    pub facts: Option<Rc<Facts>>,
}

impl Network {
    /// Whether a connection made by the other is as one made by this.
    pub fn connects_like(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(two)) => one.is_like(two),
            _ => false,
        };
        tls && self.timeout == other.timeout
            && self.tcp_keepalive == other.tcp_keepalive
            && self.protocol == other.protocol
            && self.compression_level == other.compression_level
    }

    /// Connections at once.
    pub fn connections(&self) -> usize {
        if self.balance {
            self.workers * self.servers.len()
        } else {
            self.workers
        }
    }
}

/// One server as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Network {
    /// No server at all: of a plan whose batches go somewhere else ([`crate::follow`]).
    pub fn nowhere() -> Self {
        Self {
            servers: Vec::new(),
            tls: None,
            timeout: Duration::ZERO,
            tcp_keepalive: Duration::ZERO,
            protocol: Protocol::Auto,
            compression_level: 0,
            pipelining: 0,
            reconnect_delay: Duration::ZERO,
            max_reconnect_delay: Duration::ZERO,
            balance: false,
            workers: 0,
            repick_interval: Duration::ZERO,
            cloud: None,
            facts: None,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// One element of `files`.
#[derive(Debug)]
pub struct FileGroup {
    /// The patterns.
    pub patterns: Vec<Pattern>,
    /// Whether `-` is among the paths.
    pub stdin: bool,
    /// What to leave out.
    pub exclude: Excludes,
    /// Added to each event.
    pub fields: Vec<(String, String)>,
    /// A file without growth for this long before the first start is not shipped.
    pub dead_time: Duration,
    /// A file without growth for this long is closed until it grows.
    pub close_inactive: Duration,
    /// Where the files that are there at the very first start begin.
    pub start_position: StartPosition,
    /// Whether files that begin like gzip, xz, zstd… are shipped all the same.
    pub ship_compressed: bool,
    /// Whether what the file system says may be out of date.
    pub network_files: NetworkFiles,
    /// How lines become events.
    pub lines: Rc<Rules>,
    /// When files are begun, in which order they are read, and what ends them.
    pub following: Following,
    /// The options that `lines` was made of, to compare with those of another config.
    pub line_options: super::lines::Typed,
}

/// Whether files are on a network file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFiles {
    /// The file system tells.
    Auto,
    /// They are.
    On,
    /// They are not.
    Off,
}

/// Where reading begins in a file found at start and never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// At its first byte.
    Beginning,
    /// At its last line.
    End,
}

/// What the command line says over the files.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--registry`.
    pub registry: Option<PathBuf>,
    /// Used if the config names none: the registry in the working directory of an old service.
    pub import_registry: Option<PathBuf>,
    /// `--log-level`, `-quiet`.
    pub log_level: Option<String>,
    /// `-spool-size`.
    pub spool_size: Option<usize>,
    /// `-harvest-buffer-size`.
    pub harvest_buffer_size: Option<usize>,
    /// `-idle-flush-time`.
    pub flush_interval: Option<Duration>,
    /// `-tail`, `-from-beginning`.
    pub start_position: Option<StartPosition>,
}

/// Builds the plan. `None` only together with at least one problem.
pub fn build(raw: &RawConfig, overrides: &Overrides, problems: &mut Problems) -> Option<Config> {
    let mut top = Reader {
        section: &raw.top,
        problems,
    };
    let data_dir = overrides.data_dir.clone();
    let data_dir = data_dir.unwrap_or_else(|| {
        top.text("data dir")
            .map_or_else(|| DATA_DIR.into(), PathBuf::from)
    });
    let registry = overrides
        .registry
        .clone()
        .or_else(|| top.text("registry").map(PathBuf::from));
    let limits = Limits {
        spool_size: overrides
            .spool_size
            .unwrap_or_else(|| top.number("spool size", 2048, 1, 1_000_000) as usize),
        spool_bytes: top.size("spool bytes", 1 << 20, 4 << 10, 64 << 20),
        flush_interval: overrides.flush_interval.unwrap_or_else(|| {
            top.duration(
                "flush interval",
                Duration::from_millis(250),
                MILLISECOND,
                HOUR,
            )
        }),
        harvest_buffer_size: overrides
            .harvest_buffer_size
            .unwrap_or_else(|| top.size("harvest buffer size", 64 << 10, 4 << 10, 4 << 20))
            .clamp(4 << 10, 4 << 20),
        max_line_bytes: top.size("max line bytes", 1 << 20, 16, 64 << 20),
        partial_line_timeout: top.seconds("partial line timeout", 5),
        rescan_interval: top.seconds("rescan interval", 10),
        registry_interval: top.seconds("registry interval", 1),
        summary_interval: top.seconds("summary interval", 60),
        close_rotated: top.seconds("close rotated", 5 * 60),
        forget_after: top.seconds("forget after", 720 * 3600),
        max_open_files: top.number("max open files", 800, 1, 1_000_000) as usize,
        max_held_bytes: top.size_or_none("max held bytes", 0),
        shutdown_timeout: top.duration(
            "shutdown timeout",
            Duration::from_secs(10),
            Duration::ZERO,
            24 * HOUR,
        ),
        look_interval: None,
    };
    let machine = match top.text("machine id").as_deref() {
        None => machine::of_this_machine(),
        Some("none") => None,
        Some(id) => Some(machine::hash(id)),
    };
    let hostname = top.text("hostname").unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    });
    let log_level = overrides
        .log_level
        .clone()
        .or_else(|| top.text("log level"));
    let log_level = log_level
        .unwrap_or_else(|| "info".to_owned())
        .to_lowercase();
    if !LOG_LEVELS.contains(&log_level.as_str()) {
        let place = raw.top.find("log level").map(|node| node.place.clone());
        let message = format!(
            "unknown log level `{log_level}`; use one of {}",
            LOG_LEVELS.join(", ")
        );
        problems.add(place.as_ref(), message);
    }
    let health = build_health(&raw.top, &data_dir, problems);
    let import_registry = Reader {
        section: &raw.top,
        problems,
    }
    .text("import registry")
    .map(PathBuf::from)
    .or_else(|| overrides.import_registry.clone());
    let network = build_network(&raw.network, problems);
    let groups = build_groups(raw, overrides, problems);
    Some(Config {
        network: Rc::new(network?),
        groups,
        registry: registry.unwrap_or_else(|| data_dir.join(REGISTRY)),
        import_registry,
        machine,
        hostname,
        log_level,
        status_socket: health.socket,
        http: health.http,
        reload_auto: health.reload_auto,
        nice: health.nice,
        limits,
        exit_after_read: false,
    })
}

struct HealthOptions {
    socket: Option<(PathBuf, u32)>,
    http: Option<SocketAddr>,
    reload_auto: bool,
    nice: Option<i32>,
}

fn build_health(section: &RawSection, data_dir: &Path, problems: &mut Problems) -> HealthOptions {
    let mut top = Reader { section, problems };
    let path = match top.text("status socket").as_deref() {
        Some("off") => None,
        Some(path) => Some(PathBuf::from(path)),
        None => Some(data_dir.join(STATUS_SOCKET)),
    };
    let mode = top.parsed("status socket mode", 0o600, |text| {
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("`status socket mode` is octal, like 0660, not `{text}`"))
    });
    let http = top.parsed("http", None, |text| {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        match (text, text.parse::<u16>(), text.parse::<SocketAddr>()) {
            ("off", ..) => Ok(None),
            (_, Ok(port), _) => Ok(Some(loopback(port))),
            (_, _, Ok(address)) => Ok(Some(address)),
            _ => Err(format!(
                "`http` is a port (on 127.0.0.1), an address like 0.0.0.0:9117, or off, not `{text}`"
            )),
        }
    });
    let nice = top.parsed("nice", None, |text| match (text, text.parse::<i32>()) {
        ("none", _) => Ok(None),
        (_, Ok(nice @ 0..=19)) => Ok(Some(nice)),
        _ => Err(format!("`nice` is a number from 0 to 19, not `{text}`")),
    });
    HealthOptions {
        socket: path.map(|path| (path, mode)),
        http,
        reload_auto: top.choice("reload", &["signal", "auto"]) == "auto",
        nice,
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

fn build_network(section: &RawSection, problems: &mut Problems) -> Option<Network> {
    let servers = build_servers(section, problems);
    let mut reader = Reader { section, problems };
    let tls_on = reader.switch("tls", true);
    let settings = TlsSettings {
        ca: reader.text("ssl ca").map(PathBuf::from),
        certificate: reader.text("ssl certificate").map(PathBuf::from),
        key: reader.text("ssl key").map(PathBuf::from),
        server_name: reader.text("tls server name"),
    };
    let protocol = match reader.choice("protocol", &["auto", "native", "v2", "v1"]) {
        "native" => Protocol::Native,
        "v2" => Protocol::V2,
        "v1" => Protocol::V1,
        _ => Protocol::Auto,
    };
    let mut network = Network {
        servers,
        tls: None,
        timeout: reader.duration("timeout", Duration::from_secs(15), MILLISECOND, HOUR),
        tcp_keepalive: reader.seconds("tcp keepalive", 30),
        protocol,
        compression_level: reader.number("compression level", 1, 0, 9) as u8,
        pipelining: reader.number("pipelining", 2, 1, 64) as usize,
        reconnect_delay: reader.duration(
            "reconnect delay",
            Duration::from_secs(1),
            MILLISECOND,
            HOUR,
        ),
        max_reconnect_delay: reader.duration(
            "max reconnect delay",
            Duration::from_mins(1),
            MILLISECOND,
            24 * HOUR,
        ),
        balance: reader.choice("servers mode", &["failover", "loadbalance"]) == "loadbalance",
        workers: reader.number("workers", 1, 1, 16) as usize,
        repick_interval: reader.duration_or_off("repick interval", Duration::from_mins(30)),
        cloud: super::host::build(&mut reader).map(Rc::new),
        facts: None,
    };
    if tls_on {
        match tls::build(&settings) {
            Ok(tls) => network.tls = Some(tls),
            Err(errors) => {
                for error in errors {
                    let place = section.find(error.option()).map(|node| &node.place);
                    problems.add(place, error.to_string());
                }
                return None;
            }
        }
    } else if settings.ca.is_some() || settings.certificate.is_some() || settings.key.is_some() {
        let place = section.find("tls").map(|node| &node.place);
        problems.add(
            place,
            "`tls` is off but `ssl …` options are given; remove one or the other",
        );
    }
    Some(network)
}

fn build_servers(section: &RawSection, problems: &mut Problems) -> Vec<Server> {
    let mut servers = Vec::new();
    let Some(node) = section.find("servers") else {
        let message = "no `servers` under `network`; give at least one, like [\"logs:5043\"]";
        problems.add(section.place.as_ref(), message);
        return servers;
    };
    for node in items(node) {
        match node.text().map(server) {
            Some(Ok(server)) => servers.push(server),
            Some(Err(message)) => problems.add(Some(&node.place), message),
            None => {
                let message = format!("a server is `host:port`, not {}", node.kind());
                problems.add(Some(&node.place), message);
            }
        }
    }
    if items(node).is_empty() {
        problems.add(
            Some(&node.place),
            "`servers` is empty; give at least one `host:port`",
        );
    }
    servers
}

fn server(text: &str) -> Result<Server, String> {
    let wrong = || format!("`{text}` is not `host:port`; write it like `logs.example.com:5043`");
    let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    if host.is_empty() || port == 0 || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}

fn build_groups(
    raw: &RawConfig,
    overrides: &Overrides,
    problems: &mut Problems,
) -> Vec<Rc<FileGroup>> {
    if raw.files.is_empty() {
        problems.add(
            None,
            "no `files` in the config; give at least one element with `paths`",
        );
    }
    let mut groups = Vec::with_capacity(raw.files.len());
    for section in &raw.files {
        let (mut patterns, mut stdin) = (Vec::new(), false);
        match section.find("paths") {
            None => problems.add(
                section.place.as_ref(),
                "this element of `files` has no `paths`",
            ),
            Some(node) => {
                if items(node).is_empty() {
                    problems.add(Some(&node.place), "`paths` is empty");
                }
                for node in items(node) {
                    match node.text() {
                        Some(STDIN) => stdin = true,
                        Some(path) => match Pattern::new(&absolute(path)) {
                            Ok(pattern) => patterns.push(pattern),
                            Err(message) => problems.add(Some(&node.place), message),
                        },
                        None => {
                            let message = format!("a path is text, not {}", node.kind());
                            problems.add(Some(&node.place), message);
                        }
                    }
                }
            }
        }
        let mut exclude = Excludes::default();
        for node in section.find("exclude").map_or(&[][..], items) {
            let added = match node.text() {
                Some(path) => exclude.add(path),
                None => Err(format!("a path is text, not {}", node.kind())),
            };
            if let Err(message) = added {
                problems.add(Some(&node.place), message);
            }
        }
        let fields = build_fields(section.find("fields"), problems);
        let mut reader = Reader { section, problems };
        let default_position = overrides.start_position.unwrap_or(StartPosition::Beginning);
        let start_position = match section.find("start position") {
            None => default_position,
            Some(_) => match reader.choice("start position", &["beginning", "end"]) {
                "end" => StartPosition::End,
                _ => StartPosition::Beginning,
            },
        };
        let dead_time = reader.seconds("dead time", 24 * 3600);
        let close_inactive =
            reader.duration("close inactive", dead_time, MILLISECOND, 24 * 3650 * HOUR);
        let following = super::following::build(&mut reader);
        let lines = Rc::new(super::lines::build(section, reader.problems));
        groups.push(Rc::new(FileGroup {
            lines,
            line_options: super::lines::Typed::new(section),
            patterns,
            stdin,
            exclude,
            fields,
            dead_time,
            close_inactive,
            start_position,
            ship_compressed: reader.choice("compressed files", &["skip", "ship"]) == "ship",
            network_files: match reader.choice("network files", &["auto", "on", "off"]) {
                "on" => NetworkFiles::On,
                "off" => NetworkFiles::Off,
                _ => NetworkFiles::Auto,
            },
            following,
        }));
    }
    if groups.iter().filter(|group| group.stdin).count() > 1 {
        problems.add(
            None,
            "`-` (standard input) is in two elements of `files`; keep one",
        );
    }
    groups
}

/// A relative path counts from the working directory; events carry the whole path.
fn absolute(path: &str) -> String {
    match std::env::current_dir() {
        Ok(here) if !path.is_empty() && !path.starts_with('/') => {
            format!("{}/{path}", globset::escape(&here.to_string_lossy()))
        }
        _ => path.to_owned(),
    }
}

/// Names an event has of its own: a field of that name would destroy it.
const RESERVED_FIELDS: &[&str] = &["message", "@timestamp", "offset"];

fn build_fields(node: Option<&Node>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return fields;
    };
    let Value::Map(pairs) = &node.value else {
        problems.add(
            Some(&node.place),
            format!("`fields` must be a mapping, not {}", node.kind()),
        );
        return fields;
    };
    if pairs.len() > MAX_FIELDS {
        problems.add(Some(&node.place), format!("more than {MAX_FIELDS} fields"));
    }
    for (key, value) in pairs {
        match (key.text(), value.text()) {
            (Some(name), _) if RESERVED_FIELDS.contains(&name) => {
                let message = format!("the field `{name}` is the event's own; choose another name");
                problems.add(Some(&key.place), message);
            }
            (Some(name), _) if fields.iter().any(|(known, _)| known == name) => {
                problems.add(
                    Some(&key.place),
                    format!("the field `{name}` is given twice"),
                );
            }
            (Some(name), Some(text)) => fields.push((name.to_owned(), text.to_owned())),
            _ => problems.add(Some(&value.place), "a field is a name and a text"),
        }
    }
    fields
}

/// The elements of a list; a single value counts as a list of one.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ if node.is_null() => &[],
        _ => std::slice::from_ref(node),
    }
}

/// Reads typed values of one section; what does not fit becomes a problem and the default.
pub(super) struct Reader<'a> {
    pub(super) section: &'a RawSection,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.section.find(name).filter(|node| !node.is_null())?;
        match node.text() {
            Some("") => self.wrong(node, format!("`{name}` is empty")),
            Some(text) => Some(text.to_owned()),
            None => self.wrong(
                node,
                format!("`{name}` must be a text, not {}", node.kind()),
            ),
        }
    }

    fn wrong<T>(&mut self, node: &Node, message: String) -> Option<T> {
        self.problems.add(Some(&node.place), message);
        None
    }

    /// A text that something is made of.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        match parse(text.trim()) {
            Ok(value) => value,
            Err(message) => {
                let place = self.place(name);
                self.problems.add(place.as_ref(), message);
                default
            }
        }
    }

    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.section.find(name).map(|node| node.place.clone())
    }

    pub(super) fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.trim().parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                let place = self.place(name);
                let message = format!("`{name}` is a number from {least} to {most}, not `{text}`");
                self.problems.add(place.as_ref(), message);
                default
            }
        }
    }

    pub(super) fn size(&mut self, name: &str, default: usize, least: u64, most: u64) -> usize {
        let Some(text) = self.text(name) else {
            return default;
        };
        let message = match units::size(&text) {
            Ok(bytes) if (least..=most).contains(&bytes) => return bytes as usize,
            Ok(_) => format!("`{name}` is from {least} to {most} bytes, not `{text}`"),
            Err(message) => format!("`{name}`: {message}"),
        };
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        default
    }

    pub(super) fn seconds(&mut self, name: &str, default: u64) -> Duration {
        self.duration(
            name,
            Duration::from_secs(default),
            MILLISECOND,
            24 * 3650 * HOUR,
        )
    }

    pub(super) fn duration(
        &mut self,
        name: &str,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some(text) = self.text(name) else {
            return default;
        };
        let message = match units::duration(&text) {
            Ok(duration) if (least..=most).contains(&duration) => return duration,
            Ok(_) => {
                let (least, most) = (units::show(least), units::show(most));
                format!("`{name}` is from {least} to {most}, not `{text}`")
            }
            Err(message) => format!("`{name}`: {message}"),
        };
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        default
    }

    /// A time, or `off`, which is zero.
    pub(super) fn duration_or_off(&mut self, name: &str, default: Duration) -> Duration {
        match self.section.find(name).and_then(Node::text) {
            Some("off") => Duration::ZERO,
            _ => self.duration(name, default, Duration::from_secs(1), 24 * 3650 * HOUR),
        }
    }

    /// A time, or `none`.
    pub(super) fn duration_or_none(&mut self, name: &str) -> Option<Duration> {
        match self.text(name).as_deref() {
            None | Some("none") => None,
            Some(_) => Some(self.seconds(name, 0)),
        }
    }

    /// A size, or `none`.
    pub(super) fn size_or_none(&mut self, name: &str, least: u64) -> Option<u64> {
        match self.text(name).as_deref() {
            None | Some("none") => None,
            Some(_) => Some(self.size(name, 0, least, 1 << 50) as u64),
        }
    }

    pub(super) fn switch(&mut self, name: &str, default: bool) -> bool {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.to_lowercase().as_str() {
            "on" | "true" | "yes" => true,
            "off" | "false" | "no" => false,
            _ => {
                let place = self.place(name);
                self.problems.add(
                    place.as_ref(),
                    format!("`{name}` is on or off, not `{text}`"),
                );
                default
            }
        }
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice(&mut self, name: &str, words: &[&'static str]) -> &'static str {
        let Some(text) = self.text(name) else {
            return words[0];
        };
        let typed = text.to_lowercase();
        if let Some(word) = words.iter().find(|word| **word == typed) {
            return word;
        }
        let hint = nearest_word(words, &typed).map(|near| format!("; did you mean `{near}`?"));
        let message = format!(
            "`{name}` is one of {}, not `{text}`{}",
            words.join(", "),
            hint.unwrap_or_default()
        );
        let place = self.place(name);
        self.problems.add(place.as_ref(), message);
        words[0]
    }
}

/// The directory of a registry file.
pub fn directory_of(registry: &Path) -> &Path {
    match registry.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
