//! Conditions, compiled: references are resolved, regular expressions built, constants ready to
//! compare.
//!
//! A condition never fails while it runs. Where Logstash raises an error and drops the event (an
//! order between things that have none, `[missing] in [list]`) the comparison is simply false here,
//! for no line may be lost.
//!
//! COMPAT, all as Logstash's `EventCondition` has it:
//!
//! - False are: a missing field, null, `false`, and the texts `false` and the empty one. All else
//!   is true, also `0`, `[]` and `{}`.
//! - `==` compares kinds too: `5` equals neither `"5"` nor `5.0`. Two fields that are both missing
//!   are equal.
//! - `<` and its kin order numbers with numbers, texts with texts (by bytes) and times with times.
//! - `=~` is false, and `!~` true, for anything that is not a text.
//! - `in` looks for a part of a text, or an element of a list; in a constant list everything is
//!   compared as text. Two constant texts must be equal. What is an array or an object itself is in
//!   nothing.

mod compare;

use std::cmp::Ordering;

use self::compare::{as_text, contains, is_same, is_truthy, order, text_is_truthy};
use crate::event::{Event, Path, Value};
use crate::language::{
    self, Code, CompareOperator, ConditionKind, Diagnostic, Diagnostics, Number, OperandKind,
    Spanned,
};
use crate::program::Test;
use crate::regex_dialect::Regex;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    node: Node,
}

#[derive(Debug)]
enum Node {
    Constant(bool),
    All(Box<[Self]>),
    Any(Box<[Self]>),
    Xor(Box<(Self, Self)>),
    Nand(Box<(Self, Self)>),
    Not(Box<Self>),
    Truthy(Path),
    /// The most frequent of all by far: a field and a constant text.
    IsText(Path, Box<[u8]>),
    Equal(Operand, Operand),
    Order(Operand, Operand, Orders),
    Match(Path, Regex),
    In(Operand, Operand),
}

/// Which orders of two sides make a comparison true.
#[derive(Clone, Copy, Debug)]
struct Orders {
    less: bool,
    equal: bool,
    greater: bool,
}

#[derive(Debug)]
enum Operand {
    Field(Path),
    Text(Box<[u8]>),
    Integer(i64),
    Float(f64),
    List(Box<[Constant]>),
}

/// An element of a constant list: its value, and how it reads as text.
#[derive(Debug)]
struct Constant {
    value: Operand,
    text: Box<[u8]>,
}

/// What an operand is worth for one event.
enum Side<'e, 'c, 'b> {
    Missing,
    Field(&'e Value<'b>),
    Constant(Value<'c>),
    List(&'c [Constant]),
}

impl Condition {
    /// Compiles a parsed condition; what is wrong with it goes to `diagnostics`.
    pub fn compile(condition: &language::Condition, diagnostics: &mut Diagnostics) -> Option<Self> {
        Some(Self {
            node: compile(condition, diagnostics)?,
        })
    }
}

impl Test for Condition {
    fn holds(&self, event: &Event<'_>) -> bool {
        self.node.holds(event)
    }
}

/// Recursion is bounded by the depth that the parser allows.
fn compile(condition: &language::Condition, diagnostics: &mut Diagnostics) -> Option<Node> {
    Some(match &condition.kind {
        ConditionKind::And(conditions) => Node::All(compile_all(conditions, diagnostics)?),
        ConditionKind::Or(conditions) => Node::Any(compile_all(conditions, diagnostics)?),
        ConditionKind::Xor(left, right) => {
            Node::Xor(Box::new(compile_pair(left, right, diagnostics)?))
        }
        ConditionKind::Nand(left, right) => {
            Node::Nand(Box::new(compile_pair(left, right, diagnostics)?))
        }
        ConditionKind::Not(inner) => Node::Not(Box::new(compile(inner, diagnostics)?)),
        ConditionKind::Truthy(operand) => match &operand.kind {
            // COMPAT: the metadata as a whole is an object, and so always true.
            OperandKind::Field(reference) if reference.keys().is_empty() => Node::Constant(true),
            OperandKind::Field(reference) => Node::Truthy(Path::from(reference)),
            OperandKind::String(text) => Node::Constant(text_is_truthy(text.as_bytes())),
            OperandKind::Number(_) | OperandKind::Array(_) => Node::Constant(true),
        },
        ConditionKind::Compare {
            operator,
            left,
            right,
        } => compile_comparison(
            *operator,
            compile_operand(left, diagnostics)?,
            compile_operand(right, diagnostics)?,
        ),
        ConditionKind::Match {
            negated,
            subject,
            pattern,
        } => {
            let regex = compile_regex(pattern, diagnostics)?;
            let node = match &subject.kind {
                OperandKind::Field(reference) => Node::Match(Path::from(reference), regex),
                OperandKind::String(text) => Node::Constant(regex.is_match(text.as_bytes())),
                OperandKind::Number(_) | OperandKind::Array(_) => Node::Constant(false),
            };
            negate_if(*negated, node)
        }
        ConditionKind::In {
            negated,
            needle,
            haystack,
        } => {
            if matches!(needle.kind, OperandKind::Array(_))
                && matches!(haystack.kind, OperandKind::Field(_))
            {
                diagnostics.push(
                    Diagnostic::error(needle.span, "a list cannot be looked for in a field")
                        .code(Code::Condition)
                        .hint("join one comparison for each element with `and` or `or`"),
                );
                return None;
            }
            let node = Node::In(
                compile_operand(needle, diagnostics)?,
                compile_operand(haystack, diagnostics)?,
            );
            negate_if(*negated, node)
        }
    })
}

fn compile_all(
    conditions: &[language::Condition],
    diagnostics: &mut Diagnostics,
) -> Option<Box<[Node]>> {
    // All are compiled even if one fails, so that every mistake is seen at once.
    let nodes: Vec<Option<Node>> = conditions
        .iter()
        .map(|condition| compile(condition, diagnostics))
        .collect();
    nodes.into_iter().collect()
}

fn compile_pair(
    left: &language::Condition,
    right: &language::Condition,
    diagnostics: &mut Diagnostics,
) -> Option<(Node, Node)> {
    let (left, right) = (compile(left, diagnostics), compile(right, diagnostics));
    left.zip(right)
}

fn compile_comparison(operator: CompareOperator, left: Operand, right: Operand) -> Node {
    let orders = |less, equal, greater| Orders {
        less,
        equal,
        greater,
    };
    let orders = match operator {
        CompareOperator::Equal => return compile_equal(left, right),
        CompareOperator::NotEqual => return Node::Not(Box::new(compile_equal(left, right))),
        CompareOperator::Less => orders(true, false, false),
        CompareOperator::LessOrEqual => orders(true, true, false),
        CompareOperator::Greater => orders(false, false, true),
        CompareOperator::GreaterOrEqual => orders(false, true, true),
    };
    Node::Order(left, right, orders)
}

fn compile_equal(left: Operand, right: Operand) -> Node {
    match (left, right) {
        (Operand::Field(path), Operand::Text(text))
        | (Operand::Text(text), Operand::Field(path)) => Node::IsText(path, text),
        (left, right) => Node::Equal(left, right),
    }
}

fn compile_operand(operand: &language::Operand, diagnostics: &mut Diagnostics) -> Option<Operand> {
    Some(match &operand.kind {
        OperandKind::Field(reference) => Operand::Field(Path::from(reference)),
        OperandKind::String(text) => Operand::Text(text.as_bytes().into()),
        OperandKind::Number(number) => Operand::number(*number),
        OperandKind::Array(elements) => {
            let constants: Vec<Option<Constant>> = elements
                .iter()
                .map(|element| compile_element(element, diagnostics))
                .collect();
            Operand::List(constants.into_iter().collect::<Option<_>>()?)
        }
    })
}

fn compile_element(
    element: &Spanned<language::Value>,
    diagnostics: &mut Diagnostics,
) -> Option<Constant> {
    match &element.value {
        language::Value::Number(number) => Some(Constant {
            value: Operand::number(*number),
            text: number.to_string().into_bytes().into(),
        }),
        language::Value::Bareword(text) | language::Value::String(text) => Some(Constant {
            value: Operand::Text(text.as_bytes().into()),
            text: text.as_bytes().into(),
        }),
        other => {
            diagnostics.push(
                Diagnostic::error(
                    element.span,
                    format!("{} cannot stand in a list of a condition", other.kind()),
                )
                .code(Code::Condition)
                .hint("such a list holds strings and numbers"),
            );
            None
        }
    }
}

fn compile_regex(pattern: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Regex> {
    match Regex::new(&pattern.value) {
        Ok(regex) => Some(regex),
        Err(error) => {
            diagnostics.push(
                Diagnostic::error(pattern.span, "this regular expression cannot be compiled")
                    .code(Code::Condition)
                    .label(error.to_string()),
            );
            None
        }
    }
}

fn negate_if(negated: bool, node: Node) -> Node {
    if negated {
        Node::Not(Box::new(node))
    } else {
        node
    }
}

impl Node {
    fn holds(&self, event: &Event<'_>) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::All(nodes) => nodes.iter().all(|node| node.holds(event)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(event)),
            Self::Xor(nodes) => nodes.0.holds(event) != nodes.1.holds(event),
            Self::Nand(nodes) => !(nodes.0.holds(event) && nodes.1.holds(event)),
            Self::Not(node) => !node.holds(event),
            Self::Truthy(path) => path.get(event).is_some_and(is_truthy),
            Self::IsText(path, text) => {
                matches!(path.get(event), Some(Value::Text(value)) if **value == **text)
            }
            Self::Equal(left, right) => left.side(event).equals(&right.side(event)),
            Self::Order(left, right, orders) => left
                .side(event)
                .order(&right.side(event))
                .is_some_and(|order| match order {
                    Ordering::Less => orders.less,
                    Ordering::Equal => orders.equal,
                    Ordering::Greater => orders.greater,
                }),
            Self::Match(path, regex) => {
                matches!(path.get(event), Some(Value::Text(text)) if regex.is_match(text))
            }
            Self::In(needle, haystack) => is_in(&needle.side(event), &haystack.side(event)),
        }
    }
}

impl Operand {
    fn number(number: Number) -> Self {
        match number {
            Number::Integer(integer) => Self::Integer(integer),
            Number::Decimal(decimal) => Self::Float(decimal),
        }
    }

    fn side<'e, 'c, 'b>(&'c self, event: &'e Event<'b>) -> Side<'e, 'c, 'b> {
        match self {
            Self::Field(path) => path.get(event).map_or(Side::Missing, Side::Field),
            Self::Text(text) => Side::Constant(Value::Text(text)),
            Self::Integer(integer) => Side::Constant(Value::Integer(*integer)),
            Self::Float(float) => Side::Constant(Value::Float(*float)),
            Self::List(constants) => Side::List(constants),
        }
    }

    /// The value of an element of a list.
    fn constant(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Float(float) => Value::Float(*float),
            Self::Field(_) | Self::List(_) => Value::Null,
        }
    }
}

impl Side<'_, '_, '_> {
    fn equals(&self, other: &Side<'_, '_, '_>) -> bool {
        match (self, other) {
            (Side::Missing, Side::Missing) => true,
            (Side::Field(left), Side::Field(right)) => is_same(left, right),
            (Side::Field(left), Side::Constant(right)) => is_same(left, right),
            (Side::Constant(left), Side::Field(right)) => is_same(left, right),
            (Side::Constant(left), Side::Constant(right)) => is_same(left, right),
            (Side::Field(field), Side::List(constants)) => is_list(field, constants),
            (Side::List(_), Side::Field(_)) => other.equals(self),
            (Side::List(left), Side::List(right)) => {
                left.len() == right.len()
                    && left.iter().zip(*right).all(|(left, right)| {
                        is_same(&left.value.constant(), &right.value.constant())
                    })
            }
            _ => false,
        }
    }

    fn order(&self, other: &Side<'_, '_, '_>) -> Option<Ordering> {
        match (self, other) {
            (Side::Field(left), Side::Field(right)) => order(left, right),
            (Side::Field(left), Side::Constant(right)) => order(left, right),
            (Side::Constant(left), Side::Field(right)) => order(left, right),
            (Side::Constant(left), Side::Constant(right)) => order(left, right),
            _ => None,
        }
    }
}

/// Whether a field is an array of just these constants.
fn is_list(field: &Value<'_>, constants: &[Constant]) -> bool {
    let Value::Array(array) = field else {
        return false;
    };
    array.len() == constants.len()
        && array
            .iter()
            .zip(constants)
            .all(|(value, constant)| is_same(value, &constant.value.constant()))
}

fn is_in(needle: &Side<'_, '_, '_>, haystack: &Side<'_, '_, '_>) -> bool {
    match (needle, haystack) {
        // COMPAT: a field in a constant number: the number counts as text.
        (Side::Field(Value::Text(part)), Side::Constant(whole)) => match whole {
            Value::Text(whole) => contains(whole, part),
            whole => as_text(whole, |whole| contains(whole, part)),
        },
        (Side::Field(value), Side::List(constants)) => as_text(value, |text| {
            constants.iter().any(|constant| *constant.text == *text)
        }),
        (Side::Constant(value), Side::List(constants)) => as_text(value, |text| {
            constants.iter().any(|constant| *constant.text == *text)
        }),
        (Side::Constant(part), Side::Field(whole)) => match (part, whole) {
            (Value::Text(part), Value::Text(whole)) => contains(whole, part),
            (part, Value::Array(array)) => array.iter().any(|value| is_same(value, part)),
            _ => false,
        },
        (Side::Constant(left), Side::Constant(right)) => is_same(left, right),
        (Side::Field(left), Side::Field(right)) => match (left, right) {
            (Value::Array(_) | Value::Object(_), _) => false,
            (Value::Text(part), Value::Text(whole)) => contains(whole, part),
            (value, Value::Array(array)) => array.iter().any(|each| is_same(each, value)),
            (left, right) => is_same(left, right),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Timestamp;
    use crate::language::{ParseOptions, SourceMap, Statement, parse};

    const EVENT: &str = r#"{"@timestamp":"2024-01-01T00:00:00Z","later":"x","n":5,"f":5.0,"big":12345678901234567890,
        "s":"abc","empty":"","false":"false","no":false,"yes":true,"nul":null,"zero":0,
        "list":["a",5,null],"none":[],"hash":{"k":"v"},"same":["a",5,null],"nested":{"a":["x"]},"line":"one\ntwo",
        "@metadata":{"m":"x"}}"#;

    fn compiled(text: &str) -> Result<Condition, String> {
        let sources = SourceMap::single("t", format!("filter {{ if {text} {{ drop {{ }} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let condition = match config.filters.first() {
            Some(Statement::If(statement)) if !diagnostics.has_errors() => {
                Condition::compile(&statement.branches[0].condition, &mut diagnostics)
            }
            _ => None,
        };
        assert_eq!(condition.is_none(), diagnostics.has_errors());
        condition.ok_or_else(|| diagnostics.render(&sources, false))
    }

    fn check(conditions: &[&str], expected: bool) {
        let arena = Bump::new();
        let event = Event::from_json(EVENT.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
        for text in conditions {
            let condition = compiled(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.holds(&event), expected, "{text}");
        }
    }

    #[test]
    fn truth() {
        check(
            &[
                "[s]",
                "[zero]",
                "[none]",
                "[hash]",
                "[yes]",
                "[list]",
                "[@timestamp]",
                "[@metadata]",
                "[@metadata][m]",
                "![missing]",
                "!([nul])",
                "\"a\"",
                "[nested][a][0]",
                "![nested][a][1]",
            ],
            true,
        );
        check(
            &[
                "[missing]",
                "[nul]",
                "[no]",
                "[false]",
                "[empty]",
                "[@metadata][n]",
                "\"false\"",
                "\"\"",
                "![s]",
            ],
            false,
        );
    }

    #[test]
    fn equality() {
        check(
            &[
                "[n] == 5",
                "5 == [n]",
                "[f] == 5.0",
                "[s] == 'abc'",
                "[n] != '5'",
                "[n] != 5.0",
                "[f] != 5",
                "[missing] != 'x'",
                "[list] == [same]",
                "[none] != [same]",
                "[missing] == [gone]",
                "7 == 7",
                "'a' == 'a'",
                "[missing] != [nul]",
                "[list] != ['a', 5]",
                "[yes] != 'true'",
                "[@metadata][m] == 'x'",
            ],
            true,
        );
        check(
            &[
                "[n] == '5'",
                "[n] == 5.0",
                "[missing] == 'x'",
                "[missing] == [nul]",
                "5 == 7",
                "5 == 5.0",
                "[hash] == 'v'",
            ],
            false,
        );
    }

    #[test]
    fn order() {
        check(
            &[
                "[n] > 4.5",
                "[n] >= 5",
                "[n] >= 5.0",
                "[n] <= 5",
                "[n] < 6",
                "4 < [n]",
                "[f] > 4",
                "[big] > 5",
                "[s] > 'abb'",
                "[s] < 'b'",
                "[s] >= 'abc'",
                "1 < 2",
                "[n] <= [f]",
                "[@timestamp] >= [@timestamp]",
                "!([missing] > 5)",
            ],
            true,
        );
        // What has no order is false both ways.
        check(
            &[
                "[missing] > 5",
                "[missing] < 5",
                "[missing] <= 5",
                "[s] > 5",
                "[s] < 5",
                "[n] > '4'",
                "[n] <= '6'",
                "[nul] < 5",
                "[list] < 5",
                "[yes] > 0",
                "[@timestamp] > '2020'",
                "[missing] >= [gone]",
                "[n] > 5",
                "[n] < 5",
            ],
            false,
        );
    }

    #[test]
    fn matching() {
        check(
            &[
                "[s] =~ /b/",
                "[s] =~ 'b.$'",
                "[line] =~ /^two$/",
                "[line] !~ /one.two/",
                "[n] !~ /5/",
                "[missing] !~ /x/",
                "'abc' =~ /c$/",
                "[s] !~ /B/",
            ],
            true,
        );
        check(
            &[
                "[n] =~ /5/",
                "[missing] =~ /.*/",
                "[list] =~ /a/",
                "[s] !~ /a/",
            ],
            false,
        );
    }

    #[test]
    fn membership() {
        check(
            &[
                "'b' in [s]",
                "'a' in [list]",
                "5 in [list]",
                "[n] in ['5', '6']",
                "[n] in [5, 6]",
                "[s] in 'xabcx'",
                "[s] in ['abc', 'd']",
                "[n] in [list]",
                "[n] in [n]",
                "[nul] in [list]",
                "'abc' in 'abc'",
                "[f] in [5.0, 6]",
                "'x' not in [missing]",
                "[missing] not in [list]",
                "[yes] in ['true', 'x']",
                "[nested][a][0] in 'x'",
            ],
            true,
        );
        check(
            &[
                "[missing] in [list]",
                "[missing] in [gone]",
                "[missing] in ['', 'a']",
                "'5' in [list]",
                "6 in [list]",
                "'bc' in 'abcd'",
                "[list] in [list]",
                "[hash] in [hash]",
                "'k' in [hash]",
                "[n] in 'x5'",
                "5 in [n]",
                "[list] in ['a', 'b']",
                "'abc' not in [s]",
                // COMPAT: a list of one element is a field reference.
                "[n] in [5]",
                "[f] in [5, 6]",
            ],
            false,
        );
    }

    #[test]
    fn joining() {
        check(
            &[
                "[s] and [n]",
                "[s] or [missing]",
                "[missing] or [s] and [n]",
                "[s] xor [missing]",
                "[s] nand [missing]",
                "!([s] and [missing])",
            ],
            true,
        );
        check(
            &[
                "[s] and [missing]",
                "[s] xor [n]",
                "[missing] xor [gone]",
                "[s] nand [n]",
                "!([s] or [missing])",
            ],
            false,
        );
    }

    /// Values of every kind, near enough to each other to be equal or in order now and then.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::json;
        let leaf = prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(5),
            json!(-1),
            json!(5.0),
            json!(4.5),
            json!(12_345_678_901_234_567_890_u64),
            json!(""),
            json!("5"),
            json!("a"),
            json!("ab"),
            json!("false"),
        ]);
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                inner.prop_map(|value| json!({ "a": value })),
            ]
        })
    }

    proptest! {
        /// Laws that hold for any two fields.
        #[test]
        fn comparisons_fit_together(left in prop::option::of(value()), right in prop::option::of(value())) {
            let mut fields = serde_json::Map::new();
            fields.extend(left.map(|value| ("l".to_owned(), value)));
            fields.extend(right.map(|value| ("r".to_owned(), value)));
            let text = serde_json::Value::Object(fields).to_string();
            let arena = Bump::new();
            let event = Event::from_json(text.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
            let holds = |condition: &str| compiled(condition).unwrap().holds(&event);
            prop_assert_eq!(holds("[l] == [r]"), holds("[r] == [l]"));
            prop_assert_eq!(holds("[l] != [r]"), !holds("[l] == [r]"));
            prop_assert!(holds("[l] == [l]"));
            prop_assert_eq!(holds("[l] < [r]"), holds("[r] > [l]"));
            prop_assert_eq!(holds("[l] <= [r]"), holds("[r] >= [l]"));
            prop_assert!(!(holds("[l] < [r]") && holds("[l] >= [r]")));
            prop_assert!(!holds("[l] < [r]") || holds("[l] <= [r]") && !holds("[l] == [r]"));
            prop_assert_eq!(holds("[l] in [r]"), !holds("[l] not in [r]"));
            prop_assert_eq!(holds("[l] =~ /./"), !holds("[l] !~ /./"));
            prop_assert_eq!(holds("[l] xor [r]"), holds("[l]") != holds("[r]"));
            prop_assert_eq!(holds("[l] nand [r]"), !holds("[l] and [r]"));
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, part) in [
            ("[s] =~ /(/", "regular expression"),
            ("['a', 'b'] in [list]", "cannot be looked for"),
            ("[s] in ['a', ['b']]", "list of a condition"),
        ] {
            let error = compiled(text).unwrap_err();
            assert!(error.contains(part) && error.contains("t:1:"), "{error}");
        }
    }
}
