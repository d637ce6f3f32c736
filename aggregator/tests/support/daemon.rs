//! A running aggregator whose events go to a file.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
}

impl Daemon {
    /// With this input; `more` stands between it and the output.
    pub(crate) fn start(input: &str, more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), input, more, &[])
    }

    pub(crate) fn start_in(
        directory: tempfile::TempDir,
        input: &str,
        more: &str,
        arguments: &[&str],
    ) -> Self {
        let events = directory.path().join("events");
        let output = format!("output {{ file {{ path => '{}' }} }}", events.display());
        let configuration = format!("input {{ {input} }} {more} {output}");
        Self::run(directory, &configuration, arguments)
    }

    /// With a whole configuration.
    pub(crate) fn run(
        directory: tempfile::TempDir,
        configuration: &str,
        arguments: &[&str],
    ) -> Self {
        Self::spawn(directory, |command| {
            command
                .args(["-w", "2", "-e", configuration])
                .args(arguments);
        })
    }

    /// With the `pipelines.yml` of a directory of settings.
    pub(crate) fn run_pipelines(directory: tempfile::TempDir, settings: &Path) -> Self {
        Self::spawn(directory, |command| {
            command.arg("--path.settings").arg(settings);
        })
    }

    fn spawn(directory: tempfile::TempDir, arguments: impl FnOnce(&mut Command)) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"));
        arguments(&mut command);
        let child = command
            .arg("--path.data")
            .arg(directory.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn wait_for(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_there(self) {
            assert!(started.elapsed() < PATIENCE, "no {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> String {
        let address = |log: &str| {
            let (_, rest) = log.split_once("address=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        self.wait_for("address", |daemon| address(&daemon.log()).is_some());
        address(&self.log()).unwrap()
    }

    pub(crate) fn wait_for_events(&self, count: usize) {
        self.wait_for("events", |daemon| daemon.events().len() >= count);
    }

    /// The events that are written, whole lines only.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("events"));
        let text = text.unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Stops it by SIGTERM, and waits until it has ended well.
    pub(crate) fn terminate(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }

    /// The same; gives the events that it wrote.
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.terminate();
        self.events()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended in most cases.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
