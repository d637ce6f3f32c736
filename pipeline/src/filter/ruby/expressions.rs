//! Reads expressions: assignments, operators by their strength, calls and their arguments.

use super::lexer::{Kind, Refusal};
use super::parser::{Parsed, Parser};
use super::tree::{Block, Call, Node, Statement};

impl Parser {
    /// Assignments and what is stronger.
    pub(super) fn expression(&mut self) -> Parsed {
        self.deeper()?;
        let left = self.ternary()?;
        let mut node = left;
        for (sign, operator) in [
            ("=", ""),
            ("||=", "||"),
            ("&&=", "&&"),
            ("+=", "+"),
            ("-=", "-"),
            ("*=", "*"),
            ("/=", "/"),
            ("%=", "%"),
        ] {
            if self.is_sign(sign) {
                if !matches!(node, Node::Name(_) | Node::Variable(_) | Node::Index(..)) {
                    return self.refuse(
                        "only variables and elements are set with `=`; fields with `event.set`",
                    );
                }
                self.at += 1;
                self.skip_breaks();
                let value = self.expression()?;
                node = Node::Assign(node.into(), operator, value.into());
                break;
            }
        }
        self.nesting -= 1;
        Ok(node)
    }

    pub(super) fn ternary(&mut self) -> Parsed {
        let condition = self.range()?;
        if !self.take("?") {
            return Ok(condition);
        }
        self.skip_breaks();
        let line = self.line();
        let then = match self.peek().clone() {
            // `a ? b : c` where `b :` was read as a label.
            Kind::Label(name) => {
                self.at += 1;
                let otherwise = self.ternary()?;
                let node = |node| vec![Statement { node, line }];
                return Ok(Node::If(
                    condition.into(),
                    node(Node::Name(name)),
                    node(otherwise),
                ));
            }
            _ => self.ternary()?,
        };
        self.skip_breaks();
        self.expect(":")?;
        self.skip_breaks();
        let otherwise = self.ternary()?;
        let node = |node| vec![Statement { node, line }];
        Ok(Node::If(condition.into(), node(then), node(otherwise)))
    }

    pub(super) fn range(&mut self) -> Parsed {
        let left = self.or()?;
        for (sign, exclusive) in [("...", true), ("..", false)] {
            if self.take(sign) {
                let right = match self.peek() {
                    Kind::Sign("]" | ")") => Node::Integer(-1),
                    _ => self.or()?,
                };
                return Ok(Node::Range(left.into(), right.into(), exclusive));
            }
        }
        Ok(left)
    }

    pub(super) fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.take("||") {
            self.skip_breaks();
            left = Node::Or(left.into(), self.and()?.into());
        }
        Ok(left)
    }

    pub(super) fn and(&mut self) -> Parsed {
        let mut left = self.not()?;
        while self.take("&&") {
            self.skip_breaks();
            left = Node::And(left.into(), self.not()?.into());
        }
        Ok(left)
    }

    pub(super) fn not(&mut self) -> Parsed {
        self.deeper()?;
        let node = if self.take("!") {
            Node::Not(self.not()?.into())
        } else {
            self.binary(0)?
        };
        self.nesting -= 1;
        Ok(node)
    }

    /// Comparisons and arithmetic, by strength.
    pub(super) fn binary(&mut self, level: usize) -> Parsed {
        const LEVELS: [&[&str]; 6] = [
            &["==", "!=", "=~", "!~", "<=>", "==="],
            &["<=", ">=", "<", ">"],
            &["|", "^", "&"],
            &["<<", ">>"],
            &["+", "-"],
            &["*", "/", "%"],
        ];
        let Some(signs) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Kind::Sign(sign) = *self.peek()
            && signs.contains(&sign)
        {
            self.at += 1;
            self.skip_breaks();
            let right = self.binary(level + 1)?;
            left = Node::Binary(sign, left.into(), right.into());
        }
        Ok(left)
    }

    pub(super) fn unary(&mut self) -> Parsed {
        self.deeper()?;
        let node = if self.take("-") {
            match self.unary()? {
                Node::Integer(value) => Node::Integer(-value),
                Node::Float(value) => Node::Float(-value),
                other => Node::Negative(other.into()),
            }
        } else if self.take("!") {
            Node::Not(self.unary()?.into())
        } else {
            let base = self.postfix()?;
            if self.take("**") {
                Node::Binary("**", base.into(), self.unary()?.into())
            } else {
                base
            }
        };
        self.nesting -= 1;
        Ok(node)
    }

    /// Arguments and block of a call.
    pub(super) fn call(&mut self, receiver: Option<Node>, name: String, is_safe: bool) -> Parsed {
        let mut arguments = Vec::new();
        if self.is_sign("(") && !self.tokens[self.at].spaced {
            self.at += 1;
            let outer = std::mem::replace(&mut self.no_do, false);
            arguments = self.list(")")?;
            self.no_do = outer;
        } else if self.begins_argument() {
            loop {
                arguments.push(self.argument()?);
                if !self.take(",") {
                    break;
                }
                self.skip_breaks();
            }
        }
        let block = if self.is_sign("{") {
            self.at += 1;
            Some(self.code_block("}")?)
        } else if !self.no_do && self.take_word("do") {
            Some(self.code_block("end")?)
        } else {
            None
        };
        Ok(Node::Call(Box::new(Call {
            receiver,
            name,
            arguments,
            block,
            is_safe,
        })))
    }

    /// Whether what follows can only be an argument without parentheses.
    pub(super) fn begins_argument(&self) -> bool {
        let token = &self.tokens[self.at];
        if !token.spaced {
            return false;
        }
        match &token.kind {
            Kind::Text(_)
            | Kind::Integer(_)
            | Kind::Float(_)
            | Kind::Symbol(_)
            | Kind::Regex(_)
            | Kind::Words(_)
            | Kind::Variable(_)
            | Kind::Constant(_)
            | Kind::Label(_) => true,
            Kind::Word(word) => !matches!(
                word.as_str(),
                "if" | "unless"
                    | "while"
                    | "until"
                    | "and"
                    | "or"
                    | "do"
                    | "then"
                    | "end"
                    | "rescue"
                    | "else"
                    | "elsif"
                    | "when"
                    | "in"
                    | "ensure"
            ),
            _ => false,
        }
    }

    pub(super) fn code_block(&mut self, end: &str) -> Result<Block, Refusal> {
        let mut names = Vec::new();
        if self.take("|") {
            while !self.take("|") {
                self.take("(");
                match self.next() {
                    Kind::Word(name) => names.push(name),
                    _ => {
                        self.at = self.at.saturating_sub(1);
                        return self.unexpected();
                    }
                }
                self.take(")");
                self.take(",");
            }
        } else {
            self.take("||");
        }
        let body = self.block(&[end])?;
        if !self.take(end) && !self.take_word(end) {
            return self.refuse(format!("expected `{end}`"));
        }
        Ok(Block { names, body })
    }

    /// Arguments up to a closing bracket.
    pub(super) fn list(&mut self, close: &str) -> Result<Vec<Node>, Refusal> {
        let mut nodes = Vec::new();
        loop {
            self.skip_breaks();
            if self.take(close) {
                return Ok(nodes);
            }
            nodes.push(self.argument()?);
            self.skip_breaks();
            if !self.take(",") {
                self.expect(close)?;
                return Ok(nodes);
            }
        }
    }

    /// One argument; `a => b` and `a: b` are a hash of the rest.
    pub(super) fn argument(&mut self) -> Parsed {
        if matches!(self.peek(), Kind::Label(_)) {
            return self.pairs(None);
        }
        if self.is_sign("&") || self.is_sign("*") {
            return self.unexpected();
        }
        let node = self.low()?;
        if self.take("=>") {
            self.skip_breaks();
            return self.pairs(Some(node));
        }
        Ok(node)
    }

    /// Pairs without braces; the first key is read already, its arrow too.
    pub(super) fn pairs(&mut self, first: Option<Node>) -> Parsed {
        let mut pairs = Vec::new();
        let mut key = first;
        loop {
            let name = match key.take() {
                Some(key) => key,
                None => self.key()?,
            };
            pairs.push((name, self.expression()?));
            let goes_on = self.is_sign(",")
                && matches!(
                    self.tokens.get(self.at + 1).map(|token| &token.kind),
                    Some(Kind::Label(_))
                );
            if !goes_on {
                return Ok(Node::Hash(pairs));
            }
            self.at += 1;
        }
    }

    pub(super) fn key(&mut self) -> Parsed {
        if let Kind::Label(name) = self.peek().clone() {
            self.at += 1;
            self.skip_breaks();
            return Ok(Node::Text(name));
        }
        let key = self.expression()?;
        self.skip_breaks();
        self.expect("=>")?;
        self.skip_breaks();
        Ok(key)
    }
}
