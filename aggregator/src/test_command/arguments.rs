//! The command line of `test`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::report::Format;
use crate::settings::Settings;

/// Settings that are flags of the command.
pub const SETTINGS: [&str; 7] = [
    "path.config",
    "config.string",
    "path.settings",
    "pipeline.ecs_compatibility",
    "config.support_escapes",
    "config.field_reference.escape_style",
    "log.level",
];

/// Arguments of `test`.
#[derive(Clone, Debug)]
pub struct TestArguments {
    /// The settings; the configuration is in them, if one is given for all case files.
    pub settings: Box<Settings>,
    /// Case files, and directories of them.
    pub paths: Vec<PathBuf>,
    /// The form of the report.
    pub format: Format,
    /// Where the report goes, if not to stdout.
    pub output: Option<PathBuf>,
    /// Only cases with one of these in their name.
    pub filters: Vec<String>,
    /// Print only what is wrong.
    pub quiet: bool,
    /// Write down what comes out.
    pub update: bool,
    /// Run again when a file changes.
    pub watch: bool,
    /// Filters remember from file to file.
    pub keep_state: bool,
    /// A file of mocks.
    pub plugin_mock: Option<PathBuf>,
    /// Compare with documents of another Logstash.
    pub shadow: Option<ShadowArguments>,
}

/// Arguments of `test --shadow`.
#[derive(Clone, Debug)]
pub struct ShadowArguments {
    /// The documents, one a line.
    pub documents: PathBuf,
    /// The lines that went in, if the documents do not hold them.
    pub input: Option<PathBuf>,
    /// The field of a document that holds the line, or by which it is found.
    pub key: Option<String>,
    /// Fields that events have before they are filtered.
    pub carry: Vec<String>,
    /// Fields that are not compared.
    pub ignore: Vec<String>,
    /// The input whose codec reads the lines.
    pub input_plugin: Option<String>,
    /// Documents and events that may wait for each other.
    pub window: usize,
    /// Examples that are shown for each field.
    pub examples: usize,
}

/// The command without the settings.
pub fn add_to(command: Command) -> Command {
    let value = |name: &'static str, of: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(of).help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let path = clap::value_parser!(PathBuf);
    command
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(path.clone())
                .required_unless_present("shadow")
                .help("Case files, and directories that are searched for them"),
        )
        .arg(
            value("format", "FORMAT", "The form of the report")
                .value_parser(Format::NAMES)
                .default_value("text"),
        )
        .arg(
            value(
                "output",
                "FILE",
                "Write the report into a file; text goes to stdout all the same",
            )
            .value_parser(path.clone()),
        )
        .arg(
            value(
                "filter",
                "TEXT",
                "Only cases with this in `FILE: NAME`; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(switch("quiet", "Print only what is wrong").short('q'))
        .arg(switch("update", "Write into the case files what comes out"))
        .arg(switch("watch", "Run again when a file changes").conflicts_with("shadow"))
        .arg(switch(
            "keep-state",
            "Filters remember from case file to case file",
        ))
        .arg(
            value(
                "plugin-mock",
                "FILE",
                "What stands in for plugins, by their id",
            )
            .value_parser(path.clone()),
        )
        .arg(
            value(
                "shadow",
                "FILE",
                "Compare with the documents in FILE that Logstash made",
            )
            .value_parser(path.clone())
            .conflicts_with_all(["paths", "update", "filter", "keep-state"])
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "input",
                "FILE",
                "The lines that went in, if the documents do not hold them",
            )
            .value_parser(path)
            .requires("shadow")
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "key",
                "FIELD",
                "The field that holds the line, or tells which belongs to which",
            )
            .requires("shadow")
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "carry",
                "FIELD",
                "A field that events had before the filters; may be repeated",
            )
            .action(ArgAction::Append)
            .requires("shadow")
            .conflicts_with("input")
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "ignore",
                "FIELD",
                "A field that is not compared; may be repeated",
            )
            .action(ArgAction::Append)
            .requires("shadow")
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "input-plugin",
                "ID",
                "The input whose codec reads the lines",
            )
            .requires("shadow")
            .help_heading("Shadow"),
        )
        .arg(
            value(
                "window",
                "N",
                "Documents and events that may wait for each other",
            )
            .value_parser(clap::value_parser!(u64).range(1..=10_000_000))
            .default_value("10000")
            .help_heading("Shadow"),
        )
        .arg(
            value("examples", "N", "Examples that are shown for each field")
                .value_parser(clap::value_parser!(u64).range(0..=1000))
                .default_value("3")
                .help_heading("Shadow"),
        )
}

/// Reads what was given.
pub fn read(mut matches: ArgMatches, mut settings: Settings) -> TestArguments {
    // A configuration for all case files is asked for here, not by the settings of a daemon.
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    settings.path_config = given("path.config");
    settings.config_string = given("config.string");
    let mut texts = |name: &str| -> Vec<String> {
        matches
            .remove_many(name)
            .map(Iterator::collect)
            .unwrap_or_default()
    };
    let (filters, carry, ignore) = (texts("filter"), texts("carry"), texts("ignore"));
    let mut number = |name: &str| matches.remove_one::<u64>(name).unwrap_or_default() as usize;
    let (window, examples) = (number("window"), number("examples"));
    let shadow = matches
        .remove_one("shadow")
        .map(|documents| ShadowArguments {
            documents,
            input: matches.remove_one("input"),
            key: matches.remove_one("key"),
            carry,
            ignore,
            input_plugin: matches.remove_one("input-plugin"),
            window,
            examples,
        });
    let format = matches.remove_one::<String>("format");
    TestArguments {
        settings: Box::new(settings),
        paths: matches
            .remove_many("paths")
            .map(Iterator::collect)
            .unwrap_or_default(),
        format: format
            .and_then(|name| Format::from_name(&name))
            .unwrap_or_default(),
        output: matches.remove_one("output"),
        filters,
        quiet: matches.get_flag("quiet"),
        update: matches.get_flag("update"),
        watch: matches.get_flag("watch"),
        keep_state: matches.get_flag("keep-state"),
        plugin_mock: matches.remove_one("plugin-mock"),
        shadow,
    }
}
