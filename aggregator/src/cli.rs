//! The command line.
//!
//! COMPAT: without a subcommand the flags are Logstash's (`-f`, `-e`, `-t`, `-w`, `-b`,
//! `--path.data` …), and any setting of `logstash.yml` is a flag too; both come from
//! [`settings::TABLE`]. Exit codes: 0 done, 1 failed while running, 64 wrong usage, 78 the
//! configuration is refused (the codes of `sysexits.h`).

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::check::{self, CheckOptions};
use crate::dead_letter_command::{DeadLetterCommand, Filter};
use crate::grok_command::arguments::{self as grok, GrokAction};
use crate::queue::command::QueueCommand;
use crate::settings::{self, Kind, Settings, SettingsError};
use crate::test_command::{self, TestArguments};

/// The process ended as it should.
pub const EXIT_OK: u8 = 0;
/// Something failed while running.
pub const EXIT_FAILED: u8 = 1;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 64;
/// The configuration or the settings are refused.
pub const EXIT_CONFIG: u8 = 78;

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Run (or with `-t`, only check) a pipeline.
    Run(Box<Settings>),
    /// Say what is wrong with a configuration.
    Check(CheckOptions, Box<Settings>),
    /// Try what a configuration needs of other machines; as JSON or not.
    Doctor(bool, Box<Settings>),
    /// Bring configurations into one form.
    Format(FormatArguments),
    /// Serve an editor.
    LanguageServer(Box<Settings>),
    /// Apply the filters of a configuration to standard input.
    Filter(FilterArguments),
    /// Show what the filters of a configuration do with a line, step by step.
    Explain(ExplainArguments),
    /// Run the cases of case files.
    Test(TestArguments),
    /// Look at a disk queue, or repair it.
    Queue(QueueCommand, Box<Settings>),
    /// Look at dead letters, or remove them.
    DeadLetters(DeadLetterCommand, Box<Settings>),
    /// Deliver dead letters again.
    Replay(ReplayArguments),
    /// Make a throw-away CA with certificates of both daemons.
    Certificates(CertificateArguments),
    /// Try, look up, measure or propose grok patterns.
    Grok(GrokAction),
}

/// Arguments of `filter`.
#[derive(Debug)]
pub struct FilterArguments {
    /// The settings; the configuration is in them.
    pub settings: Box<Settings>,
    /// Each line of the input is the message of an event, not a JSON object.
    pub lines: bool,
    /// Print `@metadata` too.
    pub metadata: bool,
}

/// Arguments of `format`.
#[derive(Debug)]
pub struct FormatArguments {
    /// The settings that say how a configuration is read.
    pub settings: Box<Settings>,
    /// Only say which files would change.
    pub check: bool,
    /// The files and directories; standard input if there are none.
    pub paths: Vec<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Debug)]
pub struct ExplainArguments {
    /// The settings; the configuration is in them.
    pub settings: Box<Settings>,
    /// Each line of the input is the message of an event, even if it is a JSON object.
    pub lines: bool,
    /// Print JSON.
    pub json: bool,
}

/// Arguments of `dlq replay`.
#[derive(Debug)]
pub struct ReplayArguments {
    /// The settings; the configuration is in them.
    pub settings: Box<Settings>,
    /// Through the filters, too.
    pub through_pipeline: bool,
    /// Print instead of deliver, and remember nothing.
    pub dry_run: bool,
}

/// Arguments of `certificates`.
#[derive(Debug)]
pub struct CertificateArguments {
    /// Where the files go.
    pub directory: PathBuf,
    /// Names and addresses of the aggregator.
    pub hosts: Vec<String>,
    /// Days until the certificates expire.
    pub days: u32,
}

/// Why the command line is refused.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong usage, help or version: the text is for the person, clap knows where it goes.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Reads the command line (with the program's name first) and `logstash.yml`.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Action, CliError> {
    let mut matches = command().try_get_matches_from(arguments)?;
    match matches.remove_subcommand() {
        Some((name, matches)) if name == "filter" => Ok(Action::Filter(FilterArguments {
            settings: Box::new(read_settings(&matches)?),
            lines: matches.get_flag("lines"),
            metadata: matches.get_flag("metadata"),
        })),
        Some((name, matches)) if name == "explain" => Ok(Action::Explain(ExplainArguments {
            settings: Box::new(read_settings(&matches)?),
            lines: matches.get_flag("lines"),
            json: matches.get_flag("json"),
        })),
        Some((name, matches)) if name == "check" => Ok(Action::Check(
            CheckOptions {
                syntax_only: matches.get_flag("syntax-only"),
                format: match matches.get_one::<String>("format").map(String::as_str) {
                    Some("json") => check::Format::Json,
                    _ => check::Format::Text,
                },
                deny_warnings: matches.get_flag("deny-warnings"),
            },
            Box::new(read_settings(&matches)?),
        )),
        Some((name, matches)) if name == "doctor" => Ok(Action::Doctor(
            matches.get_flag("json"),
            Box::new(read_settings(&matches)?),
        )),
        Some((name, matches)) if name == "lsp" => {
            Ok(Action::LanguageServer(Box::new(read_settings(&matches)?)))
        }
        Some((name, mut matches)) if name == "format" => Ok(Action::Format(FormatArguments {
            settings: Box::new(read_settings(&matches)?),
            check: matches.get_flag("check"),
            paths: matches
                .remove_many("paths")
                .map(Iterator::collect)
                .unwrap_or_default(),
        })),
        Some((name, matches)) if name == "test" => {
            let settings = read_settings(&matches)?;
            Ok(Action::Test(test_command::arguments::read(
                matches, settings,
            )))
        }
        Some((name, matches)) if name == "grok" => Ok(Action::Grok(grok::read(matches))),
        Some((name, mut matches)) if name == "queue" => {
            let (command, matches) = matches.remove_subcommand().unwrap_or_default();
            let settings = Box::new(read_settings(&matches)?);
            let command = match command.as_str() {
                "check" => QueueCommand::Check,
                "repair" => QueueCommand::Repair,
                "export" => QueueCommand::Export {
                    all: matches.get_flag("all"),
                    metadata: matches.get_flag("metadata"),
                },
                _ => QueueCommand::Show,
            };
            Ok(Action::Queue(command, settings))
        }
        Some((name, mut matches)) if name == "dlq" => {
            let (command, matches) = matches.remove_subcommand().unwrap_or_default();
            let settings = Box::new(read_settings(&matches)?);
            let command = match command.as_str() {
                "replay" => {
                    return Ok(Action::Replay(ReplayArguments {
                        settings,
                        through_pipeline: matches.get_flag("through-pipeline"),
                        dry_run: matches.get_flag("dry-run"),
                    }));
                }
                "stats" => DeadLetterCommand::Stats,
                "show" => DeadLetterCommand::Show(Filter {
                    limit: matches.get_one("limit").copied(),
                    plugin: matches.get_one("plugin").cloned(),
                    reason: matches.get_one("reason").cloned(),
                }),
                "purge" => DeadLetterCommand::Purge {
                    before: matches.get_one("before").copied(),
                    dry_run: matches.get_flag("dry-run"),
                },
                _ => DeadLetterCommand::List,
            };
            Ok(Action::DeadLetters(command, settings))
        }
        Some((_, mut matches)) => Ok(Action::Certificates(CertificateArguments {
            directory: matches.remove_one("directory").unwrap_or_default(),
            hosts: matches
                .remove_many("host")
                .map(Iterator::collect)
                .unwrap_or_default(),
            days: matches.remove_one("days").unwrap_or(30),
        })),
        None if matches.get_flag("syntax-only") => {
            let options = CheckOptions {
                syntax_only: true,
                ..CheckOptions::default()
            };
            Ok(Action::Check(options, Box::new(read_settings(&matches)?)))
        }
        None => Ok(Action::Run(Box::new(read_settings(&matches)?))),
    }
}

fn command() -> Command {
    Command::new("skidder-aggregator")
        .about("Receives, parses and delivers events to Elasticsearch and OpenSearch")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .args(settings::TABLE.iter().map(flag))
        .arg(syntax_only())
        .subcommand(check_command())
        .subcommand(
            Command::new("doctor")
                .about(
                    "Tries what the outputs of a configuration need: names, connections, TLS, logins, \
                     rights, templates; changes nothing",
                )
                .args(settings::TABLE.iter().map(flag))
                .arg(switch("json", "Print JSON")),
        )
        .subcommand(format_command())
        .subcommand(language_server_command())
        .subcommand(
            Command::new("filter")
                .about(
                    "Applies the filters of a configuration to events on stdin (one JSON object a \
                     line) and writes them to stdout as JSON lines, in order",
                )
                .args(settings::TABLE.iter().map(flag))
                .arg(
                    Arg::new("lines")
                        .long("lines")
                        .action(ArgAction::SetTrue)
                        .help("Each line of stdin is the message of an event"),
                )
                .arg(
                    Arg::new("metadata")
                        .long("metadata")
                        .action(ArgAction::SetTrue)
                        .help("Print @metadata too"),
                ),
        )
        .subcommand(queue_command())
        .subcommand(dead_letter_command())
        .subcommand(
            Command::new("explain")
                .about(
                    "Shows what the filters of a configuration do with each line of stdin: the \
                     event after each step, what each condition answered, how far a grok came",
                )
                .args(settings::TABLE.iter().map(flag))
                .arg(
                    Arg::new("lines")
                        .long("lines")
                        .action(ArgAction::SetTrue)
                        .help("Each line of stdin is the message of an event, even if it is JSON"),
                )
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print JSON, one object for each line of stdin"),
                ),
        )
        .subcommand(test_command::arguments::add_to(command_with_settings(
            "test",
            "Runs test cases (logstash-filter-verifier's, or shorter ones) through the filters",
            &test_command::arguments::SETTINGS,
        )))
        .subcommand(grok::command())
        .subcommand(
            Command::new("certificates")
                .about("Makes a throw-away CA and certificates for trying things out")
                .arg(
                    Arg::new("directory")
                        .required(true)
                        .value_name("DIRECTORY")
                        .value_parser(clap::value_parser!(PathBuf))
                        .help("Where ca.pem, aggregator.pem, forwarder.pem and their keys go"),
                )
                .arg(
                    Arg::new("host")
                        .long("host")
                        .value_name("NAME")
                        .action(ArgAction::Append)
                        .default_values(["localhost", "127.0.0.1"])
                        .help("A name or address of the aggregator; may be repeated"),
                )
                .arg(
                    Arg::new("days")
                        .long("days")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u32).range(1..=3650))
                        .default_value("30")
                        .help("Days until the certificates expire"),
                ),
        )
}

fn syntax_only() -> Arg {
    switch(
        "syntax-only",
        "Check the grammar alone: any plugin and option will do",
    )
}

fn check_command() -> Command {
    Command::new("check")
        .about("Says what is wrong with a configuration, all of it, and where to read about it")
        .args(settings::TABLE.iter().map(flag))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("text for people, json for programs"),
        )
        .arg(syntax_only())
        .arg(switch("deny-warnings", "Exit with 78 for warnings, too"))
}

fn format_command() -> Command {
    let which = [
        "path.settings",
        "config.support_escapes",
        "config.field_reference.escape_style",
        "log.level",
    ];
    command_with_settings(
        "format",
        "Brings configurations into one form; comments and meaning stay",
        &which,
    )
    .arg(switch(
        "check",
        "Write nothing, only say which files would change",
    ))
    .arg(
        Arg::new("paths")
            .value_name("FILE")
            .num_args(0..)
            .value_parser(clap::value_parser!(PathBuf))
            .help("Files, and directories of *.conf; without any, stdin to stdout"),
    )
}

fn language_server_command() -> Command {
    let which = [
        "path.settings",
        "pipeline.ecs_compatibility",
        "config.support_escapes",
        "config.field_reference.escape_style",
        "log.level",
    ];
    command_with_settings(
        "lsp",
        "A language server on stdin and stdout, for editors",
        &which,
    )
    // Editors like to say what is the only way here.
    .arg(switch("stdio", "Speak on stdin and stdout, as it does anyway").hide(true))
}

fn queue_command() -> Command {
    // The settings that say which queue it is, and how large it may be.
    let which = [
        "path.data",
        "path.queue",
        "path.settings",
        "pipeline.id",
        "pipeline.ecs_compatibility",
        "queue.max_bytes",
        "log.level",
    ];
    let command = |name, about| command_with_settings(name, about, &which);
    Command::new("queue")
        .about("Looks at a disk queue, or repairs it")
        .subcommand_required(true)
        .subcommand(command("show", "Prints what is in the queue"))
        .subcommand(command(
            "check",
            "Reads all of the queue and prints what is damaged",
        ))
        .subcommand(command(
            "repair",
            "Cuts off unfinished writes and moves damaged parts aside, as a start does",
        ))
        .subcommand(
            command(
                "export",
                "Prints the events that wait in the queue, not filtered, as JSON lines",
            )
            .arg(switch(
                "all",
                "The delivered ones too, as far as they are still there",
            ))
            .arg(switch("metadata", "Print @metadata too")),
        )
}

/// A subcommand that some settings are flags of.
fn command_with_settings(name: &'static str, about: &'static str, which: &[&str]) -> Command {
    let settings = settings::TABLE.iter();
    let flags = settings.filter(|setting| which.contains(&setting.name));
    Command::new(name).about(about).args(flags.map(flag))
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn dead_letter_command() -> Command {
    let which = [
        "path.data",
        "path.dead_letter_queue",
        "path.settings",
        "pipeline.id",
        "log.level",
    ];
    let command = |name, about| command_with_settings(name, about, &which);
    let value = |name: &'static str, of: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(of).help(help)
    };
    Command::new("dlq")
        .about("Looks at dead letters, delivers them again, or removes them")
        .subcommand_required(true)
        .subcommand(command("list", "Prints the segments"))
        .subcommand(command(
            "stats",
            "Prints how many letters there are of each kind",
        ))
        .subcommand(
            command("show", "Prints letters as JSON lines")
                .arg(value("limit", "N", "At most so many").value_parser(clap::value_parser!(u64)))
                .arg(value("plugin", "ID", "Only of this output"))
                .arg(value("reason", "TEXT", "Only with this text in the reason")),
        )
        .subcommand(
            Command::new("replay")
                .about("Delivers the letters again, by the outputs of a configuration")
                .args(settings::TABLE.iter().map(flag))
                .arg(switch("through-pipeline", "Through the filters, too"))
                .arg(switch(
                    "dry-run",
                    "Print the events instead, and remember nothing",
                )),
        )
        .subcommand(
            command("purge", "Removes segments")
                .arg(
                    value("before", "TIME", "Only those whose last letter is older")
                        .value_parser(clap::value_parser!(jiff::Timestamp)),
                )
                .arg(switch("dry-run", "Only print what would be removed")),
        )
}

fn flag(setting: &'static settings::Setting) -> Arg {
    let help = if setting.default.is_empty() {
        setting.help.to_owned()
    } else {
        format!("{} [default: {}]", setting.help, setting.default)
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .help(help)
        .hide(setting.without_effect.is_some())
        .action(ArgAction::Set);
    let arg = match setting.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    match setting.kind {
        Kind::Value => arg
            .value_name("VALUE")
            .allow_hyphen_values(setting.name == "config.string"),
        Kind::Switch => arg
            .value_name("BOOLEAN")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn read_settings(matches: &ArgMatches) -> Result<Settings, SettingsError> {
    // A subcommand need not have all of the flags.
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten();
    let mut settings = Settings::default();
    if let Some(directory) = given("path.settings") {
        settings.set("path.settings", directory)?;
    }
    let file = settings.path_settings.join("logstash.yml");
    match file.try_exists() {
        Ok(true) => settings.read_file(&file)?,
        Ok(false) if given("path.settings").is_none() => {}
        Ok(false) => tracing::warn!(path = %file.display(), "no such file, defaults apply"),
        Err(error) => return Err(SettingsError::Read { path: file, error }),
    }
    for setting in settings::TABLE {
        if let Some(value) = given(setting.name) {
            settings.set(setting.name, value)?;
        }
    }
    settings.chosen = given("pipeline.id").cloned();
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Settings {
        let all = ["skidder-aggregator"]
            .iter()
            .chain(arguments)
            .map(Into::into);
        match parse(all).unwrap() {
            Action::Run(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_as_logstash_has_them() {
        let settings = run(&[
            "-e",
            "filter {}",
            "-w",
            "2",
            "-b",
            "9",
            "-t",
            "--path.data",
            "/x",
        ]);
        assert_eq!(settings.config_string.as_deref(), Some("filter {}"));
        assert_eq!((settings.workers, settings.batch_size), (Some(2), 9));
        assert!(settings.test_and_exit);
        assert_eq!(settings.path_data, PathBuf::from("/x"));
        let settings = run(&["-f", "x.conf", "--pipeline.ecs_compatibility", "v1", "-r"]);
        assert_eq!(settings.ecs_compatibility, settings::EcsCompatibility::V1);
        assert!(settings.reload_automatic);
    }

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("logstash.yml"),
            "pipeline.workers: 7\nnode.name: a\n",
        )
        .unwrap();
        let path = directory.path().to_str().unwrap();
        let settings = run(&["--path.settings", path, "-n", "b"]);
        assert_eq!(
            (settings.workers, settings.node_name.as_str()),
            (Some(7), "b")
        );
    }

    #[test]
    fn the_table_makes_a_valid_command() {
        command().debug_assert();
    }
}
