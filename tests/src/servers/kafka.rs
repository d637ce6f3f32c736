//! A real Kafka broker: one process that is its own controller, on loopback, for as long as a test runs.
//!
//! Maven brings the broker's jar and all that it needs; one SHA-256 over the names and digests of all of them is pinned.
//! There are no command line tools among them, so [`Cluster`] asks the broker what a test wants to know.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::java::{self, Need};
use super::{RunFolder, START_DEADLINE, StartError, fetch};
use crate::environment;
use crate::kafka::Cluster;
use crate::process::{self, Process};
use crate::wait;

const VERSION: &str = "4.4.0";
/// Of the lines `DIGEST  NAME` of all jars, in the order of their names.
const SHA256: &str = "59e6be1f570d54068e8ebcc07290cf27bea670ba110c66a27b6de6e64e4d93df";
const FORMAT_DEADLINE: Duration = Duration::from_mins(2);
/// Any sixteen bytes, in base64.
const CLUSTER_ID: &str = "c2tpZGRlci1rYWZrYS10cw";
/// For a quick start in little memory.
const JAVA_OPTIONS: [&str; 4] = [
    "-Xms64m",
    "-Xmx384m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
];

/// A running (or killed) broker.
#[derive(Debug)]
pub struct Kafka {
    jars: PathBuf,
    java: PathBuf,
    port: u16,
    process: Option<Process>,
    run: RunFolder,
}

impl Kafka {
    /// Starts a broker without topics and waits until it answers; `None`, after saying so, when this machine cannot run it.
    ///
    /// # Panics
    /// When it should have started and has not, or when skipping is forbidden.
    pub fn start_or_skip() -> Option<Self> {
        match Self::start() {
            Ok(broker) => Some(broker),
            Err(StartError::Unavailable(reason)) => {
                environment::skip(&reason);
                None
            }
            Err(StartError::Failed(error)) => panic!("kafka {VERSION} does not start: {error:#}"),
        }
    }

    fn start() -> Result<Self, StartError> {
        let java = java::home(Need::AtLeast(17))
            .map_err(|reason| StartError::Unavailable(format!("kafka: {reason}")))?;
        let jars = fetch::jars("org.apache.kafka", "kafka_2.13", VERSION, SHA256)?;
        let run = RunFolder::new(&fetch::cache()?, &format!("kafka-{VERSION}"))?;
        let mut broker = Self {
            jars,
            java,
            port: environment::free_port()?,
            process: None,
            run,
        };
        broker.configure()?;
        broker.resume()?;
        Ok(broker)
    }

    fn configure(&self) -> Result<()> {
        let (port, controller) = (self.port, environment::free_port()?);
        let data = self.run.path.join("data");
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\n\
             num.partitions=1\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n",
            data.display()
        );
        let properties = self.properties();
        std::fs::write(&properties, text)
            .with_context(|| format!("writing {}", properties.display()))?;
        let mut format = self.java();
        format
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(properties);
        process::run("format", format, &self.run.path, FORMAT_DEADLINE)?;
        Ok(())
    }

    fn properties(&self) -> PathBuf {
        self.run.path.join("server.properties")
    }

    fn java(&self) -> Command {
        let mut command = Command::new(self.java.join("bin/java"));
        command
            .args(JAVA_OPTIONS)
            .arg("-cp")
            .arg(self.jars.join("*"))
            .current_dir(&self.run.path)
            .stdin(Stdio::null());
        command
    }

    /// Starts it again on the same port with the same data.
    pub fn resume(&mut self) -> Result<()> {
        self.process = None;
        let mut command = self.java();
        command.arg("kafka.Kafka").arg(self.properties());
        let process = self
            .process
            .insert(Process::start("kafka", command, &self.run.path)?);
        let cluster = Cluster::new(environment::loopback(self.port));
        wait::until("the broker to answer", START_DEADLINE, || {
            if !process.running() {
                return Err("the process has ended".to_owned());
            }
            cluster.ready().map_err(|error| format!("{error:#}"))
        })
        .with_context(|| format!("{}\n{}", process.stdout(), process.quoted_log()))
    }

    /// Kills it with SIGKILL; the data stays.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.as_mut() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// `127.0.0.1:PORT`, as `bootstrap_servers` takes it.
    pub fn host(&self) -> String {
        environment::loopback(self.port).to_string()
    }

    /// Questions to ask it.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(environment::loopback(self.port))
    }
}
