//! A tree without its places, to compare trees of texts that differ in white space.

use crate::language::{
    Condition, ConditionKind, Config, Operand, OperandKind, Plugin, Section, Span, Spanned,
    Statement, Value,
};

/// The tree with all places the same.
pub(super) fn without(mut config: Config) -> Config {
    for section in Section::ALL {
        config.section_mut(section).iter_mut().for_each(statement);
    }
    config
}

/// The condition with all places the same.
pub(super) fn condition_without(mut each: Condition) -> Condition {
    condition(&mut each);
    each
}

fn statement(each: &mut Statement) {
    match each {
        Statement::Plugin(inner) => plugin(inner),
        Statement::If(branches) => {
            branches.span = Span::default();
            for branch in &mut branches.branches {
                branch.span = Span::default();
                condition(&mut branch.condition);
                branch.body.iter_mut().for_each(statement);
            }
            let otherwise = branches.otherwise.as_mut();
            otherwise.into_iter().flatten().for_each(statement);
        }
    }
}

fn plugin(plugin: &mut Plugin) {
    plugin.span = Span::default();
    plugin.name.span = Span::default();
    for attribute in &mut plugin.attributes {
        attribute.name.span = Span::default();
        value(&mut attribute.value);
    }
}

fn value(each: &mut Spanned<Value>) {
    each.span = Span::default();
    match &mut each.value {
        Value::Number(_) | Value::Bareword(_) | Value::String(_) => {}
        Value::Array(values) => values.iter_mut().for_each(value),
        Value::Hash(entries) => {
            for entry in entries {
                value(&mut entry.key);
                value(&mut entry.value);
            }
        }
        Value::Plugin(inner) => plugin(inner),
    }
}

fn condition(each: &mut Condition) {
    each.span = Span::default();
    match &mut each.kind {
        ConditionKind::And(all) | ConditionKind::Or(all) => all.iter_mut().for_each(condition),
        ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
            condition(left);
            condition(right);
        }
        ConditionKind::Not(inner) => condition(inner),
        ConditionKind::Compare { left, right, .. } => {
            operand(left);
            operand(right);
        }
        ConditionKind::Match {
            subject, pattern, ..
        } => {
            operand(subject);
            pattern.span = Span::default();
        }
        ConditionKind::In {
            needle, haystack, ..
        } => {
            operand(needle);
            operand(haystack);
        }
        ConditionKind::Truthy(inner) => operand(inner),
    }
}

fn operand(operand: &mut Operand) {
    operand.span = Span::default();
    if let OperandKind::Array(values) = &mut operand.kind {
        values.iter_mut().for_each(value);
    }
}
