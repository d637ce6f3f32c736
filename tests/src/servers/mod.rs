//! Real OpenSearch and Elasticsearch servers, one node or a few, and Kafka: on loopback, for as long as a test runs.
//!
//! A [`Server`] can be killed and started again on the same port with the same data. The
//! unpacked distribution is shared and only read; config, data and logs are a folder of the
//! run's own, which the next test process removes if this one could not.
//!
//! The servers refuse to run as root: then they run as `nobody` through `setpriv`.

mod cluster;
mod fetch;
mod java;
mod kafka;
mod patterns;
mod releases;
mod run_folder;
mod search;
mod security;

pub use self::java::Need;
pub use self::kafka::Kafka;
pub use self::patterns::{PatternFiles, pattern_files_or_skip};
pub use self::releases::{
    ALL, ELASTICSEARCH_6, ELASTICSEARCH_7, ELASTICSEARCH_7_10, ELASTICSEARCH_8, ELASTICSEARCH_9,
    OPENSEARCH_1, OPENSEARCH_2, OPENSEARCH_3, Product, Release,
};
pub use self::search::Search;
pub use self::security::SecuredServer;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio_rustls::rustls::ClientConfig;

use self::run_folder::RunFolder;
use crate::environment;
use crate::process::Process;
use crate::wait;

/// How long a server may take until it answers: a JVM on a busy two-core machine.
const START_DEADLINE: Duration = Duration::from_secs(400);

/// Flags for a quick start in little memory: only the first compiler, the serial collector.
const JAVA_OPTIONS: &str =
    "-Xms256m -Xmx1g -XX:-AlwaysPreTouch -XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC";

/// The user and group the servers run as when the tests run as root.
const NOBODY: u32 = 65534;

/// Why a server is not there.
#[derive(Debug)]
pub enum StartError {
    /// This machine lacks something (Java, Maven, the network): a reason to skip.
    Unavailable(String),
    /// It should have started and has not: a reason to fail.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What starts: the unpacked distribution, and the home folder of its Java.
#[derive(Debug)]
struct Installed {
    tree: PathBuf,
    java: PathBuf,
}

impl Installed {
    /// Fetches and unpacks it, if need be.
    fn of(release: &Release) -> Result<Self, StartError> {
        let java = java_for(release)?;
        let tree = fetch::unpacked(release)?;
        Ok(Self { tree, java })
    }
}

/// A running (or killed) search server.
#[derive(Debug)]
pub struct Server {
    release: Release,
    installed: Installed,
    port: u16,
    process: Option<Process>,
    run: RunFolder,
    administrator: Option<Arc<ClientConfig>>,
}

impl Server {
    /// Starts a server with an empty data folder and waits until it takes requests. `settings`
    /// are further lines of its YAML file.
    pub fn start(release: &Release, settings: &[&str]) -> Result<Self, StartError> {
        Self::start_installed(
            release,
            Installed::of(release)?,
            settings,
            &|_| Ok(()),
            None,
        )
    }

    /// Starts one that is installed. `lay_out` puts further files into its folder of settings; `administrator`
    /// is what it is asked with whether it takes requests, if it does not answer everybody.
    fn start_installed(
        release: &Release,
        installed: Installed,
        settings: &[&str],
        lay_out: &dyn Fn(&Path) -> Result<()>,
        administrator: Option<Arc<ClientConfig>>,
    ) -> Result<Self, StartError> {
        let transport = environment::free_port()?;
        let alone = format!(
            "cluster.name: skidder-test-{transport}\n\
             node.name: node\n\
             {}: {transport}\n\
             discovery.type: single-node\n",
            release.transport_port
        );
        let mut server = Self::prepare(release, installed, &alone, settings, lay_out)?;
        server.administrator = administrator;
        server.resume()?;
        Ok(server)
    }

    /// A server that does not run yet. `membership` are the lines of its YAML file that say what
    /// cluster it belongs to.
    fn prepare(
        release: &Release,
        installed: Installed,
        membership: &str,
        settings: &[&str],
        lay_out: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Self, StartError> {
        let run = RunFolder::new(&fetch::cache()?, &release.name())?;
        let port = environment::free_port()?;
        let tree = &installed.tree;
        configure(
            release, tree, &run.path, port, membership, settings, lay_out,
        )?;
        Ok(Self {
            release: *release,
            installed,
            port,
            process: None,
            run,
            administrator: None,
        })
    }

    /// As [`Server::start`], for tests: `None`, after saying so, when this machine cannot run
    /// it.
    ///
    /// # Panics
    /// When it should have started and has not, or when skipping is forbidden.
    pub fn start_or_skip(release: &Release, settings: &[&str]) -> Option<Self> {
        started_or_skip(release, Self::start(release, settings))
    }

    /// Starts it again on the same port with the same data.
    pub fn resume(&mut self) -> Result<()> {
        self.process = None;
        let program = self
            .installed
            .tree
            .join("bin")
            .join(self.release.product.program());
        let mut command = if runs_as_root() {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={NOBODY}"))
                .arg(format!("--regid={NOBODY}"))
                .arg("--clear-groups")
                .arg("--inh-caps=-all")
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        let prefix = self.release.product.prefix();
        command
            .stdin(Stdio::null())
            .current_dir(&self.run.path)
            .env("HOME", &self.run.path)
            .env(format!("{prefix}_JAVA_HOME"), &self.installed.java)
            // Releases of before that variable; the others do not look at it.
            .env("JAVA_HOME", &self.installed.java)
            .env(format!("{prefix}_PATH_CONF"), self.run.path.join("config"))
            .env(format!("{prefix}_TMPDIR"), self.run.path.join("tmp"))
            .env(format!("{prefix}_JAVA_OPTS"), JAVA_OPTIONS);
        self.process = Some(Process::start(
            self.release.product.program(),
            command,
            &self.run.path,
        )?);
        self.wait_until_ready()
    }

    /// Kills it with SIGKILL; the data stays.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.as_mut() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match &self.process {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    /// The release that runs.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// `127.0.0.1:PORT`, as the `hosts` option of an output takes it.
    pub fn host(&self) -> String {
        environment::loopback(self.port).to_string()
    }

    /// Where its logs are, until the next test that starts a server.
    pub fn logs(&self) -> PathBuf {
        self.run.path.join("logs")
    }

    /// Questions to ask it.
    pub fn search(&self) -> Search {
        Search::new(environment::loopback(self.port))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let search = self.search();
        let ready = || match &self.administrator {
            None => search.ready(),
            Some(tls) => search.ready_over(tls),
        };
        let process = self
            .process
            .as_mut()
            .context("a server that was never started")?;
        wait::until(
            &format!("{} to answer", self.release.name()),
            START_DEADLINE,
            || {
                if !process.running() {
                    return Err("the process has ended".to_owned());
                }
                ready().map_err(|error| format!("{error:#}"))
            },
        )
        .with_context(|| format!("{}\n{}", process.stdout(), process.quoted_log()))
    }
}

/// What was started; `None`, after saying so, when this machine cannot run it.
///
/// # Panics
/// When it should have started and has not, or when skipping is forbidden.
fn started_or_skip<T>(release: &Release, started: Result<T, StartError>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(StartError::Unavailable(reason)) => {
            environment::skip(&reason);
            None
        }
        Err(StartError::Failed(error)) => {
            panic!("{} does not start: {error:#}", release.name())
        }
    }
}

fn java_for(release: &Release) -> Result<PathBuf, StartError> {
    java::home(release.java)
        .map_err(|reason| StartError::Unavailable(format!("{}: {reason}", release.name())))
}

/// Whether the tests run as root.
fn runs_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn configure(
    release: &Release,
    tree: &Path,
    run: &Path,
    port: u16,
    membership: &str,
    settings: &[&str],
    lay_out: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let config = run.join("config");
    for folder in [
        &config,
        &run.join("data"),
        &run.join("logs"),
        &run.join("tmp"),
    ] {
        std::fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    copy_files(&tree.join("config"), &config)?;
    // The garbage collection log goes to a path relative to the shared tree, which is read-only. Old releases
    // ask for a collector that their successors' Java has no more.
    let options = config.join("jvm.options");
    let text = std::fs::read_to_string(&options).context("reading jvm.options")?;
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| {
            ![
                "Xlog:gc",
                "HeapDump",
                "ErrorFile",
                "ConcMarkSweep",
                "CMSInitiating",
            ]
            .iter()
            .any(|option| line.contains(option))
        })
        .chain(release.java_options.iter().copied())
        .collect();
    std::fs::write(&options, kept.join("\n") + "\n").context("writing jvm.options")?;

    let mut yaml = format!(
        "{membership}\
         network.host: 127.0.0.1\n\
         http.port: {port}\n\
         path.data: {data}\n\
         path.logs: {logs}\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n",
        data = run.join("data").display(),
        logs = run.join("logs").display(),
    );
    for line in release.settings.iter().chain(settings) {
        yaml.push_str(line);
        yaml.push('\n');
    }
    std::fs::write(
        config.join(format!("{}.yml", release.product.program())),
        yaml,
    )
    .context("writing the server's settings")?;
    lay_out(&config)?;
    give_to_nobody(run)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn give_to_nobody(path: &Path) -> Result<()> {
    if !runs_as_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("giving {} to the user nobody", path.display()))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to_nobody(&entry?.path())?;
        }
    }
    Ok(())
}
