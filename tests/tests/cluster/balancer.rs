//! Three aggregators behind HAProxy, under load: one is killed and comes back, one is drained. Nothing is lost, nothing is there twice once
//! the ids are compared, and the load is even over those that live.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use skidder_tests::balancer::{Backend, Balancer};
use skidder_tests::daemon::{BeatsInput, ClientTls, Daemon, ForwarderConfig};
use skidder_tests::environment::{self, loopback};
use skidder_tests::http;
use skidder_tests::process::append;
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::Stub;
use skidder_tests::wait;
use skidder_tests::writers::{Writer, line, number};

const AGGREGATORS: usize = 3;
const FORWARDERS: usize = 6;
/// Lines a second of each forwarder.
const RATE: u64 = 200;
/// Lines that are written at once.
const BURST: u64 = 20;
/// The number of a forwarder's first line is so many times its own.
const NUMBERS: u64 = 1_000_000;
/// How long the load is measured.
const MEASURED: Duration = Duration::from_secs(8);

/// An aggregator with the port of its API.
struct Node {
    daemon: Daemon,
    port: u16,
    api: u16,
}

impl Node {
    fn new(site: &Site, place: usize, stub: &Stub) -> Self {
        let port = environment::free_port().unwrap();
        let api = environment::free_port().unwrap();
        let input = BeatsInput {
            port,
            ..site.input()
        };
        let input = input
            .to_string()
            .replace("beats {", "beats { proxy_protocol => true");
        let host = stub.address().to_string();
        let pipeline = format!("{input}{}", elasticsearch_output(&host, "cluster", ""));
        let name = format!("aggregator-{place}");
        let daemon = Daemon::aggregator(site.path(), &name, &pipeline).unwrap();
        let port_of_api = api.to_string();
        let arguments = ["--api.http.port", &port_of_api, "--drain.delay", "3s"];
        let mut daemon = daemon.with_arguments(&arguments);
        daemon.start_listening(port).unwrap();
        Self { daemon, port, api }
    }

    fn received(&self) -> u64 {
        crate::events(self.api, "in").unwrap_or(0)
    }

    fn is_ready(&self) -> bool {
        let timeout = Duration::from_secs(10);
        let answer = http::request(loopback(self.api), "GET", "/readyz", None, timeout);
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

/// Writes lines until there are enough; says how many.
fn write(path: PathBuf, first: u64, enough: Arc<AtomicBool>) -> Writer<u64> {
    Writer::start(move |written, stop| {
        let mut file = append(&path)?;
        let started = Instant::now();
        let mut done = 0;
        while !enough.load(Ordering::SeqCst) && !stop.load(Ordering::SeqCst) {
            let lines = (done..done + BURST).map(|count| line(first + count) + "\n");
            file.write_all(lines.collect::<String>().as_bytes())?;
            done += BURST;
            written.store(done, Ordering::SeqCst);
            let due = Duration::from_secs_f64(done as f64 / RATE as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        Ok(done)
    })
}

fn forwarder(site: &Site, place: usize, balancer: u16) -> (Daemon, PathBuf) {
    let name = format!("forwarder-{place}");
    let log = site.path().join(format!("app-{place}.log"));
    let config = ForwarderConfig {
        servers: vec![loopback(balancer).to_string()],
        tls: Some(ClientTls {
            authority: site.authority.certificate.clone(),
            identity: Some(site.client.clone()),
        }),
        paths: vec![log.clone()],
        more: &format!("hostname: {name}\n"),
        network: "  repick interval: 1s\n",
    };
    let mut daemon = Daemon::forwarder(site.path(), &name, &config.yaml().unwrap()).unwrap();
    daemon.start().unwrap();
    (daemon, log)
}

/// The part that each of these got of the load, measured for a while; it has to be even within 20 %.
fn assert_even(what: &str, nodes: &[&Node]) {
    let counts = || nodes.iter().map(|node| node.received());
    let before: Vec<u64> = counts().collect();
    std::thread::sleep(MEASURED);
    let got: Vec<u64> = counts().zip(before).map(|(now, then)| now - then).collect();
    let even = got.iter().sum::<u64>() as f64 / got.len() as f64;
    println!("{what}: {got:?} events in {MEASURED:?}");
    for count in &got {
        let off = (*count as f64 - even).abs() / even;
        assert!(off < 0.2, "{what}: {got:?}, {:.0} % off", off * 100.0);
    }
}

fn wait_for_lines(stub: &Stub, more: u64) {
    let wanted = stub.counts().taken + more;
    stub.wait_for_taken(wanted, crate::PATIENCE).unwrap();
}

#[test]
fn an_aggregator_dies_and_one_is_drained_and_nobody_misses_a_line() {
    let _alone = crate::alone();
    if !Balancer::available() {
        return environment::skip("there is no haproxy");
    }
    let stub = Stub::recording().unwrap();
    let site = Site::new().unwrap();
    let mut nodes: Vec<Node> = (0..AGGREGATORS)
        .map(|place| Node::new(&site, place, &stub))
        .collect();
    let backends = nodes.iter().map(|node| Backend {
        port: node.port,
        api: node.api,
    });
    let balancer = Balancer::start(site.path(), &backends.collect::<Vec<_>>()).unwrap();
    let mut forwarders = Vec::new();
    let mut writers = Vec::new();
    let enough = Arc::new(AtomicBool::new(false));
    for place in 0..FORWARDERS {
        let (daemon, log) = forwarder(&site, place, balancer.port);
        forwarders.push(daemon);
        writers.push(write(log, place as u64 * NUMBERS, Arc::clone(&enough)));
    }
    wait_for_lines(&stub, 2000);

    nodes[0].daemon.kill().unwrap();
    println!("aggregator 0 killed");
    // Without it, too, lines arrive.
    wait_for_lines(&stub, 2000);
    let port = nodes[0].port;
    nodes[0].daemon.start_listening(port).unwrap();
    wait::until("work for the one that came back", crate::PATIENCE, || {
        let received = nodes[0].received();
        (received > 500)
            .then_some(())
            .ok_or(format!("{received} events"))
    })
    .unwrap();
    assert_even("all three", &nodes.iter().collect::<Vec<_>>());

    let asked = Instant::now();
    let drained = nodes[1].daemon.process().unwrap();
    drained.signal(rustix::process::Signal::TERM).unwrap();
    wait::until("the drained one to be unready", crate::PATIENCE, || {
        (!nodes[1].is_ready())
            .then_some(())
            .ok_or("ready".to_owned())
    })
    .unwrap();
    let drained = nodes[1].daemon.process().unwrap();
    let status = drained.wait(crate::PATIENCE).unwrap();
    println!("aggregator 1 drained within {:?}", asked.elapsed());
    assert!(status.success(), "{}", nodes[1].daemon.log());
    wait_for_lines(&stub, 1000);
    assert_even("the two that live", &[&nodes[0], &nodes[2]]);

    enough.store(true, Ordering::SeqCst);
    let written: Vec<u64> = writers
        .iter_mut()
        .map(|writer| writer.finish().unwrap())
        .collect();
    let total: u64 = written.iter().sum();
    // Each line by the ids that it has come with.
    let mut ids: HashMap<u64, Vec<String>> = HashMap::new();
    let mut seen = 0;
    wait::until("every line", crate::PATIENCE, || {
        let documents = stub.documents();
        for document in &documents[seen..] {
            let action: Value = serde_json::from_str(&document.action).unwrap();
            let source: Value = serde_json::from_str(&document.source).unwrap();
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            let line = number(source["message"].as_str().unwrap()).unwrap();
            let ids = ids.entry(line).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        seen = documents.len();
        let there = ids.len() as u64;
        (there >= total)
            .then_some(())
            .ok_or(format!("{there} of {total}"))
    })
    .unwrap();
    println!(
        "{total} lines written, {seen} sent to the cluster, {} there",
        ids.len()
    );
    assert_eq!(ids.len() as u64, total);
    for (place, written) in written.iter().enumerate() {
        let first = place as u64 * NUMBERS;
        for line in first..first + written {
            assert_eq!(ids.get(&line).map(Vec::len), Some(1), "line {line}");
        }
    }
    for daemon in &mut forwarders {
        assert!(daemon.terminate().unwrap().success(), "{}", daemon.log());
    }
    for node in [0, 2] {
        let daemon = &mut nodes[node].daemon;
        assert!(daemon.terminate().unwrap().success(), "{}", daemon.log());
    }
    for node in &nodes {
        // A health check is no error.
        let log = node.daemon.log();
        for words in ["handshake failed", "does not begin as the PROXY"] {
            assert!(!log.contains(words), "{log}");
        }
    }
}
