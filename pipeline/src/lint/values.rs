//! Whether some value of one field satisfies several comparisons at once.
//!
//! The comparisons are not reasoned about but tried: a set of values is made out of their constants
//! such that every value that a field can have behaves like one of the set, and the compiled
//! conditions are asked about each. So the answer follows the semantics of conditions whatever
//! they are.
//!
//! INVARIANT: "none" is only answered when it is certain. What cannot be tried with so few values
//! (regular expressions on any text, an order beside a search in the field) counts as satisfied.

use bumpalo::Bump;

use crate::condition::Condition;
use crate::event::{Array, Event, Object, Path, Timestamp, Value};
use crate::language::{
    self, CompareOperator, ConditionKind, Diagnostics, FieldReference, Number, Operand, OperandKind,
};
use crate::program::Test as _;

/// A condition, and whether it is to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'c> {
    pub(super) condition: &'c language::Condition,
    pub(super) holds: bool,
}

/// Whether a condition looks at no field, at one that can be reasoned about, or at more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Looks<'c> {
    AtNothing,
    At(&'c FieldReference),
    AtMore,
}

/// What a condition looks at.
pub(super) fn looks(condition: &language::Condition) -> Looks<'_> {
    let mut looks = Looks::AtNothing;
    let mut simple = true;
    condition.for_leaves(&mut |leaf| {
        for operand in operands(leaf) {
            let OperandKind::Field(field) = &operand.kind else {
                continue;
            };
            looks = match looks {
                Looks::AtNothing if !field.keys().is_empty() => Looks::At(field),
                Looks::At(other) if is_same_field(other, field) => looks,
                _ => Looks::AtMore,
            };
        }
        let fields = operands(leaf)
            .into_iter()
            .filter(|operand| matches!(operand.kind, OperandKind::Field(_)));
        simple &= fields.count() < 2;
    });
    if simple { looks } else { Looks::AtMore }
}

pub(super) fn is_same_field(left: &FieldReference, right: &FieldReference) -> bool {
    left.is_metadata() == right.is_metadata() && left.keys() == right.keys()
}

/// Whether a condition that looks at nothing holds; none if it does not compile.
pub(super) fn constant(condition: &language::Condition) -> Option<bool> {
    let compiled = Condition::compile(condition, &mut Diagnostics::new())?;
    let arena = Bump::new();
    Some(compiled.holds(&Event::new_in(&arena)))
}

/// Whether no value of the field gives all of them what they want. All must look at that field.
pub(super) fn exclude_each_other(field: &FieldReference, wanted: &[Wanted<'_>]) -> bool {
    let mut constants = Constants::default();
    for each in wanted {
        each.condition.for_leaves(&mut |leaf| constants.add(leaf));
    }
    if constants.strange {
        return false;
    }
    let searched = !constants.needles.is_empty();
    let compiled: Vec<(Condition, Wanted<'_>)> = wanted
        .iter()
        // An order between texts beside a search in the text is more than the values below show.
        .filter(|each| !(searched && has_leaf(each.condition, is_order)))
        .filter_map(|each| {
            let compiled = Condition::compile(each.condition, &mut Diagnostics::new())?;
            Some((compiled, *each))
        })
        .collect();
    if compiled.is_empty() {
        return false;
    }
    let arena = Bump::new();
    let path = Path::from(field);
    for candidate in constants.candidates(&arena) {
        let mut event = Event::new_in(&arena);
        if let Some(value) = candidate.value {
            event.set(&path, value.copy_in(&arena), &arena);
            if event.get(&path) != Some(&value) {
                // It is no place for such a value.
                return false;
            }
        }
        let satisfied = compiled.iter().all(|(compiled, each)| {
            (candidate.any_text && has_leaf(each.condition, is_match))
                || compiled.holds(&event) == each.holds
        });
        if satisfied {
            return false;
        }
    }
    true
}

/// A value to try.
struct Candidate<'b> {
    /// None if the field is missing.
    value: Option<Value<'b>>,
    /// It stands for many texts, of which some may match an expression and some not.
    any_text: bool,
}

/// The constants that a field is compared with.
#[derive(Default)]
struct Constants {
    numbers: Vec<f64>,
    integers: Vec<i64>,
    texts: Vec<String>,
    lists: Vec<Vec<language::Value>>,
    /// What is looked for in the field.
    needles: Vec<language::Value>,
    /// There is something that the values of [`Constants::candidates`] do not cover.
    strange: bool,
}

impl Constants {
    fn add(&mut self, leaf: &language::Condition) {
        match &leaf.kind {
            ConditionKind::Compare { left, right, .. } => {
                self.operand(left);
                self.operand(right);
            }
            ConditionKind::In {
                needle, haystack, ..
            } => {
                if matches!(haystack.kind, OperandKind::Field(_)) {
                    self.needles.extend(match &needle.kind {
                        OperandKind::String(text) => Some(language::Value::String(text.clone())),
                        OperandKind::Number(number) => Some(language::Value::Number(*number)),
                        OperandKind::Field(_) | OperandKind::Array(_) => None,
                    });
                }
                self.operand(needle);
                self.operand(haystack);
            }
            _ => {}
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match &operand.kind {
            OperandKind::Field(_) => {}
            OperandKind::String(text) => self.text(text),
            OperandKind::Number(number) => self.number(*number),
            OperandKind::Array(values) => {
                let values: Vec<_> = values.iter().map(|each| each.value.clone()).collect();
                for value in &values {
                    match value {
                        language::Value::Number(number) => self.number(*number),
                        other => match other.as_text() {
                            Some(text) => self.text(text),
                            None => self.strange = true,
                        },
                    }
                }
                self.lists.push(values);
            }
        }
    }

    fn text(&mut self, text: &str) {
        // The texts between two texts are made of control characters below.
        self.strange |= text.chars().any(|character| character < ' ');
        // In a list everything is compared as text, numbers too.
        if let Ok(integer) = text.parse() {
            self.number(Number::Integer(integer));
        } else if let Ok(decimal) = text.parse::<f64>() {
            self.number(Number::Decimal(decimal));
        }
        self.texts.push(text.to_owned());
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Integer(integer) => {
                self.integers.push(integer);
                self.numbers.push(integer as f64);
                // How it reads as text.
                self.texts.push(integer.to_string());
            }
            Number::Decimal(decimal) if decimal.is_finite() => {
                self.numbers.push(decimal);
                self.texts.push(number.to_string());
                if decimal.fract() == 0.0 && decimal.abs() < 1e15 {
                    self.integers.push(decimal as i64);
                }
            }
            Number::Decimal(_) => self.strange = true,
        }
        self.strange |= self
            .numbers
            .last()
            .is_some_and(|number| number.abs() > 1e15);
    }

    /// Values such that each that a field can have is to the comparisons like one of them.
    fn candidates<'b>(&self, arena: &'b Bump) -> Vec<Candidate<'b>> {
        let mut candidates: Vec<Candidate<'b>> = [
            None,
            Some(Value::Null),
            Some(Value::Boolean(false)),
            Some(Value::Boolean(true)),
            Some(Value::Time(Timestamp::new(1, 0))),
            Some(Value::array(Array::new_in(arena), arena)),
            Some(Value::object(Object::new_in(arena), arena)),
        ]
        .into_iter()
        .map(|value| Candidate {
            value,
            any_text: false,
        })
        .collect();
        let mut exact = |value| {
            candidates.push(Candidate {
                value: Some(value),
                any_text: false,
            });
        };
        for integer in &self.integers {
            exact(Value::Integer(*integer));
        }
        let mut numbers = self.numbers.clone();
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (numbers.first(), numbers.last());
        exact(Value::Float(least.map_or(0.5, |least| least - 0.5)));
        exact(Value::Float(most.map_or(0.5, |most| most + 0.5)));
        for pair in numbers.windows(2) {
            exact(Value::Float(f64::midpoint(pair[0], pair[1])));
        }
        for number in &numbers {
            exact(Value::Float(*number));
        }
        for text in &self.texts {
            exact(Value::copied_text(text.as_bytes(), arena));
        }
        exact(Value::Text(b"false"));
        exact(Value::Text(b""));
        for list in &self.lists {
            exact(array_of(list, arena));
        }
        exact(array_of(&self.needles, arena));
        for needle in &self.needles {
            exact(array_of(std::slice::from_ref(needle), arena));
        }
        // Texts that are none of the constants: before all, behind each, and with all needles.
        let mut others: Vec<Vec<u8>> = vec![vec![1]];
        for text in &self.texts {
            others.push([text.as_bytes(), &[1]].concat());
        }
        let needles = self.needles.iter().flat_map(|needle| {
            let text = match needle {
                language::Value::Number(number) => number.to_string(),
                other => other.as_text().unwrap_or_default().to_owned(),
            };
            [text.into_bytes(), vec![1]]
        });
        others.push(needles.collect::<Vec<_>>().concat());
        for other in others {
            candidates.push(Candidate {
                value: Some(Value::copied_text(&other, arena)),
                any_text: true,
            });
        }
        candidates
    }
}

fn array_of<'b>(values: &[language::Value], arena: &'b Bump) -> Value<'b> {
    let mut array = Array::with_capacity_in(values.len(), arena);
    for value in values {
        array.push(match value {
            language::Value::Number(Number::Integer(integer)) => Value::Integer(*integer),
            language::Value::Number(Number::Decimal(decimal)) => Value::Float(*decimal),
            other => Value::copied_text(other.as_text().unwrap_or_default().as_bytes(), arena),
        });
    }
    Value::array(array, arena)
}

fn is_order(leaf: &language::Condition) -> bool {
    let ConditionKind::Compare { operator, .. } = &leaf.kind else {
        return false;
    };
    !matches!(operator, CompareOperator::Equal | CompareOperator::NotEqual)
}

fn is_match(leaf: &language::Condition) -> bool {
    matches!(leaf.kind, ConditionKind::Match { .. })
}

fn has_leaf(condition: &language::Condition, is: fn(&language::Condition) -> bool) -> bool {
    let mut found = false;
    condition.for_leaves(&mut |leaf| found |= is(leaf));
    found
}

/// The operands of a comparison.
pub(super) fn operands(leaf: &language::Condition) -> Vec<&Operand> {
    match &leaf.kind {
        ConditionKind::Compare { left, right, .. } => vec![left, right],
        ConditionKind::Match { subject, .. } => vec![subject],
        ConditionKind::In {
            needle, haystack, ..
        } => vec![needle, haystack],
        ConditionKind::Truthy(operand) => vec![operand],
        _ => Vec::new(),
    }
}
