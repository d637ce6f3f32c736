//! Runs `XPath` expressions on a document.
//!
//! INVARIANT: a run visits at most so many nodes as its budget says; then it fails, whatever the
//! expression and the document are.

use std::collections::HashSet;

use roxmltree::{Attribute, Document, Node, NodeType};

use super::xpath::{Axis, Comparison, Expression, Function, Operation, Path, Start, Step, Test};

/// A node of a document. Attributes are nodes in `XPath`.
#[derive(Debug, Clone, Copy)]
pub(super) enum XNode<'d> {
    Node(Node<'d, 'd>),
    /// An attribute and its number in its element.
    Attribute(Node<'d, 'd>, Attribute<'d, 'd>, usize),
}

/// What an expression comes to.
#[derive(Debug, Clone)]
pub(super) enum Outcome<'d> {
    Nodes(Vec<XNode<'d>>),
    Text(String),
    Number(f64),
    Boolean(bool),
}

/// Why there is nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Too many nodes were visited.
    TooLong,
    /// A prefix stands for no namespace.
    UnknownPrefix,
    /// Nodes were expected.
    NoNodes,
}

/// How names are understood.
#[derive(Debug)]
pub(super) struct Names<'n> {
    /// Prefixes and what they stand for; if there are none, those of the root element.
    pub(super) namespaces: &'n [(String, String)],
    /// Namespaces do not count.
    pub(super) removed: bool,
}

/// One run.
pub(super) struct Evaluator<'d, 'n> {
    pub(super) document: &'d Document<'d>,
    pub(super) names: &'n Names<'n>,
    /// How many nodes may still be visited.
    pub(super) budget: usize,
}

#[derive(Clone, Copy)]
struct At<'d> {
    node: XNode<'d>,
    position: usize,
    size: usize,
}

impl<'d> Evaluator<'d, '_> {
    /// What the expression comes to at the root of the document.
    pub(super) fn run(&mut self, expression: &Expression) -> Result<Outcome<'d>, Fault> {
        let at = At {
            node: XNode::Node(self.document.root()),
            position: 1,
            size: 1,
        };
        self.evaluate(expression, at)
    }

    fn visit(&mut self, nodes: usize) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(nodes).ok_or(Fault::TooLong)?;
        Ok(())
    }

    fn evaluate(&mut self, expression: &Expression, at: At<'d>) -> Result<Outcome<'d>, Fault> {
        self.visit(1)?;
        Ok(match expression {
            Expression::Or(left, right) => Outcome::Boolean(
                self.evaluate(left, at)?.boolean() || self.evaluate(right, at)?.boolean(),
            ),
            Expression::And(left, right) => Outcome::Boolean(
                self.evaluate(left, at)?.boolean() && self.evaluate(right, at)?.boolean(),
            ),
            Expression::Compare(comparison, left, right) => {
                let (left, right) = (self.evaluate(left, at)?, self.evaluate(right, at)?);
                Outcome::Boolean(self.compare(*comparison, &left, &right)?)
            }
            Expression::Calculate(operation, left, right) => {
                let left = self.evaluate(left, at)?.number();
                let right = self.evaluate(right, at)?.number();
                Outcome::Number(match operation {
                    Operation::Add => left + right,
                    Operation::Subtract => left - right,
                    Operation::Multiply => left * right,
                    Operation::Divide => left / right,
                    Operation::Remainder => left % right,
                })
            }
            Expression::Negate(inner) => Outcome::Number(-self.evaluate(inner, at)?.number()),
            Expression::Union(left, right) => {
                let mut nodes = self.evaluate(left, at)?.nodes()?;
                nodes.extend(self.evaluate(right, at)?.nodes()?);
                Outcome::Nodes(in_order(nodes))
            }
            Expression::Path(path) => Outcome::Nodes(self.path(path, at)?),
            Expression::Text(text) => Outcome::Text(text.clone()),
            Expression::Number(number) => Outcome::Number(*number),
            Expression::Call(function, arguments) => self.call(*function, arguments, at)?,
        })
    }

    fn path(&mut self, path: &Path, at: At<'d>) -> Result<Vec<XNode<'d>>, Fault> {
        let mut nodes = match &path.start {
            Start::Root => vec![XNode::Node(self.document.root())],
            Start::Context => vec![at.node],
            Start::Nodes(expression, predicates) => {
                let mut nodes = self.evaluate(expression, at)?.nodes()?;
                for predicate in predicates {
                    nodes = self.pick(nodes, predicate)?;
                }
                nodes
            }
        };
        for step in &path.steps {
            let mut next = Vec::new();
            for node in nodes {
                let mut found = self.axis(node, step)?;
                for predicate in &step.predicates {
                    found = self.pick(found, predicate)?;
                }
                next.extend(found);
            }
            nodes = in_order(next);
        }
        Ok(nodes)
    }

    /// The nodes for which the predicate holds.
    fn pick(
        &mut self,
        nodes: Vec<XNode<'d>>,
        predicate: &Expression,
    ) -> Result<Vec<XNode<'d>>, Fault> {
        let size = nodes.len();
        let mut picked = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let position = index + 1;
            let at = At {
                node,
                position,
                size,
            };
            let holds = match self.evaluate(predicate, at)? {
                Outcome::Number(number) => (number - position as f64).abs() < f64::EPSILON,
                other => other.boolean(),
            };
            if holds {
                picked.push(node);
            }
        }
        Ok(picked)
    }

    /// The nodes of a step from one node on, nearest first.
    fn axis(&mut self, from: XNode<'d>, step: &Step) -> Result<Vec<XNode<'d>>, Fault> {
        let mut found = Vec::new();
        let node = match from {
            XNode::Node(node) => node,
            XNode::Attribute(element, ..) => {
                // An attribute has no other axes.
                match step.axis {
                    Axis::SelfNode | Axis::DescendantOrSelf if step.test == Test::Any => {
                        found.push(from);
                    }
                    Axis::Parent => self.keep(XNode::Node(element), &step.test, &mut found)?,
                    Axis::Ancestor | Axis::AncestorOrSelf => {
                        for node in element.ancestors() {
                            self.keep(XNode::Node(node), &step.test, &mut found)?;
                        }
                    }
                    _ => {}
                }
                return Ok(found);
            }
        };
        let test = &step.test;
        match step.axis {
            Axis::Child => self.keep_all(node.children(), test, &mut found)?,
            Axis::Descendant => self.keep_all(node.descendants().skip(1), test, &mut found)?,
            Axis::DescendantOrSelf => self.keep_all(node.descendants(), test, &mut found)?,
            Axis::SelfNode => self.keep(from, test, &mut found)?,
            Axis::Parent => self.keep_all(node.parent().into_iter(), test, &mut found)?,
            Axis::Ancestor => self.keep_all(node.ancestors().skip(1), test, &mut found)?,
            Axis::AncestorOrSelf => self.keep_all(node.ancestors(), test, &mut found)?,
            Axis::FollowingSibling => {
                self.keep_all(node.next_siblings().skip(1), test, &mut found)?;
            }
            Axis::PrecedingSibling => {
                self.keep_all(node.prev_siblings().skip(1), test, &mut found)?;
            }
            Axis::Attribute => {
                for (number, attribute) in node.attributes().enumerate() {
                    let attribute = XNode::Attribute(node, attribute, number);
                    self.keep(attribute, test, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn keep_all(
        &mut self,
        nodes: impl Iterator<Item = Node<'d, 'd>>,
        test: &Test,
        found: &mut Vec<XNode<'d>>,
    ) -> Result<(), Fault> {
        for node in nodes {
            self.keep(XNode::Node(node), test, found)?;
        }
        Ok(())
    }

    fn keep(
        &mut self,
        node: XNode<'d>,
        test: &Test,
        found: &mut Vec<XNode<'d>>,
    ) -> Result<(), Fault> {
        self.visit(1)?;
        let passes = match (test, node) {
            (Test::Any, _) => true,
            (Test::Text, XNode::Node(node)) => node.is_text(),
            (Test::Comment, XNode::Node(node)) => node.is_comment(),
            (Test::Instruction, XNode::Node(node)) => node.is_pi(),
            (Test::Name(prefix, name), XNode::Node(node)) => {
                let tag = node.tag_name();
                node.is_element()
                    && name.as_deref().is_none_or(|name| name == tag.name())
                    && self.is_in(tag.namespace(), prefix.as_deref(), name.is_some())?
            }
            (Test::Name(prefix, name), XNode::Attribute(_, attribute, _)) => {
                name.as_deref().is_none_or(|name| name == attribute.name())
                    && self.is_in(attribute.namespace(), prefix.as_deref(), name.is_some())?
            }
            _ => false,
        };
        if passes {
            found.push(node);
        }
        Ok(())
    }

    /// Whether a namespace is that of a prefix. A name without a prefix is in none; `*` in any.
    fn is_in(
        &self,
        namespace: Option<&str>,
        prefix: Option<&str>,
        named: bool,
    ) -> Result<bool, Fault> {
        if self.names.removed {
            return match prefix {
                None => Ok(true),
                Some(_) => Err(Fault::UnknownPrefix),
            };
        }
        let Some(prefix) = prefix else {
            return Ok(!named || namespace.is_none());
        };
        if prefix == "xml" {
            return Ok(namespace == Some("http://www.w3.org/XML/1998/namespace"));
        }
        let given = self.names.namespaces.iter();
        let mut given = given.filter(|(known, _)| known == prefix);
        let uri = match given.next() {
            Some((_, uri)) => Some(uri.as_str()),
            None if !self.names.namespaces.is_empty() => None,
            // COMPAT: as in Nokogiri `xmlns` stands for the default namespace of the root.
            None => {
                let root = self.document.root_element();
                root.lookup_namespace_uri((prefix != "xmlns").then_some(prefix))
            }
        };
        Ok(namespace == Some(uri.ok_or(Fault::UnknownPrefix)?))
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: &Outcome<'d>,
        right: &Outcome<'d>,
    ) -> Result<bool, Fault> {
        #[expect(clippy::float_cmp, reason = "that is what the operators mean")]
        let by_number = |left: f64, right: f64| match comparison {
            Comparison::Equal => left == right,
            Comparison::Unequal => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        let by_text = |left: &str, right: &str| {
            if ordered {
                by_number(number_of(left), number_of(right))
            } else {
                (left == right) == (comparison == Comparison::Equal)
            }
        };
        // Nodes: whether it holds for any of them.
        match (left, right) {
            (Outcome::Nodes(lefts), Outcome::Nodes(rights)) => {
                self.visit(lefts.len().saturating_mul(rights.len()))?;
                let rights: Vec<_> = rights.iter().map(XNode::text).collect();
                Ok(lefts.iter().any(|left| {
                    let left = left.text();
                    rights.iter().any(|right| by_text(&left, right))
                }))
            }
            (Outcome::Nodes(nodes), other) | (other, Outcome::Nodes(nodes)) => {
                let nodes_left = matches!(left, Outcome::Nodes(_));
                self.visit(nodes.len())?;
                if let Outcome::Boolean(boolean) = other {
                    let (is_any, boolean) = (!nodes.is_empty(), *boolean);
                    let number = |boolean: bool| f64::from(u8::from(boolean));
                    return Ok(if nodes_left {
                        by_number(number(is_any), number(boolean))
                    } else {
                        by_number(number(boolean), number(is_any))
                    });
                }
                Ok(nodes.iter().any(|node| {
                    let text = node.text();
                    match (other, nodes_left) {
                        (Outcome::Number(number), true) => by_number(number_of(&text), *number),
                        (Outcome::Number(number), false) => by_number(*number, number_of(&text)),
                        (other, true) => by_text(&text, &other.text()),
                        (other, false) => by_text(&other.text(), &text),
                    }
                }))
            }
            _ if ordered => Ok(by_number(left.number(), right.number())),
            (Outcome::Boolean(_), _) | (_, Outcome::Boolean(_)) => {
                Ok((left.boolean() == right.boolean()) == (comparison == Comparison::Equal))
            }
            (Outcome::Number(_), _) | (_, Outcome::Number(_)) => {
                Ok(by_number(left.number(), right.number()))
            }
            _ => Ok(by_text(&left.text(), &right.text())),
        }
    }

    fn call(
        &mut self,
        function: Function,
        arguments: &[Expression],
        at: At<'d>,
    ) -> Result<Outcome<'d>, Fault> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.evaluate(argument, at)?);
        }
        let own = Outcome::Nodes(vec![at.node]);
        let first = values.first().unwrap_or(&own);
        let text = |index: usize| values.get(index).map(Outcome::text).unwrap_or_default();
        // Texts of nodes cost as much as what is below them.
        if let Outcome::Nodes(nodes) = first {
            self.visit(nodes.len())?;
        }
        Ok(match function {
            Function::Last => Outcome::Number(at.size as f64),
            Function::Position => Outcome::Number(at.position as f64),
            Function::Count => Outcome::Number(first.clone().nodes()?.len() as f64),
            Function::LocalName | Function::Name | Function::NamespaceUri => {
                let nodes = first.clone().nodes()?;
                let name = nodes.first().map(|node| match function {
                    Function::LocalName => node.local_name().to_owned(),
                    Function::Name => node.name(),
                    _ => node.namespace().unwrap_or_default().to_owned(),
                });
                Outcome::Text(name.unwrap_or_default())
            }
            Function::String => Outcome::Text(first.text()),
            Function::Concat => Outcome::Text(values.iter().map(Outcome::text).collect()),
            Function::StartsWith => Outcome::Boolean(text(0).starts_with(&text(1))),
            Function::Contains => Outcome::Boolean(text(0).contains(&text(1))),
            Function::SubstringBefore | Function::SubstringAfter => {
                let (whole, part) = (text(0), text(1));
                let split = whole.split_once(&part);
                Outcome::Text(match (split, function) {
                    (Some((before, _)), Function::SubstringBefore) => before.to_owned(),
                    (Some((_, after)), _) => after.to_owned(),
                    (None, _) => String::new(),
                })
            }
            Function::Substring => {
                let start = round(values.get(1).map_or(f64::NAN, Outcome::number));
                let end = match values.get(2) {
                    Some(length) => start + round(length.number()),
                    None => f64::INFINITY,
                };
                let characters = text(0);
                let characters = characters.chars().enumerate();
                let kept = characters.filter(|(index, _)| {
                    let position = (*index + 1) as f64;
                    position >= start && position < end
                });
                Outcome::Text(kept.map(|(_, character)| character).collect())
            }
            Function::StringLength => Outcome::Number(first.text().chars().count() as f64),
            Function::NormalizeSpace => {
                let text = first.text();
                let words: Vec<_> = text.split_ascii_whitespace().collect();
                Outcome::Text(words.join(" "))
            }
            Function::Boolean => Outcome::Boolean(first.boolean()),
            Function::Not => Outcome::Boolean(!first.boolean()),
            Function::True => Outcome::Boolean(true),
            Function::False => Outcome::Boolean(false),
            Function::Number => Outcome::Number(first.number()),
            Function::Sum => {
                let nodes = first.clone().nodes()?;
                Outcome::Number(nodes.iter().map(|node| number_of(&node.text())).sum())
            }
            Function::Floor => Outcome::Number(first.number().floor()),
            Function::Ceiling => Outcome::Number(first.number().ceil()),
            Function::Round => Outcome::Number(round(first.number())),
        })
    }
}

impl<'d> Outcome<'d> {
    fn nodes(self) -> Result<Vec<XNode<'d>>, Fault> {
        match self {
            Self::Nodes(nodes) => Ok(nodes),
            _ => Err(Fault::NoNodes),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Nodes(nodes) => nodes.first().map(XNode::text).unwrap_or_default(),
            Self::Text(text) => text.clone(),
            Self::Number(number) if number.is_infinite() && *number > 0.0 => "Infinity".into(),
            Self::Number(number) if number.is_infinite() => "-Infinity".into(),
            // No minus before a zero.
            Self::Number(number) if *number == 0.0 => "0".into(),
            Self::Number(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Boolean(boolean) => f64::from(u8::from(*boolean)),
            other => number_of(&other.text()),
        }
    }

    fn boolean(&self) -> bool {
        match self {
            Self::Nodes(nodes) => !nodes.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Boolean(boolean) => *boolean,
        }
    }
}

impl<'d> XNode<'d> {
    /// The text below the node.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Attribute(_, attribute, _) => attribute.value().to_owned(),
            Self::Node(node) => match node.node_type() {
                NodeType::Text | NodeType::Comment => node.text().unwrap_or_default().to_owned(),
                NodeType::PI => {
                    let value = node.pi().and_then(|instruction| instruction.value);
                    value.unwrap_or_default().to_owned()
                }
                NodeType::Root | NodeType::Element => node
                    .descendants()
                    .filter(Node::is_text)
                    .filter_map(|text| text.text())
                    .collect(),
            },
        }
    }

    fn local_name(&self) -> &'d str {
        match self {
            Self::Attribute(_, attribute, _) => attribute.name(),
            Self::Node(node) => node.tag_name().name(),
        }
    }

    fn namespace(&self) -> Option<&'d str> {
        match self {
            Self::Attribute(_, attribute, _) => attribute.namespace(),
            Self::Node(node) => node.tag_name().namespace(),
        }
    }

    fn name(&self) -> String {
        let (Self::Node(element) | Self::Attribute(element, ..)) = self;
        super::name(*element, self.namespace(), self.local_name())
    }

    fn key(&self) -> (u32, usize) {
        match self {
            Self::Node(node) => (node.id().get(), 0),
            Self::Attribute(node, _, number) => (node.id().get(), number + 1),
        }
    }
}

/// The nodes in the order of the document, each once.
fn in_order(mut nodes: Vec<XNode<'_>>) -> Vec<XNode<'_>> {
    if nodes.windows(2).all(|pair| pair[0].key() < pair[1].key()) {
        return nodes;
    }
    let mut seen = HashSet::with_capacity(nodes.len());
    nodes.retain(|node| seen.insert(node.key()));
    nodes.sort_by_key(XNode::key);
    nodes
}

fn number_of(text: &str) -> f64 {
    let text = text.trim_matches(|character| matches!(character, ' ' | '\t' | '\r' | '\n'));
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        text.parse().unwrap_or(f64::NAN)
    } else {
        f64::NAN
    }
}

/// Halves go up.
fn round(number: f64) -> f64 {
    (number + 0.5).floor()
}
