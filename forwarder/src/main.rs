//! The program: arguments, log, config, then [`skidder_forwarder::run`]; and the signals.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use skidder_forwarder::cli::{self, Command, EXIT_CONFIG, EXIT_FAILED, Invocation, Question};
use skidder_forwarder::config::plan::{DATA_DIR, REGISTRY, STATUS_SOCKET};
use skidder_forwarder::drain::Drained;
use skidder_forwarder::health::client;
use skidder_forwarder::health::systemd::Notifier;
use skidder_forwarder::registry::state::{self, Action};
use skidder_forwarder::reload::SetLevel;
use skidder_forwarder::sandbox::{self, Sandbox};
use skidder_forwarder::{Controls, check, config, doctor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Files in the table of `status`.
const LISTED_FILES: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match cli::parse(&arguments) {
        Command::Print { text, code: 0 } => {
            print(&mut std::io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Command::Print { text, code } => {
            print(&mut std::io::stderr(), &text);
            ExitCode::from(code)
        }
        Command::Check(invocation) => check(&invocation),
        Command::Doctor {
            invocation,
            json,
            patience,
        } => doctor(&invocation, json, patience),
        Command::State { action, invocation } => state(&action, &invocation),
        Command::Ask {
            question,
            socket,
            invocation,
        } => ask(&question, socket, &invocation),
        Command::Run(invocation) => run(&invocation),
    }
}

/// Nobody is left to be told if this fails.
fn print(to: &mut dyn Write, text: &str) {
    drop(to.write_all(text.as_bytes()));
}

fn check(invocation: &Invocation) -> ExitCode {
    match config::load(&invocation.config, &invocation.overrides) {
        Ok(config) => {
            print(&mut std::io::stdout(), &check::describe(&config));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print(&mut std::io::stderr(), &format!("{problems}\n"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn doctor(invocation: &Invocation, json: bool, patience: Duration) -> ExitCode {
    match doctor::examine(&invocation.config, &invocation.overrides, patience) {
        Ok(report) => {
            let text = if json {
                // There is nothing in it that JSON has no form for.
                serde_json::to_string(&report).unwrap_or_default() + "\n"
            } else {
                report.to_string()
            };
            print(&mut std::io::stdout(), &text);
            ExitCode::from(if report.good { 0 } else { EXIT_FAILED })
        }
        Err(problems) => {
            print(&mut std::io::stderr(), &format!("{problems}\n"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn state(action: &Action, invocation: &Invocation) -> ExitCode {
    let overrides = &invocation.overrides;
    let in_directory = overrides.data_dir.as_ref().map(|data| data.join(REGISTRY));
    let registry = match overrides.registry.clone().or(in_directory) {
        Some(registry) => registry,
        None if invocation.config.as_os_str().is_empty() => Path::new(DATA_DIR).join(REGISTRY),
        None => match config::load(&invocation.config, overrides) {
            Ok(config) => config.registry,
            Err(problems) => {
                print(&mut std::io::stderr(), &format!("{problems}\n"));
                return ExitCode::from(EXIT_CONFIG);
            }
        },
    };
    match state::act(action, &registry) {
        Ok(answer) if answer.good => {
            print(&mut std::io::stdout(), &answer.text);
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            print(&mut std::io::stdout(), &answer.text);
            ExitCode::from(EXIT_FAILED)
        }
        Err(error) => {
            print(&mut std::io::stderr(), &format!("{error}\n"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn ask(question: &Question, socket: Option<PathBuf>, invocation: &Invocation) -> ExitCode {
    let overrides = &invocation.overrides;
    let in_directory = overrides
        .data_dir
        .as_ref()
        .map(|data| data.join(STATUS_SOCKET));
    let socket = match socket.or(in_directory) {
        Some(socket) => socket,
        None if invocation.config.as_os_str().is_empty() => Path::new(DATA_DIR).join(STATUS_SOCKET),
        None => match config::load(&invocation.config, overrides) {
            Ok(config) => match config.status_socket {
                Some((socket, _)) => socket,
                None => {
                    let text = "`status socket` is off in this config, there is nobody to ask\n";
                    print(&mut std::io::stderr(), text);
                    return ExitCode::from(EXIT_CONFIG);
                }
            },
            Err(problems) => {
                print(&mut std::io::stderr(), &format!("{problems}\n"));
                return ExitCode::from(EXIT_CONFIG);
            }
        },
    };
    let answer = client::ask(&socket, &question.line(), question.patience());
    let told = answer.and_then(|mut answer| match question {
        Question::Status { json: true, .. } => {
            Ok((format!("{}\n", serde_json::Value::Object(answer)), true))
        }
        Question::Status { all, .. } => {
            let most = if *all { usize::MAX } else { LISTED_FILES };
            Ok((client::table(&answer, most), true))
        }
        Question::Drain { json, .. } => {
            let drained = answer.remove("drained").unwrap_or_default();
            let text = format!("{drained}\n");
            let drained: Drained = serde_json::from_value(drained)
                .map_err(|error| format!("the answer is not understood: {error}"))?;
            let text = if *json { text } else { drained.text() };
            Ok((text, drained.is_complete()))
        }
        Question::LogLevel(_) | Question::Reload | Question::Resume => {
            let done = answer.get("done").and_then(serde_json::Value::as_str);
            Ok((format!("{}\n", done.unwrap_or("done")), true))
        }
    });
    match told {
        Ok((text, good)) => {
            print(&mut std::io::stdout(), &text);
            ExitCode::from(if good { 0 } else { EXIT_FAILED })
        }
        Err(message) => {
            print(&mut std::io::stderr(), &format!("{message}\n"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(invocation: &Invocation) -> ExitCode {
    let config = match config::load(&invocation.config, &invocation.overrides) {
        Ok(config) => config,
        Err(problems) => {
            print(&mut std::io::stderr(), &format!("{problems}\n"));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let set_level = log_to_stderr(&config.log_level);
    for remark in &invocation.remarks {
        warn!("{remark}");
    }
    if let Some(nice) = config.nice
        && let Err(error) = rustix::process::setpriority_process(None, nice)
    {
        warn!(nice, %error, "cannot change the priority, going on with the one there is");
    }
    match ship(config, set_level, invocation.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn ship(config: config::Config, set_level: SetLevel, invocation: Invocation) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        // The one that resolves names stays, since one started later would be in the sandbox.
        .thread_keep_alive(Duration::MAX)
        .build()
        .context("cannot start the runtime")?;
    let sandbox = if config.sandbox == sandbox::Mode::Off {
        None
    } else {
        runtime
            .block_on(runtime.spawn_blocking(|| ()))
            .context("cannot start a thread")?;
        Sandbox::enter(&config, &invocation.config)?
    };
    let result = runtime.block_on(async {
        let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        info!(version = env!("CARGO_PKG_VERSION"), servers = ?config.network.servers.len(), "started");
        let path = invocation.config.clone();
        let controls = Controls {
            load: Some(Box::new(move || {
                config::load(&invocation.config, &invocation.overrides)
            })),
            files: Some(Box::new(move || config::files(&path))),
            set_level: Some(set_level),
            hangup: Some(hangup),
            notifier: Notifier::from_environment(),
            sandbox,
        };
        let stop = stop_signal(terminate, interrupt);
        // It is large, and there is one.
        Box::pin(skidder_forwarder::run_with(config, controls, stop)).await?;
        anyhow::Ok(())
    });
    // A name resolution that hangs must not hold up the exit.
    runtime.shutdown_background();
    result
}

/// Completes at the first signal. The second one ends the process at once: the registry on disk is
/// whole at any moment, so nothing is lost by that.
async fn stop_signal(mut terminate: Signal, mut interrupt: Signal) {
    wait(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        wait(&mut terminate, &mut interrupt).await;
        warn!(
            "second signal, stopping at once; what is not acknowledged is shipped by the next run"
        );
        #[expect(clippy::exit, reason = "the operator asked twice")]
        std::process::exit(i32::from(EXIT_FAILED));
    });
}

async fn wait(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Returns what changes the level.
fn log_to_stderr(level: &str) -> SetLevel {
    let filter = |level: &str| level.parse().unwrap_or(LevelFilter::INFO);
    let colours = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (level, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours);
    tracing_subscriber::registry()
        .with(level)
        .with(lines)
        .init();
    Box::new(move |level| {
        // It fails only when the log is gone, and there is none to say so.
        drop(handle.reload(filter(level)));
    })
}
