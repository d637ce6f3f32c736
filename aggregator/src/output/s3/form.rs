//! The options that say what an object is: lines or a table, and how it is packed; and which of them exclude each other.

use skidder_pipeline::language::Options;

use super::columns::Columns;
use super::object::Encoding;

/// Reads `format`, `encoding` and `columns`; what is wrong is reported through the options.
pub(super) fn form(options: &mut Options<'_>) -> (Encoding, Columns) {
    let formats = [("lines", false), ("parquet", true)];
    let has_columns = options.enumeration("format", &formats).unwrap_or(false);
    let encodings = [
        ("none", Encoding::None),
        ("gzip", Encoding::Gzip),
        ("zstd", Encoding::Zstd),
    ];
    let encoding = options.enumeration("encoding", &encodings);
    let columns = Columns::from_options(options);
    if !has_columns {
        if options.has("columns") {
            options.error(
                "columns",
                "only objects with `format => parquet` have columns: add it, or leave `columns` out",
            );
        }
        return (encoding.unwrap_or_default(), columns);
    }
    if !cfg!(feature = "parquet") {
        options.error(
            "format",
            "this program was built without the feature `parquet`: build one that has it, or write `codec => json_lines`",
        );
    }
    if options.has("codec") {
        options.error(
            "codec",
            "with `format => parquet` no codec writes the events: leave `codec` out; `columns` says what is a column, \
             and the column `event` has the whole event as JSON",
        );
    }
    let encoding = match encoding {
        Some(Encoding::None) => Encoding::Parquet,
        Some(Encoding::Gzip) => {
            options.error(
                "encoding",
                "with `format => parquet` not the object is packed, but its pages: `encoding` is `zstd`, also when it \
                 is left out, or `none`",
            );
            Encoding::ParquetZstd
        }
        _ => Encoding::ParquetZstd,
    };
    (encoding, columns)
}
