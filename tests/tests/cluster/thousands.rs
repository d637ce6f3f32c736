//! Thousands of senders whose aggregator dies and comes back: all of them come back at once, and are served soon.
//!
//! `SKIDDER_LINKS` says how many (default 5000). Each is a real TLS connection; they share one process of a few tasks each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use skidder_tests::daemon::{BeatsInput, Daemon};
use skidder_tests::environment::{self, loopback};
use skidder_tests::site::Site;
use skidder_tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Events of a window; each sender sends one window in each round.
const EVENTS: u32 = 10;
/// How long all of them may take together to be served after a restart.
const SERVED_WITHIN: Duration = Duration::from_mins(1);
/// What an aggregator may take for each of them, and for itself.
const BYTES_EACH: u64 = 64 << 10;
const BYTES_ITSELF: u64 = 96 << 20;

/// What the senders share.
struct Senders {
    port: u16,
    connector: TlsConnector,
    window: Vec<u8>,
    /// How many are served in each round.
    served: [AtomicU64; 2],
    attempts: AtomicU64,
}

#[test]
fn complaint_19_thousands_of_senders_come_back_at_once_and_are_served_within_a_minute() {
    let _alone = crate::alone();
    let links = environment::number("SKIDDER_LINKS", 5000);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    if limit.current.is_some_and(|files| files < links + 500) {
        return environment::skip("fewer files can be open than there are senders (ulimit -Hn)");
    }
    let site = Site::new().unwrap();
    let api = environment::free_port().unwrap();
    let input = BeatsInput {
        client_authority: None,
        ..site.input()
    };
    let pipeline = format!("{input} output {{ null {{ }} }}");
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline)
        .unwrap()
        .with_arguments(&["--api.http.port", &api.to_string()]);
    aggregator.start_listening(site.port).unwrap();

    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&site.authority.certificate).unwrap();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let senders = Arc::new(Senders {
        port: site.port,
        connector: TlsConnector::from(Arc::new(config)),
        window: window(),
        served: Default::default(),
        attempts: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..links {
        tasks.spawn_on(Arc::clone(&senders).run(number), runtime.handle());
    }
    let wait_for_all = |round: usize| {
        wait::until("every sender to be served", crate::PATIENCE, || {
            let served = senders.served[round].load(Ordering::SeqCst);
            if served == links {
                return Ok(());
            }
            let attempts = senders.attempts.load(Ordering::SeqCst);
            Err(format!("{served} of {links}, {attempts} attempts"))
        })
    };
    let started = Instant::now();
    wait_for_all(0).unwrap_or_else(|error| panic!("{error:#}\n{}", aggregator.log()));
    println!(
        "{links} senders served for the first time within {:?}",
        started.elapsed()
    );

    aggregator.kill().unwrap();
    aggregator.start_listening(site.port).unwrap();
    let restarted = Instant::now();
    wait_for_all(1).unwrap_or_else(|error| panic!("{error:#}\n{}", aggregator.log()));
    let took = restarted.elapsed();
    let usage = aggregator.process().unwrap().usage().unwrap();
    println!(
        "{links} senders served again within {took:?}; aggregator: {} MiB at most, {:?} of processors",
        usage.peak_resident >> 20,
        usage.processor
    );
    // By the default of `accept_rate`; some are through before the clock starts.
    assert!(took > Duration::from_millis(links * 8 / 10), "{took:?}");
    assert!(took < wait::patience(SERVED_WITHIN), "{took:?}");
    let allowed = BYTES_ITSELF + links * BYTES_EACH;
    assert!(
        usage.peak_resident < allowed,
        "{usage:?}, {allowed} allowed"
    );
    assert_eq!(crate::events(api, "out"), Some(links * u64::from(EVENTS)));
    drop((tasks, runtime));
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
}

/// A window of version 2.
fn window() -> Vec<u8> {
    let mut window = b"2W".to_vec();
    window.extend(EVENTS.to_be_bytes());
    for sequence in 1..=EVENTS {
        let text = format!(r#"{{"message":"line {sequence}"}}"#);
        window.extend(b"2J");
        window.extend(sequence.to_be_bytes());
        window.extend((text.len() as u32).to_be_bytes());
        window.extend(text.bytes());
    }
    window
}

impl Senders {
    /// Is served in both rounds, and then keeps its connection.
    async fn run(self: Arc<Self>, number: u64) {
        for served in &self.served {
            let mut stream = loop {
                self.attempts.fetch_add(1, Ordering::SeqCst);
                match self.send().await {
                    Ok(stream) => break stream,
                    // Not all at the same moment, as forwarders do.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100 + number % 400)).await,
                }
            };
            served.fetch_add(1, Ordering::SeqCst);
            // Until the aggregator dies, however that shows.
            while matches!(stream.read(&mut [0]).await, Ok(1)) {}
        }
    }

    /// Connects, sends the window, and waits for its acknowledgement.
    async fn send(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(loopback(self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut stream = self.connector.connect(name, stream).await?;
        stream.write_all(&self.window).await?;
        stream.flush().await?;
        loop {
            let mut frame = [0; 6];
            stream.read_exact(&mut frame).await?;
            let [b'2', b'A', count @ ..] = frame else {
                bail!("no acknowledgement: {frame:?}");
            };
            match u32::from_be_bytes(count) {
                0 => {}
                EVENTS => return Ok(stream),
                other => return Err(anyhow::anyhow!("{other}")).context("another window"),
            }
        }
    }
}
