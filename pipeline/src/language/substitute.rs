//! `${NAME}` and `${NAME:default}` in the values of a configuration.
//!
//! A name is looked up among the secrets, then in the environment, then the default counts; a
//! name that is nowhere is an error with its place. This runs before options are checked, so
//! `port => "${PORT}"` is a number like any other.
//!
//! What is put in is not searched again: the content of a variable is data. Keys of hashes,
//! names of fields and regular expressions are left alone, as in Logstash, with a warning.

use std::borrow::Cow;

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Span, Spanned};
use super::syntax::{
    Condition, ConditionKind, Config, HashEntry, Operand, OperandKind, Plugin, Section, Statement,
    Value,
};

/// Where names are looked up.
#[derive(Clone, Copy)]
pub struct Variables<'a> {
    /// The keystore.
    pub secrets: &'a dyn Fn(&str) -> Option<String>,
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    fn find(&self, name: &str) -> Option<String> {
        (self.secrets)(name).or_else(|| (self.environment)(name))
    }
}

/// A variable that has neither value nor default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable `{name}` is not set, and `${{{name}}}` gives no default")]
pub struct UndefinedVariable {
    /// Its name.
    pub name: String,
    /// Where `${…}` starts in the text, in bytes.
    pub offset: usize,
    /// How long `${…}` is.
    pub length: usize,
}

/// A `${…}` in a text.
struct Placeholder<'t> {
    start: usize,
    end: usize,
    name: &'t str,
    default: Option<&'t str>,
}

/// Replaces all variables in one text.
pub fn substitute_text<'t>(
    text: &'t str,
    variables: &Variables<'_>,
) -> Result<Cow<'t, str>, UndefinedVariable> {
    let mut placeholder = next_placeholder(text, 0);
    if placeholder.is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut replaced = String::with_capacity(text.len());
    let mut copied = 0;
    while let Some(found) = placeholder {
        let value = variables
            .find(found.name)
            .or_else(|| found.default.map(str::to_owned));
        let Some(value) = value else {
            return Err(UndefinedVariable {
                name: found.name.to_owned(),
                offset: found.start,
                length: found.end - found.start,
            });
        };
        replaced.push_str(&text[copied..found.start]);
        replaced.push_str(&value);
        copied = found.end;
        placeholder = next_placeholder(text, copied);
    }
    replaced.push_str(&text[copied..]);
    Ok(Cow::Owned(replaced))
}

/// `${`, a letter, `_` or point, then those and digits, then `}` or `:` and anything up to `}`.
fn next_placeholder(text: &str, from: usize) -> Option<Placeholder<'_>> {
    let mut search = from;
    while let Some(found) = text[search..].find("${") {
        let start = search + found;
        let name_start = start + 2;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let length = text[name_start..].bytes().take_while(is_part).count();
        let name = &text[name_start..name_start + length];
        let rest = &text[name_start + length..];
        search = name_start;
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            continue;
        }
        if rest.starts_with('}') {
            return Some(Placeholder {
                start,
                end: name_start + length + 1,
                name,
                default: None,
            });
        }
        let default = rest.strip_prefix(':').and_then(|rest| rest.split_once('}'));
        if let Some((default, _)) = default {
            let end = name_start + length + 1 + default.len() + 1;
            return Some(Placeholder {
                start,
                end,
                name,
                default: Some(default),
            });
        }
    }
    None
}

/// Replaces the variables in all options and conditions of a configuration.
pub fn substitute(config: &mut Config, variables: &Variables<'_>, diagnostics: &mut Diagnostics) {
    let mut substitution = Substitution {
        variables,
        diagnostics,
    };
    for section in Section::ALL {
        substitution.statements(config.section_mut(section));
    }
}

struct Substitution<'a, 'v> {
    variables: &'a Variables<'v>,
    diagnostics: &'a mut Diagnostics,
}

impl Substitution<'_, '_> {
    fn statements(&mut self, statements: &mut [Statement]) {
        for statement in statements {
            match statement {
                Statement::Plugin(plugin) => self.plugin(plugin),
                Statement::If(branches) => {
                    for branch in &mut branches.branches {
                        self.condition(&mut branch.condition);
                        self.statements(&mut branch.body);
                    }
                    self.statements(branches.otherwise.as_deref_mut().unwrap_or_default());
                }
            }
        }
    }

    fn plugin(&mut self, plugin: &mut Plugin) {
        for attribute in &mut plugin.attributes {
            self.value(&mut attribute.value);
        }
    }

    fn value(&mut self, value: &mut Spanned<Value>) {
        match &mut value.value {
            Value::String(text) => self.text(text, value.span),
            Value::Array(values) => self.values(values),
            Value::Hash(entries) => {
                for HashEntry { key, value } in entries {
                    if let Value::String(text) = &key.value {
                        self.left_alone(text, key.span, "in keys");
                    }
                    self.value(value);
                }
            }
            Value::Plugin(plugin) => self.plugin(plugin),
            Value::Number(_) | Value::Bareword(_) => {}
        }
    }

    fn values(&mut self, values: &mut [Spanned<Value>]) {
        for value in values {
            self.value(value);
        }
    }

    fn condition(&mut self, condition: &mut Condition) {
        match &mut condition.kind {
            ConditionKind::And(all) | ConditionKind::Or(all) => {
                for condition in all {
                    self.condition(condition);
                }
            }
            ConditionKind::Xor(left, right) | ConditionKind::Nand(left, right) => {
                self.condition(left);
                self.condition(right);
            }
            ConditionKind::Not(inner) => self.condition(inner),
            ConditionKind::Compare { left, right, .. } => {
                self.operand(left);
                self.operand(right);
            }
            ConditionKind::Match {
                subject, pattern, ..
            } => {
                self.operand(subject);
                self.left_alone(&pattern.value, pattern.span, "in regular expressions");
            }
            ConditionKind::In {
                needle, haystack, ..
            } => {
                self.operand(needle);
                self.operand(haystack);
            }
            ConditionKind::Truthy(operand) => self.operand(operand),
        }
    }

    fn operand(&mut self, operand: &mut Operand) {
        match &mut operand.kind {
            OperandKind::String(text) => self.text(text, operand.span),
            OperandKind::Array(values) => self.values(values),
            OperandKind::Field(field) => self.left_alone(field.text(), operand.span, "in fields"),
            OperandKind::Number(_) => {}
        }
    }

    fn text(&mut self, text: &mut String, span: Span) {
        match substitute_text(text, self.variables) {
            Ok(Cow::Borrowed(_)) => {}
            Ok(Cow::Owned(replaced)) => *text = replaced,
            Err(error) => {
                let place = placeholder_span(text, span, &error);
                self.diagnostics.push(
                    Diagnostic::error(place, error.to_string())
                        .code(Code::Variable)
                        .hint(format!("set it, or write `${{{}:default}}`", error.name)),
                );
            }
        }
    }

    fn left_alone(&mut self, text: &str, span: Span, place: &str) {
        if next_placeholder(text, 0).is_some() {
            self.diagnostics.push(
                Diagnostic::warning(span, format!("variables are not replaced {place}"))
                    .code(Code::Variable),
            );
        }
    }
}

/// The place of a placeholder inside a string, if the string stands in the source as it is (no
/// escapes were processed); else the place of the string.
fn placeholder_span(text: &str, span: Span, error: &UndefinedVariable) -> Span {
    const QUOTES: usize = 2;
    if span.range().len() != text.len() + QUOTES {
        return span;
    }
    let start = span.start as usize + 1 + error.offset;
    Span::new(span.source, start, start + error.length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{ParseOptions, SourceMap, parse};

    fn variables<'a>() -> Variables<'a> {
        Variables {
            secrets: &|name| (name == "SECRET").then(|| "hidden".to_owned()),
            environment: &|name| match name {
                "SECRET" => Some("shown".to_owned()),
                "A.b_1" => Some("${SECRET}".to_owned()),
                _ => None,
            },
        }
    }

    fn replaced(text: &str) -> String {
        substitute_text(text, &variables()).unwrap().into_owned()
    }

    #[test]
    fn names_defaults_and_precedence() {
        assert_eq!(replaced("<${SECRET}> ${X:a:b} ${X:}|"), "<hidden> a:b |");
        assert_eq!(replaced("${A.b_1}"), "${SECRET}");
        for text in [
            "$SECRET",
            "${}",
            "${1A}",
            "${f$$:val}",
            "${SECRET",
            "${X:open",
            "%{x}",
        ] {
            assert_eq!(replaced(text), text);
        }
        assert_eq!(replaced("${a b}${SECRET}"), "${a b}hidden");
        let error = substitute_text("ab${NONE}", &variables()).unwrap_err();
        assert_eq!(
            (error.name.as_str(), error.offset, error.length),
            ("NONE", 2, 7)
        );
    }

    #[test]
    fn all_values_are_reached_and_faults_have_their_place() {
        let sources = SourceMap::single(
            "t",
            r#"input { aa { bb => "${SECRET}" cc => { "${SECRET}" => ["x${SECRET}"] }
                 codec => dd { ee => "${NONE}" } } }
               filter { if [a] == "${SECRET}" and [b] =~ "${SECRET}" { ff { gg => '${SECRET}' } } }"#,
        );
        let mut diagnostics = Diagnostics::new();
        let mut config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        assert!(diagnostics.is_empty());
        substitute(&mut config, &variables(), &mut diagnostics);
        let printed = format!("{config:?}");
        assert_eq!(printed.matches("hidden").count(), 4, "{printed}");
        assert_eq!(diagnostics.error_count(), 1);
        let error = diagnostics
            .iter()
            .find(|diagnostic| diagnostic.is_error())
            .unwrap();
        assert_eq!(sources.text(error.span.unwrap()), "${NONE}");
        assert_eq!(
            diagnostics.len(),
            3,
            "a key and a regular expression are warned about"
        );
    }
}
