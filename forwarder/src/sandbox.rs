//! Landlock: what this process can do to its host at all, once it works.
//!
//! A second line behind [`crate::tail::links`], that holds whatever goes wrong in here: nothing is written
//! but our own state, no program is started (but `journalctl`, if it is asked for), and with `sandbox: strict` nothing is read
//! but what the config names. `docs/decisions/0013-landlock.md` says why reading is not confined by default.
//!
//! It counts for the thread that enters it and those that it starts. The one thread that was started before, for the
//! names of servers, stays outside: the C library reads files for it that are replaced as they please.
//!
//! INVARIANT: a place that is not there yet is allowed by the nearest directory above it that is, and a config that names a
//! place outside is refused until a restart: nothing that the config asks for is denied but by who replaces a directory.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus,
};

use crate::config::Config;
use crate::config::plan::directory_of;
use crate::feed::syslog::Listen;
use crate::tail::links::Follow;
use crate::tail::pattern::Pattern;

/// How much is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// Writing and starting programs, if the kernel can.
    Auto,
    /// Reading as well, and without it there is no start.
    Strict,
}

impl Mode {
    /// What to say behind an error of reading a log.
    pub fn hint(self, error: &io::Error) -> &'static str {
        if self == Self::Strict && error.kind() == io::ErrorKind::PermissionDenied {
            "; with `sandbox: strict` a directory that has taken the place of another one is read after a restart"
        } else {
            ""
        }
    }
}

/// The rights that are asked for. Of these an older kernel confines those that it knows.
const VERSION: ABI = ABI::V3;

/// What is read besides what the config names: roots to trust, ourselves, who is who.
const SYSTEM: &[&str] = &[
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/proc/self",
];

/// What `journalctl` reads, which is a child of ours.
const JOURNAL: &[&str] = &[
    "/bin",
    "/lib",
    "/lib64",
    "/usr",
    "/etc",
    "/var/log/journal",
    "/run/log/journal",
    "/run/systemd",
    "/var/lib/systemd",
    "/proc",
    "/sys",
];

/// What is in force.
#[derive(Debug)]
pub struct Sandbox {
    places: Places,
}

/// Why there is none, though it must be.
#[derive(Debug, thiserror::Error)]
#[error("`sandbox: strict` cannot be had: {0}; with `sandbox: auto` it is done without")]
pub struct Refused(String);

impl Sandbox {
    /// Confines this thread, and all that it starts from now on, for ever. The config at `config_path` is read again at a
    /// reload. `None` if nothing is confined; `auto` says why in the log.
    pub fn enter(config: &Config, config_path: &Path) -> Result<Option<Self>, Refused> {
        if config.sandbox == Mode::Off {
            return Ok(None);
        }
        // It is made at the very first start. What is wrong with it is said by who opens the registry.
        drop(std::fs::create_dir_all(directory_of(&config.registry)));
        let mut places = Places::of(config);
        if let Some(readable) = &mut places.readable {
            add_file(readable, config_path);
        }
        let confined = confine(&places).unwrap_or_else(|error| Err(error.to_string()));
        match confined {
            Ok(version) => {
                let shown = |paths: &[PathBuf]| {
                    let paths: Vec<_> = paths
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect();
                    paths.join(", ")
                };
                tracing::info!(
                    version,
                    writable = shown(&places.writable),
                    readable = places
                        .readable
                        .as_deref()
                        .map_or_else(|| "all".to_owned(), shown),
                    programs = places.programs,
                    "confined by Landlock"
                );
                Ok(Some(Self { places }))
            }
            Err(why) if config.sandbox == Mode::Strict => Err(Refused(why)),
            Err(why) => {
                tracing::info!("not confined by Landlock: {why}");
                Ok(None)
            }
        }
    }

    /// Why another config cannot be worked with in here. What is written to does not change while running.
    pub fn objection(&self, config: &Config) -> Option<String> {
        let allowed = self.places.readable.as_ref()?;
        let wanted = readable_by(config);
        let outside = wanted
            .iter()
            .find(|path| !allowed.iter().any(|allowed| path.starts_with(allowed)))?;
        Some(format!(
            "the sandbox, which cannot be widened, was entered without the right to read {}: restart",
            outside.display()
        ))
    }
}

/// What a config needs.
#[derive(Debug)]
struct Places {
    writable: Vec<PathBuf>,
    /// `None` is all.
    readable: Option<Vec<PathBuf>>,
    /// Whether programs are started.
    programs: bool,
}

impl Places {
    fn of(config: &Config) -> Self {
        Self {
            writable: writable_by(config),
            readable: (config.sandbox == Mode::Strict).then(|| readable_by(config)),
            programs: !config.feeds.journals.is_empty(),
        }
    }
}

/// The version of Landlock that confines us, or why none does.
fn confine(places: &Places) -> Result<Result<String, String>, RulesetError> {
    let writes = AccessFs::from_write(VERSION);
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut handled = writes;
    if places.readable.is_some() {
        handled |= reads;
    }
    if !places.programs {
        handled |= AccessFs::Execute;
    }
    let mut rules = Ruleset::default().handle_access(handled)?.create()?;
    // `journalctl` has it for its standard input.
    let null = PathBuf::from("/dev/null");
    let writable = places.writable.iter().chain([&null]);
    let writable = writable.map(|path| (path, handled & (writes | reads)));
    let readable = places.readable.iter().flatten();
    let readable = readable.map(|path| (path, handled & reads));
    for (path, access) in writable.chain(readable) {
        // It was there a moment ago; what went meanwhile needs no rule.
        let Ok(place) = PathFd::new(path) else {
            continue;
        };
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(VERSION)
        };
        rules = rules.add_rule(PathBeneath::new(place, access))?;
    }
    let status = rules.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotImplemented) => {
            Err("the kernel has no Landlock (it came with Linux 5.13)".to_owned())
        }
        (RulesetStatus::NotEnforced, _) => {
            Err("Landlock is not switched on in the kernel (see its parameter `lsm=`)".to_owned())
        }
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(format!("{effective_abi:?}")),
        (_, other) => Ok(format!("{other:?}")),
    })
}

fn readable_by(config: &Config) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for group in &config.groups {
        for (base, _) in group.patterns.iter().flat_map(Pattern::bases) {
            add(&mut paths, base);
            // A link on the way may point to another place next time, most likely beside the one of now.
            for link in base.ancestors().filter(|path| path.is_symlink()) {
                if let Some(directory) = link.parent().filter(|path| *path != Path::new("/")) {
                    add(&mut paths, directory);
                }
            }
        }
        for target in &group.link_targets {
            add(&mut paths, target);
        }
        if group.follow_links == Follow::On {
            add(&mut paths, Path::new("/"));
        }
    }
    let tls = config.network.tls.iter();
    for file in tls.flat_map(|tls| tls.settings.files()) {
        add_file(&mut paths, file);
    }
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(path) = std::env::var_os(variable) {
            add_file(&mut paths, Path::new(&path));
        }
    }
    if let Some(registry) = &config.import_registry {
        add_file(&mut paths, registry);
    }
    let journal = if config.feeds.journals.is_empty() {
        &[][..]
    } else {
        JOURNAL
    };
    for path in SYSTEM.iter().chain(journal) {
        paths.extend(std::fs::canonicalize(path));
    }
    for journal in &config.feeds.journals {
        add_file(&mut paths, &journal.program);
        let named = journal.arguments.iter();
        for path in named.filter_map(|argument| argument.strip_prefix("--directory=")) {
            add(&mut paths, Path::new(path));
        }
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn writable_by(config: &Config) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    add(&mut paths, directory_of(&config.registry));
    let status = config.status_socket.iter().map(|(socket, _)| socket);
    let syslog = config.feeds.syslog.iter();
    let syslog = syslog.filter_map(|element| match &element.listen {
        Listen::Unix(path) | Listen::UnixDatagram(path) => Some(path),
        Listen::Udp(_) | Listen::Tcp(_) => None,
    });
    for socket in status.chain(syslog) {
        add(&mut paths, directory_of(socket));
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The path without links, or the nearest one above it that is there.
fn add(paths: &mut Vec<PathBuf>, path: &Path) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path
        .ancestors()
        .find_map(|path| std::fs::canonicalize(path).ok());
    paths.extend(there);
}

/// A file that may be replaced by another one of its name, or a directory of such.
fn add_file(paths: &mut Vec<PathBuf>, path: &Path) {
    if path.is_dir() {
        return add(paths, path);
    }
    add(paths, directory_of(path));
    if let Ok(real) = std::fs::canonicalize(path) {
        add(paths, directory_of(&real));
    }
}
