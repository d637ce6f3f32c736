//! Runs the code of `aggregate` on an event and the map of its task.

use std::cmp::Ordering;

use bumpalo::Bump;

use super::code::{Change, Expression, Method, Operator, Statement};
use crate::event::{Event, Value};
use crate::filter::OwnedValue;
use crate::number::{float_prefix, integer_prefix};
use crate::number_text::write_ruby_float;
use crate::template::refuses;

/// The fields of a map.
pub(super) type Map = Vec<(Box<str>, OwnedValue)>;

/// The code cannot go on, as when something is added to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault;

/// What code works on.
pub(super) struct Run<'r, 'b> {
    pub(super) event: &'r mut Event<'b>,
    pub(super) map: &'r mut Map,
    /// By how many bytes the map may still grow.
    pub(super) bytes_left: usize,
    pub(super) arena: &'b Bump,
}

impl<'b> Run<'_, 'b> {
    /// Runs statements, up to the first that fails.
    pub(super) fn run(&mut self, statements: &'b [Statement]) -> Result<(), Fault> {
        for statement in statements {
            match statement {
                Statement::Change(keys, change, value) => self.change(keys, *change, value)?,
                Statement::SetField(path, value) => {
                    let value = self.value(value)?.copied_in(self.arena);
                    if refuses(path, &value) {
                        return Err(Fault);
                    }
                    path.set(self.event, value, self.arena);
                }
                Statement::RemoveField(path) => {
                    self.event.remove(path);
                }
                Statement::Tag(tag) => {
                    let Value::Text(tag) = self.value(tag)?.copied_in(self.arena) else {
                        return Err(Fault);
                    };
                    self.event.tag(tag, self.arena);
                }
                Statement::Cancel => self.event.cancel(),
                Statement::If(condition, body, otherwise) => {
                    let body = if is_true(&self.value(condition)?) {
                        body
                    } else {
                        otherwise
                    };
                    self.run(body)?;
                }
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        keys: &[Expression],
        change: Change,
        value: &Expression,
    ) -> Result<(), Fault> {
        let mut names = Vec::with_capacity(keys.len());
        for key in keys {
            let OwnedValue::Text(name) = self.value(key)? else {
                return Err(Fault);
            };
            names.push(String::from_utf8_lossy(&name).into_owned());
        }
        let old = at(self.map, &names).cloned().unwrap_or(OwnedValue::Null);
        if change == Change::SetIfMissing && is_true(&old) {
            return Ok(());
        }
        let value = self.value(value)?;
        if change == Change::Append {
            // In place: a list grows by one at a time.
            let cost = value.bytes();
            if cost > self.bytes_left {
                return Err(Fault);
            }
            match (slot(self.map, &names)?, value) {
                (OwnedValue::Array(values), value) => values.push(value),
                (there @ OwnedValue::Text(_), OwnedValue::Text(more)) => {
                    *there = calculate(Operator::Add, &old, &OwnedValue::Text(more))?;
                }
                _ => return Err(Fault),
            }
            self.bytes_left -= cost;
            return Ok(());
        }
        let value = match change {
            Change::Add => calculate(Operator::Add, &old, &value)?,
            Change::Subtract => calculate(Operator::Subtract, &old, &value)?,
            _ => value,
        };
        let names_cost: usize = names.iter().map(String::len).sum();
        let cost = value.bytes() + names_cost;
        if cost > self.bytes_left + old.bytes() + names_cost {
            return Err(Fault);
        }
        *slot(self.map, &names)? = value;
        self.bytes_left = (self.bytes_left + old.bytes()).saturating_sub(cost);
        Ok(())
    }

    fn value(&mut self, expression: &Expression) -> Result<OwnedValue, Fault> {
        Ok(match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Field(path) => self
                .event
                .get(path)
                .map_or(OwnedValue::Null, OwnedValue::from_value),
            Expression::Map => OwnedValue::Object(self.map.clone()),
            Expression::Index(of, index) => {
                let index = self.value(index)?;
                // The map itself is not copied for one of its fields.
                if let (Expression::Map, OwnedValue::Text(name)) = (&**of, &index) {
                    let name = String::from_utf8_lossy(name);
                    return Ok(field(self.map, &name).cloned().unwrap_or(OwnedValue::Null));
                }
                match (self.value(of)?, index) {
                    (OwnedValue::Object(fields), OwnedValue::Text(name)) => {
                        let name = String::from_utf8_lossy(&name);
                        field(&fields, &name).cloned().unwrap_or(OwnedValue::Null)
                    }
                    (OwnedValue::Array(values), OwnedValue::Integer(index)) => {
                        let at = if index < 0 {
                            index + values.len() as i64
                        } else {
                            index
                        };
                        let at = usize::try_from(at).ok();
                        at.and_then(|at| values.get(at))
                            .cloned()
                            .unwrap_or(OwnedValue::Null)
                    }
                    _ => return Err(Fault),
                }
            }
            Expression::Array(values) => {
                let values: Result<_, _> = values.iter().map(|value| self.value(value)).collect();
                OwnedValue::Array(values?)
            }
            Expression::Object(pairs) => {
                let mut fields: Map = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let OwnedValue::Text(name) = self.value(key)? else {
                        return Err(Fault);
                    };
                    let name = String::from_utf8_lossy(&name).into_owned();
                    *slot(&mut fields, &[name])? = self.value(value)?;
                }
                OwnedValue::Object(fields)
            }
            Expression::Not(inner) => OwnedValue::Boolean(!is_true(&self.value(inner)?)),
            Expression::Negate(inner) => match self.value(inner)? {
                OwnedValue::Integer(integer) => {
                    OwnedValue::Integer(integer.checked_neg().ok_or(Fault)?)
                }
                OwnedValue::Float(float) => OwnedValue::Float(-float),
                _ => return Err(Fault),
            },
            Expression::And(left, right) => {
                let left = self.value(left)?;
                if is_true(&left) {
                    self.value(right)?
                } else {
                    left
                }
            }
            Expression::Or(left, right) => {
                let left = self.value(left)?;
                if is_true(&left) {
                    left
                } else {
                    self.value(right)?
                }
            }
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                calculate(*operator, &left, &right)?
            }
            Expression::Call(of, method, argument) => {
                let of = self.value(of)?;
                let argument = match argument {
                    Some(argument) => self.value(argument)?,
                    None => OwnedValue::Null,
                };
                call(&of, *method, &argument)?
            }
        })
    }
}

fn is_true(value: &OwnedValue) -> bool {
    !matches!(value, OwnedValue::Null | OwnedValue::Boolean(false))
}

fn field<'m>(map: &'m Map, name: &str) -> Option<&'m OwnedValue> {
    let mut fields = map.iter();
    Some(&fields.find(|(known, _)| **known == *name)?.1)
}

/// The value at these names.
fn at<'m>(map: &'m Map, names: &[String]) -> Option<&'m OwnedValue> {
    let (first, rest) = names.split_first()?;
    let mut value = field(map, first)?;
    for name in rest {
        let OwnedValue::Object(fields) = value else {
            return None;
        };
        value = field(fields, name)?;
    }
    Some(value)
}

/// The place at these names; null if it was not there. What is on the way must be there.
fn slot<'m>(map: &'m mut Map, names: &[String]) -> Result<&'m mut OwnedValue, Fault> {
    let (last, way) = names.split_last().ok_or(Fault)?;
    let mut fields = map;
    for name in way {
        let mut there = fields.iter_mut();
        match there.find(|(known, _)| **known == **name) {
            Some((_, OwnedValue::Object(inner))) => fields = inner,
            _ => return Err(Fault),
        }
    }
    let index = match fields.iter().position(|(known, _)| **known == **last) {
        Some(index) => index,
        None => {
            fields.push((last.as_str().into(), OwnedValue::Null));
            fields.len() - 1
        }
    };
    Ok(&mut fields[index].1)
}

fn float_of(value: &OwnedValue) -> Option<f64> {
    match value {
        OwnedValue::Integer(integer) => Some(*integer as f64),
        OwnedValue::Float(float) => Some(*float),
        OwnedValue::Numeral(numeral) => numeral.parse().ok(),
        _ => None,
    }
}

fn calculate(
    operator: Operator,
    left: &OwnedValue,
    right: &OwnedValue,
) -> Result<OwnedValue, Fault> {
    use Operator::{Add, Divide, Equal, Multiply, Subtract, Unequal};
    match (operator, left, right) {
        (Equal, _, _) => return Ok(OwnedValue::Boolean(is_equal(left, right))),
        (Unequal, _, _) => return Ok(OwnedValue::Boolean(!is_equal(left, right))),
        (Add, OwnedValue::Text(left), OwnedValue::Text(right)) => {
            return Ok(OwnedValue::Text([&**left, &**right].concat().into()));
        }
        (Add, OwnedValue::Array(left), OwnedValue::Array(right)) => {
            return Ok(OwnedValue::Array(
                left.iter().chain(right).cloned().collect(),
            ));
        }
        (
            Add | Subtract | Multiply | Divide,
            OwnedValue::Integer(left),
            OwnedValue::Integer(right),
        ) => {
            let result = match operator {
                Add => left.checked_add(*right),
                Subtract => left.checked_sub(*right),
                Multiply => left.checked_mul(*right),
                // Towards the smaller number, as Ruby divides.
                _ if *right == 0 => None,
                _ => left.checked_div(*right).map(|quotient| {
                    let inexact = left % right != 0;
                    quotient - i64::from(inexact && (*left < 0) != (*right < 0))
                }),
            };
            return result.map(OwnedValue::Integer).ok_or(Fault);
        }
        _ => {}
    }
    if let Add | Subtract | Multiply | Divide = operator {
        let (left, right) = (float_of(left).ok_or(Fault)?, float_of(right).ok_or(Fault)?);
        let result = match operator {
            Add => left + right,
            Subtract => left - right,
            Multiply => left * right,
            _ => left / right,
        };
        return if result.is_finite() {
            Ok(OwnedValue::Float(result))
        } else {
            Err(Fault)
        };
    }
    let ordering = match (left, right) {
        (OwnedValue::Text(left), OwnedValue::Text(right)) => left.cmp(right),
        (OwnedValue::Time(left), OwnedValue::Time(right)) => {
            (left.seconds(), left.nanoseconds()).cmp(&(right.seconds(), right.nanoseconds()))
        }
        (OwnedValue::Integer(left), OwnedValue::Integer(right)) => left.cmp(right),
        _ => {
            let (left, right) = (float_of(left).ok_or(Fault)?, float_of(right).ok_or(Fault)?);
            left.partial_cmp(&right).ok_or(Fault)?
        }
    };
    Ok(OwnedValue::Boolean(match operator {
        Operator::Less => ordering == Ordering::Less,
        Operator::LessOrEqual => ordering != Ordering::Greater,
        Operator::Greater => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    }))
}

fn is_equal(left: &OwnedValue, right: &OwnedValue) -> bool {
    match (float_of(left), float_of(right)) {
        #[expect(clippy::float_cmp, reason = "that is what the operator means")]
        (Some(one), Some(other)) => one == other,
        _ => left == right,
    }
}

fn call(of: &OwnedValue, method: Method, argument: &OwnedValue) -> Result<OwnedValue, Fault> {
    Ok(match (method, of) {
        (Method::ToInteger, OwnedValue::Text(text)) => OwnedValue::Integer(integer_prefix(text)),
        (Method::ToInteger, OwnedValue::Null) => OwnedValue::Integer(0),
        (Method::ToInteger, OwnedValue::Integer(integer)) => OwnedValue::Integer(*integer),
        (Method::ToInteger, OwnedValue::Float(float)) => OwnedValue::Integer(*float as i64),
        (Method::ToFloat, OwnedValue::Text(text)) => OwnedValue::Float(float_prefix(text)),
        (Method::ToFloat, OwnedValue::Null) => OwnedValue::Float(0.0),
        (Method::ToFloat, number) => OwnedValue::Float(float_of(number).ok_or(Fault)?),
        (Method::ToText, OwnedValue::Text(text)) => OwnedValue::Text(text.clone()),
        (Method::ToText, OwnedValue::Null) => OwnedValue::Text(Box::default()),
        (Method::ToText, OwnedValue::Integer(integer)) => text(integer),
        (Method::ToText, OwnedValue::Boolean(boolean)) => text(boolean),
        (Method::ToText, OwnedValue::Numeral(numeral)) => text(numeral),
        (Method::ToText, OwnedValue::Time(time)) => text(time),
        (Method::ToText, OwnedValue::Float(float)) => {
            let mut out = Vec::new();
            write_ruby_float(*float, &mut out);
            OwnedValue::Text(out.into())
        }
        (Method::Size | Method::IsEmpty, _) => {
            let size = match of {
                OwnedValue::Array(values) => values.len(),
                OwnedValue::Object(fields) => fields.len(),
                OwnedValue::Text(text) => String::from_utf8_lossy(text).chars().count(),
                _ => return Err(Fault),
            };
            if method == Method::Size {
                OwnedValue::Integer(size as i64)
            } else {
                OwnedValue::Boolean(size == 0)
            }
        }
        (Method::IsNil, _) => OwnedValue::Boolean(*of == OwnedValue::Null),
        (Method::Includes, _) => OwnedValue::Boolean(match (of, argument) {
            (OwnedValue::Array(values), _) => values.iter().any(|value| is_equal(value, argument)),
            (OwnedValue::Text(text), OwnedValue::Text(part)) => {
                memchr::memmem::find(text, part).is_some()
            }
            (OwnedValue::Object(fields), OwnedValue::Text(name)) => {
                field(fields, &String::from_utf8_lossy(name)).is_some()
            }
            _ => return Err(Fault),
        }),
        _ => return Err(Fault),
    })
}

fn text(value: &impl ToString) -> OwnedValue {
    OwnedValue::Text(value.to_string().into_bytes().into())
}
