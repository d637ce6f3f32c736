//! What the configuration says about a `lumberjack` output.

use std::time::Duration;

use skidder_pipeline::language::{DurationUnit, Options};

use crate::output::tls_options::client_tls;
use crate::tls::ClientTlsOptions;

/// The options of one output.
#[derive(Debug)]
pub(in crate::output) struct LumberjackOptions {
    pub(super) plugin_id: String,
    /// `hosts`, each with its port.
    pub(super) hosts: Vec<Host>,
    /// `ssl_enabled` and what belongs to it; `None` for clear text.
    pub(super) tls: Option<ClientTlsOptions>,
    /// `flush_size`: events of a window at most.
    pub(super) window_events: u32,
    /// `max_window_bytes`: a window of so many bytes of JSON is sent.
    pub(super) window_bytes: usize,
    /// `compression_level`: of zlib; 0 is off.
    pub(super) compression_level: u8,
    /// `pipelining`: windows on the wire to one host before the first must be acknowledged.
    pub(super) pipelining: usize,
    /// `connect_timeout`: for resolving, connecting and the TLS handshake together.
    pub(super) connect_timeout: Duration,
    /// `timeout`: the longest silence of a host that owes an acknowledgement.
    pub(super) timeout: Duration,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// Reads `host`, `host:port`, `[address]:port` or an IPv6 address alone.
    fn parse(text: &str, port: Option<u16>) -> Result<Self, String> {
        let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
        let (name, given) = match text.rsplit_once(':') {
            _ if is_address(text) => (text, None),
            Some((name, digits)) => match digits.parse::<u16>() {
                Ok(given @ 1..) => (name, Some(given)),
                _ => return Err(format!("`{text}` does not end in a port from 1 to 65535")),
            },
            None => (text, None),
        };
        let name = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if name.is_empty() || name.contains('/') || (name.contains(':') && !is_address(name)) {
            return Err(format!(
                "`{text}` is no host: write `name`, `name:port` or `[address]:port`"
            ));
        }
        let port = given
            .or(port)
            .ok_or_else(|| format!("`{text}` has no port: write it there, or set `port`"))?;
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.contains(':') {
            write!(formatter, "[{}]:{}", self.name, self.port)
        } else {
            write!(formatter, "{}:{}", self.name, self.port)
        }
    }
}

impl LumberjackOptions {
    /// Reads the options; what is wrong is reported through `options`.
    pub(in crate::output) fn from_options(options: &mut Options<'_>) -> Self {
        let port = options.integer("port", 1..=65535);
        let port = port.and_then(|port| u16::try_from(port).ok());
        if !options.has("hosts") {
            options.missing("hosts");
        }
        let mut hosts = Vec::new();
        for text in options.strings("hosts").unwrap_or_default() {
            match Host::parse(&text.value, port) {
                Ok(host) => hosts.push(host),
                Err(reason) => options.diagnostics().error(text.span, reason),
            }
        }
        if hosts.is_empty() && options.has("hosts") {
            options.error("hosts", "`hosts` names none");
        }
        let bytes = options.bytes("max_window_bytes");
        let seconds = DurationUnit::Seconds;
        options.without_effect("codec", "the whole event travels, as JSON");
        options.without_effect(
            "idle_flush_time",
            "what waits is sent at the end of a batch of the pipeline",
        );
        Self {
            plugin_id: options
                .string("id")
                .unwrap_or_else(|| "lumberjack".to_owned()),
            hosts,
            tls: options
                .boolean("ssl_enabled")
                .unwrap_or(true)
                .then(|| tls(options)),
            window_events: options.count("flush_size", 1..=10_000).unwrap_or(1024) as u32,
            window_bytes: bytes.map_or(1 << 20, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            compression_level: options.count("compression_level", 0..=9).unwrap_or(1) as u8,
            pipelining: options.count("pipelining", 1..=64).unwrap_or(2),
            connect_timeout: options
                .duration("connect_timeout", seconds)
                .unwrap_or(Duration::from_secs(10)),
            timeout: options
                .duration("timeout", seconds)
                .unwrap_or(Duration::from_mins(1)),
        }
    }
}

/// COMPAT: in Logstash `ssl_certificate` alone is what the server is known by.
fn tls(options: &mut Options<'_>) -> ClientTlsOptions {
    let mut tls = client_tls(options);
    if tls.key.is_none() && tls.certificate_authorities.is_empty() {
        tls.certificate_authorities.extend(tls.certificate.take());
    }
    tls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_a_port() {
        for (text, port, host) in [
            ("logs", Some(5044), "logs:5044"),
            ("logs:5045", Some(5044), "logs:5045"),
            ("192.0.2.1:5044", None, "192.0.2.1:5044"),
            ("[2001:db8::1]:5044", None, "[2001:db8::1]:5044"),
            ("2001:db8::1", Some(5044), "[2001:db8::1]:5044"),
        ] {
            assert_eq!(
                Host::parse(text, port).map(|host| host.to_string()),
                Ok(host.to_owned())
            );
        }
        for (text, port) in [
            ("logs", None),
            ("logs:0", None),
            ("logs:x", Some(1)),
            (":5044", None),
            ("https://logs:1", None),
        ] {
            assert!(Host::parse(text, port).is_err(), "{text}");
        }
    }
}
