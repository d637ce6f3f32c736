//! The filter `tld`: the parts of a host's name: top level, registered domain, what is in front.
//!
//! What counts as a top level is in the Public Suffix List, which the operator gives as a file (it
//! changes weekly); it is read again when it changes.
//!
//! COMPAT (logstash-filter-tld): names that the list has no rule for, and those that are a suffix
//! and nothing else, are left alone. The names of the fields are kept, doubles included.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use super::common::{field_of, put};
use super::reload::{Reloadable, WatchedFile};
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Name, Object, Path, Value};
use crate::language::{DurationUnit, Options};

/// Default of `refresh_interval`.
const REFRESH_INTERVAL: Duration = Duration::from_hours(1);

/// Characters of the longest name (RFC 1035).
const MOST_NAME_BYTES: usize = 253;

/// The filter.
#[derive(Debug)]
pub struct Tld {
    source: Path,
    target: Path,
    suffixes: Arc<Reloadable<Suffixes>>,
    slot: ScratchSlot,
}

impl Tld {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let source = options.field("source").map(|field| field.value);
        let target = options.field("target").map(|field| field.value);
        let interval = options.duration("refresh_interval", DurationUnit::Seconds);
        let Some(path) = options.spanned_string("suffix_list") else {
            if !options.has("suffix_list") {
                options.error(
                    "suffix_list",
                    "filter `tld` needs the Public Suffix List: get it from https://publicsuffix.org/list/ and \
                     name it by `suffix_list => \"/path/public_suffix_list.dat\"`",
                );
            }
            return None;
        };
        let contents = build.files.read(FilePath::new(&path.value));
        let suffixes = contents
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|contents| Suffixes::read(&contents));
        let suffixes = match suffixes {
            Ok(suffixes) => Arc::new(Reloadable::new(suffixes)),
            Err(error) => {
                let message = format!("suffix list {}: {error}", path.value);
                options.error("suffix_list", message);
                return None;
            }
        };
        let interval = interval.unwrap_or(REFRESH_INTERVAL);
        if !interval.is_zero() {
            let shared = Arc::clone(&suffixes);
            let load = move |contents: Vec<u8>| {
                shared.replace(Suffixes::read(&contents)?);
                Ok(())
            };
            let file = WatchedFile::new(path.value.into(), interval, load);
            build.watched.push(file);
        }
        Some(Self {
            source: Path::from(&source.unwrap_or_else(|| field_of("message"))),
            target: Path::from(&target.unwrap_or_else(|| field_of("tld"))),
            suffixes,
            slot: build.slots.take(),
        })
    }
}

impl Filter for Tld {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let text = self.source.get(event).and_then(Value::as_text);
        let Some(host) = text.and_then(|text| host_name(text, arena)) else {
            return Outcome::Unapplied;
        };
        let suffixes = self.suffixes.read(context.scratch, self.slot);
        let Some(suffix) = suffixes.suffix_of(host) else {
            return Outcome::Unapplied;
        };
        // INVARIANT: the suffix stands behind a point, as there is a label before it.
        let top = &host[host.len() - suffix..];
        let before = &host[..host.len() - suffix - 1];
        let (front, label) = match before.rsplit_once('.') {
            Some((front, label)) => (Some(front), label),
            None => (None, before),
        };
        let text = |text: &'b str| Value::Text(text.as_bytes());
        let domain = &host[host.len() - suffix - 1 - label.len()..];
        let mut fields = match self.target.get(event) {
            Some(Value::Object(object)) => object.copy_in(arena),
            _ => Object::new_in(arena),
        };
        for (name, value) in [
            ("tld", text(top)),
            ("sld", text(label)),
            ("trd", front.map_or(Value::Null, text)),
            ("domain", text(domain)),
            ("subdomain", front.map_or(Value::Null, |_| text(host))),
            ("top_level_domain", text(top)),
        ] {
            fields.set(Name::new(name), value);
        }
        let fields = Value::object(fields, arena);
        Outcome::of(put(&self.target, fields, event, arena))
    }
}

/// The name in small letters, without a point at its end; nothing if it is none.
fn host_name<'b>(text: &'b [u8], arena: &'b Bump) -> Option<&'b str> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty() && !label.contains(|any: char| any.is_whitespace() || "/:@".contains(any))
    };
    if text.len() > MOST_NAME_BYTES || !text.split('.').all(is_label) {
        return None;
    }
    if text.chars().any(char::is_uppercase) {
        return Some(arena.alloc_str(&text.to_lowercase()));
    }
    Some(text)
}

/// The rules of the list.
#[derive(Debug)]
struct Suffixes(HashMap<Box<str>, Rule>);

#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    /// This is a suffix.
    itself: bool,
    /// One label in front of this, whatever it is, makes a suffix.
    wildcard: bool,
    /// This is none, though a wildcard says so.
    exception: bool,
}

impl Suffixes {
    /// Reads the list in its format: a rule a line, `//` for comments.
    fn read(contents: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(contents).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut rules: HashMap<Box<str>, Rule> = HashMap::new();
        for line in text.lines() {
            let Some(rule) = line.split_whitespace().next() else {
                continue;
            };
            if rule.starts_with("//") {
                continue;
            }
            let rule = rule.to_lowercase();
            if let Some(name) = rule.strip_prefix("*.") {
                rules.entry(name.into()).or_default().wildcard = true;
            } else if let Some(name) = rule.strip_prefix('!') {
                rules.entry(name.into()).or_default().exception = true;
            } else {
                rules.entry(rule.into()).or_default().itself = true;
            }
        }
        if rules.is_empty() {
            return Err("it has no rule in it".to_owned());
        }
        Ok(Self(rules))
    }

    /// The length of a name's suffix, if a rule says so and a label stands before it.
    fn suffix_of(&self, host: &str) -> Option<usize> {
        let mut longest = None;
        let mut end = host.len();
        // From the last label on: `org`, `example.org`, …
        while let Some(at) = host[..end].rfind('.') {
            let name = &host[at + 1..];
            if let Some(rule) = self.0.get(name) {
                if rule.exception {
                    // The suffix is what is behind its first label.
                    let behind = name.find('.').map(|point| name.len() - point - 1);
                    return behind.or(longest);
                }
                if rule.itself {
                    longest = Some(name.len());
                }
                if rule.wildcard {
                    let label = host[..at].rfind('.');
                    // The label of the wildcard needs another one before it.
                    longest = match label {
                        Some(before) if !self.is_exception(&host[before + 1..]) => {
                            Some(host.len() - before - 1)
                        }
                        Some(_) => longest,
                        None if self.is_exception(host) => longest.or(Some(name.len())),
                        None => return None,
                    };
                }
            }
            end = at;
        }
        if self.0.get(host).is_some_and(|rule| rule.exception) {
            return host.find('.').map(|point| host.len() - point - 1);
        }
        longest
    }

    fn is_exception(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|rule| rule.exception)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_list() {
        let list = "// comment\ncom\n\nco.uk x\nuk\n*.ck\n!www.ck\nmünchen.example\nexample\n";
        let suffixes = Suffixes::read(list.as_bytes()).unwrap();
        for (host, expected) in [
            ("a.com", Some("com")),
            ("b.a.com", Some("com")),
            ("com", None),
            ("a.co.uk", Some("co.uk")),
            ("co.uk", Some("uk")),
            ("a.b.ck", Some("b.ck")),
            ("b.ck", None),
            ("www.ck", Some("ck")),
            ("a.www.ck", Some("ck")),
            ("a.münchen.example", Some("münchen.example")),
            ("a.unknown", None),
        ] {
            let suffix = suffixes.suffix_of(host);
            assert_eq!(
                suffix.map(|length| &host[host.len() - length..]),
                expected,
                "{host}"
            );
        }
        assert!(Suffixes::read(b"// nothing").is_err());
    }
}
