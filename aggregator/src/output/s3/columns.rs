//! The columns of objects that have some: their names and types, and which fields they are of.
//!
//! The last column, [`WHOLE`], has the event as JSON, whatever the others are: what does not fit them is in there.

#![cfg_attr(
    not(feature = "parquet"),
    allow(dead_code, reason = "without the feature options are only checked")
)]

use skidder_pipeline::event::{Event, Path};
use skidder_pipeline::language::{Options, Spanned};

use super::row::{Cell, Row};

/// The column that has the whole event.
pub(super) const WHOLE: &str = "event";

/// How many columns `columns` may have: each takes memory in each open object.
const MAX_COLUMNS: usize = 250;

/// The longest name of a column. COMPAT: Amazon's data catalog takes 255 bytes.
const MAX_NAME_BYTES: usize = 255;

/// What cells of a column are, besides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    String,
    Long,
    Double,
    Boolean,
    /// In microseconds, of UTC.
    Timestamp,
}

impl ColumnType {
    const NAMES: [(&'static str, Self); 5] = [
        ("string", Self::String),
        ("long", Self::Long),
        ("double", Self::Double),
        ("boolean", Self::Boolean),
        ("timestamp", Self::Timestamp),
    ];
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: ColumnType,
    field: Path,
}

/// All but the last one.
#[derive(Clone, Debug)]
pub(super) struct Columns(Vec<Column>);

/// # Defaults
/// `timestamp`, which is `@timestamp`, and `message`.
impl Default for Columns {
    fn default() -> Self {
        let column = |name: &str, field, kind| Column {
            name: name.to_owned(),
            kind,
            field: Path::new([field]),
        };
        Self(vec![
            column("timestamp", "@timestamp", ColumnType::Timestamp),
            column("message", "message", ColumnType::String),
        ])
    }
}

impl Columns {
    /// Reads `columns`; what is wrong is reported through the options.
    pub(super) fn from_options(options: &mut Options<'_>) -> Self {
        let Some(pairs) = options.string_hash("columns") else {
            return Self::default();
        };
        if pairs.len() > MAX_COLUMNS {
            let message = format!(
                "these are {} columns, and {MAX_COLUMNS} may be: the rest of an event is in the column `{WHOLE}`",
                pairs.len()
            );
            options.error("columns", message);
        }
        let mut columns: Vec<Column> = Vec::new();
        for (name, text) in &pairs {
            if let Err(reason) = check_name(&name.value, &columns) {
                options.error_in("columns", &name.value, reason);
            }
            columns.extend(column(options, &name.value, text));
        }
        Self(columns)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Column> {
        self.0.iter()
    }

    /// Makes `row` that of the event.
    pub(super) fn read(&self, event: &Event<'_>, row: &mut Row) {
        row.begin(event);
        for column in &self.0 {
            row.push(Cell::of(column.field.get(event), column.kind));
        }
    }
}

fn check_name(name: &str, columns: &[Column]) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Err(format!(
            "`{name}` cannot be the name of a column: it has up to {MAX_NAME_BYTES} letters of a to z, digits and \
             `_`, which every reader takes"
        ));
    }
    if name.eq_ignore_ascii_case(WHOLE) {
        return Err(format!(
            "the column `{WHOLE}` is always there and has the whole event: choose another name"
        ));
    }
    match columns
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(name))
    {
        Some(column) => Err(format!(
            "`{name}` is a second column `{}` to readers that do not tell upper from lower case: choose another name",
            column.name
        )),
        None => Ok(()),
    }
}

/// The column that is written as `[field]:type`.
fn column(options: &mut Options<'_>, name: &str, text: &Spanned<String>) -> Option<Column> {
    let written = text.value.rsplit_once(':');
    let names = ColumnType::NAMES.iter();
    let found = written.and_then(|(field, kind)| {
        let (_, kind) = names.clone().find(|(name, _)| *name == kind)?;
        Some((field, *kind))
    });
    let Some((field, kind)) = found.filter(|(field, _)| !field.is_empty()) else {
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        let message = format!(
            "a column is a field and a type, `[field]:type`, and the type is one of {}",
            names.join(", ")
        );
        options.error_in("columns", &text.value, message);
        return None;
    };
    let field = options.field_of(&Spanned::new(field.to_owned(), text.span))?;
    Some(Column {
        name: name.to_owned(),
        kind,
        field: Path::from(&field.value),
    })
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::read;

    fn read_columns(text: &str) -> (Vec<String>, String) {
        let text = format!("bucket => logs format => parquet columns => {{ {text} }}");
        let (options, findings) = read(&text);
        let names = options.columns.iter().map(|column| column.name.clone());
        (names.collect(), findings)
    }

    #[test]
    fn columns_are_fields_with_a_type() {
        let (names, findings) = read_columns(
            "'status' => '[http][response][status_code]:long' 'B' => 'b:string' 'node' => '[@metadata][a:b]:boolean'",
        );
        assert_eq!(
            (names.join(" "), findings),
            ("status B node".to_owned(), String::new())
        );
        let (names, _) = read_columns("");
        assert!(names.is_empty());
    }

    #[test]
    fn what_is_no_column_is_said() {
        for (text, word) in [
            ("'a' => 'b'", "[field]:type"),
            ("'a' => 'b:int'", "`boolean`"),
            ("'a' => ':long'", "[field]:type"),
            ("'a' => '[b:long'", "[b"),
            ("'' => 'b:long'", "letters"),
            ("'a.b' => 'b:long'", "letters"),
            ("'Event' => 'b:long'", "the whole event"),
            ("'a' => 'b:long' 'A' => 'c:long'", "a second column `a`"),
        ] {
            let (_, findings) = read_columns(text);
            assert!(findings.contains(word), "{text}: {findings}");
        }
        let many = |number: usize| {
            let columns: Vec<String> = (0..number)
                .map(|at| format!("'c{at}' => 'c:long'"))
                .collect();
            read_columns(&columns.join(" ")).1
        };
        assert_eq!(many(super::MAX_COLUMNS), "");
        assert!(many(super::MAX_COLUMNS + 1).contains("250 may be"));
    }
}
