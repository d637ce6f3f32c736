//! `cpu limit`: the reading waits when this process has had its share of a core.
//!
//! Everything the forwarder does follows from what it reads, so that is where it is held: what is read goes on to be
//! sent and acknowledged, and is paid for by a longer wait. Time that was not used is saved up for half a second,
//! so a few lines never wait.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Unused time is saved up for so long.
const SAVED: f64 = 0.5;
/// What was used too much (by the first look at all files, say) is paid back for so long.
const OWED: f64 = 5.0;
/// A shorter wait is not worth it.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest wait at once.
const LONGEST: Duration = Duration::from_millis(500);

/// Keeps account of the time of the processor.
#[derive(Debug)]
pub struct Allowance {
    at: Instant,
    used: Duration,
    /// Seconds that may be used.
    credit: f64,
}

impl Allowance {
    /// Counts from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            at: now,
            used: used_by_us(),
            credit: 0.0,
        }
    }

    /// When the reading may go on, with a limit in hundredths of a core; none if it may now.
    pub fn wait_until(&mut self, percent: Option<u32>, now: Instant) -> Option<Instant> {
        let share = f64::from(percent?) / 100.0;
        self.account(share, now, used_by_us())
    }

    fn account(&mut self, share: f64, now: Instant, used: Duration) -> Option<Instant> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * share;
        let spent = used.saturating_sub(self.used).as_secs_f64();
        (self.at, self.used) = (now, used);
        self.credit = (self.credit + earned - spent).clamp(-OWED * share, SAVED * share);
        let wait = Duration::from_secs_f64((-self.credit / share).max(0.0));
        (wait >= SHORTEST).then(|| now + wait.min(LONGEST))
    }
}

/// What all threads of this process have used.
fn used_by_us() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_too_much_is_waited_for() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut allowance = Allowance::new(start);
        allowance.used = Duration::ZERO;
        // A second earns a tenth, as no more is saved up.
        assert_eq!(allowance.account(0.2, start + second, Duration::ZERO), None);
        let used = Duration::from_millis(100);
        assert_eq!(allowance.account(0.2, start + second, used), None);
        // A hundredth too much takes a twentieth of a second.
        let until = allowance.account(0.2, start + second, used + Duration::from_millis(10));
        let wait = until.expect("it waits") - (start + second);
        assert!((49..=51).contains(&wait.as_millis()), "{wait:?}");
        // However much it is, it is over after some seconds, half a second at once.
        let mut now = start + second;
        let used = Duration::from_mins(10);
        let mut waits = 0;
        while let Some(until) = allowance.account(0.2, now, used) {
            assert!(until - now <= LONGEST);
            (now, waits) = (until, waits + 1);
        }
        assert!((10..=11).contains(&waits), "{waits}");
        assert_eq!(allowance.wait_until(None, now), None);
    }
}
