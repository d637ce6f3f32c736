//! Files without the link: who takes the batches is the caller, and says when each is safe.
//!
//! INVARIANT: as with the link, a position moves only when everything before it is safe, and a stream's name is
//! saved before its first line is handed on. Batches may become safe in any order; they count in the order in which they were read. A batch that its
//! destination gives up (its [`Receipt`] is dropped) is sent again, unless the reading is stopping.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::batch::Batch;
use crate::config::Config;
use crate::reader::{Batches, Reader};
use crate::registry::Ledger;
use crate::registry::store::{Store, now};
use crate::report::{Counters, Throttle, add};
use crate::run::{RunError, keep, open_registry, save_new_streams};
use crate::tail::{Tails, Trust};

/// Before a batch that was given up is sent again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Where batches go.
pub trait Destination {
    /// Waits until it has room for a batch; false if it is gone. May be called off at any time.
    fn ready(&mut self) -> impl Future<Output = bool>;

    /// Takes a copy of the lines. Called only after [`Destination::ready`].
    fn send(&mut self, batch: &Batch, receipt: Receipt);
}

/// To be given back when a batch is safe; dropped if it never will be.
#[derive(Debug)]
pub struct Receipt {
    number: u64,
    answers: Option<mpsc::Sender<(u64, bool)>>,
}

impl Receipt {
    /// Everything of the batch is safe.
    pub fn safe(mut self) {
        self.answer(true);
    }

    fn answer(&mut self, safe: bool) {
        if let Some(answers) = self.answers.take() {
            // There is room for an answer to every batch.
            if answers.try_send((self.number, safe)).is_err() {
                debug!(
                    number = self.number,
                    safe, "nobody waits for this answer any more"
                );
            }
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.answer(false);
    }
}

/// Where positions are kept.
#[derive(Debug)]
pub struct Registry(Option<Store>, Ledger, Trust);

impl Registry {
    /// Opens and locks the config's.
    pub fn open(config: &Config) -> Result<Self, RunError> {
        let (store, ledger, trust) = open_registry(config)?;
        Ok(Self(Some(store), ledger, trust))
    }

    /// Positions are kept in memory only.
    pub fn none() -> Self {
        Self(None, Ledger::new(now(), None, Vec::new()), Trust::FirstRun)
    }
}

/// Follows the files of the config until `stop` becomes true, or until they are read if the config says so;
/// then waits for what is under way. `batches` of `spool size` are under way at most.
///
/// The future is not `Send`: it wants a current-thread runtime.
pub async fn follow<D: Destination>(
    config: Config,
    registry: Registry,
    batches: usize,
    mut destination: D,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let config = Rc::new(config);
    let Registry(store, ledger, trust) = registry;
    let store = store.map(RefCell::new);
    let ledger = Rc::new(RefCell::new(ledger));
    let counters = Rc::new(Counters::default());
    let throttle = Rc::new(Throttle::default());
    let changed = Rc::new(Notify::new());
    let (full_sender, mut full) = mpsc::channel(batches);
    let (empty, empty_receiver) = mpsc::channel(batches);
    for _ in 0..batches {
        // The channel was made for as many.
        drop(empty.try_send(Batch::default()));
    }
    let tails = Tails::new(
        Rc::clone(&config),
        Rc::clone(&ledger),
        Rc::clone(&counters),
        Rc::clone(&throttle),
        trust,
    );
    let ends = Batches {
        full: full_sender,
        empty: empty_receiver,
        count: batches,
    };
    let reader = Reader::new(
        Rc::clone(&config),
        Rc::clone(&counters),
        Rc::clone(&throttle),
        Rc::clone(&changed),
        tails,
        None,
        ends,
    );
    let (answers, mut answered) = mpsc::channel(batches);
    let mut flight = Flight {
        batches: VecDeque::new(),
        first: 0,
        again_at: None,
    };
    {
        let (stop_reader, reader_stops) = watch::channel(false);
        let mut reader = pin!(reader.run(reader_stops));
        let mut keeper = pin!(async {
            match &store {
                Some(store) => {
                    let interval = || config.limits.registry_interval;
                    keep(interval, store, &ledger, &changed, |_| (), &throttle).await;
                }
                None => pending().await,
            }
        });
        let (mut reading, mut stopping, mut gone) = (true, false, false);
        loop {
            if !reading && full.is_empty() && flight.batches.is_empty() {
                break;
            }
            let next = flight.next_to_send(Instant::now());
            let again_at = flight.again_at;
            tokio::select! {
                () = &mut reader, if reading => reading = false,
                () = &mut keeper => {}
                batch = full.recv(), if !full.is_closed() || !full.is_empty() => {
                    let Some(batch) = batch else { continue };
                    flight.batches.push_back(Flying { batch, state: State::Waits });
                }
                answer = answered.recv() => {
                    if let Some((number, safe)) = answer {
                        flight.answer(number, safe, stopping || gone);
                        if flight.land(&ledger, &counters, &empty, config.limits.spool_bytes) {
                            changed.notify_one();
                        }
                    }
                }
                ready = destination.ready(), if next.is_some() && !gone => {
                    if let (true, Some(index)) = (ready, next) {
                        let number = flight.first + index as u64;
                        let receipt = Receipt { number, answers: Some(answers.clone()) };
                        if let Some(store) = &store {
                            save_new_streams(store, &ledger, &throttle);
                        }
                        destination.send(&flight.batches[index].batch, receipt);
                        flight.batches[index].state = State::Sent;
                    } else {
                        gone = true;
                    }
                }
                () = async {
                    match again_at {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                } => {}
                () = until_true(&mut stop), if !stopping => {
                    stopping = true;
                    stop_reader.send_replace(true);
                }
            }
            if gone {
                stop_reader.send_replace(true);
                // What was not sent is read again by the next run.
                flight.give_up();
                while full.try_recv().is_ok() {}
            }
        }
    }
    if let Some(store) = store {
        store.into_inner().fold(&mut ledger.borrow_mut())?;
    }
    info!(
        events = counters.events_acknowledged.get(),
        "files are read up to here"
    );
    Ok(())
}

async fn until_true(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can tell us to stop any more: the caller is gone.
    drop(stop.wait_for(|stop| *stop).await);
}

/// The batches under way, in the order in which they were read.
struct Flight {
    batches: VecDeque<Flying>,
    /// The number of the first one.
    first: u64,
    /// When those that were given up are sent again.
    again_at: Option<Instant>,
}

struct Flying {
    batch: Batch,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is to be sent.
    Waits,
    /// It was given up, and is to be sent again.
    Lost,
    /// It is not sent any more.
    GivenUp,
    Sent,
    Safe,
}

impl Flight {
    /// The batch to send next.
    fn next_to_send(&mut self, now: Instant) -> Option<usize> {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            for flying in &mut self.batches {
                if flying.state == State::Lost {
                    flying.state = State::Waits;
                }
            }
        }
        let mut states = self.batches.iter().map(|flying| flying.state);
        states.position(|state| state == State::Waits)
    }

    fn answer(&mut self, number: u64, safe: bool, last: bool) {
        let index = number.checked_sub(self.first).map(|index| index as usize);
        let Some(flying) = index.and_then(|index| self.batches.get_mut(index)) else {
            return;
        };
        flying.state = match (safe, last) {
            (true, _) => State::Safe,
            (false, true) => State::GivenUp,
            (false, false) => {
                warn!(
                    lines = flying.batch.len(),
                    "lines were given up on their way, sending them again"
                );
                self.again_at = Some(Instant::now() + RETRY_PAUSE);
                State::Lost
            }
        };
    }

    /// Nothing is sent any more.
    fn give_up(&mut self) {
        for flying in &mut self.batches {
            if matches!(flying.state, State::Waits | State::Lost) {
                flying.state = State::GivenUp;
            }
        }
        self.end_at_given_up();
    }

    /// Counts what is safe. True if that is something.
    fn land(
        &mut self,
        ledger: &RefCell<Ledger>,
        counters: &Counters,
        empty: &mpsc::Sender<Batch>,
        normal_bytes: usize,
    ) -> bool {
        let mut landed = false;
        while let Some(first) = self.batches.front()
            && first.state == State::Safe
            && let Some(Flying { mut batch, .. }) = self.batches.pop_front()
        {
            self.first += 1;
            landed = true;
            let lines = batch.len();
            ledger.borrow_mut().acknowledge(&batch, 0..lines);
            add(&counters.events_acknowledged, lines as u64);
            batch.clear(normal_bytes);
            // There is room for all batches; nobody reads any more if it fails.
            drop(empty.try_send(batch));
        }
        self.end_at_given_up();
        landed
    }

    /// A batch that is given up for good ends the count: what follows it is read again. What is under way is waited
    /// for all the same.
    fn end_at_given_up(&mut self) {
        let first = self.batches.front();
        if first.is_none_or(|first| first.state != State::GivenUp) {
            return;
        }
        while let Some(last) = self.batches.back()
            && last.state != State::Sent
        {
            self.batches.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, read_to_string, write};
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    use tokio::sync::oneshot;

    use super::*;
    use crate::config::lines::Typed;
    use crate::config::{FileGroup, Limits, Network, NetworkFiles, StartPosition};
    use crate::tail::complete::{Complete, Following, Order, Outcome, PartialLines, Times};
    use crate::tail::links::Follow;
    use crate::tail::pattern::{Excludes, Pattern};
    use crate::tail::shape::tests::rules;

    const SECOND: Duration = Duration::from_secs(1);

    fn config(directory: &Path, pattern: &str, following: Following) -> Config {
        let pattern = Pattern::new(&format!("{}/{pattern}", directory.display())).expect("valid");
        Config {
            network: Rc::new(Network::nowhere()),
            groups: vec![Rc::new(FileGroup {
                patterns: vec![pattern],
                stdin: false,
                exclude: Excludes::default(),
                fields: Vec::new(),
                dead_time: SECOND * 3600,
                close_inactive: SECOND * 3600,
                start_position: StartPosition::Beginning,
                ship_compressed: false,
                network_files: NetworkFiles::Auto,
                follow_links: Follow::Inside,
                link_targets: Vec::new(),
                lines: Rc::new(rules()),
                line_options: Typed::default(),
                following,
            })],
            feeds: crate::feed::Settings::default(),
            registry: directory.join("data/registry"),
            import_registry: None,
            machine: None,
            hostname: "h".to_owned(),
            log_level: "info".to_owned(),
            status_socket: None,
            http: None,
            reload_auto: false,
            nice: None,
            sandbox: crate::sandbox::Mode::Off,
            limits: Limits {
                spool_size: 2,
                spool_bytes: 1000,
                flush_interval: Duration::from_millis(10),
                harvest_buffer_size: 4096,
                max_line_bytes: 100,
                partial_line_timeout: SECOND / 10,
                rescan_interval: SECOND,
                registry_interval: SECOND / 100,
                summary_interval: SECOND * 3600,
                close_rotated: SECOND,
                forget_after: SECOND * 3600,
                max_open_files: 3,
                shutdown_timeout: SECOND,
                max_held_bytes: None,
                look_interval: Some(SECOND / 5),
                cpu_limit: None,
            },
            exit_after_read: false,
        }
    }

    /// Hands the lines and the receipt of each batch to the test.
    struct Handed(mpsc::Sender<(Vec<String>, Receipt)>);

    impl Destination for Handed {
        async fn ready(&mut self) -> bool {
            self.0.reserve().await.is_ok()
        }

        fn send(&mut self, batch: &Batch, receipt: Receipt) {
            let lines = batch
                .lines(0..batch.len())
                .map(|line| String::from_utf8_lossy(line.text).into_owned());
            self.0
                .try_send((lines.collect(), receipt))
                .expect("there is room");
        }
    }

    struct Running {
        handed: mpsc::Receiver<(Vec<String>, Receipt)>,
        stop: watch::Sender<bool>,
        ended: oneshot::Receiver<()>,
    }

    impl Running {
        fn start(config: Config, registry: Registry) -> Self {
            let (sender, handed) = mpsc::channel(1);
            let (stop, stopping) = watch::channel(false);
            let (end, ended) = oneshot::channel();
            tokio::task::spawn_local(async move {
                let followed = follow(config, registry, 4, Handed(sender), stopping).await;
                followed.expect("follows");
                end.send(()).expect("the test waits");
            });
            Self {
                handed,
                stop,
                ended,
            }
        }

        async fn next(&mut self) -> (Vec<String>, Receipt) {
            let next = tokio::time::timeout(SECOND * 60, self.handed.recv()).await;
            next.expect("in time").expect("a batch")
        }

        /// The next lines, all of them safe.
        async fn lines(&mut self, count: usize) -> Vec<String> {
            let mut all = Vec::new();
            while all.len() < count {
                let (lines, receipt) = self.next().await;
                receipt.safe();
                all.extend(lines);
            }
            all
        }

        async fn stop(self) {
            self.stop.send_replace(true);
            self.end().await;
        }

        async fn end(self) {
            drop(self.handed);
            let ended = tokio::time::timeout(SECOND * 60, self.ended).await;
            ended.expect("in time").expect("well");
        }
    }

    /// Says for each batch whether the names of its streams were in the registry when it came, and keeps it.
    struct Looks {
        registry: PathBuf,
        saved: mpsc::Sender<(bool, Receipt)>,
    }

    impl Destination for Looks {
        async fn ready(&mut self) -> bool {
            self.saved.reserve().await.is_ok()
        }

        fn send(&mut self, batch: &Batch, receipt: Receipt) {
            let registry = std::fs::read(&self.registry).expect("is there");
            let registry = String::from_utf8_lossy(&registry);
            let saved = batch.lines(0..batch.len()).all(|line| {
                let stream = line.source.stream.as_ref();
                registry.contains(stream.expect("has a name").as_str())
            });
            self.saved
                .try_send((saved, receipt))
                .expect("there is room");
        }
    }

    fn append(path: &Path, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.expect("opens")
            .write_all(text.as_bytes())
            .expect("writes");
    }

    async fn locally<F: Future>(future: F) -> F::Output {
        tokio::task::LocalSet::new().run_until(future).await
    }

    #[tokio::test]
    async fn complaint_31_a_stream_has_its_name_before_its_first_line_is_handed_on() {
        locally(async {
            let directory = tempfile::tempdir().expect("a directory");
            append(&directory.path().join("a.log"), "1\n2\n3\n");
            let mut config = config(directory.path(), "*.log", Following::default());
            // Nothing else saves it in time.
            config.limits.registry_interval = SECOND * 3600;
            let registry = Registry::open(&config).expect("opens");
            let path = config.registry.clone();
            let (saved, mut looked) = mpsc::channel(4);
            let (stop, stopping) = watch::channel(false);
            let looks = Looks {
                registry: path,
                saved,
            };
            let following = tokio::task::spawn_local(follow(config, registry, 4, looks, stopping));
            let looked = tokio::time::timeout(SECOND * 60, looked.recv()).await;
            let (saved, receipt) = looked.expect("in time").expect("a batch");
            assert!(saved, "a crash now would send the lines under another name");
            drop(receipt);
            stop.send_replace(true);
            following.abort();
        })
        .await;
    }

    #[tokio::test]
    async fn positions_move_in_order_and_what_is_given_up_comes_again() {
        locally(async {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a.log");
            append(&path, "1\n2\n3\n4\n5\n6\n");
            let config = || config(directory.path(), "*.log", Following::default());
            let open = |config: &Config| Registry::open(config).expect("opens");
            let registry = open(&config());
            let mut running = Running::start(config(), registry);
            let (one, first) = running.next().await;
            let (two, second) = running.next().await;
            assert_eq!(
                (one, two),
                (vec!["1".into(), "2".into()], vec!["3".into(), "4".into()])
            );
            second.safe();
            drop(first);
            let (three, third) = running.next().await;
            assert_eq!(three, ["5", "6"]);
            let (again, first) = running.next().await;
            assert_eq!(again, ["1", "2"]);
            first.safe();
            // It ends only when the last one has an answer, which says that it is lost.
            running.stop.send_replace(true);
            drop(third);
            running.end().await;

            let registry = open(&config());
            let mut running = Running::start(config(), registry);
            assert_eq!(running.lines(2).await, ["5", "6"]);
            append(&path, "7\n");
            assert_eq!(running.lines(1).await, ["7"]);
            running.stop().await;
        })
        .await;
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("packs");
        encoder.finish().expect("packs")
    }

    #[tokio::test]
    async fn complete_files_are_read_in_order_and_end_when_they_are_acknowledged() {
        locally(async {
            let directory = tempfile::tempdir().expect("a directory");
            let at = |name: &str| directory.path().join(name);
            // More than may be open at once; two of them are the same but for their names.
            for name in ["e.txt", "d.txt", "c.txt", "b.txt"] {
                write(at(name), "1\n2\n3").expect("writes");
            }
            write(at("empty.txt"), "").expect("writes");
            write(at("f.txt.gz"), gzip("zipped\nlast")).expect("writes");
            write(at("broken.txt.gz"), &gzip(&"x".repeat(500))[..20]).expect("writes");
            write(at("old.txt"), "old\n").expect("writes");
            let old = std::time::SystemTime::now() - SECOND * 3600;
            let file = OpenOptions::new()
                .append(true)
                .open(at("old.txt"))
                .expect("opens");
            file.set_modified(old).expect("sets");
            let log: PathBuf = at("log");
            let logged = log.clone();
            let following = || {
                let log = log.clone();
                Following {
                    partial_lines: PartialLines::Await,
                    ignore_older: Some(SECOND * 1800),
                    skip_old_stock: false,
                    order: Order::Path { descending: true },
                    reads_per_turn: u64::MAX,
                    complete: Some(Complete {
                        verify_archives: true,
                        done: Rc::new(move |path, times| {
                            let name = path.file_name().expect("a name").to_string_lossy();
                            append(&log, &format!("{name} {times:?}\n"));
                            if name == "c.txt" {
                                std::fs::remove_file(path).expect("removes");
                                return Outcome::Removed;
                            }
                            Outcome::Kept
                        }),
                    }),
                    ..Following::default()
                }
            };
            let config = || {
                let mut config = config(directory.path(), "*.txt*", following());
                config.exit_after_read = true;
                config
            };
            let registry = Registry::open(&config()).expect("opens");
            let mut running = Running::start(config(), registry);
            let (lines, first) = running.next().await;
            assert_eq!(lines, ["1", "2"]);
            // Nothing is done with before it is acknowledged.
            assert!(!logged.try_exists().expect("looks"));
            first.safe();
            let mut lines = running.lines(12).await;
            lines.sort();
            let expected = [
                "1", "1", "1", "2", "2", "2", "3", "3", "3", "3", "last", "zipped",
            ];
            assert_eq!(lines, expected);
            running.end().await;
            let mut done: Vec<String> = read_to_string(&logged)
                .expect("reads")
                .lines()
                .map(str::to_owned)
                .collect();
            done.sort();
            let expected = ["b.txt", "c.txt", "d.txt", "e.txt", "f.txt.gz"];
            assert_eq!(done, expected.map(|name| format!("{name} First")));
            let is_there = |name| at(name).try_exists().expect("looks");
            assert!(!is_there("c.txt") && is_there("b.txt"));

            // Another run finds them read.
            std::fs::remove_file(&logged).expect("removes");
            let registry = Registry::open(&config()).expect("opens");
            let running = Running::start(config(), registry);
            running.end().await;
            let again = read_to_string(&logged).expect("reads");
            assert_eq!(again.matches("Again").count(), 4, "{again}");
            assert!(!again.contains("First"), "{again}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_complete_file_that_grows_or_is_rewritten_is_done_with_again() {
        locally(async {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a.txt");
            append(&path, "one\n");
            let (sender, mut done) = mpsc::channel(10);
            let following = Following {
                complete: Some(Complete {
                    verify_archives: false,
                    done: Rc::new(move |_, times| {
                        sender.try_send(times).expect("there is room");
                        Outcome::Kept
                    }),
                }),
                ..Following::default()
            };
            let config = config(directory.path(), "*.txt", following);
            let mut running = Running::start(config, Registry::none());
            for (change, line) in [(None, "one"), (Some(false), "two"), (Some(true), "three")] {
                match change {
                    None => {}
                    Some(false) => append(&path, "two\n"),
                    Some(true) => write(&path, "three\n").expect("writes"),
                }
                assert_eq!(running.lines(1).await, [line]);
                let times = tokio::time::timeout(SECOND * 60, done.recv()).await;
                assert_eq!(times.expect("in time"), Some(Times::First));
            }
            running.stop().await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_line_without_its_end_is_waited_for() {
        locally(async {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a.log");
            append(&path, "one;t");
            let following = Following {
                partial_lines: PartialLines::Await,
                ..Following::default()
            };
            let mut config = config(directory.path(), "*.log", following);
            let group = Rc::get_mut(&mut config.groups[0]).expect("nobody else has it");
            group.lines = Rc::new(crate::tail::shape::Rules {
                delimiter: Some(Rc::from(&b";"[..])),
                ..rules()
            });
            let mut running = Running::start(config, Registry::none());
            assert_eq!(running.lines(1).await, ["one"]);
            // Several times as long as a line is waited for otherwise.
            let waited = tokio::time::timeout(SECOND, running.handed.recv()).await;
            assert!(waited.is_err());
            append(&path, "wo\n;");
            assert_eq!(running.lines(1).await, ["two\n"]);
            append(&path, "rotated");
            std::fs::rename(&path, directory.path().join("a.old")).expect("renames");
            assert_eq!(running.lines(1).await, ["rotated"]);
            running.stop().await;
        })
        .await;
    }
}
