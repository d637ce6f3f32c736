//! A server for objects behind the gate that checks signatures ([`crate::amazon`]).
//!
//! The server is moto; what is in it is asked by Amazon's own library, and not by what is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libdeflater::{DecompressionError, Decompressor};
use serde_json::Value;

use crate::amazon::{Amazon, BOTOCORE, ports_of};
use crate::environment;
use crate::http;
use crate::process::Process;

/// The bucket that is there.
pub const BUCKET: &str = "archive";

const PACKAGES: &[&str] = &[
    BOTOCORE,
    "moto[s3]==5.2.5",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "pyarrow==26.0.1",
];
const PATIENCE: Duration = Duration::from_mins(1);
const LIFETIME: Duration = Duration::from_hours(1);

/// The running servers.
#[derive(Debug)]
pub struct Storage {
    /// What stands in front, and gives out credentials.
    pub amazon: Amazon,
    _process: Process,
    control: u16,
}

/// An object that is stored.
#[derive(Debug)]
pub struct Object {
    /// Its name.
    pub key: String,
    /// What the server says of it.
    pub described: Value,
    /// Its bytes, unpacked; of one with columns its rows as lines of JSON, as a reader that is not ours has them.
    pub text: String,
}

impl Object {
    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}

impl Storage {
    /// Starts them; `None`, after saying so, where there is no Python with what they need.
    ///
    /// # Errors
    /// When they should start and do not.
    pub fn start_or_skip(folder: &Path) -> Result<Option<Self>> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let made = PYTHON.get_or_init(|| {
            let folder = environment::target_directory().join("tmp/python-storage");
            crate::python::environment(&folder, PACKAGES)
        });
        let python = match made {
            Ok(python) => python,
            Err(reason) => {
                environment::skip(reason);
                return Ok(None);
            }
        };
        let mut command = Command::new(python);
        command
            .arg(environment::workspace().join("tests/python/storage.py"))
            .arg(BUCKET)
            .arg(folder);
        let mut process = Process::start("storage", command, folder)?;
        let [server, control] = ports_of(&mut process)?;
        let backend = format!("127.0.0.1:{server}");
        Ok(Some(Self {
            amazon: Amazon::start(python, folder, &backend, "s3", LIFETIME)?,
            _process: process,
            control,
        }))
    }

    /// All objects, by their keys.
    pub fn objects(&self) -> Result<Vec<Object>> {
        self.ask("/objects")?
            .into_iter()
            .map(|described| {
                let text = |name: &str| described[name].as_str().map(str::to_owned);
                let key = text("key").context("a key")?;
                let bytes = std::fs::read(text("file").context("a file")?)?;
                let bytes = unpacked(&bytes, text("encoding").as_deref())
                    .with_context(|| format!("unpacking {key}"))?;
                Ok(Object {
                    key,
                    text: String::from_utf8(bytes)?,
                    described,
                })
            })
            .collect()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Result<Vec<Value>> {
        self.ask("/keys")
    }

    /// Keys of multipart uploads that nobody has ended.
    pub fn uploads(&self) -> Result<Vec<Value>> {
        self.ask("/uploads")
    }

    fn ask(&self, path: &str) -> Result<Vec<Value>> {
        let address = environment::loopback(self.control);
        let answer = http::request(address, "GET", path, None, PATIENCE)?.json()?;
        answer.as_array().cloned().context("a list")
    }
}

fn unpacked(bytes: &[u8], encoding: Option<&str>) -> Result<Vec<u8>> {
    match encoding {
        None => Ok(bytes.to_vec()),
        Some("gzip") => {
            let mut text = vec![0; 1 << 20];
            loop {
                match Decompressor::new().gzip_decompress(bytes, &mut text) {
                    Ok(length) => {
                        text.truncate(length);
                        return Ok(text);
                    }
                    Err(DecompressionError::InsufficientSpace) => text.resize(text.len() * 2, 0),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Some("zstd") => Ok(zstd::stream::decode_all(bytes)?),
        Some(other) => bail!("the encoding {other}"),
    }
}
