//! An object with columns, in the format Parquet: rows wait until a row group is full, and are then written column by column.
//!
//! The same rows make the same bytes: there is no time in them, nothing random, and not the version of this program. Row groups end by
//! what is in them, never by the clock or by memory.
//!
//! Memory: a row group that waits has [`ROW_GROUP_BYTES`] and one row, or [`ROW_GROUP_ROWS`]. What was written stays, as that
//! of other objects does.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::columns::{ColumnType, Columns, WHOLE};
use super::object::Parts;
use super::row::{Cell, Row};

/// A row group is written when so many bytes wait, of texts and numbers.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// Or so many rows.
const ROW_GROUP_ROWS: usize = 1 << 17;

/// What rows that wait become when they are packed is guessed to be one in so many.
const PACKED_SHARE: usize = 4;

/// Rows that are handed to the encoder of a column at one time.
const BATCH_ROWS: usize = 1024;

/// Memory for the schema, the buffer before the parts, and what the end of an object says of each piece of a column, about.
const TABLE_BYTES: usize = 16 << 10;
const COLUMN_BYTES: usize = 1 << 10;
const CHUNK_BYTES: usize = 512;

const ZSTD_LEVEL: i32 = 3;

/// Who wrote it. COMPAT: readers look for a name and a version here; the version counts changes of what is written.
const CREATED_BY: &str = "skidder version 1.0.0";

/// An object that grows.
pub(super) struct Table {
    file: SerializedFileWriter<Parts>,
    packed: bool,
    waiting: Vec<Waiting>,
    rows: usize,
    /// Of the rows that wait.
    raw_bytes: usize,
    /// The memory that they take.
    waiting_bytes: usize,
    chunks: usize,
}

impl Table {
    pub(super) fn new(parts: Parts, columns: &Columns, packed: bool) -> io::Result<Self> {
        let kinds = columns.iter().map(|column| column.kind);
        let waiting = kinds.chain([ColumnType::String]).map(Waiting::new);
        let properties = Arc::new(properties(columns, packed)?);
        Ok(Self {
            waiting: waiting.collect(),
            file: SerializedFileWriter::new(parts, schema(columns)?, properties)?,
            packed,
            rows: 0,
            raw_bytes: 0,
            waiting_bytes: 0,
            chunks: 0,
        })
    }

    pub(super) fn add(&mut self, row: &Row) -> io::Result<()> {
        for (waiting, cell) in self.waiting.iter_mut().zip(row.cells()) {
            let before = waiting.memory();
            self.raw_bytes += waiting.push(cell);
            self.waiting_bytes += waiting.memory() - before;
        }
        self.rows += 1;
        if self.raw_bytes >= ROW_GROUP_BYTES || self.rows >= ROW_GROUP_ROWS {
            self.write_group()?;
        }
        Ok(())
    }

    /// Bytes of the object: what is written, and about what the rows that wait will be.
    pub(super) fn stored_bytes(&self) -> usize {
        let share = if self.packed { PACKED_SHARE } else { 1 };
        self.parts().bytes + self.raw_bytes / share
    }

    /// Memory that it takes besides the parts.
    pub(super) fn held_bytes(&self) -> usize {
        let columns = self.waiting.len() * COLUMN_BYTES + self.chunks * CHUNK_BYTES;
        TABLE_BYTES + columns + self.waiting_bytes
    }

    pub(super) fn parts(&self) -> &Parts {
        self.file.inner()
    }

    /// Writes the rest, and the end.
    pub(super) fn finish(mut self) -> io::Result<Parts> {
        if self.rows > 0 {
            self.write_group()?;
        }
        Ok(self.file.into_inner()?)
    }

    fn write_group(&mut self) -> io::Result<()> {
        let mut group = self.file.next_row_group()?;
        for waiting in &mut self.waiting {
            let column = group.next_column()?;
            let column = column.ok_or_else(|| io::Error::other("a column is not in the schema"))?;
            waiting.write(column)?;
        }
        group.close()?;
        // Out of the buffer, into the parts.
        self.file.flush()?;
        self.chunks += self.waiting.len();
        (self.rows, self.raw_bytes, self.waiting_bytes) = (0, 0, 0);
        Ok(())
    }
}

/// What waits of one column.
struct Waiting {
    /// For each row whether its cell has a value: 1, or 0.
    levels: Vec<i16>,
    values: Values,
}

/// The values of cells that have one.
enum Values {
    /// All texts, and where each ends.
    Texts(Vec<u8>, Vec<usize>),
    Numbers(Vec<i64>),
    Doubles(Vec<f64>),
    Booleans(Vec<bool>),
}

impl Waiting {
    fn new(kind: ColumnType) -> Self {
        Self {
            levels: Vec::new(),
            values: match kind {
                ColumnType::String => Values::Texts(Vec::new(), Vec::new()),
                ColumnType::Long | ColumnType::Timestamp => Values::Numbers(Vec::new()),
                ColumnType::Double => Values::Doubles(Vec::new()),
                ColumnType::Boolean => Values::Booleans(Vec::new()),
            },
        }
    }

    /// Adds a cell and says how many bytes it has.
    fn push(&mut self, cell: Cell<&[u8]>) -> usize {
        let bytes = match (&mut self.values, cell) {
            (Values::Texts(texts, ends), Cell::Text(text)) => {
                texts.extend_from_slice(text);
                ends.push(texts.len());
                Some(text.len() + size_of::<u32>())
            }
            (Values::Numbers(numbers), Cell::Long(number) | Cell::Time(number)) => {
                numbers.push(number);
                Some(size_of::<i64>())
            }
            (Values::Doubles(numbers), Cell::Double(number)) => {
                numbers.push(number);
                Some(size_of::<f64>())
            }
            (Values::Booleans(values), Cell::Boolean(value)) => {
                values.push(value);
                Some(size_of::<bool>())
            }
            _ => None,
        };
        self.levels.push(i16::from(bytes.is_some()));
        bytes.unwrap_or_default() + size_of::<i16>()
    }

    fn memory(&self) -> usize {
        let values = match &self.values {
            Values::Texts(texts, ends) => texts.capacity() + ends.capacity() * size_of::<usize>(),
            Values::Numbers(numbers) => numbers.capacity() * size_of::<i64>(),
            Values::Doubles(numbers) => numbers.capacity() * size_of::<f64>(),
            Values::Booleans(values) => values.capacity(),
        };
        values + self.levels.capacity() * size_of::<i16>()
    }

    /// Writes what waits, and gives its memory back.
    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        let levels = std::mem::take(&mut self.levels);
        match &mut self.values {
            Values::Texts(texts, ends) => {
                let texts = Bytes::from(std::mem::take(texts));
                let ends = std::mem::take(ends);
                let start = |at: usize| at.checked_sub(1).map_or(0, |before| ends[before]);
                let text = |at: usize| ByteArray::from(texts.slice(start(at)..ends[at]));
                write_batches(column.typed::<ByteArrayType>(), &levels, text)?;
            }
            Values::Numbers(numbers) => {
                let numbers = std::mem::take(numbers);
                write_batches(column.typed::<Int64Type>(), &levels, |at| numbers[at])?;
            }
            Values::Doubles(numbers) => {
                let numbers = std::mem::take(numbers);
                write_batches(column.typed::<DoubleType>(), &levels, |at| numbers[at])?;
            }
            Values::Booleans(values) => {
                let values = std::mem::take(values);
                write_batches(column.typed::<BoolType>(), &levels, |at| values[at])?;
            }
        }
        column.close()
    }
}

fn write_batches<T: DataType>(
    column: &mut ColumnWriterImpl<'_, T>,
    levels: &[i16],
    value: impl Fn(usize) -> T::T,
) -> Result<()> {
    let mut written = 0;
    for levels in levels.chunks(BATCH_ROWS) {
        let there = levels.iter().filter(|level| **level == 1).count();
        let values: Vec<T::T> = (written..written + there).map(&value).collect();
        column.write_batch(&values, Some(levels), None)?;
        written += there;
    }
    Ok(())
}

fn schema(columns: &Columns) -> Result<TypePtr> {
    let named = columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind));
    let fields = named
        .chain([(WHOLE, ColumnType::String)])
        .map(|(name, kind)| {
            let (physical, logical) = match kind {
                ColumnType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                ColumnType::Long => (Physical::INT64, None),
                ColumnType::Double => (Physical::DOUBLE, None),
                ColumnType::Boolean => (Physical::BOOLEAN, None),
                ColumnType::Timestamp => {
                    let utc = LogicalType::timestamp(true, TimeUnit::MICROS);
                    (Physical::INT64, Some(utc))
                }
            };
            let field = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical);
            field.build().map(Arc::new)
        })
        .collect::<Result<_>>()?;
    let table = Type::group_type_builder("events").with_fields(fields);
    table.build().map(Arc::new)
}

fn properties(columns: &Columns, packed: bool) -> Result<WriterProperties> {
    let compression = if packed {
        Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?)
    } else {
        Compression::UNCOMPRESSED
    };
    let whole = ColumnPath::from(WHOLE);
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(compression)
        // Least and greatest of a row group let readers pass it over.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(whole.clone(), EnabledStatistics::None)
        .set_column_dictionary_enabled(whole, false);
    for column in columns.iter() {
        if column.kind == ColumnType::Timestamp {
            // Hardly one comes twice.
            let path = ColumnPath::from(column.name.as_str());
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests;
