//! What is read beside files: whether `journalctl` shows entries, and whether sockets can be made.
//!
//! No socket is left behind, and none is made where a running forwarder has its own.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use super::access::{self, User, Want};
use super::{Finding, Level};
use crate::config::Config;
use crate::config::plan::directory_of;
use crate::feed::journal;
use crate::feed::syslog::Listen;

/// Of what `journalctl` complains of, so many characters are shown.
const MAX_COMPLAINT: usize = 300;

/// One element of `journal` or of `syslog`.
#[derive(Debug, Serialize)]
pub struct FeedReport {
    /// `journal NAME` or `syslog ADDRESS`.
    pub name: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Tries all of them.
pub fn look(config: &Config, user: &User) -> Vec<FeedReport> {
    let journals = config.feeds.journals.iter().map(|settings| FeedReport {
        name: format!("journal {}", settings.name),
        findings: vec![look_at_journal(settings, user)],
    });
    let sockets = config.feeds.syslog.iter().map(|settings| FeedReport {
        name: format!("syslog {}", settings.listen),
        findings: look_at_socket(&settings.listen, user).into_iter().collect(),
    });
    journals.chain(sockets).collect()
}

/// Asks for the last entry, as the one who will read them.
fn look_at_journal(settings: &journal::Settings, user: &User) -> Finding {
    let program = settings.program.display();
    let output = Command::new(&settings.program)
        .args(["--output=export", "--lines=1", "--no-pager"])
        .args(&settings.arguments)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let message = format!(
                "{program} cannot be run: {error}; install systemd, or say where it is with `journalctl`"
            );
            return Finding::new(Level::Wrong, message);
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(MAX_COMPLAINT).collect();
    let shown = output.stdout.starts_with(b"__CURSOR=");
    let name = &user.name;
    match (output.status.success(), shown) {
        (true, true) if said.is_empty() => {
            Finding::new(Level::Note, format!("{program} shows entries"))
        }
        (true, true) => Finding::new(Level::Warning, format!("{program} shows entries, and says: {said}")),
        (true, false) => Finding::new(
            Level::Warning,
            format!(
                "{program} shows no entry: there is none that is asked for, or {name} may not read it; \
                 the group systemd-journal may (usermod -aG systemd-journal {name}) {said}"
            )
            .trim_end()
            .to_owned(),
        ),
        (false, _) => Finding::new(
            Level::Wrong,
            format!("{program} ends with {}: {said}", output.status),
        ),
    }
}

fn look_at_socket(listen: &Listen, user: &User) -> Option<Finding> {
    let tried = match listen {
        Listen::Unix(path) => {
            return look_at_path(path, |path| UnixStream::connect(path).map(drop), user);
        }
        Listen::UnixDatagram(path) => {
            let connect = |path: &Path| UnixDatagram::unbound()?.connect(path);
            return look_at_path(path, connect, user);
        }
        Listen::Udp(address) => (*address, UdpSocket::bind(address).map(drop)),
        Listen::Tcp(address) => (*address, TcpListener::bind(address).map(drop)),
    };
    let (address, Err(error)) = tried else {
        return None;
    };
    Some(explain(address, &error))
}

fn explain(address: SocketAddr, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::AddrInUse => Finding::new(Level::Warning, IN_USE.to_owned()),
        io::ErrorKind::PermissionDenied => Finding::new(
            Level::Wrong,
            format!(
                "port {} is for those with CAP_NET_BIND_SERVICE; give it to the service \
                 (AmbientCapabilities=), or take a port from 1024 on",
                address.port()
            ),
        ),
        io::ErrorKind::AddrNotAvailable => Finding::new(
            Level::Wrong,
            format!("this machine has no address {}", address.ip()),
        ),
        _ => Finding::new(Level::Wrong, format!("cannot listen there: {error}")),
    }
}

const IN_USE: &str = "somebody listens there already: the forwarder, if it runs; else another program, which has to go";

/// `connect` tells whether somebody listens.
fn look_at_path(
    path: &Path,
    connect: impl FnOnce(&Path) -> io::Result<()>,
    user: &User,
) -> Option<Finding> {
    let directory = directory_of(path);
    if std::fs::metadata(directory).is_err() {
        let message = format!("there is no directory {}; make it", directory.display());
        return Some(Finding::new(Level::Wrong, message));
    }
    if !access::is_allowed(directory, Want::Write) {
        let reason = access::explain(directory, Want::Write, user);
        let message = format!("the socket cannot be made: {reason}");
        return Some(Finding::new(Level::Wrong, message));
    }
    match connect(path) {
        Ok(()) => Some(Finding::new(Level::Warning, IN_USE.to_owned())),
        // A socket that was left behind refuses, and is replaced.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let message = format!("there is something at {}: {error}", path.display());
            Some(Finding::new(Level::Wrong, message))
        }
    }
}
