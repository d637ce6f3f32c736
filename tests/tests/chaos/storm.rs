//! A whole site in a storm: forwarders, a balancer, aggregators with disk queues, a cluster of two nodes.
//!
//! ```text
//! files ─ forwarder ─ link ─▶ HAProxy ─ link ─▶ aggregator, small disk ─ gate ─▶ node
//! ```
//!
//! Each part fails by itself and at its own times; only of the nodes at most one is down. A node takes little
//! at a time (`indexing_pressure.memory.limit`), so that it refuses items, and whole requests, by itself when
//! what has waited comes at once.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;
use skidder_tests::balancer::{Backend, Balancer};
use skidder_tests::daemon::{BeatsInput, Daemon};
use skidder_tests::disk::{NO_MOUNTS, SlowDisk, SmallDisk};
use skidder_tests::environment::{self, loopback};
use skidder_tests::servers::{OPENSEARCH_2, Server};
use skidder_tests::site::Site;

use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::index::{PERSISTED, QUICK, REFUSALS, arrived, index, weather};
use crate::link::Link;
use crate::scene::{End, Scene};
use crate::schedule::{self, Fault, Habit, Part};
use crate::{RECEIVERS, Run, alone, habits, seconds};

const NODES: usize = 2;
/// The disk of an aggregator's queue, in MiB.
const DISK: u32 = 24;
/// What happens to the processes of daemons.
const FAULTS: &[Fault] = &[
    Fault::Kill,
    Fault::Kill,
    Fault::Terminate,
    Fault::Stop,
    Fault::SlowDisk,
];
/// What the forwarders speak.
const NETWORKS: [&str; 3] = [
    "  workers: 2\n",
    "  workers: 2\n  protocol: v2\n",
    "  heartbeat timeout: 4s\n",
];

#[test]
fn every_line_is_in_a_cluster_once() {
    let _alone = alone();
    if !Balancer::available() {
        return environment::skip("there is no haproxy");
    }
    if let Err(reason) = SlowDisk::available() {
        return environment::skip(&reason);
    }
    let site = Site::new().unwrap();
    let Some(disks) = disks(&site).unwrap() else {
        return environment::skip(NO_MOUNTS);
    };
    let settings = ["indexing_pressure.memory.limit: 1mb"];
    let Some(nodes) = Server::start_cluster_or_skip(&OPENSEARCH_2, NODES, &settings) else {
        return;
    };
    let run = Run::new("STORM", 120);
    let apps = Run::apps(&site);
    let mut scene = Scene::new(site);
    let cluster = Cluster::new(nodes);
    let (searches, hosts) = (cluster.searches(), cluster.hosts());
    scene.cluster = Some(cluster);
    scene.disks = disks;
    let backends = (0..RECEIVERS).map(|place| add_aggregator(&mut scene, place, &hosts));
    let backends: Vec<Backend> = backends.collect::<Result<_>>().unwrap();
    let balancer = Balancer::start(scene.site.path(), &backends).unwrap();
    let port = balancer.port;
    scene.balancer = Some(balancer);
    for (apps, network) in apps.iter().zip(NETWORKS) {
        scene.add_forwarder(apps, &[port], network).unwrap();
    }
    let writers = run.writers(&apps, |app, _| arrived(&searches, app));
    let steps = schedule::plan(run.seed, run.time, &storm(&scene));
    weather(&mut scene, &run, &steps, writers.unwrap()).unwrap();
    // What the filters made is there as well.
    let unmatched =
        json!({ "query": { "bool": { "must_not": { "exists": { "field": "number" } } } } });
    let unmatched = searches[0].search("_all", &unmatched).unwrap();
    assert_eq!(unmatched["hits"]["total"]["value"], 0, "{unmatched}");
}

/// A disk for each aggregator's queue, if this user may have them.
fn disks(site: &Site) -> Result<Option<Vec<SmallDisk>>> {
    let disk = |place| {
        let folder = queue_folder(site, place);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        SmallDisk::mount(&folder, DISK, site.path())
    };
    (0..RECEIVERS).map(disk).collect()
}

fn queue_folder(site: &Site, place: usize) -> PathBuf {
    site.path().join(format!("queue-{place}"))
}

/// Starts an aggregator with its queue on its disk, a link in front, and a gate to each node.
fn add_aggregator(scene: &mut Scene, place: usize, hosts: &[String]) -> Result<Backend> {
    let input = BeatsInput {
        port: environment::free_port()?,
        ..scene.site.input()
    };
    let port = input.port;
    let input = input.to_string();
    let input = input.replace("beats {", "beats { proxy_protocol => true");
    let mut urls = Vec::new();
    for host in hosts {
        let gate = Gate::to(host)?;
        urls.push(format!("http://{}", loopback(gate.port)));
        scene.gates.push(gate);
    }
    let pipeline = format!(
        "{input}\
         filter {{ grok {{ match => {{ 'message' => '^line %{{INT:number:int}} ' }} }} }}\n\
         output {{ elasticsearch {{ hosts => {urls:?} index => '{}' bulk_max_bytes => '256 KiB' {QUICK} }} }}\n",
        index("%{app}"),
    );
    let api = environment::free_port()?;
    let queue = queue_folder(&scene.site, place);
    let runner = scene.disks[place].runner();
    let runner: Vec<&str> = runner.iter().map(String::as_str).collect();
    let name = format!("aggregator-{place}");
    let mut daemon = Daemon::aggregator(scene.site.path(), &name, &pipeline)?
        .with_arguments(PERSISTED)
        .with_arguments(&["--path.queue", &queue.to_string_lossy()])
        .with_arguments(&["--queue.max_bytes", "16mb"])
        .with_arguments(&["--pipeline.shutdown_timeout", "5s"])
        .with_arguments(&["--api.http.port", &api.to_string()])
        .run_by(&runner);
    daemon.start_listening(port)?;
    scene.ends.push(End::Aggregator(daemon));
    let link = Link::to(port)?;
    let port = link.port;
    scene.links.push(link);
    Ok(Backend { port, api })
}

/// What can happen.
fn storm(scene: &Scene) -> Vec<Habit> {
    let mut all = habits(FAULTS, FAULTS, scene.links.len());
    all.push(Habit {
        parts: vec![Part::Balancer],
        faults: &[Fault::Kill, Fault::Stop],
        pause: seconds(15, 40),
        lasts: seconds(0, 6),
    });
    all.extend((0..scene.disks.len()).map(|place| Habit {
        parts: vec![Part::Disk(place)],
        faults: &[Fault::FullDisk],
        pause: seconds(5, 30),
        lasts: seconds(1, 8),
    }));
    all.extend((0..scene.gates.len()).map(|place| Habit {
        parts: vec![Part::Gate(place)],
        faults: REFUSALS,
        pause: seconds(5, 30),
        lasts: seconds(1, 12),
    }));
    all.push(Habit {
        parts: vec![Part::Gates],
        faults: &[Fault::TooMany],
        pause: seconds(15, 40),
        lasts: seconds(2, 8),
    });
    all.push(Habit {
        parts: (0..NODES).map(Part::Node).collect(),
        faults: &[Fault::Kill, Fault::Stop],
        pause: seconds(20, 45),
        lasts: seconds(1, 12),
    });
    all
}
