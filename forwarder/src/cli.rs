//! The command line: ours, and logstash-forwarder's for old init scripts.
//!
//! Ours has subcommands (`run`, `check`, `doctor`, `state`, `status`, …). A command line that begins with a flag of
//! logstash-forwarder is read as Go reads it: `-flag value`, `-flag=value`, `--flag value`.
//!
//! Exit codes: 0 done, 1 failed while running (or `doctor` found something), 64 wrong usage, 78 wrong config.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::options::nearest_word;
use crate::config::{Overrides, StartPosition, units};
use crate::registry::state::Action;

/// Wrong usage (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// Wrong config (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
/// Failed while running.
pub const EXIT_FAILED: u8 = 1;

/// The registry that logstash-forwarder keeps in its working directory.
pub const OLD_REGISTRY: &str = ".logstash-forwarder";

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Ship.
    Run(Invocation),
    /// Check the config.
    Check(Invocation),
    /// Find out what would keep it from working.
    Doctor {
        /// The config.
        invocation: Invocation,
        /// As JSON.
        json: bool,
        /// How long it may take.
        patience: Duration,
    },
    /// Look into the registry, or mend it.
    State {
        /// What to do.
        action: Action,
        /// Where the registry is said to be.
        invocation: Invocation,
    },
    /// Ask, or order, a forwarder that runs.
    Ask {
        /// What.
        question: Question,
        /// Its socket, if that is said.
        socket: Option<PathBuf>,
        /// Else where it is said.
        invocation: Invocation,
    },
    /// Print something and exit with a code.
    Print {
        /// The text.
        text: String,
        /// 0 for standard output, else standard error.
        code: u8,
    },
}

/// What a forwarder that runs can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How it is.
    Status {
        /// As JSON.
        json: bool,
        /// Every file in the table.
        all: bool,
    },
    /// To log at another level.
    LogLevel(String),
    /// To read its config again.
    Reload,
    /// To ship everything, and then to read no more.
    Drain {
        /// How long it may take.
        patience: Duration,
        /// As JSON.
        json: bool,
    },
    /// To read on after a drain.
    Resume,
}

impl Question {
    /// As the socket understands it.
    pub fn line(&self) -> String {
        match self {
            Self::Status { .. } => "status".to_owned(),
            Self::LogLevel(level) => format!("log-level {level}"),
            Self::Reload => "reload".to_owned(),
            Self::Drain { patience, .. } => format!("drain {}", patience.as_millis()),
            Self::Resume => "resume".to_owned(),
        }
    }

    /// How long the answer may take.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Drain { patience, .. } => *patience,
            _ => Duration::ZERO,
        }
    }
}

/// The arguments that both need.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// The config: a file or a directory.
    pub config: PathBuf,
    /// What stands over it.
    pub overrides: Overrides,
    /// Things to say once the log is set up.
    pub remarks: Vec<String>,
}

#[derive(Parser)]
#[command(
    name = "skidder-forwarder",
    version,
    about = "Tails files and ships their lines to an aggregator, losing none",
    after_help = "The flags of logstash-forwarder (-config, -spool-size, -tail, …) work as well, \
                  without a subcommand."
)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Ship until stopped by SIGTERM or SIGINT
    Run(Shared),
    /// Check the config and print what would be done
    Check(Shared),
    /// Try everything the config names, files and servers, and say what is wrong (exit code 1 if anything is)
    Doctor {
        /// As one JSON object
        #[arg(long)]
        json: bool,
        /// How long it may take at most
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
        timeout: Duration,
        #[command(flatten)]
        shared: Shared,
    },
    /// Tell how a running forwarder is: files, lag, links
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
        /// Every file, not only the 50 that lag most
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        place: SocketPlace,
    },
    /// Change the log level of a running forwarder
    LogLevel {
        /// error, warn, info, debug or trace
        level: String,
        #[command(flatten)]
        place: SocketPlace,
    },
    /// Let a running forwarder read its config again
    Reload {
        #[command(flatten)]
        place: SocketPlace,
    },
    /// Ship everything, wait for the acknowledgements, then read no more (exit code 1 if anything is left)
    Drain {
        /// How long it may take at most
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
        timeout: Duration,
        /// As one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: SocketPlace,
    },
    /// Let a forwarder read on that was drained
    Resume {
        #[command(flatten)]
        place: SocketPlace,
    },
    /// Show, check, mend or export what is known of the files
    State {
        #[command(subcommand)]
        action: StateCommand,
    },
}

#[derive(Subcommand)]
enum StateCommand {
    /// List the files and their positions
    Show {
        /// Only the files first found at this path
        file: Option<PathBuf>,
        #[command(flatten)]
        place: RegistryPlace,
    },
    /// Say whether the registry is whole (exit code 1 if it is not)
    Check {
        #[command(flatten)]
        place: RegistryPlace,
    },
    /// Keep what is whole of a damaged registry; the forwarder must not run
    Repair {
        #[command(flatten)]
        place: RegistryPlace,
    },
    /// Print everything as JSON
    Export {
        #[command(flatten)]
        place: RegistryPlace,
    },
    /// Forget a file, so that it is shipped from its beginning; the forwarder must not run
    Forget {
        /// The path it was first found at, as `show` lists it
        file: PathBuf,
        #[command(flatten)]
        place: RegistryPlace,
    },
}

#[derive(clap::Args)]
struct RegistryPlace {
    /// Config file or directory that says where the registry is
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Directory of the registry
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File of the registry
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
}

#[derive(clap::Args)]
struct SocketPlace {
    /// The `status socket` itself
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Config file or directory that says where the socket is
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The forwarder's data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl SocketPlace {
    fn ask(self, question: Question) -> Command {
        Command::Ask {
            question,
            socket: self.socket,
            invocation: Invocation {
                config: self.config.unwrap_or_default(),
                overrides: Overrides {
                    data_dir: self.data_dir,
                    ..Overrides::default()
                },
                remarks: Vec::new(),
            },
        }
    }
}

impl From<StateCommand> for Command {
    fn from(command: StateCommand) -> Self {
        let (action, place) = match command {
            StateCommand::Show { file, place } => (Action::Show(file), place),
            StateCommand::Check { place } => (Action::Check, place),
            StateCommand::Repair { place } => (Action::Repair, place),
            StateCommand::Export { place } => (Action::Export, place),
            StateCommand::Forget { file, place } => (Action::Forget(file), place),
        };
        let overrides = Overrides {
            data_dir: place.data_dir,
            registry: place.registry,
            ..Overrides::default()
        };
        let invocation = Invocation {
            config: place.config.unwrap_or_default(),
            overrides,
            remarks: Vec::new(),
        };
        Self::State { action, invocation }
    }
}

#[derive(clap::Args)]
struct Shared {
    /// Config file, or a directory whose files are merged
    #[arg(long, short, value_name = "PATH")]
    config: PathBuf,
    /// Level of the log: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Directory of the registry
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File of the registry
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
}

impl From<Shared> for Invocation {
    fn from(shared: Shared) -> Self {
        let overrides = Overrides {
            data_dir: shared.data_dir,
            registry: shared.registry,
            log_level: shared.log_level,
            ..Overrides::default()
        };
        Self {
            config: shared.config,
            overrides,
            remarks: Vec::new(),
        }
    }
}

/// Understands the arguments, the program's name first.
pub fn parse(arguments: &[String]) -> Command {
    if let Some(old) = arguments.get(1..).filter(|rest| is_old_style(rest)) {
        return match parse_old(old) {
            Ok(command) => command,
            Err(message) => Command::Print {
                text: format!("{message}\n"),
                code: EXIT_USAGE,
            },
        };
    }
    match Arguments::try_parse_from(arguments) {
        Ok(Arguments {
            command: Subcommands::Run(shared),
        }) => Command::Run(shared.into()),
        Ok(Arguments {
            command: Subcommands::Check(shared),
        }) => Command::Check(shared.into()),
        Ok(Arguments {
            command:
                Subcommands::Doctor {
                    json,
                    timeout,
                    shared,
                },
        }) => Command::Doctor {
            invocation: shared.into(),
            json,
            patience: timeout,
        },
        Ok(Arguments {
            command: Subcommands::State { action },
        }) => action.into(),
        Ok(Arguments {
            command: Subcommands::Status { json, all, place },
        }) => place.ask(Question::Status { json, all }),
        Ok(Arguments {
            command: Subcommands::LogLevel { level, place },
        }) => place.ask(Question::LogLevel(level)),
        Ok(Arguments {
            command: Subcommands::Reload { place },
        }) => place.ask(Question::Reload),
        Ok(Arguments {
            command:
                Subcommands::Drain {
                    timeout,
                    json,
                    place,
                },
        }) => place.ask(Question::Drain {
            patience: timeout,
            json,
        }),
        Ok(Arguments {
            command: Subcommands::Resume { place },
        }) => place.ask(Question::Resume),
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            Command::Print {
                text: error.to_string(),
                code,
            }
        }
    }
}

fn is_old_style(arguments: &[String]) -> bool {
    let ours = ["--help", "-h", "--version", "-V"];
    arguments
        .first()
        .is_some_and(|first| first.starts_with('-') && !ours.contains(&first.as_str()))
}

/// Flags of logstash-forwarder with a value, then those without.
const WITH_VALUE: &[&str] = &[
    "config",
    "spool-size",
    "sv",
    "harvest-buffer-size",
    "hb",
    "idle-flush-time",
    "cpuprofile",
];
const SWITCHES: &[&str] = &[
    "tail",
    "t",
    "from-beginning",
    "quiet",
    "log-to-syslog",
    "syslog",
    "version",
    "help",
    "h",
];

fn parse_old(arguments: &[String]) -> Result<Command, String> {
    let mut invocation = Invocation::default();
    let mut has_config = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
        else {
            return Err(format!("`{argument}` is no flag; see --help"));
        };
        let (name, mut value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if WITH_VALUE.contains(&name) {
            value = value.or_else(|| rest.next().cloned());
            let value = value.ok_or_else(|| format!("`-{name}` needs a value"))?;
            has_config |= name == "config";
            set_value(&mut invocation, name, &value)?;
        } else if SWITCHES.contains(&name) {
            let on = match value.as_deref() {
                None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
                Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
                Some(other) => return Err(format!("`-{name}` is true or false, not `{other}`")),
            };
            match (name, on) {
                ("version", true) => {
                    let text = format!("skidder-forwarder {}\n", env!("CARGO_PKG_VERSION"));
                    return Ok(Command::Print { text, code: 0 });
                }
                ("help" | "h", true) => {
                    let text = <Arguments as clap::CommandFactory>::command().render_help();
                    return Ok(Command::Print {
                        text: text.to_string(),
                        code: 0,
                    });
                }
                _ => set_switch(&mut invocation, name, on),
            }
        } else {
            let known: Vec<_> = WITH_VALUE.iter().chain(SWITCHES).copied().collect();
            let hint = nearest_word(&known, name).map(|near| format!("; did you mean `-{near}`?"));
            return Err(format!(
                "unknown flag `{argument}`{}",
                hint.unwrap_or_default()
            ));
        }
    }
    if !has_config {
        return Err("no config; give one with `-config PATH`, or see --help".to_owned());
    }
    if Path::new(OLD_REGISTRY).try_exists().unwrap_or(false) {
        invocation.overrides.import_registry = Some(OLD_REGISTRY.into());
    }
    Ok(Command::Run(invocation))
}

fn set_value(invocation: &mut Invocation, name: &str, value: &str) -> Result<(), String> {
    let number = || {
        let number = value.parse::<usize>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| format!("`-{name}` is a positive number, not `{value}`"))
    };
    let overrides = &mut invocation.overrides;
    match name {
        "config" => invocation.config = value.into(),
        "spool-size" | "sv" => overrides.spool_size = Some(number()?.min(1_000_000)),
        "harvest-buffer-size" | "hb" => overrides.harvest_buffer_size = Some(number()?),
        "idle-flush-time" => {
            let time = units::duration(value).map_err(|error| format!("`-{name}`: {error}"))?;
            overrides.flush_interval = Some(time);
        }
        _ => invocation
            .remarks
            .push(format!("`-{name}` has no effect here")),
    }
    Ok(())
}

fn set_switch(invocation: &mut Invocation, name: &str, on: bool) {
    let overrides = &mut invocation.overrides;
    match (name, on) {
        ("tail" | "t", true) | ("from-beginning", false) => {
            overrides.start_position = Some(StartPosition::End);
        }
        ("from-beginning", true) => overrides.start_position = Some(StartPosition::Beginning),
        ("quiet", true) => overrides.log_level = Some("error".to_owned()),
        ("log-to-syslog" | "syslog", true) => invocation.remarks.push(format!(
            "`-{name}` has no effect here: the log goes to standard error, which systemd takes to \
             the journal"
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Command {
        let words = ["skidder-forwarder"]
            .into_iter()
            .chain(line.split_whitespace());
        parse(&words.map(str::to_owned).collect::<Vec<_>>())
    }

    fn run(line: &str) -> Invocation {
        match parse_words(line) {
            Command::Run(invocation) => invocation,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        match parse_words(line) {
            Command::Print {
                text,
                code: EXIT_USAGE,
            } => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn our_own_command_line() {
        let invocation = run("run --config /etc/f.yml --log-level debug --data-dir /d");
        assert_eq!(invocation.config, Path::new("/etc/f.yml"));
        assert_eq!(invocation.overrides.log_level.as_deref(), Some("debug"));
        assert!(matches!(parse_words("check -c f.yml"), Command::Check(_)));
        let Command::State { action, invocation } =
            parse_words("state forget /var/log/a.log --registry /d/r")
        else {
            panic!("not understood")
        };
        assert_eq!(action, Action::Forget("/var/log/a.log".into()));
        assert_eq!(invocation.overrides.registry, Some("/d/r".into()));
        assert!(refused("state forget").contains("<FILE>"));
        assert!(matches!(
            parse_words("--version"),
            Command::Print { code: 0, .. }
        ));
        assert!(matches!(
            parse_words("--help"),
            Command::Print { code: 0, .. }
        ));
        assert!(refused("run").contains("--config"));
        assert!(refused("ruin --config x").contains("run"));
        assert!(refused("").contains("Usage"));
    }

    #[test]
    fn the_command_lines_of_old_init_scripts() {
        let line = "-config /etc/logstash-forwarder.conf -spool-size=100 --idle-flush-time 5s \
                    -from-beginning=true -hb 1000 -quiet -log-to-syslog";
        let invocation = run(line);
        assert_eq!(invocation.config, Path::new("/etc/logstash-forwarder.conf"));
        let overrides = invocation.overrides;
        assert_eq!(overrides.spool_size, Some(100));
        assert_eq!(overrides.harvest_buffer_size, Some(1000));
        assert_eq!(overrides.flush_interval, Some(Duration::from_secs(5)));
        assert_eq!(overrides.start_position, Some(StartPosition::Beginning));
        assert_eq!(overrides.log_level.as_deref(), Some("error"));
        assert_eq!(invocation.remarks.len(), 1);
        assert_eq!(
            run("-t -config=x").overrides.start_position,
            Some(StartPosition::End)
        );
        assert!(matches!(
            parse_words("-version"),
            Command::Print { code: 0, .. }
        ));
    }

    #[test]
    fn what_is_wrong_with_an_old_command_line_is_said() {
        assert!(refused("-confg x").contains("did you mean `-config`"));
        assert!(refused("-quiet").contains("-config PATH"));
        assert!(refused("-config").contains("needs a value"));
        assert!(refused("-config x -spool-size many").contains("positive number"));
        assert!(refused("-config x -tail=maybe").contains("true or false"));
        assert!(refused("-config x extra").contains("no flag"));
    }
}
