//! The names of plugins (`id`): each is used once in a pipeline.
//!
//! COMPAT: two plugins with one id are an error. Here it matters, too: the disk queue knows inputs by their ids,
//! and dead letters outputs.

use std::collections::HashMap;

use crate::language::{Code, Config, Diagnostic, Diagnostics, Section, Span, Statement};

/// Finds plugins of a pipeline with the same id.
pub(crate) fn check(config: &Config, diagnostics: &mut Diagnostics) {
    let mut seen = HashMap::new();
    for section in [Section::Input, Section::Filter, Section::Output] {
        walk(config.section(section), &mut seen, diagnostics);
    }
}

fn walk<'c>(
    statements: &'c [Statement],
    seen: &mut HashMap<&'c str, Span>,
    diagnostics: &mut Diagnostics,
) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => {
                let ids = plugin.attributes.iter();
                let ids = ids.filter(|attribute| attribute.name.value == "id");
                for attribute in ids {
                    let Some(id) = attribute.value.value.as_text() else {
                        continue;
                    };
                    if let Some(first) = seen.insert(id, attribute.value.span) {
                        let message = format!("a second plugin has the id `{id}`");
                        let finding = Diagnostic::error(attribute.value.span, message)
                            .code(Code::OptionValue)
                            .related(first, "the first one")
                            .hint("give each plugin of a pipeline an id of its own");
                        diagnostics.push(finding);
                    }
                }
            }
            Statement::If(conditional) => {
                for branch in &conditional.branches {
                    walk(&branch.body, seen, diagnostics);
                }
                let otherwise = conditional.otherwise.as_deref().unwrap_or_default();
                walk(otherwise, seen, diagnostics);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{ParseOptions, SourceMap, parse};

    #[test]
    fn an_id_is_used_once_wherever_its_plugin_stands() {
        let text = "input { stdin { id => one } } filter { if [a] { drop { id => two } } else { drop { id => one } } drop { } }
                    output { stdout { id => two } null { id => three } }";
        let sources = SourceMap::single("test", text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        check(&config, &mut diagnostics);
        let places = diagnostics.iter().map(|finding| {
            let at = finding.span.and_then(|span| sources.position(span));
            (at.map(|at| at.line), finding.message.as_str())
        });
        let expected = [
            (Some(1), "a second plugin has the id `one`"),
            (Some(2), "a second plugin has the id `two`"),
        ];
        assert_eq!(places.collect::<Vec<_>>(), expected);
    }
}
