//! Sources of lines that are no files: the systemd [`journal`], and sockets for programs that can only speak
//! [`syslog`].
//!
//! Each has a task of its own, which makes records of what comes and waits while there is no room for them. They
//! are handed over in parcels; the reader puts them into its batches as it does with lines of files.
//!
//! INVARIANT: as with files, the registry moves when the receiver has acknowledged. What it keeps of a journal is a
//! cursor; the number beside it counts the records. Sockets have no position, so what came from them is shipped
//! before the end ([`Feeds::stop`]).

pub mod journal;
pub mod syslog;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::vec::IntoIter;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::journal::Start;
use crate::batch::{Batch, Extra, Field};
use crate::config::Config;
use crate::event::{Source, StreamId};
use crate::registry::store::now;
use crate::registry::{Entry, Ledger};
use crate::report::{Counters, add};
use crate::tail::identity::{Fingerprint, Identity};
use crate::tail::reading::Budget;

/// Parcels that wait for the reader.
const MAX_PARCELS: usize = 4;

/// What there is beside files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The elements of `journal`.
    pub journals: Vec<journal::Settings>,
    /// The elements of `syslog`.
    pub syslog: Vec<syslog::Settings>,
}

impl Settings {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.journals.is_empty() && self.syslog.is_empty()
    }
}

/// One event to be.
#[derive(Debug)]
pub struct Record {
    /// What it says.
    pub text: Vec<u8>,
    /// What tells it from others of its stream; else its number does.
    pub offset: Option<u64>,
    /// Its time, in milliseconds since 1970.
    pub read_at: i64,
    /// Fields of its own, those of one object after each other.
    pub fields: Vec<Field>,
    /// Where its source goes on behind it.
    pub cursor: Option<Box<str>>,
}

/// What a source hands over.
#[derive(Debug)]
pub enum Parcel {
    /// Records.
    Records(Vec<Record>),
    /// It begins here, if the registry knows nothing of it.
    Begun(Option<String>),
    /// Something is counted.
    Noted(Noted, u64),
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Noted {
    /// Times that `journalctl` was started again.
    JournalRestarts,
    /// Times that the journal did not have the entry any more at which reading stopped.
    JournalGaps,
    /// Messages whose end was left out.
    MessagesTruncated,
    /// Pieces cut off messages.
    LinesSplit,
    /// Messages left out as they were too long.
    LinesSkipped,
    /// Datagrams that the kernel has dropped.
    DatagramsDropped,
}

/// Nobody takes records any more.
#[derive(Debug)]
pub struct Gone;

/// Where a source hands its parcels over.
#[derive(Clone, Debug)]
pub struct Outlet {
    feed: usize,
    sender: mpsc::Sender<(usize, Parcel)>,
}

impl Outlet {
    /// Waits until there is room.
    pub async fn send(&self, parcel: Parcel) -> Result<(), Gone> {
        self.sender
            .send((self.feed, parcel))
            .await
            .map_err(|_| Gone)
    }

    /// Lets something be counted.
    pub async fn note(&self, what: Noted, count: u64) -> Result<(), Gone> {
        self.send(Parcel::Noted(what, count)).await
    }
}

/// All of them, as the reader has them.
#[derive(Debug)]
pub struct Feeds {
    all: Vec<Feed>,
    parcels: mpsc::Receiver<(usize, Parcel)>,
    /// Records that are not in a batch yet, and whose.
    current: Option<(usize, IntoIter<Record>)>,
    /// The one that there was no room for.
    next: Option<Record>,
    ledger: Rc<RefCell<Ledger>>,
    /// Told when it has changed other than by an acknowledgement.
    changed: Rc<Notify>,
    counters: Rc<Counters>,
    /// They end with this.
    _tasks: JoinSet<()>,
    /// Those that need not be told to stop first.
    journals: Vec<AbortHandle>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Feed {
    source: Rc<Source>,
    /// The path in the registry.
    path: PathBuf,
    /// Records so far.
    count: u64,
    /// Names of fields that records do not have, because the config says otherwise.
    taken: Vec<String>,
}

impl Feeds {
    /// Starts all of the config; `None` if there are none. An error is a sentence. Before files are looked for: entries of the
    /// registry that are a feed's are no file's.
    pub fn start(
        config: &Config,
        ledger: &Rc<RefCell<Ledger>>,
        changed: &Rc<Notify>,
        counters: &Rc<Counters>,
    ) -> Result<Option<Self>, String> {
        if config.feeds.is_empty() {
            return Ok(None);
        }
        let (sender, parcels) = mpsc::channel(MAX_PARCELS);
        let (stop, stops) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (mut feeds, mut journals) = (Vec::new(), Vec::new());
        let outlet = |feed| Outlet {
            feed,
            sender: sender.clone(),
        };
        for settings in &config.feeds.journals {
            let path = PathBuf::from(format!("journal:{}", settings.name));
            let stream = StreamId::of(&["journal", &settings.name]);
            let number = feeds.len();
            let mut feed = Feed::new(config, number, path, Some(stream), &settings.fields);
            let start = feed.claim(ledger, settings.from_end);
            let reading = journal::run(settings.clone(), start, outlet(number));
            journals.push(tasks.spawn(reading));
            feeds.push(feed);
        }
        for settings in &config.feeds.syslog {
            let number = feeds.len();
            let path = PathBuf::from(settings.listen.to_string());
            let random = StreamId::random();
            feeds.push(Feed::new(config, number, path, random, &settings.fields));
            let socket = syslog::Bound::open(settings)?;
            tasks.spawn(socket.run(settings.clone(), outlet(number), stops.clone()));
        }
        Ok(Some(Self {
            all: feeds,
            parcels,
            current: None,
            next: None,
            ledger: Rc::clone(ledger),
            changed: Rc::clone(changed),
            counters: Rc::clone(counters),
            _tasks: tasks,
            journals,
            stop,
        }))
    }

    /// Lets all of them end: journals at once, sockets when what has come is handed over.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        for journal in &self.journals {
            journal.abort();
        }
    }

    /// Whether all records that have come are in batches.
    pub fn is_empty(&self) -> bool {
        self.next.is_none() && self.current.is_none() && self.parcels.is_empty()
    }

    /// Waits for the next parcel; false if there will be none. To be called only when
    /// [`Feeds::fill`] has put all of the last one into a batch. Cancel-safe.
    pub async fn wait(&mut self) -> bool {
        let received = self.parcels.recv().await;
        let there = received.is_some();
        if let Some((feed, parcel)) = received {
            self.take(feed, parcel);
        }
        there
    }

    /// Puts the records of a parcel into the batch; then files have their turn. True if there was room for them.
    pub fn fill(&mut self, batch: &mut Batch, budget: Budget) -> bool {
        let mut taken = false;
        loop {
            let record = self.next.take().or_else(|| self.current.as_mut()?.1.next());
            let (Some(record), Some((feed, _))) = (record, &self.current) else {
                self.current = None;
                if std::mem::replace(&mut taken, true) {
                    return true;
                }
                let Ok((feed, parcel)) = self.parcels.try_recv() else {
                    return true;
                };
                self.take(feed, parcel);
                continue;
            };
            if !budget.allows(batch, record.text.len()) {
                self.next = Some(record);
                return false;
            }
            let bytes = record.text.len();
            let feed = &mut self.all[*feed];
            feed.push(batch, record);
            add(&self.counters.events_read, 1);
            add(&self.counters.bytes_read, bytes as u64);
        }
    }

    fn take(&mut self, feed: usize, parcel: Parcel) {
        match parcel {
            Parcel::Records(records) => self.current = Some((feed, records.into_iter())),
            Parcel::Begun(cursor) => {
                self.all[feed].begin(&self.ledger, cursor);
                self.changed.notify_one();
            }
            Parcel::Noted(what, count) => {
                let counters = &self.counters;
                let counter = match what {
                    Noted::JournalRestarts => &counters.journal_restarts,
                    Noted::JournalGaps => &counters.journal_gaps,
                    Noted::MessagesTruncated => &counters.messages_truncated,
                    Noted::LinesSplit => &counters.lines_split,
                    Noted::LinesSkipped => &counters.lines_skipped,
                    Noted::DatagramsDropped => &counters.datagrams_dropped,
                };
                add(counter, count);
            }
        }
    }
}

impl Feed {
    fn new(
        config: &Config,
        number: usize,
        path: PathBuf,
        stream: Option<StreamId>,
        fields: &[(String, String)],
    ) -> Self {
        // Those of files count from the other end.
        let id = u64::MAX - number as u64;
        let source = Source::new(id, true, &path, &config.hostname, fields)
            .with_facts(config.network.facts.as_deref())
            .with_stream(stream);
        Self {
            source: Rc::new(source),
            path,
            count: 0,
            taken: fields.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Looks up where to go on.
    fn claim(&mut self, ledger: &RefCell<Ledger>, from_end: bool) -> Start {
        let mut ledger = ledger.borrow_mut();
        let number = ledger.find_unclaimed_path(&self.path).next();
        let known =
            number.and_then(|number| Some((number, ledger.unclaimed_entry(number)?.clone())));
        let Some((number, mut entry)) = known else {
            return if from_end { Start::End } else { Start::Oldest };
        };
        self.count = entry.offset;
        entry.seen = now();
        let cursor = entry.cursor.clone();
        ledger.claim(self.source.id, number, entry);
        cursor.map_or(Start::Oldest, |cursor| Start::Behind(cursor.into()))
    }

    /// Makes it known to the registry, if it is not.
    fn begin(&self, ledger: &RefCell<Ledger>, cursor: Option<String>) {
        let mut ledger = ledger.borrow_mut();
        if ledger.entry(self.source.id).is_some() {
            return;
        }
        let entry = Entry {
            identity: Identity {
                device: 0,
                inode: 0,
            },
            born: None,
            fingerprint: Fingerprint::default(),
            offset: 0,
            mark: None,
            cursor: cursor.map(Box::from),
            path: self.path.clone(),
            packed: None,
            stream: None,
            seen: now(),
        };
        ledger.insert(self.source.id, entry);
    }

    fn push(&mut self, batch: &mut Batch, record: Record) {
        let mut fields = record.fields;
        if !self.taken.is_empty() {
            fields.retain(|(name, _)| {
                let top = name.split('\0').next();
                self.taken.iter().all(|taken| Some(taken.as_str()) != top)
            });
        }
        self.count += 1;
        let extra = Extra {
            fields,
            mark: None,
            cursor: record.cursor,
        };
        let (source, text) = (&self.source, &record.text);
        let offset = record.offset.unwrap_or(self.count);
        batch.push_extra(source, record.read_at, text, offset, self.count, extra);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn record(text: &str) -> Record {
        Record {
            text: text.into(),
            offset: None,
            read_at: 0,
            fields: vec![("type\0of".into(), Vec::new()), ("own".into(), Vec::new())],
            cursor: None,
        }
    }

    #[test]
    fn a_parcel_at_a_time_and_no_record_is_left_out() {
        let (sender, parcels) = mpsc::channel(MAX_PARCELS);
        let source = Source::new(1, true, Path::new("journal:x"), "h", &[]);
        let feed = Feed {
            source: Rc::new(source),
            path: "journal:x".into(),
            count: 0,
            taken: vec!["type".to_owned()],
        };
        let mut feeds = Feeds {
            all: vec![feed],
            parcels,
            current: None,
            next: None,
            ledger: Rc::default(),
            changed: Rc::new(Notify::new()),
            counters: Rc::default(),
            _tasks: JoinSet::new(),
            journals: Vec::new(),
            stop: watch::channel(false).0,
        };
        for texts in [["a", "b", "c"], ["d", "e", "f"]] {
            let records = Parcel::Records(texts.map(record).into());
            sender.try_send((0, records)).expect("room");
        }
        let budget = Budget {
            events: 2,
            bytes: 100,
            max_line_bytes: 100,
        };
        let mut came = Vec::new();
        let mut turns = Vec::new();
        while !feeds.is_empty() {
            let mut batch = Batch::default();
            turns.push(feeds.fill(&mut batch, budget));
            for line in batch.lines(0..batch.len()) {
                came.push((
                    String::from_utf8_lossy(line.text).into_owned(),
                    line.start,
                    line.next,
                ));
                // A field of the config goes before.
                let fields = &line.extra.expect("fields").fields;
                assert_eq!(fields.len(), 1);
                assert_eq!(fields[0].0, "own");
            }
        }
        let expected: Vec<_> = (1..=6_u64)
            .map(|number| {
                let letter = char::from(b'a' + number as u8 - 1).to_string();
                (letter, number, number)
            })
            .collect();
        assert_eq!(came, expected);
        assert_eq!(turns, [false, false, true]);
        assert_eq!(feeds.counters.events_read.get(), 6);
    }
}
