//! How many requests go out at a time: as many as the servers take without slowing down.
//!
//! Additive increase, multiplicative decrease, as in TCP. While the limit is what holds requests back,
//! each answer that comes as fast as usual raises it, by one in the time in which as many requests as it
//! allows are answered. A server that is too busy (429, a queue that is full), one that does not answer,
//! and answers that take [`SLOW`] times as long as requests of their size usually do, lower it; once
//! for all requests that were under way at that time, as they all tell of the same trouble.
//!
//! What is usual is kept for each size (powers of two) by itself: the time of a request depends on its
//! size. It follows a faster answer at once and a slower one by [`DRIFT`], so that a cluster that
//! has become slower for good is not held to what it once was.
//!
//! INVARIANT: at most `maximum` requests are out, and never fewer than one can be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// An answer is slow at this many times what is usual for its size.
pub(super) const SLOW: f64 = 3.0;
/// An answer within this time is never slow: that is the jitter of any machine.
pub(super) const NEVER_SLOW: Duration = Duration::from_millis(250);
/// The limit is multiplied by this when a server is too busy.
const DECREASE_BUSY: f64 = 0.7;
/// … when there is no answer.
const DECREASE_LOST: f64 = 0.5;
/// … when answers are slow.
const DECREASE_SLOW: f64 = 0.9;
/// What part of the way the usual time follows one that is longer.
const DRIFT: f64 = 0.02;
/// Sizes of requests in powers of two, up to 2 GiB.
const SIZES: usize = 32;

/// What an exchange with a server tells about how busy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// It answered.
    Answered,
    /// It said that it is too busy.
    Busy,
    /// It did not answer.
    Lost,
    /// Nothing: it refused the request for another reason, or none was made.
    Nothing,
}

/// The limit has been lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lowered {
    pub(super) limit: usize,
    pub(super) why: &'static str,
}

/// The limit of one output.
#[derive(Debug)]
pub(super) struct Concurrency {
    permits: Semaphore,
    state: Mutex<State>,
    bounds: Bounds,
    adapts: bool,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    minimum: f64,
    maximum: f64,
}

#[derive(Debug)]
struct State {
    limit: f64,
    /// Permits that there are, those in use among them.
    permits: usize,
    /// Permits in use that are not to come back.
    surplus: usize,
    under_way: usize,
    /// When as many as may be were under way at last.
    bound: Option<Instant>,
    /// Requests sent before this tell nothing new.
    lowered: Option<Instant>,
    usual: [Option<f64>; SIZES],
}

/// The right to one exchange.
#[derive(Debug)]
pub(super) struct Exchange<'c> {
    concurrency: &'c Concurrency,
    since: Instant,
    returned: bool,
}

impl Concurrency {
    /// Begins at `start`, and stays from `minimum` to `maximum`; at `maximum` if it does not adapt.
    pub(super) fn new(minimum: usize, start: usize, maximum: usize, adapts: bool) -> Self {
        let minimum = minimum.clamp(1, maximum.max(1));
        let start = if adapts {
            start.clamp(minimum, maximum.max(1))
        } else {
            maximum.max(1)
        };
        Self {
            permits: Semaphore::new(start),
            state: Mutex::new(State::new(start)),
            bounds: Bounds {
                minimum: minimum as f64,
                maximum: maximum.max(1) as f64,
            },
            adapts,
        }
    }

    /// Waits for its turn.
    pub(super) async fn exchange(&self) -> Exchange<'_> {
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        // An error would mean that the semaphore is closed, which it never is.
        self.state().under_way += 1;
        let mut exchange = Exchange {
            concurrency: self,
            since: Instant::now(),
            returned: false,
        };
        exchange.start();
        exchange
    }

    /// The limit now.
    pub(super) fn limit(&self) -> usize {
        self.state().limit as usize
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, since: Instant, length: usize, signal: Signal) -> Option<Lowered> {
        let mut state = self.state();
        let before = state.limit as usize;
        let why = if self.adapts {
            state.learn(since, Instant::now(), length, signal, self.bounds)
        } else {
            ""
        };
        state.under_way -= 1;
        // This exchange's own permit comes back, if it is to.
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.permits.add_permits(1);
        }
        let limit = state.limit as usize;
        self.fit(&mut state, limit);
        (limit < before).then_some(Lowered { limit, why })
    }

    /// Makes as many permits as the limit says.
    fn fit(&self, state: &mut State, limit: usize) {
        if limit > state.permits {
            let more = limit - state.permits;
            let kept = more.min(state.surplus);
            state.surplus -= kept;
            self.permits.add_permits(more - kept);
        } else {
            let fewer = state.permits - limit;
            state.surplus += fewer - self.permits.forget_permits(fewer);
        }
        state.permits = limit;
    }
}

impl State {
    fn new(start: usize) -> Self {
        Self {
            limit: start as f64,
            permits: start,
            surplus: 0,
            under_way: 0,
            bound: None,
            lowered: None,
            usual: [None; SIZES],
        }
    }

    /// A request goes out now.
    fn starts(&mut self, now: Instant) {
        if self.under_way >= self.limit as usize {
            self.bound = Some(now);
        }
    }

    /// Changes the limit by what became of a request that went out at `since`; says why it is lower.
    fn learn(
        &mut self,
        since: Instant,
        now: Instant,
        length: usize,
        signal: Signal,
        bounds: Bounds,
    ) -> &'static str {
        let is_slow = signal == Signal::Answered && self.is_slow(length, now.duration_since(since));
        let (factor, why) = match signal {
            Signal::Answered if is_slow => (DECREASE_SLOW, "answers take longer than usual"),
            Signal::Answered => {
                // What does not use the limit tells nothing about a higher one.
                if self.bound.is_some_and(|bound| bound >= since) {
                    self.limit = (self.limit + 1.0 / self.limit).min(bounds.maximum);
                }
                return "";
            }
            Signal::Busy => (DECREASE_BUSY, "servers are too busy"),
            Signal::Lost => (DECREASE_LOST, "servers do not answer"),
            Signal::Nothing => return "",
        };
        if self.lowered.is_none_or(|lowered| since >= lowered) {
            self.limit = (self.limit * factor).max(bounds.minimum);
            self.lowered = Some(now);
        }
        why
    }

    /// Whether a request of this size took longer than usual, and what is usual from now on.
    fn is_slow(&mut self, length: usize, took: Duration) -> bool {
        let size = (usize::BITS - length.leading_zeros()) as usize;
        let seconds = took.as_secs_f64();
        let usual = &mut self.usual[size.min(SIZES - 1)];
        let Some(known) = *usual else {
            *usual = Some(seconds);
            return false;
        };
        *usual = Some(if seconds < known {
            seconds
        } else {
            known + (seconds - known) * DRIFT
        });
        took > NEVER_SLOW && seconds > known * SLOW
    }
}

impl Exchange<'_> {
    /// The exchange is over; `length` is the size of its body. Says so if the limit is lower now.
    pub(super) fn end(mut self, length: usize, signal: Signal) -> Option<Lowered> {
        self.returned = true;
        self.concurrency.end(self.since, length, signal)
    }

    /// The request goes out now: what was waited for before does not count.
    pub(super) fn start(&mut self) {
        self.since = Instant::now();
        self.concurrency.state().starts(self.since);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.returned {
            self.concurrency.end(self.since, 0, Signal::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const BOUNDS: Bounds = Bounds {
        minimum: 1.0,
        maximum: 10.0,
    };

    /// Rounds in which as many requests as may go out go out, and are answered after `took`.
    fn rounds(state: &mut State, now: &mut Instant, count: usize, took: Duration, signal: Signal) {
        for _ in 0..count {
            let since = *now;
            while state.under_way < state.limit as usize {
                state.under_way += 1;
                state.starts(since);
            }
            *now += took;
            while state.under_way > 0 {
                state.learn(since, *now, 1 << 20, signal, BOUNDS);
                state.under_way -= 1;
            }
            *now += MILLISECOND;
        }
    }

    #[test]
    fn the_limit_grows_by_one_a_round_and_falls_once_for_all_that_were_under_way() {
        let (mut state, mut now) = (State::new(2), Instant::now());
        rounds(&mut state, &mut now, 3, MILLISECOND, Signal::Answered);
        assert!((4.0..=5.0).contains(&state.limit), "{}", state.limit);
        rounds(&mut state, &mut now, 30, MILLISECOND, Signal::Answered);
        assert_eq!(state.limit as usize, 10);
        rounds(&mut state, &mut now, 1, MILLISECOND, Signal::Busy);
        assert_eq!(state.limit as usize, 7);
        rounds(&mut state, &mut now, 1, MILLISECOND, Signal::Lost);
        assert_eq!(state.limit as usize, 3);
        rounds(&mut state, &mut now, 20, MILLISECOND, Signal::Busy);
        assert_eq!(state.limit as usize, 1);
        rounds(&mut state, &mut now, 30, MILLISECOND, Signal::Answered);
        assert_eq!(state.limit as usize, 10);
    }

    #[test]
    fn slow_answers_lower_it_until_they_are_usual() {
        let (mut state, mut now) = (State::new(8), Instant::now());
        rounds(
            &mut state,
            &mut now,
            30,
            100 * MILLISECOND,
            Signal::Answered,
        );
        assert_eq!(state.limit as usize, 10);
        rounds(
            &mut state,
            &mut now,
            1,
            2000 * MILLISECOND,
            Signal::Answered,
        );
        assert_eq!(state.limit as usize, 9);
        rounds(
            &mut state,
            &mut now,
            100,
            2000 * MILLISECOND,
            Signal::Answered,
        );
        assert_eq!(state.limit as usize, 10);
    }

    #[test]
    fn what_does_not_use_the_limit_does_not_raise_it() {
        let (mut state, mut now) = (State::new(2), Instant::now());
        for _ in 0..50 {
            state.under_way = 1;
            state.starts(now);
            state.learn(now, now + MILLISECOND, 1000, Signal::Answered, BOUNDS);
            now += 2 * MILLISECOND;
        }
        assert_eq!(state.limit as usize, 2);
    }

    #[tokio::test]
    async fn never_more_under_way_than_the_limit_and_all_come_back() {
        let concurrency = Concurrency::new(1, 4, 4, true);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(concurrency.exchange().await);
        }
        let lowered = held.pop().unwrap().end(10, Signal::Busy);
        assert_eq!(lowered.map(|lowered| lowered.limit), Some(2));
        // Three are out, two may be: not before two more are back.
        for expected in [0, 0, 1, 2] {
            assert_eq!(concurrency.permits.available_permits(), expected);
            drop(held.pop());
        }
        assert_eq!(concurrency.limit(), 2);
    }

    #[tokio::test]
    async fn one_that_does_not_adapt_stays() {
        let concurrency = Concurrency::new(1, 2, 6, false);
        for _ in 0..9 {
            let exchange = concurrency.exchange().await;
            assert_eq!(exchange.end(10, Signal::Busy), None);
        }
        assert_eq!(concurrency.limit(), 6);
        assert_eq!(concurrency.permits.available_permits(), 6);
    }
}
