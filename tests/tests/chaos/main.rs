//! Chaos: everything fails at random, and every line that was written arrives once.
//!
//! Writers rotate their files in every way while forwarders and receivers are killed and stopped,
//! links are cut, stalled, slowed and damaged, disks are slow and full, and the search cluster refuses,
//! answers nothing, and dies. `SKIDDER_CHAOS_SEED` picks what happens (default 1), `SKIDDER_CHAOS_SECONDS`
//! for how long; of [`storm`], `SKIDDER_STORM_SEED` and `SKIDDER_STORM_SECONDS`.
//! A seed repeats its schedule and the choices of its writers; what the machine makes of it differs
//! from run to run. The output has the seed, what happened when, and the counts.

#![expect(clippy::print_stdout, reason = "the story of a run is its output")]

mod cluster;
mod gate;
mod index;
mod link;
mod random;
mod receiver;
mod report;
mod scene;
mod schedule;
mod storm;
mod writer;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use skidder_tests::environment;
use skidder_tests::site::Site;
use skidder_tests::wait;

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
/// What happens to the processes of daemons.
const KILLS: &[Fault] = &[Fault::Kill, Fault::Kill, Fault::Terminate, Fault::Stop];
/// Lines a second of each writer.
const RATE: u64 = 80;
const RECEIVERS: usize = 3;

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
    /// As the variables of this name say.
    fn new(name: &str, default_seconds: u64) -> Self {
        let (seed, seconds) = (
            format!("SKIDDER_{name}_SEED"),
            format!("SKIDDER_{name}_SECONDS"),
        );
        let (seed, time) = (
            environment::number(&seed, 1),
            environment::number(&seconds, default_seconds),
        );
        println!("SKIDDER_{name}_SEED={seed} SKIDDER_{name}_SECONDS={time}");
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

/// Waits until the writers' time is over, and tells what they have done.
fn finish(writers: &mut [Writer]) -> Result<()> {
    for writer in writers {
        let ways = writer.finish()?;
        println!("{}: {} lines; {ways}", writer.name, writer.written());
    }
    Ok(())
}

/// What can happen to every forwarder, every receiver and so many links.
fn habits(forwarders: &'static [Fault], receivers: &'static [Fault], links: usize) -> Vec<Habit> {
    let forwarders = (0..WRITERS.len()).map(|place| Habit {
        parts: vec![Part::Forwarder(place)],
        faults: forwarders,
        pause: seconds(2, 14),
        lasts: seconds(0, 6),
    });
    let receivers = (0..RECEIVERS).map(|place| Habit {
        parts: vec![Part::Receiver(place)],
        faults: receivers,
        pause: seconds(2, 20),
        lasts: seconds(0, 8),
    });
    let links = (0..links).map(|place| Habit {
        parts: vec![Part::Link(place)],
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

#[test]
fn every_line_comes_to_a_receiver_and_none_twice() {
    let _alone = alone();
    let run = Run::new("CHAOS", 50);
    let books = Books::default();
    let site = Site::new().unwrap();
    let apps = Run::apps(&site);
    let mut scene = Scene::new(site);
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
        scene.add_forwarder(apps, &ports, "").unwrap();
    }
    let writers = run.writers(&apps, |_, first| {
        let books = Arc::clone(&books);
        Box::new(move || Some(receiver::open(&books).count(first)))
    });
    let mut writers = writers.unwrap();
    let steps = schedule::plan(
        run.seed,
        run.time,
        &habits(KILLS, &[Fault::Kill], scene.links.len()),
    );
    scene.run(&steps, run.time).unwrap();
    finish(&mut writers).unwrap();
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
