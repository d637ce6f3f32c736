//! The files of a system that say which name servers there are, and names that need none: `resolv.conf`
//! and `hosts`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// How many name servers are asked, how many domains are tried. As in the system's own resolver, and as
/// Logstash has it.
pub(super) const MAX_SERVERS: usize = 8;
pub(super) const MAX_SEARCH: usize = 6;
/// The port of name servers.
const PORT: u16 = 53;

/// Which servers to ask, and how names without a domain are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with as many dots is first asked as it is.
    pub(super) ndots: usize,
}

impl Servers {
    /// Those of a `resolv.conf`; the machine itself if it names none.
    pub(super) fn from_file(text: &str) -> Self {
        let mut servers = Self {
            addresses: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(server);
                    if servers.addresses.len() < MAX_SERVERS {
                        servers.addresses.extend(address);
                    }
                }
                Some("domain" | "search") => {
                    servers.search = words.take(MAX_SEARCH).map(str::to_owned).collect();
                }
                Some("options") => {
                    for word in words {
                        if let Some(ndots) = word.strip_prefix("ndots:")
                            && let Ok(ndots) = ndots.parse()
                        {
                            servers.ndots = ndots;
                        }
                    }
                }
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            servers
                .addresses
                .push(SocketAddr::from(([127, 0, 0, 1], PORT)));
        }
        servers
    }

    /// The full names to ask for a name, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| format!("{name}.{}", domain.trim_matches('.')))
            .collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }
}

/// The address of a server: `192.0.2.1`, `2001:db8::1`, or with a port `192.0.2.1:5353`,
/// `[2001:db8::1]:5353`. A zone (`%eth0`) cannot be told and is left out.
pub(super) fn server(text: &str) -> Option<SocketAddr> {
    let without_zone = text.split('%').next().unwrap_or(text);
    if let Ok(address) = without_zone.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    text.parse().ok()
}

/// Names and addresses of `hosts` files: of each the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    addresses: HashMap<Box<str>, Box<str>>,
    names: HashMap<IpAddr, Box<str>>,
}

impl Hosts {
    /// Adds those of a file that are not there yet.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(text) = words.next() else { continue };
            let Ok(address) = text.split('%').next().unwrap_or(text).parse::<IpAddr>() else {
                continue;
            };
            for name in words {
                let key = name.to_ascii_lowercase().into_boxed_str();
                self.addresses.entry(key).or_insert_with(|| text.into());
                self.names.entry(address).or_insert_with(|| name.into());
            }
        }
    }

    pub(super) fn address(&self, name: &str) -> Option<&str> {
        if let Some(address) = self.addresses.get(name) {
            return Some(address);
        }
        let lower = name.to_ascii_lowercase();
        self.addresses.get(lower.as_str()).map(|address| &**address)
    }

    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.get(&address).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let servers = Servers::from_file(
            "# by hand\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver bad\n\
             domain old.example\nsearch a.example b.example.\noptions rotate ndots:2 ; more\n",
        );
        assert_eq!(
            servers.addresses,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[fe80::1]:53".parse().unwrap()
            ]
        );
        assert_eq!(servers.candidates("x"), ["x.a.example", "x.b.example", "x"]);
        assert_eq!(
            servers.candidates("x.y"),
            ["x.y.a.example", "x.y.b.example", "x.y"]
        );
        assert_eq!(
            servers.candidates("x.y.z"),
            ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]
        );
        assert_eq!(servers.candidates("x."), ["x"]);
        assert_eq!(
            Servers::from_file("").addresses,
            ["127.0.0.1:53".parse().unwrap()]
        );
        assert_eq!(server("192.0.2.1:5353"), "192.0.2.1:5353".parse().ok());
        assert_eq!(server("[::1]:53"), "[::1]:53".parse().ok());
        assert_eq!(server("ns.example"), None);
    }

    #[test]
    fn hosts() {
        let mut hosts = Hosts::default();
        hosts.add(
            "192.0.2.7 Web.example web # the shop\n\n192.0.2.8 web\nbad name\n::1 localhost\n",
        );
        hosts.add("192.0.2.9 web.example other\n");
        assert_eq!(hosts.address("web.EXAMPLE"), Some("192.0.2.7"));
        assert_eq!(hosts.address("web"), Some("192.0.2.7"));
        assert_eq!(hosts.address("other"), Some("192.0.2.9"));
        assert_eq!(hosts.address("name"), None);
        assert_eq!(
            hosts.name("192.0.2.7".parse().unwrap()),
            Some("Web.example")
        );
        assert_eq!(hosts.name("::1".parse().unwrap()), Some("localhost"));
    }
}
