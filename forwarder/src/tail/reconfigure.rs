//! Another config while files are being followed.
//!
//! A file that the new config names as well goes on where it is, with the new fields and rules. One that
//! it does not name is not read any further; what was read of it is acknowledged, then it is let go.
//! What is found by new patterns is found by the next round.

use std::rc::Rc;

use tokio::time::Instant;
use tracing::{debug, info};

use super::reading::ReadBuffer;
use super::turns::Turns;
use super::{Tails, open};
use crate::config::Config;

impl Tails {
    /// Goes on with another config.
    pub fn reconfigure(&mut self, config: &Rc<Config>, now: Instant) {
        let old = std::mem::replace(&mut self.config, Rc::clone(config));
        if old.limits.harvest_buffer_size != config.limits.harvest_buffer_size {
            self.buffer = ReadBuffer::new(config.limits.harvest_buffer_size);
        }
        // All of these are found again by the next round, in the elements of the new config.
        self.room.forget_waiting();
        self.round = None;
        self.turns = Turns::new(&config.groups, now);
        for tail in self.known.values_mut() {
            tail.queued = false;
        }
        self.held.clear();
        self.left_out.clear();
        self.strayed.clear();
        let keys: Vec<u64> = self.known.keys().copied().collect();
        let (mut kept, mut dropped) = (0, 0);
        for key in keys {
            let Some(tail) = self.known.get(&key) else {
                continue;
            };
            let group = self
                .group_of(&tail.first_path)
                .or_else(|| self.group_of(&tail.path));
            let Some(tail) = self.known.get_mut(&key) else {
                continue;
            };
            let Some(group) = group else {
                debug!(path = %tail.path.display(), "the new config does not name the file");
                tail.unwanted = true;
                tail.missing_since.get_or_insert(now);
                self.missing.insert(key);
                dropped += 1;
                continue;
            };
            tail.unwanted = false;
            let before = &old.groups[tail.group];
            let settings = &config.groups[group];
            tail.reshape |= before.line_options != settings.line_options;
            if before.fields != settings.fields
                || before.lines.format != settings.lines.format
                || old.hostname != config.hostname
                || old.network.facts != config.network.facts
            {
                let (id, stream) = (tail.source.id, tail.source.stream.clone());
                tail.source = open::source_of(config, id, &tail.first_path, group, stream);
            }
            tail.group = group;
            kept += 1;
            self.wake(key);
        }
        info!(
            kept,
            dropped, "the files that are followed go on with the new config"
        );
    }
}
