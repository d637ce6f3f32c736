//! The parts that things happen to, and the hand that does it.
//!
//! Forwarders ship to every receiver, or to the balancer in front of them, over a link of their own each. The scene carries out the steps
//! of a schedule at their times, notes a daemon that ended without having been told to, and brings
//! everything back to life at the end.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use skidder_tests::balancer::Balancer;
use skidder_tests::daemon::{ClientTls, Daemon, ForwarderConfig};
use skidder_tests::disk::{SlowDisk, SmallDisk};
use skidder_tests::environment;
use skidder_tests::site::Site;

use crate::cluster::Cluster;
use crate::gate::{self, Gate};
use crate::link::{self, Link};
use crate::receiver::Receiver;
use crate::schedule::{Fault, Part, Step};

/// How long a daemon may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_mins(1);
/// What each write and sync of a process takes longer on a slow disk.
const SLOW: Duration = Duration::from_millis(150);
/// Chunks that one fault damages.
const DAMAGED_CHUNKS: u32 = 3;

/// What is at the other end of the links.
pub(crate) enum End {
    /// Aggregators.
    Aggregator(Daemon),
    /// Receivers of the test's own.
    Own(Receiver),
}

/// All parts.
pub(crate) struct Scene {
    /// The folder and the certificates.
    pub(crate) site: Site,
    /// The forwarders.
    pub(crate) forwarders: Vec<Daemon>,
    /// What they ship to.
    pub(crate) ends: Vec<End>,
    /// Those that were added first, then those of each forwarder in the order of its ports.
    pub(crate) links: Vec<Link>,
    /// What is in front of the ends, if not the links themselves.
    pub(crate) balancer: Option<Balancer>,
    /// Those of the aggregators, if there is a cluster.
    pub(crate) gates: Vec<Gate>,
    /// The cluster, if there is one.
    pub(crate) cluster: Option<Cluster>,
    /// The disks of the aggregators, if they have any of their own.
    pub(crate) disks: Vec<SmallDisk>,
    slow: HashMap<Part, SlowDisk>,
}

/// The lines and files of a forwarder: an `app` and its folder each.
pub(crate) type Apps = Vec<(String, PathBuf)>;

impl Scene {
    /// A scene with nothing on it.
    pub(crate) fn new(site: Site) -> Self {
        Self {
            site,
            forwarders: Vec::new(),
            ends: Vec::new(),
            links: Vec::new(),
            balancer: None,
            gates: Vec::new(),
            cluster: None,
            disks: Vec::new(),
            slow: HashMap::new(),
        }
    }

    /// Adds a forwarder, with a link to each of these ports. `network` are further lines of that part of its
    /// config.
    pub(crate) fn add_forwarder(
        &mut self,
        apps: &Apps,
        ports: &[u16],
        network: &str,
    ) -> Result<()> {
        let name = format!("forwarder-{}", self.forwarders.len());
        let links = ports.iter().map(|port| Link::to(*port));
        let links: Vec<Link> = links.collect::<Result<_>>()?;
        let servers = links
            .iter()
            .map(|link| environment::loopback(link.port).to_string());
        let pattern = |folder: &Path| folder.join("app*.log*");
        let [(app, folder), rest @ ..] = apps.as_slice() else {
            bail!("a forwarder without anything to read");
        };
        let mut more = format!("    fields: {{app: {app}}}\n");
        for (app, folder) in rest {
            let pattern = serde_json::to_string(&[pattern(folder)])?;
            writeln!(more, "  - paths: {pattern}\n    fields: {{app: {app}}}")?;
        }
        writeln!(
            more,
            "hostname: {name}\nshutdown timeout: 3s\nclose rotated: 10s"
        )?;
        let config = ForwarderConfig {
            servers: servers.collect(),
            tls: Some(ClientTls {
                authority: self.site.authority.certificate.clone(),
                identity: Some(self.site.client.clone()),
            }),
            paths: vec![pattern(folder)],
            more: &more,
            network: &format!(
                "  servers mode: loadbalance\n  timeout: 5s\n  repick interval: 20s\n{network}"
            ),
        };
        let mut daemon = Daemon::forwarder(self.site.path(), &name, &config.yaml()?)?;
        daemon.start()?;
        self.forwarders.push(daemon);
        self.links.extend(links);
        Ok(())
    }

    /// Carries out a schedule.
    pub(crate) fn run(&mut self, steps: &[Step], time: Duration) -> Result<()> {
        let started = Instant::now();
        for step in steps {
            std::thread::sleep(step.at.saturating_sub(started.elapsed()));
            let late = started.elapsed().saturating_sub(step.at);
            println!("{step} (late by {:.3}s)", late.as_secs_f64());
            self.carry_out(step).with_context(|| step.to_string())?;
        }
        std::thread::sleep(time.saturating_sub(started.elapsed()));
        Ok(())
    }

    fn carry_out(&mut self, step: &Step) -> Result<()> {
        let (part, fault) = (step.part, step.fault);
        let begins = step.lasts.is_some();
        match part {
            Part::Forwarder(_) | Part::Receiver(_) if fault == Fault::SlowDisk => {
                return self.slow_down(part, begins);
            }
            Part::Forwarder(place) => return disturb(&mut self.forwarders[place], fault, begins),
            Part::Receiver(place) => match &mut self.ends[place] {
                End::Aggregator(daemon) => return disturb(daemon, fault, begins),
                End::Own(receiver) if begins => receiver.kill(),
                End::Own(receiver) => return receiver.start(),
            },
            Part::Balancer => {
                let balancer = self.balancer.as_mut().context("there is no balancer")?;
                match (fault, begins) {
                    (Fault::Stop, true) => return balancer.process().signal(Signal::STOP),
                    (Fault::Stop, false) => return balancer.process().signal(Signal::CONT),
                    (_, true) => return balancer.process().kill(),
                    (_, false) => return balancer.resume(),
                }
            }
            Part::Link(place) => disturb_link(&self.links[place], fault, begins),
            Part::Disk(place) if begins => return self.disks[place].fill(),
            Part::Disk(place) => return self.disks[place].free(),
            Part::Gate(place) => self.gates[place].set(match fault {
                _ if !begins => gate::Mode::Open,
                Fault::TooMany => gate::Mode::TooMany,
                Fault::Unavailable => gate::Mode::Unavailable,
                Fault::NoAnswer => gate::Mode::NoAnswer,
                Fault::HalfAnswer => gate::Mode::HalfAnswer,
                Fault::Stall => gate::Mode::Stalled,
                _ => gate::Mode::Refusing,
            }),
            Part::Gates => {
                for gate in &self.gates {
                    gate.storm(begins);
                }
            }
            Part::Node(place) => {
                let cluster = self.cluster.as_mut().context("there is no cluster")?;
                match (fault, begins) {
                    (Fault::Stop, true) => return cluster.signal(place, Signal::STOP),
                    (Fault::Stop, false) => return cluster.signal(place, Signal::CONT),
                    (_, true) => return cluster.kill(place),
                    (_, false) => cluster.start(place),
                }
            }
        }
        Ok(())
    }

    fn slow_down(&mut self, part: Part, begins: bool) -> Result<()> {
        if !begins {
            // It lets the process go when it is dropped.
            self.slow.remove(&part);
            return Ok(());
        }
        let daemon = match part {
            Part::Forwarder(place) => &mut self.forwarders[place],
            Part::Receiver(place) => match &mut self.ends[place] {
                End::Aggregator(daemon) => daemon,
                End::Own(_) => bail!("a receiver of the test's own has no disk"),
            },
            _ => bail!("only a daemon has a slow disk"),
        };
        let (name, logs) = (format!("{part:?}"), self.site.path());
        let slow = SlowDisk::under(&name, daemon.process()?, SLOW, logs)?;
        self.slow.insert(part, slow);
        Ok(())
    }

    /// Whether everything that is to run runs, and nothing has panicked.
    pub(crate) fn check(&mut self) -> Result<()> {
        for daemon in self.daemons() {
            if !daemon.process()?.running() {
                bail!("it ended by itself: {}", daemon.process()?.quoted_log());
            }
            if daemon.log().contains("panicked at") {
                bail!("it panicked: {}", daemon.log());
            }
        }
        Ok(())
    }

    /// Ends all daemons with SIGTERM; they have to end well.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for daemon in self.daemons() {
            let status = daemon.terminate()?;
            if !status.success() {
                bail!("{status} at the end: {}", daemon.process()?.quoted_log());
            }
        }
        Ok(())
    }

    /// The ends of all logs.
    pub(crate) fn logs(&mut self) -> String {
        let quote = |daemon: &mut Daemon| {
            daemon
                .process()
                .map_or_else(|_| String::new(), |process| process.quoted_log())
        };
        self.daemons().map(quote).collect::<Vec<_>>().join("\n")
    }

    /// Copies the logs of the cluster's nodes to those of the daemons, which are kept when a test fails.
    pub(crate) fn keep_logs(&self) -> Result<()> {
        let nodes = self.cluster.iter().flat_map(Cluster::logs);
        for (place, folder) in nodes.enumerate() {
            for log in std::fs::read_dir(folder)? {
                let log = log?;
                let name = format!("node-{place}-{}", log.file_name().display());
                std::fs::copy(log.path(), self.site.path().join(name))?;
            }
        }
        Ok(())
    }

    fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let aggregators = self.ends.iter_mut().filter_map(|end| match end {
            End::Aggregator(daemon) => Some(daemon),
            End::Own(_) => None,
        });
        self.forwarders.iter_mut().chain(aggregators)
    }
}

fn disturb(daemon: &mut Daemon, fault: Fault, begins: bool) -> Result<()> {
    if begins && !daemon.process()?.running() {
        bail!("it has ended by itself: {}", daemon.process()?.quoted_log());
    }
    match (fault, begins) {
        (Fault::Stop, true) => daemon.process()?.signal(Signal::STOP),
        (Fault::Stop, false) => daemon.process()?.signal(Signal::CONT),
        (Fault::Terminate, true) => daemon.process()?.signal(Signal::TERM),
        (Fault::Terminate, false) => {
            daemon.process()?.wait(PATIENCE)?;
            daemon.start()
        }
        (_, true) => daemon.kill(),
        (_, false) => daemon.start(),
    }
}

fn disturb_link(link: &Link, fault: Fault, begins: bool) {
    match (fault, begins) {
        (Fault::Stall | Fault::StallAndCut, true) => link.set(link::Mode::Stalled),
        (Fault::Slow, true) => link.set(link::Mode::Slow),
        (Fault::Damage, true) => link.damage(DAMAGED_CHUNKS),
        (Fault::Refuse, true) => {
            link.set(link::Mode::Refusing);
            link.cut();
        }
        (_, true) => link.cut(),
        (Fault::StallAndCut, false) => {
            link.cut();
            link.set(link::Mode::Open);
        }
        (Fault::Damage, false) => link.damage(0),
        (_, false) => link.set(link::Mode::Open),
    }
}
