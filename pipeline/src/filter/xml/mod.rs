//! The filter `xml`: a document as a value, and what `XPath` expressions find in it.
//!
//! COMPAT: the value is shaped as Ruby's `XmlSimple` shapes it, found nodes are written as Nokogiri
//! writes them: elements as XML, indented if they hold nothing but elements. Unlike there nothing is
//! found in a document that is not well-formed.

mod evaluate;
mod simple;
mod xpath;

use bumpalo::Bump;
use roxmltree::{Document, Node, ParsingOptions};

use crate::Build;
use crate::event::{Array, Event, Path, Value};
use crate::filter::common::field_name;
use crate::filter::{Context, Filter, Outcome};
use crate::language::{Options, did_you_mean};
use crate::template::{FieldName, set_target};

use evaluate::{Evaluator, Names, XNode};
use simple::Shape;
use xpath::Expression;

/// The tag of an event whose text is no XML.
const FAILURE: &[u8] = b"_xmlparsefailure";

/// How deep elements may be nested, unless `max_depth` says otherwise.
pub const DEFAULT_MAX_DEPTH: usize = 100;
/// The most that `max_depth` may be.
pub const HIGHEST_MAX_DEPTH: usize = 256;
/// How many elements, texts and attributes a document may have, unless `max_nodes` says otherwise.
pub const DEFAULT_MAX_NODES: usize = 100_000;
/// How many nodes each expression may visit, in times of `max_nodes`.
pub const VISITS_PER_NODE: usize = 100;

/// The filter.
#[derive(Debug)]
pub struct Xml {
    source: Path,
    target: Option<Path>,
    expressions: Box<[(Expression, FieldName)]>,
    namespaces: Box<[(String, String)]>,
    remove_namespaces: bool,
    shape: Shape,
    /// Expressions find nothing in a broken document, and that is no failure.
    recover: bool,
    max_depth: usize,
    max_nodes: usize,
}

/// No XML, or something that cannot be stored.
struct Failed;

/// Names that Nokogiri knows; they tell its parser what to put up with.
const PARSE_OPTIONS: [&str; 25] = [
    "strict",
    "recover",
    "noent",
    "dtdload",
    "dtdattr",
    "dtdvalid",
    "noerror",
    "nowarning",
    "pedantic",
    "noblanks",
    "sax1",
    "xinclude",
    "nonet",
    "nodict",
    "nsclean",
    "nocdata",
    "noxincnode",
    "compact",
    "old10",
    "nobasefix",
    "huge",
    "biglines",
    "defaultxml",
    "defaulthtml",
    "defaultxslt",
];

impl Xml {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, _build: &mut Build<'_>) -> Option<Self> {
        let source = options.field("source").map(|source| source.value);
        if source.is_none() && options.is_valid() {
            options.missing("source");
        }
        let target = options.field("target").map(|target| target.value);
        let store = options.boolean("store_xml").unwrap_or(true);
        if store && target.is_none() && options.is_valid() {
            options.error(
                "store_xml",
                "`xml` needs the option `target` for the document; without one write `store_xml => false`",
            );
        }
        let mut expressions = Vec::new();
        for (text, field) in options.string_hash("xpath").unwrap_or_default() {
            match Expression::parse(&text.value) {
                Ok(expression) => {
                    let field = field_name(options, "xpath", &field.value);
                    expressions.extend(field.map(|field| (expression, field)));
                }
                Err(error) => options
                    .diagnostics()
                    .error(text.span, format!("`xpath`: {error}")),
            }
        }
        let recover = Self::recovers(options);
        let namespaces = options.string_hash("namespaces").unwrap_or_default();
        Some(Self {
            target: target.filter(|_| store).map(|target| Path::from(&target)),
            expressions: expressions.into(),
            namespaces: namespaces
                .into_iter()
                .map(|(prefix, uri)| (prefix.value, uri.value))
                .collect(),
            remove_namespaces: options.boolean("remove_namespaces").unwrap_or(false),
            shape: Shape {
                force_array: options.boolean("force_array").unwrap_or(true),
                force_content: options.boolean("force_content").unwrap_or(false),
                suppress_empty: options.boolean("suppress_empty").unwrap_or(true),
            },
            recover,
            max_depth: options
                .count("max_depth", 1..=HIGHEST_MAX_DEPTH)
                .unwrap_or(DEFAULT_MAX_DEPTH),
            max_nodes: options
                .count("max_nodes", 1..=10_000_000)
                .unwrap_or(DEFAULT_MAX_NODES),
            source: Path::from(&source?),
        })
    }

    /// Of `parse_options` all names are checked, and `recover` counts; without any it is on.
    fn recovers(options: &mut Options<'_>) -> bool {
        let Some(text) = options.string("parse_options") else {
            return true;
        };
        let mut recovers = false;
        for word in text.split([',', '|']) {
            let name = word.trim().replace('_', "").to_lowercase();
            recovers |= matches!(name.as_str(), "recover" | "defaultxml" | "defaulthtml");
            if name.is_empty() || PARSE_OPTIONS.contains(&name.as_str()) {
                continue;
            }
            let near = did_you_mean(&name, PARSE_OPTIONS);
            let near = near.map(|near| format!("; {near}")).unwrap_or_default();
            options.error(
                "parse_options",
                format!("unsupported parse option `{}`{near}", word.trim()),
            );
        }
        recovers
    }

    fn parse<'b>(
        &'b self,
        text: &str,
        event: &mut Event<'b>,
        context: &Context<'_, 'b>,
    ) -> Result<bool, Failed> {
        let arena = context.arena;
        let options = ParsingOptions {
            // Entities are expanded within the parser's own bounds.
            allow_dtd: true,
            nodes_limit: self.max_nodes as u32,
            entity_resolver: None,
        };
        let document = match Document::parse_with_options(text, options) {
            Ok(document) => document,
            Err(roxmltree::Error::NodesLimitReached) => return Err(Failed),
            // COMPAT: a broken document is no failure for expressions, unless the options say so.
            Err(_) if self.recover && self.target.is_none() => return Ok(false),
            Err(_) => return Err(Failed),
        };
        if is_deeper(&document, self.max_depth) {
            return Err(Failed);
        }
        let names = Names {
            namespaces: &self.namespaces,
            removed: self.remove_namespaces,
        };
        let mut matched = false;
        for (expression, field) in &self.expressions {
            let mut evaluator = Evaluator {
                document: &document,
                names: &names,
                budget: self.max_nodes.saturating_mul(VISITS_PER_NODE),
            };
            let found = evaluator.run(expression).map_err(|_| Failed)?;
            let found = self.found(&found, arena);
            let value = match found.len() {
                0 => continue,
                1 if !self.shape.force_array => {
                    let mut found = found;
                    found.remove(0)
                }
                _ => Value::array(found, arena),
            };
            matched = true;
            let place = field.resolve(event, context.now, arena);
            let place = place.map_err(|_| Failed)?;
            if place.refuses(&value) {
                return Err(Failed);
            }
            place.set(event, value, arena);
        }
        if let Some(target) = &self.target {
            let value = self.shape.value(document.root_element(), arena);
            if !set_target(event, target, value, arena) {
                return Err(Failed);
            }
            matched = true;
        }
        Ok(matched)
    }

    /// What an expression found, as texts.
    fn found<'b>(&self, found: &evaluate::Outcome<'_>, arena: &'b Bump) -> Array<'b> {
        let mut values = Array::new_in(arena);
        match found {
            evaluate::Outcome::Nodes(nodes) => {
                for node in nodes {
                    let mut text = String::new();
                    match node {
                        XNode::Attribute(..) => text.push_str(&node.text()),
                        XNode::Node(node) => {
                            write_node(*node, 0, true, self.remove_namespaces, &mut text);
                        }
                    }
                    values.push(Value::copied_text(text.as_bytes(), arena));
                }
            }
            // COMPAT: false is nothing, and a number always has a point.
            evaluate::Outcome::Boolean(false) => {}
            evaluate::Outcome::Number(number) => {
                let mut text = Vec::new();
                crate::number_text::write_ruby_float(*number, &mut text);
                values.push(Value::copied_text(&text, arena));
            }
            other => values.push(Value::copied_text(other.text().as_bytes(), arena)),
        }
        values
    }
}

impl Filter for Xml {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let value = match event.get(&self.source) {
            None | Some(Value::Null | Value::Boolean(false)) => return Outcome::Unapplied,
            Some(Value::Array(array)) if array.len() == 1 => &array[0],
            Some(value) => value,
        };
        let parsed = match value {
            Value::Text(text) if text.trim_ascii().is_empty() => return Outcome::Unapplied,
            Value::Text(text) => {
                let text = *text;
                let text = String::from_utf8_lossy(text);
                self.parse(&text, event, context)
            }
            _ => Err(Failed),
        };
        match parsed {
            Ok(true) => Outcome::Applied,
            Ok(false) => Outcome::Unapplied,
            Err(Failed) => {
                event.tag(FAILURE, context.arena);
                Outcome::Unapplied
            }
        }
    }
}

/// Whether elements are nested deeper than allowed.
fn is_deeper(document: &Document<'_>, most: usize) -> bool {
    let mut depth = 0;
    let mut node = document.root();
    loop {
        if let Some(child) = node.first_child() {
            depth += 1;
            if child.is_element() && depth > most {
                return true;
            }
            node = child;
            continue;
        }
        loop {
            if let Some(next) = node.next_sibling() {
                node = next;
                break;
            }
            match node.parent() {
                Some(parent) => node = parent,
                None => return false,
            }
            depth -= 1;
        }
    }
}

/// The namespaces that an element declares: prefixes and what they stand for.
fn declared<'d>(element: Node<'d, 'd>) -> impl Iterator<Item = (Option<&'d str>, &'d str)> {
    let parent = element.parent_element();
    element.namespaces().filter_map(move |namespace| {
        let (prefix, uri) = (namespace.name(), namespace.uri());
        let inherited = parent.is_some_and(|parent| {
            parent
                .namespaces()
                .any(|known| known.name() == prefix && known.uri() == uri)
        });
        (!inherited && prefix != Some("xml")).then_some((prefix, uri))
    })
}

/// A name with its prefix.
fn name(element: Node<'_, '_>, namespace: Option<&str>, local: &str) -> String {
    match namespace.and_then(|uri| element.lookup_prefix(uri)) {
        Some(prefix) if !prefix.is_empty() => format!("{prefix}:{local}"),
        _ => local.to_owned(),
    }
}

/// Writes a node as XML.
fn write_node(node: Node<'_, '_>, level: usize, indented: bool, bare: bool, out: &mut String) {
    if node.is_text() {
        escape(node.text().unwrap_or_default(), false, out);
        return;
    }
    if node.is_comment() {
        out.push_str("<!--");
        out.push_str(node.text().unwrap_or_default());
        out.push_str("-->");
        return;
    }
    if let Some(instruction) = node.pi() {
        out.push_str("<?");
        out.push_str(instruction.target);
        if let Some(value) = instruction.value {
            out.push(' ');
            out.push_str(value);
        }
        out.push_str("?>");
        return;
    }
    if node.is_root() {
        for child in node.children() {
            write_node(child, level, indented, bare, out);
        }
        return;
    }
    let tag = node.tag_name();
    let qualified = |namespace, local: &str| {
        if bare {
            local.to_owned()
        } else {
            name(node, namespace, local)
        }
    };
    let own = qualified(tag.namespace(), tag.name());
    out.push('<');
    out.push_str(&own);
    if !bare {
        for (prefix, uri) in declared(node) {
            out.push_str(" xmlns");
            if let Some(prefix) = prefix {
                out.push(':');
                out.push_str(prefix);
            }
            out.push_str("=\"");
            escape(uri, true, out);
            out.push('"');
        }
    }
    for attribute in node.attributes() {
        out.push(' ');
        out.push_str(&qualified(attribute.namespace(), attribute.name()));
        out.push_str("=\"");
        escape(attribute.value(), true, out);
        out.push('"');
    }
    if !node.has_children() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    let indented = indented && !node.children().any(|child| child.is_text());
    let line = |level: usize, out: &mut String| {
        if indented {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        }
    };
    for child in node.children() {
        line(level + 1, out);
        write_node(child, level + 1, indented, bare, out);
    }
    line(level, out);
    out.push_str("</");
    out.push_str(&own);
    out.push('>');
}

fn escape(text: &str, in_attribute: bool, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
}
