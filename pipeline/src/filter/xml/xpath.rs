//! `XPath` 1.0: expressions, compiled once.
//!
//! Everything of the recommendation but the axes `following`, `preceding` and `namespace`,
//! variables, and the functions `id`, `lang` and `translate`. [`super::evaluate`] runs them.

use thiserror::Error;

/// How deep parentheses and predicates of an expression may be nested.
const MAX_NESTING: usize = 32;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    Calculate(Operation, Box<Self>, Box<Self>),
    Negate(Box<Self>),
    Union(Box<Self>, Box<Self>),
    Path(Path),
    Text(String),
    Number(f64),
    Call(Function, Vec<Self>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    pub(super) start: Start,
    pub(super) steps: Vec<Step>,
}

/// Where a path starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Start {
    Root,
    Context,
    /// At the nodes of an expression that the predicates pick.
    Nodes(Box<Expression>, Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Child,
    Descendant,
    DescendantOrSelf,
    SelfNode,
    Parent,
    Ancestor,
    AncestorOrSelf,
    FollowingSibling,
    PrecedingSibling,
    Attribute,
}

const AXES: [(&str, Axis); 10] = [
    ("child", Axis::Child),
    ("descendant", Axis::Descendant),
    ("descendant-or-self", Axis::DescendantOrSelf),
    ("self", Axis::SelfNode),
    ("parent", Axis::Parent),
    ("ancestor", Axis::Ancestor),
    ("ancestor-or-self", Axis::AncestorOrSelf),
    ("following-sibling", Axis::FollowingSibling),
    ("preceding-sibling", Axis::PrecedingSibling),
    ("attribute", Axis::Attribute),
];

/// Which nodes of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// Elements (or attributes) of this prefix and name; `*` is none.
    Name(Option<String>, Option<String>),
    Any,
    Text,
    Comment,
    Instruction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Last,
    Position,
    Count,
    LocalName,
    Name,
    NamespaceUri,
    String,
    Concat,
    StartsWith,
    Contains,
    SubstringBefore,
    SubstringAfter,
    Substring,
    StringLength,
    NormalizeSpace,
    Boolean,
    Not,
    True,
    False,
    Number,
    Sum,
    Floor,
    Ceiling,
    Round,
}

/// Functions with the least and the most arguments they take.
const FUNCTIONS: [(&str, Function, usize, usize); 24] = [
    ("last", Function::Last, 0, 0),
    ("position", Function::Position, 0, 0),
    ("count", Function::Count, 1, 1),
    ("local-name", Function::LocalName, 0, 1),
    ("name", Function::Name, 0, 1),
    ("namespace-uri", Function::NamespaceUri, 0, 1),
    ("string", Function::String, 0, 1),
    ("concat", Function::Concat, 2, usize::MAX),
    ("starts-with", Function::StartsWith, 2, 2),
    ("contains", Function::Contains, 2, 2),
    ("substring-before", Function::SubstringBefore, 2, 2),
    ("substring-after", Function::SubstringAfter, 2, 2),
    ("substring", Function::Substring, 2, 3),
    ("string-length", Function::StringLength, 0, 1),
    ("normalize-space", Function::NormalizeSpace, 0, 1),
    ("boolean", Function::Boolean, 1, 1),
    ("not", Function::Not, 1, 1),
    ("true", Function::True, 0, 0),
    ("false", Function::False, 0, 0),
    ("number", Function::Number, 0, 1),
    ("sum", Function::Sum, 1, 1),
    ("floor", Function::Floor, 1, 1),
    ("ceiling", Function::Ceiling, 1, 1),
    ("round", Function::Round, 1, 1),
];

/// Why a text is no expression.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{reason} at character {at} of the expression")]
pub(super) struct XPathError {
    reason: String,
    at: usize,
}

impl Expression {
    /// Reads an expression.
    pub(super) fn parse(text: &str) -> Result<Self, XPathError> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
            nesting: 0,
        };
        let expression = parser.or()?;
        match parser.peek() {
            Token::End => Ok(expression),
            _ => Err(parser.error("did not expect this")),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, perhaps with a prefix; `*` for any.
    Name(Option<String>, String),
    Text(String),
    Number(f64),
    /// One of `( ) [ ] @ , :: . .. / // | + - = != < <= > >= *`, and `and`, `or`, `div`, `mod`.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 21] = [
    "::", "..", "//", "!=", "<=", ">=", "(", ")", "[", "]", "@", ",", ".", "/", "|", "+", "-", "=",
    "<", ">", "*",
];

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, XPathError> {
    let mut tokens: Vec<(Token, usize)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            tokens.push((Token::End, at));
            return Ok(tokens);
        };
        // After an operand a name or `*` is an operator.
        let after_operand = match tokens.last() {
            None => false,
            Some((Token::Sign(sign), _)) => matches!(*sign, ")" | "]" | "." | ".."),
            Some(_) => true,
        };
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(rest.len());
        let is_number = first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()));
        let (token, length) = if first == '"' || first == '\'' {
            let end = rest[1..].find(first).ok_or_else(|| XPathError {
                reason: "this text is not closed".into(),
                at,
            })?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if is_number {
            let number = rest[..digits].parse().map_err(|_| XPathError {
                reason: "this is no number".into(),
                at,
            })?;
            (Token::Number(number), digits)
        } else if is_name_start(first) {
            let name = name_length(rest);
            let word = &rest[..name];
            let operator = ["and", "or", "div", "mod"]
                .into_iter()
                .find(|operator| after_operand && *operator == word);
            let local = rest[name..]
                .strip_prefix(':')
                .filter(|local| !local.starts_with(':'));
            match (operator, local) {
                (Some(operator), _) => (Token::Sign(operator), name),
                (None, Some(local)) if local.starts_with('*') => {
                    (Token::Name(Some(word.into()), "*".into()), name + 2)
                }
                (None, Some(local)) if name_length(local) > 0 => {
                    let length = name_length(local);
                    let local = local[..length].to_owned();
                    (Token::Name(Some(word.into()), local), name + 1 + length)
                }
                _ => (Token::Name(None, word.into()), name),
            }
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            let token = if sign == "*" && !after_operand {
                Token::Name(None, "*".into())
            } else {
                Token::Sign(sign)
            };
            (token, sign.len())
        } else {
            return Err(XPathError {
                reason: if first == '$' {
                    "variables are not supported".into()
                } else {
                    format!("did not expect `{first}`")
                },
                at,
            });
        };
        tokens.push((token, at));
        rest = &rest[length..];
    }
}

fn is_name_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn name_length(text: &str) -> usize {
    if !text.starts_with(is_name_start) {
        return 0;
    }
    let in_name =
        |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    text.find(|character| !in_name(character))
        .unwrap_or(text.len())
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    nesting: usize,
}

type Parsed = Result<Expression, XPathError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn peek_next(&self) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + 1).min(last)].0
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Sign(there) if *there == sign);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    fn expect(&mut self, sign: &str) -> Result<(), XPathError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{sign}`")))
        }
    }

    fn error(&self, reason: impl Into<String>) -> XPathError {
        XPathError {
            reason: reason.into(),
            at: self.tokens[self.at].1,
        }
    }

    fn or(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error("nested too deep"));
        }
        let mut left = self.and()?;
        while self.take("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.equality()?;
        while self.take("and") {
            left = Expression::And(Box::new(left), Box::new(self.equality()?));
        }
        Ok(left)
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.relation()?;
        loop {
            let comparison = if self.take("=") {
                Comparison::Equal
            } else if self.take("!=") {
                Comparison::Unequal
            } else {
                return Ok(left);
            };
            left = Expression::Compare(comparison, Box::new(left), Box::new(self.relation()?));
        }
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let comparison = if self.take("<=") {
                Comparison::LessOrEqual
            } else if self.take("<") {
                Comparison::Less
            } else if self.take(">=") {
                Comparison::GreaterOrEqual
            } else if self.take(">") {
                Comparison::Greater
            } else {
                return Ok(left);
            };
            left = Expression::Compare(comparison, Box::new(left), Box::new(self.sum()?));
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operation = if self.take("+") {
                Operation::Add
            } else if self.take("-") {
                Operation::Subtract
            } else {
                return Ok(left);
            };
            left = Expression::Calculate(operation, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let operation = if self.take("*") {
                Operation::Multiply
            } else if self.take("div") {
                Operation::Divide
            } else if self.take("mod") {
                Operation::Remainder
            } else {
                return Ok(left);
            };
            left = Expression::Calculate(operation, Box::new(left), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Parsed {
        let mut negative = false;
        while self.take("-") {
            negative = !negative;
        }
        let mut left = self.path()?;
        while self.take("|") {
            left = Expression::Union(Box::new(left), Box::new(self.path()?));
        }
        Ok(if negative {
            Expression::Negate(Box::new(left))
        } else {
            left
        })
    }

    fn path(&mut self) -> Parsed {
        let mut steps = Vec::new();
        let start = if self.take("/") {
            if !self.starts_step() {
                return Ok(Expression::Path(Path {
                    start: Start::Root,
                    steps,
                }));
            }
            Start::Root
        } else if self.take("//") {
            steps.push(every());
            Start::Root
        } else if let Some(primary) = self.primary()? {
            let predicates = self.predicates()?;
            let has_steps = matches!(self.peek(), Token::Sign("/" | "//"));
            if !has_steps && predicates.is_empty() {
                return Ok(primary);
            }
            let start = Start::Nodes(Box::new(primary), predicates);
            if self.take("//") {
                steps.push(every());
            } else if !self.take("/") {
                return Ok(Expression::Path(Path { start, steps }));
            }
            start
        } else {
            Start::Context
        };
        loop {
            steps.push(self.step()?);
            if self.take("//") {
                steps.push(every());
            } else if !self.take("/") {
                return Ok(Expression::Path(Path { start, steps }));
            }
        }
    }

    fn starts_step(&self) -> bool {
        matches!(self.peek(), Token::Name(..) | Token::Sign("." | ".." | "@"))
    }

    /// What a path may start with besides a step.
    fn primary(&mut self) -> Result<Option<Expression>, XPathError> {
        let primary = match self.peek().clone() {
            Token::Text(text) => {
                self.at += 1;
                Expression::Text(text)
            }
            Token::Number(number) => {
                self.at += 1;
                Expression::Number(number)
            }
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.or()?;
                self.expect(")")?;
                inner
            }
            Token::Name(None, name)
                if *self.peek_next() == Token::Sign("(") && !is_node_type(&name) =>
            {
                let Some((_, function, least, most)) =
                    FUNCTIONS.into_iter().find(|(known, ..)| *known == name)
                else {
                    return Err(self.error(format!("there is no function `{name}` here")));
                };
                self.at += 2;
                let mut arguments = Vec::new();
                if !self.take(")") {
                    loop {
                        arguments.push(self.or()?);
                        if !self.take(",") {
                            break;
                        }
                    }
                    self.expect(")")?;
                }
                if arguments.len() < least || arguments.len() > most {
                    return Err(self.error(format!("wrong number of arguments for `{name}`")));
                }
                Expression::Call(function, arguments)
            }
            _ => return Ok(None),
        };
        Ok(Some(primary))
    }

    fn step(&mut self) -> Result<Step, XPathError> {
        for (sign, axis) in [("..", Axis::Parent), (".", Axis::SelfNode)] {
            if self.take(sign) {
                return Ok(Step {
                    axis,
                    test: Test::Any,
                    predicates: Vec::new(),
                });
            }
        }
        let mut axis = Axis::Child;
        if self.take("@") {
            axis = Axis::Attribute;
        } else if let (Token::Name(None, name), Token::Sign("::")) =
            (self.peek().clone(), self.peek_next())
        {
            let Some((_, known)) = AXES.into_iter().find(|(known, _)| *known == name) else {
                return Err(self.error(format!("there is no axis `{name}` here")));
            };
            axis = known;
            self.at += 2;
        }
        let Token::Name(prefix, name) = self.peek().clone() else {
            return Err(self.error("expected the name of an element"));
        };
        self.at += 1;
        let is_type = prefix.is_none() && is_node_type(&name) && self.take("(");
        let test = if is_type {
            if name == "processing-instruction" && matches!(self.peek(), Token::Text(_)) {
                self.at += 1;
            }
            self.expect(")")?;
            match name.as_str() {
                "text" => Test::Text,
                "comment" => Test::Comment,
                "node" => Test::Any,
                _ => Test::Instruction,
            }
        } else {
            Test::Name(prefix, (name != "*").then_some(name))
        };
        Ok(Step {
            axis,
            test,
            predicates: self.predicates()?,
        })
    }

    fn predicates(&mut self) -> Result<Vec<Expression>, XPathError> {
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.or()?);
            self.expect("]")?;
        }
        Ok(predicates)
    }
}

fn is_node_type(name: &str) -> bool {
    matches!(name, "text" | "node" | "comment" | "processing-instruction")
}

/// The step that `//` stands for.
fn every() -> Step {
    Step {
        axis: Axis::DescendantOrSelf,
        test: Test::Any,
        predicates: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn faults_have_a_place() {
        for (text, message) in [
            ("", "expected the name of an element at character 0"),
            ("/a/", "expected the name"),
            ("a[", "expected the name"),
            ("a]", "did not expect this at character 1"),
            ("foo(1)", "no function `foo`"),
            ("count()", "wrong number of arguments"),
            ("following::a", "no axis `following`"),
            ("$x", "variables"),
            ("'a", "not closed"),
            ("a and", "expected the name"),
        ] {
            let error = Expression::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(Expression::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in r"([a@*./|()\[\]=<>,' 0-9-]|and|or|div|::|text\(\)|count){0,24}") {
            // Whether it is an expression or not.
            let _parsed = Expression::parse(&text);
        }
    }
}
