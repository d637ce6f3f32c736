//! The program: arguments, log, config, then [`skidder_forwarder::run`]; and the signals.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use skidder_forwarder::cli::{self, Command, EXIT_CONFIG, EXIT_FAILED, Invocation};
use skidder_forwarder::config::plan::{DATA_DIR, REGISTRY};
use skidder_forwarder::registry::state::{self, Action};
use skidder_forwarder::{check, config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

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
        Command::State { action, invocation } => state(&action, &invocation),
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

fn run(invocation: &Invocation) -> ExitCode {
    let config = match config::load(&invocation.config, &invocation.overrides) {
        Ok(config) => config,
        Err(problems) => {
            print(&mut std::io::stderr(), &format!("{problems}\n"));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    log_to_stderr(&config.log_level);
    for remark in &invocation.remarks {
        warn!("{remark}");
    }
    match ship(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn ship(config: config::Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        info!(version = env!("CARGO_PKG_VERSION"), servers = ?config.network.servers.len(), "started");
        skidder_forwarder::run(config, stop_signal(terminate, interrupt)).await?;
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

fn log_to_stderr(level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let colours = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours)
        .init();
}
