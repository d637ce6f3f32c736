//! `explain`: what becomes of a line, step by step.
//!
//! Each filter of the configuration is built once more by itself and each condition with its
//! parts, so that what happens between them can be looked at; the pipeline that runs events knows
//! nothing of it. What is found is a tree of JSON, which `text.rs` makes readable. State that
//! filters keep lives as long as the command, over all lines, and filters that share it do so here.
//!
//! INVARIANT: events go the way that [`skidder_pipeline::program::Program`] sends them, those that
//! filters make included.

mod text;

use std::collections::VecDeque;
use std::io::{Read, Write};

use bumpalo::Bump;
use serde_json::{Value as Json, json};
use skidder_pipeline::condition::Condition;
use skidder_pipeline::event::{self, Event, JsonLimits, Path, Timestamp, Value};
use skidder_pipeline::filter::grok::probe::{Answer, Attempt, Probe};
use skidder_pipeline::filter::{Context, Scratch, ScratchSlots};
use skidder_pipeline::language::{
    self, ConditionKind, Config, Diagnostics, If, Operand, OperandKind, Options, Plugin, SourceMap,
    Span, Statement,
};
use skidder_pipeline::program::{Step as _, Test as _};
use skidder_pipeline::{Build, CompileOptions, FilterStep};

use crate::chunks::Chunks;
use crate::shown;
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
    let mut scratch = Scratch::default();
    let mut chunks = Chunks::new(input, b"\n");
    while let Some(chunk) = chunks.next_chunk()? {
        let whole = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
        for line in whole.split(|byte| *byte == b'\n') {
            let arena = Bump::new();
            let event = read_event(line, format, &arena);
            let explained = plan.explain(event, &arena, &mut scratch);
            write(&explained, format, output)?;
        }
    }
    if let Some(explained) = plan.explain_end(&Bump::new(), &mut scratch) {
        write(&explained, format, output)?;
    }
    Ok(())
}

fn write(explained: &Json, format: Format, output: &mut impl Write) -> std::io::Result<()> {
    if format.json {
        writeln!(output, "{explained}")?;
    } else {
        let text = text::render(explained).map_err(std::io::Error::other)?;
        output.write_all(text.as_bytes())?;
    }
    output.flush()
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
    filter: FilterStep,
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
    slots: ScratchSlots,
    plan: Plan,
}

impl Plan {
    fn new(config: &Config, sources: &SourceMap, options: &CompileOptions<'_>) -> Self {
        let mut planner = Planner {
            sources,
            options,
            slots: ScratchSlots::default(),
            plan: Self {
                operations: Vec::new(),
                steps: Vec::new(),
            },
        };
        planner.block(&config.filters);
        planner.plan
    }

    /// What becomes of an event.
    fn explain<'b>(&'b self, event: Event<'b>, arena: &'b Bump, scratch: &mut Scratch) -> Json {
        let first = to_json(&event);
        let mut run = Run::new(self, arena, scratch);
        run.events(VecDeque::from([(event, 0)]));
        json!({ "event": first, "steps": run.steps, "results": run.results })
    }

    /// What becomes of what filters have left when there are no more events, if they have.
    fn explain_end<'b>(&'b self, arena: &'b Bump, scratch: &mut Scratch) -> Option<Json> {
        let mut run = Run::new(self, arena, scratch);
        for (at, operation) in self.operations.iter().enumerate() {
            if let Operation::Run(index) = operation {
                let emitted = run.flush(&self.steps[*index]);
                run.events(emitted.into_iter().map(|event| (event, at + 1)).collect());
            }
        }
        let is_any = !run.steps.is_empty();
        is_any.then(|| json!({ "event": null, "steps": run.steps, "results": run.results }))
    }
}

/// The way of one event and of those that filters make of it.
struct Run<'r, 'b> {
    plan: &'b Plan,
    arena: &'b Bump,
    now: Timestamp,
    scratch: &'r mut Scratch,
    /// The event, counted from 1; filters may make more of them.
    number: usize,
    steps: Vec<Json>,
    results: Vec<Json>,
}

impl<'r, 'b> Run<'r, 'b> {
    fn new(plan: &'b Plan, arena: &'b Bump, scratch: &'r mut Scratch) -> Self {
        Self {
            plan,
            arena,
            now: now(),
            scratch,
            number: 0,
            steps: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Runs events, each from an operation on, and what filters make of them.
    fn events(&mut self, mut waiting: VecDeque<(Event<'b>, usize)>) {
        while let Some((event, at)) = waiting.pop_front() {
            self.number += 1;
            if let Some(event) = self.event(event, at, &mut waiting) {
                self.results.push(to_json(&event));
            }
        }
    }

    /// Runs an event to its end; gives nothing if it was dropped.
    fn event(
        &mut self,
        mut event: Event<'b>,
        mut at: usize,
        waiting: &mut VecDeque<(Event<'b>, usize)>,
    ) -> Option<Event<'b>> {
        // What is made of this event stands before what waits already.
        let mut place = 0;
        let plan = self.plan;
        while let Some(operation) = plan.operations.get(at) {
            at += 1;
            match operation {
                Operation::Jump(target) => at = *target,
                Operation::Unless(test, target) => {
                    if !self.test(test, &event) {
                        at = *target;
                    }
                }
                Operation::Run(index) => {
                    for made in self.step(&plan.steps[*index], &mut event) {
                        waiting.insert(place, (made, at));
                        place += 1;
                    }
                    if event.is_cancelled() {
                        return None;
                    }
                }
            }
        }
        Some(event)
    }

    /// Lets a filter work on an event; gives the events that it makes.
    fn step(&mut self, step: &'b Step, event: &mut Event<'b>) -> Vec<Event<'b>> {
        let attempts = step.probe.as_ref().map(|probe| {
            let attempts = probe.attempts(event, self.arena);
            attempts.iter().map(attempt_json).collect::<Vec<_>>()
        });
        let before = to_json(event);
        let mut emitted = Vec::new();
        step.filter.step(event, &mut self.context(&mut emitted));
        let after = (!event.is_cancelled()).then(|| to_json(event));
        self.steps.push(json!({
            "event_number": self.number, "filter": step.name, "place": step.place,
            "before": before, "event": after, "emitted": all_json(&emitted),
            "attempts": attempts,
        }));
        emitted
    }

    /// Gives the events that a filter has left.
    fn flush(&mut self, step: &'b Step) -> Vec<Event<'b>> {
        let mut emitted = Vec::new();
        step.filter.flush(true, &mut self.context(&mut emitted));
        if !emitted.is_empty() {
            self.steps.push(json!({
                "filter": step.name, "place": step.place, "emitted": all_json(&emitted),
            }));
        }
        emitted
    }

    fn context<'c>(&'c mut self, emitted: &'c mut Vec<Event<'b>>) -> Context<'c, 'b> {
        Context {
            arena: self.arena,
            now: self.now,
            scratch: self.scratch,
            emitted,
        }
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

fn all_json(events: &[Event<'_>]) -> Vec<Json> {
    events.iter().map(to_json).collect()
}

/// An event with its metadata.
fn to_json(event: &Event<'_>) -> Json {
    let mut text = Vec::new();
    shown::write_event(event, true, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
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
        // The whole was compiled before, so that there is nothing new to say.
        let mut findings = Diagnostics::new();
        let mut build = Build {
            ecs: self.options.ecs,
            escape_style: self.options.escape_style,
            files: self.options.files,
            slots: &mut self.slots,
            watched: &mut Vec::new(),
        };
        let Some(filter) = FilterStep::build(plugin, &mut build, &mut findings) else {
            return;
        };
        let probe = (plugin.name.value == "grok").then(|| {
            let mut options = Options::new(plugin, "filter", &mut findings)
                .with_escape_style(self.options.escape_style);
            Probe::from_options(&mut options, &mut build)
        });
        self.plan.steps.push(Step {
            name: plugin.name.value.clone(),
            place: self.place(plugin.name.span),
            filter,
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
        condition.for_leaves(&mut |leaf| leaves.push(leaf));
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
