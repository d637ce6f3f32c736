//! What a plugin asks for while it reads its options: the table that an editor completes from.
//!
//! A plugin's reader is the only list of its options. To get at it, the plugin is built from an
//! empty block with a [`Diagnostics`] that takes notes ([`Diagnostics::noting_options`]).
//!
//! [`Diagnostics`]: super::Diagnostics
//! [`Diagnostics::noting_options`]: super::Diagnostics::noting_options

use std::ops::RangeInclusive;

/// One option as the plugin asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOption {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// Whether one should write it.
    pub status: OptionStatus,
}

/// The options of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedOptions {
    /// `input`, `filter`, `output` or `codec`.
    pub kind: &'static str,
    /// The plugin's name.
    pub plugin: String,
    /// What it asked for, in order.
    pub options: Vec<KnownOption>,
}

/// What an option takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OptionKind {
    /// The plugin looks at the value itself.
    #[default]
    Any,
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds.
    Integer(RangeInclusive<i64>),
    /// A number.
    Number,
    /// A size in bytes.
    Size,
    /// A duration.
    Duration,
    /// One of some words.
    Choice(Vec<&'static str>),
    /// A list of texts.
    Texts,
    /// A hash.
    Hash,
    /// A codec.
    Codec,
    /// A reference to a field.
    Field,
    /// A list of them.
    Fields,
}

impl OptionKind {
    /// In words, as the manual names the types.
    pub fn describe(&self) -> String {
        match self {
            Self::Any => "any value".into(),
            Self::Text => "string".into(),
            Self::Boolean => "boolean".into(),
            Self::Integer(bounds) => match (*bounds.start(), *bounds.end()) {
                (least, i64::MAX) if least > i64::MIN => format!("whole number, {least} or more"),
                (i64::MIN, _) | (_, i64::MAX) => "whole number".into(),
                (least, most) => format!("whole number, {least} to {most}"),
            },
            Self::Number => "number".into(),
            Self::Size => "size".into(),
            Self::Duration => "duration".into(),
            Self::Choice(words) => format!("one of `{}`", words.join("`, `")),
            Self::Texts => "array of strings".into(),
            Self::Hash => "hash".into(),
            Self::Codec => "codec".into(),
            Self::Field => "field".into(),
            Self::Fields => "array of fields".into(),
        }
    }

    /// The words that can be written, if there is a choice.
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::Boolean => vec!["true", "false"],
            Self::Choice(words) => words.clone(),
            _ => Vec::new(),
        }
    }
}

/// Whether one should write an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptionStatus {
    /// It does something.
    #[default]
    Current,
    /// It works and has a better form.
    Deprecated,
    /// It is refused.
    Unsupported,
    /// It does nothing here.
    WithoutEffect,
}
