//! Where the records of a request stand, found before anything is taken.
//!
//! INVARIANT: what [`survey`] accepts is whole: every message in it, down to the last value, can be read. A record that is nested
//! deeper than [`MAX_DEPTH`] is left out and counted; damage, or such a resource, refuses the request.

use std::ops::Range;

use super::protobuf::{Fields, Wire};
use super::schema::{any_value, key_value, list, log_record, request, resource_logs, scope_logs};

/// How deep a value may be nested.
pub(super) const MAX_DEPTH: usize = 64;

/// Where a record stands, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) resource: Range<usize>,
    pub(super) scope: Range<usize>,
    pub(super) record: Range<usize>,
}

/// The records of a request.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) places: Vec<Place>,
    /// How many are nested too deep.
    pub(super) rejected: u64,
}

/// Why something is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is no ExportLogsServiceRequest")]
    Malformed,
    #[error("its attributes are nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Looks through a whole request.
pub(super) fn survey(body: &[u8]) -> Result<Survey, Fault> {
    let mut found = Survey::default();
    for (number, value) in fields(body)? {
        let (request::RESOURCE_LOGS, Wire::Bytes(logs)) = (number, value) else {
            continue;
        };
        let logs_fields = fields(logs)?;
        let resource = last_message(&logs_fields, resource_logs::RESOURCE);
        check_attributes(resource, super::schema::resource::ATTRIBUTES, 0)?;
        for (number, value) in logs_fields {
            let (resource_logs::SCOPE_LOGS, Wire::Bytes(scoped)) = (number, value) else {
                continue;
            };
            let scoped_fields = fields(scoped)?;
            let scope = last_message(&scoped_fields, scope_logs::SCOPE);
            check_attributes(scope, super::schema::scope::ATTRIBUTES, 0)?;
            for (number, value) in scoped_fields {
                let (scope_logs::LOG_RECORDS, Wire::Bytes(record)) = (number, value) else {
                    continue;
                };
                match check_record(record) {
                    Ok(()) => found.places.push(Place {
                        resource: range(body, resource),
                        scope: range(body, scope),
                        record: range(body, record),
                    }),
                    Err(Fault::TooDeep) => found.rejected += 1,
                    Err(fault) => return Err(fault),
                }
            }
        }
    }
    Ok(found)
}

/// Where a part of the body stands in it.
fn range(body: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

fn fields(message: &[u8]) -> Result<Vec<(u64, Wire<'_>)>, Fault> {
    let fields: Result<Vec<_>, _> = Fields::of(message).collect();
    fields.map_err(|_| Fault::Malformed)
}

/// The message in a field; an empty one if there is none.
fn last_message<'a>(fields: &[(u64, Wire<'a>)], wanted: u64) -> &'a [u8] {
    let mut messages = fields
        .iter()
        .rev()
        .filter_map(|(number, value)| match value {
            Wire::Bytes(message) if *number == wanted => Some(*message),
            _ => None,
        });
    messages.next().unwrap_or_default()
}

fn check_record(record: &[u8]) -> Result<(), Fault> {
    let mut too_deep = false;
    for field in Fields::of(record) {
        let (number, value) = field.map_err(|_| Fault::Malformed)?;
        let checked = match (number, value) {
            (log_record::BODY, Wire::Bytes(body)) => check_value(body, 0),
            (log_record::ATTRIBUTES, Wire::Bytes(attribute)) => check_attribute(attribute, 0),
            _ => Ok(()),
        };
        match checked {
            Err(Fault::TooDeep) => too_deep = true,
            other => other?,
        }
    }
    if too_deep {
        Err(Fault::TooDeep)
    } else {
        Ok(())
    }
}

fn check_attributes(message: &[u8], wanted: u64, depth: usize) -> Result<(), Fault> {
    for field in Fields::of(message) {
        if let (number, Wire::Bytes(attribute)) = field.map_err(|_| Fault::Malformed)?
            && number == wanted
        {
            check_attribute(attribute, depth)?;
        }
    }
    Ok(())
}

fn check_attribute(attribute: &[u8], depth: usize) -> Result<(), Fault> {
    for field in Fields::of(attribute) {
        if let (key_value::VALUE, Wire::Bytes(value)) = field.map_err(|_| Fault::Malformed)? {
            check_value(value, depth)?;
        }
    }
    Ok(())
}

fn check_value(value: &[u8], depth: usize) -> Result<(), Fault> {
    if depth >= MAX_DEPTH {
        return Err(Fault::TooDeep);
    }
    for field in Fields::of(value) {
        match field.map_err(|_| Fault::Malformed)? {
            (any_value::ARRAY, Wire::Bytes(values)) => {
                for field in Fields::of(values) {
                    if let (list::VALUES, Wire::Bytes(value)) =
                        field.map_err(|_| Fault::Malformed)?
                    {
                        check_value(value, depth + 1)?;
                    }
                }
            }
            (any_value::KVLIST, Wire::Bytes(values)) => {
                check_attributes(values, list::VALUES, depth + 1)?;
            }
            _ => {}
        }
    }
    Ok(())
}
