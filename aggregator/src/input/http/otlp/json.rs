//! OTLP's JSON, turned into the bytes that its protocol buffers would have: so there is one mapping, and one thing to keep.
//!
//! As OTLP has it: names in lowerCamelCase, identifiers in hex, 64-bit numbers as texts or numbers, bytes in base64, enumerations as
//! numbers. What is not known is passed over, as in protocol buffers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use skidder_pipeline::event::{JsonLimits, Name, Object, Value, read_json};

use super::protobuf::Writer;
use super::schema::{
    any_value, key_value, list, log_record, request, resource, resource_logs, scope, scope_logs,
};
use super::survey::MAX_DEPTH;

/// Levels of JSON around and in each value: two for each level of its own, and those of the request around it.
const LIMITS: JsonLimits = JsonLimits {
    depth: 4 * MAX_DEPTH as u16 + 32,
    values: 1 << 23,
};

/// The request that a text describes; what is wrong with it otherwise.
pub(super) fn to_protobuf(text: &[u8]) -> Result<Vec<u8>, String> {
    let arena = Bump::new();
    let value = read_json(text, LIMITS, &arena).map_err(|error| error.to_string())?;
    let mut writer = Writer::default();
    each(&value, "resourceLogs", &mut |logs| {
        let inner = resource_logs(logs)?;
        writer.bytes(request::RESOURCE_LOGS, &inner.0);
        Ok(())
    })?;
    Ok(writer.0)
}

type Written = Result<Writer, String>;

fn resource_logs(logs: &Value<'_>) -> Written {
    let mut writer = Writer::default();
    if let Some(found) = member(logs, "resource")? {
        let mut inner = Writer::default();
        attributes(found, resource::ATTRIBUTES, &mut inner)?;
        writer.bytes(resource_logs::RESOURCE, &inner.0);
    }
    each(logs, "scopeLogs", &mut |scoped| {
        let mut inner = Writer::default();
        if let Some(found) = member(scoped, "scope")? {
            let mut of_scope = Writer::default();
            text(found, "name", scope::NAME, &mut of_scope)?;
            text(found, "version", scope::VERSION, &mut of_scope)?;
            attributes(found, scope::ATTRIBUTES, &mut of_scope)?;
            inner.bytes(scope_logs::SCOPE, &of_scope.0);
        }
        each(scoped, "logRecords", &mut |record| {
            inner.bytes(scope_logs::LOG_RECORDS, &log_record(record)?.0);
            Ok(())
        })?;
        writer.bytes(resource_logs::SCOPE_LOGS, &inner.0);
        Ok(())
    })?;
    Ok(writer)
}

fn log_record(record: &Value<'_>) -> Written {
    let mut writer = Writer::default();
    for (name, field) in [
        ("timeUnixNano", log_record::TIME),
        ("observedTimeUnixNano", log_record::OBSERVED_TIME),
    ] {
        if let Some(time) = member(record, name)? {
            writer.fixed64(field, number(time, name)?);
        }
    }
    if let Some(severity) = member(record, "severityNumber")? {
        let severity = number(severity, "severityNumber")?;
        writer.varint(log_record::SEVERITY_NUMBER, severity);
    }
    text(
        record,
        "severityText",
        log_record::SEVERITY_TEXT,
        &mut writer,
    )?;
    text(record, "eventName", log_record::EVENT_NAME, &mut writer)?;
    if let Some(flags) = member(record, "flags")? {
        writer.fixed32(log_record::FLAGS, number(flags, "flags")? as u32);
    }
    for (name, field) in [
        ("traceId", log_record::TRACE_ID),
        ("spanId", log_record::SPAN_ID),
    ] {
        if let Some(id) = member(record, name)? {
            let bytes = id.as_text().and_then(from_hex);
            let bytes = bytes.ok_or_else(|| format!("`{name}` is no hexadecimal text"))?;
            writer.bytes(field, &bytes);
        }
    }
    if let Some(body) = member(record, "body")? {
        writer.bytes(log_record::BODY, &any(body)?.0);
    }
    attributes(record, log_record::ATTRIBUTES, &mut writer)?;
    Ok(writer)
}

fn attributes(holder: &Value<'_>, field: u64, writer: &mut Writer) -> Result<(), String> {
    each(holder, "attributes", &mut |pair| {
        writer.bytes(field, &pair_of(pair)?.0);
        Ok(())
    })
}

fn pair_of(pair: &Value<'_>) -> Written {
    let mut writer = Writer::default();
    text(pair, "key", key_value::KEY, &mut writer)?;
    if let Some(value) = member(pair, "value")? {
        writer.bytes(key_value::VALUE, &any(value)?.0);
    }
    Ok(writer)
}

fn any(value: &Value<'_>) -> Written {
    let mut writer = Writer::default();
    let of_kind = |name| member(value, name);
    if let Some(string) = of_kind("stringValue")? {
        let string = string.as_text().ok_or("`stringValue` is no text")?;
        writer.bytes(any_value::STRING, string);
    } else if let Some(boolean) = of_kind("boolValue")? {
        let Value::Boolean(boolean) = boolean else {
            return Err("`boolValue` is neither true nor false".into());
        };
        writer.varint(any_value::BOOL, u64::from(*boolean));
    } else if let Some(integer) = of_kind("intValue")? {
        writer.varint(any_value::INT, number(integer, "intValue")?);
    } else if let Some(float) = of_kind("doubleValue")? {
        let float = double(float).ok_or("`doubleValue` is no number")?;
        writer.fixed64(any_value::DOUBLE, float.to_bits());
    } else if let Some(bytes) = of_kind("bytesValue")? {
        let bytes = bytes.as_text().and_then(|text| STANDARD.decode(text).ok());
        writer.bytes(any_value::BYTES, &bytes.ok_or("`bytesValue` is no base64")?);
    } else if let Some(array) = of_kind("arrayValue")? {
        let mut values = Writer::default();
        each(array, "values", &mut |value| {
            values.bytes(list::VALUES, &any(value)?.0);
            Ok(())
        })?;
        writer.bytes(any_value::ARRAY, &values.0);
    } else if let Some(pairs) = of_kind("kvlistValue")? {
        let mut values = Writer::default();
        each(pairs, "values", &mut |pair| {
            values.bytes(list::VALUES, &pair_of(pair)?.0);
            Ok(())
        })?;
        writer.bytes(any_value::KVLIST, &values.0);
    }
    Ok(writer)
}

/// A member of an object; none if it is not there or null.
fn member<'v, 'b>(holder: &'v Value<'b>, name: &str) -> Result<Option<&'v Value<'b>>, String> {
    let found = object(holder, name)?.get(&Name::new(name));
    Ok(found.filter(|value| !matches!(value, Value::Null)))
}

fn object<'v, 'b>(holder: &'v Value<'b>, name: &str) -> Result<&'v Object<'b>, String> {
    match holder {
        Value::Object(object) => Ok(object),
        other => Err(format!(
            "what should hold `{name}` is no object: {}",
            other.kind()
        )),
    }
}

/// Each element of a list.
fn each<'b>(
    holder: &Value<'b>,
    name: &str,
    with: &mut dyn FnMut(&Value<'b>) -> Result<(), String>,
) -> Result<(), String> {
    match member(holder, name)? {
        None => Ok(()),
        Some(Value::Array(values)) => values.iter().try_for_each(with),
        Some(other) => Err(format!("`{name}` is no array: {}", other.kind())),
    }
}

fn text(holder: &Value<'_>, name: &str, field: u64, writer: &mut Writer) -> Result<(), String> {
    if let Some(value) = member(holder, name)? {
        let text = value
            .as_text()
            .ok_or_else(|| format!("`{name}` is no text"))?;
        writer.bytes(field, text);
    }
    Ok(())
}

/// A whole number of 64 bits, with or without a sign.
fn number(value: &Value<'_>, name: &str) -> Result<u64, String> {
    let parsed = |text: &str| {
        let signed = text.parse::<i64>().map(|number| number as u64);
        text.parse::<u64>().or(signed).ok()
    };
    let number = match value {
        Value::Integer(number) => Some(*number as u64),
        Value::Numeral(text) => parsed(text),
        Value::Text(text) => std::str::from_utf8(text).ok().and_then(parsed),
        _ => None,
    };
    number.ok_or_else(|| format!("`{name}` is no whole number"))
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Numeral(text) => text.parse().ok(),
        Value::Text(text) => match std::str::from_utf8(text).ok()? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks_exact(2);
    pairs
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}
