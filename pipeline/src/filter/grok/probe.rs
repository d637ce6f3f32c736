//! Why a grok filter matched a text, or how far it came: for a person who asks about one line.
//!
//! It compiles and tries beginnings of the expressions, which is slow; the filter itself knows
//! nothing of it.

use std::ops::Range;

use bumpalo::Bump;
use skidder_grok::{CompileOptions, Part, PartKind, PatternSet, Slots, outline};

use super::patterns::Patterns;
use super::{compile_options, text_of};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::{Options, Spanned};

/// Expressions of more parts than this are not taken apart further.
const MAX_PARTS: usize = 256;
/// How deep named patterns are looked into.
const MAX_DEPTH: usize = 16;
/// The capture that tells how far a beginning came.
const REACHED: &str = "reached";

/// The expressions of a grok filter, to be tried one by one.
pub struct Probe {
    set: PatternSet,
    compile: CompileOptions,
    fields: Vec<(String, Path, Vec<Spanned<String>>)>,
    break_on_match: bool,
}

/// One expression that was tried on one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The field, as it is written.
    pub field: String,
    /// Its text.
    pub text: Vec<u8>,
    /// The expression, with its place.
    pub expression: Spanned<String>,
    /// What came of it.
    pub answer: Answer,
}

/// What came of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It matched.
    Match,
    /// The fallback ran out of steps.
    GaveUp,
    /// It did not match, and came this far.
    NoMatch(Reached),
}

/// How far an expression came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The longest beginning of the expression that matches, named patterns written out where
    /// the fault is inside of them; empty if not even the first part does.
    pub prefix: String,
    /// The bytes of the text that it matches.
    pub matched: Range<usize>,
    /// The part behind it, which does not match.
    pub part: String,
    /// The named patterns that the part stands in, outermost first.
    pub within: Vec<String>,
}

impl Probe {
    /// Reads the options that say what is matched with what.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Self {
        let patterns = Patterns::from_options(options, build, None);
        let mut fields = Vec::new();
        for entry in options.hash("match").unwrap_or_default() {
            let reference = options.field_of(&entry.key);
            let expressions = options.texts_of("match", entry.value);
            if let (Some(reference), Some(expressions)) = (reference, expressions) {
                let path = Path::from(&reference.value);
                fields.push((entry.key.value, path, expressions));
            }
        }
        Self {
            set: patterns.into_set(),
            compile: compile_options(options),
            fields,
            break_on_match: options.boolean("break_on_match").unwrap_or(true),
        }
    }

    /// Tries what the filter would try on an event.
    pub fn attempts<'b>(&self, event: &Event<'b>, arena: &'b Bump) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (field, path, expressions) in &self.fields {
            let texts: Vec<Vec<u8>> = match event.get(path) {
                None => vec![Vec::new()],
                Some(Value::Array(array)) => array
                    .iter()
                    .map(|value| text_of(value, arena).to_vec())
                    .collect(),
                Some(value) => vec![text_of(value, arena).to_vec()],
            };
            let mut matched = false;
            for text in texts {
                for expression in expressions {
                    let answer = self.attempt(&expression.value, &text);
                    let found = answer == Answer::Match;
                    let gave_up = answer == Answer::GaveUp;
                    attempts.push(Attempt {
                        field: field.clone(),
                        text: text.clone(),
                        expression: expression.clone(),
                        answer,
                    });
                    if gave_up {
                        return attempts;
                    }
                    matched |= found;
                    if found && self.break_on_match {
                        break;
                    }
                }
            }
            if matched && self.break_on_match {
                break;
            }
        }
        attempts
    }

    fn attempt(&self, expression: &str, text: &[u8]) -> Answer {
        let Ok(matcher) = self.set.compile(expression, &self.compile) else {
            return Answer::NoMatch(Reached::nothing(expression));
        };
        match matcher.find(text, &mut matcher.scratch(), &mut Slots::new()) {
            Ok(true) => Answer::Match,
            Err(_) => Answer::GaveUp,
            Ok(false) => Answer::NoMatch(self.reach("", expression, text, 0)),
        }
    }

    /// How far an expression comes that stands behind a beginning which does match.
    fn reach(&self, before: &str, expression: &str, text: &[u8], depth: usize) -> Reached {
        let parts = outline(expression);
        // Of alternatives, the one that comes furthest counts.
        let branches = parts.split(|part| part.kind == PartKind::Or);
        let reached =
            branches.map(|branch| self.reach_branch(before, expression, branch, text, depth));
        reached
            .reduce(|best, next| {
                if next.matched.end > best.matched.end {
                    next
                } else {
                    best
                }
            })
            .unwrap_or_else(|| Reached::nothing(expression))
    }

    fn reach_branch(
        &self,
        before: &str,
        expression: &str,
        branch: &[Part<'_>],
        text: &[u8],
        depth: usize,
    ) -> Reached {
        let Some(first) = branch.first() else {
            return Reached::nothing(expression);
        };
        let start = first.range.start;
        let with = |end: usize| format!("{before}{}", &expression[start..end]);
        let mut reached = self.matches(before, text).unwrap_or(0..0);
        let mut prefix = before.to_owned();
        for part in branch.iter().take(MAX_PARTS) {
            let longer = with(part.range.end);
            if let Some(matched) = self.matches(&longer, text) {
                reached = matched;
                prefix = longer;
                continue;
            }
            // The part that does not match: look into it, if it is made of others.
            if let Some((inner, name)) = self.inside(expression, part)
                && depth < MAX_DEPTH
            {
                let mut deeper = self.reach(&prefix, &inner, text, depth + 1);
                let parts = outline(&inner);
                let has_branches = parts.iter().any(|part| part.kind == PartKind::Or);
                // Of alternatives that all fail at once, none is more to blame than the others;
                // and another name for the same says no more.
                let says_more = !has_branches && (parts.len() > 1 || !deeper.within.is_empty());
                if deeper.matched.end > reached.end || says_more {
                    deeper.within.splice(0..0, name);
                    return deeper;
                }
            }
            return Reached {
                prefix,
                matched: reached,
                part: expression[part.range.clone()].to_owned(),
                within: Vec::new(),
            };
        }
        // Every beginning matches, so that it is what stands around this that does not.
        Reached {
            prefix,
            matched: reached,
            part: String::new(),
            within: Vec::new(),
        }
    }

    /// What a part is made of, and its name, if there are several parts in it.
    fn inside(&self, expression: &str, part: &Part<'_>) -> Option<(String, Option<String>)> {
        if !part.quantifier.is_empty() {
            return None;
        }
        match &part.kind {
            PartKind::Reference { name, .. } => {
                let definition = self.set.definition(name)?;
                let parts = outline(definition);
                let one = parts
                    .iter()
                    .all(|part| !matches!(part.kind, PartKind::Reference { .. } | PartKind::Or));
                // `\d+` says no more than its name does.
                (!one).then(|| (definition.to_owned(), Some((*name).to_owned())))
            }
            PartKind::Group {
                kind: skidder_grok::GroupKind::Plain | skidder_grok::GroupKind::Named,
                inside,
            } => Some((expression[inside.clone()].to_owned(), None)),
            _ => None,
        }
    }

    /// The bytes of the text that a beginning of an expression matches.
    fn matches(&self, expression: &str, text: &[u8]) -> Option<Range<usize>> {
        let whole = format!("(?<{REACHED}>{expression})");
        let matcher = self.set.compile(&whole, &self.compile).ok()?;
        let mut slots = Slots::new();
        let found = matcher.find(text, &mut matcher.scratch(), &mut slots);
        let (start, end) = slots.get(0).filter(|_| found == Ok(true))?;
        Some(start..end)
    }
}

impl Reached {
    fn nothing(expression: &str) -> Self {
        Self {
            prefix: String::new(),
            matched: 0..0,
            part: expression.to_owned(),
            within: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(expression: &str, text: &str) -> (String, String, String, Vec<String>) {
        let probe = Probe {
            set: PatternSet::legacy(),
            compile: CompileOptions::default(),
            fields: Vec::new(),
            break_on_match: true,
        };
        match probe.attempt(expression, text.as_bytes()) {
            Answer::NoMatch(reached) => (
                reached.prefix,
                text[reached.matched].to_owned(),
                reached.part,
                reached.within,
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_longest_beginning_and_the_part_behind_it() {
        for (expression, text, prefix, matched, part) in [
            (
                "^%{IP:a} %{WORD:b} %{INT:c}$",
                "10.0.0.1 up x",
                "^%{IP:a} %{WORD:b} ",
                "10.0.0.1 up ",
                "%{INT:c}",
            ),
            ("^%{IP:a} up", "up", "^", "", "%{IP:a}"),
            ("a(?:b|cd)e", "acx", "ac", "ac", "d"),
            ("(?<x>ab)c$", "abcd", "(?<x>ab)c", "abc", "$"),
            ("abc", "xyz", "", "", "a"),
        ] {
            let found = reached(expression, text);
            let found = (found.0.as_str(), found.1.as_str(), found.2.as_str());
            assert_eq!(found, (prefix, matched, part), "{expression}");
        }
    }

    #[test]
    fn named_patterns_are_looked_into() {
        let line = r#"10.0.0.1 - - [10/Xyz/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 5"#;
        let (_, matched, part, within) = reached("%{COMMONAPACHELOG}", line);
        assert_eq!(matched, "10.0.0.1 - - [10/");
        assert_eq!(part, "%{MONTH}");
        assert_eq!(within, ["COMMONAPACHELOG", "HTTPD_COMMONLOG", "HTTPDATE"]);
    }
}
