//! The pipeline language: Logstash's configuration language, read into a tree.
//!
//! [`SourceMap`] holds the texts, [`parse`] turns them into a [`Config`] and puts everything
//! that is wrong into a [`Diagnostics`].
//!
//! No file is read here and no environment is looked at: texts and lookups are handed in.

mod diagnostic;
mod field_reference;
mod nearest;
mod source;
mod syntax;

pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity};
pub use field_reference::{EscapeStyle, FieldReference, FieldReferenceError, METADATA, list_index};
pub use nearest::{did_you_mean, nearest};
pub use source::{Position, Source, SourceMap, Span, Spanned};
pub use syntax::{
    Attribute, Branch, CompareOperator, Condition, ConditionKind, Config, HashEntry, If, Number,
    Operand, OperandKind, Plugin, Section, Statement, Value,
};

/// How deep blocks, arrays, hashes, codecs and parentheses may be nested in all.
pub const MAX_DEPTH: usize = 100;
