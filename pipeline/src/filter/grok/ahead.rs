//! Grok expressions compiled ahead, on several threads.
//!
//! PERF: compiling its grok expressions is nearly all that the start of a pipeline costs: of a
//! configuration of 1,000 lines with 80 of them 50 of 60 ms. So they are compiled on all cores before
//! the filters are built one after the other, which then find them here. What cannot be compiled is
//! left to the filter, which can say why; so is what needs pattern files.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use skidder_grok::{CompileOptions, MatcherList, PatternSet};

use super::patterns::Patterns;
use crate::compile::{Build, NoFiles};
use crate::filter::ScratchSlots;
use crate::language::{Diagnostics, EscapeStyle, Options, Plugin, Statement};

/// What the filters of a pipeline share it by.
pub(super) const SHARED: &str = "grok expressions that are compiled";

/// With fewer lists of expressions a thread costs more than it saves.
const FEWEST: usize = 4;

/// Most threads: a start is no reason to take all of a large machine.
const MOST_THREADS: usize = 8;

/// Compiled lists of expressions, by all that decides about them.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<HashMap<String, MatcherList>>);

impl Ahead {
    /// What was compiled for this.
    pub(super) fn find(&self, key: &str) -> Option<MatcherList> {
        let compiled = self.0.lock().ok()?;
        compiled.get(key).cloned()
    }
}

/// A list of expressions to compile.
struct Job {
    key: String,
    set: PatternSet,
    expressions: Vec<String>,
    options: CompileOptions,
}

/// Compiles the expressions of all grok filters, if there are enough of them.
pub(crate) fn compile_ahead(
    statements: &[Statement],
    ecs: bool,
    escape_style: EscapeStyle,
    slots: &mut ScratchSlots,
) {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut plugins = Vec::new();
    collect(statements, &mut plugins);
    if threads < 2 || plugins.len() < FEWEST {
        return;
    }
    let mut jobs: Vec<Job> = Vec::new();
    for plugin in plugins {
        // What is wrong is reported when the filter is built.
        let mut findings = Diagnostics::new();
        let mut options =
            Options::new(plugin, "filter", &mut findings).with_escape_style(escape_style);
        jobs_of(&mut options, ecs, escape_style, &mut jobs);
    }
    jobs.sort_by(|left, right| left.key.cmp(&right.key));
    jobs.dedup_by(|left, right| left.key == right.key);
    let Some(ahead) = slots.shared(SHARED, Ahead::default) else {
        return;
    };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(MOST_THREADS).min(jobs.len()) {
            // One that cannot be started leaves its work to the others.
            let worker = std::thread::Builder::new().spawn_scoped(scope, || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Ok(list) = job.set.compile_list(&job.expressions, &job.options)
                        && let Ok(mut compiled) = ahead.0.lock()
                    {
                        compiled.insert(job.key.clone(), list);
                    }
                }
            });
            drop(worker);
        }
    });
}

fn jobs_of(options: &mut Options<'_>, ecs: bool, escape_style: EscapeStyle, jobs: &mut Vec<Job>) {
    let build = Build {
        ecs,
        escape_style,
        files: &NoFiles,
        slots: &mut ScratchSlots::default(),
        watched: &mut Vec::new(),
    };
    if options.has("patterns_dir") {
        return;
    }
    let patterns = Patterns::from_options(options, &build, None);
    let compile = super::compile_options(options);
    for entry in options.hash("match").unwrap_or_default() {
        let Some(texts) = options.texts_of("match", entry.value) else {
            continue;
        };
        let expressions: Vec<String> = texts.into_iter().map(|text| text.value).collect();
        if let Some(key) = patterns.key(&expressions, &compile) {
            jobs.push(Job {
                key,
                set: patterns.set().clone(),
                expressions,
                options: compile.clone(),
            });
        }
    }
}

fn collect<'c>(statements: &'c [Statement], plugins: &mut Vec<&'c Plugin>) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) if plugin.name.value == "grok" => plugins.push(plugin),
            Statement::Plugin(_) => {}
            Statement::If(branches) => {
                for branch in &branches.branches {
                    collect(&branch.body, plugins);
                }
                collect(branches.otherwise.as_deref().unwrap_or_default(), plugins);
            }
        }
    }
}
