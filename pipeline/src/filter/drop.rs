//! The filter `drop`: an event that reaches it goes no further.
//!
//! With `percentage` only so many of a hundred events are dropped, picked at random.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Event;
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;

/// The filter.
#[derive(Debug)]
pub struct Drop {
    /// Of 2^64 numbers, those below this one drop the event; none if all events are dropped.
    threshold: Option<u64>,
    /// Where the sequence of random numbers is (Steele, Lea and Flood's `SplitMix64`).
    state: AtomicU64,
}

impl Drop {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let percentage = options.number("percentage").unwrap_or(100.0);
        if !(0.0..=100.0).contains(&percentage) {
            options.error("percentage", "`percentage` must be between 0 and 100");
            return None;
        }
        Some(Self::new(percentage))
    }

    /// A filter that drops so many of a hundred events.
    pub fn new(percentage: f64) -> Self {
        const ALL: f64 = 18_446_744_073_709_551_616.0;
        Self {
            threshold: (percentage < 100.0).then_some((percentage / 100.0 * ALL) as u64),
            state: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }

    fn random(&self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut number = self.state.fetch_add(GOLDEN, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }
}

impl Filter for Drop {
    fn apply<'b>(&'b self, event: &mut Event<'b>, _context: &mut Context<'_, 'b>) -> Outcome {
        if self
            .threshold
            .is_none_or(|threshold| self.random() < threshold)
        {
            event.cancel();
        }
        // COMPAT: what is not dropped passes as it is, without the common options.
        Outcome::Unapplied
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;

    use super::*;
    use crate::event::Timestamp;
    use crate::filter::Scratch;

    fn dropped(percentage: f64) -> usize {
        let arena = Bump::new();
        let filter = arena.alloc(Some(Drop::new(percentage)));
        let filter = filter.as_ref().unwrap();
        let (mut scratch, mut emitted) = (Scratch::default(), Vec::new());
        (0..1000)
            .filter(|_| {
                let mut event = Event::new_in(&arena);
                let mut context = Context {
                    arena: &arena,
                    now: Timestamp::new(0, 0),
                    scratch: &mut scratch,
                    emitted: &mut emitted,
                };
                filter.apply(&mut event, &mut context);
                event.is_cancelled()
            })
            .count()
    }

    #[test]
    fn drops_that_many() {
        assert_eq!(dropped(100.0), 1000);
        assert_eq!(dropped(0.0), 0);
        // Ten standard deviations of a binomial distribution.
        assert!((340..=660).contains(&dropped(50.0)));
    }
}
