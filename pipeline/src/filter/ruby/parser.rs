//! The part of Ruby that the code of filters is written in, as a tree.
//!
//! Read are statements, conditions, loops over what is in a field, blocks, and calls with arguments;
//! what a call means is the business of [`super::lua`]. What is not read is refused with its line.
//!
//! INVARIANT: nesting is bounded by [`MAX_NESTING`].

use super::lexer::{Kind, Part, Refusal, Token, tokens};
use super::tree::{Block, Call, Node, Statement};
use crate::regex_dialect::Regex;

/// How deep code may be nested.
pub(super) const MAX_NESTING: usize = 60;

/// Reads code.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Refusal> {
    Parser::of(text, 0)?.all()
}

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) nesting: usize,
    /// Braces behind a name are no block here: the condition of an `if`.
    pub(super) no_do: bool,
}

pub(super) type Parsed = Result<Node, Refusal>;

const MODIFIERS: [&str; 5] = ["if", "unless", "while", "until", "rescue"];

impl Parser {
    fn of(text: &str, nesting: usize) -> Result<Self, Refusal> {
        Ok(Self {
            tokens: tokens(text)?,
            at: 0,
            nesting,
            no_do: false,
        })
    }

    fn all(mut self) -> Result<Vec<Statement>, Refusal> {
        let statements = self.block(&[])?;
        match self.peek() {
            Kind::End => Ok(statements),
            _ => self.unexpected(),
        }
    }

    pub(super) fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    pub(super) fn line(&self) -> usize {
        self.tokens[self.at].line
    }

    pub(super) fn next(&mut self) -> Kind {
        let kind = self.tokens[self.at].kind.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        kind
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Kind::Sign(there) if *there == sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(there) if there == word)
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let is_it = self.is_sign(sign);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Refusal> {
        if self.take(sign) {
            Ok(())
        } else {
            self.refuse(format!("expected `{sign}`"))
        }
    }

    fn expect_end(&mut self) -> Result<(), Refusal> {
        if self.take_word("end") {
            Ok(())
        } else {
            self.refuse("expected `end`")
        }
    }

    pub(super) fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal {
            line: self.line(),
            reason: reason.into(),
        })
    }

    pub(super) fn unexpected<T>(&self) -> Result<T, Refusal> {
        let found = match self.peek() {
            Kind::Word(word) | Kind::Constant(word) | Kind::Variable(word) => format!("`{word}`"),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::Symbol(name) => format!("`:{name}`"),
            Kind::Label(name) => format!("`{name}:`"),
            Kind::Integer(_) | Kind::Float(_) => "a number".into(),
            Kind::Text(_) | Kind::Words(_) => "a text".into(),
            Kind::Regex(_) => "a regular expression".into(),
            Kind::Break => "the end of the line".into(),
            Kind::End => "the end".into(),
        };
        self.refuse(format!("{found} is not read here"))
    }

    pub(super) fn deeper(&mut self) -> Result<(), Refusal> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.refuse("nested too deep");
        }
        Ok(())
    }

    pub(super) fn skip_breaks(&mut self) {
        while *self.peek() == Kind::Break {
            self.at += 1;
        }
    }

    /// Statements up to one of these words or signs, or the end.
    pub(super) fn block(&mut self, ends: &[&str]) -> Result<Vec<Statement>, Refusal> {
        self.deeper()?;
        let outer = std::mem::replace(&mut self.no_do, false);
        let mut statements = Vec::new();
        let is_end = |kind: &Kind| match kind {
            Kind::End => true,
            Kind::Word(word) => ends.contains(&word.as_str()),
            Kind::Sign(sign) => ends.contains(sign),
            _ => false,
        };
        loop {
            self.skip_breaks();
            if is_end(self.peek()) {
                break;
            }
            let line = self.line();
            let node = self.statement()?;
            statements.push(Statement { node, line });
            if *self.peek() != Kind::Break && !is_end(self.peek()) {
                return self.unexpected();
            }
        }
        self.no_do = outer;
        self.nesting -= 1;
        Ok(statements)
    }

    /// An expression with what stands behind it: `… if …`.
    fn statement(&mut self) -> Parsed {
        let line = self.line();
        let mut node = self.low()?;
        let body = |node| vec![Statement { node, line }];
        while let Kind::Word(word) = self.peek()
            && MODIFIERS.contains(&word.as_str())
        {
            let word = word.clone();
            self.at += 1;
            let condition = self.low()?;
            node = match word.as_str() {
                "if" => Node::If(condition.into(), body(node), Vec::new()),
                "unless" => Node::If(condition.into(), Vec::new(), body(node)),
                "while" => Node::While(condition.into(), body(node)),
                "until" => Node::While(Node::Not(condition.into()).into(), body(node)),
                _ => Node::Rescue(body(node), None, body(condition)),
            };
        }
        Ok(node)
    }

    /// `not`, `and`, `or`: the weakest.
    pub(super) fn low(&mut self) -> Parsed {
        self.deeper()?;
        let mut left = if self.take_word("not") {
            Node::Not(self.low()?.into())
        } else {
            self.expression()?
        };
        loop {
            let is_and = self.take_word("and");
            if !is_and && !self.take_word("or") {
                break;
            }
            self.skip_breaks();
            let right = if self.take_word("not") {
                Node::Not(self.expression()?.into())
            } else {
                self.expression()?
            };
            left = if is_and {
                Node::And(left.into(), right.into())
            } else {
                Node::Or(left.into(), right.into())
            };
        }
        self.nesting -= 1;
        Ok(left)
    }

    pub(super) fn postfix(&mut self) -> Parsed {
        let mut node = self.primary()?;
        let mut length = 0;
        loop {
            length += 1;
            if length > MAX_NESTING {
                return self.refuse("nested too deep");
            }
            let spaced = self.tokens[self.at].spaced;
            if self.is_sign("[") && !spaced {
                self.at += 1;
                let arguments = self.list("]")?;
                node = Node::Index(node.into(), arguments);
            } else if self.is_sign(".") || self.is_sign("&.") {
                let is_safe = self.is_sign("&.");
                self.at += 1;
                self.skip_breaks();
                let name = match self.next() {
                    Kind::Word(name) | Kind::Constant(name) => name,
                    // `.call` without its name.
                    Kind::Sign("(") => {
                        self.at -= 1;
                        "call".into()
                    }
                    _ => {
                        self.at = self.at.saturating_sub(1);
                        return self.unexpected();
                    }
                };
                node = self.call(Some(node), name, is_safe)?;
            } else if self.is_sign("::") {
                self.at += 1;
                match (node, self.next()) {
                    (Node::Constant(outer), Kind::Constant(inner)) => {
                        node = Node::Constant(format!("{outer}::{inner}"));
                    }
                    (receiver, Kind::Word(name)) => {
                        node = self.call(Some(receiver), name, false)?;
                    }
                    _ => return self.refuse("`::` is not read here"),
                }
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let line = self.line();
        Ok(match self.next() {
            Kind::Integer(value) => Node::Integer(value),
            Kind::Float(value) => Node::Float(value),
            Kind::Symbol(name) => Node::Text(name),
            Kind::Regex(pattern) => {
                if let Err(error) = Regex::new(&pattern) {
                    let reason = format!("regular expression: {error}");
                    return Err(Refusal { line, reason });
                }
                Node::Regex(pattern)
            }
            Kind::Variable(name) => Node::Variable(name),
            Kind::Constant(name) => {
                if self.is_sign("(") && !self.tokens[self.at].spaced {
                    return self.call(None, name, false);
                }
                Node::Constant(name)
            }
            Kind::Words(words) => Node::Array(words.into_iter().map(Node::Text).collect()),
            Kind::Text(parts) => self.joined(parts)?,
            Kind::Sign("(") => {
                let outer = std::mem::replace(&mut self.no_do, false);
                self.skip_breaks();
                let node = self.statement()?;
                self.skip_breaks();
                self.expect(")")?;
                self.no_do = outer;
                node
            }
            Kind::Sign("[") => Node::Array(self.list("]")?),
            Kind::Sign("{") => {
                let mut pairs = Vec::new();
                loop {
                    self.skip_breaks();
                    if self.take("}") {
                        break;
                    }
                    let key = self.key()?;
                    pairs.push((key, self.expression()?));
                    self.skip_breaks();
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Node::Hash(pairs)
            }
            Kind::Word(word) => return self.word(word, line),
            _ => {
                self.at = self.at.saturating_sub(1);
                return self.unexpected();
            }
        })
    }

    fn joined(&mut self, parts: Vec<Part>) -> Parsed {
        let mut nodes = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => nodes.push(Node::Text(text)),
                Part::Code(code) => {
                    let line = self.line();
                    self.deeper()?;
                    let inner = Self::of(&code, self.nesting)
                        .and_then(Self::all)
                        .map_err(|refusal| Refusal { line, ..refusal })?;
                    self.nesting -= 1;
                    match <[Statement; 1]>::try_from(inner) {
                        Ok([statement]) => nodes.push(statement.node),
                        Err(_) => return self.refuse("`#{…}` must hold one value"),
                    }
                }
            }
        }
        Ok(match <[Node; 1]>::try_from(nodes) {
            Ok([text @ Node::Text(_)]) => text,
            Ok([other]) => Node::Joined(vec![other]),
            Err(nodes) => Node::Joined(nodes),
        })
    }

    fn word(&mut self, word: String, line: usize) -> Parsed {
        Ok(match word.as_str() {
            "nil" => Node::Nil,
            "true" => Node::True,
            "false" => Node::False,
            "if" => return self.conditional(),
            "unless" => {
                let condition = self.condition()?;
                let body = self.block(&["else", "end"])?;
                let otherwise = self.otherwise()?;
                Node::If(condition.into(), otherwise, body)
            }
            "while" | "until" => {
                let outer = std::mem::replace(&mut self.no_do, true);
                let mut condition = self.low()?;
                self.no_do = outer;
                self.take_word("do");
                if word == "until" {
                    condition = Node::Not(condition.into());
                }
                let body = self.block(&["end"])?;
                self.expect_end()?;
                Node::While(condition.into(), body)
            }
            "for" => {
                let mut names = Vec::new();
                while let Kind::Word(name) = self.peek().clone() {
                    self.at += 1;
                    if name == "in" {
                        break;
                    }
                    names.push(name);
                    self.take(",");
                }
                let outer = std::mem::replace(&mut self.no_do, true);
                let list = self.low()?;
                self.no_do = outer;
                self.take_word("do");
                let body = self.block(&["end"])?;
                self.expect_end()?;
                Node::Call(Box::new(Call {
                    receiver: Some(list),
                    name: "each".into(),
                    arguments: Vec::new(),
                    block: Some(Block { names, body }),
                    is_safe: false,
                }))
            }
            "case" => {
                let subject = self.low()?;
                self.skip_breaks();
                let mut cases = Vec::new();
                while self.take_word("when") {
                    let mut values = vec![self.ternary()?];
                    while self.take(",") {
                        self.skip_breaks();
                        values.push(self.ternary()?);
                    }
                    self.take_word("then");
                    cases.push((values, self.block(&["when", "else", "end"])?));
                }
                let otherwise = self.otherwise()?;
                Node::Case(subject.into(), cases, otherwise)
            }
            "begin" => {
                let body = self.block(&["rescue", "end", "ensure", "else"])?;
                let node = if self.take_word("rescue") {
                    while matches!(self.peek(), Kind::Constant(_))
                        || self.is_sign("::")
                        || self.is_sign(",")
                    {
                        self.at += 1;
                    }
                    let name = match self.take("=>").then(|| self.next()) {
                        Some(Kind::Word(name)) => Some(name),
                        Some(_) => return self.refuse("expected the name of the fault"),
                        None => None,
                    };
                    self.take_word("then");
                    let otherwise = self.block(&["rescue", "end", "ensure", "else"])?;
                    Node::Rescue(body, name, otherwise)
                } else {
                    Node::If(Node::True.into(), body, Vec::new())
                };
                self.expect_end()?;
                node
            }
            "return" => {
                let has_value = !matches!(self.peek(), Kind::Break | Kind::End | Kind::Sign("}"))
                    && !matches!(self.peek(), Kind::Word(word) if MODIFIERS.contains(&word.as_str()) || word == "end");
                Node::Return(if has_value {
                    Some(self.low()?.into())
                } else {
                    None
                })
            }
            "next" => Node::Next,
            "break" => Node::Break,
            "def" | "class" | "module" | "yield" | "lambda" | "proc" | "require" | "self"
            | "then" | "do" | "end" | "else" | "elsif" | "ensure" | "alias" | "undef" | "loop"
            | "super" | "redo" | "retry" => {
                return Err(Refusal {
                    line,
                    reason: format!("`{word}` is not read here"),
                });
            }
            _ => {
                let is_call = self.is_sign("(") && !self.tokens[self.at].spaced
                    || self.begins_argument()
                        && matches!(word.as_str(), "puts" | "print" | "p" | "raise" | "sleep");
                if is_call || word == "rand" || word == "raise" {
                    return self.call(None, word, false);
                }
                Node::Name(word)
            }
        })
    }

    fn condition(&mut self) -> Parsed {
        let condition = self.low()?;
        self.take_word("then");
        Ok(condition)
    }

    /// What follows `if` or `elsif`.
    fn conditional(&mut self) -> Parsed {
        self.deeper()?;
        let condition = self.condition()?;
        let body = self.block(&["elsif", "else", "end"])?;
        let line = self.line();
        let otherwise = if self.take_word("elsif") {
            let node = self.conditional()?;
            vec![Statement { node, line }]
        } else {
            self.otherwise()?
        };
        self.nesting -= 1;
        Ok(Node::If(condition.into(), body, otherwise))
    }

    /// `else … end` or `end`.
    fn otherwise(&mut self) -> Result<Vec<Statement>, Refusal> {
        let otherwise = if self.take_word("else") {
            self.block(&["end"])?
        } else {
            Vec::new()
        };
        self.expect_end()?;
        Ok(otherwise)
    }
}
