//! What goes wrong when: a list that depends on nothing but the seed, the time and the parts.
//!
//! Each part has its own sequence of faults, which never overlap; those of different parts do.
//! Every fault has an end, and all have ended when the time is over.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::random::Random;

/// A part of the scene, by its place in the list of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// A forwarder.
    Forwarder(usize),
    /// An aggregator, or the receiver that stands in its place.
    Receiver(usize),
    /// What stands between forwarders and receivers.
    Balancer,
    /// A stretch of the way from a forwarder to a receiver.
    Link(usize),
    /// The disk that the queue of an aggregator is on.
    Disk(usize),
    /// The way of an aggregator to a node of the search cluster.
    Gate(usize),
    /// All of these ways.
    Gates,
    /// A node of the search cluster.
    Node(usize),
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start at the end.
    Kill,
    /// SIGTERM, and a start at the end.
    Terminate,
    /// SIGSTOP, and SIGCONT at the end.
    Stop,
    /// Each write to a place in a file, and each sync, takes long until the end.
    SlowDisk,
    /// There is no room on the disk until the end.
    FullDisk,
    /// All connections are closed.
    Cut,
    /// All connections are closed, and new ones until the end.
    Refuse,
    /// Nothing gets through until the end.
    Stall,
    /// As [`Fault::Stall`], and all connections are closed at the end.
    StallAndCut,
    /// Little gets through until the end.
    Slow,
    /// Bytes are damaged.
    Damage,
    /// Requests are answered with 429 and not passed on.
    TooMany,
    /// Requests are answered with 503 and not passed on.
    Unavailable,
    /// Requests are passed on, and not answered.
    NoAnswer,
    /// Requests are passed on, and half answered.
    HalfAnswer,
}

/// The beginning or the end of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// When, from the start.
    pub(crate) at: Duration,
    /// What it happens to.
    pub(crate) part: Part,
    /// What happens.
    pub(crate) fault: Fault,
    /// How long it lasts, at its beginning; `None` at its end.
    pub(crate) lasts: Option<Duration>,
}

/// The faults of one part, or of several of which at most one has a fault at a time.
pub(crate) struct Habit {
    /// The parts, one of which is picked each time.
    pub(crate) parts: Vec<Part>,
    /// What can happen to it.
    pub(crate) faults: &'static [Fault],
    /// The time between two faults.
    pub(crate) pause: Range<Duration>,
    /// How long one lasts.
    pub(crate) lasts: Range<Duration>,
}

/// The steps of all parts in their order.
pub(crate) fn plan(seed: u64, time: Duration, habits: &[Habit]) -> Vec<Step> {
    let mut steps = Vec::new();
    for habit in habits {
        let mut random = Random::new(seed, &format!("{:?}", habit.parts));
        let mut at = random.time(&habit.pause);
        loop {
            let part = random.pick(&habit.parts);
            let fault = random.pick(habit.faults);
            let lasts = random.time(&habit.lasts);
            if at + lasts > time {
                break;
            }
            let step = |at, lasts| Step {
                at,
                part,
                fault,
                lasts,
            };
            steps.push(step(at, Some(lasts)));
            steps.push(step(at + lasts, None));
            at += lasts + random.time(&habit.pause);
        }
    }
    // Stable: steps of one moment stay in the order of the parts.
    steps.sort_by_key(|step| step.at);
    steps
}

/// How often what happens to which kind of part.
pub(crate) fn counts(steps: &[Step]) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.lasts.is_some()) {
        let part = format!("{:?}", step.part);
        let kind = part.split('(').next().unwrap_or(&part);
        *counts
            .entry(format!("{kind} {:?}", step.fault))
            .or_default() += 1;
    }
    let counts = counts.iter().map(|(what, times)| format!("{what} {times}"));
    counts.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, fault, .. } = self;
        write!(formatter, "{:8.3}s {part:?}: ", self.at.as_secs_f64())?;
        match self.lasts {
            Some(lasts) => write!(formatter, "{fault:?} for {:.3}s", lasts.as_secs_f64()),
            None => write!(formatter, "end of {fault:?}"),
        }
    }
}

#[test]
fn a_seed_repeats_its_schedule_and_every_fault_ends() {
    let seconds = |from, to| Duration::from_secs(from)..Duration::from_secs(to);
    let habits = [
        Habit {
            parts: vec![Part::Forwarder(0)],
            faults: &[Fault::Kill, Fault::Stop],
            pause: seconds(1, 4),
            lasts: seconds(0, 3),
        },
        Habit {
            parts: vec![Part::Link(3), Part::Link(4)],
            faults: &[Fault::Cut, Fault::Stall, Fault::Damage],
            pause: seconds(0, 4),
            lasts: seconds(1, 3),
        },
    ];
    let time = Duration::from_mins(5);
    let steps = plan(7, time, &habits);
    assert_eq!(steps, plan(7, time, &habits));
    assert_ne!(steps, plan(8, time, &habits));
    assert!(steps.len() > 200, "{}", steps.len());
    for habit in &habits {
        let mut under_way = None;
        for step in steps.iter().filter(|step| habit.parts.contains(&step.part)) {
            assert!(step.at <= time);
            match step.lasts {
                Some(_) => assert_eq!(under_way.replace((step.part, step.fault)), None),
                None => assert_eq!(under_way.take(), Some((step.part, step.fault))),
            }
        }
        assert_eq!(under_way, None);
    }
}
