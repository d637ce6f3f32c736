//! Turns of TLS handshakes: so many a second, and so many at once.
//!
//! When an aggregator comes back, all of its senders come back with it. A handshake costs them and us a millisecond of a processor, an
//! acknowledgement much less; without turns thousands of handshakes would be under way at once, each slower than
//! its peer waits, and all of it in vain. Whoever waits for its turn costs a socket and little more.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The turns of one input.
#[derive(Debug)]
pub(super) struct Handshakes {
    at_once: Semaphore,
    /// The time between two.
    every: Duration,
    /// When the next one may begin.
    next: Mutex<Instant>,
}

/// A turn; it is over when this is dropped.
pub(super) type Turn<'h> = SemaphorePermit<'h>;

impl Handshakes {
    pub(super) fn new(at_once: usize, a_second: u32) -> Self {
        Self {
            at_once: Semaphore::new(at_once),
            every: Duration::from_secs(1) / a_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a turn. Nothing if there are no turns any more, which does not happen.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let turn = self.at_once.acquire().await.ok()?;
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = Instant::now().max(*next);
            *next = begin + self.every;
            begin
        };
        tokio::time::sleep_until(begin).await;
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn there_are_so_many_a_second_and_so_many_at_once() {
        let handshakes = Arc::new(Handshakes::new(3, 100));
        let started = Instant::now();
        let mut all = JoinSet::new();
        for _ in 0..41 {
            let handshakes = Arc::clone(&handshakes);
            all.spawn(async move { drop(handshakes.turn().await) });
        }
        all.join_all().await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");

        let held = [
            handshakes.turn().await,
            handshakes.turn().await,
            handshakes.turn().await,
        ];
        let fourth = tokio::time::timeout(Duration::from_millis(100), handshakes.turn());
        assert!(fourth.await.is_err());
        drop(held);
        assert!(handshakes.turn().await.is_some());
    }
}
