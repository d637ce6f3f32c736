//! What is being asked, and what is remembered of the answers. Shared by all workers.
//!
//! A question that is under way is asked once, however many events wait for it. An answer is kept for those
//! that wait, and beyond that in a cache, if there is one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Answer, Question, Resolver};
use crate::event::Timestamp;

/// How many questions of a filter may be under way ahead of their turn.
pub const MAX_QUESTIONS: usize = 4096;
/// How much longer than a question may take is waited for its answer, before it counts as lost.
const GRACE: Duration = Duration::from_secs(1);

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Name(Box<str>),
    Address(IpAddr),
}

/// What is known in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obtained {
    Found(Arc<str>),
    Missing,
    TimedOut,
}

pub(super) struct Lookups {
    resolver: Arc<dyn Resolver>,
    patience: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    under_way: HashMap<Key, UnderWay>,
    hits: Remembered,
    failures: Remembered,
}

struct UnderWay {
    answer: Option<Obtained>,
    /// Events that have asked ahead and not come back yet, and workers that wait.
    waiting: usize,
}

/// Answers that are remembered for a time, in two generations: when the young one is full, the old one
/// is forgotten. It never holds more than its size.
#[derive(Default)]
struct Remembered {
    size: usize,
    /// In nanoseconds.
    lifetime: i128,
    young: HashMap<Key, (Obtained, i128)>,
    old: HashMap<Key, (Obtained, i128)>,
}

impl Remembered {
    fn new((size, seconds): (usize, f64)) -> Self {
        Self {
            size,
            lifetime: (seconds * 1e9) as i128,
            ..Self::default()
        }
    }

    fn find(&mut self, key: &Key, now: i128) -> Option<Obtained> {
        if let Some((answer, since)) = self.young.get(key) {
            return (now - since < self.lifetime).then(|| answer.clone());
        }
        let (answer, since) = self.old.remove(key)?;
        if now - since >= self.lifetime {
            return None;
        }
        self.insert(key.clone(), answer.clone(), since);
        Some(answer)
    }

    fn insert(&mut self, key: Key, answer: Obtained, since: i128) {
        if self.size == 0 {
            return;
        }
        let half = self.size.div_ceil(2);
        if self.young.len() >= half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
            // Of a size of one there is no half.
            if self.size == 1 {
                self.old.clear();
            }
        }
        self.young.insert(key, (answer, since));
    }
}

impl Lookups {
    /// The caches are given by their size and their seconds.
    pub(super) fn new(
        resolver: Arc<dyn Resolver>,
        patience: Duration,
        hits: (usize, f64),
        failures: (usize, f64),
    ) -> Self {
        let state = State {
            under_way: HashMap::new(),
            hits: Remembered::new(hits),
            failures: Remembered::new(failures),
        };
        let shared = Shared {
            state: Mutex::new(state),
            answered: Condvar::new(),
        };
        Self {
            resolver,
            patience,
            shared: Arc::new(shared),
        }
    }

    /// Asks without waiting. Answers whether the event has to wait; then [`Lookups::release`] must
    /// follow for the same key, when it has come back.
    pub(super) fn ask_ahead(
        &self,
        key: &Key,
        now: Timestamp,
        question: impl FnOnce() -> Option<Question>,
    ) -> bool {
        let mut state = self.shared.lock();
        if state.remembered(key, now).is_some() {
            return false;
        }
        if let Some(under_way) = state.under_way.get_mut(key) {
            under_way.waiting += 1;
            return true;
        }
        if state.under_way.len() >= MAX_QUESTIONS {
            // Its turn comes, and it is asked then.
            return true;
        }
        let Some(question) = question() else {
            return false;
        };
        state.begin(key);
        drop(state);
        self.ask(key, question);
        true
    }

    /// What is known of a key, waiting for it.
    pub(super) fn obtain(
        &self,
        key: &Key,
        now: Timestamp,
        question: impl FnOnce() -> Option<Question>,
    ) -> Obtained {
        let mut state = self.shared.lock();
        if !state.under_way.contains_key(key) {
            if let Some(known) = state.remembered(key, now) {
                return known;
            }
            let Some(question) = question() else {
                return Obtained::Missing;
            };
            state.begin(key);
            drop(state);
            self.ask(key, question);
            state = self.shared.lock();
        } else if let Some(under_way) = state.under_way.get_mut(key) {
            under_way.waiting += 1;
        }
        let is_open = |state: &mut State| {
            let under_way = state.under_way.get(key);
            under_way.is_some_and(|under_way| under_way.answer.is_none())
        };
        let patience = self.patience.saturating_add(GRACE);
        let (mut state, _) = self
            .shared
            .answered
            .wait_timeout_while(state, patience, is_open)
            .unwrap_or_else(PoisonError::into_inner);
        let under_way = state.under_way.get(key);
        let answer = under_way.and_then(|under_way| under_way.answer.clone());
        let answer = answer.unwrap_or(Obtained::TimedOut);
        state.release(key);
        let since = nanoseconds(now);
        match &answer {
            Obtained::Found(_) => state.hits.insert(key.clone(), answer.clone(), since),
            // COMPAT: what took too long is remembered as a failure, and not tagged again.
            Obtained::Missing | Obtained::TimedOut => {
                state.failures.insert(key.clone(), Obtained::Missing, since);
            }
        }
        answer
    }

    /// Takes back that an event waits.
    pub(super) fn release(&self, key: &Key) {
        self.shared.lock().release(key);
    }

    fn ask(&self, key: &Key, question: Question) {
        let shared = Arc::clone(&self.shared);
        let key = key.clone();
        let answered = move |answer: Answer| {
            let mut state = shared.lock();
            if let Some(under_way) = state.under_way.get_mut(&key) {
                under_way.answer = Some(match answer {
                    Answer::Found(text) => Obtained::Found(text.into()),
                    Answer::Missing => Obtained::Missing,
                    Answer::TimedOut => Obtained::TimedOut,
                });
            }
            drop(state);
            shared.answered.notify_all();
        };
        self.resolver.ask(question, Box::new(answered));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, key: &Key) {
        let under_way = UnderWay {
            answer: None,
            waiting: 1,
        };
        self.under_way.insert(key.clone(), under_way);
    }

    /// What nobody waits for is not kept: the next one asks again, unless a cache has it.
    fn release(&mut self, key: &Key) {
        if let Some(under_way) = self.under_way.get_mut(key) {
            under_way.waiting = under_way.waiting.saturating_sub(1);
            if under_way.waiting == 0 {
                self.under_way.remove(key);
            }
        }
    }

    fn remembered(&mut self, key: &Key, now: Timestamp) -> Option<Obtained> {
        let now = nanoseconds(now);
        let failure = self.failures.find(key, now);
        failure.or_else(|| self.hits.find(key, now))
    }
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanoseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_ages() {
        for size in [0, 1, 2, 3, 10, 100] {
            let mut remembered = Remembered::new((size, 5.0));
            for number in 0..1000_u32 {
                let key = Key::Address(IpAddr::V4(number.into()));
                remembered.insert(key.clone(), Obtained::Missing, i128::from(number));
                assert!(
                    remembered.young.len() + remembered.old.len()
                        <= size.max(1).next_multiple_of(2)
                );
                assert_eq!(remembered.find(&key, 0).is_some(), size > 0);
            }
        }
        let mut remembered = Remembered::new((10, 5.0));
        let key = Key::Name("a".into());
        remembered.insert(key.clone(), Obtained::Found("x".into()), 0);
        assert!(remembered.find(&key, 4_999_999_999).is_some());
        assert!(remembered.find(&key, 5_000_000_000).is_none());
    }
}
