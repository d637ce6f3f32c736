//! The options of one plugin, for the plugin's author.
//!
//! A plugin asks for each option it knows by name and type, once, and then calls
//! [`Options::finish`], which reports what nobody asked for. Values are coerced as Logstash
//! coerces them (`port => "5044"` is a number, a lone string is an array of one). What does not
//! fit is reported at the place of the value, and the option then reads as absent, so that one
//! run shows all mistakes: authors read all options first and give up afterwards, by
//! [`Options::is_valid`].
//!
//! INVARIANT: variables are already replaced (see [`super::substitute`]).

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::field_reference::{EscapeStyle, FieldReference};
use super::known_option::{KnownOption, NotedOptions, OptionKind, OptionStatus};
use super::source::{Span, Spanned};
use super::syntax::{Attribute, HashEntry, Number, Plugin, Value};
use super::units::{DurationUnit, parse_duration, parse_size};

/// The options of one plugin while they are read.
#[derive(Debug)]
pub struct Options<'a> {
    plugin: &'a Plugin,
    kind: &'static str,
    diagnostics: &'a mut Diagnostics,
    errors_before: usize,
    escape_style: EscapeStyle,
    known: Vec<KnownOption>,
}

/// One entry of a hash option.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The key as text.
    pub key: Spanned<String>,
    /// The value.
    pub value: &'a Spanned<Value>,
}

impl<'a> Options<'a> {
    /// The options of a plugin; `kind` is the word for messages: `input`, `filter`, `output` or
    /// `codec`.
    pub fn new(plugin: &'a Plugin, kind: &'static str, diagnostics: &'a mut Diagnostics) -> Self {
        let errors_before = diagnostics.error_count();
        let escape_style = EscapeStyle::None;
        Self {
            plugin,
            kind,
            diagnostics,
            errors_before,
            escape_style,
            known: Vec::new(),
        }
    }

    /// Sets how field references are escaped.
    #[must_use]
    pub fn with_escape_style(mut self, escape_style: EscapeStyle) -> Self {
        self.escape_style = escape_style;
        self
    }

    /// How field references are escaped.
    pub fn escape_style(&self) -> EscapeStyle {
        self.escape_style
    }

    /// The plugin itself.
    pub fn plugin(&self) -> &'a Plugin {
        self.plugin
    }

    /// Where findings go; for those that only the plugin's author can make.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// Reports an error at the value of an option, or at the plugin if the option is not there.
    pub fn error(&mut self, name: &str, message: impl Into<String>) {
        let span = self.span(name);
        self.diagnostics.error(span, message);
    }

    /// Reports an error at a text inside of the value of an option.
    pub fn error_in(&mut self, name: &str, text: &str, message: impl Into<String>) {
        let value = self.find(name).map(|attribute| &attribute.value);
        let place = value.and_then(|value| place_of(value, text));
        let span = place.unwrap_or_else(|| self.span(name));
        self.diagnostics
            .push(Diagnostic::error(span, message).code(Code::OptionValue));
    }

    /// Reports a warning at the value of an option, or at the plugin if the option is not there.
    pub fn warning(&mut self, name: &str, message: impl Into<String>) {
        let span = self.span(name);
        self.diagnostics.warning(span, message);
    }

    /// Whether no error was reported since these options were opened.
    pub fn is_valid(&self) -> bool {
        self.diagnostics.error_count() == self.errors_before
    }

    /// Where the value of an option stands, or the plugin's name if the option is not there.
    pub fn span(&self, name: &str) -> Span {
        self.find(name)
            .map_or(self.plugin.name.span, |attribute| attribute.value.span)
    }

    /// Whether an option is written, without asking for it.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'a Attribute> {
        self.plugin
            .attributes
            .iter()
            .find(|attribute| attribute.name.value == name)
    }

    /// The value of an option as written.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Spanned<Value>> {
        self.known(name);
        self.find(name).map(|attribute| &attribute.value)
    }

    /// The value of an option that takes such values.
    fn value_of(&mut self, name: &'static str, kind: OptionKind) -> Option<&'a Spanned<Value>> {
        self.known(name).kind = kind;
        self.find(name).map(|attribute| &attribute.value)
    }

    /// What is known of an option.
    fn known(&mut self, name: &'static str) -> &mut KnownOption {
        let index = self.known.iter().position(|known| known.name == name);
        let index = index.unwrap_or_else(|| {
            self.known.push(KnownOption {
                name,
                kind: OptionKind::Any,
                status: OptionStatus::Current,
            });
            self.known.len() - 1
        });
        &mut self.known[index]
    }

    /// Reports that an option the plugin cannot do without is not there. For options that have
    /// no `required_…` reader of their own.
    pub fn missing(&mut self, name: &str) {
        let Plugin { name: plugin, .. } = self.plugin;
        self.diagnostics.push(
            Diagnostic::error(
                plugin.span,
                format!("{} `{}` needs the option `{name}`", self.kind, plugin.value),
            )
            .code(Code::MissingOption)
            .hint(format!("add `{name} => …`")),
        );
    }

    /// A text. A number counts as its digits, an array of one as its element.
    pub fn string(&mut self, name: &'static str) -> Option<String> {
        self.spanned_string(name).map(|text| text.value)
    }

    /// A text that must be there.
    pub fn required_string(&mut self, name: &'static str) -> Option<String> {
        if !self.has(name) {
            self.value(name);
            self.missing(name);
        }
        self.string(name)
    }

    /// A text with its place.
    pub fn spanned_string(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let value = self.value_of(name, OptionKind::Text)?;
        let text = single(value).and_then(text_of);
        if text.is_none() {
            self.mismatch(name, value, "a string");
        }
        text
    }

    /// `true` or `false`, also in quotes.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value_of(name, OptionKind::Boolean)?;
        match single(value).and_then(|value| value.value.as_text()) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                self.mismatch(name, value, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, name: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value_of(name, OptionKind::Integer(bounds.clone()))?;
        let number = single(value).and_then(|value| match &value.value {
            Value::Number(Number::Integer(integer)) => Some(*integer),
            Value::Number(Number::Decimal(decimal)) => whole(*decimal),
            other => other.as_text().and_then(|text| text.trim().parse().ok()),
        });
        let Some(number) = number else {
            self.mismatch(name, value, "a whole number");
            return None;
        };
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            let expected = match (*least, *most) {
                (least, i64::MAX) => format!("{least} or more"),
                (i64::MIN, most) => format!("{most} or less"),
                (least, most) => format!("between {least} and {most}"),
            };
            self.diagnostics.push(
                Diagnostic::error(value.span, format!("`{name}` is out of bounds"))
                    .code(Code::OptionValue)
                    .label(format!("must be {expected}")),
            );
            return None;
        }
        Some(number)
    }

    /// A whole number of things: [`Options::integer`] for counts and sizes.
    pub fn count(&mut self, name: &'static str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let least = i64::try_from(*bounds.start()).unwrap_or(i64::MAX);
        let most = i64::try_from(*bounds.end()).unwrap_or(i64::MAX);
        let number = self.integer(name, least..=most)?;
        usize::try_from(number).ok()
    }

    /// A number with or without a point.
    pub fn number(&mut self, name: &'static str) -> Option<f64> {
        let value = self.value_of(name, OptionKind::Number)?;
        let number = single(value).and_then(|value| match &value.value {
            Value::Number(Number::Integer(integer)) => Some(*integer as f64),
            Value::Number(Number::Decimal(decimal)) => Some(*decimal),
            other => {
                let number = other
                    .as_text()
                    .and_then(|text| text.trim().parse::<f64>().ok());
                number.filter(|number| number.is_finite())
            }
        });
        if number.is_none() {
            self.mismatch(name, value, "a number");
        }
        number
    }

    /// A size in bytes: `1048576`, `"10 MiB"`.
    pub fn bytes(&mut self, name: &'static str) -> Option<u64> {
        let size = self.parsed(name, parse_size);
        self.known(name).kind = OptionKind::Size;
        size
    }

    /// A duration: a number (of `unit`), or a text like `"5s"`.
    pub fn duration(&mut self, name: &'static str, unit: DurationUnit) -> Option<Duration> {
        let duration = self.parsed(name, |text| parse_duration(text, unit));
        self.known(name).kind = OptionKind::Duration;
        duration
    }

    /// One of some words.
    pub fn enumeration<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let words = choices.iter().map(|(choice, _)| *choice).collect();
        let value = self.value_of(name, OptionKind::Choice(words))?;
        let text = single(value).and_then(text_of);
        let chosen = text.as_ref().and_then(|text| {
            choices
                .iter()
                .find(|(choice, _)| *choice == text.value)
                .map(|(_, chosen)| *chosen)
        });
        if chosen.is_none() {
            let names: Vec<String> = choices
                .iter()
                .map(|(choice, _)| format!("`{choice}`"))
                .collect();
            let finding = Diagnostic::error(
                value.span,
                format!("`{name}` must be one of {}", names.join(", ")),
            )
            .code(Code::OptionValue)
            .label(found(&value.value));
            self.diagnostics.push(match &text {
                Some(text) => {
                    finding.did_you_mean(&text.value, choices.iter().map(|(choice, _)| *choice))
                }
                None => finding,
            });
        }
        chosen
    }

    /// A list of texts; one text alone is a list of one.
    pub fn strings(&mut self, name: &'static str) -> Option<Vec<Spanned<String>>> {
        let value = self.value_of(name, OptionKind::Texts)?;
        self.texts_of(name, value)
    }

    /// The texts of any value inside an option (a value of a hash, say), for messages called
    /// `name`: a text, or an array of them.
    pub fn texts_of(&mut self, name: &str, value: &Spanned<Value>) -> Option<Vec<Spanned<String>>> {
        let mut texts = Vec::new();
        let mut fits = true;
        for element in elements(value) {
            match text_of(element) {
                Some(text) => texts.push(text),
                None => {
                    self.mismatch(name, element, "a string");
                    fits = false;
                }
            }
        }
        fits.then_some(texts)
    }

    /// The text of any value inside an option, for messages called `name`.
    pub fn text_in(&mut self, name: &str, value: &Spanned<Value>) -> Option<Spanned<String>> {
        let text = single(value).and_then(text_of);
        if text.is_none() {
            self.mismatch(name, value, "a string");
        }
        text
    }

    /// A hash, in order. An array of even length is one too: `[key, value, key, value]`.
    pub fn hash(&mut self, name: &'static str) -> Option<Vec<Entry<'a>>> {
        let value = self.value_of(name, OptionKind::Hash)?;
        let entries = match &value.value {
            Value::Hash(entries) => Some(entries.iter().filter_map(entry_of).collect()),
            Value::Array(values) if values.len() % 2 == 0 => values
                .chunks_exact(2)
                .map(|pair| {
                    Some(Entry {
                        key: text_of(&pair[0])?,
                        value: &pair[1],
                    })
                })
                .collect(),
            _ => None,
        };
        if entries.is_none() {
            self.mismatch(name, value, "a hash: `{ key => value }`");
        }
        entries
    }

    /// A hash whose values are texts.
    pub fn string_hash(
        &mut self,
        name: &'static str,
    ) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
        let mut pairs = Vec::new();
        let mut fits = true;
        for entry in self.hash(name)? {
            match self.text_in(name, entry.value) {
                Some(text) => pairs.push((entry.key, text)),
                None => fits = false,
            }
        }
        fits.then_some(pairs)
    }

    /// A codec: its name alone, or a plugin with options.
    pub fn codec(&mut self, name: &'static str) -> Option<Cow<'a, Plugin>> {
        let value = self.value_of(name, OptionKind::Codec)?;
        let inner = single(value)?;
        match &inner.value {
            Value::Plugin(plugin) => Some(Cow::Borrowed(plugin)),
            Value::Bareword(text) | Value::String(text) => Some(Cow::Owned(Plugin {
                name: Spanned::new(text.clone(), inner.span),
                attributes: Vec::new(),
                span: inner.span,
            })),
            _ => {
                self.mismatch(name, value, "a codec: `json`, or `json { … }`");
                None
            }
        }
    }

    /// A field reference. An empty text is none.
    pub fn field(&mut self, name: &'static str) -> Option<Spanned<FieldReference>> {
        let text = self.spanned_string(name);
        self.known(name).kind = OptionKind::Field;
        let text = text?;
        if text.value.is_empty() {
            return None;
        }
        self.field_of(&text)
    }

    /// A list of field references.
    pub fn fields(&mut self, name: &'static str) -> Option<Vec<Spanned<FieldReference>>> {
        let texts = self.strings(name);
        self.known(name).kind = OptionKind::Fields;
        let texts = texts?;
        let fields: Vec<_> = texts
            .iter()
            .filter_map(|text| self.field_of(text))
            .collect();
        (fields.len() == texts.len()).then_some(fields)
    }

    /// A text read as a field reference; what is wrong with it is reported at its place.
    pub fn field_of(&mut self, text: &Spanned<String>) -> Option<Spanned<FieldReference>> {
        match FieldReference::parse_with(&text.value, self.escape_style) {
            Ok(field) => Some(Spanned::new(field, text.span)),
            Err(error) => {
                self.diagnostics.push(
                    Diagnostic::error(text.span, error.to_string()).code(Code::FieldReference),
                );
                None
            }
        }
    }

    /// Warns if an option is written that works but has a better form. Ask for its value as for
    /// any other.
    pub fn deprecated(&mut self, name: &'static str, instead: &str) {
        self.known(name).status = OptionStatus::Deprecated;
        if let Some(attribute) = self.find(name) {
            self.diagnostics.push(
                Diagnostic::warning(
                    attribute.name.span,
                    format!("the option `{name}` is deprecated"),
                )
                .code(Code::DeprecatedOption)
                .hint(instead),
            );
        }
    }

    /// Refuses an option that Logstash has removed or that is not supported here; `instead`
    /// says what to do.
    pub fn obsolete(&mut self, name: &'static str, instead: &str) {
        self.known(name).status = OptionStatus::Unsupported;
        if let Some(attribute) = self.find(name) {
            self.diagnostics.push(
                Diagnostic::error(
                    attribute.name.span,
                    format!(
                        "the option `{name}` of {} `{}` is not supported",
                        self.kind, self.plugin.name.value
                    ),
                )
                .code(Code::UnsupportedOption)
                .hint(instead),
            );
        }
    }

    /// Takes note of an option that means nothing here and does no harm; it is warned about.
    pub fn without_effect(&mut self, name: &'static str, reason: &str) {
        self.known(name).status = OptionStatus::WithoutEffect;
        if let Some(attribute) = self.find(name) {
            self.diagnostics.push(
                Diagnostic::warning(
                    attribute.name.span,
                    format!("the option `{name}` has no effect here"),
                )
                .code(Code::OptionWithoutEffect)
                .hint(reason),
            );
        }
    }

    /// Reports the options that nobody asked for.
    pub fn finish(&mut self) {
        for attribute in &self.plugin.attributes {
            let name = attribute.name.value.as_str();
            if self.known.iter().any(|known| known.name == name) {
                continue;
            }
            self.diagnostics.push(
                Diagnostic::error(
                    attribute.name.span,
                    format!(
                        "{} `{}` has no option `{name}`",
                        self.kind, self.plugin.name.value
                    ),
                )
                .code(Code::UnknownOption)
                .did_you_mean(name, self.known.iter().map(|known| known.name)),
            );
        }
        self.diagnostics.note_options(|| NotedOptions {
            kind: self.kind,
            plugin: self.plugin.name.value.clone(),
            options: self.known.clone(),
        });
    }

    /// Reports a value of the wrong type.
    pub fn mismatch(&mut self, name: &str, value: &Spanned<Value>, expected: &str) {
        self.diagnostics.push(
            Diagnostic::error(value.span, format!("`{name}` must be {expected}"))
                .code(Code::OptionValue)
                .label(found(&value.value)),
        );
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.spanned_string(name)?;
        match parse(&text.value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.diagnostics.push(
                    Diagnostic::error(text.span, format!("`{name}`: {error}"))
                        .code(Code::OptionValue),
                );
                None
            }
        }
    }
}

/// What a value is, for the caret.
fn found(value: &Value) -> String {
    format!("this is {}", value.kind())
}

/// Where a text stands in a value.
fn place_of(value: &Spanned<Value>, text: &str) -> Option<Span> {
    match &value.value {
        Value::Array(values) => values.iter().find_map(|value| place_of(value, text)),
        Value::Hash(entries) => entries
            .iter()
            .find_map(|entry| place_of(&entry.key, text).or_else(|| place_of(&entry.value, text))),
        other => (other.as_text() == Some(text)).then_some(value.span),
    }
}

/// A value itself, or the only element of an array.
fn single(value: &Spanned<Value>) -> Option<&Spanned<Value>> {
    match &value.value {
        Value::Array(values) => match values.as_slice() {
            [only] => Some(only),
            _ => None,
        },
        _ => Some(value),
    }
}

/// The elements of an array, or a value alone.
fn elements(value: &Spanned<Value>) -> &[Spanned<Value>] {
    match &value.value {
        Value::Array(values) => values,
        _ => std::slice::from_ref(value),
    }
}

fn text_of(value: &Spanned<Value>) -> Option<Spanned<String>> {
    let text = match &value.value {
        Value::Number(number) => number.to_string(),
        other => other.as_text()?.to_owned(),
    };
    Some(Spanned::new(text, value.span))
}

fn entry_of(entry: &HashEntry) -> Option<Entry<'_>> {
    Some(Entry {
        key: text_of(&entry.key)?,
        value: &entry.value,
    })
}

/// A decimal without fraction as an integer.
fn whole(decimal: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (decimal.fract() == 0.0 && decimal.abs() <= EXACT).then_some(decimal as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{ParseOptions, SourceMap, Statement, parse};

    /// Reads the options of a filter `x`; returns what the reader made and the findings.
    fn read<T>(
        text: &str,
        read: impl FnOnce(&mut Options<'_>) -> T,
    ) -> (T, Diagnostics, SourceMap) {
        let sources = SourceMap::single("t", format!("filter {{ x {{ {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        assert!(
            diagnostics.is_empty(),
            "{}",
            diagnostics.render(&sources, false)
        );
        let Statement::Plugin(plugin) = &config.filters[0] else {
            panic!("no plugin")
        };
        let mut options = Options::new(plugin, "filter", &mut diagnostics);
        let result = read(&mut options);
        options.finish();
        (result, diagnostics, sources)
    }

    fn good<T>(text: &str, reader: impl FnOnce(&mut Options<'_>) -> T) -> T {
        let (result, diagnostics, sources) = read(text, reader);
        assert!(
            diagnostics.is_empty(),
            "{}",
            diagnostics.render(&sources, false)
        );
        result
    }

    fn bad<T>(text: &str, reader: impl FnOnce(&mut Options<'_>) -> Option<T>) -> String {
        let (result, diagnostics, sources) = read(text, reader);
        assert!(result.is_none(), "{text}");
        assert_eq!(
            diagnostics.error_count(),
            1,
            "{}",
            diagnostics.render(&sources, false)
        );
        diagnostics.render(&sources, false)
    }

    fn texts(texts: Option<Vec<Spanned<String>>>) -> Vec<String> {
        texts.unwrap().into_iter().map(|text| text.value).collect()
    }

    #[test]
    fn values_are_coerced() {
        assert_eq!(
            good("aa => '5044'", |o| o.integer("aa", 1..=65_535)),
            Some(5044)
        );
        assert_eq!(good("aa => 5.0", |o| o.integer("aa", 1..=65_535)), Some(5));
        assert_eq!(good("aa => 5044", |o| o.string("aa")).unwrap(), "5044");
        assert_eq!(good("aa => ['x']", |o| o.string("aa")).unwrap(), "x");
        assert_eq!(good("aa => 'true'", |o| o.boolean("aa")), Some(true));
        assert_eq!(good("aa => false", |o| o.boolean("aa")), Some(false));
        assert_eq!(good("aa => '0.5'", |o| o.number("aa")), Some(0.5));
        assert_eq!(texts(good("aa => xx", |o| o.strings("aa"))), ["xx"]);
        assert_eq!(
            texts(good("aa => [xx, 5]", |o| o.strings("aa"))),
            ["xx", "5"]
        );
        assert_eq!(
            texts(good("aa => xx aa => yy", |o| o.strings("aa"))),
            ["xx", "yy"]
        );
        assert_eq!(good("aa => '1 KiB'", |o| o.bytes("aa")), Some(1024));
        let second = |o: &mut Options<'_>| o.duration("aa", DurationUnit::Seconds);
        assert_eq!(good("aa => 5", second), Some(Duration::from_secs(5)));
        assert_eq!(good("aa => '5ms'", second), Some(Duration::from_millis(5)));
        assert_eq!(good("aa => 3", |o| o.count("aa", 0..=usize::MAX)), Some(3));
        assert_eq!(good("", |o| o.count("aa", 0..=1)), None);
    }

    #[test]
    fn hashes_codecs_and_fields() {
        let pairs = good("aa => { kk => vv 2 => 3 }", |o| o.string_hash("aa")).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (&*k.value, &*v.value)).collect();
        assert_eq!(pairs, [("kk", "vv"), ("2", "3")]);
        let pairs = good("aa => ['k', 'v']", |o| o.string_hash("aa")).unwrap();
        assert_eq!(
            (pairs[0].0.value.as_str(), pairs[0].1.value.as_str()),
            ("k", "v")
        );

        let codec = |text| good(text, |o| o.codec("aa").map(Cow::into_owned)).unwrap();
        assert_eq!(codec("aa => json").name.value, "json");
        assert_eq!(codec("aa => 'json'").name.value, "json");
        assert_eq!(codec("aa => json { bb => 1 }").attributes.len(), 1);

        let field = good("aa => '[a][b]'", |o| o.field("aa")).unwrap();
        assert_eq!(field.value.keys(), ["a", "b"]);
        assert!(good("aa => ''", |o| o.field("aa")).is_none());
        assert_eq!(
            good("aa => ['a', '[b]']", |o| o.fields("aa"))
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn wrong_values_are_reported_at_their_place() {
        let text = bad("aa => yes", |o| o.boolean("aa"));
        assert!(text.contains("`aa` must be `true` or `false`"), "{text}");
        assert!(text.contains("t:1:20"), "{text}");
        assert!(text.contains("this is a word"), "{text}");
        let text = bad("aa => 70000", |o| o.integer("aa", 1..=65_535));
        assert!(text.contains("must be between 1 and 65535"), "{text}");
        assert!(bad("aa => 0", |o| o.count("aa", 1..=usize::MAX)).contains("1 or more"));
        bad("aa => '5x'", |o| o.integer("aa", 0..=9));
        bad("aa => 5.5", |o| o.integer("aa", 0..=9));
        bad("aa => 'NaN'", |o| o.number("aa"));
        bad("aa => [xx, yy]", |o| o.string("aa"));
        bad("aa => { bb => 1 }", |o| o.strings("aa"));
        bad("aa => [[1]]", |o| o.strings("aa"));
        bad("aa => [1, 2, 3]", |o| {
            o.hash("aa").map(|entries| entries.len())
        });
        bad("aa => { bb => [1, 2] }", |o| o.string_hash("aa"));
        bad("aa => '5 parsecs'", |o| {
            o.duration("aa", DurationUnit::Seconds)
        });
        bad("aa => '5 parsecs'", |o| o.bytes("aa"));
        bad("aa => 'a[b]'", |o| o.field("aa"));
        bad("aa => 5", |o| o.codec("aa").map(Cow::into_owned));
        assert!(bad("", |o| o.required_string("path")).contains("needs the option `path`"));
    }

    #[test]
    fn enumerations_name_the_choices() {
        let choices = [("none", 0), ("optional", 1), ("required", 2)];
        assert_eq!(
            good("aa => optional", |o| o.enumeration("aa", &choices)),
            Some(1)
        );
        let text = bad("aa => optoinal", |o| o.enumeration("aa", &choices));
        assert!(
            text.contains("one of `none`, `optional`, `required`"),
            "{text}"
        );
        assert!(text.contains("did you mean `optional`?"), "{text}");
    }

    #[test]
    fn unknown_old_and_useless_options() {
        let text = bad("mtach => 1", |o| o.string("match"));
        assert!(text.contains("filter `x` has no option `mtach`"), "{text}");
        assert!(text.contains("did you mean `match`?"), "{text}");
        let text = bad("ssl => true", |o| {
            o.obsolete("ssl", "write `ssl_enabled`");
            None::<()>
        });
        assert!(text.contains("write `ssl_enabled`"), "{text}");
        let ((), diagnostics, _) = read("ssl => true old => 1", |o| {
            o.deprecated("ssl", "write `ssl_enabled`");
            o.without_effect("old", "there is nothing to tune");
        });
        assert_eq!((diagnostics.error_count(), diagnostics.len()), (0, 2));
    }
}
