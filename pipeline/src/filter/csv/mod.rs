//! The filter `csv`: fields out of a row in CSV.
//!
//! Fields are slices of the text; only those with a doubled quote in them are copied, into the
//! arena. Of a text with more rows only the first counts.
//!
//! COMPAT: columns without a name are `column1`, `column2` and so on. With
//! `autodetect_column_names` the first event names the columns and is dropped; that is the first to
//! come to any worker.

pub(crate) mod convert;
pub(crate) mod row;

use std::sync::OnceLock;

use bumpalo::Bump;

use crate::Build;
use crate::event::{Event, MESSAGE, Name, Path, Timestamp, Value};
use crate::filter::{Context, Filter, Outcome};
use crate::language::{Diagnostic, EscapeStyle, FieldReference, Options, did_you_mean};
use crate::template::{Place, refuses, set_named};

use convert::{CONVERSIONS, Conversion};
use row::{Dialect, Row};

/// The tag of an event whose text is no CSV.
const FAILURE: &[u8] = b"_csvparsefailure";
/// The tag of an event without any text, with `skip_empty_rows`.
const EMPTY: &[u8] = b"_csvskippedemptyfield";

/// How many columns a row may have, unless `max_columns` says otherwise.
pub const DEFAULT_MAX_COLUMNS: usize = 1_000;
/// The most that `max_columns` may be.
pub const HIGHEST_MAX_COLUMNS: usize = 10_000;

/// For how many columns without a name the name is made beforehand.
const PREPARED: usize = 64;

/// The filter.
#[derive(Debug)]
pub struct Csv {
    source: Path,
    target: Option<FieldReference>,
    dialect: Dialect,
    columns: Box<[Column]>,
    /// The columns that the first event named.
    detected: OnceLock<Box<[Column]>>,
    /// Names of columns that have none.
    generated: Box<[Column]>,
    conversions: Box<[(Box<str>, Conversion)]>,
    autodetect: bool,
    autogenerate: bool,
    skip_header: bool,
    skip_empty_columns: bool,
    skip_empty_rows: bool,
    escape_style: EscapeStyle,
}

/// A column with a name.
#[derive(Debug)]
struct Column {
    /// Null in a header that leaves it out.
    name: Option<Box<str>>,
    /// None if the name is no reference.
    path: Option<Path>,
    conversion: Option<Conversion>,
}

/// The text is no CSV, or cannot be stored.
struct Failed;

impl Csv {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        // COMPAT: changes nothing but a hint in Logstash's log.
        build.ecs(options);
        let source = options.field("source").map(|source| source.value);
        let target = options.field("target").map(|target| target.value);
        let mut filter = Self {
            source: source.map_or_else(
                || Path::new([MESSAGE.as_str()]),
                |source| Path::from(&source),
            ),
            target,
            dialect: dialect(options),
            columns: Box::default(),
            detected: OnceLock::new(),
            generated: Box::default(),
            conversions: conversions(options),
            autodetect: options.boolean("autodetect_column_names").unwrap_or(false),
            autogenerate: options.boolean("autogenerate_column_names").unwrap_or(true),
            skip_header: options.boolean("skip_header").unwrap_or(false),
            skip_empty_columns: options.boolean("skip_empty_columns").unwrap_or(false),
            skip_empty_rows: options.boolean("skip_empty_rows").unwrap_or(false),
            escape_style: options.escape_style(),
        };
        let mut columns = Vec::new();
        for name in options.strings("columns").unwrap_or_default() {
            let column = filter.column(&name.value);
            if column.path.is_none() {
                let message = format!("the column `{}` is no reference to a field", name.value);
                options.diagnostics().error(name.span, message);
            }
            columns.push(column);
        }
        filter.columns = columns.into();
        let prepared = 1..=PREPARED.min(filter.dialect.max_columns);
        filter.generated = prepared
            .map(|number| filter.column(&format!("column{number}")))
            .collect();
        Some(filter)
    }

    /// A column of that name, below the target.
    fn column(&self, name: &str) -> Column {
        // COMPAT: a name that starts with a bracket is a reference, any other is a name.
        let reference = if name.starts_with('[') {
            name.to_owned()
        } else {
            format!("[{name}]")
        };
        let path = FieldReference::parse_with(&reference, self.escape_style).ok();
        let path = path.map(|column| {
            let root = match &self.target {
                Some(target) => target.is_metadata(),
                None => column.is_metadata(),
            };
            let root = root.then_some(crate::language::METADATA);
            let inner = column.is_metadata() && self.target.is_some();
            let inner = inner.then_some(crate::language::METADATA);
            let prefix = self.target.iter().flat_map(FieldReference::keys);
            Path::new(
                root.into_iter()
                    .chain(prefix.map(String::as_str))
                    .chain(inner)
                    .chain(column.keys().iter().map(String::as_str)),
            )
        });
        Column {
            path: path.filter(|path| !path.is_root()),
            conversion: self.conversion(name),
            name: Some(name.into()),
        }
    }

    fn conversion(&self, name: &str) -> Option<Conversion> {
        let found = self.conversions.iter().find(|(of, _)| **of == *name);
        found.map(|(_, conversion)| *conversion)
    }

    /// The columns that a header names.
    fn header(&self, row: &Row<'_>) -> Box<[Column]> {
        let columns = row.iter().map(|field| match field {
            Some(name) => self.column(&String::from_utf8_lossy(name)),
            None => Column {
                name: None,
                path: None,
                conversion: None,
            },
        });
        columns.collect()
    }

    fn store<'b>(
        &'b self,
        row: &Row<'b>,
        columns: &'b [Column],
        event: &mut Event<'b>,
        now: Timestamp,
        arena: &'b Bump,
    ) -> Result<(), Failed> {
        for (at, field) in row.iter().enumerate() {
            if self.skip_empty_columns && field.is_none_or(<[u8]>::is_empty) {
                continue;
            }
            let named = columns.get(at).filter(|column| column.name.is_some());
            if named.is_none() && !self.autogenerate {
                continue;
            }
            let value = |conversion: Option<Conversion>| match (field, conversion) {
                (None, _) => Value::Null,
                (Some(text), None) => Value::Text(text),
                (Some(text), Some(conversion)) => conversion.convert(text, now, arena),
            };
            let Some(column) = named.or_else(|| self.generated.get(at)) else {
                self.store_far(at, event, arena, value)?;
                continue;
            };
            let value = value(column.conversion);
            let path = column.path.as_ref().ok_or(Failed)?;
            if refuses(path, &value) {
                return Err(Failed);
            }
            path.set(event, value, arena);
        }
        Ok(())
    }

    /// Stores a column whose name must be made.
    fn store_far<'b>(
        &self,
        at: usize,
        event: &mut Event<'b>,
        arena: &'b Bump,
        value: impl FnOnce(Option<Conversion>) -> Value<'b>,
    ) -> Result<(), Failed> {
        let name = arena.alloc_str(&format!("column{}", at + 1));
        let value = value(self.conversion(name));
        let Some(target) = &self.target else {
            let set = set_named(event, Name::new(name), value, self.escape_style, arena);
            return set.then_some(()).ok_or(Failed);
        };
        let mut reference = target.text().to_owned();
        if !reference.starts_with('[') {
            reference = format!("[{reference}]");
        }
        let reference = arena.alloc_str(&format!("{reference}[{name}]"));
        let place = Place::named(reference.as_bytes(), self.escape_style, arena);
        place.map_err(|_| Failed)?.set(event, value, arena);
        Ok(())
    }
}

impl Filter for Csv {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let row = match event.get(&self.source) {
            None | Some(Value::Null | Value::Boolean(false)) => return Outcome::Unapplied,
            Some(Value::Text(text)) => self.dialect.row(text, arena),
            Some(_) => Err(row::Malformed),
        };
        let mut columns = &self.columns;
        let stored = match row {
            Ok(None) if self.skip_empty_rows => {
                event.tag(EMPTY, arena);
                return Outcome::Unapplied;
            }
            Ok(Some(row)) => {
                if self.autodetect && columns.is_empty() {
                    match self.detected.get() {
                        Some(detected) => columns = detected,
                        None => {
                            // Another worker may have been quicker: then this event is a row, and
                            // a row it will be.
                            if self.detected.set(self.header(&row)).is_ok() {
                                event.cancel();
                                return Outcome::Unapplied;
                            }
                            columns = self.detected.get().unwrap_or(columns);
                        }
                    }
                }
                let is_header = self.skip_header
                    && !columns.is_empty()
                    && columns.len() == row.len()
                    && columns
                        .iter()
                        .zip(&row)
                        .all(|(column, field)| column.name.as_deref().map(str::as_bytes) == *field);
                if is_header {
                    event.cancel();
                    return Outcome::Unapplied;
                }
                self.store(&row, columns, event, context.now, arena)
            }
            _ => Err(Failed),
        };
        if stored.is_ok() {
            return Outcome::Applied;
        }
        event.tag(FAILURE, arena);
        Outcome::Unapplied
    }
}

/// The options that say how rows are written.
pub(crate) fn dialect(options: &mut Options<'_>) -> Dialect {
    let separator = options.string("separator").unwrap_or_else(|| ",".into());
    if separator.is_empty() {
        options.error("separator", "`separator` must not be empty");
    }
    if separator == r"\t" {
        options.warning(
            "separator",
            "`separator` is a backslash and a `t`; for a tab write the character itself",
        );
    }
    let quote = match options.string("quote_char") {
        None => "\"".to_owned(),
        // COMPAT: so written it means the character.
        Some(quote) if quote == r"\x00" => "\0".to_owned(),
        Some(quote) => quote,
    };
    if quote.chars().count() != 1 {
        options.error("quote_char", "`quote_char` must be one character");
    }
    Dialect {
        separator: separator.into_bytes().into(),
        quote: quote.into_bytes().into(),
        max_columns: options
            .count("max_columns", 1..=HIGHEST_MAX_COLUMNS)
            .unwrap_or(DEFAULT_MAX_COLUMNS),
    }
}

/// The option `convert`: what columns are converted to.
pub(crate) fn conversions(options: &mut Options<'_>) -> Box<[(Box<str>, Conversion)]> {
    let mut conversions = Vec::new();
    for (column, kind) in options.string_hash("convert").unwrap_or_default() {
        match CONVERSIONS.iter().find(|(name, _)| *name == kind.value) {
            Some((_, conversion)) => conversions.push((column.value.into(), *conversion)),
            None => {
                let names = CONVERSIONS.iter().map(|(name, _)| *name);
                let known: Vec<_> = names.clone().map(|name| format!("`{name}`")).collect();
                options.diagnostics().push(
                    Diagnostic::error(
                        kind.span,
                        format!("invalid conversion type `{}`", kind.value),
                    )
                    .label(format!("must be one of {}", known.join(", ")))
                    .maybe_hint(did_you_mean(&kind.value, names)),
                );
            }
        }
    }
    conversions.into()
}
