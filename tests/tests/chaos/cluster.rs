//! The search cluster: a real server, which takes its time to start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use skidder_tests::servers::Server;

/// A server that can be killed, and is started again by a thread of its own.
pub(crate) struct Cluster {
    server: Arc<Mutex<Server>>,
    starting: Option<JoinHandle<Result<()>>>,
}

impl Cluster {
    /// A cluster of a server that runs.
    pub(crate) fn new(server: Server) -> Self {
        Self {
            server: Arc::new(Mutex::new(server)),
            starting: None,
        }
    }

    /// Kills it, as soon as a start that is under way is through.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.wait()?;
        lock(&self.server).kill()
    }

    /// Starts it; does not wait until it answers.
    pub(crate) fn start(&mut self) {
        let server = Arc::clone(&self.server);
        self.starting = Some(std::thread::spawn(move || lock(&server).resume()));
    }

    /// Waits until it answers.
    pub(crate) fn wait(&mut self) -> Result<()> {
        match self.starting.take() {
            Some(thread) => thread
                .join()
                .ok()
                .context("the thread that starts the cluster panicked")?,
            None => Ok(()),
        }
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
