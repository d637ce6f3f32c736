//! Chaos: everything fails at random, and every line that was written arrives once.
//!
//! Writers rotate their files in every way while forwarders and receivers are killed and stopped,
//! links are cut, stalled, slowed and damaged, and the search cluster refuses, answers nothing, and
//! dies. `SKIDDER_CHAOS_SEED` picks what happens (default 1), `SKIDDER_CHAOS_SECONDS` for how long.
//! A seed repeats its schedule and the choices of its writers; what the machine makes of it differs
//! from run to run. The output has the seed, what happened when, and the counts.

#![expect(clippy::print_stdout, reason = "the story of a run is its output")]

mod cluster;
mod gate;
mod link;
mod random;
mod receiver;
mod scene;
mod schedule;
mod writer;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use skidder_tests::daemon::{BeatsInput, Daemon};
use skidder_tests::environment::{self, loopback};
use skidder_tests::servers::{OPENSEARCH_2, Search, Server};
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::wait;
use skidder_tests::writers::{Tally, tally};

use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::random::Random;
use crate::receiver::{Books, NUMBERS, Receiver};
use crate::scene::{Apps, End, Scene};
use crate::schedule::{Fault, Habit, Part};
use crate::writer::{Arrived, Plan, WAYS, Way, Writer};

/// How long what was written may take to arrive once all is well again.
const DEADLINE: Duration = Duration::from_mins(8);
/// How the writers of each forwarder rotate.
const WRITERS: [&[&[Way]]; 3] = [
    &[&[Way::Rename], &[Way::CopyTruncate], &WAYS],
    &[&[Way::Compress], &[Way::Delete], &[Way::Small]],
    &[&[Way::Dated], &[Way::Truncate], &WAYS],
];
/// Lines a second of each writer.
const RATE: u64 = 80;
const RECEIVERS: usize = 3;
/// A cluster that comes back is found within a second.
const QUICK: &str =
    "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1 timeout => 10";

/// One at a time: each of them is a load for the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(from: u64, to: u64) -> Range<Duration> {
    Duration::from_secs(from)..Duration::from_secs(to)
}

/// The seed and the time of a run.
struct Run {
    seed: u64,
    time: Duration,
}

impl Run {
    fn new(default_seconds: u64) -> Self {
        let seed = environment::number("SKIDDER_CHAOS_SEED", 1);
        let time = environment::number("SKIDDER_CHAOS_SECONDS", default_seconds);
        println!("SKIDDER_CHAOS_SEED={seed} SKIDDER_CHAOS_SECONDS={time}");
        Self {
            seed,
            time: Duration::from_secs(time),
        }
    }

    /// The writers' names, numbers and folders, for each forwarder.
    fn apps(site: &Site) -> Vec<Apps> {
        let mut number = 0;
        let mut app = |_| {
            let name = format!("w{number}");
            number += 1;
            (name.clone(), site.path().join(name))
        };
        let apps = WRITERS
            .iter()
            .map(|ways| ways.iter().map(&mut app).collect());
        apps.collect()
    }

    fn writers(
        &self,
        apps: &[Apps],
        arrived: impl Fn(&str, u64) -> Arrived,
    ) -> Result<Vec<Writer>> {
        let mut writers = Vec::new();
        let ways = WRITERS.iter().copied().flatten();
        for ((name, folder), ways) in apps.iter().flatten().zip(ways) {
            let first = writers.len() as u64 * NUMBERS;
            let plan = Plan {
                name: name.clone(),
                folder: folder.clone(),
                first,
                rate: RATE,
                time: self.time,
                ways: ways.to_vec(),
                random: Random::new(self.seed, name),
                arrived: arrived(name, first),
            };
            writers.push(plan.start()?);
        }
        Ok(writers)
    }
}

/// What can happen to every forwarder, every receiver and every link.
fn habits(kills: &'static [Fault]) -> Vec<Habit> {
    let forwarders = (0..WRITERS.len()).map(|place| Habit {
        part: Part::Forwarder(place),
        faults: &[Fault::Kill, Fault::Kill, Fault::Terminate, Fault::Stop],
        pause: seconds(2, 14),
        lasts: seconds(0, 6),
    });
    let receivers = (0..RECEIVERS).map(|place| Habit {
        part: Part::Receiver(place),
        faults: kills,
        pause: seconds(2, 20),
        lasts: seconds(0, 8),
    });
    let links = (0..WRITERS.len() * RECEIVERS).map(|place| Habit {
        part: Part::Link(place),
        faults: &[
            Fault::Cut,
            Fault::Refuse,
            Fault::Stall,
            Fault::StallAndCut,
            Fault::Slow,
            Fault::Damage,
        ],
        pause: seconds(1, 20),
        lasts: seconds(0, 10),
    });
    forwarders.chain(receivers).chain(links).collect()
}

fn scene(site: Site) -> Scene {
    Scene {
        site,
        forwarders: Vec::new(),
        ends: Vec::new(),
        links: Vec::new(),
        gates: Vec::new(),
        cluster: None,
    }
}

#[test]
fn every_line_comes_to_a_receiver_and_none_twice() {
    let _alone = alone();
    let run = Run::new(50);
    let books = Books::default();
    let site = Site::new().unwrap();
    let apps = Run::apps(&site);
    let mut scene = scene(site);
    let mut ports = Vec::new();
    for _ in 0..RECEIVERS {
        let port = environment::free_port().unwrap();
        let (identity, authority) = (&scene.site.server, &scene.site.authority);
        let mut receiver = Receiver::new(port, identity, authority, &books).unwrap();
        receiver.start().unwrap();
        scene.ends.push(End::Own(receiver));
        ports.push(port);
    }
    for apps in &apps {
        scene.add_forwarder(apps, &ports).unwrap();
    }
    let writers = run.writers(&apps, |_, first| {
        let books = Arc::clone(&books);
        Box::new(move || Some(receiver::open(&books).count(first)))
    });
    let mut writers = writers.unwrap();
    let steps = schedule::plan(run.seed, run.time, &habits(&[Fault::Kill]));
    scene.run(&steps, run.time).unwrap();
    for writer in &mut writers {
        let ways = writer.finish().unwrap();
        println!("{}: {} lines; {ways}", writer.name, writer.written());
    }
    scene.check().unwrap();
    let complete = wait::until("every line", DEADLINE, || {
        let book = receiver::open(&books);
        let lacking = |writer: &&Writer| book.count(writer.first) < writer.written();
        match writers.iter().find(lacking) {
            None => Ok(()),
            Some(writer) => Err(format!(
                "{} has {} of {}",
                writer.name,
                book.count(writer.first),
                writer.written()
            )),
        }
    });
    if complete.is_ok() {
        scene.finish().unwrap();
    }
    let book = receiver::open(&books);
    println!("{} events came again with their identity", book.repeated);
    for writer in &writers {
        let numbers = writer.first..writer.first + writer.written();
        let missing: Vec<u64> = numbers.filter(|number| book.times(*number) == 0).collect();
        assert!(
            missing.is_empty(),
            "{} lacks {} lines: {:?}…\n{}",
            writer.name,
            missing.len(),
            &missing[..missing.len().min(10)],
            scene.logs()
        );
    }
    assert!(
        book.wrong.is_empty(),
        "{} wrong: {:#?}",
        book.wrong.len(),
        &book.wrong[..book.wrong.len().min(10)]
    );
    complete.unwrap();
}

fn index(app: &str) -> String {
    format!("chaos-{app}")
}

#[test]
fn every_line_is_in_the_index_once() {
    let _alone = alone();
    let Some(server) = Server::start_or_skip(&OPENSEARCH_2, &[]) else {
        return;
    };
    let run = Run::new(110);
    let search = server.search();
    let host = server.host();
    let site = Site::new().unwrap();
    let apps = Run::apps(&site);
    let mut scene = scene(site);
    scene.cluster = Some(Cluster::new(server));
    let mut ports = Vec::new();
    for place in 0..RECEIVERS {
        let gate = Gate::to(&host).unwrap();
        let input = BeatsInput {
            port: environment::free_port().unwrap(),
            ..scene.site.input()
        };
        let output =
            elasticsearch_output(&loopback(gate.port).to_string(), &index("%{app}"), QUICK);
        let name = format!("aggregator-{place}");
        let pipeline = format!("{input}{output}");
        let mut daemon = Daemon::aggregator(scene.site.path(), &name, &pipeline)
            .unwrap()
            .with_arguments(&["--pipeline.shutdown_timeout", "5s"]);
        if place > 0 {
            daemon = daemon.with_arguments(&[
                "--queue.type",
                "persisted",
                "--queue.page_capacity",
                "256kb",
            ]);
        }
        daemon.start_listening(input.port).unwrap();
        ports.push(input.port);
        scene.ends.push(End::Aggregator(daemon));
        scene.gates.push(gate);
    }
    for apps in &apps {
        scene.add_forwarder(apps, &ports).unwrap();
    }
    let writers = run.writers(&apps, |app, _| {
        let index = index(app);
        Box::new(move || {
            search.refresh(&index).ok()?;
            search.count(&index).ok()
        })
    });
    let mut writers = writers.unwrap();
    let mut habits = habits(&[Fault::Kill, Fault::Kill, Fault::Terminate, Fault::Stop]);
    habits.extend((0..RECEIVERS).map(|place| Habit {
        part: Part::Gate(place),
        faults: &[
            Fault::TooMany,
            Fault::TooMany,
            Fault::Unavailable,
            Fault::NoAnswer,
            Fault::HalfAnswer,
            Fault::Stall,
            Fault::Refuse,
        ],
        pause: seconds(3, 15),
        lasts: seconds(1, 12),
    }));
    habits.push(Habit {
        part: Part::Cluster,
        faults: &[Fault::Kill],
        pause: seconds(25, 60),
        lasts: seconds(1, 10),
    });
    let steps = schedule::plan(run.seed, run.time, &habits);
    scene.run(&steps, run.time).unwrap();
    for writer in &mut writers {
        let ways = writer.finish().unwrap();
        println!("{}: {} lines; {ways}", writer.name, writer.written());
    }
    scene.check().unwrap();
    scene.cluster.as_mut().unwrap().wait().unwrap();
    let complete = wait::until("every line in the index", DEADLINE, || {
        for writer in &writers {
            let count = (search.refresh(&index(&writer.name)))
                .and_then(|()| search.count(&index(&writer.name)))
                .map_err(|error| format!("{error:#}"))?;
            if count < writer.written() {
                return Err(format!(
                    "{} has {count} of {}",
                    writer.name,
                    writer.written()
                ));
            }
        }
        Ok(())
    });
    if complete.is_ok() {
        // Nothing may come or vanish at the end.
        scene.finish().unwrap();
    }
    for (place, gate) in scene.gates.iter().enumerate() {
        println!("gate {place}: {} requests disturbed", gate.disturbed());
    }
    let tallies: Vec<Tally> = writers
        .iter()
        .map(|writer| arrived(search, writer).unwrap())
        .collect();
    for (writer, tally) in writers.iter().zip(&tallies) {
        let (missing, damaged) = (tally.missing.len(), tally.damaged.len());
        let twice = tally.duplicates;
        println!(
            "{}: {missing} missing, {twice} twice, {damaged} damaged",
            writer.name
        );
    }
    if tallies.iter().any(|tally| *tally != Tally::default()) {
        println!("{}", scene.logs());
    }
    for tally in tallies {
        tally.assert_once_each();
    }
    complete.unwrap();
}

fn arrived(search: Search, writer: &Writer) -> Result<Tally> {
    let messages = search.every(&index(&writer.name), "message")?;
    let messages = messages.iter().filter_map(Value::as_str);
    Ok(tally(writer.first, writer.written(), messages))
}
