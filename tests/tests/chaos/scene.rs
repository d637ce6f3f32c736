//! The parts that things happen to, and the hand that does it.
//!
//! Forwarders ship to every receiver over a link of their own each. The scene carries out the steps
//! of a schedule at their times, notes a daemon that ended without having been told to, and brings
//! everything back to life at the end.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use skidder_tests::daemon::{ClientTls, Daemon, ForwarderConfig};
use skidder_tests::environment;
use skidder_tests::site::Site;

use crate::cluster::Cluster;
use crate::gate::{self, Gate};
use crate::link::{self, Link};
use crate::receiver::Receiver;
use crate::schedule::{Fault, Part, Step};

/// How long a daemon may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_mins(1);
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
    /// That of forwarder `f` with end `e` is number `f * ends + e`.
    pub(crate) links: Vec<Link>,
    /// Those of the aggregators, if there is a cluster.
    pub(crate) gates: Vec<Gate>,
    /// The cluster, if there is one.
    pub(crate) cluster: Option<Cluster>,
}

/// The lines and files of a forwarder: an `app` and its folder each.
pub(crate) type Apps = Vec<(String, PathBuf)>;

impl Scene {
    /// Adds a forwarder, with a link to each of these ports.
    pub(crate) fn add_forwarder(&mut self, apps: &Apps, ports: &[u16]) -> Result<()> {
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
            network: "  servers mode: loadbalance\n  timeout: 5s\n  repick interval: 20s\n",
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
        let begins = step.lasts.is_some();
        match step.part {
            Part::Forwarder(place) => disturb(&mut self.forwarders[place], step.fault, begins),
            Part::Receiver(place) => match &mut self.ends[place] {
                End::Aggregator(daemon) => disturb(daemon, step.fault, begins),
                End::Own(receiver) if begins => {
                    receiver.kill();
                    Ok(())
                }
                End::Own(receiver) => receiver.start(),
            },
            Part::Link(place) => {
                disturb_link(&self.links[place], step.fault, begins);
                Ok(())
            }
            Part::Gate(place) => {
                self.gates[place].set(match step.fault {
                    _ if !begins => gate::Mode::Open,
                    Fault::TooMany => gate::Mode::TooMany,
                    Fault::Unavailable => gate::Mode::Unavailable,
                    Fault::NoAnswer => gate::Mode::NoAnswer,
                    Fault::HalfAnswer => gate::Mode::HalfAnswer,
                    Fault::Stall => gate::Mode::Stalled,
                    _ => gate::Mode::Refusing,
                });
                Ok(())
            }
            Part::Cluster => {
                let cluster = self.cluster.as_mut().context("there is no cluster")?;
                if begins {
                    return cluster.kill();
                }
                cluster.start();
                Ok(())
            }
        }
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
