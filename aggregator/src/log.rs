//! The process's log: text lines on stderr. stdout belongs to outputs.

use std::io::{IsTerminal as _, Write as _};

use tracing::level_filters::LevelFilter;

/// Starts the log. Colour only on a terminal, and not where `NO_COLOR` is set.
pub fn start(level: LevelFilter) {
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(color())
        .with_target(false)
        .try_init();
    if started.is_err() {
        complain(&"the log was started twice");
    }
}

/// Starts a thread whose log lines name the same pipeline as those of its starter.
pub(crate) fn thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let span = tracing::Span::current();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || span.in_scope(run))
}

/// Whether messages on stderr may have colour.
pub fn color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints an error that ends the process, before or without the log.
pub fn complain(error: &dyn std::fmt::Display) {
    say(&format!("error: {error}\n"));
}

/// Prints text to stderr as it is. A closed stderr is nobody's problem.
pub fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
