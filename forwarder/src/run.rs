//! The daemon: reader, link and registry put together, from start to drained.

use std::cell::RefCell;
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use crate::batch::Batch;
use crate::config::Config;
use crate::config::plan::STDIN;
use crate::event::{Source, StreamId};
use crate::link::Link;
use crate::reader::{Batches, Reader};
use crate::registry::store::{RegistryError, Store, now};
use crate::registry::{Ledger, import};
use crate::report::{Counters, Throttle};
use crate::tail::stdin::Stdin;
use crate::tail::{Tails, Trust, stdin};

/// Batches beside those in the pipeline: one being filled, one waiting.
const SPARE_BATCHES: usize = 2;

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
    /// A line that no window can carry.
    #[error("a line cannot be shipped: {0}; lower `max line bytes`")]
    Encode(#[from] skidder_lumberjack::EncodeError),
}

/// Ships until `stop` completes (then drains, within `shutdown timeout`), or until standard
/// input has ended and is all there is.
///
/// The future is not `Send`: it wants a current-thread runtime.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<Outcome, RunError> {
    let config = Rc::new(config);
    let (store, ledger, trust) = open_registry(&config)?;
    let store = Rc::new(RefCell::new(store));
    let ledger = Rc::new(RefCell::new(ledger));
    let counters = Rc::new(Counters::default());
    let throttle = Rc::new(Throttle::default());
    let acknowledged = Rc::new(Notify::new());
    let (reader, mut link) = build(
        &config,
        &store,
        &ledger,
        &counters,
        &throttle,
        &acknowledged,
        trust,
    )?;

    let (stop_sender, stop_receiver) = watch::channel(false);
    let mut deadline = None;
    let result = {
        let mut stop = pin!(stop);
        let mut reader = pin!(reader.run(stop_receiver));
        let mut link = pin!(link.run());
        let mut keeper = pin!(keep(&config, &store, &ledger, &acknowledged, &throttle));
        let (mut reading, mut stopping) = (true, false);
        loop {
            let time_out = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = &mut reader, if reading => reading = false,
                result = &mut link => break result.map_err(RunError::from),
                () = &mut keeper => {}
                () = &mut stop, if !stopping => {
                    stopping = true;
                    info!("stopping: no more is read, what is in flight is finished");
                    deadline = Some(Instant::now() + config.limits.shutdown_timeout);
                    stop_sender.send_replace(true);
                }
                () = time_out => {
                    warn!("`shutdown timeout` is over, the rest is shipped by the next run");
                    break Ok(());
                }
            }
        }
    };
    store.borrow_mut().fold(&mut ledger.borrow_mut())?;
    result?;
    let outcome = Outcome {
        events_read: counters.events_read.get(),
        events_acknowledged: counters.events_acknowledged.get(),
        events_left: link.lines_in_flight() as u64,
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

fn build(
    config: &Rc<Config>,
    store: &Rc<RefCell<Store>>,
    ledger: &Rc<RefCell<Ledger>>,
    counters: &Rc<Counters>,
    throttle: &Rc<Throttle>,
    acknowledged: &Rc<Notify>,
    trust: Trust,
) -> Result<(Reader, Link), RunError> {
    let count = config.network.pipelining + SPARE_BATCHES;
    let (full_sender, full_receiver) = mpsc::channel(count);
    let (empty_sender, empty_receiver) = mpsc::channel(count);
    for _ in 0..count {
        // The channel was made for as many.
        drop(empty_sender.try_send(Batch::default()));
    }
    let input = match config.groups.iter().find(|group| group.stdin) {
        None => None,
        Some(group) => {
            let chunks = stdin::start(std::io::stdin()).map_err(RunError::Stdin)?;
            let source = Source::new(0, false, Path::new(STDIN), &config.hostname, &group.fields);
            let source = source.with_stream(StreamId::random());
            Some((chunks, Stdin::new(Rc::new(source), &group.lines, b"")))
        }
    };
    let tails = Tails::new(
        Rc::clone(config),
        Rc::clone(ledger),
        Rc::clone(counters),
        Rc::clone(throttle),
        trust,
    );
    let reader = Reader::new(
        Rc::clone(config),
        Rc::clone(counters),
        Rc::clone(throttle),
        Rc::clone(acknowledged),
        tails,
        input,
        Batches {
            full: full_sender,
            empty: empty_receiver,
            count,
        },
    );
    let secure = {
        let (store, ledger) = (Rc::clone(store), Rc::clone(ledger));
        let throttle = Rc::clone(throttle);
        Box::new(move || save_new_streams(&store, &ledger, &throttle))
    };
    let link = Link::new(
        Rc::clone(config),
        secure,
        Rc::clone(ledger),
        Rc::clone(counters),
        Rc::clone(acknowledged),
        full_receiver,
        empty_sender,
    );
    Ok((reader, link))
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

/// Saves the names of new streams; to be called before their lines are sent.
fn save_new_streams(store: &RefCell<Store>, ledger: &RefCell<Ledger>, throttle: &Throttle) {
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

/// Saves the registry after acknowledgements, but not too often.
pub(crate) async fn keep(
    config: &Config,
    store: &RefCell<Store>,
    ledger: &RefCell<Ledger>,
    acknowledged: &Notify,
    throttle: &Throttle,
) {
    loop {
        acknowledged.notified().await;
        sleep(config.limits.registry_interval).await;
        if !ledger.borrow().is_dirty() {
            continue;
        }
        let saved = store.borrow_mut().save(&mut ledger.borrow_mut());
        if let Err(error) = saved {
            acknowledged.notify_one();
            if let Some(suppressed) = throttle.admit("registry not saved") {
                error!(%error, suppressed, "the registry cannot be saved; shipping goes on, but a crash \
                    now would send lines again");
            }
        }
    }
}
