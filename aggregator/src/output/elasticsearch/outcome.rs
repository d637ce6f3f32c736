//! What became of the items of one answered part: counted, sorted, and said.

use tracing::{debug, error, warn};

use super::bulk::index_of;
use super::delivery::Shared;
use super::part::Kept;
use super::response::Failure;

/// What becomes of the items of one part.
pub(super) struct Outcome {
    /// Stored items of each run of acknowledgements.
    pub(super) done: Vec<u32>,
    /// Dead-lettered items of each run.
    pub(super) dead: Vec<u32>,
    pub(super) letters: Vec<u8>,
    /// What goes again soon.
    pub(super) kept: Kept,
    /// What waits for a blocked index.
    pub(super) blocked: Kept,
    /// Items that were stored before.
    pub(super) duplicates: u64,
    pub(super) conflicts: Sample,
    pub(super) retried: Sample,
    pub(super) waiting: Sample,
    pub(super) denied: Sample,
    pub(super) dead_letters: Sample,
}

/// How many items failed alike, and the first of them.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) count: u64,
    pub(super) first: Option<Failure>,
    /// The index that the first of them is for.
    index: String,
}

impl Sample {
    pub(super) fn add(&mut self, failure: Failure) {
        self.count += 1;
        self.first.get_or_insert(failure);
    }

    /// The same, of an item with this action line: servers that refuse an index do not always name it.
    pub(super) fn add_of(&mut self, action: &[u8], failure: Failure) {
        if self.first.is_none() {
            index_of(action)
                .unwrap_or_default()
                .clone_into(&mut self.index);
        }
        self.add(failure);
    }
}

impl Outcome {
    pub(super) fn new(runs: usize) -> Self {
        Self {
            done: vec![0; runs],
            dead: vec![0; runs],
            letters: Vec::new(),
            kept: Kept::default(),
            blocked: Kept::default(),
            duplicates: 0,
            conflicts: Sample::default(),
            retried: Sample::default(),
            waiting: Sample::default(),
            denied: Sample::default(),
            dead_letters: Sample::default(),
        }
    }

    pub(super) fn report(&self, shared: &Shared, host: &str) {
        let plugin = shared.options.plugin_id.as_str();
        if self.duplicates > 0 {
            let events = self.duplicates;
            debug!(
                plugin,
                host, events, "events that came again and are stored once"
            );
        }
        let spoken = |sample: &Sample| {
            let first = sample.first.as_ref()?;
            let silent = shared
                .options
                .silence_errors_in_log
                .contains(&first.error_type);
            (!silent).then(|| (first.status, first.text()))
        };
        if let Some((status, reason)) = spoken(&self.denied)
            && let Some(events) = shared.alarms.items_denied.due(self.denied.count)
        {
            error!(
                plugin,
                host,
                events,
                index = self.denied.index,
                status,
                reason,
                check = shared.what_to_check(&reason),
                "the server denies access to an index, trying again until it is granted"
            );
        }
        if let Some((status, reason)) = spoken(&self.dead_letters)
            && let Some(events) = shared.alarms.dead_lettered.due(self.dead_letters.count)
        {
            warn!(
                plugin,
                host,
                events,
                status,
                reason,
                "events that no server will take are written to the dead letters"
            );
        }
        if let Some((status, reason)) = spoken(&self.waiting)
            && let Some(events) = shared.alarms.blocked.due(self.waiting.count)
        {
            let waiting_kib = shared.waiting_kib();
            error!(
                plugin,
                host,
                events,
                index = self.waiting.index,
                status,
                reason,
                waiting_kib,
                "an index is blocked or not available, its events wait until it is: look at the \
                 disks of the cluster and the state of the index"
            );
        }
        if let Some((status, reason)) = spoken(&self.retried)
            && let Some(events) = shared.alarms.items_retried.due(self.retried.count)
        {
            warn!(
                plugin,
                host, events, status, reason, "events refused for now, sending them again"
            );
        }
        if let Some((status, reason)) = spoken(&self.conflicts)
            && let Some(events) = shared.alarms.conflicts.due(self.conflicts.count)
        {
            warn!(
                plugin,
                host,
                events,
                status,
                reason,
                "events that the server has already, or may not keep, are left as they are"
            );
        }
    }
}

impl Failure {
    /// Its type and reason in one line.
    pub(super) fn text(&self) -> String {
        match (self.error_type.as_str(), self.reason.as_str()) {
            ("", "") => format!("status {}", self.status),
            (error_type, "") => error_type.to_owned(),
            (error_type, reason) => format!("{error_type}: {reason}"),
        }
    }
}
