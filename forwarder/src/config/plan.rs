//! What the daemon runs on: every value checked, every pattern compiled, every key read.
//!
//! Building opens the TLS files (so that `check` finds what is wrong with them) but no log file
//! and no socket. Defaults are written once, in the functions below, and the manual's table is
//! compared with them by a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::files::{FileGroup, StartPosition};
use super::network::Network;
use super::raw::{RawConfig, RawSection};
use super::values::{HOUR, MILLISECOND, Reader};
use super::{Problems, files, network};
use crate::feed;
use crate::registry::machine;
use crate::sandbox;

/// The default of `data dir`.
pub const DATA_DIR: &str = "/var/lib/skidder-forwarder";
/// The registry's file in `data dir`.
pub const REGISTRY: &str = "registry";

/// The whole plan.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to ship to, and how.
    pub network: Rc<Network>,
    /// What to read.
    pub groups: Vec<Rc<FileGroup>>,
    /// What to read beside files.
    pub feeds: feed::Settings,
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
    /// What the kernel lets the process do.
    pub sandbox: sandbox::Mode,
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
    /// Hundredths of a core that the process may use.
    pub cpu_limit: Option<u32>,
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
        cpu_limit: top.parsed("cpu limit", None, |text| {
            let percent = text
                .strip_suffix('%')
                .and_then(|digits| digits.trim().parse().ok());
            match (text, percent) {
                ("none", _) => Ok(None),
                (_, Some(percent @ 1..=100)) => Ok(Some(percent)),
                _ => Err(format!(
                    "`cpu limit` is a share of one core from 1% to 100%, not `{text}`"
                )),
            }
        }),
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
    let network = network::build(&raw.network, problems);
    let groups = files::build(raw, overrides, problems);
    let (line_bytes, start) = (limits.max_line_bytes, overrides.start_position);
    let feeds = feed::Settings {
        journals: super::journal::build(&raw.journal, line_bytes, start, problems),
        syslog: super::syslog::build(&raw.syslog, line_bytes, problems),
    };
    Some(Config {
        network: Rc::new(network?),
        groups,
        feeds,
        registry: registry.unwrap_or_else(|| data_dir.join(REGISTRY)),
        import_registry,
        machine,
        hostname,
        log_level,
        status_socket: health.socket,
        http: health.http,
        reload_auto: health.reload_auto,
        nice: health.nice,
        sandbox: health.sandbox,
        limits,
        exit_after_read: false,
    })
}

struct HealthOptions {
    socket: Option<(PathBuf, u32)>,
    http: Option<SocketAddr>,
    reload_auto: bool,
    nice: Option<i32>,
    sandbox: sandbox::Mode,
}

fn build_health(section: &RawSection, data_dir: &Path, problems: &mut Problems) -> HealthOptions {
    let mut top = Reader { section, problems };
    let path = match top.text("status socket").as_deref() {
        Some("off") => None,
        Some(path) => Some(PathBuf::from(path)),
        None => Some(data_dir.join(STATUS_SOCKET)),
    };
    let mode = top.octal("status socket mode", 0o600);
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
        sandbox: match top.choice("sandbox", &["auto", "off", "strict"]) {
            "off" => sandbox::Mode::Off,
            "strict" => sandbox::Mode::Strict,
            _ => sandbox::Mode::Auto,
        },
    }
}

/// The directory of a registry file.
pub fn directory_of(registry: &Path) -> &Path {
    match registry.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
