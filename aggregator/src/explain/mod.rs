//! `explain`: what becomes of a line, step by step.
//!
//! Each filter of the configuration is compiled as a pipeline of its own and each condition once
//! more with its parts, so that what happens between them can be looked at; the pipeline that
//! runs events knows nothing of it. What is found is a tree of JSON, which `text.rs` makes
//! readable. State that filters keep lives as long as the command, over all lines.

mod text;

use std::collections::VecDeque;
use std::io::{Read, Write};

use bumpalo::Bump;
use serde_json::{Value as Json, json};
use skidder_pipeline::condition::Condition;
use skidder_pipeline::event::{self, Event, JsonLimits, Path, Value};
use skidder_pipeline::filter::grok::probe::{Answer, Attempt, Probe};
use skidder_pipeline::filter::{Scratch, ScratchSlots};
use skidder_pipeline::language::{
    self, ConditionKind, Config, Diagnostics, If, Operand, OperandKind, Options, Plugin, SourceMap,
    Span, Statement,
};
use skidder_pipeline::program::Test as _;
use skidder_pipeline::{Build, CompileOptions, Pipeline, compile};

use crate::chunks::Chunks;
use crate::worker::now;

/// How the command reads and prints.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Each line is the message of an event, even if it is a JSON object.
    pub lines: bool,
    /// Print JSON.
    pub json: bool,
}

/// Explains what the filters do with each line of the input.
pub fn run(
    config: &Config,
    sources: &SourceMap,
    options: &CompileOptions<'_>,
    format: Format,
    input: impl Read,
    output: &mut impl Write,
) -> std::io::Result<()> {
    let plan = Plan::new(config, sources, options);
    let mut scratches: Vec<Scratch> = plan.steps.iter().map(|_| Scratch::default()).collect();
    let mut chunks = Chunks::new(input, b"\n");
    while let Some(chunk) = chunks.next_chunk()? {
        let whole = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
        for line in whole.split(|byte| *byte == b'\n') {
            let arena = Bump::new();
            let event = read_event(line, format, &arena);
            let explained = plan.explain(event, &arena, &mut scratches);
            if format.json {
                writeln!(output, "{explained}")?;
            } else {
                let text = text::render(&explained).map_err(std::io::Error::other)?;
                output.write_all(text.as_bytes())?;
            }
            output.flush()?;
        }
    }
    Ok(())
}

/// A line as an event: a JSON object is one, anything else is a message.
fn read_event<'b>(line: &'b [u8], format: Format, arena: &'b Bump) -> Event<'b> {
    let now = now();
    if !format.lines
        && line.trim_ascii_start().starts_with(b"{")
        && let Ok(fields) = event::read_json_object(line, JsonLimits::default(), arena)
    {
        return Event::from_object(fields, now, arena);
    }
    let mut event = Event::with_timestamp_in(now, arena);
    event.fields.push_new(event::MESSAGE, Value::Text(line));
    event
}

/// The filters of a configuration, to be run one at a time.
struct Plan {
    operations: Vec<Operation>,
    steps: Vec<Step>,
}

enum Operation {
    /// The filter with this index.
    Run(usize),
    /// Go on at an operation if the condition does not hold.
    Unless(Box<Test>, usize),
    Jump(usize),
}

/// A filter.
struct Step {
    name: String,
    place: String,
    pipeline: Pipeline,
    /// For a grok: its expressions.
    probe: Option<Probe>,
}

/// A condition.
struct Test {
    text: String,
    place: String,
    condition: Condition,
    /// The comparisons in it, if there are several, with the fields that they look at.
    parts: Vec<Comparison>,
}

/// A comparison of a condition.
struct Comparison {
    text: String,
    condition: Condition,
    fields: Vec<(String, Path)>,
}

struct Planner<'a> {
    sources: &'a SourceMap,
    options: &'a CompileOptions<'a>,
    plan: Plan,
}

impl Plan {
    fn new(config: &Config, sources: &SourceMap, options: &CompileOptions<'_>) -> Self {
        let mut planner = Planner {
            sources,
            options,
            plan: Self {
                operations: Vec::new(),
                steps: Vec::new(),
            },
        };
        planner.block(&config.filters);
        planner.plan
    }

    /// What becomes of an event.
    fn explain<'b>(&'b self, event: Event<'b>, arena: &'b Bump, scratches: &mut [Scratch]) -> Json {
        let first = to_json(&event, arena);
        let mut steps = Vec::new();
        let mut results = Vec::new();
        let mut waiting = VecDeque::from([(event, 0)]);
        let mut number = 0;
        while let Some((event, at)) = waiting.pop_front() {
            number += 1;
            let mut run = Run {
                plan: self,
                arena,
                number,
                steps: &mut steps,
            };
            if let Some(result) = run.event(event, at, scratches, &mut waiting) {
                results.push(result);
            }
        }
        json!({ "event": first, "steps": steps, "results": results })
    }
}

/// The way of one event.
struct Run<'r, 'b> {
    plan: &'b Plan,
    arena: &'b Bump,
    /// The event, counted from 1; filters may make more of them.
    number: usize,
    steps: &'r mut Vec<Json>,
}

impl<'b> Run<'_, 'b> {
    /// Runs an event to its end; gives nothing if it was dropped.
    fn event(
        &mut self,
        mut event: Event<'b>,
        mut at: usize,
        scratches: &mut [Scratch],
        waiting: &mut VecDeque<(Event<'b>, usize)>,
    ) -> Option<Json> {
        while let Some(operation) = self.plan.operations.get(at) {
            at += 1;
            match operation {
                Operation::Jump(target) => at = *target,
                Operation::Unless(test, target) => {
                    if !self.test(test, &event) {
                        at = *target;
                    }
                }
                Operation::Run(index) => {
                    let step = &self.plan.steps[*index];
                    let probe = step.probe.as_ref();
                    let attempts = probe.map(|probe| probe.attempts(&event, self.arena));
                    let before = to_json(&event, self.arena);
                    let mut events = VecDeque::new();
                    step.pipeline.filters.run(
                        event,
                        self.arena,
                        now(),
                        &mut scratches[*index],
                        |event| events.push_back(event),
                    );
                    let first = events.pop_front();
                    let after = first.as_ref().map(|event| to_json(event, self.arena));
                    self.steps.push(json!({
                        "event_number": self.number, "filter": step.name, "place": step.place,
                        "before": before, "event": after, "emitted": events.len(),
                        "attempts": attempts.map(|all| {
                            all.iter().map(attempt_json).collect::<Vec<_>>()
                        }),
                    }));
                    for (place, event) in events.into_iter().enumerate() {
                        waiting.insert(place, (event, at));
                    }
                    event = first?;
                }
            }
        }
        Some(to_json(&event, self.arena))
    }

    fn test(&mut self, test: &Test, event: &Event<'b>) -> bool {
        let answer = test.condition.holds(event);
        let parts: Vec<Json> = test
            .parts
            .iter()
            .map(|part| {
                let fields = part.fields.iter();
                let values: serde_json::Map<String, Json> = fields
                    .map(|(name, path)| {
                        let value = event.get(path).map_or(Json::Null, value_json);
                        (name.clone(), value)
                    })
                    .collect();
                let answer = part.condition.holds(event);
                json!({ "text": part.text, "answer": answer, "fields": values })
            })
            .collect();
        self.steps.push(json!({
            "event_number": self.number, "condition": test.text, "place": test.place,
            "answer": answer, "parts": parts,
        }));
        answer
    }
}

fn attempt_json(attempt: &Attempt) -> Json {
    let text = String::from_utf8_lossy(&attempt.text);
    let answer = match &attempt.answer {
        Answer::Match => json!({ "matched": true }),
        Answer::GaveUp => json!({ "matched": false, "out_of_steps": true }),
        Answer::NoMatch(reached) => {
            let end = reached.matched.end;
            json!({
                "matched": false, "prefix": reached.prefix,
                "prefix_text": String::from_utf8_lossy(&attempt.text[reached.matched.clone()]),
                "failed": reached.part, "within": reached.within, "at_byte": end,
                "found": String::from_utf8_lossy(&attempt.text[end..]),
            })
        }
    };
    json!({
        "field": attempt.field, "text": text, "pattern": attempt.expression.value,
        "answer": answer,
    })
}

/// An event with its metadata.
fn to_json<'b>(event: &Event<'b>, arena: &'b Bump) -> Json {
    let mut text = Vec::new();
    event::write_json(event, &mut text);
    let mut json: Json = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(fields) = json.as_object_mut()
        && !event.metadata.is_empty()
    {
        let metadata = Value::object(event.metadata.copy_in(arena), arena);
        fields.insert("@metadata".into(), value_json(&metadata));
    }
    json
}

fn value_json(value: &Value<'_>) -> Json {
    let mut text = Vec::new();
    event::write_json_value(value, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

impl Planner<'_> {
    fn block(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Plugin(plugin) => self.plugin(plugin),
                Statement::If(statement) => self.branches(statement),
            }
        }
    }

    fn plugin(&mut self, plugin: &Plugin) {
        let config = Config {
            filters: vec![Statement::Plugin(plugin.clone())],
            ..Config::default()
        };
        // The whole was compiled before, so that there is nothing new to say.
        let mut findings = Diagnostics::new();
        let Some(pipeline) = compile(&config, self.options, &mut findings) else {
            return;
        };
        let probe = (plugin.name.value == "grok").then(|| {
            let mut options = Options::new(plugin, "filter", &mut findings)
                .with_escape_style(self.options.escape_style);
            let mut build = Build {
                ecs: self.options.ecs,
                escape_style: self.options.escape_style,
                files: self.options.files,
                slots: &mut ScratchSlots::default(),
                watched: &mut Vec::new(),
            };
            Probe::from_options(&mut options, &mut build)
        });
        self.plan.steps.push(Step {
            name: plugin.name.value.clone(),
            place: self.place(plugin.name.span),
            pipeline,
            probe,
        });
        let index = self.plan.steps.len() - 1;
        self.plan.operations.push(Operation::Run(index));
    }

    fn branches(&mut self, statement: &If) {
        let mut jumps = Vec::new();
        for branch in &statement.branches {
            let test = self.test(&branch.condition);
            let skip = test.map(|test| {
                self.plan
                    .operations
                    .push(Operation::Unless(Box::new(test), 0));
                self.plan.operations.len() - 1
            });
            self.block(&branch.body);
            jumps.push(self.plan.operations.len());
            self.plan.operations.push(Operation::Jump(0));
            self.set_target(skip);
        }
        if let Some(statements) = &statement.otherwise {
            self.block(statements);
        }
        for jump in jumps {
            self.set_target(Some(jump));
        }
    }

    /// Lets a jump go to what comes next.
    fn set_target(&mut self, jump: Option<usize>) {
        let next = self.plan.operations.len();
        let operation = jump.map(|jump| &mut self.plan.operations[jump]);
        if let Some(Operation::Unless(_, target) | Operation::Jump(target)) = operation {
            *target = next;
        }
    }

    fn test(&self, condition: &language::Condition) -> Option<Test> {
        let mut findings = Diagnostics::new();
        let whole = Condition::compile(condition, &mut findings)?;
        let mut leaves = Vec::new();
        collect_leaves(condition, &mut leaves);
        let parts = leaves
            .into_iter()
            .filter_map(|leaf| {
                let compiled = Condition::compile(leaf, &mut findings)?;
                Some(Comparison {
                    text: self.text(leaf.span),
                    condition: compiled,
                    fields: self.fields(leaf),
                })
            })
            .collect();
        Some(Test {
            text: self.text(condition.span),
            place: self.place(condition.span),
            condition: whole,
            parts,
        })
    }

    /// The fields that a comparison looks at.
    fn fields(&self, condition: &language::Condition) -> Vec<(String, Path)> {
        let operands: Vec<&Operand> = match &condition.kind {
            ConditionKind::Compare { left, right, .. } => vec![left, right],
            ConditionKind::Match { subject, .. } => vec![subject],
            ConditionKind::In {
                needle, haystack, ..
            } => vec![needle, haystack],
            ConditionKind::Truthy(operand) => vec![operand],
            _ => Vec::new(),
        };
        operands
            .into_iter()
            .filter_map(|operand| match &operand.kind {
                OperandKind::Field(reference) => {
                    Some((self.text(operand.span), Path::from(reference)))
                }
                _ => None,
            })
            .collect()
    }

    /// A piece of the configuration on one line.
    fn text(&self, span: Span) -> String {
        let words = self.sources.text(span).split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    }

    fn place(&self, span: Span) -> String {
        let position = self.sources.position(span);
        position
            .map(|position| position.to_string())
            .unwrap_or_default()
    }
}

/// The comparisons of a condition.
fn collect_leaves<'c>(
    condition: &'c language::Condition,
    leaves: &mut Vec<&'c language::Condition>,
) {
    match &condition.kind {
        ConditionKind::And(all) | ConditionKind::Or(all) => {
            for condition in all {
                collect_leaves(condition, leaves);
            }
        }
        ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
            collect_leaves(left, leaves);
            collect_leaves(right, leaves);
        }
        ConditionKind::Not(inner) => collect_leaves(inner, leaves),
        _ => leaves.push(condition),
    }
}
