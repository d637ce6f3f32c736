//! From a parsed configuration to a pipeline that runs.
//!
//! Everything that can be known from the text is worked out here, once: references are resolved,
//! templates and patterns compiled, branches turned into jumps. Everything that is wrong goes
//! into the [`Diagnostics`]; compiling goes on, so that one run shows all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::condition::Condition;
use crate::event::Event;
use crate::filter::grok::compile_ahead;
use crate::filter::reload::WatchedFile;
use crate::filter::{self, CommonOptions, Context, Filter, Outcome, ScratchSlots, dns};
use crate::ids;
use crate::language::{Config, Diagnostics, EscapeStyle, If, Options, Plugin, Statement};
use crate::program::{Flow, Operation, Program, Step};

/// What compiling needs to know besides the configuration.
#[derive(Clone, Copy)]
pub struct CompileOptions<'a> {
    /// Fields and patterns have the names of the Elastic Common Schema.
    pub ecs: bool,
    /// How brackets in field names are escaped.
    pub escape_style: EscapeStyle,
    /// Where files that filters name come from.
    pub files: &'a dyn Files,
}

/// What filters need of the outside: the files that they name (pattern files, dictionaries), and name
/// servers. Handed in, since this crate reads and asks nothing itself.
pub trait Files {
    /// The contents of a file.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    /// The files of a directory, in name order.
    fn list(&self, directory: &Path) -> std::io::Result<Vec<PathBuf>>;
    /// Who asks name servers. The error says why nobody does.
    fn resolver(&self, _settings: dns::Settings) -> Result<Arc<dyn dns::Resolver>, String> {
        Err("no name server can be asked here".to_owned())
    }
}

/// No file can be read.
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// A compiled pipeline: immutable, shared by all workers.
pub struct Pipeline {
    /// What happens to each event.
    pub filters: Program<FilterStep, Condition>,
    /// Where each event goes: indices into `output_plugins`.
    pub outputs: Program<usize, Condition>,
    /// The outputs in the order of the configuration.
    pub output_plugins: Vec<Plugin>,
    /// Files that filters depend on; see [`filter::reload`].
    pub watched_files: Vec<WatchedFile>,
}

impl Pipeline {
    /// Whether any filter wants to be flushed from time to time.
    pub fn has_flush(&self) -> bool {
        self.filters.plugins().any(|step| step.filter.has_flush())
    }
}

/// A filter of a pipeline.
pub struct FilterStep {
    filter: Box<dyn Filter>,
    /// None where there is nothing to do.
    common: Option<Box<CommonOptions>>,
}

impl FilterStep {
    /// Makes a filter of its configuration; what is wrong goes into `diagnostics`.
    pub fn build(
        plugin: &Plugin,
        build: &mut Build<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let (filter, common) = filter::build(plugin, build, diagnostics)?;
        let common = (!common.is_empty()).then(|| Box::new(common));
        Some(Self { filter, common })
    }
}

impl Step for FilterStep {
    #[inline]
    fn step<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Flow {
        let outcome = self.filter.apply(event, context);
        if outcome == Outcome::Waiting {
            return Flow::Wait;
        }
        let Some(common) = &self.common else {
            return Flow::GoOn;
        };
        if matches!(outcome, Outcome::Applied | Outcome::AppliedAndEmitted) {
            common.apply(event, context);
        }
        if matches!(outcome, Outcome::Emitted | Outcome::AppliedAndEmitted) {
            let mut emitted = std::mem::take(context.emitted);
            for event in &mut emitted {
                common.apply(event, context);
            }
            *context.emitted = emitted;
        }
        Flow::GoOn
    }

    fn flush<'b>(&'b self, last: bool, context: &mut Context<'_, 'b>) {
        let outcome = self.filter.flush(last, context);
        if let Some(common) = &self.common
            && outcome != Outcome::Unapplied
        {
            let mut emitted = std::mem::take(context.emitted);
            for event in &mut emitted {
                common.apply(event, context);
            }
            *context.emitted = emitted;
        }
    }
}

/// What a filter's constructor may use.
pub struct Build<'a> {
    /// Names of the Elastic Common Schema, unless the filter's own option says otherwise.
    pub ecs: bool,
    /// How brackets in field names are escaped.
    pub escape_style: EscapeStyle,
    /// Where files come from.
    pub files: &'a dyn Files,
    /// Memory for each worker.
    pub slots: &'a mut ScratchSlots,
    /// Files that are to be read again when they change.
    pub watched: &'a mut Vec<WatchedFile>,
}

impl Build<'_> {
    /// Whether a plugin uses the names of the Elastic Common Schema: by its own option
    /// `ecs_compatibility`, else by the pipeline's setting.
    pub fn ecs(&self, options: &mut Options<'_>) -> bool {
        let choices = [("disabled", false), ("v1", true), ("v8", true)];
        options
            .enumeration("ecs_compatibility", &choices)
            .unwrap_or(self.ecs)
    }
}

/// Compiles a configuration. Gives nothing if an error was found, now or before.
pub fn compile(
    config: &Config,
    options: &CompileOptions<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Pipeline> {
    ids::check(config, diagnostics);
    let mut slots = ScratchSlots::default();
    let mut watched_files = Vec::new();
    compile_ahead(
        &config.filters,
        options.ecs,
        options.escape_style,
        &mut slots,
    );
    let mut filters = Program::default();
    compile_block(
        &config.filters,
        &mut filters,
        diagnostics,
        &mut |plugin, diagnostics| {
            let mut build = Build {
                ecs: options.ecs,
                escape_style: options.escape_style,
                files: options.files,
                slots: &mut slots,
                watched: &mut watched_files,
            };
            FilterStep::build(plugin, &mut build, diagnostics)
        },
    );
    let mut outputs = Program::default();
    let mut output_plugins = Vec::new();
    compile_block(
        &config.outputs,
        &mut outputs,
        diagnostics,
        &mut |plugin, _| {
            output_plugins.push(plugin.clone());
            Some(output_plugins.len() - 1)
        },
    );
    (!diagnostics.has_errors()).then_some(Pipeline {
        filters,
        outputs,
        output_plugins,
        watched_files,
    })
}

/// Appends the operations of a list of statements.
fn compile_block<P>(
    statements: &[Statement],
    program: &mut Program<P, Condition>,
    diagnostics: &mut Diagnostics,
    plugin_of: &mut dyn FnMut(&Plugin, &mut Diagnostics) -> Option<P>,
) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => {
                if let Some(plugin) = plugin_of(plugin, diagnostics) {
                    program.push(Operation::Run(plugin));
                }
            }
            Statement::If(statement) => {
                compile_if(statement, program, diagnostics, plugin_of);
            }
        }
    }
}

/// `if a { A } else if b { B } else { C }` becomes
/// `unless a go to 2; A; go to end; 2: unless b go to 3; B; go to end; 3: C; end:`.
fn compile_if<P>(
    statement: &If,
    program: &mut Program<P, Condition>,
    diagnostics: &mut Diagnostics,
    plugin_of: &mut dyn FnMut(&Plugin, &mut Diagnostics) -> Option<P>,
) {
    let mut jumps_to_end = Vec::new();
    for branch in &statement.branches {
        let condition = Condition::compile(&branch.condition, diagnostics);
        let skip = condition.map(|condition| program.push(Operation::JumpUnless(condition, 0)));
        compile_block(&branch.body, program, diagnostics, plugin_of);
        jumps_to_end.push(program.push(Operation::Jump(0)));
        if let Some(skip) = skip {
            program.set_target(skip, program.len());
        }
    }
    if let Some(statements) = &statement.otherwise {
        compile_block(statements, program, diagnostics, plugin_of);
    }
    for jump in jumps_to_end {
        program.set_target(jump, program.len());
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;

    use super::*;
    use crate::event::{MESSAGE, Timestamp, Value, write_json};
    use crate::filter::Scratch;
    use crate::language::{ParseOptions, SourceMap, parse};

    fn compiled(config: &str) -> Pipeline {
        let sources = SourceMap::single("test", config);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let options = CompileOptions {
            ecs: false,
            escape_style: EscapeStyle::None,
            files: &NoFiles,
        };
        let pipeline = compile(&config, &options, &mut diagnostics);
        pipeline.unwrap_or_else(|| panic!("{}", diagnostics.render(&sources, false)))
    }

    fn filtered(config: &str, message: &str) -> String {
        let pipeline = compiled(config);
        let arena = Bump::new();
        let mut scratch = Scratch::default();
        let mut event = Event::new_in(&arena);
        event
            .fields
            .push_new(MESSAGE, Value::Text(message.as_bytes()));
        let mut out = Vec::new();
        let now = Timestamp::new(0, 0);
        pipeline
            .filters
            .run(event, &arena, now, &mut scratch, |event| {
                write_json(&event, &mut out);
            });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn branches_take_the_first_that_holds() {
        let config = r#"filter {
            if [message] =~ /^a/ { grok { match => { "message" => "(?<one>.)" } } }
            else if [message] =~ /^b/ { grok { match => { "message" => "(?<two>.)" } } }
            else { grok { match => { "message" => "(?<three>.)" } } }
            grok { match => { "message" => "(?<last>.)$" } }
        }"#;
        for (message, field) in [("ax", "one"), ("bx", "two"), ("cx", "three")] {
            let first = &message[..1];
            let expected = format!(r#"{{"message":"{message}","{field}":"{first}","last":"x"}}"#);
            assert_eq!(filtered(config, message), expected);
        }
    }

    #[test]
    fn grok_collects_repeats_and_tags_failures() {
        let config =
            r#"filter { grok { match => { "message" => "%{WORD:w} %{WORD:w} %{INT:n:int}" } } }"#;
        assert_eq!(
            filtered(config, "a b 12"),
            r#"{"message":"a b 12","w":["a","b"],"n":12}"#
        );
        assert_eq!(
            filtered(config, "-"),
            r#"{"message":"-","tags":["_grokparsefailure"]}"#
        );
    }
}
