//! The answer to "how are you": numbers of all files and links together, and of each.
//!
//! The names of the members are a promise to whoever reads `status --json`.

use serde::{Deserialize, Serialize};

use super::Health;
use crate::report::Counters;

/// All files taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Files followed.
    pub files: usize,
    /// Of these, open.
    pub open_files: usize,
    /// Of these, renamed or deleted and still read.
    pub rotated_files: usize,
    /// Files that wait for a descriptor.
    pub waiting_files: usize,
    /// Bytes known to be there and not read.
    pub unread_bytes: u64,
    /// Bytes known to be there and not acknowledged.
    pub lag_bytes: u64,
    /// Age of the oldest line that is not acknowledged, in seconds.
    pub lag_seconds: f64,
    /// The file with that line.
    pub oldest_file: Option<String>,
    /// Where that line begins in it.
    pub oldest_offset: Option<u64>,
    /// Bytes on the disk of deleted files that are held open.
    pub held_bytes: u64,
    /// Those files.
    pub held_files: usize,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRow {
    /// Where it is now, as far as is known.
    pub path: String,
    /// `open`, `closed`, `rotated` or `deleted`.
    pub state: String,
    /// How long it is.
    pub size: u64,
    /// Up to where it is read.
    pub read: u64,
    /// Up to where it is acknowledged.
    pub acknowledged: u64,
    /// Bytes that are not.
    pub lag_bytes: u64,
    /// How long the oldest line of them has been there, in seconds.
    pub lag_seconds: f64,
    /// Bytes on the disk that are held because it is open, though it is deleted.
    pub held_bytes: u64,
}

/// What is not shipped, as `drain` tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// Bytes that are not acknowledged.
    pub bytes: u64,
    /// Of these, not read.
    pub unread_bytes: u64,
    /// Files with such bytes, or that cannot be looked at.
    pub files: usize,
    /// The first of them.
    pub listed: Vec<LeftFile>,
}

/// A file of which something is left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftFile {
    /// Where it is.
    pub path: String,
    /// So much.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// One link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    /// As in the config.
    pub server: String,
    /// Which address of it, when connected.
    pub address: Option<String>,
    /// `connecting`, `connected`, `idle` or `waiting`.
    pub state: &'static str,
    /// For how long, in seconds.
    pub since_seconds: u64,
    /// Windows on the wire.
    pub windows_in_flight: usize,
    /// Events it holds that are not acknowledged.
    pub events_in_flight: usize,
    /// Events acknowledged.
    pub events_acknowledged: u64,
    /// Bytes sent, before TLS.
    pub bytes_sent: u64,
    /// How long ago the last acknowledgement came, in seconds.
    pub last_ack_seconds: Option<f64>,
    /// Times it was connected.
    pub connections: u64,
    /// Times it failed.
    pub failures: u64,
    /// What went wrong, unless it is connected by now.
    pub error: Option<String>,
}

/// A counter for the status and the metrics: name, value, what it counts.
pub type Count = (&'static str, u64, &'static str);

/// Every counter there is.
pub fn counts(counters: &Counters) -> Vec<Count> {
    vec![
        ("events_read", counters.events_read.get(), "Lines read."),
        (
            "bytes_read",
            counters.bytes_read.get(),
            "Bytes of lines read.",
        ),
        (
            "events_sent",
            counters.events_sent.get(),
            "Events on the wire, those sent again included.",
        ),
        (
            "bytes_sent",
            counters.bytes_sent.get(),
            "Bytes on the wire, before TLS.",
        ),
        (
            "events_acknowledged",
            counters.events_acknowledged.get(),
            "Events acknowledged.",
        ),
        (
            "connections",
            counters.connections.get(),
            "Times a connection was made.",
        ),
        (
            "lines_split",
            counters.lines_split.get(),
            "Pieces cut off long lines.",
        ),
        (
            "lines_skipped",
            counters.lines_skipped.get(),
            "Lines left out as they were too long.",
        ),
        (
            "hole_bytes",
            counters.hole_bytes.get(),
            "Bytes of holes that were left out.",
        ),
        (
            "files_rewritten",
            counters.files_rewritten.get(),
            "Files that were rewritten or truncated.",
        ),
        (
            "lost_bytes",
            counters.lost_bytes.get(),
            "Bytes of deleted files that were given up unread.",
        ),
        (
            "lost_files",
            counters.lost_files.get(),
            "Deleted files that were given up before their end.",
        ),
        (
            "journal_restarts",
            counters.journal_restarts.get(),
            "Times that journalctl was started again.",
        ),
        (
            "journal_gaps",
            counters.journal_gaps.get(),
            "Times that the journal had dropped entries before they were read.",
        ),
        (
            "messages_truncated",
            counters.messages_truncated.get(),
            "Messages of the journal or of syslog whose end was left out.",
        ),
        (
            "datagrams_dropped",
            counters.datagrams_dropped.get(),
            "Datagrams that the kernel has dropped for want of room.",
        ),
    ]
}

/// What does not depend on the files.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Of the program.
    pub version: &'static str,
    /// The process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// `ok`, or what is wrong.
    pub health: String,
    /// The level of the log.
    pub log_level: String,
    /// Whether no more is read, because `drain` said so.
    pub on_hold: bool,
    /// All files together.
    pub totals: Option<Totals>,
    /// Events read and not acknowledged.
    pub events_in_flight: usize,
    /// Their batches, in bytes.
    pub bytes_in_flight: usize,
    /// Every counter.
    pub counters: serde_json::Map<String, serde_json::Value>,
    /// Configs taken over while running.
    pub reloads: u64,
    /// Configs that were refused.
    pub reloads_refused: u64,
    /// Why the last one was, if it was.
    pub reload_error: Option<String>,
    /// Every link.
    pub links: Vec<LinkStatus>,
}

impl Summary {
    /// As it is now.
    pub async fn of(health: &Health) -> Self {
        let totals = health.totals().await;
        let counters = counts(&health.counters);
        let last_reload = health.last_reload.borrow().clone();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: health.started.elapsed().as_secs(),
            health: health
                .complaint(totals.as_ref())
                .unwrap_or_else(|| "ok".to_owned()),
            log_level: health.level.borrow().clone(),
            on_hold: health.on_hold.get(),
            totals,
            events_in_flight: health.pool.lines(),
            bytes_in_flight: health.pool.bytes(),
            counters: counters
                .into_iter()
                .map(|(name, value, _)| (name.to_owned(), value.into()))
                .collect(),
            reloads: health.reloads.get(),
            reloads_refused: health.refusals.get(),
            reload_error: last_reload.and_then(|reload| reload.refused),
            links: health.board.status(),
        }
    }
}
