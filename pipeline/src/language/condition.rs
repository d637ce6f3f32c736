//! Conditions: `if [status] >= 500 and "slow" in [tags] { … }`.
//!
//! The grammar reads a flat list of expressions with `and`, `or`, `xor` and `nand` between
//! them; [`group`] then makes a tree of it. Operators bind only through that: a comparison has
//! exactly two operands, and `!` takes a field or something in parentheses.
//!
//! Combinations that parse but that Logstash refuses when it compiles (a list on the left of
//! `in`, a number on the left of `=~`, `xor` beside another operator) are refused here, at
//! their place.

use super::MAX_DEPTH;
use super::cursor::Quoted;
use super::diagnostic::Diagnostic;
use super::field_reference::FieldReference;
use super::nearest::nearest;
use super::parser::{Failure, Parsed, Parser};
use super::source::{Span, Spanned};
use super::syntax::{CompareOperator, Condition, ConditionKind, Operand, OperandKind, Value};

/// What joins two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    And,
    Or,
    Xor,
    Nand,
}

impl Join {
    const ALL: [(&'static str, Self); 4] = [
        ("and", Self::And),
        ("or", Self::Or),
        ("xor", Self::Xor),
        ("nand", Self::Nand),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Nand => "nand",
        }
    }
}

/// A condition and how deep its tree is.
#[derive(Debug)]
struct Node {
    condition: Condition,
    height: usize,
}

/// What stands beside an operator, before it is known to be allowed there.
#[derive(Debug)]
enum Side {
    Operand(Operand),
    Regex(Spanned<String>),
}

impl Side {
    fn span(&self) -> Span {
        match self {
            Self::Operand(operand) => operand.span,
            Self::Regex(regex) => regex.span,
        }
    }
}

/// What can follow the first operand.
enum Operator {
    Compare(CompareOperator),
    Match { negated: bool },
    In { negated: bool },
}

const COMPARE_OPERATORS: [(&str, CompareOperator); 6] = [
    ("==", CompareOperator::Equal),
    ("!=", CompareOperator::NotEqual),
    ("<=", CompareOperator::LessOrEqual),
    (">=", CompareOperator::GreaterOrEqual),
    ("<", CompareOperator::Less),
    (">", CompareOperator::Greater),
];

impl Parser<'_> {
    /// The condition of an `if`, up to the `{` of its body.
    pub(super) fn condition_of_branch(&mut self) -> Parsed<Condition> {
        self.cursor.skip_space();
        if self.cursor.peek() == Some(b'{') {
            let diagnostic =
                Diagnostic::error(self.cursor.span_here(), "expected a condition, found `{`")
                    .hint("write `if [field] == \"value\" { … }`");
            return Err(self.fail(diagnostic, Failure::Here));
        }
        let node = self.condition()?;
        if !self.cursor.followed_by("{") {
            return Err(self.unexpected_after(&node, "`{`"));
        }
        Ok(node.condition)
    }

    fn condition(&mut self) -> Parsed<Node> {
        let first = self.expression()?;
        let mut rest = Vec::new();
        loop {
            let join = self.cursor.attempt(|cursor| {
                cursor.skip_space();
                let start = cursor.position();
                let (_, join) = Join::ALL
                    .into_iter()
                    .find(|(word, _)| cursor.eat_word(word))?;
                Some((join, cursor.span_from(start)))
            });
            let Some((join, span)) = join else { break };
            self.cursor.skip_space();
            rest.push((join, span, self.expression()?));
        }
        self.group(first, rest)
    }

    fn expression(&mut self) -> Parsed<Node> {
        match self.cursor.peek() {
            Some(b'(') => self.parentheses(),
            Some(b'!') => self.negation(),
            _ => self.comparison(),
        }
    }

    /// `( condition )`.
    fn parentheses(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let start = parser.cursor.position();
            parser.cursor.advance();
            let opener = parser.cursor.span_from(start);
            parser.cursor.skip_space();
            let mut node = parser.condition()?;
            if !parser.cursor.followed_by(")") {
                parser.cursor.skip_space();
                if matches!(parser.cursor.peek(), None | Some(b'{' | b'}')) {
                    parser.unclosed_piece(opener, "parenthesis", ')');
                    return Err(Failure::Here);
                }
                return Err(parser.unexpected_after(&node, "`)`"));
            }
            parser.cursor.skip_space();
            parser.cursor.advance();
            node.condition.span = parser.cursor.span_from(start);
            Ok(node)
        })
    }

    /// `!( condition )` or `![field]`.
    fn negation(&mut self) -> Parsed<Node> {
        let start = self.cursor.position();
        self.cursor.advance();
        self.cursor.skip_space();
        let in_parentheses = self.cursor.peek() == Some(b'(');
        let inner = match self.cursor.peek() {
            Some(b'(') => self.parentheses()?,
            Some(b'[') => match self.selector() {
                Some(field) => leaf(truthy(field?)),
                None => return Err(self.bad_negation()),
            },
            _ => return Err(self.bad_negation()),
        };
        let span = self.cursor.span_from(start);
        if !in_parentheses && let Some((operator, at)) = self.operator_ahead() {
            let diagnostic = Diagnostic::error(
                at,
                format!("`!` belongs to the field alone, so `{operator}` cannot follow"),
            )
            .related(span, "this is already a whole condition")
            .hint(match operator {
                "==" => "write `[field] != …`".to_owned(),
                "in" => "write `[field] not in …`".to_owned(),
                "=~" => "write `[field] !~ …`".to_owned(),
                _ => "write `!( … )`".to_owned(),
            });
            return Err(self.fail(diagnostic, Failure::Here));
        }
        let height = inner.height + 1;
        let kind = ConditionKind::Not(Box::new(inner.condition));
        Ok(Node {
            condition: Condition { kind, span },
            height,
        })
    }

    fn bad_negation(&mut self) -> Failure {
        let found = self.found();
        let diagnostic = Diagnostic::error(
            self.cursor.span_here(),
            format!("expected a field or `(` after `!`, found {found}"),
        )
        .hint("write `![field]` or `!( … )`; instead of `!\"a\" in [b]` write `\"a\" not in [b]`");
        self.fail(diagnostic, Failure::Here)
    }

    /// The operator that stands next, if one does.
    fn operator_ahead(&self) -> Option<(&'static str, Span)> {
        let mut ahead = self.cursor.clone();
        ahead.skip_space();
        let start = ahead.position();
        let operator = ["==", "!=", "=~", "!~", "<=", ">=", "<", ">", "in", "not in"]
            .into_iter()
            .find(|operator| match *operator {
                "in" | "not in" => ahead.eat_word(operator),
                symbol => ahead.eat(symbol),
            })?;
        Some((operator, ahead.span_from(start)))
    }

    /// One operand, or two with an operator.
    fn comparison(&mut self) -> Parsed<Node> {
        let start = self.cursor.position();
        let left = self.side()?;
        let Some((operator, operator_span)) = self.operator() else {
            return match left {
                Side::Operand(operand) => Ok(leaf(truthy(operand))),
                Side::Regex(regex) => {
                    let diagnostic =
                        Diagnostic::error(regex.span, "a regular expression alone is no condition")
                            .hint("write `[field] =~ /…/`");
                    Err(self.refuse(diagnostic))
                }
            };
        };
        self.cursor.skip_space();
        let right = self.side()?;
        let span = self.cursor.span_from(start);
        let kind = match operator {
            Operator::Compare(operator) => self.compare(operator, left, right),
            Operator::Match { negated } => match_regex(negated, left, right),
            Operator::In { negated } => membership(negated, left, right),
        };
        match kind {
            Ok(kind) => Ok(leaf(Condition { kind, span })),
            Err(diagnostic) => Err(self.refuse(diagnostic.related(operator_span, "this operator"))),
        }
    }

    fn operator(&mut self) -> Option<(Operator, Span)> {
        self.cursor.attempt(|cursor| {
            cursor.skip_space();
            let start = cursor.position();
            let operator = if cursor.eat("=~") {
                Operator::Match { negated: false }
            } else if cursor.eat("!~") {
                Operator::Match { negated: true }
            } else if let Some((_, operator)) = COMPARE_OPERATORS
                .into_iter()
                .find(|(symbol, _)| cursor.eat(symbol))
            {
                Operator::Compare(operator)
            } else if cursor.eat_word("in") {
                Operator::In { negated: false }
            } else if cursor.eat("not ") {
                // COMPAT: it must be a space, and only then any white space.
                cursor.skip_space();
                if !cursor.eat_word("in") {
                    return None;
                }
                Operator::In { negated: true }
            } else {
                return None;
            };
            Some((operator, cursor.span_from(start)))
        })
    }

    /// A string, number, field, list or regular expression.
    fn side(&mut self) -> Parsed<Side> {
        let start = self.cursor.position();
        let kind = match self.cursor.peek() {
            Some(b'"' | b'\'') => {
                let raw = self.string()?;
                OperandKind::String(self.unescaped(raw.value))
            }
            Some(b'[') => {
                if let Some(field) = self.selector() {
                    return field.map(Side::Operand);
                }
                match self.array()?.value {
                    Value::Array(values) => {
                        self.refuse_plugins(&values);
                        OperandKind::Array(values)
                    }
                    _ => OperandKind::Array(Vec::new()),
                }
            }
            Some(b'/') => {
                return match self.cursor.quoted(b'/') {
                    Quoted::Closed(span) => {
                        let text = self.cursor.text();
                        self.blocks.note_quote(text, span);
                        let inner = &text[span.start as usize + 1..span.end as usize - 1];
                        Ok(Side::Regex(Spanned::new(inner.to_owned(), span)))
                    }
                    Quoted::Open(start) => Err(self.unclosed_quote(start)),
                };
            }
            Some(byte) if byte == b'-' || byte.is_ascii_digit() => match self.number_value()? {
                Value::Number(number) => OperandKind::Number(number),
                _ => return Err(Failure::Here),
            },
            _ => return Err(self.no_operand()),
        };
        Ok(Side::Operand(Operand {
            kind,
            span: self.cursor.span_from(start),
        }))
    }

    fn no_operand(&mut self) -> Failure {
        let span = self.cursor.span_here();
        let word = self.cursor.text()[span.range()].to_owned();
        let mut ahead = self.cursor.clone();
        let is_bareword = !ahead.bareword().is_empty();
        let found = self.found();
        if is_bareword && ahead.followed_by("(") && word != "not" {
            return self.refuse(Diagnostic::error(
                span,
                format!("`{word}( … )`: there are no functions in conditions"),
            ));
        }
        let diagnostic = if is_bareword {
            let hint = match word.as_str() {
                "not" => "write `!( … )`, or `… not in …`".to_owned(),
                "true" | "false" => format!(
                    "compare with the text `\"{word}\"`, or write `[field]` or `![field]` alone"
                ),
                "nil" | "null" => {
                    "write `![field]`: it holds for a field that is missing".to_owned()
                }
                _ => format!("a field is written `[{word}]`, a text `\"{word}\"`"),
            };
            Diagnostic::error(span, format!("expected a field or a value, found `{word}`"))
                .hint(hint)
        } else {
            let hint = match self.cursor.peek() {
                Some(b'$') => Some("put the variable in quotes: `\"${NAME}\"`".to_owned()),
                Some(b'%') => Some("a field is written `[field]` in a condition".to_owned()),
                _ => None,
            };
            Diagnostic::error(span, format!("expected a field or a value, found {found}"))
                .maybe_hint(hint)
        };
        self.fail(diagnostic, Failure::Here)
    }

    /// `[a][b]`; `None` and no move if what stands here is a list.
    ///
    /// COMPAT: a list of one element that is no list itself (`["a"]`, `[5]`) is a field to the
    /// grammar. That is hardly ever meant, so it gets a warning.
    fn selector(&mut self) -> Option<Parsed<Operand>> {
        let start = self.cursor.position();
        let mut elements = 0;
        while let Some(length) = selector_length(self.cursor.rest()) {
            self.cursor.set_position(self.cursor.position() + length);
            elements += 1;
        }
        if elements == 0 {
            return None;
        }
        let span = self.cursor.span_from(start);
        let text = &self.cursor.text()[span.range()];
        let field = match FieldReference::parse_with(text, self.options.escape_style) {
            Ok(field) => field,
            Err(error) => {
                return Some(Err(self.refuse(Diagnostic::error(span, error.to_string()))));
            }
        };
        let inner = text[1..text.len() - 1].trim();
        let is_quoted =
            |quote| inner.len() > 1 && inner.starts_with(quote) && inner.ends_with(quote);
        let is_number = inner.bytes().all(|byte| byte.is_ascii_digit());
        if elements == 1 && !inner.is_empty() && (is_quoted('"') || is_quoted('\'') || is_number) {
            self.note(
                Diagnostic::warning(
                    span,
                    format!("`{text}` is a field here, not a list of one element"),
                )
                .hint(format!(
                    "compare with `{inner}` itself: `[field] == {inner}`"
                )),
            );
        }
        Some(Ok(Operand {
            kind: OperandKind::Field(field),
            span,
        }))
    }

    fn refuse_plugins(&mut self, values: &[Spanned<Value>]) {
        for value in values {
            match &value.value {
                Value::Plugin(_) | Value::Hash(_) => self.note(Diagnostic::error(
                    value.span,
                    format!(
                        "{} cannot stand in a list of a condition",
                        value.value.kind()
                    ),
                )),
                Value::Array(inner) => self.refuse_plugins(inner),
                Value::Number(_) | Value::Bareword(_) | Value::String(_) => {}
            }
        }
    }

    fn compare(
        &mut self,
        operator: CompareOperator,
        left: Side,
        right: Side,
    ) -> Result<ConditionKind, Box<Diagnostic>> {
        let (left, right) = (no_regex(left)?, no_regex(right)?);
        let equality = matches!(operator, CompareOperator::Equal | CompareOperator::NotEqual);
        for side in [&left, &right] {
            if !matches!(side.kind, OperandKind::Array(_)) {
                continue;
            }
            if !equality {
                return Err(Box::new(Diagnostic::error(
                    side.span,
                    format!("a list cannot be compared by `{}`", operator.symbol()),
                )));
            }
            self.note(
                Diagnostic::warning(side.span, "the field is compared with the whole list")
                    .hint("use `in` to ask whether it is one of the elements"),
            );
        }
        Ok(ConditionKind::Compare {
            operator,
            left,
            right,
        })
    }

    /// Reports something that the grammar allows but that means nothing.
    fn refuse(&mut self, diagnostic: Diagnostic) -> Failure {
        self.note(diagnostic);
        Failure::Here
    }

    /// What follows a condition is neither an operator nor what ends it.
    fn unexpected_after(&mut self, node: &Node, ending: &str) -> Failure {
        self.cursor.skip_space();
        let found = self.found();
        let span = self.cursor.span_here();
        let rest = self.cursor.rest();
        let word = &self.cursor.text()[span.range()];
        let words = Join::ALL.map(|(word, _)| word);
        let hint = if rest.starts_with("=!") {
            Some("write `!=`".to_owned())
        } else if rest.starts_with("~=") {
            Some("write `=~`".to_owned())
        } else if rest.starts_with("<>") {
            Some("write `!=`".to_owned())
        } else if rest.starts_with("&&") {
            Some("write `and`".to_owned())
        } else if rest.starts_with("||") {
            Some("write `or`".to_owned())
        } else if rest.starts_with('=') {
            Some("write `==` to compare".to_owned())
        } else if word == "not" {
            Some("write `… not in …`, or `!( … )`".to_owned())
        } else if matches!(word, "is" | "eq" | "equals") {
            Some("write `==`".to_owned())
        } else if word == "nor" {
            Some("write `!( … or … )`".to_owned())
        } else {
            nearest(&word.to_ascii_lowercase(), words)
                .map(|known| format!("did you mean `{known}`?"))
        };
        let diagnostic = Diagnostic::error(
            span,
            format!("expected {ending}, `and`, `or`, `xor` or `nand`, found {found}"),
        )
        .related(node.condition.span, "after this condition")
        .maybe_hint(hint);
        self.fail(diagnostic, Failure::Here)
    }

    /// Makes a tree of a list of joined expressions.
    ///
    /// COMPAT: this is the shunting-yard of Logstash's compiler, to the letter: before an
    /// operator is put on the stack, one (not every) operator of higher precedence is taken
    /// off. So `a and b and c or d` means `a and ((b and c) or d)`. Configurations in the wild
    /// were tested against that, so it stays, with a warning where it makes a difference.
    fn group(&mut self, first: Node, rest: Vec<(Join, Span, Node)>) -> Parsed<Node> {
        let single = rest.len() == 1;
        let mut operators: Vec<Join> = Vec::new();
        let mut output: Vec<Node> = vec![first];
        // What is taken off at the end waits here: the operators come after all operands.
        for (join, span, node) in rest {
            if matches!(join, Join::Xor | Join::Nand) && !single
                || operators
                    .iter()
                    .any(|earlier| matches!(earlier, Join::Xor | Join::Nand))
            {
                let name = if matches!(join, Join::Xor | Join::Nand) {
                    join
                } else {
                    operators[0]
                };
                let diagnostic = Diagnostic::error(
                    span,
                    format!("`{}` cannot stand beside another operator", name.name()),
                )
                .hint("use parentheses: `( … ) xor ( … )`");
                return Err(self.refuse(diagnostic));
            }
            if join == Join::Or && operators.last() == Some(&Join::And) {
                operators.pop();
                reduce(&mut output, Join::And, 2);
                if operators.last() == Some(&Join::And) {
                    self.note(
                        Diagnostic::warning(
                            span,
                            "`a and b and c or d` means `a and ((b and c) or d)`, as in Logstash",
                        )
                        .label("this `or` binds tighter than the first `and`")
                        .hint("use parentheses to say what is meant"),
                    );
                }
            }
            operators.push(join);
            output.push(node);
        }
        while let Some(join) = operators.pop() {
            let mut operands = 2;
            while operators.last() == Some(&join) {
                operators.pop();
                operands += 1;
            }
            reduce(&mut output, join, operands);
        }
        match output.pop() {
            Some(node) if node.height <= MAX_DEPTH => Ok(node),
            _ => Err(self.too_deep()),
        }
    }
}

fn match_regex(negated: bool, left: Side, right: Side) -> Result<ConditionKind, Box<Diagnostic>> {
    let subject = no_regex(left)?;
    if !matches!(subject.kind, OperandKind::Field(_) | OperandKind::String(_)) {
        return Err(Box::new(Diagnostic::error(
            subject.span,
            "only a field or a string can be searched by a regular expression",
        )));
    }
    let span = right.span();
    let pattern = match right {
        Side::Regex(regex) => regex,
        Side::Operand(Operand {
            kind: OperandKind::String(text),
            ..
        }) => Spanned::new(text, span),
        Side::Operand(_) => {
            return Err(Box::new(Diagnostic::error(
                span,
                "the right side must be a regular expression: `/…/` or a string",
            )));
        }
    };
    Ok(ConditionKind::Match {
        negated,
        subject,
        pattern,
    })
}

fn membership(negated: bool, left: Side, right: Side) -> Result<ConditionKind, Box<Diagnostic>> {
    let (needle, haystack) = (no_regex(left)?, no_regex(right)?);
    if matches!(needle.kind, OperandKind::Array(_)) {
        return Err(Box::new(
            Diagnostic::error(needle.span, "a list cannot be looked for")
                .hint("ask for each element: `\"a\" in [field] or \"b\" in [field]`"),
        ));
    }
    Ok(ConditionKind::In {
        negated,
        needle,
        haystack,
    })
}

/// Joins the last nodes, two or more, to one.
fn reduce(output: &mut Vec<Node>, join: Join, operands: usize) {
    let nodes = output.split_off(output.len() - operands);
    let height = nodes
        .iter()
        .map(|node| node.height)
        .max()
        .unwrap_or_default()
        + 1;
    let mut conditions: Vec<Condition> = nodes.into_iter().map(|node| node.condition).collect();
    let (Some(first), Some(last)) = (conditions.first(), conditions.last()) else {
        return;
    };
    let span = first.span.to(last.span);
    let kind = match join {
        Join::And => ConditionKind::And(conditions),
        Join::Or => ConditionKind::Or(conditions),
        Join::Xor | Join::Nand => {
            let right = Box::new(conditions.remove(operands - 1));
            let left = Box::new(conditions.remove(0));
            match join {
                Join::Xor => ConditionKind::Xor(left, right),
                _ => ConditionKind::Nand(left, right),
            }
        }
    };
    output.push(Node {
        condition: Condition { kind, span },
        height,
    });
}

fn leaf(condition: Condition) -> Node {
    Node {
        condition,
        height: 1,
    }
}

fn truthy(operand: Operand) -> Condition {
    let span = operand.span;
    Condition {
        kind: ConditionKind::Truthy(operand),
        span,
    }
}

fn no_regex(side: Side) -> Result<Operand, Box<Diagnostic>> {
    match side {
        Side::Operand(operand) => Ok(operand),
        Side::Regex(regex) => Err(Box::new(Diagnostic::error(
            regex.span,
            "a regular expression can only follow `=~` or `!~`",
        ))),
    }
}

/// Length of `[name]` at the start of a text.
pub(super) fn selector_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('[')?;
    let length = inner.find(['[', ']', ','])?;
    (length > 0 && inner.as_bytes()[length] == b']').then_some(length + 2)
}
