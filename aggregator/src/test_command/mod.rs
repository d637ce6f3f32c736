//! `test`: cases for configurations, in the format of logstash-filter-verifier and a shorter one.
//!
//! `case_file.rs` reads a file into cases (`json.rs` and `yaml.rs` into values with places before that),
//! `discover.rs` finds the files and their configurations, `subject.rs` compiles those, `run.rs` runs the
//! cases, `compare.rs` says what is different, `report.rs` prints it, `update.rs` accepts it. `shadow.rs`
//! compares with what another Logstash has made.
//!
//! Nothing is started or connected to: texts go through the codec of an input, the filters, and the
//! conditions around the outputs.
//!
//! Exit codes: 0 all cases passed (or were rewritten), 1 some did not, 64 there is nothing to run, 78 a
//! case file or a configuration is refused.

pub mod arguments;
mod case_file;
mod compare;
mod discover;
mod json;
mod node;
mod report;
mod run;
mod session;
mod shadow;
mod subject;
mod update;
mod watch;
mod yaml;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

pub use self::arguments::TestArguments;
use self::report::Format;
use self::session::Session;
use crate::{cli, log};

/// Runs the command; the exit code.
pub fn run(arguments: &TestArguments) -> u8 {
    log::start(arguments.settings.log_level);
    if let Some(options) = &arguments.shadow {
        return shadow::run(arguments, options);
    }
    if arguments.watch {
        return watch::run(arguments);
    }
    once(arguments).0
}

/// Runs all cases once; the exit code, with what the result depends on.
fn once(arguments: &TestArguments) -> (u8, watch::Watched) {
    let mut session = Session::new(arguments);
    let report = match session.run() {
        Ok(report) => report,
        Err(failure) => {
            log::complain(&failure.message);
            return (failure.code, session.watched);
        }
    };
    let code = if report.refused() > 0 {
        cli::EXIT_CONFIG
    } else if report.failed() > 0 {
        cli::EXIT_FAILED
    } else {
        cli::EXIT_OK
    };
    let to_file = arguments.output.as_deref();
    if let Some(path) = to_file {
        let text = report.render(arguments.format, false, arguments.quiet);
        if let Err(error) = write_file(path, &text) {
            log::complain(&format!("cannot write {}: {error}", path.display()));
            return (cli::EXIT_FAILED, session.watched);
        }
    }
    let format = if to_file.is_some() {
        Format::Text
    } else {
        arguments.format
    };
    let text = report.render(format, color(), arguments.quiet);
    (printed(&text, code), session.watched)
}

/// Prints to stdout; the exit code, which is another one if that fails.
fn printed(text: &str, code: u8) -> u8 {
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => code,
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            log::complain(&format!("cannot write to stdout: {error}"));
            cli::EXIT_FAILED
        }
    }
}

/// Whether stdout may have colour.
fn color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes a report: all of it or nothing.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if path.is_file() {
        return crate::format_command::replace(path, text);
    }
    std::fs::write(path, text)
}
