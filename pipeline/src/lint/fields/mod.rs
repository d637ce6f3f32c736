//! Fields that are read and that nothing sets.
//!
//! Inputs like `beats` bring fields that no configuration names, and filters like `json` do too, so
//! nothing is ever certain here and all findings are hints:
//!
//! - where no such input or filter is, a field that nothing sets;
//! - anywhere, a field that nothing sets and whose name is one slip of the fingers away from one
//!   that a filter does.

mod effects;

use std::collections::HashSet;

use skidder_grok::PatternSet;

use self::effects::{Effects, text_elements};
use super::values::operands;
use crate::language::{
    Code, Condition, Config, Diagnostic, Diagnostics, EscapeStyle, FieldReference, OperandKind,
    Plugin, SourceMap, Span, Spanned, Statement, Value,
};

/// How fields are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldCheck {
    /// Patterns give the names of the Elastic Common Schema.
    pub ecs: bool,
    /// How brackets in field names are escaped.
    pub escape_style: EscapeStyle,
}

/// The name of a field: its keys, and whether they start in the metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName {
    metadata: bool,
    keys: Vec<String>,
}

impl FieldName {
    fn new(reference: &FieldReference) -> Self {
        Self {
            metadata: reference.is_metadata(),
            keys: reference.keys().to_vec(),
        }
    }

    fn is_within(&self, outer: &Self) -> bool {
        self.metadata == outer.metadata && self.keys.starts_with(&outer.keys)
    }

    /// As it is written in a condition: `[a][b]`.
    pub fn bracketed(&self) -> String {
        let root = self.metadata.then_some("@metadata").into_iter();
        let keys = root.chain(self.keys.iter().map(String::as_str));
        keys.flat_map(|key| ["[", key, "]"]).collect()
    }

    /// As it is written where no brackets are needed.
    pub fn plain(&self) -> String {
        match self.keys.as_slice() {
            [key] if !self.metadata => key.clone(),
            _ => self.bracketed(),
        }
    }
}

/// The fields that a configuration is known to set.
#[derive(Debug, Clone, Default)]
pub struct KnownFields {
    /// Each with what sets it, in order.
    set: Vec<(FieldName, String)>,
    /// Below these there may be anything.
    subtrees: Vec<FieldName>,
    /// There may be other fields.
    open: bool,
    /// There may be other fields in the metadata.
    metadata_open: bool,
}

impl KnownFields {
    /// The names, each once and with what sets it.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &str)> {
        let mut seen = HashSet::new();
        let all = self.set.iter();
        all.filter(move |(name, _)| seen.insert(name))
            .map(|(name, by)| (name, by.as_str()))
    }

    fn has(&self, wanted: &FieldName) -> bool {
        let is_known =
            |(name, _): &(FieldName, String)| wanted.is_within(name) || name.is_within(wanted);
        self.set.iter().any(is_known) || self.subtrees.iter().any(|tree| wanted.is_within(tree))
    }

    fn is_open_for(&self, wanted: &FieldName) -> bool {
        if wanted.metadata {
            self.metadata_open
        } else {
            self.open
        }
    }
}

/// The fields that are known behind the plugins that stand before a place, or behind all.
pub fn fields_at(config: &Config, check: FieldCheck, place: Option<Span>) -> KnownFields {
    let set = if check.ecs {
        PatternSet::ecs_v1()
    } else {
        PatternSet::legacy()
    };
    let mut effects = Effects::new(&set, check);
    effects.of_every_event();
    if config.inputs.is_empty() {
        // Filters alone are put to use with any events.
        effects.known.open = true;
        effects.known.metadata_open = true;
    }
    let before = |plugin: &Plugin| match place {
        Some(place) => plugin.span.source != place.source || plugin.name.span.end < place.start,
        None => true,
    };
    for_plugins(&config.inputs, &mut |plugin| effects.of_input(plugin));
    for_plugins(&config.filters, &mut |plugin| {
        if before(plugin) {
            effects.of_filter(plugin);
        }
    });
    effects.known
}

/// Looks for fields that are read and that nothing sets.
pub fn check_fields(
    config: &Config,
    sources: &SourceMap,
    check: FieldCheck,
    diagnostics: &mut Diagnostics,
) {
    let mut reader = Reader {
        known: fields_at(config, check, None),
        sources,
        check,
        diagnostics,
        reported: HashSet::new(),
    };
    for statements in [&config.filters, &config.outputs] {
        reader.statements(statements);
    }
}

fn for_plugins(statements: &[Statement], each: &mut dyn FnMut(&Plugin)) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => each(plugin),
            Statement::If(branches) => {
                for branch in &branches.branches {
                    for_plugins(&branch.body, each);
                }
                for_plugins(branches.otherwise.as_deref().unwrap_or_default(), each);
            }
        }
    }
}

/// Walks over everything that reads fields.
struct Reader<'a> {
    known: KnownFields,
    sources: &'a SourceMap,
    check: FieldCheck,
    diagnostics: &'a mut Diagnostics,
    /// One finding for each name is enough.
    reported: HashSet<FieldName>,
}

impl Reader<'_> {
    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Plugin(plugin) => self.plugin(plugin),
                Statement::If(branches) => {
                    for branch in &branches.branches {
                        self.condition(&branch.condition);
                        self.statements(&branch.body);
                    }
                    self.statements(branches.otherwise.as_deref().unwrap_or_default());
                }
            }
        }
    }

    fn condition(&mut self, condition: &Condition) {
        condition.for_leaves(&mut |leaf| {
            for operand in operands(leaf) {
                if let OperandKind::Field(reference) = &operand.kind {
                    self.read(reference, operand.span);
                }
            }
        });
    }

    fn plugin(&mut self, plugin: &Plugin) {
        let name = plugin.name.value.as_str();
        for attribute in &plugin.attributes {
            let option = attribute.name.value.as_str();
            let value = &attribute.value;
            match (name, option) {
                // What stands in `%{…}` here is a pattern, a field to set, or code.
                ("grok", "match" | "pattern_definitions") | ("dissect", "mapping") => {
                    self.keys(value);
                }
                ("grok" | "dissect" | "aggregate" | "ruby" | "script", _)
                    if !matches!(option, "add_field" | "add_tag" | "remove_tag") => {}
                ("date", "match") => {
                    if let Some(first) = text_elements(value).first() {
                        self.field(first);
                    }
                }
                (_, "source" | "field" | "address_field")
                | ("mutate", "uppercase" | "lowercase" | "capitalize" | "strip") => {
                    for text in text_elements(value) {
                        self.field(&text);
                    }
                }
                ("mutate", "convert" | "split" | "join" | "rename" | "copy") => {
                    self.keys(value);
                    self.templates(value);
                }
                _ => self.templates(value),
            }
        }
    }

    /// The keys of a hash are fields.
    fn keys(&mut self, value: &Spanned<Value>) {
        if let Value::Hash(entries) = &value.value {
            for entry in entries {
                if let Some(text) = entry.key.value.as_text() {
                    self.field(&Spanned::new(text.to_owned(), entry.key.span));
                }
            }
        }
    }

    /// A text that names a field.
    fn field(&mut self, text: &Spanned<String>) {
        if text.value.contains("%{") {
            self.text(&text.value, text.span);
        } else if let Ok(reference) =
            FieldReference::parse_with(&text.value, self.check.escape_style)
        {
            self.read(&reference, text.span);
        }
    }

    /// The fields in the templates of a value.
    fn templates(&mut self, value: &Spanned<Value>) {
        match &value.value {
            Value::String(text) => self.text(text, value.span),
            Value::Array(values) => {
                for value in values {
                    self.templates(value);
                }
            }
            Value::Hash(entries) => {
                for entry in entries {
                    self.templates(&entry.key);
                    self.templates(&entry.value);
                }
            }
            Value::Plugin(codec) => {
                for attribute in &codec.attributes {
                    self.templates(&attribute.value);
                }
            }
            Value::Number(_) | Value::Bareword(_) => {}
        }
    }

    fn text(&mut self, text: &str, span: Span) {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once("%{") {
            let Some((inside, behind)) = behind.split_once('}') else {
                return;
            };
            rest = behind;
            if inside.is_empty() || inside.starts_with(['+', '{', '%']) {
                continue;
            }
            if let Ok(reference) = FieldReference::parse_with(inside, self.check.escape_style) {
                // The place of the template in the string, if it stands there as it is.
                let whole = format!("%{{{inside}}}");
                let found = self.sources.text(span).find(&whole);
                let exact = found.map(|at| {
                    let start = span.start as usize + at;
                    Span::new(span.source, start, start + whole.len())
                });
                self.read(&reference, exact.unwrap_or(span));
            }
        }
    }

    /// A field is read at a place.
    fn read(&mut self, reference: &FieldReference, span: Span) {
        let name = FieldName::new(reference);
        let Some(last) = name.keys.last() else {
            return;
        };
        if self.known.has(&name) || self.sources.text(span).contains("${") {
            return;
        }
        let near = self.known.set.iter().find(|(known, _)| {
            known.metadata == name.metadata
                && known.keys.len() == name.keys.len()
                && known.keys.split_last().map(|(_, parents)| parents)
                    == name.keys.split_last().map(|(_, parents)| parents)
                && known.keys.last().is_some_and(|known| is_slip(last, known))
        });
        let shown = name.plain();
        let finding = match near {
            Some((known, by)) => {
                let known_last = known.keys.last().map_or("", String::as_str);
                let text = self.sources.text(span);
                let once = text.matches(last.as_str()).count() == 1;
                let mut finding =
                    Diagnostic::remark(span, format!("nothing here sets the field `{shown}`"))
                        .hint(format!(
                            "did you mean `{}`, which {by} sets?",
                            known.plain()
                        ));
                finding.suggestion = once.then(|| text.replacen(last.as_str(), known_last, 1));
                finding
            }
            None if self.known.is_open_for(&name) => return,
            None => Diagnostic::remark(span, format!("nothing sets the field `{shown}`"))
                .hint("no input of this configuration brings it, and no filter makes it"),
        };
        if self.reported.insert(name) {
            self.diagnostics.push(finding.code(Code::UnsetField));
        }
    }
}

/// Whether a name is another one with one slip: a letter more, less, wrong, or two swapped.
///
/// Numbers are no slips: `field1` and `field2` are two fields. Short names are too easily near.
fn is_slip(name: &str, known: &str) -> bool {
    const SHORTEST: usize = 4;
    let (left, right): (Vec<char>, Vec<char>) = (name.chars().collect(), known.chars().collect());
    if left == right || left.len().min(right.len()) < SHORTEST {
        return false;
    }
    let start = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[start..], &right[start..]);
    let (rev_left, rev_right) = (left.iter().rev(), right.iter().rev());
    let end = rev_left.zip(rev_right).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[..left.len() - end], &right[..right.len() - end]);
    let digits = left.iter().chain(right).any(char::is_ascii_digit);
    // A plural is another word: `tag` and `tags`, `host` and `hosts`.
    let plural =
        end == 0 && (left.is_empty() && right == ['s'] || right.is_empty() && left == ['s']);
    let slip = match (left, right) {
        ([_], [_] | []) | ([], [_]) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    };
    slip && !digits && !plural
}

#[cfg(test)]
mod tests;
