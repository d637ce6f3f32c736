//! The reading side: files and standard input into batches.
//!
//! It owns the files, follows the kernel's hints, and fills one batch at a time. If no empty
//! batch comes back from the link it does not read, but goes on finding files, so that a file
//! that is rotated away meanwhile is held open and not missed.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::allowance::Allowance;
use crate::batch::Batch;
use crate::config::Config;
use crate::feed::Feeds;
use crate::health::{Question, Reach};
use crate::report::{Counters, Summary, Throttle, add};
use crate::tail::Tails;
use crate::tail::reading::Budget;
use crate::tail::stdin::Stdin;
use crate::tail::watch::Watcher;

/// How often files are looked at for which no hint comes.
const TICK: Duration = Duration::from_millis(500);
/// Rounds do not follow each other more quickly than this, whatever is hinted.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Reads in a row before the link gets its turn.
const READS_PER_TURN: usize = 8;
/// If the kernel gives no hints, files are looked at this often.
const POLL: Duration = Duration::from_secs(1);

/// How a round goes on: for how long at a time, and for how many times as long it pauses then.
#[derive(Clone, Copy)]
struct Pace {
    slice: Duration,
    pauses: u32,
}

/// Where hints come a round is only for what they miss: a thousandth of the time.
const CALM: Pace = Pace {
    slice: Duration::from_millis(2),
    pauses: 1000,
};
/// Where they were lost, or do not come: a tenth.
const BRISK: Pace = Pace {
    slice: Duration::from_millis(20),
    pauses: 10,
};

/// … but not for longer than this at once: it may be the machine that was slow.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When everything is looked at.
struct Rounds {
    /// When the round goes on, or the next one begins.
    next: Instant,
    running: bool,
    began: Instant,
    /// Something was missed: this round, or the next one, is to be quick.
    hurry: bool,
    /// … and was missed after the one that runs had begun.
    again: bool,
}

/// Reads until it is told to stop, or all input has ended.
pub struct Reader {
    config: Rc<Config>,
    counters: Rc<Counters>,
    throttle: Rc<Throttle>,
    /// Told when the registry has changed other than by an acknowledgement.
    changed: Rc<Notify>,
    tails: Tails,
    watcher: Watcher,
    hints_work: bool,
    stdin: Option<Input>,
    feeds: Option<Feeds>,
    budget: Budget,
    full: mpsc::Sender<Batch>,
    empty: mpsc::Receiver<Batch>,
    filling: Option<Batch>,
    /// When the batch that is being filled got its first line.
    first_line: Option<Instant>,
    /// When the last batch was handed over.
    last_sent: Option<Instant>,
    batches: usize,
    /// How many there are to be, by the config of now.
    batches_wanted: usize,
    rounds: Rounds,
    /// Configs that come while running.
    configs: Option<watch::Receiver<Rc<Config>>>,
    /// What is asked about the files.
    questions: Option<mpsc::Receiver<Question>>,
    /// Told once, after the first scan.
    started: Option<oneshot::Sender<()>>,
    /// No more is read until somebody says so.
    on_hold: bool,
    allowance: Allowance,
    /// No more is read until then: `cpu limit`.
    paused: Option<Instant>,
}

struct Input {
    chunks: Option<mpsc::Receiver<Bytes>>,
    lines: Stdin,
    /// All lines of the chunks so far are in batches.
    empty: bool,
    /// When the last chunk came.
    last: Instant,
}

/// The two ends of the round that batches make.
pub struct Batches {
    /// To the link.
    pub full: mpsc::Sender<Batch>,
    /// From the link.
    pub empty: mpsc::Receiver<Batch>,
    /// How many there are.
    pub count: usize,
}

/// Batches beside those in the pipeline: one being filled, one waiting.
const SPARE_BATCHES: usize = 2;
/// The most that [`batches_of`] says.
pub const MAX_BATCHES: usize = 1024;

/// How many batches a config needs.
pub fn batches_of(config: &Config) -> usize {
    let network = &config.network;
    let on_wire = network.pipelining.saturating_mul(network.connections());
    on_wire.saturating_add(SPARE_BATCHES).min(MAX_BATCHES)
}

impl Reader {
    /// A reader that has not looked at anything yet.
    pub fn new(
        config: Rc<Config>,
        counters: Rc<Counters>,
        throttle: Rc<Throttle>,
        changed: Rc<Notify>,
        tails: Tails,
        stdin: Option<(mpsc::Receiver<Bytes>, Stdin)>,
        batches: Batches,
    ) -> Self {
        let (watcher, error) = Watcher::new();
        if let Some(error) = &error {
            warn!(%error, "the kernel gives no hints about changed files, looking at them every second");
        }
        let now = Instant::now();
        Self {
            budget: Budget::new(&config.limits),
            config,
            counters,
            throttle,
            changed,
            tails,
            watcher,
            hints_work: error.is_none(),
            stdin: stdin.map(|(chunks, lines)| Input {
                chunks: Some(chunks),
                lines,
                empty: true,
                last: now,
            }),
            feeds: None,
            full: batches.full,
            empty: batches.empty,
            filling: None,
            first_line: None,
            last_sent: None,
            batches: batches.count,
            batches_wanted: batches.count,
            rounds: Rounds {
                next: now,
                running: false,
                began: now,
                hurry: false,
                again: false,
            },
            configs: None,
            questions: None,
            started: None,
            on_hold: false,
            allowance: Allowance::new(Instant::now()),
            paused: None,
        }
    }

    /// Takes over the configs that come.
    pub fn with_configs(mut self, configs: watch::Receiver<Rc<Config>>) -> Self {
        self.configs = Some(configs);
        self
    }

    /// Answers questions about the files.
    pub fn with_questions(mut self, questions: mpsc::Receiver<Question>) -> Self {
        self.questions = Some(questions);
        self
    }

    /// Reads what there is beside files, too.
    pub fn with_feeds(mut self, feeds: Option<Feeds>) -> Self {
        self.feeds = feeds;
        self
    }

    /// Says when all files have been looked for once.
    pub fn telling(mut self, started: oneshot::Sender<()>) -> Self {
        self.started = Some(started);
        self
    }

    /// Runs until `stop` becomes true, or standard input has ended and is all there is.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut summary = Summary::default();
        let mut next_summary = Instant::now() + self.config.limits.summary_interval;
        let mut next_tick = Instant::now();
        let look_interval = self.config.limits.look_interval;
        let mut next_look = look_interval.map(|interval| Instant::now() + interval);
        while !*stop.borrow() {
            let now = Instant::now();
            self.take_config(now);
            self.paused = self.allowance.wait_until(self.config.limits.cpu_limit, now);
            self.go_round(now);
            if let Some(started) = self.started.take() {
                // Whoever wanted to know may be gone.
                started.send(()).unwrap_or_default();
            }
            if self.tails.registry_changed() {
                // A file that was found is known by the next run, even if nothing of it is
                // acknowledged by then.
                self.changed.notify_one();
            }
            if now >= next_tick {
                self.tails.tick(now);
                next_tick = now + TICK;
            }
            if let (Some(interval), Some(at)) = (look_interval, next_look)
                && now >= at
            {
                self.tails.wake_all();
                next_look = Some(now + interval);
            }
            let next_close = self.tails.close_inactive(now);
            let opened = self.tails.open_waiting(now);
            let next_partial = if self.may_read() {
                self.tails.wake_partial(now)
            } else {
                None
            };
            if now >= next_summary {
                summary.log(&self.counters, self.tails.progress());
                next_summary = now + self.config.limits.summary_interval;
            }
            if self.may_read() {
                self.read(now);
            }
            if self.input_has_ended() {
                break;
            }
            if opened || (self.has_work(now) && self.filling.is_some() && self.may_read()) {
                tokio::task::yield_now().await;
                continue;
            }
            let mut wake = self.rounds.next.min(next_summary);
            for at in next_close.into_iter().chain(self.tails.limit_time()) {
                wake = wake.min(at);
            }
            if self.tails.needs_tick() {
                wake = wake.min(next_tick);
            }
            if let Some(at) = next_look {
                wake = wake.min(at);
            }
            if let Some(left) = next_partial {
                wake = wake.min(now + left);
            }
            let reads = self.filling.is_some() && self.may_read();
            if let Some(time) = self.input_time().filter(|_| reads) {
                wake = wake.min(time);
            }
            if let Some(flush) = self.flush_time() {
                wake = wake.min(flush);
            }
            if let Some(at) = self.paused {
                // Half a second at most: nothing else is in such a hurry.
                wake = wake.max(at);
            }
            self.wait(wake, &mut stop).await;
        }
        self.finish_feeds().await;
        // What has been read so far is still shipped.
        self.hand_over();
        let progress = self.tails.progress();
        summary.log(&self.counters, progress);
    }

    /// Whether nobody has ordered, and no limit asks, to leave what there is where it is.
    fn may_read(&self) -> bool {
        !self.on_hold && self.paused.is_none()
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self, wake: Instant, stop: &mut watch::Receiver<bool>) {
        let wants_input = self.filling.is_some() && self.may_read();
        let input = self
            .stdin
            .as_mut()
            .filter(|input| wants_input && input.empty);
        let chunks = input.and_then(|input| input.chunks.as_mut());
        let feeds = self.feeds.as_mut();
        let feeds = feeds.filter(|feeds| wants_input && feeds.is_empty());
        let record = async {
            match feeds {
                Some(feeds) => feeds.wait().await,
                None => std::future::pending().await,
            }
        };
        let chunk = async {
            match chunks {
                Some(chunks) => chunks.recv().await,
                None => std::future::pending().await,
            }
        };
        let mut all_gone = false;
        tokio::select! {
            // An error means that nobody can tell us to stop any more: the caller is gone.
            changed = stop.changed() => drop(changed),
            batch = self.empty.recv(), if self.filling.is_none() => match batch {
                Some(batch) => self.filling = Some(batch),
                // The link is gone: its caller ends us.
                None => std::future::pending().await,
            },
            hints = self.watcher.hints() => {
                let now = Instant::now();
                if self.tails.follow(hints, &mut self.watcher, now) {
                    self.rounds.missed(now);
                }
            }
            chunk = chunk => self.take_input(chunk),
            more = record => all_gone = !more,
            // It is taken over at the beginning of the next round.
            () = changed(&mut self.configs) => {}
            Some(question) = asked(&mut self.questions) => self.answer(question),
            () = sleep_until(wake) => {}
        }
        if all_gone {
            self.feeds = None;
        }
    }

    /// Takes a new config over, if there is one.
    fn take_config(&mut self, now: Instant) {
        let Some(configs) = &mut self.configs else {
            return;
        };
        let config = Rc::clone(&configs.borrow_and_update());
        if Rc::ptr_eq(&config, &self.config) {
            return;
        }
        // Lines of one batch have one source each, as it was when they were read.
        self.hand_over();
        self.tails.reconfigure(&config, now);
        self.budget = Budget::new(&config.limits);
        self.batches_wanted = batches_of(&config);
        self.config = config;
        self.rounds.running = false;
        self.rounds.missed(now);
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may not wait any more.
        match question {
            Question::Totals(answer) => drop(answer.send(self.tails.totals())),
            Question::Files { after, answer } => drop(answer.send(self.tails.page(after))),
            Question::LookAtAll(answer) => {
                self.look_at_all(Instant::now());
                answer.send(()).unwrap_or_default();
            }
            Question::Reach(answer) => drop(answer.send(self.reach())),
            Question::Hold(hold, answer) => {
                self.hand_over();
                self.on_hold = hold;
                answer.send(()).unwrap_or_default();
            }
            Question::Left(answer) => drop(answer.send(self.tails.left())),
        }
    }

    /// Lets what is read beside files end, and takes what it has.
    async fn finish_feeds(&mut self) {
        let Some(mut feeds) = self.feeds.take() else {
            return;
        };
        feeds.stop();
        loop {
            if self.filling.is_none() {
                self.filling = self.empty.recv().await;
            }
            let Some(batch) = &mut self.filling else {
                return;
            };
            let room = feeds.fill(batch, self.budget);
            if !room || batch.len() >= self.budget.events {
                self.hand_over();
            } else if !feeds.wait().await {
                return;
            }
        }
    }

    /// Whether there is something to read at once.
    fn has_work(&self, now: Instant) -> bool {
        let records = self.feeds.as_ref().is_some_and(|feeds| !feeds.is_empty());
        records || self.tails.has_work(now)
    }

    fn take_input(&mut self, chunk: Option<Bytes>) {
        let Some(input) = &mut self.stdin else { return };
        match chunk {
            Some(chunk) => input.lines.feed(&chunk),
            None => input.chunks = None,
        }
        input.empty = false;
        input.last = Instant::now();
    }

    /// When what standard input holds back becomes an event.
    fn input_time(&self) -> Option<Instant> {
        let input = self.stdin.as_ref().filter(|input| input.empty)?;
        let patience = input
            .lines
            .patience(self.config.limits.partial_line_timeout)?;
        Some(input.last + patience)
    }

    /// Reads a bounded amount, and hands batches over as they fill up.
    fn read(&mut self, now: Instant) {
        for _ in 0..READS_PER_TURN {
            if self.filling.is_none() {
                self.filling = self.empty_batch();
            }
            let input_due = self.input_time().is_some_and(|time| time <= now);
            let Some(batch) = &mut self.filling else {
                return;
            };
            let mut room = true;
            if let Some(input) = self.stdin.as_mut().filter(|_| input_due) {
                let read_at = jiff::Timestamp::now().as_millisecond();
                input.lines.flush(batch, read_at);
            }
            if let Some(input) = self.stdin.as_mut().filter(|input| !input.empty) {
                let ended = input.chunks.is_none();
                let before = (batch.len(), batch.bytes());
                let read_at = jiff::Timestamp::now().as_millisecond();
                let mut split = 0;
                input.empty = input
                    .lines
                    .fill(batch, self.budget, read_at, ended, &mut split);
                room = input.empty;
                add(&self.counters.lines_split, split);
                add(&self.counters.events_read, (batch.len() - before.0) as u64);
                add(&self.counters.bytes_read, (batch.bytes() - before.1) as u64);
            }
            if room && let Some(feeds) = &mut self.feeds {
                room = feeds.fill(batch, self.budget);
            }
            if room && self.tails.has_work(now) {
                room = self.tails.read_next(batch, self.budget, now);
            }
            if !batch.is_empty() {
                self.first_line.get_or_insert(now);
            }
            if !room || batch.len() >= self.budget.events {
                self.hand_over();
            } else if !self.has_work(now) {
                break;
            }
        }
        let limit = self.config.limits.flush_interval;
        let overdue = self.first_line.is_some_and(|first| first + limit <= now);
        let due = self.flush_time().is_some_and(|time| time <= now);
        if overdue || (due && !self.has_work(now)) {
            self.hand_over();
        }
    }

    /// An empty batch, if there is one. Their number follows the config.
    fn empty_batch(&mut self) -> Option<Batch> {
        if self.batches < self.batches_wanted {
            self.batches += 1;
            return Some(Batch::default());
        }
        let mut batch = self.empty.try_recv().ok()?;
        while self.batches > self.batches_wanted {
            self.batches -= 1;
            batch = self.empty.try_recv().ok()?;
        }
        Some(batch)
    }

    /// When the batch being filled is to be handed over though it is not full. At once, if
    /// nothing was handed over lately: then nobody waits for more lines to fill a window with.
    fn flush_time(&self) -> Option<Instant> {
        let first_line = self.first_line?;
        let interval = self.config.limits.flush_interval;
        match self.last_sent {
            Some(last_sent) => Some((last_sent + interval).min(first_line + interval)),
            None => Some(first_line),
        }
    }

    fn hand_over(&mut self) {
        self.first_line = None;
        let Some(batch) = self.filling.take_if(|batch| !batch.is_empty()) else {
            return;
        };
        self.last_sent = Some(Instant::now());
        debug_assert!(
            self.full.capacity() > 0,
            "the channel has room for all batches"
        );
        // It fails only when the link is gone, and the process is about to end.
        if let Err(error) = self.full.try_send(batch) {
            debug!(%error, batches = self.batches, "a batch was not taken by the link");
        }
    }

    fn reach(&self) -> Reach {
        let input_is_read = self.stdin.as_ref().is_none_or(|input| input.empty);
        let feeds_are_read = self.feeds.as_ref().is_none_or(Feeds::is_empty);
        let nothing_held = self.filling.as_ref().is_none_or(Batch::is_empty);
        // A batch comes back when all of it is acknowledged.
        let back = self.empty.len() + usize::from(self.filling.is_some());
        Reach {
            at_end: input_is_read && feeds_are_read && nothing_held && self.tails.is_at_end(),
            acknowledged: nothing_held && back >= self.batches,
        }
    }

    fn input_has_ended(&self) -> bool {
        if self.config.exit_after_read {
            let nothing_held = self.filling.as_ref().is_none_or(Batch::is_empty);
            return nothing_held && self.tails.all_is_read();
        }
        let Some(input) = self.stdin.as_ref().filter(|_| self.feeds.is_none()) else {
            return false;
        };
        let files = self
            .config
            .groups
            .iter()
            .any(|group| !group.patterns.is_empty());
        let ended = input.chunks.is_none() && input.empty && !files;
        if ended {
            info!("standard input has ended");
        }
        ended
    }

    /// Looks at everything, now and at once.
    fn look_at_all(&mut self, now: Instant) {
        self.rounds.running = false;
        self.go_on(now, true);
    }

    /// Goes on with looking at everything, if it is time to.
    fn go_round(&mut self, now: Instant) {
        if now >= self.rounds.next {
            // Whoever started us waits for the first round.
            self.go_on(now, !self.tails.has_looked_around());
        }
    }

    /// Goes on with the round: to its end, or for a while.
    fn go_on(&mut self, now: Instant, to_its_end: bool) {
        if !self.rounds.running {
            self.tails.begin_round(&mut self.watcher);
            (self.rounds.running, self.rounds.began) = (true, now);
        }
        let hints_come = self.hints_work && !self.tails.has_network_files();
        let pace = if self.rounds.hurry || !hints_come {
            BRISK
        } else {
            CALM
        };
        let slice = if to_its_end {
            Duration::MAX
        } else {
            pace.slice
        };
        let done = self.tails.go_round(&mut self.watcher, now, slice);
        let end = Instant::now();
        // The first one opens every file, and says nothing about those that follow.
        let took = if to_its_end {
            Duration::ZERO
        } else {
            end.saturating_duration_since(now)
        };
        self.rounds.next = end + (took * pace.pauses).min(LONGEST_PAUSE);
        if !done {
            return;
        }
        let failure = self.watcher.take_failure();
        self.hints_work = self.watcher.works() && failure.is_none();
        if let Some((path, error)) = failure
            && let Some(suppressed) = self.throttle.admit("not watched")
        {
            let path = path.display();
            warn!(%path, %error, suppressed, "the kernel gives no hints about this directory (see \
                fs.inotify.max_user_watches), looking at all files every second");
        }
        let interval = self.config.limits.rescan_interval;
        let interval = if self.hints_work {
            interval
        } else {
            interval.min(POLL)
        };
        self.rounds.running = false;
        self.rounds.hurry = std::mem::take(&mut self.rounds.again);
        let regular = self.rounds.began + interval;
        self.rounds.next = self.rounds.next.max(if self.rounds.hurry {
            end + LEAST_PAUSE
        } else {
            regular
        });
    }
}

impl Rounds {
    /// Something may have been missed.
    fn missed(&mut self, now: Instant) {
        self.again |= self.running;
        if !self.hurry {
            self.hurry = true;
            self.next = self.next.min(now + LEAST_PAUSE);
        }
    }
}

async fn changed(configs: &mut Option<watch::Receiver<Rc<Config>>>) {
    let result = match configs {
        Some(configs) => configs.changed().await,
        None => std::future::pending().await,
    };
    if result.is_err() {
        // There will be no other.
        std::future::pending::<()>().await;
    }
}

async fn asked(questions: &mut Option<mpsc::Receiver<Question>>) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}
