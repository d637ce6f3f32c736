//! A case file: what is put in, and what is to come out.
//!
//! COMPAT: the format is logstash-filter-verifier's, of its versions 1 (`fields`, `codec`, `ignore`,
//! `testcases` with `input`, `expected`, `description`) and 2 (`input_plugin`, `export_metadata`,
//! `export_outputs`, `fields` of a case). The shorter words (`cases`, `in`, `out`, `name`) and what the
//! verifier does not know (`config`, `mocks`, `now`, `has`, `flush`, `ignore` of a case) can stand in the same
//! file. Any other key is an error: what is not looked at must not look as if it were tested.

use std::path::Path;

use skidder_pipeline::event::Timestamp;
use skidder_pipeline::language::{Diagnostic, Diagnostics, Source, Span, Spanned};
use skidder_pipeline::time::Zone;

use super::node::{Kind, Member, Node, keys_of};
use super::{json, yaml};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct CaseFile {
    /// `config`: the files of the configuration, relative to this one.
    pub(super) config: Vec<Spanned<String>>,
    /// `input_plugin`: the input that the lines come by.
    pub(super) input_plugin: Option<Spanned<String>>,
    /// `codec`: how they are read.
    pub(super) codec: Option<Spanned<String>>,
    /// `ignore`: fields that are not compared, as keys from the top.
    pub(super) ignore: Vec<Vec<String>>,
    /// `export_metadata`
    pub(super) export_metadata: bool,
    /// `export_outputs`
    pub(super) export_outputs: bool,
    /// `mocks`: what stands in for plugins.
    pub(super) mocks: Vec<Mock>,
    /// `testcases`
    pub(super) cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    /// Where it stands.
    pub(super) span: Span,
    /// What it is called.
    pub(super) name: String,
    /// What is put in.
    pub(super) input: Vec<Input>,
    /// Fields of its events, those of the file included.
    pub(super) fields: Vec<Member>,
    /// Fields that are not compared in this case.
    pub(super) ignore: Vec<Vec<String>>,
    /// What is to come out.
    pub(super) expected: Expected,
    /// The time that the clock shows.
    pub(super) now: Option<Timestamp>,
    /// Filters are flushed when its events have gone through.
    pub(super) flush: bool,
}

/// What is put in.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    /// A text, which the codec reads.
    Text(String),
    /// An event as it is when the codec has read it.
    Event(Node),
}

/// What is to come out.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) events: Vec<Node>,
    /// Only the fields that are named are looked at.
    pub(super) partial: bool,
    /// The value in the file, or nothing if it says nothing: then no event is to come.
    pub(super) place: Option<Place>,
    /// Where the case's key for the input stands, and where its value ends.
    pub(super) input: Option<Place>,
}

/// Where a key and its value stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) key: Span,
    pub(super) value: Span,
}

/// What stands in for a plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mock {
    /// The plugin's `id`.
    pub(crate) id: Spanned<String>,
    /// The plugins that take its place; it is only taken out if there are none.
    pub(crate) text: String,
}

const FILE_KEYS: &[&str] = &[
    "cases",
    "codec",
    "config",
    "export_metadata",
    "export_outputs",
    "fields",
    "ignore",
    "input_plugin",
    "mocks",
    "now",
    "testcases",
];

const CASE_KEYS: &[&str] = &[
    "description",
    "expected",
    "fields",
    "flush",
    "has",
    "ignore",
    "in",
    "input",
    "name",
    "now",
    "out",
];

const MOCK_KEYS: &[&str] = &["id", "mock"];

/// Whether a file is JSON, by its name.
pub(super) fn is_json(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

/// Reads the text of a file, JSON or YAML by its name.
pub(super) fn parse(source: &Source, diagnostics: &mut Diagnostics) -> Option<Node> {
    let text = source.text.as_ref();
    let is_json = is_json(Path::new(&source.name));
    let read = if is_json {
        json::read(text, 0)
    } else {
        yaml::read(text, 0)
    };
    match read {
        Ok(node) => Some(node),
        Err(fault) => {
            let form = if is_json { "JSON" } else { "YAML" };
            let end = text[fault.offset..]
                .chars()
                .next()
                .map_or(0, char::len_utf8);
            let span = Span::new(0, fault.offset, fault.offset + end);
            let message = format!("this is no {form}: {}", fault.message);
            diagnostics.error(span, message);
            None
        }
    }
}

/// Reads a file; what is wrong goes into `diagnostics`.
pub(super) fn read(source: &Source, diagnostics: &mut Diagnostics) -> Option<CaseFile> {
    let root = parse(source, diagnostics)?;
    let mut reader = Reader {
        text: &source.text,
        diagnostics,
    };
    let file = reader.file(&root);
    (!reader.diagnostics.has_errors()).then_some(file)
}

/// Reads a file of mocks: a list of `id` and `mock`.
pub(super) fn read_mocks(source: &Source, diagnostics: &mut Diagnostics) -> Option<Vec<Mock>> {
    let root = parse(source, diagnostics)?;
    let mut reader = Reader {
        text: &source.text,
        diagnostics,
    };
    let mocks = reader.mocks(&root);
    (!reader.diagnostics.has_errors()).then_some(mocks)
}

struct Reader<'t, 'd> {
    text: &'t str,
    diagnostics: &'d mut Diagnostics,
}

impl Reader<'_, '_> {
    fn file(&mut self, root: &Node) -> CaseFile {
        let mut file = CaseFile::default();
        if !self.is_object(
            root,
            "a case file is an object with the key `testcases` or `cases`",
        ) {
            return file;
        }
        self.check_keys(root, "a case file", FILE_KEYS);
        let (mut fields, mut now, mut cases) = (Vec::new(), None, None);
        for member in root.members() {
            let value = &member.value;
            match member.key.value.as_str() {
                "cases" | "testcases" => cases = Some(value),
                "codec" => file.codec = self.spanned_text(member),
                "config" => file.config = self.texts(member),
                "export_metadata" => file.export_metadata = self.boolean(member),
                "export_outputs" => file.export_outputs = self.boolean(member),
                "fields" => fields = self.fields(value),
                "ignore" => file.ignore = self.references(member),
                "input_plugin" => file.input_plugin = self.spanned_text(member),
                "mocks" => file.mocks = self.mocks(value),
                "now" => now = self.time(member),
                _ => {}
            }
        }
        let Some(cases) = cases else {
            let key = Span::new(0, root.span.range().start, root.span.range().start);
            let missing = Diagnostic::error(key, "there are no cases in this file")
                .hint("write a list under the key `testcases` (or `cases`)");
            if !self.diagnostics.has_errors() {
                self.diagnostics.push(missing);
            }
            return file;
        };
        let Some(cases) = self.array(cases, "cases are a list") else {
            return file;
        };
        for (at, case) in cases.iter().enumerate() {
            let case = self.case(case, at + 1, &fields, now);
            file.cases.extend(case);
        }
        file
    }

    fn case(
        &mut self,
        node: &Node,
        number: usize,
        file_fields: &[Member],
        now: Option<Timestamp>,
    ) -> Option<Case> {
        if !self.is_object(node, "a case is an object with `input` and `expected`") {
            return None;
        }
        self.check_keys(node, "a case", CASE_KEYS);
        let mut case = Case {
            span: node.span,
            name: format!("case {number}"),
            input: Vec::new(),
            fields: file_fields.to_vec(),
            ignore: Vec::new(),
            expected: Expected {
                events: Vec::new(),
                partial: false,
                place: None,
                input: None,
            },
            now,
            flush: false,
        };
        for member in node.members() {
            let value = &member.value;
            let place = Place {
                key: member.key.span,
                value: value.span,
            };
            match member.key.value.as_str() {
                "description" | "name" => {
                    if let Some(name) = self.text(value).filter(|name| !name.is_empty()) {
                        case.name = name.trim_end().replace(char::is_control, " ");
                    }
                }
                "input" | "in" => {
                    case.input = self.input(value);
                    case.expected.input = Some(place);
                }
                "expected" | "out" => self.expected(member, place, false, &mut case),
                "has" => self.expected(member, place, true, &mut case),
                "fields" => {
                    // COMPAT: a field of the case takes the place of the file's as a whole.
                    for member in self.fields(value) {
                        let key = &member.key.value;
                        case.fields.retain(|given| given.key.value != *key);
                        case.fields.push(member);
                    }
                }
                "ignore" => case.ignore = self.references(member),
                "now" => case.now = self.time(member),
                "flush" => case.flush = self.boolean(member),
                _ => {}
            }
        }
        Some(case)
    }

    fn input(&mut self, value: &Node) -> Vec<Input> {
        match &value.kind {
            Kind::Array(values) => values
                .iter()
                .filter_map(|value| self.one_input(value))
                .collect(),
            _ => self.one_input(value).into_iter().collect(),
        }
    }

    fn one_input(&mut self, value: &Node) -> Option<Input> {
        match &value.kind {
            Kind::Object(_) => Some(Input::Event(value.clone().expand_references())),
            Kind::Array(_) => {
                self.diagnostics
                    .error(value.span, "an input is a text, or the fields of an event");
                None
            }
            _ => self.text(value).map(Input::Text),
        }
    }

    fn expected(&mut self, member: &Member, place: Place, partial: bool, case: &mut Case) {
        if case.expected.place.is_some() {
            let message = "what is to come out is said twice";
            let hint = "keep one of `expected`, `out` and `has`";
            self.diagnostics
                .push(Diagnostic::error(member.key.span, message).hint(hint));
            return;
        }
        case.expected.place = Some(place);
        case.expected.partial = partial;
        let events = match &member.value.kind {
            Kind::Array(events) => events.as_slice(),
            Kind::Null => &[],
            _ => std::slice::from_ref(&member.value),
        };
        for event in events {
            let message =
                "an expected event is an object of fields (an empty list means: no event)";
            if self.is_object(event, message) {
                case.expected.events.push(event.clone().expand_references());
            }
        }
    }

    /// Fields, nested where they are written in brackets.
    fn fields(&mut self, value: &Node) -> Vec<Member> {
        if !self.is_object(value, "`fields` are an object") {
            return Vec::new();
        }
        let Kind::Object(members) = value.clone().expand_references().kind else {
            return Vec::new();
        };
        let time = members
            .iter()
            .find(|member| member.key.value == "@timestamp");
        if let Some(time) = time {
            // What is no time would only be noticed as a tag of the event.
            self.time(time);
        }
        members
    }

    fn mocks(&mut self, value: &Node) -> Vec<Mock> {
        let message = "mocks are a list of objects with `id` and `mock`";
        let Some(entries) = self.array(value, message) else {
            return Vec::new();
        };
        let mut mocks = Vec::new();
        for entry in entries {
            if !self.is_object(entry, message) {
                continue;
            }
            self.check_keys(entry, "a mock", MOCK_KEYS);
            let mock = entry.get("mock").and_then(|mock| self.text(mock));
            let members = entry.members().iter();
            let id = members.clone().find(|member| member.key.value == "id");
            match id.and_then(|id| self.spanned_text(id)) {
                Some(id) => mocks.push(Mock {
                    id,
                    text: mock.unwrap_or_default(),
                }),
                None if id.is_none() => self.diagnostics.error(
                    entry.span,
                    "this mock does not say by `id` which plugin it stands in for",
                ),
                None => {}
            }
        }
        mocks
    }

    fn time(&mut self, member: &Member) -> Option<Timestamp> {
        let text = self.text(&member.value)?;
        let time = Timestamp::parse_iso8601(text.as_bytes(), &Zone::UTC);
        if time.is_none() {
            let message = "this is no time such as 2026-11-25T08:00:00Z";
            self.diagnostics.error(member.value.span, message);
        }
        time
    }

    fn references(&mut self, member: &Member) -> Vec<Vec<String>> {
        let names = self.texts(member);
        names.iter().map(|name| keys_of(&name.value)).collect()
    }

    /// A list of texts, or one of them.
    fn texts(&mut self, member: &Member) -> Vec<Spanned<String>> {
        let values = match &member.value.kind {
            Kind::Array(values) => values.as_slice(),
            Kind::Null => &[],
            _ => std::slice::from_ref(&member.value),
        };
        let texts = values.iter().filter_map(|value| {
            let text = self.text(value)?;
            Some(Spanned::new(text, value.span))
        });
        texts.collect()
    }

    fn spanned_text(&mut self, member: &Member) -> Option<Spanned<String>> {
        let text = self.text(&member.value)?;
        Some(Spanned::new(text, member.value.span))
    }

    /// A text. COMPAT: what is not in quotes is taken as it is typed, `12` as the text `12`.
    fn text(&mut self, value: &Node) -> Option<String> {
        match &value.kind {
            Kind::Text(text) => Some(text.to_string()),
            Kind::Null => Some(String::new()),
            Kind::Boolean(_) | Kind::Number(_) => {
                let typed = self.text.get(value.span.range()).unwrap_or_default();
                Some(typed.to_owned())
            }
            Kind::Array(_) | Kind::Object(_) => {
                let message = format!("this is to be a text, not {}", value.name());
                self.diagnostics.error(value.span, message);
                None
            }
        }
    }

    fn boolean(&mut self, member: &Member) -> bool {
        match &member.value.kind {
            Kind::Boolean(boolean) => *boolean,
            _ => {
                let message = format!("`{}` is true or false", member.key.value);
                self.diagnostics.error(member.value.span, message);
                false
            }
        }
    }

    fn array<'n>(&mut self, value: &'n Node, message: &str) -> Option<&'n [Node]> {
        match &value.kind {
            Kind::Array(values) => Some(values),
            Kind::Null => Some(&[]),
            _ => {
                let message = format!("{message}, not {}", value.name());
                self.diagnostics.error(value.span, message);
                None
            }
        }
    }

    fn is_object(&mut self, value: &Node, message: &str) -> bool {
        let is_object = matches!(value.kind, Kind::Object(_));
        if !is_object {
            let message = format!("{message}, not {}", value.name());
            self.diagnostics.error(value.span, message);
        }
        is_object
    }

    /// Finds keys that mean nothing, and keys that stand twice.
    fn check_keys(&mut self, node: &Node, of: &str, known: &[&'static str]) {
        let members = node.members();
        for (at, member) in members.iter().enumerate() {
            let (key, span) = (member.key.value.as_str(), member.key.span);
            if of == "a case file" && matches!(key, "input" | "expected") {
                let message =
                    format!("`{key}` stands at the top, where it has not stood for years");
                let hint = "write `testcases: [{input: […], expected: […]}]`";
                self.diagnostics
                    .push(Diagnostic::error(span, message).hint(hint));
            } else if !known.contains(&key) {
                let message = format!("{of} has no key `{key}`");
                let known_words = format!("it has {}", known.join(", "));
                let unknown = Diagnostic::error(span, message)
                    .hint(known_words)
                    .did_you_mean(key, known.iter().copied());
                self.diagnostics.push(unknown);
            } else if members[..at]
                .iter()
                .any(|other| same_key(&other.key.value, key))
            {
                let message = format!("`{key}` is said twice");
                self.diagnostics.error(span, message);
            }
        }
    }
}

/// Whether two keys mean the same.
fn same_key(left: &str, right: &str) -> bool {
    let long = |key| match key {
        "cases" => "testcases",
        "in" => "input",
        "out" => "expected",
        "name" => "description",
        key => key,
    };
    long(left) == long(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skidder_pipeline::language::SourceMap;

    use super::*;

    fn read_text(name: &str, text: &str) -> (Option<CaseFile>, String) {
        let sources = SourceMap::single(name, text);
        let mut diagnostics = Diagnostics::new();
        let file = read(sources.get(0).unwrap(), &mut diagnostics);
        (file, diagnostics.render(&sources, false))
    }

    #[test]
    fn both_forms_say_the_same() {
        let long = r#"{"fields": {"type": "a", "[log][level]": "x"}, "codec": "json_lines",
            "ignore": ["@timestamp", "[a][b]"], "testcases": [
            {"input": ["one", "two"], "expected": [{"n": 1}], "description": "first",
             "fields": {"log": {"file": "f"}}}]}"#;
        let short = "fields: { type: a, '[log][level]': x }\ncodec: json_lines\n\
            ignore: ['@timestamp', '[a][b]']\ncases:\n  - in: [one, two]\n    out: { n: 1 }\n    \
            name: first\n    fields: { '[log][file]': f }\n";
        for (name, text) in [("x.json", long), ("x.yml", short)] {
            let (file, said) = read_text(name, text);
            let file = file.expect(&said);
            assert_eq!(file.codec.unwrap().value, "json_lines");
            assert_eq!(file.ignore, [vec!["@timestamp"], vec!["a", "b"]]);
            let case = &file.cases[0];
            assert_eq!((case.name.as_str(), case.input.len()), ("first", 2));
            let fields = Node::new(Kind::Object(case.fields.clone()), Span::default());
            // The case's `log` takes the place of the file's.
            assert_eq!(fields.to_json(), r#"{"type":"a","log":{"file":"f"}}"#);
            assert_eq!(case.expected.events[0].to_json(), r#"{"n":1}"#);
        }
    }

    #[test]
    fn what_is_typed_without_quotes_is_a_text_where_one_is_wanted() {
        let (file, said) = read_text("x.yml", "cases:\n  - in: [012, yes, 'a', ~]\n    name: 7\n");
        let file = file.expect(&said);
        let texts: Vec<String> = file.cases[0]
            .input
            .iter()
            .map(|input| format!("{input:?}"))
            .collect();
        let expected = [
            "Text(\"012\")",
            "Text(\"yes\")",
            "Text(\"a\")",
            "Text(\"\")",
        ];
        assert_eq!(texts, expected);
        assert_eq!(file.cases[0].name, "7");
    }

    #[test]
    fn mistakes_have_places_and_advice() {
        for (name, text, place, words) in [
            (
                "x.yml",
                "testcase: []\n",
                "x.yml:1:1",
                "did you mean `testcases`?",
            ),
            (
                "x.yml",
                "cases:\n  - inptu: a\n",
                "x.yml:2:5",
                "did you mean `input`?",
            ),
            (
                "x.json",
                "{\"testcases\": [\n{\"input\": 1,}]}",
                "x.json:2:13",
                "no JSON",
            ),
            ("x.yml", "cases: [ {in: a\n", "x.yml:1:10", "no YAML"),
            (
                "x.yml",
                "input: [a]\nexpected: []\n",
                "x.yml:1:1",
                "testcases: [",
            ),
            (
                "x.yml",
                "cases:\n  - in: a\n    out: 1\n",
                "x.yml:3:10",
                "not a number",
            ),
            (
                "x.yml",
                "cases:\n  - in: a\n    out: []\n    has: []\n",
                "x.yml:4:5",
                "twice",
            ),
            (
                "x.yml",
                "cases:\n  - in: a\n    input: b\n",
                "x.yml:3:5",
                "twice",
            ),
            (
                "x.yml",
                "cases: []\nnow: soon\n",
                "x.yml:2:6",
                "2026-11-25T08:00:00Z",
            ),
            (
                "x.yml",
                "cases: []\nmocks: [{mock: a}]\n",
                "x.yml:2:9",
                "`id`",
            ),
            (
                "x.yml",
                "fields: ~\ncases: []\n",
                "x.yml:1:9",
                "`fields` are an object",
            ),
            ("x.yml", "", "x.yml:1:1", "a case file is an object"),
            ("x.yml", "fields: {}\n", "x.yml:1:1", "no cases"),
        ] {
            let (file, said) = read_text(name, text);
            assert!(file.is_none(), "{text}");
            assert!(
                said.contains(place) && said.contains(words),
                "{text}: {said}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused_with_a_reason(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "cases", "testcases", "in", "out", "has", "fields", "ignore", "name", "now",
                    "mocks", "codec", ": ", "- ", "\n", "  ", "    ", "[", "]", "{", "}", ", ", "'",
                    "\"", "a", "1", "\u{e9}", "[a][b]", "~", "2026-11-25T08:00:00Z",
                ]),
                0..30,
            ),
            json: bool,
        ) {
            let name = if json { "x.json" } else { "x.yml" };
            let (file, said) = read_text(name, &pieces.concat());
            prop_assert_eq!(file.is_none(), said.contains("error"));
        }
    }
}
