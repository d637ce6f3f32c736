//! The filter `useragent`: browser, operating system and device from a user agent's text.
//!
//! What is recognised stands in a list of regular expressions in the format of ua-parser's
//! `uap-core`: the file of the option `regexes`, or a list of our own of what is common
//! (`regexes.yaml`). A worker keeps the results of the texts it met last, at most `lru_cache_size`.
//!
//! COMPAT (logstash-filter-useragent): names of fields in both layouts, and how versions are put
//! together: a version of three parts takes a fourth from the text if one stands there.

mod parser;

use std::path::Path as FilePath;

use bumpalo::Bump;

use super::cache::{Cache, Seed};
use super::common::put;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::{FieldReference, Options};

use parser::{Agent, Parser, Part};

/// Default of `lru_cache_size`.
const CACHE_SIZE: usize = 100_000;

/// The most that `lru_cache_size` may be.
pub const MOST_CACHE_SIZE: usize = 10_000_000;

/// The list that is used unless another is named.
const COMMON_REGEXES: &str = include_str!("regexes.yaml");

/// The filter.
pub struct UserAgent {
    source: Path,
    /// The target is the source: what was there goes first.
    in_place: bool,
    /// Where each part goes.
    places: Vec<(Part, Path)>,
    parser: Parser,
    cache_size: usize,
    seed: Seed,
    slot: ScratchSlot,
}

impl UserAgent {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        if !options.has("source") {
            options.missing("source");
        }
        let source = options.field("source").map(|field| field.value);
        let target = options.field("target").map(|field| field.value);
        let prefix = options.string("prefix").unwrap_or_default();
        if ecs && !prefix.is_empty() {
            options.warning(
                "prefix",
                "`prefix` has no effect with the names of the Elastic Common Schema",
            );
        }
        let cache_size = options.count("lru_cache_size", 1..=MOST_CACHE_SIZE);
        let parser = read_parser(options, build);
        let source = source?;
        let in_place = target.as_ref().is_some_and(|target| {
            target.is_metadata() == source.is_metadata() && target.keys() == source.keys()
        });
        let places = if ecs {
            ecs_places(target.as_ref())
        } else {
            legacy_places(target.as_ref(), &prefix)
        };
        Some(Self {
            source: Path::from(&source),
            in_place,
            places,
            parser: parser?,
            cache_size: cache_size.unwrap_or(CACHE_SIZE),
            seed: Seed::random(),
            slot: build.slots.take(),
        })
    }
}

impl Filter for UserAgent {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let value = match self.source.get(event) {
            Some(Value::Array(values)) => values.first(),
            other => other,
        };
        let Some(text) = value.and_then(Value::as_text) else {
            return Outcome::Unapplied;
        };
        if text.is_empty() {
            return Outcome::Unapplied;
        }
        let cache: &mut Cache<Agent> = context
            .scratch
            .slot(self.slot, || Cache::new(self.cache_size));
        let agent = cache.get_or_insert(self.seed.hash(text), || {
            self.parser.parse(&String::from_utf8_lossy(text))
        });
        if self.in_place {
            self.source.remove(event);
        }
        for (part, place) in &self.places {
            if let Some(text) = agent.get(*part) {
                put_text(place, text, event, context.arena);
            }
        }
        Outcome::Applied
    }
}

fn put_text<'b>(place: &'b Path, text: &str, event: &mut Event<'b>, arena: &'b Bump) {
    put(
        place,
        Value::copied_text(text.as_bytes(), arena),
        event,
        arena,
    );
}

fn legacy_places(target: Option<&FieldReference>, prefix: &str) -> Vec<(Part, Path)> {
    let names = [
        (Part::Name, "name"),
        (Part::Device, "device"),
        (Part::Major, "major"),
        (Part::Minor, "minor"),
        (Part::Patch, "patch"),
        (Part::Version, "version"),
        (Part::OsMajor, "os_major"),
        (Part::OsMinor, "os_minor"),
        (Part::OsPatch, "os_patch"),
        (Part::OsVersion, "os_version"),
        (Part::OsName, "os_name"),
        (Part::OsName, "os"),
        (Part::OsFull, "os_full"),
    ];
    let place = |name: &str| {
        let root = target.is_some_and(FieldReference::is_metadata);
        let root = root.then_some("@metadata");
        let keys = target.map(FieldReference::keys).unwrap_or_default();
        let keys = keys.iter().map(String::as_str);
        let name = format!("{prefix}{name}");
        Path::new(root.into_iter().chain(keys).chain([name.as_str()]))
    };
    names.map(|(part, name)| (part, place(name))).into()
}

fn ecs_places(target: Option<&FieldReference>) -> Vec<(Part, Path)> {
    let below_target: [(Part, &[&str]); 6] = [
        (Part::Name, &["name"]),
        (Part::Device, &["device", "name"]),
        (Part::Version, &["version"]),
        (Part::OsVersion, &["os", "version"]),
        (Part::OsName, &["os", "name"]),
        (Part::OsFull, &["os", "full"]),
    ];
    let below_metadata: [(Part, &[&str]); 6] = [
        (Part::Major, &["version", "major"]),
        (Part::Minor, &["version", "minor"]),
        (Part::Patch, &["version", "patch"]),
        (Part::OsMajor, &["os", "version", "major"]),
        (Part::OsMinor, &["os", "version", "minor"]),
        (Part::OsPatch, &["os", "version", "patch"]),
    ];
    let is_metadata = target.is_some_and(FieldReference::is_metadata);
    let keys: Vec<&str> = match target {
        Some(target) => target.keys().iter().map(String::as_str).collect(),
        None => vec!["user_agent"],
    };
    let root = is_metadata.then_some("@metadata");
    let mut places = Vec::new();
    for (part, names) in below_target {
        let keys = root.iter().chain(&keys).chain(names).copied();
        places.push((part, Path::new(keys)));
    }
    let metadata = ["@metadata", "filter", "user_agent"];
    for (part, names) in below_metadata {
        let keys = metadata.iter().chain(names).copied();
        places.push((part, Path::new(keys)));
    }
    places
}

fn read_parser(options: &mut Options<'_>, build: &Build<'_>) -> Option<Parser> {
    let path = options.spanned_string("regexes");
    let parser = match &path {
        None if options.has("regexes") => return None,
        None => Parser::new(COMMON_REGEXES),
        Some(path) => build
            .files
            .read(FilePath::new(&path.value))
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|contents| Parser::new(&String::from_utf8_lossy(&contents))),
    };
    match parser {
        Ok(parser) => Some(parser),
        Err(error) => {
            let name = path.map_or_else(String::new, |path| path.value);
            options.error("regexes", format!("user agents' file {name}: {error}"));
            None
        }
    }
}
