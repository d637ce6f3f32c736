//! What can be wrong with a text that should be JSON.

use thiserror::Error;

/// Why and where a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub fault: JsonFault,
    /// Bytes before the fault.
    pub offset: usize,
}

/// What can be wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text ends in the middle of a value.
    #[error("the text ends too early")]
    Ends,
    /// Something that no value begins with.
    #[error("expected a value")]
    ExpectedValue,
    /// Something else than the name of a field.
    #[error("expected a name in quotes")]
    ExpectedName,
    /// No colon after a name.
    #[error("expected `:`")]
    ExpectedColon,
    /// Neither `,` nor the end of the array.
    #[error("expected `,` or `]`")]
    ExpectedCommaOrBracket,
    /// Neither `,` nor the end of the object.
    #[error("expected `,` or `}}`")]
    ExpectedCommaOrBrace,
    /// A control character that is not escaped.
    #[error("control character inside a text, which must be escaped")]
    ControlCharacter,
    /// A backslash that begins no escape.
    #[error("unknown escape")]
    BadEscape,
    /// Digits where JSON has none, or none where it needs one.
    #[error("malformed number")]
    BadNumber,
    /// Something after the value.
    #[error("more text after the value")]
    Trailing,
    /// More levels than allowed.
    #[error("nested too deep")]
    TooDeep,
    /// More values than allowed.
    #[error("too many values")]
    TooManyValues,
    /// Valid JSON, but not an object (or an array of objects, where those are allowed too).
    #[error("an event must be a JSON object")]
    NotAnEvent,
}
