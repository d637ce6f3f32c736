//! The search cluster: real servers, which take their time to start.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::process::Signal;
use skidder_tests::servers::{Search, Server};

/// Nodes that can be killed, and are started again by threads of their own.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    server: Arc<Mutex<Server>>,
    starting: Option<JoinHandle<Result<()>>>,
}

impl Cluster {
    /// A cluster of nodes that run.
    pub(crate) fn new(nodes: Vec<Server>) -> Self {
        let node = |server| Node {
            server: Arc::new(Mutex::new(server)),
            starting: None,
        };
        Self {
            nodes: nodes.into_iter().map(node).collect(),
        }
    }

    /// Kills a node, as soon as all starts that are under way are through.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        self.wait()?;
        self.nodes[node].server().kill()
    }

    /// Starts a node; does not wait until it answers.
    pub(crate) fn start(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let server = Arc::clone(&node.server);
        node.starting = Some(std::thread::spawn(move || lock(&server).resume()));
    }

    /// Sends a signal to a node, as soon as all starts that are under way are through.
    pub(crate) fn signal(&mut self, node: usize, signal: Signal) -> Result<()> {
        self.wait()?;
        self.nodes[node].server().signal(signal)
    }

    /// Waits until every node answers that was started.
    pub(crate) fn wait(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(thread) = node.starting.take() {
                let ended = thread.join().ok();
                ended.context("the thread that starts a node panicked")??;
            }
        }
        Ok(())
    }

    /// Questions to each of the nodes.
    pub(crate) fn searches(&self) -> Vec<Search> {
        let searches = self.nodes.iter().map(|node| node.server().search());
        searches.collect()
    }

    /// `127.0.0.1:PORT` of each node.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server().host()).collect()
    }

    /// The folders of the nodes' logs.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.server().logs()).collect()
    }
}

impl Node {
    fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
