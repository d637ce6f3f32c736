//! What each link notes of itself, for the status and the metrics.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::status::LinkStatus;
use crate::config::network::Server;
use crate::report::add;

/// What a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Resolving, connecting, shaking hands.
    Connecting,
    /// Shipping, or ready to.
    Connected,
    /// Closed by the server while there was nothing to ship; connects with the next line.
    Idle,
    /// Waiting to try again.
    Waiting,
}

impl Stage {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
        }
    }
}

/// One link.
#[derive(Debug)]
pub struct LinkRow {
    server: RefCell<String>,
    address: Cell<Option<SocketAddr>>,
    stage: Cell<Stage>,
    since: Cell<Instant>,
    /// Windows on the wire.
    pub windows: Cell<usize>,
    /// Lines it holds that are not acknowledged.
    pub lines: Cell<usize>,
    /// Lines acknowledged.
    pub acknowledged: Cell<u64>,
    /// Bytes sent, before TLS.
    pub bytes_sent: Cell<u64>,
    /// When the last acknowledgement came.
    pub last_ack: Cell<Option<Instant>>,
    connections: Cell<u64>,
    failures: Cell<u64>,
    error: RefCell<Option<String>>,
    gone: Cell<bool>,
}

impl LinkRow {
    /// It does this now, with this server.
    pub fn set(&self, stage: Stage, server: &Server) {
        *self.server.borrow_mut() = server.to_string();
        self.turn(stage);
        self.address.set(None);
    }

    fn turn(&self, stage: Stage) {
        self.stage.set(stage);
        self.since.set(Instant::now());
        self.windows.set(0);
    }

    /// There is a connection.
    pub fn connected(&self, address: SocketAddr) {
        self.turn(Stage::Connected);
        self.address.set(Some(address));
        add(&self.connections, 1);
        *self.error.borrow_mut() = None;
    }

    /// There is none, or none any more.
    pub fn failed(&self, error: &str) {
        self.turn(Stage::Waiting);
        self.address.set(None);
        self.lines.set(0);
        add(&self.failures, 1);
        *self.error.borrow_mut() = Some(error.to_owned());
    }

    /// The link has ended.
    pub fn set_gone(&self) {
        self.gone.set(true);
    }

    fn status(&self, now: Instant) -> LinkStatus {
        LinkStatus {
            server: self.server.borrow().clone(),
            address: self.address.get().map(|address| address.to_string()),
            state: self.stage.get().name(),
            since_seconds: now.saturating_duration_since(self.since.get()).as_secs(),
            windows_in_flight: self.windows.get(),
            events_in_flight: self.lines.get(),
            events_acknowledged: self.acknowledged.get(),
            bytes_sent: self.bytes_sent.get(),
            last_ack_seconds: self
                .last_ack
                .get()
                .map(|ack| now.saturating_duration_since(ack).as_secs_f64()),
            connections: self.connections.get(),
            failures: self.failures.get(),
            error: self.error.borrow().clone(),
        }
    }
}

/// All links.
#[derive(Debug)]
pub struct Board {
    rows: RefCell<Vec<Rc<LinkRow>>>,
    made: Instant,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            rows: RefCell::default(),
            made: Instant::now(),
        }
    }
}

impl Board {
    /// A row for a new link; those of links that have ended go.
    pub fn add(&self) -> Rc<LinkRow> {
        let row = Rc::new(LinkRow {
            server: RefCell::default(),
            address: Cell::new(None),
            stage: Cell::new(Stage::Connecting),
            since: Cell::new(Instant::now()),
            windows: Cell::new(0),
            lines: Cell::new(0),
            acknowledged: Cell::new(0),
            bytes_sent: Cell::new(0),
            last_ack: Cell::new(None),
            connections: Cell::new(0),
            failures: Cell::new(0),
            error: RefCell::new(None),
            gone: Cell::new(false),
        });
        let mut rows = self.rows.borrow_mut();
        rows.retain(|known| !known.gone.get());
        rows.push(Rc::clone(&row));
        row
    }

    /// What there is to tell of all of them.
    pub fn status(&self) -> Vec<LinkStatus> {
        let now = Instant::now();
        let rows = self.rows.borrow();
        let rows = rows.iter().filter(|row| !row.gone.get());
        rows.map(|row| row.status(now)).collect()
    }

    /// For how long no link has had a connection; `None` if one has, or needs none.
    pub fn disconnected_for(&self) -> Option<Duration> {
        let mut since = self.made;
        for row in self.rows.borrow().iter().filter(|row| !row.gone.get()) {
            if matches!(row.stage.get(), Stage::Connected | Stage::Idle) {
                return None;
            }
            if let Some(ack) = row.last_ack.get() {
                since = since.max(ack);
            }
        }
        Some(Instant::now().saturating_duration_since(since))
    }

    /// What the last link that failed says.
    pub fn last_error(&self) -> Option<String> {
        let rows = self.rows.borrow();
        rows.iter().rev().find_map(|row| row.error.borrow().clone())
    }
}
