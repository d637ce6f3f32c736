//! The body of `_bulk`: lines of actions and documents, and the events that they become.
//!
//! COMPAT: what the action says of its document goes where Logstash's codec `es_bulk` has it: `[@metadata][action]`,
//! `[@metadata][_index]`, `[@metadata][_id]` and so on. What the path or the query of the request says counts where the action
//! says nothing.

use std::ops::Range;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::event::{
    self, Event, JsonLimits, Name, Object, Timestamp, Value, read_json_object,
};

use crate::input::decoding::set_peer;
use crate::input::decoration::Decoration;
use crate::input::http::body::Content;
use crate::worker::Records;

/// An action is small: a document that stands where one belongs is found out early.
const ACTION_LIMITS: JsonLimits = JsonLimits {
    depth: 8,
    values: 64,
};

/// What the request says of every document.
#[derive(Debug)]
pub(super) struct Defaults {
    /// For what is no item of a bulk request.
    pub(super) action: &'static str,
    pub(super) index: Option<String>,
    pub(super) id: Option<String>,
    pub(super) pipeline: Option<String>,
    pub(super) routing: Option<String>,
}

/// A document that becomes an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Where its action stands; nowhere if the request is the document.
    action: Option<Range<usize>>,
    document: Range<usize>,
}

impl Item {
    /// A body that is one document.
    pub(super) fn whole(length: usize) -> Self {
        Self {
            action: None,
            document: 0..length,
        }
    }
}

/// What is answered for an action.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ItemAnswer {
    pub(super) action: &'static str,
    pub(super) index: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
    /// Why it is not taken.
    pub(super) error: Option<&'static str>,
}

/// A bulk request.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The documents that become events.
    pub(super) taken: Vec<Item>,
    /// One for each action.
    pub(super) answers: Vec<ItemAnswer>,
}

/// Why an action is not taken.
const NOT_AN_EVENT: &str =
    "this endpoint takes events: `index` and `create`, but no changes of documents";

/// Reads the actions of a body; the reason if it is no bulk request.
pub(super) fn parse(body: &Bytes, defaults: &Defaults) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        taken: Vec::new(),
        answers: Vec::new(),
    };
    let mut arena = Bump::new();
    let mut lines = Lines {
        body,
        at: 0,
        number: 0,
    };
    while let Some(action) = lines.next_filled() {
        let number = lines.number;
        let (name, mut answer) = {
            let text = &body[action.clone()];
            let (name, meta) = read_action(text, &arena)
                .ok_or_else(|| format!("line {number} of the body is no action: an object such as {{\"index\":{{}}}} belongs there"))?;
            let text_of = |name| meta.get(&Name::new(name)).and_then(Value::as_text);
            let text_or = |name, default: &Option<String>| {
                let default = default.as_ref().map(String::as_bytes);
                text_of(name).or(default).map(<[u8]>::to_vec)
            };
            let answer = ItemAnswer {
                action: name,
                index: text_or("_index", &defaults.index),
                id: text_or("_id", &defaults.id),
                error: None,
            };
            (name, answer)
        };
        arena.reset();
        match name {
            "delete" => answer.error = Some(NOT_AN_EVENT),
            _ => {
                let Some(document) = lines.next() else {
                    return Err(format!(
                        "the action in line {number} has no document behind it"
                    ));
                };
                if name == "update" {
                    answer.error = Some(NOT_AN_EVENT);
                } else {
                    parsed.taken.push(Item {
                        action: Some(action),
                        document,
                    });
                }
            }
        }
        parsed.answers.push(answer);
    }
    if parsed.answers.is_empty() {
        return Err("the body has no action".into());
    }
    Ok(parsed)
}

/// The one action of a line, and what it says.
fn read_action<'b>(text: &'b [u8], arena: &'b Bump) -> Option<(&'static str, Object<'b>)> {
    let mut object = read_json_object(text, ACTION_LIMITS, arena).ok()?;
    if object.len() != 1 {
        return None;
    }
    let names = ["index", "create", "update", "delete"];
    let name = names
        .into_iter()
        .find(|name| object.get(&Name::new(name)).is_some())?;
    match object.get_mut(&Name::new(name))? {
        Value::Object(meta) => Some((name, std::mem::replace(meta, Object::new_in(arena)))),
        _ => None,
    }
}

/// The lines of a body.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    number: usize,
}

impl Lines<'_> {
    /// The next line that is not blank.
    fn next_filled(&mut self) -> Option<Range<usize>> {
        loop {
            let line = self.next()?;
            if !self.body[line.clone()].trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.at >= self.body.len() {
            return None;
        }
        let start = self.at;
        let end = memchr::memchr(b'\n', &self.body[start..]);
        let end = end.map_or(self.body.len(), |length| start + length);
        self.at = end + 1;
        self.number += 1;
        let carriage_return = self.body[start..end].ends_with(b"\r");
        Some(start..end - usize::from(carriage_return))
    }
}

/// What the events of one input get.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) ecs: bool,
    pub(super) decoration: Decoration,
}

/// The documents of a request, in the queue.
#[derive(Debug)]
pub(super) struct BulkRecords {
    pub(super) content: Content,
    pub(super) items: Vec<Item>,
    pub(super) defaults: Defaults,
    pub(super) peer: String,
    pub(super) source: Arc<Source>,
}

impl Records for BulkRecords {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let item = &self.items[index];
        let text = &self.content.bytes[item.document.clone()];
        let mut event = Event::from_json(text, now, arena).unwrap_or_else(|_| {
            let mut event = Event::with_timestamp_in(now, arena);
            event.fields.push_new(event::MESSAGE, Value::Text(text));
            event.tag(b"_jsonparsefailure", arena);
            event
        });
        let mut name = self.defaults.action;
        if let Some(action) = &item.action
            && let Some((given, meta)) = read_action(&self.content.bytes[action.clone()], arena)
        {
            name = given;
            for (key, value) in meta.iter() {
                event.metadata.set(key, value.copy_in(arena));
            }
        }
        event
            .metadata
            .set(Name::new("action"), Value::Text(name.as_bytes()));
        for (key, default) in [
            ("_index", &self.defaults.index),
            ("_id", &self.defaults.id),
            ("pipeline", &self.defaults.pipeline),
            ("routing", &self.defaults.routing),
        ] {
            let key = Name::new(key);
            if let Some(default) = default
                && event.metadata.get(&key).is_none()
            {
                event.metadata.set(key, Value::Text(default.as_bytes()));
            }
        }
        set_peer(
            &mut event,
            "elasticsearch_bulk",
            &self.peer,
            self.source.ecs,
            arena,
        );
        self.source.decoration.apply(&mut event, arena);
        each(event);
    }

    fn source(&self) -> &str {
        &self.source.name
    }
}
