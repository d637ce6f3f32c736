//! The program: reads the command line and does what it asks for.

use std::io::Write as _;
use std::process::ExitCode;

use skidder_aggregator::cli::{self, Action, CliError};
use skidder_aggregator::{certificates, commands, grok_command, log, test_command};

/// Batches are allocated by network threads and freed by workers; glibc's arenas keep such
/// memory, mimalloc gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let action = match cli::parse(std::env::args_os()) {
        Ok(action) => action,
        Err(CliError::Usage(error)) => {
            // Help and version go to stdout and are no error.
            let wrong = error.use_stderr();
            return match error.print() {
                Ok(()) if !wrong => ExitCode::from(cli::EXIT_OK),
                _ => ExitCode::from(cli::EXIT_USAGE),
            };
        }
        Err(error @ CliError::Settings(_)) => {
            log::complain(&error);
            return ExitCode::from(cli::EXIT_CONFIG);
        }
    };
    let code = match action {
        Action::Run(settings) => commands::run(&settings),
        Action::Check(options, settings) => commands::check(&settings, options),
        Action::Doctor(as_json, settings) => commands::doctor(&settings, as_json),
        Action::Format(arguments) => commands::format(&arguments),
        Action::LanguageServer(settings) => commands::language_server(&settings),
        Action::Filter(arguments) => commands::filter(&arguments),
        Action::Explain(arguments) => commands::explain(&arguments),
        Action::Test(arguments) => test_command::run(&arguments),
        Action::Grok(action) => grok_command::run(&action),
        Action::Queue(command, settings) => commands::queue(command, &settings),
        Action::DeadLetters(command, settings) => commands::dead_letters(&command, &settings),
        Action::Replay(arguments) => commands::replay(
            &arguments.settings,
            arguments.through_pipeline,
            arguments.dry_run,
        ),
        Action::Certificates(arguments) => match certificates::make(&arguments) {
            Ok(paths) => {
                let mut out = std::io::stdout().lock();
                for path in paths {
                    if writeln!(out, "{}", path.display()).is_err() {
                        return ExitCode::from(cli::EXIT_FAILED);
                    }
                }
                cli::EXIT_OK
            }
            Err(error) => {
                log::complain(&error);
                cli::EXIT_FAILED
            }
        },
    };
    ExitCode::from(code)
}
