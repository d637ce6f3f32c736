//! The daemon: reader, link and registry put together, from start to drained.

use std::cell::RefCell;
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use crate::batch::Batch;
use crate::cloud;
use crate::config::Config;
use crate::config::files::STDIN;
use crate::event::{Source, StreamId};
use crate::feed::Feeds;
use crate::health::links::Board;
use crate::health::systemd::Notifier;
use crate::health::{Health, MAX_QUESTIONS, http, socket};
use crate::link::pool::Pool;
use crate::link::{Links, discovery};
use crate::reader::{Batches, MAX_BATCHES, Reader, batches_of};
use crate::registry::store::{RegistryError, Store, now};
use crate::registry::{Ledger, import};
use crate::reload::{Controls, Reloader};
use crate::report::{Counters, Throttle};
use crate::tail::stdin::Stdin;
use crate::tail::{Tails, Trust, stdin};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Lines read.
    pub events_read: u64,
    /// Lines acknowledged.
    pub events_acknowledged: u64,
    /// Lines that were read and not acknowledged in time; they are read again by the next run.
    pub events_left: u64,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry to take over.
    #[error("{0}")]
    Import(String),
    /// Standard input.
    #[error("cannot start reading standard input: {0}")]
    Stdin(std::io::Error),
    /// What is read beside files.
    #[error("{0}")]
    Feed(String),
    /// A line that no window can carry.
    #[error("a line cannot be shipped: {0}; lower `max line bytes`")]
    Encode(#[from] skidder_lumberjack::EncodeError),
}

/// Ships until `stop` completes (then drains, within `shutdown timeout`), or until standard
/// input has ended and is all there is.
///
/// The future is not `Send`: it wants a current-thread runtime.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<Outcome, RunError> {
    run_with(config, Controls::default(), stop).await
}

/// As [`run`], and can be told to go on with another config.
pub async fn run_with(
    config: Config,
    mut controls: Controls,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, RunError> {
    let (store, ledger, trust) = open_registry(&config)?;
    let config = cloud::watch::with_first_facts(config).await;
    let store = Rc::new(RefCell::new(store));
    let hangup = controls.hangup.take();
    let watchdog = controls.notifier.watchdog_interval();
    let (configs, config) = watch::channel(Rc::new(config));
    let (mut parts, started) = build(&config, &store, ledger, trust)?;
    let reloader = Rc::new(Reloader::new(configs, controls, Rc::clone(&parts.health)));
    let notifier = reloader.notifier();

    let (stop_sender, stop_receiver) = watch::channel(false);
    let mut deadline = None;
    let result = {
        let mut stop = pin!(stop);
        let mut started = pin!(started);
        let mut reader = pin!(parts.reader.run(stop_receiver));
        let mut links = pin!(parts.links.run());
        let mut keeper = pin!(keep(
            || config.borrow().limits.registry_interval,
            &store,
            &parts.ledger,
            &parts.acknowledged,
            |failure| *parts.health.registry_error.borrow_mut() = failure,
            &parts.throttle
        ));
        let mut service = pin!(serve(&config, &parts.health, &reloader, hangup));
        let mut watching = pin!(watch_dog(watchdog, notifier));
        let (mut reading, mut stopping, mut starting) = (true, false, true);
        loop {
            let time_out = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = &mut reader, if reading => reading = false,
                result = &mut links => break result.map_err(RunError::from),
                () = &mut keeper => {}
                () = &mut service => {}
                () = &mut watching => {}
                _ = &mut started, if starting => {
                    starting = false;
                    notifier.ready();
                }
                () = &mut stop, if !stopping => {
                    stopping = true;
                    notifier.stopping();
                    info!("stopping: no more is read, what is in flight is finished");
                    let patience = config.borrow().limits.shutdown_timeout;
                    deadline = Some(Instant::now() + patience);
                    stop_sender.send_replace(true);
                }
                () = time_out => {
                    warn!("`shutdown timeout` is over, the rest is shipped by the next run");
                    break Ok(());
                }
            }
        }
    };
    store.borrow_mut().fold(&mut parts.ledger.borrow_mut())?;
    result?;
    let counters = &parts.counters;
    let outcome = Outcome {
        events_read: counters.events_read.get(),
        events_acknowledged: counters.events_acknowledged.get(),
        events_left: parts.links.lines_in_flight() as u64,
    };
    info!(
        events = outcome.events_acknowledged,
        left = outcome.events_left,
        connections = counters.connections.get(),
        bytes_sent = counters.bytes_sent.get(),
        "stopped"
    );
    Ok(outcome)
}

/// Everything that shares the state of a run.
struct Parts {
    reader: Reader,
    links: Links,
    ledger: Rc<RefCell<Ledger>>,
    counters: Rc<Counters>,
    throttle: Rc<Throttle>,
    acknowledged: Rc<Notify>,
    health: Rc<Health>,
}

fn build(
    configs: &watch::Receiver<Rc<Config>>,
    store: &Rc<RefCell<Store>>,
    ledger: Ledger,
    trust: Trust,
) -> Result<(Parts, oneshot::Receiver<()>), RunError> {
    let config = Rc::clone(&configs.borrow());
    let ledger = Rc::new(RefCell::new(ledger));
    let counters = Rc::new(Counters::default());
    let throttle = Rc::new(Throttle::default());
    let acknowledged = Rc::new(Notify::new());
    let count = batches_of(&config);
    // Another config may want more of them.
    let (full_sender, full_receiver) = mpsc::channel(MAX_BATCHES);
    let (empty_sender, empty_receiver) = mpsc::channel(MAX_BATCHES);
    for _ in 0..count {
        // The channel was made for as many.
        drop(empty_sender.try_send(Batch::default()));
    }
    let input = match config.groups.iter().find(|group| group.stdin) {
        None => None,
        Some(group) => {
            let chunks = stdin::start(std::io::stdin()).map_err(RunError::Stdin)?;
            let source = Source::new(0, false, Path::new(STDIN), &config.hostname, &group.fields)
                .with_facts(config.network.facts.as_deref());
            let source = source.with_stream(StreamId::random());
            Some((chunks, Stdin::new(Rc::new(source), &group.lines, b"")))
        }
    };
    let feeds = Feeds::start(&config, &ledger, &acknowledged, &counters).map_err(RunError::Feed)?;
    let tails = Tails::new(
        Rc::clone(&config),
        Rc::clone(&ledger),
        Rc::clone(&counters),
        Rc::clone(&throttle),
        trust,
    );
    let (question_sender, questions) = mpsc::channel(MAX_QUESTIONS);
    let (started_sender, started) = oneshot::channel();
    let reader = Reader::new(
        Rc::clone(&config),
        Rc::clone(&counters),
        Rc::clone(&throttle),
        Rc::clone(&acknowledged),
        tails,
        input,
        Batches {
            full: full_sender,
            empty: empty_receiver,
            count,
        },
    );
    let reader = reader
        .with_configs(configs.clone())
        .with_questions(questions)
        .with_feeds(feeds)
        .telling(started_sender);
    let secure = {
        let (store, ledger) = (Rc::clone(store), Rc::clone(&ledger));
        let throttle = Rc::clone(&throttle);
        Box::new(move || save_new_streams(&store, &ledger, &throttle))
    };
    let pool = Pool::new(
        Rc::clone(&ledger),
        Rc::clone(&counters),
        Rc::clone(&acknowledged),
        full_receiver,
        empty_sender,
    );
    let pool = Rc::new(pool.securing(secure));
    let board = Rc::new(Board::default());
    let links = Links::new(
        configs.clone(),
        Rc::clone(&pool),
        Rc::clone(&counters),
        Rc::clone(&board),
    );
    let health = Rc::new(Health::new(
        Rc::clone(&counters),
        board,
        pool,
        &config.log_level,
        question_sender,
    ));
    let parts = Parts {
        reader,
        links,
        ledger,
        counters,
        throttle,
        acknowledged,
        health,
    };
    Ok((parts, started))
}

/// Answers questions and takes orders, for ever.
async fn serve(
    config: &watch::Receiver<Rc<Config>>,
    health: &Rc<Health>,
    reloader: &Rc<Reloader>,
    hangup: Option<Signal>,
) {
    let (socket, http) = {
        let config = config.borrow();
        (config.status_socket.clone(), config.http)
    };
    let by_socket = async {
        if let Some((path, mode)) = socket {
            socket::serve(path, mode, Rc::clone(health), Rc::clone(reloader)).await;
        }
    };
    let by_http = async {
        if let Some(address) = http {
            http::serve(address, Rc::clone(health)).await;
        }
    };
    let by_notice = cloud::watch::run(config.clone(), health, reloader);
    let by_records = discovery::run(config.clone(), reloader);
    tokio::join!(
        by_socket,
        by_http,
        by_notice,
        by_records,
        reloader.run(hangup)
    );
}

/// Tells the service manager that we are alive, if it wants to know.
async fn watch_dog(interval: Option<Duration>, notifier: &Notifier) {
    let Some(interval) = interval else {
        return pending().await;
    };
    loop {
        notifier.alive();
        sleep(interval).await;
    }
}

pub(crate) fn open_registry(config: &Config) -> Result<(Store, Ledger, Trust), RunError> {
    let (mut store, loaded) = Store::open(&config.registry)?;
    let path = config.registry.display();
    let mut entries = loaded.decoded.entries;
    let machine = config.machine.clone();
    if let (Some(made_on), Some(machine)) = (&loaded.decoded.machine, &machine)
        && made_on != machine
    {
        let aside = store.set_aside("other-machine")?;
        warn!(%path, aside = %aside.display(), files = entries.len(),
            "the registry was made on another machine (an image or a copied disk): it is set aside, \
             and this one starts with a registry of its own");
        let mut ledger = Ledger::new(now(), Some(machine.clone()), Vec::new());
        store.fold(&mut ledger)?;
        return Ok((store, ledger, Trust::FirstRun));
    }
    if loaded.decoded.torn > 0 && loaded.decoded.damage.is_none() {
        warn!(%path, bytes = loaded.decoded.torn,
            "the last save of the registry was cut off by a crash: it is dropped, some lines may come twice");
    }
    let trust = match (&loaded.decoded.damage, loaded.existed) {
        (Some(damage), _) => {
            let aside = loaded.set_aside.unwrap_or_default();
            error!(%path, damage, aside = %aside.display(), kept = entries.len(),
                "the registry is damaged: a copy is set aside, what is whole is used, other files are \
                 shipped again from their beginning");
            Trust::Damaged
        }
        (None, true) => Trust::Whole,
        (None, false) => Trust::FirstRun,
    };
    if let (Trust::FirstRun, Some(old)) = (trust, &config.import_registry) {
        let imported = import::read(old).map_err(RunError::Import)?;
        for path in &imported.unknown {
            warn!(path = %path.display(), "the imported registry does not tell which file this is, \
                it is shipped from its beginning");
        }
        entries = imported.entries;
        info!(from = %old.display(), files = entries.len(), "took over the registry of {}", imported.from);
    }
    let machine = machine.or(loaded.decoded.machine);
    let mut ledger = Ledger::new(loaded.decoded.created, machine, entries);
    // At once: a directory that cannot be written to is to be found out now.
    store.fold(&mut ledger)?;
    Ok((store, ledger, trust))
}

/// Saves the names of new streams. To be called before their lines are sent: a name that is forgotten makes other lines of them.
pub(crate) fn save_new_streams(
    store: &RefCell<Store>,
    ledger: &RefCell<Ledger>,
    throttle: &Throttle,
) {
    if !ledger.borrow().has_new_streams() {
        return;
    }
    let saved = store.borrow_mut().save(&mut ledger.borrow_mut());
    if let Err(error) = saved
        && let Some(suppressed) = throttle.admit("registry not saved")
    {
        error!(%error, suppressed, "the registry cannot be saved; shipping goes on, but a crash \
            now would send lines again, and under another name");
    }
}

/// Saves the registry after acknowledgements, but not too often, and tells what went wrong with it.
pub(crate) async fn keep(
    interval: impl Fn() -> Duration,
    store: &RefCell<Store>,
    ledger: &RefCell<Ledger>,
    acknowledged: &Notify,
    tell: impl Fn(Option<String>),
    throttle: &Throttle,
) {
    loop {
        acknowledged.notified().await;
        sleep(interval()).await;
        if !ledger.borrow().is_dirty() {
            continue;
        }
        let saved = store.borrow_mut().save(&mut ledger.borrow_mut());
        tell(saved.as_ref().err().map(ToString::to_string));
        if let Err(error) = saved {
            acknowledged.notify_one();
            if let Some(suppressed) = throttle.admit("registry not saved") {
                error!(%error, suppressed, "the registry cannot be saved; shipping goes on, but a crash \
                    now would send lines again");
            }
        }
    }
}
