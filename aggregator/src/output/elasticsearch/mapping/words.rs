//! What a server says when a document does not fit the mapping of its index.
//!
//! COMPAT: the words of Elasticsearch from 5 to 9 and of `OpenSearch`.

use super::super::response::Failure;
use super::fields::Kind;

/// What the name of the field beside ends with.
pub(super) const SUFFIX: &str = "__string";

/// Why an item was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Complaint<'f> {
    /// A value does not fit its field, of which the kind may be said.
    Misfit { field: &'f str, kind: Option<Kind> },
    /// The index would have more fields than it may.
    TooManyFields,
}

/// Each stands before the name of the field.
const BEFORE_NAME: [&str; 5] = [
    "failed to parse field [",
    "failed to parse [",
    "object mapping for [",
    "non object mapping [",
    "mapper [",
];

/// What an item was refused for, if it is about the mapping and can be helped.
pub(super) fn complaint(failure: &Failure) -> Option<Complaint<'_>> {
    let is_about_mapping = matches!(
        failure.error_type.as_str(),
        "mapper_parsing_exception" | "document_parsing_exception" | "illegal_argument_exception"
    );
    if failure.status != 400 || !is_about_mapping {
        return None;
    }
    if failure.reason.contains("Limit of total fields [") {
        return Some(Complaint::TooManyFields);
    }
    let (at, before) = BEFORE_NAME
        .iter()
        .filter_map(|before| Some((failure.reason.find(before)?, before)))
        .min()?;
    let (field, rest) = failure.reason[at + before.len()..].split_once(']')?;
    // A data stream without a time is no better.
    if field.is_empty() || field == "@timestamp" || field.ends_with(SUFFIX) {
        return None;
    }
    let kind = match *before {
        "object mapping for [" => Some(Kind::Object),
        "non object mapping [" => Some(Kind::Text),
        _ => rest
            .strip_prefix(" of type [")
            .and_then(|rest| rest.split_once(']'))
            .map(|(kind, _)| Kind::of(kind)),
    };
    Some(Complaint::Misfit { field, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_28_the_field_that_a_server_names() {
        let misfit = |field, kind| Some(Complaint::Misfit { field, kind });
        for (error_type, reason, expected) in [
            (
                "mapper_parsing_exception",
                "failed to parse field [a.b] of type [long] in document with id 'x'. Preview of field's value: '[c]'",
                misfit("a.b", Some(Kind::Number)),
            ),
            (
                "document_parsing_exception",
                "[1:7] object mapping for [a] tried to parse field [a] as object, but found a concrete value",
                misfit("a", Some(Kind::Object)),
            ),
            (
                "mapper_parsing_exception",
                "failed to parse [n]",
                misfit("n", None),
            ),
            (
                "illegal_argument_exception",
                "mapper [n] cannot be changed from type [long] to [text]",
                misfit("n", None),
            ),
            (
                "illegal_argument_exception",
                "can't merge a non object mapping [a] with an object mapping",
                misfit("a", Some(Kind::Text)),
            ),
            (
                "illegal_argument_exception",
                "Limit of total fields [1000] has been exceeded",
                Some(Complaint::TooManyFields),
            ),
            (
                "strict_dynamic_mapping_exception",
                "mapping set to strict, dynamic introduction of [x]",
                None,
            ),
            (
                "mapper_parsing_exception",
                "failed to parse field [@timestamp] of type [date]",
                None,
            ),
            (
                "mapper_parsing_exception",
                "failed to parse field [a__string] of type [long]",
                None,
            ),
        ] {
            let failure = Failure {
                index: 0,
                status: 400,
                error_type: error_type.to_owned(),
                reason: reason.to_owned(),
            };
            assert_eq!(complaint(&failure), expected, "{reason}");
        }
    }
}
