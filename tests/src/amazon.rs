//! What a test needs of Amazon's: a gate that checks signatures in front of a search server, and somebody who gives
//! credentials.
//!
//! The signatures are computed anew by botocore, Amazon's own library for Python, so that nothing is shared with what is
//! tested. The servers themselves are in `python/amazon.py`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::environment;
use crate::http;
use crate::process::Process;
use crate::wait;

/// The region that the gate wants.
pub const REGION: &str = "eu-west-1";

/// Keys that do not run out, known to the gate: the public part and the secret one.
pub const FIXED_KEYS: (&str, &str) = ("AKIDFIXED", "fixed-secret");

/// Amazon's own library.
pub(crate) const BOTOCORE: &str = "botocore==1.44.8";
const PATIENCE: Duration = Duration::from_mins(1);

/// The running servers.
#[derive(Debug)]
pub struct Amazon {
    _process: Process,
    gate: u16,
    metadata: u16,
    control: u16,
}

impl Amazon {
    /// Starts them before the search server at `backend`; `None`, after saying so, where there is no Python with botocore.
    ///
    /// `service` is what requests must be signed for, `lifetime` how long credentials are good.
    ///
    /// # Errors
    /// When they should start and do not.
    pub fn start_or_skip(
        logs: &Path,
        backend: &str,
        service: &str,
        lifetime: Duration,
    ) -> Result<Option<Self>> {
        static PYTHON: OnceLock<Result<std::path::PathBuf, String>> = OnceLock::new();
        let made = PYTHON.get_or_init(|| {
            let folder = environment::target_directory().join("tmp/python-amazon");
            crate::python::environment(&folder, &[BOTOCORE])
        });
        match made {
            Ok(python) => Self::start(python, logs, backend, service, lifetime).map(Some),
            Err(reason) => {
                environment::skip(reason);
                Ok(None)
            }
        }
    }

    /// Starts them by a Python that has botocore.
    pub(crate) fn start(
        python: &Path,
        logs: &Path,
        backend: &str,
        service: &str,
        lifetime: Duration,
    ) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(environment::workspace().join("tests/python/amazon.py"))
            .args([backend, REGION, service])
            .arg(lifetime.as_secs_f32().to_string());
        let mut process = Process::start(&format!("amazon-{service}"), command, logs)?;
        let [gate, metadata, control] = ports_of(&mut process)?;
        Ok(Self {
            _process: process,
            gate,
            metadata,
            control,
        })
    }

    /// The gate's port.
    pub fn gate(&self) -> u16 {
        self.gate
    }

    /// Where credentials come from.
    pub fn metadata(&self) -> String {
        format!("http://127.0.0.1:{}", self.metadata)
    }

    /// All keys that run out are no longer good, from now on.
    pub fn revoke(&self) -> Result<()> {
        self.order("/revoke", None)
    }

    /// Sets the clock of the gate apart from this machine's.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        self.order(&format!("/clock?seconds={seconds}"), None)
    }

    /// Whether the gate closes every connection without an answer.
    pub fn set_down(&self, down: bool) -> Result<()> {
        self.order(&format!("/down?is={}", u8::from(down)), None)
    }

    /// Changes the secret of the fixed keys.
    pub fn change_secret(&self, secret: &str) -> Result<()> {
        self.order(&format!("/secret?is={secret}"), None)
    }

    /// Whether nobody gives out credentials.
    pub fn break_metadata(&self, broken: bool) -> Result<()> {
        self.order(&format!("/metadata?broken={}", u8::from(broken)), None)
    }

    /// The next requests that are signed well get these answers: a list of `[status, body, headers]`, or
    /// `[status, body, headers, text]` for requests that have the text in their path.
    pub fn refuse(&self, answers: &Value) -> Result<()> {
        self.order("/refuse", Some(&answers.to_string()))
    }

    /// What the gate has seen: the key, the status and, for what it refused itself, why.
    pub fn seen(&self) -> Result<Vec<Value>> {
        self.ask("/seen")
    }

    /// In which ways credentials were given out, in order.
    pub fn given(&self) -> Result<Vec<Value>> {
        self.ask("/given")
    }

    fn order(&self, path: &str, body: Option<&str>) -> Result<()> {
        let address = environment::loopback(self.control);
        let body = body.or(Some(""));
        let answer = http::request(address, "POST", path, body, PATIENCE)?;
        match answer.status {
            200 => Ok(()),
            status => Err(anyhow!("{path}: status {status}")),
        }
    }

    fn ask(&self, path: &str) -> Result<Vec<Value>> {
        let address = environment::loopback(self.control);
        let answer = http::request(address, "GET", path, None, PATIENCE)?.json()?;
        answer.as_array().cloned().context("a list")
    }
}

/// The ports that stand-ins print in one line when they listen.
pub(crate) fn ports_of<const N: usize>(process: &mut Process) -> Result<[u16; N]> {
    let ports = |said: &str| -> Option<[u16; N]> {
        let line = said.strip_suffix('\n')?.lines().last()?;
        let ports: Vec<u16> = line
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        ports.try_into().ok()
    };
    wait::until("the stand-ins for Amazon's servers", PATIENCE, || {
        if !process.running() {
            return Err("the process has ended".to_owned());
        }
        let said = process.stdout();
        ports(&said).map(drop).ok_or(said)
    })
    .with_context(|| process.quoted_log())?;
    ports(&process.stdout()).context("the ports of the stand-ins")
}
