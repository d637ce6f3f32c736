//! With `servers mode: loadbalance`, servers of a worse priority wait until none of a better one can be reached.
//!
//! Each link has a seat. It counts as well from the start, so that those of a worse priority do not run ahead of
//! it, until it fails, and again once it is connected.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// How many links are well, by their priority.
#[derive(Debug, Default)]
pub struct Standing {
    well: RefCell<BTreeMap<u16, usize>>,
    changed: Notify,
}

/// One link's part of it; gone with the link.
#[derive(Debug)]
pub struct Seat {
    standing: Rc<Standing>,
    priority: u16,
    is_well: Cell<bool>,
}

impl Standing {
    /// A seat of this priority.
    pub fn seat(self: &Rc<Self>, priority: u16) -> Seat {
        let seat = Seat {
            standing: Rc::clone(self),
            priority,
            is_well: Cell::new(false),
        };
        seat.set_well(true);
        seat
    }
}

impl Seat {
    /// Whether the server can be reached, as far as is known.
    pub fn set_well(&self, well: bool) {
        if self.is_well.replace(well) == well {
            return;
        }
        {
            let mut all = self.standing.well.borrow_mut();
            let count = all.entry(self.priority).or_default();
            *count = if well { *count + 1 } else { *count - 1 };
            all.retain(|_, count| *count > 0);
        }
        self.standing.changed.notify_waiters();
    }

    /// Whether there is a link to a server of a better priority.
    pub fn is_outranked(&self) -> bool {
        let all = self.standing.well.borrow();
        all.range(..self.priority).next().is_some()
    }

    /// Waits until there is one.
    pub async fn outranked(&self) {
        self.wait_for(true).await;
    }

    /// Waits until there is none.
    pub async fn its_turn(&self) {
        self.wait_for(false).await;
    }

    async fn wait_for(&self, outranked: bool) {
        loop {
            let changed = self.standing.changed.notified();
            if self.is_outranked() == outranked {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.set_well(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_worse_wait_for_the_better_to_fail() {
        let standing = Rc::new(Standing::default());
        let (worst, better) = (standing.seat(20), standing.seat(10));
        let best = [standing.seat(0), standing.seat(0)];
        assert!(better.is_outranked() && worst.is_outranked() && !best[0].is_outranked());
        best[0].set_well(false);
        best[0].set_well(false);
        assert!(better.is_outranked(), "the other one is well");
        let failing = async { best[1].set_well(false) };
        tokio::join!(better.its_turn(), failing);
        assert!(worst.is_outranked());
        let back = async { best[1].set_well(true) };
        tokio::join!(better.outranked(), back);
        drop(best);
        assert!(!better.is_outranked());
        drop(better);
        assert!(!worst.is_outranked());
    }
}
