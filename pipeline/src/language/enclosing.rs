//! Which plugins stand around a place.

use super::source::Span;
use super::syntax::{Config, Plugin, Section, Statement, Value};

impl Config {
    /// The section of a place and the plugins around it: the plugin of the section first, then
    /// those inside of it (codecs). Nothing if no plugin stands around it.
    pub fn plugins_at(&self, place: Span) -> Option<(Section, Vec<&Plugin>)> {
        Section::ALL.into_iter().find_map(|section| {
            let mut plugins = Vec::new();
            in_statements(self.section(section), place, &mut plugins);
            (!plugins.is_empty()).then_some((section, plugins))
        })
    }
}

fn contains(outer: Span, place: Span) -> bool {
    outer.source == place.source && outer.start <= place.start && place.start < outer.end
}

fn in_statements<'c>(statements: &'c [Statement], place: Span, found: &mut Vec<&'c Plugin>) {
    // Statements stand in the order of their places, but those of one source only.
    let around = statements
        .iter()
        .find(|statement| contains(statement.span(), place));
    match around {
        Some(Statement::Plugin(plugin)) => in_plugin(plugin, place, found),
        Some(Statement::If(branches)) => {
            for branch in &branches.branches {
                in_statements(&branch.body, place, found);
            }
            in_statements(
                branches.otherwise.as_deref().unwrap_or_default(),
                place,
                found,
            );
        }
        None => {}
    }
}

fn in_plugin<'c>(plugin: &'c Plugin, place: Span, found: &mut Vec<&'c Plugin>) {
    found.push(plugin);
    for attribute in &plugin.attributes {
        in_value(&attribute.value.value, place, found);
    }
}

fn in_value<'c>(value: &'c Value, place: Span, found: &mut Vec<&'c Plugin>) {
    match value {
        Value::Plugin(plugin) if contains(plugin.span, place) => in_plugin(plugin, place, found),
        Value::Array(values) => {
            for value in values.iter().filter(|value| contains(value.span, place)) {
                in_value(&value.value, place, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::language::{Diagnostics, ParseOptions, Section, SourceMap, Span, parse};

    #[test]
    fn the_plugins_around_a_place() {
        let text = "input { aa { codec => bb { cc => 1 } } } filter { if [x] { dd { } } }";
        let sources = SourceMap::single("t", text);
        let config = parse(&sources, ParseOptions::default(), &mut Diagnostics::new());
        let at = |word: &str| {
            let start = text.find(word).unwrap();
            let (section, plugins) = config.plugins_at(Span::new(0, start, start))?;
            let names = plugins.iter().map(|plugin| plugin.name.value.clone());
            Some((section, names.collect::<Vec<_>>().join(" ")))
        };
        assert_eq!(at("codec"), Some((Section::Input, "aa".into())));
        assert_eq!(at("cc =>"), Some((Section::Input, "aa bb".into())));
        assert_eq!(at("dd {"), Some((Section::Filter, "dd".into())));
        assert_eq!(at("[x]"), None);
    }
}
