//! What is watched of the process while it runs: its phase, its pipelines, what they count.
//!
//! Whatever does the work adds to counters, a whole batch at a time; whoever wants to know reads them
//! ([`crate::api`]). Nothing here is asked by the work itself.
//!
//! INVARIANT: an aggregator is ready ([`Monitor::reasons`] is empty) only if what is sent to it now is taken: all of its pipelines
//! run, it is not about to stop, and there is room.

mod pipeline;
pub mod process;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skidder_lumberjack::ByteBudget;

pub(crate) use self::pipeline::OwnQueueWatch;
pub use self::pipeline::{
    Connections, DeliveryFigures, Figures, HostFigures, InputWatch, MappingFigures, OutputWatch,
    Watched,
};

/// How often the runtime that serves connections says that it lives.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// It counts as stuck when it has said nothing for so long.
pub const STUCK_AFTER: Duration = Duration::from_secs(15);

/// What is known of the process.
#[derive(Debug)]
pub struct Monitor {
    /// When it was started.
    started: Instant,
    /// The memory of all listeners.
    pub(crate) budget: Arc<ByteBudget>,
    /// `health.queue_mark`
    queue_mark: f64,
    /// All pipelines have been started once.
    running: AtomicBool,
    /// It was asked to stop.
    stopping: AtomicBool,
    /// When the runtime was last seen alive, in milliseconds since the start.
    beat: AtomicU64,
    /// Changed configurations that were put to use, and those that were refused.
    pub(crate) reloads: AtomicU64,
    pub(crate) refused_reloads: AtomicU64,
    pipelines: Mutex<BTreeMap<String, State>>,
}

/// What became of a pipeline.
#[derive(Clone, Debug)]
pub enum State {
    /// Its configuration is refused.
    Refused,
    /// It is being started.
    Starting,
    /// It runs.
    Running(Arc<Watched>),
    /// It has come to its end.
    Ended,
    /// It has failed.
    Failed,
}

impl Monitor {
    /// Of a process that starts now.
    pub fn new(budget: Arc<ByteBudget>, queue_mark: f64) -> Self {
        Self {
            started: Instant::now(),
            budget,
            queue_mark,
            running: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
            pipelines: Mutex::default(),
        }
    }

    /// How long the process runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Every pipeline has been started, or has failed.
    pub(crate) fn all_started(&self) {
        self.running.store(true, Ordering::Release);
    }

    /// The process was asked to stop.
    pub(crate) fn stops(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The runtime lives.
    pub(crate) fn beat(&self) {
        let now = self.uptime().as_millis();
        self.beat
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long the runtime has not been seen, if that is too long.
    pub fn stuck(&self) -> Option<Duration> {
        let seen = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let silent = self.uptime().saturating_sub(seen);
        (silent > STUCK_AFTER).then_some(silent)
    }

    /// Says what became of a pipeline.
    pub(crate) fn set(&self, id: &str, state: State) {
        self.lock().insert(id.to_owned(), state);
    }

    /// A pipeline is gone.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// All pipelines, by their ids.
    pub fn pipelines(&self) -> BTreeMap<String, State> {
        self.lock().clone()
    }

    /// Why nothing more should be sent here for now; none if all is well.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Acquire) {
            reasons.push("stopping".to_owned());
        } else if !self.running.load(Ordering::Acquire) {
            reasons.push("starting".to_owned());
        }
        for (id, state) in self.pipelines() {
            let what = match state {
                State::Ended => continue,
                State::Starting => "is being started",
                State::Failed => "has failed",
                State::Refused => "is refused, its configuration is wrong",
                State::Running(watched) => {
                    if let Some(queue) = watched.queue() {
                        let what = format!("the disk queue of pipeline `{id}`");
                        reasons.extend(self.full(&what, queue.waiting_bytes, queue.limit));
                        let what = format!("the events in the disk queue of pipeline `{id}`");
                        reasons.extend(self.full(&what, queue.events, queue.max_events));
                    }
                    for output in &watched.outputs {
                        // One that throws away stops nobody, however full it is.
                        if let Some(queue) = output.queue.as_ref().filter(|queue| !queue.sheds) {
                            let (queue, name) = (queue.gauge.figures(), &output.id);
                            let what = format!("the queue of output `{name}` of pipeline `{id}`");
                            reasons.extend(self.full(&what, queue.waiting_bytes, queue.limit));
                        }
                    }
                    continue;
                }
            };
            reasons.push(format!("pipeline `{id}` {what}"));
        }
        let (used, total) = (self.budget.used() as u64, self.budget.total() as u64);
        reasons.extend(self.full("the memory for received batches", used, total));
        reasons
    }

    /// That something is above the mark; a limit of 0 is none.
    fn full(&self, what: &str, used: u64, limit: u64) -> Option<String> {
        let share = used as f64 / limit.max(1) as f64;
        // A mark of 1 is none.
        let is_above = limit > 0 && self.queue_mark < 1.0 && share > self.queue_mark;
        is_above.then(|| {
            let (percent, mark) = (share * 100.0, self.queue_mark * 100.0);
            format!("{what} is {percent:.0} % full, above health.queue_mark ({mark:.0} %)")
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.pipelines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_not_to_be_ready_is_told() {
        let budget = ByteBudget::new(1000);
        let monitor = Monitor::new(Arc::clone(&budget), 0.9);
        assert_eq!(monitor.reasons(), ["starting"]);
        monitor.set("a", State::Failed);
        monitor.set("b", State::Starting);
        monitor.set("c", State::Refused);
        monitor.set("d", State::Ended);
        monitor.all_started();
        let mut account = budget.account();
        let small = account.try_reserve(900);
        assert_eq!(
            monitor.reasons(),
            [
                "pipeline `a` has failed",
                "pipeline `b` is being started",
                "pipeline `c` is refused, its configuration is wrong",
            ]
        );
        for id in ["a", "b", "c"] {
            monitor.forget(id);
        }
        assert!(monitor.reasons().is_empty());
        let more = account.try_reserve(30);
        assert_eq!(
            monitor.reasons(),
            ["the memory for received batches is 93 % full, above health.queue_mark (90 %)"]
        );
        monitor.stops();
        assert_eq!(monitor.reasons().len(), 2);
        drop((small, more));
        assert_eq!(monitor.reasons(), ["stopping"]);
        let never = Monitor::new(ByteBudget::new(0), 1.0);
        never.all_started();
        assert!(never.reasons().is_empty());
    }

    #[test]
    fn a_runtime_that_says_nothing_is_stuck() {
        let mut monitor = Monitor::new(ByteBudget::new(1), 0.9);
        assert_eq!(monitor.stuck(), None);
        monitor.started -= STUCK_AFTER + Duration::from_secs(1);
        assert!(monitor.stuck() > Some(STUCK_AFTER));
        monitor.beat();
        assert_eq!(monitor.stuck(), None);
    }
}
