//! The two daemons under test: built once, started with a config, killed, measured.
//!
//! The binaries are those of the profile the test was built with. `cargo test` does not build
//! the binaries of other packages by itself, so the first use asks cargo for them; when they are
//! fresh that takes a fraction of a second. A test never runs against yesterday's binary.

use std::fmt::Write;
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use crate::certificates::Identity;
use crate::environment;
use crate::process::{self, Process};
use crate::wait;

/// A cold build of both daemons on two busy cores.
const BUILD_DEADLINE: Duration = Duration::from_mins(30);
/// How long a daemon may take to listen, or to end after SIGTERM.
const PATIENCE: Duration = Duration::from_mins(1);

/// The two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `skidder-forwarder`
    Forwarder,
    /// `skidder-aggregator`
    Aggregator,
    /// `skidder-aggregator`, built with the feature `kafka`
    AggregatorWithKafka,
}

impl Program {
    /// The name of its package and its binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarder => "skidder-forwarder",
            Self::Aggregator => "skidder-aggregator",
            Self::AggregatorWithKafka => "skidder-aggregator-with-kafka",
        }
    }

    /// The path of the binary, built if need be.
    ///
    /// # Panics
    /// When it does not build: no test can go on then.
    pub fn binary(self) -> PathBuf {
        static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        static WITH_KAFKA: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        if self == Self::AggregatorWithKafka {
            // The usual ones first: afterwards nothing takes the place of what is built here.
            let usual = Self::Aggregator.binary();
            let built = WITH_KAFKA.get_or_init(|| {
                build_with_kafka(&usual, self.name()).map_err(|error| format!("{error:#}"))
            });
            return match built {
                Ok(binary) => binary.clone(),
                Err(error) => panic!("the aggregator does not build with Kafka: {error}"),
            };
        }
        match FOLDER.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
            Ok(folder) => folder.join(self.name()),
            Err(error) => panic!("the daemons do not build: {error}"),
        }
    }

    /// A command that runs the binary, with nothing on its standard input.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.binary());
        command.stdin(Stdio::null());
        command
    }
}

fn build() -> Result<PathBuf> {
    cargo_build(&["--workspace", "--bins"])?;
    let target = environment::target_directory();
    let profile = environment::profile();
    Ok(target.join(if profile == "dev" { "debug" } else { &profile }))
}

fn cargo_build(what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--profile", &environment::profile()])
        .args(what)
        .env("CARGO_TARGET_DIR", environment::target_directory())
        .current_dir(environment::workspace())
        .stdin(Stdio::null());
    // PERF: what cargo says of this package to its tests. Build scripts that look at these (ring's) would run again, and all that
    // depends on them be built again, here and at the next command that is not given by a test.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let logs = tempfile::tempdir().context("making a folder for the build's output")?;
    process::run("build", command, logs.path(), BUILD_DEADLINE)?;
    Ok(())
}

/// Cargo puts the binary in the place of the usual one, from where it is copied; the next build puts that back.
fn build_with_kafka(usual: &Path, name: &str) -> Result<PathBuf> {
    let binary = usual.with_file_name(name);
    let lock = binary.with_extension("lock");
    let lock = File::create(&lock).with_context(|| format!("creating {}", lock.display()))?;
    lock.lock().context("waiting for another test")?;
    cargo_build(&["-p", "skidder-aggregator", "--features", "kafka", "--bins"])?;
    let copy = binary.with_extension("new");
    std::fs::copy(usual, &copy).with_context(|| format!("copying {}", usual.display()))?;
    // The one that is there may be running.
    std::fs::rename(&copy, &binary).with_context(|| format!("renaming {}", copy.display()))?;
    Ok(binary)
}

/// What a build with the feature `kafka` lacks on this machine, if anything.
pub fn missing_for_kafka() -> Option<&'static str> {
    let works = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works("make", &["--version"]) || !works("cc", &["--version"]) {
        return Some("librdkafka needs make and a C compiler to be built");
    }
    let headers = works("pkg-config", &["--exists", "openssl", "zlib"]);
    (!headers).then_some("librdkafka needs pkg-config and the headers of OpenSSL and zlib to be built (Debian: pkg-config, libssl-dev, zlib1g-dev)")
}

/// A daemon with its config, its data folder and (while it runs) its process.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    name: String,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What runs the program, if it is not run directly.
    runner: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

impl Daemon {
    /// A forwarder with the given YAML; nothing runs yet. Its data folder is
    /// `FOLDER/NAME.data`, written into the config.
    pub fn forwarder(folder: &Path, name: &str, yaml: &str) -> Result<Self> {
        let data = folder.join(format!("{name}.data"));
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let config = folder.join(format!("{name}.yml"));
        write(&config, &format!("data dir: {}\n{yaml}", data.display()))?;
        let arguments = ["run", "--config", &config.to_string_lossy()].map(str::to_owned);
        Ok(Self::new(
            Program::Forwarder,
            folder,
            name,
            arguments.to_vec(),
        ))
    }

    /// A forwarder with a config file that is used as it is; only the data folder is said on the
    /// command line.
    pub fn unchanged_forwarder(folder: &Path, name: &str, config: &Path) -> Result<Self> {
        let data = folder.join(format!("{name}.data"));
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let arguments = [
            "run",
            "--config",
            &config.to_string_lossy(),
            "--data-dir",
            &data.to_string_lossy(),
        ]
        .map(str::to_owned);
        Ok(Self::new(
            Program::Forwarder,
            folder,
            name,
            arguments.to_vec(),
        ))
    }

    /// An aggregator with the given pipeline; nothing runs yet. Its data folder is
    /// `FOLDER/NAME.data`.
    pub fn aggregator(folder: &Path, name: &str, pipeline: &str) -> Result<Self> {
        let data = folder.join(format!("{name}.data"));
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let config = folder.join(format!("{name}.conf"));
        write(&config, pipeline)?;
        let arguments = [
            "-f",
            &config.to_string_lossy(),
            "--path.data",
            &data.to_string_lossy(),
        ]
        .map(str::to_owned);
        Ok(Self::new(
            Program::Aggregator,
            folder,
            name,
            arguments.to_vec(),
        ))
    }

    fn new(program: Program, folder: &Path, name: &str, arguments: Vec<String>) -> Self {
        let (name, folder) = (name.to_owned(), folder.to_owned());
        Self {
            program,
            name,
            folder,
            arguments,
            runner: Vec::new(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// An aggregator that is built with Kafka.
    #[must_use]
    pub fn with_kafka(mut self) -> Self {
        self.program = Program::AggregatorWithKafka;
        self
    }

    /// Adds command line arguments.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Runs it by another program, which gets the daemon's command line behind its own arguments
    /// and must become the daemon (`exec`).
    #[must_use]
    pub fn run_by(mut self, runner: &[&str]) -> Self {
        self.runner = runner.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, or starts it again with the same config and data.
    pub fn start(&mut self) -> Result<()> {
        self.process = None;
        let mut command = self.program.command();
        if let [runner, words @ ..] = self.runner.as_slice() {
            command = Command::new(runner);
            command
                .args(words)
                .arg(self.program.binary())
                .stdin(Stdio::null());
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(&self.name, command, &self.folder)?);
        Ok(())
    }

    /// Starts it and waits until it accepts connections on a port of 127.0.0.1.
    pub fn start_listening(&mut self, port: u16) -> Result<()> {
        self.start()?;
        let process = self.process()?;
        wait::until(&format!("a listener on port {port}"), PATIENCE, || {
            if !process.running() {
                return Err("the process has ended".to_owned());
            }
            TcpStream::connect(environment::loopback(port))
                .map(|_| ())
                .map_err(|error| error.to_string())
        })
        .with_context(|| process.quoted_log())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill()
    }

    /// Asks it to end with SIGTERM and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let process = self.process()?;
        process.signal(Signal::TERM)?;
        process.wait(PATIENCE)
    }

    /// The process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .ok_or_else(|| anyhow!("{} was never started", self.name))
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::stderr)
    }

    /// What `skidder-aggregator queue …` prints about its queues.
    ///
    /// # Errors
    /// When the command fails.
    pub fn queue(&self, arguments: &[&str]) -> Result<String> {
        let output = Program::Aggregator
            .command()
            .arg("queue")
            .args(arguments)
            .arg("--path.data")
            .arg(self.data())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "queue {arguments:?}: {said}");
        String::from_utf8(output.stdout).context("what `queue` prints")
    }

    /// Waits until `queue show` has all of these texts.
    ///
    /// # Errors
    /// When it has not by then.
    pub fn wait_for_queue(&self, texts: &[&str], deadline: Duration) -> Result<()> {
        wait::until("the queue", deadline, || match self.queue(&["show"]) {
            Ok(shown) if texts.iter().all(|text| shown.contains(text)) => Ok(()),
            Ok(shown) => Err(shown),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join(format!("{}.data", self.name))
    }
}

/// The TLS part of a forwarder's config.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// The CA that must have signed the aggregator's certificate.
    pub authority: PathBuf,
    /// The forwarder's own certificate, when it has one.
    pub identity: Option<Identity>,
}

/// A forwarder's config, as far as tests differ.
#[derive(Clone, Debug)]
pub struct ForwarderConfig<'a> {
    /// `host:port` of the aggregators.
    pub servers: Vec<String>,
    /// TLS; `None` for plain TCP.
    pub tls: Option<ClientTls>,
    /// Paths and globs.
    pub paths: Vec<PathBuf>,
    /// Further top-level lines.
    pub more: &'a str,
    /// Further lines of `network`, each indented by two blanks.
    pub network: &'a str,
}

impl ForwarderConfig<'_> {
    /// The config as YAML. Waiting times are short, so that a test does not wait for them.
    pub fn yaml(&self) -> Result<String> {
        let mut yaml = String::from("rescan interval: 1s\nnetwork:\n  reconnect delay: 100ms\n");
        yaml.push_str("  max reconnect delay: 1s\n");
        writeln!(yaml, "  servers: {}", serde_json::to_string(&self.servers)?)?;
        match &self.tls {
            None => yaml.push_str("  tls: off\n"),
            Some(tls) => {
                writeln!(yaml, "  ssl ca: {}", tls.authority.display())?;
                if let Some(identity) = &tls.identity {
                    writeln!(
                        yaml,
                        "  ssl certificate: {}",
                        identity.certificate.display()
                    )?;
                    writeln!(yaml, "  ssl key: {}", identity.key.display())?;
                }
            }
        }
        yaml.push_str(self.network);
        writeln!(
            yaml,
            "files:\n  - paths: {}",
            serde_json::to_string(&self.paths)?
        )?;
        yaml.push_str(self.more);
        Ok(yaml)
    }
}

/// The `beats` input of a pipeline.
#[derive(Clone, Debug)]
pub struct BeatsInput {
    /// The port.
    pub port: u16,
    /// The server's certificate; `None` for plain TCP.
    pub identity: Option<Identity>,
    /// The CA of client certificates, when they are demanded.
    pub client_authority: Option<PathBuf>,
}

impl std::fmt::Display for BeatsInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "input {{ beats {{ host => \"127.0.0.1\" port => {}",
            self.port
        )?;
        if let Some(identity) = &self.identity {
            write!(
                formatter,
                " ssl_enabled => true ssl_certificate => \"{}\" ssl_key => \"{}\"",
                identity.certificate.display(),
                identity.key.display()
            )?;
        }
        if let Some(authority) = &self.client_authority {
            write!(
                formatter,
                " ssl_client_authentication => \"required\" ssl_certificate_authorities => [\"{}\"]",
                authority.display()
            )?;
        }
        formatter.write_str(" } }\n")
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
