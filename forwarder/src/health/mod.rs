//! The forwarder's own health: what it tells about itself, and what can be asked of it while it runs.
//!
//! [`status`] is what is told, [`socket`] the Unix socket that the commands `status`, `log-level` and
//! `reload` speak over, [`http`] the page for Prometheus and for health checks with [`metrics`],
//! [`links`] what each link notes of itself, [`systemd`] what the service manager is told.
//!
//! Nothing here wakes up by itself, and nothing is collected that nobody asked for: the files
//! are looked through when a question comes, by the reader, which owns them ([`Question`]).

pub mod client;
pub mod http;
pub mod links;
pub mod metrics;
pub mod socket;
pub mod status;
pub mod systemd;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use self::links::Board;
use self::status::{FileRow, Left, Totals};
use crate::link::pool::Pool;
use crate::report::Counters;

/// Questions to the reader that may wait.
pub const MAX_QUESTIONS: usize = 16;
/// Files in one answer.
pub const PAGE: usize = 500;
/// Without any connection for this long, and with lines to ship, we are not healthy.
pub const UNHEALTHY_AFTER: Duration = Duration::from_secs(30);
/// The reader answers within this time, or we are not healthy.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A question to the owner of the files.
#[derive(Debug)]
pub enum Question {
    /// All files taken together.
    Totals(oneshot::Sender<Totals>),
    /// The next files after this key.
    Files {
        /// The key of the last one that is known.
        after: u64,
        /// Where the answer goes: rows, and the last key; no rows at the end.
        answer: oneshot::Sender<(Vec<FileRow>, u64)>,
    },
    /// To evaluate the patterns and look at every file; answered at once.
    LookAtAll(oneshot::Sender<()>),
    /// How far the reading has come.
    Reach(oneshot::Sender<Reach>),
    /// To read no further, or to go on.
    Hold(bool, oneshot::Sender<()>),
    /// What is not shipped at this moment.
    Left(oneshot::Sender<Left>),
}

/// How far the reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Everything that is known to be there was read.
    pub at_end: bool,
    /// Everything that was read is acknowledged.
    pub acknowledged: bool,
}

/// What was last done with the config.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Why it was refused.
    pub refused: Option<String>,
}

/// Everything that questions are answered from.
pub struct Health {
    /// When the process started to ship.
    pub started: Instant,
    /// The counters.
    pub counters: Rc<Counters>,
    /// The links.
    pub board: Rc<Board>,
    /// Lines in flight.
    pub pool: Rc<Pool>,
    /// Why the registry could not be saved the last time.
    pub registry_error: RefCell<Option<String>>,
    /// The level of the log.
    pub level: RefCell<String>,
    /// Configs taken over while running.
    pub reloads: Cell<u64>,
    /// Configs that were refused.
    pub refusals: Cell<u64>,
    /// The last of either.
    pub last_reload: RefCell<Option<Reload>>,
    /// Whether no more is read.
    pub on_hold: Cell<bool>,
    /// Held while a drain is under way: one at a time.
    pub draining: Mutex<()>,
    questions: mpsc::Sender<Question>,
}

impl Health {
    /// Nothing has happened yet.
    pub fn new(
        counters: Rc<Counters>,
        board: Rc<Board>,
        pool: Rc<Pool>,
        level: &str,
        questions: mpsc::Sender<Question>,
    ) -> Self {
        Self {
            started: Instant::now(),
            counters,
            board,
            pool,
            registry_error: RefCell::default(),
            level: RefCell::new(level.to_owned()),
            reloads: Cell::new(0),
            refusals: Cell::new(0),
            last_reload: RefCell::default(),
            on_hold: Cell::new(false),
            draining: Mutex::default(),
            questions,
        }
    }

    /// All files taken together; `None` if the reader does not answer.
    pub async fn totals(&self) -> Option<Totals> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Totals(answer), answered).await
    }

    /// The next page of files.
    pub async fn files(&self, after: u64) -> Option<(Vec<FileRow>, u64)> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Files { after, answer }, answered).await
    }

    /// Lets the reader look at everything there is.
    pub async fn look_at_all(&self) -> Option<()> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::LookAtAll(answer), answered).await
    }

    /// How far the reading has come.
    pub async fn reach(&self) -> Option<Reach> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Reach(answer), answered).await
    }

    /// Lets the reader read no further, or go on.
    pub async fn hold(&self, hold: bool) -> Option<()> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Hold(hold, answer), answered).await?;
        self.on_hold.set(hold);
        Some(())
    }

    /// What is not shipped at this moment.
    pub async fn left(&self) -> Option<Left> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Left(answer), answered).await
    }

    async fn ask<T>(&self, question: Question, answered: oneshot::Receiver<T>) -> Option<T> {
        let asked = async {
            self.questions.send(question).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok()?
    }

    /// Why we are not healthy, if we are not.
    pub fn complaint(&self, totals: Option<&Totals>) -> Option<String> {
        if let Some(error) = &*self.registry_error.borrow() {
            return Some(format!("the registry cannot be saved: {error}"));
        }
        let Some(totals) = totals else {
            return Some("the files are not looked at any more".to_owned());
        };
        let waiting = totals.lag_bytes > 0 || self.pool.lines() > 0;
        let alone = self.board.disconnected_for()?;
        (waiting && alone >= UNHEALTHY_AFTER).then(|| {
            let error = self.board.last_error().unwrap_or_default();
            format!(
                "no connection for {} s, and lines to ship; {error}",
                alone.as_secs()
            )
        })
    }
}
