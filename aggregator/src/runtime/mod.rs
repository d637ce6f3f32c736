//! The life of the process: its pipelines are started, watched and stopped.
//!
//! Building ([`plan`]) finds every mistake of a configuration before anything starts; `-t`
//! stops there. Pipelines that others send to start first. The process ends when every pipeline has come to its end, or is
//! asked to by SIGTERM or SIGINT: then all inputs take nothing new, and each pipeline ends when it has delivered what it has and those that
//! send to it have ended. That may take `pipeline.shutdown_timeout`, and a second signal ends it at once.
//!
//! A pipeline that fails takes none of the others with it, unless it is the only one.

mod pipeline;

use std::sync::Arc;
use std::time::Duration;

use skidder_lumberjack::ByteBudget;
use skidder_pipeline::Pipeline;
use skidder_pipeline::language::{Code, Config, Diagnostic, Diagnostics};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, error, error_span, info, warn};

use self::pipeline::{Orders, Stop};
use crate::addresses::Addresses;
use crate::input::{self, Input};
use crate::links::{self, Links};
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
}

impl Shared {
    /// For a process with these settings.
    pub fn new(settings: &Settings, named: bool) -> Self {
        Self {
            budget: ByteBudget::new(settings.queue_max_memory),
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
    inputs.iter().for_each(|input| input.link(&mut links));
    outputs.iter().for_each(|output| output.link(&mut links));
    links
}

/// The finding that there is no input.
pub(crate) fn no_input() -> Diagnostic {
    let message = "the configuration has no input: nothing would ever come";
    Diagnostic::error(None, message).code(Code::Pipeline)
}

/// Runs until all pipelines have ended or a signal comes.
pub fn run(settings: &Settings, plans: Vec<Plan>, shared: Shared) -> Result<(), RuntimeError> {
    let failed = |what| move |error| RuntimeError::Start { what, error };
    let workers = plans.iter().map(|plan| plan.workers).max();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.unwrap_or_default().clamp(1, 8))
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(failed("the network threads"))?;
    let supervisor = Supervisor {
        shutdown_timeout: settings.shutdown_timeout,
        shared: Arc::new(shared),
        ended: JoinSet::new(),
        running: Vec::new(),
        failed: Vec::new(),
        only: plans.len() == 1,
        stopping: false,
    };
    let result = runtime.block_on(supervisor.run(plans));
    // A read of stdin that waits for a person must not hold up the end.
    runtime.shutdown_background();
    result
}

/// A pipeline that runs, as the supervisor sees it.
struct Running {
    links: Links,
    /// Whether others send to it, or did.
    is_fed: bool,
    stop: watch::Sender<Option<Stop>>,
    close: watch::Sender<bool>,
}

struct Supervisor {
    shutdown_timeout: Duration,
    shared: Arc<Shared>,
    /// What became of each pipeline, with its id.
    ended: JoinSet<(String, Result<(), RuntimeError>)>,
    running: Vec<Running>,
    failed: Vec<String>,
    /// There is one pipeline, and the process is as it is.
    only: bool,
    stopping: bool,
}

impl Supervisor {
    async fn run(mut self, plans: Vec<Plan>) -> Result<(), RuntimeError> {
        let failed = |what| move |error| RuntimeError::Start { what, error };
        let mut signals = Signals {
            terminate: signal(SignalKind::terminate()).map_err(failed("signal handling"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed("signal handling"))?,
        };
        let all: Vec<Links> = plans.iter().map(|plan| plan.links.clone()).collect();
        let downstream = links::downstream(&all);
        let mut plans: Vec<Option<Plan>> = plans.into_iter().map(Some).collect();
        for number in links::back_to_front(&downstream) {
            let is_fed = downstream.iter().any(|to| to.contains(&number));
            if let Some(plan) = plans[number].take() {
                self.start(plan, is_fed).await;
            }
        }
        loop {
            tokio::select! {
                ended = self.ended.join_next() => match ended {
                    None => break,
                    Some(Ok((id, result))) => self.ended(id, result)?,
                    Some(Err(_)) => return Err(RuntimeError::Died("a pipeline")),
                },
                name = signals.next() => self.stop(name),
            }
        }
        if self.failed.is_empty() {
            Ok(())
        } else {
            Err(RuntimeError::Failed(self.failed))
        }
    }

    /// Starts a pipeline, and waits until it takes events or has failed.
    async fn start(&mut self, plan: Plan, is_fed: bool) {
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
        self.running.push(Running {
            links,
            is_fed,
            stop,
            close,
        });
        // One that has failed is among those that have ended.
        let _failed = started.await;
    }

    /// A pipeline has ended: those that only it has sent to get nothing any more.
    fn ended(&mut self, id: String, result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        self.running.retain(|running| running.links.id != id);
        if let Err(failure) = result {
            if self.only {
                return Err(failure);
            }
            error!(pipeline = id, error = %failure, "the pipeline has failed, the others go on without it");
            self.failed.push(id);
        }
        self.close_unfed();
        Ok(())
    }

    fn close_unfed(&self) {
        for running in &self.running {
            let feeds = |other: &Running| other.links.sends_to(&running.links);
            if (running.is_fed || self.stopping) && !self.running.iter().any(feeds) {
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
            for running in &self.running {
                running.stop.send_replace(Some(Stop::Now));
            }
            return;
        }
        self.stopping = true;
        info!(signal, timeout = ?self.shutdown_timeout, "stopping: draining inputs, queue and outputs");
        let at = Instant::now() + self.shutdown_timeout;
        for running in &self.running {
            running.stop.send_replace(Some(Stop::Drain(at)));
        }
        self.close_unfed();
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
