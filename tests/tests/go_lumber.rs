//! Our Lumberjack against the reference library, go-lumber: both roles, both versions, plain
//! and over mutual TLS, compressed and bare, one window at a time and pipelined.
//!
//! The Go program lies in `go-lumber/`; it is built once per run. Without Go (or without the
//! modules and a network to fetch them) the tests say so and are skipped.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that cannot go on is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skidder_lumberjack::{
    Client, ClientOptions, Compression, Delivery, Payload, ServerError, ServerOptions, Version,
    WindowBuilder, serve,
};
use skidder_tests::certificates::{Authority, Identity};
use skidder_tests::environment::skip;
use skidder_tests::go_lumber;
use skidder_tests::process::{Process, run};
use skidder_tests::wait::until;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PATIENCE: Duration = Duration::from_mins(2);
const WINDOWS: usize = 4;
const EVENTS: usize = 700;

/// What is varied; every combination that exists is run.
#[derive(Clone, Copy, Debug)]
struct Case {
    version: Version,
    compressed: bool,
    tls: bool,
    pipelined: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [Version::V1, Version::V2] {
        for compressed in [false, true] {
            for tls in [false, true] {
                for pipelined in [false, true] {
                    // Version 1 senders wait for each acknowledgement.
                    if version == Version::V2 || !pipelined {
                        cases.push(Case {
                            version,
                            compressed,
                            tls,
                            pipelined,
                        });
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn their_client_is_served_by_our_server() {
    let Some(bench) = Bench::new() else {
        return;
    };
    for case in cases() {
        let mut command = bench.command("client", case);
        command
            .args(["-windows", &WINDOWS.to_string()])
            .args(["-events", &EVENTS.to_string()]);
        if case.compressed {
            command.args(["-compression", "6"]);
        }
        if case.pipelined {
            command.args(["-in-flight", "3"]);
        }
        let (output, lines) = bench.serve_client(case, command, Duration::ZERO);
        let acknowledged: Vec<u64> = output
            .lines()
            .map(|line| json(line)["events"].as_u64().unwrap())
            .collect();
        assert_eq!(acknowledged, [EVENTS as u64; WINDOWS], "{case:?}");
        assert_eq!(lines, expected_lines(), "{case:?}");
    }
}

#[test]
fn their_client_is_kept_alive_beyond_its_timeout() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let case = Case {
        version: Version::V2,
        compressed: true,
        tls: false,
        pipelined: false,
    };
    let mut command = bench.command("client", case);
    command.args(["-events", "10", "-timeout", "2s"]);
    let (output, lines) = bench.serve_client(case, command, Duration::from_secs(5));
    assert_eq!(json(&output)["events"], 10);
    assert_eq!(lines.len(), 10);
}

#[test]
fn our_client_is_served_by_their_server() {
    let Some(bench) = Bench::new() else {
        return;
    };
    for case in cases() {
        let mut command = bench.command("server", case);
        // One server for both versions, which it tells apart by the first byte.
        command.args(["-version", "0"]);
        let mut server = bench.start_server(command);
        bench.runtime.block_on(async {
            if case.tls {
                let stream = bench.connect_tls(&server.address).await;
                send(stream, case, ClientOptions::new(case.version)).await;
            } else {
                let stream = TcpStream::connect(&server.address).await.unwrap();
                send(stream, case, ClientOptions::new(case.version)).await;
            }
        });
        let lines: Vec<String> = server
            .finish()
            .lines()
            .skip(1)
            .map(|event| text_of(&json(event)))
            .collect();
        assert_eq!(lines, expected_lines(), "{case:?}");
    }
}

#[test]
fn our_client_waits_for_their_busy_server() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let case = Case {
        version: Version::V2,
        compressed: true,
        tls: false,
        pipelined: true,
    };
    let mut command = bench.command("server", case);
    command.args(["-delay", "3s", "-keep-alive", "200ms"]);
    let mut server = bench.start_server(command);
    bench.runtime.block_on(async {
        let stream = TcpStream::connect(&server.address).await.unwrap();
        let options = ClientOptions {
            ack_timeout: Duration::from_secs(2),
            ..ClientOptions::new(Version::V2)
        };
        send(stream, case, options).await;
    });
    assert_eq!(server.finish().lines().count(), 1 + WINDOWS * EVENTS);
}

/// Sends the windows and has every one acknowledged, as far ahead as the case says.
async fn send<S>(stream: S, case: Case, options: ClientOptions)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ahead = if case.pipelined { 2 } else { 0 };
    let compression = if case.compressed {
        Compression::Zlib { level: 3 }
    } else {
        Compression::None
    };
    let mut client = Client::new(stream, options);
    let mut builder = WindowBuilder::new(case.version, compression);
    for window in 0..WINDOWS {
        for index in 0..EVENTS {
            let line = line(window * EVENTS + index);
            match case.version {
                Version::V1 => builder
                    .push_pairs([(&b"host"[..], &b"h"[..]), (b"line", line.as_bytes())])
                    .unwrap(),
                Version::V2 => {
                    let event = serde_json::json!({ "message": line });
                    builder.push_json(event.to_string().as_bytes()).unwrap();
                }
                Version::Native => panic!("go-lumber does not speak it"),
            }
        }
        timeout(PATIENCE, client.send(&builder.finish()))
            .await
            .expect("in time")
            .unwrap_or_else(|error| panic!("{case:?}: {error}"));
        while client.in_flight() > ahead {
            receive(&mut client, case).await;
        }
    }
    while client.in_flight() > 0 {
        receive(&mut client, case).await;
    }
    client.close().await.unwrap();
}

async fn receive<S>(client: &mut Client<S>, case: Case)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acked = timeout(PATIENCE, client.receive_ack())
        .await
        .expect("in time")
        .unwrap_or_else(|error| panic!("{case:?}: {error}"));
    assert_eq!(acked.complete, acked.events as usize == EVENTS, "{case:?}");
}

/// The Go program, identities for TLS, and a runtime for our side.
struct Bench {
    program: PathBuf,
    folder: TempDir,
    authority: Authority,
    server: Identity,
    client: Identity,
    runtime: Runtime,
}

struct GoServer {
    process: Process,
    address: String,
}

impl GoServer {
    /// Ends it and returns what it wrote.
    fn finish(&mut self) -> String {
        drop(self.process.stdin());
        let status = self.process.wait(PATIENCE).unwrap();
        assert!(status.success(), "{}", self.process.stderr());
        self.process.stdout()
    }
}

impl Bench {
    fn new() -> Option<Self> {
        let program = match go_lumber::program() {
            Ok(program) => program.clone(),
            Err(reason) => {
                skip(reason);
                return None;
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority").unwrap();
        Some(Self {
            program,
            server: authority.server("server", &["localhost"]).unwrap(),
            client: authority.client("client").unwrap(),
            authority,
            folder,
            runtime: Runtime::new().unwrap(),
        })
    }

    fn command(&self, mode: &str, case: Case) -> Command {
        let mut command = Command::new(&self.program);
        command.args([mode, "-version", &case.version.to_string()]);
        if case.tls {
            let identity = if mode == "client" {
                &self.client
            } else {
                &self.server
            };
            command.arg("-ca").arg(&self.authority.certificate);
            command.arg("-certificate").arg(&identity.certificate);
            command.arg("-key").arg(&identity.key);
        }
        command
    }

    fn start_server(&self, mut command: Command) -> GoServer {
        command.stdin(Stdio::piped());
        let logs = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let process = Process::start("server", command, &logs).unwrap();
        let mut address = None;
        until("the Go server says where it listens", PATIENCE, || {
            let output = process.stdout();
            let first = output.split_inclusive('\n').next().unwrap_or_default();
            if !first.ends_with('\n') {
                return Err(process.stderr());
            }
            address = json(first)["listening"].as_str().map(str::to_owned);
            Ok(())
        })
        .unwrap();
        let address = address.expect("it says where");
        GoServer { process, address }
    }

    /// Runs their client against our server. Returns what it wrote and the lines that came.
    fn serve_client(
        &self,
        case: Case,
        mut command: Command,
        hold: Duration,
    ) -> (String, Vec<String>) {
        let acceptor = case.tls.then(|| self.acceptor());
        let listener = self
            .runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, deliveries) = mpsc::channel(2);
        let server = self.runtime.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let options = ServerOptions {
                keep_alive_interval: Duration::from_millis(300),
                ..ServerOptions::default()
            };
            match acceptor {
                Some(acceptor) => {
                    let stream = acceptor.accept(stream).await.unwrap();
                    serve(stream, &options, sender).await
                }
                None => serve(stream, &options, sender).await,
            }
        });
        let consumer = self.runtime.spawn(consume(deliveries, hold));
        command.args(["-address", &address.to_string()]);
        let logs = tempfile::tempdir_in(self.folder.path()).unwrap();
        let output = run("client", command, logs.path(), PATIENCE)
            .unwrap_or_else(|error| panic!("{case:?}: {error:#}"));
        let (end, lines) = self.runtime.block_on(async {
            timeout(PATIENCE, async {
                (server.await.unwrap(), consumer.await.unwrap())
            })
            .await
            .expect("in time")
        });
        // Go's TLS may close the socket before our last read sees its farewell.
        assert!(
            matches!(end, Ok(()) | Err(ServerError::Read(_))),
            "{case:?}: {end:?}"
        );
        (output, lines)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.authority.certificate)).unwrap();
        Arc::new(roots)
    }

    fn acceptor(&self) -> TlsAcceptor {
        let verifier = WebPkiClientVerifier::builder(self.roots()).build().unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate(&self.server.certificate)],
                PrivateKeyDer::from_pem_file(&self.server.key).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn connect_tls(&self, address: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(
                vec![certificate(&self.client.certificate)],
                PrivateKeyDer::from_pem_file(&self.client.key).unwrap(),
            )
            .unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }
}

/// Takes all windows, says of each when half of it is safe, keeps it as long as told.
async fn consume(mut deliveries: mpsc::Receiver<Delivery>, hold: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(Delivery { window, ack }) = deliveries.recv().await {
        for event in &window.events {
            lines.push(match &event.payload {
                Payload::Json(text) => text_of(&serde_json::from_slice(text).unwrap()),
                Payload::Line(line) => panic!("not of this version: {line:?}"),
                Payload::Pairs(pairs) => {
                    String::from_utf8(pairs.find(b"line").unwrap().to_vec()).unwrap()
                }
            });
        }
        ack.progress(window.events.len() as u32 / 2);
        tokio::time::sleep(hold).await;
        ack.acknowledge();
    }
    lines
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The line of an event of either version.
fn text_of(event: &Value) -> String {
    let text = event.get("message").or_else(|| event.get("line"));
    text.and_then(Value::as_str).unwrap().to_owned()
}

/// What the Go program sends too.
fn line(number: usize) -> String {
    format!("line {number} \"quoted\" \u{e9}")
}

fn expected_lines() -> Vec<String> {
    (0..WINDOWS * EVENTS).map(line).collect()
}
