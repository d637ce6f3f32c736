//! Joining options that are written more than once in one plugin.
//!
//! Logstash has always allowed that, and configurations lean on it (`match` in grok, `add_tag`
//! in mutate): hashes are merged, arrays are appended to, and anything else becomes an array.
//! Equal values stay one value.

use std::collections::HashMap;

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Span, Spanned};
use super::syntax::{Attribute, HashEntry, Value};

/// Adds an option to those of a plugin, or joins it with the earlier one of the same name.
pub(super) fn add(
    attributes: &mut Vec<Attribute>,
    added: Attribute,
    diagnostics: &mut Diagnostics,
) {
    let earlier = attributes
        .iter_mut()
        .find(|earlier| earlier.name.value == added.name.value);
    let Some(earlier) = earlier else {
        attributes.push(added);
        return;
    };
    let name = &added.name;
    if name.value == "codec" && !earlier.value.value.means_same(&added.value.value) {
        diagnostics.push(
            Diagnostic::error(name.span, "a plugin has one codec, here is a second one")
                .code(Code::Value)
                .related(earlier.name.span, "the first one")
                .hint("remove one of them"),
        );
        return;
    }
    let mismatch = |other: Span| {
        Diagnostic::error(
            name.span,
            format!(
                "`{}` is written twice, and the two values cannot be joined",
                name.value
            ),
        )
        .code(Code::Value)
        .related(other, "the first one")
        .hint("hashes are joined with hashes, and arrays with anything but hashes")
    };
    match (&mut earlier.value.value, added.value.value) {
        (Value::Hash(entries), Value::Hash(more)) => merge_hashes(entries, more, false),
        (Value::Hash(_), _) | (Value::Array(_), Value::Hash(_)) => {
            diagnostics.push(mismatch(earlier.name.span));
        }
        (Value::Array(values), Value::Array(more)) => values.extend(more),
        (Value::Array(values), more) => values.push(Spanned::new(more, added.value.span)),
        (first, more) if first.means_same(&more) => {}
        (first, more) => {
            let first = Spanned::new(take(first), earlier.value.span);
            let mut values = vec![first];
            match more {
                // COMPAT: Logstash nests this array; every plugin wants it flat.
                Value::Array(more) => values.extend(more),
                more => values.push(Spanned::new(more, added.value.span)),
            }
            earlier.value.value = Value::Array(values);
        }
    }
}

/// Merges entries into a hash. Inside a nested hash (`distinct`) an array takes no element twice.
fn merge_hashes(entries: &mut Vec<HashEntry>, more: Vec<HashEntry>, distinct: bool) {
    let mut places: HashMap<String, usize> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (entry.key_text(), index))
        .collect();
    for entry in more {
        let index = *places.entry(entry.key_text()).or_insert(entries.len());
        let Some(earlier) = entries.get_mut(index) else {
            entries.push(entry);
            continue;
        };
        match (&mut earlier.value.value, entry.value.value) {
            (Value::Hash(inner), Value::Hash(more)) => merge_hashes(inner, more, true),
            (Value::Array(values), Value::Array(more)) => {
                for value in more {
                    if !distinct || !contains(values, &value.value) {
                        values.push(value);
                    }
                }
            }
            (Value::Array(values), more) => {
                if !contains(values, &more) {
                    values.push(Spanned::new(more, entry.value.span));
                }
            }
            (first, more) if first.means_same(&more) => {}
            (first, more) => {
                let mut values = vec![Spanned::new(take(first), earlier.value.span)];
                match more {
                    Value::Array(more) => {
                        for value in more {
                            if !distinct || !contains(&values, &value.value) {
                                values.push(value);
                            }
                        }
                    }
                    more => values.push(Spanned::new(more, entry.value.span)),
                }
                earlier.value.value = Value::Array(values);
            }
        }
    }
}

fn contains(values: &[Spanned<Value>], wanted: &Value) -> bool {
    values.iter().any(|value| value.value.means_same(wanted))
}

fn take(value: &mut Value) -> Value {
    std::mem::replace(value, Value::Array(Vec::new()))
}

#[cfg(test)]
mod tests {
    use crate::language::{Config, Diagnostics, ParseOptions, SourceMap, Statement, Value, parse};

    fn plugin(options: &str) -> (Config, Diagnostics) {
        let sources = SourceMap::single("t", format!("filter {{ x {{ {options} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        (config, diagnostics)
    }

    fn joined(options: &str) -> String {
        let (config, diagnostics) = plugin(options);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let Statement::Plugin(plugin) = &config.filters[0] else {
            panic!("no plugin")
        };
        assert_eq!(plugin.attributes.len(), 1);
        print(&plugin.attributes[0].value.value)
    }

    fn print(value: &Value) -> String {
        match value {
            Value::Number(number) => number.to_string(),
            Value::Bareword(text) | Value::String(text) => text.clone(),
            Value::Array(values) => {
                let values: Vec<_> = values.iter().map(|value| print(&value.value)).collect();
                format!("[{}]", values.join(","))
            }
            Value::Hash(entries) => {
                let print_entry = |entry: &crate::language::HashEntry| {
                    format!("{}={}", entry.key_text(), print(&entry.value.value))
                };
                let entries: Vec<_> = entries.iter().map(print_entry).collect();
                format!("{{{}}}", entries.join(","))
            }
            Value::Plugin(plugin) => format!("{} {{}}", plugin.name.value),
        }
    }

    #[test]
    fn repeated_options_are_joined() {
        assert_eq!(joined("aa => 1 aa => [2, 2] aa => 1"), "[1,2,2,1]");
        assert_eq!(joined("aa => xx aa => 'xx'"), "xx");
        assert_eq!(joined("aa => xx aa => 'yy'"), "[xx,yy]");
        assert_eq!(joined("mm => { aa => 1 } mm => { bb => 2 }"), "{aa=1,bb=2}");
        assert_eq!(joined("mm => { aa => 1 } mm => { aa => 1 }"), "{aa=1}");
        assert_eq!(
            joined("mm => { aa => 1 } mm => { aa => [1, 2] }"),
            "{aa=[1,1,2]}"
        );
        assert_eq!(
            joined("mm => { aa => { bb => [1] } } mm => { aa => { bb => [1, 2] cc => 3 } }"),
            "{aa={bb=[1,2],cc=3}}"
        );
        assert_eq!(joined("codec => json codec => json"), "json");
    }

    #[test]
    fn what_cannot_be_joined_is_an_error() {
        for options in ["mm => { aa => 1 } mm => 2", "mm => [1] mm => { aa => 1 }"] {
            assert!(plugin(options).1.has_errors(), "{options}");
        }
        assert!(plugin("codec => json codec => plain").1.has_errors());
        assert!(plugin("codec => json {} codec => plain {}").1.has_errors());
    }
}
