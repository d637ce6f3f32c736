//! The options under `network`: which servers, and how they are spoken with.
//!
//! Building opens the TLS files, so that `check` finds what is wrong with them, but no socket.

use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use super::Problems;
use super::proxy::Proxy;
use super::raw::RawSection;
use super::values::{HOUR, MILLISECOND, Reader, items};
use super::yaml::Node;
use crate::cloud::{self, facts::Facts};
use crate::link::discovery::{self, Discovery};
use crate::link::tls::{self, TlsSettings};

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
    /// The servers: at least one, unless they are to be discovered.
    pub servers: Vec<Server>,
    /// What is to be discovered; `servers` has what is known of it.
    pub discovery: Option<Rc<Discovery>>,
    /// The proxy that connections go through.
    pub proxy: Option<Proxy>,
    /// TLS, unless it is off.
    pub tls: Option<tls::Tls>,
    /// For connecting, the handshake, a write, and the wait for an acknowledgement.
    pub timeout: Duration,
    /// The idle time after which TCP probes the peer.
    pub tcp_keepalive: Duration,
    /// The longest silence of an aggregator over the native framing.
    pub heartbeat_timeout: Option<Duration>,
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
        tls && self.proxy == other.proxy
            && self.timeout == other.timeout
            && self.tcp_keepalive == other.tcp_keepalive
            && self.heartbeat_timeout == other.heartbeat_timeout
            && self.protocol == other.protocol
            && self.compression_level == other.compression_level
    }

    /// Connections at once.
    pub fn connections(&self) -> usize {
        if self.balance {
            self.workers * self.servers.len().max(1)
        } else {
            self.workers
        }
    }
}

/// One server as typed, or as an SRV record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The lower, the earlier it is tried.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
}

impl Network {
    /// No server at all: of a plan whose batches go somewhere else ([`crate::follow`]).
    pub fn nowhere() -> Self {
        Self {
            servers: Vec::new(),
            discovery: None,
            proxy: None,
            tls: None,
            timeout: Duration::ZERO,
            tcp_keepalive: Duration::ZERO,
            heartbeat_timeout: None,
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

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not `host:port`; write it like `logs.example.com:5043`");
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
        Ok(Self {
            host: host.to_owned(),
            port,
            priority: 0,
            weight: 1,
        })
    }
}

pub(super) fn build(section: &RawSection, problems: &mut Problems) -> Option<Network> {
    let (servers, discovery) = build_servers(section, problems);
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
        discovery: discovery.map(Rc::new),
        proxy: super::proxy::build(&mut reader),
        tls: None,
        timeout: reader.duration("timeout", Duration::from_secs(15), MILLISECOND, HOUR),
        tcp_keepalive: reader.seconds("tcp keepalive", 5),
        heartbeat_timeout: heartbeat(&mut reader),
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

/// The least is longer than the 3s between two signs of life of an aggregator.
fn heartbeat(reader: &mut Reader<'_>) -> Option<Duration> {
    let (name, default) = ("heartbeat timeout", Duration::from_secs(10));
    match reader.section.find(name).and_then(Node::text) {
        Some("off") => None,
        _ => Some(reader.duration(name, default, Duration::from_secs(4), HOUR)),
    }
}

/// The servers that are named, and those to be discovered.
fn build_servers(
    section: &RawSection,
    problems: &mut Problems,
) -> (Vec<Server>, Option<Discovery>) {
    let mut discovery = Discovery {
        names: Vec::new(),
        fixed: Vec::new(),
        name_servers: Vec::new(),
    };
    for node in section.find("dns servers").map_or(&[][..], items) {
        let address = node.text().and_then(discovery::name_server);
        match address {
            Some(address) if discovery.name_servers.len() < discovery::MAX_NAME_SERVERS => {
                discovery.name_servers.push(address);
            }
            Some(_) => {
                let message = format!("more than {} `dns servers`", discovery::MAX_NAME_SERVERS);
                problems.add(Some(&node.place), message);
                break;
            }
            None => problems.add(
                Some(&node.place),
                "a name server in `dns servers` is an address, like 192.0.2.53 or 127.0.0.1:5353",
            ),
        }
    }
    let Some(node) = section.find("servers") else {
        let message = "no `servers` under `network`; give at least one, like [\"logs:5043\"]";
        problems.add(section.place.as_ref(), message);
        return (discovery.fixed, None);
    };
    for node in items(node) {
        let Some(text) = node.text() else {
            let message = format!("a server is `host:port`, not {}", node.kind());
            problems.add(Some(&node.place), message);
            continue;
        };
        match text.trim().strip_prefix("srv+") {
            Some(name) if !discovery::is_name(name) => {
                let message = format!(
                    "`{text}`: behind `srv+` comes the name of a service, like `_beats._tcp.example.com`"
                );
                problems.add(Some(&node.place), message);
            }
            Some(_) if discovery.names.len() == discovery::MAX_NAMES => {
                let message = format!("more than {} `srv+…` in `servers`", discovery::MAX_NAMES);
                problems.add(Some(&node.place), message);
            }
            Some(name) => discovery.names.push(name.to_owned()),
            None => match ranked(text) {
                Ok(server) => discovery.fixed.push(server),
                Err(message) => problems.add(Some(&node.place), message),
            },
        }
    }
    if items(node).is_empty() {
        problems.add(
            Some(&node.place),
            "`servers` is empty; give at least one `host:port`",
        );
    }
    let servers = discovery.fixed.clone();
    (servers, (!discovery.names.is_empty()).then_some(discovery))
}

/// `host:port`, and behind it `priority=N` and `weight=N` if they are not the usual ones.
fn ranked(text: &str) -> Result<Server, String> {
    let mut words = text.split_whitespace();
    let mut server: Server = words.next().unwrap_or_default().parse()?;
    for word in words {
        let (name, number) = word.split_once('=').unwrap_or((word, ""));
        let rank = match name {
            "priority" => &mut server.priority,
            "weight" => &mut server.weight,
            _ => {
                return Err(format!(
                    "`{text}`: behind `host:port` come `priority=N` and `weight=N`, not `{word}`"
                ));
            }
        };
        *rank = number.parse().map_err(|_| {
            format!("`{text}`: `{name}` is a number from 0 to 65535, not `{number}`")
        })?;
    }
    Ok(server)
}
