//! The filter `prune`: leaves fields out by regular expressions for their names and values.
//!
//! It looks at the fields of the top level only, `@timestamp` and `@version` included. What goes is
//! decided before anything is taken away.
//!
//! PERF: with `interpolate` expressions may differ for each event; a worker keeps those it has
//! compiled, at most [`MAX_CACHED_EXPRESSIONS`] of them.
//!
//! COMPAT (logstash-filter-prune): an array loses the elements that go, and goes itself if none is
//! left; a field that is null or false is not looked at for its value.

use std::collections::HashMap;

use bumpalo::collections::Vec as ArenaVec;

use super::common::template;
use super::text::text_of;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Name, Value};
use crate::language::Options;
use crate::regex_dialect::Regex;
use crate::template::Template;

/// Expressions with filled-in fields that a worker keeps compiled.
pub const MAX_CACHED_EXPRESSIONS: usize = 1024;

/// The filter.
#[derive(Debug)]
pub struct Prune {
    /// Only fields whose name one of these matches stay, if there are any.
    allowed_names: Vec<Expression>,
    /// Fields whose name one of these matches go.
    refused_names: Vec<Expression>,
    /// For fields: values that this does not match go.
    allowed_values: Vec<(Template, Expression)>,
    /// For fields: values that this matches go.
    refused_values: Vec<(Template, Expression)>,
    slot: ScratchSlot,
}

#[derive(Debug)]
enum Expression {
    Fixed(Box<Regex>),
    Filled(Template),
}

/// Compiled expressions, or nothing for a text that is none.
type Compiled = HashMap<Box<[u8]>, Option<Regex>>;

impl Prune {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let interpolate = options.boolean("interpolate").unwrap_or(false);
        let allowed_names = options.strings("whitelist_names").unwrap_or_default();
        let allowed_names = allowed_names
            .iter()
            .filter_map(|text| expression(options, "whitelist_names", &text.value, interpolate))
            .collect();
        // COMPAT: by default what is left of a template that named no field.
        let refused = match options.strings("blacklist_names") {
            Some(names) => names.into_iter().map(|name| name.value).collect(),
            None => vec![r"%\{[^}]+\}".to_owned()],
        };
        let refused_names = refused
            .iter()
            .filter_map(|text| {
                // The default is an expression, not a template.
                let fill = interpolate && options.has("blacklist_names");
                expression(options, "blacklist_names", text, fill)
            })
            .collect();
        let allowed_values = values(options, "whitelist_values", interpolate);
        let refused_values = values(options, "blacklist_values", interpolate);
        Some(Self {
            allowed_names,
            refused_names,
            allowed_values,
            refused_values,
            slot: build.slots.take(),
        })
    }
}

/// Reads an expression.
fn expression(
    options: &mut Options<'_>,
    name: &'static str,
    text: &str,
    interpolate: bool,
) -> Option<Expression> {
    if interpolate {
        let filled = template(options, name, text)?;
        if !filled.is_literal() {
            return Some(Expression::Filled(filled));
        }
    }
    match Regex::new(text) {
        Ok(regex) => Some(Expression::Fixed(Box::new(regex))),
        Err(error) => {
            options.error(name, format!("`{name}`: {error}"));
            None
        }
    }
}

/// Reads fields and the expressions for their values.
fn values(
    options: &mut Options<'_>,
    name: &'static str,
    interpolate: bool,
) -> Vec<(Template, Expression)> {
    let mut pairs = Vec::new();
    for (field, text) in options.string_hash(name).unwrap_or_default() {
        let field = if interpolate {
            template(options, name, &field.value)
        } else {
            Some(Template::literal_text(&field.value))
        };
        let expression = expression(options, name, &text.value, interpolate);
        pairs.extend(field.zip(expression));
    }
    pairs
}

impl Expression {
    /// Whether it matches. A filled-in one that is no expression matches nothing.
    fn is_match<'b>(
        &'b self,
        text: &[u8],
        event: &Event<'b>,
        context: &mut Context<'_, 'b>,
        slot: ScratchSlot,
    ) -> bool {
        match self {
            Self::Fixed(regex) => regex.is_match(text),
            Self::Filled(template) => {
                let filled = template.fill(event, context.now, context.arena);
                let compiled = context.scratch.slot(slot, Compiled::new);
                if !compiled.contains_key(filled) {
                    if compiled.len() >= MAX_CACHED_EXPRESSIONS {
                        compiled.clear();
                    }
                    let regex = std::str::from_utf8(filled).ok();
                    let regex = regex.and_then(|text| Regex::new(text).ok());
                    compiled.insert(filled.into(), regex);
                }
                let regex = compiled.get(filled).and_then(Option::as_ref);
                regex.is_some_and(|regex| regex.is_match(text))
            }
        }
    }
}

/// What becomes of a field.
enum Fate<'b> {
    Goes,
    /// Only these elements stay.
    Loses(ArenaVec<'b, bool>),
}

impl Prune {
    fn fate_of_value<'b>(
        &'b self,
        name: &Name<'_>,
        expression: &'b Expression,
        goes_if: bool,
        event: &Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> Option<Fate<'b>> {
        let arena = context.arena;
        match event.fields.get(name)? {
            Value::Null | Value::Boolean(false) => None,
            Value::Array(values) => {
                let mut stays = ArenaVec::with_capacity_in(values.len(), arena);
                for value in values.iter() {
                    let text = text_of(value, arena);
                    stays.push(expression.is_match(text, event, context, self.slot) != goes_if);
                }
                if values.is_empty() || stays.iter().all(|stays| *stays) {
                    return None;
                }
                if stays.iter().any(|stays| *stays) {
                    return Some(Fate::Loses(stays));
                }
                Some(Fate::Goes)
            }
            value => {
                let text = text_of(value, arena);
                let goes = expression.is_match(text, event, context, self.slot) == goes_if;
                goes.then_some(Fate::Goes)
            }
        }
    }
}

impl Filter for Prune {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let mut fates: ArenaVec<'b, (Name<'b>, Fate<'b>)> = ArenaVec::new_in(arena);
        for (name, _) in event.fields.iter() {
            let text = name.as_str().as_bytes();
            let mut any = |expressions: &'b [Expression]| {
                let mut expressions = expressions.iter();
                expressions.any(|each| each.is_match(text, event, context, self.slot))
            };
            let refused = !self.allowed_names.is_empty() && !any(&self.allowed_names);
            if refused || any(&self.refused_names) {
                fates.push((name, Fate::Goes));
            }
        }
        for (pairs, goes_if) in [(&self.allowed_values, false), (&self.refused_values, true)] {
            for (name, expression) in pairs {
                let name = name.fill(event, context.now, arena);
                let Ok(name) = std::str::from_utf8(name) else {
                    continue;
                };
                let name = Name::new(name);
                let fate = self.fate_of_value(&name, expression, goes_if, event, context);
                let before = fates.iter_mut().find(|(each, _)| each.is(&name));
                match (before, fate) {
                    (_, None) => {}
                    (Some((_, Fate::Loses(before))), Some(Fate::Loses(now))) => {
                        for (stays, still) in before.iter_mut().zip(now) {
                            *stays &= still;
                        }
                    }
                    (_, Some(fate)) => fates.push((name, fate)),
                }
            }
        }
        for (name, fate) in fates {
            match fate {
                Fate::Goes => {
                    event.fields.remove(&name);
                }
                Fate::Loses(stays) => {
                    if let Some(Value::Array(values)) = event.fields.get_mut(&name) {
                        let mut stays = stays.iter();
                        values.retain(|_| stays.next().copied().unwrap_or(true));
                    }
                }
            }
        }
        Outcome::Applied
    }
}
