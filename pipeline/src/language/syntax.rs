//! The tree of a parsed configuration.
//!
//! It says what was written, nothing about what plugins exist or what their options mean; that
//! is for whoever compiles it. Every node keeps its place so that later stages can point at it.
//! Escapes are already processed (if asked for) and field references are already parsed.
//!
//! INVARIANT: no tree is nested deeper than [`super::MAX_DEPTH`] levels, so that walking it
//! recursively is safe.

use super::field_reference::FieldReference;
use super::source::{Span, Spanned};

/// A whole pipeline: the sections of all its files, merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// What stands in `input` sections, in order.
    pub inputs: Vec<Statement>,
    /// What stands in `filter` sections, in order.
    pub filters: Vec<Statement>,
    /// What stands in `output` sections, in order.
    pub outputs: Vec<Statement>,
}

/// The kind of a section, and so of the plugins in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// Where events come from.
    Input,
    /// What happens to them.
    Filter,
    /// Where they go.
    Output,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Filter, Self::Output];

    /// The word that opens such a section.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Filter => "filter",
            Self::Output => "output",
        }
    }
}

impl Config {
    /// The statements of one kind of section.
    pub fn section(&self, section: Section) -> &[Statement] {
        match section {
            Section::Input => &self.inputs,
            Section::Filter => &self.filters,
            Section::Output => &self.outputs,
        }
    }

    /// The statements of one kind of section, to change them.
    pub fn section_mut(&mut self, section: Section) -> &mut Vec<Statement> {
        match section {
            Section::Input => &mut self.inputs,
            Section::Filter => &mut self.filters,
            Section::Output => &mut self.outputs,
        }
    }
}

/// One thing that stands in a section or a branch.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// A plugin with its options.
    Plugin(Plugin),
    /// `if … { } else if … { } else { }`.
    If(If),
}

impl Statement {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Plugin(plugin) => plugin.span,
            Self::If(statement) => statement.span,
        }
    }
}

/// A chain of branches; the first whose condition holds is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct If {
    /// `if`, then each `else if`: never empty.
    pub branches: Vec<Branch>,
    /// The body of `else`; `None` where there is none.
    pub otherwise: Option<Vec<Statement>>,
    /// From `if` to the last closing brace.
    pub span: Span,
}

/// One condition with what it guards.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The condition.
    pub condition: Condition,
    /// What happens if it holds.
    pub body: Vec<Statement>,
    /// From `if` to the closing brace.
    pub span: Span,
}

/// `name { option => value … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// The plugin's name.
    pub name: Spanned<String>,
    /// The options, in order; repeated ones are already joined, so names are unequal.
    pub attributes: Vec<Attribute>,
    /// From the name to the closing brace.
    pub span: Span,
}

/// `name => value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The option's name.
    pub name: Spanned<String>,
    /// The option's value.
    pub value: Spanned<Value>,
}

/// What can stand right of `=>`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `5`, `-5`, `1.5`.
    Number(Number),
    /// A word without quotes: `true`, `plain`.
    Bareword(String),
    /// Text in quotes, without them.
    String(String),
    /// `[ a, b ]`.
    Array(Vec<Spanned<Self>>),
    /// `{ a => b }`, in order; the keys are unequal.
    Hash(Vec<HashEntry>),
    /// `json { … }`, as in `codec => json { … }`.
    Plugin(Box<Plugin>),
}

impl Value {
    /// The text of a bareword or a string, which mean the same everywhere.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bareword(text) | Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether two values mean the same, wherever and however they were written.
    pub fn means_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left == right,
            (Self::Array(left), Self::Array(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(a, b)| a.value.means_same(&b.value))
            }
            (Self::Hash(left), Self::Hash(right)) => {
                let same_entry = |(a, b): (&HashEntry, &HashEntry)| {
                    a.key_text() == b.key_text() && a.value.value.means_same(&b.value.value)
                };
                left.len() == right.len() && left.iter().zip(right).all(same_entry)
            }
            (Self::Plugin(left), Self::Plugin(right)) => {
                let same_attribute = |(a, b): (&Attribute, &Attribute)| {
                    a.name.value == b.name.value && a.value.value.means_same(&b.value.value)
                };
                left.name.value == right.name.value
                    && left.attributes.len() == right.attributes.len()
                    && left
                        .attributes
                        .iter()
                        .zip(&right.attributes)
                        .all(same_attribute)
            }
            _ => self.as_text().is_some() && self.as_text() == other.as_text(),
        }
    }

    /// What to call this kind of value in a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Bareword(_) => "a word",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Hash(_) => "a hash",
            Self::Plugin(_) => "a plugin",
        }
    }
}

/// `key => value` of a hash.
#[derive(Debug, Clone, PartialEq)]
pub struct HashEntry {
    /// The key: a number, a bareword or a string.
    pub key: Spanned<Value>,
    /// The value.
    pub value: Spanned<Value>,
}

impl HashEntry {
    /// The key as text; a number is printed.
    pub fn key_text(&self) -> String {
        match &self.key.value {
            Value::Number(number) => number.to_string(),
            Value::Bareword(text) | Value::String(text) => text.clone(),
            Value::Array(_) | Value::Hash(_) | Value::Plugin(_) => String::new(),
        }
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Without a point.
    Integer(i64),
    /// With a point, or too big for 64 bits.
    Decimal(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(integer) => write!(formatter, "{integer}"),
            // `{:?}` keeps the point of a whole decimal, as Ruby does: `5.0`.
            Self::Decimal(decimal) => write!(formatter, "{decimal:?}"),
        }
    }
}

/// A condition with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What it says.
    pub kind: ConditionKind,
    /// Where it stands, parentheses included.
    pub span: Span,
}

impl Condition {
    /// Calls `each` with its comparisons, in the order in which they are written.
    pub fn for_leaves<'c>(&'c self, each: &mut dyn FnMut(&'c Self)) {
        match &self.kind {
            ConditionKind::And(all) | ConditionKind::Or(all) => {
                for condition in all {
                    condition.for_leaves(each);
                }
            }
            ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
                left.for_leaves(each);
                right.for_leaves(each);
            }
            ConditionKind::Not(inner) => inner.for_leaves(each),
            _ => each(self),
        }
    }
}

/// What a condition can say.
#[derive(Debug, Clone, PartialEq)]
pub enum ConditionKind {
    /// All hold; two or more, evaluated left to right.
    And(Vec<Condition>),
    /// At least one holds; two or more, evaluated left to right.
    Or(Vec<Condition>),
    /// Exactly one of two holds.
    Xor(Box<Condition>, Box<Condition>),
    /// Not both hold.
    Nand(Box<Condition>, Box<Condition>),
    /// `!`.
    Not(Box<Condition>),
    /// `==`, `<` and the like.
    Compare {
        /// The operator.
        operator: CompareOperator,
        /// Left side.
        left: Operand,
        /// Right side.
        right: Operand,
    },
    /// `=~` and `!~`.
    Match {
        /// Whether it was `!~`.
        negated: bool,
        /// What is searched: a field or a string.
        subject: Operand,
        /// The regular expression, without slashes or quotes.
        pattern: Spanned<String>,
    },
    /// `in` and `not in`.
    In {
        /// Whether it was `not in`.
        negated: bool,
        /// What is looked for.
        needle: Operand,
        /// Where it is looked for.
        haystack: Operand,
    },
    /// A field that is there and is neither null nor false; a constant.
    Truthy(Operand),
}

/// `==` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOperator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl CompareOperator {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One side of an operator, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Where it stands.
    pub span: Span,
}

/// What an operand can be.
#[derive(Debug, Clone, PartialEq)]
pub enum OperandKind {
    /// The value of a field.
    Field(FieldReference),
    /// A constant text.
    String(String),
    /// A constant number.
    Number(Number),
    /// A constant list. Its elements are never plugins.
    Array(Vec<Spanned<Value>>),
}
