//! The filter `fingerprint`: a hash of fields, for document ids and pseudonyms.
//!
//! COMPAT (logstash-filter-fingerprint): without concatenation the last source that is there wins,
//! an array gives an array of hashes, and an object is hashed as `name|value|…`, sorted by name.
//! With concatenation what is hashed is `|name|value|…|`, sources sorted by name.

use bumpalo::Bump;

use super::common::{field_of, put};
use super::hash::{Encoding, Hasher, Sha};
use super::random::Randomness;
use super::text::{text_of, write_text};
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Array, Event, Object, Path, Value};
use crate::language::Options;

/// Bytes of the buffer for concatenated sources that a worker keeps between events.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// The filter.
pub struct Fingerprint {
    sources: Vec<Source>,
    target: Path,
    method: Method,
    slot: ScratchSlot,
}

struct Source {
    name: String,
    path: Path,
}

enum Method {
    /// A hash of each source.
    Each(Hasher),
    /// One hash of all sources.
    Sources(Hasher),
    /// One hash of all fields.
    AllFields(Hasher),
    /// A random UUID.
    Uuid,
    /// Marks and symbols of the source.
    Punctuation(regex::bytes::Regex),
}

#[derive(Clone, Copy)]
enum Name {
    Sha(Sha),
    Md5,
    Murmur3,
    Murmur3Wide,
    Network,
    Uuid,
    Punctuation,
}

const METHODS: &[(&str, Name)] = &[
    ("SHA1", Name::Sha(Sha::One)),
    ("SHA256", Name::Sha(Sha::Two256)),
    ("SHA384", Name::Sha(Sha::Two384)),
    ("SHA512", Name::Sha(Sha::Two512)),
    ("MD5", Name::Md5),
    ("MURMUR3", Name::Murmur3),
    ("MURMUR3_128", Name::Murmur3Wide),
    ("IPV4_NETWORK", Name::Network),
    ("UUID", Name::Uuid),
    ("PUNCTUATION", Name::Punctuation),
];

impl Fingerprint {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let method = options.enumeration("method", METHODS);
        let name = if options.has("method") {
            method?
        } else {
            Name::Sha(Sha::One)
        };
        let key = options.string("key");
        let encoding = match options.boolean("base64encode") {
            Some(true) => Encoding::Base64,
            _ => Encoding::Hex,
        };
        let concatenate = options.boolean("concatenate_sources").unwrap_or(false);
        let all_fields = options.boolean("concatenate_all_fields").unwrap_or(false);
        let mut sources = match options.strings("source") {
            None => vec![Source {
                name: "message".to_owned(),
                path: Path::from(&field_of("message")),
            }],
            Some(names) => names
                .iter()
                .filter_map(|name| {
                    let path = Path::from(&options.field_of(name)?.value);
                    let name = name.value.clone();
                    Some(Source { name, path })
                })
                .collect(),
        };
        let target = options.field("target").map(|field| field.value);
        let default = if ecs { "[event][hash]" } else { "fingerprint" };
        let target = target.unwrap_or_else(|| field_of(default));
        let with_hash = |hasher: Hasher| match (all_fields, concatenate) {
            (true, _) => Method::AllFields(hasher),
            (false, true) => Method::Sources(hasher),
            (false, false) => Method::Each(hasher),
        };
        let method = match name {
            Name::Sha(variant) => with_hash(Hasher::sha(variant, key.as_deref(), encoding)),
            Name::Md5 => {
                let key = key.map(|key| key.into_bytes().into());
                with_hash(Hasher::Md5(key, encoding))
            }
            Name::Murmur3 => with_hash(Hasher::Murmur3),
            Name::Murmur3Wide => with_hash(Hasher::Murmur3Wide(encoding)),
            Name::Network => with_hash(Hasher::Network(network_bits(options, "key")?)),
            Name::Uuid => Method::Uuid,
            Name::Punctuation => Method::Punctuation(
                regex::bytes::Regex::new(r"^[\p{P}\p{S}]").expect("the classes are known"),
            ),
        };
        if !matches!(method, Method::Each(_)) {
            sources.sort_by(|left, right| left.name.cmp(&right.name));
        }
        Some(Self {
            sources,
            target: Path::from(&target),
            method,
            slot: build.slots.take(),
        })
    }

    /// What the target becomes, if anything.
    fn result<'b>(&'b self, event: &Event<'b>, context: &mut Context<'_, 'b>) -> Option<Value<'b>> {
        let arena = context.arena;
        match &self.method {
            Method::Uuid => {
                let randomness = context.scratch.slot(self.slot, Randomness::new);
                Some(Value::copied_text(&randomness.uuid(), arena))
            }
            Method::Punctuation(mark) => {
                let source = self.last_source(event)?;
                let text = text_of(source, arena);
                Some(Value::Text(punctuation(text, mark, arena)))
            }
            Method::Each(hasher) => match self.last_source(event)? {
                Value::Array(values) => {
                    let mut hashes = Array::with_capacity_in(values.len(), arena);
                    for value in values.iter() {
                        hashes.push(self.hash_one(hasher, value, context)?);
                    }
                    Some(Value::array(hashes, arena))
                }
                value => self.hash_one(hasher, value, context),
            },
            Method::Sources(hasher) => self.hash_written(hasher, context, |text| {
                for source in &self.sources {
                    text.push(b'|');
                    text.extend_from_slice(source.name.as_bytes());
                    text.push(b'|');
                    if let Some(value) = source.path.get(event) {
                        write_canonical(value, text, arena);
                    }
                }
                text.push(b'|');
            }),
            Method::AllFields(hasher) => self.hash_written(hasher, context, |text| {
                text.push(b'|');
                write_fields(&event.fields, text, arena);
                text.push(b'|');
            }),
        }
    }

    /// The hash of one value; containers are written in their canonical form first.
    fn hash_one<'b>(
        &self,
        hasher: &Hasher,
        value: &Value<'b>,
        context: &mut Context<'_, 'b>,
    ) -> Option<Value<'b>> {
        let arena = context.arena;
        match value {
            Value::Array(_) | Value::Object(_) => {
                self.hash_written(hasher, context, |text| write_canonical(value, text, arena))
            }
            _ => hasher.hash(value, arena),
        }
    }

    /// The hash of what is written into a buffer, which the worker keeps.
    fn hash_written<'b>(
        &self,
        hasher: &Hasher,
        context: &mut Context<'_, 'b>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Value<'b>> {
        let text = context.scratch.slot(self.slot, Vec::new);
        text.clear();
        write(text);
        let hash = hasher.hash_text(text, context.arena);
        text.shrink_to(MAX_KEPT_BYTES);
        hash
    }

    fn last_source<'e, 'b>(&self, event: &'e Event<'b>) -> Option<&'e Value<'b>> {
        let mut sources = self.sources.iter().rev();
        sources.find_map(|source| source.path.get(event))
    }
}

impl Filter for Fingerprint {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        if let Some(value) = self.result(event, context) {
            put(&self.target, value, event, context.arena);
        }
        // COMPAT: an event without any source counts as done too.
        Outcome::Applied
    }
}

/// Appends `name|value|…`, sorted by name, for objects, the elements with `|` between them for
/// arrays, and the text of anything else.
fn write_canonical(value: &Value<'_>, out: &mut Vec<u8>, arena: &Bump) {
    match value {
        Value::Object(object) => write_fields(object, out, arena),
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b'|');
                }
                write_canonical(value, out, arena);
            }
        }
        other => write_text(other, out),
    }
}

fn write_fields(object: &Object<'_>, out: &mut Vec<u8>, arena: &Bump) {
    let mut fields = bumpalo::collections::Vec::with_capacity_in(object.len(), arena);
    fields.extend(object.iter());
    fields.sort_unstable_by_key(|(name, _)| name.as_str());
    for (at, (name, value)) in fields.into_iter().enumerate() {
        if at > 0 {
            out.push(b'|');
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.push(b'|');
        write_canonical(value, out, arena);
    }
}

/// The marks and symbols of a text.
fn punctuation<'b>(text: &[u8], mark: &regex::bytes::Regex, arena: &'b Bump) -> &'b [u8] {
    let mut out = bumpalo::collections::Vec::new_in(arena);
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let keep = if character.is_ascii() {
                character.is_ascii_punctuation()
            } else {
                mark.is_match(bytes)
            };
            if keep {
                out.extend_from_slice_copy(bytes);
            }
        }
    }
    out.into_bump_slice()
}

/// The length of a network's prefix, in the option for keys.
pub(super) fn network_bits(options: &mut Options<'_>, name: &'static str) -> Option<u8> {
    if !options.has(name) {
        options.error(
            name,
            format!("the method `IPV4_NETWORK` needs the length of the prefix: `{name} => 24`"),
        );
        return None;
    }
    let bits = options.integer(name, 0..=128)?;
    u8::try_from(bits).ok()
}
