//! The command line of `grok`: one command of clap and what it is read into.
//!
//! Limits that a person may want to change are flags here, with their defaults.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// What `grok` is asked for.
#[derive(Debug)]
pub enum GrokAction {
    /// Match the lines of standard input.
    Match(MatchArguments),
    /// List names of patterns.
    List(ListArguments),
    /// Show one pattern.
    Show(ShowArguments),
    /// Measure a pattern on a sample.
    Cost(CostArguments),
    /// Propose patterns for a sample.
    Discover(DiscoverArguments),
}

/// Where named patterns come from.
#[derive(Debug, Default)]
pub struct Library {
    /// The names of the Elastic Common Schema.
    pub ecs: bool,
    /// Directories (or files) of patterns, a later one wins.
    pub directories: Vec<String>,
    /// Name and expression of further patterns; they win over files.
    pub definitions: Vec<(String, String)>,
}

/// The expressions to match with.
#[derive(Debug, Default)]
pub struct Expressions {
    /// Those of the command line, first.
    pub given: Vec<String>,
    /// A file with one on each line.
    pub file: Option<PathBuf>,
    /// The patterns they may name.
    pub library: Library,
    /// Capture patterns without a field name by their own.
    pub all_captures: bool,
}

/// Arguments of `grok PATTERN…`.
#[derive(Debug)]
pub struct MatchArguments {
    /// What to match with.
    pub expressions: Expressions,
    /// Keep captures of nothing.
    pub keep_empty: bool,
    /// Which lines are printed.
    pub print: Print,
}

/// Which lines `grok PATTERN…` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// All of them.
    All,
    /// Those that match.
    Matching,
    /// Those that do not.
    Failing,
}

/// Arguments of `grok list`.
#[derive(Debug)]
pub struct ListArguments {
    /// Part of a name or of a file's name, or a glob.
    pub filter: Option<String>,
    /// The patterns there are.
    pub library: Library,
    /// As JSON.
    pub json: bool,
}

/// Arguments of `grok show`.
#[derive(Debug)]
pub struct ShowArguments {
    /// The name of the pattern.
    pub name: String,
    /// The patterns there are.
    pub library: Library,
    /// Print the whole regular expression instead of the tree.
    pub flat: bool,
    /// As JSON.
    pub json: bool,
}

/// Arguments of `grok cost`.
#[derive(Debug)]
pub struct CostArguments {
    /// What to measure.
    pub expressions: Expressions,
    /// How often the sample is run.
    pub passes: usize,
    /// How many of the slowest lines are shown.
    pub slowest: usize,
    /// Most bytes of the sample that are kept.
    pub max_sample_bytes: usize,
    /// As JSON.
    pub json: bool,
}

/// Arguments of `grok discover`.
#[derive(Debug)]
pub struct DiscoverArguments {
    /// Most kinds of lines that are told apart.
    pub max_clusters: usize,
    /// What is behind so many bytes of a line is taken as it comes.
    pub max_line_bytes: usize,
    /// Most bytes of the sample that are kept.
    pub max_sample_bytes: usize,
    /// As JSON.
    pub json: bool,
}

/// The command for clap.
pub fn command() -> Command {
    let matching = Command::new("grok")
        .about(
            "Matches the lines of stdin with patterns and prints what they capture as JSON, one \
             object a line",
        )
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(
            patterns()
                .help("What to match with; the first that matches wins (a pattern that is the name of a subcommand: after --)"),
        )
        .args(expression_flags())
        .arg(switch("keep-empty", "Keep captures of nothing"))
        .arg(switch("matching", "Print only the lines that match").conflicts_with("failing"))
        .arg(switch("failing", "Print only the lines that do not match"));
    let list = Command::new("list")
        .about("Lists the names of the patterns by the file they belong to")
        .arg(
            Arg::new("filter")
                .value_name("FILTER")
                .help("Part of a name or of a file's name; with * or ? the whole of one"),
        )
        .args(library_flags())
        .arg(json());
    let show = Command::new("show")
        .about("Shows a pattern: definition, the patterns it uses, captures, engine, examples")
        .arg(Arg::new("name").required(true).value_name("NAME"))
        .args(library_flags())
        .arg(switch(
            "flat",
            "Print the regular expression with everything put in",
        ))
        .arg(json());
    let cost = Command::new("cost")
        .about("Measures a pattern on the lines of stdin and says how to write it better")
        .arg(patterns().help("What to measure; several are a list"))
        .args(expression_flags())
        .arg(number(
            "passes",
            "20",
            1..=10_000,
            "How often the sample is run",
        ))
        .arg(number(
            "slowest",
            "5",
            0..=1000,
            "How many of the slowest lines are shown",
        ))
        .arg(max_sample_bytes())
        .arg(json());
    let discover = Command::new("discover")
        .about("Proposes patterns for the lines of stdin")
        .arg(number(
            "max-clusters",
            "1000",
            1..=100_000,
            "Kinds of lines that are told apart",
        ))
        .arg(number(
            "max-line-bytes",
            "4096",
            16..=1 << 20,
            "What is behind so many bytes of a line is taken as it comes",
        ))
        .arg(max_sample_bytes())
        .arg(json());
    matching.subcommands([list, show, cost, discover])
}

/// Reads what clap found.
pub fn read(mut matches: ArgMatches) -> GrokAction {
    match matches.remove_subcommand() {
        Some((name, mut matches)) => match name.as_str() {
            "list" => GrokAction::List(ListArguments {
                filter: matches.remove_one("filter"),
                library: read_library(&mut matches),
                json: matches.get_flag("json"),
            }),
            "show" => GrokAction::Show(ShowArguments {
                name: matches.remove_one("name").unwrap_or_default(),
                library: read_library(&mut matches),
                flat: matches.get_flag("flat"),
                json: matches.get_flag("json"),
            }),
            "cost" => GrokAction::Cost(CostArguments {
                expressions: read_expressions(&mut matches),
                passes: read_number(&matches, "passes"),
                slowest: read_number(&matches, "slowest"),
                max_sample_bytes: read_number(&matches, "max-sample-bytes"),
                json: matches.get_flag("json"),
            }),
            _ => GrokAction::Discover(DiscoverArguments {
                max_clusters: read_number(&matches, "max-clusters"),
                max_line_bytes: read_number(&matches, "max-line-bytes"),
                max_sample_bytes: read_number(&matches, "max-sample-bytes"),
                json: matches.get_flag("json"),
            }),
        },
        None => GrokAction::Match(MatchArguments {
            keep_empty: matches.get_flag("keep-empty"),
            print: match (matches.get_flag("matching"), matches.get_flag("failing")) {
                (true, _) => Print::Matching,
                (_, true) => Print::Failing,
                _ => Print::All,
            },
            expressions: read_expressions(&mut matches),
        }),
    }
}

fn patterns() -> Arg {
    Arg::new("pattern")
        .value_name("PATTERN")
        .num_args(1..)
        .required_unless_present("file")
}

fn expression_flags() -> Vec<Arg> {
    let mut flags = library_flags();
    flags.push(
        Arg::new("file")
            .long("file")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Patterns, one a line; empty lines and lines that start with # are skipped"),
    );
    flags.push(switch(
        "all-captures",
        "Capture patterns without a field name by their own",
    ));
    flags
}

fn library_flags() -> Vec<Arg> {
    vec![
        switch("ecs", "Use the field names of the Elastic Common Schema"),
        Arg::new("patterns-dir")
            .long("patterns-dir")
            .value_name("DIR")
            .action(ArgAction::Append)
            .help("Directory (or file) of patterns, NAME and expression on each line; may be repeated"),
        Arg::new("define")
            .long("define")
            .value_name("NAME=REGEX")
            .action(ArgAction::Append)
            .value_parser(definition)
            .help("Define a pattern; may be repeated"),
    ]
}

fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, expression)) if !name.is_empty() => Ok((name.into(), expression.into())),
        _ => Err("write NAME=REGEX".into()),
    }
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn json() -> Arg {
    switch("json", "Print JSON")
}

fn number(
    name: &'static str,
    default: &'static str,
    bounds: std::ops::RangeInclusive<u64>,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("N")
        .value_parser(clap::value_parser!(u64).range(bounds))
        .default_value(default)
        .help(help)
}

fn max_sample_bytes() -> Arg {
    number(
        "max-sample-bytes",
        "67108864",
        1..=1 << 32,
        "Bytes of the sample that are kept; the rest is not read",
    )
}

fn read_number(matches: &ArgMatches, name: &str) -> usize {
    let number = matches.get_one::<u64>(name).copied().unwrap_or_default();
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read_library(matches: &mut ArgMatches) -> Library {
    Library {
        ecs: matches.get_flag("ecs"),
        directories: all(matches, "patterns-dir"),
        definitions: all(matches, "define"),
    }
}

fn read_expressions(matches: &mut ArgMatches) -> Expressions {
    Expressions {
        given: all(matches, "pattern"),
        file: matches.remove_one("file"),
        all_captures: matches.get_flag("all-captures"),
        library: read_library(matches),
    }
}

fn all<T: Clone + Send + Sync + 'static>(matches: &mut ArgMatches, name: &str) -> Vec<T> {
    matches
        .remove_many(name)
        .map(Iterator::collect)
        .unwrap_or_default()
}
