//! The options of an element of `syslog`: sockets for programs that can only speak that.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Problems;
use super::files::build_fields;
use super::lines::long_lines;
use super::raw::RawSection;
use super::values::Reader;
use crate::feed::syslog::framing::Framing;
use crate::feed::syslog::{Listen, Settings};

/// Builds the elements.
pub(super) fn build(
    sections: &[RawSection],
    max_message_bytes: usize,
    problems: &mut Problems,
) -> Vec<Settings> {
    let mut sockets: Vec<Settings> = Vec::with_capacity(sections.len());
    for section in sections {
        let Some(settings) = element(section, max_message_bytes, problems) else {
            continue;
        };
        if sockets.iter().any(|other| other.listen == settings.listen) {
            let message = format!("two elements of `syslog` listen on `{}`", settings.listen);
            problems.add(section.place.as_ref(), message);
        }
        sockets.push(settings);
    }
    sockets
}

fn element(
    section: &RawSection,
    max_message_bytes: usize,
    problems: &mut Problems,
) -> Option<Settings> {
    let fields = build_fields(section.find("fields"), problems);
    let mut reader = Reader { section, problems };
    let remote = reader.switch("allow remote", false);
    let listen = reader.parsed("listen", None, |text| listen(text, remote).map(Some));
    if section.find("listen").is_none() {
        let message = "this element of `syslog` has no `listen`; say where, like `unix:/run/app/log.sock` or `udp:514`";
        reader.problems.add(section.place.as_ref(), message);
    }
    let mode = reader.octal("mode", 0o666);
    let owner = reader.parsed("owner", (None, None), owner);
    let framing = match reader.choice("framing", &["auto", "lines", "octets"]) {
        "lines" => Framing::Lines,
        "octets" => Framing::Octets,
        _ => Framing::Auto,
    };
    let idle_timeout = reader.duration_or_off("idle timeout", std::time::Duration::ZERO);
    Some(Settings {
        listen: listen?,
        fields,
        mode,
        owner,
        framing,
        max_connections: reader.number("max connections", 64, 1, 4096) as usize,
        idle_timeout: Some(idle_timeout).filter(|timeout| !timeout.is_zero()),
        receive_buffer: reader.size("receive buffer", 1 << 20, 4 << 10, 1 << 30),
        max_message_bytes,
        long_lines: long_lines(&mut reader),
    })
}

fn listen(text: &str, remote: bool) -> Result<Listen, String> {
    let wrong = || {
        format!(
            "`listen` is `unix:/path`, `unixgram:/path`, `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT`, not `{text}`"
        )
    };
    let (kind, place) = text.split_once(':').ok_or_else(wrong)?;
    let path = || Some(PathBuf::from(place)).filter(|path| path.is_absolute());
    let address = || match place.parse::<u16>() {
        Ok(port) => Some(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => place.parse::<SocketAddr>().ok(),
    };
    let listen = match kind {
        "unix" => path().map(Listen::Unix),
        "unixgram" => path().map(Listen::UnixDatagram),
        "udp" => address().map(Listen::Udp),
        "tcp" => address().map(Listen::Tcp),
        _ => None,
    };
    let listen = listen.ok_or_else(wrong)?;
    match listen.address() {
        Some(address) if !remote && !address.ip().is_loopback() => Err(format!(
            "`{text}` is reached from other hosts, and syslog has no proof of who sends: use an address of the loopback, \
             or say `allow remote: on`"
        )),
        _ => Ok(listen),
    }
}

/// `user`, `user:group` or `:group`, names or numbers.
fn owner(text: &str) -> Result<(Option<u32>, Option<u32>), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let user = id(user, "/etc/passwd", "user")?;
    Ok((user, id(group, "/etc/group", "group")?))
}

/// The number of a name, which is the third column of its line in the list.
fn id(name: &str, list: &str, kind: &str) -> Result<Option<u32>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let text = std::fs::read_to_string(list).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let number = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(format!(
            "`owner`: there is no {kind} `{name}` in {list}; give a number, or make the {kind}"
        )),
    }
}
