//! Runs the cases of a file through a configuration.
//!
//! The cases of a file are one stream, in order: what a filter remembers of one it knows in the
//! next, as with logstash-filter-verifier, which feeds a file to one Logstash. Files know nothing of each
//! other: filters that remember are made anew for each (unless that is asked for otherwise).
//! What filters have left comes out at the end of the file and belongs to its last case, or to a case
//! that says `flush`.

use bumpalo::Bump;
use skidder_pipeline::codec::Sink;
use skidder_pipeline::event::{
    self, Event, JsonLimits, MESSAGE, Name, Object, TIMESTAMP, Timestamp, Value,
};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::Span;

use super::case_file::{Case, CaseFile, Input};
use super::json;
use super::node::{Kind, Member, Node};
use super::subject::{Entry, Subject};
use crate::shown::write_event;
use crate::worker::now;

/// The name that logstash-filter-verifier gives the field with the output's id.
pub(super) const OUTPUT_FIELD: &str = "__lfv_out_passed";

/// What came out of a case.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) events: Vec<CameOut>,
}

/// An event that came out.
#[derive(Debug)]
pub(crate) struct CameOut {
    pub(crate) event: Node,
    /// Its `@timestamp` is the clock's: neither the input nor a filter has set it.
    pub(crate) is_now: bool,
}

/// How the events of a file are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// With `@metadata`.
    pub(super) metadata: bool,
    /// Once for each output that they reach, in the order of the names of the outputs.
    pub(super) per_output: bool,
    /// With the name of the output.
    pub(super) output: bool,
    /// COMPAT: as version 2 of the verifier has it, without `tags` that are empty.
    pub(super) as_verifier: bool,
}

/// Runs what is selected of a file; a case that is not has no result.
pub(super) fn run(
    subject: &Subject,
    entry: &Entry,
    file: &CaseFile,
    shown: Shown,
    selected: &[bool],
) -> Vec<Option<Came>> {
    let mut scratch = Scratch::default();
    let mut results: Vec<Option<Came>> = Vec::with_capacity(file.cases.len());
    let clock = now();
    let mut last = None;
    for (at, (case, selected)) in file.cases.iter().zip(selected).enumerate() {
        if !selected && !subject.remembers {
            results.push(None);
            continue;
        }
        let mut runner = Runner {
            subject,
            shown,
            now: case.now.unwrap_or(clock),
            scratch: &mut scratch,
            came: Came::default(),
        };
        runner.case(case, entry);
        let came = runner.came;
        results.push(Some(came));
        if *selected {
            last = Some(at);
        }
    }
    if let Some(last) = last
        && subject.pipeline.has_flush()
    {
        let mut runner = Runner {
            subject,
            shown,
            now: file.cases[last].now.unwrap_or(clock),
            scratch: &mut scratch,
            came: Came::default(),
        };
        runner.flush();
        if let Some(came) = &mut results[last] {
            came.events.append(&mut runner.came.events);
        }
    }
    for (result, selected) in results.iter_mut().zip(selected) {
        if !selected {
            *result = None;
        }
    }
    results
}

/// Runs one text that an input receives: for comparisons outside of case files.
pub(super) fn run_text(
    subject: &Subject,
    entry: &Entry,
    text: &str,
    fields: &[Member],
    now: Timestamp,
    scratch: &mut Scratch,
) -> Came {
    let mut runner = Runner {
        subject,
        shown: Shown::default(),
        now,
        scratch,
        came: Came::default(),
    };
    let arena = Bump::new();
    let text = with_delimiter(text, entry);
    let events = runner.decode(&[text], entry, &arena);
    runner.events(events, fields, Some(entry), &arena);
    runner.came
}

/// What filters have left when nothing comes any more.
pub(super) fn run_flush(subject: &Subject, now: Timestamp, scratch: &mut Scratch) -> Came {
    let mut runner = Runner {
        subject,
        shown: Shown::default(),
        now,
        scratch,
        came: Came::default(),
    };
    runner.flush();
    runner.came
}

struct Runner<'r> {
    subject: &'r Subject,
    shown: Shown,
    now: Timestamp,
    scratch: &'r mut Scratch,
    came: Came,
}

impl<'r> Runner<'r> {
    fn case(&mut self, case: &Case, entry: &Entry) {
        let arena = Bump::new();
        // Texts that follow each other are one stream.
        let is_text = |input: &Input| matches!(input, Input::Text(_));
        for inputs in case
            .input
            .chunk_by(|one, next| is_text(one) && is_text(next))
        {
            let mut texts = Vec::new();
            for input in inputs {
                match input {
                    Input::Text(text) => texts.push(with_delimiter(text, entry)),
                    Input::Event(node) => {
                        let fields = object_of(node.members(), &arena);
                        let event = Event::from_object(fields, self.now, &arena);
                        self.events(vec![event], &case.fields, None, &arena);
                    }
                }
            }
            let events = self.decode(&texts, entry, &arena);
            self.events(events, &case.fields, Some(entry), &arena);
        }
        if case.input.is_empty() {
            // COMPAT: without a line the event has the fields of the case and no message.
            let event = Event::with_timestamp_in(self.now, &arena);
            self.events(vec![event], &case.fields, Some(entry), &arena);
        }
        if case.flush {
            self.flush();
        }
    }

    /// Reads texts as one stream.
    fn decode<'b>(&self, texts: &[String], entry: &Entry, arena: &'b Bump) -> Vec<Event<'b>> {
        let mut events = Vec::new();
        if let Some(mut decoder) = entry.codec.decoder() {
            let mut sink = Sink {
                arena,
                now: self.now,
                events: &mut events,
            };
            for text in texts {
                if text.is_empty() && entry.name == "plain" {
                    // COMPAT: to logstash-filter-verifier each text is an event, even an empty one.
                    let mut event = Event::with_timestamp_in(self.now, arena);
                    event.fields.push_new(MESSAGE, Value::Text(b""));
                    sink.events.push(event);
                }
                decoder.decode(arena.alloc_str(text).as_bytes(), &mut sink);
            }
            decoder.flush(&mut sink);
        }
        events
    }

    /// Gives events what the case and the input add, and runs them.
    fn events<'b>(
        &mut self,
        events: Vec<Event<'b>>,
        fields: &[Member],
        entry: Option<&'b Entry>,
        arena: &'b Bump,
    ) where
        'r: 'b,
    {
        let subject: &'b Subject = self.subject;
        for mut event in events {
            expand_names(&mut event.fields, arena);
            for member in fields {
                set_field(&mut event, member, arena);
            }
            if let Some(entry) = entry {
                entry.decoration.apply(&mut event, arena);
            }
            let is_now = event.timestamp() == Some(self.now);
            let mut came = Vec::new();
            let (shown, now) = (self.shown, self.now);
            let filters = &subject.pipeline.filters;
            filters.run(event, arena, now, self.scratch, |event| {
                keep(
                    &event,
                    is_now && event.timestamp() == Some(now),
                    shown,
                    subject,
                    &mut came,
                );
            });
            self.keep(came);
        }
    }

    fn flush(&mut self) {
        let arena = Bump::new();
        let mut came = Vec::new();
        let (shown, now, subject) = (self.shown, self.now, self.subject);
        let filters = &subject.pipeline.filters;
        filters.flush(true, &arena, now, self.scratch, |event| {
            keep(
                &event,
                event.timestamp() == Some(now),
                shown,
                subject,
                &mut came,
            );
        });
        self.keep(came);
    }

    fn keep(&mut self, mut came: Vec<(usize, CameOut)>) {
        if self.shown.per_output {
            // COMPAT: what comes of one event is sorted by the outputs.
            let outputs = &self.subject.outputs;
            came.sort_by(|left, right| outputs.get(left.0).cmp(&outputs.get(right.0)));
        }
        let events = came.into_iter().map(|(_, event)| event);
        self.came.events.extend(events);
    }
}

/// Keeps an event as it is compared, once or for each output.
fn keep(
    event: &Event<'_>,
    is_now: bool,
    shown: Shown,
    subject: &Subject,
    came: &mut Vec<(usize, CameOut)>,
) {
    let mut text = Vec::new();
    write_event(event, shown.metadata, &mut text);
    let mut node = json::read_valid(&String::from_utf8_lossy(&text), 0);
    hide_private(&mut node);
    if shown.as_verifier
        && matches!(node.get("tags").map(|tags| &tags.kind), Some(Kind::Array(tags)) if tags.is_empty())
    {
        node.remove(&["tags".to_owned()]);
    }
    if !shown.per_output {
        let event = node;
        came.push((0, CameOut { event, is_now }));
        return;
    }
    subject.pipeline.outputs.visit(event, |output| {
        let mut event = node.clone();
        if shown.output
            && let Some(name) = subject.outputs.get(*output)
        {
            let name = Node::new(Kind::Text(name.as_str().into()), Span::default());
            push(&mut event, OUTPUT_FIELD, name);
        }
        came.push((*output, CameOut { event, is_now }));
    });
}

/// COMPAT: some metadata is for the use of whoever tests.
fn hide_private(event: &mut Node) {
    let Kind::Object(members) = &mut event.kind else {
        return;
    };
    let at = members
        .iter()
        .position(|member| member.key.value == "@metadata");
    let Some(at) = at else { return };
    if let Kind::Object(metadata) = &mut members[at].value.kind {
        let is_private = |key: &str| key.starts_with("__lfv_") || key.starts_with("__tmp_");
        metadata.retain(|member| !is_private(&member.key.value));
        if metadata.is_empty() {
            members.remove(at);
        }
    }
}

fn push(node: &mut Node, key: &str, value: Node) {
    if let Kind::Object(members) = &mut node.kind {
        members.push(Member {
            key: skidder_pipeline::language::Spanned::new(key.to_owned(), Span::default()),
            value,
        });
    }
}

/// A text as the codec is given it: a line ends.
fn with_delimiter(text: &str, entry: &Entry) -> String {
    let Some(delimiter) = &entry.delimiter else {
        let chomped = text.strip_suffix('\n').filter(|_| entry.chomp);
        return chomped.unwrap_or(text).to_owned();
    };
    let delimiter = String::from_utf8_lossy(delimiter);
    // COMPAT: a JSON object on several lines, as YAML folds it, is one all the same.
    let is_folded = entry.name == "json_lines" && text.trim().contains('\n');
    let mut text = if is_folded && json::read(text.trim(), 0).is_ok() {
        text.trim().replace(['\n', '\r'], " ")
    } else {
        text.to_owned()
    };
    if !text.ends_with(delimiter.as_ref()) {
        text.push_str(&delimiter);
    }
    text
}

/// COMPAT: names in the input that are written `[a][b]` are nested ones.
fn expand_names<'b>(fields: &mut Object<'b>, arena: &'b Bump) {
    let is_bracketed = |name: Name<'_>| super::node::bracketed(name.as_str()).is_some();
    if !fields.iter().any(|(name, _)| is_bracketed(name)) {
        return;
    }
    let mut text = vec![b'{'];
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        event::write_json_text(name.as_str().as_bytes(), &mut text);
        text.push(b':');
        event::write_json_value(value, &mut text);
    }
    text.push(b'}');
    let timestamp = fields.remove(&TIMESTAMP);
    let expanded = json::read_valid(&String::from_utf8_lossy(&text), 0).expand_references();
    *fields = object_of(expanded.members(), arena);
    if let Some(timestamp) = timestamp {
        fields.set(TIMESTAMP, timestamp);
    }
}

/// Fields as an object of an event.
fn object_of<'b>(members: &[Member], arena: &'b Bump) -> Object<'b> {
    let mut object = Object::with_capacity_in(members.len(), arena);
    for member in members {
        let name = Name::copied_in(&member.key.value, arena);
        object.set(name, value_of(&member.value, arena));
    }
    object
}

fn value_of<'b>(node: &Node, arena: &'b Bump) -> Value<'b> {
    let text = arena.alloc_str(&node.to_json());
    event::read_json(text.as_bytes(), JsonLimits::default(), arena).unwrap_or(Value::Null)
}

/// Sets a field of an event; the fields of an object go into one that is there.
fn set_field<'b>(event: &mut Event<'b>, member: &Member, arena: &'b Bump) {
    let name = member.key.value.as_str();
    if name == "@metadata" {
        for member in member.value.members() {
            merge(&mut event.metadata, member, arena);
        }
    } else if name == "@timestamp" {
        let mut object = Object::with_capacity_in(1, arena);
        object.set(TIMESTAMP, value_of(&member.value, arena));
        let now = Timestamp::new(0, 0);
        let time = Event::from_object(object, now, arena)
            .fields
            .remove(&TIMESTAMP);
        event.fields.set(TIMESTAMP, time.unwrap_or(Value::Null));
    } else {
        merge(&mut event.fields, member, arena);
    }
}

fn merge<'b>(object: &mut Object<'b>, member: &Member, arena: &'b Bump) {
    let name = Name::copied_in(&member.key.value, arena);
    if let (Some(Value::Object(there)), Kind::Object(members)) =
        (object.get_mut(&name), &member.value.kind)
    {
        for member in members {
            merge(there, member, arena);
        }
    } else {
        object.set(name, value_of(&member.value, arena));
    }
}
