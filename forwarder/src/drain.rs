//! Everything that is in the files is shipped and acknowledged, or it is said what is not: before a host
//! goes away.
//!
//! INVARIANT: "drained" is said only when, at one moment, no more was read, every file was asked for its size, and
//! all of it was acknowledged. As long as time is left, whatever was written meanwhile is read as well.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::health::status::Left;
use crate::health::{Health, Reach};

/// The longest time a drain is given.
pub const MAX_PATIENCE: Duration = Duration::from_hours(24);
/// How often it is looked whether more was acknowledged.
const POLL: Duration = Duration::from_millis(50);
/// Before everything is looked at once more.
const PAUSE: Duration = Duration::from_millis(250);
/// Files named in the text for a person.
const NAMED_FILES: usize = 50;

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// What is not shipped.
    pub left: Left,
    /// Lines that were read and are not acknowledged, those of standard input among them.
    pub events_left: u64,
    /// What is wrong with the links, if anything is left and it is known.
    pub trouble: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Drained {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.left.files == 0 && self.events_left == 0
    }

    /// For a person: the first line says it all.
    pub fn text(&self) -> String {
        if self.is_complete() {
            return "drained, 0 bytes left\n".to_owned();
        }
        let left = &self.left;
        let mut text = format!(
            "not drained, {} bytes left in {} files, {} lines of them in flight\n",
            left.bytes, left.files, self.events_left
        );
        let mut line =
            |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
        if let Some(trouble) = &self.trouble {
            line(format_args!("link: {trouble}"));
        }
        for file in left.listed.iter().take(NAMED_FILES) {
            line(format_args!(
                "{}: {} bytes left: {}",
                file.path, file.bytes, file.reason
            ));
        }
        let more = left
            .files
            .saturating_sub(left.listed.len().min(NAMED_FILES));
        if more > 0 {
            line(format_args!("and {more} files more"));
        }
        text
    }
}

/// Reads every file to its end and waits until all of it is acknowledged, or patience is over.
///
/// With `stop_reading` no more is read afterwards, however it ended.
pub async fn drain(health: &Health, patience: Duration, stop_reading: bool) -> Drained {
    let begun = Instant::now();
    let deadline = begun + patience;
    let _one_at_a_time = health.draining.lock().await;
    let was_on_hold = health.on_hold.get();
    let left = loop {
        health.hold(false).await;
        health.look_at_all().await;
        wait_until(health, deadline, |reach| reach.at_end).await;
        health.hold(true).await;
        health.look_at_all().await;
        wait_until(health, deadline, |reach| reach.acknowledged).await;
        let left = health.left().await;
        let nothing_left = left.as_ref().is_some_and(|left| left.files == 0);
        let done = nothing_left && health.reach().await.is_some_and(|reach| reach.acknowledged);
        if done || Instant::now() >= deadline {
            break left.unwrap_or_default();
        }
        // Something was written meanwhile, or a last line still waits for its end.
        sleep(PAUSE).await;
    };
    health.hold(stop_reading || was_on_hold).await;
    let counters = &health.counters;
    let acknowledged = counters.events_acknowledged.get();
    let events_left = counters.events_read.get().saturating_sub(acknowledged);
    let trouble = if left.files == 0 && events_left == 0 {
        None
    } else {
        health.board.last_error()
    };
    Drained {
        left,
        events_left,
        trouble,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

async fn wait_until(health: &Health, deadline: Instant, wanted: impl Fn(Reach) -> bool) {
    while Instant::now() < deadline && !health.reach().await.is_some_and(&wanted) {
        sleep(POLL).await;
    }
}
