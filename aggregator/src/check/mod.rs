//! `check`, and `-t`: everything that can be said about a configuration without running it.
//!
//! All stages run, whatever the ones before have found: the grammar, the variables, every filter
//! (with its patterns, templates, formats and dictionaries), inputs and outputs, then conditions and
//! fields. So one run shows all there is to mend. What is wrong in meaning is an error, what is
//! probably not meant a warning, and what is only worth a look a hint.
//!
//! Nothing is started or connected to; files that the configuration names are read.

mod report;

use std::io::Write;

use skidder_lumberjack::ByteBudget;
use skidder_pipeline::CompileOptions;
use skidder_pipeline::language::{
    self, Code, Config, Diagnostic, Diagnostics, ParseOptions, Plugin, SourceMap, Statement,
    Variables,
};
use skidder_pipeline::lint::{FieldCheck, check_conditions, check_fields};

pub use self::report::Format;
use crate::commands::{self, Disk};
use crate::links::{self, Links};
use crate::selection::{self, Selection, SelectionError};
use crate::settings::Settings;
use crate::{cli, input, log, manual, output, runtime};

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The grammar alone: any plugin and option will do.
    Grammar,
    /// All but what only a whole pipeline can have: a part of a configuration has no input.
    Part,
    /// All.
    Whole,
}

/// How the command checks and prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Only the grammar.
    pub syntax_only: bool,
    /// What is printed.
    pub format: Format,
    /// Warnings refuse the configuration, too.
    pub deny_warnings: bool,
}

/// A configuration with what was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Its texts.
    pub sources: SourceMap,
    /// Its tree, with variables replaced; it lacks what does not follow the grammar.
    pub config: Config,
    /// What was found, in the order of the places, with links.
    pub diagnostics: Diagnostics,
    /// The pipeline of `pipelines.yml` that it is.
    pub pipeline: Option<String>,
    links: Links,
}

/// Checks the configurations that the settings name, or those of `pipelines.yml`, and prints what is found; the exit code.
pub fn run(settings: &Settings, options: CheckOptions) -> u8 {
    selection::say_ignored(settings);
    let depth = if options.syntax_only {
        Depth::Grammar
    } else {
        Depth::Whole
    };
    let checked = match check_all(settings, depth) {
        Ok(checked) => checked,
        Err(error) if options.format == Format::Json => vec![unread(&error)],
        Err(error) => {
            log::complain(&error);
            return cli::EXIT_CONFIG;
        }
    };
    let warned = |finding: &Diagnostic| finding.severity == language::Severity::Warning;
    let refused = checked.iter().any(|each| {
        each.diagnostics.has_errors()
            || (options.deny_warnings && each.diagnostics.iter().any(warned))
    });
    let mut output = std::io::stdout().lock();
    let written = match options.format {
        Format::Json => writeln!(output, "{}", report::json(&checked)),
        Format::Text => {
            let mut space = "";
            for each in checked.iter().filter(|each| !each.diagnostics.is_empty()) {
                let text = each.diagnostics.render(&each.sources, log::color());
                log::say(&format!("{space}{text}"));
                space = "\n";
            }
            if refused {
                Ok(())
            } else {
                writeln!(output, "configuration OK")
            }
        }
    };
    match written.and_then(|()| output.flush()) {
        Ok(()) if refused => cli::EXIT_CONFIG,
        Ok(()) => cli::EXIT_OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe && refused => cli::EXIT_CONFIG,
        Err(_) => cli::EXIT_FAILED,
    }
}

/// Checks all pipelines: first `pipelines.yml` itself, if it is asked, then each of them, then how they fit together.
fn check_all(settings: &Settings, depth: Depth) -> Result<Vec<Checked>, SelectionError> {
    let pipelines = match selection::all(settings)? {
        Selection::One(settings) => {
            let checked = check(commands::sources(&settings)?, &settings, depth);
            return Ok(fitted(vec![checked], true));
        }
        Selection::File(pipelines) => pipelines,
    };
    let mut complete = !pipelines.findings.has_errors();
    let mut all = Vec::new();
    for settings in &pipelines.settings {
        let mut checked = match commands::sources(settings) {
            Ok(sources) => check(sources, settings, depth),
            Err(error) => unread(&error),
        };
        complete &= !checked.diagnostics.has_errors();
        checked.pipeline = Some(settings.pipeline_id.clone());
        all.push(checked);
    }
    let mut all = fitted(all, complete && depth != Depth::Grammar);
    let file = Checked {
        sources: pipelines.sources,
        diagnostics: pipelines.findings,
        ..Checked::default()
    };
    all.insert(0, file);
    Ok(all)
}

/// Adds what is wrong between pipelines.
fn fitted(mut all: Vec<Checked>, complete: bool) -> Vec<Checked> {
    let links: Vec<_> = all.iter().map(|each| each.links.clone()).collect();
    for (number, finding) in links::check(&links, complete) {
        all[number].diagnostics.push(finding);
    }
    for each in &mut all {
        manual::link_findings(&mut each.diagnostics, &each.config);
        each.diagnostics.sort();
    }
    all
}

/// A configuration that could not be read.
fn unread(error: &dyn std::fmt::Display) -> Checked {
    let mut diagnostics = Diagnostics::new();
    diagnostics.push(Diagnostic::error(None, error.to_string()).code(Code::Source));
    manual::link_findings(&mut diagnostics, &Config::default());
    Checked {
        diagnostics,
        ..Checked::default()
    }
}

/// Checks some texts.
pub fn check(mut sources: SourceMap, settings: &Settings, depth: Depth) -> Checked {
    let parsing = ParseOptions {
        support_escapes: settings.support_escapes,
        escape_style: settings.escape_style,
    };
    let mut diagnostics = Diagnostics::new();
    let mut config = language::parse(&sources, parsing, &mut diagnostics);
    if depth == Depth::Whole && settings.config_string.is_some() {
        commands::add_defaults(&mut config, &mut sources, parsing, &diagnostics);
    }
    let mut links = Links::default();
    if depth != Depth::Grammar {
        links = meaning(&mut config, settings, depth, &mut diagnostics);
        check_conditions(&config, &sources, &mut diagnostics);
        check_fields(&config, &sources, field_check(settings), &mut diagnostics);
    }
    manual::link_findings(&mut diagnostics, &config);
    diagnostics.sort();
    Checked {
        sources,
        config,
        diagnostics,
        pipeline: None,
        links,
    }
}

/// How the fields of a configuration are read.
pub(crate) fn field_check(settings: &Settings) -> FieldCheck {
    FieldCheck {
        ecs: settings.ecs_compatibility.is_enabled(),
        escape_style: settings.escape_style,
    }
}

fn meaning(
    config: &mut Config,
    settings: &Settings,
    depth: Depth,
    diagnostics: &mut Diagnostics,
) -> Links {
    let variables = Variables {
        secrets: &|_| None,
        environment: &|name| std::env::var(name).ok(),
    };
    language::substitute(config, &variables, diagnostics);
    let options = CompileOptions {
        ecs: settings.ecs_compatibility.is_enabled(),
        escape_style: settings.escape_style,
        files: &Disk,
    };
    // What comes of it is not needed: all that is wrong is in the findings.
    drop(skidder_pipeline::compile(config, &options, diagnostics));
    let budget = ByteBudget::new(settings.queue_max_memory);
    let inputs = input::build(settings, &config.inputs, &budget, diagnostics);
    let mut outputs = Vec::new();
    collect_plugins(&config.outputs, &mut outputs);
    let outputs = output::build(settings, &outputs, diagnostics);
    // An input that is wrong is reported as that.
    if depth == Depth::Whole && inputs.is_empty() && config.inputs.is_empty() {
        diagnostics.push(runtime::no_input());
    }
    runtime::links_of(settings, &inputs, &outputs)
}

/// The plugins of some statements, those in branches included, in order.
fn collect_plugins(statements: &[Statement], plugins: &mut Vec<Plugin>) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => plugins.push(plugin.clone()),
            Statement::If(branches) => {
                for branch in &branches.branches {
                    collect_plugins(&branch.body, plugins);
                }
                collect_plugins(branches.otherwise.as_deref().unwrap_or_default(), plugins);
            }
        }
    }
}
