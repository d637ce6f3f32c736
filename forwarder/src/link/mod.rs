//! The links to the servers: which there are, and what they share.
//!
//! With `servers mode: failover` a link goes from server to server; with `loadbalance` each server has its own.
//! All take their batches from one [`Pool`]. When the config changes, links that are not concerned go
//! on as they are.
//!
//! INVARIANT: a line leaves this module only by an acknowledgement that was checked. Whatever else
//! happens (a broken connection, a server that dies, one that answers nonsense), its lines stay and
//! are sent again, to the next server of the list.

pub mod backoff;
pub mod connect;
pub mod discovery;
pub mod flight;
mod order;
pub mod pool;
pub mod proxy;
pub mod slot;
pub mod standing;
pub mod tls;

use std::rc::Rc;

use skidder_lumberjack::EncodeError;
use tokio::sync::watch;

use self::pool::Pool;
use self::slot::{Place, Slot};
use self::standing::Standing;
use crate::config::Config;
use crate::crowd::Crowd;
use crate::health::links::Board;
use crate::report::Counters;

/// Connections at once, of all servers together.
pub const MAX_LINKS: usize = 256;

/// All links.
pub struct Links {
    config: watch::Receiver<Rc<Config>>,
    pool: Rc<Pool>,
    counters: Rc<Counters>,
    board: Rc<Board>,
}

impl Links {
    /// No link yet.
    pub fn new(
        config: watch::Receiver<Rc<Config>>,
        pool: Rc<Pool>,
        counters: Rc<Counters>,
        board: Rc<Board>,
    ) -> Self {
        Self {
            config,
            pool,
            counters,
            board,
        }
    }

    /// Lines that are not acknowledged.
    pub fn lines_in_flight(&self) -> usize {
        self.pool.lines()
    }

    /// Ships until there are no more batches and everything is acknowledged.
    pub async fn run(&mut self) -> Result<(), EncodeError> {
        let mut crowd: Crowd<Place, Result<(), EncodeError>> = Crowd::new(MAX_LINKS);
        let standing = Rc::new(Standing::default());
        loop {
            let config = Rc::clone(&self.config.borrow_and_update());
            for place in Place::all(&config.network) {
                if !crowd.contains(&place) {
                    let slot = Slot::new(
                        place.clone(),
                        self.config.clone(),
                        Rc::clone(&self.pool),
                        Rc::clone(&self.counters),
                        &self.board,
                        &standing,
                    );
                    crowd.add(place, slot.run());
                }
            }
            if self.pool.is_done() && crowd.is_empty() {
                return Ok(());
            }
            tokio::select! {
                // An error, or a link that is not wanted any more or has nothing left to do.
                result = crowd.next() => {
                    result?;
                    if self.pool.is_done() {
                        return Ok(());
                    }
                }
                // An error means that there will be no other config.
                changed = self.config.changed() => if changed.is_err() {
                    crowd.next().await?;
                },
            }
        }
    }
}
