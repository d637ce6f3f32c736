//! `grok`: patterns tried, looked up, measured and proposed on the command line.
//!
//! INVARIANT: lines are matched by the filter itself (see `filter.rs`), so that what is printed is
//! what a pipeline would store. Memory is bounded by flags, see [`arguments`]. Text and JSON go
//! to stdout, everything else to stderr.

pub mod arguments;
mod cost;
mod discover;
mod filter;
mod library;
mod match_lines;

use std::io::Write;

use arguments::GrokAction;

use crate::{cli, log};

/// No line matched: the code of `grep`.
pub const EXIT_NO_MATCH: u8 = 1;
/// The input could not be read, or the output not be written (`EX_IOERR`), since
/// [`cli::EXIT_FAILED`] is taken.
pub const EXIT_IO: u8 = 74;

/// Patterns that cannot be used, in words for the person who wrote them.
#[derive(Debug)]
enum Refused {
    /// A sentence.
    Message(String),
    /// Findings with their places, as they are printed.
    Findings(String),
}

/// Why a subcommand did not do what it was asked for.
#[derive(Debug)]
enum Failure {
    Refused(Refused),
    Io(std::io::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Does it, and gives the exit code.
pub fn run(action: &GrokAction) -> u8 {
    let input = std::io::stdin().lock();
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let done = match action {
        GrokAction::Match(arguments) => match_lines::run(arguments, input, &mut output),
        GrokAction::List(arguments) => library::list(arguments, &mut output),
        GrokAction::Show(arguments) => library::show(arguments, &mut output),
        GrokAction::Cost(arguments) => cost::run(arguments, input, &mut output),
        GrokAction::Discover(arguments) => discover::run(arguments, input, &mut output),
    };
    let done = done.and_then(|code| {
        output.flush()?;
        Ok(code)
    });
    match done {
        Ok(code) => code,
        Err(Failure::Refused(refused)) => {
            match refused {
                Refused::Message(why) => log::complain(&why),
                Refused::Findings(findings) => log::say(&findings),
            }
            cli::EXIT_CONFIG
        }
        // Whoever reads has seen enough.
        Err(Failure::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => cli::EXIT_OK,
        Err(Failure::Io(error)) => {
            log::complain(&error);
            EXIT_IO
        }
    }
}
