//! What the service manager is told: that we are ready, reloading, stopping, alive.
//!
//! The protocol is a datagram of `NAME=value` lines to the socket in `NOTIFY_SOCKET`, a path or an abstract
//! name (`@…`). Without that variable nothing is sent. The watchdog is answered from the task that does the
//! work, at half its time: if that task hangs, so do the answers.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::debug;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub fn from_environment() -> Self {
        Self::new(|name| std::env::var(name).ok(), std::process::id())
    }

    /// As [`Notifier::from_environment`], with the environment given by the caller.
    pub fn new(variable: impl Fn(&str) -> Option<String>, process: u32) -> Self {
        let address = variable("NOTIFY_SOCKET").and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
            None => None,
        });
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not stop the shipping.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == process.to_string());
        let micros = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        Self {
            watchdog: micros
                .filter(|micros| is_ours && *micros > 0 && socket.is_some())
                .map(Duration::from_micros),
            to: socket,
        }
    }

    /// How often the watchdog is to be told that we are alive.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// Started: the registry is open and the files are found.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A new config is read. Ends with [`Notifier::ready`].
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// No more is read, what is in flight is finished.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// We are alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            debug!(%error, "the service manager does not take our message");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("comes");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn notifier(socket: &str, watchdog: Option<(&str, &str)>) -> Notifier {
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.to_owned()),
            "WATCHDOG_USEC" => watchdog.map(|(micros, _)| micros.to_owned()),
            "WATCHDOG_PID" => watchdog.map(|(_, pid)| pid.to_owned()),
            _ => None,
        };
        Notifier::new(variable, 7)
    }

    #[test]
    fn messages_go_to_a_path_and_to_an_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("binds");
        let name = format!("skidder-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let by_name = UnixDatagram::bind_addr(&address).expect("binds");
        for (socket, typed) in [
            (by_path, path.display().to_string()),
            (by_name, format!("@{name}")),
        ] {
            let notifier = notifier(&typed, None);
            notifier.ready();
            assert_eq!(received(&socket), "READY=1");
            notifier.reloading();
            assert!(received(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notifier.status("two\nlines");
            assert_eq!(received(&socket), "STATUS=two lines");
            notifier.stopping();
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn the_watchdog_is_ours_only_with_our_process_number() {
        let interval = |pid| notifier("@x", Some(("3000000", pid))).watchdog_interval();
        assert_eq!(interval("7"), Some(Duration::from_millis(1500)));
        assert_eq!(interval("8"), None);
        assert_eq!(notifier("@x", None).watchdog_interval(), None);
        let nobody = Notifier::new(|_| None, 7);
        nobody.ready();
        assert!(nobody.watchdog_interval().is_none() && nobody.to.is_none());
    }
}
