//! The code of `aggregate`: the part of Ruby that such code is mostly written in, read once.
//!
//! Statements: `map['a'] = …`, `||=`, `+=`, `-=` and `<<` (also `map['a']['b']`),
//! `event.set('f', …)`, `event.remove('f')`, `event.tag('t')`, `event.cancel`; `if … elsif … else …
//! end`, `unless … end`, and both behind a statement. Values: texts, numbers, `true`, `false`, `nil`,
//! `[…]`, `{ 'k' => … }`, `event.get('f')`, `map['a']`, arithmetic, comparisons, `&&`, `||`, `!`,
//! parentheses, and the methods of [`Method`]. Anything else is refused when it is compiled.

use thiserror::Error;

use crate::event::Path;
use crate::filter::OwnedValue;
use crate::language::{EscapeStyle, FieldReference};

/// How deep code may be nested.
const MAX_NESTING: usize = 64;

#[derive(Debug)]
pub(super) enum Statement {
    /// Changes a value of the map, at these keys.
    Change(Vec<Expression>, Change, Expression),
    SetField(Path, Expression),
    RemoveField(Path),
    Tag(Expression),
    Cancel,
    If(Expression, Vec<Self>, Vec<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set,
    /// Only if nothing is there.
    SetIfMissing,
    Add,
    Subtract,
    Append,
}

#[derive(Debug)]
pub(super) enum Expression {
    Literal(OwnedValue),
    Field(Path),
    Map,
    Index(Box<Self>, Box<Self>),
    Array(Vec<Self>),
    Object(Vec<(Self, Self)>),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    Call(Box<Self>, Method, Option<Box<Self>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    ToInteger,
    ToFloat,
    ToText,
    Size,
    IsEmpty,
    IsNil,
    Includes,
}

/// Methods, and whether they take an argument.
const METHODS: [(&str, Method, bool); 8] = [
    ("to_i", Method::ToInteger, false),
    ("to_f", Method::ToFloat, false),
    ("to_s", Method::ToText, false),
    ("size", Method::Size, false),
    ("length", Method::Size, false),
    ("empty?", Method::IsEmpty, false),
    ("nil?", Method::IsNil, false),
    ("include?", Method::Includes, true),
];

/// Why code is refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub(super) struct CodeError {
    line: usize,
    reason: String,
}

/// Reads code. In `timeout_code` there is no map.
pub(super) fn parse(
    text: &str,
    has_map: bool,
    escape_style: EscapeStyle,
) -> Result<Vec<Statement>, CodeError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        nesting: 0,
        has_map,
        escape_style,
    };
    let statements = parser.block(&[])?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected());
    }
    Ok(statements)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Sign(&'static str),
    /// A line end or a semicolon.
    Break,
    End,
}

/// Longer ones first.
const SIGNS: [&str; 29] = [
    "||=", "<<", "<=", ">=", "==", "!=", "=>", "&&", "||", "+=", "-=", "=", "<", ">", "+", "-",
    "*", "/", "!", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":",
];

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, CodeError> {
    let mut tokens: Vec<(Token, usize)> = Vec::new();
    let mut line = 1;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        let error = |reason: &str| CodeError {
            line,
            reason: reason.to_owned(),
        };
        let Some(first) = rest.chars().next() else {
            tokens.push((Token::End, line));
            return Ok(tokens);
        };
        let (token, length) = match first {
            '#' => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '\n' => {
                tokens.push((Token::Break, line));
                line += 1;
                rest = &rest[1..];
                continue;
            }
            ';' => (Token::Break, 1),
            '\'' | '"' => {
                let mut value = String::new();
                let mut length = 1;
                let mut characters = rest[1..].chars();
                loop {
                    let character = characters
                        .next()
                        .ok_or_else(|| error("a text is not closed"))?;
                    length += character.len_utf8();
                    if character == first {
                        break;
                    }
                    if first == '"' && character == '#' && characters.as_str().starts_with('{') {
                        return Err(error(
                            "`#{…}` in a text is not supported; join texts with `+`",
                        ));
                    }
                    if character != '\\' {
                        value.push(character);
                        continue;
                    }
                    let escaped = characters
                        .next()
                        .ok_or_else(|| error("a text is not closed"))?;
                    length += escaped.len_utf8();
                    match escaped {
                        'n' if first == '"' => value.push('\n'),
                        't' if first == '"' => value.push('\t'),
                        'r' if first == '"' => value.push('\r'),
                        '\\' | '\'' | '"' => value.push(escaped),
                        other => value.extend(['\\', other]),
                    }
                }
                (Token::Text(value), length)
            }
            '0'..='9' => {
                let length = rest
                    .find(|character: char| !character.is_ascii_digit() && character != '_')
                    .unwrap_or(rest.len());
                let fraction = rest[length..].strip_prefix('.').map_or(0, |fraction| {
                    fraction
                        .find(|character: char| !character.is_ascii_digit())
                        .unwrap_or(fraction.len())
                });
                let whole = rest[..length].replace('_', "");
                if fraction > 0 {
                    let text = format!("{whole}{}", &rest[length..=length + fraction]);
                    let float = text.parse().map_err(|_| error("a number is too long"))?;
                    (Token::Float(float), length + 1 + fraction)
                } else {
                    let integer = whole.parse().map_err(|_| error("a number is too long"))?;
                    (Token::Integer(integer), length)
                }
            }
            _ if first.is_alphabetic() || first == '_' => {
                let mut length = rest
                    .find(|character: char| !character.is_alphanumeric() && character != '_')
                    .unwrap_or(rest.len());
                // `empty?`, but not `a ? b : c`.
                if rest[length..].starts_with('?') {
                    length += 1;
                }
                (Token::Word(rest[..length].to_owned()), length)
            }
            _ => match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => return Err(error(&format!("`{first}` is not supported"))),
            },
        };
        if let Token::Text(text) = &token {
            line += text.matches('\n').count();
        }
        tokens.push((token, line));
        rest = &rest[length..];
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    nesting: usize,
    has_map: bool,
    escape_style: EscapeStyle,
}

type Parsed = Result<Expression, CodeError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Sign(there) if *there == sign);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Word(there) if there == word);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    fn expect(&mut self, sign: &str) -> Result<(), CodeError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{sign}`")))
        }
    }

    fn error(&self, reason: impl Into<String>) -> CodeError {
        CodeError {
            line: self.tokens[self.at].1,
            reason: reason.into(),
        }
    }

    fn unexpected(&self) -> CodeError {
        let found = match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Integer(_) | Token::Float(_) => "a number".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Break => "the end of the line".to_owned(),
            Token::End => "the end".to_owned(),
        };
        self.error(format!("{found} is not supported here"))
    }

    fn deeper(&mut self) -> Result<(), CodeError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error("nested too deep"));
        }
        Ok(())
    }

    fn skip_breaks(&mut self) {
        while *self.peek() == Token::Break {
            self.at += 1;
        }
    }

    /// Statements up to one of these words, or the end.
    fn block(&mut self, ends: &[&str]) -> Result<Vec<Statement>, CodeError> {
        self.deeper()?;
        let mut statements = Vec::new();
        loop {
            self.skip_breaks();
            let is_end = match self.peek() {
                Token::End => true,
                Token::Word(word) => ends.contains(&word.as_str()),
                _ => false,
            };
            if is_end {
                self.nesting -= 1;
                return Ok(statements);
            }
            statements.push(self.statement()?);
            let is_closed = match self.peek() {
                Token::Break | Token::End => true,
                Token::Word(word) => ends.contains(&word.as_str()),
                _ => false,
            };
            if !is_closed {
                return Err(self.unexpected());
            }
        }
    }

    fn statement(&mut self) -> Result<Statement, CodeError> {
        if self.take_word("if") {
            return self.conditional();
        }
        if self.take_word("unless") {
            let condition = Expression::Not(Box::new(self.or()?));
            self.take_word("then");
            let body = self.block(&["end"])?;
            self.end()?;
            return Ok(Statement::If(condition, body, Vec::new()));
        }
        let mut statement = self.simple()?;
        loop {
            let negated = if self.take_word("if") {
                false
            } else if self.take_word("unless") {
                true
            } else {
                return Ok(statement);
            };
            let mut condition = self.or()?;
            if negated {
                condition = Expression::Not(Box::new(condition));
            }
            statement = Statement::If(condition, vec![statement], Vec::new());
        }
    }

    /// What follows `if` or `elsif`.
    fn conditional(&mut self) -> Result<Statement, CodeError> {
        self.deeper()?;
        let condition = self.or()?;
        self.take_word("then");
        let body = self.block(&["elsif", "else", "end"])?;
        let otherwise = if self.take_word("elsif") {
            vec![self.conditional()?]
        } else {
            let otherwise = if self.take_word("else") {
                self.block(&["end"])?
            } else {
                Vec::new()
            };
            self.end()?;
            otherwise
        };
        self.nesting -= 1;
        Ok(Statement::If(condition, body, otherwise))
    }

    fn end(&mut self) -> Result<(), CodeError> {
        if self.take_word("end") {
            Ok(())
        } else {
            Err(self.error("expected `end`"))
        }
    }

    fn simple(&mut self) -> Result<Statement, CodeError> {
        if self.take_word("event") {
            self.expect(".")?;
            let Token::Word(method) = self.next() else {
                return Err(self.unexpected());
            };
            let statement = match method.as_str() {
                "set" => {
                    self.expect("(")?;
                    let field = self.field()?;
                    self.expect(",")?;
                    Statement::SetField(field, self.or()?)
                }
                "remove" => {
                    self.expect("(")?;
                    Statement::RemoveField(self.field()?)
                }
                "tag" => {
                    self.expect("(")?;
                    Statement::Tag(self.or()?)
                }
                "cancel" => {
                    if self.take("(") {
                        self.expect(")")?;
                    }
                    return Ok(Statement::Cancel);
                }
                _ => return Err(self.error(format!("`event.{method}` is not supported here"))),
            };
            self.expect(")")?;
            return Ok(statement);
        }
        if !self.take_word("map") {
            return Err(self.unexpected());
        }
        if !self.has_map {
            return Err(self.error("there is no `map` in `timeout_code`: it is the event"));
        }
        let mut keys = Vec::new();
        while self.take("[") {
            keys.push(self.or()?);
            self.expect("]")?;
        }
        if keys.is_empty() {
            return Err(self.error("only its fields can be changed: `map['name'] = …`"));
        }
        let changes = [
            ("=", Change::Set),
            ("||=", Change::SetIfMissing),
            ("+=", Change::Add),
            ("-=", Change::Subtract),
            ("<<", Change::Append),
        ];
        for (sign, change) in changes {
            if self.take(sign) {
                self.skip_breaks();
                return Ok(Statement::Change(keys, change, self.or()?));
            }
        }
        Err(self.error("expected one of `=`, `||=`, `+=`, `-=`, `<<`"))
    }

    /// A reference in quotes.
    fn field(&mut self) -> Result<Path, CodeError> {
        let Token::Text(text) = self.next() else {
            return Err(self.error("expected the name of a field in quotes"));
        };
        match FieldReference::parse_with(&text, self.escape_style) {
            Ok(reference) if !reference.keys().is_empty() => Ok(Path::from(&reference)),
            Ok(_) => Err(self.error("a field is needed, not the whole of the metadata")),
            Err(error) => Err(self.error(error.to_string())),
        }
    }

    fn or(&mut self) -> Parsed {
        self.deeper()?;
        let mut left = self.and()?;
        while self.take("||") {
            self.skip_breaks();
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        while self.take("&&") {
            self.skip_breaks();
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        for (sign, operator) in [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ] {
            if self.take(sign) {
                let right = self.sum()?;
                return Ok(Expression::Binary(operator, left.into(), right.into()));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operator = if self.take("+") {
                Operator::Add
            } else if self.take("-") {
                Operator::Subtract
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = Expression::Binary(operator, left.into(), right.into());
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let operator = if self.take("*") {
                Operator::Multiply
            } else if self.take("/") {
                Operator::Divide
            } else {
                return Ok(left);
            };
            let right = self.unary()?;
            left = Expression::Binary(operator, left.into(), right.into());
        }
    }

    fn unary(&mut self) -> Parsed {
        self.deeper()?;
        let expression = if self.take("!") {
            Expression::Not(Box::new(self.unary()?))
        } else if self.take("-") {
            Expression::Negate(Box::new(self.unary()?))
        } else {
            self.postfix()?
        };
        self.nesting -= 1;
        Ok(expression)
    }

    fn postfix(&mut self) -> Parsed {
        let mut expression = self.primary()?;
        let mut length = 0;
        loop {
            length += 1;
            if length > MAX_NESTING {
                return Err(self.error("nested too deep"));
            }
            if self.take("[") {
                let index = self.or()?;
                self.expect("]")?;
                expression = Expression::Index(expression.into(), index.into());
            } else if self.take(".") {
                let Token::Word(name) = self.next() else {
                    return Err(self.unexpected());
                };
                let Some((_, method, has_argument)) =
                    METHODS.into_iter().find(|(known, ..)| *known == name)
                else {
                    return Err(self.error(format!("the method `{name}` is not supported")));
                };
                let argument = if has_argument {
                    self.expect("(")?;
                    let argument = self.or()?;
                    self.expect(")")?;
                    Some(argument.into())
                } else {
                    None
                };
                expression = Expression::Call(expression.into(), method, argument);
            } else {
                return Ok(expression);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let literal = |value| Ok(Expression::Literal(value));
        match self.next() {
            Token::Text(text) => literal(OwnedValue::Text(text.into_bytes().into())),
            Token::Integer(integer) => literal(OwnedValue::Integer(integer)),
            Token::Float(float) => literal(OwnedValue::Float(float)),
            Token::Sign("(") => {
                let inner = self.or()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let values = self.list("]", Self::or)?;
                Ok(Expression::Array(values))
            }
            Token::Sign("{") => {
                let pairs = self.list("}", |parser| {
                    let key = parser.or()?;
                    parser.expect("=>")?;
                    Ok((key, parser.or()?))
                })?;
                Ok(Expression::Object(pairs))
            }
            Token::Word(word) => match word.as_str() {
                "true" => literal(OwnedValue::Boolean(true)),
                "false" => literal(OwnedValue::Boolean(false)),
                "nil" => literal(OwnedValue::Null),
                "map" if self.has_map => Ok(Expression::Map),
                "event" => {
                    self.expect(".")?;
                    if !self.take_word("get") {
                        return Err(self.error("of the event only `event.get('field')` is a value"));
                    }
                    self.expect("(")?;
                    let field = self.field()?;
                    self.expect(")")?;
                    Ok(Expression::Field(field))
                }
                _ => {
                    self.at = self.at.saturating_sub(1);
                    Err(self.unexpected())
                }
            },
            Token::End => Err(self.unexpected()),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.unexpected())
            }
        }
    }

    /// Elements with commas between them, up to a closing bracket.
    fn list<T>(
        &mut self,
        close: &str,
        mut element: impl FnMut(&mut Self) -> Result<T, CodeError>,
    ) -> Result<Vec<T>, CodeError> {
        let mut elements = Vec::new();
        loop {
            self.skip_breaks();
            if self.take(close) {
                return Ok(elements);
            }
            elements.push(element(self)?);
            self.skip_breaks();
            if !self.take(",") {
                self.expect(close)?;
                return Ok(elements);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_such_code_is_refused() {
        for (code, message) in [
            ("puts 1", "line 1: `puts` is not supported here"),
            ("map['a'] += 1\n@x = 1", "line 2: `@` is not supported"),
            ("event.set(a, 1)", "name of a field in quotes"),
            ("event.set('a[b]', 1)", "[a][b]"),
            ("event.overwrite(1)", "`event.overwrite` is not supported"),
            ("map['a'] = event.get('b').upcase", "method `upcase`"),
            ("map['a'] = \"#{x}\"", "join texts with `+`"),
            ("map.clear", "only its fields"),
            ("map['a'] = 1 2", "a number is not supported here"),
            ("if map['a']\nmap['b'] = 1", "expected `end`"),
            ("map['a'] = 'x", "not closed"),
            ("map['a'] = ", "the end is not supported here"),
        ] {
            let error = parse(code, true, EscapeStyle::None)
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(message), "{code}: {error}");
        }
        let deep = format!("map['a'] = {}1", "(".repeat(100));
        assert!(parse(&deep, true, EscapeStyle::None).is_err());
        assert!(parse("event.set('a', map['b'])", false, EscapeStyle::None).is_err());
    }

    proptest! {
        #[test]
        fn no_text_does_harm(code in r#"(map\['a'\]|event\.get\('b'\)|[-+=|&<>!(){}\[\],.;#"' \n0-9]|if|end|nil){0,24}"#) {
            // Whether it is code or not.
            let _parsed = parse(&code, true, EscapeStyle::None);
        }
    }
}
