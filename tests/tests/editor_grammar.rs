//! The grammar for editors, held against the parser: every example of the manual is coloured with it,
//! by Oniguruma as editors do it, and what is a plugin, an option, a string or a condition to the
//! parser must have the colour of one.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use onig::{Regex, Region, SearchOptions};
use serde_json::Value as Json;
use skidder_pipeline::language::{
    Condition, ConditionKind, Config, Diagnostics, Operand, OperandKind, ParseOptions, Plugin,
    Section, SourceMap, Span, Spanned, Statement, Value, parse,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read_json(name: &str) -> Json {
    let text = std::fs::read_to_string(root().join("editors").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// As much of an engine for such grammars as the grammar asks for.
struct Colours {
    grammar: Json,
    expressions: HashMap<String, Regex>,
}

/// A rule that is open: its end, its inside, and the colour of that.
#[derive(Clone)]
struct Open<'g> {
    end: &'g Json,
    patterns: &'g Json,
    scopes: Vec<String>,
}

impl Colours {
    fn new(grammar: Json) -> Self {
        let mut expressions = HashMap::new();
        collect_expressions(&grammar, &mut expressions);
        assert!(expressions.len() > 15, "the expressions are found");
        Self {
            grammar,
            expressions,
        }
    }

    /// The scopes of each byte.
    fn of(&self, text: &str) -> Vec<Vec<String>> {
        let mut scopes = vec![Vec::new(); text.len()];
        let mut open: Vec<Open<'_>> = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            self.line(line, start, &mut open, &mut scopes);
            start += line.len();
        }
        assert!(
            open.is_empty(),
            "something is left open at the end of {text}"
        );
        scopes
    }

    fn line<'g>(
        &'g self,
        line: &str,
        start: usize,
        open: &mut Vec<Open<'g>>,
        scopes: &mut [Vec<String>],
    ) {
        let mut at = 0;
        let mut steps = 0;
        while at < line.len() {
            steps += 1;
            assert!(steps < 10_000, "no end in {line}");
            let top = open.last().cloned();
            let patterns = top
                .as_ref()
                .map_or(&self.grammar["patterns"], |top| top.patterns);
            let mut rules = Vec::new();
            self.rules(patterns, &mut rules);
            // The end first: on a tie it wins.
            let end = top.as_ref().map(|top| (top.end, None));
            let candidates = end.into_iter().chain(rules.into_iter().map(|rule| {
                let key = if rule["match"].is_string() {
                    "match"
                } else {
                    "begin"
                };
                (&rule[key], Some(rule))
            }));
            let mut best: Option<(usize, Region, Option<&'g Json>)> = None;
            for (expression, rule) in candidates {
                let expression = &self.expressions[expression.as_str().unwrap()];
                let mut region = Region::new();
                let options = SearchOptions::SEARCH_OPTION_NONE;
                let found = expression.search_with_options(
                    line,
                    at,
                    line.len(),
                    options,
                    Some(&mut region),
                );
                if let Some(found) = found
                    && best.as_ref().is_none_or(|(least, ..)| found < *least)
                {
                    best = Some((found, region, rule));
                }
            }
            let around = top.map(|top| top.scopes).unwrap_or_default();
            let mut paint = |from: usize, to: usize, names: &[String]| {
                for each in &mut scopes[start + from..start + to] {
                    each.extend_from_slice(names);
                }
            };
            let Some((from, region, rule)) = best else {
                paint(at, line.len(), &around);
                return;
            };
            let to = region.pos(0).unwrap().1;
            paint(at, to, &around);
            let name = rule
                .and_then(|rule| rule["name"].as_str())
                .map(str::to_owned);
            paint(from, to, name.as_slice());
            let captures = rule.map(|rule| {
                let key = if rule["match"].is_string() {
                    "captures"
                } else {
                    "beginCaptures"
                };
                &rule[key]
            });
            for (number, capture) in captures.and_then(Json::as_object).into_iter().flatten() {
                if let Some((from, to)) = region.pos(number.parse().unwrap()) {
                    paint(from, to, &[capture["name"].as_str().unwrap().to_owned()]);
                }
            }
            match rule {
                None => {
                    open.pop();
                }
                Some(rule) if rule["begin"].is_string() => {
                    let inside = rule["contentName"].as_str().map(str::to_owned);
                    let names = name.into_iter().chain(inside);
                    open.push(Open {
                        end: &rule["end"],
                        patterns: &rule["patterns"],
                        scopes: around.iter().cloned().chain(names).collect(),
                    });
                }
                Some(_) => assert!(to > from, "an empty match in {line}"),
            }
            at = to;
        }
    }

    /// The rules of a list of patterns, includes resolved.
    fn rules<'g>(&'g self, patterns: &'g Json, rules: &mut Vec<&'g Json>) {
        for pattern in patterns.as_array().into_iter().flatten() {
            if let Some(name) = pattern["include"].as_str() {
                let included = &self.grammar["repository"][name.strip_prefix('#').unwrap()];
                assert!(included.is_object(), "there is no {name}");
                if included["match"].is_string() || included["begin"].is_string() {
                    rules.push(included);
                } else {
                    self.rules(&included["patterns"], rules);
                }
            } else {
                rules.push(pattern);
            }
        }
    }
}

fn collect_expressions(json: &Json, expressions: &mut HashMap<String, Regex>) {
    match json {
        Json::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(text) if matches!(key.as_str(), "match" | "begin" | "end") => {
                        let compiled = Regex::new(text);
                        let compiled = compiled.unwrap_or_else(|error| panic!("{text}: {error}"));
                        expressions.insert(text.to_owned(), compiled);
                    }
                    _ => collect_expressions(value, expressions),
                }
            }
        }
        Json::Array(array) => {
            for each in array {
                collect_expressions(each, expressions);
            }
        }
        _ => {}
    }
}

/// What is what to the parser.
#[derive(Default)]
struct Expected {
    pieces: Vec<(Span, &'static str)>,
}

impl Expected {
    fn of(config: &Config) -> Vec<(Span, &'static str)> {
        let mut expected = Self::default();
        for section in Section::ALL {
            expected.statements(config.section(section));
        }
        expected.pieces
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Plugin(plugin) => self.plugin(plugin),
                Statement::If(branches) => {
                    for branch in &branches.branches {
                        self.condition(&branch.condition);
                        self.statements(&branch.body);
                    }
                    self.statements(branches.otherwise.as_deref().unwrap_or_default());
                }
            }
        }
    }

    fn plugin(&mut self, plugin: &Plugin) {
        self.pieces.push((plugin.name.span, "entity.name.function"));
        for attribute in &plugin.attributes {
            self.pieces
                .push((attribute.name.span, "entity.other.attribute-name"));
            self.value(&attribute.value);
        }
    }

    fn value(&mut self, value: &Spanned<Value>) {
        match &value.value {
            Value::String(_) => self.pieces.push((value.span, "string.quoted")),
            Value::Number(_) => self.pieces.push((value.span, "constant.numeric")),
            Value::Bareword(_) => {}
            Value::Array(values) => values.iter().for_each(|value| self.value(value)),
            Value::Hash(entries) => {
                for entry in entries {
                    if matches!(entry.key.value, Value::String(_)) {
                        self.value(&entry.key);
                    }
                    self.value(&entry.value);
                }
            }
            Value::Plugin(plugin) => self.plugin(plugin),
        }
    }

    fn condition(&mut self, condition: &Condition) {
        match &condition.kind {
            ConditionKind::And(all) | ConditionKind::Or(all) => {
                for each in all {
                    self.condition(each);
                }
            }
            ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
                self.condition(left);
                self.condition(right);
            }
            ConditionKind::Not(inner) => self.condition(inner),
            ConditionKind::Compare { left, right, .. } => {
                self.operand(left);
                self.operand(right);
            }
            ConditionKind::Match {
                subject, pattern, ..
            } => {
                self.operand(subject);
                // Without what it stands between.
                let Span { source, start, end } = pattern.span;
                let inside = Span::new(source, start as usize + 1, end as usize - 1);
                self.pieces.push((inside, "string."));
            }
            ConditionKind::In {
                needle, haystack, ..
            } => {
                self.operand(needle);
                self.operand(haystack);
            }
            ConditionKind::Truthy(operand) => self.operand(operand),
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match &operand.kind {
            OperandKind::Field(_) => self.pieces.push((operand.span, "variable.other.field")),
            OperandKind::String(_) => self.pieces.push((operand.span, "string.quoted")),
            OperandKind::Number(_) => self.pieces.push((operand.span, "constant.numeric")),
            OperandKind::Array(values) => values.iter().for_each(|value| self.value(value)),
        }
    }
}

/// Every example of the manual and of the folder of examples.
fn examples() -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(root().join("examples/aggregator")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    for page in ["configuration.md", "aggregator.md", "filters.md"] {
        let page = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
        for block in page.split("```logstash").skip(1) {
            let (kind, rest) = block.split_once('\n').unwrap();
            if kind.trim() != "refused" {
                texts.push(rest.split_once("```").unwrap().0.to_owned());
            }
        }
    }
    assert!(texts.len() > 100, "the examples are found: {}", texts.len());
    texts
}

#[test]
fn what_is_coloured_is_what_the_parser_reads() {
    let colours = Colours::new(read_json("logstash.tmLanguage.json"));
    let (mut pieces, mut wrong) = (0, Vec::new());
    for text in examples() {
        let sources = SourceMap::single("example", text.as_str());
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        assert!(
            !diagnostics.has_errors(),
            "{}",
            diagnostics.render(&sources, false)
        );
        let scopes = colours.of(&text);
        for (span, expected) in Expected::of(&config) {
            pieces += 1;
            let has = |scopes: &Vec<String>| scopes.iter().any(|scope| scope.starts_with(expected));
            if !scopes[span.range()].iter().all(has) {
                wrong.push(format!("{expected}: {} in {text}", sources.text(span)));
            }
        }
        // Comments are comments, and nothing else is.
        let comment = |byte: usize| {
            scopes[byte]
                .iter()
                .any(|scope| scope.starts_with("comment."))
        };
        for (start, line) in lines(&text) {
            if line.trim_start().starts_with('#') {
                let hash = start + line.find('#').unwrap();
                if scopes[hash]
                    .iter()
                    .any(|scope| scope.starts_with("string."))
                {
                    continue;
                }
                assert!(comment(hash), "{line}");
            } else if !line.contains('#') {
                assert!(!(start..start + line.len()).any(comment), "{line}");
            }
        }
    }
    assert!(pieces > 1000, "the pieces are found: {pieces}");
    assert!(
        wrong.is_empty(),
        "{} of {pieces}\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line)
    })
}

#[test]
fn sections_and_words_of_the_language_are_keywords() {
    let colours = Colours::new(read_json("logstash.tmLanguage.json"));
    let text = "input {\n}\nfilter { if [a] and !([b] or \"x\" not in [c]) { drop { } } else { } }\noutput\n{ }\n";
    let scopes = colours.of(text);
    for word in [
        "input", "filter", "output", "if", " and", " or", "not", "in [c]", "else",
    ] {
        let at = text.find(word).unwrap() + usize::from(word.starts_with(' '));
        let keyword = scopes[at]
            .iter()
            .any(|scope| scope.starts_with("keyword.control"));
        assert!(keyword, "{word}: {:?}", scopes[at]);
    }
    // A backslash only keeps a string open right before its quote.
    let text = r#"filter { mutate { gsub => ["a", "\"%{x}", 'it"s \' ${HOME}'] } } # end"#;
    let scopes = colours.of(text);
    for (piece, scope) in [
        ("%{x}", "variable.other.template"),
        ("${HOME}", "variable.other.environment"),
        ("it\"s", "string.quoted.single"),
        ("# end", "comment."),
    ] {
        let at = text.find(piece).unwrap();
        assert!(
            scopes[at].iter().any(|name| name.starts_with(scope)),
            "{piece}: {:?}",
            scopes[at]
        );
    }
}

#[test]
fn the_extension_names_its_files() {
    let package = read_json("package.json");
    let contributes = &package["contributes"];
    for path in [
        &contributes["languages"][0]["configuration"],
        &contributes["grammars"][0]["path"],
    ] {
        read_json(path.as_str().unwrap());
    }
    let grammar = read_json("logstash.tmLanguage.json");
    assert_eq!(
        grammar["scopeName"],
        contributes["grammars"][0]["scopeName"]
    );
}
