//! An event as a row: a cell for each column, and the whole of it as a line of JSON.
//!
//! A value that does not fit the type of its column leaves the cell empty and is counted; it is in the line. Numbers may
//! stand in strings. Nothing else is made to fit.

#![cfg_attr(
    not(feature = "parquet"),
    allow(dead_code, reason = "without the feature nothing is read from a row")
)]

use skidder_pipeline::event::{Event, Timestamp, Value, write_json};

use super::columns::ColumnType;

/// How an event comes to its object.
#[derive(Clone, Copy)]
pub(super) enum Record<'e> {
    /// As it is written into an object of text, and what makes a row of it: an object that is made again may have been
    /// begun with columns.
    Text(&'e [u8], &'e dyn Fn() -> Row),
    /// As a row.
    Row(&'e Row),
}

impl<'e> Record<'e> {
    /// What an object of text has of it.
    pub(super) fn text(self) -> &'e [u8] {
        match self {
            Self::Text(text, _) => text,
            Self::Row(row) => &row.line,
        }
    }

    /// Values that do not fit their columns.
    pub(super) fn misfits(self) -> u64 {
        match self {
            Self::Text(..) => 0,
            Self::Row(row) => row.misfits,
        }
    }
}

/// A row, whose memory can be used for the next one.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// In the order of the columns; lengths of texts stand for them.
    cells: Vec<Cell<usize>>,
    /// The texts of all cells, one behind the other.
    texts: Vec<u8>,
    line: Vec<u8>,
    misfits: u64,
}

/// A cell. `T` is what it has of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<T> {
    Empty,
    /// Empty, for what is there does not fit.
    Misfit,
    Text(T),
    Long(i64),
    Double(f64),
    Boolean(bool),
    /// Microseconds since 1970.
    Time(i64),
}

impl Row {
    /// Makes it the row of an event, still without cells.
    pub(super) fn begin(&mut self, event: &Event<'_>) {
        self.cells.clear();
        self.texts.clear();
        self.line.clear();
        self.misfits = 0;
        write_json(event, &mut self.line);
        self.line.push(b'\n');
    }

    /// Adds the cell of the next column.
    pub(super) fn push(&mut self, cell: Cell<&[u8]>) {
        self.misfits += u64::from(cell == Cell::Misfit);
        let cell = cell.map(|text| self.push_text(text));
        self.cells.push(cell);
    }

    /// The cells, and last that of the whole event.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell<&[u8]>> {
        let mut texts = self.texts.as_slice();
        let cells = self.cells.iter().map(move |cell| {
            cell.map(|length| {
                let (text, rest) = texts.split_at(length);
                texts = rest;
                text
            })
        });
        let whole = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        cells.chain([Cell::Text(whole)])
    }

    /// Adds a text, in UTF-8 whatever it was, and returns its length.
    fn push_text(&mut self, text: &[u8]) -> usize {
        let before = self.texts.len();
        for chunk in text.utf8_chunks() {
            self.texts.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.texts.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
        self.texts.len() - before
    }
}

impl<T> Cell<T> {
    /// The same with something else for a text.
    fn map<U>(self, text: impl FnOnce(T) -> U) -> Cell<U> {
        match self {
            Self::Empty => Cell::Empty,
            Self::Misfit => Cell::Misfit,
            Self::Text(it) => Cell::Text(text(it)),
            Self::Long(number) => Cell::Long(number),
            Self::Double(number) => Cell::Double(number),
            Self::Boolean(value) => Cell::Boolean(value),
            Self::Time(time) => Cell::Time(time),
        }
    }
}

impl<'e> Cell<&'e [u8]> {
    /// The cell of a value.
    pub(super) fn of(value: Option<&Value<'e>>, kind: ColumnType) -> Self {
        let fitting = match (kind, value) {
            (_, None | Some(Value::Null)) => return Self::Empty,
            (ColumnType::String, Some(Value::Text(text))) => Some(Self::Text(text)),
            (ColumnType::Long, Some(value)) => long(value).map(Self::Long),
            (ColumnType::Double, Some(value)) => double(value).map(Self::Double),
            (ColumnType::Boolean, Some(Value::Boolean(value))) => Some(Self::Boolean(*value)),
            (ColumnType::Timestamp, Some(Value::Time(time))) => microseconds(*time).map(Self::Time),
            _ => None,
        };
        fitting.unwrap_or(Self::Misfit)
    }
}

fn long(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        Value::Float(float) => {
            // What is larger has no place for a fraction, and says nothing of its last digits.
            let is_whole = float.fract() == 0.0 && float.abs() <= EXACT as f64;
            is_whole.then_some(*float as i64)
        }
        Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn double(value: &Value<'_>) -> Option<f64> {
    let written = match value {
        Value::Integer(integer) => return exact(*integer),
        Value::Float(float) => return float.is_finite().then_some(*float),
        Value::Numeral(numeral) => numeral,
        Value::Text(text) => std::str::from_utf8(text).ok()?,
        _ => return None,
    };
    if let Ok(integer) = written.parse() {
        return exact(integer);
    }
    // Whole numbers that are longer than any integer lose their last digits; fractions are rounded as everywhere.
    if !written.contains(['.', 'e', 'E']) {
        return None;
    }
    written.parse().ok().filter(|float: &f64| float.is_finite())
}

fn exact(integer: i64) -> Option<f64> {
    (integer.unsigned_abs() <= EXACT).then_some(integer as f64)
}

/// COMPAT: microseconds are what every reader knows; finer digits are cut off, and stand in the line.
fn microseconds(time: Timestamp) -> Option<i64> {
    let whole = time.seconds().checked_mul(1_000_000)?;
    whole.checked_add(i64::from(time.nanoseconds() / 1000))
}

/// Up to here each whole number is a double.
const EXACT: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use skidder_pipeline::event::{JsonLimits, read_json};

    use super::*;

    fn cell(value: &str, kind: ColumnType) -> Cell<String> {
        let arena = Bump::new();
        let value = read_json(value.as_bytes(), JsonLimits::default(), &arena).unwrap();
        Cell::of(Some(&value), kind).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn values_fit_their_columns_or_are_left_out() {
        use ColumnType::{Boolean, Double, Long, String, Timestamp};
        let text = |text: &str| Cell::Text(text.to_owned());
        for (value, kind, expected) in [
            (r#""a""#, String, text("a")),
            (r#""""#, String, text("")),
            ("200", String, Cell::Misfit),
            ("true", String, Cell::Misfit),
            ("{}", String, Cell::Misfit),
            ("null", String, Cell::Empty),
            ("200", Long, Cell::Long(200)),
            ("-9223372036854775808", Long, Cell::Long(i64::MIN)),
            ("9223372036854775808", Long, Cell::Misfit),
            ("200.0", Long, Cell::Long(200)),
            ("200.5", Long, Cell::Misfit),
            ("1e18", Long, Cell::Misfit),
            (r#""-12""#, Long, Cell::Long(-12)),
            (r#""12 ""#, Long, Cell::Misfit),
            (r#""0x12""#, Long, Cell::Misfit),
            (r#""12.0""#, Long, Cell::Misfit),
            (r#""""#, Long, Cell::Misfit),
            ("null", Long, Cell::Empty),
            ("[1]", Long, Cell::Misfit),
            ("1.5", Double, Cell::Double(1.5)),
            (
                "9007199254740992",
                Double,
                Cell::Double(9_007_199_254_740_992.0),
            ),
            ("9007199254740993", Double, Cell::Misfit),
            ("18446744073709551617", Double, Cell::Misfit),
            (r#""1.5e3""#, Double, Cell::Double(1500.0)),
            (r#""-3""#, Double, Cell::Double(-3.0)),
            (r#""9007199254740993""#, Double, Cell::Misfit),
            (r#""18446744073709551617""#, Double, Cell::Misfit),
            (r#""1e999""#, Double, Cell::Misfit),
            (r#""NaN""#, Double, Cell::Misfit),
            (r#""infinity""#, Double, Cell::Misfit),
            ("true", Double, Cell::Misfit),
            ("false", Boolean, Cell::Boolean(false)),
            (r#""true""#, Boolean, Cell::Misfit),
            ("1", Boolean, Cell::Misfit),
            (r#""2026-11-26T08:00:00Z""#, Timestamp, Cell::Misfit),
            ("1795680000", Timestamp, Cell::Misfit),
        ] {
            assert_eq!(cell(value, kind), expected, "{value} as {kind:?}");
        }
    }

    #[test]
    fn times_are_microseconds_as_far_as_there_are_so_many() {
        let micros = |seconds, nanoseconds| {
            let value = Value::Time(Timestamp::new(seconds, nanoseconds));
            Cell::of(Some(&value), ColumnType::Timestamp)
        };
        assert_eq!(micros(1, 2_003), Cell::Time(1_000_002));
        assert_eq!(micros(-1, 999_999_999), Cell::Time(-1));
        assert_eq!(micros(i64::MAX / 1_000, 0), Cell::Misfit);
        let not_a_number = Value::Float(f64::NAN);
        assert_eq!(
            Cell::of(Some(&not_a_number), ColumnType::Double),
            Cell::Misfit
        );
    }

    #[test]
    fn texts_are_made_utf_8_and_stay_apart() {
        let mut row = Row::default();
        for _ in 0..2 {
            let arena = Bump::new();
            row.begin(&Event::new_in(&arena));
            row.push(Cell::Text(b"a\xffb\xc3"));
            row.push(Cell::Misfit);
            row.push(Cell::Text(b""));
            row.push(Cell::Text("ü".as_bytes()));
            let cells: Vec<_> = row.cells().collect();
            let expected = [
                Cell::Text("a\u{FFFD}b\u{FFFD}".as_bytes()),
                Cell::Misfit,
                Cell::Text(b""),
                Cell::Text("ü".as_bytes()),
                Cell::Text(b"{}"),
            ];
            assert_eq!(cells, expected);
            assert_eq!(Record::Row(&row).misfits(), 1);
        }
    }
}
