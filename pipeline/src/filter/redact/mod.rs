//! The filter `redact`: takes what must not be kept out of texts: payment cards, mail addresses, IP
//! addresses, secrets, and whatever else expressions describe.
//!
//! This filter is ours. Each kind is found by its shape and, where there is one, by its check (cards
//! by their check digit, addresses by being some). What is found is replaced by a text that may name
//! the kind, and may tell equal finds from others by a keyed hash.
//!
//! PERF: all kinds are looked for in the text as it was; where two overlap, the one that starts
//! first counts. Everything is linear in the text, expressions of the fallback engine aside. The
//! list of finds is kept by the worker.

mod find;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use regex::bytes::{CaptureLocations, Regex as ByteRegex};
use ring::hmac;

use super::common::field_of;
use super::random::HEX;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::Options;
use crate::regex_dialect::Regex;

/// Bytes of the keyed hash in a replacement, two digits each.
const HASH_BYTES: usize = 8;

/// The filter.
pub struct Redact {
    fields: Vec<Path>,
    kinds: Vec<Kind>,
    replacement: Vec<Part>,
    key: Option<hmac::Key>,
    slot: ScratchSlot,
}

/// What is looked for, and what it is called.
struct Kind {
    name: Box<str>,
    finder: Finder,
}

enum Finder {
    Card,
    Email,
    Ip,
    Token(ByteRegex),
    Pattern(Regex),
}

/// A part of the replacement.
#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Kind,
    Hash,
}

/// What was found: from, to, and the index of its kind.
type Find = (usize, usize, usize);

/// What a worker keeps between events.
#[derive(Default)]
struct Memory {
    finds: Vec<Find>,
    groups: Option<CaptureLocations>,
}

const KINDS: &[&str] = &["card", "email", "ip", "token"];

impl Redact {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let fields = match options.fields("fields") {
            Some(fields) => fields
                .iter()
                .map(|field| Path::from(&field.value))
                .collect(),
            None => vec![Path::from(&field_of("message"))],
        };
        let mut kinds = Vec::new();
        let names: Vec<String> = match options.strings("kinds") {
            Some(names) => names.into_iter().map(|name| name.value).collect(),
            None => KINDS.iter().map(|name| (*name).to_owned()).collect(),
        };
        for name in names {
            let finder = match name.as_str() {
                "card" => Finder::Card,
                "email" => Finder::Email,
                "ip" => Finder::Ip,
                "token" => Finder::Token(find::tokens()),
                unknown => {
                    let hint = crate::language::did_you_mean(unknown, KINDS.iter().copied());
                    let known = KINDS.join("`, `");
                    let message = format!("there is no kind `{unknown}`; known are `{known}`");
                    let hint = hint.map_or(String::new(), |hint| format!(" ({hint})"));
                    options.error("kinds", message + &hint);
                    continue;
                }
            };
            let name = name.into();
            kinds.push(Kind { name, finder });
        }
        for (name, pattern) in options.string_hash("patterns").unwrap_or_default() {
            match Regex::new(&pattern.value) {
                Ok(regex) => kinds.push(Kind {
                    name: name.value.into(),
                    finder: Finder::Pattern(regex),
                }),
                Err(error) => options.diagnostics().error(pattern.span, error.to_string()),
            }
        }
        let key = options.string("key");
        let replacement = options.string("replacement");
        let replacement = replacement.unwrap_or_else(|| "[{kind}]".to_owned());
        let replacement = parts(&replacement);
        let wants_hash = replacement.iter().any(|part| matches!(part, Part::Hash));
        if wants_hash && key.is_none() {
            options.error(
                "replacement",
                "`{hash}` needs a `key`: without one anybody could try what gives the same hash",
            );
        }
        if kinds.is_empty() {
            options.error("kinds", "nothing is looked for: name a kind or a pattern");
        }
        Some(Self {
            fields,
            kinds,
            replacement,
            key: key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
            slot: build.slots.take(),
        })
    }

    /// Replaces what is found in a value and what is inside of it.
    fn redact<'b>(&'b self, value: &mut Value<'b>, memory: &mut Memory, arena: &'b Bump) -> bool {
        match value {
            Value::Text(text) => match self.redacted(text, memory, arena) {
                Some(redacted) => {
                    *text = redacted;
                    true
                }
                None => false,
            },
            Value::Array(values) => {
                let mut changed = false;
                for value in values.iter_mut() {
                    changed |= self.redact(value, memory, arena);
                }
                changed
            }
            Value::Object(object) => {
                let mut changed = false;
                for (_, value) in object.iter_mut() {
                    changed |= self.redact(value, memory, arena);
                }
                changed
            }
            _ => false,
        }
    }

    fn redacted<'b>(&self, text: &[u8], memory: &mut Memory, arena: &'b Bump) -> Option<&'b [u8]> {
        let Memory { finds, groups } = memory;
        finds.clear();
        for (index, kind) in self.kinds.iter().enumerate() {
            let mut found = |from, to| finds.push((from, to, index));
            match &kind.finder {
                Finder::Card => find::cards(text, &mut found),
                Finder::Email => find::emails(text, &mut found),
                Finder::Ip => find::addresses(text, &mut found),
                Finder::Token(regex) => {
                    let groups = groups.get_or_insert_with(|| regex.capture_locations());
                    find::groups(regex, text, groups, &mut found);
                }
                Finder::Pattern(regex) => regex.find_all(text, &mut found),
            }
        }
        if finds.is_empty() {
            return None;
        }
        finds.sort_unstable_by_key(|(from, to, kind)| (*from, usize::MAX - to, *kind));
        let mut out = ArenaVec::with_capacity_in(text.len(), arena);
        let mut copied = 0;
        for (from, to, kind) in finds.iter().copied() {
            if from < copied {
                // Overlaps the one before; what of it stands out goes with it.
                copied = copied.max(to);
                continue;
            }
            out.extend_from_slice_copy(&text[copied..from]);
            for part in &self.replacement {
                match part {
                    Part::Text(text) => out.extend_from_slice_copy(text.as_bytes()),
                    Part::Kind => out.extend_from_slice_copy(self.kinds[kind].name.as_bytes()),
                    Part::Hash => {
                        let hash = self
                            .key
                            .as_ref()
                            .map(|key| hmac::sign(key, &text[from..to]));
                        for byte in hash.iter().flat_map(|hash| &hash.as_ref()[..HASH_BYTES]) {
                            out.push(HEX[usize::from(byte >> 4)]);
                            out.push(HEX[usize::from(byte & 15)]);
                        }
                    }
                }
            }
            copied = to;
        }
        out.extend_from_slice_copy(&text[copied..]);
        Some(out.into_bump_slice())
    }
}

/// The parts of a replacement.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (part, length) = match &rest[open..] {
            after if after.starts_with("{kind}") => (Part::Kind, 6),
            after if after.starts_with("{hash}") => (Part::Hash, 6),
            _ => {
                parts.push(Part::Text(rest[..=open].into()));
                rest = &rest[open + 1..];
                continue;
            }
        };
        parts.push(Part::Text(rest[..open].into()));
        parts.push(part);
        rest = &rest[open + length..];
    }
    parts.push(Part::Text(rest.into()));
    parts
}

impl Filter for Redact {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let memory = context.scratch.slot(self.slot, Memory::default);
        let mut changed = false;
        for field in &self.fields {
            if let Some(value) = field.get_mut(event) {
                changed |= self.redact(value, memory, context.arena);
            }
        }
        Outcome::of(changed)
    }
}
