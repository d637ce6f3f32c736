//! The life of the process: its pipelines are started, watched and stopped.
//!
//! Building ([`plan`]) finds every mistake of a configuration before anything starts; `-t`
//! stops there. Pipelines that others send to start first. The process ends when every pipeline has come to its end, or is
//! asked to by SIGTERM or SIGINT: then all inputs take nothing new, and each pipeline ends when it has delivered what it has and those that
//! send to it have ended. That may take `pipeline.shutdown_timeout`, and a second signal ends it at once.
//!
//! A changed configuration ([`changes`]) is read and built while the old one runs. Then the pipelines that it changes are stopped, from the front to the
//! back, and the new ones start; the others run on. What is sent to a pipeline that is stopped waits for the new one.
//!
//! A pipeline that fails takes none of the others with it, unless it is the only one.

mod changes;
mod pipeline;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use skidder_lumberjack::ByteBudget;
use skidder_pipeline::Pipeline;
use skidder_pipeline::language::{Code, Config, Diagnostic, Diagnostics};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, error, error_span, info, warn};

use self::changes::{Change, Known};
pub use self::changes::{Found, Source};
use self::pipeline::{Orders, Stop};
use crate::addresses::Addresses;
use crate::api;
use crate::input::{self, Input};
use crate::links::{self, Links};
use crate::monitor::{self, Monitor, State};
use crate::output::{self, Output};
use crate::queue::QueueError;
use crate::settings::Settings;

/// What all pipelines of a process share.
pub struct Shared {
    /// The memory of all listeners.
    pub budget: Arc<ByteBudget>,
    /// Where pipelines send to each other.
    pub addresses: Addresses,
    /// Log lines name the pipeline that they are about.
    pub named: bool,
    /// What is watched of the process.
    pub monitor: Arc<Monitor>,
}

impl Shared {
    /// For a process with these settings.
    pub fn new(settings: &Settings, named: bool) -> Self {
        let budget = ByteBudget::new(settings.queue_max_memory);
        Self {
            monitor: Arc::new(Monitor::new(Arc::clone(&budget), settings.queue_mark)),
            budget,
            addresses: Addresses::default(),
            named,
        }
    }
}

/// Why a pipeline could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The system refused a thread or the like.
    #[error("cannot start {what}: {error}")]
    Start {
        /// "a worker thread", …
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// The API cannot listen.
    #[error(
        "the API cannot listen on {host}:{first}-{last}: {error}: set api.http.host and api.http.port to where it can, \
         or api.enabled to false"
    )]
    Api {
        /// `api.http.host`
        host: String,
        /// The first port of `api.http.port`.
        first: u16,
        /// The last one.
        last: u16,
        /// Why.
        error: std::io::Error,
    },
    /// An input cannot begin.
    #[error("input {name}: {reason}")]
    Input {
        /// The plugin's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// An output cannot begin.
    #[error("output {name}: {reason}")]
    Output {
        /// The plugin's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The outputs were not done within the time for it.
    #[error(
        "stopped after {after:?} before everything was delivered; what was not delivered was not \
         acknowledged either, so senders that can send again will"
    )]
    NotDrained {
        /// `pipeline.shutdown_timeout`
        after: Duration,
    },
    /// An output gave up at the end of the time for it.
    #[error(
        "{events} events were not delivered when the time to stop was up; they were not \
         acknowledged, so senders that can send them again will"
    )]
    Undelivered {
        /// How many.
        events: u64,
    },
    /// The disk queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Some pipelines failed; what happened has been logged.
    #[error("failed: {}", .0.join(", "))]
    Failed(Vec<String>),
    /// A part of the process ended that must not.
    #[error("{0} ended unexpectedly, this is a bug: see the messages before this one")]
    Died(&'static str),
}

/// A pipeline that is ready to start.
pub struct Plan {
    settings: Settings,
    pipeline: Pipeline,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    workers: usize,
    pub(crate) links: Links,
    fingerprint: u64,
}

impl Plan {
    /// With the fingerprint of what it was made from, see [`Found`].
    pub(crate) fn with_fingerprint(self, fingerprint: u64) -> Self {
        Self {
            fingerprint,
            ..self
        }
    }
}

/// Builds inputs and outputs; what is wrong goes into `diagnostics`.
pub fn plan(
    settings: &Settings,
    config: &Config,
    pipeline: Pipeline,
    shared: &Shared,
    diagnostics: &mut Diagnostics,
) -> Option<Plan> {
    let inputs = input::build(settings, &config.inputs, &shared.budget, diagnostics);
    let outputs = output::build(settings, &pipeline.output_plugins, diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    if inputs.is_empty() {
        diagnostics.push(no_input());
        return None;
    }
    let workers = settings.workers_or(inputs.iter().all(Input::is_stdin));
    Some(Plan {
        settings: settings.clone(),
        links: links_of(settings, &inputs, &outputs),
        fingerprint: 0,
        pipeline,
        inputs,
        outputs,
        workers,
    })
}

/// What a pipeline of these inputs and outputs has to do with others.
pub(crate) fn links_of(settings: &Settings, inputs: &[Input], outputs: &[Output]) -> Links {
    let mut links = Links {
        id: settings.pipeline_id.clone(),
        ..Links::default()
    };
    for input in inputs {
        input.link(&mut links);
    }
    for output in outputs {
        output.link(&mut links);
    }
    links
}

/// The finding that there is no input.
pub(crate) fn no_input() -> Diagnostic {
    let message = "the configuration has no input: nothing would ever come";
    Diagnostic::error(None, message).code(Code::Pipeline)
}

/// How a process ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was well.
    Well,
    /// The configuration of some pipeline was refused, and has not been mended.
    WithRefused,
}

/// Runs until all pipelines have ended or a signal comes; `refused` are those that cannot start, with their fingerprints. What `source` finds later takes the place of what runs; it is
/// asked on SIGHUP, and with `config.reload.automatic` in an interval: then the process does not end by itself.
pub fn run(
    settings: &Settings,
    plans: Vec<Plan>,
    refused: Vec<(String, u64)>,
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
) -> Result<Ended, RuntimeError> {
    let failed = |what| move |error| RuntimeError::Start { what, error };
    allow_all_files();
    let workers = plans.iter().map(|plan| plan.workers).max();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.unwrap_or_default().clamp(1, 8))
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(failed("the network threads"))?;
    api::start(settings, &shared.monitor)?;
    let is_one_of_several = !refused.is_empty();
    for (id, _) in &refused {
        shared.monitor.set(id, State::Refused);
    }
    let supervisor = Supervisor {
        shutdown_timeout: settings.shutdown_timeout,
        drain_delay: settings.drain_delay,
        drain_at: None,
        reload_interval: settings
            .reload_automatic
            .then_some(settings.reload_interval),
        shared,
        source,
        ended: JoinSet::new(),
        known: refused
            .into_iter()
            .map(|(id, fingerprint)| Supervised::refused(id, fingerprint))
            .collect(),
        replacing: None,
        only: plans.len() == 1 && !is_one_of_several && !settings.reload_automatic,
        stopping: false,
    };
    let result = runtime.block_on(supervisor.run(plans));
    // A read of stdin that waits for a person must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Each connection is an open file, and the limit that most systems begin with is a thousand.
fn allow_all_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// A pipeline, as the supervisor sees it.
struct Supervised {
    id: String,
    fingerprint: u64,
    /// It has failed, and not run since.
    failed: bool,
    /// Its configuration is refused, and has never run.
    refused: bool,
    reloadable: bool,
    running: Option<Running>,
}

impl Supervised {
    fn refused(id: String, fingerprint: u64) -> Self {
        Self {
            id,
            fingerprint,
            failed: false,
            refused: true,
            reloadable: true,
            running: None,
        }
    }
}

/// A pipeline that runs.
struct Running {
    links: Links,
    /// Whether others send to it, or did.
    is_fed: bool,
    stop: watch::Sender<Option<Stop>>,
    close: watch::Sender<bool>,
}

/// Pipelines that are stopped one after the other, and those that start then.
struct Replacing {
    stop: VecDeque<String>,
    start: Vec<Plan>,
}

struct Supervisor {
    shutdown_timeout: Duration,
    drain_delay: Duration,
    /// It was asked to stop, and begins with it then.
    drain_at: Option<Instant>,
    reload_interval: Option<Duration>,
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    /// What became of each pipeline, with its id.
    ended: JoinSet<(String, Result<(), RuntimeError>)>,
    known: Vec<Supervised>,
    replacing: Option<Replacing>,
    /// There is one pipeline, and the process is as it is.
    only: bool,
    stopping: bool,
}

impl Supervisor {
    async fn run(mut self, plans: Vec<Plan>) -> Result<Ended, RuntimeError> {
        let failed = |what| move |error| RuntimeError::Start { what, error };
        let listen = |kind| signal(kind).map_err(failed("signal handling"));
        let mut signals = Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        };
        let mut hangup = listen(SignalKind::hangup())?;
        let beating = tokio::spawn(beat(Arc::clone(&self.shared.monitor)));
        self.start_all(plans).await;
        self.shared.monitor.all_started();
        let mut looking: Option<JoinHandle<Change>> = None;
        let mut next_look = self
            .reload_interval
            .map(|interval| Instant::now() + interval);
        loop {
            let may_look = looking.is_none() && self.replacing.is_none() && !self.stopping;
            tokio::select! {
                Some(ended) = self.ended.join_next() => match ended {
                    Ok((id, result)) => self.ended(&id, result).await?,
                    Err(_) => return Err(RuntimeError::Died("a pipeline")),
                },
                name = signals.next() => self.stop(name),
                () = pipeline::until(self.drain_at) => self.drain(),
                _ = hangup.recv(), if may_look => {
                    info!("SIGHUP: looking for a changed configuration");
                    looking = Some(self.look());
                }
                () = pipeline::until(next_look), if may_look => looking = Some(self.look()),
                change = finished(&mut looking) => {
                    looking = None;
                    next_look = self.reload_interval.map(|interval| Instant::now() + interval);
                    if !self.stopping {
                        self.change(change).await;
                    }
                }
            }
            let waits = self.reload_interval.is_some() && !self.stopping;
            if self.ended.is_empty() && self.replacing.is_none() && looking.is_none() && !waits {
                break;
            }
        }
        beating.abort();
        let failed = self.known.iter().filter(|known| known.failed);
        let failed: Vec<String> = failed.map(|known| known.id.clone()).collect();
        if !failed.is_empty() {
            return Err(RuntimeError::Failed(failed));
        }
        if self.known.iter().any(|known| known.refused) {
            return Ok(Ended::WithRefused);
        }
        Ok(Ended::Well)
    }

    /// Starts pipelines, those that others send to first.
    async fn start_all(&mut self, plans: Vec<Plan>) {
        let links: Vec<Links> = plans.iter().map(|plan| plan.links.clone()).collect();
        let order = links::back_to_front(&links::downstream(&links));
        let mut plans: Vec<Option<Plan>> = plans.into_iter().map(Some).collect();
        for number in order {
            if let Some(plan) = plans[number].take() {
                self.start(plan).await;
            }
        }
        self.note_feeding();
    }

    /// Starts a pipeline, and waits until it takes events or has failed.
    async fn start(&mut self, plan: Plan) {
        let (stop, stopped) = watch::channel(None);
        let (close, closed) = watch::channel(false);
        let (ready, started) = oneshot::channel();
        let links = plan.links.clone();
        let id = links.id.clone();
        let span = if self.shared.named {
            error_span!("pipeline", id)
        } else {
            Span::none()
        };
        self.shared.monitor.set(&id, State::Starting);
        self.known.retain(|known| known.id != id);
        self.known.push(Supervised {
            id: id.clone(),
            fingerprint: plan.fingerprint,
            failed: false,
            refused: false,
            // COMPAT: a read of standard input cannot be called off.
            reloadable: plan.settings.reloadable && plan.links.stdin.is_empty(),
            running: Some(Running {
                links,
                is_fed: false,
                stop,
                close,
            }),
        });
        let shared = Arc::clone(&self.shared);
        let orders = Orders {
            stop: stopped,
            close: closed,
        };
        let running = async move {
            let result = pipeline::run(plan, &shared, orders, ready).await;
            (id, result)
        };
        self.ended.spawn(running.instrument(span));
        // One that has failed is among those that have ended.
        let _failed = started.await;
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        self.known.iter().filter_map(|known| known.running.as_ref())
    }

    /// A pipeline has ended: those that only it has sent to get nothing any more.
    async fn ended(
        &mut self,
        id: &str,
        result: Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let replaced = self
            .replacing
            .as_ref()
            .is_some_and(|replacing| replacing.stop.front().is_some_and(|first| first == id));
        if self.only && !replaced && result.is_err() {
            return result;
        }
        self.note_feeding();
        let comes_again = self.replacing.as_ref().is_some_and(|replacing| {
            replaced && replacing.start.iter().any(|plan| plan.links.id == *id)
        });
        let monitor = &self.shared.monitor;
        match result {
            _ if comes_again => monitor.set(id, State::Starting),
            _ if replaced => monitor.forget(id),
            Ok(()) => monitor.set(id, State::Ended),
            Err(_) => monitor.set(id, State::Failed),
        }
        if let Some(known) = self.known.iter_mut().find(|known| known.id == *id) {
            known.running = None;
            if let Err(failure) = result {
                known.failed = true;
                let message = if replaced {
                    "not all of it was delivered when the pipeline was stopped for a new configuration"
                } else {
                    "the pipeline has failed, the others go on without it"
                };
                error!(pipeline = id, error = %failure, "{message}");
            }
        }
        if replaced {
            if let Some(replacing) = &mut self.replacing {
                replacing.stop.pop_front();
            }
            self.go_on_replacing().await;
        }
        self.close_unfed();
        Ok(())
    }

    /// Remembers which pipelines others send to.
    fn note_feeding(&mut self) {
        let links: Vec<Links> = self
            .running()
            .map(|running| running.links.clone())
            .collect();
        for known in &mut self.known {
            if let Some(running) = &mut known.running {
                running.is_fed |= links.iter().any(|links| links.sends_to(&running.links));
            }
        }
    }

    /// Tells pipelines that nothing will come from others any more.
    fn close_unfed(&self) {
        // What is stopped may come back.
        let drains = self.stopping && self.drain_at.is_none();
        let final_ = self.reload_interval.is_none() && self.replacing.is_none();
        for running in self.running() {
            let mut others = self.running();
            let is_over = drains || (running.is_fed && final_);
            if is_over && !others.any(|other| other.links.sends_to(&running.links)) {
                running.close.send_replace(true);
            }
        }
    }

    fn stop(&mut self, signal: &str) {
        if self.stopping {
            warn!(
                signal,
                "stopped at once, nothing that is not delivered was acknowledged"
            );
            for running in self.running() {
                running.stop.send_replace(Some(Stop::Now));
            }
            return;
        }
        self.stopping = true;
        self.replacing = None;
        self.shared.monitor.stops();
        if self.drain_delay.is_zero() {
            info!(signal, timeout = ?self.shutdown_timeout, "stopping: draining inputs, queue and outputs");
            return self.drain();
        }
        info!(
            signal, delay = ?self.drain_delay,
            "stopping soon: /readyz says so, and everything else goes on as before for drain.delay"
        );
        self.drain_at = Some(Instant::now() + self.drain_delay);
    }

    /// Lets all pipelines take nothing new, deliver what they have, and end.
    fn drain(&mut self) {
        if self.drain_at.take().is_some() {
            info!(timeout = ?self.shutdown_timeout, "draining inputs, queue and outputs");
        }
        let at = Instant::now() + self.shutdown_timeout;
        for running in self.running() {
            running.stop.send_replace(Some(Stop::Drain(at)));
        }
        self.close_unfed();
    }

    /// Compares the configuration with what runs, in a thread of its own.
    fn look(&self) -> JoinHandle<Change> {
        let known: Vec<Known> = self
            .known
            .iter()
            .map(|known| Known {
                id: known.id.clone(),
                fingerprint: known.fingerprint,
                failed: known.failed,
                reloadable: known.reloadable,
                links: known.running.as_ref().map(|running| running.links.clone()),
            })
            .collect();
        let (source, shared) = (Arc::clone(&self.source), Arc::clone(&self.shared));
        tokio::task::spawn_blocking(move || changes::look(source.as_ref(), &known, &shared))
    }

    /// Does what is to be done: stops what goes, from the front to the back, then starts what comes.
    async fn change(&mut self, change: Change) {
        let mut refused = 0;
        for (id, fingerprint) in change.tried {
            let comes = change.plans.iter().any(|plan| plan.links.id == id);
            refused += u64::from(!comes);
            match self.known.iter_mut().find(|known| known.id == id) {
                // What is refused is not looked at again until it changes.
                Some(known) => {
                    known.fingerprint = fingerprint;
                    if known.running.is_none() && !comes {
                        known.failed = false;
                        known.refused = true;
                    }
                }
                None => self.known.push(Supervised::refused(id, fingerprint)),
            }
        }
        self.known
            .retain(|known| known.running.is_some() || !change.gone.contains(&known.id));
        self.watch_refused();
        let monitor = &self.shared.monitor;
        monitor
            .refused_reloads
            .fetch_add(refused, Ordering::Relaxed);
        if change.plans.is_empty() && change.gone.is_empty() {
            return;
        }
        let links: Vec<Links> = self
            .running()
            .map(|running| running.links.clone())
            .collect();
        let order = links::back_to_front(&links::downstream(&links));
        let goes = |id: &String| {
            change.gone.contains(id) || change.plans.iter().any(|plan| plan.links.id == *id)
        };
        let stop = order.iter().rev().map(|number| links[*number].id.clone());
        self.replacing = Some(Replacing {
            stop: stop.filter(goes).collect(),
            start: change.plans,
        });
        self.go_on_replacing().await;
    }

    /// Tells the monitor which pipelines there are, but do not run because of their configuration, and which are gone.
    fn watch_refused(&self) {
        let monitor = &self.shared.monitor;
        for known in self.known.iter().filter(|known| known.refused) {
            monitor.set(&known.id, State::Refused);
        }
        for id in monitor.pipelines().keys() {
            if !self.known.iter().any(|known| known.id == *id) {
                monitor.forget(id);
            }
        }
    }

    async fn go_on_replacing(&mut self) {
        let Some(replacing) = &mut self.replacing else {
            return;
        };
        while let Some(id) = replacing.stop.front() {
            let known = self.known.iter().find(|known| known.id == *id);
            if let Some(running) = known.and_then(|known| known.running.as_ref()) {
                info!(pipeline = id, "stopping for a changed configuration");
                let at = Instant::now() + self.shutdown_timeout;
                running.stop.send_replace(Some(Stop::Drain(at)));
                running.close.send_replace(true);
                return;
            }
            replacing.stop.pop_front();
        }
        let plans = std::mem::take(&mut replacing.start);
        self.start_all(plans).await;
        self.replacing = None;
        self.shared.monitor.reloads.fetch_add(1, Ordering::Relaxed);
        self.watch_refused();
        info!("the changed configuration is in use");
        self.close_unfed();
    }
}

/// Says again and again that the runtime lives.
async fn beat(monitor: Arc<Monitor>) {
    let mut interval = tokio::time::interval(monitor::BEAT_INTERVAL);
    loop {
        interval.tick().await;
        monitor.beat();
    }
}

/// What came of a look; never, if there is none.
async fn finished(looking: &mut Option<JoinHandle<Change>>) -> Change {
    match looking {
        Some(looking) => looking.await.unwrap_or_else(|failure| {
            error!(%failure, "cannot look for a changed configuration, this is a bug");
            Change::default()
        }),
        None => std::future::pending().await,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
