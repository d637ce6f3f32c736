//! The servers: whose turn it is, who does not answer, and when one is back.
//!
//! Requests go round-robin over the hosts that answer. A host that cannot be connected to is
//! ejected at once, one that breaks off answers after [`FAILURES_TO_EJECT`] in a row; a task per
//! ejected host probes it until it answers. While no host answers, [`HostPool::next`] waits.
//!
//! Each host has a limit of the size of bodies, if it has refused one: half of what it refused with a
//! 413, until the end; or what it took of a body for which it was too busy (429), for
//! [`CROWDED_FOR`]. Bodies are cut at the smallest limit of the hosts that answer.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, info, warn};

use super::client::Client;
use super::endpoint::Endpoint;
use crate::backoff::jitter;
use crate::monitor::HostFigures;

/// So many answers broken off one after the other eject a host.
pub(super) const FAILURES_TO_EJECT: u32 = 2;

/// So long bodies are kept small for a server that was too busy for large ones.
pub(super) const CROWDED_FOR: Duration = Duration::from_mins(5);
/// They are not made smaller than this for that reason.
pub(super) const CROWDED_MIN_BYTES: usize = 64 << 10;

/// One server and whether it answers.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    healthy: AtomicBool,
    failures: AtomicU32,
    ejected: Notify,
    limits: Mutex<BodyLimits>,
}

/// What a host has said about the size of bodies.
#[derive(Debug, Default)]
struct BodyLimits {
    /// The largest body that it has taken.
    taken: usize,
    /// From a 413.
    too_large: Option<usize>,
    /// From a 429, and until when.
    crowded: Option<(usize, Instant)>,
}

impl BodyLimits {
    fn limit(&self, now: Instant) -> usize {
        let crowded = self.crowded.filter(|(_, until)| *until > now);
        let crowded = crowded.map_or(usize::MAX, |(limit, _)| limit);
        self.too_large.unwrap_or(usize::MAX).min(crowded)
    }
}

impl Host {
    /// An answer came, whatever it said.
    pub(super) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It took a body of this size.
    pub(super) fn accepted(&self, length: usize) {
        let mut limits = self.limits();
        limits.taken = limits.taken.max(length);
    }

    /// The largest body that it has taken.
    pub(super) fn largest_taken(&self) -> usize {
        self.limits().taken
    }

    /// It is not asked to take a larger body, unless that is a single document.
    pub(super) fn body_limit(&self) -> usize {
        self.limits().limit(Instant::now())
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, BodyLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All servers of one output.
#[derive(Debug)]
pub(super) struct HostPool {
    hosts: Vec<Arc<Host>>,
    turn: AtomicUsize,
    back: Notify,
    /// The size at which bodies are cut if no host objects.
    configured_limit: usize,
    /// The size at which they are cut now.
    body_limit: AtomicUsize,
    /// Told when a host does not answer: its addresses may be old.
    pub(super) doubt: Notify,
}

impl HostPool {
    /// All hosts are taken to be healthy until one proves otherwise.
    pub(super) fn new(endpoints: Vec<Endpoint>, body_limit: usize) -> Self {
        let hosts = endpoints
            .into_iter()
            .map(|endpoint| {
                Arc::new(Host {
                    endpoint,
                    healthy: AtomicBool::new(true),
                    failures: AtomicU32::new(0),
                    ejected: Notify::new(),
                    limits: Mutex::default(),
                })
            })
            .collect();
        Self {
            hosts,
            turn: AtomicUsize::new(0),
            back: Notify::new(),
            configured_limit: body_limit,
            body_limit: AtomicUsize::new(body_limit),
            doubt: Notify::new(),
        }
    }

    /// Bodies are cut at this size.
    ///
    /// PERF: asked for each event.
    pub(super) fn body_limit(&self) -> usize {
        self.body_limit.load(Ordering::Relaxed)
    }

    /// `host` refused a body of this size: gives the size at which later ones are cut, if it is lower
    /// than before.
    pub(super) fn too_large(&self, host: &Host, length: usize) -> Option<usize> {
        let mut limits = host.limits();
        if limits.taken >= length {
            // It takes less than it once did.
            limits.taken = 0;
        }
        let limit = (length / 2).max(limits.taken).max(1);
        let is_lower = limits.too_large.is_none_or(|known| limit < known);
        if is_lower {
            limits.too_large = Some(limit);
        }
        drop(limits);
        self.set_body_limit();
        is_lower.then_some(limit)
    }

    /// `host` was too busy for a body again and again, and took one of this size.
    pub(super) fn crowded(&self, host: &Host, length: usize) {
        let limit = length.max(CROWDED_MIN_BYTES);
        host.limits().crowded = Some((limit, Instant::now() + CROWDED_FOR));
        self.set_body_limit();
    }

    /// Bodies are cut so that every host that answers takes them.
    pub(super) fn set_body_limit(&self) {
        let now = Instant::now();
        let limits = self
            .hosts
            .iter()
            .filter(|host| host.healthy.load(Ordering::Acquire))
            .map(|host| host.limits().limit(now));
        let limit = limits
            .min()
            .unwrap_or(usize::MAX)
            .min(self.configured_limit);
        self.body_limit.store(limit, Ordering::Relaxed);
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
            self.doubt.notify_one();
            self.set_body_limit();
        }
    }

    /// `host` took the request but did not answer it in full.
    pub(super) fn broke_off(&self, host: &Host) {
        if host.failures.fetch_add(1, Ordering::AcqRel) + 1 >= FAILURES_TO_EJECT {
            self.eject(host);
        }
    }

    /// All hosts, and which of them answer.
    pub(super) fn figures(&self) -> Vec<HostFigures> {
        let hosts = self.hosts.iter().map(|host| HostFigures {
            name: host.endpoint.name.clone(),
            answers: host.healthy.load(Ordering::Acquire),
        });
        hosts.collect()
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
        let pool = Arc::clone(self);
        let limiting = async move {
            loop {
                // A limit that was for a while only ends by itself.
                tokio::time::sleep(CROWDED_FOR / 10).await;
                pool.set_body_limit();
            }
        };
        probes.spawn(limiting.in_current_span());
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
                self.set_body_limit();
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
        HostPool::new(options.endpoints().unwrap(), 1000)
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
    async fn complaint_30_each_host_has_its_limit_of_bodies() {
        let pool = pool(2);
        let (first, second) = (pool.next().await, pool.next().await);
        first.accepted(300);
        assert_eq!(pool.too_large(&first, 800), Some(400));
        assert_eq!(pool.too_large(&first, 500), Some(300));
        assert_eq!(pool.too_large(&first, 900), None);
        assert_eq!((first.body_limit(), second.body_limit()), (300, usize::MAX));
        assert_eq!(pool.body_limit(), 300);
        // It takes less than it did: what it took then counts no more.
        assert_eq!(pool.too_large(&first, 280), Some(140));
        pool.eject(&first);
        assert_eq!(pool.body_limit(), 1000);
        pool.crowded(&second, 10);
        assert_eq!(second.body_limit(), CROWDED_MIN_BYTES);
        let later = Instant::now() + CROWDED_FOR;
        assert_eq!(second.limits().limit(later), usize::MAX);
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
