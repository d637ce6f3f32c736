//! Dictionaries: how files of them are read, and how texts are found in them.

use std::collections::HashMap;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use crate::event::Value;
use crate::filter::OwnedValue;
use crate::filter::text::write_text;
use crate::regex_dialect::Regex;

/// Default of `yaml_dictionary_code_point_limit`.
const MAX_YAML_CHARACTERS: usize = 134_217_728;

/// How a text is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Search {
    /// The text is a key.
    Exact,
    /// A key, taken as a regular expression, matches in the text; the first one that does.
    Regex,
    /// Every key in the text is replaced.
    Parts,
}

/// Keys and values.
#[derive(Debug)]
pub(super) struct Dictionary {
    entries: Entries,
    search: Search,
    index: Index,
}

type Entries = Vec<(Arc<[u8]>, OwnedValue)>;

#[derive(Debug)]
enum Index {
    Exact(HashMap<Arc<[u8]>, usize>),
    Regex(Vec<Regex>),
    Parts(AhoCorasick),
}

impl Dictionary {
    /// Makes the entries ready for a kind of search; of two with one key the last counts, in the
    /// place of the first.
    pub(super) fn new(entries: Vec<(Vec<u8>, OwnedValue)>, search: Search) -> Result<Self, String> {
        Self::build(Vec::new(), entries, search)
    }

    /// These entries, with others added or put in their place.
    pub(super) fn merged(&self, entries: Vec<(Vec<u8>, OwnedValue)>) -> Result<Self, String> {
        Self::build(self.entries.clone(), entries, self.search)
    }

    fn build(
        mut entries: Entries,
        newer: Vec<(Vec<u8>, OwnedValue)>,
        search: Search,
    ) -> Result<Self, String> {
        let mut positions: HashMap<Arc<[u8]>, usize> = entries
            .iter()
            .enumerate()
            .map(|(at, (key, _))| (Arc::clone(key), at))
            .collect();
        for (key, value) in newer {
            if let Some(at) = positions.get(key.as_slice()) {
                entries[*at].1 = value;
            } else {
                let key: Arc<[u8]> = key.into();
                positions.insert(Arc::clone(&key), entries.len());
                entries.push((key, value));
            }
        }
        let index = match search {
            Search::Exact => Index::Exact(positions),
            Search::Regex => {
                let mut expressions = Vec::with_capacity(entries.len());
                for (key, _) in &entries {
                    let key = String::from_utf8_lossy(key);
                    let expression = Regex::new(&key);
                    expressions.push(expression.map_err(|error| format!("key `{key}`: {error}"))?);
                }
                Index::Regex(expressions)
            }
            Search::Parts => {
                let keys = entries.iter().map(|(key, _)| &key[..]);
                let automaton = AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostFirst)
                    .build(keys)
                    .map_err(|error| error.to_string())?;
                Index::Parts(automaton)
            }
        };
        Ok(Self {
            entries,
            search,
            index,
        })
    }

    /// What the dictionary says for a text.
    pub(super) fn find<'b>(&self, text: &[u8], arena: &'b Bump) -> Option<Value<'b>> {
        let position = match &self.index {
            Index::Exact(positions) => *positions.get(text)?,
            Index::Regex(expressions) => expressions.iter().position(|each| each.is_match(text))?,
            Index::Parts(automaton) => return self.replace_parts(automaton, text, arena),
        };
        Some(self.entries[position].1.copied_in(arena))
    }

    fn replace_parts<'b>(
        &self,
        automaton: &AhoCorasick,
        text: &[u8],
        arena: &'b Bump,
    ) -> Option<Value<'b>> {
        let mut out = ArenaVec::new_in(arena);
        let mut copied = 0;
        for found in automaton.find_iter(text) {
            out.extend_from_slice_copy(&text[copied..found.start()]);
            match &self.entries[found.pattern().as_usize()].1 {
                OwnedValue::Text(value) => out.extend_from_slice_copy(value),
                other => {
                    let mut value = Vec::new();
                    write_text(&other.copied_in(arena), &mut value);
                    out.extend_from_slice_copy(&value);
                }
            }
            copied = found.end();
        }
        if copied == 0 && out.is_empty() {
            return None;
        }
        out.extend_from_slice_copy(&text[copied..]);
        let out = out.into_bump_slice();
        // COMPAT: a key that stands for itself is no translation.
        (out != text).then_some(Value::Text(out))
    }
}

/// The format of a dictionary's file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// A mapping of at most so many characters.
    Yaml(usize),
    /// An object.
    Json,
    /// Two columns.
    Csv,
}

impl Format {
    /// The format by the file's name. The limit is that of YAML's characters, if it is given.
    pub(super) fn of_file(path: &str, limit: Option<usize>) -> Result<Self, String> {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        let format = match extension {
            "yml" | "yaml" => return Ok(Self::Yaml(limit.unwrap_or(MAX_YAML_CHARACTERS))),
            "json" => Self::Json,
            "csv" => Self::Csv,
            _ => {
                return Err(format!(
                    "the format of the dictionary {path} is not known: its name must end in .yml, \
                     .yaml, .json or .csv"
                ));
            }
        };
        match limit {
            None => Ok(format),
            Some(_) => {
                Err("`yaml_dictionary_code_point_limit` is for YAML only; remove it".to_owned())
            }
        }
    }

    /// The entries of a file's contents; an empty file has none.
    pub(super) fn read(self, contents: &[u8]) -> Result<Vec<(Vec<u8>, OwnedValue)>, String> {
        let contents = contents.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(contents);
        let value = match self {
            Self::Csv => return read_csv(contents),
            Self::Json if contents.trim_ascii().is_empty() => return Ok(Vec::new()),
            Self::Json => OwnedValue::from_json(contents)?,
            Self::Yaml(limit) => {
                let text =
                    std::str::from_utf8(contents).map_err(|error| format!("not UTF-8: {error}"))?;
                if text.len() > limit && text.chars().count() > limit {
                    return Err(format!(
                        "more than {limit} characters; raise `yaml_dictionary_code_point_limit`"
                    ));
                }
                OwnedValue::from_yaml(text)?
            }
        };
        match value {
            OwnedValue::Null => Ok(Vec::new()),
            OwnedValue::Object(fields) => Ok(fields
                .into_iter()
                .map(|(name, value)| (name.into_string().into_bytes(), value))
                .collect()),
            _ => Err("a dictionary must be a mapping of keys to values".to_owned()),
        }
    }
}

/// Rows of two columns, by commas, with quotes around what needs them. More columns are ignored,
/// a missing one is null.
fn read_csv(text: &[u8]) -> Result<Vec<(Vec<u8>, OwnedValue)>, String> {
    let mut entries = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        let first_line = line;
        loop {
            let (column, after) = csv_column(rest, &mut line)
                .ok_or_else(|| format!("line {first_line} has a quote in the wrong place"))?;
            columns.push(column);
            rest = after;
            match rest {
                [b',', after @ ..] => rest = after,
                [b'\r', b'\n', after @ ..] | [b'\n' | b'\r', after @ ..] => {
                    rest = after;
                    line += 1;
                    break;
                }
                _ => break,
            }
        }
        let mut columns = columns.into_iter();
        let (key, value) = (columns.next().unwrap_or_default(), columns.next());
        // An empty line.
        if key.is_empty() && value.is_none() {
            continue;
        }
        let value = value.map_or(OwnedValue::Null, |value| OwnedValue::Text(value.into()));
        entries.push((key, value));
    }
    Ok(entries)
}

/// One column and what stands behind it; nothing if its quotes are wrong.
fn csv_column<'t>(text: &'t [u8], line: &mut usize) -> Option<(Vec<u8>, &'t [u8])> {
    let [b'"', inside @ ..] = text else {
        let end = text
            .iter()
            .position(|byte| matches!(byte, b',' | b'\n' | b'\r'))
            .unwrap_or(text.len());
        let column = &text[..end];
        return (!column.contains(&b'"')).then(|| (column.to_vec(), &text[end..]));
    };
    let mut column = Vec::new();
    let mut at = 0;
    loop {
        match (inside.get(at)?, inside.get(at + 1)) {
            (b'"', Some(b'"')) => {
                column.push(b'"');
                at += 2;
            }
            (b'"', None | Some(b',' | b'\n' | b'\r')) => return Some((column, &inside[at + 1..])),
            (b'"', Some(_)) => return None,
            (byte, _) => {
                *line += usize::from(*byte == b'\n');
                column.push(*byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
        let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entries = Format::Csv.read(text.as_bytes())?;
        Ok(entries
            .iter()
            .map(|(key, value)| (string(key), value.as_text().map(string)))
            .collect())
    }

    #[test]
    fn csv_has_quotes_and_two_columns() {
        let text = "\u{feff}a,b\r\n\"c \"\"d\"\",\",\"e\nf\"\n\ng\nh,,x";
        let expected = [
            ("a", Some("b")),
            ("c \"d\",", Some("e\nf")),
            ("g", None),
            ("h", Some("")),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(csv(text).unwrap(), expected);
        for wrong in ["\"a\" ,b", "a\"b,c", "\"a,b"] {
            assert!(csv(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn merging_keeps_what_is_gone() {
        let text = |text: &str| OwnedValue::Text(text.as_bytes().into());
        let entries = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| (key.as_bytes().to_vec(), text(value)))
                .collect()
        };
        let old = Dictionary::new(entries(&[("a", "1"), ("b", "2")]), Search::Exact).unwrap();
        let new = old.merged(entries(&[("b", "3"), ("c", "4")])).unwrap();
        let arena = Bump::new();
        for (key, expected) in [("a", "1"), ("b", "3"), ("c", "4")] {
            let found = new.find(key.as_bytes(), &arena).unwrap();
            assert_eq!(found.as_text(), Some(expected.as_bytes()));
        }
    }
}
