//! The pipeline language: Logstash's configuration language, read into a tree.
//!
//! [`SourceMap`] holds the texts, [`parse`] turns them into a [`Config`] and puts everything
//! that is wrong into a [`Diagnostics`].
//!
//! No file is read here and no environment is looked at: texts and lookups are handed in.

mod attributes;
mod code;
mod condition;
mod cursor;
mod diagnostic;
mod enclosing;
mod escape;
mod field_reference;
pub mod format;
mod known_option;
mod nearest;
mod options;
mod parser;
mod recovery;
mod source;
mod substitute;
mod syntax;
mod units;
mod value;

pub use code::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity, Stage};
pub use escape::process_escapes;
pub use field_reference::{EscapeStyle, FieldReference, FieldReferenceError, METADATA, list_index};
pub use known_option::{KnownOption, NotedOptions, OptionKind, OptionStatus};
pub use nearest::{did_you_mean, nearest};
pub use options::{Entry, Options};
pub use parser::keyword_hint;
pub use source::{Position, Source, SourceMap, Span, Spanned};
pub use substitute::{UndefinedVariable, Variables, substitute, substitute_text};
pub use syntax::{
    Attribute, Branch, CompareOperator, Condition, ConditionKind, Config, HashEntry, If, Number,
    Operand, OperandKind, Plugin, Section, Statement, Value,
};

pub use units::{
    DurationUnit, LONGEST_DURATION, UnitError, parse_duration, parse_setting_duration,
    parse_setting_size, parse_size,
};

/// How deep blocks, arrays, hashes, codecs and parentheses may be nested in all.
pub const MAX_DEPTH: usize = 100;

/// How many bytes one source may have. Real pipelines have some thousand lines; what is bigger
/// than this is some other file.
pub const MAX_SOURCE_BYTES: usize = 16 << 20;

/// What changes how texts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParseOptions {
    /// `config.support_escapes`: backslash sequences in strings are processed.
    pub support_escapes: bool,
    /// `config.field_reference.escape_style`, for the fields in conditions.
    pub escape_style: EscapeStyle,
}

/// Reads all sources, in their order, and merges their sections.
///
/// What is wrong goes into `diagnostics`; if [`Diagnostics::has_errors`] then, the tree lacks
/// the wrong parts and is only good for looking for more mistakes.
pub fn parse(sources: &SourceMap, options: ParseOptions, diagnostics: &mut Diagnostics) -> Config {
    let mut config = Config::default();
    for (number, source) in (0..).zip(sources.iter()) {
        parser::Parser::new(&source.text, number, &options, diagnostics).parse_into(&mut config);
    }
    config
}
