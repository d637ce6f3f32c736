//! A receiver that can be told to misbehave, certificates right and wrong, and two ways to run
//! the forwarder: in this process, and as the program.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use skidder_forwarder::registry::{Entry, store};
use skidder_forwarder::{Outcome, config};
use skidder_lumberjack::{Delivery, Payload, ServerOptions, Version, serve};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// Generous: the machine may be busy with other builds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One event as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) offset: u64,
    /// The name of its stream; version 1 has none.
    pub(crate) stream: Option<String>,
    pub(crate) fields: HashMap<String, String>,
    pub(crate) version: Version,
}

/// What the receiver does with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Takes it and says so.
    Acknowledge,
    /// Takes it, says so after a while, with keep-alives meanwhile.
    Slow(Duration),
    /// Keeps it without an answer.
    Hold,
    /// Closes the connection instead.
    Drop,
    /// Acknowledges half of it, then closes the connection.
    HalfThenDrop,
}

#[derive(Default)]
struct State {
    /// Acknowledged events.
    arrived: Vec<Arrived>,
    /// Events of windows that were not acknowledged.
    unacknowledged: usize,
    window_sizes: Vec<usize>,
    connections: usize,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Shared,
    behaviour: watch::Sender<Behaviour>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::start_with(None, Behaviour::Acknowledge, Duration::from_secs(3))
    }

    pub(crate) fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        behaviour: Behaviour,
        keep_alive: Duration,
    ) -> Self {
        let shared = Shared::default();
        let (behaviour, behaviours) = watch::channel(behaviour);
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let options = ServerOptions {
                    keep_alive_interval: keep_alive,
                    ..ServerOptions::default()
                };
                tokio::select! {
                    () = accept(listener, tls, options, for_thread, behaviours) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            behaviour,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Waits until the state is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.shared;
        let deadline = Instant::now() + PATIENCE;
        let mut state = state.lock().expect("not poisoned");
        while !wanted(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            let some: Vec<_> = state.arrived.iter().rev().take(5).collect();
            let count = state.arrived.len();
            assert!(
                !left.is_zero(),
                "waited too long for {what}; {count} arrived, last: {some:?}"
            );
            state = changed.wait_timeout(state, left).expect("not poisoned").0;
        }
    }

    pub(crate) fn wait_for(&self, count: usize) {
        self.wait(&format!("{count} events"), |state| {
            state.arrived.len() >= count
        });
    }

    pub(crate) fn wait_for_message(&self, message: &str) {
        self.wait(message, |state| {
            state.arrived.iter().any(|event| event.message == message)
        });
    }

    pub(crate) fn wait_for_given_up(&self) {
        self.wait("the event about a loss", |state| {
            let mut events = state.arrived.iter();
            events.any(|event| event.fields.contains_key("lost_bytes"))
        });
    }

    pub(crate) fn wait_for_unacknowledged(&self, count: usize) {
        self.wait("windows that are not answered", |state| {
            state.unacknowledged >= count
        });
    }

    /// Waits until so many windows were taken, acknowledged or not.
    pub(crate) fn wait_for_windows(&self, count: usize) {
        self.wait("windows", |state| state.window_sizes.len() >= count);
    }

    pub(crate) fn wait_for_connections(&self, count: usize) {
        self.wait("connections", |state| state.connections >= count);
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.shared.0.lock().expect("not poisoned").arrived.clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.arrived()
            .into_iter()
            .map(|event| event.message)
            .collect()
    }

    pub(crate) fn window_sizes(&self) -> Vec<usize> {
        self.shared
            .0
            .lock()
            .expect("not poisoned")
            .window_sizes
            .clone()
    }

    /// Everything that ever came, acknowledged or not.
    pub(crate) fn total(&self) -> usize {
        let state = self.shared.0.lock().expect("not poisoned");
        state.arrived.len() + state.unacknowledged
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap_or_default();
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    options: ServerOptions,
    shared: Shared,
    behaviours: watch::Receiver<Behaviour>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, options, shared) = (tls.clone(), options.clone(), Arc::clone(&shared));
        let behaviours = behaviours.clone();
        tokio::spawn(async move {
            let (sender, receiver) = mpsc::channel(1);
            let handler = handle(receiver, Arc::clone(&shared), behaviours);
            match tls {
                None => {
                    connected(&shared);
                    drop(tokio::join!(serve(stream, &options, sender), handler));
                }
                Some(config) => {
                    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                        connected(&shared);
                        drop(tokio::join!(serve(stream, &options, sender), handler));
                    }
                }
            }
        });
    }
}

fn connected(shared: &Shared) {
    shared.0.lock().expect("not poisoned").connections += 1;
    shared.1.notify_all();
}

async fn handle(
    mut deliveries: mpsc::Receiver<Delivery>,
    shared: Shared,
    mut behaviours: watch::Receiver<Behaviour>,
) {
    let mut held = Vec::new();
    while let Some(Delivery { window, ack }) = deliveries.recv().await {
        let mut events: Vec<_> = window
            .events
            .iter()
            .map(|event| arrived(&event.payload, window.version))
            .collect();
        let behaviour = *behaviours.borrow_and_update();
        shared
            .0
            .lock()
            .expect("not poisoned")
            .window_sizes
            .push(events.len());
        shared.1.notify_all();
        if let Behaviour::Slow(time) = behaviour {
            tokio::time::sleep(time).await;
        }
        let unanswered = |count| {
            shared.0.lock().expect("not poisoned").unacknowledged += count;
            shared.1.notify_all();
        };
        match behaviour {
            Behaviour::Acknowledge | Behaviour::Slow(_) => {
                shared
                    .0
                    .lock()
                    .expect("not poisoned")
                    .arrived
                    .append(&mut events);
                shared.1.notify_all();
                ack.acknowledge();
            }
            Behaviour::Hold => {
                unanswered(events.len());
                held.push(ack);
            }
            Behaviour::Drop => {
                unanswered(events.len());
                return;
            }
            Behaviour::HalfThenDrop => {
                let half = events.len() / 2;
                unanswered(events.len() - half);
                events.truncate(half);
                shared
                    .0
                    .lock()
                    .expect("not poisoned")
                    .arrived
                    .append(&mut events);
                ack.progress(half as u32);
                // The connection carries the partial acknowledgement before it is closed.
                tokio::time::sleep(Duration::from_millis(200)).await;
                return;
            }
        }
    }
}

fn arrived(payload: &Payload, version: Version) -> Arrived {
    let mut stream = None;
    let mut fields: HashMap<String, String> = match payload {
        Payload::Json(json) => {
            let mut object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(json).expect("an object");
            let metadata = object.remove("@metadata").expect("the metadata");
            stream = metadata["stream"].as_str().map(ToOwned::to_owned);
            // An object stays JSON.
            let text = |value: serde_json::Value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            object
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect()
        }
        Payload::Line(line) => {
            let source = &line.source;
            stream = Some(String::from_utf8_lossy(&source.stream).into_owned());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let own = [
                ("message".to_owned(), text(&line.text)),
                ("offset".to_owned(), line.offset.to_string()),
                (
                    "@timestamp".to_owned(),
                    text(&skidder_forwarder::event::timestamp(line.read_at)),
                ),
            ];
            let common = source.before.iter().chain(&source.after);
            let common = common.map(|(name, value)| (name.to_string(), text(value)));
            let extra = line.extra().map(|(name, value)| (text(name), text(value)));
            common.chain(extra).chain(own).collect()
        }
        Payload::Pairs(pairs) => pairs
            .iter()
            .map(|(key, value)| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(key), text(value))
            })
            .collect(),
    };
    let message = fields.remove("message").or_else(|| fields.remove("line"));
    Arrived {
        message: message.expect("a message"),
        file: fields.remove("file").expect("a file"),
        offset: fields
            .remove("offset")
            .expect("an offset")
            .parse()
            .expect("a number"),
        stream,
        fields,
        version,
    }
}

/// The forwarder in this process.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<Ending>>,
    thread: JoinHandle<Option<Outcome>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Orderly,
    Kill,
}

impl Running {
    pub(crate) fn start(config: &Path) -> Self {
        let config = config.to_owned();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let config = config::load(&config, &config::Overrides::default()).expect("valid");
            let (orderly_sender, orderly) = oneshot::channel::<()>();
            let kill = async move {
                match stopped.await {
                    Ok(Ending::Kill) => {}
                    Ok(Ending::Orderly) | Err(_) => {
                        orderly_sender.send(()).unwrap_or_default();
                        std::future::pending::<()>().await;
                    }
                }
            };
            let outcome = runtime.block_on(async {
                let run = skidder_forwarder::run(config, async move { drop(orderly.await) });
                tokio::select! {
                    outcome = run => Some(outcome.expect("runs")),
                    // Dropped in the middle, like a process that is killed.
                    () = kill => None,
                }
            });
            runtime.shutdown_background();
            outcome
        });
        Self {
            stop: Some(stop),
            thread,
        }
    }

    fn end(mut self, ending: Ending) -> Option<Outcome> {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            assert!(stop.send(ending).is_ok() || self.thread.is_finished());
        }
        self.thread.join().expect("no panic")
    }

    pub(crate) fn stop(self) -> Outcome {
        self.end(Ending::Orderly).expect("an outcome")
    }

    pub(crate) fn kill(self) {
        self.end(Ending::Kill);
    }
}

/// A directory with log files, a config and a registry.
pub(crate) struct Place {
    pub(crate) root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("logs")).expect("a directory");
        Self { root }
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.path().join("logs").join(name)
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name));
        file.expect("opens")
            .write_all(text.as_bytes())
            .expect("writes");
    }

    /// Waits until the entries of the registry are as wanted.
    pub(crate) fn wait_for_registry(&self, what: &str, wanted: impl Fn(&[Entry]) -> bool) {
        let path = self.root.path().join("data/registry");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let entries = store::read(&path).expect("reads");
            let entries = entries.map_or_else(Vec::new, |decoded| decoded.entries);
            if wanted(&entries) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} is not in {entries:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A config with short times that ships the pattern to a receiver.
    pub(crate) fn config(&self, receiver: &Receiver, pattern: &str, more: &str) -> PathBuf {
        let network = format!(
            "{{servers: [\"{}\"], tls: off, timeout: 20s}}",
            receiver.address
        );
        self.config_with(&network, pattern, more)
    }

    pub(crate) fn config_with(&self, network: &str, pattern: &str, more: &str) -> PathBuf {
        let root = self.root.path().display();
        let text = format!(
            "network: {network}\n\
             files: [{{paths: [\"{root}/logs/{pattern}\"], fields: {{type: test}}}}]\n\
             data_dir: {root}/data\n\
             rescan interval: 500ms\n\
             registry interval: 50ms\n\
             flush interval: 20ms\n\
             {more}\n"
        );
        let path = self.root.path().join("forwarder.yml");
        std::fs::write(&path, text).expect("writes");
        path
    }
}

/// Lines `prefix-from` … `prefix-to`, with ends.
pub(crate) fn lines(prefix: &str, range: std::ops::Range<usize>) -> String {
    range.fold(String::new(), |text, number| {
        text + prefix + "-" + &number.to_string() + "\n"
    })
}

/// Asserts that exactly these lines arrived, each once, in any order.
pub(crate) fn assert_each_once(receiver: &Receiver, expected: &str) {
    let mut got = receiver.messages();
    got.sort();
    let mut expected: Vec<_> = expected.lines().map(str::to_owned).collect();
    expected.sort();
    if got == expected {
        return;
    }
    let mut counts: HashMap<String, i64> = HashMap::new();
    for message in got {
        *counts.entry(message).or_default() += 1;
    }
    for message in expected {
        *counts.entry(message).or_default() -= 1;
    }
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(5).collect();
    panic!(
        "{} lines came too often or too rarely, as {some:?}",
        counts.len()
    );
}

/// The program.
pub(crate) struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) stdin: Option<ChildStdin>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str], directory: &Path) -> Self {
        Self::start_with(arguments, directory, &[])
    }

    /// With more in its environment.
    pub(crate) fn start_with(
        arguments: &[&str],
        directory: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
            .args(arguments)
            .current_dir(directory)
            .envs(environment.iter().copied())
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().expect("piped");
        let for_thread = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                for_thread.lock().expect("not poisoned").push_str(&text);
            }
        });
        let stdin = child.stdin.take();
        Self { child, log, stdin }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("signals");
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "`{text}` is not in the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code().unwrap_or(-1);
            }
            assert!(
                Instant::now() < deadline,
                "does not end; log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A value of `/proc/…/status` in KiB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("reads");
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("is there");
        line.split_whitespace()
            .nth(1)
            .expect("a value")
            .parse()
            .expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An authority that issues certificates into a directory.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("signed");
        let pem = certificate.pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// A certificate for these names; addresses are recognised.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid");
        parameters.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
            })
            .collect();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `openssl req -x509` makes: self-signed, marked as a CA, used by a server.
pub(crate) fn self_signed_ca(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("valid");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("signed");
    Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A server's side of TLS that chooses the native framing.
pub(crate) fn native_tls(own: &Issued) -> Arc<rustls::ServerConfig> {
    let mut tls = server_tls(own, None);
    Arc::make_mut(&mut tls).alpn_protocols = vec![skidder_lumberjack::native::ALPN.to_vec()];
    tls
}

/// A server's side of TLS; with an authority it demands client certificates of it.
pub(crate) fn server_tls(own: &Issued, clients: Option<&Authority>) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM");
            roots.add(root).expect("a root");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
    Arc::new(
        builder
            .with_single_cert(vec![certificate], key)
            .expect("a certificate"),
    )
}
