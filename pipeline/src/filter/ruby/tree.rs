//! The tree that Ruby code is read into.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Nil,
    True,
    False,
    Integer(i64),
    Float(f64),
    Text(String),
    /// Texts and values, joined.
    Joined(Vec<Self>),
    Regex(String),
    Array(Vec<Self>),
    Hash(Vec<(Self, Self)>),
    /// A variable of the code, or `event`.
    Name(String),
    /// `@x`, `$1`.
    Variable(String),
    Constant(String),
    Call(Box<Call>),
    Index(Box<Self>, Vec<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Binary(&'static str, Box<Self>, Box<Self>),
    Range(Box<Self>, Box<Self>, bool),
    /// Target, operator (empty for `=`), value.
    Assign(Box<Self>, &'static str, Box<Self>),
    If(Box<Self>, Vec<Statement>, Vec<Statement>),
    While(Box<Self>, Vec<Statement>),
    Case(Box<Self>, Vec<(Vec<Self>, Vec<Statement>)>, Vec<Statement>),
    /// Body, name of the fault, what to do then.
    Rescue(Vec<Statement>, Option<String>, Vec<Statement>),
    Return(Option<Box<Self>>),
    Next,
    Break,
}

/// A statement, with the line it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) node: Node,
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) receiver: Option<Node>,
    pub(super) name: String,
    pub(super) arguments: Vec<Node>,
    pub(super) block: Option<Block>,
    pub(super) is_safe: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) names: Vec<String>,
    pub(super) body: Vec<Statement>,
}
