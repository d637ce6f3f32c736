//! Servers by SRV records (RFC 2782): `srv+_beats._tcp.example.com` among the `servers`.
//!
//! The records are asked for at the start and again when the time is over for which they hold. What they say
//! becomes part of the config that the links see, so that a server that is new, or not there any more, is one that
//! was written into the config by hand or removed from it. INVARIANT: what was found last is used until
//! something else is found; a name server that does not answer takes no server away.
//!
//! Addresses of the servers are asked of the system when a link connects, as those of any other.

mod ask;
mod message;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

pub use self::ask::{MAX_NAME_SERVERS, name_server};
pub use self::message::is_name;
use super::backoff::Backoff;
use crate::config::network::Server;
use crate::config::{Config, Network};
use crate::reload::Reloader;

/// Names of services in one config.
pub const MAX_NAMES: usize = 16;
/// How long records hold, whatever they say.
pub const HOLDS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);

/// What is to be discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Names of services, at least one.
    pub names: Vec<String>,
    /// Servers that were named by hand.
    pub fixed: Vec<Server>,
    /// Whom to ask; empty for those of the system.
    pub name_servers: Vec<SocketAddr>,
}

/// What the records of one name say.
#[derive(Debug, Default)]
struct Found {
    servers: Vec<Server>,
    holds: Duration,
}

impl Discovery {
    /// Asks for every name once: the servers of each that there is an answer for, and of the others why not.
    pub(crate) async fn look_up_all(
        &self,
        limit: Duration,
    ) -> (Vec<Vec<Server>>, Vec<(String, String)>) {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match look_up(name, self, limit).await {
                Ok(answer) => found.push(answer.servers),
                Err(error) => failures.push((name.clone(), error)),
            }
        }
        (found, failures)
    }

    /// All servers, each once.
    pub(crate) fn with<'a>(&self, found: impl Iterator<Item = &'a Server>) -> Vec<Server> {
        let mut servers = self.fixed.clone();
        for server in found {
            if !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        servers
    }
}

/// Asks for one name.
async fn look_up(name: &str, discovery: &Discovery, limit: Duration) -> Result<Found, String> {
    let records = ask::records(name, &discovery.name_servers, limit).await;
    let records = records.map_err(|error| format!("cannot resolve srv+{name}: {error}"))?;
    let mut found = Found {
        servers: Vec::new(),
        holds: *HOLDS.end(),
    };
    for record in records {
        let holds = Duration::from_secs(record.ttl.into());
        found.holds = found.holds.min(holds).max(*HOLDS.start());
        // Without a name, or a port, it says that there is no such service.
        if !record.target.is_empty() && record.port != 0 {
            found.servers.push(Server {
                host: record.target,
                port: record.port,
                priority: record.priority,
                weight: record.weight,
            });
        }
    }
    if found.servers.is_empty() {
        return Err(format!(
            "srv+{name} names no server: it says that there is no such service"
        ));
    }
    Ok(found)
}

/// Keeps the servers of the config what the records say, for ever.
pub async fn run(mut config: watch::Receiver<Rc<Config>>, reloader: &Reloader) {
    loop {
        let network = Rc::clone(&config.borrow_and_update().network);
        let same = |config: &Rc<Config>| config.network.discovery == network.discovery;
        let other_config = async {
            // An error means that there will be no other.
            if config.wait_for(|config| !same(config)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let Some(discovery) = &network.discovery else {
            other_config.await;
            continue;
        };
        tokio::select! {
            () = other_config => {}
            () = keep_up(discovery, &network, reloader) => {}
        }
    }
}

async fn keep_up(discovery: &Discovery, network: &Network, reloader: &Reloader) {
    let mut backoff = Backoff::new(network.reconnect_delay, network.max_reconnect_delay);
    let mut known: Vec<Found> = Vec::new();
    known.resize_with(discovery.names.len(), Found::default);
    loop {
        let (mut wait, mut has_failed) = (*HOLDS.end(), false);
        for (name, known) in discovery.names.iter().zip(&mut known) {
            match look_up(name, discovery, network.timeout).await {
                Ok(found) => {
                    wait = wait.min(found.holds);
                    *known = found;
                }
                Err(error) => {
                    warn!("{error}; its servers stay as they were, and it is asked for again");
                    has_failed = true;
                }
            }
        }
        if has_failed {
            wait = wait.min(backoff.next_wait());
        } else {
            backoff.reset();
        }
        let servers = discovery.with(known.iter().flat_map(|found| &found.servers));
        // After a reload with other names the old servers are gone already.
        if !servers.is_empty() && reloader.set_servers(servers) {
            let names = discovery.names.join(", ");
            info!(names, "the servers of the SRV records have changed");
        }
        sleep(wait).await;
    }
}
