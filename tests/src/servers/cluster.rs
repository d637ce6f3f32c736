//! A cluster of several nodes.
//!
//! Only the first one can be elected, so there is no doubt about who decides: without it nothing is
//! written, without another one the cluster goes on. Nodes notice within some seconds that one of
//! them does not answer; with the usual settings that takes half a minute.

use std::thread;

use anyhow::{Context, Result};

use super::{Installed, Release, Server, StartError, started_or_skip};
use crate::environment;

/// What makes nodes notice soon that one of them is gone.
const NOTICE: &str = "\
cluster.fault_detection.follower_check.timeout: 3s
cluster.fault_detection.follower_check.retry_count: 2
cluster.fault_detection.leader_check.timeout: 3s
cluster.fault_detection.leader_check.retry_count: 2
discovery.find_peers_interval: 500ms
";

impl Server {
    /// Starts an OpenSearch of so many nodes, and waits until each of them takes requests; skips as
    /// [`Server::start_or_skip`] does.
    ///
    /// # Panics
    /// As there.
    pub fn start_cluster_or_skip(
        release: &Release,
        nodes: usize,
        settings: &[&str],
    ) -> Option<Vec<Self>> {
        started_or_skip(release, start_cluster(release, nodes, settings))
    }
}

fn start_cluster(
    release: &Release,
    nodes: usize,
    settings: &[&str],
) -> Result<Vec<Server>, StartError> {
    let ports = (0..nodes).map(|_| environment::free_port());
    let ports: Vec<u16> = ports.collect::<Result<_>>()?;
    let prepare = |(place, port): (usize, &u16)| {
        let membership = membership(place, *port, ports[0]);
        let installed = Installed::of(release)?;
        Server::prepare(release, installed, &membership, settings, &|_| Ok(()))
    };
    let servers = ports.iter().enumerate().map(prepare);
    let mut servers: Vec<Server> = servers.collect::<Result<_, _>>()?;
    thread::scope(|scope| -> Result<()> {
        // All at once: a node that is not the first one waits for that.
        let starts = servers
            .iter_mut()
            .map(|server| scope.spawn(move || server.resume()));
        for start in starts.collect::<Vec<_>>() {
            let started = start.join().ok();
            started.context("the thread that starts a node panicked")??;
        }
        Ok(())
    })?;
    Ok(servers)
}

fn membership(place: usize, port: u16, first: u16) -> String {
    let roles = match place {
        0 => "[cluster_manager, data, ingest]\ncluster.initial_cluster_manager_nodes: [node-0]",
        _ => "[data, ingest]",
    };
    format!(
        "cluster.name: skidder-test-{first}\n\
         node.name: node-{place}\n\
         node.roles: {roles}\n\
         transport.port: {port}\n\
         discovery.seed_hosts: [\"127.0.0.1:{first}\"]\n\
         {NOTICE}"
    )
}
