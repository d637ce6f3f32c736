//! A whole site for one test: a folder, certificates, one aggregator and one forwarder.
//!
//! The two daemons talk mutual TLS, as they should in production; a test that wants something
//! else (another certificate, plain TCP) changes the config before it starts them. When a test
//! fails, the folder with logs and configs is kept and its path printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::{Authority, Identity};
use crate::daemon::{BeatsInput, ClientTls, Daemon, ForwarderConfig};
use crate::environment;
use crate::servers::Search;
use crate::stub::Stub;
use crate::wait;
use crate::writers::{Tally, tally};

/// The folder, the certificates and the port of a site; what is needed to write configs.
#[derive(Debug)]
pub struct Site {
    folder: Option<TempDir>,
    /// The port of the aggregator's `beats` input.
    pub port: u16,
    /// The CA of both sides.
    pub authority: Authority,
    /// The aggregator's certificate, for `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// The forwarder's certificate.
    pub client: Identity,
}

impl Site {
    /// A new site; nothing runs yet.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("skidder-e2e-")
            .tempdir()
            .context("making the test's folder")?;
        let authority = Authority::new(folder.path(), "authority")?;
        let server = authority.server("aggregator", &["localhost", "127.0.0.1"])?;
        let client = authority.client("forwarder")?;
        let port = environment::free_port()?;
        Ok(Self {
            folder: Some(folder),
            port,
            authority,
            server,
            client,
        })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// The log file that the forwarder tails.
    pub fn log(&self) -> PathBuf {
        self.path().join("app.log")
    }

    /// The `beats` input: TLS, client certificates demanded.
    pub fn input(&self) -> BeatsInput {
        BeatsInput {
            port: self.port,
            identity: Some(self.server.clone()),
            client_authority: Some(self.authority.certificate.clone()),
        }
    }

    /// The forwarder's config: ships the log with its certificate to the aggregator.
    pub fn shipping(&self) -> ForwarderConfig<'static> {
        ForwarderConfig {
            servers: vec![format!("localhost:{}", self.port)],
            tls: Some(ClientTls {
                authority: self.authority.certificate.clone(),
                identity: Some(self.client.clone()),
            }),
            paths: vec![self.log()],
            more: "",
            network: "",
        }
    }

    /// An aggregator with this input and the rest of the pipeline as text.
    pub fn aggregator(&self, rest: &str) -> Result<Daemon> {
        Daemon::aggregator(
            self.path(),
            "aggregator",
            &format!("{}{rest}", self.input()),
        )
    }

    /// A forwarder that ships the log.
    pub fn forwarder(&self) -> Result<Daemon> {
        Daemon::forwarder(self.path(), "forwarder", &self.shipping().yaml()?)
    }
}

impl Drop for Site {
    #[expect(clippy::print_stderr, reason = "a failed test says where its logs are")]
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!(
                "the logs of the failed test are kept in {}",
                folder.keep().display()
            );
        }
    }
}

/// The output section that sends everything to one index of a server or stub.
pub fn elasticsearch_output(host: &str, index: &str, more: &str) -> String {
    format!(
        "output {{ elasticsearch {{ hosts => [\"http://{host}\"] index => \"{index}\" {more} }} }}\n"
    )
}

/// Waits until every numbered line is in an index, and says what arrived how often.
///
/// Returns at the deadline, too: the tally then says what is missing.
pub fn arrived_in_index(
    search: &Search,
    index: &str,
    lines: u64,
    deadline: Duration,
) -> Result<Tally> {
    let mut counted = 0;
    let mut result = Tally::default();
    let complete = wait::until("every line in the index", deadline, || {
        let mut look = || -> Result<bool> {
            search.refresh(index)?;
            let count = search.count(index)?;
            if count < lines || count == counted {
                return Ok(false);
            }
            let messages = search.every(index, "message")?;
            counted = messages.len() as u64;
            result = tally(0, lines, messages.iter().filter_map(Value::as_str));
            Ok(result.missing.is_empty())
        };
        match look() {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{counted} documents")),
            Err(error) => Err(format!("{error:#}")),
        }
    });
    if complete.is_err() {
        let messages = search.every(index, "message")?;
        result = tally(0, lines, messages.iter().filter_map(Value::as_str));
    }
    Ok(result)
}

/// The numbered lines that a stub has taken so far.
pub fn arrived_at_stub(stub: &Stub, lines: u64) -> Result<Tally> {
    let mut messages = Vec::new();
    for document in stub.documents() {
        let source: Value = serde_json::from_str(&document.source)
            .with_context(|| format!("a document that is not JSON: {}", document.source))?;
        let message = source["message"].as_str();
        messages.push(
            message
                .with_context(|| format!("no message in {source}"))?
                .to_owned(),
        );
    }
    Ok(tally(0, lines, messages.iter().map(String::as_str)))
}

/// Waits until every numbered line was taken by a stub.
pub fn wait_for_lines_at_stub(stub: &Stub, lines: u64, deadline: Duration) -> Result<Tally> {
    let mut result = Tally::default();
    let mut taken = 0;
    wait::until("every line at the stub", deadline, || {
        let counts = stub.counts();
        if counts.taken == taken || counts.taken < lines {
            return Err(format!("{counts:?}"));
        }
        taken = counts.taken;
        result = arrived_at_stub(stub, lines).map_err(|error| format!("{error:#}"))?;
        if result.missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} missing", result.missing.len()))
        }
    })?;
    Ok(result)
}
