//! Text to tree: the only module that knows which YAML library is used.
//!
//! A node keeps the text as it was typed (so that `port: 0644` stays `0644`) and the place
//! it stands at, which every later message needs. JSON is YAML, with three exceptions that are
//! smoothed out here without moving any line or column: comment lines that begin with `#` (they
//! are YAML comments already), tabs used as indentation, and escaped surrogate pairs are left
//! to the parser. What this does not do: know any option.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

/// Nodes allowed in one file: a config is small, an alias bomb is not.
pub const MAX_NODES: usize = 100_000;
/// Levels of nesting allowed in one file.
pub const MAX_DEPTH: usize = 32;

/// A position in a config file, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<PathBuf>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}:{}",
            self.file.display(),
            self.line,
            self.column
        )
    }
}

/// A value with the place it stands at.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node can be.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text as typed; `quoted` tells `"true"` from `true`.
    Scalar {
        /// The text after unescaping.
        text: String,
        /// Whether it stood in quotes or in a block.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether this is nothing at all: `key:` or `key: null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if text.is_empty() || text == "null" || text == "~")
    }

    /// What a message calls this kind of node.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Why a text is not a tree.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub message: String,
}

/// Parses one document. `Ok(None)` is an empty file.
pub fn parse(file: &Path, text: &str) -> Result<Option<Node>, SyntaxError> {
    let text = smooth_json(text);
    let mut builder = Builder {
        file: Arc::new(file.to_owned()),
        anchors: Vec::new(),
        stack: Vec::new(),
        root: None,
        nodes: 0,
    };
    let mut documents = 0;
    for event in Parser::new_from_str(&text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let place = builder.place(marker.line(), marker.col());
            let message = format!("this is neither YAML nor JSON: {}", error.info());
            SyntaxError { place, message }
        })?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(builder.error(&span, "a second document begins; keep one per file"));
            }
        }
        builder.take(event, &span)?;
    }
    Ok(builder.root)
}

struct Builder {
    file: Arc<PathBuf>,
    anchors: Vec<(usize, Node)>,
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

struct Open {
    place: Place,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map {
        pairs: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

impl Builder {
    fn place(&self, line: usize, column_from_zero: usize) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: line.max(1),
            column: column_from_zero + 1,
        }
    }

    fn error(&self, span: &Span, message: &str) -> SyntaxError {
        let place = self.place(span.start.line(), span.start.col());
        SyntaxError {
            place,
            message: message.to_owned(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), SyntaxError> {
        let place = self.place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = !matches!(style, ScalarStyle::Plain);
                let value = Value::Scalar {
                    text: text.into_owned(),
                    quoted,
                };
                self.finish(Node { place, value }, anchor, span)
            }
            Event::SequenceStart(_, anchor, _) => self.open(
                Open {
                    place,
                    anchor,
                    parts: Parts::List(Vec::new()),
                },
                span,
            ),
            Event::MappingStart(_, anchor, _) => {
                let parts = Parts::Map {
                    pairs: Vec::new(),
                    key: None,
                };
                self.open(
                    Open {
                        place,
                        anchor,
                        parts,
                    },
                    span,
                )
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else {
                    return Ok(());
                };
                let value = match open.parts {
                    Parts::List(items) => Value::List(items),
                    Parts::Map { pairs, .. } => Value::Map(pairs),
                };
                self.finish(
                    Node {
                        place: open.place,
                        value,
                    },
                    open.anchor,
                    span,
                )
            }
            Event::Alias(anchor) => {
                let Some((_, node)) = self.anchors.iter().find(|(id, _)| *id == anchor) else {
                    return Err(self.error(span, "an alias inside the value it stands for"));
                };
                let node = node.clone();
                self.nodes += count(&node);
                self.finish(node, 0, span)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, span: &Span) -> Result<(), SyntaxError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.error(span, "nested too deeply"));
        }
        self.stack.push(open);
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize, span: &Span) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(span, "too many values for a config file"));
        }
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        match self.stack.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { pairs, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(pairs) => {
            1 + pairs
                .iter()
                .map(|(key, value)| count(key) + count(value))
                .sum::<usize>()
        }
    }
}

/// YAML forbids tabs as indentation, JSON allows them. In a file that is a JSON object, each tab
/// outside a string becomes one space: columns stay what they were.
fn smooth_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    if !first.is_some_and(|line| line.trim_start().starts_with('{')) {
        return text.to_owned();
    }
    let mut smoothed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // COMPAT: logstash-forwarder drops these lines before it reads the JSON.
        if line.trim_start().starts_with('#') {
            smoothed.push('\n');
            continue;
        }
        let (mut inside, mut escaped) = (false, false);
        for character in line.chars() {
            match character {
                '\t' if !inside => smoothed.push(' '),
                other => smoothed.push(other),
            }
            match character {
                '"' if !escaped => inside = !inside,
                _ => {}
            }
            escaped = character == '\\' && !escaped;
        }
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        parse(Path::new("test.yml"), text)
            .expect("valid")
            .expect("not empty")
    }

    #[test]
    fn text_is_kept_as_typed_with_its_place() {
        let node = read("a: 0644\nb: [x, 'true']\n");
        let Value::Map(pairs) = &node.value else {
            panic!("a mapping")
        };
        assert_eq!(pairs[0].1.text(), Some("0644"));
        assert_eq!(pairs[0].1.place.to_string(), "test.yml:1:4");
        let Value::List(items) = &pairs[1].1.value else {
            panic!("a list")
        };
        assert!(matches!(&items[1].value, Value::Scalar { text, quoted: true } if text == "true"));
    }

    #[test]
    fn json_with_tabs_and_comments_is_read() {
        let text = "# first\n{\n\t# inside\n\t\"a\t\": \"x\\\"#\t\",\n\t\"b\": [\n\t\t1 ]\n}\n";
        let node = read(text);
        let Value::Map(pairs) = &node.value else {
            panic!("a mapping")
        };
        assert_eq!(pairs[0].0.text(), Some("a\t"));
        assert_eq!(pairs[0].1.text(), Some("x\"#\t"));
        assert_eq!(pairs[1].0.place.line, 5);
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = parse(Path::new("bad.yml"), "a: [1, 2\nb: 3\n").expect_err("broken");
        assert!(error.to_string().starts_with("bad.yml:"), "{error}");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(",");
            text += &[
                "a",
                &level.to_string(),
                ": &a",
                &level.to_string(),
                " [",
                &aliases,
                "]
",
            ]
            .concat();
        }
        let error = parse(Path::new("bomb.yml"), &text).expect_err("refused");
        assert!(error.to_string().contains("too many values"), "{error}");
    }

    #[test]
    fn anchors_are_followed() {
        let node = read("a: &x {k: v}\nb: *x\n");
        let Value::Map(pairs) = &node.value else {
            panic!("a mapping")
        };
        assert!(matches!(&pairs[1].1.value, Value::Map(inner) if inner[0].1.text() == Some("v")));
    }

    #[test]
    fn an_empty_file_is_no_tree() {
        assert!(
            parse(Path::new("empty.yml"), "# nothing\n")
                .expect("valid")
                .is_none()
        );
    }
}
