//! The servers: whose turn it is, who does not answer, and when one is back.
//!
//! Requests go round-robin over the hosts that answer. A host that cannot be connected to is
//! ejected at once, one that breaks off answers after [`FAILURES_TO_EJECT`] in a row; a task per
//! ejected host probes it until it answers. While no host answers, [`HostPool::next`] waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{Instrument as _, info, warn};

use super::backoff::jitter;
use super::client::Client;
use super::options::Endpoint;

/// So many answers broken off one after the other eject a host.
pub(super) const FAILURES_TO_EJECT: u32 = 2;

/// One server and whether it answers.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    healthy: AtomicBool,
    failures: AtomicU32,
    ejected: Notify,
}

impl Host {
    /// An answer came, whatever it said.
    pub(super) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// All servers of one output.
#[derive(Debug)]
pub(super) struct HostPool {
    hosts: Vec<Arc<Host>>,
    turn: AtomicUsize,
    back: Notify,
}

impl HostPool {
    /// All hosts are taken to be healthy until one proves otherwise.
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        let hosts = endpoints
            .into_iter()
            .map(|endpoint| {
                Arc::new(Host {
                    endpoint,
                    healthy: AtomicBool::new(true),
                    failures: AtomicU32::new(0),
                    ejected: Notify::new(),
                })
            })
            .collect();
        Self {
            hosts,
            turn: AtomicUsize::new(0),
            back: Notify::new(),
        }
    }

    /// The healthy host whose turn it is; waits while there is none.
    pub(super) async fn next(&self) -> Arc<Host> {
        loop {
            // Registered before looking, so that a host that comes back in between is not missed.
            let back = self.back.notified();
            tokio::pin!(back);
            back.as_mut().enable();
            if let Some(host) = self.healthy_host() {
                return host;
            }
            back.await;
        }
    }

    /// No connection to `host`: it gets nothing more until a probe succeeds.
    pub(super) fn eject(&self, host: &Host) {
        if host.healthy.swap(false, Ordering::AcqRel) {
            let left = self.healthy_count();
            warn!(host = %host.endpoint.name, hosts_left = left, "server does not answer, set aside");
            host.ejected.notify_one();
        }
    }

    /// `host` took the request but did not answer it in full.
    pub(super) fn broke_off(&self, host: &Host) {
        if host.failures.fetch_add(1, Ordering::AcqRel) + 1 >= FAILURES_TO_EJECT {
            self.eject(host);
        }
    }

    /// The number of hosts that answer.
    pub(super) fn healthy_count(&self) -> usize {
        self.hosts
            .iter()
            .filter(|host| host.healthy.load(Ordering::Acquire))
            .count()
    }

    /// Starts the tasks that probe ejected hosts; they end when the set is dropped.
    pub(super) fn start_probes(
        self: &Arc<Self>,
        client: &Arc<Client>,
        delay: Duration,
    ) -> JoinSet<()> {
        let mut probes = JoinSet::new();
        for host in &self.hosts {
            let pool = Arc::clone(self);
            let client = Arc::clone(client);
            let host = Arc::clone(host);
            let probing = async move {
                loop {
                    host.ejected.notified().await;
                    pool.probe_until_back(&client, &host, delay).await;
                }
            };
            probes.spawn(probing.in_current_span());
        }
        probes
    }

    async fn probe_until_back(&self, client: &Client, host: &Host, delay: Duration) {
        loop {
            // From half to the whole delay: many senders must not probe in step.
            tokio::time::sleep(delay / 2 + jitter(delay / 2)).await;
            if client.probe(&host.endpoint).await {
                host.answered();
                host.healthy.store(true, Ordering::Release);
                info!(host = %host.endpoint.name, "server answers again");
                self.back.notify_waiters();
                return;
            }
        }
    }

    fn healthy_host(&self) -> Option<Arc<Host>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..self.hosts.len())
            .map(|step| &self.hosts[first.wrapping_add(step) % self.hosts.len()])
            .find(|host| host.healthy.load(Ordering::Acquire))
            .map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::ElasticsearchOptions;
    use super::*;

    fn pool(count: usize) -> HostPool {
        let options = ElasticsearchOptions {
            hosts: (0..count).map(|number| format!("host{number}")).collect(),
            ..ElasticsearchOptions::default()
        };
        HostPool::new(options.endpoints().unwrap())
    }

    #[tokio::test]
    async fn turns_go_round_the_healthy_hosts() {
        let pool = pool(3);
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(pool.next().await.endpoint.name.clone());
        }
        assert_eq!(
            names,
            [
                "http://host0:9200",
                "http://host1:9200",
                "http://host2:9200"
            ]
        );
        let ejected = pool.next().await;
        pool.eject(&ejected);
        for _ in 0..6 {
            assert_ne!(pool.next().await.endpoint.name, ejected.endpoint.name);
        }
        assert_eq!(pool.healthy_count(), 2);
    }

    #[tokio::test]
    async fn broken_answers_eject_only_in_a_row() {
        let pool = pool(1);
        let host = pool.next().await;
        pool.broke_off(&host);
        host.answered();
        pool.broke_off(&host);
        assert_eq!(pool.healthy_count(), 1);
        pool.broke_off(&host);
        assert_eq!(pool.healthy_count(), 0);
    }
}
