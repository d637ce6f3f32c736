//! HAProxy in front of aggregators, as `docs/aggregator.md` has it: TCP, PROXY protocol, `/readyz`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::environment;
use crate::process::Process;

/// One of those behind it.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// The port that takes events.
    pub port: u16,
    /// The port of the API.
    pub api: u16,
}

/// A balancer that can be killed and started again.
#[derive(Debug)]
pub struct Balancer {
    /// Its port.
    pub port: u16,
    folder: PathBuf,
    process: Process,
}

impl Balancer {
    /// Whether there is a HAProxy on this machine.
    pub fn available() -> bool {
        let mut command = Command::new("haproxy");
        command.arg("-v").output().is_ok()
    }

    /// Starts it; its config and logs are in this folder.
    pub fn start(folder: &Path, backends: &[Backend]) -> Result<Self> {
        let port = environment::free_port()?;
        let mut config = format!(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 2m\n  timeout server 2m\n\
             listen aggregators\n  bind 127.0.0.1:{port}\n  balance leastconn\n  option redispatch\n  \
             option httpchk GET /readyz\n  default-server check inter 300ms fall 2 rise 1 send-proxy-v2\n"
        );
        for (place, Backend { port, api }) in backends.iter().enumerate() {
            writeln!(config, "  server a{place} 127.0.0.1:{port} port {api}")?;
        }
        std::fs::write(folder.join(CONFIG), config).context("writing HAProxy's config")?;
        Ok(Self {
            port,
            folder: folder.to_owned(),
            process: run(folder)?,
        })
    }

    /// Starts it again, on the same port.
    pub fn resume(&mut self) -> Result<()> {
        self.process = run(&self.folder)?;
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

const CONFIG: &str = "haproxy.cfg";

fn run(folder: &Path) -> Result<Process> {
    let mut command = Command::new("haproxy");
    let config = folder.join(CONFIG);
    command
        .arg("-db")
        .arg("-f")
        .arg(config)
        .stdin(Stdio::null());
    Process::start("haproxy", command, folder)
}
