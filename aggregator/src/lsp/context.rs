//! What stands at a place of a text that need not follow the grammar: somebody is writing it.
//!
//! Only the text before the place is read, from the start, with a stack of what is open.

use crate::manual::PluginKind;

/// What is written at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) place: Place,
    /// What is written of it so far.
    pub(super) prefix: String,
}

/// What can stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The name of a section.
    Section,
    /// A plugin or a branch.
    Statement(PluginKind),
    /// The name of an option.
    Option {
        kind: PluginKind,
        plugin: String,
        /// The options that are there already.
        written: Vec<String>,
    },
    /// A value.
    Value(Value),
    /// `%{…}` in a string: a field, or a pattern.
    Template(Value),
    /// The name of a field in a condition, behind its `[`; what stands before, as `[a][b]`.
    Field { before: String },
    /// Nothing that could be completed.
    Nothing,
}

/// The option that a value is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) kind: PluginKind,
    pub(super) plugin: String,
    pub(super) option: String,
    /// The key of a hash.
    pub(super) is_key: bool,
    /// In quotes.
    pub(super) in_quotes: bool,
}

/// Something that is open.
#[derive(Debug, Clone)]
enum Open {
    Section(PluginKind),
    Block(PluginKind),
    Plugin {
        kind: PluginKind,
        name: String,
        written: Vec<String>,
    },
    Hash,
    Array,
}

/// What stands at the end of a text.
pub(super) fn at_end(text: &str) -> Context {
    let mut scanner = Scanner {
        rest: text,
        open: Vec::new(),
        word: None,
        awaits_value: false,
        in_condition: false,
    };
    loop {
        if let Some(context) = scanner.step() {
            return context;
        }
    }
}

struct Scanner<'t> {
    rest: &'t str,
    open: Vec<Open>,
    /// The last word or string, if nothing came behind it.
    word: Option<&'t str>,
    /// `=>` was the last piece.
    awaits_value: bool,
    /// Between `if` and its `{`.
    in_condition: bool,
}

impl Scanner<'_> {
    /// Moves over a piece; what stands at the end, if this is it.
    fn step(&mut self) -> Option<Context> {
        let text = self.rest.trim_start();
        let Some(first) = text.chars().next() else {
            let place = self.place();
            return Some(Context {
                place,
                prefix: String::new(),
            });
        };
        self.rest = text;
        match first {
            '#' => match text.find('\n') {
                Some(end) => self.rest = &text[end..],
                None => return Some(nothing()),
            },
            '"' | '\'' => return self.string(first),
            '/' if self.in_condition => match closing(text, '/') {
                Some(end) => self.rest = &text[end..],
                None => return Some(nothing()),
            },
            '[' if self.in_condition => return self.selector(),
            '{' => self.brace(),
            '[' => {
                self.open.push(Open::Array);
                self.piece(1);
                self.awaits_value = true;
            }
            '}' => {
                // An array that is not closed ends with what is around it.
                while matches!(self.open.last(), Some(Open::Array)) {
                    self.open.pop();
                }
                self.open.pop();
                self.piece(1);
            }
            ']' => {
                if matches!(self.open.last(), Some(Open::Array)) {
                    self.open.pop();
                }
                self.piece(1);
            }
            ',' => {
                self.piece(1);
                self.awaits_value = matches!(self.open.last(), Some(Open::Array));
            }
            '=' if text.starts_with("=>") => {
                self.note_option();
                self.piece(2);
                self.awaits_value = true;
            }
            _ => return self.word(),
        }
        None
    }

    /// Moves over a piece that is no word.
    fn piece(&mut self, length: usize) {
        self.rest = &self.rest[length..];
        self.word = None;
        self.awaits_value = false;
    }

    fn word(&mut self) -> Option<Context> {
        let is_part =
            |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '@');
        let length = self.rest.find(|character| !is_part(character));
        let length = length.unwrap_or(self.rest.len());
        if length == 0 {
            let first = self.rest.chars().next().map_or(1, char::len_utf8);
            self.piece(first);
            return None;
        }
        let word = &self.rest[..length];
        if length == self.rest.len() {
            return Some(Context {
                place: self.place(),
                prefix: word.to_owned(),
            });
        }
        let statement = matches!(self.open.last(), Some(Open::Section(_) | Open::Block(_)));
        if statement && word == "if" {
            self.in_condition = true;
        }
        self.piece(length);
        self.word = Some(word);
        None
    }

    fn string(&mut self, quote: char) -> Option<Context> {
        let Some(end) = closing(self.rest, quote) else {
            let inside = &self.rest[1..];
            let Place::Value(mut value) = self.value_place() else {
                return Some(nothing());
            };
            value.in_quotes = true;
            let template = inside.rfind("%{").map(|open| &inside[open + 2..]);
            let context = match template.filter(|inside| !inside.contains('}')) {
                Some(template) => Context {
                    place: Place::Template(value),
                    prefix: template.to_owned(),
                },
                None => Context {
                    place: Place::Value(value),
                    prefix: inside.to_owned(),
                },
            };
            return Some(context);
        };
        let text = self.rest;
        self.piece(end);
        self.word = text.get(1..end - 1);
        None
    }

    /// `[a][b]` in a condition, or a list.
    fn selector(&mut self) -> Option<Context> {
        let mut before = String::new();
        while let Some(inside) = self.rest.strip_prefix('[') {
            let Some(end) = inside.find([']', '[', ',', '"', '\'', '\n', '{']) else {
                return Some(Context {
                    place: Place::Field { before },
                    prefix: inside.to_owned(),
                });
            };
            if !inside[end..].starts_with(']') {
                // A list.
                self.piece(1);
                return None;
            }
            before.push_str(&self.rest[..end + 2]);
            self.rest = &inside[end + 1..];
        }
        self.word = None;
        None
    }

    fn brace(&mut self) {
        let word = self.word;
        let awaits_value = self.awaits_value;
        self.piece(1);
        if self.in_condition {
            self.in_condition = false;
            self.open.push(Open::Block(self.kind()));
            return;
        }
        let opened = match (self.open.last(), word) {
            (None, Some(word)) => Open::Section(match word {
                "input" => PluginKind::Input,
                "output" => PluginKind::Output,
                _ => PluginKind::Filter,
            }),
            (Some(Open::Section(kind) | Open::Block(kind)), Some("else")) => Open::Block(*kind),
            (Some(Open::Section(kind) | Open::Block(kind)), Some(word)) => Open::Plugin {
                kind: *kind,
                name: word.to_owned(),
                written: Vec::new(),
            },
            (Some(Open::Plugin { .. } | Open::Array), Some(word)) if !awaits_value => {
                Open::Plugin {
                    kind: PluginKind::Codec,
                    name: word.to_owned(),
                    written: Vec::new(),
                }
            }
            _ => Open::Hash,
        };
        self.open.push(opened);
    }

    /// A name before `=>` is an option.
    fn note_option(&mut self) {
        let word = self.word;
        if let (Some(Open::Plugin { written, .. }), Some(word)) = (self.open.last_mut(), word) {
            written.push(word.to_owned());
        }
    }

    /// The kind of the section.
    fn kind(&self) -> PluginKind {
        match self.open.first() {
            Some(Open::Section(kind)) => *kind,
            _ => PluginKind::Filter,
        }
    }

    /// What can stand here.
    fn place(&self) -> Place {
        if self.in_condition {
            return Place::Nothing;
        }
        match self.open.last() {
            None => Place::Section,
            Some(Open::Section(kind) | Open::Block(kind)) => Place::Statement(*kind),
            Some(Open::Plugin {
                kind,
                name,
                written,
            }) if !self.awaits_value => Place::Option {
                kind: *kind,
                plugin: name.clone(),
                written: written.clone(),
            },
            Some(_) => self.value_place(),
        }
    }

    fn value_place(&self) -> Place {
        let around = self.open.iter().rev().find_map(|open| match open {
            Open::Plugin {
                kind,
                name,
                written,
            } => Some((*kind, name, written)),
            _ => None,
        });
        let Some((kind, plugin, written)) = around else {
            return Place::Nothing;
        };
        let in_plugin = matches!(self.open.last(), Some(Open::Plugin { .. }));
        let Some(option) = written.last() else {
            return Place::Nothing;
        };
        if in_plugin && !self.awaits_value {
            return Place::Nothing;
        }
        Place::Value(Value {
            kind,
            plugin: plugin.clone(),
            option: option.clone(),
            is_key: matches!(self.open.last(), Some(Open::Hash)) && !self.awaits_value,
            in_quotes: false,
        })
    }
}

fn nothing() -> Context {
    Context {
        place: Place::Nothing,
        prefix: String::new(),
    }
}

/// The length of a piece between two quotes, if it is closed.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        if character == quote && !escaped {
            return Some(index + 1);
        }
        // COMPAT: a backslash does not protect a backslash.
        escaped = character == '\\';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(option: &str, in_quotes: bool, is_key: bool) -> Value {
        Value {
            kind: PluginKind::Filter,
            plugin: "grok".into(),
            option: option.into(),
            is_key,
            in_quotes,
        }
    }

    #[test]
    fn what_can_stand_where() {
        let option = |kind, plugin: &str, written: &[&str]| Place::Option {
            kind,
            plugin: plugin.into(),
            written: written.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (text, place, prefix) in [
            ("fil", Place::Section, "fil"),
            ("# fil", Place::Nothing, ""),
            ("input { be", Place::Statement(PluginKind::Input), "be"),
            (
                "filter { if [a] == \"}\" { gr",
                Place::Statement(PluginKind::Filter),
                "gr",
            ),
            (
                "filter { if [a] { } else { ",
                Place::Statement(PluginKind::Filter),
                "",
            ),
            (
                "filter { } output { null { } st",
                Place::Statement(PluginKind::Output),
                "st",
            ),
            (
                "filter { grok { ma",
                option(PluginKind::Filter, "grok", &[]),
                "ma",
            ),
            (
                "filter { grok { match => { \"a\" => [\"b\", 'c'] } break_on_match => true\n ",
                option(PluginKind::Filter, "grok", &["match", "break_on_match"]),
                "",
            ),
            (
                "filter { grok { break_on_match => tr",
                Place::Value(value("break_on_match", false, false)),
                "tr",
            ),
            (
                "filter { grok { match => { \"me",
                Place::Value(value("match", true, true)),
                "me",
            ),
            (
                "filter { grok { match => { \"a\" => \"%{IP:x} %{WO",
                Place::Template(value("match", true, false)),
                "WO",
            ),
            (
                "filter { grok { match => { \"a\" => [\"x\", \"%{WO",
                Place::Template(value("match", true, false)),
                "WO",
            ),
            (
                "input { stdin { codec => json { ta",
                option(PluginKind::Codec, "json", &[]),
                "ta",
            ),
            (
                "filter { if [a",
                Place::Field {
                    before: String::new(),
                },
                "a",
            ),
            (
                "filter { if [x] == 1 and [a][b",
                Place::Field {
                    before: "[a]".into(),
                },
                "b",
            ),
            ("filter { if [a] =~ /[b", Place::Nothing, ""),
            (
                "filter { if [a] in [\"x\", \"y\"] { dr",
                Place::Statement(PluginKind::Filter),
                "dr",
            ),
        ] {
            assert_eq!(
                at_end(text),
                Context {
                    place,
                    prefix: prefix.into()
                },
                "{text}"
            );
        }
    }

    #[test]
    fn any_text_has_an_end() {
        for text in [
            "}}}",
            "]]",
            "{ {",
            "=> => {",
            "filter { ü { ä => ö",
            "\"",
            "%",
            "[[[",
            "if [",
            ",,",
        ] {
            for end in text
                .char_indices()
                .map(|(index, _)| index)
                .chain([text.len()])
            {
                at_end(&text[..end]);
            }
        }
    }
}
